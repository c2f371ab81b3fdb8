from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Temperature, softmax, temperature, top_k
from logitlab.datasets import load

import reference
from strategies import logits


@given(logits(batch=(), dtype=np.float64), st.one_of(st.just(0.0), st.floats(1e-3, 2)))
def test_equals_the_reference(x: np.ndarray[Any, Any], t: float) -> None:
    expected = reference.temperature(x.tolist(), t)
    np.testing.assert_array_equal(temperature(x, t), expected)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0, 1.7, 2.0])
def test_equals_the_reference_on_real_rows(t: float) -> None:
    for row in load().logits[::2]:
        expected = np.array(reference.temperature(row.tolist(), t), np.float32)
        np.testing.assert_array_equal(temperature(row, t), expected)


def test_zero_is_greedy_and_takes_the_lowest_id_on_ties() -> None:
    result = temperature([1.0, 3.0, 3.0, -np.inf], 0)
    np.testing.assert_array_equal(result, [-np.inf, 3.0, -np.inf, -np.inf])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("t", [1e-30, 1e-300, 5e-324])
def test_tiny_temperatures_do_not_overflow(dtype: type, t: float) -> None:
    x: Any = np.array([1e4, 1e4, 9999 if dtype != np.float16 else 9992, -1e4, -np.inf], dtype)
    result = temperature(x, t)
    assert np.isfinite(result[:4]).all()
    assert result[4] == -np.inf
    np.testing.assert_array_equal(softmax(result), [0.5, 0.5, 0, 0, 0])


def test_the_largest_finite_logits_do_not_overflow() -> None:
    x = np.array([np.finfo(np.float64).max, 0.0, np.finfo(np.float64).min])
    np.testing.assert_array_equal(softmax(temperature(x, 0.5)), [1, 0, 0])


def test_odds_become_their_power() -> None:
    p = softmax(load().logits[3])
    hot = softmax(temperature(load().logits[3].astype(np.float64), 2.0))
    top = np.argsort(-p)[:50]
    np.testing.assert_allclose(hot[top] / hot[top[0]], (p[top] / p[top[0]]) ** 0.5, rtol=1e-12)


def test_rows_may_mix_greedy_and_warm() -> None:
    x = np.tile([1.0, 2.0, 0.0], (3, 1))
    result = Temperature([0, 1, 2])(x)
    np.testing.assert_array_equal(result, [[-np.inf, 2, -np.inf], [1, 2, 0], [0.5, 1, 0]])


@pytest.mark.parametrize(
    ("dtype", "t"),
    [(np.float16, 1e-6), (np.float32, 1e-39), (np.float64, 1e-310), (np.float64, 5e-324)],
)
def test_a_tiny_temperature_keeps_the_order(dtype: type, t: float) -> None:
    x: np.ndarray[Any, Any] = np.array([9, 9.5, 10, 1, -np.inf], dtype)
    result = temperature(x, t)
    assert np.isfinite(result[:4]).all()
    np.testing.assert_array_equal(np.argsort(result), np.argsort(x))
    np.testing.assert_array_equal(np.isfinite(top_k(result, 2)), [False, True, True, False, False])
    np.testing.assert_allclose(softmax(result), [0, 0, 1, 0, 0], atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("t", [0.5, 0.001])
def test_a_mask_at_the_lowest_number_changes_nothing_else(dtype: type, t: float) -> None:
    x: np.ndarray[Any, Any] = np.array([2.0, 1.0, np.finfo(dtype).min, -np.inf], dtype)
    result = temperature(x, t)
    np.testing.assert_array_equal(result[:2], temperature(x[:2], t))
    assert result[2] == np.finfo(dtype).min
    assert result[3] == -np.inf


def test_a_reciprocal_that_overflows_changes_no_other_row() -> None:
    step = Temperature([1e-30, 5e-324], reciprocal=True)
    alone = Temperature(1e-30, reciprocal=True)([10000.0])
    assert step([[10000.0], [10000.0]])[0].tobytes() == alone.tobytes()
