"""Seconds that ``import logitlab`` takes in a fresh process, beside numpy alone.

Run ``python benchmarks/imports.py``. Each is the best of nine; logitlab's includes numpy's.
"""

from __future__ import annotations

import os
import subprocess
import sys

RUNS = 9


def seconds(name: str) -> float:
    """Return the time of an import with compiled files at hand."""
    code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
    kept = {key: v for key, v in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return min(float(subprocess.check_output(command, env=kept)) for _ in range(RUNS))


def main() -> int:
    numpy, logitlab = seconds("numpy"), seconds("logitlab")
    print(f"numpy {numpy:.3f} s, logitlab {logitlab:.3f} s: {logitlab / numpy:.2f} times numpy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
