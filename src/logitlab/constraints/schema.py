"""JSON schemas: what is wrong with one, what cannot be enforced, and the one that is compiled."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_integer, check_number
from logitlab.constraints.endless import ends
from logitlab.constraints.finite import ATOMS, atoms
from logitlab.constraints.references import Document
from logitlab.constraints.rewriting import Rewriter

__all__ = ["enforceable", "spells_controls"]

_TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
_DEEPEST_SCHEMA = 48
_MOST_PARTS = 20_000  # schemas and values
_EXACT = 2**53
_MULTIPLE = 100_000  # an automaton has as many states
_LENGTHS = Range(0, 2**31, integer=True)
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
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
# Surrogates, and control characters without a short escape of their own: those would need \uhhhh,
# and with that a key could be spelled in a way that escapes its schema.
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSPELLABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


def enforceable(
    name: str, schema: object, strict_formats: bool = False, notes: list[str] | None = None
) -> Any:
    """Return the schema that is compiled in place of one, or raise.

    Parameters
    ----------
    name : str
        What the schema is called in a message.
    schema : mapping or bool
        Of draft 4, 6, 7, 2019-09 or 2020-12, which is assumed where ``$schema`` is absent.
    strict_formats : bool
        Whether a format of texts that is none of `FORMATS` is refused, and not an annotation.
    notes : list of str, optional
        Is told which formats are annotations.

    Returns
    -------
    dict or bool
        The same texts by positive keywords alone, with patterns that every dialect agrees on.

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
    got True. Set maxItems to 1, or name few values.
    """
    reader = _SchemaReader(name, schema)
    definitions, places = reader.whole()
    rewriter = Rewriter(definitions, places, strict_formats)
    result = rewriter.whole()
    if notes is not None:
        notes.extend(dict.fromkeys(rewriter.notes))
    _check_numbers(name, result)
    if spells_controls(result) and not _is_closed(result):
        rule = "closed, with additionalProperties false, beside values with control characters"
        hint = r"These are spelled \uhhhh, and so could be the name of a listed key."
        raise ParameterError(name, rule, schema, hint)
    if "$ref" in json.dumps(result) and not ends(result):
        hint = "It requires itself without end."
        raise ParameterError(name, "a schema of texts that can end", schema, hint)
    return result


def spells_controls(schema: Any) -> bool:
    r"""Say whether a compiled schema names values with characters that only ``\\uhhhh`` spells.

    Examples
    --------
    >>> spells_controls({"const": "\x00"}), spells_controls({"const": "a"})
    (True, False)
    """
    if isinstance(schema, str):
        return bool(_UNSPELLABLE.search(schema))
    if isinstance(schema, Mapping):
        return any(map(spells_controls, schema.values()))
    return isinstance(schema, list) and any(map(spells_controls, schema))


def _is_closed(schema: Any) -> bool:
    """Say whether no object in a compiled schema may have a key that is not listed."""
    if isinstance(schema, bool):
        return not schema
    if "const" in schema or "enum" in schema:
        return True
    kinds = atoms(schema["type"]) if "type" in schema else ATOMS
    parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())]
    whole = bool(parts) or "$ref" in schema  # of which each part has to be closed
    properties = schema.get("additionalProperties", True) is False
    if "object" in kinds and not whole and (not properties or schema.get("patternProperties")):
        return False
    if "array" in kinds and not whole and "items" not in schema:
        return False
    parts += [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [*schema.get("prefixItems", ()), schema.get("items", False)]
    return all(map(_is_closed, parts))


def _check_numbers(name: str, schema: Any) -> None:
    """Look at all numbers together where schemas are merged, else at each schema's own."""
    every: defaultdict[str, list[float]] = defaultdict(list)
    merges = False
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        if not isinstance(part, Mapping):
            continue
        waiting.extend(one for key, one in part.items() if key not in ("const", "enum"))
        own = {key: part[key] for key in _BOUNDS if isinstance(part.get(key), int | float)}
        _check_bounds(name, {key: [one] for key, one in own.items()})
        for key, one in own.items():
            every[key].append(one)
        if isinstance(part.get("multipleOf"), int | float):
            every["multipleOf"].append(part["multipleOf"])
        merging = part.keys() & {"allOf", "anyOf", "$ref"}
        merges |= "allOf" in merging or bool(merging and (own or len(merging) > 1))
    if merges:
        _check_bounds(name, every)
        if math.prod(map(_digits, set(every["multipleOf"]))) > _MULTIPLE:
            rule = f"such that their digits multiply to at most {_MULTIPLE}"
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


