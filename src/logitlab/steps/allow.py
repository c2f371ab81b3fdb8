"""Which tokens may come at all: those allowed, those suppressed, no end too early, some forced.

A token that may not come has the logit ``-inf`` after these steps. A row in which none is left is
an error, whoever the others were removed by.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, check_left
from logitlab.checks import Range
from logitlab.numerics import DOUBLE, Precision
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import TokenIds, check_ids
from logitlab.steps.step import Rule, SparseStep, Words, option
from numpy.typing import ArrayLike

__all__ = [
    "FORMS",
    "AllowedTokens",
    "ForcedTokens",
    "MinTokens",
    "SuppressTokens",
    "allowed_token_ids",
    "force",
    "lengths",
    "min_tokens",
    "suppress_tokens",
]

_COUNT = Range(0, integer=True)

OUTSIDE = {
    "refused": Words("ids refused", "refuses ids outside of the vocabulary"),
    "ignored": Words("ids ignored", "ignores ids outside of the vocabulary"),
}
LENGTHS = {
    "output": Words("output", "counts the output alone"),
    "all": Words("both", "counts prompt and output"),
}
FORMS = {
    "alone": None,
    "zero": Words("brought back", "forces a token even if it was removed"),
    "lifted": Words("lifted to 1e9", "lifts the token that it forces, and removes no other"),
}


def allowed_token_ids(logits: ArrayLike, ids: Sequence[int] | None) -> FloatArray:
    """Remove every token that is not allowed: ``x_i`` if i is one of them, else ``-inf``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    ids : sequence of int, or None
        Token ids in [0, V), in any order. None allows all.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, or no token is left in a row.

    Notes
    -----
    vLLM and Aphrodite have it, first in their order: no bias brings a token back. They refuse an
    empty list, which allows nothing.

    References
    ----------
    vLLM, "Sampling parameters", https://docs.vllm.ai/en/latest/api/vllm/sampling_params

    Examples
    --------
    >>> allowed_token_ids([2.0, 1.0, 0.0], [0, 2])
    array([  2., -inf,   0.])
    """
    return AllowedTokens(ids)(logits)


def suppress_tokens(
    logits: ArrayLike, ids: Sequence[int], *, outside: str = "refused"
) -> FloatArray:
    """Remove tokens: ``-inf`` if i is one of them, else ``x_i``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    ids : sequence of int
        Token ids.
    outside : {"refused", "ignored"}
        What becomes of ids outside the vocabulary.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, or no token is left in a row.

    Notes
    -----
    transformers ignores ids that no token has. Its ``begin_suppress_tokens`` acts on the first new
    token alone: that is the option ``at`` of `SuppressTokens`.

    References
    ----------
    Hugging Face, "SuppressTokensLogitsProcessor",
    https://huggingface.co/docs/transformers/internal/generation_utils

    Examples
    --------
    >>> suppress_tokens([2.0, 1.0, 0.0], [1])
    array([  2., -inf,   0.])
    """
    return SuppressTokens(ids, outside)(logits)


def min_tokens(
    logits: ArrayLike,
    n: ArrayLike,
    context: Context | None,
    *,
    end_ids: Sequence[int],
    scope: str = "output",
    restores: bool = False,
) -> FloatArray:
    """Remove the tokens that end a text while it has fewer than n tokens.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    n : array_like of int, broadcasting to the batch shape (...)
        At least 0. 0 changes nothing.
    context : Context
        The tokens so far.
    end_ids : sequence of int
        The tokens that end a text; without any nothing changes.
    scope : {"output", "all"}
        Which tokens count: those of the output, or those of the prompt, too.
    restores : bool
        Whether these tokens stay where no other is left.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If n is negative or does not broadcast, an id is outside the vocabulary, the context does
        not fit, or no token is left in a row.

    Notes
    -----
    ``min_tokens`` of vLLM, Aphrodite and Mistral, and ``min_new_tokens`` of SGLang and transformers
    count the output, ``min_length`` of transformers prompt and output. vLLM and SGLang also hold
    off ``stop_token_ids``. Under a structure vLLM lets a text end where nothing else can come.

    References
    ----------
    vLLM, "Sampling parameters", https://docs.vllm.ai/en/latest/api/vllm/sampling_params

    Examples
    --------
    >>> min_tokens([2.0, 1.0, 0.0], 2, Context(output=[1]), end_ids=[0])
    array([-inf,   1.,   0.])
    """
    return MinTokens(n, end_ids, scope, restores)(logits, context)


def lengths(context: Context | None, key: str, scope: str, logits: FloatArray) -> Any:
    """Return how many tokens each row has so far, shape ``batch``, without padding."""
    known = needed_context(key, context)
    batch, size = logits.shape[:-1], logits.shape[-1]
    count: Any = (known.tokens("output", batch, size) >= 0).sum(axis=-1)
    if scope == "all":
        count = count + (known.tokens("prompt", batch, size) >= 0).sum(axis=-1)
    return count


def force(row: FloatArray, tokens: Sequence[int], form: str) -> None:
    """Leave some tokens of one row alone, in place, in one of `FORMS`."""
    ids = np.array(tokens, np.intp)
    if form == "lifted":
        row[ids] = min(1e9, float(np.finfo(row.dtype).max))
        return
    kept = np.zeros(len(ids), row.dtype) if form == "zero" else row[ids].copy()
    row[:] = -np.inf
    row[ids] = kept


class _Mask(SparseStep):
    """A step that removes tokens by their ids, and says so where none is left."""

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Remove tokens in place."""
        self._remove(logits, context)
        check_left(self.key, logits)

    @abstractmethod
    def _remove(self, logits: FloatArray, context: Context | None) -> None:
        """Set logits to -inf in place."""


