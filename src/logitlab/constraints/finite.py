"""Values of finite sets: whether a plain schema admits one, as far as that can be said here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ATOMS",
    "FREE",
    "TYPE_OF",
    "Context",
    "Judge",
    "atom_of",
    "atoms",
    "for_type",
    "identity",
    "only",
]

ATOMS = frozenset(["null", "boolean", "integer", "fraction", "string", "array", "object"])
"""The types, with numbers that are no integers apart."""


_DEEPEST = 12
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class Context:
    """What is known of a value beside the schema that is negated.

    Attributes
    ----------
    atoms : frozenset of str
        The types it may have.
    keys : frozenset of str or None
        The keys it may have as an object; None is any.
    """

    atoms: frozenset[str] = ATOMS
    keys: frozenset[str] | None = None

    def both(self, other: Context) -> Context:
        """Return what is known of a value by two contexts."""
        keys = [one.keys for one in (self, other) if one.keys is not None]
        return Context(self.atoms & other.atoms, frozenset.intersection(*keys) if keys else None)


FREE = Context()


def atoms(types: str | Sequence[str]) -> frozenset[str]:
    """Return the types that a ``type`` names, numbers in their two parts.

    Examples
    --------
    >>> sorted(atoms(["number", "null"]))
    ['fraction', 'integer', 'null']
    """
    several = [types] if isinstance(types, str) else types
    parts = [["integer", "fraction"] if one == "number" else [one] for one in several]
    return frozenset(part for some in parts for part in some)


def atom_of(value: Any) -> str:
    """Return the type of a value.

    Examples
    --------
    >>> atom_of(1.0), atom_of(1.5), atom_of(True)
    ('integer', 'fraction', 'boolean')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "fraction"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def identity(value: Any) -> str:
    """Return a text that equal values share: 1 and 1.0 do, 1 and true do not.

    Examples
    --------
    >>> identity([1.0, {"b": None, "a": True}])
    '[1, {"a": true, "b": null}]'
    """
    if value is None or isinstance(value, bool | str):
        return json.dumps(value)
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value == int(value):
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


class Judge:
    """Say whether plain schemas admit a value; None where that is not decided here.

    Examples
    --------
    >>> judge = Judge({})
    >>> judge.admits({"type": "string", "maxLength": 2}, "abc")
    False
    >>> judge.admits({"pattern": "a"}, "abc") is None
    True
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._steps = _MOST_STEPS

    def admits(self, schema: Any, value: Any, depth: int = 0) -> bool | None:
        """Say whether a value is valid under a schema."""
        if isinstance(schema, bool):
            return schema
        self._steps -= 1
        if depth > _DEEPEST or self._steps < 0:
            return None
        return _all(self._obeys(key, asked, schema, value, depth) for key, asked in schema.items())

    def _obeys(
        self, key: str, asked: Any, schema: Mapping[str, Any], value: Any, depth: int
    ) -> bool | None:
        def inner(part: Any, one: Any) -> bool | None:
            return self.admits(part, one, depth + 1)

        match key:
            case "type":
                return atom_of(value) in atoms(asked)
            case "const":
                return identity(value) == identity(asked)
            case "enum":
                own, kind = identity(value), atom_of(value)
                return any(own == identity(one) for one in asked if atom_of(one) == kind)
            case "$ref":
                return inner(self._definitions[asked], value)
            case "not":
                return _opposite(inner(asked, value))
            case "allOf":
                return _all(inner(one, value) for one in asked)
            case "anyOf":
                return _opposite(_all(_opposite(inner(one, value)) for one in asked))
            case "oneOf":
                verdicts = [inner(one, value) for one in asked]
                return None if None in verdicts else verdicts.count(True) == 1
        if key not in TYPE_OF:
            return None
        if atom_of(value) not in atoms(TYPE_OF[key]):
            return True
        before = len(schema.get("prefixItems", ()))
        listed = schema.get("properties", {})
        match key:
            case "required":
                return all(one in value for one in asked)
            case "properties":
                return _all(inner(one, value[name]) for name, one in asked.items() if name in value)
            case "additionalProperties" if not schema.get("patternProperties"):
                return _all(inner(asked, one) for name, one in value.items() if name not in listed)
            case "prefixItems":
                return _all(inner(part, one) for part, one in zip(asked, value, strict=False))
            case "items":
                return _all(inner(asked, one) for one in value[before:])
        return bool(_COMPARISONS[key](value, asked)) if key in _COMPARISONS else None


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    some = list(verdicts)
    if False in some:
        return False
    return None if None in some else True


def _opposite(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict


# The type whose values a keyword is about.
TYPE_OF = {
    **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], "number"),
    "multipleOf": "number",
    **dict.fromkeys(["minLength", "maxLength", "pattern", "format"], "string"),
    **dict.fromkeys(["minItems", "maxItems", "prefixItems", "items", "uniqueItems"], "array"),
    **dict.fromkeys(["contains", "minContains", "maxContains", "unevaluatedItems"], "array"),
    **dict.fromkeys(["minProperties", "maxProperties", "properties", "required"], "object"),
    **dict.fromkeys(["additionalProperties", "patternProperties", "propertyNames"], "object"),
    **dict.fromkeys(["dependentRequired", "dependentSchemas"], "object"),
    "unevaluatedProperties": "object",
}
_COMPARISONS: dict[str, Any] = {
    "minimum": lambda value, least: value >= least,
    "maximum": lambda value, most: value <= most,
    "exclusiveMinimum": lambda value, least: value > least,
    "exclusiveMaximum": lambda value, most: value < most,
    **dict.fromkeys(["minLength", "minItems", "minProperties"], lambda value, n: len(value) >= n),
    **dict.fromkeys(["maxLength", "maxItems", "maxProperties"], lambda value, n: len(value) <= n),
}


def only(kind: str, schema: Mapping[str, Any]) -> bool:
    """Say whether a schema names a type, and that alone."""
    return schema.get("type") in (kind, [kind])


def for_type(kind: str, schema: Mapping[str, Any], condition: dict[str, Any]) -> dict[str, Any]:
    """Return a condition with its type where the schema has that alone: it is compiled faster."""
    if not only(kind, schema):
        return condition
    if "anyOf" in condition:
        return {"anyOf": [{"type": kind, **one} for one in condition["anyOf"]]}
    return {"type": kind, **condition}
