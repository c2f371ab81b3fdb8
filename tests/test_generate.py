"""The loop: stop, end, limits, seeds and batches; every answer as if it were alone."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logitlab import Context, Generation, ParameterError, SamplingParams, generate, resume, stream
from logitlab.generating import VERBOSITY_BIAS
from logitlab.models import Model, NGram, State
from scipy import stats

from strategies import stop_strings
from toys import END, NOTE, Bigrams, Hazard

MODEL = Bigrams()

FULL: dict[str, Any] = {
    "logit_bias": {3: 0.5}, "repetition_penalty": 1.2, "frequency_penalty": 0.2,
    "presence_penalty": 0.1, "temperature": 1.3, "top_k": 12, "top_p": 0.95, "min_p": 0.01,
    "top_a": 0.01, "logprobs": True, "top_logprobs": 3,
}  # fmt: skip


def same(one: Generation, other: Generation) -> bool:
    """Whether two generations are equal bit for bit."""
    parts = [(one.text, one.finish, one.seed, one.sequence) == (
        other.text, other.finish, other.seed, other.sequence
    ), np.array_equal(one.tokens, other.tokens)]  # fmt: skip
    if one.logprobs is not None and other.logprobs is not None:
        for name in ("logprobs", "top_tokens", "top_logprobs"):
            a, b = getattr(one.logprobs, name), getattr(other.logprobs, name)
            parts.append(a.shape == b.shape and a.tobytes() == b.tobytes())
    return all(parts) and (one.logprobs is None) == (other.logprobs is None)


# ---------------------------------------------------------------- against a plain loop


@pytest.mark.parametrize("engine", ["openrouter", "vllm", "sglang", "llama_cpp", "mlx_lm"])
@pytest.mark.parametrize("coupling", ["inverse", "gumbel"])
def test_each_token_is_a_sample_of_the_engines_chain(engine: str, coupling: Any) -> None:
    request = {key: value for key, value in FULL.items() if "logprobs" not in key}
    request |= {"logit_bias": {3: 0.5, END: -100}}
    chain = ll.engines.get(engine)(request)
    answer = generate(
        MODEL, [1, 2, 1], request, engine=engine, seed=5, sequence=3, max_tokens=20,
        coupling=coupling,
    )  # fmt: skip
    tokens: list[int] = []
    for position in range(20):
        logits = MODEL.advance([MODEL.start()], [[1, 2, 1, *tokens]])[0]
        drawn = ll.sample(
            logits, chain, context=Context([1, 2, 1], tokens), seed=5, sequence=3,
            position=position, coupling=coupling,
        )  # fmt: skip
        tokens.append(int(drawn.tokens))
    assert answer.tokens.tolist() == tokens


@pytest.mark.parametrize("mode", ["raw", "processed"])
def test_logprobs_are_those_of_each_step(mode: Any) -> None:
    answer = generate(MODEL, [1, 2], FULL, seed=1, max_tokens=12, logprobs_mode=mode)
    report = answer.logprobs
    assert report is not None
    chain = ll.engines.openrouter(SamplingParams(**FULL))
    for t, token in enumerate(answer.tokens.tolist()):
        before = answer.tokens[:t].tolist()
        logits = MODEL.advance([MODEL.start()], [[1, 2, *before]])[0]
        if mode == "processed":
            logits = chain(logits, Context([1, 2], before))
        probs = np.exp(logits.astype(np.float64))
        probs /= probs.sum()
        best = sorted(range(len(probs)), key=lambda i: (-probs[i], i))[:3]
        assert report.logprobs[t] == pytest.approx(np.log(probs[token]), abs=1e-9)
        alive = [token for token in best if probs[token] > 0]
        assert report.top_tokens[t, : len(alive)].tolist() == alive
        assert np.exp(report.top_logprobs[t, : len(alive)]) == pytest.approx(probs[alive], abs=1e-9)


def test_logprobs_are_by_default_what_the_engine_reports() -> None:
    asked = {"temperature": 0.5, "logprobs": True, "max_tokens": 8}
    tempered = generate(MODEL, [1], asked, engine="sglang", seed=1)
    raw = generate(MODEL, [1], asked, engine="sglang", seed=1, logprobs_mode="raw")
    assert tempered.tokens.tolist() == raw.tokens.tolist()
    assert not np.array_equal(tempered.logprobs.logprobs, raw.logprobs.logprobs)  # type: ignore[union-attr]
    with pytest.raises(ParameterError, match="whose log-probabilities are known, got 'koboldcpp'"):
        generate(MODEL, [1], asked, engine="koboldcpp")


def test_a_chain_acts_as_it_is() -> None:
    chain = ll.Chain(ll.Temperature(0.7), ll.TopK(3))
    params = SamplingParams(temperature=0.7, top_k=3)
    one = generate(MODEL, [1], chain, seed=1, max_tokens=20, stop="é")
    assert same(one, generate(MODEL, [1], params, seed=1, max_tokens=20, stop="é"))
    low = generate(MODEL, [1], chain, seed=1, max_tokens=20, verbosity="low")
    assert same(low, generate(MODEL, [1], params, seed=1, max_tokens=20, verbosity="low"))
    begun = generate(MODEL, [1], chain, seed=1, max_tokens=5, stop="é", logprobs=True)
    [whole] = resume(MODEL, [begun], max_tokens=20)
    assert same(whole, generate(MODEL, [1], chain, seed=1, max_tokens=20, stop="é", logprobs=True))


def test_the_trace_keeps_every_stage_of_every_token() -> None:
    answer = generate(MODEL, [1], SamplingParams(**FULL), seed=1, max_tokens=6, trace=True)
    assert answer.traces is not None
    assert len(answer.traces) == len(answer.tokens)
    for t, (trace, token) in enumerate(zip(answer.traces, answer.tokens.tolist(), strict=True)):
        before = answer.tokens[:t].tolist()
        assert trace.logits[0] == pytest.approx(MODEL.advance([MODEL.start()], [[1, *before]])[0])
        assert trace.logits[-1, token] > -np.inf
        assert trace.names[-1] == "TopA(0.01)"


# ---------------------------------------------------------------- alone as in any batch


def test_a_generation_is_the_same_alone_and_in_any_batch() -> None:
    prompts: list[Any] = [[1], [2, 3, 4], [1], [5, 5, 5, 5, 5, 6], [1, 9]]
    requests = [{**FULL, "temperature": t, "max_tokens": m}
                for t, m in [(0.5, 9), (1.0, 30), (2.0, 4), (0.0, 40), (1.0, 30)]]  # fmt: skip
    seeds = [1, 2, 1, -4, 10**30]
    alone = [generate(MODEL, *each, seed=seed)
             for *each, seed in zip(prompts, requests, seeds, strict=True)]  # fmt: skip
    order = [3, 1, 4, 0, 2]
    for size in (1, 2, 3, 64):
        batch = generate(MODEL, prompts, requests, seed=seeds, batch_size=size)
        assert all(map(same, alone, batch))
        other = generate(
            MODEL, [prompts[i] for i in order], [requests[i] for i in order],
            seed=[seeds[i] for i in order], batch_size=size,
        )  # fmt: skip
        assert all(same(alone[i], answer) for i, answer in zip(order, other, strict=True))
    pieces = list(stream(MODEL, prompts, requests, seed=seeds, batch_size=3))
    for i, whole in enumerate(alone):
        mine = [piece for piece in pieces if piece.index == i]
        assert "".join(piece.text for piece in mine) == whole.text
        assert [piece.token for piece in mine] == whole.tokens.tolist()
        assert [piece.generation is None for piece in mine] == [True] * (len(mine) - 1) + [False]
        assert same(mine[-1].generation, whole)  # type: ignore[arg-type]
        assert whole.logprobs is not None
        values = [piece.logprobs.logprobs for piece in mine if piece.logprobs is not None]
        assert values == whole.logprobs.logprobs.tolist()


@pytest.mark.parametrize("coupling", ["inverse", "gumbel"])
def test_answers_are_sequences_of_one_seed(coupling: Any) -> None:
    many = generate(MODEL, [[1], [2]], FULL, n=3, seed=7, max_tokens=10, coupling=coupling)
    assert [answer.sequence for answer in many] == [0, 1, 2] * 2
    for i, answer in enumerate(many):
        alone = generate(
            MODEL, [[1], [2]][i // 3], FULL, seed=7, sequence=i % 3, max_tokens=10,
            coupling=coupling,
        )  # fmt: skip
        assert same(answer, alone)
    assert len({tuple(answer.tokens.tolist()) for answer in many}) == 6


def test_a_fresh_seed_is_reported_and_repeats() -> None:
    one, two = generate(MODEL, [[1], [1]], max_tokens=30)
    assert one.seed != two.seed
    assert same(one, generate(MODEL, [1], max_tokens=30, seed=one.seed))
    assert generate(MODEL, [1], SamplingParams(seed=3), max_tokens=1).seed == 3
    assert generate(MODEL, [1], SamplingParams(seed=3), max_tokens=1, seed=4).seed == 4
    rng = np.random.default_rng(0)
    assert generate(MODEL, [1], max_tokens=1, seed=rng).seed != (
        generate(MODEL, [1], max_tokens=1, seed=rng).seed
    )


@given(st.integers(0, 40), st.sampled_from([{}, {"stop": ["a b", "é"]}, {"top_k": 1}]))
@settings(max_examples=15)
def test_a_generation_that_was_cut_can_be_resumed(length: int, more: dict[str, Any]) -> None:
    whole = generate(MODEL, [1, 2], FULL | more, seed=3, max_tokens=40)
    begun = generate(MODEL, [1, 2], FULL | more, seed=3, max_tokens=max(1, length))
    begun = pickle.loads(pickle.dumps(begun))
    assert same(resume(MODEL, [begun], max_tokens=40)[0], whole)


class Broken(Bigrams):
    """Is interrupted from the keyboard while it computes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        if len(self.calls) == self.at:
            signal.raise_signal(signal.SIGINT)
        return super().advance(states, tokens)


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_what_is_interrupted_is_returned_and_can_be_resumed(at: int) -> None:
    prompts = [[1], [2], [3], [4]]
    request = {**FULL, "logit_bias": {END: -100}}
    requests = [request | {"max_tokens": m} for m in (3, 9, 20, 6)]
    whole = generate(MODEL, prompts, requests, seed=1)
    begun = generate(Broken(at), prompts, requests, seed=1, batch_size=2)
    reasons = [answer.finish_reason for answer in begun]
    assert "interrupted" in reasons
    assert reasons.count("length") == sum(at + 1 >= m for m in (3,)) + (at >= 9)
    assert "Interrupted after token" in str(begun[-1].finish)
    assert all(map(same, resume(MODEL, begun), whole))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_raised() -> None:
    class Twice(Broken):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().advance(states, tokens)

    with pytest.raises(KeyboardInterrupt):
        generate(Twice(0), [1], max_tokens=5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_finished_rows_leave_the_batch_and_waiting_ones_enter() -> None:
    model = Bigrams()
    requests = [{"max_tokens": m, "logit_bias": {END: -100}} for m in (1, 3, 2, 1)]
    generate(model, [[1], [2, 3], [4], [5, 6, 7]], requests, seed=1, batch_size=2)
    assert model.calls == [[1, 2], [1, 1], [1, 1], [3]]


def test_a_prompt_is_read_once_for_all_its_answers() -> None:
    model = Bigrams()
    generate(model, [1, 2, 3], {"logit_bias": {END: -100}}, n=5, seed=1, max_tokens=2)
    assert model.calls == [[3], [1] * 5]


# ---------------------------------------------------------------- where a text ends


@given(st.integers(0, 10**6), stop_strings())
@settings(max_examples=60)
def test_text_is_the_unstopped_text_up_to_the_earliest_match(seed: int, stops: list[str]) -> None:
    free = generate(MODEL, [1, 2], seed=seed, max_tokens=40)
    places = [free.text.index(stop) for stop in stops if stop in free.text]
    expected = free.text[: min(places, default=len(free.text))]
    answer = generate(MODEL, [1, 2], seed=seed, max_tokens=40, stop=stops)
    assert answer.text == expected
    assert answer.tokens.tolist() == free.tokens[: len(answer.tokens)].tolist()
    shown = ""
    for piece in stream(MODEL, [1, 2], seed=seed, max_tokens=40, stop=stops):
        shown += piece.text
        assert expected.startswith(shown)
    assert shown == expected
    if places:
        assert answer.finish.cause == "stop string"
        assert answer.finish.stop in stops


def test_special_tokens_are_not_in_the_text() -> None:
    answer = generate(MODEL, [1], {"logit_bias": {NOTE: 5, END: -100}}, seed=1, max_tokens=40)
    assert NOTE in answer.tokens.tolist()
    assert "<note>" not in answer.text
    assert answer.text == MODEL.vocabulary.decode([t for t in answer.tokens if t != NOTE])


def test_why_it_ended() -> None:
    def finish(**request: Any) -> Any:
        return generate(MODEL, [1, 2], seed=1, **request).finish

    assert str(finish(max_tokens=5)) == "max_tokens 5 was reached."
    ended = generate(MODEL, [1, 2], {"logit_bias": {END: 100}}, seed=1)
    assert str(ended.finish) == "The model ended the text with <end>, its token 1."
    assert (ended.text, ended.finish_reason, ended.tokens.tolist()) == ("", "stop", [END])
    assert ended.usage.total_tokens == 3
    full = generate(MODEL, [1, 2], {"logit_bias": {END: -100}}, seed=1)
    assert str(full.finish) == "The context of 64 tokens is full."
    assert (full.finish_reason, len(full.tokens)) == ("length", 62)
    short = generate(MODEL, [1] * 60, {"logit_bias": {END: -100}}, seed=1, max_tokens=50)
    assert (short.finish.cause, len(short.tokens)) == ("context", 4)
    found = generate(MODEL, [1, 2], {"logit_bias": {END: -100, 2: 100}}, seed=1, stop=["x", "bb"])
    assert str(found.finish) == "The stop string 'bb' was found at character 0."
    assert (found.text, found.tokens.tolist()) == ("", [2, 2])


def test_a_bias_forbids_the_end() -> None:
    assert END not in generate(MODEL, [1], {"logit_bias": {"0": -100}}, seed=1).tokens.tolist()


# ---------------------------------------------------------------- verbosity


@pytest.mark.parametrize(("verbosity", "factor"), [("low", 1.5), ("medium", 1), ("high", 1 / 1.5)])
def test_expected_length_under_verbosity(verbosity: str, factor: float) -> None:
    """The length is geometric, its mean (1 - h) / (h f); z-test at a false-alarm rate of 1e-6."""
    hazard, count = 0.05, 1500
    answers = generate(
        Hazard(hazard), [1], n=count, seed=11, verbosity=verbosity, max_tokens=10**4,
        batch_size=count,
    )  # fmt: skip
    assert {answer.finish.cause for answer in answers} == {"end token"}
    lengths = np.array([len(answer.tokens) - 1 for answer in answers])
    mean = (1 - hazard) / (hazard * factor)
    deviation = np.sqrt(mean * (mean + 1) / count)
    assert 2 * stats.norm.sf(abs(lengths.mean() - mean) / deviation) > 1e-6


def test_verbosity_is_a_bias_on_the_end() -> None:
    def answer(**request: Any) -> Generation:
        params = SamplingParams(**{**FULL, **request})
        return generate(MODEL, [1], params, seed=2, logprobs_mode="processed")

    assert same(answer(), answer(verbosity="medium"))
    low = {3: 0.5, END: VERBOSITY_BIAS}
    assert same(answer(verbosity="low"), answer(logit_bias=low))
    both = {3: 0.5, END: 0.3 - VERBOSITY_BIAS}
    assert same(answer(verbosity="high", logit_bias={3: 0.5, END: 0.3}), answer(logit_bias=both))
    wide = generate(MODEL, [1], verbosity="low", verbosity_bias=50.0, seed=1)
    assert wide.tokens.tolist() == [END]


@pytest.mark.parametrize("engine", ["vllm", "sglang", "transformers", "mlx_lm"])
def test_verbosity_multiplies_the_odds_of_ending_at_every_engine(engine: str) -> None:
    def probs(verbosity: str) -> Any:
        answer = generate(
            MODEL, [1], {"temperature": 1.0, "top_k": 19}, engine=engine, seed=1, max_tokens=1,
            verbosity=verbosity, trace=True,
        )  # fmt: skip
        assert answer.traces is not None
        return ll.softmax(answer.traces[0].logits[-1])

    medium, high = probs("medium"), probs("high")
    assert high[END] / (1 - high[END]) == pytest.approx(medium[END] / (1 - medium[END]) / 1.5)
    assert high[1:] / high[1:].sum() == pytest.approx(medium[1:] / medium[1:].sum())


# ---------------------------------------------------------------- penalties over a text


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("frequency_penalty", (-0.5, 0, 0.5, 2)),
        ("presence_penalty", (-1, 0, 1, 2)),
        ("repetition_penalty", (0.8, 1, 1.3, 2)),
    ],
)
def test_repetition_falls_with_each_penalty(key: str, values: tuple[float, ...]) -> None:
    """Paired one-sided t-tests at equal seeds; each fails by chance less than once in 1e4 runs."""
    rates = []
    for value in values:
        request = {key: value, "logit_bias": {END: -100}, "max_tokens": 30}
        answers = generate(MODEL, [1], request, n=200, seed=5, batch_size=200)
        rates.append([1 - len(set(answer.tokens.tolist())) / 30 for answer in answers])
    for weaker, stronger in pairwise(rates):
        assert stats.ttest_rel(weaker, stronger, alternative="greater").pvalue < 1e-4


