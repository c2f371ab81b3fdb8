"""Schemas in the shapes that real ones have, each with instances that are valid and that are not.

They are rewritten before they are compiled: by draft, by what they refer to, and where they say
what a value must not be.
"""

from __future__ import annotations

from typing import Any

from constraints.schemas import DRAFT_7, DRAFT_12, FLAG, INTEGER, Schema, closed, word

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_6 = "http://json-schema.org/draft-06/schema#"
DRAFT_9 = "https://json-schema.org/draft/2019-09/schema"


def tagged(kind: str, /, **more: Any) -> Schema:
    """Return a model as pydantic describes one that a union is discriminated by."""
    kinds = {"kind": {"const": kind, "title": "Kind", "type": "string"}}
    return {"type": "object", "properties": {**kinds, **more}, "required": ["kind", *more]}


PET = {
    "$defs": {"Cat": tagged("cat", lives=INTEGER), "Dog": tagged("dog", name=word())},
    "discriminator": {
        "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"},
        "propertyName": "kind",
    },
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
}
BOX: Schema = {"properties": {"size": INTEGER, "unit": word(3)}}

Instances = list[Any]

SHAPES: dict[str, tuple[Schema, Instances, Instances]] = {
    # drafts
    "draft 4, open ends": (
        {"$schema": DRAFT_4, "type": "integer", "minimum": 0, "exclusiveMinimum": True},
        [1, 7],
        [0, -1, 1.5],
    ),
    "draft 4, an end that is not open": (
        {"$schema": DRAFT_4, "maximum": 3, "exclusiveMaximum": False},
        [3, 2.5, "x"],
        [3.5, 4],
    ),
    "draft 4, ids": (
        {
            "$schema": DRAFT_4,
            "id": "http://example.com/root.json",
            "properties": {"a": {"$ref": "#count"}, "b": {"$ref": "other.json#/definitions/x"}},
            "definitions": {
                "count": {"id": "#count", "type": "integer"},
                "other": {"id": "other.json", "definitions": {"x": {"type": "null"}}},
            },
        },
        [{"a": 1, "b": None}, {}],
        [{"a": "1"}, {"b": 1}],
    ),
    "draft 4 without a fragment": (
        {"$schema": "http://json-schema.org/draft-04/schema", "type": "null"},
        [None],
        [0],
    ),
    "draft 4 knows no const": ({"$schema": DRAFT_4, "const": 1, "type": "integer"}, [1, 2], ["a"]),
    "draft 7 over https": (
        {"$schema": "https://json-schema.org/draft-07/schema", "const": 1},
        [1],
        [2],
    ),
    "the draft again inside": (
        {"$schema": DRAFT_7, "definitions": {"a": {"$schema": DRAFT_7, **FLAG}}, "type": "object"},
        [{}],
        [1],
    ),
    "another draft inside": (
        {
            "properties": {
                "a": {"$schema": DRAFT_4, "minimum": 1, "exclusiveMinimum": True},
                "default": {"$schema": DRAFT_4, "maximum": 1, "exclusiveMaximum": True},
            }
        },
        [{"a": 2}, {"default": 0}],
        [{"a": 1}, {"default": 1}],
    ),
    "no draft, but a tuple": (
        {"$schema": DRAFT_9, "items": [INTEGER, FLAG], "additionalItems": False, "type": "array"},
        [[], [1], [1, True]],
        [[True], [1, True, 1]],
    ),
    "siblings of a reference are void": (
        {
            "$schema": DRAFT_7,
            "properties": {"a": {"$ref": "#/definitions/n", "maximum": 1, "type": "string"}},
            "definitions": {"n": {"type": "integer"}},
        },
        [{"a": 5}, {"a": 1}],
        [{"a": "x"}],
    ),
    "siblings of a reference hold": (
        {
            "$schema": DRAFT_9,
            "properties": {"a": {"$ref": "#/$defs/n", "maximum": 1}},
            "$defs": {"n": {"type": "integer"}},
        },
        [{"a": 1}],
        [{"a": 5}, {"a": "x"}],
    ),
    # references
    "components": (
        {
            "properties": {"pet": {"$ref": "#/components/schemas/Pet"}},
            "components": {"schemas": {"Pet": closed(name=word()), "Unused": {"pattern": "(?=a)"}}},
        },
        [{"pet": {"name": "Rex"}}, {}],
        [{"pet": {}}, {"pet": {"name": 1}}],
    ),
    "escapes in a pointer": (
        {
            "properties": {"a": {"$ref": "#/$defs/x~1y%20z"}, "b": {"$ref": "#/$defs/t~0/items"}},
            "$defs": {"x/y z": INTEGER, "t~": {"items": FLAG}},
        },
        [{"a": 1, "b": True}],
        [{"a": True}, {"b": 1}],
    ),
    "an anchor and an address": (
        {
            "$id": "https://example.com/a",
            "properties": {"a": {"$ref": "#n"}, "b": {"$ref": "/b"}, "c": {"$ref": "/a#/$defs/n"}},
            "$defs": {"n": {"$anchor": "n", **INTEGER}, "b": {"$id": "b", **FLAG}},
        },
        [{"a": 1, "b": False, "c": 2}],
        [{"a": "x"}, {"b": 1}, {"c": False}],
    ),
    "no address in what is no keyword": (
        {
            "$id": "http://example.com/",
            "properties": {"a": {"$ref": "x"}},
            "not": {"required": ["z"], "others": [{"$id": "x", "type": "null"}]},
            "$defs": {"x": {"$id": "x", "type": "string"}},
        },
        [{"a": "s"}, {}],
        [{"a": None}, {"z": 1}],
    ),
    "a reference into a list": (
        {"anyOf": [{"type": "integer"}, FLAG], "properties": {"a": {"$ref": "#/anyOf/1"}}},
        [1, True],
        ["x", None],
    ),
    "a reference to nothing valid": (
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/no"}},
            "$defs": {"no": {"not": {}}},
        },
        [{}, {"b": 1}],
        [{"a": 1}, 1],
    ),
    "dynamic references of one document": (
        {
            "$schema": DRAFT_12,
            "$dynamicAnchor": "node",
            "type": "object",
            "properties": {"next": {"$dynamicRef": "#node"}},
        },
        [{}, {"next": {"next": {}}}],
        [{"next": 1}],
    ),
    # one of several
    "discriminated union": (
        PET,
        [{"kind": "cat", "lives": 9}, {"kind": "dog", "name": "Rex"}],
        [{"kind": "cow"}, {"kind": "cat", "name": "Rex"}, {"lives": 9}],
    ),
    "discriminated union inside": (
        {**closed(pets={"type": "array", "items": {"oneOf": PET["oneOf"]}}), "$defs": PET["$defs"]},
        [{"pets": []}, {"pets": [{"kind": "dog", "name": "a"}, {"kind": "cat", "lives": 1}]}],
        [{"pets": [{"kind": "dog"}]}],
    ),
    "tags in an enum of one": (
        {
            "oneOf": [
                {"properties": {"op": {"enum": ["add"]}, "n": INTEGER}, "required": ["op"]},
                {"properties": {"op": {"enum": ["drop"]}}, "required": ["op"]},
            ],
            "type": "object",
        },
        [{"op": "add", "n": 1}, {"op": "drop"}],
        [{"op": "add", "n": "x"}, {"op": "keep"}, {}],
    ),
    "nested unions": (
        {
            "oneOf": [{"$ref": "#/$defs/shape"}, {"type": "null"}],
            "$defs": {
                "shape": {"oneOf": [{"$ref": "#/$defs/c"}, {"$ref": "#/$defs/s"}]},
                "c": closed(kind={"const": "c"}, r=INTEGER),
                "s": closed(kind={"const": "s"}, a=INTEGER),
            },
        },
        [None, {"kind": "c", "r": 1}, {"kind": "s", "a": 1}],
        [{"kind": "c", "a": 1}, 1],
    ),
    "either key": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1}, {"b": 1, "c": 2}],
        [{"a": 1, "b": 1}, {}, 1],
    ),
    "either key of closed objects": (
        {
            "oneOf": [
                closed(["id"], id=INTEGER, at=INTEGER),
                closed(["name"], name=word(), at=INTEGER),
            ]
        },
        [{"id": 1}, {"name": "x", "at": 1}, {"id": 1, "at": 2}],
        [{"id": 1, "name": "x"}, {"at": 1}],
    ),
    "numbers that overlap": (
        {"oneOf": [{"type": "number", "maximum": 5}, {"type": "number", "minimum": 3}]},
        [1, 7, 2.5, 5.5],
        [3, 4, 5, "x"],
    ),
    "lengths that exclude": (
        {"oneOf": [word(2), {"type": "string", "minLength": 4, "maxLength": 5}]},
        ["", "ab", "abcd"],
        ["abc", "abcdef"],
    ),
    "one of enums that overlap": (
        {"oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
        ["a", "c"],
        ["b", "d"],
    ),
    "one key, or two": (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["a", "b"]}]},
        [{"a": 1}, {"a": 1, "c": 2}],
        [{"a": 1, "b": 2}, {}, {"b": 1}],
    ),
    # opposites
    "not null": ({"not": {"type": "null"}}, [1, "x", [], {}, True], [None]),
    "not some values": (
        {"type": "string", "not": {"enum": ["a", "ab", ""]}},
        ["b", "abc"],
        ["a", ""],
    ),
    "not one value of an enum": ({"enum": ["a", "b", 1], "not": {"const": "b"}}, ["a", 1], ["b"]),
    "not one number": ({"type": "integer", "not": {"const": 0}}, [1, -1, 55], [0]),
    "not two numbers": ({"type": "number", "not": {"enum": [0, 1.5]}}, [1, 0.5, 2], [0, 1.5]),
    "not a boolean value": (
        {"type": ["boolean", "null"], "not": {"const": True}},
        [False, None],
        [True],
    ),
    "not a key": ({"type": "object", "not": {"required": ["old"]}}, [{}, {"new": 1}], [{"old": 1}]),
    "not both keys": (
        {
            "properties": {"a": INTEGER, "b": INTEGER},
            "not": {"required": ["a", "b"]},
            "type": "object",
        },
        [{"a": 1}, {"b": 1}, {}],
        [{"a": 1, "b": 2}, {"a": "x"}],
    ),
    "not any key": (
        {"type": "object", "not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        [{}, {"c": 1}],
        [{"a": 1}, {"b": 1, "c": 2}],
    ),
    "no key at all": ({"properties": {"a": {"not": {}}, "b": FLAG}}, [{"b": True}, 3], [{"a": 1}]),
    "not that tag": (
        {"type": "object", "required": ["t"], "not": {"properties": {"t": {"const": "x"}}}},
        [{"t": "y"}, {"t": 1}],
        [{"t": "x"}, {}],
    ),
    "not not": ({"not": {"not": {"type": "integer"}}}, [1], [1.5, "x"]),
    "not within bounds": ({"type": "integer", "not": {"minimum": 3, "maximum": 5}}, [2, 6], [3, 5]),
    "not long": ({"type": "string", "not": {"minLength": 3}}, ["", "ab"], ["abc"]),
    "not of a reference": (
        {
            "properties": {"a": {"type": "object", "not": {"$ref": "#/$defs/b"}}},
            "$defs": {"b": {"allOf": [{"required": ["x"]}, {"properties": {"x": FLAG}}]}},
        },
        [{"a": {}}, {"a": {"x": 1}}, {"a": {"y": True}}],
        [{"a": {"x": True}}, {"a": 1}],
    ),
    # if
    "if a tag, then a key": (
        {
            "type": "object",
            "properties": {"country": {"enum": ["US", "NL"]}, "zip": word(), "postcode": word()},
            "required": ["country"],
            "if": {"properties": {"country": {"const": "US"}}},
            "then": {"required": ["zip"]},
            "else": {"required": ["postcode"]},
        },
        [{"country": "US", "zip": "1"}, {"country": "NL", "postcode": "2"}],
        [{"country": "US", "postcode": "1"}, {"country": "NL"}, {"zip": "1"}],
    ),
    "if a key, then another": (
        {
            "if": {"required": ["a"]},
            "then": {"properties": {"b": {"type": "null"}}, "required": ["b"]},
        },
        [{"a": 1, "b": None}, {"b": 3}, 5],
        [{"a": 1}, {"a": 1, "b": 1}],
    ),
    "several ifs": (
        {
            "type": "object",
            "properties": {"k": {"enum": ["a", "b", "c"]}, "x": INTEGER, "y": INTEGER},
            "required": ["k"],
            "allOf": [
                {"if": {"properties": {"k": {"const": "a"}}}, "then": {"required": ["x"]}},
                {"if": {"properties": {"k": {"const": "b"}}}, "then": {"required": ["y"]}},
            ],
        },
        [{"k": "a", "x": 1}, {"k": "b", "y": 1}, {"k": "c"}],
        [{"k": "a", "y": 1}, {"k": "b"}],
    ),
    "if without branches": ({"if": {"pattern": "a"}, "type": "string"}, ["a", "b"], [1]),
    "branches without if": (
        {"then": {"pattern": "a"}, "else": False, "type": "string"},
        ["b"],
        [1],
    ),
    "if a type": (
        {"if": {"type": "string"}, "then": {"maxLength": 1}, "else": {"type": "null"}},
        ["a", None],
        ["ab", 1],
    ),
    # keys that depend on keys
    "dependencies of keys": (
        {"$schema": DRAFT_7, "type": "object", "dependencies": {"card": ["address"]}},
        [{}, {"address": 1}, {"card": 1, "address": 2}],
        [{"card": 1}],
    ),
    "dependencies of schemas": (
        {"$schema": DRAFT_6, "dependencies": {"a": {"properties": {"b": INTEGER}}, "c": False}},
        [{"a": 1, "b": 2}, {"b": "x"}, []],
        [{"a": 1, "b": "x"}, {"c": 1}],
    ),
    "dependentRequired of required keys": (
        {"required": ["a", "b"], "dependentRequired": {"a": ["b"]}, "type": "object"},
        [{"a": 1, "b": 1}],
        [{"a": 1}],
    ),
    "dependentSchemas that exclude": (
        {"type": "object", "dependentSchemas": {"a": {"not": {"required": ["b"]}}}},
        [{"a": 1}, {"b": 1}],
        [{"a": 1, "b": 1}],
    ),
    # names and numbers of keys
    "no key of a pattern": (
        {"type": "object", "patternProperties": {"^a": False, "a": True, "^b": INTEGER}},
        [{"b": 1}, {"ca": "x"}, {}],
        [{"a": 1}, {"ab": 2}, {"b": "x"}],
    ),
    "any names": ({"type": "object", "propertyNames": {}}, [{"a": 1}], [1]),
    "names of a pattern": (
        {"type": "object", "propertyNames": {"pattern": "^x-"}, "maxProperties": 2},
        [{"x-a": 1}, {}],
        [{"a": 1}],
    ),
    "names of an enum": (
        {"propertyNames": {"enum": ["a", "b"]}},
        [{"a": 1, "b": 2}, 3],
        [{"c": 1}],
    ),
    "short names": (
        {"type": "object", "propertyNames": {"maxLength": 2}},
        [{"ab": 1}],
        [{"abc": 1}],
    ),
    "at least one of its keys": (
        {**closed([], a=INTEGER, b=FLAG), "minProperties": 1},
        [{"a": 1}, {"b": True}, {"a": 1, "b": True}],
        [{}, {"c": 1}],
    ),
    "at least one key, open": (
        {"type": "object", "properties": {"a": INTEGER, "b": FLAG}, "minProperties": 1},
        [{"a": 1}, {"c": "x"}, {"b": True, "d": 1}],
        [{}, {"a": "x"}],
    ),
    "at most two of three keys": (
        {**closed(["a"], a=INTEGER, b=FLAG, c=FLAG), "maxProperties": 2},
        [{"a": 1}, {"a": 1, "c": True}],
        [{"a": 1, "b": True, "c": True}, {"b": True}],
    ),
    "unevaluated keys": (
        {"allOf": [BOX, {"properties": {"x": FLAG}}], "unevaluatedProperties": False},
        [{"size": 1, "x": True}, {}],
        [{"y": 1}, {"size": "x"}],
    ),
    "unevaluated items": (
        {"type": "array", "prefixItems": [INTEGER], "unevaluatedItems": FLAG, "maxItems": 2},
        [[1], [1, True]],
        [[1, 1], ["x"]],
    ),
    # arrays
    "nothing twice in one": (
        {"type": "array", "uniqueItems": True, "maxItems": 1},
        [[], [1]],
        [[1, 1]],
    ),
    "days, no day twice": (
        {"type": "array", "items": {"enum": ["mo", "tu", "we"]}, "uniqueItems": True},
        [[], ["tu"], ["we", "mo"], ["mo", "tu", "we"]],
        [["mo", "mo"], ["th"]],
    ),
    "contains anything": ({"type": "array", "contains": {}}, [[1], ["a", 2]], [[]]),
    "contains one": (
        {"type": "array", "maxItems": 3, "contains": {"const": "x"}},
        [["x"], [1, "x"], ["x", "x", 2]],
        [[], [1, 2]],
    ),
    "minContains alone": ({"type": "array", "minContains": 3}, [[], [1]], [1]),
    # harmless
    "a format that nobody knows": ({"type": "string", "format": "my-id"}, ["x", ""], [1]),
    "a format beside an enum": ({"enum": ["red", "blue"], "format": "color"}, ["red"], ["green"]),
    "whole floats": ({"type": "string", "maxLength": 2.0, "minLength": 1.0}, ["a"], ["", "abc"]),
    "64 bits": (
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        [0, 2**53 + 1, -(2**62)],
        [2**63, -(2**63) - 1, 0.5],
    ),
    "letters of any script": ({"type": "string", "pattern": r"^\p{Letter}+$"}, ["aé"], ["1", "a1"]),
    "a text with NUL": ({"enum": ["a\x00b", "c"]}, ["a\x00b", "c"], ["ab", "a"]),
}
