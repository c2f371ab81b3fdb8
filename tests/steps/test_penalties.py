from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    AdditivePenalty,
    Chain,
    Context,
    FrequencyPenalty,
    ParameterError,
    PresencePenalty,
    RepetitionPenalty,
    SortedChain,
    frequency_penalty,
    presence_penalty,
    repetition_penalty,
    softmax,
)
from logitlab.datasets import load

import reference
from sampler_examples import close, context_of, examples, row_of
from strategies import contexts, logits

PAIRS = [
    (repetition_penalty, reference.repetition_penalty),
    (frequency_penalty, reference.frequency_penalty),
    (presence_penalty, reference.presence_penalty),
]
pairs = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda f: f.__name__)
penalties = pytest.mark.parametrize("penalty", [ours for ours, _ in PAIRS])

NUMBERS = (-2.0, -0.5, 0.5, 1.0, 1.3, 2.0)


def counted(context: Context, scope: str, last_n: int | None) -> list[int]:
    """Return the tokens that count, in plain Python."""
    tokens: list[int] = []
    if scope in ("all", "prompt"):
        tokens += np.asarray(context.prompt).tolist()
    if scope in ("all", "output"):
        tokens += np.asarray(context.output).tolist()
    tokens = [token for token in tokens if token >= 0]
    return tokens if last_n is None else tokens[len(tokens) - min(last_n, len(tokens)) :]


@pairs
@given(data=st.data())
def test_equals_the_reference(
    ours: Callable[..., Any], theirs: Callable[..., Any], data: st.DataObject
) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.size))
    scope = data.draw(st.sampled_from(["all", "output", "prompt"]))
    last_n = data.draw(st.one_of(st.none(), st.integers(0, 6)))
    value = data.draw(st.sampled_from([v for v in NUMBERS if v > 0 or "repet" not in str(ours)]))
    expected = theirs(x.tolist(), value, counted(context, scope, last_n))
    np.testing.assert_array_equal(ours(x, value, context, scope=scope, last_n=last_n), expected)


