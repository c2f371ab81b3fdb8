"""A chain that is ready to draw: what the kernels take of it is known before the rows are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, check_logits, in_order
from logitlab.checks import ParameterError
from logitlab.draw import NO_TOKEN, philox_key
from logitlab.numerics import weights
from logitlab.sampling.compiled import KINDS, Program, cut_of, number_of, scratch_of
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, needed_context
from logitlab.steps.step import RowStep
from logitlab.steps.truncation import TopK
from numpy.typing import NDArray

__all__ = ["Ready", "best_tokens", "masses_of"]

_MOST = 1024  # more of the most likely tokens are found in numpy


class _Patch:
    """What the kernels take of a step that changes few tokens, with one value for all rows.

    Attributes
    ----------
    fixed : tuple or None
        All of it, of a step that no context has a say in.
    first : tuple
        Otherwise what comes before the tokens and counts of a context.
    window : tuple
        Which of these, as of `Context.counts`.
    """

    def __init__(self, step: Any, size: int) -> None:
        self.key = step.key
        self.fixed: tuple[Any, ...] | None = None
        kind, presence = number_of(step), float(getattr(step, "presence", 0.0))
        if isinstance(step, LogitBias):
            tokens, amounts = step.in_rows((), size)
            starts = np.array([0, len(tokens)])
            self.fixed = kind, presence, amounts, tokens, np.zeros_like(tokens), starts
        else:
            self.first = kind, presence, np.array(step.values(()), np.float64).reshape(1)
            self.window = step.scope, step.last_n, step.fill, step.skip, step.decay


class Ready:
    """The program of a chain for rows of one width and dtype, each step with one value for all.

    Parameters
    ----------
    program : Program
        Without dense steps before it.
    size : int
        V.
    dtype : dtype
    """

    def __init__(self, program: Program, size: int, dtype: np.dtype[Any]) -> None:
        values = [step.values(()) for step in program.cuts]
        cuts = [cut_of(step) for step in program.cuts]
        self._rows = KINDS[dtype], size
        self._steps = (
            np.array(cuts, np.int32).reshape(-1, 2),
            np.array(values, np.float64).reshape(-1, 1),
        )
        self._size = size
        self._patches = tuple(_Patch(step, size) for step in program.patches)

    @classmethod
    def of(cls, chain: Chain, size: int, dtype: np.dtype[Any]) -> Ready | None:
        """Return a chain ready, or None where it has to be looked at anew for each batch.

        So it is where numpy runs it, and where a step has one value for each row, or a wrong one.
        """
        if chain.coins or chain.stateful or dtype not in KINDS:
            return None
        program = Program.of(chain)
        if program.head.steps or (program.patches and dtype == np.float64):
            return None
        try:
            for step in chain.steps:
                if isinstance(step, RowStep):
                    step.values(())
            return cls(program, size, dtype)
        except ParameterError:
            return None

    def draw(
        self,
        rows: FloatArray,
        context: Context | None,
        seeds: Sequence[int],
        places: Sequence[tuple[int, int]],
    ) -> tuple[IntArray, NDArray[np.uint8]]:
        """Draw a token from each row.

        Parameters
        ----------
        rows : ndarray, shape (n, V), contiguous and aligned
        context : Context or None
            As `check_context` has checked it.
        seeds : sequence of n int
        places : sequence of n pairs of int
            Sequence and position.

        Returns
        -------
        ndarray of int64, shape (n, 1)
        ndarray of uint8, shape (n,)
            0 for the rows that are done. The tokens of others are none.
        """
        run, number = kernels.rows, len(rows)
        assert run is not None
        luck, tokens = np.empty((number, 1)), np.empty((number, 1), np.int64)
        states = np.empty(number, np.uint8)
        words = np.array(places, np.uint64).T.copy()
        run.uniforms(
            np.array([philox_key(seed) for seed in seeds], np.uint64), *words, NO_TOKEN, luck
        )
        patches = self._patches and self._patched(context, number)
        kept = scratch_of(self._size)
        run.draw(rows, *self._rows, 0, number, *self._steps, patches, kept, states, luck, tokens)
        return tokens, states

    def _patched(self, context: Context | None, number: int) -> tuple[Any, ...]:
        """Return the patches as the kernels read them, for so many rows and their context."""
        known: dict[tuple[Any, ...], tuple[IntArray, NDArray[Any], IntArray]] = {}
        patches = []
        for patch in self._patches:
            if patch.fixed is not None:
                patches.append(patch.fixed)
                continue
            if patch.window not in known:
                here = needed_context(patch.key, context)
                seen = here.counts((number,), self._size, *patch.window)
                starts = np.array([0, len(seen.token)])
                if number > 1:
                    starts = seen.row.searchsorted(np.arange(number + 1))
                known[patch.window] = seen.token, seen.count, starts
            patches.append((*patch.first, *known[patch.window]))
        return tuple(patches)

    def masses(self, rows: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return the sum of ``exp(x - x_max)`` of every row, and 0 for the rows that are done."""
        run, number = kernels.rows, len(rows)
        assert run is not None
        masses, states = np.empty(number), np.empty(number, np.uint8)
        kept = scratch_of(self._size)
        run.masses(rows, *self._rows, 0, number, *self._steps, (), kept, states, masses)
        return masses, states

    def survivors(
        self, rows: FloatArray, most: int
    ) -> tuple[IntArray, NDArray[np.int64], NDArray[np.uint8]]:
        """Return what is left of each row, at most so many tokens, in a chain without patches.

        Parameters
        ----------
        rows : ndarray, shape (n, V), contiguous and aligned
        most : int

        Returns
        -------
        ndarray of int64
            Tokens, one row after another, increasing in each.
        ndarray of int64, shape (n,)
            How many each row has.
        ndarray of uint8, shape (n,)
            0 for the rows that are done.
        """
        run, number = kernels.rows, len(rows)
        assert run is not None
        tokens, logits = np.empty(number * most, np.int64), np.empty(number * most)
        states, counts = np.ones(number, np.uint8), np.zeros(number, np.int64)
        kept = scratch_of(self._size)
        some = states, tokens, logits, counts
        run.survivors(rows, *self._rows, 0, number, *self._steps, (), kept, *some)
        return tokens, counts, states


