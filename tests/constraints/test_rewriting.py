"""Schemas thrown together admit exactly what jsonschema admits, under every draft."""

from __future__ import annotations

import json
import random
import warnings
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError
from logitlab import ParameterError
from logitlab.constraints import JsonSchema

from constraints.schemas import DRAFT_7
from constraints.shapes import DRAFT_4, DRAFT_9
from constraints.writing import spelled, text, written

DRAFTS = {4: DRAFT_4, 7: DRAFT_7, 8: DRAFT_9, 9: None}
KINDS = ["null", "boolean", "integer", "number", "string", "object", "array"]
NAMES = ["a", "b", "c"]
CONSTANTS: list[Any] = [1, "a", None, True, 0.5, [1], {"a": 1}, "b", "ab", 2, False, [], {}]
VALUES: list[Any] = [
    *[None, True, False, 0, 1, 2, 3, 1.5, 0.5, 2.5, -1, "", "a", "b", "ab", "abc"],
    *[[], [1], ["a"], [1, 2], [1, 1], [None], {}, {"a": 1}, {"b": 1}, {"a": "a"}, {"b": "b"}],
    *[{"c": 1}, {"a": 1, "b": 2}, {"a": 1, "c": "a"}, {"b": None, "c": True}, {"d": 1}],
    *[{"a": 1, "b": 1, "c": 1}, {"a": 1, "d": 1}, {"a": {"a": 1}}, {"a": []}, {"b": True}],
    *[{"a": None}, {"c": "ab", "a": 2.5}, {"a": {"b": 1}, "b": {}}, {"ab": 1}, {"cc": "a"}],
]