# ---------------------------------------------------------------- what is wrong is said at once


class Endless(Bigrams):
    def __init__(self) -> None:
        super().__init__(context_length=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, "prompt must be a text, token ids or chat messages, not empty, got ''."),
        ({"prompt": []}, "prompt must be a text, token ids or chat messages, not empty, got []."),
        ({"prompt": b"a"}, "prompt must be a text, token ids or chat messages"),
        ({"prompt": 5}, "prompt must be a text, token ids or chat messages"),
        ({"prompt": [1.5]}, "prompt must be an integer in [0, 19], got [1.5]."),
        ({"prompt": [20]}, "prompt must be an integer in [0, 19], got 20."),
        ({"prompt": np.array(5)}, "prompt must be a text, token ids or chat messages"),
        ({"prompt": [[1], []]}, "(In prompt 1.)"),
        ({"seed": np.array(3.5)}, "seed must be an integer"),
        ({"prompt": "zzz"}, "token must be the whole text of one token"),
        ({"prompt": [1] * 64}, "prompt must be shorter than the context of 64 tokens, got 64 tok"),
        ({"prompt": [{"role": "poet", "content": "a"}]}, "messages[0].role must be one of"),
        ({"prompt": [{"content": "a"}]}, "messages[0].role must be one of"),
        ({"prompt": [{"role": "user"}]}, "messages[0].content must be a text"),
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0."),
        ({"stop": ""}, "stop must be an array of non-empty strings, got ''."),
        ({"stop": ["a", ""]}, "stop must be an array of non-empty strings"),
        ({"top_logprobs": 3}, "top_logprobs must be 0 unless logprobs is on, got 3."),
        ({"logprobs": True, "top_logprobs": 20, "model": Hazard(0.5), "max_tokens": 1},
         "top_logprobs must be at most the 4 tokens of the model, got 20."),
        ({"temperature": 3}, "temperature must be in [0, 2], got 3."),
        ({"temprature": 1}, "keywords must be request parameters, got temprature=1."),
        ({"logit_bias": {20: 1}}, "logit_bias must be a map whose keys are token ids in"),
        ({"verbosity": "huge"}, "verbosity must be one of 'low', 'medium', 'high', got 'huge'."),
        ({"verbosity_bias": "big"}, "verbosity_bias must be"),
        ({"constraint": "yes"}, "constraint must be a Constraint or None, got 'yes'."),
        ({"engine": "llama"}, "engine must be one of"),
        ({"coupling": "luck"}, "coupling must be one of"),
        ({"logprobs_mode": "all"}, "logprobs_mode must be one of"),
        ({"trace": 1}, "trace must be True or False, got 1."),
        ({"n": 0}, "n must be an integer >= 1, got 0."),
        ({"seed": 1.5}, "seed must be an integer, got 1.5."),
        ({"sequence": -1}, "sequence must be an integer in"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0."),
        ({"model": "gpt"}, "model must be a Model, got 'gpt'."),
        ({"params": 5}, "params must be SamplingParams, a request body, a chain or None, got 5."),
        ({"params": ll.Chain(ll.TopK(3)), "top_p": 0.5}, "top_p must be a step of the chain"),
        ({"params": ll.Chain(ll.TopK([3, 4]))}, "params must be a chain of steps with one value"),
        ({"params": ll.Chain(ll.LogitBias({1: [3, 4]}))}, "params must be a chain of steps with"),
        ({"prompt": [[1], [2]], "seed": [1, 2, 3]}, "prompt must be one, or a list of 3, got a l"),
        ({"model": Endless()}, "max_tokens must be given for bigrams, whose context has no end"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_done(
    change: dict[str, Any], message: str
) -> None:
    arguments = {"model": MODEL, "prompt": [1], "params": None, **change}
    model = arguments["model"]
    calls = len(model.calls) if isinstance(model, Bigrams) else 0
    for function in (generate, stream):
        with pytest.raises(ParameterError) as error:
            function(**arguments)
        assert message in str(error.value)
    assert calls == (len(model.calls) if isinstance(model, Bigrams) else 0)


def test_a_model_that_breaks_its_promise_is_told_so() -> None:
    class Short(Bigrams):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return super().advance(states, tokens)[:, :5]

    class Nan(Bigrams):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return super().advance(states, tokens) * np.nan

    with pytest.raises(ParameterError, match=r"logits must be of shape \(1, 20\), one row for"):
        generate(Short(), [1], max_tokens=2)
    with pytest.raises(ParameterError, match=r"logits must be free of NaN.*logits of bigrams"):
        generate(Nan(), [1], max_tokens=2)


def test_messages_go_through_the_models_template() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
    ]
    answer = generate(MODEL, messages, max_tokens=1)
    assert answer.prompt.tolist() == MODEL.encode("ab\n\nb\n\n")
    prompts: list[Any] = [messages, "ab"]
    many = generate(MODEL, prompts, max_tokens=1)
    assert [each.prompt.tolist() for each in many] == [answer.prompt.tolist(), [1, 2]]


def test_generations_show_themselves() -> None:
    answer = generate(MODEL, [1], {"logit_bias": {1: 100}}, seed=4, max_tokens=3)
    assert repr(answer) == "<Generation 'aaa': 3 tokens, max_tokens, seed 4>"
    assert str(answer) == "aaa"


def test_models_are_not_asked_for_what_is_resumed_already() -> None:
    done: list[Generation] = [generate(MODEL, [1], max_tokens=3, seed=1)]
    assert resume(MODEL, done) == done
    with pytest.raises(ParameterError, match="generations must be a sequence of Generation"):
        resume(MODEL, [5])  # type: ignore[list-item]


def test_every_model_is_a_model() -> None:
    assert isinstance(MODEL, Model)


# ---------------------------------------------------------------- the bundled model


def test_greedy_text_of_the_bundled_model() -> None:
    answer = generate(NGram.bundled(), "Once upon a time", temperature=0, max_tokens=37)
    assert answer.text == (
        " there was a loud noise, which made the youngest sister tremble with fear; but the eldest "
        "still said, it was only the princes, who were crying for joy. So they"
    )


def test_the_bundled_model_ends_its_tales() -> None:
    answers = generate(NGram.bundled(), "THE END", temperature=1, n=8, seed=3, verbosity="low")
    assert any(answer.finish.cause == "end token" for answer in answers)
    assert all("<|end|>" not in answer.text for answer in answers)


def test_text_of_the_bundled_model_reads_like_its_book() -> None:
    """Most pairs of words that it writes at temperature 1 with min_p stand in the book, too."""
    answers = generate(
        NGram.bundled(), "The king said", temperature=1, min_p=0.05, n=20, seed=1, max_tokens=100
    )
    book = " ".join(ll.datasets.texts("grimm")).split()
    known = set(pairwise(book))
    words = [answer.text.split() for answer in answers]
    pairs = [pair for text in words for pair in pairwise(text[1:-1])]
    assert len(pairs) > 1000
    assert np.mean([pair in known for pair in pairs]) > 0.85


# ---------------------------------------------------------------- cut, and gone on with


class Script(Bigrams):
    """Writes one text, a byte at a time."""

    context_length = None

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text
        self.vocabulary = ll.Vocabulary(
            [bytes([value]) for value in range(256)] + [b"<end>"], [256]
        )
        self.end_ids = frozenset([256])

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        logits = np.full((len(states), 257), -50.0)
        for row, state, new in zip(logits, states, tokens, strict=True):
            state.read(new)
            place = len(state.tokens) - 1
            row[self.text[place] if place < len(self.text) else 256] = 50.0
        return logits


@pytest.mark.parametrize(
    ("text", "stops"),
    [("xabcd", ["b", "abcd"]), ("xabce", ["b", "abcd"]), ("\ufffdaaaaé", ["é", "a\ufffd"])],
)
def test_a_text_that_was_cut_anywhere_goes_on_as_if_it_had_not_been(
    text: str, stops: list[str]
) -> None:
    model = Script(text.encode())
    whole = generate(model, [1], temperature=0, seed=1, stop=stops, max_tokens=30)
    assert whole.text == text[: min([text.index(s) for s in stops if s in text])]
    for length in range(1, len(text.encode()) + 2):
        cut = generate(model, [1], temperature=0, seed=1, stop=stops, max_tokens=length)
        [resumed] = resume(model, [cut], max_tokens=30)
        assert same(resumed, whole)


def test_what_is_wrong_with_resume_is_said() -> None:
    begun = generate(MODEL, [1], {"logit_bias": {END: -100}}, seed=1, max_tokens=8)
    broken = generate(Broken(5), [1], {"logit_bias": {END: -100}}, seed=1, max_tokens=9)
    for arguments, message in [
        ((MODEL, None), "generations must be a sequence of Generation, got [None]."),
        ((None, [begun]), "model must be a Model, got None."),
        ((MODEL, [begun], 0), "max_tokens must be an integer >= 1, got 0."),
        ((MODEL, [begun], "x"), "max_tokens must be an integer >= 1, got 'x'."),
        ((MODEL, [begun], 3), "max_tokens must be at least the 8 tokens that there are, got 3."),
        ((MODEL, [broken], 3), "max_tokens must be at least the 6 tokens that there are, got 3."),
        ((Hazard(0.5), [begun], 20), "model must be bigrams, which began the text, got 'hazard'."),
    ]:
        model, generations, *limit = arguments
        with pytest.raises(ParameterError) as error:
            resume(model, generations, max_tokens=limit[0] if limit else None)  # type: ignore[arg-type]
        assert message.split(", got [None]")[0] in str(error.value)
    lazily: Any = (one for one in [begun])
    assert len(resume(MODEL, lazily, max_tokens=12)[0].tokens) == 12


def test_a_request_that_changes_later_changes_nothing() -> None:
    request: dict[str, Any] = {"temperature": 0.5, "seed": 1, "logit_bias": {END: -100}}
    whole = generate(MODEL, [1], dict(request), max_tokens=20)
    begun = generate(MODEL, [1], request, max_tokens=5)
    request["temperature"] = 2.0
    request["logit_bias"][END] = 100
    assert same(resume(MODEL, [begun], max_tokens=20)[0], whole)


def test_the_least_that_a_model_is() -> None:
    class Least(Model):
        vocabulary = ll.Vocabulary([b"a", b"b"])

        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return np.zeros((len(states), 2))

    assert len(generate(Least(), [0], max_tokens=3).tokens) == 3
