"""Text Generation Inference: what its own API takes, in random company."""

from __future__ import annotations

from typing import Any

from engines.beyond import Dice

TABLE = {
    "temperature": (0.6, lambda d: d.pick(0.3, 0.7, 0.8, 1.3, 2.0, 1.0, 0.005)),
    "top_k": (0.5, lambda d: d.count(1, min(d.size, 60))),
    "top_p": (0.5, lambda d: d.pick(d.mass(), d.mass(0.6))),
    "typical_p": (0.5, lambda d: d.mass(0.05)),
    "repetition_penalty": (0.5, lambda d: d.pick(1.1, 1.3, 0.8, 2.0)),
    "frequency_penalty": (0.6, lambda d: d.pick(0.3, 1.0, -0.3, 2.0, -2.0)),
    "watermark": (0.4, lambda d: d.pick(True, True, False)),
    "do_sample": (0.6, lambda d: d.pick(True, True, False)),
}
ODD: tuple[tuple[str, Any], ...] = (
    ("temperature", 0.0), ("temperature", -1.0), ("top_p", 1.0), ("top_p", 0.0), ("typical_p", 1.0),
    ("typical_p", 0.0), ("top_k", 0), ("repetition_penalty", 0.0), ("frequency_penalty", 2.5),
    ("frequency_penalty", -2.5),
)  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; a whole vocabulary is cut."""
    asked = dice.keys(TABLE)
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, min(50, dice.size))
    if dice.some(0.08):
        asked |= [dice.pick(*ODD)]
    elif dice.some(0.03):
        asked["top_k"] = dice.size + 1
    return asked
