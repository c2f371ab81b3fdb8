"""Large schemas are followed, or refused in front: never at a step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.constraints import JsonSchema, Matcher

from constraints.schemas import closed, listed
from constraints.writing import BYTES, accepts, vocabularies

pytestmark = pytest.mark.slow

MANY = 2_100  # more than the 2,000 items that a row has by default


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def enum(make: Callable[[int], Any]) -> Any:
    return {"enum": [make(i) for i in range(MANY)]}


def key(i: int) -> Any:
    return closed(**{f"k{i}": {"type": "integer", "minimum": 0, "maximum": 9}})


# Each schema with a value of it and one that is none.
LARGE: dict[str, tuple[Any, Any, Any]] = {
    "enum of objects": (
        enum(lambda i: {"id": i, "at": [i]}),
        {"id": 7, "at": [7]},
        {"id": 7, "at": [8]},
    ),
    "enum of objects that begin alike": (
        enum(lambda i: {"kind": "point", "at": i}),
        {"kind": "point", "at": MANY - 1},
        {"kind": "point", "at": MANY},
    ),
    "enum of arrays": (enum(lambda i: [i, "x"]), [MANY - 1, "x"], [MANY, "x"]),
    "enum of texts": (enum(lambda i: f"value {i}"), f"value {MANY - 1}", f"value {MANY}"),
    "enum of numbers": (enum(lambda i: i / 4), 0.25, 0.3),
    "enum of all kinds": (
        {"enum": [one for i in range(MANY // 4) for one in ([i], {"a": i}, i, str(i))]},
        {"a": 3},
        {"a": MANY},
    ),
    "anyOf of objects": ({"anyOf": [key(i) for i in range(MANY)]}, {"k2099": 3}, {"k2099": 10}),
    "anyOf of constants": (
        {"anyOf": [{"const": {"a": i}} for i in range(MANY)]},
        {"a": 9},
        {"a": -1},
    ),
    "inside of an object": (
        closed(a=enum(lambda i: {"id": i})),
        {"a": {"id": MANY - 1}},
        {"a": {"id": MANY}},
    ),
    "inside of an array": (
        listed(enum(lambda i: {"id": i})),
        [{"id": 1}, {"id": MANY - 1}],
        [{"id": 1}, {"id": MANY}],
    ),
    "optional keys": (
        {
            "type": "object",
            "properties": {f"k{i}": {"type": "null"} for i in range(1500)},
            "additionalProperties": False,
        },
        {"k1": None, "k700": None, "k1499": None},
        {"k1": None, "k1500": None},
    ),
    "required keys": (
        closed(**{f"k{i}": {"type": "null"} for i in range(1500)}),
        {f"k{i}": None for i in range(1500)},
        {f"k{i}": None for i in range(1499)},
    ),
    "a long constant": ({"const": list(range(3_000))}, list(range(3_000)), list(range(2_999))),
    "a long text": ({"const": "xy" * 10_000}, "xy" * 10_000, "xy" * 9_999),
    "patterns": (
        {
            "type": "object",
            "patternProperties": {f"^k{i}$": {"const": i} for i in range(60)},
            "additionalProperties": False,
        },
        {"k59": 59, "k0": 0},
        {"k59": 58},
    ),
    "many items": (
        {"type": "array", "items": {"type": "null"}, "minItems": 9_000, "maxItems": 10**6},
        [None] * 9_000,
        [None] * 8_999,
    ),
    "many characters": ({"type": "string", "minLength": 20_000}, "a" * 20_000, "a" * 19_999),
    "deep values": (
        {"$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}}}, "$ref": "#/$defs/l"},
        json.loads("[" * 900 + "]" * 900),
        [[1]],
    ),
}


def read(matcher: Matcher, data: bytes) -> bool:
    """Say whether a text, which may be long, is one of a matcher's to its end."""
    for byte in data:
        try:
            matcher.advance(byte)
        except ParameterError as error:
            if "one that may come next" in str(error):
                return False
            raise
    return matcher.is_complete


@pytest.mark.parametrize("name", LARGE)
def test_large_schemas_are_followed(name: str) -> None:
    schema, good, bad = LARGE[name]
    constraint = JsonSchema(schema)
    texts = [dump(good).encode(), dump(bad).encode()]
    pairs = enumerate(zip(*texts, strict=False))
    shared = next(i for i, (a, b) in pairs if a != b)  # read once: a byte is not cheap
    matcher = constraint.start(BYTES, [256])
    for byte in texts[0][:shared]:
        matcher.advance(byte)
    other = matcher.copy()
    assert read(matcher, texts[0][shared:])
    assert not read(other, texts[1][shared:])
    vocabulary, ends = vocabularies()["smollm2"]
    matcher = constraint.start(vocabulary, ends)
    rng = np.random.default_rng(0)
    for _ in range(25):
        token = int(rng.choice(np.flatnonzero(matcher.allowed())))
        matcher.advance(token)
        if token in ends:
            break


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"type": "object", "properties": {f"k{i}": {} for i in range(2_001)}},
            "schema.properties must be a map of at most 2000 keys, got 2001.",
        ),
        (
            {"items": {"patternProperties": {f"^a{i}": {"type": "null"} for i in range(65)}}},
            "schema.items.patternProperties must be at most 64 patterns for the keys of an object,",
        ),
        (
            {"allOf": [{"patternProperties": {f"^a{i}$": {"type": "null"}}} for i in range(65)]},
            "schema.patternProperties must be at most 64 patterns for the keys of an object, got",
        ),
        (enum(lambda i: [i] * 9), "schema must be of at most 20000 schemas and values"),
        ({"minLength": 20_001}, "schema.minLength must be an integer in [0, 20000], got 20001"),
        ({"const": "x" * 1_000_001}, "schema must be at most 1000000 characters long"),
    ],
)
def test_what_is_too_large_is_refused_in_front(schema: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        JsonSchema(schema)
    assert str(error.value).startswith(message)


def test_small_and_large_agree() -> None:
    """An enum of many objects takes what an enum of a few of them takes, and no more."""
    few = JsonSchema({"enum": [{"id": i, "at": [i]} for i in range(0, MANY, 500)]})
    many = JsonSchema(LARGE["enum of objects"][0])
    for i in (0, 500, 501, 2_000, MANY):
        text = dump({"id": i, "at": [i]})
        assert accepts(few, text) == (i % 500 == 0 and i < MANY)
        assert accepts(many, text) == (i < MANY)
