"""From logits and a chain to tokens: `draw_tokens`, which all draws go through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError
from logitlab.draw import choose, uniforms
from logitlab.numerics import log_softmax
from logitlab.sampling.fast_path import Drawing, Final, run_chain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import Step
from numpy.typing import NDArray

__all__ = ["draw_tokens", "report_stage"]


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
                report_stage(report, tokens, logits, chain[:count], context)
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
        if apart and len(index) < len(rows):
            part = rows[index], branch.for_rows(batch, index)
            own = None if context is None else context.for_rows(batch, index)
        else:
            index = np.arange(len(rows))
        own_reports = {count: np.empty((len(index), position.shape[1])) for count in reports}
        try:
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
        except ParameterError:
            check_logits(logits)  # says which row of the batch it is
            raise
        tokens[index] = np.where(here[index], drawn, tokens[index])
        for count, report in own_reports.items():
            reports[count][index] = np.where(here[index], report, reports[count][index])
    return tokens


def report_stage(
    report: NDArray[np.float64],
    tokens: IntArray,
    logits: FloatArray,
    chain: Chain,
    context: Context | None,
) -> None:
    """Fill in the log-probabilities of tokens, shape (n, m), in what a chain makes of n rows."""

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