@dataclass(frozen=True, eq=False, repr=False)
class AllowedTokens(_Mask):
    """The step `allowed_token_ids` with its ids chosen.

    Examples
    --------
    >>> AllowedTokens([1])([2.0, 1.0])
    array([-inf,   1.])
    """

    ids: Sequence[int] | None

    key: ClassVar[str] = "allowed_token_ids"
    rule: ClassVar[Rule] = TokenIds(absent=True)
    neutral: ClassVar[Any] = None

    def _remove(self, logits: FloatArray, context: Context | None) -> None:
        if self.ids is None:
            return
        check_ids(self.key, self.ids, logits.shape[-1])
        removed = np.ones(logits.shape[-1], np.bool_)
        removed[np.array(self.ids, np.intp)] = False
        logits[..., removed] = -np.inf


@dataclass(frozen=True, eq=False, repr=False)
class SuppressTokens(_Mask):
    """The step `suppress_tokens` with its ids chosen.

    Parameters
    ----------
    ids : sequence of int
    outside : {"refused", "ignored"}
        What becomes of ids outside the vocabulary.
    at : int, optional
        It acts on one token of the output alone, the one after so many; None on all.

    Examples
    --------
    >>> SuppressTokens([0])([2.0, 1.0])
    array([-inf,   1.])
    >>> first = SuppressTokens([0], at=0)
    >>> first([2.0, 1.0], Context(prompt=[1])), first([2.0, 1.0], Context(output=[1]))
    (array([-inf,   1.]), array([2., 1.]))
    """

    ids: Sequence[int]
    outside: str = option("refused", OUTSIDE)
    at: int | None = option(None, rule=_COUNT)

    key: ClassVar[str] = "suppress_tokens"
    rule: ClassVar[Rule] = TokenIds()
    neutral: ClassVar[Any] = ()

    def _remove(self, logits: FloatArray, context: Context | None) -> None:
        size = logits.shape[-1]
        if self.outside == "refused":
            check_ids(self.key, self.ids, size)
        ids = np.array([token for token in self.ids if token < size], np.intp)
        rows: Any = ...
        if self.at is not None:
            rows = lengths(context, self.key, "output", logits) == self.at
        part = logits[rows]
        part[..., ids] = -np.inf
        logits[rows] = part


@dataclass(frozen=True, eq=False, repr=False)
class MinTokens(_Mask):
    """The step `min_tokens` with its values chosen.

    Examples
    --------
    >>> MinTokens(2, [0])([2.0, 1.0], Context(prompt=[1]))
    array([-inf,   1.])
    """

    n: ArrayLike
    end_ids: Sequence[int] = option((), rule=TokenIds())
    scope: str = option("output", LENGTHS)
    restores: bool = option(False)

    key: ClassVar[str] = "min_tokens"
    rule: ClassVar[Rule] = _COUNT
    neutral: ClassVar[Any] = 0

    @property
    def is_neutral(self) -> bool:
        """Whether the step changes nothing, whatever the logits."""
        return not self.end_ids or super().is_neutral

    def _remove(self, logits: FloatArray, context: Context | None) -> None:
        check_ids("end_ids", self.end_ids, logits.shape[-1])
        early = lengths(context, self.key, self.scope, logits) < self.values(logits.shape[:-1])
        ends = np.array(self.end_ids, np.intp)
        if self.restores:
            others = np.delete(logits, ends, axis=-1)
            early = early & (others.max(axis=-1, initial=-np.inf) > -np.inf)
        part = logits[early]
        part[..., ends] = -np.inf
        logits[early] = part


@dataclass(frozen=True, eq=False, repr=False)
class ForcedTokens(_Mask):
    """Leave some tokens alone where a text has so many tokens: all others become ``-inf``.

    That is what ``forced_bos_token_id`` of transformers is where the text has one token, and
    ``forced_eos_token_id`` where one token of its longest length is missing.

    Parameters
    ----------
    ids : sequence of int
        Token ids in [0, V). None at all changes nothing.
    at : int
        It acts on the token after so many.
    scope : {"output", "all"}
        Which tokens count: those of the output, or those of the prompt, too.
    form : {"alone", "zero"}
        "zero" gives all of them the logit 0, as transformers does, even if they were removed.

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, the context does not fit, or no token is left in a row.

    References
    ----------
    Hugging Face, "ForcedBOSTokenLogitsProcessor",
    https://huggingface.co/docs/transformers/internal/generation_utils

    Examples
    --------
    >>> ForcedTokens([1])([2.0, 1.0], Context(prompt=[1]))
    array([-inf,   1.])
    """

    ids: Sequence[int]
    at: int = option(0, rule=_COUNT)
    scope: str = option("output", LENGTHS)
    form: str = option("alone", FORMS)

    key: ClassVar[str] = "forced_tokens"
    rule: ClassVar[Rule] = TokenIds()
    neutral: ClassVar[Any] = ()

    def _remove(self, logits: FloatArray, context: Context | None) -> None:
        if not self.ids:
            return
        check_ids(self.key, self.ids, logits.shape[-1])
        here: BoolArray = lengths(context, self.key, self.scope, logits) == self.at
        rows = logits.reshape(-1, logits.shape[-1])
        for row in np.flatnonzero(here):
            force(rows[row], self.ids, self.form)
