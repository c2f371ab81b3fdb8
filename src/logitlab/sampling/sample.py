"""From logits and a request to tokens: `sample`, `greedy` and `logprobs`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_array,
    check_choice,
    check_integer,
    check_logits,
    check_per_row,
)
from logitlab.draw import COUPLINGS, SeedLike, choose, resolve_seed
from logitlab.engines import openrouter
from logitlab.numerics import FloatArray, IntArray, log_softmax, scratch, weights, widened
from logitlab.request.params import SamplingParams
from logitlab.sampling.candidates import Candidates, Plan, for_candidates, plan_of
from logitlab.sampling.scan import top_candidates
from logitlab.steps.chain import Chain, Transform
from logitlab.steps.context import Context
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Draws",
    "Logprobs",
    "Request",
    "Survivors",
    "chain_of",
    "greedy",
    "logprobs",
    "plan",
    "sample",
    "survivors",
]

Request: TypeAlias = SamplingParams | Mapping[str, Any] | Transform | None

MODES = ("raw", "processed")

_POSITIVE = Range(1, integer=True)


@dataclass(frozen=True, eq=False)
class Draws:
    """Drawn tokens and the seed that draws them again.

    Attributes
    ----------
    tokens : ndarray of int64, shape (...) or (..., size)
    seed : int
        The seed used, also where none was given.
    """

    tokens: IntArray
    seed: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tokens, dtype=dtype, copy=copy)


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
    """

    logprobs: NDArray[np.float64]
    top_tokens: IntArray
    top_logprobs: NDArray[np.float64]

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
    """

    batch: tuple[int, ...]
    tokens: tuple[IntArray, ...]
    logprobs: tuple[NDArray[np.float64], ...]


def chain_of(request: Request) -> Chain:
    """Return the chain of a request: a chain is its own, parameters go through `openrouter`."""
    if request is None:
        return Chain()
    if isinstance(request, SamplingParams | Mapping):
        return openrouter(_asked(request))
    if isinstance(request, Chain):
        return request
    if isinstance(request, Transform):
        return Chain(request)
    raise ParameterError("request", "SamplingParams, a map, a chain or None", request)


def _asked(request: Request) -> SamplingParams:
    """Return the parameters of a request; a mapping is a request body, a chain has none."""
    if isinstance(request, Mapping):
        return SamplingParams.from_request(request)
    return request if isinstance(request, SamplingParams) else SamplingParams()


def plan(request: Request) -> Plan:
    """Return how the fast path runs a request: which steps act on the whole vocabulary.

    Vocabularies of less than some thousand tokens are not scanned: dense steps are as fast there.

    Parameters
    ----------
    request : SamplingParams, mapping, Transform or None

    Returns
    -------
    Plan
        Prints as one line for each part.

    Examples
    --------
    >>> print(plan(SamplingParams(frequency_penalty=0.5, temperature=0.8, min_p=0.05)))
    dense, on the whole vocabulary: FrequencyPenalty(0.5)
    scan of the vocabulary: Temperature(0.8), MinP(0.05)
    """
    return plan_of(chain_of(request))


def survivors(
    logits: ArrayLike,
    request: Request = None,
    *,
    context: Context | None = None,
    threads: int = 1,
) -> Survivors:
    """Return the tokens that a request leaves, with their log-probabilities.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
    context : Context, optional
        The tokens so far; needed if there is a penalty.
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
    >>> left = survivors(np.log([0.5, 0.25, 0.125, 0.125]), SamplingParams(top_p=0.6))
    >>> left.tokens[0], np.exp(left.logprobs[0])
    (array([0, 1]), array([0.66666667, 0.33333333]))
    """
    array = widened(check_array(logits))
    check_integer("threads", threads, _POSITIVE)
    count = math.prod(array.shape[:-1])
    tokens: list[IntArray] = [np.empty(0, np.int64)] * count
    logprobs: list[NDArray[np.float64]] = [np.empty(0)] * count

    def collect(found: Candidates) -> None:
        for place, (row, logit) in enumerate(zip(found.rows, found.logits, strict=True)):
            kept = np.flatnonzero(logit > -np.inf)
            tokens[row] = kept if found.tokens is None else found.tokens[place, kept]
            logprobs[row] = log_softmax(logit[kept])

    for_candidates(collect, array, chain_of(request), context, threads)
    return Survivors(array.shape[:-1], tuple(tokens), tuple(logprobs))


def sample(
    logits: ArrayLike,
    request: Request = None,
    *,
    context: Context | None = None,
    seed: SeedLike = None,
    size: int | None = None,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    sequence: ArrayLike | None = None,
    position: ArrayLike = 0,
    threads: int = 1,
) -> Draws:
    """Draw tokens from the distribution that a request makes of logits.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
        Parameters (through `engines.openrouter`), or a chain; None draws from the logits as
        they are.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    seed : int, numpy.random.Generator or None
        Any integer; a generator gives its next one. None takes the request's seed, or else a
        fresh one, which the result reports.
    size : int, optional
        Draws per row; they take the positions ``position``, ``position + 1`` and so on.
    coupling : {"inverse", "gumbel"}
        "inverse" compares the cumulative probability by increasing token id with one uniform.
        "gumbel" gives every token noise of its own, so that at equal seed the token changes
        between two requests only where it must; it costs one number for each survivor.
    sequence : array_like of int, optional
        Which random sequence each row uses, broadcasting to the batch shape; by default the rows
        are numbered 0, 1, 2 … in C order. Name the sequence to draw a row outside its batch.
    position : array_like of int
        Which number of the sequence, broadcasting to the batch shape.
    threads : int
        Rows are spread over so many threads, which changes no token, and seldom pays.

    Returns
    -------
    Draws
        ``tokens`` of shape (...), or (..., size), and the ``seed``. Each token is a pure function
        of (its row of logits, request, seed, sequence, position).

    Raises
    ------
    ParameterError
        For bad logits, parameters, seed, size or places.

    Examples
    --------
    >>> draws = sample(np.log([0.5, 0.25, 0.25]), SamplingParams(top_k=2), seed=7, size=8)
    >>> draws.tokens
    array([1, 0, 1, 0, 0, 1, 0, 0])
    >>> int(sample(np.log([0.5, 0.25, 0.25]), SamplingParams(top_k=2), seed=7, position=7).tokens)
    0
    """
    array = widened(check_array(logits))
    batch = array.shape[:-1]
    chain = chain_of(request)
    check_choice("coupling", coupling, COUPLINGS)
    check_integer("threads", threads, _POSITIVE)
    count = 1 if size is None else check_integer("size", size, Range(0, integer=True))
    if sequence is None:
        sequence = np.arange(math.prod(batch)).reshape(batch)
    rows = check_per_row("sequence", sequence, Range(0, integer=True), batch)
    rows = np.broadcast_to(rows, batch).reshape(-1, 1)
    first = check_per_row("position", position, Range(0, 2**32 - 1, integer=True), batch)
    places = np.broadcast_to(first, batch).reshape(-1, 1) + np.arange(count)
    if places.size and places.max() >= 2**32:
        raise ParameterError("position", "below 2**32 for every draw", int(places.max()))
    if seed is None:
        seed = _asked(request).seed
    used = resolve_seed(seed)

    tokens = np.empty(places.shape, np.int64)

    def draw(found: Candidates) -> None:
        here = found.rows
        sequences = np.broadcast_to(rows[here], (len(here), count))
        tokens[here] = choose(found.logits, used, sequences, places[here], coupling, found.tokens)

    for_candidates(draw, array, chain, context, threads)
    return Draws(tokens.reshape(batch if size is None else (*batch, count))[()], used)


def greedy(
    logits: ArrayLike, request: Request = None, *, context: Context | None = None
) -> IntArray:
    """Return the most likely token of every row, the lowest id on ties.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
        Bias and penalties can change the answer. Temperature can only by rounding, where it makes
        two neighbouring numbers equal; truncations cannot.
    context : Context, optional
        The tokens so far; needed if there is a penalty.

    Returns
    -------
    ndarray of int64, shape (...)

    Raises
    ------
    ParameterError
        For bad logits, parameters or context.

    Examples
    --------
    >>> greedy([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])
    array([1, 0])
    """
    tokens: IntArray = chain_of(request)(widened(check_logits(logits)), context).argmax(axis=-1)
    return tokens


def logprobs(
    logits: ArrayLike,
    tokens: ArrayLike,
    request: Request = None,
    *,
    context: Context | None = None,
    top_logprobs: int | None = None,
    mode: Literal["raw", "processed"] = "raw",
) -> Logprobs:
    """Log-probabilities of chosen tokens, and of the most likely ones.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    tokens : array_like of int, shape (...) or (..., n)
        One token per row or several, as `sample` returns them.
    request : SamplingParams, mapping, Transform or None
        Matters in mode "processed", and for its ``top_logprobs``.
    context : Context, optional
    top_logprobs : int, optional
        How many of the most likely tokens to report, 0 to V. None takes the request's, or 0.
    mode : {"raw", "processed"}
        "raw" reports the model's own distribution, before any parameter, as OpenAI and vLLM do;
        "processed" the one that was drawn from.

    Returns
    -------
    Logprobs

    Raises
    ------
    ParameterError
        For token ids outside the vocabulary, shapes that do not match, or an unknown mode.

    Examples
    --------
    >>> report = logprobs(np.log([0.5, 0.25, 0.25]), 1, top_logprobs=2)
    >>> np.exp(report.logprobs), report.top_tokens
    (np.float64(0.25), array([0, 1]))
    """
    array = widened(check_array(logits))
    batch, size = array.shape[:-1], array.shape[-1]
    check_choice("mode", mode, MODES)
    ids = Range(0, size - 1, integer=True).check("tokens", tokens)
    if ids.shape[: len(batch)] != batch or ids.ndim > len(batch) + 1:
        rule = f"of shape {batch} or {(*batch, 'n')}".replace("'", "")
        raise ParameterError("tokens", rule, Seen(f"shape {ids.shape}"))
    if top_logprobs is None:
        top_logprobs = _asked(request).top_logprobs or 0
    count = check_integer("top_logprobs", top_logprobs, Range(0, size, integer=True))
    chain = chain_of(request) if mode == "processed" else Chain()
    width = ids.shape[-1] if ids.ndim > len(batch) else 1
    chosen_ids = ids.reshape(math.prod(batch), width)
    chosen = np.empty(chosen_ids.shape)
    top = np.empty((len(chosen), count), np.int64)
    top_values = np.full(top.shape, -np.inf)

    def report(found: Candidates) -> None:
        for place, row in enumerate(found.rows):
            line, ids = found.logits[place], None
            if found.tokens is not None:
                alive = np.flatnonzero(line > -np.inf)
                line, ids = line[alive], found.tokens[place, alive]
            peak = float(line.max())
            weight = weights(line[None], out=scratch((1, len(line)), np.float64))
            mass = math.log(weight.sum())
            chosen[row] = line[_places(ids, chosen_ids[row])].astype(np.float64) - peak - mass
            if ids is not None:
                chosen[row][~np.isin(chosen_ids[row], ids)] = -np.inf
            best = _most_likely(line, count)
            top[row] = _filled(best if ids is None else ids[best], count)
            top_values[row, : len(best)] = line[best].astype(np.float64) - peak - mass

    for_candidates(report, array, chain, context)
    return Logprobs(
        chosen.reshape(ids.shape)[()], top.reshape(*batch, count), top_values.reshape(*batch, count)
    )


def _places(ids: IntArray | None, tokens: IntArray) -> IntArray:
    """Return where tokens stand among ids, or would; None stands for all ids."""
    return tokens if ids is None else np.minimum(np.searchsorted(ids, tokens), len(ids) - 1)


def _most_likely(row: FloatArray, count: int) -> IntArray:
    """Return the places of the ``count`` largest entries, largest first, the first on ties."""
    if not count:  # as in most generations: nothing to look for
        return np.empty(0, np.int64)
    places = top_candidates(row, count)
    places = places[np.argsort(-row[places], kind="stable")[:count]]
    return places[row[places] > -np.inf]


def _filled(tokens: IntArray, count: int) -> IntArray:
    """Return ``tokens`` and as many of the lowest other ids as it takes to make ``count``."""
    if len(tokens) == count:
        return tokens
    others = np.setdiff1d(np.arange(count), tokens)
    return np.concatenate([tokens, others])[:count]