def _json_text(name: str, value: object, unspellable: re.Pattern[str] = _UNSPELLABLE) -> str:
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
    if isinstance(value, float) and value == math.floor(value):
        value = int(value)
    return check_integer(name, value, _LENGTHS)


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
    **dict.fromkeys(["pattern", "format"], _any_text),
    "uniqueItems": _flag,
    "multipleOf": _multiple_of,
    **dict.fromkeys(["minLength", "maxLength", "minItems", "maxItems"], _length),
    **dict.fromkeys(["minContains", "maxContains"], _length),
    **dict.fromkeys(["minProperties", "maxProperties"], _length),
}


class _SchemaReader:
    """Check a schema part by part; each method returns its part in the words of 2020-12."""

    def __init__(self, name: str, schema: Any) -> None:
        self.root = name
        self.count = 0
        self.document = Document(name, schema)
        self.base, self.draft = self.document.context(schema)
        self.labels: dict[int, str] = {id(schema): "#"}
        self.waiting: list[tuple[str, str, Any]] = [("#", name, schema)]
        self.done: dict[int, Any] = {}

    def whole(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return all schemas that are referred to, and where they stand."""
        definitions, places = {}, {}
        while self.waiting:
            label, place, schema = self.waiting.pop()
            definitions[label] = self.schema(place, schema, -1)
            places[label] = place
        return definitions, places

    def step(self, name: str, depth: int) -> None:
        self.count += 1
        if depth > _DEEPEST_SCHEMA:
            rule = f"at most {_DEEPEST_SCHEMA} levels deep"
            raise ParameterError(name, rule, Seen("a deeper one"))
        if self.count > _MOST_PARTS:
            rule = f"of at most {_MOST_PARTS} schemas and values"
            raise ParameterError(self.root, rule, Seen("more of them"))

    def schema(self, name: str, schema: Any, depth: int) -> Any:
        if id(schema) in self.done and not isinstance(schema, bool):
            return self.done[id(schema)]
        depth += 1  # than that of the schema around it
        self.step(name, depth)
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise ParameterError(name, "a map or a boolean, as every JSON schema", schema)
        before = self.base, self.draft
        self.base, self.draft = self.document.context(schema)
        result: dict[str, Any] = {}
        alone = self.draft.ignores_siblings and isinstance(schema.get("$ref"), str)
        for key in schema:
            if not isinstance(key, str):
                raise ParameterError(name, "a map whose keys are strings", key)
            if not alone or key in ("$ref", "x-guidance"):
                self.keyword(name, schema, key, result, depth)
        self.base, self.draft = before
        self.done[id(schema)] = result
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
        if key in _BOUNDS:
            self.bound(here, schema, key, result)
        elif key in ("items", "additionalItems"):
            self.items(name, schema, key, result, depth)
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

    def dependencies(self, here: str, value: Any, result: dict[str, Any], depth: int) -> None:
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
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map of keys", value)
        return {
            _json_text(f"{name}'s key", key): _required_keys(f"{name}.{key}", one)
            for key, one in value.items()
        }

    def schemas(self, name: str, value: Any, depth: int) -> list[Any]:
        items = enumerate(_array(name, value, "schemas"))
        return [self.schema(f"{name}[{i}]", one, depth) for i, one in items]

    def map(self, name: str, value: Any, depth: int) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ParameterError(name, "a map of schemas", value)
        return {
            _json_text(f"{name}'s key", key): self.schema(f"{name}.{key}", one, depth)
            for key, one in value.items()
        }

    def values(self, name: str, value: Any, depth: int) -> list[Any]:
        items = enumerate(_array(name, value, "values"))
        return [self.value(f"{name}[{i}]", one, depth + 1) for i, one in items]

    def value(self, name: str, value: object, depth: int) -> Any:
        """Check a value of const or enum, and return it in plain JSON types."""
        self.step(name, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _json_text(name, value, _SURROGATE)
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
    **dict.fromkeys(["additionalProperties", "propertyNames", "contains"], _SchemaReader.schema),
    **dict.fromkeys(["unevaluatedItems", "unevaluatedProperties"], _SchemaReader.schema),
    **dict.fromkeys(["not", "if", "then", "else"], _SchemaReader.schema),
    **dict.fromkeys(["prefixItems", "allOf", "anyOf", "oneOf"], _SchemaReader.schemas),
    **dict.fromkeys(["properties", "$defs", "definitions"], _SchemaReader.map),
    **dict.fromkeys(["patternProperties", "dependentSchemas"], _SchemaReader.map),
    "dependentRequired": _SchemaReader.required,
}
