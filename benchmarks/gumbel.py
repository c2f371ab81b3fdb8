"""Gumbel draws over whole rows, with the kernels and without, in floors of the same row.

Run ``python benchmarks/gumbel.py``. A floor is numpy's maximum, difference, exponential and sum of
a float32 row. The target is 2 floors for 128,256 tokens.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
from logitlab import kernels
from logitlab.draw import choose
from numpy.typing import NDArray

from compare import machine
from rows import make
from timing import interleaved

TARGET = 2.0
WITHOUT = 2  # rows that numpy draws from: it takes hundreds of floors


def floors(kind: str, size: int, batch: int, dtype: type) -> tuple[float, float]:
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
    times = interleaved(contenders, seconds=6)

    def median(name: str, count: int) -> float:
        pairs = zip(times[name], times["floor"], strict=True)
        return statistics.median(spent / count / one for spent, one in pairs)

    return median("kernels", batch), median("numpy", min(WITHOUT, batch))


def main() -> int:
    print(f"{machine()}\n")
    print("| rows | dtype | V | B | kernels, floors | numpy, floors |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in (4096, 32000, 128256):
        for kind, batch, dtype in (
            ("real", 1, np.float32),
            ("real", 32, np.float32),
            ("flat", 32, np.float32),
            ("real", 8, np.float64),
        ):
            ours, numpy_s = floors(kind, size, batch, dtype)
            cells = f"{kind} | {dtype.__name__} | {size:,} | {batch} | {ours:.2f} | {numpy_s:.0f}"
            print(f"| {cells} |", flush=True)
    print(f"\ntarget for 128,256 tokens of float32: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
