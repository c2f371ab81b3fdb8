"""``logitlab docs``: where the documentation was built, or what builds it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from logitlab.cli.arguments import add_command

__all__ = ["add"]

_NEEDS = ("sphinx", "myst_nb", "numpydoc", "furo", "sphinx_copybutton")  # what the extra brings


def add(commands: Any) -> None:
    """Add ``docs``."""
    add_command(
        commands,
        "docs",
        lambda _: where(Path(__file__).parents[3]),
        help="where the documentation was built, or the command that builds it",
        description="Print the page at which the documentation begins, or the commands that build "
        "it from a clone of the repository. It needs no network.",
    )


def where(root: Path) -> str:
    """Return the first page of the documentation, or what builds it, for a place of the package."""
    script, first = root / "notebooks" / "site" / "build.py", root / "build/site/html/index.html"
    if not script.is_file():
        return (
            "The documentation is built from a clone of the repository, and this package was "
            "installed without one. In a clone:\n"
            "    pip install -e '.[docs]'\n"
            "    python notebooks/site/build.py"
        )
    build = shlex.join([sys.executable, str(script)])
    missing = [name for name in _NEEDS if find_spec(name) is None]
    install = f"    pip install 'logitlab[docs]'    # {missing[0]} is missing\n" if missing else ""
    if not first.is_file():
        return f"The documentation is not built yet. To build it:\n{install}    {build}"
    if _newest(root) > first.stat().st_mtime:
        older = f"{first}\nis older than what it was made of. To build it again:"
        return f"{older}\n{install}    {build}"
    return str(first)


def _newest(root: Path) -> float:
    """Return when a file was last changed that the documentation is made of."""
    folders = ("src/logitlab", "notebooks", "benchmarks", "tests/engines")
    files = [path for folder in folders for path in (root / folder).rglob("*.*")]
    kinds = (".py", ".md", ".ipynb", ".json", ".css", ".png")
    files = [path for path in (*files, root / "CHANGELOG.md") if path.suffix in kinds]
    return max(path.stat().st_mtime for path in files if path.is_file())