def masses_of(logits: FloatArray) -> NDArray[np.float64]:
    """Return the sum of ``exp(x - x_max)`` of every row, shape (n,), in float64.

    Parameters
    ----------
    logits : ndarray of floats, shape (..., V)
        Its numbers are checked here: kernels have seen them when they have summed them.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    ready = None if kernels.rows is None else _ready(None, rows.shape[1], rows.dtype)
    masses, left = np.empty(len(rows)), list(range(len(rows)))
    if ready is not None:
        masses, states = ready.masses(in_order(rows))
        left = [i for i, state in enumerate(states.tolist()) if state]
    if left:
        check_logits(logits)
    for i in left:
        masses[i] = weights(rows[i, None]).sum()
    return masses


def best_tokens(rows: FloatArray, count: int) -> dict[int, IntArray]:
    """Return the ``count`` most likely tokens of rows, by their places, where kernels know them.

    In the order of their ids; of equal ones those with the lowest.
    """
    if kernels.rows is None or not 0 < count <= min(_MOST, rows.shape[-1]):
        return {}
    ready = _ready(count, rows.shape[-1], rows.dtype)
    if ready is None:
        return {}
    whole = in_order(rows)
    tokens, counts, states = ready.survivors(whole, count)
    each = counts.tolist()
    parts = zip(accumulate(each), each, states.tolist(), strict=True)
    return {i: tokens[end - n : end] for i, (end, n, state) in enumerate(parts) if n and not state}


@lru_cache(maxsize=64)
def _ready(count: int | None, size: int, dtype: np.dtype[Any]) -> Ready | None:
    """Return the chain that leaves so many tokens, or all of them, ready."""
    return Ready.of(Chain() if count is None else Chain(TopK(count)), size, dtype)
