"""What a sweep keeps of its rows: each, their mean, quantiles or a histogram.

A part is what some rows came to, a few arrays. Parts add up exactly, so that it does not matter
which rows were worked on together, where, or in which order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import MOST_POINTS, ParameterError, Range, Seen, check_integer, suggestion
from logitlab.sweeps.measures import Measure
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "REDUCTIONS",
    "Each",
    "Histogram",
    "Mean",
    "Part",
    "Quantiles",
    "Reduction",
    "reduction_of",
]

Part: TypeAlias = dict[str, NDArray[Any]]
Float64 = NDArray[np.float64]

_TOP, _STEP = 50, 40  # bits: of the largest number, and of each of the two lower limbs
_BITS = 60  # a number is a multiple of 2**-60
_SHIFT = 15  # bits of a float32 that are rounded away
_NAN = 0x7FFFFFFF >> _SHIFT
_CODES = 1 << (32 - _SHIFT + 1)  # numbers of 9 significant bits, both signs


class Reduction(ABC):
    """How the numbers of many rows become few: M measures of P points."""

    axis: ClassVar[str] = ""

    def edges_of(self, measures: Sequence[Measure], size: int) -> list[Float64]:
        """Return the edges of each measure's bins for V tokens, if there are bins.

        Raises `ParameterError` where there have to be, and are none.
        """
        return []

    @abstractmethod
    def start(self, measures: Sequence[Measure], columns: int, points: int, size: int) -> Part:
        """Return the part of no rows."""

    @abstractmethod
    def add(self, part: Part, values: Float64) -> None:
        """Add rows, shape (n, M, P), to a part in place."""

    @abstractmethod
    def merge(self, total: Part, part: Part, start: int) -> None:
        """Add a part, whose first row is ``start``, to another in place."""

    @abstractmethod
    def finish(self, total: Part, rows: int) -> Float64:
        """Return the result, shape (M, P) or (M, P, axis)."""

    def ticks(self, rows: int) -> NDArray[Any]:
        """Return the values of the last axis, if there is one."""
        return np.arange(rows)

    def width(self, rows: int) -> int:
        """Return how many numbers it keeps of each metric and point."""
        return 1


@dataclass(frozen=True)
class Each(Reduction):
    """Every row by itself: memory for all rows times all points."""

    axis: ClassVar[str] = "row"

    def width(self, rows: int) -> int:
        """Return how many rows there are."""
        return rows

    def start(self, measures: Sequence[Measure], columns: int, points: int, size: int) -> Part:
        """Return the part of no rows."""
        return {"values": np.empty((0, columns, points))}

    def add(self, part: Part, values: Float64) -> None:
        """Append rows."""
        part["values"] = np.concatenate([part["values"], values])

    def merge(self, total: Part, part: Part, start: int) -> None:
        """Put rows in their place."""
        new, old = part["values"], total["values"]
        stop = start + len(new)
        if stop > len(old):
            total["values"] = np.empty((max(stop, 2 * len(old)), *new.shape[1:]))
            total["values"][: len(old)] = old
        total["values"][start:stop] = new

    def finish(self, total: Part, rows: int) -> Float64:
        """Return shape (M, P, rows)."""
        return np.ascontiguousarray(np.moveaxis(total["values"][:rows], 0, -1))


@dataclass(frozen=True)
class Mean(Reduction):
    """The mean over the rows.

    Each row's number is rounded to a multiple of ``2**-60``, and those add up exactly, as integers:
    the mean is the same bits in any order, and less than 1e-18 from that of the numbers.
    """

    def start(self, measures: Sequence[Measure], columns: int, points: int, size: int) -> Part:
        """Return three limbs of a sum, and counts of NaN, inf and -inf."""
        shape = 3, columns, points
        return {"limbs": np.zeros(shape, np.int64), "odd": np.zeros(shape, np.int64)}

    def add(self, part: Part, values: Float64) -> None:
        """Add rows."""
        odd = np.isnan(values), values == np.inf, values == -np.inf
        part["odd"] += [kind.sum(axis=0) for kind in odd]
        values = np.where(np.isfinite(values), values, 0)
        largest = float(np.abs(values).max(initial=0))
        if largest >= 2.0**_TOP:
            raise ParameterError("metrics", f"below 2**{_TOP} to be averaged", largest)
        top = np.trunc(values * 2.0**-20)
        rest = values - top * 2.0**20
        middle = np.trunc(rest * 2.0**20)
        low = np.rint((rest - middle * 2.0**-20) * 2.0**_BITS)
        _carry(part["limbs"], (limb.astype(np.int64).sum(axis=0) for limb in (top, middle, low)))

    def merge(self, total: Part, part: Part, start: int) -> None:
        """Add sums."""
        total["odd"] += part["odd"]
        _carry(total["limbs"], part["limbs"])

    def finish(self, total: Part, rows: int) -> Float64:
        """Return shape (M, P)."""
        shape = total["limbs"].shape[1:]
        limbs = total["limbs"].reshape(3, -1).tolist()
        # Integers of any size, whose quotient Python rounds once.
        means = [
            ((top << 2 * _STEP) + (middle << _STEP) + low) / (rows << _BITS) if rows else np.nan
            for top, middle, low in zip(*limbs, strict=True)
        ]
        nan, up, down = total["odd"] > 0
        finite = np.array(means, np.float64).reshape(shape)
        return np.select([nan | (up & down), up, down], [np.nan, np.inf, -np.inf], finite)


def _carry(limbs: IntArray, more: Any) -> None:
    """Add limbs in place, each but the first kept below ``2**40``."""
    for limb, other in zip(limbs, more, strict=True):
        limb += other
    for i in (2, 1):
        over = limbs[i] >> _STEP
        limbs[i] -= over << _STEP
        limbs[i - 1] += over


@dataclass(frozen=True)
class Quantiles(Reduction):
    """Quantiles over the rows, from counts of their numbers at 9 significant bits.

    So a quantile is the order statistic of rank ``ceil(q N)`` to within 1 part in 512, and integers
    up to 512 are exact. Memory grows with the octaves that the numbers span, some kilobytes for
    each point, and not with the rows.

    Parameters
    ----------
    q : sequence of float
        In [0, 1].

    Examples
    --------
    >>> Quantiles([0.5])
    Quantiles(q=(0.5,))
    """

    q: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95)

    axis: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", _sequence("quantiles", self.q, Range(0, 1)))

    def start(self, measures: Sequence[Measure], columns: int, points: int, size: int) -> Part:
        """Return no counts."""
        shape = np.array([columns, points])
        return {"keys": np.empty(0, np.int64), "counts": np.empty(0, np.int64), "shape": shape}

    def add(self, part: Part, values: Float64) -> None:
        """Count rows."""
        _, *places = values.shape
        slots = np.arange(math.prod(places), dtype=np.int64).reshape(places)
        keys, counts = np.unique(slots * _CODES + _code(values), return_counts=True)
        self.merge(part, {"keys": keys, "counts": counts}, 0)

    def merge(self, total: Part, part: Part, start: int) -> None:
        """Add counts."""
        keys, counts = (np.concatenate([total[key], part[key]]) for key in ("keys", "counts"))
        total["keys"], slots = np.unique(keys, return_inverse=True)
        total["counts"] = np.zeros(len(total["keys"]), np.int64)
        np.add.at(total["counts"], slots, counts)

    def finish(self, total: Part, rows: int) -> Float64:
        """Return shape (M, P, quantiles)."""
        shape = (*total["shape"].tolist(), len(self.ticks(rows)))
        if not rows:
            return np.full(shape, np.nan)
        ranks = np.maximum(np.ceil(self.ticks(rows) * rows - 1e-9), 1).astype(np.int64)
        # Each slot has as many numbers as there are rows.
        first = rows * np.arange(math.prod(shape[:-1]), dtype=np.int64)[:, None]
        places = np.cumsum(total["counts"]).searchsorted(first + ranks, "left")
        return _numbers_of_codes(total["keys"][places] % _CODES).reshape(shape)

    def width(self, rows: int) -> int:
        """Return how many levels there are."""
        return len(self.ticks(rows))

    def ticks(self, rows: int) -> NDArray[Any]:
        """Return the levels."""
        return np.array(self.q)


def _code(values: Float64) -> IntArray:
    """Return integers in the order of the numbers, rounded to 9 significant bits."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = np.abs(values).astype(np.float32)
    bits = single.view(np.uint32).astype(np.int64)
    size = (bits + (1 << (_SHIFT - 1)) - 1 + ((bits >> _SHIFT) & 1)) >> _SHIFT
    size = np.where(np.isnan(values), _NAN, size)
    return np.asarray(np.where(np.signbit(values) & (size < _NAN), -size, size) + _CODES // 2)


def _numbers_of_codes(codes: IntArray) -> Float64:
    size = codes - _CODES // 2
    values = (np.abs(size) << _SHIFT).astype(np.uint32).view(np.float32).astype(np.float64)
    return np.copysign(values, size)


@dataclass(frozen=True)
class Histogram(Reduction):
    """How many rows lie in each bin.

    What lies beyond the ends counts in the first and the last bin; NaN counts nowhere.

    Parameters
    ----------
    edges : int, sequence of float, or a map of those
        A number of bins, 10**6 at most, spreads over the range of the metric: [0, 1] of a
        probability, [0, ln V] of nats, [1, V] of tokens, in steps of equal ratio. Increasing edges
        hold for every metric; a map has its own for each.

    Examples
    --------
    >>> Histogram([0.0, 1.0, 5.0])
    Histogram(edges=(0.0, 1.0, 5.0))
    """

    edges: Any = 40

    axis: ClassVar[str] = "bin"

    def __post_init__(self) -> None:
        edges: Any = self.edges
        if isinstance(edges, Mapping):
            edges = {str(key): _edges(value) for key, value in edges.items()}
        else:
            edges = _edges(edges)
        object.__setattr__(self, "edges", edges)

    def width(self, rows: int) -> int:
        """Return how many bins there are."""
        edges: Any = self.edges
        if isinstance(edges, dict):
            return max(map(_bins, edges.values()), default=0)
        return _bins(edges)

    def edges_of(self, measures: Sequence[Measure], size: int) -> list[Float64]:
        """Return the edges of each measure, equally many."""
        edges = [self._of(measure, size) for measure in measures]
        if len(set(map(len, edges))) > 1:
            raise ParameterError("edges", "equally many for every metric", self.edges)
        return edges

    def _of(self, measure: Measure, size: int) -> Float64:
        edges: Any = self.edges
        if isinstance(edges, dict):
            if measure.name not in edges:
                raise ParameterError("edges", f"a map that has {measure.name}", edges)
            edges = edges[measure.name]
        if not isinstance(edges, int):
            return np.array(edges)
        ends = measure.bounds(size)
        if ends is None:
            hint = "Nobody knows where its values lie."
            raise ParameterError("edges", f"given for {measure.name}", edges, hint)
        spacing = np.geomspace if measure.range == "tokens" and size > 1 else np.linspace
        return np.asarray(spacing(*ends, edges + 1))

    def start(self, measures: Sequence[Measure], columns: int, points: int, size: int) -> Part:
        """Return counts of 0."""
        edges = np.stack(self.edges_of(measures, size))
        shape = columns, points, edges.shape[1] - 1
        return {"counts": np.zeros(shape, np.int64), "edges": edges}

    def add(self, part: Part, values: Float64) -> None:
        """Count rows."""
        bins = part["counts"].shape[-1]
        points = np.broadcast_to(np.arange(values.shape[-1]), values[:, 0].shape)
        for place, edges in enumerate(part["edges"]):
            numbers = values[:, place]
            is_number = ~np.isnan(numbers)
            # The last edge belongs to the last bin, as in numpy.
            slots = np.clip(edges.searchsorted(numbers[is_number], "right") - 1, 0, bins - 1)
            keys = (points[is_number] * bins + slots).astype(np.intp, copy=False)
            counts = np.bincount(keys, minlength=values.shape[-1] * bins)
            part["counts"][place] += counts.reshape(-1, bins)

    def merge(self, total: Part, part: Part, start: int) -> None:
        """Add counts."""
        total["counts"] += part["counts"]

    def finish(self, total: Part, rows: int) -> Float64:
        """Return shape (M, P, bins)."""
        return total["counts"].astype(np.float64)


def _bins(edges: Any) -> int:
    return edges if isinstance(edges, int) else len(edges) - 1


def _edges(value: Any) -> int | tuple[float, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return check_integer("edges", value, Range(1, MOST_POINTS, integer=True))
    edges = _sequence("edges", value, Range())
    if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
        raise ParameterError("edges", "two or more increasing numbers", value)
    return edges


def _sequence(name: str, value: ArrayLike, rule: Range) -> tuple[float, ...]:
    array = rule.check(name, value)
    if array.ndim != 1 or not array.size:
        raise ParameterError(name, "a sequence of numbers", Seen(f"shape {array.shape}"))
    return tuple(array.tolist())


REDUCTIONS: dict[str, Reduction] = {
    "mean": Mean(),
    "rows": Each(),
    "quantiles": Quantiles(),
    "histogram": Histogram(),
}
"""The reductions that have a name."""


def reduction_of(reduce: str | Reduction) -> Reduction:
    """Return the reduction of a name; a reduction is its own."""
    if isinstance(reduce, Reduction):
        return reduce
    if not isinstance(reduce, str) or reduce not in REDUCTIONS:
        names = ", ".join(map(repr, REDUCTIONS))
        rule, hint = f"one of {names}, Quantiles or Histogram", suggestion(reduce, REDUCTIONS)
        raise ParameterError("reduce", rule, reduce, hint)
    return REDUCTIONS[reduce]
