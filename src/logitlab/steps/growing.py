"""Texts that grow: what they hold is counted as they grow, so that no step counts it again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.steps.context import Context, TokenCounts
from numpy.typing import ArrayLike

__all__ = ["GrowingContext", "Tally"]


class Tally:
    """How often each token occurs in one text that grows.

    Examples
    --------
    >>> tally = Tally([5, 6, 5])
    >>> tally.add(4)
    >>> tally.tokens, tally.counts
    (array([4, 5, 6]), array([1, 2, 1]))
    """

    def __init__(self, tokens: ArrayLike = ()) -> None:
        ids, counts = np.unique(np.asarray(tokens, np.int64), return_counts=True)
        self._size = len(ids)
        self._table = np.empty((2, 2 * self._size + 64), np.int64)  # with room for more
        self._table[:, : self._size] = ids, counts

    @property
    def tokens(self) -> IntArray:
        """The tokens that occur, increasing."""
        return self._table[0, : self._size]

    @property
    def counts(self) -> IntArray:
        """How often each of them does."""
        return self._table[1, : self._size]

    @property
    def largest(self) -> int:
        """The largest token that occurs, or -1."""
        return int(self._table[0, self._size - 1]) if self._size else -1

    def add(self, token: int) -> None:
        """Count one more token."""
        table, size = self._table, self._size
        place = int(table[0, :size].searchsorted(token))
        if place < size and table[0, place] == token:
            table[1, place] += 1
            return
        if size == table.shape[1]:
            self._table = np.concatenate([table, np.empty_like(table)], axis=1)
            table = self._table
        table[:, place + 1 : size + 1] = table[:, place:size]
        table[0, place], table[1, place] = token, 1
        self._size = size + 1


class GrowingContext(Context):
    """A `Context` of texts whose tokens are counted already.

    Parameters
    ----------
    prompts, outputs : sequence of ndarray of int64
        The tokens of each row.
    everything, output : sequence of Tally
        Their counts: of both, and of the output alone.
    unconditional : ndarray, shape (n, V), optional
    """

    def __init__(
        self,
        prompts: Sequence[IntArray],
        outputs: Sequence[IntArray],
        everything: Sequence[Tally],
        output: Sequence[Tally],
        unconditional: FloatArray | None = None,
    ) -> None:
        # Frozen, as every context is.
        vars(self).update(
            _prompts=prompts,
            _outputs=outputs,
            _tallies={"all": everything, "output": output},
            unconditional=unconditional,
        )

    # Most steps ask for the counts alone.
    @cached_property
    def prompt(self) -> IntArray:
        """The prompts as one array."""
        return _one_array(self._prompts)

    @cached_property
    def output(self) -> IntArray:
        """The outputs as one array."""
        return _one_array(self._outputs)

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Context:
        """Return the context of some rows of a flattened batch."""
        places = np.arange(len(self._prompts))[rows].tolist()
        everything, output = ([known[i] for i in places] for known in self._tallies.values())
        texts = [self._prompts[i] for i in places], [self._outputs[i] for i in places]
        other = None if self.unconditional is None else self.unconditional[rows]
        return GrowingContext(*texts, everything, output, other)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise `ParameterError` unless it fits logits of a shape."""
        known = self._tallies["all"]
        if shape[:-1] == (len(known),) and all(tally.largest < shape[-1] for tally in known):
            self.avoided(shape)
        else:
            super().check(shape)

    def _count(
        self,
        batch: tuple[int, ...],
        vocabulary_size: int,
        scope: str,
        last_n: int | None,
        fill: int | None,
        skip: int,
        decay: int,
    ) -> TokenCounts:
        is_counted = scope in self._tallies and batch == (len(self._prompts),)
        if last_n is not None or skip or not is_counted:
            return super()._count(batch, vocabulary_size, scope, last_n, fill, skip, decay)
        known = self._tallies[scope]
        if len(known) == 1:
            tokens = known[0].tokens.copy()
            return TokenCounts(np.zeros(len(tokens), np.int64), tokens, known[0].counts.copy())
        row = np.repeat(np.arange(len(known)), [len(tally.tokens) for tally in known])
        token = np.concatenate([tally.tokens for tally in known])
        return TokenCounts(row, token, np.concatenate([tally.counts for tally in known]))

    _prompts: Sequence[IntArray]
    _outputs: Sequence[IntArray]
    _tallies: dict[str, Sequence[Tally]]


def _one_array(texts: Sequence[IntArray]) -> IntArray:
    """Return token ids as one array, with -1 after the shorter ones."""
    rows = np.full((len(texts), max(map(len, texts))), -1, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows
