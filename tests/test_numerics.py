from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from logitlab import log_softmax, softmax
from logitlab.datasets import load
from logitlab.numerics import blocks, cast_finite, rounded_to_bfloat16, scatter
from numpy.typing import NDArray

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


def every_kind_of_float32() -> NDArray[np.float32]:
    """Every upper half of a float32, with lower halves on, at and beside the middle."""
    lower = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    bits = np.arange(1 << 16, dtype=np.uint32)[:, None] << 16 | np.array(lower, np.uint32)
    return bits.view(np.float32)


def test_rounding_to_bfloat16_is_that_of_exact_numbers() -> None:
    x = every_kind_of_float32()
    finite = np.isfinite(x)
    wide = np.where(finite, x, 0).astype(np.float64)  # where every step here is exact
    last = np.ldexp(1.0, np.maximum(np.frexp(wide)[1] - 8, -133))  # subnormal below 2**-126
    nearest = np.rint(wide / last) * last
    largest = (2 - 2.0**-7) * 2.0**127
    expected = np.where(np.abs(nearest) > largest, np.copysign(np.inf, wide), nearest)
    rounded = rounded_to_bfloat16(x)
    assert rounded.dtype == np.float32
    assert rounded.shape == x.shape
    assert (rounded[finite].view(np.uint32) == expected.astype(np.float32)[finite].view("u4")).all()
    assert (np.isinf(expected) & finite).sum() == 6  # the largest lower halves, of both signs
    np.testing.assert_array_equal(rounded[~finite], x[~finite])  # infinite, or NaN
    assert (rounded_to_bfloat16(rounded).view("u4") == rounded.view("u4")).all()


def test_rounding_to_bfloat16_takes_any_layout_and_leaves_its_input() -> None:
    x = (np.arange(12, dtype=np.float32).reshape(3, 4).T / np.float32(1000)).astype(np.float32)
    before = x.tobytes()
    np.testing.assert_array_equal(rounded_to_bfloat16(x), rounded_to_bfloat16(x.copy()))
    assert x.tobytes() == before
    assert rounded_to_bfloat16(x[0, 0, ...]).shape == ()
    assert rounded_to_bfloat16(x[:0]).shape == (0, 3)


def test_rounding_to_bfloat16_is_that_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = every_kind_of_float32()
    with np.errstate(invalid="ignore"):
        other = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    number = ~np.isnan(x)
    rounded = rounded_to_bfloat16(x)
    assert (rounded[number].view("u4") == other[number].view("u4")).all()
    assert np.isnan(rounded[~number]).all()


def test_rounding_to_bfloat16_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x = every_kind_of_float32()
    other = torch.from_numpy(x).to(torch.bfloat16).to(torch.float32).numpy()
    number = ~np.isnan(x)
    rounded = rounded_to_bfloat16(x)
    assert (rounded[number].view("u4") == other[number].view("u4")).all()
    assert np.isnan(rounded[~number]).all()
