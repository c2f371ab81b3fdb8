"""Rules about the token ids that a value names: what becomes of those that no token has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from logitlab.engines.rules import Note, Outcome, Rule, Target, refusal

__all__ = ["Drop", "InVocabulary"]


@dataclass(frozen=True)
class InVocabulary(Rule):
    """Ids that no token has are refused, or left out: of a bias, of a list, of phrases.

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
        size = target.size
        if size is None:
            return value, None
        wrong = sorted({token for token in _ids(value) if token >= size})
        if not wrong:
            return value, None
        if self.refused:
            is_map = isinstance(value, Mapping) and all(isinstance(key, int) for key in value)
            kind = "a map whose keys are" if is_map else "of"
            rule = f"{kind} token ids in [0, {size - 1}]"
            shown = wrong if self.lists else wrong[0]
            says = self.says.format(shown, V=size, last=size - 1)
            raise refusal(key, rule, wrong[0], target.engine, says, target.answers)
        kept = [each for each in value if all(token < size for token in _ids([each]))]
        is_list = not isinstance(value, Mapping)
        used: Any = tuple(kept) if is_list else {each: value[each] for each in kept}
        sentence = f"{key}: ids outside the vocabulary, {wrong}, are ignored by {target.engine}."
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Say what happens to other ids."""
        return "other ids are refused" if self.refused else "other ids are ignored"


def _ids(value: Iterable[Any]) -> Iterator[int]:
    """Yield the token ids of a bias, a list or phrases; texts have none."""
    for each in value:
        if isinstance(each, tuple | list):
            yield from each
        elif not isinstance(each, str):
            yield each


@dataclass(frozen=True)
class Drop(Rule):
    """Only so many entries of a map, or of a list, are read."""

    count: int

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return the first entries, with a note where there are more."""
        if len(value) <= self.count:
            return value, None
        is_map = isinstance(value, Mapping)
        used = dict(list(value.items())[: self.count]) if is_map else value[: self.count]
        sentence = (
            f"{key}: only the first {self.count} of {len(value)} entries reach {target.engine}."
        )
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Return how many are read."""
        return f"first {self.count} entries"
