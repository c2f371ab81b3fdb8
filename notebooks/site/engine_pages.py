"""A page for every engine, made of its declarations and of what was recorded of its own code."""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.engines import ENGINES, Engine
from logitlab.engines.about import about
from logitlab.engines.differences import active_steps, difference_tables
from logitlab.engines.partings import option_sentences
from logitlab.engines.rules import Unmodelled
from logitlab.request.params import PARAMETERS

from parameter_pages import row_of, takes
from prose import code, contents, docstring, heading, request, table, words

__all__ = ["pages"]

_VECTORS = Path(__file__).parents[2] / "tests" / "engines" / "vectors"
_ROWS = ll.datasets.load("smollm2")
_STORY = 3
_ORDER = "For a request with all of its parameters, and what is particular about each step."
_INSTEAD = ("mirostat", "adaptive_target", "temperature_last")  # change what the others do
_PARAMETERS = (
    "What counts where a request does not have the parameter, and what becomes of a value that it "
    "has: *as it is* is used as it came."
)
_REFUSALS = (
    "What it answers with an error. “…” stands for what was sent, *V* for the vocabulary's size."
)
_GOES_ON = "Here an error, since what comes of it makes no sense and is not modelled:"
_OWN = (
    "Beside the parameters it has these. A request sends them; those of the deployment are chosen "
    "where the server starts, and are given here by `Engine.with_options`."
)
_SERVED = "What `chat`, `chat_stream` and `logitlab serve` word as its server does."
_STOPS = {
    "none": "ends with the reason `tool_calls`",
    "named": "ends with the reason `stop` if the request names the function, else `tool_calls`",
    "all": "ends with the reason `stop`",
}
_USAGE = {
    "asked": "if `stream_options.include_usage` asks for it, in a last chunk without choices",
    "always": "in a last chunk without choices, unless `stream_options.include_usage` is false",
    "finish": "in the chunk that ends the answer",
    "never": "not told",
}
_USUAL = {
    "repetition_penalty": 1.1,
    "temperature": 1.5,
    "top_k": 50,
    "top_p": 0.9,
    "min_p": 0.05,
}


def pages() -> dict[str, str]:
    """Return the pages by their paths."""
    written = {f"engines/{name}.md": _page(engine) for name, engine in ENGINES.items()}
    entries = [(f"[{code(name)}]({name}.md)", words(e.title)) for name, e in ENGINES.items()]
    written["engines/index.md"] = "\n\n".join(
        [
            "# A page for every engine",
            "How each program evaluates the same request: made of its declarations, which are "
            "tested against [answers of its own code](recorded.md).",
            table(["engine", "program"], entries),
            "## Where they differ: order of samplers, defaults, ties",
            "`logitlab engines --differences` prints this. The letters are the steps in order: "
            "**B**ias, **R**epetition, **F**requency and **P**resence penalty, **T**emperature, "
            "top_**K**, the **N**ucleus of top_p, **M**in_p, top_**A**.",
            difference_tables(),
            contents([*ENGINES, "recorded"]),
        ]
    )
    return written


