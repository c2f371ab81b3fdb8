"""JSON schemas as they are written: what is wrong with one, and what it says in plain words."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_integer, check_number
from logitlab.constraints.controls import SURROGATE, UNSPELLABLE
from logitlab.constraints.document import DEEPEST_SCHEMA, MOST_PARTS, Document, as_tree
from logitlab.constraints.formats import FORMATS
from logitlab.constraints.numbers import BOUNDS, EXACT, MOST_DIGITS, digits

__all__ = ["SchemaReader"]

_TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
_LENGTHS = Range(0, 2**31, integer=True)
_LEAST_LENGTHS = Range(0, 20_000, integer=True)  # a lexer has nine states for each character
_REFERENCES = ("$ref", "$recursiveRef", "$dynamicRef")
_TEXTS = (
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "title",
    "description",
    "contentEncoding",
    "contentMediaType",
)
# What is only looked at for its type, with the name of that in JSON.
_ANNOTATIONS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(_TEXTS, (str, "string")),
    **dict.fromkeys(["deprecated", "readOnly", "writeOnly"], (bool, "boolean")),
    "examples": (list, "array"),
}


def _json_text(name: str, value: object, unspellable: re.Pattern[str] = UNSPELLABLE) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "a text", value)
    if unspellable.search(value):
        rule = r"free of surrogates and of control characters other than \b \t \n \f \r"
        raise ParameterError(name, rule, value)
    return value


def _json_number(name: str, value: Any) -> int | float:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not abs(value) < math.inf:
        raise ParameterError(name, "a finite number", value)
    if abs(value) > EXACT:
        raise ParameterError(name, "in [-2**53, 2**53], where every integer is exact", value)
    number: int | float = value
    return number


def _multiple_of(name: str, value: Any) -> int | float:
    if check_number(name, value) <= 0:
        raise ParameterError(name, "a number > 0", value)
    if digits(value) > MOST_DIGITS:
        raise ParameterError(name, f"of digits that are at most {MOST_DIGITS}", value)
    return _json_number(name, value)


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


def _length(name: str, value: Any, rule: Range = _LENGTHS) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return check_integer(name, value, rule)


def _any_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ParameterError(name, "of the JSON type string", value)
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ParameterError(name, "of the JSON type boolean", value)
    return value


def _bound(name: str, value: Any) -> int | float:
    """Return a bound; an integer that no float holds is left to be rounded inwards."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or not abs(value) <= sys.float_info.max:
        raise ParameterError(name, "a finite number", value)
    number: int | float = value
    return number


# The check of every keyword with a plain value.
_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    "type": _json_types,
    "required": _required_keys,
    "pattern": _any_text,
    "uniqueItems": _flag,
    "multipleOf": _multiple_of,
    "minLength": lambda name, value: _length(name, value, _LEAST_LENGTHS),
    **dict.fromkeys(["maxLength", "minItems", "maxItems"], _length),
    **dict.fromkeys(["minContains", "maxContains"], _length),
    **dict.fromkeys(["minProperties", "maxProperties"], _length),
}


