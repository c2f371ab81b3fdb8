"""A limit that one text meets is that text's own: no other text feels it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, generate, generate_many, stream
from logitlab.constraints import Constraint, JsonSchema, Matcher, Regex, compiled
from logitlab.models import NGram

from constraints.writing import BYTES, accepts, vocabularies

MODEL = NGram.bundled()
# After an "a" each letter doubles what has to be remembered; after a "b" there is nothing to it.
UNEVEN = Regex("a[ab]*a[ab]{40}c|b[a-z]{1,9}")
LIMITS = [
    {"step_lexer_fuel": (200, 400), "max_lexer_states": (10**6, 10**6)},
    {"step_lexer_fuel": (10**6, 10**6), "max_lexer_states": (60, 90)},
]


@pytest.fixture(params=LIMITS, ids=["fuel", "states"])
def low(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a text meet a limit soon, and begin with nothing compiled."""
    for limit, (shared, own) in request.param.items():
        monkeypatch.setitem(compiled._SHARED_LIMITS, limit, shared)
        monkeypatch.setitem(compiled._OWN_LIMITS, limit, own)
    compiled.compiled_for.cache_clear()
    yield
    compiled.compiled_for.cache_clear()


class Walk:
    """A text of random bytes that begins with a given one, and every mask on its way."""

    def __init__(self, seed: int, first: bytes, most: int = 400) -> None:
        self.rng = np.random.default_rng(seed)
        self.matcher: Matcher = UNEVEN.start(BYTES, [256])
        self.first, self.most = first, most
        self.masks: list[bytes] = []
        self.text = b""
        self.error = ""
        self.is_done = False

    def step(self) -> None:
        try:
            allowed = self.matcher.allowed()
            self.masks.append(allowed.tobytes())
            ids = np.flatnonzero(allowed)
            token = self.first[0] if not self.text else int(self.rng.choice(ids))
            self.matcher.advance(token)
        except ParameterError as error:
            self.error = str(error)
            self.is_done = True
            return
        self.is_done = token == 256 or len(self.text) == self.most
        if not self.is_done:
            self.text += bytes([token])

    def whole(self) -> tuple[bytes, list[bytes], str]:
        while not self.is_done:
            self.step()
        return self.text, self.masks, self.error


@pytest.mark.usefixtures("low")
def test_a_text_is_the_same_whatever_ran_before_it_or_runs_beside_it() -> None:
    kinds = [(seed, b"ab"[seed % 3 > 0 :][:1]) for seed in range(12)]
    alone = []
    for kind in kinds:
        compiled.compiled_for.cache_clear()
        alone.append(Walk(*kind).whole())
    errors = [error for _, _, error in alone]
    assert all(
        bool(error) == (first == b"a") for error, (_, first) in zip(errors, kinds, strict=True)
    )
    assert all(text and re.fullmatch(rb"b[a-z]{1,9}", text) for text, _, e in alone if not e)
    for order in (range(12), reversed(range(12)), [0, 0, 5, 1, 3, 2, 9, 4]):  # one after another
        for i in order:
            assert Walk(*kinds[i]).whole() == alone[i]
    compiled.compiled_for.cache_clear()
    walks = [Walk(*kind) for kind in kinds]  # and a step of each in turn
    while any(not walk.is_done for walk in walks):
        for walk in walks:
            if not walk.is_done:
                walk.step()
    assert [walk.whole() for walk in walks] == alone


@pytest.mark.usefixtures("low")
def test_a_copy_is_a_text_of_its_own() -> None:
    walk = Walk(0, b"b")
    for _ in range(3):
        walk.step()
    copies = [walk.matcher.copy() for _ in range(2)]
    expected = walk.matcher.allowed()
    assert Walk(3, b"a").whole()[2]
    assert all(np.array_equal(twin.allowed(), expected) for twin in copies)
    walk, whole = Walk(3, b"a"), Walk(3, b"a").whole()
    for _ in range(len(whole[0]) - 1):
        walk.step()  # and one whose lexer is its own
    twin = Walk(9, b"a")
    twin.matcher, twin.text = walk.matcher.copy(), walk.text
    assert twin.whole()[2]
    assert walk.whole() == whole


@pytest.mark.usefixtures("low")
def test_a_message_has_the_name_that_its_own_caller_gave() -> None:
    schema = {"type": "string", "pattern": f"^(?:{UNEVEN.pattern})$"}
    for name in ("schema", "tools[0].function.parameters"):
        constraint = JsonSchema(schema, name=name)
        with pytest.raises(ParameterError) as error:
            read(constraint, b'"' + 99 * b"a")
        assert error.value.name == name
        assert "simple enough" in str(error.value)


def test_what_the_shared_lexer_cannot_do_one_alone_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compiled._SHARED_LIMITS, "max_lexer_states", 60)
    compiled.compiled_for.cache_clear()
    text, masks, error = Walk(0, b"a").whole()
    compiled.compiled_for.cache_clear()
    monkeypatch.setitem(compiled._SHARED_LIMITS, "max_lexer_states", 100_000)
    assert (text, masks, error) == Walk(0, b"a").whole()
    assert not error
    assert len(masks) > 40
    compiled.compiled_for.cache_clear()