def _page(engine: Engine) -> str:
    told = dict(line.partition(": ")[::2] for line in about(engine).splitlines())
    family = [name for name, other in ENGINES.items() if other.variant_of == engine.name]
    facts = {
        "read in": words(told.get("read in", "")),
        "a variant of": _links([engine.variant_of] if engine.variant_of else []),
        "variants": _links(family),
        "an empty request means": words(told["empty request"]),
        "temperature 0, 1e-7, 0.001": words(told["temperature 0, 1e-7, 0.001"]),
        "reads of generation_config": _codes(told.get("reads of generation_config", "")),
        "log-probabilities": words(told["log-probabilities"]),
        "draws": words(told.get("draws", "")) or "not repeated here",
        "seed of a request without one": words(str(engine.default_seed or "")) or "a fresh one",
    }
    parts = [
        f"# {words(engine.name)}",
        f"**{words(engine.title)}**",
        docstring(inspect.getdoc(engine.build) or ""),
        table(["", ""], [cells for cells in facts.items() if cells[1]]),
        heading("Order of its steps", _ORDER, _order(engine), _instead(engine)),
        heading("Beside OpenRouter's page", *_beside(engine)),
        heading("What becomes of each parameter", *_parameters(engine)),
        heading("Refusals, in its words", *_refusals(engine)),
        heading("Keys of its own", *_own(engine)),
        heading("How its server ends an answer", *_dialect(engine)),
        heading("What was run, and what was read", *_recorded(engine)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _links(names: list[str]) -> str:
    return ", ".join(f"[{words(name)}]({name}.md)" for name in names)


def _codes(names: str) -> str:
    return ", ".join(code(name) for name in names.split(", ") if name)


def _key(key: str) -> str:
    return f"[{code(key)}](../parameters/{key}.md)" if key in PARAMETERS else code(key)


def _order(engine: Engine) -> str:
    """List the steps of a request that has all its parameters, but those that shut others out."""
    is_sorted = isinstance(engine({}), ll.SortedChain)
    steps = active_steps(engine)
    has_plain = any(isinstance(step, ll.Temperature) for step in steps)
    lines = []
    for number, step in enumerate(steps, 1):
        parts = step.apart() if isinstance(step, ll.AdditivePenalty) else (step,)
        known = [part for part in parts if isinstance(part, ll.Step)]
        told = dict.fromkeys(
            sentence for part in known for sentence in option_sentences(part, is_sorted).values()
        )
        name = " and ".join(_key(part.key) for part in known) or code(type(step).__name__)
        if isinstance(step, ll.DynamicTemperature) and not has_plain:
            name = f"{_key('temperature')}, or {name} where that is set"
        lines.append(f"{number}. {name}{': ' if told else ''}{words('; '.join(told))}")
    return "\n".join(lines) or "Nothing changes the distribution."


def _instead(engine: Engine) -> str:
    names = [_key(key) for key in _INSTEAD if takes(engine, key) == "yes"]
    does = "moves or takes the place" if len(names) == 1 else "move or take the place"
    return f"Not among them: {', '.join(names)}, which {does} of others." if names else ""


def _beside(engine: Engine) -> list[str]:
    if engine.name == "openrouter":
        return []
    ids = _ROWS.prompt_ids[_STORY]
    context = ll.Context(prompt=ids[:-1], output=ids[-1:])
    body = {k: v for k, v in _USUAL.items() if _is_taken(engine, k, v)}
    compared = ll.compare_engines(
        _ROWS.logits[_STORY], body, engines=["openrouter", engine.name], context=context
    )
    stages = compared.partings("openrouter", engine.name)
    what = (
        f"{request(body)} over the logits of SmolLM2 after “{words(_ROWS.vocabulary.decode(ids))}”"
    )
    if not stages:
        return [f"{what}: the same distribution."]
    distance = float(compared.distance("openrouter", engine.name))
    rows = [(_key(at.key), words(at.reason), f"{at.distance:.4f}") for at in stages]
    return [
        f"{what}: {distance:.4f} of the probability lies on other tokens. They part at",
        table(["stage", "what differs", "distance that it alone makes"], rows),
    ]


def _is_taken(engine: Engine, key: str, value: Any) -> bool:
    try:
        engine.translate({key: value})
    except ll.ParameterError:
        return False
    return True


def _parameters(engine: Engine) -> list[str]:
    taken = []
    others: dict[str, list[str]] = {"ignored": [], "–": []}
    for key in PARAMETERS:
        if (has := takes(engine, key)) == "yes":
            taken.append((_key(key), *row_of(engine, key)))
        else:
            others[has].append(_key(key))
    heads = ["parameter", "if absent", "what becomes of a value"]
    return [
        _PARAMETERS,
        table(heads, taken),
        f"Ignored: {', '.join(others['ignored'])}." if others["ignored"] else "",
        f"Not known to it: {', '.join(others['–'])}." if others["–"] else "",
    ]


def _refusals(engine: Engine) -> list[str]:
    """Return what is refused, and what goes on with what is not modelled."""
    rules: list[tuple[str, Any]] = [
        (key, rule) for key, rules in engine.rules.items() for rule in rules
    ]
    rules += [(rule.key, rule) for rule in engine.together]
    refused: list[tuple[str, ...]] = []
    goes_on: list[tuple[str, ...]] = []
    for key, rule in rules:
        if says := getattr(rule, "says", ""):
            must = rule.describe().removeprefix("must be ").replace("{V}", "V")
            cells = _key(key) if key else "any other", words(must), words(filled(says, key))
            is_told = isinstance(rule, Unmodelled) or getattr(rule, "goes_on", False)
            (goes_on if is_told else refused).append(cells)
    parts = [_REFUSALS, table(["key", "must be", "it says"], refused)] if refused else []
    if goes_on:
        parts += [_GOES_ON, table(["key", "must be", "otherwise"], goes_on)]
    return parts


def filled(says: str, key: str) -> str:
    """Return a text of an engine with words in place of what it puts in.

    Examples
    --------
    >>> filled("n must be at most {max_n} of {V}, got {n:.1f}: {{{names}}}, not {}", "n")
    'n must be at most max_n of V, got …: {…}, not …'
    """
    known = {"V": "V", "last": "V - 1"}
    sent = ("", "names", key)
    return "".join(
        text + ("" if name is None else "…" if name in sent else known.get(name, name))
        for text, name, *_ in Formatter().parse(says)
    )


def _own(engine: Engine) -> list[str]:
    rows = _own_rows(engine)
    return [_OWN, table(["key", "default", "sent by"], rows)] if rows else []


def _own_rows(engine: Engine) -> list[tuple[str, ...]]:
    options = [
        (code(key), code(option.default), "the deployment" if option.is_deployed else "a request")
        for key, option in engine.options.items()
    ]
    aliases = [
        (code(name), f"another name of {_key(key)}", "a request")
        for name, key in engine.aliases.items()
    ]
    return [*options, *aliases]


def _dialect(engine: Engine) -> list[str]:
    ways = engine.dialect
    rows = {
        "a call of a function": _STOPS[ways.stops_after],
        "`usage` of a stream": _USAGE[ways.usage],
        "`max_completion_tokens` beside `max_tokens`": (
            "counts" if ways.has_two_limits else "is refused if they differ"
        ),
        "`n`": "is not read: there is one answer" if ways.has_one_answer else "is read",
        "`logprobs` without `top_logprobs`": (
            f"reports the {ways.tops} most likely tokens" if ways.tops else ""
        ),
        "before `min_tokens`": (
            "no stop string ends a text, either" if ways.holds_stops else "stop strings end a text"
        )
        if takes(engine, "min_tokens") == "yes"
        else "",
        "`ignore_eos`": "ignores `stop_token_ids`, too" if ways.ignores_stops else "",
        "ends of a text by": ", ".join(_key(key) for key in engine.endings or ()),
    }
    return [_SERVED, table(["", ""], [cells for cells in rows.items() if cells[1]])]


def _recorded(engine: Engine) -> list[str]:
    """Tell which answers of its own code are recorded, and which are left out, and why."""
    parts = []
    for folder, what in ((_VECTORS, "on the page"), (_VECTORS / "beyond", "beyond the page")):
        file = folder / f"{engine.name}.json"
        if not file.exists():
            continue
        head = json.loads(file.read_text("utf-8"))
        count = len(np.load(file.with_suffix(".npz"))["survivors_ends"])
        versions = ", ".join(f"{words(name)} {words(v)}" for name, v in head["versions"].items())
        drawn = len(head.get("draws", ()) or head.get("sequences", ()))
        parts.append(
            f"Its own code, {versions}, answered {count} requests {what}, and the tests compare: "
            f"what it left and how likely that was, {len(head['errors'])} refusals"
            + (f", and the tokens that it drew for {drawn} of them." if drawn else ".")
        )
        left_out = json.loads((folder / "excluded.json").read_text("utf-8")).get(engine.name, {})
        parts += [f"Left out, {len(cases)}: {words(why)}." for why, cases in left_out.items()]
    if not parts:
        whose = _links([engine.variant_of]) if engine.variant_of else ""
        also = f", and {whose} where that is the same code" if whose else ""
        parts.append(f"Nothing of it was run for itself: it is what was read{also}.")
    if engine.name in _asked_live():
        parts.append("CI asks its own code requests that are not recorded, each time.")
    return [*parts, "[What the recordings are, and what is restated in them](recorded.md)."]


@cache
def _asked_live() -> set[str]:
    """Return the engines that are installed and asked in CI: those of a table in their test."""
    tree = ast.parse((_VECTORS.parent / "test_live.py").read_text("utf-8"))
    tables = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    return set(ast.literal_eval(next(tables)))
