"""Mirostat: a cut at a surprise that follows what was drawn, so that a text stays near a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import rounded_weights, shifted
from logitlab.steps.state import Course, finite
from logitlab.steps.step import StatefulStep, Truncation, Words, option
from logitlab.steps.truncation import TopK
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MaxSurprise",
    "Mirostat",
    "MirostatOne",
    "ZipfTopK",
    "max_surprise",
    "zipf_top_k",
]

SURPRISES = {
    "drawn": Words("after the cut", "takes the surprise in what is drawn from"),
    "before": Words("before the cut", "takes the surprise that a token had before the cut"),
}

OVERFLOWS = {
    "limit": Words("the limit", "keeps all where k is too large"),
    "one": Words("one", "keeps one token where k is no number, or too large"),
    "all": Words("all", "keeps all where k is no number, or too large, or below 1"),
}

_PAIRS = Range(2, 2**31 - 1, integer=True)
_SIZES = Range(1, 2**31 - 1, integer=True)


def max_surprise(logits: ArrayLike, bits: ArrayLike) -> FloatArray:
    """Keep tokens whose surprise is at most so many bits: ``-log2 p_i <= mu``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    bits : array_like, broadcasting to the batch shape (...)
        mu, any finite number. Below the surprise of the most likely token only that one stays, the
        lowest id on ties.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``bits`` is not finite, or does not broadcast.

    References
    ----------
    S. Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity",
    ICLR 2021, https://arxiv.org/abs/2007.14966

    Examples
    --------
    >>> max_surprise(np.log([0.5, 0.25, 0.125, 0.125]), 2)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return MaxSurprise(bits)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class MaxSurprise(Truncation):
    """The step `max_surprise` with its value chosen: `Mirostat` in one of its states.

    Examples
    --------
    >>> MaxSurprise(1.5)([1.0, 0.0, 0.0])
    array([ 1., -inf, -inf])
    """

    bits: ArrayLike

    key: ClassVar[str] = "mirostat"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[None] = None
    scanned_from: ClassVar[int] = 1 << 13
    is_scan_exact: ClassVar[bool] = True

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep ``-log2 p_i <= mu``, and the most likely token."""
        below = shifted(rows)
        # A running sum, to whose rounding removed tokens add nothing, wherever they stand.
        total = np.cumsum(np.exp(below), axis=-1)[:, -1:]
        with np.errstate(over="ignore"):  # a surprise beyond what a float holds is infinite
            surprise = ((np.log(total) - below) / math.log(2)).astype(dtype)
        keep = surprise <= value.astype(dtype)
        keep[np.arange(len(rows)), rows.argmax(axis=-1)] = True
        return np.asarray(keep)

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Compare with bounds of the mass; below the least surprise of all the mask decides."""
        return [
            scan.at_least(lambda mass, b=bits: mass / 2.0**b)
            if bits < 1000 and scan.mass[1] < 2.0**bits
            else None
            for scan, bits in scans
        ]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with the mass, but for what sums in another order could decide otherwise."""
        reach = values * math.log(2) - np.log(order.mass[order.last(n)])
        doubt = (len(order) + 8) * 2.0**-50 * (1 + np.abs(values))
        most = order.depth.searchsorted(reach + doubt, "right")
        least = order.depth.searchsorted(reach - doubt, "right")
        return np.clip(most, 1, n), np.asarray(np.clip(least, 1, n) != np.clip(most, 1, n))

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and keep those in front of the first that surprises more."""
        candidates.take_unsurprising(value)
        return True


