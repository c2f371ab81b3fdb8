"""Cost of the loop: milliseconds a token and row that `generate` adds to the model's own time.

Run ``python benchmarks/generation.py``. The model plays real rows of 49 152 logits, in turn; its
own time, that of a copy, is measured and taken off. The target is 0.15 ms for one row under all
nine parameters; a report of log-probabilities sums the whole row once more. The second table is
the bundled model, all included. Where the environment variable LOGITLAB_SMOLLM2 names a GGUF file,
that model by itself is measured, too.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab import SamplingParams, datasets, generate, generate_many
from logitlab.models import Gguf, Model, NGram, State

from compare import machine

TARGET = 0.15
TOKENS = 100
PROMPT = 200
BATCHES = (1, 8, 32)
ROUNDS = 7

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


def cost(model: Player, batch: int, params: SamplingParams) -> float:
    """Return milliseconds a token and row beyond the model's own."""
    prompts = [np.random.default_rng(i).integers(0, 49152, PROMPT) for i in range(batch)]
    model.seconds = 0.0
    start = time.perf_counter()
    generate_many(model, prompts, params, seed=1, max_tokens=TOKENS, progress=False)
    return 1e3 * (time.perf_counter() - start - model.seconds) / (TOKENS * batch)


def bundled(batch: int) -> tuple[int, float]:
    """Return how many tokens the bundled model writes, and in how many seconds."""
    params = SamplingParams(temperature=0.9, min_p=0.05)
    start = time.perf_counter()
    answers = generate(
        NGram.bundled(), "Once upon a time", params, n=batch, seed=7, max_tokens=10_000 // batch,
        progress=False,
    )  # fmt: skip
    return sum(len(answer.tokens) for answer in answers), time.perf_counter() - start


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
    print(machine(), "\n")
    model = Player()
    heads = " | ".join(f"{batch} row{'s' if batch > 1 else ''}" for batch in BATCHES)
    print(f"| ms a token and row, V = 49 152 | {heads} |")
    print("| --- |" + " --- |" * len(BATCHES))
    worst = 0.0
    for name, params in REQUESTS.items():
        cells = []
        for batch in BATCHES:
            times = [cost(model, batch, params) for _ in range(ROUNDS)]
            cells.append(f"{statistics.median(times):.2f} ({min(times):.2f})")
            if name == FULL and batch == 1:
                worst = statistics.median(times)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{FULL}, one row: {worst:.2f} ms, {'' if worst <= TARGET else 'not '}within {TARGET}")
    NGram.bundled()
    print(
        "\n| bundled model, min_p 0.05 | tokens | seconds | tokens/s |\n"
        + "| --- |" * 1
        + " --- |" * 3
    )
    for batch in (1, 10, 50):
        tokens, seconds = min((bundled(batch) for _ in range(3)), key=lambda found: found[1])
        print(
            f"| {batch} at a time | {tokens} | {seconds:.2f} | {tokens / seconds:.0f} |", flush=True
        )
    if path := os.environ.get("LOGITLAB_SMOLLM2"):
        print("\n" + real(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
