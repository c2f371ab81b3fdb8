"""Sequences that engines' own code drew with mirostat and adaptive-p, token for token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Chain, Context, engines, softmax
from logitlab.engines.draws import Place

from engines import recorded
from engines.own_code import Array
from engines.record import BEYOND, sequences

STATEFUL = ("llama_cpp", "koboldcpp")


def remembered(chain: Chain, place: int | None, row: Array, context: Context, token: int) -> float:
    """Return what an engine remembers of a token: its probability, sums of float32 in order."""
    x, order = row, np.arange(len(row))
    if place is not None:
        x, [order] = chain[:place].ordered(row, context)  # type: ignore[attr-defined]
    weights = np.exp((x[order] - x.max()).astype(np.float64)).astype(np.float32)
    return float(weights[order == token][0] / np.cumsum(weights, dtype=np.float32)[-1])


@pytest.mark.parametrize("name", STATEFUL)
def test_tokens_and_states_are_the_engines(name: str) -> None:
    recipe, count, mirostats = engines.get(name), 0, 0
    drawn = recorded.about(name, True)["sequences"]
    for (case, seed, rows), tokens in zip(sequences(BEYOND[name][2]), drawn, strict=True):
        params = recorded.in_ids(case.params)
        size = len(case.logits)
        last = 6 if size > 10_000 else None  # which take long
        chain = recipe.chain_of(recipe.translate(params, vocabulary_size=size))
        state, output, words = chain.init(), list(case.output), 0
        mirostats += "mirostat" in state
        for n, (row, (token, kept, prob)) in enumerate(zip(rows[:last], tokens, strict=False)):
            context = Context(case.prompt, output)
            falls = [recipe.coin(seed, Place(words, 0, 0), coin.value) for coin in chain.coins]  # type: ignore[misc]
            here = chain.branch(falls)
            left = softmax(here.at(state)(row, context))
            assert np.count_nonzero(left > recorded.TINY) == kept, (case.params, n)
            # The engine's own sum of 49 152 probabilities is as far as that from 1.
            assert left[token] == pytest.approx(prob, rel=1e-3 if size > 10_000 else 1e-5, abs=1e-8)
            draw: dict[str, Any] = {"seed": seed, "step": words, "state": state}
            assert recipe.draw(row, params, context=context, **draw) == token, (case.params, n)
            logprobs = {
                key: float(np.log(remembered(here.at(state), place, row, context, token)))
                for key, place in here.observed.items()
            }
            state = chain.update(state, logprobs)
            # llama.cpp's mirostat and adaptive-p draw none where one candidate is left.
            if kept == 1 and chain.coins:
                break  # no coin is tossed for a single candidate, and the others move up
            words += not (name == "llama_cpp" and kept == 1 and state)
            output.append(token)
            count += 1
    assert count >= 500
    assert mirostats >= 12
