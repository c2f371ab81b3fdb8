from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from logitlab import log_softmax, softmax
from logitlab.datasets import load
from logitlab.numerics import blocks, cast_finite, scatter

import reference
from strategies import logits


@given(logits())
def test_softmax_equals_scipy(x: np.ndarray[Any, Any]) -> None:
    wide = x.astype(np.float64)
    np.testing.assert_allclose(softmax(x), scipy.special.softmax(wide, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(x), scipy.special.log_softmax(wide, axis=-1), rtol=1e-12)


def test_softmax_equals_plain_sums_on_real_rows() -> None:
    for row in load().logits[:5]:
        np.testing.assert_allclose(softmax(row), reference.softmax(row.tolist()), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_float64_and_add_up_to_one(dtype: type) -> None:
    p = softmax(load().logits.astype(dtype))
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 5), (1, 10**6), (1000, 3), (2**17 + 1, 1)])
def test_blocks_cover_every_row_once(shape: tuple[int, int]) -> None:
    rows = np.arange(shape[0])
    parts = [rows[block] for block in blocks(shape)]
    np.testing.assert_array_equal(np.concatenate([*parts, np.empty(0, int)]), rows)


def test_cast_finite_shifts_only_rows_that_overflow() -> None:
    rows = np.array([[1e6, 0.0, -np.inf], [1.0, -1e6, -np.inf], [1.0, 2.0, -np.inf]])
    result = cast_finite(rows, np.dtype(np.float16))
    np.testing.assert_array_equal(
        result, np.array([[0, -65504, -np.inf], [1, -65504, -np.inf], rows[2]], np.float16)
    )


def test_cast_finite_keeps_near_gaps_and_the_order_of_the_rest() -> None:
    rows = np.array([[3e39, 3e39 - 1e38, 5e38, -1e300, -1.7e308]])
    result = cast_finite(rows, np.dtype(np.float32))[0]
    assert result[0] == 0
    np.testing.assert_allclose(result[1], -1e38, rtol=1e-6)
    assert (np.diff(result) <= 0).all()
    assert result[2] < -1.7e38
    assert result[4] == np.finfo(np.float32).min
    ends = np.array([[1.7e308, -1.7e308]])
    np.testing.assert_array_equal(
        cast_finite(ends, np.dtype(np.float32)), [[0, np.finfo(np.float32).min]]
    )


def test_put_rounds_and_settles() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], np.float16)
    scatter(rows, np.array([0, 1]), np.array([0, 2]), np.array([1e9, 5.0]))
    np.testing.assert_array_equal(rows[1], [1, 2, 5])
    assert rows[0, 0] == 0
    assert (rows[0, 1:] < -60000).all()
