"""Truncations at a probability: a fixed one, or one that follows how sure the model is.

`epsilon_cutoff` has it as its value, `eta_cutoff` lowers it by the entropy, `p_less` has none. Each
stands with its class below, as in `logitlab.steps.truncation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import moments, probabilities, rounded_log_softmax
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.threshold import near_best
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "EpsilonCutoff",
    "EtaCutoff",
    "PLess",
    "epsilon_cutoff",
    "eta_cutoff",
    "p_less",
]

EXEMPT = {
    "maxima": Words("all maxima", "keeps all equally likely best tokens"),
    "first": Words("the first maximum", "keeps the first of the best tokens"),
}
LOGPROBS = {"softmax": None, "log_softmax": None}


def epsilon_cutoff(logits: ArrayLike, epsilon: ArrayLike, *, exempt: str = "maxima") -> FloatArray:
    """Keep tokens whose probability is at least ``epsilon``, and the most likely one.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    epsilon : array_like, broadcasting to the batch shape (...)
        At least 0. 0 keeps all; beyond the probability of the most likely token only that one
        stays. Equality keeps.
    exempt : {"maxima", "first"}
        What stays in any case: all tokens that are as likely as the most likely one, or the one of
        the lowest id among them.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``epsilon`` is negative, not finite, or does not broadcast, or ``exempt`` is unknown.

    Notes
    -----
    transformers exempts all maxima, and takes no value of 1 or above; Aphrodite exempts the first,
    and takes any. Both compare probabilities in float32.

    References
    ----------
    J. Hewitt, C. Manning and P. Liang, "Truncation Sampling as Language Model Desmoothing",
    Findings of EMNLP 2022, https://arxiv.org/abs/2210.15191

    Examples
    --------
    >>> epsilon_cutoff(np.log([0.5, 0.25, 0.125, 0.125]), 0.25)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return EpsilonCutoff(epsilon, exempt)(logits)


class _Cutoff(Truncation):
    """What the two steps share: a bound for the probability, and that the most likely stays."""

    exempt: str

    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 0.0
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True

    @property
    def can_scan(self) -> bool:
        """Whether all maxima stay."""
        return self.exempt == "maxima"


@dataclass(frozen=True, eq=False, repr=False)
class EpsilonCutoff(_Cutoff):
    """The step `epsilon_cutoff` with its value chosen.

    Examples
    --------
    >>> EpsilonCutoff(0.2)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    epsilon: ArrayLike
    exempt: str = option("maxima", EXEMPT)

    key: ClassVar[str] = "epsilon_cutoff"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``p_i >= epsilon``, and the most likely token."""
        if dtype != np.float64:
            return _at_least(rows, probabilities(rows, dtype), value.astype(dtype), self.exempt)
        return _above(rows, value * moments(rows)[0], self.exempt)

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with bounds of the mass, where both agree on every token."""
        return [scan.at_least(lambda mass, e=epsilon: e * mass) for scan, epsilon in scans]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with the mass, but for what sums in another order could decide otherwise."""
        kept: tuple[IntArray, BoolArray] = order.at_least(
            n, values * order.mass[order.last(n)], values == 0
        )
        return kept


