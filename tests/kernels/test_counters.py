"""How many rows kernels leave to numpy: below 1 % on real and peaked rows, 5 % on flat ones."""

from __future__ import annotations

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, Context, Temperature, TopK, TopP
from logitlab.steps.xtc import ExcludeTopChoices

from kernel_cases import FULL, RECORD, bench, compiled, draw

CHAINS = {
    "penalties, T, k, p, m": Chain(
        ll.RepetitionPenalty(1.1), ll.FrequencyPenalty(0.1), ll.PresencePenalty(0.1),
        Temperature(0.8), TopK(50), TopP(0.95), ll.MinP(0.05),
    ),
    "T, p": Chain(Temperature(0.8), TopP(0.9)),
    "T 1.5, p": Chain(Temperature(1.5), TopP(0.9)),
    "T, m": Chain(Temperature(0.8), ll.MinP(0.05)),
    "T, a": Chain(Temperature(0.8), ll.TopA(0.2)),
    "T": Chain(Temperature(0.8)),
    "no step": Chain(),
    "typical": Chain(Temperature(0.8), ll.TypicalP(0.9)),
    "sigma": Chain(Temperature(0.8), ll.TopNSigma(1.5)),
    "xtc": Chain(Temperature(0.8), ExcludeTopChoices(0.1)),
    "epsilon": Chain(Temperature(0.8), ll.EpsilonCutoff(3e-4)),
    "eta": Chain(Temperature(0.8), ll.EtaCutoff(3e-4)),
    "p less": Chain(Temperature(0.8), ll.PLess()),
}  # fmt: skip
MOST = {"real": 0.01, "peaked": 0.01, "flat": 0.05}


@compiled
@pytest.mark.parametrize("kind", bench.KINDS)
@pytest.mark.parametrize("name", CHAINS)
def test_few_rows_are_left(name: str, kind: str) -> None:
    left = total = 0
    sizes = {32_000: 64, 128_256: 16} if not FULL else {32_000: 1024, 128_256: 256}
    for size, count in sizes.items():
        rng = np.random.default_rng(size)
        for start in range(0, count, 16):
            x = bench.make(kind, 16, size, seed=start)
            context = Context(prompt=rng.integers(0, size, (16, 512)))
            _, done = draw(x, CHAINS[name], rng.random((16, 1)), context)
            left += int((~done).sum())
            total += len(done)
    RECORD[f"left to numpy: {name}, {kind}"] = f"{left} of {total} rows"
    assert left <= MOST[kind] * total
