"""Two threads over 256 rows, beside a control, and the pace of a Python loop beside a kernel.

Run ``python benchmarks/threads.py``; it writes ``results/threads.md``. The control takes two
threads of numpy exponentials over the same rows, in the same turns: what two cores of this machine
give at that moment. A loop in Python that keeps its pace beside a kernel shows that the kernel
holds no lock.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

import numpy as np
from logitlab import sample

import report
import rows
import timing
from cases import CASES
from compare import CONTEXT, context_for
from comparison import judged

BATCH, SIZE = 256, 128_256
ROWS_AT_ONCE = 8  # of the control: its threads hand over the lock once in a millisecond
SHARE = 0.95  # of what the control gains
TWO_CORES = 1.2  # the least gain of a control that says something
GAIN, FREE = 1.7, 1.9  # what is gained where the control shows two free cores
PACE_TURN = 0.1  # seconds
Run = Callable[[], Any]


def exponentials(logits: np.ndarray[Any, Any], threads: int, pool: ThreadPoolExecutor) -> Run:
    """Return a call that exponentiates all rows, spread over threads."""

    def part(start: int, stop: int) -> None:
        buffer = np.empty((ROWS_AT_ONCE, logits.shape[1]), np.float32)
        for begin in range(start, stop, ROWS_AT_ONCE):
            block = logits[begin : min(begin + ROWS_AT_ONCE, stop)]
            np.exp(block, out=buffer[: len(block)])

    cuts = [len(logits) * i // threads for i in range(threads + 1)]
    if threads == 1:
        return partial(part, 0, len(logits))
    return lambda: list(pool.map(part, cuts[:-1], cuts[1:]))


def gains(turns: int, batch: int, size: int) -> Iterator[list[str]]:
    """Yield the cells of each chain."""
    pool = ThreadPoolExecutor(2)
    for case in CASES[:7]:
        logits = rows.make(case.rows, batch, size)
        ids = np.random.default_rng(1).integers(size, size=(batch, CONTEXT))
        context = context_for(case.params, ids)
        ours = partial(sample, logits, case.params, context=context, seed=7)
        runs: dict[str, Run] = {
            "one": ours,
            "two": partial(ours, threads=2),
            "control, one": exponentials(logits, 1, pool),
            "control, two": exponentials(logits, 2, pool),
        }
        assert (runs["one"]().tokens == runs["two"]().tokens).all()
        times = timing.interleaved(runs, seconds=0, least=turns, turn=0.0)
        gain = timing.ratio(times["one"], times["two"])
        control = timing.ratio(times["control, one"], times["control, two"])
        share = gain / control
        yield [
            f"{case.name}, {case.rows} rows", f"{1e3 * timing.spread(times['one'])[0]:.1f}",
            judged(f"{gain:.2f}", gain, least=GAIN if control >= FREE else None),
            f"{control:.2f}",
            judged(f"{share:.2f}", share, least=SHARE if control >= TWO_CORES else None),
        ]  # fmt: skip


@contextmanager
def beside(run: Run | None) -> Iterator[None]:
    """Repeat a call in a thread of its own inside a ``with`` block."""
    stop = threading.Event()

    def repeat() -> None:
        while run and not stop.is_set():
            run()

    worker = threading.Thread(target=repeat)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def steps() -> int:
    """Return how many steps a Python loop takes in a turn."""
    end, count = time.perf_counter() + PACE_TURN, 0
    while time.perf_counter() < end:
        count += 1
    return count


def paces(turns: int, batch: int, size: int) -> dict[str, float]:
    """Return what share of its pace a Python loop keeps beside a kernel and beside the control."""
    logits = rows.make("real", batch, size)
    kernel = partial(sample, logits, {"temperature": 0.8, "top_p": 0.9}, seed=7)
    control = exponentials(logits, 1, ThreadPoolExecutor(1))
    found: dict[str, list[float]] = {"kernel": [], "control": []}
    for _ in range(turns):
        with beside(None):
            alone = steps()
        for name, run in (("kernel", kernel), ("control", control)):
            with beside(run):
                found[name].append(steps() / alone)
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    turns, batch, size = (3, 32, 32_000) if arguments.quick else (40, BATCH, SIZE)
    print(report.machine(), flush=True)
    found = []
    for cells in gains(turns, batch, size):
        found.append(cells)
        print(" | ".join(cells), flush=True)
    pace = paces(turns, batch, size)
    head = [f"{batch} rows, V = {size:,}", "ms, one thread", "gain of two", "gain of the control",
            "share of it"]  # fmt: skip
    lines = report.table(head, found)
    lines += ["", f"{turns} paired turns. A Python loop keeps {pace['kernel']:.2f} of its pace "
              f"beside a kernel, {pace['control']:.2f} beside the control."]  # fmt: skip
    print("\n".join(lines))
    if not arguments.quick:
        report.write("threads.md", lines)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "threads", [f"Measured {report.stamp()}", "", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
