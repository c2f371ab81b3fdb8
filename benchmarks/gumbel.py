"""Gumbel draws over whole rows, with the kernels and without, in floors of the same row.

Run ``python benchmarks/gumbel.py``; it writes ``results/gumbel.md``. A floor is numpy's maximum,
difference, exponential and sum of a float32 row. The target is 2 floors for 128,256 tokens.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.draw import choose
from numpy.typing import NDArray

import report
from comparison import judged
from rows import make
from timing import interleaved

TARGET = 2.0
WITHOUT = 2  # rows that numpy draws from: it takes hundreds of floors


def floors(kind: str, size: int, batch: int, dtype: type, turns: int) -> tuple[float, float]:
    """Return the medians of a draw by kernels and by numpy, in floors a row."""
    rows = make(kind, batch, size)
    logits: NDArray[Any] = rows.astype(dtype)
    sequence = np.arange(batch)[:, None]
    position = np.zeros_like(sequence)
    buffer = np.empty(size, np.float32)

    def floor() -> None:
        np.subtract(rows[0], rows[0].max(), out=buffer)
        np.exp(buffer, out=buffer).sum()

    def compiled() -> None:
        choose(logits, 7, sequence, position, "gumbel")

    def without() -> None:
        with kernels.off():
            few = slice(0, WITHOUT)
            choose(logits[few], 7, sequence[few], position[few], "gumbel")

    contenders = {"floor": floor, "kernels": compiled, "numpy": without}
    times = interleaved(contenders, seconds=0, least=turns)

    def median(name: str, count: int) -> float:
        pairs = zip(times[name], times["floor"], strict=True)
        return statistics.median(spent / count / one for spent, one in pairs)

    return median("kernels", batch), median("numpy", min(WITHOUT, batch))


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    print(report.machine(), flush=True)
    found = []
    for size in (4096,) if arguments.quick else (4096, 32_000, 128_256):
        for kind, batch, dtype in (
            ("real", 1, np.float32),
            ("real", 32, np.float32),
            ("flat", 32, np.float32),
            ("real", 8, np.float64),
        ):
            ours, numpy_s = floors(kind, size, batch, dtype, 2 if arguments.quick else 15)
            target = TARGET if size == 128_256 and dtype == np.float32 else None
            found.append([
                kind, dtype.__name__, f"{size:,}", str(batch),
                judged(f"{ours:.2f}", ours, most=target), f"{numpy_s:.0f}",
            ])  # fmt: skip
            print(" | ".join(found[-1]), flush=True)
    head = ["rows", "dtype", "V", "B", "kernels, floors", "numpy, floors"]
    lines = report.table(head, found)
    if not arguments.quick:
        report.write("gumbel.md", lines)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "gumbel", [f"Measured {report.stamp()}", "", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
