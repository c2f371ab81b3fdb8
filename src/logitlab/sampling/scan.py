"""A pass over large rows: the few tokens that can survive a truncation.

For `top_k` and `min_p` a scan may keep too many tokens, never too few: the dense step then runs on
what it found. It compares with a threshold in the logits as they are, before temperature, lowered
by what rounding could do. `top_p` and `top_a` need the mass of the whole row, and their scan gives
the very survivors: an estimate comes with a bound of its error, and what the bound leaves undecided
is computed in float64, in the end by the dense step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.numerics import scratch, shifted, weights
from logitlab.steps.truncation import largest
from numpy.typing import NDArray

__all__ = ["Head", "Scan", "Scans", "divided", "nuclei", "top_candidates"]

_STRIDE = 64
_FIRST_LOOK = 256  # tokens that the first attempt at a nucleus looks at
_VANISHING = -100.0  # gap from which on a weight cannot matter to a rough bound
_FAINT = np.float32(-87)  # the lowest gap whose weight in float32 is a normal number
_UNKNOWN = (0.0, 1e300)  # bounds of a mass that could not be estimated
_CLOSE = 1e-9  # more than sums of float64 in another order can differ
_UNIT = 2.0**-24  # half a unit in the last place of float32


class _Limits(NamedTuple):
    eps: float
    smallest: float
    lowest: float


_LIMITS = {
    kind: _Limits(float(f.eps), float(f.smallest_subnormal), float(f.min))
    for kind, f in ((kind, np.finfo(kind)) for kind in (np.float32, np.float64))
}


class Scan:
    """One row of logits under a temperature, and what is known of it so far.

    Parameters
    ----------
    row : ndarray of float32 or float64, shape (V,)
    t : float
        Temperature above 0.

    Attributes
    ----------
    top : float
        The largest logit.
    is_plain : bool
        Whether no quotient near the largest can overflow or vanish.
    handy : int
        Up to how many tokens the maxima of the chunks give a good threshold.
    """

    def __init__(self, row: FloatArray, t: float) -> None:
        self.row = row
        self.t = t
        columns = len(row) // _STRIDE
        # Maxima of interleaved chunks, so that one sweep finds them all.
        self.maxima = row[: _STRIDE * columns].reshape(_STRIDE, columns).max(axis=0)
        if len(row) % _STRIDE:
            self.maxima = np.append(self.maxima, row[_STRIDE * columns :])
        self.top = float(self.maxima.max())
        self.is_plain = 1e-3 <= t <= 1e3 and abs(self.top) < 1e30
        self.handy = 3 * len(self.maxima) // 4 + 1

    def reaching(self, threshold: float) -> IntArray:
        """Return the tokens that reach a threshold, or that temperature could round up to it."""
        kind = _LIMITS[self.row.dtype.type]
        units = kind.eps * (abs(threshold) + abs(self.top))
        lowered = threshold - 4 * units - 8 * kind.smallest * (1 + self.t)
        mask = scratch(self.row.shape, np.bool_)
        np.greater_equal(self.row, self.row.dtype.type(max(lowered, kind.lowest)), out=mask)
        return mask.nonzero()[0]

    def threshold(self, count: int) -> float:
        """Return a logit that at least ``count`` tokens reach, and few more."""
        # The maxima of so many chunks are that many tokens.
        values = self.maxima if count <= self.handy else self.row
        place = len(values) - count
        return float(np.partition(values, place)[place])

    @cached_property
    def mass(self) -> tuple[float, float]:
        """Bounds of ``sum exp((x - x_max) / t)`` as the dense steps sum it."""
        if self.row.dtype != np.float32:
            total = float(weights(divided(self.row, self.t)[None]).sum())
            error = len(self.row) * 2.0**-50
        else:
            weight = scratch(self.row.shape, np.float32)
            with np.errstate(over="ignore", under="ignore"):
                np.subtract(self.row, np.float32(self.top), out=weight)
                if self.t != 1:
                    weight *= np.float32(1 / self.t)
                np.exp(weight, out=weight)
            total = _chunked_sum(weight)
            # In units: rounding of the quotients, twice |x_max / t| and once the gap; of the gap
            # three more times, and a gap weighs at most ln V on average; of the exponential, 8;
            # of the sum, one for each of its terms in a chunk. That is to first order, which the
            # thousandth more than covers up to the limit.
            scale = abs(self.top / self.t) if self.t != 1 else 0.0
            units = 2 * scale + 4 * math.log(len(weight)) + 16 + _STRIDE
            error = 1.001 * units * _UNIT
        if error > 1e-3:  # huge logits
            return _UNKNOWN
        return total * (1 - error), total * (1 + error)

    def at_least(self, ratio: Callable[..., float], of: str = "") -> IntArray | None:
        """Return tokens at least so many times as likely as the most likely one, or None.

        Parameters
        ----------
        ratio : callable
            From the mass of the row, in which the most likely token weighs 1, to that number; with
            each of its arguments it rises or falls. None where these are not known well enough.
        of : {"", "depth", "weight"}
            A second argument: an average over the row, as `numerics.moments` has it.
        """
        for known in self.known(of):
            ratios = [ratio(*corner) for corner in product(*known)]
            low, high = min(ratios), max(ratios)
            if low == 0:
                return None
            # The dense step keeps x - x_max >= ln ratio.
            tokens = self.within(math.log(min(low, 1)), math.log(min(high, 1)))
            if tokens is not None:
                return tokens
        return None

    def known(self, of: str = "") -> Iterator[tuple[tuple[float, float], ...]]:
        """Yield bounds of the mass, and of an average: at first rough ones, then close ones."""
        if not of:
            if self.mass != _UNKNOWN:
                yield (self.mass,)
        elif self.row.dtype == np.float32:
            rough = self._rough(of)
            if rough:
                yield rough
        if of or self.row.dtype == np.float32:
            yield self._close(of)[: 2 if of else 1]

    def within(self, loose: float, strict: float) -> IntArray | None:
        """Return tokens whose gap to the largest is at least one of two bounds, or None.

        None where the two do not agree on a token.
        """
        tokens = self.reaching(self.top + self.t * loose * (1 + 1e-12))
        gap = shifted(divided(self.row[tokens], self.t)[None])[0]
        keep = gap >= loose - 1e-12
        surely = gap >= strict + (1e-12 if strict < 0 else 0)
        return tokens[keep] if np.array_equal(keep, surely) else None

    def near_top(self, n: float, one: bool) -> IntArray | None:
        """Return tokens within n standard deviations of the largest logit, or None.

        Parameters
        ----------
        n : float
            Above 0.
        one : bool
            Whether the squares are divided by one less than there are logits.
        """
        row = divided(self.row, self.t)
        gap = scratch((len(row),), np.float64)
        np.subtract(row, float(row.max()), out=gap)
        total = float(gap.sum())
        if not math.isfinite(total):
            gap = gap[gap > -np.inf]
            total = float(gap.sum())
        gap -= total / len(gap)
        squares = float(np.einsum("i,i", gap, gap))
        if not 1e-200 < squares < 1e200 or len(gap) < 2:
            return None
        reach = n * math.sqrt(squares / (len(gap) - one))
        off = len(row) * 2.0**-50
        return self.within(-reach * (1 + off), -reach * (1 - off))

    def best(self, count: int) -> tuple[IntArray, FloatArray]:
        """Return the most likely tokens, and their logits under the temperature.

        In the order of their ids: at least ``count``, and with the last one all equal to it.
        """
        threshold = self.threshold(count)
        tokens = self.reaching(threshold)
        logits = divided(self.row[tokens], self.t)
        whole = logits >= divided(np.array([threshold], logits.dtype), self.t)
        return (tokens, logits) if whole.all() else (tokens[whole], logits[whole])

    def _rough(self, of: str) -> tuple[tuple[float, float], ...]:
        """Return bounds of the mass and of an average from one pass in float32, if they are close.

        As of `mass`, in units: a gap is off by twice |x_max / t| and four times itself, its weight
        by as much and 8, a product by 1, a sum by its terms. Neither a gap nor its square weighs
        more than ln V or its square on average, the latter with 1 added.
        """
        gap, weight = scratch((2, len(self.row)), np.float32)
        scale = abs(self.top / self.t) if self.t != 1 else 0.0
        with np.errstate(over="ignore"):
            np.subtract(self.row, np.float32(self.top), out=gap)
            if self.t != 1:
                gap *= np.float32(1 / self.t)
        np.maximum(gap, _FAINT, out=gap)
        np.exp(gap, out=weight)
        mass = _chunked_sum(weight)
        weight *= weight if of == "weight" else gap
        mean = abs(_chunked_sum(weight)) / mass
        log_size = math.log(len(self.row))
        sums = _STRIDE + 24
        units = 2 * scale + 4 * log_size + 8 + sums
        if of == "weight":
            error = mean * (units + 4 * scale + 4 * log_size + 16 + sums)
        else:
            error = mean * (units + 2 * scale + 13 + sums) + 4 * (log_size**2 + 1) + 2 * scale
        off, error = 1.001 * units * _UNIT, 1.001 * error * _UNIT + 1e-30
        if off > 1e-3 or error > 1e-3:  # huge logits
            return ()
        return (mass * (1 - off), mass * (1 + off)), (max(mean - error, 0.0), mean + error)

    def _close(self, of: str) -> tuple[tuple[float, float], ...]:
        """Return bounds of the mass and of an average that only the order of sums is off by."""
        # The scratch of float64 holds the gaps; no other may be asked for until they are used.
        row = divided(self.row, self.t)
        gap, weight = scratch((2, len(row)), np.float64)
        gap[...] = row
        gap -= float(row.max())
        np.maximum(gap, _VANISHING * 7, out=gap)
        np.exp(gap, out=weight)
        mass = float(weight.sum())
        weight *= weight if of == "weight" else gap
        mean = abs(float(weight.sum())) / mass
        off = len(row) * 2.0**-50
        low, high = mass * (1 - off), mass * (1 + off)
        return (low, high), (max(mean - off * (1 + mean), 0.0), mean + off * (1 + mean))


def _chunked_sum(values: NDArray[np.float32]) -> float:
    """Return a sum in float32 that no term passes through more than a chunk of additions."""
    columns = len(values) // _STRIDE
    body = values[: _STRIDE * columns].reshape(_STRIDE, columns)
    total = float(body.sum(axis=0).sum(dtype=np.float64))
    return total + float(values[_STRIDE * columns :].sum())


class Scans:
    """Rows that are scanned one by one, each with the value of a truncation.

    Attributes
    ----------
    places : list of int
        Which rows have been taken so far.
    """

    def __init__(self, pairs: Iterable[tuple[int, Scan, Any]]) -> None:
        self._pairs = pairs
        self.places: list[int] = []

    def __iter__(self) -> Iterator[tuple[Scan, Any]]:
        for place, scan, value in self._pairs:
            self.places.append(place)
            yield scan, value

    def nuclei(self, ties: str) -> list[IntArray | None]:
        """Return the tokens of each row that hold its value of the mass; None where unsure."""
        heads = []
        for scan, p in self:
            heads.append(Head(scan, p))
        return nuclei(heads, ties) if heads else []


def divided(logits: FloatArray, t: Any) -> FloatArray:
    """Return logits under a temperature other than 0, rounded as the dense step rounds them.

    Without its care for what overflows: far below the largest it makes no difference.
    """
    if type(t) is float and t == 1:
        return logits
    wide = scratch(logits.shape, np.float64)
    wide[...] = logits
    with np.errstate(over="ignore"):
        wide /= t
        return wide.astype(logits.dtype)


class Head:
    """The most likely tokens of a row, among which to look for a nucleus.

    Parameters
    ----------
    scan : Scan
    p : float
        Mass of the nucleus.
    count : int
        How many tokens to look at, and a few more.
    rough : bool
        Whether bounds of the mass that need no pass over the row will do, where they are close.
    """

    def __init__(self, scan: Scan, p: float, count: int = _FIRST_LOOK, rough: bool = True) -> None:
        self.scan = scan
        self.p = p
        threshold = scan.threshold(min(count, len(scan.row)))
        self.tokens = scan.reaching(threshold)
        self.logits = divided(scan.row[self.tokens], scan.t)
        # Down to here it is certain that no token is missing.
        self.end = divided(np.array([threshold], self.logits.dtype), scan.t)[0]
        head = float(weights(self.logits[None]).sum())
        # Each of the other tokens is below the threshold and below the maximum of its chunk.
        with np.errstate(over="ignore"):
            gap = (np.minimum(scan.maxima, threshold).astype(np.float64) - scan.top) / scan.t
        peaks = float(np.exp(np.maximum(gap, _VANISHING)).sum())
        # The hundredth is more than rounding can add, if the logits are not huge: see below.
        tail = 1.01 * _STRIDE * peaks
        near = head * (1 - _CLOSE), (head + tail) * (1 + _CLOSE)
        # Where the maxima alone outweigh it, the head is hopeless, and any bounds will tell so.
        will_do = tail < 0.01 * head or head < p * peaks
        self.is_rough = rough and will_do and abs(scan.top / scan.t) < 1e4
        self.bounds = near if self.is_rough else scan.mass


def nuclei(heads: list[Head], ties: str) -> list[IntArray | None]:
    """Return the nucleus of each row; None where the estimates cannot tell."""
    tokens, share = _nuclei(heads, ties)
    for i, head in enumerate(heads):
        beyond = share[i] < head.p
        if tokens[i] is None and (head.is_rough or beyond) and share[i] > head.p / 4:
            count = max(head.scan.handy, 8 * _FIRST_LOOK) if beyond else _FIRST_LOOK
            tokens[i] = _nuclei([Head(head.scan, head.p, count, rough=False)], ties)[0][0]
        if tokens[i] is None:
            tokens[i] = _wide_nucleus(divided(head.scan.row, head.scan.t), head.p, ties)
    return tokens


def _nuclei(heads: list[Head], ties: str) -> tuple[list[IntArray | None], NDArray[np.float64]]:
    """Return each head's nucleus, or None, and what share of the mass the head holds."""
    known = np.empty((len(heads), 5))
    for i, head in enumerate(heads):
        known[i] = len(head.logits), head.end, head.p, *head.bounds
    end, p, low, high = known.T[1:]
    sizes = known[:, 0].astype(np.intp)
    logits = np.full((len(heads), sizes.max()), -np.inf, heads[0].end.dtype)
    for i, head in enumerate(heads):
        logits[i, : sizes[i]] = head.logits
    descending = np.sort(logits, axis=-1)[:, ::-1]
    mass = np.cumsum(weights(descending), axis=-1)
    complete = (descending >= end.astype(logits.dtype)[:, None]).sum(axis=-1)
    every = np.arange(len(heads))
    share = mass[every, complete - 1] / high
    fewest = 1 + (mass < (p * low)[:, None]).sum(axis=-1)
    size = 1 + (mass < (p * high)[:, None]).sum(axis=-1)
    decided = (share >= p * (1 + 1e-12)) & (fewest == size)
    size = np.where(decided, size, 1)
    keep = largest(logits, size[:, None], descending[every, size - 1][:, None], ties)
    tokens: list[IntArray | None] = [None] * len(heads)
    for i in np.flatnonzero(decided).tolist():
        tokens[i] = heads[i].tokens[keep[i, : sizes[i]]]
    return tokens, share