def eta_cutoff(
    logits: ArrayLike, eta: ArrayLike, *, exempt: str = "maxima", rounded_as: str = "softmax"
) -> FloatArray:
    """Keep tokens whose probability reaches ``min(eta, sqrt(eta) exp(-H))``, H being the entropy.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    eta : array_like, broadcasting to the batch shape (...)
        At least 0. 0 keeps all. Equality keeps.
    exempt : {"maxima", "first"}
        What stays in any case, as in `epsilon_cutoff`.
    rounded_as : {"softmax", "log_softmax"}
        In chains of single or mixed precision: whether a probability comes from the quotient of the
        softmax, or from the exponential of a log-probability. The two differ by rounding only.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``eta`` is negative, not finite, or does not broadcast, or an option is unknown.

    Notes
    -----
    The paper's epsilon is the value here, its alpha the root of that, as in the paper's
    experiments. On a flat row, of large H, the second of the two decides, and more tokens stay
    than at the same `epsilon_cutoff`.

    transformers exempts all maxima, and takes no value of 1 or above; Aphrodite exempts the first.

    References
    ----------
    J. Hewitt, C. Manning and P. Liang, "Truncation Sampling as Language Model Desmoothing",
    Findings of EMNLP 2022, https://arxiv.org/abs/2210.15191

    Examples
    --------
    H is 1.21 nats, so that 0.25 asks for 0.5 * 0.30:

    >>> eta_cutoff(np.log([0.5, 0.25, 0.125, 0.125]), 0.25)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return EtaCutoff(eta, exempt, rounded_as)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class EtaCutoff(_Cutoff):
    """The step `eta_cutoff` with its value chosen.

    Examples
    --------
    >>> EtaCutoff(0.2)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    eta: ArrayLike
    exempt: str = option("maxima", EXEMPT)
    rounded_as: str = option("softmax", LOGPROBS)

    key: ClassVar[str] = "eta_cutoff"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``p_i >= min(eta, sqrt(eta) exp(-H))``, and the most likely token."""
        if dtype != np.float64:
            return self._rounded(rows, value.astype(dtype), dtype)
        mass, depth = moments(rows)
        # In parts of p_max: exp(-H) is exp(-depth) / mass.
        return _above(rows, np.minimum(value * mass, np.sqrt(value) * np.exp(-depth)), self.exempt)

    def _rounded(self, rows: FloatArray, eta: NDArray[Any], dtype: type[Any]) -> BoolArray:
        """Keep as `keep` says, every operation rounded to float32 as in torch."""
        logprobs = rounded_log_softmax(rows)
        probs = probabilities(rows, dtype)
        if self.rounded_as == "log_softmax":
            probs = np.exp(logprobs.astype(np.float64)).astype(dtype)
        else:
            top = rows.max(axis=-1, keepdims=True).astype(dtype)
            total = np.cumsum(np.exp(np.subtract(rows, top, dtype=np.float64)), axis=-1)[:, -1:]
            logprobs = rows.astype(dtype) - (np.log(total).astype(dtype) + top)
        terms = np.where(probs > 0, probs * np.where(probs > 0, logprobs, 0), 0)
        below = np.cumsum(terms, axis=-1, dtype=np.float64)[:, -1:].astype(dtype)
        cut = np.minimum(eta, np.sqrt(eta) * np.exp(below.astype(np.float64)).astype(dtype))
        return _at_least(rows, probs, cut, self.exempt)

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with bounds of mass and average depth, where all agree on every token."""
        return [
            scan.at_least(lambda mass, depth, e=eta: min(e * mass, _root(e, depth)), "depth")
            for scan, eta in scans
        ]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with mass and depth, but for what other sums could decide otherwise."""
        last = order.last(n)
        mass, depth = order.mass[last], order.depths[last] / order.mass[last]
        ratio = np.minimum(values * mass, np.sqrt(values) * np.exp(-depth))
        kept: tuple[IntArray, BoolArray] = order.at_least(n, ratio, values == 0)
        return kept


def _root(eta: float, depth: float) -> float:
    return math.sqrt(eta) * math.exp(-depth)


def p_less(logits: ArrayLike, on: ArrayLike = 1, *, normalised: bool = False) -> FloatArray:
    """Keep tokens that are at least as likely as a guess is right: ``p_i >= sum_j p_j**2``.

    The sum is the probability that two draws agree. So the cut has no parameter: it rises with how
    sure the model is, and is 1 / n where n tokens are equally likely.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    on : array_like of int, broadcasting to the batch shape (...)
        0 keeps all, 1 cuts.
    normalised : bool
        The variant of the paper that cuts lower, at ``(n sum_j p_j**2 - 1) / (n - 1)`` for n tokens
        that are left: 0 on a flat row.

    Returns
    -------
    ndarray, shape (..., V)
        The most likely token always stays, because no average of probabilities is above the largest
        of them.

    Raises
    ------
    ParameterError
        If ``on`` is neither 0 nor 1, or does not broadcast, or ``normalised`` is no bool.

    Notes
    -----
    No engine of the package has it so far. It depends on temperature, and belongs after it.

    References
    ----------
    R. Tan, Y. Wu and P. Howard, "p-less Sampling: A Robust Hyperparameter-Free Approach for LLM
    Decoding", https://arxiv.org/abs/2509.23234

    Examples
    --------
    >>> p_less(np.log([0.5, 0.25, 0.125, 0.125]))  # the squares add up to 0.34
    array([-0.69314718,        -inf,        -inf,        -inf])
    >>> p_less(np.log([0.5, 0.25, 0.125, 0.125]), normalised=True)  # 0.125
    array([-0.69314718, -1.38629436, -2.07944154, -2.07944154])
    """
    return PLess(on, normalised)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class PLess(Truncation):
    """The step `p_less`, on or off.

    Examples
    --------
    >>> PLess()([3.0, 0.0, 3.0])
    array([ 3., -inf,  3.])
    """

    on: ArrayLike = 1
    normalised: bool = option(False)

    key: ClassVar[str] = "p_less"
    rule: ClassVar[Range] = Range(0, 1, integer=True)
    neutral: ClassVar[float] = 0
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``p_i >= sum_j p_j**2``, or at least what that leaves of it."""
        # In parts of p_max: how likely a drawn token is on average.
        mass, ratio = moments(rows, "weight")
        if self.normalised:
            count = (rows > -np.inf).sum(axis=-1, keepdims=True)
            ratio = np.maximum(count * ratio - mass, 0) / np.maximum(count - 1, 1)
        return near_best(rows, np.where(value == 0, 0, np.minimum(ratio, 1)), dtype)

    @property
    def can_scan(self) -> bool:
        """Whether it is the cut without a count of tokens."""
        return not self.normalised

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with bounds of the average weight, where both agree on every token."""
        return [scan.at_least(lambda mass, weight: weight, "weight") for scan, _ in scans]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with the average weight, but for what other sums could decide otherwise."""
        last = order.last(n)
        kept: tuple[IntArray, BoolArray] = order.at_least(
            n, order.squares[last] / order.mass[last], values == 0
        )
        return kept


def _above(rows: FloatArray, ratio: NDArray[Any], exempt: str) -> BoolArray:
    """Return which tokens reach ``ratio`` times the best one, and what is exempt."""
    if exempt == "maxima":
        return near_best(rows, np.minimum(ratio, 1), np.float64)
    keep = near_best(rows, ratio, np.float64)
    keep[np.arange(len(rows)), rows.argmax(axis=-1)] = True
    return keep


def _at_least(rows: FloatArray, probs: NDArray[Any], cut: NDArray[Any], exempt: str) -> BoolArray:
    """Return which probabilities reach a cut, and what is exempt."""
    keep = np.asarray(probs >= cut)
    if exempt == "maxima":
        keep |= rows == rows.max(axis=-1, keepdims=True)
    else:
        keep[np.arange(len(rows)), probs.argmax(axis=-1)] = True
    return keep
