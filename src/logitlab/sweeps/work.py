"""What a worker does: the numbers of a chunk of rows at all points of a grid."""

from __future__ import annotations

import dataclasses
import pickle
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, Self

import numpy as np
from logitlab.arrays import FloatArray, check_logits
from logitlab.checks import ParameterError, Seen
from logitlab.numerics import blocks, widened
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import Step
from logitlab.sweeps.chunks import Chunk
from logitlab.sweeps.dense import Tree, tree_of
from logitlab.sweeps.measures import Measure
from logitlab.sweeps.prefixes import RowPoints
from logitlab.sweeps.programs import Program, programs_of, why_dense
from logitlab.sweeps.reductions import Part, Reduction
from numpy.typing import NDArray

__all__ = ["Job", "SweepJob"]

_BLOCK_LOGITS = 1 << 18  # logits of rows that are worked on together
_BUFFER = 1 << 21  # numbers that wait to be reduced


@dataclass(eq=False, repr=False)
class Job(ABC):
    """What is to be done with every chunk.

    Parameters
    ----------
    chains : sequence of Chain
        One for each point.
    measures : sequence of Measure
    reduction : Reduction
    batch : tuple of int or None
        The shape against which values for each row broadcast; None where nobody knows it.
    """

    chains: Sequence[Chain]
    measures: Sequence[Measure]
    reduction: Reduction
    batch: tuple[int, ...] | None

    @abstractmethod
    def numbers(self, rows: FloatArray, context: Context | None, start: int) -> NDArray[np.float64]:
        """Return the numbers of checked rows, of which ``start`` is the first: shape (n, M, P)."""

    @property
    def columns(self) -> int:
        """How many numbers each point of a row has."""
        return len(self.measures)

    def start(self, size: int) -> Part:
        """Return the part of no rows, for V tokens."""
        return self.reduction.start(self.measures, self.columns, len(self.chains), size)

    def settings(self) -> dict[str, Any]:
        """Return what a checkpoint has to know beside rows, chains and metrics."""
        own = dataclasses.fields(self)[len(dataclasses.fields(Job)) :]
        settings = {field.name: str(getattr(self, field.name)) for field in own}
        return {"reduce": repr(self.reduction), **settings}

    def __call__(self, chunk: Chunk) -> Part:
        """Return what the rows of a chunk come to."""
        rows = chunk.load()
        size = rows.shape[1]
        part = self.start(size)
        numbers = max(1, self.columns * len(self.chains))
        for block in blocks(rows.shape, min(_BLOCK_LOGITS, size * max(1, _BUFFER // numbers))):
            first = chunk.start + block.start
            try:
                logits = widened(check_logits(rows[block], "rows"))
            except ParameterError:
                raise _wrong_row(rows[block], first) from None
            context = chunk.context
            if context is not None and block != slice(0, len(rows)):
                context = context.for_rows(rows.shape[:1], block)
            job = self.for_rows(slice(first, first + len(logits)))
            self.reduction.add(part, job.numbers(logits, context, first))
        return part

    @cached_property
    def _has_row_values(self) -> bool:
        steps = chain.from_iterable(self.chains)
        return any(isinstance(step, Step) and getattr(step.value, "ndim", 0) for step in steps)

    def for_rows(self, rows: slice) -> Self:
        """Return the job for some of all rows: their own values, where each has one."""
        if self.batch is None or not self._has_row_values:
            return self
        chains = [each.for_rows(self.batch, rows) for each in self.chains]
        return dataclasses.replace(self, chains=chains, batch=None)

    @cached_property
    def payload(self) -> bytes:
        """The job as bytes, made once.

        Raises
        ------
        ParameterError
            For functions that cannot be sent to another process.
        """
        fields = tuple(getattr(self, field.name) for field in dataclasses.fields(self))
        try:
            return pickle.dumps((type(self), fields), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            try:
                import cloudpickle  # comes with dask, and can send lambdas
            except ImportError:
                rule = "functions of a module, which another process can import"
                raise ParameterError("metrics", rule, Seen("others"), f"{error}.") from None
            return bytes(cloudpickle.dumps((type(self), fields)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker unpacks a job once, however many chunks it gets.
        return _job_of, (self.payload,)


@lru_cache(maxsize=2)
def _job_of(payload: bytes) -> Job:
    kind, fields = pickle.loads(payload)
    job: Job = kind(*fields)
    return job


def _wrong_row(rows: FloatArray, start: int) -> ParameterError:
    """Return the error of the first row that is no row of logits."""
    for i, row in enumerate(rows):
        try:
            check_logits(row, "rows")
        except ParameterError as error:
            return ParameterError("rows", error.rule, Seen(f"{error.value} in row {start + i}"))
    raise AssertionError  # one of them is wrong


class SweepJob(Job):
    """The metrics of every row at every point.

    A point whose chain and metrics know all prefixes of a sorted row is shared, any other dense.
    """

    @cached_property
    def _reasons(self) -> list[str]:
        """Why each point is dense, or ""."""
        own = ", ".join(measure.name for measure in self.measures if not measure.shared)
        rest = f"{own}: of all logits" if own else ""
        return [why_dense(chain) or rest for chain in self.chains]

    @property
    def reasons(self) -> dict[str, int]:
        """Why points are dense, and how many."""
        return dict(Counter(f"run the dense chain: {why}" for why in self._reasons if why))

    @cached_property
    def programs(self) -> list[Program]:
        """The programs of the shared points."""
        return programs_of(self.chains, [i for i, why in enumerate(self._reasons) if not why])

    @cached_property
    def _tree(self) -> Tree:
        return tree_of(self.chains, [i for i, why in enumerate(self._reasons) if why])

    def numbers(self, rows: FloatArray, context: Context | None, start: int) -> NDArray[np.float64]:
        """Return the numbers of checked rows: shape (n, M, P)."""
        out = np.empty((len(rows), len(self.measures), len(self.chains)))
        self._tree.measure(self.measures, rows, context, out)
        doubt = np.zeros((len(rows), len(self.chains)), np.bool_)
        for program in self.programs:
            after_head = program.head(rows, context) if program.head.steps else None
            for i, row in enumerate(rows):
                after = None if after_head is None else after_head[i]
                RowPoints(program, self.measures, row, after, out[i], doubt[i]).measure()
        for i in np.flatnonzero(doubt.any(axis=1)).tolist():
            own = None if context is None else context.for_rows((len(rows),), slice(i, i + 1))
            tree = tree_of(self.chains, np.flatnonzero(doubt[i]).tolist())
            tree.measure(self.measures, rows[i : i + 1], own, out[i : i + 1])
        return out
