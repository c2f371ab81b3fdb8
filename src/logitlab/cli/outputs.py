"""Files that a command writes: none may be one that it reads, or another that it writes."""

from __future__ import annotations

import os
import stat
import sys
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
        already is replaced. Standard output is another one, where that is a file.

    Raises
    ------
    ParameterError
        For a folder, a file in a folder that does not exist, and the same file twice: under another
        spelling, or through a link, too.
    """
    places: dict[Any, tuple[str, bool]] = {}
    if (printed := _standard_output()) is not None:
        places[printed] = ("standard output", False)
    for option, text in inputs.items():
        if text is not None and _is_file(Path(text)):
            _check_apart(places, option, text, Path(text), is_read=True)
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
        _check_apart(places, option, text, path, is_read=False)


def _check_apart(
    places: dict[Any, tuple[str, bool]], option: str, text: str, path: Path, is_read: bool
) -> None:
    """Note the place of a file, or raise where it is that of another, and one is written."""
    other, was_read = places.setdefault(_place(path), (option, is_read))
    if other != option and not (is_read and was_read):
        verb = "reads" if was_read else "writes"
        rule = f"another file than {other}"
        raise ParameterError(option, rule, text, f"The command {verb} that, too.")


def _standard_output() -> tuple[int, int] | None:
    """Return the place of the file that standard output is sent to, if it is one."""
    try:
        about = os.fstat(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or held in memory
        return None
    return (about.st_dev, about.st_ino) if stat.S_ISREG(about.st_mode) else None


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
        about = path.stat()
        return about.st_dev, about.st_ino
    about = path.parent.stat()
    name = path.name
    if _ignores_case(path.parent):
        name = unicodedata.normalize("NFC", name).casefold()
    return about.st_dev, about.st_ino, name


def _ignores_case(folder: Path) -> bool:
    """Whether names in a folder that differ in capitals alone are the same file."""
    other = folder.parent / folder.name.swapcase()  # of the root that is the root
    return other != folder and other.exists() and other.samefile(folder)
