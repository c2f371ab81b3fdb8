"""Bounds and multiples: what of them the compiler gets right, and how the rest is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from logitlab.checks import ParameterError

__all__ = [
    "BOUNDS",
    "EXACT",
    "MOST_DIGITS",
    "check_multiples",
    "digits",
    "number_keywords",
    "parts",
]

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
EXACT = 2**53
MOST_DIGITS = 100_000  # of multiples: an automaton has as many states
_DIGITS = 15
_PLACES = 30  # after the point
_FRACTIONS = 10**13  # what follows its 14 digits is less than 1 apart
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


def check_multiples(name: str, schema: Any) -> None:
    """Look at all multiples together where schemas are merged."""
    every: list[float] = []
    merges = False
    for part in parts(schema):
        if "multipleOf" in part:
            every.append(part["multipleOf"])
        merging = part.keys() & {"allOf", "anyOf", "$ref"}
        merges |= "allOf" in merging or bool(merging and ("multipleOf" in part or len(merging) > 1))
    if merges and math.prod(map(digits, set(every))) > MOST_DIGITS:
        rule = f"such that their digits multiply to at most {MOST_DIGITS}"
        raise ParameterError(f"{name}'s multipleOf", rule, sorted(set(every)))


def number_keywords(
    schema: Mapping[str, Any], types: frozenset[str]
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Return the bounds, all closed, and conditions for those that lie far out.

    An open end would let through what only a reader of floats takes for the end itself.
    """
    result: dict[str, Any] = {}
    far: list[tuple[str, Any]] = []
    whole = "fraction" not in types
    for key, up in (("minimum", True), ("maximum", False)):
        other = f"exclusiveM{key[1:]}"
        own = {one: schema[one] for one in (key, other) if one in schema}
        if not whole and any(abs(end) > _FRACTIONS for end in own.values()):
            far.append((key, _far(own, key, up)))
        elif own and not whole:
            nearest = [end if one == key else _next(end, up) for one, end in own.items()]
            result[key] = (max if up else min)(_short(end, up) for end in nearest)
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


def _next(end: int | float, up: bool) -> float:
    return math.nextafter(end, math.inf if up else -math.inf)


def _short(end: int | float, up: bool) -> int | float:
    """Return a bound of few digits and places, inside: llguidance 1.9 rounds or refuses others."""
    number = Decimal(str(end))
    inside = Context(prec=_DIGITS, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    short = inside.plus(number)
    if int(short.as_tuple().exponent) < -_PLACES:
        short = short.quantize(Decimal(1).scaleb(-_PLACES), context=inside)
    return end if short == number else float(short)


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
    return int("".join(map(str, Decimal(str(value)).normalize().as_tuple().digits)))
