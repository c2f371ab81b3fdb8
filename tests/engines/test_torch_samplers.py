"""Samplers beyond the page of transformers, vLLM, SGLang and Aphrodite, on a few tokens.

``sampler_examples.json`` holds what the engines' own code answered. Of transformers' the penalty
and the bans of encoders are not here, and SynthID's watermark; `recorded` has hundreds of requests
more, in which these samplers meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Chain, Context, TopK, engines, softmax
from logitlab.engines.resolve import resolve
from logitlab.generation.endings import Endings

from sampler_examples import chosen_by

LEFT_OUT = ("encoder_repetition_penalty", "watermarking_config (SynthID, third call)")
# Of the example's own names, where it called a part of the engine.
NAMED = {"bad_words_token_ids": "bad_words"}
OCR = "DeepseekOCRNoRepeatNGramLogitProcessor"
THINKING = "ThinkingBudgetLogitProcessor"
MARKS = ("thinking_start_token_id", "thinking_end_token_id", "new_line_token_id")


def of(engine: str, *samplers: str) -> pytest.MarkDecorator:
    chosen = chosen_by(
        lambda e: (
            e["engine"].startswith(engine)
            and e["sampler"] not in LEFT_OUT
            and e["sampler"].startswith(samplers)
        )
    )
    assert chosen
    return pytest.mark.parametrize(
        "example", chosen, ids=lambda e: f"{e['sampler']} {list(e['params'].values())}"
    )


def context_of(example: dict[str, Any]) -> Context:
    text = example.get("context") or []
    if isinstance(text, dict):
        return Context(text.get("prompt", []), text["output"])
    begun = example["params"].get("prompt_length", len(text))
    return Context(text[:begun], text[begun:])


def row_of(numbers: list[float | None]) -> Any:
    return np.array([-np.inf if x is None else x for x in numbers], np.float32)


def compare(chain: Chain, example: dict[str, Any]) -> None:
    left = chain(row_of(example["logits"]), context_of(example))
    if example["answer_is"].startswith("final"):
        np.testing.assert_allclose(softmax(left), example["answer"], atol=1e-6)
    else:
        np.testing.assert_allclose(left, row_of(example["answer"]), rtol=1e-6, atol=1e-6)


ROWS = ("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
TEXTS = ("no_repeat", "sequence_bias", "bad_words", "min_new", "exponential")


@of("transformers", *ROWS, *TEXTS)
def test_transformers(example: dict[str, Any]) -> None:
    keep = example["params"].get("min_tokens_to_keep", 1)
    told = ("min_tokens_to_keep", "prompt_length", "context_length")
    asked = {key: value for key, value in example["params"].items() if key not in told}
    chain = engines.transformers({"top_k": 0, **asked})
    if keep == 1:
        compare(chain, example)
    else:  # only where it searches beams, which is not modelled: the two best stay beside
        row = row_of(example["logits"])
        left = np.maximum(chain(row), TopK(keep, ties="all")(row))
        np.testing.assert_array_equal(left, row_of(example["answer"]))


@of("transformers", "watermarking_config (KGW")
def test_transformers_watermark(example: dict[str, Any]) -> None:
    compare(engines.transformers({"watermarking_config": example["params"]}), example)


@of("transformers", "guidance")
def test_transformers_guidance(example: dict[str, Any]) -> None:
    context = Context([0], unconditional=row_of(example["params"]["unconditional_logits"]))
    chain = engines.transformers({"guidance_scale": example["params"]["guidance_scale"]})
    left = chain(row_of(example["logits"]), context)
    np.testing.assert_allclose(left, row_of(example["answer"]), rtol=1e-6, atol=1e-6)


@of("vllm", "min_tokens", "allowed", "bad_words")
def test_vllm(example: dict[str, Any]) -> None:
    asked = {NAMED.get(key, key): value for key, value in example["params"].items()}
    compare(engines.vllm(asked), example)


@of("vllm", "repetition_detection")
def test_vllms_repetitions_end_a_text(example: dict[str, Any]) -> None:
    resolved = resolve({"repetition_detection": example["params"]}, "vllm")
    found = Endings.of(resolved.endings).repetition(np.array(example["logits"]))
    assert (found is not None) == (example["answer"] == [1.0])
    if found is not None:  # vLLM does not say what repeats: it stands there, and often enough
        text, (size, times) = example["logits"], found
        assert (
            example["params"]["min_pattern_size"] <= size <= example["params"]["max_pattern_size"]
        )
        assert times == example["params"]["min_count"]
        assert text[-size * times :] == text[-size:] * times


@of("sglang", "min_new_tokens")
def test_sglang(example: dict[str, Any]) -> None:
    compare(engines.sglang(example["params"]), example)


@of("sglang", "Deepseek")
def test_sglangs_processor_of_n_grams(example: dict[str, Any]) -> None:
    asked = {"custom_logit_processor": OCR, "custom_params": example["params"]}
    compare(engines.sglang(asked), example)


@of("sglang", "thinking_budget")
def test_sglangs_processor_of_thinking(example: dict[str, Any]) -> None:
    asked = {
        "custom_logit_processor": THINKING,
        "custom_params": {**example["params"], **dict(zip(MARKS, (1, 2, 3), strict=True))},
    }
    compare(engines.sglang(asked), example)


APHRODITES = (
    *("nsigma", "tfs", "typical_p", "epsilon", "eta", "smoothing", "xtc", "dynatemp", "skew"),
    "no_repeat",
)


@of("aphrodite", *APHRODITES)
def test_aphrodite(example: dict[str, Any]) -> None:
    compare(engines.aphrodite(example["params"]), example)


@of("aphrodite", "dry")
def test_aphrodites_dry(example: dict[str, Any]) -> None:
    compare(engines.aphrodite(example["params"]), example)


@of("aphrodite", "mirostat")
def test_aphrodites_mirostat(example: dict[str, Any]) -> None:
    # Awake by a penalty that changes nothing where there is no output yet.
    asked = {"mirostat_mode": 2, "mirostat_tau": 1, "mirostat_eta": 0.1, "presence_penalty": 0.1}
    chain = engines.aphrodite(asked).at({"mirostat": example["params"]["mu"]})
    left = chain(row_of(example["logits"]), Context([0]))
    np.testing.assert_array_equal(left > -np.inf, [x is not None for x in example["answer"]])
