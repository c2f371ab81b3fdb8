"""The reference: a page for each place of the package that has promised names."""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from types import ModuleType
from typing import Any

import logitlab
from logitlab.engines import Engine

from prose import code, contents, docstring, first_sentence, table, words

__all__ = ["HOMES", "home_of", "pages"]


def home_of(name: str) -> str:
    """Return the place of a promised name: the file of a step, the room of everything else."""
    value = getattr(logitlab, name)
    if isinstance(value, ModuleType):
        return name
    home = getattr(value, "__module__", "")
    if not home.startswith("logitlab."):  # a table, which does not know where it was made
        home = next(m for m, module in _modules() if name in getattr(module, "__all__", ()))
    parts = home.split(".")[1:]
    return ".".join(parts[: 2 if parts[0] == "steps" else 1])


def _modules() -> list[tuple[str, ModuleType]]:
    rooms = [(name, module) for name, module in sys.modules.items() if name.startswith("logitlab.")]
    return sorted(rooms, key=lambda pair: (-pair[0].count("."), pair[0]))


def _homes() -> dict[str, list[str]]:
    """Return all promised names by their places: ``sample``, or with their room ``plot.trace``."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name in logitlab.__all__:
        value = getattr(logitlab, name)
        if isinstance(value, ModuleType):
            inside = [
                each for each in value.__all__ if not isinstance(getattr(value, each), Engine)
            ]
            known = {id(getattr(logitlab, top)) for top in logitlab.__all__}
            homes[name] += [f"{name}.{x}" for x in inside if id(getattr(value, x)) not in known]
        else:
            homes[home_of(name)].append(name)
    return {home: sorted(names, key=_lower_case_first) for home, names in sorted(homes.items())}


def _lower_case_first(name: str) -> tuple[bool, str]:
    last = name.rpartition(".")[2]
    return not last[0].islower(), last


HOMES = _homes()


def value_of(name: str) -> Any:
    """Return what a promised name means."""
    value: Any = logitlab
    for part in name.split("."):
        value = getattr(value, part)
    return value


def pages() -> dict[str, str]:
    """Return the pages of the reference by their paths."""
    written = {f"reference/{home}.md": _page(home, names) for home, names in HOMES.items()}
    entries = [
        (f"[{home}]({home}.md)", _about(home), _names(names)) for home, names in HOMES.items()
    ]
    written["reference/index.md"] = (
        "# API reference\n\nEvery promised name, where it lives: `ll.sample` after "
        "`import logitlab as ll`, and with the name of its room where that is written, "
        "`ll.plot.trace`.\n\n"
        + table(["place", "what", "names"], entries)
        + "\n\n"
        + contents(HOMES)
    )
    return written


def _about(home: str) -> str:
    return first_sentence(sys.modules[f"logitlab.{home}"].__doc__)


def _names(names: list[str]) -> str:
    return " ".join(code(name) for name in names)


def _page(home: str, names: list[str]) -> str:
    entries = [entry(name) for name in names]
    functions = [name for name in names if inspect.isfunction(value_of(name))]
    shown = ", ".join(functions or names) if home.startswith("steps.") else ""
    title = f"# API: {words(shown or home)}"
    return "\n\n".join([title, _about(home), *entries]) + "\n"


def entry(name: str, *options: str) -> str:
    """Return the directive that shows the docstring of a promised name."""
    value = value_of(name)
    kind = "data"
    if inspect.isclass(value):
        kind = "class"
    elif callable(value) and inspect.isroutine(value):
        kind = "function"
    if kind == "class" and issubclass(value, logitlab.Step) and value is not logitlab.Step:
        options = (*options, "no-members")  # what a step is made of stands at `Step`
    lines = [f".. auto{kind}:: logitlab.{name}", *(f"   :{option}:" for option in options)]
    return docstring("\n".join(lines))
