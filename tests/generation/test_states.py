"""Coins and states over a text: alone, in a batch, streamed, interrupted and resumed the same."""

from __future__ import annotations

import math
import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import generate, generate_many, resume, stream

from toys import END, Bigrams, same

MODEL = Bigrams()
BASE = {"logit_bias": {END: -100}, "max_tokens": 30}
REQUESTS: list[dict[str, Any]] = [
    {**BASE, "mirostat": 2, "mirostat_tau": 1.5, "mirostat_eta": 0.3},
    {**BASE, "xtc_probability": 0.5, "xtc_threshold": 0.05},
    {**BASE, "mirostat": 2, "mirostat_tau": 2.0, "xtc_probability": 0.4, "xtc_threshold": 0.05},
    {**BASE, "typical_p": 0.4, "temperature": 1.3, "logprobs": True, "top_logprobs": 2},
]
engines = pytest.mark.parametrize("engine", ["openrouter", "llama_cpp"])
requests = pytest.mark.parametrize("request_", REQUESTS)


@requests
@engines
def test_alone_in_a_batch_streamed_and_resumed(request_: dict[str, Any], engine: str) -> None:
    prompts = [[1], [2, 3], [4]]
    alone = [generate(MODEL, p, request_, engine=engine, seed=i) for i, p in enumerate(prompts)]
    for size in (1, 3):
        batch = generate_many(
            MODEL, prompts, request_, engine=engine, seed=[0, 1, 2], batch_size=size
        )
        assert all(map(same, alone, batch))
        assert [one.state for one in batch] == [one.state for one in alone]
    *_, last = stream(MODEL, prompts[0], request_, engine=engine, seed=0)
    assert last.generation is not None
    assert same(last.generation, alone[0])
    for length in (1, 7, 29):
        begun = generate(
            MODEL, prompts[1], {**request_, "max_tokens": length}, engine=engine, seed=1
        )
        [whole] = resume(MODEL, [pickle.loads(pickle.dumps(begun))], max_tokens=30)
        assert same(whole, alone[1])
        assert whole.state == alone[1].state


def test_mirostats_mu_is_that_of_its_equation() -> None:
    tau, eta = 1.5, 0.3
    text = generate(MODEL, [1, 2], REQUESTS[0], seed=4, trace=True)
    assert text.traces is not None
    mu = 2 * tau
    for token, trace in zip(text.tokens.tolist(), text.traces, strict=True):
        row = [x + (-100.0 if i == END else 0.0) for i, x in enumerate(trace.logits[0].tolist())]
        total = math.fsum(math.exp(x - max(row)) for x in row)
        bits = [(math.log(total) - (x - max(row))) / math.log(2) for x in row]
        kept = [i for i, b in enumerate(bits) if b <= mu] or [bits.index(min(bits))]
        assert np.flatnonzero(trace.logits[-1] > -np.inf).tolist() == kept
        mass = math.fsum(math.exp(row[i] - max(row)) for i in kept)
        surprise = (math.log(mass) - (row[token] - max(row))) / math.log(2)
        mu -= eta * (surprise - tau)
    assert text.state is not None
    assert text.state["mirostat"] == pytest.approx(mu, rel=1e-6)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_mirostats_mu_is_the_sum_of_all_errors(tau: float) -> None:
    """So the mean surprise is tau, but for what mu has moved: less and less, a longer text on."""
    request = {"logit_bias": {END: -100}, "mirostat": 2, "mirostat_tau": tau, "logprobs": True}
    texts = generate(MODEL, [1], request, n=12, seed=3, max_tokens=60, logprobs_mode="processed")
    for text in texts:
        assert text.logprobs is not None
        assert text.state is not None
        bits = -text.logprobs.logprobs / math.log(2)
        moved = text.state["mirostat"] - 2 * tau
        assert bits.mean() == pytest.approx(tau - moved / (0.1 * len(bits)), rel=1e-9)


def test_a_text_can_begin_in_a_state() -> None:
    state = {"mirostat": 0.5}
    text = generate(MODEL, [1], REQUESTS[0], seed=4, trace=True, state=state, max_tokens=1)
    assert text.traces is not None
    assert text.traces[0].names[-1] == "MaxSurprise(0.5)"
    with pytest.raises(ll.ParameterError, match="state must be absent where no step has one"):
        generate(MODEL, [1], BASE, state=state)


def test_a_coin_is_a_function_of_its_place_alone() -> None:
    request = REQUESTS[1]
    text = generate(MODEL, [1, 2], request, seed=9)
    rows = generate(MODEL, [1, 2], request, seed=9, trace=True).traces
    assert rows is not None
    for position, (token, trace) in enumerate(zip(text.tokens.tolist(), rows, strict=True)):
        draw = ll.sample(
            trace.logits[0],
            {key: value for key, value in request.items() if key != "max_tokens"},
            seed=9,
            position=position,
        )
        assert int(draw.tokens) == token


def test_the_wire_takes_them_too() -> None:
    body = {"prompt": "a", "seed": 3, "max_tokens": 8, "mirostat": 2, "xtc_probability": 0.5}
    answer = ll.chat(MODEL, body)
    assert answer["logitlab"]["ignored"] == []
    assert len(answer["logitlab"]["notes"]) == 2
    assert answer["choices"] == ll.chat(MODEL, body)["choices"]


