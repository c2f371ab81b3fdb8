"""What the samplers beyond the page cost, beside min_p on the same row.

Run ``python benchmarks/beyond.py``. Both draw one token from one row of 49,152 logits, turn by
turn, in numpy; a figure is the median over real rows of how many times as long the sampler takes.
Beside it the same of the dense step, which is the textbook and not what `sample` runs, and what
`sample` takes with the compiled kernels, in floors of the row. Exits 1 above a limit.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

from logitlab import (
    Chain,
    EpsilonCutoff,
    EtaCutoff,
    MinP,
    PLess,
    Step,
    Tfs,
    TopH,
    TopNSigma,
    TypicalP,
    datasets,
    kernels,
    sample,
)

import report
import timing
from compare import floor, prepared

# The most times as long as min_p that one may take.
LIMITS: dict[Step, float] = {
    TopNSigma(1.0): 2.5,
    EpsilonCutoff(1e-3): 2.5,
    PLess(): 2.5,
    Tfs(0.95): 2.5,
    EtaCutoff(1e-3): 5,
    TopH(0.4): 5,
    TypicalP(0.9): 8,
    TypicalP(0.2): 8,
}
MIN_P = MinP(0.05)


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    rows = datasets.load("smollm2").logits[:: 10 if arguments.quick else 2]
    slow = 0
    for step, limit in LIMITS.items():
        with kernels.off():
            drawn = ratio(rows, lambda step: partial(sample, request=Chain(step), seed=7), step)
            dense = ratio(rows, lambda step: step, step)
        slow += drawn > limit and not arguments.quick
        mark = "" if drawn <= limit else "  too slow"
        print(f"{step!r:22}{drawn:6.2f} of {limit:<5g} dense{dense:7.2f}"
              f"  floors{in_floors(rows, step):7.2f}{mark}")  # fmt: skip
    return int(slow > 0)


def ratio(rows: Any, made: Callable[[Step], Callable[..., Any]], step: Step) -> float:
    """Return the median over the rows of how many times as long as min_p a step takes."""
    ratios = []
    for row in rows:
        pair: dict[str, Callable[[], Any]] = {
            "ours": partial(made(step), row),
            "min_p": partial(made(MIN_P), row),
        }
        times = timing.interleaved(pair, seconds=0.1, least=3)
        ratios.append(timing.ratio(times["ours"], times["min_p"]))
    return statistics.median(ratios)


def in_floors(rows: Any, step: Step) -> float:
    """Return the median over the rows of what a prepared call takes, in floors."""
    ratios = []
    for row in rows:
        pair = {"ours": prepared(Chain(step), row[None], [None]), "floor": floor(row[None])}
        times = timing.interleaved(pair, seconds=0.1, least=3)
        ratios.append(timing.ratio(times["ours"], times["floor"]))
    return statistics.median(ratios)


if __name__ == "__main__":
    sys.exit(main())
