"""llama-server's samplers: their names, which keys belong to each, and what is odd about some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.rules import LeftOut, Note, Rule, Target
from logitlab.engines.telling import Odd

__all__ = ["SAMPLERS", "rules_of_samplers", "sampler_names", "sampler_names_say"]

SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""In the order of the server."""

_LETTERS = dict(zip("edskypmxtia", (*SAMPLERS, "infill", "adaptive_p"), strict=True))
# By its name with either line or none between its parts, in letters of any size.
_NAMES = {
    spelled: name
    for name in _LETTERS.values()
    for spelled in (name, name.replace("_", "-"), name.replace("_", ""))
} | {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p"}
_KEYS = {
    "penalties": ("repetition_penalty", "frequency_penalty", "presence_penalty", "repeat_last_n"),
    "dry": (
        "dry_multiplier",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
    ),
    "top_n_sigma": ("top_n_sigma",),
    "top_k": ("top_k",),
    "typ_p": ("typical_p",),
    "top_p": ("top_p",),
    "min_p": ("min_p",),
    "xtc": ("xtc_probability", "xtc_threshold"),
    "temperature": ("temperature", "dynatemp_range", "dynatemp_exponent"),
    "adaptive_p": ("adaptive_target", "adaptive_decay"),
}
"""The keys of a request that each sampler takes."""


def sampler_names(key: str, value: Any) -> Any:
    """Take names or letters: the names of known samplers, and others as they are."""
    if isinstance(value, str):
        return tuple(_LETTERS.get(letter, letter) for letter in value)
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(name, str) for name in value):
        raise ParameterError(key, "a list of names, or a text of letters", value)
    return tuple(_NAMES.get(name.lower(), name) for name in value)


def sampler_names_say(value: Any) -> str:
    """Return the server's text about what is no name."""
    first = next(name for name in value if not isinstance(name, str))
    kind = "number" if isinstance(first, int | float) else "no string"
    return f"Field 'samplers': [json.exception.type_error.302] type must be string, but is {kind}"


@dataclass(frozen=True)
class _KnownSamplers(Rule):
    """The server leaves out what names no sampler, with a warning in its log."""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return the names of samplers alone, and tell which others there were."""
        if not isinstance(value, tuple):
            sentence = f"{key} {value!r} is ignored by {target.engine}: it is no list of names."
            return SAMPLERS, Note(key, "ignored", sentence, value, SAMPLERS)
        used = tuple(name for name in value if name in _LETTERS.values())
        others = ", ".join(repr(name) for name in value if name not in used)
        if others:
            sentence = f"{key}: {others} is left out by {target.engine}, which has no such sampler."
            return used, Note(key, "changed", sentence, value, used)
        if "infill" in used:
            sentence = f"{key}: infill is not modelled here, whatever {target.engine} does with it."
            return used, Note(key, "unknown", sentence, value, used)
        return used, None

    def describe(self) -> str:
        """Return what becomes of other names."""
        return "names of no sampler are left out"


def _order(request: Mapping[str, Any]) -> tuple[str, ...]:
    order = request.get("samplers")
    return order if isinstance(order, tuple) else SAMPLERS


def _left_out(sampler: str, request: Mapping[str, Any]) -> str:
    """Tell why the server's chain has no such sampler, "" if it has one."""
    if request.get("mirostat", 0) > 0:
        words = "mirostat switches off all but logit_bias and temperature"
        return "" if sampler == "temperature" else words
    if sampler in ("", *_order(request)):
        return ""
    if "samplers" in request:
        return "samplers does not name it"
    return "samplers does not name it, and does not by default"


def _stands_before(first: str, second: str, request: Mapping[str, Any]) -> bool:
    """Whether both samplers act, and the one in front of the other."""
    order = _order(request)
    if request.get("mirostat", 0) > 0 or first not in order or second not in order:
        return False
    return order.index(first) < len(order) - 1 - order[::-1].index(second)


def _adaptive_is_last(order: Any, request: Mapping[str, Any]) -> str:
    if not isinstance(order, tuple) or "adaptive_p" not in order[:-1]:
        return ""
    return "adaptive_p acts last, wherever it is named, in place of the plain draw"


def _typical_beside_sigma(p: Any, request: Mapping[str, Any]) -> str:
    if p >= 1 or request.get("top_n_sigma", -1) <= 0:
        return ""
    if not _stands_before("top_n_sigma", "typ_p", request):
        return ""
    return (
        "what top_n_sigma has masked makes the entropy NaN, so that the order of a sort decides "
        "what stays"
    )


def _greedy_beside_dynamic(t: Any, request: Mapping[str, Any]) -> str:
    spread = request.get("dynatemp_range", 0)
    if t > 0 or spread <= 0 or request.get("mirostat", 0) > 0:
        return ""
    return f"it is not greedy beside dynatemp_range, but between 0 and {spread}"


def _greedy_beside_xtc(t: Any, request: Mapping[str, Any]) -> str:
    if t > 0 or request.get("xtc_probability", 0) <= 0:
        return ""
    if not _stands_before("xtc", "temperature", request):
        return ""
    return "it takes the best of what XTC leaves, which stands before it"


def _threshold_is_an_end(t: Any, request: Mapping[str, Any]) -> str:
    if t > 0.5:
        return "no two tokens reach it, and XTC is off"
    if t <= 0:
        return "all but the least likely candidate go, even if that one had been removed"
    return ""


def _breakers_are_ids(breakers: Any, request: Mapping[str, Any]) -> str:
    if all(isinstance(each, str) for each in breakers):
        return ""
    return "no client can send ids, but texts alone; they act here"


def _target_is_below_0(target: Any, request: Mapping[str, Any]) -> str:
    return "it is off, and adaptive_p a plain draw" if target < 0 else ""


_ODD: dict[str, tuple[Odd, ...]] = {
    "typical_p": (Odd(_typical_beside_sigma, "anything after top_n_sigma"),),
    "temperature": (
        Odd(_greedy_beside_dynamic, "0 is not greedy beside dynatemp_range"),
        Odd(_greedy_beside_xtc, "0 is greedy over what XTC leaves"),
    ),
    "xtc_threshold": (Odd(_threshold_is_an_end, "off above 0.5"),),
    "adaptive_target": (Odd(_target_is_below_0, "off below 0"),),
    "dry_sequence_breakers": (Odd(_breakers_are_ids, "texts alone"),),
}


def rules_of_samplers(rules: Mapping[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
    """Return rules for keys, with what samplers, their order and mirostat leave out of them."""
    result = dict(rules)
    for sampler, keys in _KEYS.items():
        left_out = LeftOut(partial(_left_out, sampler), "where samplers or mirostat leave it out")
        for key in keys:
            result[key] = (*rules.get(key, ()), left_out, *_ODD.get(key, ()))
    for key in ("dynatemp_range", "dynatemp_exponent", "min_keep"):
        beside = LeftOut(partial(_left_out, ""), "beside mirostat")
        result[key] = (*result.get(key, ()), beside)
    result["samplers"] = (
        LeftOut(partial(_left_out, ""), "beside mirostat"),
        Odd(_adaptive_is_last, "adaptive_p is last"),
        _KnownSamplers(),
    )
    return result
