"""JSON schemas: what is wrong with one, what cannot be enforced, and the one that is compiled."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_integer, check_number
from logitlab.constraints.endless import ends
from logitlab.constraints.formats import FORMATS, enforced
from logitlab.constraints.patterns import restated

__all__ = ["FORMATS", "REFUSED", "enforceable"]

REFUSED = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "contains",
        "minContains",
        "maxContains",
        "propertyNames",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$dynamicRef",
        "$recursiveRef",
    ]
)
"""Keywords that constrain a text in ways that no grammar here can follow."""

_TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
_DRAFT = "json-schema.org/draft/2020-12/schema"
_OLDER = (
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft-06/schema",
)
_DEEPEST_SCHEMA = 48
_MOST_PARTS = 20_000  # schemas and values
_MOST_KEYS = 2_000  # of one object; what it takes grows with their square
_MOST_PATTERNS = 64  # of one object; their cube
_EXACT = 2**53
_MULTIPLE = 100_000  # an automaton has as many states
_LENGTHS = Range(0, 2**31, integer=True)
_LEAST_LENGTHS = Range(0, 20_000, integer=True)  # a lexer has nine states for each character
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MERGING = {"allOf", "anyOf", "oneOf", "$ref"}
_KEPT_TEXTS = ("$schema", "$id", "$ref", "$anchor")
_OTHER_TEXTS = (
    "$comment",
    "$dynamicAnchor",
    "title",
    "description",
    "format",
    "contentEncoding",
    "contentMediaType",
)
# What is only looked at for its type, with the name of that in JSON.
_ANNOTATIONS: dict[str, tuple[type, str]] = {
    **dict.fromkeys([*_KEPT_TEXTS, *_OTHER_TEXTS], (str, "string")),
    **dict.fromkeys(["uniqueItems", "deprecated", "readOnly", "writeOnly"], (bool, "boolean")),
    "examples": (list, "array"),
}
# Surrogates, and control characters without a short escape of their own: those would need \uhhhh,
# and with that a key could be spelled in a way that escapes its schema.
_UNSPELLABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


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
    reader = _SchemaReader(name, schema)
    result = reader.schema(name, schema, -1)
    if reader.merges:
        reader.check_numbers()
    if reader.refers and not ends(result, name):  # without a reference nothing requires itself
        hint = "It requires itself without end."
        raise ParameterError(name, "a schema of texts that can end", schema, hint)
    return result


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


def _json_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "a text", value)
    if _UNSPELLABLE.search(value):
        rule = r"free of surrogates and of control characters other than \b \t \n \f \r"
        raise ParameterError(name, rule, value)
    return value


def _json_number(name: str, value: Any) -> int | float:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not abs(value) < math.inf:
        raise ParameterError(name, "a finite number", value)
    if abs(value) > _EXACT:
        raise ParameterError(name, "in [-2**53, 2**53], where every integer is exact", value)
    number: int | float = value
    return number


def _multiple_of(name: str, value: Any) -> int | float:
    if check_number(name, value) <= 0:
        raise ParameterError(name, "a number > 0", value)
    if _digits(value) > _MULTIPLE:
        raise ParameterError(name, f"of digits that are at most {_MULTIPLE}", value)
    return _json_number(name, value)


def _digits(value: float) -> int:
    """Return the digits of a number without its point."""
    return int("".join(map(str, Decimal(repr(value)).normalize().as_tuple().digits)))


def _array(name: str, value: Any, noun: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        raise ParameterError(name, f"a non-empty array of {noun}", value)
    return value


def _json_types(name: str, value: Any) -> str | list[str]:
    if isinstance(value, str) and value in _TYPES:
        return value
    good = isinstance(value, Sequence) and value and all(kind in _TYPES for kind in value)
    if not good or len(set(value)) < len(value):
        raise ParameterError(name, f"one or more of {', '.join(_TYPES)}", value)
    return list(value)


def _required_keys(name: str, value: Any) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ParameterError(name, "an array of keys", value)
    keys = [_json_text(f"{name}[{i}]", key) for i, key in enumerate(value)]
    if len(set(keys)) < len(keys):
        raise ParameterError(name, "an array of different keys", value)
    return keys


def _length(name: str, value: Any) -> int:
    return check_integer(name, value, _LENGTHS)


# The check of every keyword with a plain value.
_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    "type": _json_types,
    "required": _required_keys,
    "pattern": restated,
    "multipleOf": _multiple_of,
    **dict.fromkeys(_BOUNDS, _json_number),
    "minLength": lambda name, value: check_integer(name, value, _LEAST_LENGTHS),
    **dict.fromkeys(["maxLength", "minItems", "maxItems"], _length),
    **dict.fromkeys(["minProperties", "maxProperties"], _length),
}


class _SchemaReader:
    """Check a schema part by part; each method returns its part restated."""

    def __init__(self, name: str, schema: object) -> None:
        self.root = name
        self.count = 0
        self.refers = self.merges = False
        self.bounds: defaultdict[str, list[float]] = defaultdict(list)
        self.multiples: set[float] = set()
        draft = schema.get("$schema") if isinstance(schema, Mapping) else None
        address = isinstance(draft, str) and draft.removesuffix("#").split("://")[-1]
        if draft is not None and address not in (_DRAFT, *_OLDER):
            raise ParameterError(f"{name}.$schema", "draft 6, 7, 2019-09 or 2020-12", draft)
        self.older = address in _OLDER

    def step(self, name: str, depth: int) -> None:
        self.count += 1
        if depth > _DEEPEST_SCHEMA:
            rule = f"at most {_DEEPEST_SCHEMA} levels deep"
            raise ParameterError(name, rule, Seen("a deeper one"))
        if self.count > _MOST_PARTS:
            rule = f"of at most {_MOST_PARTS} schemas and values"
            raise ParameterError(self.root, rule, Seen("more of them"))

    def schema(self, name: str, schema: object, depth: int) -> Any:
        depth += 1  # than that of the schema around it
        self.step(name, depth)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise ParameterError(name, "a map or a boolean, as every JSON schema", schema)
        result: dict[str, Any] = {}
        for key, value in schema.items():
            if not isinstance(key, str):
                raise ParameterError(name, "a map whose keys are strings", key)
            here = f"{name}.{key}"
            if key in REFUSED:
                raise ParameterError(here, "absent: it cannot be enforced", value)
            if key == "x-guidance" or (key == "$schema" and depth):
                raise ParameterError(here, "absent", value)
            if key in _PLAIN:
                result[key] = _PLAIN[key](here, value)
            elif key in _NESTED:
                result[key] = _NESTED[key](self, here, value, depth)
            elif key in _ANNOTATIONS:
                kind, noun = _ANNOTATIONS[key]
                if not isinstance(value, kind):
                    raise ParameterError(here, f"of the JSON type {noun}", value)
                if key in _KEPT_TEXTS:
                    result[key] = value
            # All else is an annotation, or a keyword that no draft knows.
        self.check_together(name, schema, result)
        return result

    def check_together(self, name: str, schema: Mapping[str, Any], result: dict[str, Any]) -> None:
        """Check what hangs on several keywords, and note what hangs on several schemas."""
        if schema.get("uniqueItems", False) is not False:
            value = schema["uniqueItems"]
            raise ParameterError(f"{name}.uniqueItems", "absent: it cannot be enforced", value)
        types = result.get("type", "string")  # a text by itself, or a list of texts
        form: dict[str, Any] | None = None
        if "format" in schema and "string" in ([types] if isinstance(types, str) else types):
            if schema["format"] not in FORMATS:
                rule = f"one of {', '.join(FORMATS)}: no other is enforced"
                raise ParameterError(f"{name}.format", rule, schema["format"])
            form = enforced(schema["format"])
        if len(result.get("properties", ())) > _MOST_KEYS:
            rule = f"a map of at most {_MOST_KEYS} keys"
            raise ParameterError(f"{name}.properties", rule, Seen(f"{len(result['properties'])}"))
        together = [result, *(one for one in result.get("allOf", ()) if isinstance(one, dict))]
        count = sum(len(one.get("patternProperties", ())) for one in together)
        if count > _MOST_PATTERNS:
            rule = f"at most {_MOST_PATTERNS} patterns for the keys of an object"
            raise ParameterError(f"{name}.patternProperties", rule, Seen(f"{count} of them"))
        least = result.get("minProperties", 0)
        closed = result.get("additionalProperties") is False and not result.get("patternProperties")
        if least > len(set(result.get("required", ()))) + 1 and not closed:
            hint = "A key that is not listed could come twice; close the object."
            rule = "at most one more than the required keys of an open object"
            raise ParameterError(f"{name}.minProperties", rule, least, hint)
        bounds = result.keys() & _BOUNDS
        if bounds:
            _check_bounds(name, {key: [result[key]] for key in bounds})
            for key in bounds:
                self.bounds[key].append(result[key])
        if "multipleOf" in result:
            self.multiples.add(result["multipleOf"])
        merging = result.keys() & _MERGING
        self.refers |= "$ref" in merging
        self.merges |= "allOf" in merging or bool(merging and (bounds or len(merging) > 1))
        if form is not None:  # no matter for numbers
            result["allOf"] = [*result.get("allOf", ()), form]

    def check_numbers(self) -> None:
        """Look at all numbers together: schemas are merged somewhere."""
        _check_bounds(self.root, self.bounds)
        if math.prod(map(_digits, self.multiples)) > _MULTIPLE:
            rule = f"such that their digits multiply to at most {_MULTIPLE}"
            raise ParameterError(f"{self.root}'s multipleOf", rule, sorted(self.multiples))

    def items(self, name: str, value: Any, depth: int) -> Any:
        if not isinstance(value, Sequence):
            return self.schema(name, value, depth)
        if self.older:
            return self.schemas(name, value, depth)
        hint = "A tuple is prefixItems, or items of an older $schema."
        raise ParameterError(name, "one schema", value, hint)

    def schemas(self, name: str, value: Any, depth: int) -> list[Any]:
        items = enumerate(_array(name, value, "schemas"))
        return [self.schema(f"{name}[{i}]", one, depth) for i, one in items]

    def map(
        self, name: str, value: Any, depth: int, spell: Callable[[str, Any], str] = _json_text
    ) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map of schemas", value)
        return {
            spell(f"{name}'s key", key): self.schema(f"{name}.{key}", one, depth)
            for key, one in value.items()
        }

    def patterns(self, name: str, value: Any, depth: int) -> dict[str, Any]:
        return self.map(name, value, depth, lambda here, key: restated(here, _json_text(here, key)))

    def values(self, name: str, value: Any, depth: int) -> list[Any]:
        items = enumerate(_array(name, value, "values"))
        return [self.value(f"{name}[{i}]", one, depth + 1) for i, one in items]

    def value(self, name: str, value: object, depth: int) -> Any:
        """Check a value of const or enum, and return it in plain JSON types."""
        self.step(name, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _json_text(name, value)
        if isinstance(value, int | float):
            return _json_number(name, value)
        if isinstance(value, Mapping):
            return {
                _json_text(name, key): self.value(f"{name}.{key}", one, depth + 1)
                for key, one in value.items()
            }
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self.value(f"{name}[{i}]", one, depth + 1) for i, one in enumerate(value)]
        raise ParameterError(name, "a JSON value", value)


# And of those with schemas or values inside.
_NESTED: dict[str, Callable[[_SchemaReader, str, Any, int], Any]] = {
    "enum": _SchemaReader.values,
    "const": _SchemaReader.value,
    "items": _SchemaReader.items,
    **dict.fromkeys(["additionalProperties", "additionalItems"], _SchemaReader.schema),
    **dict.fromkeys(["prefixItems", "allOf", "anyOf", "oneOf"], _SchemaReader.schemas),
    **dict.fromkeys(["properties", "$defs", "definitions"], _SchemaReader.map),
    "patternProperties": _SchemaReader.patterns,
}
