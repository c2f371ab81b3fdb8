"""SGLang: what it takes beyond the page, in random company, by the keys of its OpenAI endpoints."""

from __future__ import annotations

from typing import Any

from engines.asked.phrases import company
from engines.beyond import Dice

TABLE = {
    "temperature": (0.6, lambda d: d.pick(0, 0.3, 0.7, 0.8, 1.0, 1.3, 2.0, 1.1, 1.5)),
    "top_k": (0.4, lambda d: d.count(1, min(d.size, 60))),
    "top_p": (0.4, lambda d: d.mass()),
    "min_p": (0.3, lambda d: d.pick(0.05, 0.1, 0.25, d.between(0, 0.3))),
    "repetition_penalty": (0.35, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.35, lambda d: d.pick(0.3, 1.0, -0.3)),
    "presence_penalty": (0.35, lambda d: d.pick(0.4, 1.0)),
    "logit_bias": (0.35, lambda d: {str(t): d.pick(1, -3, 5, -100, 100) for t in d.tokens(1, 3)}),
    "min_tokens": (0.8, lambda d: max(0, len(d.row.output) + d.count(-2, 4))),
    "stop_token_ids": (0.6, lambda d: d.tokens(1, 3)),
    "eos_token_id": (0.6, lambda d: d.tokens(1, 2)),
    "ignore_eos": (0.2, lambda d: d.pick(True, False)),
}


def request(dice: Dice) -> dict[str, Any]:
    """Return a request."""
    asked = company(dice, TABLE)
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, 50)
    if "min_tokens" in asked and dice.some(0.1):
        asked["max_tokens"] = dice.count(1, 9)
    if dice.some(0.03):
        asked["min_tokens"] = -1
    return asked
