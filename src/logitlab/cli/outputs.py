"""Files that a command writes: none may be one that it reads, or another that it writes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logitlab.checks import ParameterError

__all__ = ["check_outputs"]

Files = Mapping[str, str | None]


def check_outputs(outputs: Files, inputs: Files) -> None:
    """Raise for an output that cannot be written, or would destroy a file of the same command.

    Parameters
    ----------
    outputs, inputs : mapping of str to path
        By the option that names each; those that are not given are None. An output that is there
        already is replaced.

    Raises
    ------
    ParameterError
        For a folder, a file in a folder that does not exist, and the same file twice: under another
        spelling, or through a link, too.
    """
    places: dict[Any, tuple[str, bool]] = {}
    for option, text in inputs.items():
        if text is not None and _is_file(Path(text)):
            places.setdefault(_place(Path(text)), (option, True))
    for option, text in outputs.items():
        if text is None:
            continue
        path = _resolved(option, text)
        if path.is_dir() or not path.parent.is_dir() or not path.name:
            raise ParameterError(option, "a file in an existing folder", text)
        writes = os.access(path if path.exists() else path.parent, os.W_OK)
        if not writes:
            raise ParameterError(option, "a file that can be written", text)
        if path.exists() and not _is_file(path):
            continue  # a terminal, or nothing at all: there is nothing to destroy
        other, is_read = places.setdefault(_place(path), (option, False))
        if other != option:
            rule = f"another file than {other}"
            verb = "reads" if is_read else "writes"
            raise ParameterError(option, rule, text, f"The command {verb} that, too.")


def _resolved(option: str, text: str) -> Path:
    try:
        return Path(text).resolve()
    except (OSError, ValueError, RuntimeError):  # links in a circle, or a NUL
        raise ParameterError(option, "the path of a file", text) from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _place(path: Path) -> Any:
    """Return what is equal for two paths of one file, whether it is there or not."""
    path = path.resolve()
    if path.exists():  # links to one file have one number
        stat = path.stat()
        return stat.st_dev, stat.st_ino
    stat = path.parent.stat()
    name = path.name
    if _ignores_case(path.parent):
        name = unicodedata.normalize("NFC", name).casefold()
    return stat.st_dev, stat.st_ino, name


def _ignores_case(folder: Path) -> bool:
    """Whether names in a folder that differ in capitals alone are the same file."""
    other = folder.with_name(folder.name.swapcase())
    return other != folder and other.exists() and other.samefile(folder)