class Maker:
    """Schemas at random, of keywords that a draft knows."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.draft = self.rng.choice([4, 7, 8, 9])

    def whole(self) -> dict[str, Any]:
        schema: Any = True
        while isinstance(schema, bool):
            schema = self.schema(0)
        if "#/definitions" in json.dumps(schema):
            schema["definitions"] = {"x": self.schema(2), "y": self.schema(2)}
            if self.draft < 8 and "$ref" in schema:  # else it would stand alone
                schema["allOf"] = [{"$ref": schema.pop("$ref")}]
        address = DRAFTS[self.draft]
        return {**({"$schema": address} if address else {}), **schema}

    def schema(self, depth: int) -> Any:
        rng, draft = self.rng, self.draft
        if rng.random() < 0.06 and draft > 4:
            return rng.random() < 0.6
        chances = {key: chance for (key, chance, since) in CHANCES if draft >= since}
        if depth > 2:
            chances = {key: chance for key, chance in chances.items() if key in SHALLOW}
        scale = 0.6 if depth else 1.0
        keys = [key for key, chance in chances.items() if rng.random() < chance * scale]
        schema: dict[str, Any] = {}
        for key in keys:
            schema[key] = self.value(key, depth)
        if draft == 4 and "exclusiveMinimum" in schema:
            schema |= {"exclusiveMinimum": True, "minimum": schema.get("minimum", 1)}
        if "if" in schema:
            schema |= {
                key: self.schema(depth + 1) for key in ("then", "else") if rng.random() < 0.8
            }
        return schema

    def value(self, key: str, depth: int) -> Any:
        rng = self.rng

        def inner() -> Any:
            return self.schema(depth + 1)

        match key:
            case "type":
                return rng.choice([rng.choice(KINDS), "object", "object", rng.sample(KINDS, 2)])
            case "minimum" | "maximum" | "exclusiveMinimum":
                return rng.choice([0, 1, 3, 2.5])
            case "enum":
                return rng.sample(CONSTANTS, rng.randint(1, 4))
            case "const":
                return rng.choice(CONSTANTS)
            case "format":
                return "colour"
            case "properties":
                return {name: inner() for name in rng.sample(NAMES, rng.randint(1, 2))}
            case "required":
                return rng.sample(NAMES, rng.randint(1, 2))
            case "patternProperties":
                return {rng.choice(["^a", "c"]): inner()}
            case "items" if self.draft < 9 and rng.random() < 0.3:
                return [inner()]
            case "anyOf" | "oneOf" | "allOf":
                return [inner() for _ in range(rng.randint(1, 3))]
            case "prefixItems":
                return [inner()]
            case "dependencies" | "dependentRequired":
                some = rng.random() < 0.4 and key == "dependencies"
                return {rng.choice(NAMES): inner() if some else rng.sample(NAMES, 1)}
            case "dependentSchemas":
                return {rng.choice(NAMES): inner()}
            case "propertyNames":
                names = [{"enum": ["a", "b"]}, {"const": "a"}, {"maxLength": 1}, {"pattern": "^a"}]
                return rng.choice([*names, True, {"not": {"const": "c"}}])
            case "uniqueItems":
                return True
            case "$ref":
                return "#/definitions/" + rng.choice(["x", "y"])
        return rng.randint(0, 2) if key.startswith(("min", "max")) else inner()


# Each keyword, how often it comes, and the draft from which on.
CHANCES = [
    *[("type", 0.6, 4), ("minimum", 0.12, 4), ("maximum", 0.12, 4), ("exclusiveMinimum", 0.06, 4)],
    *[("minLength", 0.1, 4), ("maxLength", 0.1, 4), ("enum", 0.1, 4), ("const", 0.06, 7)],
    *[("format", 0.03, 4), ("properties", 0.5, 4), ("required", 0.3, 4), ("items", 0.15, 4)],
    *[("additionalProperties", 0.25, 4), ("patternProperties", 0.06, 4), ("minItems", 0.1, 4)],
    *[("minProperties", 0.08, 4), ("maxProperties", 0.08, 4), ("maxItems", 0.1, 4)],
    *[("additionalItems", 0.04, 4), ("prefixItems", 0.08, 9), ("uniqueItems", 0.04, 4)],
    *[("not", 0.2, 4), ("anyOf", 0.13, 4), ("oneOf", 0.13, 4), ("allOf", 0.13, 4), ("if", 0.12, 7)],
    *[("dependencies", 0.08, 4), ("dependentRequired", 0.08, 8), ("dependentSchemas", 0.05, 8)],
    *[("propertyNames", 0.05, 7), ("contains", 0.05, 7), ("minContains", 0.03, 8)],
    *[("unevaluatedProperties", 0.06, 9), ("unevaluatedItems", 0.03, 9), ("$ref", 0.12, 4)],
]
SHALLOW = {"type", "minimum", "maximum", "minLength", "maxLength", "enum", "const", "$ref"}


@pytest.mark.parametrize("part", range(4))
def test_they_admit_what_jsonschema_admits(part: int) -> None:
    taken = 0
    for seed in range(25 * part, 25 * part + 25):
        maker = Maker(seed)
        schema = maker.whole()
        if maker.draft >= 8:
            schema.pop("dependencies", None)  # which jsonschema ignores there
        kind = validators.validator_for(schema, Draft202012Validator)
        try:
            kind.check_schema(schema)
            constraint = JsonSchema(schema)
        except (SchemaError, ParameterError):
            continue
        validator = kind(schema)
        taken += 1
        for value in VALUES:
            told = (seed, schema, value)
            assert (spelled(constraint, value) is not None) == validator.is_valid(value), told
        tokens, ended = written(constraint, "bytes", seed, most=60, close=6)
        if ended:
            value = json.loads(text("bytes", tokens))
            assert validator.is_valid(value), (seed, schema, value)
    assert taken >= 6


def test_nothing_that_jsonschema_finds_is_said_to_be_impossible() -> None:
    refused = 0
    for seed in range(1_000, 1_200):
        schema = Maker(seed).whole()
        kind = validators.validator_for(schema, Draft202012Validator)
        try:
            JsonSchema(schema)
        except ParameterError as error:
            if not any(words in str(error) for words in ("Unsatisfiable", "No value is valid")):
                continue
            refused += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert not any(map(kind(schema).is_valid, VALUES)), (seed, schema)
    assert refused > 20


def test_a_dict_in_two_places_is_read_in_both() -> None:
    part = {"$ref": "#/$defs/x"}
    kinds = {"a": {"type": "integer"}, "b": {"type": "string"}}
    places = {
        key: {"$id": f"http://e/{key}", "properties": {"p": part}, "$defs": {"x": kind}}
        for key, kind in kinds.items()
    }
    twice = {"properties": places}
    one = {"const": 1}  # which the fourth draft does not know
    old = {"$schema": DRAFT_4, "id": "http://e/a", "properties": {"p": one}}
    drafts = {"properties": {"a": old, "b": {"properties": {"p": one}}}}
    parts: list[Any] = [twice, drafts, {"allOf": [twice, {"type": "object"}, twice]}]
    values = [{key: {"p": value}} for key in "ab" for value in (1, "x")]
    for schema in parts:
        validator = Draft202012Validator(schema)
        constraint = JsonSchema(schema)
        for value in values:
            spelling = json.dumps(value, separators=(",", ":"))
            assert constraint.allows(spelling) == validator.is_valid(value), value


LINK = "https://example.com/schemas/2024/very-long-identifier/v"
LISTS = {
    "one long text": ["ab" * 1_500],
    "long texts": [LINK * 5 + f"{i}" for i in range(20)],
    "a thousand names": [f"name-{i * i % 997}-{i}" for i in range(1_000)],
    "texts in texts": ["a" * i for i in range(180)],
    "a comb": ["a" * i + "b" for i in range(180)],
    "branches on branches": ["a" * i + "b" * j + "c" * i for i in range(20) for j in range(20)],
    "signs": ["a-]^&&~", "\t", "\xe9", "\ufeff", "\x85", '"', "\\", "/", "", " ", "\U0001f600"],
}


@pytest.mark.parametrize("name", LISTS)
def test_texts_that_are_left_out(name: str) -> None:
    texts = LISTS[name]
    constraint = JsonSchema({"type": "string", "not": {"enum": texts}})
    rng = random.Random(0)
    near = {"", "x", '"', "\\"}
    for whole in rng.sample(texts, min(len(texts), 12)):
        cut = rng.randrange(len(whole) + 1)
        near |= {whole, whole + "a", whole[:-1], whole[:cut], whole[:cut] + "~" + whole[cut:]}
        near |= {whole[:cut] + "\x85" + whole[cut + 1 :], whole[:cut] + whole[cut + 1 :]}
    for one in near:
        spelling = json.dumps(one, ensure_ascii=False)
        assert constraint.allows(spelling) == (one not in texts), one


def test_long_texts_under_conditions() -> None:
    kind = {"properties": {"kind": {"const": LINK}}, "required": ["kind"]}
    some = [{"enum": [LINK * 3, LINK]}, {"type": "string", "minLength": 1}]
    schemas: list[Any] = [
        {"type": "object", "if": kind, "then": {"required": ["b"]}},
        {"type": "object", "not": kind},
        {"properties": {"kind": {"oneOf": some}}},
    ]
    for schema in schemas:
        constraint, validator = JsonSchema(schema), Draft202012Validator(schema)
        for value in (LINK, LINK + "1", LINK[:-1], LINK * 3, "", 1):
            for whole in ({"kind": value}, {"kind": value, "b": 1}, {"b": 1}):
                spelling = json.dumps(whole, separators=(",", ":"))
                assert constraint.allows(spelling) == validator.is_valid(whole), (schema, whole)
