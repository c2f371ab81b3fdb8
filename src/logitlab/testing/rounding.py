r"""What rounding alone can do: bounds that are derived from the arithmetic, not tuned.

A sampler computes with numbers of unit roundoff u (2^-24 in float32). In the standard model of
rounding every operation gives ``(a op b)(1 + e)`` with ``|e| <= u``. From that follow, for one row
of n tokens that are left, gaps ``d_i = x_i - x_max`` and weights ``w_i = exp(d_i)``:

* **The logit.** A division by T rounds T, perhaps its reciprocal, and the quotient: the error of
  ``x_i / T`` is at most ``gamma_3 |x_i / T|`` with ``gamma_k = k u / (1 - k u)``. It is 0 where T
  is a power of two. A penalty or a bias takes at most four operations on numbers no larger than
  ``|x_i| + |y_i|``. Call the sum of these errors ``e_i``.
* **The weight.** ``exp`` of a gap that is wrong by ``g = e_i + e_max + u |d_i|`` is wrong by a
  share of ``exp(g) - 1``, and ``exp`` itself is taken to be right to 2 units in the last place,
  4 u: no library in use is worse. So ``w_i`` is wrong by at most ``r_i = exp(g) - 1 + 4 u``.
* **The sum.** Whatever the order of n positive terms, their sum is wrong by a share of at most
  ``gamma_{n-1}`` (Higham 2002, section 4.2), and by the average ``r = sum_j w_j r_j / sum_j w_j``.
* **The probability.** So ``p_i`` is wrong by a share of ``r_i + r + gamma_{n-1} + u``, and the
  mass of any set of probabilities, one more sum, by at most ``2 r + (2 gamma_n + 2 u)`` times the
  mass: added up from the other end, it is that of the rest which counts, so that the larger of the
  two is meant. Products of errors are taken in by a division by one less the error of the sum.

**None of this is allowed where nothing rounds.** Tokens of the same logit and the same history
have the same computed number in any arithmetic: between them all errors are 0. If all tokens that
are left either are maxima or lie so far below that their weight is 0 (`GONE`), the weights are
ones, and sums of ones are exact; if the number of the maxima is a power of two, so are their
probabilities and all sums of them. Such a row has no slack at all, and a nucleus that is wrong by
one token is wrong. This holds for the quotient ``w_i / sum_j w_j``, not for the exponential of a
log-probability: a chain with `LogSoftmax` in it, as mlx-lm's, has no such rows.

References
----------
N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, sections 3.1
and 4.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from logitlab.arrays import BoolArray
from numpy.typing import NDArray

__all__ = ["ARITHMETIC", "EXPONENTIAL", "GONE", "Arithmetic", "Softmax", "gamma"]

EXPONENTIAL = 4
"""Unit roundoffs by which an exponential may be wrong."""

GONE = 104.0
"""A gap, in nats, whose weight is 0 in float32 (below 2^-150), and adds nothing elsewhere."""


class Arithmetic(NamedTuple):
    """The numbers that a sampler computes with.

    Attributes
    ----------
    unit : float
        Unit roundoff, with that of float64 on top: the oracle's own.
    tiny : float
        The smallest normal number: what is below may be 0, as processors flush it.
    digits : int
        Binary digits of a number.
    """

    unit: float
    tiny: float
    digits: int

    def holds(self, number: float) -> bool:
        """Whether it has a number without rounding it.

        Examples
        --------
        >>> ARITHMETIC["float32"].holds(0.75), ARITHMETIC["float32"].holds(0.9)
        (True, False)
        """
        return bool(math.frexp(number)[0] * 2**self.digits % 1 == 0)


ARITHMETIC = {
    "float64": Arithmetic(2 * 2.0**-53, 2.0**-1022, 53),
    "float32": Arithmetic(2.0**-24 + 2.0**-53, 2.0**-126, 24),
    "bfloat16": Arithmetic(2.0**-8 + 2.0**-53, 2.0**-126, 8),
    "float16": Arithmetic(2.0**-11 + 2.0**-53, 2.0**-14, 11),
}


def gamma(count: float, unit: float) -> float:
    """Bound the relative error of ``count`` roundings in a row: ``k u / (1 - k u)``.

    Examples
    --------
    >>> gamma(3, 0.1)
    0.42857142857142866
    >>> gamma(10, 0.1)  # no digit need be right
    inf
    """
    return count * unit / (1 - count * unit) if count * unit < 1 else float("inf")


class Softmax:
    """Weights of a row between bounds, as the module describes.

    Parameters
    ----------
    logits, error : ndarray, shape (V,)
        Exact ones, ``-inf`` where a token is gone, and by how much they may be wrong.
    tied : ndarray of bool, shape (V,)
        The tokens that any arithmetic takes for maxima.
    common : float
        A relative error that all probabilities may share.
    arithmetic : Arithmetic

    Attributes
    ----------
    weight : ndarray, shape (V,)
        Exact, in parts of the largest.
    share : ndarray, shape (V,)
        ``r_i``, relative errors of the weights.
    top, top_error : float
        The largest logit, and by how much it may be wrong.
    is_deep : ndarray of bool, shape (V,)
        Probabilities that may be 0: below the normal numbers.
    is_exact : bool
        Whether probabilities and their sums have no error.
    """

    def __init__(
        self,
        logits: NDArray[np.float64],
        error: NDArray[np.float64],
        tied: BoolArray,
        common: float,
        arithmetic: Arithmetic,
    ) -> None:
        left = logits > -np.inf
        top = logits.max()
        with np.errstate(under="ignore"):
            self.gap = logits - top
            self.weight = np.exp(self.gap)
        self.total = float(self.weight.sum())
        self.is_deep: BoolArray = self.weight < 2 * arithmetic.tiny * self.total
        self.count = int(left.sum())
        u, e_top = arithmetic.unit, _error_of_the_top(logits, error, top, tied)
        off = np.where(left, error + e_top + u * np.abs(np.where(left, self.gap, 0)), 0.0)
        with np.errstate(over="ignore", under="ignore"):
            share = np.expm1(off) + EXPONENTIAL * u
            # Beside a weight of 0 a share is no number: what the weight may be counts.
            most = np.where(self.weight > 0, self.weight, 1) * np.where(self.weight > 0, share, 0)
            most += np.where(self.weight > 0, 0, np.exp(self.gap + off))
        self.share = np.where(tied | ~left, 0.0, share)
        ones, far = int(tied.sum()), self.gap + error < -GONE - e_top
        self.ones = not common and ones * u <= 1 and bool((tied | far | ~left).all())
        self.is_exact = self.ones and ones & (ones - 1) == 0
        self.average = float(most[left & ~tied].sum()) / self.total
        self.top, self.top_error = float(top), e_top
        self._arithmetic, self._common = arithmetic, common

    @property
    def total_error(self) -> float:
        """Relative error of the sum of all weights."""
        if self.ones:
            return 0.0
        return self.average + gamma(max(self.count - 1, 0), self._arithmetic.unit) + self._common

    def error_of_mass(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much sums of probabilities may be wrong, whichever end they begin at."""
        if self.is_exact:
            return np.zeros_like(mass)
        count = int((self.gap > -GONE).sum()) if self.ones else self.count
        u = self._arithmetic.unit
        factor = 2 * gamma(count, u) + 2 * u + self._common
        lost = self.count * self._arithmetic.tiny
        error = np.maximum(mass, 1 - mass) * factor + 2 * self.average + lost
        return np.asarray(error / max(1 - self.total_error, 1e-9))

    def error_of_probability(self) -> NDArray[np.float64]:
        """Return the relative errors of the probabilities."""
        if self.is_exact:
            return np.zeros_like(self.share)
        error = self.share + self.total_error + 2 * self._arithmetic.unit
        return np.asarray(error / max(1 - self.total_error, 1e-9))


def _error_of_the_top(
    logits: NDArray[np.float64], error: NDArray[np.float64], top: float, tied: BoolArray
) -> float:
    """Bound the error of the largest logit, which may be another token's where two are near."""
    near = logits + error >= top - float(error[tied].max())
    return float(error[near].max())
