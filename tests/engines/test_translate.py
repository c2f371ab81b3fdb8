"""What of a request reaches an engine, in sentences; what it refuses, with its own text."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from logitlab import Chain, Context, ParameterError, SamplingParams, engines, translate
from logitlab.engines.rules import RefusalError

BUNDLED = [name for name, engine in engines.ENGINES.items() if engine.is_bundled]

SENTENCES: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"top_a": 0.2}, "top_a is ignored by vllm: it has no such parameter."),
    ("vllm", {"temperature": 0.001}, "temperature 0.001 is raised to 0.01 by vllm."),
    ("vllm", {"top_k": -1}, "top_k -1 means off to vllm."),
    (
        "vllm",
        {"logit_bias": {"1": 200, "2": 5}},
        "logit_bias: one of its values is clamped to [-100, 100] by vllm.",
    ),
    (
        "sglang",
        {"temperature": 1e-7},
        "temperature 1e-07 is greedy at sglang: anything below 1e-06 is.",
    ),
    (
        "sglang",
        {"seed": 3},
        "seed is ignored by sglang: it draws by seed only with --enable-deterministic-inference.",
    ),
    (
        "transformers",
        {"frequency_penalty": 1},
        "frequency_penalty is ignored by transformers: it has no such parameter.",
    ),
    ("transformers", {"top_p": 1.1}, "top_p 1.1 means off to transformers."),
    ("transformers", {}, "top_k is absent: transformers uses 50."),
    (
        "transformers_serve",
        {"frequency_penalty": 0.5},
        "frequency_penalty 0.5 is used as repetition_penalty 1.5 by transformers_serve.",
    ),
    ("llama_cpp", {"top_p": 1.5}, "top_p 1.5 is lowered to 1 by llama_cpp."),
    ("llama_cpp", {"top_k": -5}, "top_k -5 is raised to 0 by llama_cpp."),
    (
        "llama_cpp",
        {"repetition_penalty": 1.2},
        "repetition_penalty reaches llama_cpp as repeat_penalty: sent to the server as it is, it "
        "does nothing.",
    ),
    ("llama_cpp", {}, "temperature is absent: llama_cpp uses 0.8."),
    ("mlx_lm", {"top_p": 0}, "top_p 0 means off to mlx_lm."),
    ("mlx_lm", {}, "temperature is absent: mlx_lm uses 0."),
    (
        "koboldcpp",
        {"frequency_penalty": 0.5},
        "frequency_penalty 0.5 is used as presence_penalty 0.5 by koboldcpp.",
    ),
    (
        "koboldcpp",
        {"frequency_penalty": 0.5, "presence_penalty": 1},
        "frequency_penalty is ignored by koboldcpp beside presence_penalty.",
    ),
    (
        "koboldcpp",
        {"logit_bias": {str(i): 1 for i in range(520)}},
        "logit_bias: only the first 512 of 520 entries reach koboldcpp.",
    ),
    (
        "llama_cpp_python",
        {"mirostat": 2},
        "mirostat reaches llama_cpp_python as mirostat_mode: that is its argument.",
    ),
    (
        "exllamav3",
        {"dry_multiplier": 1, "dry_penalty_last_n": 9, "dry_sequence_breakers": [1]},
        "dry_penalty_last_n reaches exllamav3 as dry_range: its argument.",
    ),
    (
        "textgen",
        {"dynatemp_range": 0.5},
        "dynatemp_range is ignored by textgen: it has dynatemp_low and dynatemp_high.",
    ),
    (
        "textgen",
        {"dry_penalty_last_n": 9},
        "dry_penalty_last_n is ignored by textgen: its window is repetition_penalty_range.",
    ),
    (
        "openai",
        {"top_k": 5},
        "top_k is ignored by openai: its page has no such parameter.",
    ),
    (
        "vllm",
        {"repeat_last_n": 5},
        "repeat_last_n is not modelled here, whatever vllm does with it.",
    ),
]


@pytest.mark.parametrize(("engine", "request_", "sentence"), SENTENCES)
def test_one_sentence_each(engine: str, request_: dict[str, Any], sentence: str) -> None:
    notes = translate(request_, engine).notes
    assert sentence in [note.sentence for note in notes]
    assert sentence in str(translate(request_, engine)).splitlines()


def test_what_engines_would_go_on_with_is_not_modelled() -> None:
    for engine, request, words in (
        ("mlx_lm", {"temperature": -1}, "mlx_lm goes on, but make_sampler turns the order"),
        ("mlx_lm", {"logit_bias": {"9": 1}}, "mlx_lm goes on, but an id outside"),
        ("llama_cpp_python", {"repetition_penalty": 0}, "llama_cpp_python goes on, but 0 divides"),
        ("koboldcpp", {"rep_pen": -1}, "koboldcpp goes on, but the penalty divides"),
    ):
        with pytest.raises(ParameterError, match=words):
            translate(request, engine, vocabulary_size=5)


def test_greedy_mlx_lm_does_not_look_at_its_truncations() -> None:
    kept = translate({"top_k": 3, "min_p": 0.1}, "mlx_lm", vocabulary_size=5)
    assert kept.values["top_k"] == 3
    ignored = translate({"top_k": 5}, "mlx_lm", vocabulary_size=5)
    assert "top_k is ignored by mlx_lm: temperature 0 truncates nothing." in str(ignored)
    with pytest.raises(ParameterError, match="top_k must be in"):
        translate({"top_k": 5, "temperature": 1}, "mlx_lm", vocabulary_size=5)


def test_none_is_absent_under_any_name() -> None:
    renamed = translate({"repetition_penalty": 1.2, "repeat_penalty": None}, "llama_cpp")
    assert renamed.values["repetition_penalty"] == 1.2
    assert "renamed" in {note.effect for note in renamed.notes}
    params = SamplingParams.from_request({"repeat_penalty": None, "repeat_last_n": None})
    assert translate(params, "llama_cpp").values["repeat_last_n"] == 64
    assert translate(params, "llama_cpp").values["repetition_penalty"] == 1


@pytest.mark.parametrize("seed", [-1, 0xFFFFFFFF])
@pytest.mark.parametrize("engine", ["llama_cpp", "llama_cpp_python"])
def test_seeds_that_mean_none(engine: str, seed: int) -> None:
    [note] = [note for note in translate({"seed": seed}, engine).notes if note.key == "seed"]
    assert (note.effect, note.given) == ("off", seed)
    with pytest.raises(ParameterError, match="seed must be an integer that is a seed"):
        engines.get(engine).draw([0.0, 1.0], {"seed": seed})


def test_samplers_may_be_letters() -> None:
    body = {"samplers": "tk", "temperature": 2, "top_k": 3}
    assert repr(engines.llama_cpp(body)) == "SortedChain(Temperature(2.0), TopK(3))"


def test_a_translation_travels() -> None:
    translation = translate({"temperature": 0.001}, "vllm")
    assert pickle.loads(pickle.dumps(translation)) == translation
    with pytest.raises(TypeError):
        translation.values["temperature"] = 1  # type: ignore[index]
    for size in (0, "5", 1.5):
        with pytest.raises(ParameterError, match="vocabulary_size must be an integer >= 1"):
            translate({}, "mlx_lm", vocabulary_size=size)  # type: ignore[arg-type]


def test_notes_are_data() -> None:
    (note,) = translate(SamplingParams(temperature=0.001), "vllm").notes
    assert (note.key, note.effect, note.given, note.used) == (
        "temperature", "changed", 0.001, 0.01,
    )  # fmt: skip
    assert translate(SamplingParams(temperature=0.001), "vllm").values["temperature"] == 0.01


def test_what_arrives_as_it_is_needs_no_word() -> None:
    translation = translate(SamplingParams(temperature=0.5, top_p=0.9), "vllm")
    assert not translation.notes
    assert str(translation) == "everything arrives as it is"
    assert translation.values["top_p"] == 0.9


def test_ids_outside_the_vocabulary() -> None:
    bias = {"logit_bias": {"3": 1.0, "9": 2.0}}
    dropped = translate(bias, "llama_cpp", vocabulary_size=5)
    assert dropped.values["logit_bias"] == {3: 1.0}
    assert "ids outside the vocabulary, [9], are ignored" in str(dropped)
    with pytest.raises(ParameterError, match="contain out-of-vocab token ids"):
        translate(bias, "vllm", vocabulary_size=5)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"top_p": 0}, "top_p must be in (0, 1], got 0.0."),
    ("vllm", {"temperature": 2.5}, "temperature must be in [0, 2], got 2.5."),
    ("vllm", {"temperature": -1}, "temperature must be non-negative, got -1.0."),
    ("vllm", {"top_k": -2}, "top_k must be 0 (disable), or at least 1, got -2."),
    ("vllm", {"min_p": 2}, "min_p must be in [0, 1], got 2.0."),
    ("vllm", {"frequency_penalty": 3}, "frequency_penalty must be in [-2, 2], got 3.0."),
    ("vllm", {"repetition_penalty": 0}, "repetition_penalty must be greater than zero, got 0.0."),
    ("vllm", {"top_logprobs": 21, "logprobs": True}, "top_logprobs must be at most 20, got 21."),
    ("sglang", {"top_k": 0}, "top_k must be -1 (disable) or at least 1, got 0."),
    (
        "sglang",
        {"repetition_penalty": 2.5},
        "repetition_penalty must be in (0, 2] (1.0 = no penalty), got 2.5.",
    ),
    ("transformers", {"temperature": 0}, "temperature must be a strictly positive float, got 0.0."),
    ("transformers_serve", {"min_p": 0.1}, "min_p must be absent, got 0.1."),
    ("mlx_lm_server", {"top_k": -1}, "top_k must be at least 0, got -1."),
    ("mlx_lm_server", {"top_logprobs": 12}, "top_logprobs must be at most 11, got 12."),
    ("aphrodite", {"top_a": -1}, "top_a must be non-negative, got -1.0."),
    ("openrouter", {"top_a": 2}, "top_a must be in [0, 1], got 2.0."),
    (
        "openai",
        {"logit_bias": {"1": 101}},
        "logit_bias must be a map to numbers in [-100, 100], got {1: 101}.",
    ),
    (
        "llama_cpp",
        {"repeat_penalty": 0},
        "repeat_penalty must be finite and greater than 0, got 0.0.",
    ),
    (
        "llama_cpp",
        {"repeat_last_n": -1},
        "repeat_last_n must be an integer in [0, 2147483647], got -1. llama_cpp refuses the "
        "request: Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647",
    ),
    (
        "llama_cpp",
        {"samplers": ["top_k", 5]},
        "samplers must be a list of names, or a text of letters, got ['top_k', 5].",
    ),
    ("sglang", {"seed": 2**63}, "seed must be in [-2**63, 2**63 - 1], got 9223372036854775808."),
    ("vllm", {"top_logprobs": -5}, "top_logprobs must be non-negative or -1, got -5."),
    (
        "vllm_triton",
        {"logit_bias": {str(i): 1 for i in range(1025)}},
        "logit_bias must be a map of at most 1024 entries",
    ),
    (
        "transformers_serve",
        {"frequency_penalty": -1},
        "frequency_penalty must be above -1, got -1.0.",
    ),
]


@pytest.mark.parametrize(("engine", "request_", "rule"), REFUSED)
def test_a_refusal_tells_the_engines_rule(engine: str, request_: dict[str, Any], rule: str) -> None:
    with pytest.raises(ParameterError) as error:
        translate(request_, engine)
    assert str(error.value).startswith(rule)
    answers = (engines.get(engine).schema.answers, "refuses the request")
    assert any(f" {engine} {words}" in str(error.value) for words in answers)
    assert isinstance(pickle.loads(pickle.dumps(error.value)), RefusalError)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'."),
    ({"temperature": [0.5]}, "temperature must be one finite number, got [0.5]."),
    ({"temperature": float("nan")}, "temperature must be finite, got nan."),
    ({"top_k": 1.5}, "top_k must be an integer, got 1.5."),
    ({"logit_bias": [1]}, "logit_bias must be a map from token ids to numbers, got [1]."),
    ({"logit_bias": {"x": 1}}, "logit_bias must be a map whose keys are token ids >= 0, got 'x'."),
    ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0."),
    (
        {"logit_bias": {"1": 2, 1: 3}},
        "logit_bias must be a map with one entry for each token id, got {'1': 2, 1: 3}.",
    ),
    ({"verbosity": "low"}, "verbosity must be absent where single tokens are sampled, got 'low'."),
]


@pytest.mark.parametrize(("request_", "message"), WRONG)
def test_what_no_engine_could_read_is_the_callers_mistake(
    request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as error:
        translate(request_, "transformers")
    assert str(error.value).startswith(message)
    assert not isinstance(error.value, RefusalError)


def test_unknown_engines_are_listed() -> None:
    with pytest.raises(ParameterError, match="engine must be one of 'openrouter', 'openai'"):
        translate({}, "nobody")


def test_own_keys_come_in_the_body_or_as_extra() -> None:
    body = {"samplers": ["temperature", "top_k"], "repeat_last_n": 5, "temperature": 2, "top_k": 3,
            "presence_penalty": 1}  # fmt: skip
    assert repr(engines.llama_cpp(body)) == "SortedChain(Temperature(2.0), TopK(3))"
    params = SamplingParams.from_request(body)
    assert engines.llama_cpp(params) == engines.llama_cpp(body)
    windowed = engines.llama_cpp({"presence_penalty": 1, "repeat_last_n": 5})
    assert "AdditivePenalty(0.0, presence=1.0, last_n=5)" in repr(windowed)


def test_of_several_names_of_a_penalty_one_counts() -> None:
    both = {"repeat_penalty": 1.1, "repetition_penalty": 1.5}
    assert translate(both, "llama_cpp").values["repetition_penalty"] == 1.1
    told = "repetition_penalty 1.5 is ignored by llama_cpp: 1.1 counts."
    assert told in str(translate(both, "llama_cpp"))
    assert "reaches llama_cpp as" not in str(translate({"repeat_penalty": 1.1}, "llama_cpp"))
    three = both | {"rep_pen": 1.3}
    assert translate(three, "koboldcpp").values["repetition_penalty"] == 1.5


def test_what_becomes_of_temperatures() -> None:
    told = {
        name: str(engines.get(name)).partition("temperature 0, 1e-7, 0.001: ")[2].splitlines()[0]
        for name in engines.MAIN
    }
    assert told == {
        "openrouter": "greedy, 1e-07, 0.001",
        "openai": "greedy, 1e-07, 0.001",
        "vllm": "greedy, 0.01, 0.01",
        "sglang": "greedy, greedy, 0.001",
        "transformers": "refused, 1e-07, 0.001",
        "llama_cpp": "greedy, 1e-07, 0.001",
        "mlx_lm": "greedy, 1e-07, 0.001",
        "koboldcpp": "greedy, 1e-07, 0.001",
        "aphrodite": "greedy, 0.01, 0.01",
        "ollama": "greedy, 1e-07, 0.001",
        "exllamav3": "greedy, 1e-07, 0.001",
        "tgi": "refused, 1e-07, 0.001",
        "textgen": "greedy, 1e-07, 0.001",
    }


def test_koboldcpp_has_a_range_and_a_slope() -> None:
    body = {"rep_pen": 1.5, "rep_pen_range": 4, "rep_pen_slope": 0.5, "temperature": 1, "top_k": 0,
            "top_p": 1}  # fmt: skip
    chain = engines.koboldcpp(body)
    x = np.array([2.0, 2.0, 2.0, 2.0, -2.0], np.float32)
    # The window holds 1, 2, 3, 4: the newer half is 3 and 4, the older half is divided by 1.25.
    result = chain(x, Context(prompt=[1, 2], output=[3, 4]))
    np.testing.assert_allclose(result, [2.0, 1.6, 1.6, 2 / 1.5, -3.0], rtol=1e-6)
    # Before it is full, token 0 stands in it.
    result = chain(x, Context(output=[3]))
    np.testing.assert_allclose(result, [2 / 1.5, 2.0, 2.0, 2 / 1.5, -2.0], rtol=1e-6)


@pytest.mark.parametrize(
    "name", [name for name, each in engines.ENGINES.items() if each.is_bundled]
)
def test_every_engine_declares_itself(name: str) -> None:
    engine = engines.get(name)
    assert engine.name == name
    assert engine.title
    assert engine.source
    assert engine.luck_note
    assert engine.__doc__
    assert engine.__doc__.startswith("Return the chain")
    assert pickle.loads(pickle.dumps(engine)) is engine
    told = str(engine)
    assert "{" not in told
    assert told.startswith(f"{name}: {engine.title}\nread in: {engine.source}\nempty request: ")
    for key in (*engine.rules, "temperature 0, 1e-7, 0.001", "log-probabilities", "draws"):
        assert f"\n{key}: " in told
    chain = engine({})
    assert isinstance(chain, Chain)
    for rules in engine.rules.values():
        for rule in rules:
            assert rule.describe()


def test_where_reported_logprobs_come_from() -> None:
    body = {"logit_bias": {"1": 1.0}, "presence_penalty": 0.5, "temperature": 0.5, "top_p": 0.9}
    told = {
        name: repr(engines.get(name).reported(body))
        for name in ("vllm", "sglang", "mlx_lm", "transformers")
    }
    assert told == {
        "vllm": "OneSortChain(precision='single')",
        "sglang": "OneSortChain(AdditivePenalty(0.0, presence=0.5, scope='output', by_ones=True), "
        "LogitBias({1: 1.0}), Temperature(0.5), precision='single', sorts='probs')",
        "mlx_lm": "Chain(LogitBias({1: 1.0}), PresencePenalty(0.5, last_n=20), precision='mixed')",
        "transformers": "Chain(LogitBias({1: 1.0}), Temperature(0.5), TopK(50, ties='all'), "
        "TopP(0.9, ties='introsort', sums='ascending'), precision='mixed')",
    }
    for name in ("transformers_serve", "openai"):
        with pytest.raises(ParameterError, match="one whose log-probabilities are known"):
            engines.get(name).reported(body)
    greedy = engines.sglang.reported({"temperature": 0})
    assert repr(greedy) == "OneSortChain(precision='single', sorts='probs')"


@pytest.mark.parametrize("name", BUNDLED)
def test_what_becomes_of_a_seed_is_told_unless_the_very_tokens_are_drawn(name: str) -> None:
    notes = [note for note in translate({"seed": 7}, name).notes if note.key == "seed"]
    assert bool(notes) != bool(engines.get(name).luck) or name in ("sglang", "sglang_lag")
    if notes:
        used = "draws by it" in notes[0].sentence
        assert notes[0].effect == ("beside" if used else "ignored")
        assert used != ("ignored" in notes[0].sentence)


@pytest.mark.parametrize("name", BUNDLED)
def test_an_engine_that_gives_one_answer_says_so_of_n(name: str) -> None:
    told = [note.sentence for note in translate({"n": 2, "temperature": 1}, name).notes]
    sentence = f"n: {name} gives one answer, whatever it says."
    assert (sentence in told) == engines.get(name).dialect.has_one_answer
    assert sentence not in [note.sentence for note in translate({"n": 1}, name).notes]


def test_llama_cpp_has_an_answer_for_each_slot() -> None:
    # Words and limits as its server gave them with one slot and with four.
    for slots in (1, 4):
        engine = engines.llama_cpp.with_options(n_parallel=slots)
        for n in (0, slots + 1):
            words = f"Field 'n': Value must be between 1 <= value <= {slots}, but got {n}"
            with pytest.raises(ParameterError, match=words):
                engine.translate({"n": n})
        engine.translate({"n": slots})
    engines.llama_cpp.translate({"n": 4})
    with pytest.raises(ParameterError, match=r"^n must be in \[1, 4\], got 5\. "):
        engines.llama_cpp.translate({"n": 5})
