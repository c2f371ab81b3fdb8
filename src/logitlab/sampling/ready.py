"""A chain that is ready to draw: what the kernels take of it is known before the rows are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray
from logitlab.checks import ParameterError
from logitlab.draw import NO_TOKEN, philox_key
from logitlab.sampling.compiled import KINDS, Program, cut_of, number_of, scratch_of
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, needed_context
from logitlab.steps.step import RowStep
from logitlab.steps.truncation import TopK
from numpy.typing import NDArray

__all__ = ["Ready", "best_tokens"]

_MOST = 1024  # more of the most likely tokens are found in numpy


class _Patch:
    """What the kernels take of a step that changes few tokens, with one value for all rows."""

    def __init__(self, step: Any, size: int) -> None:
        self._step = step
        self._size = size
        self.fixed: tuple[Any, ...] | None = None  # where no context has a say
        kind, presence = number_of(step), float(getattr(step, "presence", 0.0))
        if isinstance(step, LogitBias):
            tokens, amounts = step.in_rows((), size)
            starts = np.array([0, len(tokens)])
            self.fixed = kind, presence, amounts, tokens, np.zeros_like(tokens), starts
        else:
            self._first = kind, presence, np.array(step.values(()), np.float64).reshape(1)

    def arguments(self, number: int, context: Context | None) -> tuple[Any, ...]:
        """Return it for so many rows and their context."""
        if self.fixed is not None:
            return self.fixed
        step = self._step
        seen = step.counts(needed_context(step.key, context), (number,), self._size)
        tokens = seen.token
        if number == 1:
            return *self._first, tokens, seen.count, np.array([0, len(tokens)])
        return *self._first, tokens, seen.count, seen.row.searchsorted(np.arange(number + 1))


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
        self._patches = [_Patch(step, size) for step in program.patches]

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
        patches = tuple([patch.arguments(number, context) for patch in self._patches])
        kept = scratch_of(self._size)
        run.draw(rows, *self._rows, 0, number, *self._steps, patches, kept, states, luck, tokens)
        return tokens, states

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


def best_tokens(rows: FloatArray, count: int) -> dict[int, IntArray]:
    """Return the ``count`` most likely tokens of rows, by their places, where kernels know them.

    In the order of their ids; of equal ones those with the lowest.
    """
    if kernels.rows is None or not 0 < count <= min(_MOST, rows.shape[-1]):
        return {}
    ready = _best(count, rows.shape[-1], rows.dtype)
    if ready is None:
        return {}
    whole = np.require(rows, requirements=["C", "A"])
    tokens, counts, states = ready.survivors(whole, count)
    ends = np.cumsum(counts).tolist()
    parts = zip(ends, counts.tolist(), states.tolist(), strict=True)
    return {i: tokens[end - n : end] for i, (end, n, state) in enumerate(parts) if n and not state}


@lru_cache(maxsize=64)
def _best(count: int, size: int, dtype: np.dtype[Any]) -> Ready | None:
    return Ready.of(Chain(TopK(count)), size, dtype)
