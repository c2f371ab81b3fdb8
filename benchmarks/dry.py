"""Cost of DRY over a context of 4 096 tokens, as multiples of a floor: one softmax in numpy.

Run ``python benchmarks/dry.py``. The floor is max, subtract, exp and sum of a row of 49 152 float32
logits. DRY edits the row in place, as a chain does: its copy belongs to the chain. The texts are a
tale, tokens that never repeat, and what repeats most: one token, two in turn, one page many times.
The target is 8 floors a row, the fastest round of each.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from logitlab import Context, Dry, NoRepeatNgram, Step, models
from logitlab.datasets import load
from logitlab.steps.step import SparseStep
from numpy.typing import NDArray

import report
from timing import interleaved

V, N = 49_152, 4_096
TARGET = 8.0


def texts() -> dict[str, NDArray[np.int64]]:
    """Return contexts of all kinds."""
    rng = np.random.default_rng(0)
    rows = load("smollm2")
    words = np.concatenate([ids[ids >= 0] for ids in rows.prompt_ids])
    page = rng.choice(words, 200)
    return {
        "a tale": np.asarray(tale(), np.int64),
        "no repetition": rng.permutation(V)[:N].astype(np.int64),
        "one token": np.full(N, 7),
        "two tokens in turn": np.arange(N) % 2,
        "99 % one token": np.where(rng.random(N) < 0.01, 8, 7),
        "runs, ever longer": np.concatenate([[8, *[7] * i] for i in range(1, 100)])[:N],
        "three long runs": np.concatenate([[7] * 1365, [8], [7] * 1365, [8], [7] * 1364]),
        "few tokens, at random": rng.integers(0, 3, N),
        "a page of 200 tokens": np.resize(page, N),
        "a line of 20 tokens": np.resize(page[:20], N),
    }


def tale() -> list[int]:
    """Return the tokens of a text that a model writes, with what repeats in it."""
    model = models.NGram.bundled()
    tokens = model.encode("Once upon a time there was a king who had a daughter. " * 400)
    rng = np.random.default_rng(1)
    tokens = [int(rng.integers(0, 2000)) if rng.random() < 0.3 else token for token in tokens]
    return tokens[:N]


def floor(row: NDArray[np.float32]) -> float:
    """Make one pass of a softmax over a row."""
    return float(np.exp(row - row.max()).sum())


def main() -> None:
    """Print the table."""
    arguments = report.options(__doc__).parse_args()
    print(report.machine())
    row = load("smollm2").logits[0].astype(np.float32)
    breakers = [(token,) for token in range(0, V, 40)]
    steps: dict[str, Step] = {
        "DRY": Dry(0.8),
        "DRY, 1 229 breakers": Dry(0.8, breakers=breakers),
        "DRY, every token a breaker": Dry(0.8, breakers=[(token,) for token in range(V)]),
        "DRY, pairs as breakers": Dry(0.8, breakers=[(t, V - 1) for t in range(2000)]),
        "DRY, Aphrodite's": Dry(0.8, least=2, longest=13, occurrences=8, enough=8, room="two more"),
        "n-grams of 3": NoRepeatNgram(3),
    }
    worst = 0.0
    for name, step in steps.items():
        assert isinstance(step, SparseStep)
        step.edit(row.copy(), Context([0]))  # tables of breakers are made once
        for kind, tokens in texts().items():
            context = Context(tokens)
            line = row.copy()
            times = interleaved(
                {"step": partial(step.edit, line, context), "floor": partial(floor, row)},
                seconds=0.0 if arguments.quick else 0.5,
                least=1 if arguments.quick else 5,
            )
            floors = min(times["step"]) / min(times["floor"])
            worst = max(worst, floors)
            ms = min(times["step"]) * 1e3
            print(f"{name:28} {kind:24} {ms:8.3f} ms {floors:7.2f} floors")
    print(f"worst: {worst:.2f} floors, target {TARGET}")
    sys.exit(worst > TARGET and not arguments.quick)


if __name__ == "__main__":
    main()