def test_what_the_caller_changes_later_changes_no_text() -> None:
    stop, state = ["zzzq"], {"mirostat": 3.0}
    begun = ll.generate(MODEL, [1], {"mirostat": 2}, seed=1, max_tokens=3, stop=stop, state=state)
    stop[0], state["mirostat"] = "a", 99.0
    whole = ll.generate(
        MODEL, [1], {"mirostat": 2}, seed=1, max_tokens=12, stop=["zzzq"], state={"mirostat": 3.0}
    )
    [resumed] = ll.resume(MODEL, [begun], max_tokens=12)
    assert resumed.tokens.tolist() == whole.tokens.tolist()
    assert begun.options.state == {"mirostat": 3.0}


def test_what_is_wrong_with_one_of_many_requests_tells_which() -> None:
    requests = [{"temperature": 1}, {"temperature": 9}]
    with pytest.raises(ll.ParameterError, match=r"got 9.0. \(In request 1.\)"):
        ll.generate_many(MODEL, [[1], [2]], requests, max_tokens=3)
    with pytest.raises(ll.ParameterError, match="state must be a map with one number"):
        ll.generate(MODEL, [1], {"mirostat": 2}, state={"mirostat": [3.0, 4.0]}, max_tokens=3)


class Wide(Bigrams):
    """Bigrams over a vocabulary that is scanned, not sorted."""

    def __init__(self) -> None:
        super().__init__(spread=4.0)
        self.vocabulary = ll.Vocabulary([b"%d " % i for i in range(9000)], [END])
        numbers = np.random.default_rng(2).normal(0, 3, (2, 18_000)).astype(np.float32)
        # Each token's row is a window of them: rows of their own would be 650 MB.
        self.table = np.lib.stride_tricks.sliding_window_view(numbers, 9000, axis=1)
        self.context_length = None


def test_states_are_the_same_bits_beside_wider_rows() -> None:
    model = Wide()
    request = {"min_p": 0.02, "adaptive_target": 0.2, "mirostat": 2, "mirostat_tau": 3.0}
    for asked in (request, {**request, "mirostat": 0}, {**request, "mirostat": 1}):
        alone = [generate(model, [i], asked, seed=i, max_tokens=12) for i in range(6)]
        prompts, seeds = [[i] for i in range(6)], list(range(6))
        batch = generate_many(model, prompts, asked, seed=seeds, max_tokens=12)
        for first, second in zip(alone, batch, strict=True):
            assert same(first, second)
            assert first.states is not None
            assert second.states is not None
            assert first.states.keys() == second.states.keys()
            for name, numbers in first.states.items():
                assert numbers.tobytes() == second.states[name].tobytes()


def test_adaptive_p_remembers_what_it_was_given_or_the_models_own() -> None:
    steps = [ll.TopK(5), ll.Temperature(0.7)]
    for memory, stage in (("before", 2), ("model", 0)):
        chain = ll.Chain(*steps, ll.AdaptiveP(0.4, 0.8, memory))
        text = generate(MODEL, [1], chain, seed=2, max_tokens=10, trace=True)
        assert text.traces is not None
        assert text.states is not None
        assert text.observed is not None
        total = 0.4 / (1 - 0.8)
        for place, (token, trace) in enumerate(zip(text.tokens, text.traces, strict=True)):
            assert text.states["weighted_sum"][place] == pytest.approx(total, rel=1e-9)
            q = ll.softmax(trace.logits[stage])[token]
            assert text.observed["adaptive_p"][place] == pytest.approx(math.log(q), rel=1e-9)
            total = q + 0.8 * total
        assert text.states["weighted_sum"][-1] == pytest.approx(total, rel=1e-9)


def test_the_models_own_distribution_is_that_before_a_constraint() -> None:
    chain = ll.Chain(ll.AdaptiveP(0.4, memory="model"))
    mask = ll.constraints.Regex("(ab)*")
    text = generate(MODEL, [1], chain, seed=2, max_tokens=4, constraint=mask)
    assert text.observed is not None
    model = Bigrams()
    own = model.advance([model.start()], [[1]])[0]
    expected = ll.log_softmax(own)[text.tokens[0]]
    assert text.observed["adaptive_p"][0] == pytest.approx(expected, rel=1e-6)


def test_each_of_many_texts_can_begin_in_a_state_of_its_own() -> None:
    states = [{"mirostat": 0.5}, None, {"mirostat": 4.0}]
    asked: dict[str, Any] = {"seed": 3, "max_tokens": 5}
    texts = generate_many(MODEL, [[1], [2], [3]], REQUESTS[0], state=states, **asked)
    for i, (text, state) in enumerate(zip(texts, states, strict=True)):
        assert same(text, generate(MODEL, [i + 1], REQUESTS[0], state=state, **asked))
        assert text.states is not None
        assert text.states["mirostat"][0] == (state or {"mirostat": 3.0})["mirostat"]
        assert len(text.states["mirostat"]) == len(text.tokens) + 1
    with pytest.raises(ll.ParameterError, match="state must be one, or a list of 3, got a list"):
        generate_many(MODEL, [[1], [2], [3]], REQUESTS[0], state=states[:2])


def test_the_wire_tells_the_state_after_each_answer() -> None:
    body = {"prompt": "a", "seed": 3, "max_tokens": 8, "mirostat": 2, "n": 2}
    told = ll.chat(MODEL, body)["logitlab"]["state"]
    texts = generate(MODEL, "a", {"mirostat": 2}, n=2, seed=3, max_tokens=8)
    assert told == [text.state for text in texts]
    assert "state" not in ll.chat(MODEL, {**body, "mirostat": 0})["logitlab"]
