"""What all scripts here share: their options, the machine, and where tables go.

A script prints its tables. Run whole, it also writes them to ``results/``, with the day and the
machine; with ``--readme`` it puts them between its marks in the documentation, too, so no figure
there is typed. ``--quick`` is a look: everything runs, on little, and nothing is written.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import peers

HERE = Path(__file__).parent
RESULTS = HERE / "results"
REFERENCE = HERE.parent / "notebooks" / "site" / "pages" / "reference"
BENCHMARKS = HERE / "README.md"


def options(doc: str | None, *parts: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every script has, and of the parts it may be run by."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--quick", action="store_true", help="a look: little of all, none written")
    either.add_argument(
        "--readme", action="store_true", help="write the tables in the documentation"
    )
    if parts:
        parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}")
    return parser


def machine() -> str:
    """Return what this was measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [text for text in cpuinfo.read_text().splitlines() if text.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    engines_here = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    return (
        f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}; {engines_here or 'no engine installed'}"
    )


def stamp() -> str:
    """Return the day and the machine."""
    return f"{datetime.date.today()}, {machine()}."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def write(name: str, lines: Sequence[str]) -> None:
    """Write a results file, dated."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text("\n".join([stamp(), "", *lines]) + "\n", "utf-8")


def insert(file: Path, script: str, lines: Sequence[str]) -> None:
    """Replace what stands between the marks of a script in a file of the documentation."""
    begin, end = f"<!-- benchmarks/{script}.py -->\n", f"<!-- end of {script}.py -->"
    before, _, rest = file.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"{file} has no marks for {script}.py.")
    file.write_text(f"{before}{begin}{chr(10).join(lines)}\n{end}{after}", "utf-8")
