"""A sampler under a request: which rows and contexts it gets, how it is asked, how it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
from logitlab.arrays import check_logits
from logitlab.checks import (
    ParameterError,
    Range,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from logitlab.engines.registry import EngineLike, get
from logitlab.engines.resolve import resolve_alone
from logitlab.numerics import cast_finite
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.step import SparseStep, Step
from logitlab.testing.answers import kind_of, read
from logitlab.testing.calling import KINDS_OF_ANSWERS, Caller, Unreadable, stacked
from logitlab.testing.judging import Judge
from logitlab.testing.rounding import ARITHMETIC
from logitlab.testing.row_kinds import KINDS, Aims, Row
from logitlab.testing.telling import SamplerError
from numpy.typing import NDArray

__all__ = ["WIDE", "Asking"]

WIDE = 1 << 12
"""Tokens from which on a vocabulary is wide: few rows of it go into one call."""

_MOST_TOKENS = 1 << 18
_PENALTIES = (AdditivePenalty, FrequencyPenalty, PresencePenalty, RepetitionPenalty)
_CALLS = Range(10, integer=True)
_ERROR = Range(1e-12, 0.5)


class Asking:
    """The options of one check, and what it has seen so far.

    Parameters are those of `logitlab.testing.checking.check`, by their names.
    """

    def __init__(
        self,
        sampler: Any,
        like: Any,
        *,
        engine: EngineLike = "openrouter",
        rows: Any = None,
        context: Context | None = None,
        gives: str | None = None,
        batch: bool = False,
        arrays: Any = "numpy",
        arithmetic: str = "float32",
        error: float = 1e-6,
        seed: int = 0,
        calls: int = 2000,
    ) -> None:
        check_flag("batch", batch)
        check_choice("arithmetic", arithmetic, ARITHMETIC)
        if gives is not None:
            check_choice("gives", gives, KINDS_OF_ANSWERS)
        self.error = check_number("error", error, _ERROR)
        self.seed = check_integer("seed", seed, Range(0, integer=True))
        self.caller = Caller(sampler, batch, arrays, check_integer("calls", calls, _CALLS))
        if context is not None and not isinstance(context, Context):
            raise ParameterError("context", "a Context or None", context)
        self.context, self.batch, self.arithmetic = context, batch, arithmetic
        self.given = gives
        self.engine = get(engine).name
        several = isinstance(like, list | tuple)
        self.requests = list(like) if several else [like]
        if not self.requests:
            raise ParameterError("like", "at least one request", like)
        if len(self.requests) > 1 and "request" not in self.caller.asks:
            rule = "one request, unless the sampler takes a parameter named request"
            raise ParameterError("like", rule, like)
        self.chains = [
            _chain(each, engine, f"like[{place}]" if several else "like")
            for place, each in enumerate(self.requests)
        ]
        for chain in self.chains:
            needing = [step for step in chain if step.needs_context]
            if needing and not self.caller.takes_context:
                rule = f"one that asks for context, or for prompt and output, for {needing[0]!r}"
                raise ParameterError("sampler", rule, sampler)
        for chain in self.chains:
            self.chain = chain
            if self._least_size > _MOST_TOKENS:
                rule = f"of token ids below {_MOST_TOKENS}, the most tokens that a row has here"
                name = "context" if context is not None else "like"
                raise ParameterError(name, rule, context or like)
        self.own = _rows_given(rows)
        self.seen = self.draws = self.tokens = self.undecided = 0

    def start(self, place: int) -> None:
        """Go on with one of the requests."""
        self.request, self.chain = self.requests[place], self.chains[place]
        self.rng = np.random.default_rng([self.seed, place])
        self.shares = len(self.requests) - place
        self.gives = self.given = self.given or self._kind()

    def _kind(self) -> str:
        """Return what the sampler gives for the rows ``[0, 1, 2, 3, …]``."""
        row = np.arange(max(4, self._least_size), dtype=np.float32)
        rows = [row, row] if self.batch else [row]
        contexts = [self.context or Context()] * len(rows)
        try:
            answer = self.caller(np.stack(rows), contexts, self.request, range(len(rows)), 3)
            return kind_of(answer, self.batch, len(row), "size" in self.caller.asks)
        except Unreadable as told:
            self.fail(str(told), row, self.context, told.__cause__)

    @property
    def _least_size(self) -> int:
        """How many tokens a row has at least, so that all ids that are named are there."""
        size = 1
        for step in self.chain:
            if isinstance(step, SparseStep) and not isinstance(step, _PENALTIES):
                size = max(size, 1 + max(_ids_named(step), default=0))
        if self.context is not None:
            ids = np.r_[self.context.prompt.ravel(), self.context.output.ravel(), 0]
            size = max(size, 1 + int(ids.max()))
        return size

    def rows(self) -> list[Row]:
        """Return all rows, the shortest first, so that the first mistake is a small one."""
        aims = Aims.of(self.chain)
        rows: list[Row] = []
        for each in self.own:
            if isinstance(each, str):
                rows += [np.array(row, np.float32) for row in KINDS[each](self.rng, aims)]
            else:
                rows.append(each)
        size = self._least_size
        return sorted((row for row in rows if len(row) >= size), key=len)

    def context_of(self, row: Row) -> Context | None:
        """Return tokens so far, of which the likely ones are often some, and some are often."""
        if self.context is not None:
            return self.context
        if not any(step.needs_context for step in self.chain):
            return None
        likely = np.argsort(-row, kind="stable")[: max(1, min(4, len(row)))]
        parts = []
        for most in self.rng.permutation([0, 3, 5])[:2]:
            some = self.rng.integers(0, len(row), most)
            parts.append(np.where(self.rng.random(most) < 0.6, self.rng.choice(likely, most), some))
        if self.rng.random() < 0.3 and len(parts[1]):
            parts[1] = np.append(parts[1], -1)
        return Context(*parts)

    def batches(self) -> Iterator[tuple[list[Row], list[Context | None]]]:
        """Yield rows of one length together, none of them alone."""
        rows = self.rows()
        if not self.batch:
            for row in rows:
                yield [row], [self.context_of(row)]
            return
        for size in sorted({len(row) for row in rows}):
            group = [row for row in rows if len(row) == size]
            group += [np.roll(group[0], 1)]
            if size < WIDE:
                group += [group[0][::-1].copy()]
            for start in range(0, len(group), 8):
                part = group[start : start + 8]
                yield part, [self.context_of(row) for row in part]

    def answers(
        self, rows: list[Row], contexts: list[Context | None], seeds: Any = None, size: int = 1
    ) -> list[NDArray[Any]]:
        """Return what the sampler makes of rows of one length, or raise `Unreadable`."""
        stack = np.stack(rows)
        seeds = range(len(rows)) if seeds is None else seeds
        answer = self.caller(stack, contexts, self.request, seeds, size)
        draws = size if "size" in self.caller.asks else 1
        return read(answer, self.gives, len(rows), stack.shape[1], self.batch, draws)

    def judge(self, row: Row, context: Context | None) -> Judge:
        """Return the truth about a row, as the sampler has seen it."""
        return Judge(self.chain, self.caller.seen(row), context, self.arithmetic)

    def note(self, judge: Judge, draws: int = 0) -> None:
        """Count a row that was judged."""
        self.seen += 1
        self.draws += draws
        self.tokens += judge.size
        self.undecided += int((judge.left.perhaps & ~judge.left.sure).sum())

    @property
    def names_ids(self) -> bool:
        """Whether the request names token ids, so that none of them may be renamed."""
        return any(isinstance(s, SparseStep) and not isinstance(s, _PENALTIES) for s in self.chain)

    def fail(self, told: str, row: Any, context: Any, cause: Any = None) -> NoReturn:
        """Raise what is wrong with a row, or with a batch and its list of contexts."""
        if isinstance(context, list):
            context = stacked(context)
        raise SamplerError(told, row, context, self.request, self.engine, self.chain) from cause


def _chain(request: Any, engine: EngineLike, name: str) -> Chain:
    """Return what a request means, or raise in the words of whoever wrote it."""
    try:
        return resolve_alone(request, engine).chain.without_neutral()
    except ParameterError as error:
        if error.name != "request":
            raise
        hint = error.hint if error.hint.startswith("Did") else ""
        raise ParameterError(name, error.rule, error.value, hint, error.where) from None


def _rows_given(rows: Any) -> list[Any]:
    """Return names of kinds and rows, checked."""
    if rows is None:
        return list(KINDS)
    if isinstance(rows, str):
        rows = [rows]
    named = isinstance(rows, list | tuple) and any(isinstance(each, str) for each in rows)
    own: list[Any] = []
    if named:
        for each in rows:
            if isinstance(each, str):
                check_choice("rows", each, KINDS)
                own.append(each)
            else:
                own += _rows_given([each] if not isinstance(each, list) else each)
        return own
    ragged = isinstance(rows, list | tuple) and rows and not np.isscalar(rows[0])
    for each in rows if ragged else [rows]:
        array = cast_finite(check_logits(each, "rows"), np.dtype(np.float32))
        own += list(array.reshape(-1, array.shape[-1]))
    return own


def _ids_named(step: Step) -> list[int]:
    value = step.value
    keys = value.keys() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
    ids: list[int] = []
    for key in keys:
        ids += [int(part) for part in key] if isinstance(key, tuple) else [int(key)]
    return ids
