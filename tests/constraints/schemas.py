"""Schemas such as requests bring along, and such as must be refused."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def closed(required: list[str] | None = None, /, **properties: Any) -> Schema:
    """Return the schema of an object with these keys only."""
    keys = list(properties) if required is None else required
    return {
        "type": "object",
        "properties": properties,
        "required": keys,
        "additionalProperties": False,
    }


def word(most: int = 8, **more: Any) -> Schema:
    return {"type": "string", "maxLength": most, **more}


def listed(items: Any, least: int = 0, most: int = 3) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


INTEGER: Schema = {"type": "integer", "minimum": 0, "maximum": 999}
FLAG: Schema = {"type": "boolean"}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_12 = "https://json-schema.org/draft/2020-12/schema"

PERSON = closed(name=word(12), age={"type": "integer", "minimum": 0, "maximum": 120}, member=FLAG)
TREE: Schema = {
    "$defs": {
        "node": closed(["value"], value=INTEGER, children=listed({"$ref": "#/$defs/node"}, 0, 2))
    },
    "$ref": "#/$defs/node",
}
STAMPS = closed(
    **{
        kind.replace("-", "_"): {"type": "string", "format": kind}
        for kind in ("date", "time", "date-time", "ipv4", "uuid")
    }
)

SCHEMAS: dict[str, Schema | bool] = {
    "person": PERSON,
    "tree": TREE,
    "stamps": STAMPS,
    "null": {"type": "null"},
    "flag": FLAG,
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "short text": word(),
    "text of exactly four": word(4, minLength=4),
    "nullable text": {"type": ["string", "null"], "maxLength": 5},
    "several types": {"type": ["integer", "boolean", "null"]},
    "grade": {"enum": ["A", "B", "C", "D", "F"]},
    "mixed enum": {"enum": [1, "one", None, True, [1], {"one": 1}]},
    "const": {"const": "fixed"},
    "const object": {"const": {"kind": "point", "at": [0, 0.5, None]}},
    "quotes and line ends": {"enum": ['say "hi"', "two\nlines", "tab\t", "back\\slash", "é日🙂"]},
    "percentage": {"type": "number", "minimum": 0, "maximum": 100},
    "open interval": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "temperature": {"type": "number", "minimum": -273.15, "maximum": 1000.5},
    "negative": {"type": "integer", "exclusiveMaximum": 0, "minimum": -40},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "safe integer": {"type": "integer", "minimum": -(2**53), "maximum": 2**53},
    "multiple of 7": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 7000},
    "quarter": {"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 10},
    "phone": {"type": "string", "pattern": r"^\+?[0-9]{3}-[0-9]{4}$"},
    "slug": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 12},
    "colour": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
    "version": {"type": "string", "pattern": r"^\d{1,2}\.\d{1,2}\.\d{1,2}$"},
    "path without quotes": {"type": "string", "pattern": r'^[^"\\/]{1,6}(/[^"\\/]{1,6}){0,2}$'},
    "no words": {"type": "string", "pattern": r"^\W{2}\S\D$"},
    "somewhere an x": {"type": "string", "pattern": "x", "maxLength": 6},
    "either end": {"type": "string", "pattern": "^a|z$", "maxLength": 5},
    "licence plate": {"type": "string", "pattern": r"^\p{Lu}{1,3}-\p{Lu}{1,2} [1-9]\d{0,3}$"},
    "email": {"type": "string", "format": "email", "maxLength": 20},
    "hostname": {"type": "string", "format": "hostname", "maxLength": 16},
    "uri": {"type": "string", "format": "uri", "maxLength": 24},
    "ipv6": {"type": "string", "format": "ipv6"},
    "duration": {"type": "string", "format": "duration", "maxLength": 10},
    "integers": listed(INTEGER, 1, 4),
    "no items": {"type": "array", "maxItems": 0},
    "matrix": listed(listed({"type": "integer", "minimum": -9, "maximum": 9}, 2, 2), 2, 2),
    "tuple": {
        "type": "array",
        "prefixItems": [word(4), INTEGER, FLAG],
        "items": False,
        "minItems": 3,
    },
    "tuple with a tail": {
        "type": "array",
        "prefixItems": [word(3)],
        "items": INTEGER,
        "minItems": 1,
        "maxItems": 3,
    },
    "tuple of draft 7": {
        "$schema": DRAFT_7,
        "type": "array",
        "items": [INTEGER, FLAG],
        "additionalItems": False,
        "minItems": 2,
    },
    "definitions of draft 7": {
        "$schema": DRAFT_7,
        "definitions": {"id": INTEGER},
        "type": "object",
        "properties": {"id": {"$ref": "#/definitions/id"}},
        "required": ["id"],
        "additionalProperties": False,
    },
    "optional keys": closed(["id"], id=INTEGER, note=word(5), tags=listed(word(4)), ok=FLAG),
    "no keys": closed(),
    "odd keys": closed(**{"a b": FLAG, 'quo"te': FLAG, "naïve": FLAG, "": FLAG, "$ref/x~y": FLAG}),
    "map of integers": {
        "type": "object",
        "additionalProperties": INTEGER,
        "maxProperties": 2,
    },
    "keys by pattern": {
        "type": "object",
        "patternProperties": {"^x_[a-z]{1,3}$": INTEGER},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "listed and other keys": {
        "type": "object",
        "properties": {"id": INTEGER},
        "required": ["id"],
        "additionalProperties": {"type": "string", "maxLength": 3},
        "maxProperties": 2,
    },
    "at least one key": {
        "type": "object",
        "additionalProperties": FLAG,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "shapes": {
        "oneOf": [
            closed(kind={"const": "circle"}, radius=INTEGER),
            closed(kind={"const": "square"}, side=INTEGER),
        ]
    },
    "events": {
        "anyOf": [
            closed(type={"const": "click"}, x=INTEGER, y=INTEGER),
            closed(type={"const": "key"}, code=word(1)),
            closed(type={"const": "quit"}),
        ]
    },
    "text or number": {"anyOf": [word(5), {"type": "number", "minimum": 0, "maximum": 9}]},
    "optional by anyOf": closed(nick={"anyOf": [word(5), {"type": "null"}]}),
    "merged": {
        "allOf": [
            {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]},
            {"properties": {"b": FLAG}, "required": ["b"], "maxProperties": 2},
        ]
    },
    "narrowed reference": {
        "$defs": {"text": {"type": "string", "minLength": 2}},
        "allOf": [{"$ref": "#/$defs/text"}, {"maxLength": 4}],
    },
    "linked list": closed(
        ["head"], head=INTEGER, tail={"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    ),
    "expression": {
        "$defs": {
            "value": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/sum"}]},
            "sum": closed(
                op={"enum": ["+", "-"]},
                args=listed({"$ref": "#/$defs/value"}, 2, 2),
            ),
        },
        "$ref": "#/$defs/sum",
    },
    "anchor": {"$defs": {"n": {"$anchor": "whole", **INTEGER}}, **listed({"$ref": "#whole"}, 1)},
    "invoice": closed(
        number={"type": "string", "pattern": r"^INV-\d{4}$"},
        date={"type": "string", "format": "date"},
        lines=listed(
            closed(
                item=word(6),
                quantity=INTEGER,
                price={"type": "number", "minimum": 0, "maximum": 500},
            ),
            1,
            2,
        ),
        currency={"enum": ["EUR", "USD", "GBP"]},
        paid=FLAG,
    ),
    "recipe": closed(title=word(10), steps=listed(word(10), 1, 3), minutes=INTEGER),
    "weather query": closed(["city"], city=word(10), unit={"enum": ["celsius", "fahrenheit"]}),
    "address": closed(
        street=word(10),
        zip={"type": "string", "pattern": r"^\d{5}(-\d{4})?$"},
        country={"type": "string", "pattern": "^[A-Z]{2}$"},
    ),
    "geojson point": closed(
        type={"const": "Point"},
        coordinates={
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "number", "minimum": -180, "maximum": 180},
        },
    ),
    "sentiment": closed(
        label={"enum": ["positive", "neutral", "negative"]},
        score={"type": "number", "minimum": 0, "maximum": 1},
        evidence=listed(word(6), 0, 2),
    ),
    "calendar": closed(
        title=word(8),
        start={"type": "string", "format": "date-time"},
        attendees=listed({"type": "string", "format": "email", "maxLength": 10}, 0, 1),
        repeat={"enum": ["never", "daily", "weekly", None]},
    ),
    "quiz": closed(
        question=word(10),
        options=listed(word(4), 4, 4),
        answer={"type": "integer", "minimum": 0, "maximum": 3},
    ),
    "plan": closed(
        goal=word(8),
        steps=listed(closed(["action"], action=word(6), needs=listed(INTEGER, 0, 2)), 1, 2),
    ),
    "annotated": {
        "title": "T",
        "description": "D",
        "examples": [1],
        "default": 3,
        "deprecated": True,
        "type": "integer",
        "format": "int32",
        "minimum": 0,
        "maximum": 9,
        "x-own": {"not": {}},
    },
    "unused keywords": {"type": "integer", "minLength": 3, "pattern": "a", "items": False},
    "no two alike is not asked": {**listed(FLAG, 2, 2), "uniqueItems": False},
    "anything": {},
    "true": True,
}

CYCLE: dict[str, Any] = {}
CYCLE["anyOf"] = [CYCLE, CYCLE]


def unlike(items: Any) -> dict[str, Any]:
    return {"type": "array", "uniqueItems": True, "items": items}


# A schema, and a part of the message.
REFUSED: list[tuple[Any, str]] = [
    (None, "schema must be a map or a boolean, as every JSON schema, got None."),
    (False, "schema must be a schema of some value, got False. No value is valid under it."),
    ({1: 2}, "schema must be a map whose keys are strings, got 1."),
    ({"type": "text"}, "schema.type must be one or more of null, boolean, object, array, number"),
    ({"type": []}, "schema.type must be one or more of"),
    ({"type": ["null", "null"]}, "schema.type must be one or more of"),
    ({"enum": []}, "schema.enum must be a non-empty array of values, got []."),
    ({"enum": "ab"}, "schema.enum must be a non-empty array of values, got 'ab'."),
    ({"required": "a"}, "schema.required must be an array of keys, got 'a'."),
    ({"required": [1]}, "schema.required[0] must be a text, got 1."),
    ({"required": ["a", "a"]}, "schema.required must be an array of different keys"),
    ({"properties": []}, "schema.properties must be a map of schemas, got []."),
    ({"properties": {"a": 3}}, "schema.properties.a must be a map or a boolean"),
    ({"$schema": DRAFT_12, "items": [{}]}, "A tuple is prefixItems, or items of an older $schema."),
    ({"anyOf": []}, "schema.anyOf must be a non-empty array of schemas, got []."),
    ({"minLength": -1}, "schema.minLength must be an integer in [0, 20000], got -1."),
    ({"minItems": 1.5}, "schema.minItems must be an integer in [0, 2147483648], got 1.5."),
    ({"minimum": "0"}, "schema.minimum must be a finite number, got '0'."),
    ({"exclusiveMinimum": True}, "schema.exclusiveMinimum must be a number, or beside the bound"),
    ({"$schema": DRAFT_12, "exclusiveMinimum": True}, "must be a finite number, got True."),
    ({"minimum": 10**400}, "schema.minimum must be a finite number, got an integer of"),
    ({"maximum": float("inf")}, "schema.maximum must be a finite number, got inf."),
    ({"multipleOf": 0}, "schema.multipleOf must be a number > 0, got 0."),
    ({"title": 3}, "schema.title must be of the JSON type string, got 3."),
    ({"const": {1}}, "schema.const must be a JSON value, got {1}."),
    ({"const": 2**53 + 1}, "schema.const must be in [-2**53, 2**53], where every integer is exact"),
    ({"properties": {"a": {"const": "\x01"}}}, "beside values with control characters, got"),
    ({"properties": {"\x7f": {}}}, "must be free of surrogates and of control characters"),
    ({"enum": ["\ud800"]}, "must be free of surrogates and of control characters"),
    ({"$schema": "http://json-schema.org/draft-03/schema#"}, "schema.$schema must be draft 4, 6"),
    ({"$schema": 7}, "schema.$schema must be draft 4, 6"),
    ({"items": {"$schema": "https://example.com/own"}}, "$schema must be draft 4, 6, 7, 2019-09"),
    ({"x-guidance": {"lenient": True}}, "schema.x-guidance must be absent"),
    (
        {"items": {"not": {"pattern": "a"}}},
        "schema.items.not must be absent: it cannot be enforced",
    ),
    ({"not": {"pattern": "a"}}, "There is no way to say the opposite of pattern."),
    ({"not": {"type": "integer"}}, "the opposite of integer among numbers."),
    ({"not": {"const": [1]}}, "the opposite of a value that is an array."),
    ({"not": {"$ref": "#"}}, "It requires itself without end."),
    ({"properties": {"a": {"$ref": "#"}, "b": {"not": {"$ref": "#"}}}}, "refers to itself."),
    ({"if": {"format": "date"}, "then": False}, "schema.if must be absent: it cannot be enforced"),
    ({"contains": {"type": "null"}}, "schema.contains must be absent: it cannot be enforced, got"),
    ({"contains": {"const": 1}, "maxContains": 1, "maxItems": 3}, "leave maxContains out."),
    ({"propertyNames": {"format": "date"}}, "schema.propertyNames must be absent: it cannot"),
    ({"anyOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, "alternatives"),
    (
        {"allOf": [{"items": FLAG}], "unevaluatedItems": False},
        "schema.unevaluatedItems must be abs",
    ),
    ({"items": {"$dynamicRef": {}}}, "schema.items.$dynamicRef must be of the JSON type string"),
    ({"$defs": {"a": {"$id": "/a"}}, "$dynamicRef": "#x"}, "schema.$dynamicRef must be absent"),
    ({"$ref": "#x"}, "schema.$ref must be a reference into the schema, got '#x'. Anchor 'x'"),
    ({"$ref": "#/type", "type": "null"}, "schema.$ref must be a reference to a schema, got"),
    ({"dependencies": []}, "schema.dependencies must be a map of keys or schemas, got []."),
    ({"dependentRequired": 1}, "schema.dependentRequired must be a map of keys, got 1."),
    ({"uniqueItems": 1}, "schema.uniqueItems must be of the JSON type boolean, got 1."),
    (
        {"properties": dict.fromkeys("abcdefghijklmnop", FLAG), "maxProperties": 8},
        "schema.maxProperties must be of at most 512 choices among the optional keys, got 8.",
    ),
    ({"uniqueItems": True}, "schema.uniqueItems must be absent: it cannot be enforced, got True."),
    ({"format": 3}, "schema.format must be of the JSON type string, got 3."),
    ({"pattern": "(?=a)"}, "It has a look-ahead, which is not supported, at character 0."),
    ({"pattern": r"(a)\1"}, "It has a backreference, which is not supported, at character 3."),
    ({"pattern": "("}, "An opening parenthesis has a closing one"),
    ({"patternProperties": {"[": {}}}, "schema.patternProperties's key must be a regular expr"),
    ({"patternProperties": {"^a": {"type": "null"}, "b$": FLAG}}, "A key may match two patterns"),
    ({"$ref": "http://example.com/s"}, "Nothing is fetched: refer into the schema itself."),
    ({"$ref": "#/$defs/a"}, "Pointer '/$defs/a' does not exist."),
    ({"$ref": "#"}, "It requires itself without end."),
    (closed(again={"$ref": "#"}), "It requires itself without end."),
    ({"$defs": {"a": listed({"$ref": "#/$defs/a"}, 1)}, "$ref": "#/$defs/a"}, "without end."),
    ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "exclude each other: members 0 and 1 may"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater than maximum (3)."),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength (3) is greater than"),
    ({"type": "string", "enum": [1]}, "No value is valid under it."),
    ({"type": "array", "contains": {"const": 1}, "maxItems": 0}, "No value is valid under it."),
    (
        {"properties": {"oneOf": {"anyOf": [{"pattern": "("}]}}},
        "schema.properties.oneOf.anyOf[0].pattern must be",
    ),
    ({"oneOf": [{"type": "null"}, {"pattern": "b"}, {"pattern": "b"}]}, "members 1 and 2 may"),
    (
        {"propertyNames": {"pattern": "^a", "maxLength": 3}},
        "of patternProperties or propertyNames",
    ),
    ({"allOf": [{"type": "integer"}, {"type": "string"}]}, "incompatible types."),
    ({"type": "string", "pattern": r"^\x01$"}, "Nothing may follow here."),
    (closed(a=False), "required property 'a' is unsatisfiable."),
    ({"propertyNames": {"maxLength": 200_000}}, "propertyNames.maxLength must be at most 20000"),
    ({"minProperties": 2}, "A key that is not listed could come twice; close the object."),
    ({"multipleOf": 100_003}, "schema.multipleOf must be of digits that are at most 100000"),
    ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "multiply to at most 100000"),
    (
        {"maxLength": float("inf")},
        "schema.maxLength must be an integer in [0, 2147483648], got inf",
    ),
    ({"minItems": float("nan")}, "schema.minItems must be an integer in [0, 2147483648], got nan"),
    ({"format": "colour", "type": 3}, "schema.type must be one or more of null, boolean"),
    ({"format": "colour", "type": None}, "schema.type must be one or more of null, boolean"),
    ({"$id": "http://[x"}, "schema.$id must be a valid URI reference, got 'http://[x'."),
    ({"items": {"$id": "http://[x"}}, "schema's part.$id must be a valid URI reference"),
    ({"$ref": "http://[x"}, "schema.$ref must be a valid URI reference, got 'http://[x'."),
    ({"$ref": "#/anyOf/" + "1" * 5000, "anyOf": [True]}, "schema.$ref must be a reference into"),
    ({"$ref": "#/anyOf/\xb2", "anyOf": [True]}, "Pointer '/anyOf/\xb2' does not exist."),
    ({"$ref": "#/anyOf/00", "anyOf": [True]}, "Pointer '/anyOf/00' does not exist."),
    (CYCLE, "schema must be at most 48 levels deep, got a deeper one."),
    ({"default": CYCLE}, "schema must be at most 48 levels deep, got a deeper one."),
    ({"examples": range(10**9)}, "schema must be of at most 200000 keywords and values"),
    (unlike({"$ref": "#/items"}), "schema.uniqueItems must be absent: it cannot be enforced"),
    (unlike({"enum": [*range(14_999)]}), "schema.uniqueItems must be absent: it cannot be"),
    (
        {**unlike({"enum": [*range(9_999)]}), "minItems": 5_000},
        "schema.uniqueItems must be absent: it cannot be enforced",
    ),
    (
        {"if": {"properties": {"a": {"const": "b" * 20_001}}}, "then": False},
        "There is no way to say the opposite of texts of more than 20000 bytes together.",
    ),
]
