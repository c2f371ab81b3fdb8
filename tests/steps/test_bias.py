from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import LogitBias, SamplingParams, greedy, logit_bias, sample, softmax
from logitlab.datasets import load
from logitlab.steps.step import words_of

import reference
from strategies import logits


@given(st.data())
def test_equals_the_reference(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    bias = data.draw(st.dictionaries(st.integers(0, x.size - 1), st.floats(-100, 100)))
    np.testing.assert_array_equal(logit_bias(x, bias), reference.logit_bias(x.tolist(), bias))


def test_minus_hundred_bans_and_hundred_forces_on_real_rows() -> None:
    rows = load()
    for i, x in enumerate(rows.logits):
        best = int(x.argmax())
        rare = int(x.argmin())
        banned = SamplingParams(logit_bias={best: -100}, seed=i)
        assert softmax(LogitBias({best: -100})(x))[best] < 1e-30
        assert best not in sample(x, banned, size=1000).tokens
        forced = SamplingParams(logit_bias={rare: 100}, seed=i)
        assert greedy(x, forced) == rare
        assert (sample(x, forced, size=1000).tokens == rare).all()


def test_a_bias_multiplies_the_odds() -> None:
    x = load().logits[0].astype(np.float64)
    before, after = softmax(x), softmax(logit_bias(x, {7: 2.0}))
    odds = before[7] / (1 - before[7]), after[7] / (1 - after[7])
    assert odds[1] / odds[0] == pytest.approx(np.exp(2.0), rel=1e-12)


def test_values_may_differ_by_row() -> None:
    result = LogitBias({1: [1.0, 2.0], 0: -1})(np.zeros((2, 3)))
    np.testing.assert_array_equal(result, [[-1, 1, 0], [-1, 2, 0]])


def test_steps_compare_by_content() -> None:
    assert LogitBias({1: 2, 3: 4}) == LogitBias({3: 4.0, 1: 2.0})
    assert LogitBias({1: 2}) != LogitBias({1: 3})
    assert LogitBias({1: [2.0, 3.0]}) == LogitBias({1: np.array([2.0, 3.0])})
    assert hash(LogitBias({1: 2})) == hash(LogitBias({1: 2.0}))


def test_a_removed_token_cannot_be_revived() -> None:
    assert logit_bias([0.0, -np.inf], {1: 100.0})[1] == -np.inf


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_minus_infinity_of_any_type_bans(kind: type) -> None:
    assert logit_bias([1.0, 2.0], {1: kind("-inf")}).tolist() == [1.0, -np.inf]


def test_later_changes_of_the_map_do_not_reach_the_step() -> None:
    bias = {1: 2.0}
    step = LogitBias(bias)
    bias[1] = 99.0
    assert step.bias == {1: 2.0}


def test_a_map_has_no_words_and_no_complaint() -> None:
    assert words_of(LogitBias({1: 2.0})) == {}


def test_an_overflowing_bias_shifts_the_row() -> None:
    x = np.array([65504.0, 65504.0, 0.0], np.float16)
    result = logit_bias(x, {0: 100.0})
    assert np.isfinite(result).all()
    np.testing.assert_allclose(softmax(result), [1, 0, 0], atol=1e-12)
