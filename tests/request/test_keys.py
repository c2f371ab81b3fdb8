"""Keys beside the parameters: slips are errors, others are told, wherever a request is taken."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, SamplingParams, engines
from logitlab.engines.rules import Option, RefusalError
from logitlab.request.keys import FOREIGN, KNOWN
from logitlab.request.params import PARAMETERS

from toys import Bigrams

ROW = np.log([0.4, 0.3, 0.2, 0.1])
MODEL = Bigrams()

SLIPS = {
    "temprature": "temperature",
    "tempurature": "temperature",
    "Temperature": "temperature",
    "temp": "temperature",
    "topP": "top_p",
    "top-p": "top_p",
    "topk": "top_k",
    "freqency_penalty": "frequency_penalty",
    "presence_penality": "presence_penalty",
    "repetion_penalty": "repetition_penalty",
    "max_token": "max_tokens",
    "maxTokens": "max_tokens",
    "logitbias": "logit_bias",
    "log_probs": "logprobs",
    "respones_format": "response_format",
    "seeds": "seed",
    "typicalp": "typical_p",
    "xtc_probabilty": "xtc_probability",
    "repeat_last_m": "repeat_last_n",
    "rep_pen_rang": "rep_pen_range",
    "usr": "user",
    "streem": "stream",
}

OTHERS = (
    *("user", "top_n", "stream", "n_probs", "best_of", "logit_bias_x", "truncate"),
    *("typical", "seed_x", "metadata", "provider", "transforms", "suffix", "echo", "foo"),
    *("bar", "x", "my_own_key", "min_keep", "grammar"),
)

SINGLE: list[Callable[..., Any]] = [
    lambda request, **more: ll.sample(ROW, request, **more),
    lambda request, **more: ll.survivors(ROW, request, **more),
    lambda request, **more: ll.logprobs(ROW, 0, request, mode="processed", **more),
    lambda request, **more: ll.trace(ROW, request, **more),
    lambda request, **more: ll.sweep(ROW[None], {"top_k": [1]}, request=request, **more),
    lambda request, **more: ll.simulate(ROW[None], {"top_k": [1]}, request=request, **more),
]
NOTED: list[Callable[..., Any]] = [
    *SINGLE,
    lambda request, **more: ll.translate(request, more.get("engine", "openrouter")),
    lambda request, **more: ll.generate(MODEL, [1], request, max_tokens=1, **more),
    lambda request, **more: ll.generate_many(MODEL, [[1]], request, max_tokens=1, **more)[0],
    lambda request, **more: [*ll.stream(MODEL, [1], request, max_tokens=1, **more)][-1].generation,
]
BARE: list[Callable[..., Any]] = [
    lambda request, **more: ll.greedy(ROW, request, **more),
    lambda request, **more: ll.distribution(ROW, request, **more),
    lambda request, **more: ll.plan(request, **more),
    lambda request, **more: ll.plot.sweep(ROW, {"top_k": [1, 2]}, request=request, **more),
    lambda request, **more: ll.plot.sweep(
        ROW, {"top_k": [1, 2]}, show="entropy", request=request, **more
    ),
    lambda request, **more: ll.plot.penalties(
        ROW, {"presence_penalty": 1, **request}, context=ll.Context([0]), **more
    ),
    lambda request, **more: engines.get(more.get("engine", "openrouter"))(request),
    lambda request, **more: engines.vllm.draw(ROW, {"seed": 1, **request}),
]


@pytest.mark.parametrize(("slip", "meant"), SLIPS.items())
def test_a_slip_says_what_was_probably_meant(slip: str, meant: str) -> None:
    message = rf"^{slip} must be a known key, got 0.1. Did you mean {meant}\?$"
    for function in [*NOTED, *BARE]:
        with pytest.raises(ParameterError, match=message):
            function({slip: 0.1})
    with pytest.raises(ParameterError, match=message):
        ll.compare_engines(ROW, {slip: 0.1})
    with pytest.raises(ParameterError, match=message):
        SamplingParams.from_request({slip: 0.1})
    with pytest.raises(ParameterError, match=message):
        SamplingParams(extra={slip: 0.1})
    body = {"prompt": "a", "max_tokens": 1, slip: 0.1}
    assert f"Did you mean {meant}?" in ll.chat(MODEL, body)["error"]["message"]
    with pytest.raises(ParameterError, match=message):
        ll.chat_stream(MODEL, body)
    for engine in ("vllm", "llama_cpp"):
        with pytest.raises(ParameterError, match=message):
            ll.sample(ROW, {slip: 0.1}, engine=engine)


@pytest.mark.parametrize("key", OTHERS)
def test_any_other_key_is_passed_through_and_told(key: str) -> None:
    for function in NOTED:
        for engine in ("openrouter", "vllm"):
            notes = [note for note in function({key: 1}, engine=engine).notes if note.key == key]
            assert [note.effect for note in notes] == ["unknown"]
    assert SamplingParams.from_request({key: 1}).extra == {key: 1}
    assert not [*ll.sample(ROW, {key: None}).notes]
    [note] = ll.compare_engines(ROW, {key: 1}, engines=["openai"]).notes["openai"]
    assert note.key == key


def test_what_has_no_notes_refuses_a_key_that_nobody_knows() -> None:
    for function in BARE:
        function({"user": "me", "stop_token_ids": [3], "repeat_last_n": 3})
        with pytest.raises(ParameterError, match=r"^request must be free of keys that nobody know"):
            function({"my_own_key": 1})


def test_no_known_key_is_a_slip() -> None:
    for key in (*FOREIGN - {"n"}, *KNOWN.keys() - PARAMETERS.keys()):
        with suppress(RefusalError):  # whose rule is about another kind of mistake
            ll.translate({key: 1}, "openai")
    assert ll.sample(ROW, {5: 1}).notes[0].effect == "unknown"  # type: ignore[dict-item]


def test_no_key_is_a_parameter_and_foreign() -> None:
    assert not FOREIGN & PARAMETERS.keys()
    assert {"num_predict", "num_ctx", "keep_alive", "penalty_range", "adapter_id"} <= FOREIGN


def test_the_keys_of_an_engine_of_ones_own_are_known() -> None:
    asked = {"top_kk": 3}
    with pytest.raises(ParameterError, match="Did you mean top_k"):
        ll.sample(ROW, asked)
    option = Option(0, lambda key, value: value)
    mine = engines.Engine("mine", lambda p: ll.Chain(ll.TopK(p.top_kk)), options={"top_kk": option})
    try:
        assert repr(mine(asked)) == "Chain(TopK(3))"
        assert ll.sample(ROW, asked).notes[0].effect == "unknown"
    finally:
        KNOWN.pop("top_kk")


def test_names_of_all_kinds_are_suggested() -> None:
    for call, meant in (
        (lambda: ll.sample(ROW, engine="vlm"), "vllm"),
        (lambda: ll.sample(ROW, coupling="gumble"), "gumbel"),  # type: ignore[arg-type]
        (lambda: ll.compare_engines(ROW, {}, engines=["sglnag"]), "sglang"),
        (lambda: ll.sweep(ROW[None], {"top_k": [1]}, "entropi"), "entropy"),
        (lambda: ll.sweep(ROW[None], {"topk": [1]}), "top_k"),
        (lambda: ll.sweep(ROW[None], {"top_k": [1]}, reduce="row"), "rows"),
        (lambda: ll.datasets.load("smolm2"), "smollm2"),
        (lambda: ll.generate(MODEL, [1], temprature=1), "temperature"),
        (lambda: ll.generate(MODEL, [1], bach_size=1), "batch_size"),
        (lambda: ll.models.load("grim"), "grimm"),
        (lambda: ll.claims.findings("top_pp"), "top_p"),
        (lambda: ll.TopP(0.5, ties="lowset"), "lowest"),
        (lambda: SamplingParams(verbosity="hihg"), "high"),
    ):
        with pytest.raises(ParameterError, match=rf"Did you mean {meant}\?"):
            call()


def test_n_is_what_the_keyword_is_wherever_text_is_written() -> None:
    plain = ll.generate(MODEL, [1], n=3, seed=5, max_tokens=4)
    texts = [answer.text for answer in plain]
    body = {"n": 3, "seed": 5, "max_tokens": 4}
    for request in (body, SamplingParams.from_request(body)):
        answers = ll.generate(MODEL, [1], request)
        assert [answer.text for answer in answers] == texts  # type: ignore[attr-defined]
        assert not answers[0].notes  # type: ignore[index]
        assert len(ll.generate(MODEL, [1], request, n=3)) == 3
        assert [a.text for a in ll.generate_many(MODEL, [[1]], request)] == texts
        whole = [p.generation for p in ll.stream(MODEL, [1], request) if p.generation]
        assert sorted(answer.text for answer in whole) == sorted(texts)
        with pytest.raises(ParameterError, match=r"^n must be 3, as in the request, or absent"):
            ll.generate(MODEL, [1], request, n=2)
    assert len(ll.generate_many(MODEL, [[1], [2]], [{"n": 2}, {"n": 1}], max_tokens=1)) == 3
    assert isinstance(ll.generate(MODEL, [1], {"n": None}, max_tokens=1), ll.Generation)
    for wrong in (0, -1, 1.5, "2", True, 2**70):
        with pytest.raises(ParameterError, match=r"^n must be "):
            ll.generate(MODEL, [1], {"n": wrong})


def test_n_is_refused_where_a_single_token_is_drawn() -> None:
    for function in (*SINGLE, *BARE):
        with pytest.raises(ParameterError, match=r"^n must be 1 where single tokens are sampled, "):
            function({"n": 3})
        for harmless in (1, None):
            function({"n": harmless})
    assert not ll.sample(ROW, {"n": 1}).notes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"logit_bias": {5: 1, 3: 2}}, {"logit_bias": {"3": 2.0, "5": 1.0}}),
        ({"stop": "a"}, {"stop": ["a"]}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": [1, {}]}}}},
            {"response_format": {"json_schema": {"schema": {"a": [1, {}]}}, "type": "json_schema"}},
        ),
        ({"x": {"y": [1, 2]}, "z": (1,)}, {"z": (1,), "x": {"y": [1.0, 2]}}),
        ({"x": bytearray(b"a")}, {"x": b"a"}),
        ({"x": np.int64(3)}, {"x": 3}),
        ({}, {"seed": None}),
    ],
)
def test_equal_requests_have_equal_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = SamplingParams.from_request(one), SamplingParams.from_request(other)
    assert first == second
    assert hash(first) == hash(second)
    again = pickle.loads(pickle.dumps(first))
    assert {first: 1}[again] == 1
    assert {first, second, again} == {first}
    assert first != SamplingParams(seed=9)


def test_different_requests_seldom_share_a_hash() -> None:
    many = {SamplingParams(temperature=t / 100, top_p=p / 100) for t in range(50) for p in range(9)}
    assert len(set(map(hash, many))) == 450
