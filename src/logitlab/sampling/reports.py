"""What a request makes of logits, told: plan, survivors, probabilities, a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from logitlab.arrays import IntArray, check_array, check_logits, given_back
from logitlab.checks import Range, check_integer
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request, resolve, resolve_alone
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.numerics import log_softmax, softmax, widened
from logitlab.sampling.fast_path import Final, Plan, plan_of, run_chain
from logitlab.steps.context import Context
from logitlab.steps.state import State
from logitlab.steps.trace import Trace
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Survivors",
    "distribution",
    "greedy",
    "plan",
    "survivors",
    "trace",
]

_THREAD_COUNT = Range(1, integer=True)


@dataclass(frozen=True, eq=False)
class Survivors:
    """The survivors of every row of a batch.

    Attributes
    ----------
    batch : tuple of int
        Batch shape; the rows below are numbered in C order.
    tokens : tuple of ndarray of int64
        Ids of each row's survivors, increasing.
    logprobs : tuple of ndarray of float64
        Their log-probabilities, normalised, in nats.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    """

    batch: tuple[int, ...]
    tokens: tuple[IntArray, ...]
    logprobs: tuple[NDArray[np.float64], ...]
    notes: tuple[Note, ...] = ()


def plan(
    request: Request, *, engine: EngineLike = "openrouter", vocabulary: VocabularyLike = None
) -> Plan:
    """Return how the fast path runs a request: in which kernels, or in numpy on which tokens.

    Vocabularies of less than some thousand tokens are not scanned in numpy: dense steps are as fast
    there.

    Parameters
    ----------
    request, engine, vocabulary
        As of `sample`.

    Returns
    -------
    Plan
        Prints as one line for each part.

    Examples
    --------
    >>> from logitlab import SamplingParams, kernels
    >>> with kernels.off():
    ...     print(plan(SamplingParams(frequency_penalty=0.5, temperature=0.8, min_p=0.05)))
    dense, on the whole vocabulary: FrequencyPenalty(0.5)
    scan of the vocabulary: Temperature(0.8), MinP(0.05)
    """
    return plan_of(resolve_alone(request, engine, vocabulary=vocabulary).chain.at())


def greedy(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    vocabulary: VocabularyLike = None,
) -> IntArray:
    """Return the most likely token of every row, the lowest id on ties.

    Parameters
    ----------
    logits, engine, context, state, vocabulary
        As of `sample`.
    request : SamplingParams, mapping, Transform or None
        Bias, penalties, coins and typical_p can change the answer. Temperature can only by
        rounding, where it makes two neighbouring numbers equal; other truncations cannot.

    Returns
    -------
    ndarray of int64, shape (...)

    Raises
    ------
    ParameterError
        For bad logits, parameters, context or state.

    Examples
    --------
    >>> greedy([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])
    array([1, 0])
    """
    array = widened(check_logits(logits))
    resolved = resolve_alone(request, engine, size=array.shape[-1], vocabulary=vocabulary)
    chain = resolved.chain.at(state, array.shape[:-1])
    return given_back(chain(array, context).argmax(axis=-1), logits)


def survivors(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    threads: int = 1,
    vocabulary: VocabularyLike = None,
) -> Survivors:
    """Return the tokens that a request leaves, with their log-probabilities.

    Parameters
    ----------
    logits, request, engine, context, state, vocabulary
        As of `sample`.
    threads : int
        Rows are spread over so many threads, which changes no bit, and seldom pays.

    Returns
    -------
    Survivors
        One pair of arrays for each row of the batch.

    Raises
    ------
    ParameterError
        For bad logits, parameters or context.

    Examples
    --------
    >>> from logitlab import SamplingParams
    >>> left = survivors(np.log([0.5, 0.25, 0.125, 0.125]), SamplingParams(top_p=0.6))
    >>> left.tokens[0], np.exp(left.logprobs[0])
    (array([0, 1]), array([0.66666667, 0.33333333]))
    """
    array = widened(check_array(logits))
    threads = check_integer("threads", threads, _THREAD_COUNT)
    count = math.prod(array.shape[:-1])
    tokens: list[IntArray] = [np.empty(0, np.int64)] * count
    logprobs: list[NDArray[np.float64]] = [np.empty(0)] * count

    def collect(final: Final) -> None:
        for place, (row, logit) in enumerate(zip(final.rows, final.logits, strict=True)):
            kept = np.flatnonzero(logit > -np.inf)
            tokens[row] = kept if final.tokens is None else final.tokens[place, kept]
            logprobs[row] = log_softmax(logit[kept])

    resolved = resolve(request, engine, size=array.shape[-1], vocabulary=vocabulary)
    run_chain(collect, array, resolved.chain.at(state, array.shape[:-1]), context, threads)
    return Survivors(array.shape[:-1], tuple(tokens), tuple(logprobs), resolved.notes)


def distribution(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    vocabulary: VocabularyLike = None,
) -> NDArray[np.float64]:
    """Return the exact probabilities of the next token under a request.

    Parameters
    ----------
    logits, request, engine, context, state, vocabulary
        As of `sample`.

    Returns
    -------
    ndarray, shape (..., V), float64
        They add up to 1, and are exactly 0 for removed tokens. Coins are summed over.

    Raises
    ------
    ParameterError
        For bad logits, parameters, context or state.

    Examples
    --------
    >>> distribution(np.log([0.5, 0.25, 0.25]), {"top_k": 2}).round(4)
    array([0.6667, 0.3333, 0.    ])
    >>> distribution(np.log([0.5, 0.25, 0.25]), {"xtc_probability": 0.5}).round(4)
    array([0.25 , 0.625, 0.125])
    """
    array = widened(check_array(logits))
    resolved = resolve_alone(request, engine, size=array.shape[-1], vocabulary=vocabulary)
    chain = resolved.chain.at(state, array.shape[:-1])
    if chain.coins:
        return given_back(chain.distribution(check_logits(array), context), logits)
    result = np.zeros(array.shape)
    flat = result.reshape(-1, array.shape[-1])

    def fill(final: Final) -> None:
        if final.tokens is None:
            flat[final.rows] = softmax(final.logits)
            return
        for place, row in enumerate(final.rows):
            alive = np.flatnonzero(final.logits[place] > -np.inf)
            flat[row, final.tokens[place, alive]] = softmax(final.logits[place, alive])

    run_chain(fill, array, chain, context)
    return given_back(result, logits)


def trace(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    coins: bool | None = None,
    vocabulary: VocabularyLike = None,
) -> Trace:
    """Return every stage of what a request makes of logits.

    Parameters
    ----------
    logits, request, engine, context, vocabulary
        As of `sample`.
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one. The chain of the trace shows which.
    coins : bool, optional
        How the coins of XTC fall: True has it act, False not; None gives the mixture, from there
        on.

    Returns
    -------
    Trace

    Raises
    ------
    ParameterError
        For bad logits, parameters, context or state.

    Examples
    --------
    >>> trace([2.0, 1.0, 0.0, -1.0], {"top_k": 3, "top_p": 0.8}, engine="vllm").kept
    array([4, 3, 2])
    """
    array = check_logits(logits)
    resolved = resolve(request, engine, size=array.shape[-1], vocabulary=vocabulary)
    chain = resolved.chain.at(state, array.shape[:-1]).fallen(coins)
    return replace(chain.trace(array, context), notes=resolved.notes)
