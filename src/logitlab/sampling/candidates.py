"""The fast path: a chain's survivors, found without sorting the vocabulary.

Every truncation is a threshold on the logits of a row, with a rule for ties. A `scan` finds the few
tokens that can survive the first one; the dense steps then run on those alone. So every cut has one
definition, that of `logitlab.steps`, and the fast path gives the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from logitlab.checks import ParameterError, check_logits, check_per_row
from logitlab.numerics import FloatArray, IntArray, blocks
from logitlab.sampling.scan import Head, Scan, top_p
from logitlab.steps.chain import Chain, RowStep, SparseStep, Transform
from logitlab.steps.context import Context, check_context
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import MinP, TopA, TopK, TopP
from numpy.typing import NDArray

__all__ = ["Candidates", "Plan", "for_candidates", "plan_of"]

# Vocabularies below are as fast with dense steps on many rows at once.
LEAST_VOCABULARY = {TopK: 1 << 11, MinP: 1 << 12, TopP: 1 << 13, TopA: 1 << 13}
_TOGETHER = 1 << 19  # elements of the rows that are worked on together
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

    Examples
    --------
    >>> from logitlab import SamplingParams, plan
    >>> print(plan(SamplingParams(repetition_penalty=1.1, temperature=0.8, top_k=50, top_p=0.9)))
    dense, on the whole vocabulary: RepetitionPenalty(1.1)
    scan of the vocabulary: Temperature(0.8), TopK(50)
    dense, on the candidates: TopP(0.9)
    >>> print(plan(SamplingParams(temperature=0.8)))
    dense, on the whole vocabulary: Temperature(0.8)
    """

    head: Chain
    scanned: Chain
    rest: Chain

    def __str__(self) -> str:
        lines = {
            "dense, on the whole vocabulary": self.head,
            "scan of the vocabulary": self.scanned,
            "dense, on the candidates": self.rest,
        }
        parts = (f"{name}: {', '.join(map(repr, steps))}" for name, steps in lines.items() if steps)
        return "\n".join(parts) or "nothing to do"


def plan_of(chain: Chain) -> Plan:
    """Return the plan of a chain.

    Temperature and truncations at the end of a chain look at nothing but the logits of the
    survivors, and so can run on candidates alone. What stands before is dense, and so is a chain of
    another kind: one that computes as an engine does.
    """
    if not _is_plain(chain):
        return Plan(chain, Chain(), Chain())
    steps = [step for step in chain if not (isinstance(step, RowStep) and step.is_neutral)]
    start = len(steps)
    while start and isinstance(steps[start - 1], RowStep):
        start -= 1
    first = next((i for i in range(start, len(steps)) if _can_scan(steps[i])), None)
    if first is None:
        return Plan(Chain(*steps), Chain(), Chain())
    # Of several temperatures the scan can allow for the last.
    before = steps[first - 1] if first > start else None
    begin = first - (isinstance(before, Temperature) and not before.reciprocal)
    return Plan(Chain(*steps[:begin]), Chain(*steps[begin : first + 1]), Chain(*steps[first + 1 :]))


def _is_plain(chain: Chain) -> bool:
    return type(chain) is Chain and chain.precision == "double"


def _can_scan(step: Transform) -> bool:
    """Whether a scan knows the step, with its options."""
    match step:
        case TopK() | TopP(at_p="drop", sums="descending"):
            return True
        case MinP(space="logits") | TopA(space="logits", guard=True):
            return True
    return False


@dataclass(frozen=True)
class Candidates:
    """What a chain made of some rows: all survivors, and perhaps removed tokens among them.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,)
        Which rows of the flattened batch these are.
    tokens : ndarray of int64, shape (n, m), or None
        Token ids, increasing; None stands for all of them.
    logits : ndarray, shape (n, m)
        ``-inf`` for removed tokens, and at the end of shorter rows.
    """

    rows: IntArray
    tokens: IntArray | None
    logits: FloatArray


def for_candidates(
    work: Callable[[Candidates], None],
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
    threads: int = 1,
) -> None:
    """Call ``work`` with the candidates of all rows, a group at a time, in any order.

    Parameters
    ----------
    work : callable
        Gets the `Candidates` of a group of rows, perhaps in several threads at once.
    logits : ndarray of float32 or float64, shape (..., V)
        Its numbers are checked here, in the pass that finds the largest.
    chain : Chain
    context : Context or None
    threads : int
        Rows are spread over so many threads; each row is computed alike in any.

    Raises
    ------
    ParameterError
        The one that the dense chain raises.
    """
    check_context(context, logits)
    try:
        _spread(work, logits, chain, context, threads)
    except ParameterError:
        chain(logits, context)  # says which row, or which step it is
        raise


