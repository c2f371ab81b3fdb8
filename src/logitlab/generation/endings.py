"""Where a text ends beside its limits: end tokens, stop tokens, patterns that repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import IntArray

__all__ = ["Endings", "Pattern", "Repetition"]


class Repetition(NamedTuple):
    """What stands at the end of a text: so many times the same tokens."""

    size: int
    times: int


@dataclass(frozen=True)
class Pattern:
    """Which repetitions end a text, as ``repetition_detection`` says.

    Parameters
    ----------
    most, least : int
        Sizes of the pattern, in tokens; 0 at most ends nothing.
    count : int
        How often it is to stand at the end; below 2 it ends nothing.

    Examples
    --------
    >>> Pattern(most=3, least=0, count=2).found(np.array([9, 1, 2, 1, 2]))
    Repetition(size=2, times=2)
    >>> Pattern(most=1, least=0, count=2).found(np.array([9, 1, 2, 1, 2]))
    """

    most: int
    least: int
    count: int

    def found(self, tokens: IntArray) -> Repetition | None:
        """Return the shortest of these that stands at the end of some tokens."""
        if self.count < 2:
            return None
        for size in range(max(self.least, 1), self.most + 1):
            if size * self.count > len(tokens):
                return None
            end = tokens[len(tokens) - size * self.count :]
            if (end[size:] == end[:-size]).all():
                return Repetition(size, self.count)
        return None


@dataclass(frozen=True)
class Endings:
    """What ends a text.

    Parameters
    ----------
    end_ids : frozenset of int
        Tokens that end it, unless they are ignored, and leave nothing in it.
    ignores_end : bool
        Whether it goes on after those.
    stop_ids : frozenset of int
        Tokens that end it in any case.
    keeps_stop : bool
        Whether a stop token, or a stop string, stays in the text.
    min_tokens : int
        Up to so many tokens no stop string and no repetition ends it.
    pattern : Pattern or None
    """

    end_ids: frozenset[int]
    ignores_end: bool = False
    stop_ids: frozenset[int] = frozenset()
    keeps_stop: bool = False
    min_tokens: int = 0
    pattern: Pattern | None = None

    @classmethod
    def of(cls, endings: Mapping[str, Any], constrained: bool = False) -> Endings:
        """Return what the endings of a `Resolved` request mean.

        A text under a constraint ends where it is complete, whatever is ignored.
        """
        asked, pattern = endings.get("repetition_detection"), None
        if asked is not None:
            names = ("max_pattern_size", "min_pattern_size", "min_count")
            pattern = Pattern(*(asked.get(name, 0) for name in names))
        return cls(
            frozenset(endings.get("eos_token_id", ())),
            bool(endings.get("ignore_eos", False)) and not constrained,
            frozenset(endings.get("stop_token_ids", ())),
            bool(endings.get("include_stop_str_in_output", False)),
            int(endings.get("min_tokens", 0)),
            pattern,
        )

    @property
    def silent(self) -> frozenset[int]:
        """Tokens that leave nothing in the text."""
        return self.end_ids if self.keeps_stop else self.end_ids | self.stop_ids

    def repetition(self, tokens: IntArray) -> Repetition | None:
        """Return the repetition that ends an output, if one does."""
        if self.pattern is None or len(tokens) < self.min_tokens:
            return None
        return self.pattern.found(np.asarray(tokens))
