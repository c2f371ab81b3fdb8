"""`SortedChain`: steps that act on candidates in an order, as llama.cpp's samplers do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, check_logits
from logitlab.numerics import PRECISIONS, FloatArray, IntArray, rounded_weights
from logitlab.steps.candidate_order.sorts import nucleus_sort, partial_sort
from logitlab.steps.chain import Chain, SparseStep, Transform
from logitlab.steps.context import Context, check_context
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import TopK, TopP
from numpy.typing import ArrayLike

__all__ = ["SortedChain"]

_SINGLE = PRECISIONS["single"]


@dataclass
class _Candidates:
    """The survivors of one row in the order in which they stand."""

    order: IntArray
    is_sorted: bool = False


class SortedChain(Chain):
    """A `Chain` in single precision whose candidates stand in an order, which decides on ties.

    llama.cpp and KoboldCpp keep candidates in an array. It starts in the order of token ids;
    `top_k` and `top_p` sort it where it is not sorted, by `std::partial_sort` or a bucket sort,
    which leave equal logits in an odd order of their own; penalties make it unsorted again.

    Parameters
    ----------
    *steps : Transform
        `TopK` and `TopP` without options: the order decides which of equal tokens stay.

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

    def __init__(self, *steps: Transform) -> None:
        super().__init__(*steps, precision="single")
        for step in self.steps:
            if isinstance(step, TopK | TopP) and type(step)(step.value) != step:
                hint = "The sort decides on equal tokens."
                raise ParameterError("step", "without ties, at_p and sums here", step, hint)

    def of(self, *steps: Transform) -> SortedChain:
        """Return a chain of this kind with other steps."""
        return type(self)(*steps)

    def __repr__(self) -> str:
        return f"SortedChain({', '.join(map(repr, self.steps))})"

    def ordered(
        self, logits: ArrayLike, context: Context | None = None
    ) -> tuple[FloatArray, list[IntArray]]:
        """Apply all steps, and return the order in which the survivors of every row stand, too.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        context : Context, optional

        Returns
        -------
        ndarray, shape (..., V)
            As of a call.
        list of ndarray of int64
            Token ids, rows in C order.

        Examples
        --------
        >>> from logitlab import SortedChain, TopK
        >>> SortedChain(TopK(2)).ordered([1.0, 3.0, 2.0])
        (array([-inf,   3.,   2.]), [array([1, 2])])
        """
        array = check_logits(logits)
        check_context(context, array)
        wide = self._entered(array)
        candidates = _all(wide)
        for stage in self._run(wide, context, candidates):
            wide = stage
        return self._left(wide, array), [row.order for row in candidates]

    def _stages(
        self, logits: FloatArray, context: Context | None, ours: bool = False, keep: bool = False
    ) -> Iterator[FloatArray]:
        return self._run(logits, context, _all(logits))

    def _run(
        self, logits: FloatArray, context: Context | None, candidates: list[_Candidates]
    ) -> Iterator[FloatArray]:
        for index, step in enumerate(self.steps):
            if isinstance(step, TopK | TopP):
                logits = self._cut(step, logits, candidates)
            else:
                before = logits
                logits = self._apply(index, logits, context, ours=False)
                if isinstance(step, Temperature):
                    self._first_of_equals(step, before, logits, candidates)
                rows = logits.reshape(-1, logits.shape[-1])
                for row, found in zip(rows, candidates, strict=True):
                    found.order = found.order[row[found.order] > -np.inf]
                    found.is_sorted &= not isinstance(step, SparseStep)
            yield logits

    def _first_of_equals(
        self,
        step: Temperature,
        before: FloatArray,
        logits: FloatArray,
        candidates: list[_Candidates],
    ) -> None:
        """Let temperature 0 keep the first of equal maxima by order, not by id, in place."""
        values = np.broadcast_to(step.values(logits.shape[:-1], _SINGLE), logits.shape[:-1])
        rows = before.reshape(-1, before.shape[-1])
        for i in np.flatnonzero(values.reshape(-1) == 0).tolist():
            order = candidates[i].order
            best = order[rows[i, order].argmax()]
            result = logits.reshape(rows.shape)[i]
            result[:] = -np.inf
            result[best] = rows[i, best]

    def _cut(
        self, step: TopK | TopP, logits: FloatArray, candidates: list[_Candidates]
    ) -> FloatArray:
        rows = logits.reshape(-1, logits.shape[-1])
        values = np.broadcast_to(step.values(logits.shape[:-1], _SINGLE), logits.shape[:-1])
        result = np.full(rows.shape, -np.inf, rows.dtype)
        for i, value in enumerate(values.reshape(-1)):
            found = candidates[i]
            if value != step.neutral:
                _cut_row(step, rows[i], value, found)
            result[i, found.order] = rows[i, found.order]
        return result.reshape(logits.shape)


def _all(logits: FloatArray) -> list[_Candidates]:
    rows = logits.reshape(-1, logits.shape[-1])
    return [_Candidates(np.flatnonzero(row > -np.inf)) for row in rows]


def _cut_row(step: TopK | TopP, row: FloatArray, value: Any, found: _Candidates) -> None:
    """Sort the candidates of a row if they are not, and keep the first."""
    values = row[found.order]
    places = np.arange(len(values))
    if isinstance(step, TopK):
        count = min(int(value), len(values))
        if not found.is_sorted:
            places = partial_sort(values, count)
    else:
        probs = _probabilities(values)
        if not found.is_sorted:
            places = nucleus_sort(values, lambda head: _nucleus(probs[head], value) is not None)
        count = _nucleus(probs[places], value) or len(places)
    found.order = found.order[places[:count]]
    found.is_sorted = True


def _probabilities(values: FloatArray) -> FloatArray:
    """Return probabilities with every operation in float32, the sum from left to right."""
    weight = rounded_weights(values[None])[0]
    return np.asarray(weight / np.cumsum(weight, dtype=weight.dtype)[-1])


def _nucleus(probs: FloatArray, p: Any) -> int | None:
    """Return how many of the first tokens reach p, or None if all of them do not."""
    reached = np.cumsum(probs, dtype=probs.dtype) >= p
    return int(reached.argmax()) + 1 if reached.any() else None
