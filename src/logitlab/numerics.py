"""Mathematics on the last axis: softmax, weights, rounding, work in blocks.

Everything is computed in float64 on blocks of rows that fit a processor cache, so exactness does
not cost memory: a block is a few hundred kilobytes however large the array is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits, given_back
from logitlab.foreign import largest
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BLOCK",
    "DOUBLE",
    "LARGEST",
    "PRECISIONS",
    "Precision",
    "blocks",
    "cast_finite",
    "in_own_dtype",
    "lane_sums",
    "log_softmax",
    "map_rows",
    "moments",
    "probabilities",
    "reduce_rows",
    "rounded_log_mass",
    "rounded_log_softmax",
    "rounded_to_bfloat16",
    "rounded_weights",
    "scatter",
    "scratch",
    "shifted",
    "softmax",
    "torch_softmax",
    "torch_sums",
    "weights",
    "widened",
]


class Precision(NamedTuple):
    """In which dtype a chain holds the values of its steps, and computes."""

    value: type[np.floating[Any]]
    arithmetic: type[np.floating[Any]]


PRECISIONS = {
    "double": Precision(np.float64, np.float64),
    "single": Precision(np.float32, np.float32),
    "mixed": Precision(np.float64, np.float32),
}
"""double: everything in float64, rounded once a step to the dtype of the logits. single: logits,
values and every operation in float32. mixed: the same, but values stay Python's floats until they
meet a logit."""

DOUBLE = PRECISIONS["double"]

_LANES = 8  # floats in a vector of AVX2
# SLEEF's expf: 1 / ln 2, ln 2 in two parts, and the polynomial of the rest.
_LOG2_E = 1.442695040888963407
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.428606765330187045e-06
_EXPONENTIAL = (
    *(0.000198527617612853646278381, 0.00139304355252534151077271, 0.00833336077630519866943359),
    *(0.0416664853692054748535156, 0.166666671633720397949219, 0.5),
)
_SCRATCH = 1 << 19  # elements of an array that each thread keeps for reuse
_held = threading.local()
_NOTHING = -700.0
LARGEST = float(np.finfo(np.float64).max)
BLOCK = 1 << 17  # elements of a block: one float64 megabyte


def blocks(shape: tuple[int, int], elements: int = BLOCK) -> Iterator[slice]:
    """Slices that cut ``shape[0]`` rows into blocks of about so many elements."""
    rows, width = shape
    step = max(1, elements // width)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def scratch(shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Return an uninitialised array that this thread has for short use, and that is reused.

    Fresh memory costs more than the arithmetic done in it. Nobody may keep the array or pass it on.
    """
    count = math.prod(shape)
    if count > _SCRATCH:
        return np.empty(shape, dtype)
    if dtype not in _held.__dict__.setdefault("arrays", {}):
        _held.arrays[dtype] = np.empty(_SCRATCH, dtype)
    array: NDArray[Any] = _held.arrays[dtype][:count]
    return array.reshape(shape)


def map_rows(
    kernel: Callable[[FloatArray], FloatArray], logits: FloatArray, dtype: type | None = None
) -> NDArray[Any]:
    """Return ``kernel(rows)``, of the shape of the rows, for all rows, block by block.

    The result is of ``dtype``, or of that of ``logits``.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    result = np.empty(rows.shape, dtype or rows.dtype)
    for block in blocks(rows.shape):
        result[block] = kernel(rows[block])
    return result.reshape(logits.shape)


def reduce_rows(
    kernel: Callable[..., NDArray[Any]], *logits: FloatArray, dtype: type = np.float64
) -> NDArray[Any]:
    """Return ``kernel(*rows)``, one number a row, for arrays of equal shape, block by block."""
    shape = logits[0].shape
    rows = [array.reshape(-1, shape[-1]) for array in logits]
    result: NDArray[Any] = np.empty(len(rows[0]), dtype)
    for block in blocks(rows[0].shape):
        result[block] = kernel(*(widened(array[block]) for array in rows))
    return result.reshape(shape[:-1])[()]  # a scalar for a single row, as numpy reductions do


def widened(logits: FloatArray) -> FloatArray:
    """Return float16 logits as float32, and others as they are."""
    return logits.astype(np.float32) if logits.dtype == np.float16 else logits


def cast_finite(rows: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Round logits to ``dtype`` without letting any of them overflow.

    A row whose largest logit would is first shifted so that it becomes 0, which no softmax can see.
    What is too low has probability 0, and is squeezed, in order, into the lower half of what the
    dtype can hold. Removed tokens (``-inf``) stay removed.
    """
    with np.errstate(over="ignore"):
        result = rows.astype(dtype)
    overflowing = (np.isinf(result) & np.isfinite(rows)).any(axis=-1)
    if overflowing.any():
        limit = float(np.finfo(dtype).max)
        result[overflowing] = _squeezed(rows[overflowing].astype(np.float64), limit).astype(dtype)
    return result