def _spread(
    work: Callable[[Candidates], None],
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
    threads: int,
) -> None:
    own = [i for i, step in enumerate(chain) if not isinstance(step, RowStep | SparseStep)]
    if not _is_plain(chain):
        logits = chain(logits, context)
        chain = Chain()
    elif own:  # transforms of the user's own may look at the whole batch
        logits = chain[: own[-1] + 1](logits, context)
        chain = chain[own[-1] + 1 :]
    if not logits.size:
        chain(logits, context)  # checks the parameters, and has nothing else to do
        return
    job = _Job(work, logits, chain, context)
    count = len(job.rows)
    threads = min(threads, count)
    cuts = [count * i // threads for i in range(threads + 1)]
    if threads == 1:
        job.run(0, count)
    else:
        with ThreadPoolExecutor(len(cuts) - 1) as pool:
            list(pool.map(job.run, cuts[:-1], cuts[1:]))


@dataclass(frozen=True)
class _Bound:
    """A step with its values for every row of the flattened batch, shape (n, 1) or (1, 1)."""

    step: RowStep
    values: NDArray[Any]

    def at(self, rows: IntArray) -> NDArray[Any]:
        return self.values if len(self.values) == 1 else self.values[rows]


_Found: TypeAlias = tuple[int, IntArray, FloatArray]


def _width(found: _Found) -> int:
    """Class of a row's width: one for each power of two."""
    return len(found[1]).bit_length()


class _Job:
    """The rows of a call, and what is to be done with each."""

    def __init__(
        self,
        work: Callable[[Candidates], None],
        logits: FloatArray,
        chain: Chain,
        context: Context | None,
    ) -> None:
        self.work = work
        self.batch, size = logits.shape[:-1], logits.shape[-1]
        self.rows = logits.reshape(-1, size)
        self.context = context
        for step in chain:
            if isinstance(step, RowStep):
                self._bound(step)  # checks also what is neutral, and so in no plan
        plan = plan_of(chain)
        cut = plan.scanned.steps[-1:]
        self.scans = any(
            isinstance(step, kind) and size >= least
            for step in cut
            for kind, least in LEAST_VOCABULARY.items()
        )
        self.head = plan.head if self.scans else chain
        self.scanned = [self._bound(step) for step in plan.scanned if isinstance(step, RowStep)]
        self.rest = [self._bound(step) for step in plan.rest if isinstance(step, RowStep)]

    def _bound(self, step: RowStep) -> _Bound:
        values = check_per_row(step.key, step.value, step.rule, self.batch)
        return _Bound(step, values.reshape(-1, 1))

    def run(self, start: int, stop: int) -> None:
        """Do the rows from ``start`` to ``stop``."""
        found: list[_Found] = []
        gathered = 0
        elements = _TOGETHER if self.scans else _TOGETHER // 4  # float64 work needs more room
        for block in blocks((stop - start, self.rows.shape[-1]), elements):
            here = np.arange(start + block.start, start + block.stop)
            rows = self._headed(self.rows[here[0] : here[-1] + 1], here)
            if not self.scans:
                self.work(Candidates(here, None, rows))
                continue
            for i, row, tokens in zip(here.tolist(), rows, self._scan(rows, here), strict=True):
                if tokens is None:
                    self._finish(np.array([i]), None, row[None], [*self.scanned, *self.rest])
                else:
                    found.append((i, tokens, row[tokens]))
                    gathered += len(tokens)
            if gathered > _GATHERED:
                self._pack(found)
                found, gathered = [], 0
        self._pack(found)

    def _headed(self, rows: FloatArray, index: IntArray) -> FloatArray:
        """Run the dense steps before the scan."""
        if not self.scans:
            check_logits(rows)
        whole = self.batch == (len(index),)
        context = self.context
        if self.head.steps and context is not None and not whole:
            context = context.for_rows(self.batch, index)
        ours = False
        for step in self.head:
            if isinstance(step, RowStep):
                bound = self._bound(step)
                rows = step.on_rows(rows, bound.at(index))
            elif isinstance(step, SparseStep):
                rows = rows if ours else rows.copy()
                here = step if whole else step.for_rows(self.batch, index)
                here.edit(rows, context)
            ours = True
        return rows

    def _scan(self, rows: FloatArray, index: IntArray) -> list[IntArray | None]:
        """Return candidates of each row, or None where it must be computed densely."""
        last = self.scanned[-1]
        values = last.at(index).ravel().tolist()
        temperatures = self.scanned[0].at(index).ravel().tolist() if self.scanned[1:] else [1.0]
        found: list[IntArray | None] = [None] * len(rows)
        heads: dict[int, Head] = {}
        for i, row in enumerate(rows):  # each stays in cache while it is worked on
            value, t = values[i % len(values)], temperatures[i % len(temperatures)]
            scan = Scan(row, t)
            if not math.isfinite(scan.top):
                check_logits(row)
            if t == 0:
                found[i] = np.array([row.argmax()])
            if t == 0 or value == last.step.neutral or not scan.is_plain:
                continue
            match last.step:
                case TopK() if value < len(row):
                    found[i] = scan.top_k(value)
                case TopP():
                    heads[i] = Head(scan, value)
                case MinP():
                    found[i] = scan.min_p(value)
                case TopA():
                    found[i] = scan.top_a(value)
        if heads and isinstance(last.step, TopP):
            nuclei = top_p(list(heads.values()), last.step.ties)
            for i, tokens in zip(heads, nuclei, strict=True):
                found[i] = tokens
        return found

    def _pack(self, found: list[_Found]) -> None:
        """Finish rows of about equal width together."""
        # The scan leaves the very survivors of top-p and top-a, which are not to be cut again.
        exact = bool(self.scanned) and isinstance(self.scanned[-1].step, TopP | TopA)
        steps = [*self.scanned[: -1 if exact else None], *self.rest]
        for _, group in groupby(sorted(found, key=_width), key=_width):
            members = list(group)
            if len(members) == 1:
                ((row, ids, values),) = members
                self._finish(np.array([row]), ids[None], values[None], steps)
                continue
            shape = len(members), max(len(tokens) for _, tokens, _ in members)
            index = np.array([row for row, _, _ in members])
            tokens = np.zeros(shape, np.int64)
            logits = np.full(shape, -np.inf, self.rows.dtype)
            for place, (_, ids, values) in enumerate(members):
                tokens[place, : len(ids)] = ids
                logits[place, : len(ids)] = values
            self._finish(index, tokens, logits, steps)

    def _finish(
        self, index: IntArray, tokens: IntArray | None, logits: FloatArray, steps: list[_Bound]
    ) -> None:
        for bound in steps:
            logits = bound.step.on_rows(logits, bound.at(index))
        self.work(Candidates(index, tokens, logits))
