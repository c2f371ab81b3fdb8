"""Bounds and multiples: what of them the compiler gets right, and how the rest is written."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from logitlab.checks import ParameterError

__all__ = ["BOUNDS", "EXACT", "MOST_DIGITS", "check_numbers", "digits", "number_keywords", "parts"]

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
EXACT = 2**53
MOST_DIGITS = 100_000  # of multiples: an automaton has as many states
_DIGITS = 15
_FRACTIONS = 10**_DIGITS
_HIGHEST = math.nextafter(2.0**63, 0)  # an integer


def parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a compiled schema and every schema inside."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            for key in ("properties", "patternProperties", "$defs"):
                waiting.extend(part.get(key, {}).values())
            for key in ("allOf", "anyOf", "prefixItems"):
                waiting.extend(part.get(key, ()))
            waiting.extend(part.get(key) for key in ("items", "additionalProperties"))


def check_numbers(name: str, schema: Any) -> None:
    """Look at all numbers together where schemas are merged, else at each schema's own."""
    every: defaultdict[str, list[float]] = defaultdict(list)
    merges = False
    for part in parts(schema):
        own = {key: part[key] for key in BOUNDS if key in part}
        _check_bounds(name, {key: [one] for key, one in own.items()})
        for key, one in own.items():
            every[key].append(one)
        if "multipleOf" in part:
            every["multipleOf"].append(part["multipleOf"])
        merging = part.keys() & {"allOf", "anyOf", "$ref"}
        merges |= "allOf" in merging or bool(merging and (own or len(merging) > 1))
    if merges:
        _check_bounds(name, every)
        if math.prod(map(digits, set(every["multipleOf"]))) > MOST_DIGITS:
            rule = f"such that their digits multiply to at most {MOST_DIGITS}"
            raise ParameterError(f"{name}'s multipleOf", rule, sorted(set(every["multipleOf"])))


def _check_bounds(name: str, bounds: Mapping[str, Sequence[float]]) -> None:
    """Raise where an open end lets its own number through: a flaw of llguidance 1.9."""
    highs = [*bounds.get("maximum", ()), *bounds.get("exclusiveMaximum", ())]
    lows = [*bounds.get("minimum", ()), *bounds.get("exclusiveMinimum", ())]
    rule = "no whole number less than 1 away from the other bound"
    for key, others, side in (("exclusiveMinimum", highs, 1), ("exclusiveMaximum", lows, -1)):
        for end in bounds.get(key, ()):
            low, high = sorted((end, end + side))
            if end == int(end) and any(low < other < high for other in others):
                raise ParameterError(f"{name}.{key}", rule, end)


def number_keywords(
    schema: Mapping[str, Any], types: frozenset[str]
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Return the bounds, closed for integers, and conditions for those that lie far out."""
    result: dict[str, Any] = {}
    far: list[tuple[str, Any]] = []
    whole = "fraction" not in types
    for key, up in (("minimum", True), ("maximum", False)):
        other = f"exclusiveM{key[1:]}"
        own = {one: schema[one] for one in (key, other) if one in schema}
        if not whole and any(abs(end) > _FRACTIONS for end in own.values()):
            far.append((key, _far(own, key, up)))
        elif not whole:
            result |= {one: _short(end, up) for one, end in own.items()}
        elif own:
            ends = [math.ceil(end) if up else math.floor(end) for end in own.values()]
            if other in own:
                end = own[other]
                ends[-1] = math.floor(end) + 1 if up else math.ceil(end) - 1
            result[key] = _inwards(max(ends) if up else min(ends), up)
    if "multipleOf" in schema:
        result["multipleOf"] = schema["multipleOf"]
    return result, far


def _far(own: dict[str, Any], key: str, up: bool) -> dict[str, Any]:
    """Return a condition of bounds so far out that fractions there are left out."""
    choices: list[Any] = [{"type": ["null", "boolean", "string", "array", "object"]}]
    choices.append({"type": "integer", **own})
    near = {one: end for one, end in own.items() if abs(end) <= _FRACTIONS}
    if all((end < 0) == up for one, end in own.items() if one not in near):
        choices.append({"type": "number", key: -_FRACTIONS if up else _FRACTIONS, **near})
    return {"anyOf": choices}


def _short(end: int | float, up: bool) -> int | float:
    """Return a bound of at most 15 digits, inside: llguidance 1.9 rounds longer ones."""
    number = Decimal(repr(end))
    if len(number.normalize().as_tuple().digits) <= _DIGITS:
        return end
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    return float(Context(prec=_DIGITS, rounding=rounding).plus(number))


def _inwards(end: int | float, up: bool) -> int | float:
    """Return the nearest number inside that a float holds, among 64-bit integers."""
    if abs(end) <= EXACT:
        return end
    number = float(end)
    if up and number < end:
        number = math.nextafter(number, math.inf)
    if not up and number > end:
        number = math.nextafter(number, -math.inf)
    return int(max(number, -_HIGHEST) if up else min(number, _HIGHEST))


def digits(value: float) -> int:
    """Return the digits of a number without its point."""
    return int("".join(map(str, Decimal(repr(value)).normalize().as_tuple().digits)))
