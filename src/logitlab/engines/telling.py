"""Rules that tell: what happens beside, what is odd, and which value is used instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from logitlab.engines.rules import Note, Outcome, Rule, Target, brief_number

__all__ = ["Odd", "Replace", "Told", "own_luck"]


@dataclass(frozen=True)
class Told(Rule):
    """What happens beside, and depends on more than the request.

    Parameters
    ----------
    sentence : str
        ``{key}`` and ``{engine}`` stand for these.
    words : str
        The same for a table.
    once_for : frozenset of str
        Keys of which the first in a request is told of; none is every one.
    """

    sentence: str
    words: str
    once_for: frozenset[str] = frozenset()

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Let the value pass, and tell."""
        if self.once_for and next(k for k in target.request if k in self.once_for) != key:
            return value, None
        sentence = self.sentence.format(key=key, engine=target.engine)
        return value, Note(key, "beside", sentence, value, value)

    def describe(self) -> str:
        """Say it in few words."""
        return self.words


@dataclass(frozen=True)
class Odd(Rule):
    """What a value does that one may not expect, by itself or for what stands beside it.

    Parameters
    ----------
    why : callable
        ``why(value, request)`` tells it, and "" where there is nothing to tell.
    words : str
        The same for a table.
    """

    why: Callable[[Any, Mapping[str, Any]], str]
    words: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Let the value pass, and tell."""
        why = self.why(value, target.request)
        sentence = f"{key}: at {target.engine} {why}."
        return value, Note(key, "beside", sentence, value, value) if why else None

    def describe(self) -> str:
        """Say it in few words."""
        return self.words


@dataclass(frozen=True)
class Replace(Rule):
    """The engine uses another value for some.

    Parameters
    ----------
    when : callable
        ``when(value)``: whether it does.
    used : object
    words : str
        What those values count as.
    """

    when: Callable[[Any], bool]
    used: Any
    words: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return the other value for those."""
        if not self.when(value) or value == self.used:
            return value, None
        sentence = f"{key} {brief_number(value)} counts as {self.words} at {target.engine}."
        return self.used, Note(key, "changed", sentence, value, self.used)

    def describe(self) -> str:
        """Say what they count as."""
        return f"others count as {self.words}"


def own_luck(whose: str) -> Told:
    """Return what tells of a seed that an engine draws by, with luck that is not repeated here."""
    return Told(
        f"{{key}}: {{engine}} draws by it, but with {whose}: other tokens come of it here.",
        f"draws by it, with {whose}",
    )
