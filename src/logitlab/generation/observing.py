"""What steps with a state see of a token that was not drawn, but given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.draw import uniforms
from logitlab.numerics import log_softmax
from logitlab.sampling.sample import report_stage
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context

if TYPE_CHECKING:
    from logitlab.generation.preparation import Prepared

__all__ = ["observed"]


def observed(
    prepared: Prepared,
    seed: int | None,
    place: tuple[int, int],
    logits: FloatArray,
    allowed: FloatArray,
    ids: IntArray,
    chain: Chain,
    context: Context | None,
) -> dict[str, float] | None:
    """Return the log-probabilities that the states of a text see of its next token.

    Parameters
    ----------
    prepared : Prepared
    seed : int or None
        With it the coins fall as in `generate`, and the states see the side on which they did.
    place : tuple of int
        The text's sequence, and how many tokens it has.
    logits, allowed : ndarray, shape (1, V)
        The model's, and what the constraint leaves of them.
    ids : ndarray of int, shape (1, 1)
    chain : Chain
        In the state of the text.
    context : Context or None

    Returns
    -------
    dict or None
        None for a token that could not have been drawn: it leaves the states as they are.
    """
    if chain.coins and seed is not None:
        falls = [
            bool(uniforms([seed], *place, which) < coin.value)
            for which, coin in zip(chain.numbers, chain.coins, strict=True)
        ]
        chain = chain.branch(falls)
    seen: dict[str, float] = {}
    for name, count in prepared.observed.items():
        if count is None:
            seen[name] = float(log_softmax(logits)[0, ids[0, 0]])
            continue
        report = np.empty(ids.shape)
        report_stage(report, ids, allowed, chain[:count], context)
        seen[name] = float(report[0, 0])
    return seen if seen and all(number > -np.inf for number in seen.values()) else None
