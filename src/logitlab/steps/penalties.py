"""Three penalties: what the context already holds becomes less likely, or more.

With ``c`` the count of a token in the context and ``[c > 0]`` one if it occurs at all:

* repetition  ``x -> x / r if x > 0 else x * r``  where ``c > 0``
* frequency   ``x -> x - alpha * c``
* presence    ``x -> x - alpha * [c > 0]``

Engines differ in what the context is: ``scope`` chooses prompt, output or both, ``last_n`` a
window at the end, ``fill`` the token that stands in a window that is not full yet.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import Range
from logitlab.numerics import DOUBLE, LARGEST, Precision, scatter
from logitlab.steps.context import Context, TokenCounts, needed_context
from logitlab.steps.step import SparseStep, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AdditivePenalty",
    "FrequencyPenalty",
    "PresencePenalty",
    "RepetitionPenalty",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
]

WINDOW = Range(0, integer=True)

SCOPES = {
    "all": Words("both", "counts {window}prompt and output"),
    "output": Words("output", "counts {window}the output alone"),
    "prompt": Words("prompt", "counts {window}the prompt alone"),
    "lagged": Words(
        "output, late",
        "counts {window}the prompt's last token and not the output's newest",
    ),
}

AMOUNTS = {
    "count": Words("by count", "subtracts it for every time"),
    "share": Words("by share", "subtracts it by the share of the tokens"),
    "logit": Words("by logit", "subtracts it by the logit itself"),
}

Float64 = NDArray[np.float64]


def repetition_penalty(
    logits: ArrayLike,
    r: ArrayLike,
    context: Context | None,
    *,
    scope: str = "all",
    last_n: int | None = None,
    fill: int | None = None,
    slope: float = 1.0,
    reciprocal: bool = False,
    skip: int = 0,
    decay: int = 0,
) -> FloatArray:
    """Scale the logits of tokens in the context: ``x / r`` if positive, ``x * r`` otherwise.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    r : array_like, broadcasting to the batch shape (...)
        At least 0. 1 changes nothing, above 1 penalises, below 1 rewards repetition. 0 means the
        limit of ever smaller values: the largest positive logit among the context's tokens beats
        everything else, and without a positive one their logits become 0.
    context : Context
        The tokens so far.
    scope : {"all", "output", "prompt", "lagged"}
        Which of them count; "lagged" is the output without its newest token, after the last
        token of the prompt.
    last_n : int, optional
        Only the last n of them count; None counts all.
    fill : int, optional
        The token that counts for each place of a window of ``last_n`` that is not filled yet.
    slope : float
        In the older half of the window ``1 + slope * (r - 1)`` takes the place of an ``r`` above 1.
    reciprocal : bool
        Whether to multiply by ``1 / r``, rounded, instead of dividing: that differs by rounding
        only.
    skip : int
        How many tokens at the beginning of the prompt do not count.
    decay : int
        Over how many tokens before the window of ``last_n`` the effect fades, in a line.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``r`` is negative, not finite, or does not broadcast, the context does not fit, or an
        option is out of its range.

    Notes
    -----
    The result depends on where the model puts its zero: two logits that differ by a constant give
    the same distribution before and different ones after. vLLM and transformers count prompt and
    output, SGLang only the output, llama.cpp the last 64 and mlx-lm the last 20 tokens of both.
    KoboldCpp has the slope, and a window that is full of token 0 at first. exllamav3 has the decay:
    a logit moves that part of the way; in exllamav2 r moves to 1 instead, a token later. The
    penalty of transformers on an encoder's text is ``1 / r`` with ``scope="prompt"``.

    References
    ----------
    N. Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable Generation",
    2019, https://arxiv.org/abs/1909.05858

    Examples
    --------
    >>> repetition_penalty([2.0, -1.0, 2.0], 2.0, Context(prompt=[0, 1]))
    array([ 1., -2.,  2.])
    """
    options = (scope, last_n, fill, slope, reciprocal, skip, decay)
    return RepetitionPenalty(r, *options)(logits, context)


def frequency_penalty(
    logits: ArrayLike,
    alpha: ArrayLike,
    context: Context | None,
    *,
    scope: str = "all",
    last_n: int | None = None,
    fill: int | None = None,
    by_ones: bool = False,
    skip: int = 0,
    decay: int = 0,
    amount: str = "count",
) -> FloatArray:
    """Subtract ``alpha`` from a token's logit for every time it occurs: ``x - alpha * c``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    alpha : array_like, broadcasting to the batch shape (...)
        Any finite number. 0 changes nothing, negative values reward repetition.
    context : Context
        The tokens so far.
    scope : {"all", "output", "prompt", "lagged"}
        Which of them count; "lagged" is the output without its newest token, after the last
        token of the prompt.
    last_n : int, optional
        Only the last n of them count; None counts all.
    fill : int, optional
        The token that counts for each place of a window of ``last_n`` that is not filled yet.
    by_ones : bool
        Whether ``alpha`` is subtracted once for every occurrence, with rounding each time, instead
        of multiplied: that differs by rounding only.
    skip : int
        How many tokens at the beginning of the prompt do not count.
    decay : int
        Over how many tokens before the window of ``last_n`` the effect fades, in a line.
    amount : {"count", "share", "logit"}
        What is subtracted: ``alpha`` for every time; ``alpha`` times the share of the tokens that
        count; or for every time ``alpha x``, and ``x / alpha`` where x is positive,
        but nothing from token 0.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``alpha`` is not finite or does not broadcast, or the context does not fit.

    Notes
    -----
    OpenAI's formula counts the tokens sampled so far, which is ``scope="output"``; OpenRouter's
    page speaks of the input, which is the default here. llama.cpp counts the last 64 of both.
    TGI subtracts by share, in a batch, whose padding counts as token 0; its class for one request,
    which no server runs, goes by the logit, and leaves out token 0. exllamav3 has the decay.

    References
    ----------
    OpenAI, "Parameter details", https://platform.openai.com/docs/api-reference

    Examples
    --------
    >>> frequency_penalty([2.0, 1.0, 0.0], 0.5, Context(prompt=[0, 0], output=[0, 1]))
    array([0.5, 0.5, 0. ])
    """
    options = (scope, last_n, fill, by_ones, skip, decay, amount)
    return FrequencyPenalty(alpha, *options)(logits, context)


def presence_penalty(
    logits: ArrayLike,
    alpha: ArrayLike,
    context: Context | None,
    *,
    scope: str = "all",
    last_n: int | None = None,
    fill: int | None = None,
    skip: int = 0,
    decay: int = 0,
) -> FloatArray:
    """Subtract ``alpha`` once from the logit of every token that occurs: ``x - alpha * [c > 0]``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    alpha : array_like, broadcasting to the batch shape (...)
        Any finite number. 0 changes nothing, negative values reward repetition.
    context : Context
        The tokens so far.
    scope, last_n, fill, skip, decay
        As in `frequency_penalty`.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``alpha`` is not finite or does not broadcast, or the context does not fit.

    References
    ----------
    OpenAI, "Parameter details", https://platform.openai.com/docs/api-reference

    Examples
    --------
    >>> presence_penalty([2.0, 1.0, 0.0], 0.5, Context(prompt=[0, 0], output=[0, 1]))
    array([1.5, 0.5, 0. ])
    """
    return PresencePenalty(alpha, scope, last_n, fill, skip, decay)(logits, context)


class _Penalty(SparseStep):
    """What the three penalty steps share: which tokens occur, and that only those change."""

    scope: str
    last_n: int | None
    fill: int | None
    skip: int = 0
    decay: int = 0

    @abstractmethod
    def _penalised(
        self, x: Float64, value: NDArray[Any], seen: TokenCounts, limit: float
    ) -> NDArray[Any]:
        """Return the new logits of the tokens that occur; beyond ``limit`` they overflow.

        Operations on ``value`` alone are made, and rounded, in its dtype.
        """

    def counts(self, context: Context, batch: tuple[int, ...], size: int) -> TokenCounts:
        """Return which tokens occur, and how often."""
        options = (self.scope, self.last_n, self.fill, self.skip, self.decay)
        return context.counts(batch, size, *options)

    def _strength(
        self, value: NDArray[Any], seen: TokenCounts, context: Context, logits: FloatArray
    ) -> NDArray[Any]:
        """Return the value for each token that occurs."""
        return value

    def _untouched(self, x: Float64, value: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((x == -np.inf) | (value == self.neutral))

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Penalise the tokens that occur, in place."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        values = self.values(batch, precision).astype(precision.arithmetic, copy=False)
        context = needed_context(self.key, context)
        seen = self.counts(context, batch, size)
        rows = logits.reshape(-1, size)
        x = rows[seen.row, seen.token].astype(np.float64)
        value = values.reshape(-1)[seen.row] if values.ndim else values
        untouched = self._untouched(x, value)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            strength = self._strength(value, seen, context, logits)
            new = self._penalised(x, strength, seen, float(np.finfo(logits.dtype).max))
        scatter(rows, seen.row, seen.token, np.where(untouched, x, np.clip(new, -LARGEST, LARGEST)))


@dataclass(frozen=True, eq=False, repr=False)
class RepetitionPenalty(_Penalty):
    """The step `repetition_penalty` with its value chosen.

    Examples
    --------
    >>> RepetitionPenalty(2.0)([2.0, 1.0], Context(prompt=[0]))
    array([1., 1.])
    """

    r: ArrayLike
    scope: str = option("all", SCOPES)
    last_n: int | None = option(None, rule=WINDOW)
    fill: int | None = option(None, rule=WINDOW, needs="a window, last_n")
    slope: float = option(1.0, rule=Range(0), needs="a window, last_n")
    reciprocal: bool = option(False)
    skip: int = option(0, rule=WINDOW)
    decay: int = option(0, rule=WINDOW, needs="a window, last_n")

    key: ClassVar[str] = "repetition_penalty"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 1.0

    def _strength(
        self, value: NDArray[Any], seen: TokenCounts, context: Context, logits: FloatArray
    ) -> NDArray[Any]:
        if self.slope == 1 or self.last_n is None:
            return value
        batch, size = logits.shape[:-1], logits.shape[-1]
        near = context.counts(
            batch, size, self.scope, self.last_n - self.last_n // 2, self.fill, self.skip
        )
        is_near = np.isin(seen.row * size + seen.token, near.row * size + near.token)
        older = np.where(value > 1, 1 + (value - 1) * value.dtype.type(self.slope), value)
        return np.where(is_near, value, older)

    def _penalised(
        self, x: Float64, value: NDArray[Any], seen: TokenCounts, limit: float
    ) -> NDArray[Any]:
        new = np.where(x > 0, x * (1 / value) if self.reciprocal else x / value, x * value)
        for row in np.unique(seen.row[new > limit]) if (new > limit).any() else ():
            # Like r -> 0: as far up as the dtype reaches, by a power of two, which loses no bit.
            lifted = (seen.row == row) & (x > 0)
            room = np.frexp(limit)[1] - np.frexp(x[lifted].max())[1]
            new[lifted] = np.ldexp(x[lifted], room)
        if seen.newest is not None:
            # Weights add up to 1 without overflow, and one of 1 leaves all its bits.
            new = np.where(seen.newest == 1, new, x * (1 - seen.newest) + new * seen.newest)
        return new


@dataclass(frozen=True, eq=False, repr=False)
class FrequencyPenalty(_Penalty):
    """The step `frequency_penalty` with its value chosen.

    Examples
    --------
    >>> FrequencyPenalty(0.5)([2.0, 1.0], Context(prompt=[0, 0]))
    array([1., 1.])
    """

    alpha: ArrayLike
    scope: str = option("all", SCOPES)
    last_n: int | None = option(None, rule=WINDOW)
    fill: int | None = option(None, rule=WINDOW, needs="a window, last_n")
    by_ones: bool = option(False)
    skip: int = option(0, rule=WINDOW)
    decay: int = option(0, rule=WINDOW, needs="a window, last_n")
    amount: str = option("count", AMOUNTS)

    key: ClassVar[str] = "frequency_penalty"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    def _strength(
        self, value: NDArray[Any], seen: TokenCounts, context: Context, logits: FloatArray
    ) -> NDArray[Any]:
        if self.amount != "share":
            return value
        row = seen.row.astype(np.intp, copy=False)  # as bincount takes it where int has 32 bits
        counted = np.bincount(row, seen.count, minlength=logits.size // logits.shape[-1])
        return np.asarray(value / counted[seen.row].astype(value.dtype))

    def _penalised(
        self, x: Float64, value: NDArray[Any], seen: TokenCounts, limit: float
    ) -> NDArray[Any]:
        if self.amount == "logit":
            each = np.where(x < 0, x * value, x / value).astype(value.dtype)
            value = np.where(seen.token == 0, 0, np.nan_to_num(each, posinf=limit, neginf=-limit))
        if not self.by_ones or self.decay:
            penalised: Float64 = x - value * seen.count.astype(value.dtype)
            return penalised
        for n in range(int(seen.count.max(initial=0))):
            x = np.where(seen.count > n, (x - value).astype(value.dtype), x)
        return x


@dataclass(frozen=True, eq=False, repr=False)
class PresencePenalty(_Penalty):
    """The step `presence_penalty` with its value chosen.

    Examples
    --------
    >>> PresencePenalty(0.5)([2.0, 1.0], Context(prompt=[0, 0]))
    array([1.5, 1. ])
    """

    alpha: ArrayLike
    scope: str = option("all", SCOPES)
    last_n: int | None = option(None, rule=WINDOW)
    fill: int | None = option(None, rule=WINDOW, needs="a window, last_n")
    skip: int = option(0, rule=WINDOW)
    decay: int = option(0, rule=WINDOW, needs="a window, last_n")

    key: ClassVar[str] = "presence_penalty"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    def _strength(
        self, value: NDArray[Any], seen: TokenCounts, context: Context, logits: FloatArray
    ) -> NDArray[Any]:
        return value if seen.newest is None else value * seen.newest.astype(value.dtype)

    def _penalised(
        self, x: Float64, value: NDArray[Any], seen: TokenCounts, limit: float
    ) -> NDArray[Any]:
        penalised: Float64 = x - value
        return penalised


@dataclass(frozen=True, eq=False, repr=False)
class AdditivePenalty(_Penalty):
    """Frequency and presence penalty as one number: ``x - (alpha * c + presence * [c > 0])``.

    `FrequencyPenalty` and `PresencePenalty` one after the other differ from it by rounding only:
    here the two are added up first. That is how llama.cpp and SGLang subtract them.

    Parameters
    ----------
    alpha : array_like, broadcasting to the batch shape (...)
        The frequency penalty.
    presence : float
    scope, last_n, fill, by_ones
        As in `frequency_penalty`.

    Raises
    ------
    ParameterError
        If a value is not finite or does not broadcast.

    References
    ----------
    llama.cpp, ``llama_sampler_penalties_apply``; SGLang, ``BatchedPenalizerOrchestrator``.

    Examples
    --------
    >>> AdditivePenalty(0.5, 0.25)([2.0, 1.0], Context(prompt=[0, 0]))
    array([0.75, 1.  ])
    """

    alpha: ArrayLike
    presence: float = option(0.0, rule=Range(), name="presence_penalty")
    scope: str = option("all", SCOPES)
    last_n: int | None = option(None, rule=WINDOW)
    fill: int | None = option(None, rule=WINDOW, needs="a window, last_n")
    by_ones: bool = option(False)

    key: ClassVar[str] = "frequency_penalty"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 0.0

    @property
    def is_neutral(self) -> bool:
        """Whether both penalties are 0."""
        return super().is_neutral and self.presence == 0

    def apart(self) -> tuple[FrequencyPenalty, PresencePenalty]:
        """Return the two penalties as steps of their own."""
        options = (self.scope, self.last_n, self.fill)
        return FrequencyPenalty(self.alpha, *options), PresencePenalty(self.presence, *options)

    def _untouched(self, x: Float64, value: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(x == -np.inf)

    def _penalised(
        self, x: Float64, value: NDArray[Any], seen: TokenCounts, limit: float
    ) -> NDArray[Any]:
        times = value * seen.count.astype(value.dtype)
        if self.by_ones and seen.count.size:
            # One sum after another, for each of the values: sum n of a row is n times rounded.
            values, which = np.unique(np.broadcast_to(value, times.shape), return_inverse=True)
            ones = np.broadcast_to(values[:, None], (len(values), seen.count.max()))
            times = np.cumsum(ones, axis=1, dtype=value.dtype)[which, seen.count - 1]
        penalised: Float64 = x - (times + value.dtype.type(self.presence))
        return penalised
