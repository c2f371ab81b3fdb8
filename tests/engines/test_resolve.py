"""One request: whatever its form, it is read, checked and translated once."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, ParameterError, SamplingParams, Temperature, TopK, engines
from logitlab.engines.resolve import Resolved, resolve
from logitlab.request.params import Parameter

from toys import FULL, Bigrams, halved

ROW = np.log([0.4, 0.3, 0.2, 0.1])
MODEL = Bigrams()
BUILT_IN = tuple(engines.ENGINES.values())  # before other tests make more
REQUEST: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "logit_bias": {"2": 1.0}, "seed": 3}
WHOLE: dict[str, Any] = {
    **REQUEST,
    "max_tokens": 3,
    "stop": ["zz"],
    "logprobs": True,
    "top_logprobs": 2,
}

ONE_TOKEN: list[Callable[..., Any]] = [
    lambda request, **more: ll.sample(ROW, request, **more),
    lambda request, **more: ll.greedy(ROW, request, **more),
    lambda request, **more: ll.survivors(ROW, request, **more),
    lambda request, **more: ll.logprobs(ROW, 0, request, mode="processed", **more),
    lambda request, **more: ll.distribution(ROW, request, **more),
    lambda request, **more: ll.trace(ROW, request, **more),
    lambda request, **more: ll.plan(request, **more),
]
TEXTS: list[Callable[..., Any]] = [
    lambda request, **more: ll.generate(MODEL, [1], request, **more),
    lambda request, **more: list(ll.stream(MODEL, [1], request, **more)),
    lambda request, **more: ll.generate_many(MODEL, [[1], [2]], request, **more),
    lambda request, **more: ll.chat(MODEL, {**request, "prompt": "a"}, **more),
]


@pytest.fixture
def counts() -> Iterator[Counter[str]]:
    """How often each value is checked, and how many `SamplingParams` are made."""
    found: Counter[str] = Counter()

    def counting(kind: Any, name: str, key: Callable[[Any], str]) -> Any:
        plain = getattr(kind, name)

        def wrapped(self: Any, *args: Any) -> Any:
            found[key(self)] += 1
            return plain(self, *args)

        return wrapped

    made = counting(SamplingParams, "__post_init__", lambda self: "SamplingParams")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("check", "typed"):
            patch.setattr(Parameter, name, counting(Parameter, name, lambda self: self.key))
        patch.setattr(SamplingParams, "__post_init__", made)
        yield found


def only_typed(counts: Counter[str], key: str) -> int:
    """`typed` hands on to `check` where a value has a type alone, as one check."""
    return min(counts[key], 1) if key in ("stop", "max_tokens", "logprobs") else counts[key]


@pytest.mark.parametrize("function", [*ONE_TOKEN, *TEXTS])
@pytest.mark.parametrize("engine", ["openrouter", "vllm", "llama_cpp"])
def test_each_value_is_checked_once(
    function: Callable[..., Any], engine: str, counts: Counter[str]
) -> None:
    request = WHOLE if function in TEXTS else REQUEST
    function(request, engine=engine)
    assert {key: only_typed(counts, key) for key in request} == dict.fromkeys(request, 1)
    assert counts["SamplingParams"] == (engine == "openrouter")


@pytest.mark.parametrize("function", [*ONE_TOKEN, *TEXTS[:3]])
def test_params_are_checked_where_they_are_written(
    function: Callable[..., Any], counts: Counter[str]
) -> None:
    params = SamplingParams(**(WHOLE if function in TEXTS else REQUEST))
    counts.clear()
    for engine in ("openrouter", "vllm"):
        function(params, engine=engine)
    assert not counts


def test_a_comparison_reads_a_request_once(counts: Counter[str]) -> None:
    ll.compare_engines(ROW, {"temperature": 0.5, "top_p": 0.9})
    # Once for its type, whoever answers, and once for the range of OpenRouter's page.
    assert counts == {"temperature": 2, "top_p": 2, "SamplingParams": 1}


@pytest.mark.parametrize("function", ONE_TOKEN)
def test_all_take_a_request_in_any_form(function: Callable[..., Any]) -> None:
    forms: list[Any] = [
        {"top_k": 2},
        SamplingParams(top_k=2),
        TopK(2),
        Chain(TopK(2)),
        resolve({"top_k": 2}),
    ]
    answers = [np.asarray(ll.survivors(ROW, form).tokens[0]).tolist() for form in forms]
    assert answers == [[0, 1]] * len(forms)
    for form in [None, *forms]:
        function(form)
        function(form, engine="sglang")
    with pytest.raises(ParameterError, match="request must be SamplingParams, a map, a chain or"):
        function(5)
    with pytest.raises(ParameterError, match="engine must be one of"):
        function({}, engine="llama")


def test_engines_check_by_their_own_rules_through_every_door() -> None:
    hot = {"temperature": 5.0}
    for function in ONE_TOKEN:
        with pytest.raises(ParameterError, match=r"^temperature must be in \[0, 2\], got 5.0"):
            function(hot)
        function(hot, engine="llama_cpp")
    for write in TEXTS[:3]:
        with pytest.raises(ParameterError, match=r"^temperature must be in \[0, 2\], got 5.0"):
            write({**hot, "max_tokens": 2})
        write({**hot, "max_tokens": 2}, engine="llama_cpp")
    body = {"prompt": "a", "max_tokens": 2, **hot}
    assert "error" in ll.chat(MODEL, body)
    assert "choices" in ll.chat(MODEL, body, engine="llama_cpp")


def test_what_is_resolved_stays_as_it_is() -> None:
    resolved = resolve({"top_k": 2, "top_a": 0.1}, "vllm", size=4)
    assert isinstance(resolved, Resolved)
    assert resolve(resolved, "llama_cpp") is resolved
    assert repr(resolved.chain) == "OneSortChain(TopK(2, ties='all'), precision='single')"
    assert [note.key for note in resolved.notes] == ["top_a"]


def test_logprobs_ask_for_the_mode_where_it_is_in_doubt() -> None:
    with pytest.raises(ParameterError, match=r"^mode must be 'raw' or 'processed' for a request"):
        ll.logprobs(ROW, 0, {"temperature": 0.5})
    with pytest.raises(ParameterError, match="mode must be"):
        ll.logprobs(ROW, 0, Chain(Temperature(0.5)))
    raw = ll.logprobs(ROW, 0, {"top_logprobs": 2, "logprobs": True}).logprobs
    assert raw == pytest.approx(np.log(0.4))
    tempered = ll.logprobs(ROW, 0, {"temperature": 0.5, "top_p": 0.5}, engine="sglang").logprobs
    assert tempered == pytest.approx(np.log(0.16 / 0.30), rel=1e-6)
    same = ll.logprobs(ROW, 0, {"temperature": 0.5}, engine="vllm").logprobs
    assert same == pytest.approx(np.log(0.4))
    with pytest.raises(ParameterError, match="mode must be 'raw' or 'processed' at transformers"):
        ll.logprobs(ROW, 0, {"temperature": 0.5}, engine="transformers_serve")


# A user's own engine: three lines, in tests/toys.py.


def test_an_engine_of_ones_own_works_wherever_engines_are_asked_for() -> None:
    assert repr(halved({"temperature": 1, "top_k": 2})) == "Chain(Temperature(0.5), TopK(2))"
    assert "halved" not in engines.MAIN
    for name in ("halved", halved):
        for function in ONE_TOKEN:
            function({"temperature": 1}, engine=name)
        for write in TEXTS:
            write({"temperature": 1, "max_tokens": 2}, engine=name)
    compared = ll.compare_engines(ROW, {"temperature": 1}, engines=["openrouter", halved])
    assert compared.engines == ("openrouter", "halved")
    assert str(compared.partings("openrouter", "halved")[0]) == (
        "they differ at temperature: only halved applies it, 0.5"
    )
    swept = ll.sweep(ROW[None], {"temperature": [1.0, 2.0]}, engine="halved").values["entropy"]
    plain = ll.sweep(ROW[None], {"temperature": [0.5, 1.0]}).values["entropy"]
    assert swept.tolist() == plain.tolist()
    assert str(halved).startswith("halved")
    text = ll.generate(MODEL, [1], FULL, engine=halved, seed=1, max_tokens=4)
    assert pickle.loads(pickle.dumps(text)).options.engine is halved


def test_an_engine_of_ones_own_may_read_a_value_beside_others_only() -> None:
    def warm(p: Any) -> ll.Chain:
        steps = [ll.TopK(p.top_k)] if p.temperature > 1 else []
        return ll.Chain(ll.Temperature(p.temperature), *steps)

    engine = engines.Engine("warm", warm)
    assert repr(engine({"temperature": 2, "top_k": 1})) == "Chain(Temperature(2.0), TopK(1))"
    [note] = engine.translate({"temperature": 2, "top_k": 1, "min_p": 0.1}).notes
    assert (note.key, note.effect) == ("min_p", "ignored")
    # What one request taught is no part of the next answer.
    [note] = engine.translate({"temperature": 1, "top_k": 1}).notes
    assert (note.key, note.effect) == ("top_k", "ignored")


def test_a_function_that_is_no_engine_is_refused() -> None:
    for build, message in (
        (lambda p: 5, "engine must be a function that returns a Chain, got 5."),
        (
            lambda p: ll.TopK(p.top_k),
            "engine must be a function that returns a Chain, got TopK(0).",
        ),
        (
            lambda p: ll.Chain(ll.TopK(p.topk)),
            "engine must be built from parameters, got 'topk'. No such parameter.",
        ),
    ):
        with pytest.raises(ll.ParameterError, match=f"^{re.escape(message)}$"):
            engines.Engine("none", build)  # type: ignore[arg-type]


@pytest.mark.parametrize("declared", [{"defaults": {"top_kk": 3}}, {"rules": {"top_kk": ()}}])
def test_what_an_engine_declares_is_about_parameters(declared: dict[str, Any]) -> None:
    message = "the declarations of none must be about parameters that it can have, got ['top_kk']."
    with pytest.raises(ParameterError, match=f"^{re.escape(message)}$"):
        engines.Engine("none", lambda p: Chain(), **declared)


def test_an_engine_of_ones_own_declares_only_what_it_changes() -> None:
    told = ll.translate({"top_p": 0.9, "top_k": 3}, halved)
    assert str(told) == "top_p is ignored by halved: its chain does not read it."


def test_engines_pickle_by_name() -> None:
    for engine in (*BUILT_IN, halved):
        assert pickle.loads(pickle.dumps(engine)) is engine


def test_an_engine_of_the_package_knows_every_parameter_of_the_page() -> None:
    def forgetful(p: Any) -> Chain:
        return Chain(Temperature(p.temperature))

    forgetful.__module__ = "logitlab.engines.forgetful"
    with pytest.raises(ParameterError, match=r"^the rules of forgetful must be read, or declared"):
        engines.engine(forgetful)
    assert "forgetful" not in engines.ENGINES


def test_names_of_engines_are_taken_once() -> None:
    def vllm(p: Any) -> Chain:
        return Chain()

    with pytest.raises(ParameterError, match="engine must be a function with a name of its own"):
        engines.engine(vllm)


def test_what_is_resolved_takes_no_keywords() -> None:
    resolved = resolve({"top_k": 2}, "vllm")
    with pytest.raises(ParameterError, match="max_tokens must be absent beside a request that is"):
        ll.generate(MODEL, [1], resolved, seed=1, max_tokens=4)


def test_a_keyword_takes_the_place_of_the_requests_alias() -> None:
    asked = {"repeat_penalty": 1.5}
    keywords = {"repetition_penalty": 1.1}
    chain = resolve(asked, "llama_cpp", keywords=keywords).chain
    assert "RepetitionPenalty(1.1" in repr(chain)


def test_log_probabilities_of_a_chain_are_the_models_own() -> None:
    assert resolve(Chain(TopK(2)), "sglang").reported("engine") is None