def zipf_top_k(
    logits: ArrayLike,
    bits: ArrayLike,
    *,
    m: int = 100,
    size: int | None = None,
    overflow: str = "limit",
) -> FloatArray:
    """Keep the k most likely tokens, as many as a Zipf distribution has up to so many bits.

    With ``b_i = ln(p_i / p_{i+1})`` and ``t_i = ln((i + 1) / i)`` over the first ``m - 1`` pairs of
    neighbours, most likely first, the exponent is estimated by ``s = sum b_i t_i / sum t_i^2``.
    With ``e = s - 1`` and N tokens

        ``k = (e 2^mu / (1 - N^-e))^(1 / s)``,

    of which the integer part is taken, 1 at least.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        Tokens already removed are no neighbours.
    bits : array_like, broadcasting to the batch shape (...)
        mu, any finite number.
    m : int
        How many of the most likely tokens the estimate looks at, 2 at least.
    size : int, optional
        N; None takes V.
    overflow : {"limit", "one", "all"}
        What happens where k is no number of 32 bits: in equal rows, where ``s = 0``, and where s is
        1. "limit" takes the limit of the equation: all tokens where k is too large, and
        ``2^mu / ln N`` where s is 1; "one" keeps one token; "all" keeps all, and does so, too,
        where k is below 1.

    Returns
    -------
    ndarray, shape (..., V)
        Of equal tokens the lower ids stay.

    Raises
    ------
    ParameterError
        If ``bits`` is not finite, or does not broadcast, or an option is out of its range.

    Notes
    -----
    The paper rounds k nowhere; its authors' code takes ``round(k) + 1``, llama.cpp and KoboldCpp
    the integer part. Where k is NaN or too large, llama.cpp keeps one token and KoboldCpp all,
    which it also does where k is below 1: its top-k is off at 0.

    References
    ----------
    S. Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity",
    ICLR 2021, algorithm 1, https://arxiv.org/abs/2007.14966

    Examples
    --------
    >>> zipf_top_k([2.0, 1.0, 0.5, 0.0, -1.0], 2.0)
    array([ 2.,  1., -inf, -inf, -inf])
    """
    return ZipfTopK(bits, m, size, overflow)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class ZipfTopK(Truncation):
    """The step `zipf_top_k` with its value chosen: `MirostatOne` in one of its states.

    Examples
    --------
    >>> ZipfTopK(2.0)([2.0, 1.0, 0.5, 0.0, -1.0])
    array([ 2.,  1., -inf, -inf, -inf])
    """

    bits: ArrayLike
    m: int = option(100, rule=_PAIRS)
    size: int | None = option(None, rule=_SIZES)
    overflow: str = option("limit", OVERFLOWS)

    key: ClassVar[str] = "mirostat"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[None] = None
    ordered_options: ClassVar[tuple[str, ...]] = ("m", "size", "overflow")

    @property
    def sees_removed(self) -> bool:
        """Whether the number of all tokens is to be counted."""
        return self.size is None

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep the k most likely ones."""
        size = rows.shape[-1]
        first = max(size - self.m, 0)
        top = np.sort(np.partition(rows, first, axis=-1)[:, first:], axis=-1)[:, ::-1]
        wide = top.astype(np.float64)
        with np.errstate(invalid="ignore"):  # of what is removed
            gaps: FloatArray = wide[:, :-1] - wide[:, 1:]
        if dtype is np.float32:
            gaps = _rounded_gaps(rounded_weights(top))
        candidates = (top > -np.inf).sum(axis=-1)
        counts = self.counts(gaps, candidates, value[:, 0], size)
        return TopK(1).keep(rows, counts[:, None])

    def counts(
        self, gaps: FloatArray, candidates: IntArray, bits: NDArray[Any], vocabulary_size: int
    ) -> IntArray:
        """Return k for rows of ``ln(p_i / p_{i+1})``, in their precision."""
        dtype = gaps.dtype.type
        k = _k_of_zipf(gaps, candidates, bits.astype(dtype), self.size or vocabulary_size)
        is_large, is_none = k >= 2.0**31, np.isnan(k)
        counts = np.maximum(np.where(is_large | is_none, 1, k).astype(np.int64), 1)
        if self.overflow != "one":
            counts[is_large] = vocabulary_size
        if self.overflow == "all":  # of a top-k to which 0 is off
            counts[~(k >= 1)] = vocabulary_size
        return counts

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and keep the first k."""

        def count(probs: FloatArray) -> int:
            gaps, number = _rounded_gaps(probs[None, : self.m]), np.array([len(probs)])
            bits = np.array([value], np.float32)
            return int(self.counts(gaps, number, bits, len(candidates.row))[0])

        candidates.take_as_many(count)
        return True


