"""Sequences of tokens: a bias on the last one, or a ban, where the text ends in the others.

A sequence ``t_1 … t_m`` acts on the token ``t_m`` while the last ``m - 1`` tokens of the text are
``t_1 … t_{m-1}``; a sequence of one token always does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray, check_left, per_row
from logitlab.checks import Range
from logitlab.numerics import DOUBLE, LARGEST, Precision, scatter
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import SequenceMap, TokenSequences, check_ids
from logitlab.steps.step import Rule, SparseStep, Words, option
from numpy.typing import ArrayLike

__all__ = ["BadWords", "SequenceBias", "bad_words", "sequence_bias"]

TEXTS = {
    "all": Words("both", "looks for their beginnings in prompt and output"),
    "output": Words("output", "looks for their beginnings in the output alone"),
}


def sequence_bias(
    logits: ArrayLike,
    bias: Mapping[Any, ArrayLike],
    context: Context | None,
    *,
    scope: str = "all",
) -> FloatArray:
    """Add numbers to the logits of tokens that would complete a sequence.

    ``x_i + sum of b(t_1 … t_m)`` over all sequences with ``t_m = i`` whose other tokens end the
    text.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    bias : mapping of tuple of int to array_like
        From sequences of token ids in [0, V) to finite numbers, or to arrays that broadcast to the
        batch shape (...). 0 changes nothing, ``-inf`` bans the sequence.
    context : Context
        The tokens so far.
    scope : {"all", "output"}
        Where the other tokens are looked for.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, a value is not finite or does not broadcast, the context
        does not fit, or no token is left in a row.

    Notes
    -----
    transformers looks for the tokens in prompt and output, and takes floats alone.

    References
    ----------
    Hugging Face, "SequenceBiasLogitsProcessor",
    https://huggingface.co/docs/transformers/internal/generation_utils

    Examples
    --------
    >>> sequence_bias([2.0, 1.0, 0.0], {(0, 1): 5.0, (2, 2): -9.0}, Context(prompt=[0]))
    array([2., 6., 0.])
    """
    return SequenceBias(bias, scope)(logits, context)


def bad_words(
    logits: ArrayLike,
    words: Sequence[Sequence[int]],
    context: Context | None,
    *,
    scope: str = "output",
) -> FloatArray:
    """Remove tokens that would complete a sequence: ``-inf`` in place of ``x_i``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    words : sequence of sequences of int
        Token ids in [0, V).
    context : Context
        The tokens so far.
    scope : {"output", "all"}
        Where the tokens before the last one are looked for.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, the context does not fit, or no token is left in a row.

    Notes
    -----
    vLLM and Aphrodite look at the output alone: what begins in the prompt can be completed.
    transformers looks at both, and leaves out a word that is an end token. Their requests spell
    words as texts, and each is banned with and without a space before it.

    References
    ----------
    vLLM, "Sampling parameters", https://docs.vllm.ai/en/latest/api/vllm/sampling_params

    Examples
    --------
    >>> bad_words([2.0, 1.0, 0.0], [[0, 1], [2]], Context(output=[0]))
    array([  2., -inf, -inf])
    """
    return BadWords(words, scope)(logits, context)


class _Sequences(SparseStep):
    """What the two steps share: which sequences the text could go on with."""

    scope: str

    def _matching(
        self, sequences: Iterable[Sequence[int]], logits: FloatArray, context: Context | None
    ) -> BoolArray:
        """Return for each row of the flattened batch which sequences its next token completes."""
        known = needed_context(self.key, context)
        batch, size = logits.shape[:-1], logits.shape[-1]
        beginnings = [sequence[:-1] for sequence in sequences]
        for sequence in sequences:
            check_ids(self.key, sequence, size)
        longest = max(map(len, beginnings))
        # Right-aligned: -2 matches everything, and -1 before a text that is shorter nothing.
        wanted = np.full((len(beginnings), longest), -2, np.int64)
        for line, ids in zip(wanted, beginnings, strict=True):
            line[longest - len(ids) :] = ids
        texts = known.texts(batch, size, scope=self.scope)
        tails = np.full((len(texts), longest), -1, np.int64)
        for line, text in zip(tails, texts, strict=True):
            tail = text[max(len(text) - longest, 0) :]
            line[longest - len(tail) :] = tail
        same: BoolArray = ((tails[:, None] == wanted) | (wanted == -2)).all(axis=-1)
        return same


@dataclass(frozen=True, eq=False, repr=False)
class SequenceBias(_Sequences):
    """The step `sequence_bias` with its values chosen.

    Examples
    --------
    >>> SequenceBias({(1,): 5.0})([2.0, 1.0], Context())
    array([2., 6.])
    """

    bias: Mapping[Any, ArrayLike]
    scope: str = option("all", TEXTS)

    key: ClassVar[str] = "sequence_bias"
    rule: ClassVar[Rule] = SequenceMap(Range())
    neutral: ClassVar[Any] = 0.0

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the step for some rows of a flattened batch."""
        amounts = self._amounts(batch)
        return type(self)(
            {ids: np.reshape(x, -1)[rows] if np.ndim(x) else x for ids, x in amounts.items()},
            self.scope,
        )

    def _amounts(self, batch: tuple[int, ...]) -> dict[tuple[int, ...], Any]:
        """Return each sequence's amount: a number, or one for each row, shape ``batch``."""
        return {
            tuple(ids): per_row(f"{self.key}[{tuple(ids)}]", np.asarray(amount), batch)
            for ids, amount in self.bias.items()
        }

    def _identity(self) -> tuple[Any, ...]:
        entries = sorted(self.bias.items(), key=lambda entry: tuple(entry[0]))
        amounts = ((ids, np.shape(x), np.asarray(x).tobytes()) for ids, x in entries)
        return type(self), self.scope, *amounts

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Add the values in place."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        amounts = self._amounts(batch)
        if not amounts:
            return
        matching = self._matching(list(amounts), logits, context)
        rows = logits.reshape(-1, size)
        amount = np.stack([np.broadcast_to(value, batch).ravel() for value in amounts.values()], -1)
        with np.errstate(over="ignore"):
            amount = amount.astype(precision.arithmetic)
        amount = np.where(matching, amount, precision.arithmetic(0))
        names = np.array([ids[-1] for ids in amounts], np.intp)
        lasts, which = np.unique(names, return_inverse=True)
        total = np.zeros((len(rows), len(lasts)), precision.arithmetic)
        with np.errstate(over="ignore"):
            np.add.at(total.T, which, amount.T)  # one after the other, rounded as each is added
            x = rows[:, lasts].astype(np.float64)
            new = np.where(total == 0, x, np.clip(x + total, -LARGEST, LARGEST))
        is_removed = (x == -np.inf) | (total == -np.inf)
        row, place = np.indices(x.shape).reshape(2, -1)
        scatter(rows, row, lasts[place], np.where(is_removed, -np.inf, new).reshape(-1))
        if (total == -np.inf).any():
            check_left(self.key, logits)


@dataclass(frozen=True, eq=False, repr=False)
class BadWords(_Sequences):
    """The step `bad_words` with its words chosen.

    Examples
    --------
    >>> BadWords([[0]])([2.0, 1.0], Context())
    array([-inf,   1.])
    """

    words: Sequence[Sequence[int]]
    scope: str = option("output", TEXTS)

    key: ClassVar[str] = "bad_words"
    rule: ClassVar[Rule] = TokenSequences()
    neutral: ClassVar[Any] = ()

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Remove the tokens in place."""
        if not self.words:
            return
        matching = self._matching(self.words, logits, context)
        rows = logits.reshape(-1, logits.shape[-1])
        lasts = np.array([word[-1] for word in self.words], np.intp)
        row, which = np.nonzero(matching)
        rows[row, lasts[which]] = -np.inf
        check_left(self.key, logits)
