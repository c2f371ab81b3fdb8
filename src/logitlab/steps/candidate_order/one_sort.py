"""`OneSortChain`: top-k and top-p cut one sorted row, as the torch samplers of servers do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, check_choice
from logitlab.numerics import PRECISIONS, blocks, map_rows, probabilities
from logitlab.steps.candidate_order.ordered import OrderedChain
from logitlab.steps.candidate_order.sorts import sort
from logitlab.steps.context import Context
from logitlab.steps.step import Transform
from logitlab.steps.truncation import TopK, TopP

__all__ = ["OneSortChain"]


@dataclass(frozen=True, init=False, repr=False)
class OneSortChain(OrderedChain):
    """A `Chain` that sorts each row once for all its steps `TopK` and `TopP`.

    vLLM, SGLang and Aphrodite sort a row in torch, then cut it by top-k and by top-p. With
    ``ties="introsort"`` a step keeps those of equal tokens that the sort of the row before the
    first of these steps favours; in a plain `Chain` each sorts what the step before it left.
    Nothing else differs.

    Parameters
    ----------
    *steps : Transform
    precision : {"double", "single", "mixed"}
    sorts : {"logits", "probs"}
        What is sorted, and so which tokens count as equal to introsort: SGLang sorts probabilities,
        of which many vanish at a low temperature.

    Raises
    ------
    ParameterError
        As of `Chain`, and for another word.

    Examples
    --------
    >>> from logitlab import Chain, OneSortChain, TopK, TopP
    >>> steps = TopK(2, ties="all"), TopP(0.3, ties="introsort", sums="ascending")
    >>> row = np.arange(20.0) % 5
    >>> np.flatnonzero(OneSortChain(*steps)(row) > -np.inf)
    array([14, 19])
    >>> np.flatnonzero(Chain(*steps)(row) > -np.inf)
    array([ 4, 19])
    """

    sorts: str = "logits"

    def __init__(self, *steps: Transform, precision: str = "double", sorts: str = "logits") -> None:
        check_choice("sorts", sorts, ("logits", "probs"))
        object.__setattr__(self, "sorts", sorts)
        super().__init__(*steps, precision=precision)

    @property
    def kind(self) -> str:
        """How it runs its steps, in words."""
        return f"{super().kind} that sorts {self.sorts}"

    def of(self, *steps: Transform) -> Self:
        """Return a chain of this kind with other steps."""
        return type(self)(*steps, precision=self.precision, sorts=self.sorts)

    def __repr__(self) -> str:
        shown = super().__repr__()
        return shown if self.sorts == "logits" else f"{shown[:-1]}, sorts={self.sorts!r})"

    def _in_order(
        self, wide: FloatArray, context: Context | None
    ) -> tuple[FloatArray, list[IntArray]]:
        base = None
        for stage in self._run(wide, context, ours=False, keep=True):
            wide, base = stage
        orders = [np.flatnonzero(row > -np.inf) for row in wide.reshape(-1, wide.shape[-1])]
        if base is not None:
            pairs = zip(base.reshape(-1, base.shape[-1]), orders, strict=True)
            orders = [self._as_sorted(row, survivors) for row, survivors in pairs]
        return wide, orders

    def _as_sorted(self, row: FloatArray, survivors: IntArray) -> IntArray:
        if not any(map(_sees_removed, self.steps)):
            return survivors[np.argsort(-row[survivors], kind="stable")]
        alive = np.zeros(len(row), bool)
        alive[survivors] = True
        rising = any(getattr(step, "sums", "") == "ascending" for step in self.steps)
        order = sort(-row, alive)[::-1] if rising else sort(row, alive)
        return order[alive[order]]

    def _stages(
        self, logits: FloatArray, context: Context | None, ours: bool = False, keep: bool = False
    ) -> Iterator[FloatArray]:
        for stage, _ in self._run(logits, context, ours, keep):
            yield stage

    def _run(
        self, logits: FloatArray, context: Context | None, ours: bool, keep: bool
    ) -> Iterator[tuple[FloatArray, FloatArray | None]]:
        """Yield what each step makes of the logits, and the rows that were sorted by then."""
        base = None
        for index, step in enumerate(self.steps):
            if isinstance(step, TopK | TopP) and base is None:
                base = self._sorted_as(logits)
            if _sees_removed(step) and base is not None:
                logits = self._cut(index, logits, base)
            else:
                logits = self._apply(index, logits, context, not keep and (ours or index > 0))
            yield logits, base

    def _sorted_as(self, logits: FloatArray) -> FloatArray:
        if self.sorts == "logits" or not any(map(_sees_removed, self.steps)):
            return logits
        dtype = PRECISIONS[self.precision].arithmetic
        return map_rows(lambda rows: probabilities(rows, dtype), logits)

    def _cut(self, index: int, logits: FloatArray, base: FloatArray) -> FloatArray:
        step, precision = self.steps[index], PRECISIONS[self.precision]
        assert isinstance(step, TopK | TopP)
        rows, sorted_as = (x.reshape(-1, x.shape[-1]) for x in (logits, base))
        try:
            check_logits(logits)
            values = step.values(logits.shape[:-1], precision).reshape(-1, 1)
        except ParameterError as error:
            raise error.inside(f"step {index + 1}, {step!r}") from None
        result = rows.copy()
        for block in blocks(rows.shape):
            here = values if len(values) == 1 else values[block]
            kept = step.keep(rows[block], here, precision.arithmetic, sorted_as[block])
            result[block][~kept] = -np.inf
        return result.reshape(logits.shape)


def _sees_removed(step: object) -> bool:
    return isinstance(step, TopK | TopP) and step.sees_removed
