"""Text that grows by bytes and ends at its earliest stop string, wherever the borders fall."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Match", "StoppedText"]


class Match(NamedTuple):
    """Where a stop string begins, in characters."""

    start: int
    stop: str


class StoppedText:
    r"""The text of a sequence of tokens, cut at the stop string that begins earliest.

    A stop string may lie across tokens, and a character, too. What could still become one is held
    back from `shown`. While a match has been found, but one that begins earlier is still possible,
    the text is not yet `settled`: so where it is cut depends on the characters alone, not on how
    they came.

    Parameters
    ----------
    stops : sequence of str
        Not empty, none of them.
    keeps : bool
        Whether the text ends behind the stop string, and not before it.

    Examples
    --------
    >>> text = StoppedText(["the end"])
    >>> text.add(b"This is the")
    'This is '
    >>> text.add(b" \xc3"), text.add(b"\xa9tude is ")
    ('', 'the étude is ')
    >>> text.add(b"the end."), text.settled, text.match
    ('', True, Match(start=21, stop='the end'))
    """

    def __init__(self, stops: Sequence[str] = (), keeps: bool = False) -> None:
        self._keeps = keeps
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._needles = [_Needle(stop) for stop in dict.fromkeys(stops)]
        self._parts: list[str] = []
        self._length = 0  # characters that came
        self._shown = 0
        self._pending = ""  # characters that came and are not shown yet
        self.match: Match | None = None

    def add(self, data: bytes, final: bool = False, looks: bool = True) -> str:
        """Append bytes, and return the characters that can now be shown.

        With ``final`` nothing follows: an unfinished character becomes U+FFFD, and nothing is held
        back any longer. Without ``looks`` a stop string that is complete here is none.
        """
        new = self._decoder.decode(data, final)
        for needle in self._needles:
            start = needle.find(new, self._length, looks)
            if start is not None and (self.match is None or start < self.match.start):
                self.match = Match(start, needle.stop)
        self._length += len(new)
        self._pending += new
        end = self._length if self.match is None else self.match.start
        if self._keeps:  # whatever is complete later ends later, too
            end += 0 if self.match is None else len(self.match.stop)
        elif not final:
            end = min(end, self._open_start)
        piece = self._pending[: end - self._shown]
        self._pending = self._pending[end - self._shown :]
        self._shown = end
        self._parts.append(piece)
        return piece

    @property
    def _open_start(self) -> int:
        """Where the earliest stop string begins that further characters could complete."""
        return min((self._length - needle.reach for needle in self._needles), default=self._length)

    @property
    def settled(self) -> bool:
        """Whether a stop string was found that none can precede any more."""
        return self.match is not None and self.match.start <= self._open_start

    @property
    def shown(self) -> str:
        """All characters that can be shown: the text, once it is settled or final."""
        return "".join(self._parts)


class _Needle:
    """A search for the first occurrence of one stop string, a character at a time.

    References
    ----------
    D. Knuth, J. Morris and V. Pratt, "Fast Pattern Matching in Strings", 1977.
    """

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.reach = 0  # length of the longest end of the text that begins the stop string
        self._is_complete = False
        self._borders = [0] * len(stop)  # of stop[: i + 1]: its longest end that begins it, too
        border = 0
        for i in range(1, len(stop)):
            border = self._next(border, stop[i])
            self._borders[i] = border

    def _next(self, reach: int, character: str) -> int:
        while reach and self.stop[reach] != character:
            reach = self._borders[reach - 1]
        return reach + (self.stop[reach] == character)

    def find(self, text: str, before: int, looks: bool = True) -> int | None:
        """Read on, and return where the first match begins once it is complete.

        ``before`` is the number of characters read so far. After a match nothing is looked for.
        Without ``looks`` it is none, and the next may begin inside of it.
        """
        if self._is_complete or not (self.reach or self.stop[0] in text):
            return None
        for place, character in enumerate(text):
            self.reach = self._next(self.reach, character)
            if self.reach == len(self.stop) and not looks:
                self.reach = self._borders[-1]
            elif self.reach == len(self.stop):
                self._is_complete, self.reach = True, 0
                return before + place + 1 - len(self.stop)
        return None
