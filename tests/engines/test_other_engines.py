"""Ollama, text-generation-webui, Text Generation Inference, exllamav3 and TabbyAPI.

Each against what its own code answered, in random company and in worked examples; and what their
declarations say of requests.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from logitlab import Context, Engine, FrequencyPenalty, ParameterError, engines, softmax, translate
from logitlab.steps.candidate_order.go_sorts import heap_sort, pattern_sort

from engines import recorded
from engines.own_code import Array
from engines.record import BEYOND, sequences
from sampler_examples import chosen_by, close, context_of, row_of

OTHERS = ("textgen", "tgi", "exllamav3", "tabbyapi")
# Float32 sums that decide, or that divide by what is almost nothing: what is checked instead.
ROUNDED = {("exllamav3", 277): 0.1, ("tabbyapi", 269): 2e-6}


@pytest.mark.parametrize("name", OTHERS)
def test_answers_are_the_engines(name: str) -> None:
    outcome: Counter[str] = Counter()
    rounded = []
    for answer in recorded.answers(name, beyond=True):
        ours = recorded.evaluated(name, answer.case)
        if answer.error or isinstance(ours, str):
            assert answer.error, (answer.number, answer.case.params, ours)
            assert isinstance(ours, str), (answer.number, answer.case.params, answer.error)
            outcome["refused"] += 1
        elif recorded.same_survivors(answer, ours) and recorded.distance(answer, ours) < 1e-6:
            outcome["equal"] += 1
        else:
            rounded.append((name, answer.number))
            assert recorded.distance(answer, ours) < ROUNDED[rounded[-1]], answer.number
    assert rounded == [key for key in ROUNDED if key[0] == name]
    assert outcome["equal"] >= 245
    assert outcome["equal"] + outcome["refused"] + len(rounded) == 280


@pytest.mark.parametrize("name", OTHERS)
def test_what_they_refuse_is_refused_with_their_text(name: str) -> None:
    count = 0
    for answer in recorded.answers(name, beyond=True):
        if not answer.error or answer.error == "NaN row":
            continue
        ours = recorded.evaluated(name, answer.case)
        assert isinstance(ours, str)
        theirs = answer.error.partition(": ")[2]
        message, said = re.split(f" {name} refuses the request", ours)
        said = said.removeprefix(": ") if said.startswith(": ") else message
        assert theirs.rstrip(" .") == said.removeprefix("AssertionError: ").rstrip(" .")
        count += 1
    assert count >= 3


def test_tokens_and_states_are_those_of_text_generation_webui() -> None:
    recipe, count = engines.textgen, 0
    drawn = recorded.about("textgen", True)["sequences"]
    for (case, _, rows), tokens in zip(sequences(BEYOND["textgen"][2]), drawn, strict=True):
        size = len(case.logits)
        chain = recipe.chain_of(recipe.translate(case.params, vocabulary_size=size))
        state, output = chain.init(), list(case.output)
        for n, (row, (token, kept, prob)) in enumerate(zip(rows, tokens, strict=True)):
            context = Context(case.prompt, output)
            here = chain.at(state)
            left = softmax(here(row, context))
            assert np.count_nonzero(left > recorded.TINY) == kept, (case.params, n)
            if kept == 1:  # of equal best tokens the one that its sort leaves first
                token = int(left.argmax()) if row[token] == row[left.argmax()] else token
            assert left[token] == pytest.approx(prob, rel=2e-5, abs=1e-8), (case.params, n)
            seen = {
                key: np.log(softmax(here[:place](row, context))[token])
                for key, place in chain.observed.items()
            }
            state = chain.update(state, seen)
            output.append(tokens[n][0])
            count += 1
    assert count >= 700


def of(engine: str) -> list[Any]:
    """Return the worked examples of an engine."""
    chosen = chosen_by(lambda each: each["engine"].startswith(engine))
    return [pytest.param(each, id=f"{each['sampler']}-{n}") for n, each in enumerate(chosen)]


@pytest.mark.parametrize("example", of("text-generation-webui"))
def test_a_warper_alone_answers_as_recorded(example: dict[str, Any]) -> None:
    params = {"top_p": 1, **example["params"]}
    params["eos_token_id"] = params.pop("special_token_ids", ())
    if "dry_sequence_breakers_ids" in params:
        params["dry_sequence_breakers"] = params.pop("dry_sequence_breakers_ids")
    row = row_of(example)
    arrived = engines.textgen.translate(params, vocabulary_size=len(row))
    chain = engines.textgen.chain_of(arrived)
    close(chain.branch([True] * len(chain.coins))(row, context_of(example)), example)


def test_all_examples_of_text_generation_webui_are_here() -> None:
    assert len(of("text-generation-webui")) == 21
    assert len(of("TGI")) == 9


@pytest.mark.parametrize("example", of("TGI"))
def test_a_frequency_penalty_answers_as_recorded(example: dict[str, Any]) -> None:
    row, context = row_of(example), context_of(example)
    if "batched" in example["sampler"]:
        chain = engines.tgi({**example["params"], "do_sample": True})
        close(chain(row, context), example)
    else:  # the class for one request, which no server runs
        step = FrequencyPenalty(example["params"]["frequency_penalty"], amount="logit")
        close(step(row, context), example)


def test_xtc_is_averaged_and_leaves_protected_tokens_out() -> None:
    x = np.log([0.5, 0.25, 0.125, 0.125]).astype(np.float32)
    body = {"xtc_probability": 0.5, "xtc_threshold": 0.2}
    chain = engines.tabbyapi(body)
    assert not chain.coins
    np.testing.assert_allclose(softmax(chain(x)), [0.25, 0.375, 0.1875, 0.1875], atol=1e-6)
    kept = engines.tabbyapi({**body, "protected_token_ids": [0]})
    np.testing.assert_allclose(kept(x), x)


def by_heap(values: list[float], k: int) -> list[int]:
    """Return what a list of the k largest keeps, kept sorted: the truth but for equal values."""
    return sorted(range(len(values)), key=lambda i: -values[i])[:k]


def test_gos_sorts_sort() -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 12, 13, 50, 51, 400, 3000):
        for levels in (1, 2, size // 3 + 1, 10**6):
            values = rng.integers(0, levels, size).astype(np.float32)
            order = pattern_sort(values)
            assert np.array_equal(np.sort(order), np.arange(size))
            assert (np.diff(values[order]) <= 0).all()
            k = int(rng.integers(1, size + 1))
            first = heap_sort(values, k)
            assert len(set(first.tolist())) == k
            assert values[first].tolist() == values[by_heap(values.tolist(), k)].tolist()
    # Up to twelve the sort is stable, the heap never.
    assert pattern_sort(np.zeros(12, np.float32)).tolist() == list(range(12))
    assert pattern_sort(np.zeros(20, np.float32)).tolist() == list(range(20))
    assert heap_sort(np.zeros(9, np.float32), 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize("shape", ["rising", "falling", "pipe", "saw", "nearly"])
def test_gos_quicksort_survives_patterns(shape: str) -> None:
    n = 5000
    ramp = np.arange(n) // 3
    rows = {
        "rising": ramp,
        "falling": -ramp,
        "pipe": np.minimum(ramp, ramp[::-1]),
        "saw": ramp % 7,
        "nearly": np.where(np.arange(n) % 997, ramp, 0),
    }
    values = rows[shape].astype(np.float32)
    order = pattern_sort(values)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert (np.diff(values[order]) <= 0).all()


def test_ollama_looks_at_four_parameters() -> None:
    body = {"repeat_penalty": 1.5, "presence_penalty": 1, "typical_p": 0.5, "repeat_last_n": 9}
    assert engines.ollama({**body, "temperature": 1}) == engines.ollama({"temperature": 1})
    told = str(translate(body, "ollama"))
    assert "repetition_penalty is ignored by ollama: its own sampler has no penalties" in told
    assert "typical_p is ignored by ollama: its own sampler does not look at it." in told
    # Top-p keeps one more where the mass before it is p, and what is out of range is clamped.
    x = np.zeros(4, np.float32)
    for p, kept in ((0.5, 3), (0.0, 1), (-1.0, 1), (0.49, 2), (2.0, 4)):
        chain = engines.ollama({"temperature": 1, "top_k": 0, "top_p": p})
        assert np.count_nonzero(softmax(chain(x))) == kept
    assert engines.ollama({"temperature": -1}) == engines.ollama({"temperature": 0})


def test_ollamas_doors_have_defaults_of_their_own() -> None:
    by_default = {name: dict(translate({}, name).values) for name in engines.ENGINES}
    assert by_default["ollama"]["top_p"] == 0.9
    assert by_default["ollama_openai"]["top_p"] == by_default["ollama_openai"]["temperature"] == 1
    assert by_default["ollama_openai"]["top_k"] == 40
    # What an endpoint does not read is at its default, whatever is sent.
    assert translate({"top_k": 3}, "ollama_openai").values["top_k"] == 40
    for name in ("ollama_llama_server", "ollama_mlx"):
        chain = engines.get(name)({"repeat_penalty": 1.2, "temperature": 1})
        assert repr(chain.steps[0]).startswith("RepetitionPenalty(1.2, last_n=64")
    with pytest.raises(ParameterError, match="Value must be between 0 <= value <= 2147483647"):
        engines.ollama_llama_server({"repeat_last_n": -1})
    everything = engines.ollama_mlx({"repeat_last_n": -1, "repeat_penalty": 2})
    assert everything.steps[0].last_n is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "engine", "says"),
    [
        ({"temperature": "0.5"}, "ollama", 'option "temperature" must be of type float32'),
        ({"top_k": "5"}, "ollama", 'option "top_k" must be of type integer'),
        (
            {"temperature": "0.5"},
            "ollama_openai",
            "json: cannot unmarshal string into Go struct field ChatCompletionRequest.temperature",
        ),
        ({"top_p": 1}, "tgi", "`top_p` must be > 0.0 and < 1.0"),
        ({"seed": -1}, "tgi_chat", "invalid value: integer `-1`, expected u64"),
        ({"frequency_penalty": -0.5}, "tabbyapi", "greater than or equal to 0"),
        ({"temperature": 11}, "tabbyapi", "less than or equal to 10"),
        ({"typical_p": 0}, "tabbyapi", "greater than 0"),
    ],
)
def test_what_they_refuse(body: dict[str, Any], engine: str, says: str) -> None:
    with pytest.raises(ParameterError) as error:
        translate(body, engine)
    assert says in str(error.value)


def test_ollama_cuts_fractions_of_integers() -> None:
    assert translate({"top_k": 2.9}, "ollama").values["top_k"] == 2


def test_tgi_samples_where_something_says_so() -> None:
    x = np.log([0.5, 0.3, 0.2]).astype(np.float32)
    for body, kept in (({}, 1), ({"temperature": 1.0}, 1), ({"do_sample": True}, 3),
                       ({"temperature": 0.5}, 3), ({"top_k": 2}, 2)):  # fmt: skip
        assert np.count_nonzero(softmax(engines.tgi(body)(x))) == kept
    # Its chat makes a repetition penalty of a presence penalty, and 0 is one of 2.
    chain = engines.tgi_chat({"presence_penalty": 0, "temperature": 0.7})
    assert repr(chain.steps[0]) == "RepetitionPenalty(2.0)"
    assert np.count_nonzero(softmax(engines.tgi_chat({})(x))) == 3


def test_an_order_moves_samplers_and_does_not_switch_them_off() -> None:
    body: dict[str, Any] = {"top_p": 1, "temperature": 0.5, "top_k": 3, "min_p": 0.1}
    named = {**body, "sampler_priority": ["top_k"]}
    keys = [step.key for step in engines.textgen(named)]  # type: ignore[attr-defined]
    assert keys == ["temperature", "min_p", "top_k"]
    told = str(translate(named, "textgen"))
    assert "come first if they are active, as it leaves them out" in told
    text = engines.textgen({**body, "sampler_priority": "min_p\ntop_k, temperature"})
    assert [step.key for step in text] == ["min_p", "top_k", "temperature"]  # type: ignore[attr-defined]
    last = engines.textgen({**body, "temperature_last": True})
    assert [step.key for step in last] == ["top_k", "min_p", "temperature"]  # type: ignore[attr-defined]
    told = str(translate({**body, "sampler_priority": ["topk"]}, "textgen"))
    assert "'topk' name no sampler at textgen." in told


def test_text_generation_webui_draws_where_mirostat_stands() -> None:
    chain = engines.textgen({"mirostat_mode": 2, "xtc_probability": 1, "top_k": 5})
    assert repr(chain.steps[-1]) == "Mirostat(5.0)"
    assert not chain.coins
    assert translate({"epsilon_cutoff": 3}, "textgen").values["epsilon_cutoff"] == 3 * 1e-4
    assert translate({"eta_cutoff": 10000}, "textgen").values["eta_cutoff"] == 0
    greedy = engines.textgen({"temperature": 0, "top_k": 7, "smoothing_factor": 1.0})
    assert repr(greedy) == "Chain(Smoothing(1.0), Temperature(0.0), precision='mixed')"


def test_exllamav3_cuts_in_one_kernel_or_sorts() -> None:
    fused = engines.exllamav3({"top_k": 5, "top_p": 0.5})
    assert "TopK(5, ties='all'), TopP(0.5, ties='all')" in repr(fused)
    stepwise = engines.exllamav3({"top_k": 5, "adaptive_target": 0.5})
    assert "TopK(5), AdaptiveP(0.5" in repr(stepwise)
    for body in ({"temperature": 0}, {"top_k": 1}, {"top_p": 0}):
        assert repr(engines.exllamav3(body)) == "Chain(Temperature(0.0), precision='single')"
    alone = repr(engines.tabbyapi({"top_k": 5, "top_p": 0.5}))
    assert "TopK(5, ties='all')" in alone
    assert "TopK(5), TopP(0.5), MinP" in repr(
        engines.tabbyapi({"top_k": 5, "top_p": 0.5, "min_p": 0.1})
    )
    with pytest.raises(ParameterError, match="tabbyapi goes on, but logits are divided by 0"):
        engines.tabbyapi({"adaptive_target": 0.5, "temperature": 0})


def test_what_exllamav3_is_called_is_taken() -> None:
    own = {"rep_p": 1.2, "freq_p": 0.5, "pres_p": 0.25, "temp_last": True, "temperature": 0.5}
    usual = {
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.25,
        "temperature_last": True,
        "temperature": 0.5,
    }
    assert engines.exllamav3(own) == engines.exllamav3(usual)
    fading = engines.exllamav3({"rep_p": 1.2, "rep_sustain_range": 4, "rep_decay_range": 2})
    assert repr(fading.steps[0]) == "RepetitionPenalty(1.2, last_n=4, decay=2)"


@pytest.mark.parametrize("engine", [engines.ollama, engines.ollama_openai])
def test_a_draw_takes_a_seed_and_a_place(engine: Engine) -> None:
    x: Array = np.log([0.4, 0.3, 0.2, 0.1]).astype(np.float32)
    drawn = [int(engine.draw(x, {}, seed=42, context=Context([1], [0] * n))) for n in range(8)]
    assert drawn == [int(engine.draw(x, {}, seed=42, step=n)) for n in range(8)]
    assert len(set(drawn)) > 1
    with pytest.raises(ParameterError, match="takes a fresh one then"):
        engine.draw(x, {}, seed=-1)
