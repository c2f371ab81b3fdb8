"""A page for every engine, made of its declarations and of what was recorded of its own code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.engines import ENGINES, Engine
from logitlab.engines.about import about
from logitlab.engines.differences import active_steps, difference_tables
from logitlab.engines.partings import option_sentences
from logitlab.request.params import PARAMETERS

from parameter_pages import row_of, takes
from prose import code, contents, docstring, heading, request, table, words

__all__ = ["pages"]

_VECTORS = Path(__file__).parents[2] / "tests" / "engines" / "vectors"
_ROWS = ll.datasets.load("smollm2")
_STORY = 3
_ORDER = "For a request that has all of its parameters, but those that leave out other steps."
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
            "# Engines",
            "How each program evaluates the same request: made of its declarations, which are "
            "tested against [answers of its own code](recorded.md).",
            table(["engine", "program"], entries),
            "## Where they differ",
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
        heading("Order of its steps", _ORDER, _order(engine)),
        heading("Beside OpenRouter's page", *_beside(engine)),
        heading("Parameters", *_parameters(engine)),
        heading("Refusals, in its words", table(["key", "must be", "it says"], _refusals(engine))),
        heading("Keys of its own", table(["key", "default", "sent by"], _own(engine))),
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
    lines = []
    for number, step in enumerate(active_steps(engine), 1):
        parts = step.apart() if isinstance(step, ll.AdditivePenalty) else (step,)
        known = [part for part in parts if isinstance(part, ll.Step)]
        told = dict.fromkeys(
            sentence for part in known for sentence in option_sentences(part, is_sorted).values()
        )
        name = " and ".join(_key(part.key) for part in known) or code(type(step).__name__)
        lines.append(f"{number}. {name}{': ' if told else ''}{words('; '.join(told))}")
    return "\n".join(lines) or "Nothing changes the distribution."


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
        table(heads, taken),
        f"Ignored: {', '.join(others['ignored'])}." if others["ignored"] else "",
        f"Not known to it: {', '.join(others['–'])}." if others["–"] else "",
    ]


def _refusals(engine: Engine) -> list[tuple[str, ...]]:
    rules: list[tuple[str, Any]] = [
        (key, rule) for key, rules in engine.rules.items() for rule in rules
    ]
    rules += [(rule.key, rule) for rule in engine.together]
    return [
        (
            _key(key) if key else "any other",
            words(getattr(rule, "rule", "absent")),
            words(rule.says),
        )
        for key, rule in rules
        if isinstance(getattr(rule, "says", None), str)
    ]


def _own(engine: Engine) -> list[tuple[str, ...]]:
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
    rows = [
        (code(each.name), code(getattr(engine.dialect, each.name)))
        for each in dataclasses.fields(engine.dialect)
    ]
    ends = ", ".join(_key(key) for key in engine.endings or ())
    return [
        table(["", ""], rows),
        f"It has these keys that end a text: {ends}." if ends else "",
    ]


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
