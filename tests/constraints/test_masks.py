"""A mask is what trying every token gives."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, Vocabulary
from logitlab.constraints import Choice, Constraint, JsonObject, JsonSchema, Regex, Tools, remove

from constraints.schemas import PERSON, STAMPS, closed
from constraints.writing import BYTES, begins_json, follows, prefixes, vocabularies, written

FINITE = closed(["size"], size={"enum": ["small", "large", 'x"l', "é日"]}, new={"type": "boolean"})
VALUES: list[object] = [
    value
    for size in ("small", "large", 'x"l', "é日")
    for value in ({"size": size}, {"size": size, "new": True}, {"size": size, "new": False})
]
TOOL = [{"type": "function", "function": {"name": "find", "parameters": PERSON}}]


def by_token(name: str, fits: object) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    vocabulary, _ = vocabularies()[name]
    assert callable(fits)
    return np.array(
        [
            i not in vocabulary.special and bool(token) and fits(token)
            for i, token in enumerate(vocabulary)
        ]
    )


def states(constraint: Constraint, name: str, seed: int, count: int) -> list[list[int]]:
    """Return some beginnings of a random text, the empty one among them."""
    tokens, _ = written(constraint, name, seed)
    cuts = np.random.default_rng(seed).permutation(len(tokens))[: count - 1]
    return [[], *(tokens[: int(cut) + 1] for cut in cuts)]


@pytest.mark.parametrize("name", ["bytes", "grimm", "smollm2"])
def test_by_a_list_of_all_texts(name: str) -> None:
    vocabulary, ends = vocabularies()[name]
    beginnings = prefixes(VALUES)
    complete = {max((p for p in beginnings if p.startswith(b)), key=len) for b in beginnings}
    for seed in range(3):
        for tokens in states(JsonSchema(FINITE), name, seed, 6):
            matcher = JsonSchema(FINITE).start(vocabulary, ends)
            for token in tokens:
                matcher.advance(token)
            so_far = b"".join(vocabulary[token] for token in tokens)
            expected = by_token(name, lambda token, so_far=so_far: so_far + token in beginnings)
            expected[list(ends)] = so_far in complete
            assert np.array_equal(matcher.allowed(), expected), so_far


@pytest.mark.parametrize("name", ["bytes", "grimm", "smollm2"])
def test_by_a_json_parser_of_our_own(name: str) -> None:
    vocabulary, ends = vocabularies()[name]
    for seed in (1, 5):
        for tokens in states(JsonObject(), name, seed, 2 if name == "smollm2" else 5):
            matcher = JsonObject().start(vocabulary, ends)
            for token in tokens:
                matcher.advance(token)
            so_far = b"".join(vocabulary[token] for token in tokens)
            expected = by_token(name, lambda t, so_far=so_far: begins_json(so_far + t, "{"))
            found = matcher.allowed()
            found[list(ends)] = False
            wrong = np.flatnonzero(found != expected)
            assert not len(wrong), (so_far, [vocabulary[int(i)] for i in wrong[:5]])


@pytest.mark.parametrize(
    "constraint",
    [
        JsonSchema(PERSON),
        JsonSchema(STAMPS),
        Regex(r"(\w+, ){1,3}[^\s\"]{2,}!?"),
        Choice(["a", "ab", "abc", "日本", "日曜"]),
        Tools(TOOL),
        Tools(TOOL, "required"),
    ],
    ids=["person", "stamps", "regex", "choice", "auto", "required"],
)
def test_by_a_matcher_of_single_bytes(constraint: Constraint) -> None:
    vocabulary, ends = vocabularies()["grimm"]
    for tokens in states(constraint, "grimm", 3, 4):
        matcher = constraint.start(vocabulary, ends)
        bytewise = constraint.start(BYTES, [256])
        for token in tokens:
            matcher.advance(token)
            for value in vocabulary[token]:
                bytewise.advance(value)
        expected = by_token("grimm", lambda token, m=bytewise: follows(m, token))
        expected[list(ends)] = bytewise.is_complete
        assert np.array_equal(matcher.allowed(), expected)


def test_tokens_that_are_alike_empty_or_no_text() -> None:
    tokens = [
        b"<end>",
        b"a",
        b"a",
        b"",
        b"\xff",
        b"\xffa",
        b"b",
        b"ab",
        b"<stop>",
        b"a\xff",
        b"<s>",
    ]
    vocabulary = Vocabulary(tokens, special=[0, 8, 10])
    matcher = Regex("a+b?").start(vocabulary, [8, 0, 8])
    assert np.flatnonzero(matcher.allowed()).tolist() == [1, 2, 7]
    matcher.advance(2)
    assert np.flatnonzero(matcher.allowed()).tolist() == [0, 1, 2, 6, 7, 8]


def test_an_end_token_need_not_be_special() -> None:
    vocabulary = Vocabulary([b"a", b"b"])
    matcher = Regex("[ab]+").start(vocabulary, [1])
    assert matcher.allowed().tolist() == [True, False]
    matcher.advance(0)
    assert matcher.allowed().tolist() == [True, True]
    matcher.advance(1)
    assert matcher.allowed().tolist() == [False, True]
    with pytest.raises(ParameterError, match="token must be one that may come next, got 0"):
        matcher.advance(0)


def test_special_tokens_are_no_text() -> None:
    vocabulary = Vocabulary([b"<end>", b"<", b"<s>", b"s", b">"], special=[0, 2])
    assert np.flatnonzero(Regex("<s>").start(vocabulary, [0]).allowed()).tolist() == [1]


def test_copies_go_their_own_ways() -> None:
    vocabulary, ends = vocabularies()["grimm"]
    first = JsonSchema(PERSON).start(vocabulary, ends)
    tokens, _ = written(JsonSchema(PERSON), "grimm", 0)
    masks = []
    twins = []
    for token in tokens:
        twins.append(first.copy())
        masks.append(first.allowed())
        first.advance(token)
    for twin, mask, token in zip(reversed(twins), reversed(masks), reversed(tokens), strict=True):
        assert np.array_equal(twin.allowed(), mask)
        twin.advance(token)
    assert np.array_equal(JsonSchema(PERSON).start(vocabulary, ends).allowed(), masks[0])


def test_a_mask_is_the_callers() -> None:
    matcher = Choice(["a"]).start(BYTES, [256])
    matcher.allowed()[:] = True
    assert np.flatnonzero(matcher.allowed()).tolist() == [97]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_removing_is_an_assignment(dtype: type) -> None:
    rng = np.random.default_rng(0)
    logits: np.ndarray[Any, Any] = rng.normal(0, 5, 1000).astype(dtype)
    logits[:4] = [-np.inf, 0.0, -0.0, np.inf]
    for share in (0.0, 0.5, 1.0):
        allowed = rng.random(1000) < share
        expected = logits.copy()
        expected[~allowed] = -np.inf
        found = logits.copy()
        remove(found, allowed)
        assert found.tobytes() == expected.tobytes()


def test_a_refused_token_changes_nothing() -> None:
    matcher = Choice(["ab", "cd"]).start(BYTES, [256])
    matcher.advance(97)
    for token in (97, 256, 0):
        with pytest.raises(ParameterError, match="token must be one that may come next"):
            matcher.advance(token)
    for wrong in (-1, 257, 1.0, True):
        with pytest.raises(ParameterError, match=r"token must be an integer in \[0, 256\]"):
            matcher.advance(wrong)  # type: ignore[arg-type]
    assert np.flatnonzero(matcher.allowed()).tolist() == [98]


def test_what_tokens_cannot_spell_is_an_error() -> None:
    vocabulary = Vocabulary([b"<end>", b"a", b"b"], special=[0])
    with pytest.raises(ParameterError, match="options must be one that these tokens can spell"):
        Choice(["xyz"]).start(vocabulary, [0])
    matcher = Choice(["ax", "b"]).start(vocabulary, [0])
    matcher.advance(1)
    for _ in range(2):
        with pytest.raises(ParameterError, match="Nothing may follow here"):
            matcher.allowed()


def test_a_text_needs_a_token_that_ends_it() -> None:
    message = r"end_ids must be at least one token, got \[\]. A constrained text is complete where"
    with pytest.raises(ParameterError, match=message):
        Choice(["a"]).start(BYTES, [])
    with pytest.raises(ParameterError, match=r"end_ids must be an integer in \[0, 256\], got 257"):
        Choice(["a"]).start(BYTES, [257])
    with pytest.raises(ParameterError, match="end_ids must be token ids, got 3"):
        Choice(["a"]).start(BYTES, 3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="vocabulary must be a Vocabulary, got 3"):
        Choice(["a"]).start(3, [0])  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", ["a+b?", "(ab|ba)*", "[éa]{2,3}", "日.?"])
def test_whole_texts_are_those_that_match(pattern: str) -> None:
    constraint = Regex(pattern)
    for size in range(4):
        for characters in itertools.product("abé日", repeat=size):
            text = "".join(characters)
            assert constraint.allows(text) == bool(re.fullmatch(pattern, text)), text


def test_no_text_with_bytes_that_are_none_is_whole() -> None:
    assert JsonSchema({"const": "a"}).allows('"a"')
    assert not JsonSchema({"const": "a"}).allows('"\ufffd')
    assert not JsonSchema({"type": "string"}).allows('"\ud800"')
