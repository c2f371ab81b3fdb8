"""Mirostat: a cut at a surprise that follows what was drawn, so that a text stays near a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import shifted
from logitlab.steps.step import StatefulStep, Truncation, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["MaxSurprise", "Mirostat", "max_surprise"]


def max_surprise(logits: ArrayLike, bits: ArrayLike) -> FloatArray:
    """Keep tokens whose surprise is at most so many bits: ``-log2 p_i <= mu``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64. Tokens already removed hold no mass: the survivors'
        probabilities add up to 1.
    bits : array_like, broadcasting to the batch shape (...)
        mu, any finite number. Below the surprise of the most likely token only that one stays, the
        lowest id on ties.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

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


@dataclass(frozen=True, eq=False, repr=False)
class Mirostat(StatefulStep):
    """Mirostat 2: `max_surprise` at a mu that moves by ``eta`` times the error.

    After a token of surprise ``S = -log2 p`` in what was drawn from, ``mu -= eta (S - tau)``. The
    first mu is ``2 tau``.

    Parameters
    ----------
    tau : array_like, broadcasting to the batch shape (...)
        The surprise to aim at, in bits, at least 0.
    eta : float
        How fast mu follows, at least 0.

    Raises
    ------
    ParameterError
        If a value is negative, or not finite.

    Notes
    -----
    While one token alone is left, its surprise is 0 and mu rises by ``eta tau`` each time: the cut
    opens by itself. In llama.cpp mirostat switches off every other sampler but bias and
    temperature.

    References
    ----------
    S. Basu et al., https://arxiv.org/abs/2007.14966; llama.cpp, ``llama_sampler_init_mirostat_v2``.

    Examples
    --------
    >>> step = Mirostat(5.0)
    >>> mu = step.init()
    >>> mu, step.at(mu), step.update(mu, math.log(0.5))
    (10.0, MaxSurprise(10.0), 10.4)
    """

    tau: ArrayLike
    eta: float = option(0.1, rule=Range(0), name="mirostat_eta")

    key: ClassVar[str] = "mirostat_tau"
    name: ClassVar[str] = "mirostat"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[None] = None

    def init(self) -> Any:
        """Return ``2 tau``."""
        return self.tau * 2  # type: ignore[operator]

    def at(self, state: ArrayLike) -> MaxSurprise:
        """Return the cut at this mu."""
        return MaxSurprise(state)

    def update(self, state: Any, logprob: Any, dtype: type[Any] = np.float64) -> Any:
        """Return the next mu."""
        tau, eta = np.asarray(self.tau, dtype), dtype(self.eta)
        error = (-np.asarray(logprob) / math.log(2)).astype(dtype) - tau
        return (np.asarray(state, dtype) - eta * error).tolist()