def _rounded_gaps(probs: FloatArray) -> FloatArray:
    """Return ``ln(p_i / p_{i+1})`` in float32; no number where a probability has vanished."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log((probs[:, :-1] / probs[:, 1:]).astype(np.float64)).astype(np.float32)


def _k_of_zipf(
    gaps: FloatArray, candidates: IntArray, bits: NDArray[Any], vocabulary_size: int
) -> FloatArray:
    """Return k as the equation has it, each operation in the precision of the gaps, shape (n,)."""
    dtype = gaps.dtype.type
    ranks = np.arange(1, gaps.shape[-1] + 1)
    t = np.log(((ranks + 1).astype(dtype) / ranks.astype(dtype)).astype(np.float64)).astype(dtype)
    present = ranks < candidates[:, None]
    with np.errstate(all="ignore"):  # what is no number is for `counts` to see
        products = np.cumsum(np.where(present, t * gaps, 0), axis=-1, dtype=dtype)
        squares = np.cumsum(np.where(present, t * t, 0), axis=-1, dtype=dtype)
        s = products[:, -1:].sum(axis=-1) / squares[:, -1:].sum(axis=-1)
        e = s - dtype(1)
        scale = _power(dtype(2), bits)
        if dtype is np.float32:
            base = e * scale / (dtype(1) - _power(dtype(vocabulary_size), -e))
        else:
            ln = math.log(vocabulary_size)
            # Where s is 1, both sides of the fraction vanish.
            base = np.where(e == 0, 1 / np.float64(ln), e / -np.expm1(-e * ln)) * scale
        return np.asarray(_power(base, dtype(1) / s))


def _power(base: Any, exponent: Any) -> NDArray[Any]:
    # A float64 function, rounded once, is what the C library of the engines gives.
    power = np.power(np.asarray(base, np.float64), np.asarray(exponent, np.float64))
    return np.asarray(power, np.result_type(base, exponent))


@dataclass(frozen=True, eq=False, repr=False)
class Mirostat(StatefulStep):
    """Mirostat 2: `max_surprise` at a mu that moves by ``eta`` times the error.

    After a token of surprise ``S = -log2 p`` the next mu is ``mu - eta (S - tau)``. The first one
    is ``2 tau``.

    Parameters
    ----------
    tau : array_like, broadcasting to the batch shape (...)
        The surprise to aim at, in bits, at least 0.
    eta : float
        How fast mu follows, at least 0.
    surprise : {"drawn", "before"}
        Whether p is the probability in what the token was drawn from, which adds up to 1 after
        the cut, or in what was there before it.

    Raises
    ------
    ParameterError
        If a value is negative, or not finite.

    Notes
    -----
    While one token alone is left, its surprise is 0 and mu rises by ``eta tau`` each time: the cut
    opens by itself. With the surprise before the cut it does so only where the token is likelier
    than ``2**-tau``. A mu beyond what floats hold stays at the largest of them.

    In llama.cpp mirostat switches off every other sampler but bias and temperature. Aphrodite takes
    the surprise before the cut, the others that of what was drawn from. KoboldCpp keeps one mu for
    all requests of a process. exllamav2 cuts where ``p < 2**-mu``, which is the same.

    References
    ----------
    S. Basu et al., https://arxiv.org/abs/2007.14966; llama.cpp, ``llama_sampler_init_mirostat_v2``.

    Examples
    --------
    >>> step = Mirostat(5.0)
    >>> step.init(), step.at(step.init())
    ({'mirostat': 10.0}, MaxSurprise(10.0))
    >>> step.update(step.init(), math.log(0.5))
    {'mirostat': 10.4}
    """

    tau: ArrayLike
    eta: float = option(0.1, rule=Range(0), name="mirostat_eta")
    surprise: str = option("drawn", SURPRISES)

    key: ClassVar[str] = "mirostat_tau"
    name: ClassVar[str] = "mirostat"
    states: ClassVar[tuple[str, ...]] = ("mirostat",)
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[None] = None

    @property
    def observes(self) -> str:
        """What was drawn from, or what was there before the cut."""
        return self.surprise

    def init(self, dtype: type[Any] = np.float64) -> dict[str, Any]:
        """Return ``2 tau``."""
        with np.errstate(over="ignore"):
            mu = finite(self.tau, dtype) * 2
        return {"mirostat": finite(mu, dtype).tolist()}

    def at(self, state: Mapping[str, Any], dtype: type[Any] = np.float64) -> Truncation:
        """Return the cut at this mu."""
        return MaxSurprise(state["mirostat"])

    def update(
        self, state: Mapping[str, Any], logprob: Any, dtype: type[Any] = np.float64
    ) -> dict[str, Any]:
        """Return the next mu."""
        tau, eta, mu = (finite(x, dtype) for x in (self.tau, self.eta, state["mirostat"]))
        with np.errstate(over="ignore"):
            error = finite(surprise_of(logprob, dtype) - tau, dtype)
            later = mu - finite(eta * error, dtype)
        return {"mirostat": finite(later, dtype).tolist()}

    def course(self, states: Mapping[str, Any], logprobs: FloatArray) -> Course:
        """Return mu and the surprise of each token, in bits, and tau."""
        bits = surprise_of(logprobs)
        return Course("surprise, bits", bits, states["mirostat"], "μ", float(self.tau), "τ")  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, repr=False)
class MirostatOne(Mirostat):
    """Mirostat 1: `zipf_top_k` at a mu that moves as that of `Mirostat`.

    The parameters and the state are those of `Mirostat`, too; a chain has one of both.

    Parameters
    ----------
    tau, eta, surprise
        As of `Mirostat`.
    m, size, overflow
        As of `zipf_top_k`.

    Notes
    -----
    The estimate of k is rough, so that the surprise settles less near to tau than with version 2.

    References
    ----------
    S. Basu et al., https://arxiv.org/abs/2007.14966; llama.cpp, ``llama_sampler_init_mirostat``.

    Examples
    --------
    >>> step = MirostatOne(5.0)
    >>> step.at({"mirostat": 4.0})
    ZipfTopK(4.0)
    """

    m: int = option(100, rule=_PAIRS)
    size: int | None = option(None, rule=_SIZES)
    overflow: str = option("limit", OVERFLOWS)

    def at(self, state: Mapping[str, Any], dtype: type[Any] = np.float64) -> Truncation:
        """Return the cut at this mu."""
        return ZipfTopK(state["mirostat"], self.m, self.size, self.overflow)


def surprise_of(logprob: Any, dtype: type[Any] = np.float64) -> NDArray[Any]:
    """Return ``-log2 p`` of log-probabilities in nats.

    float32 rounds p before its logarithm, as engines do, whose p is a number of a softmax.
    """
    nats = np.asarray(logprob, np.float64)
    if dtype is np.float32:
        with np.errstate(divide="ignore"):  # a probability that has vanished
            return -np.log2(np.exp(nats).astype(dtype).astype(np.float64)).astype(dtype)
    return np.asarray(-nats / math.log(2), dtype)
