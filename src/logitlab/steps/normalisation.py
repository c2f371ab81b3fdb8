"""Normalisation: what engines do between penalties and truncations, and no distribution shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from logitlab.arrays import FloatArray, check_logits
from logitlab.numerics import cast_finite, in_own_dtype, map_rows, shifted
from logitlab.steps.context import Context
from logitlab.steps.step import Transform
from numpy.typing import ArrayLike

__all__ = ["LogSoftmax"]


@dataclass(frozen=True)
class LogSoftmax(Transform):
    """Subtract the logarithm of the total, ``x_i - ln(sum_j exp(x_j))``, rounded to the dtype.

    The distribution stays the same. What changes is the size of the numbers that later steps
    round: mlx-lm normalises before its truncations, and reports these log-probabilities.
    `log_softmax` is the function, in float64 for every dtype.

    Raises
    ------
    ParameterError
        When called with bad logits.

    Examples
    --------
    >>> LogSoftmax()([0.0, 0.0])
    array([-0.69314718, -0.69314718])
    """

    needs_context: ClassVar[bool] = False

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return normalised logits of the same shape and dtype."""
        array = check_logits(logits)
        return in_own_dtype(map_rows(_normalised, array), array, logits)


def _normalised(rows: FloatArray) -> FloatArray:
    top = rows.max(axis=-1, keepdims=True).astype(np.float64)
    total = top + np.log(np.exp(shifted(rows)).sum(axis=-1, keepdims=True))
    rounded = total.astype(rows.dtype).astype(np.float64)
    with np.errstate(over="ignore"):
        return cast_finite(rows.astype(np.float64) - rounded, rows.dtype)
