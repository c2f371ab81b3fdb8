"""What an engine declares, in words."""

from __future__ import annotations

from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.rules import brief_number

__all__ = ["about"]

_REPORTED = {
    "none": "none",
    "undocumented": "undocumented",
    "raw": "of the model's own logits",
    "penalised": "after bias and penalties",
    "tempered": "after bias, penalties and temperature",
    "processed": "of what is drawn from",
}


def about(engine: Any) -> str:
    """Return what an `Engine` declares, a line for each thing: rules, defaults, sources."""
    rules = {
        key: "; ".join(rule.describe() for rule in rules) for key, rules in engine.rules.items()
    }
    temperatures = ", ".join(_what_becomes_of(engine, t) for t in (0, 1e-7, 1e-3))
    lines = {
        f"{engine.name}": engine.title or "no title",
        "read in": engine.source,
        "empty request": empty_request(engine) or "neutral",
        **{key: words.replace("{V}", "V") for key, words in rules.items() if words},
        **_together(engine),
        "temperature 0, 1e-7, 0.001": temperatures,
        "own keys": ", ".join(engine.own_keys),
        "reads of generation_config": ", ".join(getattr(engine.generation_config, "keys", ())),
        "log-probabilities": _REPORTED[engine.logprobs],
        "draws": ("repeated here: " if engine.luck else "") + engine.luck_note,
    }
    return "\n".join(f"{key}: {words}" for key, words in lines.items() if words)


def empty_request(engine: Any) -> str:
    """Say what an engine uses for an empty request, where that is not neutral."""
    notes = engine.translate({}).notes
    used = {note.key: note.used for note in notes if note.effect == "default"}
    names = [key for key in engine.defaults if key in used]
    names += [key for key in used if key not in names]
    return ", ".join(f"{key} {brief_number(used[key])}" for key in names)


def _together(engine: Any) -> dict[str, str]:
    """Say what it refuses of a request as a whole, by the key that it is about."""
    words: dict[str, list[str]] = {}
    for rule in engine.together:
        key = f"{rule.key} beside others" if rule.key else "keys"
        words.setdefault(key, []).append(rule.describe())
    return {key: "; ".join(dict.fromkeys(each)) for key, each in words.items()}


def _what_becomes_of(engine: Any, t: float) -> str:
    """Return the temperature that the engine uses, "greedy", or "refused"."""
    try:
        used = engine.translate({"temperature": t}).values["temperature"]
    except ParameterError:
        return "refused"
    return brief_number(used) if used else "greedy"