@pytest.mark.usefixtures("low")
def test_the_other_rows_of_a_batch_finish() -> None:
    bias = {MODEL.vocabulary.find("a"): 4}
    asked: dict[str, Any] = {"constraint": UNEVEN, "max_tokens": 80, "logit_bias": bias}
    answers = []
    for seed in range(12):
        compiled.compiled_for.cache_clear()
        answers += generate(MODEL, "A", seed=seed, n=1, **asked)
    failed = [answer.finish_reason == "error" for answer in answers]
    assert 2 < sum(failed) < 10
    for answer, has_failed in zip(answers, failed, strict=True):
        assert answer.text.startswith("a" if has_failed else ("a", "b"))
        if has_failed:
            assert answer.finish.cause == "constraint"
            count = len(answer.tokens)
            begins = f"The text could not go on after token {count} under its constraint: pattern"
            assert str(answer.finish).startswith(begins)
            assert not answer.finish.complete
            with pytest.raises(ParameterError, match="pattern must be simple enough to follow it"):
                generate(MODEL, "A", seed=answer.seed, **asked)
            with pytest.raises(ParameterError, match="pattern must be simple enough to follow it"):
                list(stream(MODEL, "A", seed=answer.seed, **asked))

    for length in {len(answers[i].tokens) for i, has in enumerate(failed) if has}:
        # The limit of tokens and that of the lexer may come at once: no row is lost.
        for most in (length, length + 1):
            compiled.compiled_for.cache_clear()
            assert len(generate(MODEL, "A", seed=1, n=12, **{**asked, "max_tokens": most})) == 12

    def facts(generations: Any) -> list[Any]:
        return [(one.text, one.tokens.tolist(), one.finish) for one in generations]

    for size, seeds in ((1, range(12)), (5, range(12)), (64, range(11, -1, -1))):
        batch = generate_many(MODEL, "A", seed=list(seeds), batch_size=size, **asked)
        assert facts(batch) == facts(answers[seed] for seed in seeds)
    pieces = list(stream(MODEL, "A", seed=0, n=12, **asked))
    whole = [piece.generation for piece in pieces if piece.generation is not None]
    assert len(whole) == 12
    for one in whole:
        mine = [piece for piece in pieces if piece.index == one.sequence]
        assert "".join(piece.text for piece in mine) == one.text
        tokens = [piece.token for piece in mine if piece.token is not None]
        assert tokens == one.tokens.tolist()


WORDS = r"^(?:\S+\s+){0,19}\S+$"
LONG: dict[str, tuple[dict[str, Any], int]] = {
    "twenty words": ({"type": "string", "pattern": WORDS, "maxLength": 200}, 20),
    "fifty words": (
        {"type": "string", "pattern": WORDS.replace("19", "49"), "maxLength": 500},
        50,
    ),
    "words between signs": (
        {"type": "string", "pattern": r"^\w+(?:\W+\w+){0,29}$", "maxLength": 300},
        30,
    ),
    "one kind or another": (
        {"type": "string", "pattern": rf"{WORDS}|^\d+(?:,\d+){{0,30}}$", "maxLength": 200},
        20,
    ),
}


def read(constraint: Constraint, data: bytes) -> bool:
    """Say whether a text, of which every token may come, is whole; no mask is asked for."""
    matcher = constraint.start(BYTES, [256])
    for value in data:
        matcher.advance(value)
    return matcher.is_complete


@pytest.mark.parametrize("name", LONG)
def test_patterns_that_count_words(name: str) -> None:
    schema, most = LONG[name]
    constraint = JsonSchema(schema)
    several = JsonSchema(
        {
            "type": "object",
            "properties": dict.fromkeys("abc", schema),
            "required": ["a", "b", "c"],
            "additionalProperties": False,
        }
    )
    for count in (1, most, most + 1):
        text = " ".join(f"w{i}" for i in range(count))
        fits = bool(re.search(schema["pattern"], text)) and len(text) <= schema["maxLength"]
        data = json.dumps(text)
        assert accepts(constraint, data) is fits
        if fits:
            assert read(constraint, data.encode())
    text = json.dumps(dict.fromkeys("abc", " ".join(["ab"] * most)), separators=(",", ":"))
    assert read(several, text.encode())


def test_patterns_that_count_words_are_written() -> None:
    vocabulary, ends = vocabularies()["grimm"]
    for name in ("twenty words", "one kind or another"):
        schema, _ = LONG[name]
        constraint = JsonSchema(schema)
        for seed in range(4):
            matcher = constraint.start(vocabulary, ends)
            rng = np.random.default_rng(seed)
            data = b""
            while (token := int(rng.choice(np.flatnonzero(matcher.allowed())))) not in ends:
                matcher.advance(token)
                data += vocabulary[token]
            value = json.loads(data)
            assert len(value) <= schema["maxLength"]
            assert re.search(schema["pattern"], value)