def in_own_dtype(result: FloatArray, array: FloatArray, logits: ArrayLike) -> FloatArray:
    """Return what a single transform made of an array in the dtype and library of ``logits``."""
    if array is logits:
        return result
    limit = largest(logits)
    if limit is not None:
        result = _within(result, limit)
    return given_back(result, logits, own_dtype=True)


def _within(rows: FloatArray, limit: float) -> FloatArray:
    """Return logits that a dtype whose largest number is ``limit`` can hold, as `cast_finite`."""
    far = reduce_rows(
        lambda block: ((np.abs(block) > limit) & (block > -np.inf)).any(axis=-1),
        rows,
        dtype=np.bool_,
    )
    if not far.any():
        return rows
    result = rows.copy()
    result[far] = _squeezed(rows[far].astype(np.float64), limit).astype(rows.dtype)
    return result


def _squeezed(rows: FloatArray, limit: float) -> FloatArray:
    top = rows.max(axis=-1, keepdims=True)
    base = np.where(top > limit, top, 0)
    # Halved, so that not even the gap between the two ends of float64 overflows.
    depth = (base / 2 - rows / 2) * (2 / limit)
    deepest = depth.max(axis=-1, keepdims=True, where=rows > -np.inf, initial=1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        low = -limit * (0.5 + 0.5 * (depth - 0.5) / (deepest - 0.5))
        squeezed = np.where(depth > 0.5, low, rows - base)
    return np.where(rows == -np.inf, rows, squeezed)


def rounded_to_bfloat16(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest numbers of bfloat16, in float32: of two as near the even one.

    What is beyond the largest becomes infinite, as in every rounding of IEEE 754; subnormal numbers
    stay, NaN stays NaN. float64 would be rounded twice, and is not taken.

    Examples
    --------
    >>> rounded_to_bfloat16(np.array([1.00390625, 1.01171875, 3.4e38], np.float32))
    array([1.      , 1.015625,      inf], dtype=float32)
    """
    bits = np.array(numbers, np.float32, order="C").view(np.uint32)
    # bfloat16 is the upper half of a float32. A little less than half of its last place, and the
    # whole half where that place is odd, carries into it exactly where the rounding is upwards.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    upper = np.where(np.isnan(numbers), np.uint32(0x7FC0), rounded)
    return (upper << np.uint32(16)).view(np.float32)


def scatter(rows: FloatArray, row: IntArray, token: IntArray, values: FloatArray) -> None:
    """Set ``rows[row, token] = values`` in place, float64 values rounded as by `cast_finite`."""
    limit = np.finfo(rows.dtype).max
    if np.abs(values).max(initial=0) <= limit:
        rows[row, token] = values
        return
    fitting = np.where(values == -np.inf, values, np.clip(values, -limit, limit))
    rows[row, token] = fitting.astype(rows.dtype)
    beyond = values > limit
    for overflowing in np.unique(row[beyond]) if beyond.any() else ():
        here = row == overflowing
        wide = rows[overflowing].astype(np.float64)
        wide[token[here]] = values[here]
        rows[overflowing] = cast_finite(wide[None], rows.dtype)[0]


def shifted(rows: FloatArray, out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """``x - x_max`` of every token in float64: 0 for the most likely, ``-inf`` for removed ones."""
    gap = np.empty(rows.shape) if out is None else out
    gap[...] = rows
    with np.errstate(over="ignore"):  # further apart than float64 reaches
        gap -= rows.max(axis=-1, keepdims=True)
    return gap


def weights(rows: FloatArray, out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """``p / p_max`` of every token in float64: the largest weight of a row is exactly 1.

    Below ``exp(-700)``, a part in 10**304, it is exactly 0.
    """
    gap = shifted(rows, out)
    if gap.size and gap.min() > _NOTHING:
        return np.exp(gap, out=gap)
    # Exponentials that vanish take ten times as long as others.
    alive = gap > _NOTHING
    weight = np.exp(np.maximum(gap, _NOTHING, out=gap), out=gap)
    weight *= alive
    return weight


def moments(rows: FloatArray, of: str = "depth") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return of every row the sum of ``p / p_max``, and an average over the distribution.

    Parameters
    ----------
    rows : ndarray, shape (n, V)
    of : {"depth", "weight"}
        Of what the average is: of ``x_max - x``, so that the entropy is ``ln(mass) + depth``; or of
        ``p / p_max``.

    Returns
    -------
    tuple of ndarray of float64, shape (n, 1)
        Removed tokens are left out, and cannot change how the sums round.
    """
    gap = shifted(rows)
    alive = rows > -np.inf
    if alive.all():
        return _moments(gap, of)
    parts = [_moments(row[None, here], of) for row, here in zip(gap, alive, strict=True)]
    return np.concatenate([mass for mass, _ in parts]), np.concatenate([mean for _, mean in parts])


def _moments(gap: NDArray[np.float64], of: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if gap.min() > _NOTHING:
        weight = np.exp(gap)
    else:
        alive = gap > _NOTHING
        weight = np.exp(np.maximum(gap, _NOTHING, out=gap))
        weight *= alive
    mass = weight.sum(axis=-1, keepdims=True)
    weight *= weight if of == "weight" else np.negative(gap, out=gap)
    return mass, np.asarray(weight.sum(axis=-1, keepdims=True) / mass)


def lane_sums(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of every row, shape (n, 1), as torch adds up float32: in eight lanes.

    Each lane runs along the row; then, thrice, the upper half of the lanes is added to the lower.
    """
    count, size = rows.shape
    if size < _LANES:
        return np.cumsum(rows, axis=-1)[:, -1:]
    whole = size - size % _LANES
    sums = rows[:, :whole].reshape(count, -1, _LANES).sum(axis=1)
    sums[:, : size - whole] += rows[:, whole:]
    for half in (4, 2, 1):
        sums = sums[:, :half] + sums[:, half:]
    return np.asarray(sums)


def _shifted32(rows: FloatArray) -> NDArray[np.float32]:
    """``x - x_max`` of every token, rounded to float32."""
    with np.errstate(invalid="ignore", over="ignore"):  # further apart than float32 reaches
        return np.asarray(
            rows.astype(np.float32) - rows.max(axis=-1, keepdims=True).astype(np.float32)
        )


def torch_softmax(rows: FloatArray) -> NDArray[np.float32]:
    """Return probabilities bit for bit as ``torch.softmax`` of float32 has them on a CPU.

    Its exponential is that of SLEEF 3 (``expf``, within one unit in the last place) with fused
    multiply-adds, and the reciprocal of the sum, not the quotient, is taken.
    """
    gap = _shifted32(rows)
    low = gap < -104
    gap[low] = 0
    quotient = np.rint(gap * np.float32(_LOG2_E))
    rest = _fused(quotient, -_LN2_HIGH, gap)
    rest = _fused(quotient, -_LN2_LOW, rest)
    power = np.full_like(gap, _EXPONENTIAL[0])
    for factor in _EXPONENTIAL[1:]:
        power = _fused(power, rest, factor)
    power = np.float32(1) + _fused(rest * rest, power, rest)
    power = np.ldexp(power, quotient.astype(np.int32))
    power[low] = 0
    power *= np.float32(1) / lane_sums(power)
    return np.asarray(power)


def _fused(a: Any, b: Any, c: Any) -> NDArray[np.float32]:
    """Return ``a b + c``, rounded to float32 once."""
    product = np.asarray(a, np.float64) * np.asarray(b, np.float32).astype(np.float64)
    result: NDArray[np.float32] = (product + np.asarray(c, np.float32)).astype(np.float32)
    return result


def torch_sums(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of every row, shape (n, 1), as ``torch.sum`` adds up float32 on a CPU.

    32 sums run side by side, in levels of 16 and more additions, so that no one sum becomes long
    (ATen, ``SumKernel.cpp``); then those that stand side by side are added.
    """
    count, size = rows.shape
    width = _LANES if size >= _LANES else 1
    vectors = size // width
    lanes = rows[:, : vectors * width].reshape(count, vectors, width)
    quads = vectors // 4
    parts = _levelled(lanes[:, : quads * 4].reshape(count, quads, 4, width))
    for i in range(quads * 4, vectors):
        parts[:, 0] += lanes[:, i]
    for k in (1, 2, 3):
        parts[:, 0] += parts[:, k]
    total = np.zeros(count, np.float32)
    for k in range(vectors * width, size):
        total += rows[:, k]
    for k in range(width):
        total += parts[:, 0, k]
    return np.asarray(total[:, None])


def _levelled(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums along the second of four axes, up to the next level after so many."""
    number = rows.shape[1]
    power = max(4, math.ceil(math.log2(number)) // 4 if number else 0)
    step, levels = 1 << power, np.zeros((4, len(rows), *rows.shape[2:]), np.float32)
    for end in range(step, number + 1, step):
        levels[1] += rows[:, end - step : end].sum(axis=1)
        for level in (1, 2):
            if end & (step - 1) << level * power:
                break
            levels[level + 1] += levels[level]
            levels[level] = 0
    levels[0] = rows[:, number - number % step :].sum(axis=1)
    return np.asarray(((levels[0] + levels[1]) + levels[2]) + levels[3])


def rounded_log_mass(rows: FloatArray) -> NDArray[np.float32]:
    """Return the logarithm of the sum of ``p / p_max`` in float32, added up as torch does."""
    mass = lane_sums(rounded_weights(rows))
    rounded: NDArray[np.float32] = np.log(mass.astype(np.float64)).astype(np.float32)
    return rounded


def rounded_log_softmax(rows: FloatArray) -> NDArray[np.float32]:
    """Return log-probabilities in float32 as torch rounds them, but for its exponential."""
    gap = _shifted32(rows)
    gap -= rounded_log_mass(rows)
    return np.asarray(gap)


def rounded_weights(rows: FloatArray) -> NDArray[np.float32]:
    """``p / p_max`` of every token with the gap and its exponential rounded to float32."""
    gap = _shifted32(rows)
    rounded: NDArray[np.float32] = np.exp(gap.astype(np.float64)).astype(np.float32)
    return rounded


def probabilities(rows: FloatArray, dtype: type[Any]) -> NDArray[Any]:
    """Return probabilities with each operation rounded to dtype, the sum at its end."""
    weight: NDArray[Any] = weights(rows) if dtype == np.float64 else rounded_weights(rows)
    # A running sum, to whose rounding removed tokens add nothing, wherever they stand.
    weight /= np.cumsum(weight, axis=-1, dtype=np.float64)[:, -1:].astype(dtype)
    return weight


def _log_softmax(rows: FloatArray) -> FloatArray:
    gap = shifted(rows)
    gap -= np.log(np.exp(gap).sum(axis=-1, keepdims=True))
    return gap


def _softmax(rows: FloatArray) -> FloatArray:
    weight = weights(rows)
    weight /= weight.sum(axis=-1, keepdims=True)
    return weight


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    r"""Log-probabilities: ``x_i - log(sum_j exp(x_j))``, in nats.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, bfloat16, float32 or float64; ``-inf`` marks a removed token.

    Returns
    -------
    ndarray, shape (..., V), float64
        Normalised log-probabilities, ``-inf`` for removed tokens. float64 for every input dtype:
        128 000 float32 probabilities do not add up to 1 well enough to draw from.

    Raises
    ------
    ParameterError
        For bad logits: NaN, ``+inf``, a row without survivors, other dtypes than floats.

    Examples
    --------
    >>> log_softmax([0.0, 0.0, -np.inf])
    array([-0.69314718, -0.69314718,        -inf])
    """
    return given_back(map_rows(_log_softmax, check_logits(logits), dtype=np.float64), logits)


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities: ``exp(x_i) / sum_j exp(x_j)``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, bfloat16, float32 or float64; ``-inf`` marks a removed token.

    Returns
    -------
    ndarray, shape (..., V), float64
        Probabilities that add up to 1, exactly 0 for removed tokens. float64 for every input
        dtype, as in `log_softmax`.

    Raises
    ------
    ParameterError
        For bad logits: NaN, ``+inf``, a row without survivors, other dtypes than floats.

    Examples
    --------
    >>> softmax([0.0, 0.0, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    return given_back(map_rows(_softmax, check_logits(logits), dtype=np.float64), logits)
