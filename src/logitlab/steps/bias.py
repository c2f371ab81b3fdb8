"""Logit bias: a number of the user's own on top of what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from logitlab.arrays import FloatArray, IntArray, per_row
from logitlab.checks import ParameterError, Range, TokenMap, check_token
from logitlab.numerics import DOUBLE, LARGEST, Precision, scatter
from logitlab.steps.context import Context
from logitlab.steps.step import SparseStep
from numpy.typing import ArrayLike, NDArray

__all__ = ["LogitBias", "logit_bias"]


def logit_bias(logits: ArrayLike, bias: Mapping[int, ArrayLike]) -> FloatArray:
    """Add numbers to the logits of chosen tokens: ``x_i + b_i``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    bias : mapping of int to array_like
        From token ids in [0, V) to finite numbers, or to arrays that broadcast to the batch shape
        (...). 0 and tokens that are not named change nothing, ``-inf`` removes a token.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, a value is not finite or does not broadcast, or no
        token is left.

    Notes
    -----
    A bias of b multiplies the odds of a token by ``exp(b)``: 100 forces and -100 bans it in
    practice. vLLM adds the bias before the repetition penalty, SGLang after; vLLM clamps values
    to [-100, 100], llama.cpp and SGLang do not.

    References
    ----------
    OpenAI, "logit_bias", https://platform.openai.com/docs/api-reference/chat

    Examples
    --------
    >>> logit_bias([2.0, 1.0, 0.0], {1: 5.0, 2: -100})
    array([   2.,    6., -100.])
    """
    return LogitBias(bias)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class LogitBias(SparseStep):
    """The step `logit_bias` with its values chosen.

    Examples
    --------
    >>> LogitBias({1: 5.0})([2.0, 1.0])
    array([2., 6.])
    """

    bias: Mapping[int, ArrayLike]

    key: ClassVar[str] = "logit_bias"
    rule: ClassVar[TokenMap] = TokenMap(Range(), bans=True)
    neutral: ClassVar[float] = 0.0
    needs_context: ClassVar[bool] = False

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the step for some rows of a flattened batch."""
        amounts = self._amounts(batch)
        return type(self)(
            {t: np.reshape(x, -1)[rows] if np.ndim(x) else x for t, x in amounts.items()}
        )

    def _amounts(self, batch: tuple[int, ...]) -> dict[int, Any]:
        """Return each token's amount: a number, or one for each row, shape ``batch``."""
        return {
            token: per_row(f"{self.key}[{token}]", np.asarray(amount), batch)
            for token, amount in self.bias.items()
        }

    def _identity(self) -> tuple[Any, ...]:
        entries = sorted(self.bias.items())
        return type(self), *(
            (token, np.shape(value), np.asarray(value).tobytes()) for token, value in entries
        )

    def in_rows(self, batch: tuple[int, ...], size: int) -> tuple[IntArray, NDArray[np.float64]]:
        """Return the tokens, and the amounts of each row, shape (n, k), or (1, k) for all rows."""
        for token in self.bias:
            check_token(self.key, token, size)
        amounts = list(self._amounts(batch).values())
        each = batch if any(map(np.ndim, amounts)) else ()
        columns = [np.broadcast_to(value, each).reshape(-1) for value in amounts]
        return np.array(list(self.bias), np.int64), np.stack(columns, -1).astype(np.float64)

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Add the values in place."""
        if not self.bias:
            return
        rows = logits.reshape(-1, logits.shape[-1])
        tokens, amount = self.in_rows(logits.shape[:-1], logits.shape[-1])
        amount = amount.astype(precision.arithmetic).astype(np.float64)
        x = rows[:, tokens].astype(np.float64)
        row, place = np.indices(x.shape).reshape(2, -1)
        new = np.where(amount == 0, x, np.clip(x + amount, -LARGEST, LARGEST))
        is_removed = (x == -np.inf) | (amount == -np.inf)
        scatter(rows, row, tokens[place], np.where(is_removed, -np.inf, new).reshape(-1))
        bans = (amount == -np.inf).any(axis=0)
        if bans.any() and not (logits > -np.inf).any(axis=-1).all():
            rule = "a map that leaves one token at least"
            raise ParameterError(self.key, rule, tokens[bans].tolist())
