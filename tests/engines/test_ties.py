"""Equal tokens at a cut: on a CPU as recorded, on CUDA as a stable sort has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, engines
from logitlab.datasets import load

from engines import recorded
from engines.cases import bfloat16
from engines.own_code import Array

ASCENDING = ("vllm", "transformers", "transformers_serve", "aphrodite", "aphrodite_once")
DESCENDING = ("sglang", "sglang_lag")


def test_bfloat16_ties_the_best_of_every_row() -> None:
    for row in bfloat16(load().logits):
        assert len(np.unique(np.sort(row)[-50:])) < 50


@pytest.mark.parametrize(
    "engine", ["vllm", "transformers", "transformers_serve", "aphrodite", "sglang"]
)
def test_the_recorded_rows_tell_introsort_from_a_stable_sort(engine: str) -> None:
    """As recorded all are equal, `test_recorded` says; on CUDA dozens are not."""
    different, on_cuda = 0, engines.get(engine).with_options(device="cuda")
    for answer in recorded.answers(engine):
        ours = recorded.evaluated(on_cuda, answer.case)
        if not answer.error and not isinstance(ours, str):
            different += not recorded.same_survivors(answer, ours)
        if different > 60:
            break
    assert different > 60


def stable(row: Array, k: int, p: float, down: bool) -> list[int]:
    """Return what top-k and top-p keep of a row of float32 that is sorted stably."""
    order = np.argsort(-row if down else row, kind="stable")
    weight = np.exp((row[order] - row.max()).astype(np.float64))
    if down:
        mass = np.cumsum(weight) / weight.sum()
        keep = (mass - weight / weight.sum() <= p) & (np.arange(len(row)) < k)
    else:
        weight *= row[order] >= np.sort(row)[-k]
        keep = np.cumsum(weight) / weight.sum() > 1 - p
        keep[-1] = True
    return sorted(order[keep].tolist())


@pytest.mark.parametrize("engine", ASCENDING + DESCENDING)
def test_on_cuda_the_sort_is_stable(engine: str) -> None:
    rng = np.random.default_rng(3)
    on_cuda = engines.get(engine).with_options(device="cuda")
    for size in (2, 16, 17, 40, 300, 5000):
        row = rng.integers(-3, 4, size).astype(np.float32)
        k, p = min(size, 20), 0.5371
        body: dict[str, Any] = {"top_k": k, "top_p": p}
        if engine == "transformers_serve":
            del body["top_k"]
            k = min(size, 50)
        kept = np.flatnonzero(on_cuda(body)(row) > -np.inf).tolist()
        assert kept == stable(row, k, p, engine in DESCENDING)


@pytest.mark.parametrize("engine", ASCENDING + DESCENDING)
def test_the_device_is_an_option(engine: str) -> None:
    recipe = engines.get(engine)
    request = {"top_p": 0.5}
    assert recipe.with_options(device="cpu")(request) == recipe(request)
    assert "introsort" in repr(recipe(request))
    assert "introsort" not in repr(recipe.with_options(device="cuda")(request))
    with pytest.raises(ParameterError, match="device must be one of 'cpu', 'cuda', got 'mps'"):
        recipe.with_options(device="mps")
