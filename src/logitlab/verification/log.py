"""The log of an examination: every request with its answer, and how a report is made from one."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logitlab.checks import ParameterError, brief, check_path
from logitlab.verification.address import Address
from logitlab.verification.answer import Answer
from logitlab.verification.endpoint import Reply, plain_body
from logitlab.verification.hiding import Hiding
from logitlab.verification.missing import missing
from logitlab.verification.reading import answer_of
from logitlab.verification.study import Spent
from logitlab.verification.wording import harmless
from logitlab.version import __version__

__all__ = ["SCHEMA", "Log", "Past", "Replay", "check_new", "read_log"]

SCHEMA = 1
"""Of the lines of a log, and of the JSON of a report."""

_MARK = "logitlab verify"


@dataclass(frozen=True)
class Past:
    """What a log holds.

    Attributes
    ----------
    path : Path
    header : mapping
        Endpoint, settings and time of the run that began it.
    entries : tuple of (dict, Reply)
        Requests with what arrived, in order.
    pieces : mapping of str to list of bytes or None
        How the server splits texts, as far as that was asked.
    whole : int
        Bytes up to the end of the last whole line.
    is_torn : bool
        Whether the last line breaks off, as by a run that was killed.
    """

    path: Path
    header: Mapping[str, Any]
    entries: tuple[tuple[dict[str, Any], Reply], ...]
    pieces: Mapping[str, list[bytes] | None]
    whole: int
    is_torn: bool


class Log:
    """A file that takes a line for every answer, and has it before the next request.

    Parameters
    ----------
    path : path
    header : mapping
        Endpoint and settings. No key belongs there.
    past : Past, optional
        What the file holds already, where a run goes on; a torn last line is cut off.

    Raises
    ------
    ParameterError
        For a file that is there already, or cannot be written.
    """

    def __init__(self, path: Any, header: Mapping[str, Any], past: Past | None = None) -> None:
        self.path = check_path("log", path)
        self._header: Mapping[str, Any] | None = None  # until the first answer comes
        try:
            if past is None:
                check_new(path)
                self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115
                self._header = {
                    "log": _MARK, "schema": SCHEMA, "logitlab": __version__, **header
                }  # fmt: skip
            else:
                os.truncate(self.path, past.whole)
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            hint = f"{error.strerror or 'It cannot be had'}."
            raise ParameterError("log", "a file that can be written", str(path), hint) from None

    def add(self, body: Mapping[str, Any], reply: Reply) -> None:
        """Write a request and its answer."""
        if self._header is not None:
            self._write(self._header)
            self._header = None
        line = {"request": body, "status": reply.status, "answer": reply.document}
        self._write({**line, "retries": reply.retries} if reply.retries else line)

    def add_pieces(self, text: str, pieces: Sequence[bytes] | None) -> None:
        """Write how the server splits a text."""
        told = None if pieces is None else [piece.hex() for piece in pieces]
        self._write({"text": text, "pieces": told})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file, and take it away if there was no answer at all."""
        self._file.close()
        if self._header is not None:
            self.path.unlink(missing_ok=True)


def check_new(path: Any) -> None:
    """Raise `ParameterError` for a file that a log cannot be written to: nothing is overwritten."""
    file = check_path("log", path)
    hint = ""
    try:
        if file.is_dir():
            raise ParameterError("log", "a file", str(path), "That is a folder.")
        if file.exists() and file.stat().st_size:
            hint = "resume, or --from, goes on with a log; nothing is overwritten."
            raise ParameterError("log", "a file that is not there yet", str(path), hint)
        if not file.parent.is_dir():
            hint = "Its folder is not there."
        elif not os.access(file if file.exists() else file.parent, os.W_OK):
            hint = "Permission denied."
    except OSError as error:
        hint = f"{error.strerror or 'It cannot be had'}."
    if hint:
        raise ParameterError("log", "a file that can be written", str(path), hint)


