"""Mathematics on the last axis: softmax, the largest entries, token counts, work in blocks.

Everything is computed in float64 on blocks of rows that fit a processor cache, so exactness does
not cost memory: a block is a few hundred kilobytes however large the array is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from logitlab.checks import check_logits
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "blocks",
    "largest",
    "log_softmax",
    "logsumexp",
    "map_rows",
    "put",
    "reduce_rows",
    "settle",
    "softmax",
]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

_BLOCK = 1 << 17  # elements of a block: one float64 megabyte


def blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Slices that cut ``shape[0]`` rows into blocks of about ``2**17`` elements."""
    rows, width = shape
    step = max(1, _BLOCK // width)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def map_rows(
    kernel: Callable[..., FloatArray], logits: FloatArray, *values: NDArray[Any]
) -> FloatArray:
    """Return ``kernel(rows, *values)`` for all rows, block by block, in the dtype of ``logits``.

    ``rows`` is ``(n, V)``; every value broadcasts to the batch shape and arrives as ``(n, 1)``.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    columns = [np.broadcast_to(value, logits.shape[:-1]).reshape(-1, 1) for value in values]
    result: FloatArray = np.empty(rows.shape, rows.dtype)
    for block in blocks(rows.shape):
        result[block] = kernel(rows[block], *(column[block] for column in columns))
    return result.reshape(logits.shape)


def reduce_rows(
    kernel: Callable[..., NDArray[Any]], *logits: FloatArray, dtype: type = np.float64
) -> NDArray[Any]:
    """Return ``kernel(*rows)``, one number a row, for arrays of equal shape, block by block."""
    shape = logits[0].shape
    rows = [array.reshape(-1, shape[-1]) for array in logits]
    result: NDArray[Any] = np.empty(len(rows[0]), dtype)
    for block in blocks(rows[0].shape):
        result[block] = kernel(*(array[block] for array in rows))
    return result.reshape(shape[:-1])[()]  # a scalar for a single row, as numpy reductions do


def settle(rows: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Round float64 logits to ``dtype`` without letting any of them overflow.

    A row whose largest logit is beyond the dtype is first shifted so that it becomes 0, which no
    softmax can see; what is then still too low rests at the lowest finite number, where its
    probability is 0. Removed tokens (``-inf``) stay removed.
    """
    limit = np.finfo(dtype).max
    top = rows.max(axis=-1, keepdims=True)
    rows = np.where(top > limit, rows - top, rows)
    return np.where(rows == -np.inf, rows, np.maximum(rows, -limit)).astype(dtype)


def put(rows: FloatArray, row: IntArray, token: IntArray, values: FloatArray) -> None:
    """Set ``rows[row, token] = values`` in place, float64 values rounded as by `settle`."""
    limit = np.finfo(rows.dtype).max
    fitting = np.where(values == -np.inf, values, np.clip(values, -limit, limit))
    rows[row, token] = fitting.astype(rows.dtype)
    for overflowing in np.unique(row[values > limit]):
        here = row == overflowing
        wide = rows[overflowing].astype(np.float64)
        wide[token[here]] = values[here]
        rows[overflowing] = settle(wide[None], rows.dtype)[0]


def weights(rows: FloatArray) -> FloatArray:
    """``p / p_max`` of every token in float64: the largest weight of a row is exactly 1."""
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return np.exp(wide, out=wide)


def _log_softmax(rows: FloatArray) -> FloatArray:
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    r"""Log-probabilities: ``x_i - log(sum_j exp(x_j))``, in nats.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; ``-inf`` marks a removed token.

    Returns
    -------
    ndarray, shape (..., V), float64
        Normalised log-probabilities, ``-inf`` for removed tokens. float64 for every input dtype:
        128 000 float32 probabilities do not add up to 1 well enough to draw from.

    Examples
    --------
    >>> log_softmax([0.0, 0.0, -np.inf])
    array([-0.69314718, -0.69314718,        -inf])
    """
    array = check_logits(logits)
    rows = array.reshape(-1, array.shape[-1])
    result = np.empty(rows.shape)
    for block in blocks(rows.shape):
        result[block] = _log_softmax(rows[block])
    return result.reshape(array.shape)


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities: ``exp(x_i) / sum_j exp(x_j)``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; ``-inf`` marks a removed token.

    Returns
    -------
    ndarray, shape (..., V), float64
        Probabilities that add up to 1, exactly 0 for removed tokens. float64 for every input
        dtype, as in `log_softmax`.

    Examples
    --------
    >>> softmax([0.0, 0.0, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    array = check_logits(logits)
    rows = array.reshape(-1, array.shape[-1])
    result = np.empty(rows.shape)
    for block in blocks(rows.shape):
        weight = weights(rows[block])
        np.divide(weight, weight.sum(axis=-1, keepdims=True), out=result[block])
    return result.reshape(array.shape)


def _logsumexp(rows: FloatArray) -> NDArray[np.float64]:
    top = rows.max(axis=-1).astype(np.float64)
    total: NDArray[np.float64] = top + np.log(weights(rows).sum(axis=-1))
    return total


def logsumexp(logits: ArrayLike) -> NDArray[np.float64]:
    """``log(sum_j exp(x_j))`` of every row: what turns a logit into a log-probability.

    Parameters
    ----------
    logits : array_like, shape (..., V)

    Returns
    -------
    ndarray, shape (...), float64
    """
    return reduce_rows(_logsumexp, check_logits(logits))


def largest(
    rows: FloatArray, count: NDArray[Any], threshold: FloatArray, ties: str = "lowest"
) -> BoolArray:
    """Mask of the ``count`` largest entries of every row, given the smallest of them.

    Parameters
    ----------
    rows : ndarray, shape (n, V)
    count : ndarray of int, shape (n, 1)
        How many to keep, 1 to V.
    threshold : ndarray, shape (n, 1)
        The ``count``-th largest entry of the row.
    ties : {"lowest", "highest", "all"}
        Which of the entries equal to the threshold stay: those with the lowest or the highest
        index, exactly ``count`` in all, or all of them.
    """
    keep = rows >= threshold
    if ties == "all":
        return keep
    crowded = np.flatnonzero(np.count_nonzero(keep, axis=-1, keepdims=True) > count)
    for row in crowded:
        tied = np.flatnonzero(rows[row] == threshold[row])
        surplus = np.count_nonzero(keep[row]) - int(count[row, 0])
        keep[row, tied[-surplus:] if ties == "lowest" else tied[:surplus]] = False
    return keep
