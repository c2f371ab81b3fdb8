"""The page for a static host: the package runs in the browser, by Pyodide, in place of a server."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from logitlab.checks import ParameterError, Seen, check_path

__all__ = ["POLICY", "write"]

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; worker-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'"
)
"""The Content-Security-Policy of the page: that of the server, and what runs WebAssembly.

Python runs in a worker that begins as a blob, since such a worker has the policy of its page. One
that begins as a file has that of its own answer, and a static host sends none.
"""

_RULE = "the folder of a Pyodide with numpy"
_HINT = (
    "It is the unpacked archive pyodide-VERSION.tar.bz2 of github.com/pyodide/pyodide/releases, "
    "0.27 or later; npm's package pyodide has no numpy."
)
_LOCK = "pyodide-lock.json"
_CORE = ("pyodide.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
_GLUE = ("pyodide.asm.mjs", "pyodide.asm.js")  # one of them, by the version of Pyodide
_PACKAGE = "logitlab.zip"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same package has the same bytes
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def write(static: Any, pyodide: Any) -> dict[str, int]:
    """Write the page, the package and what it needs of Pyodide into a folder for a static host.

    Any host will do that serves files; ``python -m http.server`` is one. Nothing is fetched from
    elsewhere when the page runs. Files of the same names are replaced, the page itself last.

    Parameters
    ----------
    static : path
        A folder that is new, empty, or was written by this function.
    pyodide : path
        A distribution of Pyodide, 0.27 or later: ``pyodide.mjs``, ``pyodide.asm.*``,
        ``python_stdlib.zip``, ``pyodide-lock.json`` and the wheel of numpy which that names.

    Returns
    -------
    dict of str to int
        The files, by their names within the folder, and how many bytes each has.

    Raises
    ------
    ParameterError
        For a folder that holds other things or cannot be written, and a distribution that lacks
        something, with what it lacks and where there is one.

    Examples
    --------
    >>> write("site", "/tmp")
    Traceback (most recent call last):
    logitlab.checks.ParameterError: pyodide must be the folder of a Pyodide with numpy, got one
    without pyodide-lock.json. It is the unpacked archive pyodide-VERSION.tar.bz2 of
    github.com/pyodide/pyodide/releases, 0.27 or later; npm's package pyodide has no numpy.
    """
    place = check_path("static", static)
    contents = {f"pyodide/{name}": data for name, data in _distribution(pyodide).items()}
    contents[_PACKAGE] = _package()
    page = {
        entry.name: entry.read_bytes()
        for entry in (files("logitlab") / "server" / "page").iterdir()
        if entry.is_file()
    }
    index = page.pop("index.html").decode()
    contents |= page
    contents["index.html"] = _index(index, sum(map(len, contents.values()))).encode()
    try:
        if place.is_dir() and any(place.iterdir()) and not (place / _PACKAGE).is_file():
            rule = "a folder that is new, empty, or was written by this command"
            raise ParameterError("static", rule, str(place))
        for name, data in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
    except OSError as error:
        rule, hint = "a folder that can be written", f"{error.strerror}."
        raise ParameterError("static", rule, str(place), hint) from None
    return {name: len(data) for name, data in contents.items()}


def _index(text: str, size: int) -> str:
    """Return the page with its policy, and what it says until Python has begun."""
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head += '\n    <meta name="referrer" content="no-referrer">'
    megabytes = f"{size / 1e6:.0f}"
    words = f"Python begins in this browser: {megabytes} MB come from this host, the first time."
    for old, new in (
        ('<html lang="en">', '<html lang="en" data-python="here">'),
        ('<meta charset="utf-8">', f'<meta charset="utf-8">\n    {head}'),
        (
            "</header>",
            f'  <p id="beginning" class="faint" role="status">{words}</p>\n    </header>',
        ),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def _package() -> bytes:
    """Return the package as a .zip: its Python and its data, without what is compiled."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in sorted(_entries(files("logitlab"), "logitlab")):
            archive.writestr(zipfile.ZipInfo(name, _DATE), entry.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _entries(folder: Any, name: str) -> list[tuple[str, Any]]:
    found = []
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_dir():
            if entry.name not in ("__pycache__", "page"):
                found += _entries(entry, path)
        elif entry.name.endswith((".py", "py.typed")) or name == "logitlab/data":
            found.append((path, entry))
    return found


def _distribution(pyodide: Any) -> dict[str, bytes]:
    """Return the files of a distribution that are needed, all of which are there and whole."""
    if pyodide is None:
        raise _lacking("none")
    folder = check_path("pyodide", pyodide)
    if not folder.is_dir():
        raise ParameterError("pyodide", _RULE, str(folder), _HINT)
    known = _lock(_read(folder, _LOCK))
    names = [*_CORE, next((name for name in _GLUE if (folder / name).is_file()), _GLUE[0])]
    found = {name: _read(folder, name) for name in names}
    needed, waiting = {}, ["numpy"]
    while waiting:
        name = waiting.pop()
        entry = known["packages"].get(name)
        if name in needed or entry is None:
            if entry is None:
                raise _lacking(f"one whose {_LOCK} has no {name}")
            continue
        file = entry["file_name"]
        if not _PLAIN.fullmatch(file):
            raise _lacking(f"one that would fetch {name} from {file}")
        found[file] = _read(folder, file)
        if hashlib.sha256(found[file]).hexdigest() != entry["sha256"]:
            raise _lacking(f"one whose {file} is not the one that its {_LOCK} means")
        needed[name] = entry
        waiting += entry["depends"]
    for what, version, least in (
        ("Python", known["info"]["python"], (3, 11)),
        ("numpy", needed["numpy"]["version"], (2, 0)),
    ):
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < least:
            raise _lacking(f"one with {what} {version}")
    # What is not copied is not named, so that nobody can ask for it.
    found[_LOCK] = json.dumps(known | {"packages": needed}, indent=1).encode()
    return found


def _lock(data: bytes) -> dict[str, Any]:
    """Return what a lock file says, with all that is read of it in its place."""
    try:
        known: dict[str, Any] = json.loads(data)
        texts = [known["info"]["python"]]
        for entry in known["packages"].values():
            texts += [entry["file_name"], entry["sha256"], entry["version"], *entry["depends"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _lacking(f"one whose {_LOCK} is none") from None
    return known


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError:
        raise _lacking(f"one without {name}") from None


def _lacking(words: str) -> ParameterError:
    return ParameterError("pyodide", _RULE, Seen(words), _HINT)