class SchemaReader:
    """Check a schema part by part; each method returns its part in the words of 2020-12."""

    def __init__(self, name: str, schema: Any, strict_formats: bool) -> None:
        self.root = name
        self.strict = strict_formats
        self.notes: dict[str, None] = {}
        self.count = 0
        schema = as_tree(name, schema)
        self.document = Document(name, schema)
        self.base, self.draft = self.document.context(schema)
        self.labels: dict[int, str] = {id(schema): "#"}
        self.waiting: list[tuple[str, str, Any]] = [("#", name, schema)]
        self.done: dict[int, Any] = {}
        self.sources: dict[int, Any] = {}

    def whole(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return all schemas that are referred to, and where they stand."""
        definitions, places = {}, {}
        while self.waiting:
            label, place, schema = self.waiting.pop()
            definitions[label] = self.schema(place, schema, -1)
            places[label] = place
        return definitions, places

    def step(self, name: str, depth: int) -> None:
        """Count a part, and refuse the one that is too many or too deep."""
        self.count += 1
        if depth > DEEPEST_SCHEMA:
            rule = f"at most {DEEPEST_SCHEMA} levels deep"
            raise ParameterError(name, rule, Seen("a deeper one"))
        if self.count > MOST_PARTS:
            rule = f"of at most {MOST_PARTS} schemas and values"
            raise ParameterError(self.root, rule, Seen("more of them"))

    def schema(self, name: str, schema: Any, depth: int) -> Any:
        """Return a schema in plain words."""
        if id(schema) in self.done and not isinstance(schema, bool):
            return self.done[id(schema)]
        depth += 1  # than that of the schema around it
        self.step(name, depth)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise ParameterError(name, "a map or a boolean, as every JSON schema", schema)
        before = self.base, self.draft
        self.base, self.draft = self.document.context(schema, before)
        result: dict[str, Any] = {}
        alone = self.draft.ignores_siblings and isinstance(schema.get("$ref"), str)
        for key in schema:
            if not isinstance(key, str):
                raise ParameterError(name, "a map whose keys are strings", key)
            if not alone or key in ("$ref", "x-guidance"):
                self.keyword(name, schema, key, result, depth)
        self.base, self.draft = before
        self.done[id(schema)] = result
        self.sources[id(result)] = schema
        return result

    def keyword(
        self, name: str, schema: Mapping[str, Any], key: str, result: dict[str, Any], depth: int
    ) -> None:
        """Check one keyword, and note what it asks for."""
        here, value = f"{name}.{key}", schema[key]
        if key == "x-guidance":
            raise ParameterError(here, "absent", value)
        if not self.draft.knows(key):
            return
        if key in BOUNDS:
            self.bound(here, schema, key, result)
        elif key in ("items", "additionalItems"):
            self.items(name, schema, key, result, depth)
        elif key == "format":
            self.format(name, schema, result)
        elif key == "dependencies":
            self.dependencies(here, value, result, depth)
        elif key in _REFERENCES:
            self.reference(here, key, value, result)
        elif key in _PLAIN:
            result[key] = _PLAIN[key](here, value)
        elif key in _NESTED:
            read = _NESTED[key](self, here, value, depth)
            if key not in ("$defs", "definitions"):
                result[key] = read
        elif key in _ANNOTATIONS:
            kind, noun = _ANNOTATIONS[key]
            if not isinstance(value, kind):
                raise ParameterError(here, f"of the JSON type {noun}", value)
        # All else is an annotation, or a keyword that no draft knows.

    def reference(self, here: str, key: str, value: Any, result: dict[str, Any]) -> None:
        """Note what a reference refers to."""
        if not isinstance(value, str):
            raise ParameterError(here, "of the JSON type string", value)
        if key != "$ref" and not self.document.is_one:
            rule = "absent beside schemas with addresses of their own: it cannot be enforced"
            raise ParameterError(here, rule, value)
        target = self.document.target(here, value, self.base)
        if isinstance(target, bool):
            result.setdefault("allOf", []).append(target)
            return
        if not isinstance(target, Mapping):
            raise ParameterError(here, "a reference to a schema", value)
        if id(target) not in self.labels:
            self.labels[id(target)] = f"#/$defs/{len(self.labels)}"
            place = value if value.startswith("#/") else f"#/{value}"
            place = place[2:].replace("/", ".")
            self.waiting.append((self.labels[id(target)], f"{self.root}.{place}", target))
        label = self.labels[id(target)]
        if result.setdefault("$ref", label) != label:
            result.setdefault("allOf", []).append({"$ref": label})

    def bound(self, here: str, schema: Mapping[str, Any], key: str, result: dict[str, Any]) -> None:
        """Read a bound; draft 4 says beside it whether it is open."""
        value = schema[key]
        end = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}.get(key)
        if end is not None:
            is_open = self.draft.has_boolean_ends and schema.get(end) is True
            result[end if is_open else key] = _bound(here, value)
        elif not (self.draft.has_boolean_ends and isinstance(value, bool)):
            result[key] = _bound(here, value)
        elif key.replace("exclusiveM", "m") not in schema:
            raise ParameterError(here, "a number, or beside the bound that it opens", value)

    def items(
        self, name: str, schema: Mapping[str, Any], key: str, result: dict[str, Any], depth: int
    ) -> None:
        """Read the items of an array, which older drafts may list."""
        here, value = f"{name}.{key}", schema[key]
        items = schema.get("items", True)
        tuples = isinstance(items, Sequence) and not isinstance(items, str | bytes)
        if key == "additionalItems":
            read = self.schema(here, value, depth)
            if tuples and self.draft.has_tuples_in_items:
                result["items"] = read
        elif not tuples:
            result["items"] = self.schema(here, value, depth)
        elif self.draft.has_tuples_in_items and "prefixItems" not in schema:
            result["prefixItems"] = self.schemas(here, value, depth)
        else:
            hint = "A tuple is prefixItems, or items of an older $schema."
            raise ParameterError(here, "one schema", value, hint)

    def format(self, name: str, schema: Mapping[str, Any], result: dict[str, Any]) -> None:
        """Keep a format that is enforced, or may not be left out."""
        value = _any_text(f"{name}.format", schema["format"])
        if value in FORMATS or self.strict:
            result["format"] = value
        elif "string" in _json_types(f"{name}.type", schema.get("type", "string")):
            self.notes[f"{name}.format is an annotation: {value!r} is not enforced."] = None

    def dependencies(self, here: str, value: Any, result: dict[str, Any], depth: int) -> None:
        """Read what was parted into two keywords later."""
        if not isinstance(value, Mapping):
            raise ParameterError(here, "a map of keys or schemas", value)
        for key, one in value.items():
            place = f"{here}.{_json_text(here, key)}"
            if isinstance(one, Mapping | bool):
                read = self.schema(place, one, depth)
                result.setdefault("dependentSchemas", {})[key] = read
            else:
                result.setdefault("dependentRequired", {})[key] = _required_keys(place, one)

    def required(self, name: str, value: Any, depth: int) -> dict[str, list[str]]:
        """Read keys with the keys that they require."""
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map of keys", value)
        return {
            _json_text(f"{name}'s key", key): _required_keys(f"{name}.{key}", one)
            for key, one in value.items()
        }

    def schemas(self, name: str, value: Any, depth: int) -> list[Any]:
        """Read a list of schemas."""
        items = enumerate(_array(name, value, "schemas"))
        return [self.schema(f"{name}[{i}]", one, depth) for i, one in items]

    def map(self, name: str, value: Any, depth: int) -> dict[str, Any]:
        """Read schemas by their keys."""
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map of schemas", value)
        return {
            _json_text(f"{name}'s key", key): self.schema(f"{name}.{key}", one, depth)
            for key, one in value.items()
        }

    def values(self, name: str, value: Any, depth: int) -> list[Any]:
        """Read the values of an enum."""
        items = enumerate(_array(name, value, "values"))
        return [self.value(f"{name}[{i}]", one, depth + 1) for i, one in items]

    def value(self, name: str, value: object, depth: int) -> Any:
        """Check a value of const or enum, and return it in plain JSON types."""
        self.step(name, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _json_text(name, value, SURROGATE)
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
_NESTED: dict[str, Callable[[SchemaReader, str, Any, int], Any]] = {
    "enum": SchemaReader.values,
    "const": SchemaReader.value,
    **dict.fromkeys(["additionalProperties", "propertyNames", "contains"], SchemaReader.schema),
    **dict.fromkeys(["unevaluatedItems", "unevaluatedProperties"], SchemaReader.schema),
    **dict.fromkeys(["not", "if", "then", "else"], SchemaReader.schema),
    **dict.fromkeys(["prefixItems", "allOf", "anyOf", "oneOf"], SchemaReader.schemas),
    **dict.fromkeys(["properties", "$defs", "definitions"], SchemaReader.map),
    **dict.fromkeys(["patternProperties", "dependentSchemas"], SchemaReader.map),
    "dependentRequired": SchemaReader.required,
}
