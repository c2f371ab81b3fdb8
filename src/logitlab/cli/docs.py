"""``logitlab docs``: where the documentation was built, or what builds it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from logitlab.cli.arguments import add_command

__all__ = ["add"]

_PLACE = Path(__file__).parents[3]  # a clone, if the package is installed from one with -e
_SCRIPT = Path("notebooks", "site", "build.py")
_NEEDS = ("sphinx", "myst_nb", "numpydoc", "furo", "sphinx_copybutton")  # what the extra brings


def add(commands: Any) -> None:
    """Add ``docs``."""
    add_command(
        commands,
        "docs",
        lambda _: where(_PLACE, Path.cwd()),
        help="where the documentation was built, or the command that builds it",
        description="Print the page at which the documentation begins, or the commands that build "
        "it from a clone of the repository. It needs no network.",
    )


def where(place: Path, here: Path) -> str:
    """Return the first page of the documentation, or what builds it.

    Parameters
    ----------
    place : Path
        Where the package is: that may be a clone.
    here : Path
        A folder that may lie in a clone, where the package does not.
    """
    root = next((root for root in (place, here, *here.parents) if _is_clone(root)), None)
    if root is None:
        return (
            "The documentation is built from a clone of the repository. This package was not "
            "installed from one with -e, nor is this folder in one. In a clone:\n"
            "    pip install -e '.[docs]'\n"
            f"    python {_SCRIPT.as_posix()}"
        )
    first = root / "build/site/html/index.html"
    build = shlex.join([sys.executable, str(root / _SCRIPT)])
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing or root != place:
        why = f"{missing[0]} is missing" if missing else "what is installed is no clone"
        pip = shlex.join([sys.executable, "-m", "pip", "install", "-e", f"{root}[docs]"])
        install = f"    {pip}    # {why}\n"
    else:
        install = ""
    if not first.is_file():
        return f"The documentation is not built yet. To build it:\n{install}    {build}"
    if _newest(root) > first.stat().st_mtime:
        older = f"{first}\nis older than what it was made of. To build it again:"
        return f"{older}\n{install}    {build}"
    return str(first)


def _is_clone(root: Path) -> bool:
    return (root / _SCRIPT).is_file() and (root / "src" / "logitlab").is_dir()


def _newest(root: Path) -> float:
    """Return when a file was last changed that the documentation is made of."""
    folders = ("src/logitlab", "notebooks", "benchmarks", "tests/engines")
    files = [path for folder in folders for path in (root / folder).rglob("*.*")]
    kinds = (".py", ".md", ".ipynb", ".json", ".css", ".png")
    files = [path for path in (*files, root / "CHANGELOG.md") if path.suffix in kinds]
    return max(path.stat().st_mtime for path in files if path.is_file())