def read_log(path: Any) -> Past:
    """Return what a log holds.

    Raises
    ------
    ParameterError
        For a file that cannot be read, or is no log. A last line that breaks off is none: it is
        left out.
    """
    path = check_path("resume", path)
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = f"{error.strerror or 'It cannot be had'}."
        raise ParameterError("resume", "a log that can be read", str(path), hint) from None
    if not data.strip():
        raise ParameterError("resume", "a log of logitlab verify", str(path), "It is empty.")
    lines = data.split(b"\n")
    whole = len(data) - len(lines[-1])
    is_torn = bool(lines.pop())
    read = [_line(line, number, path) for number, line in enumerate(lines, 1)]
    header = read[0] if read else {}
    if header.get("log") != _MARK:
        hint = f"Its first line {'begins no log' if read else 'breaks off'}."
        raise ParameterError("resume", "a log of logitlab verify", str(path), hint)
    if header.get("schema") != SCHEMA:
        rule = f"a log of the schema {SCHEMA}"
        seen = harmless(str(header.get("schema", "none")))
        by = header.get("logitlab")
        writer = (
            "" if by is None else f", by logitlab {harmless(str(by))}, and this is {__version__}"
        )
        raise ParameterError("resume", rule, str(path), f"It has {seen}{writer}.")
    _check_endpoint(header, path)
    entries: list[tuple[dict[str, Any], Reply]] = []
    pieces: dict[str, list[bytes] | None] = {}
    for number, each in enumerate(read[1:], 2):
        if each.get("log") == _MARK:
            hint = f"Line {number} begins a second log: a report is made from one."
            raise ParameterError("resume", "a single log", str(path), hint)
        if "pieces" in each:
            pieces |= _split(each, number, path)
        else:
            entries.append(_entry(each, number, path))
    return Past(path, header, tuple(entries), pieces, whole, is_torn)


def _check_endpoint(header: Mapping[str, Any], path: Path) -> None:
    """Raise for a first line that names no endpoint, or one with a password in it."""
    url = header.get("endpoint")
    try:
        if url is not None:
            Address.of(url)
    except ParameterError as error:
        shown = error.value if isinstance(url, str) else brief(url)
        hint = f"Its first line has {shown} as the endpoint."
        raise ParameterError("resume", "a log of logitlab verify", str(path), hint) from None


def _line(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        hint = f"Line {number} is not a JSON object."
        raise ParameterError("resume", "a log of logitlab verify", str(path), hint)
    return read


def _entry(line: dict[str, Any], number: int, path: Path) -> tuple[dict[str, Any], Reply]:
    body, status, document = (line.get(key) for key in ("request", "status", "answer"))
    retries = line.get("retries", 0)
    if not (
        isinstance(body, dict)
        and type(status) is int
        and isinstance(document, dict)
        and type(retries) is int
    ):
        hint = f"Line {number} is not a request with its answer."
        raise ParameterError("resume", "a log of logitlab verify", str(path), hint)
    return body, Reply(status, Hiding().document(document), retries)


def _split(line: dict[str, Any], number: int, path: Path) -> dict[str, list[bytes] | None]:
    try:
        told = line["pieces"]
        return {str(line["text"]): None if told is None else [bytes.fromhex(x) for x in told]}
    except (KeyError, TypeError, ValueError):
        hint = f"Line {number} is no text with its tokens."
        raise ParameterError("resume", "a log of logitlab verify", str(path), hint) from None


@dataclass
class Replay:
    """Answers from a log first, matched by equal bodies in order, and from an endpoint after it.

    Parameters
    ----------
    past : Past, optional
    replies : callable, optional
        From request bodies to what arrives for each; None is offline, where a request that has
        no answer left in the log ends the examination.
    log : Log, optional
        Takes what arrives.
    heard : callable, optional
        Told of each reply, and whether it is new.
    """

    past: Past | None = None
    replies: Callable[[Sequence[Mapping[str, Any]]], Iterator[Reply]] | None = None
    log: Log | None = None
    heard: Callable[[Reply, bool], None] = lambda reply, is_new: None
    _left: dict[str, deque[Reply]] = field(default_factory=dict, init=False, repr=False)
    _asked: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        for body, reply in self.past.entries if self.past else ():
            self._left.setdefault(_canonical(body), deque()).append(reply)

    def __call__(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Return the answers of some requests, in order."""
        bodies = [plain_body(body) for body in bodies]
        found: list[Reply | None] = []
        for body in bodies:
            left = self._left.get(_canonical(body))
            found.append(left.popleft() if left else None)
        new = [i for i, reply in enumerate(found) if reply is None]
        if new and self.replies is None:
            raise Spent(self._why_not(bodies[new[0]], self._asked + new[0] + 1))
        self._asked += len(bodies)
        for reply in found:
            if reply is not None:
                self.heard(reply, False)
        if new and self.replies is not None:
            wanted = [bodies[i] for i in new]
            for i, body, reply in zip(new, wanted, self.replies(wanted), strict=True):
                found[i] = reply
                if self.log is not None:
                    self.log.add(body, reply)
                self.heard(reply, True)
        return [answer_of(reply.status, reply.document) for reply in found if reply is not None]

    @property
    def left(self) -> int:
        """How many answers of the log nobody has asked for."""
        return sum(map(len, self._left.values()))

    def _why_not(self, body: Mapping[str, Any], number: int) -> str:
        """Return why the log has no answer to a request: it may just end here."""
        if self.past is None or not self.left:
            return "the log has no more answers"
        logged = [each for each, _ in self.past.entries]
        return missing(body, number, logged, self.past.header.get("logitlab"))


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)
