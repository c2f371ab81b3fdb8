"""The loop: stop, end, limits, seeds and batches; every answer as if it were alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    Context,
    Generation,
    ParameterError,
    SamplingParams,
    generate,
    generate_many,
    resume,
    stream,
)
from logitlab.generation.generate import _loop, _pieces
from logitlab.generation.options import VERBOSITY_BIAS, Options
from logitlab.models import NGram
from scipy import stats

from strategies import stop_strings
from toys import END, FULL, NOTE, Bigrams, Hazard, same

MODEL = Bigrams()


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


@pytest.mark.parametrize("engine", ["transformers_serve"])
def test_an_engine_that_reports_no_logprobs_reports_null_and_says_so(engine: str) -> None:
    asked = {"temperature": 0.5, "logprobs": True, "top_logprobs": 2, "max_tokens": 3}
    answer = generate(MODEL, [1], asked, engine=engine, seed=1)
    assert answer.logprobs is None
    told = {note.key for note in answer.notes if note.effect == "ignored"}
    assert {"logprobs", "top_logprobs"} <= told
    raw = generate(MODEL, [1], asked, engine=engine, seed=1, logprobs_mode="raw")
    assert raw.logprobs is not None
    assert raw.tokens.tolist() == answer.tokens.tolist()
    body = {"prompt": "a", "seed": 1, **asked}
    chatted = ll.chat(body, MODEL, engine=engine)
    assert chatted["choices"][0]["logprobs"] is None
    assert any(note.startswith("logprobs is ignored") for note in chatted["logitlab"]["notes"])
    shown = ll.chat(body, MODEL, engine=engine, logprobs_mode="raw")["choices"][0]["logprobs"]
    assert len(shown["content"][0]["top_logprobs"]) == 2


def test_where_nobody_says_what_is_reported_the_mode_is_asked_for() -> None:
    asked = {"logprobs": True, "max_tokens": 3, "seed": 1}
    wanted = (
        "logprobs must be false, or asked for with logprobs_mode 'raw' or 'processed', got True. "
        "openai does not say what it reports."
    )
    with pytest.raises(ParameterError) as error:
        generate(MODEL, [1], asked, engine="openai", seed=1)
    assert str(error.value) == wanted
    assert ll.chat({"prompt": "a", **asked}, MODEL, engine="openai")["error"]["message"] == wanted
    for mode in ("raw", "processed"):
        answer = generate(MODEL, [1], asked, engine="openai", seed=1, logprobs_mode=mode)
        assert answer.logprobs is not None
        body = ll.chat({"prompt": "a", **asked}, MODEL, engine="openai", logprobs_mode=mode)
        assert body["choices"][0]["logprobs"]["content"]
        chunks = ll.chat_stream(
            {"prompt": "a", **asked}, MODEL, engine="openai", logprobs_mode=mode
        )
        assert any(c["choices"] and c["choices"][0]["logprobs"] for c in chunks)


def test_how_many_answers_there_are_is_a_matter_of_the_engines_rules() -> None:
    greedy = {"temperature": 0, "max_tokens": 2}
    with pytest.raises(ParameterError, match=r"^n must be 1 when using greedy sampling, got 2\."):
        generate(MODEL, [1], greedy, engine="vllm", n=2)
    assert len(generate(MODEL, [1], greedy, engine="vllm", n=1)) == 1
    assert len(generate(MODEL, [1], {**greedy, "temperature": 1e-6}, engine="vllm", n=2)) == 2
    assert len(generate(MODEL, [1], greedy, engine="sglang", n=2)) == 2
    body = {"prompt": "a", "n": 2, **greedy}
    said = ll.chat(body, MODEL, engine="vllm")["error"]["message"]
    assert said.startswith("n must be 1 when using greedy sampling, got 2.")


def test_minus_one_reports_the_whole_vocabulary() -> None:
    asked = {"logprobs": True, "top_logprobs": -1, "max_tokens": 2, "temperature": 1}
    size = len(MODEL.vocabulary)
    answer = generate(MODEL, [1], asked, engine="vllm", seed=1)
    assert answer.logprobs is not None
    assert answer.logprobs.top_tokens.shape == (2, size)
    few = ll.engines.vllm.with_options(max_logprobs=size - 1)
    says = f"Requested sample logprobs of {size}, which is greater than max allowed: {size - 1}"
    with pytest.raises(ParameterError, match=says):
        generate(MODEL, [1], asked, engine=few, seed=1)


def test_keys_of_a_bias_are_tokenised_where_the_server_does() -> None:
    asked = {"max_tokens": 3, "temperature": 1}
    by_text = generate(MODEL, [1], {**asked, "logit_bias": {"ab": 3}}, engine="llama_cpp", seed=1)
    ids = dict.fromkeys(MODEL.encode("ab"), 3.0)
    by_ids = generate(MODEL, [1], {**asked, "logit_bias": ids}, engine="llama_cpp", seed=1)
    assert by_text.tokens.tolist() == by_ids.tokens.tolist()
    assert (
        by_text.tokens.tolist()
        != generate(MODEL, [1], asked, engine="llama_cpp", seed=1).tokens.tolist()
    )
    banned = [[token, False] for token in range(2, len(MODEL.vocabulary))]
    only = generate(MODEL, [1], {**asked, "logit_bias": banned}, engine="llama_cpp", seed=1)
    assert set(only.tokens.tolist()) <= {0, 1}


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


def test_a_generation_is_the_same_alone_and_in_any_batch() -> None:
    prompts: list[Any] = [[1], [2, 3, 4], [1], [5, 5, 5, 5, 5, 6], [1, 9]]
    requests = [{**FULL, "temperature": t, "max_tokens": m}
                for t, m in [(0.5, 9), (1.0, 30), (2.0, 4), (0.0, 40), (1.0, 30)]]  # fmt: skip
    seeds = [1, 2, 1, -4, 10**30]
    alone = [generate(MODEL, *each, seed=seed)
             for *each, seed in zip(prompts, requests, seeds, strict=True)]  # fmt: skip
    order = [3, 1, 4, 0, 2]
    for size in (1, 2, 3, 64):
        batch = generate_many(MODEL, prompts, requests, seed=seeds, batch_size=size)
        assert all(map(same, alone, batch))
        other = generate_many(
            MODEL, [prompts[i] for i in order], [requests[i] for i in order],
            seed=[seeds[i] for i in order], batch_size=size,
        )  # fmt: skip
        assert all(same(alone[i], answer) for i, answer in zip(order, other, strict=True))
    loop = _loop(MODEL, prompts, requests, [Options(batch_size=3)], seeds, None)
    pieces = list(_pieces(loop))
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
    many = generate_many(MODEL, [[1], [2]], FULL, n=3, seed=7, max_tokens=10, coupling=coupling)
    assert [answer.sequence for answer in many] == [0, 1, 2] * 2
    for i, answer in enumerate(many):
        alone = generate(
            MODEL, [[1], [2]][i // 3], FULL, seed=7, sequence=i % 3, max_tokens=10,
            coupling=coupling,
        )  # fmt: skip
        assert same(answer, alone)
    assert len({tuple(answer.tokens.tolist()) for answer in many}) == 6


def test_a_fresh_seed_is_reported_and_repeats() -> None:
    one, two = generate_many(MODEL, [[1], [1]], max_tokens=30)
    assert one.seed != two.seed
    assert same(one, generate(MODEL, [1], max_tokens=30, seed=one.seed))
    assert generate(MODEL, [1], SamplingParams(seed=3), max_tokens=1).seed == 3
    assert generate(MODEL, [1], SamplingParams(seed=3), max_tokens=1, seed=4).seed == 4
    rng = np.random.default_rng(0)
    assert generate(MODEL, [1], max_tokens=1, seed=rng).seed != (
        generate(MODEL, [1], max_tokens=1, seed=rng).seed
    )


def test_finished_rows_leave_the_batch_and_waiting_ones_enter() -> None:
    model = Bigrams()
    requests = [{"max_tokens": m, "logit_bias": {END: -100}} for m in (1, 3, 2, 1)]
    generate_many(model, [[1], [2, 3], [4], [5, 6, 7]], requests, seed=1, batch_size=2)
    assert model.calls == [[1, 2], [1, 1], [1, 1], [3]]


def test_a_prompt_is_read_once_for_all_its_answers() -> None:
    model = Bigrams()
    generate(model, [1, 2, 3], {"logit_bias": {END: -100}}, n=5, seed=1, max_tokens=2)
    assert model.calls == [[3], [1] * 5]


@given(st.integers(0, 10**6), stop_strings())
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
        answers = generate(MODEL, [1], request, n=100, seed=5, batch_size=100)
        rates.append([1 - len(set(answer.tokens.tolist())) / 30 for answer in answers])
    for weaker, stronger in pairwise(rates):
        assert stats.ttest_rel(weaker, stronger, alternative="greater").pvalue < 1e-4


def test_greedy_text_of_the_bundled_model() -> None:
    answer = generate(NGram.bundled(), "Once upon a time", temperature=0, max_tokens=37)
    assert answer.text == (
        " there was a loud noise, which made the youngest sister tremble with fear; but the eldest "
        "still said, it was only the princes, who were crying for joy. So they"
    )


def test_the_bundled_model_ends_its_tales() -> None:
    request = {"verbosity": "low", "max_tokens": 600}
    answers = generate(NGram.bundled(), "THE END", request, temperature=1, n=8, seed=3)
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
