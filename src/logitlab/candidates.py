"""The fast path: a chain's survivors, found without sorting or exponentiating the vocabulary.

Every truncation is a threshold on the logits of a row, with a rule for ties. A `scan` finds the few
tokens that can survive the first one; the dense steps then run on those alone. So every cut has one
definition, that of `logitlab.transforms`, and the fast path gives the same tokens, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.chain import Chain, Step, Transform
from logitlab.checks import check_per_row
from logitlab.context import Context
from logitlab.numerics import FloatArray, IntArray, blocks
from logitlab.scan import LEAST_VOCABULARY, Row
from logitlab.transforms.temperature import Temperature
from logitlab.transforms.truncation import MinP, TopA, TopK, TopP
from numpy.typing import NDArray

__all__ = ["Candidates", "Plan", "for_candidates", "plan_of"]

_LOCAL = (Temperature, TopK, TopP, MinP, TopA)
_TOGETHER = 1 << 19  # elements of the rows that dense steps before the scan work on together
_GATHERED = 1 << 16  # candidates at which the steps after it run on what has been found


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
        return "\n".join(
            f"{name}: {', '.join(map(repr, steps))}" for name, steps in lines.items() if steps
        )


def plan_of(chain: Chain) -> Plan:
    """Return the plan of a chain.

    Temperature and truncations at the end of a chain look at nothing but the logits of the
    survivors, and so can run on candidates alone. What stands before is dense.
    """
    steps = [step for step in chain if type(step) not in _LOCAL or not _neutral(step)]
    start = len(steps)
    while start and type(steps[start - 1]) in _LOCAL:
        start -= 1
    first = next((i for i in range(start, len(steps)) if type(steps[i]) is not Temperature), None)
    if first is None:
        return Plan(Chain(*steps), Chain(), Chain())
    begin = max(first - 1, start)  # of several temperatures, the last
    return Plan(Chain(*steps[:begin]), Chain(*steps[begin : first + 1]), Chain(*steps[first + 1 :]))


def _neutral(step: Transform) -> bool:
    return isinstance(step, Step) and step.is_neutral


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
    chain : Chain
    context : Context or None
    threads : int
        Rows are spread over so many threads; each row is computed alike in any.
    """
    own = [i for i, step in enumerate(chain) if not isinstance(step, Step)]
    if own:  # transforms of the user's own may look at the whole batch
        logits = chain[: own[-1] + 1](logits, context)
        chain = chain[own[-1] + 1 :]
    job = _Job(work, logits, chain, context)
    cuts = np.linspace(0, job.count, min(threads, max(job.count, 1)) + 1).astype(int).tolist()
    if len(cuts) == 2:
        job.run(0, job.count)
    else:
        with ThreadPoolExecutor(len(cuts) - 1) as pool:
            list(pool.map(job.run, cuts[:-1], cuts[1:]))


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
        self.count = len(self.rows)
        self.context = context
        plan = plan_of(chain)
        scans = plan.scanned.steps and size >= LEAST_VOCABULARY
        self.head = plan.head if scans else chain
        self.tail = Chain(*plan.scanned, *plan.rest)
        self.truncation = plan.scanned.steps[-1] if scans else None
        if self.truncation is not None:
            exact = isinstance(self.truncation, TopP | TopA)
            self.on_candidates = Chain(*plan.scanned.steps[: -1 if exact else None], *plan.rest)
            self.values = self._per_row(self.truncation)
            cooled = len(plan.scanned) > 1
            self.temperatures = self._per_row(plan.scanned.steps[0]) if cooled else None

    def _per_row(self, step: Transform) -> NDArray[Any]:
        assert isinstance(step, Step)
        return check_per_row(step.key, step.value, step.rule, self.batch).reshape(-1)

    def run(self, start: int, stop: int) -> None:
        """Do the rows from ``start`` to ``stop``."""
        scratch = np.empty(self.rows.shape[-1], np.float32)
        found: list[tuple[int, IntArray, FloatArray]] = []
        for block in blocks((stop - start, self.rows.shape[-1]), _TOGETHER):
            here = np.arange(start + block.start, start + block.stop)
            rows = self._applied(self.head, self.rows[here[0] : here[-1] + 1], here, self.context)
            if self.truncation is None:
                self.work(Candidates(here, None, rows))
                continue
            for i, row in zip(here.tolist(), rows, strict=True):
                tokens = self._scan(row, i, scratch)
                if tokens is None:
                    alone = np.array([i])
                    dense = self._applied(self.tail, row[None], alone)
                    self.work(Candidates(alone, None, dense))
                else:
                    found.append((i, tokens, row[tokens]))
            if sum(len(tokens) for _, tokens, _ in found) > _GATHERED:
                self._finish(found)
                found = []
        self._finish(found)

    def _applied(
        self, chain: Chain, rows: FloatArray, index: IntArray, context: Context | None = None
    ) -> FloatArray:
        """Run dense steps on the rows of this index."""
        if not chain.steps:
            return rows
        if self.batch != (len(index),):
            steps = (step.for_rows(self.batch, index) for step in chain if isinstance(step, Step))
            chain = Chain(*steps)
            context = context and context.for_rows(self.batch, index)
        return chain(rows, context)

    def _scan(self, logits: FloatArray, i: int, scratch: NDArray[np.float32]) -> IntArray | None:
        """Return candidates of one row, or None where it must be computed densely."""
        t = 1.0 if self.temperatures is None else float(self.temperatures[i])
        if t == 0:
            return np.array([logits.argmax()])
        row = Row(logits, t, scratch)
        value = self.values[i].item()
        if not row.is_plain:
            return None
        match self.truncation:
            case TopK():
                return row.top_k(value) if 0 < value < len(logits) else None
            case TopP():
                return row.top_p(value, self.truncation.ties) if value < 1 else None
            case MinP():
                return row.min_p(value) if value > 0 else None
            case TopA():
                return row.top_a(value) if value > 0 else None
        raise AssertionError(self.truncation)

    def _finish(self, found: list[tuple[int, IntArray, FloatArray]]) -> None:
        """Run the rest of the chain on candidates, rows of about equal width together."""
        widths = np.array([len(tokens) for _, tokens, _ in found])
        classes = np.frexp(widths)[1]
        for group in (np.flatnonzero(classes == c) for c in np.unique(classes)):
            shape = len(group), int(widths[group].max())
            tokens = np.zeros(shape, np.int64)
            logits = np.full(shape, -np.inf, self.rows.dtype)
            for place, member in enumerate(group):
                width = widths[member]
                tokens[place, :width] = found[member][1]
                logits[place, :width] = found[member][2]
            rows = np.array([found[member][0] for member in group])
            self.work(Candidates(rows, tokens, self._applied(self.on_candidates, logits, rows)))