@pairs
def test_equals_the_reference_on_real_rows(
    ours: Callable[..., Any], theirs: Callable[..., Any]
) -> None:
    rows = load()
    context = Context(prompt=rows.prompt_ids, output=rows.prompt_ids[3])
    result = ours(rows.logits, 1.3, context)
    for i, x in enumerate(rows.logits):
        tokens = [*rows.prompt_ids[i].tolist(), *rows.prompt_ids[3].tolist()]
        expected = np.array(theirs(x.astype(float).tolist(), 1.3, tokens), np.float32)
        np.testing.assert_array_equal(result[i], expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_repetition_penalty_of_zero_is_the_limit(dtype: Any) -> None:
    x = np.array([1.0, 2.0, 2.0, 5.0, -3.0, -np.inf], dtype)
    seen = Context(prompt=[0, 1, 2, 4, 5])
    result = repetition_penalty(x, 0.0, seen)
    assert np.isfinite(result[:5]).all()
    np.testing.assert_array_equal(softmax(result), [0, 0.5, 0.5, 0, 0, 0])
    # Without a positive logit in the context its logits become 0.
    result = repetition_penalty(x, 0.0, Context(prompt=[4, 5]))
    np.testing.assert_array_equal(result, np.array([1, 2, 2, 5, 0, -np.inf], dtype))
    # The limit of small values is where small values go.
    near = softmax(repetition_penalty(x, 1e-3, seen))
    np.testing.assert_allclose(near, [0, 0.5, 0.5, 0, 0, 0], atol=1e-12)


def test_repetition_penalty_of_zero_on_real_rows() -> None:
    rows = load()
    p = softmax(repetition_penalty(rows.logits, 0.0, Context(prompt=rows.prompt_ids)))
    assert np.isfinite(p).all()
    for x, row, ids in zip(rows.logits, p, rows.prompt_ids, strict=True):
        seen = ids[np.argmax(x[ids])]
        assert x[seen] > 0
        assert row[seen] == 1


@penalties
def test_negative_and_small_values_reward(penalty: Callable[..., Any]) -> None:
    value = 0.5 if penalty is repetition_penalty else -1.0
    context = Context(prompt=[0, 0, 1])
    x = np.array([1.0, -1.0, 1.0])
    assert (penalty(x, value, context)[:2] > x[:2]).all()
    assert penalty(x, value, context)[2] == x[2]


@penalties
def test_padding_counts_for_nothing_wherever_it_stands(penalty: Callable[..., Any]) -> None:
    x = load().logits[:3]
    ragged = Context(prompt=[[5, 6, 6], [7], []], output=[8])
    left = Context(prompt=[[5, 6, 6], [-1, -1, 7], [-1, -1, -1]], output=[[8], [8], [8]])
    middle = Context(prompt=[[5, -1, 6, 6], [-1, 7, -1, -1], [-1] * 4], output=[[-1, 8]] * 3)
    for options in ({}, {"last_n": 2}, {"scope": "prompt", "last_n": 1}):
        expected = penalty(x, 1.5, ragged, **options)
        for context in (left, middle):
            np.testing.assert_array_equal(penalty(x, 1.5, context, **options), expected)


@penalties
def test_scope_and_window(penalty: Callable[..., Any]) -> None:
    x = np.ones(6)
    context = Context(prompt=[0, 1], output=[2, 3])

    def touched(**options: Any) -> list[int]:
        return np.flatnonzero(penalty(x, 1.5, context, **options) != x).tolist()

    assert touched() == [0, 1, 2, 3]
    assert touched(scope="prompt") == [0, 1]
    assert touched(scope="output") == [2, 3]
    assert touched(last_n=3) == [1, 2, 3]
    assert touched(last_n=0) == []
    assert touched(scope="prompt", last_n=1) == [1]
    assert touched(last_n=100) == [0, 1, 2, 3]


def test_frequency_counts_and_presence_does_not() -> None:
    x = np.zeros(3)
    context = Context(prompt=[0] * 5, output=[1])
    np.testing.assert_array_equal(frequency_penalty(x, 0.5, context), [-2.5, -0.5, 0])
    np.testing.assert_array_equal(presence_penalty(x, 0.5, context), [-0.5, -0.5, 0])


def test_an_overflowing_reward_shifts_the_row() -> None:
    x = np.array([60000.0, 60000.0, 0.0, -60000.0], np.float16)
    result = frequency_penalty(x, -100.0, Context(prompt=[0] * 100))
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(softmax(result), [1, 0, 0, 0])
    result = frequency_penalty(x, 100.0, Context(prompt=[3] * 100))
    assert np.isfinite(result).all()


def test_one_context_serves_a_whole_batch() -> None:
    x = load().logits[:2]
    shared = presence_penalty(x, 1.0, Context(prompt=[3, 4]))
    each = presence_penalty(x, 1.0, Context(prompt=[[3, 4], [3, 4]]))
    np.testing.assert_array_equal(shared, each)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("r", [0, 1e-310, 1e-60])
def test_a_vanishing_repetition_penalty_is_its_limit(dtype: type, r: float) -> None:
    # 0.5 and 0.25 occur: the larger wins whatever the others hold, and these stay as they are.
    x: np.ndarray[Any, Any] = np.array([0.25, 0.5, -1.0, 3.0, 7.0, -np.inf], dtype)
    result = repetition_penalty(x, r, Context(prompt=[0, 1, 2]))
    assert np.isfinite(result[:5]).all()
    np.testing.assert_array_equal(np.argsort(-result, kind="stable")[:5], [1, 0, 4, 3, 2])
    np.testing.assert_array_equal(result[3:], x[3:])
    np.testing.assert_allclose(softmax(result), [0, 1, 0, 0, 0, 0], atol=1e-300)


def test_the_limit_holds_for_every_positive_logit() -> None:
    for x, winner in (([1e-300, 5.0], 0), ([1e60, 2e60], 1)):
        result = repetition_penalty(x, 0, Context(prompt=[0, winner]))
        assert softmax(result)[winner] == 1


def test_lagged_counts_the_prompts_last_token_and_not_the_outputs_newest() -> None:
    x = np.zeros(6)
    for output, seen in (([], set()), ([3], {1}), ([3, 4], {1, 3}), ([3, -1, 4, -1], {1, 3})):
        context = Context(prompt=[0, 1, -1], output=np.array(output, np.int64))
        result = presence_penalty(x, 1.0, context, scope="lagged")
        assert set(np.flatnonzero(result).tolist()) == seen


def test_a_window_that_is_not_full_holds_a_token() -> None:
    x = np.zeros(5)
    context = Context(prompt=[3], output=[4])
    kept = frequency_penalty(x, 1.0, context, last_n=5, fill=2)
    assert kept.tolist() == [0, 0, -3, -1, -1]
    full = frequency_penalty(x, 1.0, context, last_n=2, fill=2)
    assert full.tolist() == [0, 0, 0, -1, -1]
    rows = frequency_penalty(
        np.zeros((2, 5)), 1.0, Context(prompt=[[3, 1], [3, -1]]), last_n=3, fill=0
    )
    assert rows.tolist() == [[-1, -1, 0, -1, 0], [-2, 0, 0, -1, 0]]


def test_the_slope_weakens_the_older_half() -> None:
    x = np.ones(6)
    context = Context(output=[1, 2, 3, 4, 5])
    result = repetition_penalty(x, 2.0, context, last_n=5, slope=0.5)
    # Of 5 tokens the newer half are 3; a token in both halves counts as newer.
    np.testing.assert_allclose(result, [1, 1 / 1.5, 1 / 1.5, 0.5, 0.5, 0.5])
    both = repetition_penalty(x, 2.0, Context(output=[1, 2, 3, 4, 1]), last_n=5, slope=0.5)
    assert both[1] == 0.5
    below = repetition_penalty(x, 0.5, context, last_n=5, slope=0.5)
    np.testing.assert_allclose(below, [1, 2, 2, 2, 2, 2])


@given(data=st.data())
def test_the_additive_penalty_is_both_at_once(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.size))
    alpha, presence = data.draw(st.sampled_from(NUMBERS)), data.draw(st.sampled_from(NUMBERS))
    tokens = counted(context, "all", None)
    expected = reference.presence_penalty(
        reference.frequency_penalty(x.tolist(), alpha, tokens), presence, tokens
    )
    for by_ones in (False, True):
        step = AdditivePenalty(alpha, presence, by_ones=by_ones)
        np.testing.assert_allclose(step(x, context), expected, rtol=1e-12, atol=1e-9)
    first, second = AdditivePenalty(alpha, presence, last_n=2).apart()
    assert first.last_n == second.last_n == 2
    assert not AdditivePenalty(0.0, presence).is_neutral
    assert AdditivePenalty(0.0, 0.0).is_neutral


