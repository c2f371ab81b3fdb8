"""What of a request does nothing for what stands beside it, and is told."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Context, ParameterError, translate

X = np.array([2, 1, 0.5, 0, -1], np.float32)


def told(request: dict[str, Any], engine: str) -> dict[str, str]:
    notes = translate({"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0, **request}, engine)
    return {note.key: note.sentence for note in notes.notes if note.effect != "default"}


@pytest.mark.parametrize("engine", ["openrouter", "llama_cpp", "textgen"])
@pytest.mark.parametrize(
    ("key", "value", "switch"),
    [
        ("xtc_threshold", 0.2, "xtc_probability"),
        ("dry_base", 1.2, "dry_multiplier"),
        ("mirostat_tau", 3, "mirostat"),
        ("adaptive_decay", 0.5, "adaptive_target"),
    ],
)
def test_an_option_without_its_switch(engine: str, key: str, value: Any, switch: str) -> None:
    asked = {key: value}
    if (engine, key) == ("llama_cpp", "adaptive_decay"):  # where samplers has to name it, besides
        asked["samplers"] = ["temperature", "top_k", "top_p", "min_p", "adaptive_p"]
    assert told(asked, engine) == {key: f"{key} does nothing at {engine} without {switch}."}
    on = {switch: 2 if switch == "mirostat" else 0.3}
    assert "does nothing" not in " ".join(told(asked | on, engine).values())


def test_one_sampler_has_the_last_word() -> None:
    both = {"mirostat": 2, "adaptive_target": 0.3}
    assert told(both, "openrouter")["adaptive_target"] == (
        "adaptive_target is ignored by openrouter: mirostat has the last word."
    )
    more = {"xtc_probability": 0.5, "no_repeat_ngram_size": 2}
    notes = told(both | more, "textgen")
    assert set(notes) == {"mirostat", *more}
    assert notes["mirostat"] == ("mirostat is ignored by textgen: adaptive_p draws in front of it.")
    order = {"sampler_priority": ["xtc", "no_repeat_ngram", "mirostat"]}
    assert "xtc_probability" not in told({"mirostat": 2} | more | order, "textgen")


def test_temperature_0_leaves_skew_and_dynamic_temperature_out_at_aphrodite() -> None:
    asked = {"temperature": 0, "skew": 1.0, "dynatemp_max": 2.0}
    told_of = str(translate(asked, "aphrodite"))
    for key in ("skew", "dynatemp_max"):
        assert f"{key} is ignored by aphrodite: temperature is 0." in told_of
    assert "is ignored" not in str(translate(asked | {"temperature": 1}, "aphrodite"))


def test_an_own_name_is_not_told_to_count_against_itself() -> None:
    assert told({"bad_words_ids": [[1]]}, "transformers") == {}


def test_koboldcpp_moves_away_from_other_logits_first() -> None:
    context = Context(unconditional=X[::-1].copy())
    asked = {"guidance_scale": 1.5, "temperature": 1, "top_p": 1, "top_k": 0}
    left = ll.distribution(X, asked, engine="koboldcpp", context=context)
    c, u = (x - np.log(np.exp(x).sum()) for x in (X.astype(float), X[::-1].astype(float)))
    np.testing.assert_allclose(left, ll.softmax(1.5 * (c - u) + u), atol=1e-6)


def test_breakers_may_be_json_in_a_text() -> None:
    for text in ("[[1], [0, 2]]", "[1], [0, 2]"):
        asked = {"dry_multiplier": 1.0, "dry_sequence_breakers": text}
        chain = ll.engines.koboldcpp(asked)
        assert chain == ll.engines.koboldcpp(asked | {"dry_sequence_breakers": [[1], [0, 2]]})
    rule = "an array of texts or arrays of token ids, or that as JSON in a text"
    with pytest.raises(ParameterError, match=f"^dry_sequence_breakers must be {rule}, got 'a'"):
        translate({"dry_sequence_breakers": "a"}, "textgen")


def test_phrases_of_json_have_their_ids_in_a_text() -> None:
    context = Context(output=[1])
    left = ll.distribution(X, {"sequence_bias": {"1": 1.0, "1,2": 2.0}}, context=context)
    asked = {"sequence_bias": {(1,): 1.0, (1, 2): 2.0}}
    np.testing.assert_array_equal(left, ll.distribution(X, asked, context=context))


@pytest.mark.parametrize("engine", ["koboldcpp", "aphrodite", "textgen", "openrouter"])
def test_no_text_is_as_long_as_that(engine: str) -> None:
    context = Context(prompt=[0, 1, 0, 1])
    asked = {"dry_multiplier": 1.0, "temperature": 1, "top_p": 1, "top_k": 0}
    for length in (2**62, 2**63 - 1):
        asked["dry_allowed_length"] = length
        left = ll.distribution(X, asked, engine=engine, context=context)
        np.testing.assert_allclose(left, ll.softmax(X.astype(float)), atol=1e-6)


def test_the_penalty_on_the_prompt_divides_by_its_value() -> None:
    for value in (0, -0.5):
        rule = "^encoder_repetition_penalty must be a number above 0, got"
        with pytest.raises(ParameterError, match=rule):
            translate({"encoder_repetition_penalty": value}, "textgen")


def test_sweeps_keep_what_guidance_moves_away_from() -> None:
    rows = np.stack([X, X[::-1]])
    asked, points = {"guidance_scale": 2.0}, {"temperature": [1.0, 2.0]}
    for other in (X[::-1].copy(), rows[::-1].copy()):
        context = Context(unconditional=other)
        swept = ll.sweep(rows, points, ["entropy"], request=asked, context=context)
        means = [
            ll.metrics.entropy(
                ll.engines.openrouter(asked | {"temperature": t})(rows, context)
            ).mean()
            for t in points["temperature"]
        ]
        np.testing.assert_allclose(swept.values["entropy"], means, atol=1e-9)


def test_evidence_is_of_one_text() -> None:
    with pytest.raises(ParameterError, match=r"^tokens must be the token ids of one text, shape"):
        ll.detect_watermark([[1, 2], [3, 4]], 10)
