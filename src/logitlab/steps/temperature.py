"""Temperature: how sharp the distribution is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import Range
from logitlab.numerics import cast_finite, scratch
from logitlab.steps.step import RowStep, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["Temperature", "temperature"]


def temperature(logits: ArrayLike, t: ArrayLike, *, reciprocal: bool = False) -> FloatArray:
    """Divide logits by the temperature: ``x / t``.

    The odds of two tokens become their power: ``p'_i / p'_j = (p_i / p_j) ** (1 / t)``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    t : array_like, broadcasting to the batch shape (...)
        At least 0. 1 changes nothing, below 1 sharpens, above 1 flattens. 0 is greedy: only the
        most likely token stays, the lowest id on ties.
    reciprocal : bool
        Whether to multiply by ``1 / t``, rounded, instead: that differs by rounding only.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype. No temperature is too small: where a quotient would overflow
        the dtype, the row is shifted so that its largest logit is 0, and what is still too low
        keeps its order at the lower end.

    Raises
    ------
    ParameterError
        If a temperature is negative, not finite, or does not broadcast.

    Notes
    -----
    Engines differ at the small end: vLLM raises temperatures below 0.01 to 0.01, SGLang treats
    those below 1e-6 as greedy. llama.cpp and mlx-lm apply temperature after the truncations.

    References
    ----------
    D. Ackley, G. Hinton and T. Sejnowski, "A Learning Algorithm for Boltzmann Machines", 1985.

    Examples
    --------
    >>> temperature([2.0, 1.0, 0.0], 0.5)
    array([4., 2., 0.])
    >>> temperature([[2.0, 1.0], [2.0, 1.0]], [0.0, 2.0])
    array([[ 2. , -inf],
           [ 1. ,  0.5]])
    """
    return Temperature(t, reciprocal)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Temperature(RowStep):
    """The step `temperature` with its value chosen.

    Examples
    --------
    >>> Temperature(0.5)([2.0, 1.0])
    array([4., 2.])
    """

    t: ArrayLike
    reciprocal: bool = option(False)

    key: ClassVar[str] = "temperature"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 1.0

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``x / t``, and for 0 the most likely token alone."""
        greedy = value.astype(dtype) == 0
        divisor = np.where(greedy, 1, value)
        wide = scratch(rows.shape, np.float64)
        wide[...] = rows
        with np.errstate(over="ignore"):
            if self.reciprocal:
                # Where 1 / t overflows, the quotient does not.
                factor = (1 / divisor).astype(dtype)
                finite = np.isfinite(factor)
                np.multiply(wide, factor, out=wide, where=finite)
                np.divide(wide, divisor.astype(dtype), out=wide, where=~finite)
            else:
                wide /= divisor.astype(dtype)
            scaled: FloatArray = wide.astype(rows.dtype)
        if not np.isfinite(scaled).all():
            far = (np.isinf(scaled) != np.isinf(rows)).any(axis=-1)
            scaled[far] = _within_reach(rows[far], divisor[far] if len(divisor) > 1 else divisor)
        if greedy.any():
            first = np.arange(rows.shape[-1]) == rows.argmax(axis=-1)[:, None]
            scaled = np.where(greedy, np.where(first, rows, -np.inf), scaled).astype(rows.dtype)
        return scaled

    def reorder(self, candidates: Any, value: Any) -> bool:
        """At 0 keep the first of equal maxima by order, not by id."""
        if value == 0:
            candidates.take_best()
        return bool(value == 0)


def _within_reach(rows: FloatArray, t: NDArray[Any]) -> FloatArray:
    """Return ``rows / t`` without overflow.

    A row whose largest quotient would overflow float64 is shifted first. What is then too low has
    probability 0, and is squeezed, in order, into the lower half of what float64 can hold.
    """
    wide = rows.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    reach = np.finfo(np.float64).max
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        base = np.where(np.isinf(top / t), top, 0)
        quotient = (wide - base) / t
        far = np.isinf(quotient) & np.isfinite(wide)
        if far.any():
            # Halved, so that not even the gap between the two ends of float64 overflows.
            depth = base / 2 - wide / 2
            start = reach / 4 * t
            deepest = depth.max(axis=-1, keepdims=True, where=wide > -np.inf, initial=0)
            low = -reach * (0.5 + 0.5 * (depth - start) / (deepest - start))
            squeezed = far.any(axis=-1, keepdims=True) & (depth > start) & (wide > -np.inf)
            quotient = np.where(squeezed, low, quotient)
    return cast_finite(quotient, rows.dtype)
