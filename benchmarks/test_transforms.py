"""Each dense transform on its own: ``python -m pytest benchmarks/test_transforms.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import (
    Context,
    FrequencyPenalty,
    LogitBias,
    MinP,
    PresencePenalty,
    RepetitionPenalty,
    Step,
    Temperature,
    TopA,
    TopK,
    TopP,
)

SHAPE = (4, 128_256)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=3, size=SHAPE).astype(np.float32)
CONTEXT = Context(prompt=RNG.integers(SHAPE[1], size=(SHAPE[0], 512)))
STEPS = [
    LogitBias({7: 1.0, 9: -100.0}), RepetitionPenalty(1.1), FrequencyPenalty(0.1),
    PresencePenalty(0.1), Temperature(0.8), TopK(50), TopP(0.9), MinP(0.05), TopA(0.2),
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_step(benchmark: Any, step: Step) -> None:
    result = benchmark(step, LOGITS, CONTEXT)
    assert result.shape == SHAPE
