"""Aphrodite: all samplers of its V1 runner in random company, by its own keys."""

from __future__ import annotations

from typing import Any

from engines.asked.phrases import company, phrases
from engines.beyond import Dice

TABLE = {
    "temperature": (0.5, lambda d: d.pick(0.7, 0.8, 1.0, 1.3, 2.0, 0.3, 1.0, 1.5, 0)),
    "top_k": (0.3, lambda d: d.count(1, min(d.size, 60))),
    "top_p": (0.3, lambda d: d.mass()),
    "min_p": (0.2, lambda d: d.pick(0.05, 0.1, 0.25, d.between(0, 0.3))),
    "top_a": (0.15, lambda d: d.pick(0.1, 0.2, 0.5)),
    "repetition_penalty": (0.15, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.15, lambda d: d.pick(0.3, 1.0, -0.3)),
    "presence_penalty": (0.15, lambda d: d.pick(0.4, 1.0)),
    "logit_bias": (0.15, lambda d: {str(t): d.pick(1, -3, 5, -100) for t in d.tokens(1, 3)}),
    "allowed_token_ids": (0.1, lambda d: d.tokens(4, 20)),
    "bad_words": (0.15, lambda d: phrases(d, [], 4)),
    "min_tokens": (0.15, lambda d: max(0, len(d.row.output) + d.count(-2, 4))),
    "stop_token_ids": (0.15, lambda d: d.tokens(1, 3)),
    "eos_token_id": (0.2, lambda d: d.tokens(1, 2)),
    "typical_p": (0.25, lambda d: d.pick(d.mass(0.05), d.mass(0.05), 0.0)),
    "epsilon_cutoff": (0.2, lambda d: d.pick(3e-4, 1e-3, 0.01, 0.05, 0.125, 2.0)),
    "eta_cutoff": (0.2, lambda d: d.pick(3e-4, 2e-3, 0.01, 0.1, 1.5, d.between(0.001, 0.2))),
    "tfs": (0.25, lambda d: d.pick(0.95, 0.99, 0.999, d.mass(0.5))),
    "nsigma": (0.25, lambda d: d.pick(1.0, 2.0, 2.5, 4.0, d.between(0.5, 4))),
    "xtc_probability": (0.25, lambda d: d.pick(1.0, 1.0, 0.5, 0.3)),
    "xtc_threshold": (0.25, lambda d: d.pick(0.0, 0.05, 0.1, 0.25, 0.7, d.between(0.01, 0.3))),
    "dynatemp_min": (0.2, lambda d: d.pick(0.0, 0.3, 1.0)),
    "dynatemp_max": (0.2, lambda d: d.pick(2.0, 1.0, 0.5, 3.0)),
    "dynatemp_exponent": (0.2, lambda d: d.pick(1.0, 0.5, 2.0, 1.7)),
    "smoothing_factor": (0.25, lambda d: d.pick(0.3, 0.05, 1.0, 4.0, -1.0)),
    "smoothing_curve": (0.2, lambda d: d.pick(1.0, 2.0, 3.0, 5.0, 0.5)),
    "skew": (0.2, lambda d: d.pick(0.5, -0.5, 1.5, -2.0)),
    "temperature_last": (0.25, lambda d: d.pick(True, True, False)),
    "dry_multiplier": (0.35, lambda d: d.pick(0.8, 0.8, 1.5, 0.3)),
    "dry_base": (0.25, lambda d: d.pick(1.75, 1.2, 3.0)),
    "dry_allowed_length": (0.3, lambda d: d.pick(1, 2, 3, 0)),
    "dry_range": (0.25, lambda d: d.pick(0, 20, 5, 1000)),
    "dry_max_ngram": (0.15, lambda d: d.pick(12, 3, 5, 1, 0)),
    "dry_max_occurrences": (0.15, lambda d: d.pick(8, 1, 2, 0)),
    "dry_early_exit_match_len": (0.15, lambda d: d.pick(8, 3, 2, 0)),
    "dry_sequence_breaker_ids": (0.3, lambda d: d.tokens(1, 3)),
    "no_repeat_ngram_size": (0.2, lambda d: d.pick(1, 2, 2, 3, 4)),
    "mirostat_mode": (0.3, lambda d: 2),
    "mirostat_tau": (0.2, lambda d: d.pick(2.0, 5.0, 0.5, 0.0, 1.0)),
    "mirostat_eta": (0.2, lambda d: d.pick(0.1, 0.5, 1.0)),
}
ODD: tuple[tuple[str, Any], ...] = (
    ("typical_p", -0.5), ("typical_p", 1.5), ("epsilon_cutoff", -1.0), ("eta_cutoff", -0.2),
    ("tfs", 0.0), ("tfs", 1.5), ("nsigma", -1.0), ("xtc_threshold", -0.1), ("xtc_probability", 1.5),
    ("mirostat_mode", 1), ("mirostat_tau", -1.0), ("dry_multiplier", -1.0), ("dry_base", 1.0),
    ("dry_allowed_length", -1), ("dry_range", -1), ("dry_max_ngram", -1),
    ("dry_early_exit_match_len", -1), ("dynatemp_min", -1.0), ("dynatemp_exponent", 0.0),
    ("no_repeat_ngram_size", -1), ("allowed_token_ids", []),
)  # fmt: skip
SEQUENCES: list[tuple[int, int, dict[str, Any]]] = [
    (number, 7 + number, {"mirostat_mode": 2, **request})
    for number, request in (
        (12, {"mirostat_tau": 3.0, "mirostat_eta": 0.1, "presence_penalty": 0.1}),
        (13, {"mirostat_tau": 1.0, "mirostat_eta": 0.5, "repetition_penalty": 1.1}),
        (40, {"mirostat_tau": 5.0, "mirostat_eta": 1.0, "dry_multiplier": 0.8}),
        (77, {"mirostat_tau": 2.0, "mirostat_eta": 0.3, "no_repeat_ngram_size": 3}),
        (150, {"mirostat_tau": 0.5, "mirostat_eta": 0.1, "bad_words": [[0, 0]], "temperature": 0}),
        (190, {"mirostat_tau": 2.0, "mirostat_eta": 0.9, "frequency_penalty": 0.2, "top_k": 3}),
        (241, {"mirostat_tau": 4.0, "mirostat_eta": 0.2, "presence_penalty": -0.2, "nsigma": 1.0}),
        (3, {"mirostat_tau": 3.0, "mirostat_eta": 0.2, "presence_penalty": 0.3}),
    )
]
"""Number of the row, seed, request: mirostat, where it does not sleep."""


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; a whole vocabulary is cut, and skew must not bring all of it back."""
    asked = company(dice, TABLE)
    if dice.row.kind in ("real", "integers"):
        asked["top_p"] = dice.mass()
        asked["mirostat_tau"] = dice.pick(0.5, 1.0, 2.0)
    if dice.some(0.06):
        asked |= [dice.pick(*ODD)]
    if 0 < asked.get("xtc_probability", 0) < 1:
        asked["acts"] = dice.some(0.7)
    return asked
