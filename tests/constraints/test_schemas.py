"""Whatever ends is valid JSON and valid under its schema; what cannot be enforced is refused."""

from __future__ import annotations

import json
import pickle
import random
import warnings
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError
from logitlab import ParameterError
from logitlab.constraints import JsonObject, JsonSchema

from constraints.schemas import PERSON, REFUSED, SCHEMAS, STAMPS, TREE
from constraints.writing import RUNS, accepts, text, written


def check(schema: Any, data: str) -> None:
    """Assert that a text is valid JSON, and valid by another implementation."""
    value = json.loads(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # patterns with && and the like
        if r"\p{" not in json.dumps(schema).replace("\\\\", "\\"):
            validators.validator_for(schema, Draft202012Validator)(schema).validate(value)


@pytest.mark.parametrize("vocabulary", ["bytes", "grimm", "smollm2"])
@pytest.mark.parametrize("schema", [PERSON, TREE, STAMPS], ids=["person", "tree", "stamps"])
def test_many_texts_are_valid(schema: Any, vocabulary: str) -> None:
    constraint = JsonSchema(schema)
    for seed in range(RUNS):
        tokens, ended = written(constraint, vocabulary, seed, most=1000)
        assert ended, seed
        check(schema, text(vocabulary, tokens))


@pytest.mark.parametrize("vocabulary", ["bytes", "grimm", "smollm2"])
def test_objects_of_any_content_are_valid(vocabulary: str) -> None:
    ends = 0
    for seed in range(RUNS):
        tokens, ended = written(JsonObject(), vocabulary, seed, most=100)
        ends += ended
        if ended:
            assert isinstance(json.loads(text(vocabulary, tokens)), dict)
    assert ends > RUNS // 2


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_of_all_kinds(name: str) -> None:
    schema = SCHEMAS[name]
    constraint = JsonSchema(schema)
    for seed in range(6):
        vocabulary = ("bytes", "grimm", "smollm2")[seed % 3]
        tokens, ended = written(constraint, vocabulary, seed, most=400)
        assert ended, (name, vocabulary)
        check(schema, text(vocabulary, tokens))


def test_there_are_enough_schemas() -> None:
    assert len(SCHEMAS) >= 60
    for name in SCHEMAS.keys() - {"licence plate"}:  # \p{Lu} is no regular expression in Python
        schema = SCHEMAS[name]
        validators.validator_for(schema, Draft202012Validator).check_schema(schema)


@pytest.mark.parametrize(("schema", "message"), REFUSED)
def test_what_cannot_be_enforced_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        JsonSchema(schema)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def _changed(rng: random.Random, value: Any) -> Any:
    """Return a schema with one thing in it replaced by something else."""
    junk = [None, -1, 0.5, "junk", [], {}, [1, 1], ["a", "a"], {"a": 3}, True, [None]]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.5:
        place = rng.randrange(len(value))
        return [*value[:place], _changed(rng, value[place]), *value[place + 1 :]]
    return rng.choice(junk)


def test_what_the_metaschema_refuses_is_refused() -> None:
    rng = random.Random(0)
    refused = 0
    for schema in [SCHEMAS[name] for name in SCHEMAS if name != "licence plate"] * 12:
        changed = _changed(rng, schema)
        if not isinstance(changed, dict) or not isinstance(changed.get("$schema", ""), str):
            continue
        try:
            validators.validator_for(changed, Draft202012Validator).check_schema(changed)
        except SchemaError:
            refused += 1
            with pytest.raises(ParameterError):
                JsonSchema(changed)
    assert refused > 200


def test_a_key_has_one_spelling() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert accepts(JsonSchema(schema), '{"a":1,"b":"x"}')
    assert not accepts(JsonSchema(schema), '{"a":1,"\\u0061":"x"}')
    assert not accepts(JsonSchema(schema), '{"a":1,"a":"x"}')


def test_texts_are_compact() -> None:
    assert accepts(JsonObject(), '{"a":[1,{}]}')
    assert not accepts(JsonObject(), '{"a": 1}')
    assert not accepts(JsonObject(), ' {"a":1}')


@pytest.mark.parametrize(
    ("bounds", "outside"),
    [
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 3}, ["1", "3", "1.0", "3.0"]),
        ({"exclusiveMinimum": 0.5, "maximum": 0.75}, ["0.5", "0.50", "0.751", "0", "1"]),
        ({"minimum": -1, "exclusiveMaximum": 0}, ["0", "-0", "-0.0", "-1.01"]),
        ({"multipleOf": 0.25, "minimum": 1, "maximum": 2}, ["1.1", "0.75", "2.25"]),
    ],
)
def test_bounds_hold_to_the_digit(bounds: dict[str, float], outside: list[str]) -> None:
    constraint = JsonSchema({"type": "number", **bounds})
    assert not [number for number in outside if accepts(constraint, number)]
    for seed in range(40):
        tokens, ended = written(constraint, "bytes", seed)
        if ended:
            value = Decimal(text("bytes", tokens))
            assert value not in map(Decimal, outside)
            check({"type": "number", **bounds}, text("bytes", tokens))


