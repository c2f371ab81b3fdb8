"""The proofs of the compiled kernels in their full form, and what they measured.

    python benchmarks/proofs.py [examples]

Runs the tests of ``tests/kernels`` over every float32 of the exponential's range, with so many
examples of each law (500), and writes ``benchmarks/results/proofs.md``.
"""

from __future__ import annotations

import datetime
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from logitlab import kernels

HERE = Path(__file__).parent


def main() -> int:
    """Run the tests, and write what they measured."""
    examples = sys.argv[1] if len(sys.argv) > 1 else "500"
    os.environ |= {"LOGITLAB_EXAMPLES": examples, "LOGITLAB_PROOFS": "full"}
    os.chdir(HERE.parent)
    if kernels.rows is None:  # every test would be skipped, and the file empty
        raise SystemExit("There are no kernels to prove: they were not compiled, or are off.")
    start = time.monotonic()
    code = pytest.main(["-q", "tests/kernels", "-p", "no:cacheprovider"])
    if code:
        return int(code)
    from kernel_cases import RECORD

    sections: dict[str, list[str]] = {}
    for name, measured in RECORD.items():
        title, _, what = name.partition(": ")
        sections.setdefault(title, []).append(f"| {what} | {measured} |")
    lines = [
        "# Proofs of the compiled kernels",
        "",
        f"{datetime.date.today()}, {platform.machine()}, numpy {np.__version__}, {examples} "
        f"examples of each law, {time.monotonic() - start:.0f} seconds; written by "
        "`benchmarks/proofs.py`. The exponential was computed for every float32 from -104 to -0.",
    ]
    for title, rows in sections.items():
        lines += ["", f"| {title} | |", "| --- | --- |", *rows]
    (HERE / "results" / "proofs.md").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
