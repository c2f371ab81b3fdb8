"""Schemas in real shapes admit what another implementation admits, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validators
from logitlab import ParameterError
from logitlab.constraints import JsonObject, JsonSchema, Tools, constraint_of

from constraints.schemas import DRAFT_12, Schema
from constraints.shapes import DRAFT_4, SHAPES
from constraints.writing import accepts, spelled, text, written

UNICODE = {"letters of any script"}  # \p{…} is no regular expression in Python


def is_valid(schema: Schema, value: Any) -> bool:
    return bool(validators.validator_for(schema, Draft202012Validator)(schema).is_valid(value))


@pytest.mark.parametrize("name", SHAPES)
def test_valid_instances_are_accepted_and_invalid_ones_are_not(name: str) -> None:
    schema, valid, invalid = SHAPES[name]
    constraint = JsonSchema(schema)
    for value in valid:
        found = spelled(constraint, value)
        assert found is not None, value
        assert accepts(constraint, found)
        assert json.loads(found) == value
        assert name in UNICODE or is_valid(schema, value)
    for value in invalid:
        assert spelled(constraint, value) is None, value
        assert name in UNICODE or not is_valid(schema, value)


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - UNICODE))
def test_what_is_written_is_valid(name: str) -> None:
    schema = SHAPES[name][0]
    constraint = JsonSchema(schema)
    ends = 0
    for seed in range(4):
        tokens, ended = written(constraint, "bytes", seed, most=80, close=8)
        ends += ended
        if ended:
            value = json.loads(text("bytes", tokens))
            assert is_valid(schema, value), value
    assert ends


def test_a_format_is_an_annotation_unless_formats_are_strict() -> None:
    schema = {"properties": {"a": {"type": "string", "format": "color"}, "b": {"format": "int32"}}}
    notes = JsonSchema(schema).notes
    assert notes == (
        "schema.properties.a.format is an annotation: 'color' is not enforced.",
        "schema.properties.b.format is an annotation: 'int32' is not enforced.",
    )
    with pytest.raises(ParameterError, match=r"^schema.properties.a.format must be one of date"):
        JsonSchema(schema, strict_formats=True)
    with pytest.raises(ParameterError, match=r"^strict_formats must be "):
        JsonSchema(schema, strict_formats="yes")  # type: ignore[arg-type]
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for body in ({"response_format": form}, {"tools": tools}):
        constraint = constraint_of(body)
        assert constraint is not None
        assert len(constraint.notes) == 2
        with pytest.raises(ParameterError, match=r"properties.a.format must be one of date"):
            constraint_of(body, strict_formats=True)
    with pytest.raises(ParameterError, match=r"properties.a.format must be one of date"):
        Tools(tools, strict_formats=True)
    assert JsonObject().notes == ()
    assert not JsonSchema({"type": "integer", "format": "int32"}, strict_formats=True).notes


def test_nothing_is_enforced_in_a_part_that_is_not_used() -> None:
    hidden = {"pattern": "(?=a)"}
    for schema in (
        {"type": "integer", **hidden},
        {"type": "integer", "$defs": {"unused": hidden}},
        {"$schema": DRAFT_4, "$ref": "#/definitions/a", "not": hidden, "definitions": {"a": {}}},
    ):
        JsonSchema(schema)
    with pytest.raises(ParameterError, match=r"schema.\$defs.used.pattern must be a regular"):
        JsonSchema({"$ref": "#/$defs/used", "$defs": {"used": hidden}})


def test_drafts_without_an_address_are_read_as_they_are_meant() -> None:
    assert accepts(JsonSchema({"items": [{"type": "null"}], "additionalItems": False}), "[null]")
    assert not accepts(JsonSchema({"items": [{"type": "null"}], "additionalItems": False}), "[1]")
    assert not accepts(JsonSchema({"minimum": 1, "exclusiveMinimum": True}), "1")
    with pytest.raises(ParameterError, match="A tuple is prefixItems"):
        JsonSchema({"$schema": DRAFT_12, "items": [{}]})


def test_the_arguments_of_a_call_are_an_object_under_every_draft() -> None:
    parameters = {
        "$schema": DRAFT_4,
        "$ref": "#/definitions/a",
        "definitions": {"a": {"properties": {"n": {"type": "integer"}}}},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    tools = Tools([tool], "required", parallel=False)
    call = '<tool_call>\n{{"name": "f", "arguments": {}}}\n</tool_call>'
    assert accepts(tools, call.format('{"n":1}'))
    assert not accepts(tools, call.format('{"n":"x"}'))
    assert not accepts(tools, call.format("1"))


def test_the_message_shows_the_schema_that_was_written() -> None:
    schema = {"oneOf": [{"type": "string"}, {"type": "integer"}], "required": ["a"]}
    assert repr(JsonSchema(schema)) == f"JsonSchema({schema})"
