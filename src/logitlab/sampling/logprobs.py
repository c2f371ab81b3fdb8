"""Log-probabilities of chosen tokens and of the most likely ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_array, check_logits, given_back
from logitlab.checks import ParameterError, Range, Seen, check_choice, check_integer
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request, resolve
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.numerics import weights, widened
from logitlab.sampling.fast_path import Final, run_chain
from logitlab.sampling.ready import best_tokens, masses_of
from logitlab.sampling.scan import top_candidates
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, check_context
from logitlab.steps.state import State
from numpy.typing import ArrayLike, NDArray

__all__ = ["Logprobs", "logprobs", "logprobs_of"]

MODES = ("raw", "processed")


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
    logits, context, state, vocabulary
        As of `sample`.
    tokens : array_like of int, shape (...) or (..., n)
        One token per row or several, as `sample` returns them.
    request : SamplingParams, mapping, Transform or None
        Matters where what is drawn from is reported, and for its ``top_logprobs``.
    engine : str or Engine, optional
        Whose chain the parameters mean, and who reports, where no mode is given.
    top_logprobs : int, optional
        How many of the most likely tokens to report, 0 to V. None takes the request's, or 0.
    mode : {"raw", "processed"}, optional
        "raw" reports the model's own distribution, before any parameter, as vLLM does;
        "processed" the one that was drawn from. None is what the engine reports; without an
        engine the model's own, of a request that shapes no distribution.

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
        given_back(chosen.reshape(ids.shape)[()], logits),
        given_back(top.reshape(*batch, count), logits),
        given_back(top_values.reshape(*batch, count), logits),
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
        if final.tokens is None:
            whole(final.rows, final.logits)
            return
        for place, row in enumerate(final.rows):
            line = final.logits[place]
            alive = np.flatnonzero(line > -np.inf)
            line, ids = line[alive], final.tokens[place, alive]
            peak, mass = float(line.max()), math.log(weights(line[None]).sum())
            chosen[row] = line[_places_among(ids, tokens[row])].astype(np.float64) - peak - mass
            chosen[row][~np.isin(tokens[row], ids)] = -np.inf
            best = _best(line, count)
            top[row] = _padded_with_others(ids[best], count)
            top_values[row, : len(best)] = line[best].astype(np.float64) - peak - mass

    def whole(rows: IntArray, logits: FloatArray) -> None:
        masses, found = masses_of(logits).tolist(), best_tokens(logits, count)
        for place, (row, mass) in enumerate(zip(rows.tolist(), masses, strict=True)):
            line, log_mass = logits[place], math.log(mass)
            if count:
                best = _best(line, count, found.get(place))
                values = line[best].astype(np.float64)
                peak = float(values[0])
                top[row] = _padded_with_others(best, count)
                top_values[row, : len(best)] = values - peak - log_mass
            else:  # as in most generations: nothing to look for
                peak = float(line.max())
            chosen[row] = line[tokens[row]].astype(np.float64) - peak - log_mass

    if type(chain) is Chain and not chain.steps and logits.size:
        check_context(context, logits)
        rows = logits.reshape(-1, logits.shape[-1])
        try:
            whole(np.arange(len(rows)), rows)
        except ParameterError:
            check_logits(logits)  # says which row of the batch it is
            raise
    else:
        run_chain(report, logits, chain, context)
    return chosen, top, top_values


def _places_among(ids: IntArray, tokens: IntArray) -> IntArray:
    """Return where tokens stand among ids, or would."""
    return np.minimum(np.searchsorted(ids, tokens), len(ids) - 1)


def _best(row: FloatArray, count: int, places: IntArray | None = None) -> IntArray:
    """Return the places of the ``count`` largest entries, largest first, the first on ties.

    They are among ``places``, where these are known, in the order of the row.
    """
    if not count:
        return np.empty(0, np.int64)
    if places is None:
        places = top_candidates(row, count)
    values = row[places]
    order = (-values).argsort(kind="stable")[:count]
    return places[order[values[order] > -np.inf]]


def _padded_with_others(tokens: IntArray, count: int) -> IntArray:
    """Return ``tokens`` and as many of the lowest other ids as it takes to make ``count``."""
    if len(tokens) == count:
        return tokens
    return np.concatenate([tokens, np.setdiff1d(np.arange(count), tokens)])[:count]
