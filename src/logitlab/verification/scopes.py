"""Which tokens a penalty may count at a place of an answer, and how far that is known."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from logitlab.verification.answer import Token
from logitlab.verification.places import Place, spelling
from numpy.typing import NDArray

__all__ = ["SCOPES", "Counted", "Said", "counted", "where"]

Counts = NDArray[np.int64]

# What templates of chats put around a prompt. Tokens of it may be counted, and may be not.
_NAMES = "user assistant system human model bot gpt ai start end header id im inst s"
_TOLD = (
    "you are a an helpful and harmless honest the to i am is in of created named trained by "
    "cutting knowledge date today your this answer question response instruction below that "
    "january february march april may june july august september october november december"
)
_ROLES, _SYSTEM = frozenset(_NAMES.split()), frozenset(_TOLD.split())
_MOST_OF_FRAME = 4  # times that such a token may stand there, at most
_BARE, _OF_ROLES = 2, 16  # tokens of a template without any text, and of one without a system's


@dataclass(frozen=True)
class Said:
    """What a penalty may count of a prompt.

    Parameters
    ----------
    prompt : str
    pieces : sequence of bytes or None
        Its tokens, where they are known. Otherwise a token surely is in a prompt where it stands
        there as a word of its own, and may be where it is a part of it.
    frame : int or None
        How many tokens the template has that stands around it; None if that is not known. Without
        a text for the system it is short.
    length : int
        The tokens of the prompt with its template as the server counts them; 0 if it does not.
    """

    prompt: str
    pieces: Sequence[bytes] | None = None
    frame: int | None = None
    length: int = 0
    _known: dict[Token, tuple[int, int]] = field(default_factory=dict, compare=False, repr=False)

    def bounds(self, token: Token) -> tuple[int, int]:
        """Return how often a token is in the prompt, at least and at most."""
        if token not in self._known:
            self._known[token] = self._bounds(token)
        return self._known[token]

    def may_end(self, text: str) -> bool:
        """Whether a token may be the last before the answer: of the template, if it has one."""
        if self.frame is not None and self.frame <= _BARE and self.pieces:
            return text == spelling(self.pieces[-1])
        return self._may_frame(text)

    def ending(self, room: int) -> tuple[Counter[str], Counter[str]]:
        """Return what the last tokens of a prompt hold, surely and possibly.

        The end of its template may take some of the room.
        """
        pieces = [piece.decode("utf-8", "replace") for piece in self.pieces or ()]
        sure = room - self.frame if self.frame is not None else 0
        return tuple(Counter(pieces[-n:] if n > 0 else ()) for n in (sure, room))  # type: ignore[return-value]

    def _bounds(self, token: Token) -> tuple[int, int]:
        text = spelling(token)
        if self.pieces is not None:
            least = most = self._counted[text]
            if self.pieces and self._first(text):
                least = 0
        else:
            least, most = self._as_word(text), self.prompt.count(text)
        return least, max(least, most) + (_MOST_OF_FRAME if self._may_frame(text) else 0)

    def _first(self, text: str) -> bool:
        """Whether it is the word that a prompt begins with once, with a space or without."""
        first = spelling(self.pieces[0]) if self.pieces else ""
        same = text.lstrip() == first.lstrip()
        return same and self._counted[text] <= 1

    def _as_word(self, text: str) -> int:
        word = text.lstrip(" ")
        if not word.isalpha():
            return 0
        # A word at the beginning of a line has no space before it, any other has its own.
        ahead = " " if text.startswith(" ") else r"(?:^|(?<=\n))"
        return len(re.findall(ahead + re.escape(word) + r"(?![^\W_])(?!')", self.prompt))

    def _may_frame(self, text: str) -> bool:
        """Whether a token may be one of the template."""
        if self.frame is not None and self.frame <= _BARE:
            return False
        word = text.strip().lower()
        if not word or word in _ROLES:
            return True
        is_long = self.frame is None or self.frame > _OF_ROLES
        return not word.isalpha() if not is_long else word in _SYSTEM or not word.isalpha()

    @cached_property
    def _counted(self) -> Counter[str]:
        return Counter(piece.decode("utf-8", "replace") for piece in self.pieces or ())


@dataclass(frozen=True)
class Counted:
    """How often the tokens of a place are counted.

    Attributes
    ----------
    least, most : ndarray of int64, shape (K,)
    others : int
        How many tokens are counted beside them.
    """

    least: Counts
    most: Counts
    others: int = 0


def where(name: str) -> str:
    """Return what is said of a scope: "output", "prompt" or "prompt and output"."""
    return _SCOPES[name].where


def counted(name: str, place: Place, said: Said) -> Counted:
    r"""Return what a scope counts at a place.

    Parameters
    ----------
    name : str
        One of `SCOPES`.
    place : Place
    said : Said
        What is known of the prompt.

    Returns
    -------
    Counted

    Examples
    --------
    >>> place = Place((b"Red", b"Blue"), np.array([-0.5, -1.0]), 0, (b"Blue", b"."))
    >>> said = Said("Say one:\nRed\nGreen", frame=0)
    >>> [counted(name, place, said).least.tolist() for name in ("output", "prompt and output")]
    [[0, 1], [1, 1]]
    """
    scope = _SCOPES[name]
    written = place.before[: len(place.before) - scope.late] if scope.counts_output else ()
    if scope.last is not None:
        written = written[-scope.last :]
    in_output = Counter(written)
    least = np.array([in_output[token] for token in place.tokens], np.int64)
    most = least.copy()
    others = len(written) - int(least.sum())
    if scope.prompt != "none":
        bounds = np.array([said.bounds(token) for token in place.tokens], np.int64)
        at_least, at_most = scope.of_prompt(place, said, bounds.T)
        least, most = least + at_least, most + at_most
        others += max(said.length - int(at_least.sum()), 0)
    return Counted(least, most, others)


@dataclass(frozen=True)
class _Scope:
    where: str
    prompt: str = "none"  # or "all", "window", "last"
    counts_output: bool = True
    last: int | None = None
    late: int = 0

    def of_prompt(self, place: Place, said: Said, bounds: Counts) -> tuple[Counts, Counts]:
        """Return the bounds of what counts of the prompt."""
        least, most = bounds
        if self.prompt == "last":
            if not place.before:
                return 0 * least, 0 * most
            last = [said.may_end(spelling(token)) for token in place.tokens]
            return 0 * least, np.array(last, np.int64)
        if self.last is None:
            return least, most
        room = self.last - len(place.before)
        if 0 < said.length <= room:
            return least, most
        sure, possible = said.ending(room)
        of_frame = [said.bounds(token)[1] - said.bounds(token)[0] for token in place.tokens]
        least = np.array([sure[spelling(token)] for token in place.tokens], np.int64)
        beyond = np.array([possible[spelling(token)] for token in place.tokens], np.int64)
        if said.pieces is not None:
            most = np.minimum(beyond + np.array(of_frame, np.int64), max(room, 0))
        return least, np.maximum(least, np.minimum(most, max(room, 0)))


_SCOPES: Mapping[str, _Scope] = {
    "output": _Scope("output"),
    "prompt and output": _Scope("prompt and output", "all"),
    "the last 64 of both": _Scope("prompt and output", "window", last=64),
    "the last 20 of both": _Scope("prompt and output", "window", last=20),
    "the last 320 of both": _Scope("prompt and output", "window", last=320),
    "output but its newest": _Scope("output", "last", late=1),
    "prompt": _Scope("prompt", "all", counts_output=False),
}
SCOPES: tuple[str, ...] = tuple(_SCOPES)
"""What engines count: all of the output, of both, of the prompt, or the last of both."""
