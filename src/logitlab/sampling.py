"""From logits and a request to tokens: `sample`, `greedy` and `logprobs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from logitlab.chain import Chain, Transform
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_integer,
    check_logits,
    check_per_row,
)
from logitlab.context import Context
from logitlab.draw import COUPLINGS, SeedLike, choose, resolve_seed
from logitlab.engines import openrouter
from logitlab.numerics import FloatArray, IntArray, largest, log_softmax_at, widened
from logitlab.params import SamplingParams
from numpy.typing import ArrayLike, NDArray

__all__ = ["Draws", "Logprobs", "Request", "chain_of", "greedy", "logprobs", "sample"]

Request: TypeAlias = SamplingParams | Transform | None

MODES = ("raw", "processed")


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


def chain_of(request: Request) -> Chain:
    """Return the chain of a request: a chain is its own, parameters go through `openrouter`."""
    if request is None:
        return Chain()
    if isinstance(request, SamplingParams):
        return openrouter(request)
    if isinstance(request, Transform):
        return Chain(request)
    raise ParameterError("request", "SamplingParams, a chain or None", request)


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
) -> Draws:
    """Draw tokens from the distribution that a request makes of logits.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    request : SamplingParams, Transform or None
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
    array = widened(check_logits(logits))
    batch = array.shape[:-1]
    chain = chain_of(request)
    check_choice("coupling", coupling, COUPLINGS)
    count = 1 if size is None else check_integer("size", size, Range(0, integer=True))
    if sequence is None:
        sequence = np.arange(int(np.prod(batch))).reshape(batch)
    rows = check_per_row("sequence", sequence, Range(0, integer=True), batch).reshape(-1, 1)
    first = check_per_row("position", position, Range(0, 2**32 - 1, integer=True), batch)
    places = first.reshape(-1, 1) + np.arange(count)
    if places.size and places.max() >= 2**32:
        raise ParameterError("position", "below 2**32 for every draw", int(places.max()))
    if seed is None and isinstance(request, SamplingParams):
        seed = request.seed
    used = resolve_seed(seed)

    final = chain(array, context).reshape(-1, array.shape[-1])
    tokens = choose(final, used, np.broadcast_to(rows, places.shape), places, coupling)
    return Draws(tokens.reshape(batch if size is None else (*batch, count))[()], used)


def greedy(
    logits: ArrayLike, request: Request = None, *, context: Context | None = None
) -> IntArray:
    """Return the most likely token of every row, the lowest id on ties.

    Parameters
    ----------
    logits : array_like, shape (..., V)
    request : SamplingParams, Transform or None
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
    tokens : array_like of int, shape (...) or (..., n)
        One token per row or several, as `sample` returns them.
    request : SamplingParams, Transform or None
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
    array = widened(check_logits(logits))
    batch, size = array.shape[:-1], array.shape[-1]
    check_choice("mode", mode, MODES)
    ids = Range(0, size - 1, integer=True).check("tokens", tokens)
    if ids.shape[: len(batch)] != batch or ids.ndim > len(batch) + 1:
        rule = f"of shape {batch} or {(*batch, 'n')}".replace("'", "")
        raise ParameterError("tokens", rule, Seen(f"shape {ids.shape}"))
    if top_logprobs is None:
        top_logprobs = (isinstance(request, SamplingParams) and request.top_logprobs) or 0
    count = check_integer("top_logprobs", top_logprobs, Range(0, size, integer=True))
    chain = chain_of(request)
    final = chain(array, context) if mode == "processed" else array

    top = _top(final.reshape(-1, size), count).reshape(*batch, count)
    chosen = log_softmax_at(final, ids.reshape(*batch, -1)).reshape(ids.shape)
    return Logprobs(chosen[()], top, log_softmax_at(final, top))


def _top(rows: FloatArray, count: int) -> IntArray:
    """Ids of the ``count`` largest entries of every row, largest first, lowest id on ties."""
    top = np.empty((len(rows), count), np.int64)
    if count:
        place = rows.shape[-1] - count
        for i, row in enumerate(rows):
            threshold = np.partition(row, place)[None, place, None]
            keep = largest(row[None], np.array([[count]]), threshold)[0]
            ids = np.flatnonzero(keep)
            top[i] = ids[np.argsort(-row[ids], kind="stable")]
    return top
