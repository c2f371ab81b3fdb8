"""vLLM: what it takes beyond the page, in random company, by its own keys."""

from __future__ import annotations

from typing import Any

from engines.asked.phrases import company, phrases
from engines.beyond import Dice

TABLE = {
    "temperature": (0.6, lambda d: d.pick(0, 0.3, 0.7, 0.8, 1.0, 1.3, 2.0, 1.1, 1.5)),
    "top_k": (0.4, lambda d: d.count(1, min(d.size, 60))),
    "top_p": (0.4, lambda d: d.mass()),
    "min_p": (0.3, lambda d: d.pick(0.05, 0.1, 0.25, d.between(0, 0.3))),
    "repetition_penalty": (0.3, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.25, lambda d: d.pick(0.3, 1.0, -0.3)),
    "presence_penalty": (0.25, lambda d: d.pick(0.4, 1.0)),
    "logit_bias": (0.3, lambda d: {str(t): d.pick(1, -3, 5, -100, 100) for t in d.tokens(1, 3)}),
    "allowed_token_ids": (0.3, lambda d: d.tokens(2, 12)),
    "bad_words": (0.55, lambda d: phrases(d, [], 5)),
    "min_tokens": (0.5, lambda d: max(0, len(d.row.output) + d.count(-2, 4))),
    "stop_token_ids": (0.4, lambda d: d.tokens(1, 3)),
    "eos_token_id": (0.5, lambda d: d.tokens(1, 2)),
    "ignore_eos": (0.2, lambda d: d.pick(True, False)),
    "thinking_token_budget": (0.4, lambda d: d.pick(0, 1, 2, 5, 20, -1)),
}
ODD: tuple[tuple[str, Any], ...] = (
    ("allowed_token_ids", []), ("allowed_token_ids", [0, 1000000]), ("stop_token_ids", [1000000]),
    ("min_tokens", -1), ("thinking_token_budget", -2),
)  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; ``thinking_markers`` are what a server's reasoning parser has."""
    asked = company(dice, TABLE)
    if dice.row.kind in ("real", "integers") and not {"top_k", "top_p"} & asked.keys():
        asked["top_k"] = dice.count(2, 50)
    if "thinking_token_budget" in asked and dice.some(0.8):
        # Often marks that the text has, so that it thinks, or has thought.
        text = dice.row.prompt + dice.row.output
        start, end = dice.pick(*text), [dice.pick(dice.pick(*text), dice.token())]
        if dice.some(0.3):
            end.append(dice.token())
        if start not in end:
            asked["thinking_markers"] = [[start], end]
    if "min_tokens" in asked and dice.some(0.1):
        asked["max_tokens"] = dice.count(1, 9)
    if dice.some(0.05):
        asked |= [dice.pick(*ODD)]
    return asked
