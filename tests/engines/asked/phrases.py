"""Phrases of token ids, of which some are about to be finished, and requests of few keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engines.beyond import Dice


def phrase(dice: Dice, before: list[int]) -> list[int]:
    """Return one token, or some whose beginning a text ends with, or any."""
    text = before + dice.row.output
    length = dice.pick(0, 1, 1, 2, 3)
    start = text[len(text) - length :] if length else []
    if len(start) < length or dice.some(0.25):
        start = [dice.token() for _ in range(length)]
    return [*start, dice.token()]


def phrases(dice: Dice, before: list[int], most: int) -> list[list[int]]:
    """Return different phrases; ``before`` is what a text begins with, where that counts."""
    made = {tuple(phrase(dice, before)) for _ in range(dice.count(1, most))}
    return [list(each) for each in sorted(made)]


def company(dice: Dice, table: Mapping[str, tuple[float, Callable[[Dice], Any]]]) -> dict[str, Any]:
    """Return keys of a table: few of them in most requests, so that many tokens stay."""
    share = dice.pick(0.25, 0.35, 0.5, 1)
    return dice.keys({key: (chance * share, make) for key, (chance, make) in table.items()})
