"""mlx-lm: its sampler in random company, by the keys of its server."""

from __future__ import annotations

from typing import Any

from engines.beyond import Dice

TABLE = {
    "temperature": (0.96, lambda d: d.pick(0.3, 0.7, 0.8, 1.0, 1.0, 1.3, 1.3, 2.0, 2.0, 0.05)),
    "top_k": (0.4, lambda d: d.count(1, max(1, min(d.size - 1, 60)))),
    "top_p": (0.5, lambda d: d.pick(d.mass(), d.mass(0.7))),
    "min_p": (0.4, lambda d: d.pick(0.0, 0.02, 0.05, d.between(0, 0.2))),
    "xtc_probability": (0.75, lambda d: d.pick(1.0, 1.0, 0.5, 0.3, 0.0)),
    "xtc_threshold": (0.7, lambda d: d.pick(0.0, 0.05, 0.2, 0.25, 0.5, d.between(0.01, 0.3))),
    "repetition_penalty": (0.3, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.2, lambda d: d.pick(0.3, 1.0, -0.3)),
    "presence_penalty": (0.2, lambda d: d.pick(0.4, 1.0)),
    "logit_bias": (0.2, lambda d: {str(t): d.pick(1, -3, 5.5, -100) for t in d.tokens(1, 3)}),
    "min_tokens_to_keep": (0.3, lambda d: d.pick(1, 2, min(5, d.size))),
    "xtc_special_tokens": (0.4, lambda d: d.tokens(1, 4)),
}
ODD = (
    ("xtc_threshold", 0.7), ("xtc_threshold", -0.1), ("xtc_probability", 1.5),
    ("xtc_probability", -0.5), ("min_p", 1.5), ("top_p", 1.2),
)  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; ``xtc_special_tokens`` are what the tokenizer gives the server."""
    asked = dice.keys(TABLE)
    if dice.row.kind in ("real", "integers"):
        asked |= {"top_k": dice.count(2, min(50, dice.size - 1))}
    if dice.some(0.04):
        asked |= [dice.pick(*ODD)]
    if 0 < asked.get("xtc_probability", 0) < 1:
        asked["acts"] = dice.some(0.7)
    return asked