def _wide_nucleus(row: FloatArray, p: float, ties: str) -> IntArray | None:
    """Return the nucleus of a flat row by float64 sums, or None where these cannot tell.

    Every 64th token, sorted, tells roughly which logits hold the mass p. From there on exact masses
    fence the cut in, and only what lies between is sorted.
    """
    # No other float64 scratch may be asked for while this one is in use.
    weight = weights(row[None], out=scratch((1, len(row)), np.float64))[0]
    total = float(weight.sum())
    sample = np.sort(row[::_STRIDE])[::-1]
    if sample[0] == -np.inf:  # a mask with the same period
        return None
    share = np.cumsum(weights(sample[None])[0])
    share /= share[-1]
    place = int(np.searchsorted(share, p))
    step = max(1, len(sample) // 40)
    above, high, low = 0.0, math.inf, -math.inf
    while 0 <= place < len(sample) and (low == -math.inf or high == math.inf):
        fence = sample[place]
        mass = float(np.einsum("i,i", weight, row > fence)) / total  # on this thread, unlike @
        if mass < p:
            above, high = mass, fence
            place += step
        else:
            low = fence
            place -= step
        step *= 2
    between = np.sort(row[np.flatnonzero((row > low) & (row <= high))])[::-1]
    mass_at = above + np.cumsum(np.exp(between.astype(np.float64) - float(row.max()))) / total
    place = int(np.searchsorted(mass_at, p))
    doubt = len(row) * 2.0**-50
    if place == len(mass_at) or np.abs(np.append(above, mass_at) - p).min() < doubt:
        return None
    count = np.count_nonzero(row > high) + place + 1
    keep = largest(row[None], np.array([[count]]), between[None, place, None], ties)[0]
    return np.flatnonzero(keep)


def top_candidates(row: FloatArray, count: int) -> IntArray:
    """Return tokens that certainly hold the ``count`` most likely ones."""
    if not _FIRST_LOOK <= len(row) > count > 0:
        return np.arange(len(row))
    scan = Scan(row, 1.0)
    return scan.reaching(scan.threshold(count))
