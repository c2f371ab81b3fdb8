"""Input made to be costly is refused, or costs little."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.constraints import Choice, Constraint, JsonSchema, Regex, compiled

from constraints.writing import BYTES, vocabularies

SECONDS = 8.0  # generous: the slowest takes about one on a free core
MEGABYTES = 400.0  # the largest takes about a third


def megabytes() -> float:
    """Return the most memory that this process ever had, where that is known."""
    if sys.platform != "linux":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(levels):
        schema = wrap(schema)
    return schema


def chain(length: int, link: Callable[[Any], Any]) -> dict[str, Any]:
    links = {f"n{i}": link({"$ref": f"#/$defs/n{i + 1}"}) for i in range(length)}
    return {"$defs": {**links, f"n{length}": {"type": "null"}}, "$ref": "#/$defs/n0"}


def pairs(one: Any) -> Any:
    return {"type": "array", "prefixItems": [one, one], "minItems": 2, "items": False}


PATTERNS = [
    "(a?){500}a{500}",
    "(.*a.*){25}",
    "(a|a)*b",
    "((a*)*)*c",
    "(x+x+)+y",
    "a{99999}",
    "((a{99}){99}){99}",
    ".*a.{18}",
    "(a|b|c)*a(a|b|c){14}",
    "(?:a{0,300}b{0,300}){0,300}",
    "(" * 3000 + "a" + ")" * 3000,
    "(" * 40 + "a" + ")*" * 40,
    "a" * 20_000,
]
SCHEMAS: dict[str, Any] = {
    "deep arrays": nested(47, lambda one: {"type": "array", "items": one}),
    "deeper": nested(3000, lambda one: {"anyOf": [one]}),
    "deep constants": {"const": nested(3000, lambda one: [one])},
    "long enum": {"enum": [f"value {i}" for i in range(15_000)]},
    "longer enum": {"enum": list(range(200_000))},
    "one long value": {"const": "x" * 2_000_000},
    "a tree of 2**40 leaves": chain(40, pairs),
    "2**30 conjunctions": chain(30, lambda one: {"allOf": [one, one]}),
    "2**30 alternatives": chain(30, lambda one: {"anyOf": [one, one]}),
    "5000 references": chain(5000, lambda one: one),
    "250 references": chain(250, lambda one: one),
    "products": {
        "allOf": [
            {"anyOf": [{"minLength": i}, {"pattern": "a"}, {"type": "null"}]} for i in range(14)
        ]
    },
    "many keys": {"type": "object", "properties": {f"k{i}": {} for i in range(2000)}},
    "many required keys": {"type": "object", "required": [f"k{i}" for i in range(2000)]},
    "large counts": {
        "type": "array",
        "minItems": 2**31,
        "items": {"type": "string", "minLength": 20_000},
    },
    "many patterns": {
        "type": "object",
        "patternProperties": {f"^a{i}.*b{i}$": {} for i in range(60)},
    },
    "multiples": {"type": "integer", "multipleOf": 99_991},
    "multiples of multiples": {"allOf": [{"multipleOf": n} for n in (97, 89, 83)]},
}


def endure(make: Callable[[], Constraint]) -> None:
    """Assert that making a constraint and 50 steps of it take a bounded time and memory."""
    start = time.perf_counter()
    peak = megabytes()
    message = ""
    try:
        matcher = make().start(BYTES, [256])
        rng = np.random.default_rng(0)
        for _ in range(50):
            token = int(rng.choice(np.flatnonzero(matcher.allowed())))
            matcher.advance(token)
            if token == 256:
                break
    except ParameterError as error:
        message = str(error)
    assert len(message) < 1000
    assert time.perf_counter() - start < SECONDS
    assert megabytes() - peak < MEGABYTES


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(name: str) -> None:
    endure(lambda: JsonSchema(SCHEMAS[name]))


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
def test_patterns(pattern: str) -> None:
    endure(lambda: Regex(pattern))
    endure(lambda: JsonSchema({"type": "string", "pattern": pattern}))


def test_options() -> None:
    endure(lambda: Choice([f"value {i}" for i in range(20_000)]))
    endure(lambda: Choice(["ab" * 100_000]))
    endure(lambda: Choice(["a" * n for n in range(1, 500)]))


def go_on(schema: Any) -> None:
    """Write a text that is never complete."""
    vocabulary, ends = vocabularies()["grimm"]
    matcher = JsonSchema(schema).start(vocabulary, ends)
    rng = np.random.default_rng(0)
    while True:
        allowed = matcher.allowed()
        assert not allowed[list(ends)].any()
        matcher.advance(int(rng.choice(np.flatnonzero(allowed))))


@pytest.mark.parametrize(("limit", "low"), [("max_lexer_states", 2000), ("step_lexer_fuel", 300)])
def test_a_limit_is_an_error_and_no_end(
    limit: str, low: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(compiled._SHARED_LIMITS, limit, low)
    monkeypatch.setitem(compiled._OWN_LIMITS, limit, low)
    texts = {"type": "string", "pattern": "a.{19}$"}
    arrays = {"type": "array", "minItems": 999 + low, "items": texts}
    for schema in ({"type": "string", "minLength": 9_999 + low}, arrays):
        with pytest.raises(ParameterError, match="schema must be simple enough to follow it"):
            go_on(schema)
    compiled.compiled_for.cache_clear()


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled._byte_tokenizer.cache_clear()
    compiled.compiled_for.cache_clear()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ImportError, match=r"pip install 'logitlab\[structured\]'"):
        Choice(["a"])
