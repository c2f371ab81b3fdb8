"""What a worker does: the numbers of a chunk of rows at all points of a grid."""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Seen, check_logits
from logitlab.numerics import FloatArray, blocks, widened
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.sweeps.chunks import Chunk
from logitlab.sweeps.dense import Tree, measure_point, tree_of
from logitlab.sweeps.measures import Measure
from logitlab.sweeps.programs import Program, programs_of, why_dense
from logitlab.sweeps.reductions import Part, Reduction
from logitlab.sweeps.shared import measure_prefixes
from numpy.typing import NDArray

__all__ = ["Job", "SweepJob"]

_TOGETHER = 1 << 18  # logits of rows that are worked on together
_BUFFER = 1 << 21  # numbers that wait to be reduced


class Job(ABC):
    """What is to be done with every chunk.

    Parameters
    ----------
    chains : sequence of Chain
        One for each point.
    measures : sequence of Measure
    reduction : Reduction
    """

    def __init__(
        self, chains: Sequence[Chain], measures: Sequence[Measure], reduction: Reduction
    ) -> None:
        self.chains = chains
        self.measures = measures
        self.reduction = reduction

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
        return {"reduce": repr(self.reduction)}

    def __call__(self, chunk: Chunk) -> Part:
        """Return what the rows of a chunk come to."""
        rows = chunk.load()
        size = rows.shape[1]
        part = self.start(size)
        numbers = max(1, self.columns * len(self.chains))
        for block in blocks(rows.shape, min(_TOGETHER, size * max(1, _BUFFER // numbers))):
            try:
                here = widened(check_logits(rows[block], "rows"))
            except ParameterError:
                raise _wrong_row(rows[block], chunk.start + block.start) from None
            context = chunk.context
            if context is not None and block != slice(0, len(rows)):
                context = context.for_rows(rows.shape[:1], block)
            self.reduction.add(part, self.numbers(here, context, chunk.start + block.start))
        return part

    @cached_property
    def packed(self) -> bytes:
        """The job as bytes, made once.

        Raises
        ------
        ParameterError
            For functions that cannot be sent to another process.
        """
        content = type(self), self._parts()
        try:
            return pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            try:
                import cloudpickle  # comes with dask, and can send lambdas
            except ImportError:
                rule = "functions of a module, which another process can import"
                raise ParameterError("metrics", rule, Seen("others"), f"{error}.") from None
            packed: bytes = cloudpickle.dumps(content)
            return packed

    def _parts(self) -> tuple[Any, ...]:
        return self.chains, self.measures, self.reduction

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker unpacks a job once, however many chunks it gets.
        return _unpacked, (self.packed,)


@lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Job:
    kind, parts = pickle.loads(packed)
    job: Job = kind(*parts)
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
    def reasons(self) -> dict[str, int]:
        """Why points are dense, and how many."""
        own = [measure.name for measure in self.measures if not measure.shared]
        found: dict[str, int] = {}
        for chain in self.chains:
            reason = why_dense(chain)
            if not reason and own:
                reason = f"{', '.join(own)}: of all logits"
            if reason:
                told = f"run the dense chain: {reason}"
                found[told] = found.get(told, 0) + 1
        return found

    @cached_property
    def _is_dense(self) -> list[bool]:
        own = not all(measure.shared for measure in self.measures)
        return [own or bool(why_dense(chain)) for chain in self.chains]

    @cached_property
    def programs(self) -> list[Program]:
        """The programs of the shared points."""
        return programs_of(self.chains, [i for i, dense in enumerate(self._is_dense) if not dense])

    @cached_property
    def _tree(self) -> Tree:
        return tree_of(self.chains, [i for i, dense in enumerate(self._is_dense) if dense])

    def numbers(self, rows: FloatArray, context: Context | None, start: int) -> NDArray[np.float64]:
        """Return the numbers of checked rows: shape (n, M, P)."""
        out = np.empty((len(rows), len(self.measures), len(self.chains)))
        if any(self._is_dense):
            self._tree.measure(self.measures, rows, context, out)
        doubt = np.zeros((len(rows), len(self.chains)), np.bool_)
        for program in self.programs:
            headed = program.head(rows, context) if program.head.steps else None
            for i, row in enumerate(rows):
                after = None if headed is None else headed[i]
                measure_prefixes(program, self.measures, row, after, out[i], doubt[i])
        for i in np.flatnonzero(doubt.any(axis=1)).tolist():
            own = None if context is None else context.for_rows((len(rows),), slice(i, i + 1))
            for point in np.flatnonzero(doubt[i]).tolist():
                chain = self.chains[point]
                out[i, :, point] = measure_point(chain, self.measures, rows[i : i + 1], own)[0]
        return out
