"""Cost of the loop: milliseconds a token and row that `generate` adds to the model's own time.

Run ``python benchmarks/generation.py``; it writes ``results/generation.md``. The model plays real
rows of 49 152 logits, in turn; its own time, that of a copy, is measured and taken off. The target
is 0.15 ms for one row with all nine parameters. Runs with the compiled kernels and without take
turns. The second table is the bundled model, all included. Where the environment variable
LOGITLAB_SMOLLM2 names a GGUF file, that model by itself is measured, too.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

import numpy as np
from logitlab import SamplingParams, datasets, generate, generate_many, kernels
from logitlab.models import Gguf, Model, NGram, State

import report
from comparison import judged

TARGET = 0.15
TOKENS = {1: 100, 8: 60, 32: 40}  # by the number of rows
PROMPT = 200
ROUNDS = 7
WAYS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "kernels": nullcontext,
    "numpy": kernels.off,
}

REQUESTS = {
    "temperature 0.8": SamplingParams(temperature=0.8),
    "temperature 0.8, min_p 0.05": SamplingParams(temperature=0.8, min_p=0.05),
    "temperature 0.8, top_p 0.9": SamplingParams(temperature=0.8, top_p=0.9),
    "all nine, stop": SamplingParams(
        logit_bias={7: 1.0, 700: -5.0}, repetition_penalty=1.1, frequency_penalty=0.2,
        presence_penalty=0.1, temperature=0.8, top_k=50, top_p=0.95, min_p=0.05, top_a=0.1,
        stop=["###", "\n\n\n\n"],
    ),
    "all nine, stop, logprobs": SamplingParams(
        logit_bias={7: 1.0, 700: -5.0}, repetition_penalty=1.1, frequency_penalty=0.2,
        presence_penalty=0.1, temperature=0.8, top_k=50, top_p=0.95, min_p=0.05, top_a=0.1,
        stop=["###", "\n\n\n\n"], logprobs=True, top_logprobs=20,
    ),
}  # fmt: skip
FULL = "all nine, stop"


class Player(Model):
    """Plays the bundled rows, whatever it reads."""

    name = "player"
    end_ids = frozenset[int]()
    context_length = None

    def __init__(self) -> None:
        rows = datasets.load("smollm2")
        self.vocabulary = rows.vocabulary
        self.rows = rows.logits
        self.seconds = 0.0

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        start = time.perf_counter()
        for state, new in zip(states, tokens, strict=True):
            state.read(new)
        logits = self.rows[[len(state.tokens) % len(self.rows) for state in states]]
        self.seconds += time.perf_counter() - start
        return logits


def cost(model: Player, batch: int, params: SamplingParams, tokens: int) -> float:
    """Return milliseconds a token and row beyond the model's own."""
    prompts = [np.random.default_rng(i).integers(0, 49152, PROMPT) for i in range(batch)]
    model.seconds = 0.0
    start = time.perf_counter()
    generate_many(model, prompts, params, seed=1, max_tokens=tokens, progress=False)
    return 1e3 * (time.perf_counter() - start - model.seconds) / (tokens * batch)


def loops(quick: bool) -> list[str]:
    """Return the table of what the loop adds."""
    model = Player()
    batches = [*TOKENS][: 1 if quick else None]
    cells = []
    for name, params in REQUESTS.items():
        row = [name]
        for batch in batches:
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(1 if quick else ROUNDS):
                for way, within in WAYS.items():
                    with within():
                        times[way].append(cost(model, batch, params, TOKENS[batch]))
            middle = {way: statistics.median(values) for way, values in times.items()}
            target = TARGET if name == FULL and batch == 1 else None
            ours = judged(f"{middle['kernels']:.3f}", middle["kernels"], most=target)
            row += [ours, f"{middle['numpy']:.2f}"]
        cells.append(row)
        print(" | ".join(row), flush=True)
    plural = [f"{batch} row{'s' if batch > 1 else ''}" for batch in batches]
    heads = [f"{name}{rest}" for name in plural for rest in ("", ", numpy")]
    return report.table(["ms a token and row, V = 49 152", *heads], cells)


def bundled(batch: int, quick: bool) -> list[str]:
    """Return how many tokens the bundled model writes, in how many seconds, either way."""
    params = SamplingParams(temperature=0.9, min_p=0.05)
    cells, count = [], 0
    for within in WAYS.values():
        times = []
        for _ in range(1 if quick else 3):
            with within():
                start = time.perf_counter()
                answers = generate(
                    NGram.bundled(), "Once upon a time", params, n=batch, seed=7,
                    max_tokens=(1000 if quick else 10_000) // batch, progress=False,
                )  # fmt: skip
                times.append(time.perf_counter() - start)
        count = sum(len(answer.tokens) for answer in answers)
        cells += [f"{min(times):.2f}", f"{count / min(times):.0f}"]
    return [f"{batch} at a time", str(count), *cells]


def real(path: str) -> str:
    """Return what a model from a file takes to load, for a prompt, and for a token."""
    start = time.perf_counter()
    model = Gguf(path)
    loaded = time.perf_counter() - start
    prompt = model.encode("Once upon a time there was a girl who lived in a village near a forest.")
    state = model.start()
    start = time.perf_counter()
    logits = model.advance([state], [prompt])
    read = 1e3 * (time.perf_counter() - start) / len(prompt)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        logits = model.advance([state], [[int(logits[0].argmax())]])
        times.append(1e3 * (time.perf_counter() - start))
    token = f"{statistics.median(times):.0f} ms a token (best {min(times):.0f})"
    return f"{model.name}: {token}, {read:.0f} ms a token of the prompt, loaded in {loaded:.1f} s"


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    print(report.machine(), flush=True)
    lines = loops(arguments.quick)
    NGram.bundled()
    head = ["bundled model, min_p 0.05", "tokens", "seconds", "tokens/s", "numpy, seconds",
            "tokens/s"]  # fmt: skip
    batches = (10,) if arguments.quick else (1, 10, 50)
    lines += ["", *report.table(head, [bundled(batch, arguments.quick) for batch in batches])]
    if path := os.environ.get("LOGITLAB_SMOLLM2"):
        lines += ["", real(path)]
    print("\n".join(lines))
    if not arguments.quick:
        report.write("generation.md", lines)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "generation", [f"Measured {report.stamp()}", "", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
