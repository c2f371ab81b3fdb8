"""Truncations that compare with the most likely token: `min_p` and `top_a`.

`min_p` keeps ``p_i >= m p_max``, and `top_a` is the same with ``m = a p_max``, stricter the surer
the model is. Each stands with its class below, as in `logitlab.steps.truncation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import ParameterError, Range
from logitlab.numerics import probabilities, shifted, weights
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.truncation import TIES, largest
from numpy.typing import ArrayLike, NDArray

__all__ = ["ROUNDED", "MinP", "TopA", "min_p", "near_best", "top_a"]

ROUNDED = {"logits": None, "probs": None}
GUARD = {
    True: Words("keeps one", "keeps the best token"),
    False: Words("may keep none", "may leave no token"),
}


def min_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    space: str = "logits",
    min_keep: int = 1,
    ties: str = "lowest",
) -> FloatArray:
    """Keep tokens at least ``p`` times as likely as the most likely one: ``p_i >= p * p_max``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    p : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 0 keeps all, 1 keeps only the maxima.
    space : {"logits", "probs"}
        Where the two are compared: ``x_i >= x_max + ln p``, or the probabilities themselves. The
        two differ by rounding only.
    min_keep : int
        So many of the most likely tokens stay in any case.
    ties : {"lowest", "highest"}
        Which of equal tokens those are.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``p`` is outside [0, 1], NaN, or does not broadcast, or ``space`` is unknown.

    Notes
    -----
    The comparison of logits needs no exponential and tells apart logits whose probabilities round
    to the same number. vLLM, SGLang and transformers compare probabilities, after temperature;
    llama.cpp, mlx-lm and KoboldCpp compare logits, before it. mlx-lm's ``min_tokens_to_keep`` keeps
    the highest ids of equal tokens.

    References
    ----------
    M. Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs",
    ICLR 2025.

    Examples
    --------
    >>> min_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.4)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return MinP(p, space, min_keep, ties)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class MinP(Truncation):
    """The step `min_p` with its value chosen.

    Examples
    --------
    >>> MinP(0.1)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    p: ArrayLike
    space: str = option("logits", ROUNDED)
    min_keep: int = option(1, rule=Range(1, integer=True))
    ties: str = option("lowest", {name: TIES[name] for name in ("lowest", "highest")})

    key: ClassVar[str] = "min_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 0.0
    ordered_options: ClassVar[tuple[str, ...]] = ("space",)
    scanned_from: ClassVar[int] = 1 << 12

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``x_i >= x_max + ln p``, or ``p_i >= p p_max``, and the first few."""
        if self.space == "logits":
            near = near_best(rows, value, dtype)
        else:
            probs = probabilities(rows, dtype)
            near = np.asarray(probs >= value.astype(dtype) * probs.max(axis=-1, keepdims=True))
        if self.min_keep > 1:
            count = min(self.min_keep, rows.shape[-1])
            last = np.partition(rows, -count, axis=-1)[:, -count:][:, :1]
            near |= largest(rows, np.array([[count]]), last, self.ties)
        return near

    @property
    def can_scan(self) -> bool:
        """Whether logits are compared, and nothing else."""
        return self.space == "logits" and self.min_keep == 1

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Take what reaches the largest logit plus ln p."""
        return [scan.reaching(scan.top + scan.t * math.log(p) * (1 + 1e-12)) for scan, p in scans]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, None]:
        """Take what lies within -ln p of the first."""
        with np.errstate(divide="ignore"):
            near = order.depth.searchsorted(-np.log(values), "right")
        return np.where(values == 0, n, np.minimum(n, near)), None

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort where too few would be left; otherwise the order remains."""
        if candidates.min_keep < 2:
            return False
        near = near_best(candidates.values[None], np.full((1, 1), value), np.float32)
        candidates.take_near_best(near[0])
        return True


def near_best(rows: FloatArray, ratio: NDArray[Any], dtype: type[Any]) -> BoolArray:
    """Return which tokens are at least ``ratio`` times as likely as the most likely one."""
    with np.errstate(divide="ignore"):  # ln 0 is -inf: everything is kept
        cut = np.log(ratio).astype(dtype)
    if dtype == np.float64:
        return np.asarray(shifted(rows) >= cut)
    return np.asarray(rows >= rows.max(axis=-1, keepdims=True) + cut)


