"""Skew: mass moved along the cumulative distribution, to its end or to its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range
from logitlab.numerics import LARGEST, cast_finite, log_softmax, probabilities, torch_softmax
from logitlab.steps.step import RowStep, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["Skew", "skew"]

ALONG = {
    "likelihood": Words("sorted", "skews the sorted row"),
    "ids": Words("by id", "skews along the token ids, whatever they mean"),
}
_MOST = 700.0  # exp of it is still a float64


def skew(
    logits: ArrayLike,
    amount: ArrayLike,
    *,
    along: str = "likelihood",
    stays_removed: bool = True,
) -> FloatArray:
    """Raise the cumulative distribution to a power: ``C_i ** exp(skew)``.

    With ``C_i = p_1 + ... + p_i`` down the sorted row, a token has ``C_i ** e - C_(i-1) ** e``, e =
    exp(skew). It is the inverse of the distribution at ``u ** exp(-skew)`` for a uniform u.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    amount : array_like, broadcasting to the batch shape (...)
        Any finite number. 0 changes nothing, a positive one makes the less likely tokens more
        likely, a negative one less.
    along : {"likelihood", "ids"}
        Whether the sum runs from the most likely token down, or along the token ids.
    stays_removed : bool
        Whether removed tokens stay so; otherwise what has no probability gets the smallest normal
        number of float32.

    Returns
    -------
    ndarray, shape (..., V)
        Log-probabilities, unless the amount is 0.

    Raises
    ------
    ParameterError
        If ``amount`` is not finite, or does not broadcast.

    Notes
    -----
    Of equal tokens the lower id comes first. Aphrodite goes along the ids, so that a token's gain
    depends on how the vocabulary is numbered, and brings removed tokens back.

    References
    ----------
    turboderp, exllamav2, "Skew sampling", commit 1de4cdd, ``exllamav2_ext/cpp/sampling.cpp``

    Examples
    --------
    >>> np.exp(skew(np.log([0.5, 0.25, 0.25]), np.log(2))).round(4)
    array([0.25  , 0.3125, 0.4375])
    """
    return Skew(amount, along, stays_removed)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Skew(RowStep):
    """The step `skew` with its values chosen.

    Examples
    --------
    >>> np.exp(Skew(np.log(2))([0.0, 0.0])).round(4)
    array([0.25, 0.75])
    """

    amount: ArrayLike
    along: str = option("likelihood", ALONG)
    stays_removed: bool = option(True)

    key: ClassVar[str] = "skew"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens come back."""
        return not self.stays_removed

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return the logarithms of the differences of the powers."""
        if self.stays_removed:
            skewed = self._skewed(rows, value)
        else:
            skewed = self._floored(rows, value, dtype)
        return np.where(value == 0, rows, cast_finite(skewed, rows.dtype))

    def _order(self, rows: FloatArray) -> NDArray[np.intp]:
        if self.along == "ids":
            return np.broadcast_to(np.arange(rows.shape[-1]), rows.shape)
        return np.argsort(-rows, axis=-1, kind="stable")

    def _skewed(self, rows: FloatArray, value: NDArray[Any]) -> NDArray[np.float64]:
        """Compute in logarithms, in which no token vanishes: ``e ln C_i + ln(1 - (1 - r) ** e)``.

        r is the part that a token has of the sum which it ends.
        """
        order = self._order(rows)
        logprob = np.take_along_axis(log_softmax(rows), order, -1)
        power = np.exp(np.clip(value, -_MOST, _MOST))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            sums = np.minimum(np.logaddexp.accumulate(logprob, axis=-1), 0)
            sums[:, -1] = 0
            part = np.minimum(logprob - sums, 0)
            lost = power * np.log1p(-np.exp(part))
            gain = np.log(-np.expm1(lost))
            # Where the power loses next to nothing, that is the power times the part.
            gain = np.where(lost > -1e-300, np.log(power) + part, gain)
            new = np.maximum(power * sums + gain, -LARGEST)
        new[logprob == -np.inf] = -np.inf
        result = np.empty(rows.shape)
        np.put_along_axis(result, order, new, -1)
        return result

    def _floored(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any]
    ) -> NDArray[np.float64]:
        """Compute as torch does, and raise what has no probability to the smallest normal one."""
        order = self._order(rows)
        probs = probabilities(rows, dtype) if dtype == np.float64 else torch_softmax(rows)
        probs = np.take_along_axis(probs, order, -1)
        sums = np.cumsum(probs, axis=-1, dtype=np.float64).astype(dtype)
        with np.errstate(over="ignore"):  # of an infinite power nothing but 1 is left
            power = np.exp(np.clip(value, -_MOST, _MOST)).astype(dtype)
            sums = np.power(sums.astype(np.float64), power).astype(dtype)
        if np.isinf(sums).any():  # a sum that is rounded to more than 1
            rule = "small enough for powers of running sums to be finite"
            raise ParameterError(self.key, rule, float(np.max(value)))
        probs = np.diff(sums, axis=-1, prepend=dtype(0))
        result = np.empty(rows.shape)
        tiny = float(np.finfo(np.float32).tiny)
        np.put_along_axis(result, order, np.log(np.maximum(probs, tiny).astype(np.float64)), -1)
        return result
