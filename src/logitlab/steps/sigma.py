"""A truncation in the logits themselves: `top_n_sigma` keeps what is near the largest of them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import shifted
from logitlab.steps.step import Truncation, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["TopNSigma", "top_n_sigma"]

DEVIATION = {
    "population": Words("over n", "divides the squares by how many logits there are"),
    "sample": Words("over n - 1", "divides the squares by one less than there are logits"),
}
REMOVED = {
    "skip": Words("are left out", "leaves removed tokens out of the deviation"),
    "zero": Words("count as 0", "counts removed tokens as logits of 0"),
    "nan": Words("switch it off", "does nothing once a token is removed: the deviation is NaN"),
}


def top_n_sigma(
    logits: ArrayLike, n: ArrayLike, *, deviation: str = "population", removed: str = "skip"
) -> FloatArray:
    """Keep logits within ``n`` standard deviations of the largest: ``x_i >= x_max - n sigma``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    n : array_like, broadcasting to the batch shape (...)
        Any finite number. 0 and below switch it off.
    deviation : {"population", "sample"}
        Whether sigma is the root of ``sum (x - mean)**2 / V``, or of the sum over ``V - 1``. Of one
        logit the second is not defined, and everything stays.
    removed : {"skip", "zero", "nan"}
        What a removed token does to sigma: nothing, or it counts as a logit of 0, or it makes sigma
        NaN, so that everything stays.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``n`` is not finite, or does not broadcast, or an option is unknown.

    Notes
    -----
    A temperature scales sigma and all gaps alike, so that it does not matter whether it comes
    before or after; a truncation before it changes sigma. A token at exactly n sigma stays, and so
    does everything if all logits are equal.

    llama.cpp computes in float32, before every other truncation, and masks what goes: the tokens
    still count for what follows there. KoboldCpp computes it after the other truncations, on what
    is left, and a removed token switches it off, as in Aphrodite. text-generation-webui and
    Aphrodite divide by one less; the former counts removed tokens as 0.

    References
    ----------
    C. Tang et al., "Top-nσ: Not All Logits Are You Need", https://arxiv.org/abs/2411.07641

    Examples
    --------
    >>> top_n_sigma([2.0, 1.0, 0.5, 0.0, -1.0], 1.0)  # sigma is 1
    array([  2.,   1., -inf, -inf, -inf])
    """
    return TopNSigma(n, deviation, removed)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TopNSigma(Truncation):
    """The step `top_n_sigma` with its value chosen.

    Examples
    --------
    >>> TopNSigma(1.0)([2.0, 0.0, 2.0])
    array([  2., -inf,   2.])
    """

    n: ArrayLike
    deviation: str = option("population", DEVIATION)
    removed: str = option("skip", REMOVED)

    key: ClassVar[str] = "top_n_sigma"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True
    ordered_options: ClassVar[tuple[str, ...]] = ("deviation", "removed")

    @property
    def is_neutral(self) -> bool:
        """Whether n is 0 or below, in all rows."""
        return bool((np.asarray(self.n) <= 0).all())

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens change the deviation."""
        return self.removed != "skip"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``x_max - x_i <= n sigma``."""
        on = value > 0
        if not on.any():
            return np.ones(rows.shape, bool)
        if dtype == np.float64:
            rows = _scaled(rows)
            with np.errstate(over="ignore"):  # n sigma beyond all floats
                reach = value * self._sigma(rows, dtype)
                beyond = np.asarray(-shifted(rows) > reach)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                reach = value.astype(dtype) * self._sigma(rows, dtype)
                beyond = np.asarray(rows < rows.max(axis=-1, keepdims=True) - reach)
        beyond &= on  # where sigma is NaN, nothing is beyond
        return np.asarray(~beyond)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Mask what is too far below, or leave it out, as the engine does."""
        values = candidates.values[None]
        candidates.take_within(self.keep(values, np.full((1, 1), value), np.float32)[0])
        return True

    def _sigma(self, rows: FloatArray, dtype: type[Any]) -> NDArray[Any]:
        """Return the standard deviation of every row, shape (n, 1)."""
        alive = rows > -np.inf
        kept = np.asarray(alive.all(axis=-1))
        one = self.deviation == "sample"
        if dtype == np.float64 and kept.all():
            # A single pass over all rows, with sums as of each alone.
            gap = shifted(rows)
            gap -= gap.sum(axis=-1, keepdims=True) / rows.shape[-1]
            gap *= gap
            return np.asarray(_root(gap.sum(axis=-1, keepdims=True), rows.shape[-1] - one))
        sigma = np.full((len(rows), 1), np.nan, dtype)
        for i, row in enumerate(rows):
            if kept[i] or self.removed == "skip":
                # Without gaps: sums that do not depend on where removed tokens stand.
                values = row if kept[i] else row[alive[i]]
            elif self.removed == "zero":
                values = np.where(alive[i], row, 0)
            else:
                continue
            if dtype == np.float64 or one:
                gap = shifted(values[None])[0]
                gap -= gap.sum() / len(gap)
                gap *= gap
                sigma[i] = _root(gap.sum(), len(gap) - one)
            else:
                sigma[i] = _left_to_right(values.astype(dtype))
        return sigma

    @property
    def can_scan(self) -> bool:
        """Whether removed tokens are left out."""
        return self.removed == "skip"

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with sigma, where its error decides on no token."""
        one = self.deviation == "sample"
        return [scan.near_top(n, one) if n > 0 else None for scan, n in scans]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with sigma, but for what sums in another order could decide otherwise."""
        depths, squares = (sums[n - 1] for sums in order.spreads)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            square = squares / n
            variance = square - (depths / n) ** 2
            doubt = (len(order) + 8) * 2.0**-50 * square / variance
            reach = values * np.sqrt(variance * n / (n - (self.deviation == "sample")))
            most = order.depth.searchsorted(reach * (1 + doubt), "right")
            least = order.depth.searchsorted(reach * (1 - doubt), "right")
        sure = np.isfinite(reach) & (doubt < 1e-3)
        off = (values <= 0) | (squares == 0)
        most, least = np.minimum(n, most), np.minimum(n, least)
        return np.where(off, n, np.maximum(most, 1)), np.asarray(~off & (~sure | (most != least)))


def _scaled(rows: FloatArray) -> FloatArray:
    """Return rows of which no square overflows or vanishes: the cut is the same at any scale."""
    if rows.dtype != np.float64:
        return rows  # nothing that float32 holds is that large or small
    size = np.abs(rows).max(axis=-1, keepdims=True, where=rows > -np.inf, initial=0)
    odd = (size > 1e150) | ((size < 1e-150) & (size > 0))
    return np.ldexp(rows, np.where(odd, -np.frexp(size)[1], 0)) if odd.any() else rows


def _root(squares: Any, count: int) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: NaN, for a single logit
        return np.sqrt(np.divide(squares, count))


def _left_to_right(values: NDArray[np.float32]) -> np.float32:
    """Return sigma as llama.cpp adds up: in float32, squares in double, one after another."""
    mean = np.cumsum(values, dtype=np.float32)[-1] / np.float32(len(values))
    squares = (values - mean).astype(np.float64) ** 2
    total = array("f", [0.0])  # rounds what it is given, three times as fast as np.float32
    for square in squares.tolist():
        total[0] += square
    return np.float32(np.sqrt(np.float32(total[0]) / np.float32(len(values))))
