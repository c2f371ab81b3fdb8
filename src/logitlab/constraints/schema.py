"""JSON schemas: what is wrong with one, what cannot be enforced, and the one that is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_integer, check_number
from logitlab.constraints.endless import ends
from logitlab.constraints.patterns import restated

__all__ = ["FORMATS", "REFUSED", "enforceable"]

FORMATS = (
    "date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid",
)  # fmt: skip
"""The formats of texts that are enforced."""

REFUSED = frozenset([
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames",
    "dependencies", "dependentRequired", "dependentSchemas", "unevaluatedItems",
    "unevaluatedProperties", "$dynamicRef", "$recursiveRef",
])  # fmt: skip
"""Keywords that constrain a text in ways that no grammar here can follow."""

_TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
_DRAFT = "json-schema.org/draft/2020-12/schema"
_OLDER = (
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft-06/schema",
)
_DEEPEST = 48
_MOST = 20_000  # schemas and values
_LARGEST = 2**53
_MULTIPLE = 100_000  # an automaton has as many states
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OTHERS: dict[str, type] = {
    "$schema": str, "$id": str, "$ref": str, "$anchor": str, "$comment": str, "$dynamicAnchor": str,
    "title": str, "description": str, "format": str, "contentEncoding": str,
    "contentMediaType": str, "uniqueItems": bool, "deprecated": bool, "readOnly": bool,
    "writeOnly": bool, "examples": list,
}  # fmt: skip
_JSON = {str: "string", bool: "boolean", list: "array"}
_MERGING = ("allOf", "anyOf", "oneOf", "$ref")
# Control characters without a short escape of their own would need \uhhhh, and with that a key
# could be spelled in a way that escapes its schema.
_CONTROLS = frozenset(map(chr, range(32))) - set("\b\t\n\f\r") | {"\x7f"}


def enforceable(name: str, schema: object) -> Any:
    """Return the schema that is compiled in place of one, or raise.

    Parameters
    ----------
    name : str
        What the schema is called in a message.
    schema : mapping or bool
        Of draft 6, 7, 2019-09 or 2020-12, which is assumed where ``$schema`` is absent.

    Returns
    -------
    dict or bool
        The same texts, with patterns that every dialect agrees on, in plain JSON types.

    Raises
    ------
    ParameterError
        For the first place that is malformed or cannot be enforced.

    References
    ----------
    JSON Schema 2020-12, https://json-schema.org/draft/2020-12

    Examples
    --------
    >>> enforceable("schema", {"type": "string", "pattern": "^(?:a|b)$", "title": "A letter"})
    {'type': 'string', 'pattern': '^(?:a|b)$'}
    >>> enforceable("schema", {"items": {"uniqueItems": True}})
    Traceback (most recent call last):
    logitlab.checks.ParameterError: schema.items.uniqueItems must be absent: it cannot be enforced,
    got True.
    """
    reader = _Reader(name, schema)
    found = reader.schema(name, schema, 0)
    reader.check_numbers()
    if not ends(found):
        hint = "It requires itself without end."
        raise ParameterError(name, "a schema of texts that can end", schema, hint)
    return found


class _Reader:
    def __init__(self, name: str, schema: object) -> None:
        self.root = name
        self.count = 0
        self.merges = False
        self.bounds: dict[str, list[float]] = {key: [] for key in _BOUNDS}
        self.multiples: set[float] = set()
        draft = schema.get("$schema") if isinstance(schema, Mapping) else None
        known = isinstance(draft, str) and draft.removesuffix("#").split("://")[-1]
        if draft is not None and known not in (_DRAFT, *_OLDER):
            raise ParameterError(f"{name}.$schema", "draft 6, 7, 2019-09 or 2020-12", draft)
        self.older = known in _OLDER

    def step(self, name: str, value: object, depth: int) -> None:
        self.count += 1
        if depth > _DEEPEST:
            raise ParameterError(name, f"at most {_DEEPEST} levels deep", Seen("a deeper one"))
        if self.count > _MOST:
            rule = f"of at most {_MOST} schemas and values"
            raise ParameterError(self.root, rule, Seen("more of them"))

    def schema(self, name: str, schema: object, depth: int) -> Any:
        """Check one schema and return it restated."""
        self.step(name, schema, depth)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise ParameterError(name, "a map or a boolean, as every JSON schema", schema)
        found: dict[str, Any] = {}
        for key, value in schema.items():
            if not isinstance(key, str):
                raise ParameterError(name, "a map whose keys are strings", key)
            here = f"{name}.{key}"
            if key in REFUSED:
                raise ParameterError(here, "absent: it cannot be enforced", value)
            if key == "x-guidance" or (key == "$schema" and depth):
                raise ParameterError(here, "absent", value)
            if key in _CHECKS:
                value = _CHECKS[key](self, here, value, depth)
                found[key] = value
            elif key in _OTHERS and not isinstance(value, _OTHERS[key]):
                rule = f"of the JSON type {_JSON[_OTHERS[key]]}"
                raise ParameterError(here, rule, value)
            elif key in ("$schema", "$id", "$ref", "$anchor"):
                found[key] = value
            # All else is an annotation, or a keyword that no draft knows.
        self.check_together(name, schema, found)
        return found

    def check_together(self, name: str, schema: Mapping[str, Any], found: dict[str, Any]) -> None:
        """Check what hangs on several keywords."""
        if schema.get("uniqueItems", False) is not False:
            value = schema["uniqueItems"]
            raise ParameterError(f"{name}.uniqueItems", "absent: it cannot be enforced", value)
        types = found.get("type")
        strings = types is None or "string" in ([types] if isinstance(types, str) else types)
        if "format" in schema and strings:
            kind = schema["format"]
            if kind not in FORMATS:
                rule = f"one of {', '.join(FORMATS)}: no other is enforced"
                raise ParameterError(f"{name}.format", rule, kind)
            found["format"] = kind
        least = found.get("minProperties", 0)
        closed = found.get("additionalProperties") is False and not found.get("patternProperties")
        if least > len(set(found.get("required", ()))) + 1 and not closed:
            hint = "A key that is not listed could come twice; close the object."
            rule = "at most one more than the required keys of an open object"
            raise ParameterError(f"{name}.minProperties", rule, least, hint)
        here = {key: [found[key]] for key in _BOUNDS if key in found}
        _check_bounds(name, here)
        for key, values in here.items():
            self.bounds[key] += values
        merging = [key for key in _MERGING if key in found]
        self.merges |= "allOf" in merging or bool(merging and (here or len(merging) > 1))

    def check_numbers(self) -> None:
        """Where schemas are merged, look at all numbers together."""
        if self.merges:
            _check_bounds(self.root, self.bounds)
            together = math.prod(map(_digits, self.multiples))
            if together > _MULTIPLE:
                rule = f"such that their digits multiply to at most {_MULTIPLE}"
                raise ParameterError(f"{self.root}'s multipleOf", rule, sorted(self.multiples))

    def value(self, name: str, value: object, depth: int) -> Any:
        """Check a value of const or enum, and return it in plain JSON types."""
        self.step(name, value, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _text(name, value)
        if isinstance(value, int | float):
            return _number(name, value)
        if isinstance(value, Mapping):
            return {
                _text(name, key): self.value(f"{name}.{key}", one, depth + 1)
                for key, one in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self.value(f"{name}[{i}]", one, depth + 1) for i, one in enumerate(value)]
        raise ParameterError(name, "a JSON value", value)


def _check_bounds(name: str, bounds: Mapping[str, Sequence[float]]) -> None:
    """Raise where an open end lets its own number through: a flaw of llguidance 1.9."""
    highs = [*bounds.get("maximum", ()), *bounds.get("exclusiveMaximum", ())]
    lows = [*bounds.get("minimum", ()), *bounds.get("exclusiveMinimum", ())]
    rule = "no whole number less than 1 away from the other bound"
    for low in bounds.get("exclusiveMinimum", ()):
        if low == int(low) and any(low < high < low + 1 for high in highs):
            raise ParameterError(f"{name}.exclusiveMinimum", rule, low)
    for high in bounds.get("exclusiveMaximum", ()):
        if high == int(high) and any(high - 1 < low < high for low in lows):
            raise ParameterError(f"{name}.exclusiveMaximum", rule, high)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "a text", value)
    if any("\ud800" <= c <= "\udfff" for c in value) or not _CONTROLS.isdisjoint(value):
        rule = r"free of surrogates and of control characters other than \b \t \n \f \r"
        raise ParameterError(name, rule, value)
    return value


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise ParameterError(name, "a finite number", value)
    if abs(value) > _LARGEST:
        raise ParameterError(name, "in [-2**53, 2**53], where every integer is exact", value)
    return value


def _finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


# ---------------------------------------------------------------- one check for every keyword

_Check = Callable[[_Reader, str, Any, int], Any]


def _sub(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return reader.schema(name, value, depth + 1)


def _items(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    if reader.older and isinstance(value, Sequence):
        return _list(reader, name, value, depth)
    if isinstance(value, Sequence):
        hint = "A tuple is prefixItems, or items of an older $schema."
        raise ParameterError(name, "one schema", value, hint)
    return _sub(reader, name, value, depth)


def _list(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        raise ParameterError(name, "a non-empty array of schemas", value)
    return [reader.schema(f"{name}[{i}]", one, depth + 1) for i, one in enumerate(value)]


def _entries(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise ParameterError(name, "a map of schemas", value)
    for key, one in value.items():
        yield _text(f"{name}'s key", key), one


def _map(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return {
        key: reader.schema(f"{name}.{key}", one, depth + 1) for key, one in _entries(name, value)
    }


def _patterns(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return {
        restated(f"{name}'s key", key): reader.schema(f"{name}.{key}", one, depth + 1)
        for key, one in _entries(name, value)
    }


def _type(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    kinds = [value] if isinstance(value, str) else value
    good = isinstance(kinds, Sequence) and kinds and all(kind in _TYPES for kind in kinds)
    if not good or len(set(kinds)) < len(kinds):
        raise ParameterError(name, f"one or more of {', '.join(_TYPES)}", value)
    return value if isinstance(value, str) else list(value)


def _enum(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        raise ParameterError(name, "a non-empty array of values", value)
    return [reader.value(f"{name}[{i}]", one, depth + 1) for i, one in enumerate(value)]


def _const(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return reader.value(name, value, depth + 1)


def _count(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return check_integer(name, value, Range(0, 2**31, integer=True))


def _bound(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return _number(name, value)


def _multiple(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    if check_number(name, value) <= 0:
        raise ParameterError(name, "a number > 0", value)
    if _digits(value) > _MULTIPLE:
        raise ParameterError(name, f"of digits that are at most {_MULTIPLE}", value)
    reader.multiples.add(value)
    return _number(name, value)


def _digits(value: float) -> int:
    """Return the digits of a number without its point."""
    return int("".join(map(str, Decimal(repr(value)).normalize().as_tuple().digits)))


def _required(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ParameterError(name, "an array of keys", value)
    keys = [_text(f"{name}[{i}]", key) for i, key in enumerate(value)]
    if len(set(keys)) < len(keys):
        raise ParameterError(name, "an array of different keys", value)
    return keys


def _pattern(reader: _Reader, name: str, value: Any, depth: int) -> Any:
    return restated(name, value)


_CHECKS: dict[str, _Check] = {
    "type": _type, "enum": _enum, "const": _const, "required": _required, "pattern": _pattern,
    "multipleOf": _multiple, "items": _items, "additionalProperties": _sub, "additionalItems": _sub,
    "prefixItems": _list, "allOf": _list, "anyOf": _list, "oneOf": _list, "properties": _map,
    "$defs": _map, "definitions": _map, "patternProperties": _patterns,
    **dict.fromkeys(_COUNTS, _count), **dict.fromkeys(_BOUNDS, _bound),
}  # fmt: skip
