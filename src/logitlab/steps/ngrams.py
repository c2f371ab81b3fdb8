"""No n-gram twice: what would complete one that the text already has is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_left
from logitlab.checks import Range
from logitlab.numerics import DOUBLE, Precision
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import TokenIds
from logitlab.steps.step import SparseStep, option
from numpy.typing import ArrayLike

__all__ = ["NoRepeatNgram", "no_repeat_ngram"]


def no_repeat_ngram(
    logits: ArrayLike,
    size: ArrayLike,
    context: Context | None,
    *,
    last_n: int | None = None,
    allowed: Sequence[int] = (),
    guard: bool = True,
) -> FloatArray:
    """Remove every token that would complete an n-gram which the context already has.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    size : array_like of int, broadcasting to the batch shape (...)
        n, at least 0. 0 changes nothing, 1 removes every token that occurs.
    context : Context
        The tokens so far, prompt and output. Fewer than n of them remove nothing.
    last_n : int, optional
        Only n-grams that begin among the last n tokens count; None counts all.
    allowed : sequence of token ids
        What is never removed.
    guard : bool
        Whether a row of which nothing would be left keeps its tokens; otherwise that is an error.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``size`` is no integer of at least 0 or does not broadcast, or the context does not fit.
        Without the guard also if no token is left in a row.

    Notes
    -----
    transformers and Aphrodite do the same, without a guard. SGLang has it as a processor of
    DeepSeek-OCR, with a window and a list of allowed tokens.

    References
    ----------
    A. Paulus et al., "A Deep Reinforced Model for Abstractive Summarization", ICLR 2018,
    https://arxiv.org/abs/1705.04304

    Examples
    --------
    >>> no_repeat_ngram([1.0, 0.9, 0.8], 2, Context(prompt=[0, 1, 0]))
    array([ 1. , -inf,  0.8])
    """
    return NoRepeatNgram(size, last_n, allowed, guard)(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class NoRepeatNgram(SparseStep):
    """The step `no_repeat_ngram` with its values chosen.

    Examples
    --------
    >>> NoRepeatNgram(1)([1.0, 0.9], Context(prompt=[0]))
    array([-inf,  0.9])
    """

    size: ArrayLike
    last_n: int | None = option(None, rule=Range(0, integer=True))
    allowed: Sequence[int] = option((), rule=TokenIds())
    guard: bool = option(True)

    key: ClassVar[str] = "no_repeat_ngram_size"
    rule: ClassVar[Range] = Range(0, integer=True)
    neutral: ClassVar[int] = 0

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Remove in place what would complete an n-gram."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        sizes = np.broadcast_to(self.values(batch, precision), batch).reshape(-1).tolist()
        texts = needed_context(self.key, context).texts(batch, size)
        for row, n, text in zip(logits.reshape(-1, size), sizes, texts, strict=True):
            if not 0 < n <= len(text):
                continue
            banned = np.setdiff1d(self._completing(text, n), self.allowed)
            before = row[banned]
            row[banned] = -np.inf
            if self.guard and len(banned) and row.max() == -np.inf:
                row[banned] = before
        if not self.guard:
            check_left(self.key, logits)

    def _completing(self, text: IntArray, n: int) -> IntArray:
        """Return what followed where the last n - 1 tokens stood before."""
        first = 0 if self.last_n is None else max(0, len(text) - self.last_n)
        starts = np.arange(first, len(text) - n + 1)
        for i in range(n - 1):
            if not len(starts):
                break
            starts = starts[text[starts + i] == text[len(text) - n + 1 + i]]
        return text[starts + n - 1]
