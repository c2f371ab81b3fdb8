"""`SortedChain`: steps that act on candidates in an order, as llama.cpp's samplers do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError
from logitlab.numerics import PRECISIONS, rounded_weights
from logitlab.steps.candidate_order.ordered import OrderedChain
from logitlab.steps.candidate_order.sorts import nucleus_sort, partial_sort, sort
from logitlab.steps.context import Context
from logitlab.steps.step import RowStep, SparseStep, Transform, Truncation

__all__ = ["Candidates", "SortedChain"]


class Candidates:
    """The candidates of one row in the order in which they stand, and what llama.cpp does to them.

    Everything is computed as it does: in float32, sums from left to right. Tokens that a mask or a
    bias put at ``-inf`` stand among them, and have a say in how ties are sorted, until a truncation
    leaves them out.

    Attributes
    ----------
    row : ndarray of float32, shape (V,)
        The logits.
    order : ndarray of intp
        Token ids of the candidates.
    is_sorted : bool
        Whether the most likely one is known to stand first, and so on.
    """

    def __init__(self, row: FloatArray) -> None:
        self.row = row
        self.order: IntArray = np.arange(len(row))
        self.is_sorted = False

    @property
    def values(self) -> FloatArray:
        """The logits of the candidates, in their order."""
        return self.row[self.order]

    def take_first(self, count: int) -> None:
        """Sort so many to the front, and keep those."""
        count = min(count, len(self.order))
        self._take(np.arange(count) if self.is_sorted else partial_sort(self.values, count))

    def take_nucleus(self, p: Any) -> None:
        """Sort as far as it takes, and keep the first that reach the mass p."""
        probs = probabilities_of(self.values)
        places = np.arange(len(probs))
        if not self.is_sorted:
            enough = lambda head: _reach(probs[head], p) is not None  # noqa: E731
            places = nucleus_sort(self.values, enough)
        self._take(places[: _reach(probs[places], p) or len(places)])

    def take_best(self) -> None:
        """Keep the first of the most likely ones."""
        self.order = self.order[self.values.argmax()][None]

    def take_typical(self, p: Any) -> None:
        """Sort by the deviation of the surprise from the entropy, and keep up to beyond p.

        A probability that has vanished makes the entropy NaN, and nothing differs from anything:
        the sort then leaves an order of its own.
        """
        self.sort()
        probs = probabilities_of(self.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -_log(probs)
            entropy = np.cumsum(probs * surprise, dtype=np.float32)[-1]
            deviation = np.abs(surprise - entropy)
        if np.isnan(deviation).any():
            deviation = np.zeros_like(deviation)
        places = sort(-deviation)
        beyond = np.cumsum(probs[places], dtype=np.float32) > p
        self._take(places[: int(beyond.argmax()) + 1 if beyond.any() else None])
        self.is_sorted = False

    def evenness(self) -> Any:
        """Sort, and return the entropy as a part of that of a uniform row of as many tokens."""
        self.sort()
        probs = probabilities_of(self.values)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(probs > 0, probs * _log(probs), np.float32(0))
        entropy = -np.cumsum(depth, dtype=np.float32)[-1]
        return entropy / -_log(np.float32(1) / np.float32(len(probs)))

    def drop_top_choices(self, threshold: Any) -> None:
        """Leave out the first ones that reach the threshold, but for the last of them."""
        self.sort()
        values = self.values
        # What is removed reaches a threshold of 0, and is not to be the one that stays.
        likely = (probabilities_of(values) >= threshold) & (values > -np.inf)
        count = int(np.count_nonzero(likely))
        if threshold <= 0.5 and count >= 2:
            self.order = self.order[count - 1 :]

    def take_unsurprising(self, bits: Any) -> None:
        """Keep those in front of the first whose surprise is greater."""
        self.sort()
        with np.errstate(divide="ignore"):
            surprise = -np.log2(probabilities_of(self.values).astype(np.float64)).astype(np.float32)
        beyond = surprise > bits
        count = int(beyond.argmax()) if beyond.any() else len(beyond)
        self.order = self.order[: max(count, 1)]

    def sort(self) -> None:
        """Sort all, unless they are known to be sorted."""
        self.take_first(len(self.order))

    def _take(self, places: IntArray) -> None:
        self.order, self.is_sorted = self.order[places], True


def probabilities_of(values: FloatArray) -> FloatArray:
    """Return probabilities as the engines sum them up: in float32, from left to right."""
    weight = rounded_weights(values[None])[0]
    return np.asarray(weight / np.cumsum(weight, dtype=weight.dtype)[-1])


def _log(values: FloatArray) -> FloatArray:
    # A float64 function, rounded once, is what the C library of the engine gives.
    return np.log(values.astype(np.float64)).astype(np.float32)


def _reach(probs: FloatArray, p: Any) -> int | None:
    """Return how many of the first tokens reach p, or None if all of them do not."""
    reached = np.cumsum(probs, dtype=probs.dtype) >= p
    return int(reached.argmax()) + 1 if reached.any() else None


class SortedChain(OrderedChain):
    """A `Chain` in single precision whose candidates stand in an order, which decides on ties.

    llama.cpp and KoboldCpp keep candidates in an array. It starts in the order of token ids;
    truncations sort it where it is not sorted, by `std::partial_sort` or a bucket sort, which
    leave equal logits in an odd order of their own; penalties make it unsorted again.

    Parameters
    ----------
    *steps : Transform
        Those to which the order matters without options: it decides which of equal tokens stay.

    Raises
    ------
    ParameterError
        If a step is no transform, or has options that the order overrules.

    Examples
    --------
    >>> from logitlab import SortedChain, TopP
    >>> SortedChain(TopP(0.5))([0.0, 0.0, 0.0, 0.0])
    array([-inf,   0., -inf,   0.])
    """

    candidates: ClassVar[type[Candidates]] = Candidates

    def __init__(self, *steps: Transform) -> None:
        super().__init__(*steps, precision="single")
        for step in self.steps:
            if isinstance(step, Truncation) and step.has_options and _is_ordered(step):
                hint = "The sort decides on equal tokens."
                raise ParameterError("step", "without ties, at_p and sums here", step, hint)

    def of(self, *steps: Transform) -> SortedChain:
        """Return a chain of this kind with other steps."""
        return type(self)(*steps)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.steps))})"

    def _in_order(
        self, wide: FloatArray, context: Context | None
    ) -> tuple[FloatArray, list[IntArray]]:
        candidates = list(map(self.candidates, _rows_of(wide)))
        for stage in self._run(wide, context, candidates):
            wide = stage
        return wide, [row.order[row.values > -np.inf] for row in candidates]

    def _stages(
        self, logits: FloatArray, context: Context | None, ours: bool = False, keep: bool = False
    ) -> Iterator[FloatArray]:
        return self._run(logits, context, [self.candidates(row) for row in _rows_of(logits)])

    def _run(
        self, logits: FloatArray, context: Context | None, candidates: list[Candidates]
    ) -> Iterator[FloatArray]:
        for index, step in enumerate(self.steps):
            ordered = self._ordered(step, logits, candidates)
            if len(ordered) < len(candidates) or not candidates:
                dense = _rows_of(self._apply(index, logits, context, ours=False))
            rows = np.full((len(candidates), logits.shape[-1]), -np.inf, logits.dtype)
            for i, row in enumerate(candidates):
                if i not in ordered:
                    row.row = dense[i]
                    if isinstance(step, Truncation):
                        row.order = row.order[row.values > -np.inf]
                    row.is_sorted &= not isinstance(step, SparseStep)
                rows[i, row.order] = row.values
            logits = rows.reshape(logits.shape)
            yield logits

    def _ordered(
        self, step: Transform, logits: FloatArray, candidates: list[Candidates]
    ) -> set[int]:
        """Let a step act on the candidates; return the rows of which it did."""
        if not isinstance(step, RowStep):
            return set()
        batch = logits.shape[:-1]
        values = np.broadcast_to(step.values(batch, PRECISIONS["single"]), batch).reshape(-1)
        neutral = values == step.neutral
        return {i for i, row in enumerate(candidates) if neutral[i] or step.reorder(row, values[i])}


def _rows_of(logits: FloatArray) -> FloatArray:
    return logits.reshape(-1, logits.shape[-1])


def _is_ordered(step: Transform) -> bool:
    """Whether the order of candidates decides what a step does."""
    return type(step).reorder is not RowStep.reorder  # type: ignore[attr-defined]
