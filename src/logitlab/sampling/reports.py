"""What a request makes of logits, told: plan, survivors, probabilities, a trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_array, check_logits
from logitlab.checks import ParameterError, Range, Seen, check_choice, check_integer
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request, resolve, resolve_alone
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.numerics import log_softmax, softmax, weights, widened
from logitlab.sampling.compiled import masses_of
from logitlab.sampling.fast_path import Final, Plan, plan_of, run_chain
from logitlab.sampling.scan import top_candidates
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.state import State
from logitlab.steps.trace import Trace
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Logprobs",
    "Survivors",
    "distribution",
    "greedy",
    "logprobs",
    "plan",
    "survivors",
    "trace",
]

MODES = ("raw", "processed")

_THREAD_COUNT = Range(1, integer=True)


@dataclass(frozen=True, eq=False)
class Logprobs:
    """Log-probabilities of chosen tokens, and the most likely alternatives.

    Attributes
    ----------
    logprobs : ndarray of float64, shape of the chosen tokens
        In nats; ``-inf`` for a removed token.
    top_tokens : ndarray of int64, shape (..., n)
        The n most likely tokens of every row, most likely first, the lower id first on ties.
    top_logprobs : ndarray of float64, shape (..., n)
        Their log-probabilities; ``-inf`` where fewer than n survive.
    notes : tuple of Note
        What the engine ignored, changed or filled in; of a generation they stand there.
    """

    logprobs: NDArray[np.float64]
    top_tokens: IntArray
    top_logprobs: NDArray[np.float64]
    notes: tuple[Note, ...] = ()

    def at(self, row: int) -> Logprobs:
        """Return those of one row of a batch."""
        return Logprobs(self.logprobs[row], self.top_tokens[row], self.top_logprobs[row])


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
    request : SamplingParams, mapping, Transform or None
    engine : str or Engine
        Whose chain the request means.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
        Bias, penalties, coins and typical_p can change the answer. Temperature can only by
        rounding, where it makes two neighbouring numbers equal; other truncations cannot.
    engine : str or Engine
        Whose chain the parameters mean.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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
    tokens: IntArray = chain(array, context).argmax(axis=-1)
    return tokens


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
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
    engine : str or Engine
        Whose chain the parameters mean.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one.
    threads : int
        Rows are spread over so many threads, which changes no bit, and seldom pays.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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
    check_integer("threads", threads, _THREAD_COUNT)
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
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
    engine : str or Engine
        Whose chain the parameters mean.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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
        return chain.distribution(check_logits(array), context)
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
    return result


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
    logits : array_like, shape (..., V)
    request : SamplingParams, mapping, Transform or None
    engine : str or Engine
        Whose chain the parameters mean.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one. The chain of the trace shows which.
    coins : bool, optional
        How the coins of XTC fall: True has it act, False not; None gives the mixture, from there
        on.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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


def logprobs(
    logits: ArrayLike,
    tokens: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike | None = None,
    context: Context | None = None,
    state: State | None = None,
    top_logprobs: int | None = None,
    mode: Literal["raw", "processed"] | None = None,
    vocabulary: VocabularyLike = None,
) -> Logprobs:
    """Log-probabilities of chosen tokens, and of the most likely ones.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    tokens : array_like of int, shape (...) or (..., n)
        One token per row or several, as `sample` returns them.
    request : SamplingParams, mapping, Transform or None
        Matters where what is drawn from is reported, and for its ``top_logprobs``.
    engine : str or Engine, optional
        Whose chain the parameters mean, and who reports, where no mode is given.
    context : Context, optional
    state : mapping of str to float or array, optional
        The state of mirostat; None takes the initial one.
    top_logprobs : int, optional
        How many of the most likely tokens to report, 0 to V. None takes the request's, or 0.
    mode : {"raw", "processed"}, optional
        "raw" reports the model's own distribution, before any parameter, as vLLM does;
        "processed" the one that was drawn from. None is what the engine reports; without an
        engine the model's own, of a request that shapes no distribution.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

    Returns
    -------
    Logprobs

    Raises
    ------
    ParameterError
        For token ids outside the vocabulary, shapes that do not match, an unknown mode, or none
        where it is in doubt.

    Examples
    --------
    >>> report = logprobs(np.log([0.5, 0.25, 0.25]), 1, top_logprobs=2)
    >>> np.exp(report.logprobs), report.top_tokens
    (np.float64(0.25), array([0, 1]))
    """
    array = widened(check_array(logits))
    batch, size = array.shape[:-1], array.shape[-1]
    if mode is not None:
        check_choice("mode", mode, MODES)
    ids = Range(0, size - 1, integer=True).check("tokens", tokens)
    if ids.shape[: len(batch)] != batch or ids.ndim > len(batch) + 1:
        rule = f"of shape {batch} or {(*batch, 'n')}".replace("'", "")
        raise ParameterError("tokens", rule, Seen(f"shape {ids.shape}"))
    whose = "openrouter" if engine is None else engine
    resolved = resolve(request, whose, size=size, vocabulary=vocabulary)
    if mode is None and engine is None and resolved.shapes:
        hint = "Raw ones know nothing of the request; an engine reports its own kind."
        rule = "'raw' or 'processed' for a request that shapes the distribution"
        raise ParameterError("mode", rule, mode, hint)
    if mode is None and not resolved.is_chain and not resolved.engine.tells_logprobs:
        rule = f"'raw' or 'processed' at {resolved.engine.name}"
        kind = resolved.engine.logprobs
        hint = f"Its own are {kind}." if kind != "none" else "It reports none."
        raise ParameterError("mode", rule, mode, hint)
    if top_logprobs is None:
        top_logprobs = resolved.given.get("top_logprobs", 0)
    count = check_integer("top_logprobs", top_logprobs, Range(0, size, integer=True))
    resolved.chain.known(state, batch)  # says what is wrong with it, wherever it is used
    chain = (resolved.reported(mode or "engine") or Chain()).at_any(state)
    width = ids.shape[-1] if ids.ndim > len(batch) else 1
    rows = ids.reshape(math.prod(batch), width)
    chosen, top, top_values = _report(array, rows, chain, context, count)
    return Logprobs(
        chosen.reshape(ids.shape)[()],
        top.reshape(*batch, count),
        top_values.reshape(*batch, count),
        resolved.notes,
    )


def logprobs_of(
    logits: FloatArray, tokens: IntArray, chain: Chain, context: Context | None, top: int
) -> list[Logprobs]:
    """Return for each row what `logprobs` tells of one token in what a chain makes of it.

    Parameters
    ----------
    logits : ndarray of float32 or float64, shape (n, V)
    tokens : ndarray of int64, shape (n, 1)
    chain : Chain
        Without states.
    context : Context or None
    top : int
        How many of the most likely tokens to report, 0 to V.
    """
    chosen, *others = _report(logits, tokens, chain, context, top)
    return [Logprobs(*each) for each in zip(chosen[:, 0], *others, strict=True)]


def _report(
    logits: FloatArray, tokens: IntArray, chain: Chain, context: Context | None, count: int
) -> tuple[NDArray[np.float64], IntArray, NDArray[np.float64]]:
    """Return log-probabilities of each row's tokens, and the most likely ones with theirs."""
    chosen = np.empty(tokens.shape)
    top = np.empty((len(chosen), count), np.int64)
    top_values = np.full(top.shape, -np.inf)

    def report(final: Final) -> None:
        masses = masses_of(final.logits) if final.tokens is None else [None] * len(final.rows)
        for place, (row, known) in enumerate(zip(final.rows, masses, strict=True)):
            line, ids = final.logits[place], None
            if final.tokens is not None:
                alive = np.flatnonzero(line > -np.inf)
                line, ids = line[alive], final.tokens[place, alive]
            peak = float(line.max())
            mass = math.log(weights(line[None]).sum() if known is None else known)
            chosen[row] = line[_places_among(ids, tokens[row])].astype(np.float64) - peak - mass
            if ids is not None:
                chosen[row][~np.isin(tokens[row], ids)] = -np.inf
            best = _best(line, count)
            top[row] = _padded_with_others(best if ids is None else ids[best], count)
            top_values[row, : len(best)] = line[best].astype(np.float64) - peak - mass

    run_chain(report, logits, chain, context)
    return chosen, top, top_values


def _places_among(ids: IntArray | None, tokens: IntArray) -> IntArray:
    """Return where tokens stand among ids, or would; None stands for all ids."""
    return tokens if ids is None else np.minimum(np.searchsorted(ids, tokens), len(ids) - 1)


def _best(row: FloatArray, count: int) -> IntArray:
    """Return the places of the ``count`` largest entries, largest first, the first on ties."""
    if not count:  # as in most generations: nothing to look for
        return np.empty(0, np.int64)
    places = top_candidates(row, count)
    places = places[np.argsort(-row[places], kind="stable")[:count]]
    return places[row[places] > -np.inf]


def _padded_with_others(tokens: IntArray, count: int) -> IntArray:
    """Return ``tokens`` and as many of the lowest other ids as it takes to make ``count``."""
    if len(tokens) == count:
        return tokens
    return np.concatenate([tokens, np.setdiff1d(np.arange(count), tokens)])[:count]