def top_a(
    logits: ArrayLike, a: ArrayLike, *, space: str = "logits", guard: bool = True
) -> FloatArray:
    """Keep tokens with ``p_i >= a * p_max ** 2``.

    That is `min_p` with ``a * p_max`` for its value: the surer the model, the stricter.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    a : array_like, broadcasting to the batch shape (...)
        At least 0. 0 keeps all.
    space : {"logits", "probs"}
        Where the two are compared, as in `min_p`.
    guard : bool
        Whether the maxima stay even where ``a > 1 / p_max``. Without it, that is an error.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``a`` is negative, not finite, or does not broadcast; if nothing would stay.

    Notes
    -----
    The definition is RWKV's. OpenRouter's page describes the parameter in words that partly say
    the reverse (that a lower value narrows the choice); this is the formula they refer to.
    KoboldCpp applies it before temperature, Aphrodite after, without a guard. Applying top-a twice
    can remove more than once, since p_max grows in between.

    References
    ----------
    RWKV-LM, https://github.com/BlinkDL/RWKV-LM#the-top-a-sampling-method

    Examples
    --------
    >>> top_a(np.log([0.5, 0.25, 0.125, 0.125]), 0.8)  # 0.8 * 0.5**2 = 0.2
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return TopA(a, space, guard)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TopA(Truncation):
    """The step `top_a` with its value chosen.

    Examples
    --------
    >>> TopA(0.2)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    a: ArrayLike
    space: str = option("logits", ROUNDED)
    guard: bool = option(True, GUARD)

    key: ClassVar[str] = "top_a"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 0.0
    ordered_options: ClassVar[tuple[str, ...]] = ("space", "guard")
    scanned_from: ClassVar[int] = 1 << 13
    is_scan_exact: ClassVar[bool] = True

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``p_i >= a p_max ** 2``."""
        # A running sum, to whose rounding removed tokens add nothing, wherever they stand.
        weight = weights(rows)
        p_max = 1 / np.cumsum(weight, axis=-1, out=weight)[:, -1:]
        empty = value * p_max > 1
        if not self.guard and empty.any():
            rule = "at most 1 / p_max: above, no token is left"
            wrong = np.broadcast_to(value, p_max.shape)[empty]
            raise ParameterError(self.key, rule, float(wrong[0]))
        if self.space == "logits":
            return near_best(rows, np.minimum(value * p_max, 1), dtype)
        probs = probabilities(rows, dtype)
        best = probs.max(axis=-1, keepdims=True)
        return np.asarray((probs >= value.astype(dtype) * (best * best)) | (probs == best))

    @property
    def can_scan(self) -> bool:
        """Whether logits are compared, and the maxima stay."""
        return self.space == "logits" and self.guard

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with bounds of p_max, where both agree on every token."""
        return [scan.at_least(lambda mass, a=a: min(a / mass, 1)) for scan, a in scans]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with p_max, but for what sums in another order could decide otherwise."""
        mass = order.mass[order.last(n)]
        doubt = len(order) * 2.0**-50  # relative error of sums by token id
        with np.errstate(divide="ignore"):
            loose = np.log(np.minimum(values / (mass * (1 + doubt)), 1))
            strict = np.log(np.minimum(values / (mass * (1 - doubt)), 1))
        most = order.depth.searchsorted(1e-12 - loose, "right")
        least = order.depth.searchsorted(np.where(strict < 0, -1e-12, 0) - strict, "right")
        kept = np.where(values == 0, n, np.minimum(n, most))
        return kept, np.asarray((values != 0) & (np.minimum(n, least) != kept))

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and keep those in front of the first that is too unlikely, and one in any case."""

        def count(probs: FloatArray) -> int:
            below = probs < value * probs[0] * probs[0]
            below[0] = False
            return int(below.argmax()) if below.any() else len(below)

        candidates.take_as_many(count)
        return True
