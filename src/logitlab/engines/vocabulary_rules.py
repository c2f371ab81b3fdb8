"""Rules about the token ids that a value names: what becomes of those that no token has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from logitlab.engines.rules import Note, Outcome, Rule, Target, refusal

__all__ = ["Drop", "InVocabulary", "KnownIds"]


@dataclass(frozen=True)
class InVocabulary(Rule):
    """Ids of a bias that no token has are refused, or left out.

    Parameters
    ----------
    refused : bool
    says : str
        The engine's own text; ``{}`` stands for the id, or for all of them with ``lists``.
    lists : bool
    """

    refused: bool
    says: str = ""
    lists: bool = False

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Look for ids at or beyond the size of the vocabulary."""
        wrong = sorted(token for token in value if target.size is not None and token >= target.size)
        if not wrong or target.size is None:
            return value, None
        if self.refused:
            rule = f"a map whose keys are token ids in [0, {target.size - 1}]"
            shown = wrong if self.lists else wrong[0]
            says = self.says.format(shown, V=target.size, last=target.size - 1)
            raise refusal(key, rule, wrong[0], target.engine, says, target.answers)
        used = {token: amount for token, amount in value.items() if token < target.size}
        sentence = f"{key}: ids outside the vocabulary, {wrong}, are ignored by {target.engine}."
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Say what happens to other ids."""
        return "other ids are refused" if self.refused else "other ids are ignored"


@dataclass(frozen=True)
class KnownIds(Rule):
    """Token ids of a list or of phrases that no token has are refused.

    Parameters
    ----------
    says : str
        The engine's own text; ``{}`` stands for all such ids, ``{V}`` and ``{last}`` for the
        vocabulary.
    """

    says: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Look for ids at or beyond the size of the vocabulary."""
        if target.size is None:
            return value, None
        wrong = [token for token in _ids(value) if token >= target.size]
        if not wrong:
            return value, None
        says = self.says.format(wrong, V=target.size, last=target.size - 1)
        rule = f"token ids in [0, {target.size - 1}]"
        raise refusal(key, rule, wrong[0], target.engine, says, target.answers)

    def describe(self) -> str:
        """Say what happens to other ids."""
        return "other ids are refused"


def _ids(value: Any) -> Iterator[int]:
    """Yield the token ids of a list, or of the phrases in a list or a map."""
    for each in value:
        if isinstance(each, tuple):
            yield from each
        elif not isinstance(each, str):
            yield each


@dataclass(frozen=True)
class Drop(Rule):
    """Only so many entries of a map are read."""

    count: int

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Keep the first entries."""
        if len(value) <= self.count:
            return value, None
        used = dict(list(value.items())[: self.count])
        sentence = (
            f"{key}: only the first {self.count} of {len(value)} entries reach {target.engine}."
        )
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Say how many."""
        return f"first {self.count} entries"
