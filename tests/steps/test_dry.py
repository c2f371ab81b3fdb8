"""DRY, held to its equation, and to what engines' own code left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, Context, Dry, ParameterError, SortedChain, dry, softmax
from logitlab.datasets import load

import reference
from sampler_examples import close, context_of, examples, row_of

APHRODITE: dict[str, Any] = {
    "least": 2,
    "longest": 13,
    "occurrences": 8,
    "enough": 8,
    "penalises_breakers": True,
}


@examples("llama.cpp", "dry", count=7)
def test_llama_cpps_dry(example: dict[str, Any]) -> None:
    p = example["params"]
    allowed = p["dry_allowed_length"]
    step = Dry(
        p["dry_multiplier"],
        p["dry_base"],
        allowed,
        p["dry_penalty_last_n"],
        p["breaker_token_sequences"],
        least=allowed,
    )
    close(SortedChain(step)(row_of(example), context_of(example)), example)


@examples("koboldcpp", "dry", count=6)
def test_koboldcpps_dry(example: dict[str, Any]) -> None:
    p = example["params"]
    allowed, last_n = p["dry_allowed_length"], p["dry_penalty_last_n"]
    step = Dry(
        p["dry_multiplier"],
        p["dry_base"],
        allowed,
        last_n if last_n > 0 else None,
        p["breaker_token_sequences"],
        penalises_breakers=True,
        room="more",
        least=allowed,
    )
    close(SortedChain(step)(row_of(example), context_of(example)), example)


@examples("text-generation-webui", "dry", count=4)
def test_the_authors_own_dry(example: dict[str, Any]) -> None:
    p = example["params"]
    breakers = p["dry_sequence_breakers_ids"]
    step = Dry(p["dry_multiplier"], p["dry_base"], p["dry_allowed_length"], None, breakers)
    close(Chain(step, precision="mixed")(row_of(example), context_of(example)), example)


@examples("aphrodite", "dry", count=5)
@pytest.mark.parametrize("room", ["two more", "one or two more"])
def test_aphrodites_dry(example: dict[str, Any], room: str) -> None:
    p = example["params"]
    allowed, breakers = p["dry_allowed_length"], p["dry_sequence_breaker_ids"]
    step = Dry(p["dry_multiplier"], p["dry_base"], allowed, None, breakers, room=room, **APHRODITE)
    close(Chain(step, precision="single")(row_of(example), context_of(example)), example)


@st.composite
def texts(draw: st.DrawFn, most: int = 40) -> tuple[list[int], int]:
    """Few different tokens, often with repetitions."""
    size = draw(st.integers(1, 4))
    tokens = draw(st.lists(st.integers(0, size - 1), max_size=most))
    return tokens * draw(st.integers(1, 3)), size


BREAKERS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=3)


@given(texts(), BREAKERS, st.integers(0, 4), st.one_of(st.none(), st.integers(0, 50)))
def test_dry_is_its_equation(
    text: tuple[list[int], int], breakers: list[list[int]], allowed: int, last_n: int | None
) -> None:
    tokens, size = text
    x = np.linspace(-1, 2, size)
    for room, least, longest, also in (
        ("allowed", None, None, False),
        ("allowed", allowed, None, False),
        ("more", allowed, None, True),
        ("allowed", None, 5, False),
    ):
        step = Dry(
            0.7, 1.5, allowed, last_n, breakers, also, room=room, least=least, longest=longest
        )
        expected = reference.dry(
            x.tolist(),
            tokens if last_n is None else tokens[len(tokens) - min(last_n, len(tokens)) :],
            0.7,
            1.5,
            allowed,
            [tuple(each) for each in breakers],
            more=int(room == "more"),
            least=max(allowed, 1) if least is None else least,
            longest=longest,
            penalises_breakers=also,
        )
        np.testing.assert_allclose(step(x, Context(tokens)), expected, rtol=1e-12, atol=1e-12)


@given(texts(), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 4))
def test_aphrodites_search_is_its_own(
    text: tuple[list[int], int], breakers: list[int], allowed: int
) -> None:
    tokens, size = text
    for compiled in (True, False):
        room = "two more" if compiled else "one or two more"
        for limits in ({}, {"longest": 4, "occurrences": 2, "enough": 3}):
            options: dict[str, Any] = APHRODITE | limits
            step = Dry(0.7, 1.5, allowed, None, breakers, room=room, **options)
            expected = reference.aphrodite_dry(
                [0.0] * size,
                tokens,
                0.7,
                1.5,
                allowed,
                set(breakers),
                options["longest"] - 1,
                options["occurrences"],
                options["enough"],
                compiled,
            )
            np.testing.assert_allclose(step(np.zeros(size), Context(tokens)), expected, rtol=1e-12)


@pytest.mark.parametrize("period", [1, 2, 7, 50, 300])
def test_long_repetitions(period: int) -> None:
    rng = np.random.default_rng(period)
    tokens = np.resize(rng.integers(0, 30, period), 600)
    tokens[rng.integers(0, 600, 3)] = 31
    for text in (tokens, tokens[:-5], np.concatenate([tokens, tokens[:100]])):
        expected = reference.dry([0.0] * 32, text.tolist(), 1.0, 1.01, 2, [])
        np.testing.assert_allclose(dry(np.zeros(32), 1.0, Context(text), base=1.01), expected)
        left = dry(np.zeros(32), 1.0, Context(text), base=1.01, longest=45)
        capped = reference.dry([0.0] * 32, text.tolist(), 1.0, 1.01, 2, [], longest=45)
        np.testing.assert_allclose(left, capped)


def runs(rng: np.random.Generator) -> list[int]:
    """Long runs of one token with few others between them, or a page again and again."""
    if rng.random() < 0.3:
        page = rng.integers(0, 3, rng.integers(1, 40))
        return [*rng.integers(0, 3, 5).tolist(), *np.resize(page, 300).tolist()]
    lengths = rng.integers(1, 60, rng.integers(1, 9))
    kinds = rng.choice([[0, 1], [0, 0, 0, 2]][int(rng.integers(2))], len(lengths))
    return [token for n, kind in zip(lengths, kinds, strict=True) for token in [3] * n + [kind]]


def test_runs() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        tokens = runs(rng)[: -int(rng.integers(0, 3)) or None]
        longest = [None, 20, 37][int(rng.integers(3))]
        expected = reference.dry([0.0] * 4, tokens, 1.0, 1.05, 1, [], longest=longest)
        left = dry(np.zeros(4), 1.0, Context(tokens), base=1.05, allowed_length=1, longest=longest)
        np.testing.assert_allclose(left, expected)
        step = Dry(0.7, 1.05, 1, None, room="two more", **APHRODITE | {"longest": 60, "enough": 40})
        found = reference.aphrodite_dry([0.0] * 4, tokens, 0.7, 1.05, 1, set(), 59, 8, 40, True)
        np.testing.assert_allclose(step(np.zeros(4), Context(tokens)), found)


def test_every_row_has_its_own_text() -> None:
    x = np.zeros((3, 4))
    context = Context(
        prompt=[[0, 1, 2], [3, 0, 1], [2]], output=[[0, 1, -1], [-1, 3, 0], [2, 2, 2]]
    )
    left = dry(x, [1.0, 1.0, -1.0], context, base=2.0)
    assert left.tolist() == [[0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 2, 0]]
    for i, tokens in enumerate(([0, 1, 2, 0, 1], [3, 0, 1, 3, 0], [2, 2, 2, 2])):
        alone = dry(x[i], [1.0, 1.0, -1.0][i], Context(tokens), base=2.0)
        assert alone.tolist() == left[i].tolist()
    # One text serves all rows, and a row whose multiplier is 0 is left alone.
    left = dry(x, [1.0, 0.0, 2.0], Context([0, 1, 2, 0, 1]), base=2.0)
    assert left[:, 2].tolist() == [-1, 0, -2]


def test_the_edges() -> None:
    text = Context([0, 1, 2, 3, 0, 1])
    x = np.zeros(5)

    def left(**options: Any) -> list[float]:
        return list(dry(x, 1.0, text, base=2.0, **options))

    assert left() == [0, 0, -1, 0, 0]
    # Breakers that are the whole vocabulary, or what is no token at all.
    assert left(breakers=range(5)) == [0] * 5
    assert left(breakers=[99, [7, 8]]) == left()
    assert left(breakers=range(5), allowed_length=0, least=0) == [0] * 5
    # A window that is longer than the text, one that is too short, and none.
    assert left(last_n=1000) == left()
    assert left(last_n=5) == [0] * 5
    assert left(last_n=0) == [0] * 5
    # An allowed length of 0: from one token on, or all that follows anything.
    assert left(allowed_length=0) == [0, 0, -4, 0, 0]
    assert left(allowed_length=0, least=0) == [-1, -1, -4, -1, 0]
    # A base of 0 or 1, and the other sign.
    assert left(allowed_length=1)[2] == -2
    assert dry(x, 1.0, text, base=0.0, allowed_length=1).tolist() == [0] * 5
    assert dry(x, 1.0, text, base=1.0, allowed_length=1)[2] == -1
    assert dry(x, -1.0, text, base=2.0)[2] == 1
    # No text, or a single token.
    for tokens in ([], [3], [-1, -1]):
        assert dry(x, 1.0, Context(tokens), allowed_length=0, least=0).tolist() == [0] * 5
    with pytest.raises(ParameterError, match="context must be a Context for dry_multiplier"):
        dry(x, 1.0, None)


def test_removed_tokens_and_overflow() -> None:
    x = np.array([0.0, -np.inf])
    assert dry(x, 5.0, Context([1] * 9))[1] == -np.inf
    assert dry(x, -5.0, Context([1] * 9))[1] == -np.inf
    for dtype in (np.float16, np.float32, np.float64):
        row: np.ndarray[Any, Any] = np.zeros(3, dtype)
        for sign in (1, -1):
            left = dry(row, sign * 100.0, Context([1] * 5000), base=1e6)
            assert np.isfinite(left).all()
            assert softmax(left)[1] == (0 if sign > 0 else 1)


def test_the_exponent_of_llama_cpp_ends_where_float32_does() -> None:
    # A tiny multiplier shows it: 2 ** 128 is beyond float32, and so is what follows.
    text = Context([0] * 300)
    left = SortedChain(Dry(1e-38, 2.0, 2))(np.zeros(2, np.float32), text)
    assert left[0] == np.float32(-np.float64(np.float32(1e-38)) * 2.0**128)
    assert Chain(Dry(1e-38, 2.0, 2))(np.zeros(2), text)[0] == -1e-38 * 2.0**297


def test_a_breaker_ends_a_repetition_wherever_it_lies() -> None:
    x = np.zeros(9)
    tokens = [1, 2, 3, 4, 8, 1, 2, 3]
    assert dry(x, 1.0, Context(tokens), base=2.0)[4] == -2
    # The breaker lies in both places, or is of two tokens; what follows a breaker counts alone.
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[1])[4] == -1
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[2])[4] == 0
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[(8, 1)])[4] == -1
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[(8, 2)])[4] == -2
    # It is not penalised itself, unless that is asked for, or it is of two tokens.
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[4])[4] == 0
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[4], penalises_breakers=True)[4] == -2
    assert dry(x, 1.0, Context(tokens), base=2.0, breakers=[(4, 8)])[4] == -2
    # The breaker that begins last counts, even where a longer one ends later.
    left = dry(x, 1.0, Context([5, 6, 7, 1, 2, 5, 6, 7, 1]), base=2.0, breakers=[(5, 6, 7), (6,)])
    assert left[2] == -1


def test_on_real_rows_it_is_sparse() -> None:
    rows = load()
    x = rows.logits[0]
    tokens = np.concatenate([rows.prompt_ids[0], rows.prompt_ids[0][:-1]])
    left = dry(x, 0.8, Context(tokens[tokens >= 0]))
    assert (left != x).sum() <= 3


def test_wrong_values() -> None:
    for options, message in (
        ({"base": -1.0}, "dry_base must be >= 0, got -1.0."),
        ({"allowed_length": -1}, "dry_allowed_length must be an integer >= 0, got -1."),
        ({"allowed_length": 2.0}, "dry_allowed_length must be an integer >= 0, got 2.0."),
        ({"last_n": -1}, "last_n must be an integer >= 0, got -1."),
        ({"longest": 0}, "longest must be an integer >= 1, got 0."),
        ({"room": "x"}, "room must be one of 'allowed', 'more', 'two more', 'one or two more'"),
        ({"breakers": "\n"}, "dry_sequence_breakers must be a sequence of sequences of token ids"),
        ({"breakers": [[]]}, "none of them empty, got [[]]."),
        ({"breakers": [[-1]]}, "dry_sequence_breakers must be an integer >= 0, got -1."),
        ({"breakers": ["a"]}, "dry_sequence_breakers must be a sequence of token ids, got 'a'."),
    ):
        with pytest.raises(ParameterError) as error:
            Dry(1.0, **options)
        assert message in str(error.value)
    with pytest.raises(ParameterError, match="dry_multiplier must be finite, got inf"):
        Dry(np.inf)
