"""Phrases of token ids, of which some are about to be finished."""

from __future__ import annotations

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
