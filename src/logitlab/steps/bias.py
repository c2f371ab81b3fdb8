"""Logit bias: a number of the user's own on top of what the model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from logitlab.checks import (
    FrozenDict,
    ParameterError,
    Range,
    check_per_row,
    check_token,
)
from logitlab.numerics import PRECISIONS, FloatArray, IntArray, Precision, put
from logitlab.steps.chain import SparseStep
from logitlab.steps.context import Context
from numpy.typing import ArrayLike

__all__ = ["LogitBias", "logit_bias"]

_ANY = Range()
_DOUBLE = PRECISIONS["double"]
_LARGEST = np.finfo(np.float64).max


def logit_bias(logits: ArrayLike, bias: Mapping[int, ArrayLike]) -> FloatArray:
    """Add numbers to the logits of chosen tokens: ``x_i + b_i``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    bias : mapping of int to array_like
        From token ids in [0, V) to finite numbers, or to arrays that broadcast to the batch shape
        (...). 0 and tokens that are not named change nothing.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype.

    Raises
    ------
    ParameterError
        If an id is outside the vocabulary, or a value is not finite or does not broadcast.

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


def _name(token: object) -> str:
    return f"logit_bias[{token!r}]"


def _entries(bias: Mapping[int, ArrayLike]) -> list[tuple[int, ArrayLike]]:
    if not isinstance(bias, Mapping):
        raise ParameterError("logit_bias", "a map from token ids to numbers", bias)
    return list(bias.items())


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
    rule: ClassVar[Range] = _ANY
    neutral: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        frozen: dict[int, Any] = {}
        for token, value in _entries(self.bias):
            array = self.rule.check(_name(token), value)
            frozen[check_token("logit_bias", token)] = array if array.ndim else array.item()
        object.__setattr__(self, "bias", FrozenDict(frozen))

    @property
    def is_neutral(self) -> bool:
        """Whether every value is 0."""
        return all(bool(np.all(np.equal(value, self.neutral))) for value in self.bias.values())

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the step for some rows of a flattened batch."""
        return type(self)(
            {
                token: check_per_row(_name(token), value, self.rule, batch).reshape(-1)[rows]
                if isinstance(value, np.ndarray)
                else value
                for token, value in self.bias.items()
            }
        )

    def _identity(self) -> tuple[Any, ...]:
        entries = sorted(self.bias.items())
        return type(self), *(
            (token, np.shape(value), np.asarray(value).tobytes()) for token, value in entries
        )

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = _DOUBLE
    ) -> None:
        """Add the values in place."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        amounts = {
            check_token("logit_bias", token, size): check_per_row(
                _name(token), value, self.rule, batch
            )
            for token, value in self.bias.items()
        }
        if not amounts:
            return
        rows = logits.reshape(-1, size)
        token = np.array(list(amounts))
        amount = np.stack([np.broadcast_to(value, batch).ravel() for value in amounts.values()], -1)
        amount = amount.astype(precision.arithmetic).astype(np.float64)
        x = rows[:, token].astype(np.float64)
        row, place = np.indices(x.shape).reshape(2, -1)
        new = np.where(amount == 0, x, np.clip(x + amount, -_LARGEST, _LARGEST))
        put(rows, row, token[place], np.where(x == -np.inf, x, new).reshape(-1))
