"""`SortedChain`: steps that act on candidates in an order, as llama.cpp's samplers do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.numerics import PRECISIONS
from logitlab.steps.candidate_order.candidates import LIKE, Candidates
from logitlab.steps.candidate_order.ordered import OrderedChain
from logitlab.steps.context import Context
from logitlab.steps.step import RowStep, SparseStep, Transform, Truncation

__all__ = ["SortedChain"]

_COUNT = Range(0, integer=True)


@dataclass(frozen=True, init=False, repr=False)
class SortedChain(OrderedChain):
    """A `Chain` in single precision whose candidates stand in an order, which decides on ties.

    llama.cpp and KoboldCpp keep candidates in an array. It starts in the order of token ids;
    truncations sort it where it is not sorted, by ``std::partial_sort`` or a bucket sort, which
    leave equal logits in an odd order of their own; penalties make it unsorted again.

    Parameters
    ----------
    *steps : Transform
        Those to which the order matters without options: it decides which of equal tokens stay.
    like : {"llama.cpp", "koboldcpp", "ollama"}
        Whose samplers the steps are. KoboldCpp's sort by ``std::sort`` but in top-k, and leave out
        what llama.cpp's mask. Ollama's own sort first, by Go's heap or its quicksort; top-p keeps
        one token more at exact equality.
    min_keep : int
        How many candidates llama.cpp's top-p, min-p, typical-p and XTC leave at least.

    Raises
    ------
    ParameterError
        If a step is no transform, or has options that the order overrules; for another word, or
        a negative number.

    Examples
    --------
    >>> from logitlab import SortedChain, TopP
    >>> SortedChain(TopP(0.5))([0.0, 0.0, 0.0, 0.0])
    array([-inf,   0., -inf,   0.])
    """

    like: str = "llama.cpp"
    min_keep: int = 0

    def __init__(self, *steps: Transform, like: str = "llama.cpp", min_keep: int = 0) -> None:
        check_choice("like", like, LIKE)
        object.__setattr__(self, "like", like)
        object.__setattr__(self, "min_keep", check_integer("min_keep", min_keep, _COUNT))
        super().__init__(*steps, precision="single")
        for step in self.steps:
            if isinstance(step, Truncation) and _is_overruled(step):
                hint = "The sort decides on equal tokens."
                raise ParameterError("step", "without ties, at_p and sums here", step, hint)

    @property
    def kind(self) -> str:
        """How it runs its steps, in words."""
        least = f", of which {self.min_keep} stay" if self.min_keep else ""
        return f"SortedChain on candidates like those of {self.like}{least}"

    def of(self, *steps: Transform) -> Self:
        """Return a chain of this kind with other steps."""
        return type(self)(*steps, like=self.like, min_keep=self.min_keep)

    def __repr__(self) -> str:
        parts = list(map(repr, self.steps))
        parts += [f"like={self.like!r}"] if self.like != "llama.cpp" else []
        parts += [f"min_keep={self.min_keep}"] if self.min_keep else []
        return f"SortedChain({', '.join(parts)})"

    def _in_order(
        self, wide: FloatArray, context: Context | None
    ) -> tuple[FloatArray, list[IntArray]]:
        candidates = self._candidates(wide)
        for stage in self._run(wide, context, candidates):
            wide = stage
        for row in candidates:
            row.in_front_of_the_draw()
        return wide, [row.order[row.values > -np.inf] for row in candidates]

    def _candidates(self, logits: FloatArray) -> list[Candidates]:
        return [LIKE[self.like](row, self.min_keep) for row in _rows_of(logits)]

    def _stages(
        self, logits: FloatArray, context: Context | None, ours: bool = False, keep: bool = False
    ) -> Iterator[FloatArray]:
        return self._run(logits, context, self._candidates(logits))

    def _run(
        self, logits: FloatArray, context: Context | None, candidates: list[Candidates]
    ) -> Iterator[FloatArray]:
        for index, step in enumerate(self.steps):
            ordered = self._ordered(step, logits, candidates)
            if len(ordered) < len(candidates) or not candidates:
                dense = _rows_of(self._apply(index, logits, context, ours=False))
            if isinstance(step, SparseStep):
                unsorted = step.unsorts(context, logits.shape[:-1], logits.shape[-1])
            rows = np.full((len(candidates), logits.shape[-1]), -np.inf, logits.dtype)
            for i, row in enumerate(candidates):
                if i not in ordered:
                    row.row = dense[i]
                    if isinstance(step, Truncation):
                        row.order = row.order[row.values > -np.inf]
                    if isinstance(step, SparseStep) and row.is_sorted:
                        row.is_sorted = not unsorted[i]
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


def _is_overruled(step: RowStep) -> bool:
    """Whether a step has an option of which the order of candidates makes nothing."""
    is_ordered = type(step).reorder is not RowStep.reorder
    return is_ordered and any(name not in step.ordered_options for name in step.chosen_options)
