"""What each extra of the package is for, and how much it installs.

Run ``python benchmarks/extras.py`` where the extras are installed; ``--path DIRECTORY`` adds the
site-packages of another environment. For each extra of ``pyproject.toml`` it follows what the
installed packages require, and adds up their files on the disk, but for those that logitlab needs
without an extra. ``--readme`` puts the table into ``notebooks/site/pages/reference/install.md``.
"""

from __future__ import annotations

import datetime
import platform
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import report

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
INSTALL = report.REFERENCE / "install.md"

FOR = {
    "": "sampling, engines, a small model, sweeps, pictures, claims, `verify`, the command line",
    "gguf": "GGUF files as models, in numpy; their tokenizers and chat templates",
    "transformers": "models of transformers (size: torch's build for CPUs)",
    "llama-cpp": "models of llama.cpp; compiled while it is installed",
    "structured": "`response_format`, `tools`, and constraints from schemas and patterns",
    "sdk": "`transport` behind the official clients, and `verify` over httpx",
    "serve": "`logitlab serve`, `logitlab explore`, the pytest fixture",
    "dask": "sweeps on a Dask cluster",
    "arrow": "logits in Arrow, Feather and Parquet",
    "testing": "hypothesis strategies of `logitlab.testing`",
    "tables": "results of sweeps as pandas or xarray",
    "docs": "building this site",
    "test": "all tests; takes in what they need of the extras above",
    "notebooks": "running the notebooks, with sliders",
    "engines-live": "engines that are asked live in tests: llama.cpp, mlx-lm",
    "bench": "the tests, and benchmarks",
    "dev": "work on logitlab: tests, benchmarks, lint, types, the build",
}


def installed(paths: Sequence[str]) -> dict[str, Distribution]:
    """Return what is installed here and in other directories, by name; here comes first."""
    there = list(distributions(path=[*sys.path, *paths]))
    return {canonicalize_name(each.name): each for each in reversed(there)}


def needed(lines: Iterable[str], here: dict[str, Distribution]) -> set[str]:
    """Return the names of all that requirements bring, whatever brings it."""
    names: set[str] = set()
    asked: set[tuple[str, str]] = set()
    left = [Requirement(line) for line in lines]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        if name == PROJECT["name"]:
            extras = PROJECT["optional-dependencies"]
            left += [Requirement(line) for extra in wanted.extras for line in extras[extra]]
            continue
        if name not in here:
            raise LookupError(name)
        names.add(name)
        for extra in {"", *wanted.extras} - {extra for which, extra in asked if which == name}:
            asked.add((name, extra))
            for line in here[name].requires or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    left.append(further)
    return names


def size(distribution: Distribution) -> int:
    """Return the bytes of its files that are there."""
    files = (Path(str(file.locate())) for file in distribution.files or ())
    return sum(file.stat().st_size for file in files if file.is_file())


def rows(here: dict[str, Distribution]) -> list[list[str]]:
    """Return the rows of the table, the package without an extra first."""
    core = needed(PROJECT["dependencies"], here)
    found = []
    for extra, lines in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        try:
            names = needed(lines, here) - (core if extra else set())
        except LookupError as missing:
            raise SystemExit(
                f"{missing.args[0]}, of the extra {extra}, is not installed."
            ) from None
        own = f"`logitlab[{extra}]`" if extra else "`logitlab`"
        weight = sum(size(here[name]) for name in names) / 1e6
        found.append([own, FOR[extra], str(len(names)), f"{weight:.0f}" if weight >= 1 else "< 1"])
    return found


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--path", action="append", default=[], help="another site-packages")
    asked = parser.parse_args()
    machine = f"Linux {platform.machine()}, Python {platform.python_version()}"
    lines = report.table(["install", "for", "packages", "MB on disk"], rows(installed(asked.path)))
    told = [*lines, "", f"Measured on {datetime.date.today()}, {machine}."]
    print("\n".join(told))
    if asked.readme:
        report.insert(INSTALL, "extras", told)


if __name__ == "__main__":
    main()
