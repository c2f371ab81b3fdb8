"""A page for every parameter: what it does, who differs, what is claimed of it, its step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import logitlab
from logitlab.engines import ENGINES, Engine
from logitlab.engines.rules import Ignore, brief_number
from logitlab.request.params import NEUTRAL, TWENTY, Parameter
from logitlab.steps.step import Step

from measured import Alike, Claimed, Seen
from prose import code, contents, first_sentence, heading, picture, request, table, words
from reference_pages import HOMES, entry, value_of

__all__ = ["claim_parts", "pages", "row_of", "takes"]

_UNKNOWN = "no such parameter"
_ACTS = {
    "distribution": "the distribution of the next token",
    "draw": "the draw of a token",
    "ending": "the end of the text",
    "report": "what is reported beside the text",
    "structure": "the structure of the whole text",
    "prompt": "what the model reads",
}


def pages(seen: Mapping[str, Seen]) -> dict[str, str]:
    """Return the pages by their paths."""
    written = {
        f"parameters/{key}.md": _page(known, seen[key])
        for key, known in logitlab.PARAMETERS.items()
    }
    lists = [
        heading(title, table(["parameter", "what it does", "range", "absent"], map(_row, known)))
        for title, known in _families().items()
    ]
    written["parameters/index.md"] = "\n\n".join(
        [
            "# A page for every parameter",
            "Each page is made of the package's own declarations and of runs of every engine: what "
            "the parameter does, who differs, what is claimed of it with the measured numbers, and "
            "the step with its equation and source.",
            *lists,
            contents(logitlab.PARAMETERS),
        ]
    )
    return written


def _families() -> dict[str, list[Parameter]]:
    families: dict[str, list[Parameter]] = defaultdict(list)
    for key, known in logitlab.PARAMETERS.items():
        where = "On OpenRouter's page" if key in TWENTY else "Beyond the page"
        families[f"{where}: {_ACTS[known.role]}"].append(known)
    return families


def _row(known: Parameter) -> tuple[str, ...]:
    absent = _absent(known.default)
    return f"[{code(known.key)}]({known.key}.md)", words(known.sentence), words(known.rule), absent


def _absent(value: Any) -> str:
    """Return what counts where a parameter is absent; a dash is nothing at all."""
    if value is None or value in ((), {}):
        return "–"
    return code(" ".join(map(repr, value)) if isinstance(value, tuple) else brief_number(value))


def _page(known: Parameter, seen: Seen) -> str:
    key = known.key
    facts = {
        "type": words(known.kind),
        "range": words(known.rule),
        "if absent": _absent(known.default),
        "acts on": _ACTS[known.role],
        "defined by": "OpenRouter's page" if key in TWENTY else words(known.origin),
    }
    if known.needs:
        facts["does nothing without"] = f"[{code(known.needs)}]({known.needs}.md)"
    children = [k for k, other in logitlab.PARAMETERS.items() if other.needs == key]
    if children:
        facts["set further by"] = ", ".join(f"[{code(k)}]({k}.md)" for k in children)
    parts = [
        f"# {words(key)}",
        f"**{words(known.sentence)}**",
        _equation(known),
        table(["", ""], facts.items()),
        _shown_alone(seen),
        heading("Who differs" if seen.groups else "At each engine", *_who_differs(known, seen)),
        heading("What is claimed, and what was measured", *claim_parts(seen.claims)),
        heading("The step", *_steps(known)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shown_alone(seen: Seen) -> str:
    if not seen.picture:
        return ""
    what = f"{request(seen.request)}, for the token of SmolLM2 after {words(seen.text)}"
    removed = ", hatched what is removed" if seen.removes else ""
    return f"{what}: pale before, full in the end{removed}.\n\n" + picture(
        f"pictures/{seen.picture}_",
        says=f"The most likely tokens before and after {dict(seen.request)}",
    )


def _who_differs(known: Parameter, seen: Seen) -> list[str]:
    parts = []
    if seen.groups:
        parts += [
            _run(seen),
            table(["engines", "steps", "kept", "distance", "why"], map(_cells, seen.groups)),
        ]
    if seen.refused:
        lines = [f"* {_engine_links([name])}: {words(why)}" for name, why in seen.refused.items()]
        parts.append("Refused:\n\n" + "\n".join(lines))
    heads = ["engines", "if absent", "what becomes of a value"]
    what = "What they declare:" if seen.groups else _not_run(known)
    parts += [what, table(heads, _declared(known, seen.options))]
    return parts


def _not_run(known: Parameter) -> str:
    """Say why no engine was sent a request."""
    if known.role == "distribution":
        return "One token is too few to show it, so no run stands here. What engines declare:"
    return (
        f"It acts on {_ACTS[known.role]}, so there is no distribution to compare. Engines declare:"
    )


def _run(seen: Seen) -> str:
    return (
        f"Every engine was sent {request(seen.sent)} for the token after {words(seen.text)}, "
        "with its own defaults switched off where a request can do that. *Kept* is how many "
        "tokens can still come, *distance* the share of probability that lies on other tokens "
        "than at `openrouter` (total variation)."
    )


def _cells(group: Alike) -> tuple[str, ...]:
    steps = " → ".join(map(code, group.chain)) or "–"
    why = "; ".join(dict.fromkeys(map(words, group.why))) or "–"
    return _engine_links(group.engines), steps, f"{group.kept:,}", f"{group.distance:.4f}", why


def _engine_links(names: list[str] | tuple[str, ...]) -> str:
    """Return links to the pages of engines, from the page of a parameter."""
    return ", ".join(f"[{words(name)}](../engines/{name}.md)" for name in names)


def takes(engine: Engine, key: str) -> str:
    """Say whether an engine has a parameter: "yes", "ignored", or "–" where it knows none."""
    if any(isinstance(rule, Ignore) for rule in engine.rules.get(key, ())):
        return "ignored"
    known = logitlab.PARAMETERS[key]
    has = key in engine.reads or key in (engine.endings or ())
    return "yes" if has or (key in TWENTY and known.role != "distribution") else "–"


def _declared(known: Parameter, options: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the rows of a table of what engines declare, one for those that declare the same."""
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, engine in ENGINES.items():
        absent, what = row_of(engine, known.key)
        if how := words(options.get(name, "")) if takes(engine, known.key) == "yes" else "":
            what = f"{what}. It {how}"
        rows[absent, what].append(name)
    ordered = sorted(rows.items(), key=lambda row: row[0][1] == _UNKNOWN)
    return [(_engine_links(names), *cells) for cells, names in ordered]


