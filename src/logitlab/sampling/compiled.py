"""Chains as the compiled kernels run them, where these are installed.

A kernel makes the passes over a row that `logitlab.sampling.scan` makes in numpy: an estimate with
a bound decides, what it cannot decide is computed in float64, and what that cannot decide, or what
is wrong with a row, is left to numpy. So not one token changes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, in_order
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, needed_context
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff, PLess
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.step import RowStep, Step, Transform
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import ExcludeTopChoices
from numpy.typing import NDArray

__all__ = [
    "DONE",
    "KINDS",
    "Bound",
    "Listed",
    "Patch",
    "Program",
    "cut_of",
    "number_of",
    "patched",
    "run_kernel",
    "scratch_of",
]

DONE = 0
"""What a kernel says of a row that it has done; any other number leaves it to numpy."""

_TIES = {"lowest": 0, "highest": 1, "all": 2}
KINDS = {np.dtype(kind): number for kind, number in (("f4", 0), ("f2", 1), ("f8", 3))}
"""The dtypes of rows that the kernels read, and their numbers."""
_PENALTIES = {RepetitionPenalty: 0, FrequencyPenalty: 1, PresencePenalty: 2, AdditivePenalty: 3}
_WINDOWS = {"scope", "last_n", "fill", "skip"}  # which tokens count is known before
_BIAS = 4
_MOST_PATCHES = 16
_LISTED = 1 << 16  # survivors that are listed in one go

_held = threading.local()


_CUTS: dict[type, tuple[str, ...]] = {
    Temperature: (),
    TopK: ("ties",),
    TopP: ("ties",),
    MinP: (),
    TopA: (),
    EpsilonCutoff: (),
    EtaCutoff: ("rounded_as",),  # which matters in single precision alone
    PLess: (),
    TopNSigma: ("deviation",),
    TypicalP: (),
    ExcludeTopChoices: ("ties",),
}
"""The steps that kernels know, in the order of their enum, and which options of them."""

_NUMBERS = {kind: number for number, kind in enumerate(_CUTS)}


def cut_of(step: Step) -> tuple[int, int] | None:
    """Return the number of a step in the kernels and its option, or None if they do not know it."""
    known = _CUTS.get(type(step))
    if known is None or set(step.chosen_options) - set(known):
        return None
    option: int | None = 0
    if "ties" in known:
        option = _TIES.get(getattr(step, "ties", ""))
    elif "deviation" in known:
        option = int(getattr(step, "deviation", "") == "sample")
    return None if option is None else (_NUMBERS[type(step)], option)


def number_of(step: Transform) -> int | None:
    """Return the number of a step that changes few tokens in the kernels, or None."""
    if type(step) is LogitBias:
        return _BIAS
    kind = _PENALTIES.get(type(step))
    if kind is None or set(step.chosen_options) - _WINDOWS - {"presence"}:  # type: ignore[attr-defined]
        return None
    return kind


@dataclass(frozen=True, eq=False)
class Program:
    """What the kernels run of a chain, and what comes before.

    Attributes
    ----------
    head : Chain
        Dense steps on the whole vocabulary that kernels do not know.
    patches : tuple of Step
        Steps that change few tokens: penalties and a bias.
    cuts : tuple of RowStep
        Temperatures and truncations.
    """

    head: Chain
    patches: tuple[Step, ...]
    cuts: tuple[RowStep, ...]

    @classmethod
    def of(cls, chain: Chain) -> Program:
        """Return the program of a chain without coins and states; it is made once."""
        known = chain.__dict__.get("_program")
        if known is None:
            known = chain.__dict__["_program"] = cls._of(chain)
        return known

    @classmethod
    def _of(cls, chain: Chain) -> Program:
        if type(chain) is not Chain or chain.precision != "double" or chain.coins:
            return cls(chain, (), ())
        steps: list[Any] = [
            step
            for step in chain.steps
            if not (isinstance(step, RowStep) and step.is_neutral)
            and not (isinstance(step, LogitBias) and not step.bias)  # its ids may be wrong
        ]
        first = len(steps)
        while first and isinstance(steps[first - 1], RowStep) and cut_of(steps[first - 1]):
            first -= 1
        # Of several temperatures before a cut a kernel allows for the last.
        heat = first
        while heat < len(steps) and isinstance(steps[heat], Temperature):
            heat += 1
        first = max(first, heat - 1)
        start = first
        while start and number_of(steps[start - 1]) is not None and first - start < _MOST_PATCHES:
            start -= 1
        return cls(Chain(*steps[:start]), tuple(steps[start:first]), tuple(steps[first:]))

    def for_rows(self, batch: tuple[int, ...], rows: IntArray) -> Program:
        """Return what comes after the head, for some rows of a flattened batch."""
        patches = tuple(step.for_rows(batch, rows) for step in self.patches)
        return Program(self.head[:0], patches, tuple(s.for_rows(batch, rows) for s in self.cuts))

    def takes(self, dtype: np.dtype[Any]) -> bool:
        """Return whether kernels run what comes after the head on rows of a dtype."""
        return dtype in KINDS and not (self.patches and dtype == np.float64)

    def arguments(
        self, batch: tuple[int, ...], size: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], tuple[Patch, ...]]:
        """Return what the kernels take of it for a batch of rows of one width.

        Returns
        -------
        ndarray of int32, shape (k, 2)
            The cuts, as of `cut_of`.
        ndarray of float64, shape (k, 1) or (k, n)
            Their values: one for all rows, or one for each.
        tuple of Patch

        Raises
        ------
        ParameterError
            For values that do not fit the batch.
        """
        columns = [step.values(batch).reshape(-1) for step in self.cuts]
        each = max(map(len, columns), default=1)
        values = np.empty((len(columns), each))
        for row, column in zip(values, columns, strict=True):
            row[:] = column
        steps = np.array([cut_of(step) for step in self.cuts], np.int32).reshape(-1, 2)
        return steps, values, tuple(Patch(step, batch, size) for step in self.patches)

    def bound(
        self, batch: tuple[int, ...], rows: FloatArray, context: Context | None
    ) -> Bound | None:
        """Return the program for the rows of a batch, or None where numpy has to run it.

        Raises
        ------
        ParameterError
            For values or a context that do not fit the batch.
        """
        if not self.takes(rows.dtype):
            return None
        steps, values, patches = self.arguments(batch, rows.shape[-1])
        return Bound(rows, steps, values, patched(patches, batch, rows.shape[-1], context))


class Patch:
    """What the kernels take of a step that changes few tokens.

    Parameters
    ----------
    step : LogitBias or penalty
        One that `number_of` knows.
    batch : tuple of int
        () for one value for all rows.
    size : int
        V.

    Attributes
    ----------
    fixed : tuple or None
        All of it, of a step that no context has a say in.
    first : tuple
        Otherwise what comes before the tokens and counts of a context.
    window : tuple
        Which of these, as of `Context.counts`.
    """

    def __init__(self, step: Any, batch: tuple[int, ...], size: int) -> None:
        self.key = step.key
        self.fixed: tuple[Any, ...] | None = None
        kind, presence = number_of(step), float(getattr(step, "presence", 0.0))
        if isinstance(step, LogitBias):
            tokens, amounts = step.in_rows(batch, size)
            starts = np.array([0, len(tokens)])
            self.fixed = kind, presence, amounts, tokens, np.zeros_like(tokens), starts
        else:
            values = in_order(step.values(batch).reshape(-1), np.float64)
            self.first = kind, presence, values
            self.window = step.scope, step.last_n, step.fill, step.skip, step.decay


def patched(
    patches: Sequence[Patch], batch: tuple[int, ...], size: int, context: Context | None
) -> tuple[tuple[Any, ...], ...]:
    """Return patches as the kernels read them, for the rows of a batch and their context.

    Raises
    ------
    ParameterError
        Without a context where a patch needs one, or for one that does not fit the batch.
    """
    known: dict[tuple[Any, ...], tuple[IntArray, NDArray[Any], IntArray]] = {}
    whole = []
    for patch in patches:
        if patch.fixed is not None:
            whole.append(patch.fixed)
            continue
        if patch.window not in known:
            seen = needed_context(patch.key, context).counts(batch, size, *patch.window)
            number = math.prod(batch)
            starts = np.array([0, len(seen.token)])
            if number != 1:
                starts = seen.row.searchsorted(np.arange(number + 1))
            known[patch.window] = seen.token, seen.count, starts
        whole.append((*patch.first, *known[patch.window]))
    return tuple(whole)


@dataclass(frozen=True, eq=False)
class Listed:
    """Survivors of some rows.

    Attributes
    ----------
    rows : ndarray of int
        Which rows.
    counts : ndarray of int64
        How many each has.
    tokens : ndarray of int64
        One row after another, increasing in each.
    logits : ndarray of float64
    """

    rows: IntArray
    counts: IntArray
    tokens: IntArray
    logits: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bound:
    """A program, and the rows of a batch with their values.

    Attributes
    ----------
    rows : ndarray, shape (n, V), contiguous
    steps : ndarray of int32, shape (k, 2)
    values : ndarray of float64, shape (k, 1) or (k, n)
    patches : tuple of tuple
    """

    rows: FloatArray
    steps: NDArray[np.int32]
    values: NDArray[np.float64]
    patches: tuple[tuple[Any, ...], ...]

    def draw(
        self,
        luck: NDArray[np.float64],
        tokens: IntArray,
        start: int = 0,
        stop: int | None = None,
    ) -> NDArray[np.uint8]:
        """Draw tokens of rows ``start`` to ``stop``, and return which rows are `DONE`.

        Parameters
        ----------
        luck : ndarray of float64, shape (n, m)
            Uniforms.
        tokens : ndarray of int64, shape (n, m)
            Is filled in.
        """
        states = np.empty(len(self.rows), np.uint8)
        self._call("draw", states, start, stop, in_order(luck), tokens)
        return states

    def survivors(
        self, start: int = 0, stop: int | None = None
    ) -> tuple[Sequence[Listed], NDArray[np.uint8]]:
        """Return what is left of rows ``start`` to ``stop``, and which of them are `DONE`."""
        count, size = self.rows.shape
        stop = count if stop is None else stop
        states, counts = np.empty(count, np.uint8), np.empty(count, np.int64)
        found = []
        while start < stop:
            room = max(_LISTED, size)
            tokens, logits = np.empty(room, np.int64), np.empty(room)
            end = self._call("survivors", states, start, stop, tokens, logits, counts)
            here = start + np.flatnonzero(states[start:end] == DONE)
            used = int(counts[here].sum())
            if used:
                found.append(Listed(here, counts[here], tokens[:used], logits[:used]))
            start = end
        return found, states

    def _call(
        self, name: str, states: NDArray[np.uint8], start: int, stop: int | None, *more: Any
    ) -> Any:
        stop = len(self.rows) if stop is None else stop
        program = self.steps, self.values, self.patches
        return run_kernel(name, self.rows, start, stop, program, states, *more)


def run_kernel(
    name: str,
    rows: FloatArray,
    start: int,
    stop: int,
    program: tuple[NDArray[np.int32], NDArray[np.float64], tuple[Any, ...]],
    *results: NDArray[Any],
) -> Any:
    """Call a kernel that runs a chain on rows ``start`` to ``stop``.

    Parameters
    ----------
    name : str
    rows : ndarray, shape (n, V)
        Contiguous and aligned, of one of the dtypes in `KINDS`.
    start, stop : int
    program : tuple
        Cuts and values as of `Program.arguments`, and patches as of `patched`.
    *results : ndarray
        The first, of uint8 and shape (n,), gets `DONE` for the rows that are done. The others are
        what the kernel reads and fills in beside.
    """
    run, size = getattr(kernels.built, name), rows.shape[1]
    return run(rows, KINDS[rows.dtype], size, start, stop, *program, scratch_of(size), *results)


def scratch_of(size: int) -> NDArray[np.float64]:
    """Return memory that this thread keeps for rows of so many tokens."""
    held: tuple[int, NDArray[np.float64]] | None = getattr(_held, "scratch", None)
    if held is None or held[0] < size:
        assert kernels.built is not None
        held = _held.scratch = size, np.empty(kernels.built.scratch(size))
    return held[1]
