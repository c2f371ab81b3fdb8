r"""Tool calls read out of a text, whole or piece by piece."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeAlias

from logitlab.checks import ParameterError, check_choice

__all__ = ["CLOSE", "OPEN", "CallParser", "CallPiece", "ToolCall", "call_id"]

OPEN = "<tool_call>"
CLOSE = "</tool_call>"

_CALL_HEAD = re.compile(r'\n\{"name": "([A-Za-z0-9_-]{1,64})", "arguments": ')
_TAIL = "}\n" + CLOSE
_BETWEEN = "\n" + OPEN
_SIGN = re.compile(r'[{}"\\]')


def call_id(seed: int, sequence: int, index: int, conversation: str = "") -> str:
    """Return the id of a tool call, the same whenever the same text is generated.

    Parameters
    ----------
    seed, sequence : int
        Of the generation.
    index : int
        Which of its calls it is.
    conversation : str
        What was said before, or a digest of it: the turns of a conversation have one seed, and
        each call of it needs an id of its own.

    Examples
    --------
    >>> call_id(7, 0, 0)
    'call_050a1e6afec5ba967d9110c9'
    """
    import hashlib  # a tenth of the time of importing logitlab

    data = f"{seed} {sequence} {index} {conversation}".rstrip().encode("utf-8", "surrogatepass")
    return "call_" + hashlib.blake2b(data, digest_size=12).hexdigest()


@dataclass(frozen=True)
class ToolCall:
    """A call of a function, as it was written.

    Attributes
    ----------
    name : str
    arguments : str
        A JSON text; the beginning of one where the call was cut off.
    complete : bool
        Whether the call was written to its end.
    """

    name: str
    arguments: str
    complete: bool


@dataclass(frozen=True)
class CallPiece:
    """What one piece of a text adds to a call.

    Attributes
    ----------
    index : int
        Which call it is.
    name : str or None
        The function, with the first piece of a call, which brings no arguments yet.
    arguments : str
        All of a call's together are its arguments.
    """

    index: int
    name: str | None
    arguments: str


Part: TypeAlias = "str | CallPiece"


class CallParser:
    r"""Read the pieces of one text.

    Parameters
    ----------
    begins : {"either", "calls", "content", "only"}
        Where a marker begins a call: anywhere, only at the beginning of the text, or nowhere.
        "only" if there is no text but calls, so that a part of a marker is no content.

    Attributes
    ----------
    content : str or None
        What the text says before its calls.
    calls : list of ToolCall
        The calls so far.

    Examples
    --------
    >>> parser = CallParser()
    >>> parser.add("Well <tool")
    ['Well ']
    >>> parser.add('_call>\n{"name": "f", "arguments": {"a"')
    [CallPiece(index=0, name='f', arguments=''), CallPiece(index=0, name=None, arguments='{"a"')]
    >>> parser.add(":1}}\n</tool_call>", final=True)
    [CallPiece(index=0, name=None, arguments=':1}')]
    >>> parser.content, parser.calls
    ('Well ', [ToolCall(name='f', arguments='{"a":1}', complete=True)])
    """

    def __init__(self, begins: str = "either") -> None:
        check_choice("begins", begins, ("either", "calls", "content", "only"))
        self.content: str | None = None
        self.calls: list[ToolCall] = []
        self._begins = begins
        self._where = "content"
        self._waiting = ""  # what has been read and not been told
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def add(self, text: str, *, final: bool = False) -> list[Part]:
        """Append a piece of the text, and return what it tells.

        Parameters
        ----------
        text : str
        final : bool
            Whether it is the last one, which releases what could have become a marker.

        Returns
        -------
        list of str and CallPiece
            Pieces of the content, then of calls.

        Raises
        ------
        ParameterError
            If a call is not written as `Tools` has it.
        """
        self._waiting += text
        parts: list[Part] = []
        while self._read(parts, final):
            pass
        return parts

    def _read(self, parts: list[Part], final: bool) -> bool:
        """Read on, and say whether to go on after that."""
        if self._where == "content":
            return self._read_content(parts, final)
        if self._where == "head":
            return self._read_head(parts)
        if self._where == "arguments":
            return self._read_arguments(parts)
        literal, after = (_TAIL, "between") if self._where == "tail" else (_BETWEEN, "head")
        if not literal.startswith(self._waiting[: len(literal)]):
            raise ParameterError("text", f"continued by {literal!r}", self._waiting)
        if len(self._waiting) < len(literal):
            return False
        if self._where == "tail":
            self.calls[-1] = replace(self.calls[-1], complete=True)
        self._take(len(literal), after)
        return True

    def _take(self, size: int, where: str) -> str:
        """Return the next characters, and say what comes after them."""
        text, self._waiting = self._waiting[:size], self._waiting[size:]
        self._where = where
        return text

    def _read_content(self, parts: list[Part], final: bool) -> bool:
        at = -1 if self._begins == "content" else self._waiting.find(OPEN)
        if self._begins == "calls" and (at > 0 or self.content is not None):
            at = -1
        if at < 0 and self._begins == "only":
            return False
        size = len(self._waiting)
        wait = 0
        if at < 0 and not final and self._begins != "content":
            ends = range(1, min(len(OPEN), size + 1))
            wait = max((n for n in ends if self._waiting.endswith(OPEN[:n])), default=0)
            if self._begins == "calls" and (self.content or wait < size):
                wait = 0
        text = self._take(at if at >= 0 else size - wait, "content")
        if text:
            self.content = (self.content or "") + text
            parts.append(text)
        if at >= 0:
            self._take(len(OPEN), "head")
        return at >= 0

    def _read_head(self, parts: list[Part]) -> bool:
        head = _CALL_HEAD.match(self._waiting)
        if head is None:
            if len(self._waiting) > len('\n{"name": "", "arguments": ') + 64:
                raise ParameterError("text", "continued by a name and arguments", self._waiting)
            return False
        self._take(head.end(), "arguments")
        self.calls.append(ToolCall(head[1], "", False))
        parts.append(CallPiece(len(self.calls) - 1, head[1], ""))
        self._depth = 0
        return True

    def _read_arguments(self, parts: list[Part]) -> bool:
        waiting, at, closed = self._waiting, 0, False
        if self._escaped and waiting:
            self._escaped, at = False, 1
        while not closed and (sign := _SIGN.search(waiting, at)):
            at = sign.end()
            if sign[0] == "\\":
                self._escaped = at == len(waiting)
                at += 1
            elif sign[0] == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if sign[0] == "{" else -1
                closed = self._depth == 0
        piece = self._take(at if closed else len(waiting), "tail" if closed else "arguments")
        if piece:
            last = self.calls[-1]
            self.calls[-1] = replace(last, arguments=last.arguments + piece)
            parts.append(CallPiece(len(self.calls) - 1, None, piece))
        return closed
