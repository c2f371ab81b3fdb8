"""exllamav3: what of its ``ComboSampler`` runs without a GPU, in random company."""

from __future__ import annotations

from typing import Any

from engines.beyond import Dice

TABLE = {
    "temperature": (0.8, lambda d: d.pick(0.3, 0.7, 0.8, 1.3, 2.0, 0.005, 0.0)),
    "top_k": (0.5, lambda d: d.pick(0, d.count(1, min(d.size, 60)), d.count(2, min(d.size, 9)))),
    "top_p": (0.6, lambda d: d.pick(1.0, d.mass(), d.mass(0.6))),
    "min_p": (0.4, lambda d: d.pick(0.0, 0.05, 0.1, 0.25, d.between(0, 0.3))),
    "temperature_last": (0.4, lambda d: d.pick(True, True, False)),
    "logit_bias": (0.4, lambda d: {str(t): d.pick(1.0, -3.0, 5.5, -100.0) for t in d.tokens(1, 4)}),
}
ODD: tuple[tuple[str, Any], ...] = (
    ("top_p", 1.5), ("top_p", -0.5), ("min_p", 1.5), ("top_k", -1), ("top_p", 0.0), ("min_p", 1.0),
)  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; a whole vocabulary is cut."""
    asked = dice.keys(TABLE) | {"fused": False}
    if dice.some(0.06):
        asked |= [dice.pick(*ODD)]
    return tamed(dice, asked)


def tamed(dice: Dice, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a request that leaves something: powers of 200 vanish, and a whole row is cut."""
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, min(50, dice.size))
    if asked.get("temperature_last") and asked.get("temperature") == 0.005:
        asked["temperature"] = 0.5
    return asked