def row_of(engine: Engine, key: str) -> tuple[str, str]:
    """Return what an engine has in the absence of a parameter, and does with its value."""
    names = [code(alias) for alias, meant in engine.aliases.items() if meant == key]
    default = engine.defaults.get(key, NEUTRAL.get(key, logitlab.PARAMETERS[key].default))
    rules = [*engine.rules.get(key, ()), *(rule for rule in engine.together if rule.key == key)]
    told = dict.fromkeys(filter(None, (rule.describe() for rule in rules)))
    what = words("; ".join(told).replace("{V}", "V")) or "as it is"
    if names and "called" not in what:
        what = f"called {', '.join(names)}, too; {what}"
    has = takes(engine, key)
    absent = _absent(default) if has == "yes" else "–"
    return absent, _UNKNOWN if has == "–" else what


def claim_parts(claims: tuple[Claimed, ...], folder: str = "") -> list[str]:
    """Return claims as a table, and their pictures, which stand beside the pages of parameters."""
    rows = [
        (words(one.statement), words(one.measured), words(one.verdict), _source(one))
        for one in claims
    ]
    shown = [
        picture(f"{folder}pictures/{one.picture}_", says=one.title) for one in claims if one.picture
    ]
    return [table(["it is stated", "measured", "verdict", "by"], rows), *shown]


def _source(one: Claimed) -> str:
    return f"[{words(one.source)}]({one.url})"


def _equation(known: Parameter) -> str:
    """Return the first sentence of the function that a parameter is: most have their equation."""
    functions, _ = _documented(known)
    first = [first_sentence(value_of(name).__doc__) for name in functions]
    return "\n\n".join(sentence for sentence in first if sentence)


def _steps(known: Parameter) -> list[str]:
    """Return what stands in the docstrings of the steps that a parameter makes."""
    functions, classes = _documented(known)
    told = {_snake(name) for name in classes} & {*functions}
    alone = [] if known.key in functions else [n for n in classes if _snake(n) not in told]
    links = ", ".join(f"[{code(name)}](#logitlab.{name})" for name in classes)
    parts = [entry(name, "no-index") for name in [*functions, *alone]]
    return [*parts, f"In a chain: {links}."] if links else parts


def _documented(known: Parameter) -> tuple[list[str], list[str]]:
    """Return the functions and the classes of steps that a parameter makes."""
    names = [name for names in HOMES.values() for name in names]
    classes = [
        name
        for name in names
        if isinstance(kind := value_of(name), type)
        and issubclass(kind, Step)
        and getattr(kind, "key", None) == known.key
    ]
    functions = {_snake(name) for name in classes} | {known.key}
    shown = [name for name in names if name in functions and not isinstance(value_of(name), type)]
    return shown, classes


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")