def test_multiples_are_decimal() -> None:
    constraint = JsonSchema({"type": "number", "multipleOf": 0.01})
    assert accepts(constraint, "1.15")  # 1.15 / 0.01 is 114.99999999999999 among floats
    assert not accepts(constraint, "1.155")


def test_constraints_are_values() -> None:
    one, other = JsonSchema(PERSON), JsonSchema(PERSON, name="response_format")
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one != JsonSchema(TREE)


def _random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return keywords thrown together; most such schemas can be compiled, few are sensible."""

    def sub() -> dict[str, Any]:
        return _random_schema(rng, depth + 1)

    def some(chance: float) -> bool:
        return rng.random() < chance

    kinds = ["null", "boolean", "integer", "number", "string", "object", "array"]
    patterns = ["^a", "b$", "^[a-z]+$", "a|b", '^[^"]*$', r"^\W*$", r"[^\\a]", "^.{2}$", r"[^\w]"]
    schema: dict[str, Any] = {}
    if some(0.8):
        schema["type"] = rng.sample(kinds, 2) if some(0.2) else rng.choice(kinds)
    if some(0.15):
        schema["minimum"] = rng.choice([0, 1, -5, 0.5])
    if some(0.15):
        schema["exclusiveMaximum"] = rng.choice([10, 99.5, 7])
    if some(0.1):
        schema["multipleOf"] = rng.choice([1, 2, 0.5, 7])
    if some(0.2):
        schema["maxLength"] = rng.randint(1, 6)
    if some(0.2):
        schema["pattern"] = rng.choice(patterns)
    if some(0.1):
        schema["enum"] = rng.sample([1, "a", None, True, 0.5, [1], {"a": 1}, 'a"b', "\n", []], 3)
    if depth > 2:
        return schema
    names = ["a", "b", "ab", 'a"', "é"]
    if some(0.4):
        schema["properties"] = {name: sub() for name in rng.sample(names, 2)}
    if some(0.3):
        schema["required"] = rng.sample(names, 1)
    if some(0.4):
        schema["additionalProperties"] = rng.choice([False, True, sub()])
    if some(0.1):
        schema["patternProperties"] = {rng.choice(patterns): sub()}
    if some(0.1):
        schema["minProperties"] = 1
    if some(0.3):
        schema["items"] = rng.choice([False, sub(), sub()])
    if some(0.2):
        schema["prefixItems"] = [sub()]
    if some(0.2):
        schema["minItems"] = rng.randint(0, 2)
    for key in ("anyOf", "oneOf", "allOf"):
        if some(0.1):
            schema[key] = [sub(), sub()]
    return schema


def test_schemas_at_random() -> None:
    rng = random.Random(1)
    ends = 0
    for seed in range(300):
        schema = _random_schema(rng)
        try:
            constraint = JsonSchema(schema)
        except ParameterError:
            continue
        for run in range(3):
            tokens, ended = written(constraint, "bytes", 3 * seed + run, most=60, close=5)
            ends += ended
            if ended:
                check(schema, text("bytes", tokens))
    assert ends > 150
