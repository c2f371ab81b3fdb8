"""One pass over a large row: the few tokens that can survive a truncation.

A scan may keep too many tokens, never too few, for the dense step then runs on what it found. It
compares with a threshold in the logits as they are, before temperature, lowered by what rounding
could do. `top_p` and `top_a` also need the mass of the whole row: an estimate in float32 comes with
a bound of its error, and where the bound leaves a token undecided, float64 decides, computed as the
dense step computes it.
"""

from __future__ import annotations

import math

import numpy as np
from logitlab.numerics import FloatArray, IntArray, gaps, largest, weights
from numpy.typing import NDArray

__all__ = ["LEAST_VOCABULARY", "Row", "top_candidates"]

LEAST_VOCABULARY = 1 << 13  # below, dense steps on many rows at once are as fast

_CHUNK = 64
_HEAD = 256  # tokens that the first attempt at a nucleus looks at
_UNIT = 2.0**-24  # half a unit in the last place of float32


class Row:
    """A row of logits under a temperature, and what is known of it so far.

    Parameters
    ----------
    logits : ndarray of float32 or float64, shape (V,)
    t : float
        Temperature above 0.
    scratch : ndarray of float32, shape (V,)
        Overwritten.
    """

    def __init__(self, logits: FloatArray, t: float, scratch: NDArray[np.float32]) -> None:
        self.logits = logits
        self.t = t
        self.scratch = scratch
        self.maxima = _chunk_maxima(logits)
        self.top = float(self.maxima.max())

    def divided(self, logits: FloatArray) -> FloatArray:
        """Return logits under the temperature, rounded as the dense step rounds them."""
        if self.t == 1:
            return logits
        wide = logits.astype(np.float64)
        wide /= self.t
        with np.errstate(over="ignore"):  # far below the largest, where it makes no difference
            return wide.astype(logits.dtype)

    def reaching(self, threshold: float) -> IntArray:
        """Return the tokens that reach a threshold, or that temperature could round up to it."""
        kind = np.finfo(self.logits.dtype)
        units = float(kind.eps) * (abs(threshold) + abs(self.top))
        lowered = threshold - 4 * units - 8 * float(kind.smallest_subnormal) * (1 + self.t)
        return np.flatnonzero(self.logits >= max(lowered, float(kind.min)))

    def threshold(self, count: int) -> float:
        """Return a logit that at least ``count`` tokens reach, and few more."""
        if count <= 3 * len(self.maxima) // 4 + 1:
            # The maxima of so many chunks are that many tokens.
            return _kth_largest(self.maxima, count)
        return _kth_largest(self.logits, count)

    def mass(self) -> tuple[float, float]:
        """Return bounds of ``sum exp((x - x_max) / t)`` as the dense steps sum it."""
        if self.logits.dtype != np.float32:
            total = float(weights(self.divided(self.logits)).sum())
            error = len(self.logits) * 2.0**-50
        else:
            with np.errstate(over="ignore"):
                weight = np.subtract(self.logits, np.float32(self.top), out=self.scratch)
                if self.t != 1:
                    weight *= np.float32(1 / self.t)
            np.exp(weight, out=weight)
            columns = len(weight) // _CHUNK
            body = weight[: _CHUNK * columns].reshape(_CHUNK, columns)
            partial = np.add.reduce(body, axis=0).sum(dtype=np.float64)
            total = float(partial) + float(weight[_CHUNK * columns :].sum())
            # In units: rounding of the quotients, twice |x_max / t| and once the gap; of the gap
            # three more times, and a gap weighs at most ln V on average; of the exponential, 8;
            # of the sum, one for each of its terms in a chunk.
            units = 2 * abs(self.top / self.t) + 4 * math.log(len(weight)) + 16 + _CHUNK
            error = units * _UNIT
        return total * max(1 - error, 1e-9), total * (1 + error)

    @property
    def is_plain(self) -> bool:
        """Whether quotients near the largest logit can neither overflow nor vanish."""
        return 1e-3 <= self.t <= 1e3 and abs(self.top) < 1e30

    # ------------------------------------------------------------ one for each truncation

    def top_k(self, k: int) -> IntArray:
        """Return candidates of `top_k`."""
        return self.reaching(self.threshold(k))

    def min_p(self, p: float) -> IntArray:
        """Return candidates of `min_p`."""
        return self.reaching(self.top + self.t * math.log(p) * (1 + 1e-12))

    def top_a(self, a: float) -> IntArray | None:
        """Return the survivors of `top_a`, or None where the estimate cannot tell."""
        low, high = self.mass()
        # The dense step keeps x - x_max >= ln min(a / mass, 1).
        loose, strict = (math.log(min(a / mass, 1)) for mass in (high, low))
        tokens = self.reaching(self.top + self.t * loose * (1 + 1e-12))
        gap = gaps(self.divided(self.logits[tokens]))
        keep = gap >= loose - 1e-12
        surely = gap >= strict + (1e-12 if strict < 0 else 0)
        return tokens[keep] if np.array_equal(keep, surely) else None

    def top_p(self, p: float, ties: str) -> IntArray | None:
        """Return the survivors of `top_p`, or None where the estimate cannot tell."""
        low, high = self.mass()
        for count in (_HEAD, len(self.maxima)):
            threshold = self.threshold(min(count, 3 * len(self.maxima) // 4 + 1))
            tokens = self.reaching(threshold)
            logits = self.divided(self.logits[tokens])
            descending = np.sort(logits)[::-1]
            # Only from here up is it certain that none is missing.
            end = self.divided(np.array([threshold], logits.dtype))[0]
            complete = descending[: np.searchsorted(-descending, -end, side="right")]
            mass = np.cumsum(weights(complete))
            if mass[-1] >= p * high * (1 + 1e-12):
                fewest, most = (1 + int(np.searchsorted(mass, p * z)) for z in (low, high))
                if fewest != most:
                    return None
                last = descending[most - 1]
                keep = largest(logits[None], np.array([[most]]), last[None, None], ties)[0]
                survivors: IntArray = tokens[keep]
                return survivors
            if mass[-1] < p * low / 2:
                return None
        return None


def _chunk_maxima(row: FloatArray) -> FloatArray:
    """Maxima of chunks of 64 tokens, interleaved so that one sweep finds them all."""
    columns = len(row) // _CHUNK
    body = row[: _CHUNK * columns].reshape(_CHUNK, columns).max(axis=0)
    rest = row[_CHUNK * columns :]
    return np.append(body, rest) if len(rest) else body


def _kth_largest(values: FloatArray, k: int) -> float:
    place = len(values) - k
    return float(np.partition(values, place)[place])


def top_candidates(row: FloatArray, count: int) -> IntArray:
    """Return tokens that certainly hold the ``count`` most likely ones."""
    if len(row) < LEAST_VOCABULARY or not 0 < count < len(row):
        return np.arange(len(row))
    return Row(row, 1.0, np.empty(0, np.float32)).top_k(count)
