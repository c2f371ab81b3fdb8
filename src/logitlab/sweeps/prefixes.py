"""All points of a grid on one row: ordered once, summed once for each temperature.

Every truncation keeps a prefix of the row's order, so a point is no more than a length ``n``. With
``d = x_max - x`` and ``w = exp(-d)`` along the order, running sums ``Z_n`` of ``w`` and ``S_n`` of
``w d`` tell all about each prefix: ``H = ln Z_n + S_n / Z_n``, ``p_max = 1 / Z_n``.

The lengths are those of the dense steps, bit for bit: these sum in the same order, and quotients
are compared as they round. What a sum in another order, or equal logits, could decide otherwise is
left to the dense chain. Kernels sum in that order, too, but numpy's exponential is not theirs: a
length that this could change is decided by numpy's sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from logitlab import kernels
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.steps.temperature import Temperature
from logitlab.sweeps.measures import Measure
from logitlab.sweeps.programs import Branch, Program
from numpy.typing import NDArray

__all__ = ["Order", "RowPoints"]

Float64 = NDArray[np.float64]

# Weights below 2**-54 change no running sum that starts at 1: the dense one stands still, too.
_STANDSTILL = 38.0


@dataclass(eq=False)
class Order:
    """A row in descending order, and the running sums of its weights.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The finite logits, largest first.
    tied_after : bool, optional
        Whether the token after the last one here was as likely.
    """

    values: FloatArray
    tied_after: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _compiled(self) -> tuple[Float64, Float64, Float64] | None:
        """Depth, mass and depths as the kernels have them."""
        run = kernels.rows
        if run is None:
            return None
        depth, mass, depths = np.empty((3, len(self)))
        values = np.ascontiguousarray(self.values)
        size = run.running_sums(values, depth, mass, depths)
        return depth, mass[:size], depths[:size]

    @cached_property
    def depth(self) -> Float64:
        """``x_max - x`` in float64, increasing from 0."""
        if self._compiled:
            return self._compiled[0]
        depth = self.values.astype(np.float64)
        with np.errstate(over="ignore"):
            return cast(Float64, np.subtract(depth[0], depth, out=depth))

    @cached_property
    def weights(self) -> Float64:
        """``p / p_max`` of the tokens that can change a running sum."""
        head = np.negative(self.depth[: self.depth.searchsorted(_STANDSTILL, "right")])
        return cast(Float64, np.exp(head, out=head))

    @cached_property
    def mass(self) -> Float64:
        """Running sums of the weights, within ``doubt`` of themselves what numpy has."""
        return self._compiled[1] if self._compiled else self.mass_of_numpy

    @cached_property
    def mass_of_numpy(self) -> Float64:
        """Running sums of the weights with the bits that the dense steps have."""
        return np.cumsum(self.weights)

    @property
    def doubt(self) -> float:
        """How far, relatively, two sums over a prefix may differ.

        In units of ``2**-53``: each of the two adds up fewer than n weights, and rounds as often;
        their exponentials err by 2.5 and by no more than 4. A quotient of two of them, compared
        with another that is, differs by twice as much: ``4 n + 13`` at most, and here is room for
        the same again.
        """
        return (len(self) + 8) * 2.0**-50

    @cached_property
    def depths(self) -> Float64:
        """Running sums of the weights times depth."""
        if self._compiled:
            return self._compiled[2]
        product = self.weights * self.depth[: len(self.weights)]
        return np.cumsum(product, out=product)

    @cached_property
    def squares(self) -> Float64:
        """Running sums of the squared weights."""
        return np.cumsum(self.weights * self.weights)

    @cached_property
    def spreads(self) -> tuple[Float64, Float64]:
        """Running sums of the depths of all tokens, and of their squares."""
        return np.cumsum(self.depth), np.cumsum(self.depth * self.depth)

    @cached_property
    def bends(self) -> Float64:
        """Running sums of the second differences of the weights, down to where these vanish."""
        beyond = np.zeros(min(2, len(self) - len(self.weights)))
        return np.cumsum(np.abs(np.diff(np.append(self.weights, beyond), n=2)))

    @cached_property
    def entropies(self) -> Float64:
        """The entropy of each prefix."""
        return np.asarray(np.log(self.mass) + self.depths / self.mass)

    def at_least(self, n: IntArray, ratio: Float64, off: BoolArray) -> tuple[IntArray, BoolArray]:
        """Return how many of n tokens are at least so many times as likely as the first.

        All of them where ``off``. And where that is in doubt: sums in another order differ, or the
        logarithm of the ratio, by more than rounding.
        """
        with np.errstate(divide="ignore"):
            reach = -np.log(np.minimum(ratio, 1))
        doubt = self.doubt * (1 + np.minimum(reach, 1e4))
        most = self.depth.searchsorted(reach + doubt, "right")
        least = self.depth.searchsorted(np.where(reach > doubt, reach - doubt, 0), "right")
        most, least = np.minimum(n, most), np.minimum(n, least)
        return np.where(off, n, most), np.asarray(~off & (least != most))

    def last(self, n: IntArray) -> IntArray:
        """Return the index of the running sum over each prefix."""
        return np.minimum(n, len(self.mass)) - 1

    def count_from(self, places: IntArray) -> IntArray:
        """Return how many tokens are at least as likely as those at some places."""
        return np.asarray(len(self) - self.values[::-1].searchsorted(self.values[places], "left"))

    def with_ties(self, count: IntArray, n: IntArray, ties: str) -> IntArray:
        """Return ``count``, and those as likely as the last one where all of them are to stay."""
        if ties != "all":
            return count
        return np.asarray(np.where(count < n, np.minimum(n, self.count_from(count - 1)), n))

    def nucleus_size(self, n: IntArray, p: Float64, at_p: str) -> IntArray:
        """Return how many tokens the nucleus holds: one more than have ``Z_i / Z_n < p``.

        Where p is 1, some of those that all belong to it may be left out.
        """
        last, whole = self.last(n), p == 1
        if at_p == "keep":
            p = np.nextafter(p, 2)
        if self._compiled:
            goal = p * self.mass[last]
            ends = goal * (1 - self.doubt), goal * (1 + self.doubt)
            low, high = (np.minimum(self.mass.searchsorted(end, "left"), n - 1) for end in ends)
            if ((low == high) | whole).all():
                return np.asarray(low + 1)
        mass = self.mass_of_numpy
        total = mass[last]
        # The least mass whose quotient rounds to p or beyond, from some units below.
        least = p * total * (1 - 2.0**-51)
        while (below := (least >= 0.5) & (least / total < p)).any():
            least = np.where(below, np.nextafter(least, np.inf), least)
        return np.asarray(np.minimum(mass.searchsorted(least, "left"), n - 1) + 1)

    def group(self, logit: Any) -> tuple[int, int]:
        """Return where the tokens of this logit begin and end."""
        rising = self.values[::-1]
        above = len(self) - int(rising.searchsorted(logit, "right"))
        return above, len(self) - int(rising.searchsorted(logit, "left"))


class Stage(NamedTuple):
    """What a row is between two temperatures.

    Attributes
    ----------
    order : Order
    group : tuple of int
        Where those stand that are as likely as the model's own first choice: from, up to.
    lowest : bool
        Whether the lowest id among them is the first to come and the last to go.
    """

    order: Order
    group: tuple[int, int]
    lowest: bool


class RowPoints:
    """The points of one program on one row.

    Parameters
    ----------
    program : Program
    measures : sequence of Measure
        Only shared ones.
    raw, after_head : ndarray, shape (V,)
        The row as given, and after the program's head; None where that is empty.
    out : ndarray of float64, shape (M, P)
        Gets the numbers of the program's points.
    doubt : ndarray of bool, shape (P,)
        Set where only the dense chain can tell.
    """

    def __init__(
        self,
        program: Program,
        measures: Sequence[Measure],
        raw: FloatArray,
        after_head: FloatArray | None,
        out: Float64,
        doubt: BoolArray,
    ) -> None:
        self.body = program.body
        self.measures = measures
        self.out = out
        self.doubt = doubt
        self.has_head = after_head is not None
        row = raw if after_head is None else after_head
        rising = np.sort(row)
        descending = rising[int(rising.searchsorted(-np.inf, "right")) :][::-1]
        order = Order(np.ascontiguousarray(descending))
        names = {measure.name for measure in measures}
        if "mass_removed" in names:
            self.mass_after = self._mass_after(order, raw, after_head)
        group = order.group(row[raw.argmax()]) if "agreement" in names else (0, 0)
        self.first = Stage(order, group, program.lowest and after_head is None)

    def _mass_after(self, order: Order, raw: FloatArray, after_head: FloatArray | None) -> Float64:
        """Return the raw probability of what stands after each prefix, from that of length 1."""
        mass = order.mass
        if after_head is not None:
            best = np.argsort(-after_head, kind="stable")
            mass = np.cumsum(np.exp(raw[best].astype(np.float64) - float(raw.max())))
        return np.asarray(np.maximum(1 - mass / mass[-1], 0))

    def measure(self) -> None:
        """Measure all points."""
        n = np.full(len(self.body.points), len(self.first.order), np.intp)
        self._descend(self.body, self.first, n)

    def _descend(self, branch: Branch, stage: Stage, n: IntArray) -> None:
        order, group, lowest = stage
        for step, values in branch.cuts:
            n, doubt = step.prefix(order, n, values)
            if doubt is not None:
                self.doubt[branch.points] |= doubt
        if not branch.after:
            self._measure(branch.points, stage, n)
        for temperature, members, rest in branch.after:
            length = n[members]
            if temperature.value == 0:
                tied = len(order) > 1 and bool(order.values[0] == order.values[1])
                best = Order(order.values[:1], tied)
                self._descend(rest, stage._replace(order=best), np.ones_like(length))
            elif length.min(initial=len(order)) < len(order) and _is_far(order.values, temperature):
                # What does not fit the dtype is moved, and how far depends on all survivors.
                self.doubt[rest.points] = True
            else:
                cooler = Order(_tempered(order.values, temperature))
                wider = group
                if group[0] < len(cooler) and group[1]:
                    low, high = cooler.group(cooler.values[group[0]])
                    wider = min(low, group[0]), max(high, group[1])
                self._descend(rest, Stage(cooler, wider, lowest and wider == group), length)

    def _measure(self, points: IntArray, stage: Stage, n: IntArray) -> None:
        order = stage.order
        last = order.last(n)
        mass = order.mass[last]
        for place, measure in enumerate(self.measures):
            match measure.function.__name__:
                case "support_size":
                    values: NDArray[Any] = n
                case "top_probability":
                    values = 1 / mass
                case "entropy":
                    values = np.log(mass) + order.depths[last] / mass
                case "perplexity":
                    values = np.exp(np.log(mass) + order.depths[last] / mass)
                case "mass_removed":
                    values = self._mass_removed(points, order, n)
                case _:
                    values = self._agreement(points, stage, n, mass)
            self.out[place, points] = values

    def _mass_removed(self, points: IntArray, order: Order, n: IntArray) -> Float64:
        if self.has_head:  # equal logits after penalties may have been unequal before
            follower = order.values[np.minimum(n, len(order) - 1)]
            tied = (n < len(order)) & (order.values[n - 1] == follower)
            self.doubt[points] |= tied | order.tied_after
        # Beyond the last weight that counts, the sum stands still.
        removed = self.mass_after[np.minimum(n, len(self.mass_after)) - 1]
        return np.asarray(np.where(n == len(self.first.order), 0, removed))

    def _agreement(self, points: IntArray, stage: Stage, n: IntArray, mass: Float64) -> Float64:
        order, (low, high), lowest = stage
        if not lowest:  # which of the equally likely tokens are left?
            self.doubt[points] |= (low < n) & (n < high)
        p = np.exp(-order.depth[low]) / mass if low < len(order) else 0.0
        return np.asarray(np.where(n > low, p, 0.0))


def _tempered(values: FloatArray, step: Temperature) -> FloatArray:
    """Return what a temperature above 0 makes of finite logits."""
    if run := kernels.rows:
        t = float(step.t)  # type: ignore[arg-type]
        factor = 1 / t if step.reciprocal else np.inf  # which overflows where the quotient does not
        times = factor < np.inf
        quotients: FloatArray = np.empty_like(values)
        if run.quotients(values, factor if times else t, times, quotients):
            return quotients
    tempered: FloatArray = step.on_rows(values[None], np.array([[step.value]]))[0]
    return tempered


def _is_far(values: FloatArray, step: Temperature) -> bool:
    """Whether a quotient would overflow the dtype."""
    most = max(abs(float(values[0])), abs(float(values[-1])))
    return most >= float(step.t) * float(np.finfo(values.dtype).max)  # type: ignore[arg-type]