@examples("koboldcpp", "rep_pen_slope", count=5)
def test_koboldcpps_slope(example: dict[str, Any]) -> None:
    p = example["params"]
    window = p["rep_pen_range"]
    chain = SortedChain(
        RepetitionPenalty(p["rep_pen"], last_n=window, slope=p["rep_pen_slope"]),
        PresencePenalty(p["presence_penalty"], last_n=window),
    )
    close(chain(row_of(example), context_of(example)), example)


@examples("TGI", "frequency_penalty (batched path)", count=5)
def test_tgis_frequency_penalty_goes_by_share(example: dict[str, Any]) -> None:
    step = FrequencyPenalty(example["params"]["frequency_penalty"], amount="share")
    close(Chain(step, precision="single")(row_of(example), context_of(example)), example)


@examples("TGI", "frequency_penalty (single path)", count=4)
def test_tgis_class_for_one_request_goes_by_the_logit(example: dict[str, Any]) -> None:
    step = FrequencyPenalty(example["params"]["frequency_penalty"], amount="logit")
    close(Chain(step, precision="single")(row_of(example), context_of(example)), example)


@examples("transformers", "encoder_repetition_penalty", count=4)
def test_the_encoders_penalty_is_the_inverse_on_the_prompt(example: dict[str, Any]) -> None:
    p = example["params"]
    step = RepetitionPenalty(1 / p["encoder_repetition_penalty"], scope="prompt")
    close(step(row_of(example), Context(p["encoder_input_ids"], [2, 3])), example)


def test_a_share_is_of_the_tokens_that_count() -> None:
    x = np.zeros((2, 4))
    context = Context(prompt=[[0, 0, 1, 2], [1, -1, -1, 3]])
    left = frequency_penalty(x, 1.0, context, amount="share")
    np.testing.assert_allclose(left, [[-0.5, -0.25, -0.25, 0], [0, -0.5, 0, -0.5]])
    left = frequency_penalty(x, [1.0, 0.0], context, amount="share", last_n=2)
    np.testing.assert_allclose(left, [[0, -0.5, -0.5, 0], [0.0] * 4])


@pytest.mark.parametrize("penalty", [repetition_penalty, frequency_penalty, presence_penalty])
@given(data=st.data())
def test_a_decay_is_its_equation(penalty: Callable[..., Any], data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 5))
    tokens: list[int] = data.draw(st.lists(st.integers(0, size - 1), max_size=12))
    sustain, decay = data.draw(st.integers(0, 6)), data.draw(st.integers(1, 6))
    x = np.linspace(-1, 2, size)
    value: float = data.draw(st.sampled_from([0.5, 1.3, 2.0]))
    expected: list[float] = []
    for token in range(size):
        logit = float(x[token])
        weights = [0.0]
        for distance, one in enumerate(reversed(tokens), 1):
            if one == token:
                weights.append(min(max(1 - (distance - sustain) / decay, 0.0), 1.0))
        if penalty is repetition_penalty:
            full = logit / value if logit > 0 else logit * value
            expected.append(logit + (full - logit) * max(weights))
        else:
            times = sum(weights) if penalty is frequency_penalty else max(weights)
            expected.append(logit - value * times)
    left: Any = penalty(x, value, Context(tokens), last_n=sustain, decay=decay)
    np.testing.assert_allclose(left, expected, rtol=1e-12, atol=1e-12)


def test_a_decay_and_an_empty_window() -> None:
    # Two places of three are still empty, and count in full.
    left = frequency_penalty(np.zeros(3), 1.0, Context([2]), last_n=3, fill=1, decay=4)
    assert left.tolist() == [0, -2, -1]
    left = frequency_penalty(np.zeros(3), 1.0, Context([2] * 4), last_n=2, fill=1, decay=2)
    assert left.tolist() == [0, 0, -2.5]
    with pytest.raises(ParameterError, match="decay must be 0 without a window, last_n, got 3"):
        frequency_penalty(np.zeros(3), 1.0, Context([2]), decay=3)
