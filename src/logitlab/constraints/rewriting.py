"""Schemas without ``not``, ``if``, ``oneOf`` and their like: alternatives that say the same."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context as Rounding, Decimal
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.constraints.disjoint import Disjoint
from logitlab.constraints.finite import ATOMS, Judge, atoms, identity
from logitlab.constraints.formats import FORMATS, enforced
from logitlab.constraints.negation import FREE, Context, Negation, UnsayableError
from logitlab.constraints.patterns import restated

__all__ = ["Rewriter"]

_MOST_PARTS = 30_000  # schemas that may come of one
_MOST_ALTERNATIVES = 512  # of one keyword
_EXACT = 2**53
_DIGITS = 15
_FRACTIONS = 10**_DIGITS
_HIGHEST = math.nextafter(2.0**63, 0)  # an integer
_CANNOT = "absent: it cannot be enforced"
_OF_TYPE = {
    "string": ("pattern", "format", "minLength", "maxLength"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "object": ("properties", "patternProperties", "additionalProperties", "required"),
    "array": ("prefixItems", "items", "minItems", "maxItems"),
}
_COUNTS = ("minProperties", "maxProperties")


class Rewriter:
    """Write plain schemas with positive keywords alone.

    Parameters
    ----------
    definitions, places : dict
        The plain schemas by their references, and where they stand in the user's.
    strict_formats : bool
        Whether a format that is none of `FORMATS` is an error.

    Every rewriting keeps the set of valid values. Alternatives may overlap, which a grammar does
    not mind.
    """

    def __init__(
        self, definitions: dict[str, Any], places: Mapping[str, str], strict_formats: bool
    ) -> None:
        self._definitions = definitions
        self._places = places
        self._strict_formats = strict_formats
        self.notes: list[str] = []
        self._judge = Judge(definitions)
        self._disjoint = Disjoint(definitions)
        self._negation = Negation(definitions)
        self._count = 0
        self._wanted: list[str] = []

    def whole(self) -> Any:
        """Return the root with all definitions that it needs."""
        while True:
            self._wanted = ["#"]
            written: dict[str, Any] = {}
            while self._wanted:
                label = self._wanted.pop()
                if label not in written:
                    place = self._places[label]
                    written[label] = self._schema(place, self._definitions[label], FREE)
            empty = [
                label
                for label, one in written.items()
                if one is False and self._definitions[label] is not False
            ]
            if not empty:  # else what refers to them is written anew
                break
            self._definitions |= dict.fromkeys(empty, False)
        root = written.pop("#")
        if isinstance(root, bool) or not written:
            return root
        named = {label.removeprefix("#/$defs/"): one for label, one in written.items()}
        return {**root, "$defs": named}

    def _schema(self, name: str, schema: Any, context: Context) -> Any:
        self._count += 1
        if self._count > _MOST_PARTS:
            rule = f"such that at most {_MOST_PARTS} schemas say the same without not and oneOf"
            raise ParameterError(self._places["#"], rule, Seen("more of them"))
        if isinstance(schema, bool) or not schema:
            return schema
        if self._definitions.get(schema.get("$ref", "")) is False:
            return False
        finite = self._finite(schema)
        if finite is not None:
            return finite
        context = self._negation.within(context, schema)
        result, more = self._plain(name, schema)
        # Conditions of the whole value come after the keys, whose order is that of the text.
        for key in ("$ref", "const", "enum"):
            if key in schema:
                result[key] = schema[key]
                if key == "$ref":
                    self._wanted.append(schema[key])
        for key in ("allOf", "anyOf"):
            if key in schema:
                result[key] = [
                    self._schema(f"{name}.{key}[{i}]", one, context)
                    for i, one in enumerate(schema[key])
                ]
        for key, condition in [*self._conditions(name, schema, context), *more]:
            if condition is not True:
                place = f"{name}.{key}"
                result.setdefault("allOf", []).append(self._schema(place, condition, context))
        if "format" in schema and "string" in context.atoms:
            self._format(name, schema["format"], result)
        return _simpler(result)

    def _format(self, name: str, kind: str, result: dict[str, Any]) -> None:
        """Add the pattern of a format, which is written for the compiler already."""
        if kind in FORMATS:
            form = enforced(kind)
            if result.keys().isdisjoint(form):
                result |= form
            else:
                result.setdefault("allOf", []).append(form)
        elif self._strict_formats:
            rule = f"one of {', '.join(FORMATS)}: no other is enforced"
            raise ParameterError(f"{name}.format", rule, kind)
        else:
            self.notes.append(f"{name}.format is an annotation: {kind!r} is not enforced.")

    def _finite(self, schema: Mapping[str, Any]) -> Any:
        """Return the values of a schema that names its values, if each can be judged."""
        if ("const" not in schema and "enum" not in schema) or len(schema) == 1:
            return None
        key = "const" if "const" in schema else "enum"
        values = [schema["const"]] if key == "const" else schema["enum"]
        others = {other: asked for other, asked in schema.items() if other != key}
        verdicts = [self._judge.admits(others, value) for value in values]
        if None in verdicts:
            return None
        left = [value for value, good in zip(values, verdicts, strict=True) if good]
        if not left:
            return False
        return {"const": left[0]} if key == "const" else {"enum": left}

    def _plain(self, name: str, schema: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """Return the keywords that stay, of the types that there are, and new conditions."""
        result: dict[str, Any] = {}
        types = atoms(schema["type"]) if "type" in schema else ATOMS
        if "type" in schema:
            result["type"] = schema["type"]
        more: list[tuple[str, Any]] = []
        if "string" in types:
            if "pattern" in schema:
                result["pattern"] = restated(f"{name}.pattern", schema["pattern"])
            for key in ("minLength", "maxLength"):
                if key in schema:
                    result[key] = schema[key]
        if types & {"integer", "fraction"}:
            numbers, far = _numbers(schema, types)
            result |= numbers
            more += far
        if "array" in types:
            for key in ("minItems", "maxItems"):
                if key in schema:
                    result[key] = schema[key]
            if "prefixItems" in schema:
                result["prefixItems"] = [
                    self._schema(f"{name}.prefixItems[{i}]", one, FREE)
                    for i, one in enumerate(schema["prefixItems"])
                ]
            if "items" in schema:
                result["items"] = self._schema(f"{name}.items", schema["items"], FREE)
        if "object" in types:
            result |= self._object(name, schema)
            more += self._counts(name, schema, result)
        return result, more

    def _object(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if "properties" in schema:
            result["properties"] = {
                key: self._schema(f"{name}.properties.{key}", one, FREE)
                for key, one in schema["properties"].items()
            }
        if "patternProperties" in schema:
            patterns: dict[str, Any] = {}
            for key, one in schema["patternProperties"].items():
                here = f"{name}.patternProperties.{key}"
                pattern = restated(f"{name}.patternProperties's key", key)
                read = self._schema(here, one, FREE)
                patterns[pattern] = (
                    {"allOf": [patterns[pattern], read]} if pattern in patterns else read
                )
            alike: dict[str, list[str]] = {}
            for pattern, one in patterns.items():
                alike.setdefault(json.dumps(one), []).append(pattern)
            result["patternProperties"] = {
                some[0] if len(some) == 1 else "|".join(f"(?:{one})" for one in some): patterns[
                    some[0]
                ]
                for some in alike.values()
            }
        if "additionalProperties" in schema:
            here = f"{name}.additionalProperties"
            result["additionalProperties"] = self._schema(
                here, schema["additionalProperties"], FREE
            )
        if schema.get("required"):
            result["required"] = schema["required"]
        return result

    def _counts(
        self, name: str, schema: Mapping[str, Any], result: dict[str, Any]
    ) -> list[tuple[str, Any]]:
        """Say how many keys there may be by which ones there are, where llguidance cannot."""
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        required = list(dict.fromkeys(schema.get("required", ())))
        optional = [
            key
            for key, one in schema.get("properties", {}).items()
            if key not in required and one is not False
        ]
        closed = result.get("additionalProperties") is False
        closed = closed and not result.get("patternProperties")
        if closed and most >= len(required) + len(optional):
            most = math.inf
        if least <= len(required):
            least = 0
        if not closed and least > len(required) + 1:
            hint = "A key that is not listed could come twice; close the object."
            rule = "at most one more than the required keys of an open object"
            raise ParameterError(f"{name}.minProperties", rule, least, hint)
        if least == 0 and most == math.inf:
            return []
        limits: dict[str, Any] = {"minProperties": least} if least else {}
        if most < math.inf:
            limits["maxProperties"] = most
        if not optional:
            result |= limits
            return []
        if most == math.inf:
            # Either enough of the optional keys, or none of them and keys of other names.
            wanted = least - len(required)
            several = math.comb(len(optional), wanted)
            some = itertools.combinations(optional, wanted)
            choices: list[Any] = [{"required": list(keys)} for keys in some]
            if not closed:
                choices.append({"properties": dict.fromkeys(optional, False), **limits})
        else:
            spare = max(0, min(len(optional), int(most) - len(required)))
            least_spare = max(0, least - len(required)) if closed else 0
            sizes = range(least_spare, spare + 1)
            several = sum(math.comb(len(optional), size) for size in sizes)
            if several > _MOST_ALTERNATIVES:
                choices = []
            else:
                choices = [
                    {
                        "required": [*required, *keys],
                        "properties": dict.fromkeys([k for k in optional if k not in keys], False),
                        **({} if closed else limits),
                    }
                    for size in sizes
                    for keys in itertools.combinations(optional, size)
                ]
        key = "minProperties" if most == math.inf else "maxProperties"
        if several > _MOST_ALTERNATIVES:
            rule = f"of at most {_MOST_ALTERNATIVES} choices among the optional keys"
            raise ParameterError(f"{name}.{key}", rule, schema[key])
        if len(required) > most:
            return [(key, {"not": {"type": "object"}})]
        return [(key, _for_type("object", schema, {"anyOf": choices}))]

    def _conditions(
        self, name: str, schema: Mapping[str, Any], context: Context
    ) -> list[tuple[str, Any]]:
        """Return what else has to hold, as plain schemas of one and the same value."""
        conditions: list[tuple[str, Any]] = []
        if "not" in schema:
            conditions.append(("not", self._opposite(name, "not", schema["not"], context)))
        if "if" in schema and ("then" in schema or "else" in schema):
            then, other = schema.get("then", True), schema.get("else", True)
            opposite = self._opposite(name, "if", schema["if"], context)
            choices = [{"allOf": [schema["if"], then]}, {"allOf": [opposite, other]}]
            if then is True:
                choices[0] = schema["if"]
            if other is True:
                choices[1] = opposite
            conditions.append(("if", {"anyOf": choices}))
        if "oneOf" in schema:
            conditions.append(("oneOf", self._exactly_one(name, schema["oneOf"], context)))
        if "object" in context.atoms:
            conditions += self._of_objects(name, schema)
        if "array" in context.atoms:
            conditions += self._of_arrays(name, schema)
        return conditions

    def _opposite(self, name: str, key: str, schema: Any, context: Context) -> Any:
        try:
            return self._negation.of(schema, context)
        except UnsayableError as error:
            hint = f"There is no way to say the opposite of {error}."
            raise ParameterError(f"{name}.{key}", _CANNOT, schema, hint) from None

    def _exactly_one(self, name: str, members: Sequence[Any], context: Context) -> Any:
        """Return alternatives of which each excludes what others share with it."""
        overlaps: list[list[Any]] = [[] for _ in members]
        for (i, one), (j, other) in itertools.combinations(enumerate(members), 2):
            if not self._disjoint.are(one, other, context):
                overlaps[i].append(other)
                overlaps[j].append(one)
        hint = "The members of oneOf must exclude each other"
        choices = []
        for i, (one, others) in enumerate(zip(members, overlaps, strict=True)):
            inside = self._negation.within(context, one)
            opposites = []
            for other in others:
                try:
                    opposites.append(self._negation.of(other, inside))
                except UnsayableError as error:
                    hint = f"{hint}: members {i} and {members.index(other)} may overlap, and there"
                    hint = f"{hint} is no way to say the opposite of {error}."
                    raise ParameterError(f"{name}.oneOf", _CANNOT, members, hint) from None
            choices.append({"allOf": [one, *opposites]} if opposites else one)
        return {"anyOf": choices}

    def _of_objects(self, name: str, schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
        conditions: list[tuple[str, Any]] = []
        required = set(schema.get("required", ()))
        for key, others in schema.get("dependentRequired", {}).items():
            missing = [other for other in others if other not in required and other != key]
            if missing:
                choices: list[Any] = [{"required": [key, *missing]}]
                if key not in required:
                    choices.insert(0, {"properties": {key: False}})
                condition = _for_type("object", schema, {"anyOf": choices})
                conditions.append(("dependentRequired", condition))
        for key, asked in schema.get("dependentSchemas", {}).items():
            if asked is not True:
                present = {"allOf": [{"required": [key]}, asked]}
                either = {"anyOf": [{"properties": {key: False}}, present]}
                condition = _for_type("object", schema, either)
                conditions.append(("dependentSchemas", condition))
        if "propertyNames" in schema:
            here = f"{name}.propertyNames"
            keys = self._names(here, schema["propertyNames"], schema["propertyNames"], 0)
            conditions += [("propertyNames", _for_type("object", schema, one)) for one in keys]
        asked = schema.get("unevaluatedProperties", True)
        if asked is not True:
            known = self._evaluated(schema, 0)
            if known is None:
                rule = f"{_CANNOT} beside alternatives"
                raise ParameterError(f"{name}.unevaluatedProperties", rule, asked)
            condition = _for_type("object", schema, {**known, "additionalProperties": asked})
            conditions.append(("unevaluatedProperties", condition))
        return conditions

    def _names(self, name: str, schema: Any, whole: Any, depth: int) -> list[Any]:
        """Return conditions of an object whose keys are texts of a schema."""
        if schema is True:
            return []
        if schema is False:
            return [{"maxProperties": 0}]
        if depth > 8:
            raise ParameterError(name, _CANNOT, whole)
        conditions: list[Any] = []
        if "string" not in atoms(schema.get("type", "string")):
            conditions.append({"maxProperties": 0})
        for key, asked in schema.items():
            if key in ("const", "enum"):
                values = [asked] if key == "const" else asked
                keys = [value for value in values if isinstance(value, str)]
                listed = {"properties": dict.fromkeys(keys, True), "additionalProperties": False}
                conditions.append(listed)
            elif key == "pattern":
                closed = {"patternProperties": {asked: True}, "additionalProperties": False}
                conditions.append(closed)
            elif key in ("$ref", "allOf"):
                parts = asked if key == "allOf" else [self._definitions[asked]]
                for part in parts:
                    conditions += self._names(name, part, whole, depth + 1)
            elif key == "not" and _names_texts(asked):
                values = [asked["const"]] if "const" in asked else asked["enum"]
                keys = [value for value in values if isinstance(value, str)]
                conditions.append({"properties": dict.fromkeys(keys, False)})
            elif key in ("minLength", "maxLength"):
                continue
            elif key in ("anyOf", "oneOf", "not", "format", "if", "dependentSchemas"):
                raise ParameterError(name, _CANNOT, whole)
        if "minLength" in schema or "maxLength" in schema:
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            pattern = f"^[\\s\\S]{{{least},{most}}}$"
            conditions.append({"patternProperties": {pattern: True}, "additionalProperties": False})
        return conditions

    def _evaluated(self, schema: Any, depth: int) -> dict[str, Any] | None:
        """Return the keys that a schema knows, or None if that depends on the value."""
        if isinstance(schema, bool):
            return {}
        known = {
            key: dict.fromkeys(schema[key], True)
            for key in ("properties", "patternProperties")
            if key in schema
        }
        if depth and ("additionalProperties" in schema or "unevaluatedProperties" in schema):
            return None
        if "additionalProperties" in schema:
            known["patternProperties"] = {"": True}
        if depth > 8 or schema.keys() & {"anyOf", "oneOf", "if", "dependentSchemas"}:
            return None
        parts = [*schema.get("allOf", ())]
        if "$ref" in schema:
            parts.append(self._definitions[schema["$ref"]])
        for part in parts:
            inner = self._evaluated(part, depth + 1)
            if inner is None:
                return None
            for key, keys in inner.items():
                known[key] = {**known.get(key, {}), **keys}
        return known

    def _of_arrays(self, name: str, schema: Mapping[str, Any]) -> list[tuple[str, Any]]:
        conditions: list[tuple[str, Any]] = []
        most = schema.get("maxItems", math.inf)
        if schema.get("items") is False:
            most = min(most, len(schema.get("prefixItems", ())))
        if schema.get("uniqueItems") and most > 1:
            rows = self._unlike(schema, most)
            if rows is None:
                here, hint = f"{name}.uniqueItems", "Set maxItems to 1, or name few values."
                raise ParameterError(here, _CANNOT, True, hint)
            conditions.append(("uniqueItems", rows))
        if "contains" in schema:
            conditions += self._contains(name, schema, most)
        asked = schema.get("unevaluatedItems", True)
        if asked is not True and "items" not in schema:
            if schema.keys() & {"allOf", "anyOf", "oneOf", "if", "$ref", "contains"}:
                rule = f"{_CANNOT} beside other schemas of the array"
                raise ParameterError(f"{name}.unevaluatedItems", rule, asked)
            known = [True] * len(schema.get("prefixItems", ()))
            condition = {**({"prefixItems": known} if known else {}), "items": asked}
            conditions.append(("unevaluatedItems", _for_type("array", schema, condition)))
        return conditions

    def _unlike(self, schema: Mapping[str, Any], most: float) -> Any:
        """Return all arrays of different values, if these are few."""
        items = schema.get("items", True)
        while isinstance(items, Mapping) and items.keys() == {"$ref"}:
            items = self._definitions[items["$ref"]]
        values: list[Any] | None = None
        if isinstance(items, Mapping):
            values = items.get("enum", [items["const"]] if "const" in items else None)
            if items.get("type") == "boolean" and values is None:
                values = [False, True]
            if items.get("type") == "null" and values is None:
                values = [None]
        if values is None or "prefixItems" in schema:
            return None
        values = list({identity(value): value for value in values}.values())
        top = int(min(most, len(values)))
        sizes = range(schema.get("minItems", 0), top + 1)
        if sum(math.perm(len(values), size) for size in sizes) > _MOST_ALTERNATIVES:
            return None
        rows = [list(row) for size in sizes for row in itertools.permutations(values, size)]
        others = ["null", "boolean", "number", "string", "object"]
        choices: list[Any] = [{"enum": rows}] if rows else []
        if not _only("array", schema):
            choices.append({"type": others})
        return {"anyOf": choices} if choices else False

    def _contains(self, name: str, schema: Mapping[str, Any], most: float) -> list[tuple[str, Any]]:
        asked = schema["contains"]
        least, limit = schema.get("minContains", 1), schema.get("maxContains", math.inf)
        conditions: list[tuple[str, Any]] = []
        if least == 0 and limit >= most:
            return []
        if asked is True or asked == {}:
            counts = {"minItems": least} if least else {}
            if limit < math.inf:
                counts["maxItems"] = limit
            return [("contains", _for_type("array", schema, counts))]
        if least and (asked is False or limit < least):
            return [("contains", {"not": {"type": "array"}})]
        if asked is False:
            return []
        if limit == 0:
            opposite = self._opposite(name, "contains", asked, FREE)
            return [("contains", _for_type("array", schema, {"items": opposite}))]
        if limit < math.inf or least > 1 or most > 16:
            hint = "Set maxItems to at most 16, and leave maxContains out."
            raise ParameterError(f"{name}.contains", _CANNOT, asked, hint)
        choices = [
            {"prefixItems": [*[True] * place, asked], "minItems": place + 1}
            for place in range(int(most))
        ]
        condition = _for_type("array", schema, {"anyOf": choices}) if choices else False
        if not choices:
            condition = {"not": {"type": "array"}}
        conditions.append(("contains", condition))
        return conditions


def _names_texts(schema: Any) -> bool:
    """Say whether a schema is no more than a list of values, or of those that are texts."""
    if not isinstance(schema, Mapping) or schema.get("type", "string") != "string":
        return False
    return schema.keys() - {"type"} in ({"const"}, {"enum"})


def _only(kind: str, schema: Mapping[str, Any]) -> bool:
    return schema.get("type") in (kind, [kind])


def _for_type(kind: str, schema: Mapping[str, Any], condition: dict[str, Any]) -> dict[str, Any]:
    """Return a condition with its type where the schema has that alone: it is compiled faster."""
    if not _only(kind, schema):
        return condition
    if "anyOf" in condition:
        return {"anyOf": [{"type": kind, **one} for one in condition["anyOf"]]}
    return {"type": kind, **condition}


def _numbers(
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
    return float(Rounding(prec=_DIGITS, rounding=rounding).plus(number))


def _inwards(end: int | float, up: bool) -> int | float:
    """Return the nearest number inside that a float holds, among 64-bit integers."""
    if abs(end) <= _EXACT:
        return end
    number = float(end)
    if up and number < end:
        number = math.nextafter(number, math.inf)
    if not up and number > end:
        number = math.nextafter(number, -math.inf)
    return int(max(number, -_HIGHEST) if up else min(number, _HIGHEST))


def _simpler(schema: dict[str, Any]) -> Any:
    """Return a schema without conditions that say nothing."""
    for key, idle in (("allOf", True), ("anyOf", False)):
        if key in schema:
            parts = [True if one == {} else one for one in schema[key]]
            del schema[key]
            if (not idle) in parts:
                if key == "allOf":
                    return False
                continue
            parts = [one for one in parts if one is not idle]
            if not parts and key == "anyOf":
                return False
            if parts:
                schema[key] = parts
    if len(schema) == 1:
        parts = schema.get("allOf", schema.get("anyOf", ()))
        return parts[0] if len(parts) == 1 else schema
    return schema
