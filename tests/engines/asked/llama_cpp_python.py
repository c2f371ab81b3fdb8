"""llama-cpp-python: what its `create_completion` passes on, by its arguments."""

from __future__ import annotations

from typing import Any

from engines.asked import llama_cpp
from engines.beyond import Dice

TABLE = {
    key: llama_cpp.TABLE[key]
    for key in (
        "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "frequency_penalty",
        "presence_penalty",
    )
} | {
    "logit_bias": (0.2, lambda d: {str(t): d.pick(1, -3, 5, -100) for t in d.tokens(1, 3)}),
    "typical_p": (0.6, lambda d: d.pick(d.mass(0.05), d.mass(0.05), 1.5, 0)),
    "mirostat_mode": (0.15, lambda d: d.pick(1, 2, 2, 3)),
    "mirostat_tau": (0.2, lambda d: d.pick(5, 2, 0.5)),
}  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request."""
    asked = dice.keys(TABLE)
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, 50)
    if dice.some(0.05):
        asked["temperature"] = -1
    return asked
