"""From logits and a request to tokens: `sample` and `greedy`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, check_array, check_logits, per_row
from logitlab.checks import MOST_DRAWS, ParameterError, Range, check_choice, check_integer
from logitlab.draw import COUPLINGS, SeedLike, choose, resolve_seed, uniforms
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request, resolve, resolve_alone
from logitlab.engines.rules import Note
from logitlab.engines.spelling import VocabularyLike
from logitlab.numerics import log_softmax, widened
from logitlab.sampling.fast_path import Drawing, Final, Plan, plan_of, run_chain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.state import State
from logitlab.steps.step import Step
from numpy.typing import ArrayLike, NDArray

__all__ = ["Draws", "draw_tokens", "greedy", "plan", "sample"]

_SIZES = Range(0, integer=True)
_POSITIONS = Range(0, 2**32 - 1, integer=True)
_THREADS = Range(1, integer=True)


@dataclass(frozen=True, eq=False)
class Draws:
    """Drawn tokens and the seed that draws them again.

    Attributes
    ----------
    tokens : ndarray of int64, shape (...) or (..., size)
    seed : int
        The seed used, also where none was given.
    state : mapping or None
        The state in which they were drawn, where a step has one.
    notes : tuple of Note
        What the engine ignored, changed or filled in.
    """

    tokens: IntArray
    seed: int
    state: State | None = None
    notes: tuple[Note, ...] = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tokens, dtype=dtype, copy=copy)


def plan(
    request: Request, *, engine: EngineLike = "openrouter", vocabulary: VocabularyLike = None
) -> Plan:
    """Return how the fast path runs a request: which steps act on the whole vocabulary.

    Vocabularies of less than some thousand tokens are not scanned: dense steps are as fast there.

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
    >>> from logitlab import SamplingParams
    >>> print(plan(SamplingParams(frequency_penalty=0.5, temperature=0.8, min_p=0.05)))
    dense, on the whole vocabulary: FrequencyPenalty(0.5)
    scan of the vocabulary: Temperature(0.8), MinP(0.05)
    """
    return plan_of(resolve_alone(request, engine, vocabulary=vocabulary).chain.at())


def sample(
    logits: ArrayLike,
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    context: Context | None = None,
    state: State | None = None,
    seed: SeedLike = None,
    size: int | None = None,
    coupling: Literal["inverse", "gumbel"] = "inverse",
    sequence: ArrayLike | None = None,
    position: ArrayLike = 0,
    threads: int = 1,
    vocabulary: VocabularyLike = None,
) -> Draws:
    """Draw tokens from the distribution that a request makes of logits.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64; float16 is taken as float32.
    request : SamplingParams, mapping, Transform or None
        Parameters, or a chain; None is an empty request.
    engine : str or Engine
        Whose chain the parameters mean. Tokens are drawn with logitlab's own numbers:
        `Engine.draw` repeats those of an engine.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat, ``{"mirostat": mu}``, or adaptive-p. None takes the initial one.
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
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, such as ``bad_words``, in token ids.

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
    >>> draws = sample(np.log([0.5, 0.25, 0.25]), {"top_k": 2}, seed=7, size=8)
    >>> draws.tokens
    array([1, 0, 1, 0, 0, 1, 0, 0])
    >>> int(sample(np.log([0.5, 0.25, 0.25]), {"top_k": 2}, seed=7, position=7).tokens)
    0
    """
    array = widened(check_array(logits))
    batch = array.shape[:-1]
    resolved = resolve(request, engine, size=array.shape[-1], vocabulary=vocabulary)
    chain = resolved.chain
    if state is not None or chain.stateful:
        chain = chain.at(state, batch)
    check_choice("coupling", coupling, COUPLINGS)
    check_integer("threads", threads, _THREADS)
    count = 1 if size is None else check_integer("size", size, _SIZES)
    number = math.prod(batch)
    if count * number > MOST_DRAWS:
        rule = f"at most {MOST_DRAWS // number} for {number} rows"
        raise ParameterError("size", rule, size, "Draw the rest with a later position.")
    rows = np.arange(number).reshape(batch)
    if sequence is not None:
        rows = per_row("sequence", _SIZES.check("sequence", sequence), batch)
    first = per_row("position", _POSITIONS.check("position", position), batch)
    sequences = np.broadcast_to(rows, batch).reshape(-1, 1)
    places = np.broadcast_to(first, batch).reshape(-1, 1) + np.arange(count)
    if places.size and places.max() >= 2**32:
        raise ParameterError("position", "below 2**32 for every draw", int(places.max()))
    used = resolve_seed(resolved.given.get("seed") if seed is None else seed)
    sequences = np.broadcast_to(sequences, places.shape)
    tokens = draw_tokens(
        array, chain, context, [used], sequences, places, coupling, threads
    ).reshape(batch if size is None else (*batch, count))
    states = resolved.chain.known(state) if resolved.chain.stateful else None
    return Draws(tokens[()], used, states, resolved.notes)


def draw_tokens(
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
    seeds: Sequence[int],
    sequence: NDArray[Any],
    position: NDArray[Any],
    coupling: str = "inverse",
    threads: int = 1,
    logprobs: Mapping[int, NDArray[np.float64]] | None = None,
) -> IntArray:
    """Draw tokens from rows of logits through a chain: its coins are tossed, its states are bound.

    Parameters
    ----------
    logits : ndarray of float32 or float64, shape (..., V)
    chain : Chain
    context : Context or None
    seeds : sequence of int
        One for all rows of the flattened batch, or one for each.
    sequence, position : ndarray of int, shape (n, m)
        The place of each of the ``m`` draws of each row.
    coupling, threads
        As of `sample`.
    logprobs : mapping of int to ndarray of float64, shape (n, m), optional
        Each array gets the log-probabilities of the drawn tokens after so many steps of the chain:
        after all of them in what they were drawn from.

    Returns
    -------
    ndarray of int64, shape (n, m)
    """
    tokens = np.empty(position.shape, np.int64)
    reports = dict(logprobs or {})

    def draw(final: Final) -> None:
        here = final.rows
        own = seeds if len(seeds) == 1 else [seeds[i] for i in here.tolist()]
        ids = choose(final.logits, own, sequence[here], position[here], coupling, final.tokens)
        tokens[here] = ids
        if len(chain) in reports:
            reports[len(chain)][here] = _logprobs_of(final, ids)

    if not position.size:  # nothing is drawn, but what is wrong is said
        chain = chain.branches()[0].chain
    if not chain.coins:
        drawing = None
        if coupling == "inverse" and len(chain) not in reports and kernels.rows:
            drawing = Drawing(uniforms(seeds, sequence, position), tokens)
        run_chain(draw, logits, chain, context, threads, drawing)
        for count, report in reports.items():
            if count < len(chain):
                _report_stage(report, tokens, logits, chain[:count], context)
        return tokens
    batch = logits.shape[:-1]
    rows = logits.reshape(-1, logits.shape[-1])
    falls = np.stack(
        [
            uniforms(seeds, sequence, position, which) < np.reshape(coin.values(batch), (-1, 1))
            for which, coin in zip(chain.numbers, chain.coins, strict=True)
        ]
    )
    # A transform of the user's own may look at the whole batch.
    apart = all(isinstance(step, Step) for step in chain)
    for acts, _, branch in chain.branches():
        here = (falls == np.reshape(acts, (-1, 1, 1))).all(axis=0)
        index = np.flatnonzero(here.any(axis=1))
        if not index.size:
            continue
        part, own = (logits, branch), context
        if apart:
            part = rows[index], branch.for_rows(batch, index)
            own = None if context is None else context.for_rows(batch, index)
        else:
            index = np.arange(len(rows))
        own_reports = {count: np.empty((len(index), position.shape[1])) for count in reports}
        drawn = draw_tokens(
            *part,
            own,
            seeds if len(seeds) == 1 else [seeds[i] for i in index.tolist()],
            sequence[index],
            position[index],
            coupling,
            threads,
            own_reports,
        )
        tokens[index] = np.where(here[index], drawn, tokens[index])
        for count, report in own_reports.items():
            reports[count][index] = np.where(here[index], report, reports[count][index])
    return tokens


def _report_stage(
    report: NDArray[np.float64],
    tokens: IntArray,
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
) -> None:
    """Fill in the log-probabilities of drawn tokens in what a chain makes of the logits."""

    def fill(final: Final) -> None:
        report[final.rows] = _logprobs_of(final, tokens[final.rows])

    run_chain(fill, logits, chain, context)


def _logprobs_of(final: Final, ids: IntArray) -> NDArray[np.float64]:
    """Return the log-probabilities of tokens, shape (n, m)."""
    if final.tokens is None:
        return np.take_along_axis(log_softmax(final.logits), ids, axis=-1)
    reports = np.empty(ids.shape)
    for report, tokens, line, chosen in zip(reports, final.tokens, final.logits, ids, strict=True):
        # Of the survivors alone: beside wider rows there is more at the end of a row, and sums of
        # more terms are rounded otherwise.
        alive = np.flatnonzero(line > -np.inf)
        places = np.minimum(tokens[alive].searchsorted(chosen), len(alive) - 1)
        is_there = tokens[alive[places]] == chosen
        report[:] = np.where(is_there, log_softmax(line[alive])[places], -np.inf)
    return reports


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
