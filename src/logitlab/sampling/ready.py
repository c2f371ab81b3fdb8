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
from logitlab.sampling.compiled import Program, patched, run_kernel
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import RowStep
from logitlab.steps.truncation import TopK
from numpy.typing import NDArray

__all__ = ["Ready", "best_tokens", "masses_of"]

_MOST = 1024  # more of the most likely tokens are found in numpy


class Ready:
    """The program of a chain for rows of one width, each step with one value for all.

    Parameters
    ----------
    program : Program
        Without dense steps before it.
    size : int
        V.

    Raises
    ------
    ParameterError
        For a step with one value for each row.
    """

    def __init__(self, program: Program, size: int) -> None:
        self._steps, self._values, self._patches = program.arguments((), size)
        self._size = size

    @classmethod
    def of(cls, chain: Chain, size: int, dtype: np.dtype[Any]) -> Ready | None:
        """Return a chain ready, or None where it has to be looked at anew for each batch.

        So it is where numpy runs it, and where a step has one value for each row, or a wrong one.
        """
        if chain.coins or chain.stateful:
            return None
        program = Program.of(chain)
        if program.head.steps or not program.takes(dtype):
            return None
        try:
            for step in chain.steps:
                if isinstance(step, RowStep):
                    step.values(())
            return cls(program, size)
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
            `DONE` for the rows that are done. The tokens of others are none.
        """
        number = len(rows)
        luck, tokens = np.empty((number, 1)), np.empty((number, 1), np.int64)
        words = np.array(places, np.uint64).T.copy()
        keys = np.array([philox_key(seed) for seed in seeds], np.uint64)
        assert kernels.built is not None
        kernels.built.uniforms(keys, *words, NO_TOKEN, luck)
        patches: tuple[Any, ...] = ()
        if self._patches:
            patches = patched(self._patches, (number,), self._size, context)
        states = np.empty(number, np.uint8)
        self._run("draw", rows, patches, states, luck, tokens)
        return tokens, states

    def masses(self, rows: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return the sum of ``exp(x - x_max)`` of every row, and which rows are `DONE`.

        Parameters
        ----------
        rows : ndarray, shape (n, V), contiguous and aligned

        Returns
        -------
        ndarray of float64, shape (n,)
        ndarray of uint8, shape (n,)
        """
        masses, states = np.empty(len(rows)), np.empty(len(rows), np.uint8)
        self._run("masses", rows, (), states, masses)
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
            `DONE` for the rows that are done.
        """
        number = len(rows)
        tokens, logits = np.empty(number * most, np.int64), np.empty(number * most)
        states, counts = np.ones(number, np.uint8), np.zeros(number, np.int64)
        self._run("survivors", rows, (), states, tokens, logits, counts)
        return tokens, counts, states

    def _run(
        self, name: str, rows: FloatArray, patches: tuple[Any, ...], *results: NDArray[Any]
    ) -> None:
        program = self._steps, self._values, patches
        run_kernel(name, rows, 0, len(rows), program, *results)


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
