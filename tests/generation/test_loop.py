"""The loop in the hands of others: rows that join and leave, that are given, and that go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, generate
from logitlab.generation.loop import Loop
from logitlab.generation.options import Options
from logitlab.generation.row import Row, rows_of
from logitlab.models import NGram, State

from toys import FULL, Bigrams, same

MODEL = NGram.bundled()
REQUESTS: list[dict[str, Any]] = [
    {**FULL, "max_tokens": 9},
    {"max_tokens": 5, "logprobs": True, "mirostat": 2, "mirostat_tau": 3},
    {"max_tokens": 12, "logprobs": True, "mirostat": 2, "xtc_probability": 0.5, "top_k": 90},
    {"max_tokens": 7, "logprobs": True, "guidance_scale": 1.5, "stop": ["e"]},
    {"max_tokens": 4, "logprobs": True, "adaptive_target": 0.3},
]


def rows(
    request: dict[str, Any], prompt: Any, seed: int, n: int = 2, model: Any = MODEL
) -> list[Row]:
    return rows_of(model, [prompt], [request], [Options()], [seed], n)


def test_rows_may_come_and_go_at_any_token() -> None:
    prompts = ["Once", "The king's daughter went", "A"]
    waiting = [
        row
        for seed, request in enumerate(REQUESTS)
        for row in rows(request, prompts[seed % 3], seed)
    ]
    everything = list(waiting)
    for index, row in enumerate(everything):
        row.index = index
    loop, rng = Loop(MODEL, [], 1), np.random.default_rng(0)
    begun: list[Row] = []
    while waiting or begun:
        if waiting:
            begun.append(waiting.pop(0))
        chosen = [row for row in begun if rng.random() < 0.6]
        pieces = loop.draw(chosen, []) if chosen else []
        assert [piece.index for piece in pieces] == sorted(row.index for row in chosen)
        begun = [row for row in begun if row.finish is None]
    for seed, request in enumerate(REQUESTS):
        alone = generate(MODEL, prompts[seed % 3], request, seed=seed, n=2)
        for row, answer in zip(everything[2 * seed :], alone, strict=False):
            assert same(row.generation(), answer)
            assert str(row.generation().states) == str(answer.states)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_text_that_is_given_is_as_if_it_had_been_drawn(request_: dict[str, Any]) -> None:
    drawn = generate(MODEL, "Once", request_, seed=3)
    [row] = rows(request_, "Once", 3, n=1)
    row.force(drawn.tokens)
    loop = Loop(MODEL, [row], 1)
    while not loop.is_done:
        loop.step()
    given = row.generation()
    assert np.array_equal(given.tokens, drawn.tokens)
    assert given.text == drawn.text
    assert drawn.logprobs is not None
    assert given.logprobs is not None
    assert given.logprobs.logprobs.tobytes() == drawn.logprobs.logprobs.tobytes()
    assert given.logprobs.top_logprobs.tobytes() == drawn.logprobs.top_logprobs.tobytes()
    assert (given.states is None) == (drawn.states is None)
    for name, column in (drawn.states or {}).items():
        assert given.states is not None
        np.testing.assert_array_equal(given.states[name], column)


def test_a_token_that_could_not_be_drawn_leaves_the_state_as_it_is() -> None:
    request = {"mirostat": 2, "mirostat_tau": 0.5, "max_tokens": 9}
    [row] = rows(request, "Once", 3, n=1)
    row.force(np.array([4000, 4001, 4002]))
    loop = Loop(MODEL, [row], 1)
    while not loop.is_done:
        loop.step()
    answer = row.generation()
    assert answer.tokens.tolist() == [4000, 4001, 4002]
    assert (answer.finish.cause, answer.finish.reason) == ("forced", "stop")
    assert answer.states is not None
    assert len({*map(float, answer.states["mirostat"])}) == 1


class Poisoned(Bigrams):
    """Fails at a text that holds a token, after having read some of the others."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__(seed=1, end=-50.0)
        self.error = error

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        logits = super().advance(states, tokens)
        for state, row in zip(states, logits, strict=True):
            if 8 in state.tokens and len(state.tokens) > 4:
                if self.error is not None:
                    raise self.error
                row[:] = np.nan
        return logits


@pytest.mark.parametrize("error", [None, OSError("x"), MemoryError()])
def test_a_row_that_goes_wrong_leaves_the_others_their_bits(error: Exception | None) -> None:
    model = Poisoned(error)
    request = {"max_tokens": 12, "logprobs": True, "logit_bias": {8: -100}}
    prompts = ["a", "b日", "ab", "🙂", "a🙂"]
    everything = [
        row
        for seed, prompt in enumerate(prompts)
        for row in rows(request, prompt, seed, n=1, model=model)
    ]
    for index, row in enumerate(everything):
        row.index = index
    loop, broken, active = Loop(model, [], 1), list[tuple[Row, Exception]](), list(everything)
    while active:
        loop.draw(active, broken)
        gone = {row.index for row, _ in broken}
        active = [row for row in active if row.finish is None and row.index not in gone]
    [(row, cause)] = broken
    kind = ParameterError if error is None else type(error)
    assert row is everything[1]
    assert isinstance(cause, kind)
    clean = Bigrams(seed=1, end=-50.0)
    for seed in (0, 2, 3, 4):
        alone = generate(clean, prompts[seed], request, seed=seed)
        assert same(everything[seed].generation(), alone)
    with pytest.raises(kind):
        generate(model, prompts[1], request, seed=1)
