"""text-generation-webui: the samplers of its transformers loader in random company."""

from __future__ import annotations

import json
from typing import Any

from engines.beyond import Dice

SAMPLERS = (
    "repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "top_n_sigma",
    "temperature", "dynamic_temperature", "quadratic_sampling", "top_k", "top_p", "typical_p",
    "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "xtc", "encoder_repetition_penalty",
    "no_repeat_ngram",
)  # fmt: skip
TABLE = {
    "temperature": (0.8, lambda d: d.pick(0.3, 0.7, 0.8, 1.0, 1.3, 2.0, 0.005, 0)),
    "top_k": (0.6, lambda d: d.pick(0, d.count(1, min(d.size, 60)))),
    "top_p": (0.7, lambda d: d.pick(1.0, d.mass())),
    "min_p": (0.25, lambda d: d.pick(0.05, 0.1, 0.25, d.between(0, 0.3))),
    "top_a": (0.2, lambda d: d.pick(0.2, 0.5, 1.0, d.between(0, 1))),
    "typical_p": (0.25, lambda d: d.mass(0.05)),
    "epsilon_cutoff": (0.2, lambda d: d.pick(3, 100, 500, 1250, 2500, d.between(0, 2000))),
    "eta_cutoff": (0.2, lambda d: d.pick(3, 100, 1000, 3000, 9000, d.between(1, 5000))),
    "tfs": (0.2, lambda d: d.pick(0.95, 0.9, 0.5, 0.0, d.between(0.1, 0.99))),
    "top_n_sigma": (0.25, lambda d: d.pick(1.0, 0.5, 2.0, d.between(0.1, 3))),
    "dynatemp_high": (0.2, lambda d: d.pick(1.5, 2.0, 0.8)),
    "dynatemp_low": (0.2, lambda d: d.pick(0.5, 0.2, 1.5)),
    "dynatemp_exponent": (0.2, lambda d: d.pick(1, 0.5, 2, 1.7)),
    "dynamic_temperature": (0.35, lambda d: d.pick(True, True, False)),
    "smoothing_factor": (0.25, lambda d: d.pick(0.3, 0.05, 1.5)),
    "smoothing_curve": (0.25, lambda d: d.pick(1.0, 1.5, 4.0)),
    "xtc_probability": (0.3, lambda d: d.pick(1.0, 1.0, 0.5, 0.3)),
    "xtc_threshold": (0.3, lambda d: d.pick(0.0, 0.05, 0.2, 0.25, 0.5, d.between(0.01, 0.3))),
    "dry_multiplier": (0.35, lambda d: d.pick(0.8, 1.5, 0.3)),
    "dry_base": (0.3, lambda d: d.pick(1.75, 1.0, 1.2, 3.0, 0.5)),
    "dry_allowed_length": (0.4, lambda d: d.pick(1, 2, 3, 0)),
    "dry_sequence_breakers": (
        0.4,
        lambda d: json.dumps([chr(0x4E00 + t % 20000) for t in d.tokens(0, 3)], ensure_ascii=False),
    ),
    "repetition_penalty": (0.3, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.2, lambda d: d.pick(0.3, 1.0, -0.3)),
    "presence_penalty": (0.2, lambda d: d.pick(0.4, 1.0)),
    "encoder_repetition_penalty": (0.15, lambda d: d.pick(1.1, 0.8)),
    "repetition_penalty_range": (0.3, lambda d: d.pick(0, 10, 3, 1024)),
    "no_repeat_ngram_size": (0.2, lambda d: d.pick(1, 2, 2, 3)),
    "logit_bias": (0.2, lambda d: {str(t): d.pick(1, -3, 5.5, -100) for t in d.tokens(1, 3)}),
    "custom_token_bans": (0.15, lambda d: ",".join(map(str, d.tokens(1, 3)))),
    "ban_eos_token": (0.15, lambda d: d.pick(True, False)),
    "temperature_last": (0.3, lambda d: d.pick(True, True, False)),
    "sampler_priority": (0.35, lambda d: order(d)),
    "do_sample": (0.08, lambda d: False),
}  # fmt: skip
ODD: tuple[tuple[str, Any], ...] = (
    ("typical_p", 1.5), ("typical_p", 0.0), ("top_n_sigma", -1.0), ("tfs", -0.5), ("tfs", 1.5),
    ("top_a", 1.5), ("xtc_threshold", 0.7), ("xtc_probability", 1.5), ("dry_multiplier", -1.0),
    ("smoothing_factor", -1.0), ("repetition_penalty", 0.0), ("temperature", -1.0), ("top_k", -1),
    ("min_p", 1.5), ("epsilon_cutoff", 20000.0), ("eta_cutoff", 10000.0), ("top_p", 1.5),
    ("top_p", -0.5), ("no_repeat_ngram_size", -1), ("xtc_probability", -0.5),
)  # fmt: skip
_STATEFUL: tuple[dict[str, Any], ...] = (
    {"mirostat_mode": 2}, {"mirostat_mode": 2, "mirostat_tau": 2.0, "mirostat_eta": 0.3},
    {"mirostat_mode": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.5, "temperature": 1.3, "top_k": 40},
    {"mirostat_mode": 2, "mirostat_tau": 0.5, "min_p": 0.02, "logit_bias": {"1": 2.0}},
    {"adaptive_target": 0.4, "min_p": 0.02}, {"adaptive_target": 0.7, "adaptive_decay": 0.5},
    {"adaptive_target": 0.1, "adaptive_decay": 0.99, "top_k": 30, "repetition_penalty": 1.2},
    {"adaptive_target": 1.0, "temperature": 0.7, "temperature_last": True},
)  # fmt: skip
SEQUENCES: list[tuple[int, int, dict[str, Any]]] = [
    (row, 1000 * row + n, asked) for row in (2, 33, 64, 192) for n, asked in enumerate(_STATEFUL)
]
"""Number of the row, seed, request."""


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; ``newline`` and ``eos_token_id`` are what a tokenizer gives."""
    chance = dice.pick(0.35, 0.6, 1.0)
    asked = {key: x for key, x in dice.keys(TABLE).items() if dice.some(chance)}
    asked |= {"newline": dice.token(), "eos_token_id": dice.token()}
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, 50)
        if asked.get("do_sample") is False:
            del asked["do_sample"]
    if dice.some(0.06):
        asked |= [dice.pick(*ODD)]
    if 0 < asked.get("xtc_probability", 0) < 1:
        asked["acts"] = dice.some(0.7)
    return asked


def order(dice: Dice) -> Any:
    """Return names of samplers in a random order, some left out, as a list or a text."""
    names = dice.rng.permutation(SAMPLERS)[: dice.count(8, len(SAMPLERS))].tolist()
    return dice.pick(names, names, ", ".join(names))
