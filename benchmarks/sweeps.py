"""Sweeps: against the dense loop, throughput, two workers, peak memory, and what shipping costs.

Run ``python benchmarks/sweeps.py``; it writes results/sweeps.md and prints the same. A name as
argument runs that part alone: loop, throughput, compiled, workers, memory, shipping.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from logitlab import SamplingParams, engines, entropy, kernels, support_size, sweep
from logitlab.sweeps.chunks import Chunk, rows_of
from logitlab.sweeps.grid import chains_of, grid_of
from logitlab.sweeps.measures import measures_of
from logitlab.sweeps.reductions import Mean
from logitlab.sweeps.work import SweepJob

from compare import machine
from rows import make
from timing import interleaved, ratio

RESULTS = Path(__file__).parent / "results" / "sweeps.md"
METRICS = ["entropy", "support_size"]
SIZE = 49152
BIG = {
    "temperature": np.linspace(0, 2, 50),
    "top_p": np.linspace(0.05, 1, 20),
    "min_p": np.linspace(0, 0.45, 10),
}
MIDDLE = {
    "temperature": np.linspace(0, 2, 10),
    "top_p": np.linspace(0.2, 1, 5),
    "min_p": [0.0, 0.02, 0.05, 0.1],
}
SAMPLED = 40  # points and rows of the dense loop
_MEMORY = """
import sys
sys.path[:0] = {path!r}
from sweeps import sweep_big
sweep_big({file!r})
"""


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def loop() -> Iterator[str]:
    """The grid of 10 000 points on 1000 rows, and a sample of the loop over chains."""
    rows = make("real", 1000, SIZE)
    start = time.perf_counter()
    result = sweep(rows, BIG, METRICS, progress=False)
    shared_time = time.perf_counter() - start
    rng = np.random.default_rng(0)
    names = list(BIG)
    points = list(itertools.product(*(range(len(values)) for values in BIG.values())))
    places = [points[i] for i in rng.choice(len(points), SAMPLED, replace=False)]
    here = rng.choice(len(rows), SAMPLED, replace=False)
    each = sweep(rows[here], BIG, METRICS, reduce="rows", progress=False)
    times, wrong, worst = [], 0, 0.0
    for at in places:
        point = {name: float(BIG[name][i]) for name, i in zip(names, at, strict=True)}
        chain = engines.openrouter(SamplingParams.from_request(point))
        for i, row in enumerate(rows[here]):
            start = time.perf_counter()
            final = chain(row)
            numbers = entropy(final), support_size(final)
            times.append(time.perf_counter() - start)
            worst = max(worst, abs(float(numbers[0]) - each.values["entropy"][at][i]))
            wrong += int(numbers[1]) != each.values["support_size"][at][i]
    dense = statistics.mean(times) * len(points) * len(rows)
    yield f"grid of {len(points):,} points (50 temperatures x 20 top_p x 10 min_p), 1000 real rows,"
    yield f"V = {SIZE}, entropy and survivors, one process; {result.plan}"
    yield ""
    yield "| | seconds | ms a row |"
    yield "| --- | --- | --- |"
    yield f"| sweep | {shared_time:.1f} | {shared_time:.1f} |"
    yield f"| loop of chains, extrapolated | {dense:,.0f} | {dense:,.0f} |"
    yield ""
    yield f"ratio {dense / shared_time:,.0f} (target 20). The loop was timed on {SAMPLED} points x"
    yield f"{SAMPLED} rows drawn at random: {len(times)} chains of"
    yield f"{1e3 * statistics.mean(times):.2f} ms. On these, survivors differ in {wrong}; the"
    yield f"largest difference in entropy is {worst:.1e} nats (target 1e-6)."


def throughput() -> Iterator[str]:
    """Rows a second of one process."""
    count = 64
    rows = make("real", count, SIZE)
    yield "| chunk, V = 49 152, 200 points | rows/s |"
    yield "| --- | --- |"
    for chunk in (1, 4, 16, 64):
        duration = seconds(lambda c=chunk: sweep(rows, MIDDLE, METRICS, chunk=c, progress=False))  # type: ignore[misc]
        yield f"| {chunk} | {count / duration:.0f} |"
    yield ""
    yield "| vocabulary, 200 points | real rows/s | flat rows/s |"
    yield "| --- | --- | --- |"
    for size in (8192, 32000, 49152, 128256):
        cells = []
        for kind in ("real", "flat"):
            logits = make(kind, count, size)
            duration = seconds(lambda h=logits: sweep(h, MIDDLE, METRICS, progress=False))  # type: ignore[misc]
            cells.append(f"{count / duration:.0f}")
        yield f"| {size:,} | {' | '.join(cells)} |"
    yield ""
    yield "| points (temperatures x top_p x min_p), V = 49 152 | rows/s | points x rows/s |"
    yield "| --- | --- | --- |"
    for shape in ((1, 1, 1), (5, 1, 1), (1, 20, 10), (10, 5, 4), (50, 20, 2), (50, 20, 10)):
        grid = {
            name: np.linspace(*ends, n)
            for (name, ends), n in zip(
                {"temperature": (0.7, 2), "top_p": (0.9, 0.2), "min_p": (0.05, 0.4)}.items(),
                shape,
                strict=True,
            )
        }
        job = SweepJob(
            chains_of(grid_of(grid), "openrouter", None, SIZE)[0],
            measures_of(METRICS),
            Mean(),
            None,
        )
        _ = job.programs
        duration = seconds(lambda j=job: j(Chunk(0, count, rows, None)))  # type: ignore[misc]
        total = len(job.chains) * count / duration
        yield f"| {' x '.join(map(str, shape))} | {count / duration:.0f} | {total:,.0f} |"


def compiled() -> Iterator[str]:
    """Rows a second of one process with the kernels and without, in turns."""
    if kernels.rows is None:
        yield "logitlab was installed without kernels."
        return
    count = 16
    yield "| 200 points, vocabulary | rows | numpy, rows/s | kernels, rows/s | ratio (target 2) |"
    yield "| --- | --- | --- | --- | --- |"
    for size, kind in itertools.product((8192, 32000, 49152, 128256), ("real", "flat")):
        chunk = Chunk(0, count, make(kind, count, size), None)
        job = SweepJob(
            chains_of(grid_of(MIDDLE), "openrouter", None, size)[0],
            measures_of(METRICS),
            Mean(),
            None,
        )

        def without(job: SweepJob = job, chunk: Chunk = chunk) -> Any:
            with kernels.off():
                return job(chunk)

        contenders: dict[str, Callable[[], Any]]
        contenders = {"numpy": without, "kernels": partial(job, chunk)}
        times = interleaved(contenders, seconds=6)
        cells = " | ".join(f"{count / statistics.median(spent):.0f}" for spent in times.values())
        yield f"| {size:,} | {kind} | {cells} | {ratio(*times.values()):.2f} |"


def workers() -> Iterator[str]:
    """One process against two, on rows in a file."""
    count, rounds = 512, 5
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, make("real", count, SIZE))
        context = multiprocessing.get_context("forkserver")
        ratios, times = [], []
        with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:

            def run(pool: ProcessPoolExecutor) -> Any:
                return sweep(file, MIDDLE, METRICS, executor=pool, chunk=16, progress=False)

            bits = {np.asarray(run(pool)).tobytes() for pool in (one, two)}
            processor = [_processor_time(one), _processor_time(two)]
            for _ in range(rounds):
                single, double = seconds(lambda: run(one)), seconds(lambda: run(two))
                ratios.append(single / double)
                times.append((single, double))
            processor = [
                (_processor_time(pool) - s) / rounds
                for pool, s in zip((one, two), processor, strict=True)
            ]
    yield f"{count} rows of a file, V = {SIZE}, 200 points, chunks of 16, {rounds} rounds:"
    one_best, two_best = (min(column) for column in zip(*times, strict=True))
    yield f"one worker {one_best:.1f} s, two {two_best:.1f} s at best, {one_best / two_best:.2f}"
    yield "times as fast (target 1.7); round by round"
    yield f"{', '.join(f'{r:.2f}' for r in sorted(ratios))}."
    yield f"Processor time of the workers: {processor[0]:.1f} s for the one, {processor[1]:.1f} s"
    yield "for both."
    yield "Mean load of the two cores in these minutes, this script's included:"
    yield f"{os.getloadavg()[1]:.1f}. {'Same bits.' if len(bits) == 1 else 'OTHER BITS.'}"


def _processor_time(pool: ProcessPoolExecutor) -> float:
    """Return the processor time of the workers of a pool so far, in seconds."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in pool._processes)
    ticks = sum(int(number) for stat in stats for number in stat.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def sweep_big(file: str) -> None:
    """Sweep a large file, and print the peaks of this process, beyond those before, in MB."""
    grid = {"temperature": [0.7, 1.0], "top_p": [0.5, 0.9], "min_p": [0.0, 0.1]}
    sweep(make("real", 2, SIZE), grid, METRICS, progress=False)  # everything is loaded
    before = _anonymous()
    peak = [before]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    result = sweep(file, grid, METRICS, reduce="quantiles", progress=False)
    duration = time.perf_counter() - start
    stop.set()
    watcher.join()
    print(f"{result.rows} {duration:.0f} {(peak[0] - before) / 1e3:.0f} {peak[0] / 1e3:.0f}")


def _anonymous() -> int:
    """Return the memory of this process that is no mapped file, in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    raise OSError("this part needs Linux")


def memory() -> Iterator[str]:
    """Peak memory of a sweep over a mapped file of 2 GB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "big.npy"
        count = 2 * 10**9 // (4 * SIZE)
        memmap = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(count, SIZE))
        memmap[:: count // 50] = make("real", 1, SIZE)  # the others are holes: all logits equal
        size = memmap.nbytes
        del memmap
        code = _MEMORY.format(path=[str(Path(__file__).parent), *sys.path], file=str(file))
        output = subprocess.check_output([sys.executable, "-c", code], text=True)
    rows, duration, beyond, all_ = output.split()
    yield f"{rows} rows, {size / 1e9:.2f} GB mapped, 8 points, quantiles, in {duration} s:"
    yield f"the peak of memory that is not the map was {all_} MB, {beyond} MB more than before"
    yield "(target 600)."


def shipping() -> Iterator[str]:
    """What travels, and what a chunk costs beside its rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        logits = make("real", 64, SIZE)
        np.save(file, logits)
        yield "| points | job | chunk of a file | of an array | answer | to a worker and back |"
        yield "| --- | --- | --- | --- | --- | --- |"
        with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
            for grid in (MIDDLE, BIG):
                chains, _ = chains_of(grid_of(grid), "openrouter", None, SIZE)
                job = SweepJob(chains, measures_of(METRICS), Mean(), None)
                chunk = next(iter(rows_of(file, None).chunks(64, {})))
                array = next(iter(rows_of(logits, None).chunks(64, {})))
                nothing = Chunk(0, 0, logits[:0], None)
                pool.submit(job, nothing).result()
                trips = (pool.submit(job, nothing) for _ in range(20))
                trip = min(seconds(future.result) for future in trips)
                sizes = [len(pickle.dumps(thing)) for thing in (job, chunk, array)]
                answer = len(pickle.dumps(job.start(SIZE)))
                kilo = [f"{size / 1e3:,.1f} kB" for size in (*sizes, answer)]
                yield f"| {len(chains):,} | {' | '.join(kilo)} | {1e3 * trip:.1f} ms |"


PARTS = {
    "loop": ("Against the dense loop", loop),
    "throughput": ("Throughput of one core", throughput),
    "compiled": ("With kernels and without", compiled),
    "workers": ("Two workers", workers),
    "memory": ("Memory", memory),
    "shipping": ("Shipping", shipping),
}


def main() -> int:
    names = sys.argv[1:] or list(PARTS)
    lines = ["# Sweeps", "", machine(), ""]
    print("\n".join(lines))
    for name in names:
        title, part = PARTS[name]
        for line in (f"## {title}", "", *part(), ""):
            print(line, flush=True)
            lines.append(line)
    if len(names) == len(PARTS):
        RESULTS.write_text("\n".join(lines), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
