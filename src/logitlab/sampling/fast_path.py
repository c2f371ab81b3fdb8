"""The fast path: a chain's survivors, found without sorting the vocabulary.

Every truncation is a threshold on the logits of a row, with a rule for ties. A `scan` finds the few
tokens that can survive the first one; the dense steps then run on those alone. So every cut has one
definition, that of `logitlab.steps`, and the fast path gives the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain as joined, groupby
from typing import Any, TypeAlias

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, check_logits, in_order
from logitlab.checks import ParameterError
from logitlab.numerics import widened
from logitlab.sampling.compiled import DONE, Bound, Listed, Program
from logitlab.sampling.scan import Scan, Scans, divided
from logitlab.sampling.threads import spread
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, check_context
from logitlab.steps.step import RowStep, SparseStep, Transform, Truncation
from logitlab.steps.temperature import Temperature
from numpy.typing import NDArray

__all__ = ["Drawing", "Final", "Plan", "plan_of", "run_chain"]

_NOTHING = Chain()
_ROWS_IN_KERNEL = 1 << 23
_ROWS_AT_ONCE = 1 << 19  # elements of the rows that are worked on together
_GATHERED = 1 << 16  # candidates at which the steps after a scan run on what it has found


@dataclass(frozen=True)
class Plan:
    """How the fast path runs a chain: which steps act on what.

    Attributes
    ----------
    head : Chain
        Dense steps on the whole vocabulary: those that know token ids, such as penalties.
    scanned : Chain
        A truncation, and perhaps a temperature before it: the scan finds its survivors. Empty if
        nothing is truncated.
    rest : Chain
        Steps after those, dense on the candidates alone.
    compiled : Chain
        What the compiled kernels do at the end of the chain: all of the scan and the rest, with
        penalties and a bias before them. Empty where there are none. What they leave over, the
        three above do. Of rows in float64 they leave over all if there is a penalty or a bias.

    Examples
    --------
    >>> from logitlab import SamplingParams, kernels, plan
    >>> request = SamplingParams(repetition_penalty=1.1, temperature=0.8, top_k=50, top_p=0.9)
    >>> with kernels.off():
    ...     print(plan(request))
    dense, on the whole vocabulary: RepetitionPenalty(1.1)
    scan of the vocabulary: Temperature(0.8), TopK(50)
    dense, on the candidates: TopP(0.9)
    >>> if kernels.rows:
    ...     assert str(plan(SamplingParams(top_k=50))) == "compiled kernels: TopK(50)"
    """

    head: Chain
    scanned: Chain
    rest: Chain
    compiled: Chain = _NOTHING

    def __str__(self) -> str:
        lines = {
            "dense, on the whole vocabulary": self.head,
            "scan of the vocabulary": self.scanned,
            "dense, on the candidates": self.rest,
        }
        if self.compiled:
            head = Program.of(Chain(*self.head, *self.scanned, *self.rest)).head
            lines = {"dense, on the whole vocabulary": head, "compiled kernels": self.compiled}
        parts = (f"{name}: {', '.join(map(repr, steps))}" for name, steps in lines.items() if steps)
        return "\n".join(parts) or "nothing to do"


def plan_of(chain: Chain) -> Plan:
    """Return the plan of a chain, kernels included; with coins, that of what it is if all act."""
    if chain.coins:
        chain = chain.branch([True] * len(chain.coins))
    planned, program = _numpy_plan(chain), Program.of(chain)
    if kernels.rows is None:
        return planned
    return replace(planned, compiled=Chain(*program.patches, *program.cuts))


def _numpy_plan(chain: Chain) -> Plan:
    """Return the plan of a chain in numpy.

    Temperature and truncations at the end of a chain look at nothing but the logits of the
    survivors, and so can run on candidates alone. What stands before is dense, and so is a
    truncation that looks at removed tokens, and a chain of another kind: one that computes as an
    engine does, or that tosses coins between its steps.
    """
    if type(chain) is not Chain or chain.precision != "double" or chain.coins:
        return Plan(chain, Chain(), Chain())
    steps: list[Any] = []
    for each in chain.steps:
        if not (isinstance(each, RowStep) and each.is_neutral):
            steps.append(each)
    start = len(steps)
    while start and isinstance(steps[start - 1], RowStep):
        if steps[start - 1].sees_removed:
            break
        start -= 1
    for first in range(start, len(steps)):
        step = steps[first]
        if isinstance(step, Truncation) and step.can_scan:
            # Of several temperatures the scan can allow for the last.
            before = steps[first - 1] if first > start else None
            begin = first - (isinstance(before, Temperature) and not before.reciprocal)
            cuts = steps[:begin], steps[begin : first + 1], steps[first + 1 :]
            return Plan(Chain(*cuts[0]), Chain(*cuts[1]), Chain(*cuts[2]))
    return Plan(Chain(*steps), Chain(), Chain())


@dataclass(frozen=True)
class Final:
    """What a chain made of some rows: all survivors, and perhaps removed tokens among them.

    Attributes
    ----------
    rows : ndarray of intp, shape (n,)
        Which rows of the flattened batch these are.
    tokens : ndarray of int64, shape (n, m), or None
        Token ids, increasing; None stands for all of them.
    logits : ndarray, shape (n, m)
        ``-inf`` for removed tokens, and at the end of shorter rows.
    """

    rows: IntArray
    tokens: IntArray | None
    logits: FloatArray


@dataclass(frozen=True)
class Drawing:
    """Tokens that are to be drawn, where nothing else is asked of the final logits.

    Attributes
    ----------
    luck : ndarray of float64, shape (n, m)
        The uniforms of each row of the flattened batch.
    tokens : ndarray of int64, shape (n, m)
        Where they go.
    """

    luck: NDArray[np.float64]
    tokens: IntArray


def run_chain(
    work: Callable[[Final], None],
    logits: FloatArray,
    chain: Chain,
    context: Context | None = None,
    threads: int = 1,
    drawing: Drawing | None = None,
) -> None:
    """Call ``work`` with the final logits of all rows, a group at a time, in any order.

    Parameters
    ----------
    work : callable
        Gets the `Final` logits of a group of rows, perhaps in several threads at once.
    logits : ndarray of floats, shape (..., V)
        Its numbers are checked here, in the pass that finds the largest.
    chain : Chain
    context : Context or None
    threads : int
        Rows are spread over so many threads; each row is computed alike in any.
    drawing : Drawing, optional
        What ``work`` would draw: the kernels do it themselves, and leave few rows to it.

    Raises
    ------
    ParameterError
        The one that the dense chain raises.
    """
    if context is not None:
        check_context(context, logits)
    try:
        if not logits.size:
            chain(logits, context)  # checks the parameters, and has nothing else to do
            return
        left = _compiled(work, logits, chain, context, threads, drawing)
        if left is None:
            run = _ChainRun(work, widened(logits), chain, context)
            spread(run.between, len(run.rows), threads)
        elif left.size:
            batch, rows = logits.shape[:-1], logits.reshape(-1, logits.shape[-1])
            own = None if context is None else context.for_rows(batch, left)

            def renumbered(final: Final) -> None:
                work(replace(final, rows=left[final.rows]))

            run = _ChainRun(renumbered, widened(rows[left]), chain.for_rows(batch, left), own)
            spread(run.between, len(left), threads)
    except ParameterError:
        chain(logits, context)  # says which row, or which step it is
        raise


def _compiled(
    work: Callable[[Final], None],
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
    threads: int,
    drawing: Drawing | None,
) -> IntArray | None:
    """Let the kernels run a chain, and return the rows that are left; None for all of them."""
    program = Program.of(chain)
    if kernels.rows is None or not (program.cuts or program.patches or drawing):
        return None
    batch, head = logits.shape[:-1], program.head
    for step in chain.steps:
        if isinstance(step, RowStep):
            step.values(batch)  # a wrong shape is wrong, also of what is neutral
    if head.steps:
        if not (program.cuts or program.patches) or len(_numpy_plan(chain).head) < len(head):
            return None  # a scan in numpy begins earlier
        if not all(isinstance(step, RowStep | SparseStep) for step in head):
            # Chains of another kind, and steps of the user's own, may look at the whole batch.
            logits, head = head(widened(logits), context), head[:0]
    rows = in_order(logits.reshape(-1, logits.shape[-1]))
    bound = None if head.steps else program.bound(batch, rows, context)
    if bound is None and not (head.steps and program.takes(widened(rows[:0]).dtype)):
        return None

    def run(start: int, stop: int) -> list[IntArray]:
        # A kernel does not hear Ctrl-C: it is called for some rows at a time.
        left, step = [], max(1, (_ROWS_IN_KERNEL if bound else _ROWS_AT_ONCE) // rows.shape[1])
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            if bound:
                left.append(_run_bound(work, bound, begin, end, 0, drawing))
                continue
            index = np.arange(begin, end)
            own = None if context is None else context.for_rows(batch, index)
            block = head.for_rows(batch, index)(widened(rows[index]), own)
            here = program.for_rows(batch, index).bound(index.shape, block, own)
            assert here is not None
            left.append(_run_bound(work, here, 0, len(index), begin, drawing))
        return left

    return np.concatenate(list(joined(*spread(run, len(rows), threads))))


def _run_bound(
    work: Callable[[Final], None],
    bound: Bound,
    start: int,
    stop: int,
    offset: int,
    drawing: Drawing | None,
) -> IntArray:
    """Draw from some rows, or hand over what is left of them, and return those left to numpy."""
    if drawing:
        here = slice(offset, offset + len(bound.rows))
        states = bound.draw(drawing.luck[here], drawing.tokens[here], start, stop)
    else:
        found, states = bound.survivors(start, stop)
        for each in found:
            _hand_over(work, each, offset, bound.rows.dtype)
    return offset + start + np.flatnonzero(states[start:stop] != DONE)


def _hand_over(
    work: Callable[[Final], None], listed: Listed, offset: int, dtype: np.dtype[Any]
) -> None:
    """Call ``work`` with survivors that kernels have listed, rows of about equal width together."""
    ends = np.cumsum(listed.counts)
    classes = np.frexp(listed.counts)[1]
    for width in np.unique(classes):
        members = np.flatnonzero(classes == width)
        counts = listed.counts[members]
        place = np.arange(counts.max())
        at = np.minimum((ends[members] - counts)[:, None] + place, len(listed.tokens) - 1)
        is_there = place < counts[:, None]
        tokens = np.where(is_there, listed.tokens[at], 0)
        logits = np.where(is_there, listed.logits[at], -np.inf).astype(
            np.promote_types(dtype, "f4")
        )
        work(Final(offset + listed.rows[members], tokens, logits))


_ScannedRow: TypeAlias = tuple[int, IntArray, FloatArray]
"""A row's number, its candidates, and their logits."""


