"""TabbyAPI: the same steps as exllamav3's in its own order, with bans and XTC."""

from __future__ import annotations

from typing import Any

from engines.asked import exllamav3
from engines.beyond import Dice

TABLE = exllamav3.TABLE | {
    "xtc_probability": (0.5, lambda d: d.pick(1.0, 0.5, 0.3, 0.0)),
    "xtc_threshold": (0.5, lambda d: d.pick(0.05, 0.2, 0.25, 0.5, d.between(0.01, 0.3))),
    "protected_token_ids": (0.5, lambda d: d.tokens(0, 4)),
    "banned_tokens": (0.3, lambda d: d.tokens(1, 3)),
}


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; a whole vocabulary is cut."""
    asked = dice.keys(TABLE) | {"fused": False}
    if dice.some(0.06):
        asked |= [dice.pick(("min_p", 1.5), ("top_k", -1), ("top_p", 0.0), ("min_p", 1.0))]
    return exllamav3.tamed(dice, asked)
