"""KoboldCpp: all of its samplers in random company, by its own keys."""

from __future__ import annotations

from typing import Any

from engines.asked.llama_cpp import breakers
from engines.beyond import Dice

TABLE = {
    "temperature": (0.7, lambda d: d.pick(0.3, 0.7, 0.8, 1, 1, 1.3, 1.3, 2, 2, 0)),
    "top_k": (0.7, lambda d: d.pick(0, 0, d.count(2, min(d.size, 60)))),
    "top_p": (0.7, lambda d: d.pick(1, 1, d.mass(), d.mass(0.7))),
    "top_a": (0.2, lambda d: d.pick(0.1, 0.3, 1)),
    "min_p": (0.4, lambda d: d.pick(0, 0.02, 0.1, d.between(0, 0.3))),
    "typical": (0.3, lambda d: d.mass(0.05)),
    "tfs": (0.3, lambda d: d.pick(0.9, 0.95, 0.5, d.between(0.05, 1))),
    "nsigma": (0.3, lambda d: d.pick(1, 0.5, 2, d.between(0.1, 3))),
    "xtc_probability": (0.3, lambda d: d.pick(1, 1, 0.5, 0.3)),
    "xtc_threshold": (0.3, lambda d: d.pick(0.05, 0.2, 0.25, 0.5, d.between(0.01, 0.3))),
    "dynatemp_range": (0.25, lambda d: d.pick(0.5, 0.3, 1, 1.5, -0.2)),
    "dynatemp_exponent": (0.2, lambda d: d.pick(1, 0.5, 2, 0, 1.7)),
    "smoothing_factor": (0.3, lambda d: d.pick(0.3, 0.1, 1.5, 0.02)),
    "smoothing_curve": (0.2, lambda d: d.pick(1, 2, 3, 4, 1.5)),
    "dry_multiplier": (0.4, lambda d: d.pick(0.8, 0.8, 1.5, 0.3)),
    "dry_base": (0.3, lambda d: d.pick(1.75, 1, 1.2, 3, 0.5)),
    "dry_allowed_length": (0.4, lambda d: d.pick(1, 2, 3)),
    "dry_penalty_last_n": (0.3, lambda d: d.pick(320, 20, 5, 1000, 0, -1)),
    "dry_sequence_breakers": (0.4, lambda d: breakers(d)),
    "rep_pen": (0.4, lambda d: d.pick(1.1, 1.3, 2, 0.8)),
    "rep_pen_range": (0.3, lambda d: d.pick(320, 10, 0, 50)),
    "rep_pen_slope": (0.3, lambda d: d.pick(1, 0.5, 0.7, 0, 2)),
    "presence_penalty": (0.2, lambda d: d.pick(0.4, 1, -0.3)),
    "frequency_penalty": (0.15, lambda d: d.pick(0.3, 1)),
    "logit_bias": (0.2, lambda d: {str(t): d.pick(1, -3, 5, -200) for t in d.tokens(1, 3)}),
    "custom_token_bans": (0.1, lambda d: ",".join(map(str, d.tokens(1, 3)))),
    "ban_eos_token": (0.15, lambda d: d.pick(True, True, False)),
    "bypass_eos": (0.05, lambda d: True),
    "sampler_order": (0.35, lambda d: order(d)),
}
_STATES: tuple[dict[str, Any], ...] = (
    {"mirostat": 2, "dry_multiplier": 0.8, "rep_pen": 1.1}, {"mirostat": 1, "top_k": 3},
    {"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 0.5, "temperature": 1.3},
    {"mirostat": 1, "mirostat_tau": 2, "smoothing_factor": 0.1},
    {"adaptive_target": 0.4, "min_p": 0.02}, {"adaptive_target": 0.7, "top_p": 1},
    {"adaptive_target": 0.2, "adaptive_decay": 0.99, "top_k": 40, "temperature": 1},
    {"xtc_probability": 0.5, "adaptive_target": 0.3, "xtc_threshold": 0.1},
)  # fmt: skip
SEQUENCES = [
    (row, 1000 * row + n + 1, asked) for row in (0, 47, 61, 196) for n, asked in enumerate(_STATES)
]
"""Number of the row, seed, request."""


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; the end of a text is a token that ``eos_token_id`` tells."""
    asked = dice.keys(TABLE)
    if dice.some(0.07):
        asked |= {"mirostat": dice.pick(1, 2, 2, 3), "mirostat_tau": dice.pick(5, 2, 0.5)}
    elif dice.some(0.08):
        asked["adaptive_target"] = dice.pick(0.3, 0.7, 1.5, 0, -1)
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, 50)
        asked.pop("sampler_order", None)
    if "ban_eos_token" in asked:
        asked["eos_token_id"] = dice.tokens(1, 2)
    if 0 < asked.get("xtc_probability", 0) < 1:
        asked["acts"] = dice.some(0.7)
    return asked


def order(dice: Dice) -> list[int]:
    """Return some samplers in any order."""
    return [int(n) for n in dice.rng.permutation(7)][: dice.count(2, 7)]
