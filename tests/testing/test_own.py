"""The package's own samplers pass, under every engine, in each of the forms that they have."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import testing

ENGINES = ["openrouter", "vllm", "transformers", "mlx_lm", "llama_cpp", "sglang", "koboldcpp",
           "aphrodite", "ollama", "exllamav3", "tgi"]  # fmt: skip
LIKE: list[Any] = [
    {"temperature": 0.8, "top_p": 0.75},
    {"temperature": 0.5, "top_k": 5},
    {"temperature": 1.5, "top_k": 8, "top_p": 0.9, "repetition_penalty": 1.25},
]
ROWS = ["ordinary", "equal", "ties", "mass-at-p", "masked", "offsets"]


@pytest.mark.parametrize("engine", ENGINES)
def test_probabilities(engine: str) -> None:
    def sampler(row: Any, request: Any, context: Any) -> Any:
        return ll.distribution(row, request, engine=engine, context=context)

    # Some engines refuse a k beyond the vocabulary.
    like = [
        request for request in LIKE if "top_k" not in request or engine not in ("tgi", "mlx_lm")
    ]
    seen = testing.check(sampler, like, engine=engine, rows=ROWS)
    assert (seen.gives, seen.is_complete) == ("probabilities", True)


@pytest.mark.parametrize("engine", ["openrouter", "vllm"])
def test_survivors_of_the_fast_path(engine: str) -> None:
    def sampler(row: Any, request: Any) -> Any:
        return ll.survivors(row, request, engine=engine).tokens[0]

    seen = testing.check(sampler, LIKE[:2], engine=engine, rows=[*ROWS, "wide"])
    assert seen.gives == "survivors"


def test_draws() -> None:
    def sampler(row: Any, request: Any, size: int, seed: int) -> Any:
        return ll.sample(row, request, size=size, seed=seed).tokens

    seen = testing.check(sampler, [{}, *LIKE[:2]], rows=ROWS)
    assert seen.gives == "tokens"
    assert seen.draws > 30_000


def test_an_adapter() -> None:
    plain = ll.adapters.plain({"top_p": 0.75, "temperature": 0.5})
    assert testing.check(lambda row: plain([], row), {"top_p": 0.75, "temperature": 0.5}, rows=ROWS)
    assert np.isfinite(plain([], np.zeros(3))).any()
