"""29 small cases and what every engine's own code answered to each: all of them are tests."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from logitlab import Context, ParameterError, engines, softmax
from logitlab.request.params import NEUTRAL

from engines.cases import VECTORS

NAMES = {
    "vllm-v1": "vllm",
    "vllm-mrv2": "vllm_triton",
    "sglang": "sglang",
    "sglang-lag": "sglang_lag",
    "hf": "transformers",
    "hf-serve": "transformers_serve",
    "llamacpp": "llama_cpp",
    "lcpp-py": "llama_cpp_python",
    "mlx": "mlx_lm",
    "koboldcpp": "koboldcpp",
    "aphrodite": "aphrodite",
}
TINY = float(np.finfo(np.float32).tiny)
EXAMPLES: list[dict[str, Any]] = json.loads((VECTORS / "examples.json").read_text())

# FlashInfer needs a GPU: these follow from its source, case by case.
SPEC: dict[str, dict[str, list[float]]] = {
    "vllm_flashinfer": {
        "01": [0.4087, 0.2479, 0.1931, 0.1504, 0],
        "02": [0.3745, 0.2272, 0.1769, 0.1378, 0.0836],
        "03": [1, 0, 0, 0, 0],
        "04": [0.7112, 0.0963, 0.0963, 0.0963, 0, 0],
        "05": [0.3333, 0.3333, 0.3333, 0, 0],
        "06": [0.25, 0.25, 0.25, 0.25],
        "07": [0.6667, 0.3333, 0, 0],
        "08": [1, 0, 0, 0],
        "09": [1, 0, 0, 0],
        "20": [0.5630, 0.2071, 0.1256, 0.0762, 0.0280],
        "28": [0.4046, 0.1488, 0.1488, 0.1488, 0.1488],
    },
    "sglang_flashinfer": {
        "01": [0.4087, 0.2479, 0.1931, 0.1504, 0],
        "04": [0.7112, 0.0963, 0.0963, 0.0963, 0, 0],
        "05": [0.3333, 0.3333, 0.3333, 0, 0],
        "06": [0.25, 0.25, 0.25, 0.25],
        "07": [0.6667, 0.3333, 0, 0],
        "08": [0.5714, 0.4286, 0, 0],
        "09": [1, 0, 0, 0],
        "28": [0.4046, 0.1488, 0.1488, 0.1488, 0.1488],
    },
    "sglang_flashinfer_sequential": {"08": [1, 0, 0, 0], "09": [1, 0, 0, 0]},
}

# The kernels of the Triton runner have limits that are not imitated: a row of equal logits is not
# cut, and a token equal to the smallest logit is never kept (`engines.vllm_triton` tells of them).
KERNEL_LIMITS = {("06", "vllm_triton"), ("28", "vllm_triton")}


def request(example: dict[str, Any], engine: str) -> dict[str, Any]:
    """All examples but the empty one leave out nothing: what is absent in them is neutral."""
    params: dict[str, Any] = example["params"]
    if example["case"].startswith("29") or engine == "transformers_serve":
        return params
    return {key: NEUTRAL[key] for key in engines.get(engine).defaults} | params


def answer(example: dict[str, Any], engine: str) -> Any:
    recipe = engines.get(engine)
    logits = np.array(example["logits"], np.float32)
    arrived = engines.translate(request(example, engine), recipe, vocabulary_size=len(logits))
    context = Context(example["prompt"], example["output"])
    return softmax(recipe.chain_of(arrived)(logits, context))


CASES = [
    pytest.param(example, engine, expected, id=f"{example['case'][:2]}-{engine}")
    for example in EXAMPLES
    for key, engine in NAMES.items()
    if (expected := example["final_probs"].get(key)) is not None
]


def test_nothing_is_left_out() -> None:
    assert len(EXAMPLES) == 29
    recorded = {key for example in EXAMPLES for key in example["final_probs"]}
    # mlx-lm 0.32.0 cut its nucleus otherwise than 0.32.2, which is the version here.
    assert recorded - set(NAMES) == {"mlx-0.32.0"}
    assert len(CASES) == sum(key in NAMES for example in EXAMPLES for key in example["final_probs"])


@pytest.mark.parametrize(("example", "engine", "expected"), CASES)
def test_an_engine_answers_as_recorded(
    example: dict[str, Any], engine: str, expected: list[float] | str
) -> None:
    number = example["case"][:2]
    unexpected = {"top_k", "min_p", "top_a", "repetition_penalty"} & example["params"].keys()
    if engine == "transformers_serve" and unexpected:
        # The server answers 422 to these keys; the recorded values were fed in behind it.
        with pytest.raises(ParameterError, match="Unexpected fields in the request"):
            answer(example, engine)
    elif isinstance(expected, str):
        text = expected.partition(": ")[2].partition(" (parameter=")[0]
        with pytest.raises(ParameterError) as error:
            answer(example, engine)
        # The engine's text is the message, or it is quoted.
        says = str(error.value).partition(f"{engine} refuses the request")[2]
        assert says
        assert text in (says.removeprefix(": "), str(error.value).partition(f" {engine} ref")[0])
    elif any(map(math.isnan, expected)):
        with pytest.raises(ParameterError, match="no token is left"):
            answer(example, engine)
    elif (number, engine) in KERNEL_LIMITS:
        assert np.abs(answer(example, engine) - expected).sum() / 2 > 0.1
    else:
        got = answer(example, engine)
        # Probabilities that float32 cannot hold are no survivors.
        np.testing.assert_array_equal(got > TINY, np.array(expected) > TINY)
        assert np.abs(got - expected).sum() / 2 < 1e-6


@pytest.mark.parametrize(
    ("engine", "number"), [(engine, number) for engine in SPEC for number in SPEC[engine]]
)
def test_flashinfer_answers_as_its_source_says(engine: str, number: str) -> None:
    example = next(e for e in EXAMPLES if e["case"].startswith(number))
    np.testing.assert_allclose(answer(example, engine), SPEC[engine][number], atol=6e-5)
