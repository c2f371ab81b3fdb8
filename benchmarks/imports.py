"""Seconds that ``import logitlab`` takes in a fresh process, beside numpy alone.

Run ``python benchmarks/imports.py``; it writes ``results/imports.md``. Each is the best of so many
turns; logitlab's includes numpy's, and is taken with the compiled kernels and without.
"""

from __future__ import annotations

import os
import subprocess
import sys

import report

RUNS = 15
IMPORTS = {
    "numpy": ("numpy", "1"),
    "logitlab": ("logitlab", "1"),
    "logitlab, LOGITLAB_KERNELS=0": ("logitlab", "0"),
}


def seconds(name: str, kernels: str) -> float:
    """Return the time of one import with compiled files at hand."""
    code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
    kept = {key: v for key, v in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return float(subprocess.check_output(command, env={**kept, "LOGITLAB_KERNELS": kernels}))


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    turns = [
        [seconds(*each) for each in IMPORTS.values()] for _ in range(2 if arguments.quick else RUNS)
    ]
    best = [min(times) for times in zip(*turns, strict=True)]
    cells = [
        [name, f"{time:.3f}", f"{time / best[0]:.2f}"]
        for name, time in zip(IMPORTS, best, strict=True)
    ]
    lines = report.table(["import", "seconds", "times numpy"], cells)
    print("\n".join(lines))
    if not arguments.quick:
        report.write("imports.md", lines)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "imports", [f"Measured {report.stamp()}", "", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