def _width(row: _ScannedRow) -> int:
    """Class of a row's width: one for each power of two."""
    return len(row[1]).bit_length()


class _ChainRun:
    """The rows of a call, and what is to be done with each."""

    def __init__(
        self,
        work: Callable[[Final], None],
        logits: FloatArray,
        chain: Chain,
        context: Context | None,
    ) -> None:
        plan = _numpy_plan(chain)
        *before, cut = plan.scanned.steps or (None,)
        self.cut = cut if isinstance(cut, Truncation) else None
        self.scans = self.cut is not None and logits.shape[-1] >= self.cut.scanned_from
        self.before: list[Any] = before
        self.rest = plan.rest.steps
        head = plan.head if self.scans else chain
        by_rows = type(head) is Chain and head.precision == "double" and not head.coins
        for step in head.steps:
            by_rows &= isinstance(step, RowStep | SparseStep)
        if not by_rows:
            # Chains of another kind, and steps of the user's own, may look at the whole batch.
            logits, head = head(logits, context), head[:0]
        self.work, self.head, self.context = work, head.steps, context
        self.batch = logits.shape[:-1]
        self.rows = logits.reshape(-1, logits.shape[-1])
        # Also of what is neutral, and so in no plan: a wrong shape is wrong all the same.
        self.values = {}
        for step in chain.steps:
            if isinstance(step, RowStep):
                self.values[id(step)] = step.values(self.batch).reshape(-1, 1)

    def between(self, start: int, stop: int) -> None:
        """Do the rows from ``start`` to ``stop``."""
        rows: list[_ScannedRow] = []
        gathered = 0
        elements = (
            _ROWS_AT_ONCE if self.scans else _ROWS_AT_ONCE // 4
        )  # float64 work needs more room
        step = max(1, elements // self.rows.shape[1])
        for begin in range(start, stop, step):
            index = np.arange(begin, min(begin + step, stop))
            block = self.rows[begin : begin + len(index)]
            if self.head or not self.scans:
                block = self._headed(block, index)
            if self.cut is None or not self.scans:
                self.work(Final(index, None, block))
                continue
            for i, row, tokens in zip(index.tolist(), block, self._scan(block, index), strict=True):
                if tokens is None:
                    steps = (*self.before, self.cut, *self.rest)
                    self._finish(index[i - begin : i - begin + 1], None, row[None], steps)
                else:
                    rows.append((i, tokens, row[tokens]))
                    gathered += len(tokens)
            if gathered > _GATHERED:
                self._pack(rows)
                rows, gathered = [], 0
        if rows:
            self._pack(rows)

    def _at(self, step: Transform, index: IntArray) -> NDArray[Any]:
        """Return the values of a step for some rows, shape (n, 1) or (1, 1)."""
        values = self.values[id(step)]
        return values if len(values) == 1 else values[index]

    def _headed(self, rows: FloatArray, index: IntArray) -> FloatArray:
        """Run the dense steps before the scan."""
        if not self.scans or any(isinstance(step, RowStep) for step in self.head):
            check_logits(rows)
        whole = self.batch == (len(index),)
        context = self.context
        if self.head and context is not None and not whole:
            context = context.for_rows(self.batch, index)
        ours = False
        for step in self.head:
            if isinstance(step, RowStep):
                rows = step.on_rows(rows, self._at(step, index))
            elif isinstance(step, SparseStep):
                rows = rows if ours else rows.copy()
                here = step if whole else step.for_rows(self.batch, index)
                here.edit(rows, context)
            ours = True
        return rows

    def _scan(self, rows: FloatArray, index: IntArray) -> list[IntArray | None]:
        """Return candidates of each row, or None where it must be computed densely."""
        assert self.cut is not None
        values = self._at(self.cut, index).ravel().tolist()
        ts = self._at(self.before[0], index).ravel().tolist() if self.before else [1.0]
        candidates: list[IntArray | None] = [None] * len(rows)

        def pairs() -> Iterator[tuple[int, Scan, Any]]:
            for i, row in enumerate(rows):  # each stays in cache while it is worked on
                value, t = values[i % len(values)], ts[i % len(ts)]
                scan = Scan(row, t)
                if not math.isfinite(scan.top):
                    check_logits(row)
                if t == 0:
                    candidates[i] = row.argmax()[None]
                elif value != self.cut.neutral and scan.is_plain:  # type: ignore[union-attr]
                    yield i, scan, value

        scans = Scans(pairs())
        tokens = self.cut.scan(scans)
        for place, each in zip(scans.places, tokens, strict=True):
            candidates[place] = each
        return candidates

    def _pack(self, rows: list[_ScannedRow]) -> None:
        """Finish rows of about equal width together."""
        assert self.cut is not None
        # What an exact scan leaves is not to be cut again.
        steps = self.rest if self.cut.is_scan_exact else (self.cut, *self.rest)
        groups: list[list[_ScannedRow]] = [rows]
        if len(rows) > 1:
            by_width = groupby(sorted(rows, key=_width), key=_width)
            groups = [list(group) for _, group in by_width]
        for members in groups:
            numbers, candidates, logits_of = zip(*members, strict=True)
            shape = len(members), max(map(len, candidates))
            index = np.array(numbers)
            tokens = np.zeros(shape, np.int64)
            logits = np.full(shape, -np.inf, self.rows.dtype)
            for place, ids in enumerate(candidates):
                tokens[place, : len(ids)] = ids
                logits[place, : len(ids)] = logits_of[place]
            if self.before:
                t = self._at(self.before[0], index)
                quotient = divided(logits, np.where(t == 0, 1, t))
                # Where something overflows, the dense step knows what to do.
                same = np.isinf(quotient) == np.isinf(logits)
                logits = quotient if same.all() else self.before[0].on_rows(logits, t)
            self._finish(index, tokens, logits, steps)

    def _finish(
        self,
        index: IntArray,
        tokens: IntArray | None,
        logits: FloatArray,
        steps: tuple[Transform, ...],
    ) -> None:
        for step in steps:
            assert isinstance(step, RowStep)
            logits = step.on_rows(logits, self._at(step, index))
        self.work(Final(index, tokens, logits))
