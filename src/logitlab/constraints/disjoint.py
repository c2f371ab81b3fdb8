"""Whether two plain schemas can have a value in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from logitlab.constraints.finite import FREE, Context, Judge, atom_of, atoms, identity

__all__ = ["Disjoint"]

_DEEPEST = 12
_MOST_OF_A_PAIR = 2_000
_MOST_STEPS = 100_000
_ORDERED = (("minLength", "maxLength", "string"), ("minItems", "maxItems", "array"))


class Disjoint:
    """A judge of pairs, who says no where it is not sure.

    Examples
    --------
    >>> kind = {"properties": {"kind": {"const": "a"}}, "required": ["kind"]}
    >>> other = {"properties": {"kind": {"const": "b"}}}
    >>> Disjoint({}).are({"type": "object", **kind}, {"type": "object", **other}, FREE)
    True
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._judge = Judge(definitions)
        self._steps = 0
        self._left = _MOST_STEPS
        self._tags: dict[int, tuple[Any, frozenset[str], dict[str, frozenset[str]]]] = {}

    def are(self, one: Any, other: Any, context: Context) -> bool:
        """Say whether no value is of both, as far as it can be seen."""
        kinds, tags = self._tagged(one)
        others, other_tags = self._tagged(other)
        if kinds & others & context.atoms <= {"object"}:
            shared = tags.keys() & other_tags.keys()
            if any(tags[key].isdisjoint(other_tags[key]) for key in shared):
                return True
        self._steps = 0
        return self._apart([{"type": sorted(context.atoms)}, one, other], 0)

    def _tagged(self, schema: Any) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
        """Return the types of a schema, and what its required keys with few values may be.

        It is found out once for each member of a union, which may have hundreds.
        """
        if id(schema) not in self._tags:
            maps = [part for part in self._parts([schema]) if isinstance(part, Mapping)]
            kinds = FREE.atoms
            for part in maps:
                if "type" in part:
                    kinds &= atoms(part["type"])
            tags = {}
            for key in {key for part in maps for key in part.get("required", ())}:
                for part in self._parts(_values(maps, key)):
                    if isinstance(part, Mapping) and part.keys() & {"const", "enum"}:
                        values = [part["const"]] if "const" in part else part["enum"]
                        tags[key] = frozenset(map(identity, values))
            self._tags[id(schema)] = schema, kinds, tags
        _, kinds, tags = self._tags[id(schema)]
        return kinds, tags

    def _apart(self, schemas: list[Any], depth: int) -> bool:
        """Say whether no value is of all these schemas."""
        self._steps += 1
        self._left -= 1
        if depth > _DEEPEST or self._steps > _MOST_OF_A_PAIR or self._left < 0:
            return False
        parts = self._parts(schemas)
        if False in parts:
            return True
        maps = [part for part in parts if isinstance(part, Mapping)]
        if not maps:
            return False
        kinds = FREE.atoms
        for part in maps:
            if "type" in part:
                kinds &= atoms(part["type"])
        finite = [part for part in maps if "const" in part or "enum" in part]
        if finite:
            values = [finite[0]["const"]] if "const" in finite[0] else finite[0]["enum"]
            return all(
                any(self._judge.admits(part, value) is False for part in maps)
                for value in values
                if atom_of(value) in kinds
            )
        if all(self._kind_apart(kind, maps, depth) for kind in sorted(kinds)):
            return True
        for part in maps:
            for key in ("anyOf", "oneOf"):
                if key in part:
                    rest = {k: v for k, v in part.items() if k != key}
                    others = [*(p for p in maps if p is not part), rest]
                    if all(self._apart([*others, choice], depth + 1) for choice in part[key]):
                        return True
        return False

    def _parts(self, schemas: list[Any]) -> list[Any]:
        """Return schemas with all that they demand of the same value."""
        parts: list[Any] = []
        waiting, seen = list(reversed(schemas)), set()
        while waiting:
            schema = waiting.pop()
            if id(schema) in seen and isinstance(schema, Mapping):
                continue
            seen.add(id(schema))
            parts.append(schema)
            if isinstance(schema, Mapping):
                waiting.extend(schema.get("allOf", ()))
                if "$ref" in schema:
                    waiting.append(self._definitions[schema["$ref"]])
        return parts

    def _kind_apart(self, kind: str, maps: list[Mapping[str, Any]], depth: int) -> bool:
        if kind in ("integer", "fraction"):
            return _no_number(maps)
        for least, most, of in _ORDERED:
            if kind == of:
                low = max(part.get(least, 0) for part in maps)
                high = min(part.get(most, math.inf) for part in maps)
                if low > high:
                    return True
        if kind == "object":
            keys = {key: None for part in maps for key in part.get("required", ())}
            return any(self._apart(_values(maps, key), depth + 1) for key in keys)
        if kind == "array":
            least = max(part.get("minItems", 0) for part in maps)
            return any(self._apart(_at(maps, place), depth + 1) for place in range(min(least, 4)))
        return False


def _values(maps: list[Mapping[str, Any]], key: str) -> list[Any]:
    """Return what is asked of the value of a key."""
    asked = []
    for part in maps:
        properties = part.get("properties", {})
        if key in properties:
            asked.append(properties[key])
        elif not part.get("patternProperties"):
            asked.append(part.get("additionalProperties", True))
    return asked


def _at(maps: list[Mapping[str, Any]], place: int) -> list[Any]:
    """Return what is asked of an item."""
    asked = []
    for part in maps:
        before = part.get("prefixItems", ())
        asked.append(before[place] if place < len(before) else part.get("items", True))
    return asked


def _no_number(maps: list[Mapping[str, Any]]) -> bool:
    low: float = max(part.get("minimum", -math.inf) for part in maps)
    high: float = min(part.get("maximum", math.inf) for part in maps)
    above: float = max(part.get("exclusiveMinimum", -math.inf) for part in maps)
    below: float = min(part.get("exclusiveMaximum", math.inf) for part in maps)
    return low > high or above >= high or low >= below or above >= below
