"""Keywords that no grammar follows, said by alternatives of those that it does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.constraints.counts import MOST_ALTERNATIVES
from logitlab.constraints.disjoint import Disjoint
from logitlab.constraints.finite import FREE, Context, atoms, for_type, identity, only
from logitlab.constraints.negation import Negation, UnsayableError

__all__ = ["Conditions"]

_CANNOT = "absent: it cannot be enforced"
_LONGEST_NAME = 20_000  # characters of a key that is counted


class Conditions:
    """Conditions of one and the same value, as plain schemas.

    Parameters
    ----------
    definitions : mapping
        The plain schemas by their references.
    sources : mapping of int
        What the user wrote, by the identity of the plain schema.
    negation : Negation
    """

    def __init__(
        self, definitions: Mapping[str, Any], sources: Mapping[int, Any], negation: Negation
    ) -> None:
        self._sources = sources
        self._definitions = definitions
        self._disjoint = Disjoint(definitions)
        self._negation = negation

    def of(self, name: str, schema: Mapping[str, Any], context: Context) -> list[tuple[str, Any]]:
        """Return what else has to hold, as plain schemas of one and the same value."""
        conditions: list[tuple[str, Any]] = []
        if "not" in schema:
            conditions.append(("not", self._opposite(name, "not", schema, context)))
        if "if" in schema and ("then" in schema or "else" in schema):
            then, other = schema.get("then", True), schema.get("else", True)
            opposite = self._opposite(name, "if", schema, context)
            choices = [{"allOf": [schema["if"], then]}, {"allOf": [opposite, other]}]
            if then is True:
                choices[0] = schema["if"]
            if other is True:
                choices[1] = opposite
            conditions.append(("if", {"anyOf": choices}))
        if "oneOf" in schema:
            conditions.append(("oneOf", self._exactly_one(name, schema, context)))
        if "object" in context.atoms:
            conditions += self._of_objects(name, schema)
        if "array" in context.atoms:
            conditions += self._of_arrays(name, schema)
        return conditions

    def _written(self, schema: Mapping[str, Any], key: str) -> Any:
        """Return what the user wrote for a keyword of a schema."""
        return self._sources.get(id(schema), schema).get(key, schema[key])

    def _opposite(self, name: str, key: str, schema: Mapping[str, Any], context: Context) -> Any:
        try:
            return self._negation.of(schema[key], context)
        except UnsayableError as error:
            hint = f"There is no way to say the opposite of {error}."
            value = self._written(schema, key)
            raise ParameterError(f"{name}.{key}", _CANNOT, value, hint) from None

    def _exactly_one(self, name: str, schema: Mapping[str, Any], context: Context) -> Any:
        """Return alternatives of which each excludes what others share with it."""
        members = schema["oneOf"]
        overlaps: list[list[int]] = [[] for _ in members]
        for (i, one), (j, other) in itertools.combinations(enumerate(members), 2):
            if not self._disjoint.are(one, other, context):
                overlaps[i].append(j)
                overlaps[j].append(i)
        hint = "The members of oneOf must exclude each other"
        choices = []
        for i, (one, others) in enumerate(zip(members, overlaps, strict=True)):
            inside = self._negation.within(context, one)
            opposites = []
            for j in others:
                try:
                    opposites.append(self._negation.of(members[j], inside))
                except UnsayableError as error:
                    hint = f"{hint}: members {i} and {j} may overlap, and there"
                    hint = f"{hint} is no way to say the opposite of {error}."
                    value = self._written(schema, "oneOf")
                    raise ParameterError(f"{name}.oneOf", _CANNOT, value, hint) from None
            if opposites and isinstance(one, Mapping):
                one = {**one, "allOf": [*one.get("allOf", ()), *opposites]}
            elif opposites:
                one = {"allOf": [one, *opposites]}
            choices.append(one)
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
                condition = for_type("object", schema, {"anyOf": choices})
                conditions.append(("dependentRequired", condition))
        for key, asked in schema.get("dependentSchemas", {}).items():
            if asked is not True:
                present = {"allOf": [{"required": [key]}, asked]}
                either = {"anyOf": [{"properties": {key: False}}, present]}
                condition = for_type("object", schema, either)
                conditions.append(("dependentSchemas", condition))
        if "propertyNames" in schema:
            here = f"{name}.propertyNames"
            keys = self._names(here, schema["propertyNames"], schema["propertyNames"], 0)
            conditions += [("propertyNames", for_type("object", schema, one)) for one in keys]
        asked = schema.get("unevaluatedProperties", True)
        if asked is not True and "additionalProperties" not in schema:  # which leaves none
            known = self._evaluated(schema, 0)
            if known is None:
                rule = f"{_CANNOT} beside alternatives"
                raise ParameterError(f"{name}.unevaluatedProperties", rule, asked)
            condition = for_type("object", schema, {**known, "additionalProperties": asked})
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
            if most != "" and least > most:
                return [{"maxProperties": 0}]
            for key, length in (("minLength", least), ("maxLength", most or 0)):
                if length > _LONGEST_NAME:
                    rule = f"at most {_LONGEST_NAME} for the names of keys"
                    raise ParameterError(f"{name}.{key}", rule, length)
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
            conditions.append(("unevaluatedItems", for_type("array", schema, condition)))
        return conditions

    def _unlike(self, schema: Mapping[str, Any], most: float) -> Any:
        """Return all arrays of different values, if these are few."""
        items = schema.get("items", True)
        seen: set[str] = set()  # of references that may refer to themselves
        while isinstance(items, Mapping) and items.keys() == {"$ref"} and items["$ref"] not in seen:
            seen.add(items["$ref"])
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
        every = (list(row) for size in sizes for row in itertools.permutations(values, size))
        rows = list(itertools.islice(every, MOST_ALTERNATIVES + 1))
        if len(rows) > MOST_ALTERNATIVES:
            return None
        choices: list[Any] = [{"enum": rows}] if rows else []
        if not only("array", schema):
            choices.append({"not": {"type": "array"}})
        return {"anyOf": choices} if choices else False

    def _contains(self, name: str, schema: Mapping[str, Any], most: float) -> list[tuple[str, Any]]:
        asked = schema["contains"]
        least, limit = schema.get("minContains", 1), schema.get("maxContains", math.inf)
        if least == 0 and limit >= most:
            return []
        if asked is True or asked == {}:
            lengths = {"minItems": least} if least else {}
            if limit < math.inf:
                lengths["maxItems"] = limit
            return [("contains", for_type("array", schema, lengths))]
        if least and (asked is False or limit < least):
            return [("contains", {"not": {"type": "array"}})]
        if asked is False:
            return []
        if limit == 0:
            opposite = self._opposite(name, "contains", schema, FREE)
            return [("contains", for_type("array", schema, {"items": opposite}))]
        if limit < math.inf or least > 1 or most > 16:
            hint = "Set maxItems to at most 16, and leave maxContains out."
            raise ParameterError(f"{name}.contains", _CANNOT, asked, hint)
        choices = [
            {"prefixItems": [*[True] * place, asked], "minItems": place + 1}
            for place in range(int(most))
        ]
        if not choices:
            return [("contains", {"not": {"type": "array"}})]
        return [("contains", for_type("array", schema, {"anyOf": choices}))]


def _names_texts(schema: Any) -> bool:
    """Say whether a schema is no more than a list of values, or of those that are texts."""
    if not isinstance(schema, Mapping) or schema.get("type", "string") != "string":
        return False
    return schema.keys() - {"type"} in ({"const"}, {"enum"})
