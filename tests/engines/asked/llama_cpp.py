"""llama-server: all of its samplers in random company, by its own keys."""

from __future__ import annotations

from typing import Any

from engines.beyond import Dice

SAMPLERS = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
TABLE = {
    "temperature": (0.7, lambda d: d.pick(0.3, 0.7, 0.8, 1, 1, 1.3, 1.3, 2, 2, 0.005, 0)),
    "top_k": (0.7, lambda d: d.pick(0, 0, d.count(2, min(d.size, 60)))),
    "top_p": (0.7, lambda d: d.pick(1, 1, d.mass(), d.mass(0.7))),
    "min_p": (0.8, lambda d: d.pick(0, 0, 0, 0.02, 0.1, d.between(0, 0.3))),
    "typical_p": (0.3, lambda d: d.mass(0.05)),
    "top_n_sigma": (0.3, lambda d: d.pick(1, 0.5, 2, d.between(0.1, 3))),
    "xtc_probability": (0.3, lambda d: d.pick(1, 1, 0.5, 0.3)),
    "xtc_threshold": (0.3, lambda d: d.pick(0, 0.05, 0.2, 0.25, 0.5, d.between(0.01, 0.3))),
    "dynatemp_range": (0.25, lambda d: d.pick(0.5, 0.3, 1, 1.5, -0.5)),
    "dynatemp_exponent": (0.2, lambda d: d.pick(1, 0.5, 2, 0, 1.7)),
    "dry_multiplier": (0.4, lambda d: d.pick(0.8, 0.8, 1.5, 0.3, -0.5)),
    "dry_base": (0.3, lambda d: d.pick(1.75, 1, 1.2, 3, 0.5)),
    "dry_allowed_length": (0.4, lambda d: d.pick(1, 2, 3, 0)),
    "dry_penalty_last_n": (0.3, lambda d: d.pick(64, 20, 5, 1000, 0)),
    "dry_sequence_breakers": (0.4, lambda d: breakers(d)),
    "repeat_penalty": (0.3, lambda d: d.pick(1.1, 1.3, 0.8)),
    "frequency_penalty": (0.2, lambda d: d.pick(0.3, 1, -0.3)),
    "presence_penalty": (0.2, lambda d: d.pick(0.4, 1)),
    "repeat_last_n": (0.2, lambda d: d.pick(64, 10, 0, 300)),
    "logit_bias": (0.2, lambda d: {str(t): d.pick(1, -3, 5, -100, False) for t in d.tokens(1, 3)}),
    "ignore_eos": (0.15, lambda d: d.pick(True, True, False)),
    "min_keep": (0.2, lambda d: d.pick(0, 1, 2, 5)),
    "samplers": (0.4, lambda d: order(d)),
}
ODD: tuple[tuple[str, Any], ...] = (
    ("top_n_sigma", 0), ("top_n_sigma", -2), ("typical_p", 0), ("typical_p", -1),
    ("typical_p", 1.5), ("xtc_threshold", 0.7), ("xtc_threshold", -1), ("xtc_probability", 3),
    ("dynatemp_exponent", -1), ("dry_penalty_last_n", -1), ("dry_allowed_length", -1),
    ("dry_sequence_breakers", []), ("min_keep", -1), ("repeat_penalty", 0), ("temperature", -1),
    ("top_k", -4), ("adaptive_decay", 1.5), ("repeat_last_n", -1), ("min_p", 1.5),
)  # fmt: skip
_MIROSTAT: tuple[dict[str, Any], ...] = (
    {"mirostat": 1}, {"mirostat": 2}, {"mirostat": 1, "mirostat_tau": 2, "mirostat_eta": 0.3},
    {"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 0.5, "temperature": 1.3},
    {"mirostat": 2, "mirostat_tau": 0.5, "logit_bias": {"1": 2}},
    {"mirostat": 1, "mirostat_tau": 4, "mirostat_eta": 1, "temperature": 2},
)  # fmt: skip
_ADAPTIVE: tuple[dict[str, Any], ...] = (
    {"samplers": ["adaptive_p", "min_p"], "min_p": 0.02, "adaptive_target": 0.4},
    {"samplers": ["min_p", "adaptive-p"], "adaptive_target": 0.7, "adaptive_decay": 0.5},
    {"samplers": ["adaptive_p"], "adaptive_target": 0.1, "adaptive_decay": 0.99},
    {"samplers": ["top_k", "adaptive_p", "temperature"], "adaptive_target": 1},
    {"samplers": ["adaptive_p", "xtc"], "xtc_probability": 0.5, "adaptive_target": 0.3},
    {"samplers": ["adaptive_p"], "adaptive_target": -1},
)  # fmt: skip
SEQUENCES: list[tuple[int, int, dict[str, Any]]] = [
    (row, 1000 * row + n, asked)
    for rows, company in (((0, 30, 61, 190), _MIROSTAT), ((1, 47, 88, 196), _ADAPTIVE))
    for row in rows
    for n, asked in enumerate(company)
]
"""Number of the row, seed, request."""


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; the end of a text is a token that ``eos_token_id`` tells."""
    asked = dice.keys(TABLE)
    if dice.some(0.07):
        asked |= {"mirostat": dice.pick(1, 2, 2), "mirostat_tau": dice.pick(5, 2, 0.5)}
    elif dice.some(0.08):
        names = asked.setdefault("samplers", list(SAMPLERS))
        names.insert(dice.count(0, len(names)), dice.pick("adaptive_p", "Adaptive-P"))
        asked["adaptive_target"] = dice.pick(0.3, 0.7, 1.5, 0, -1)
    if dice.row.kind in ("real", "integers"):
        asked["top_k"] = dice.count(2, 50)
        names = asked.get("samplers", ["top_k"])
        if "top_k" not in names:
            names.insert(dice.count(0, len(names)), "top_k")
    if "ignore_eos" in asked:
        asked["eos_token_id"] = dice.tokens(1, 2)
    if dice.some(0.06):
        asked |= [dice.pick(*ODD)]
    if 0 < asked.get("xtc_probability", 0) < 1:
        asked["acts"] = dice.some(0.7)
    return asked


def order(dice: Dice) -> list[str]:
    """Return some samplers in any order, one of them perhaps twice."""
    names = [SAMPLERS[i] for i in dice.rng.permutation(len(SAMPLERS))]
    names = names[: dice.count(2, len(names))]
    return [*names, dice.pick(*names)] if dice.some(0.1) else names


def breakers(dice: Dice) -> list[str]:
    """Return texts of one or two tokens, whose characters the recorder takes for tokens."""
    return ["".join(map(piece, dice.tokens(1, 2))) for _ in range(dice.count(1, 3))]


def piece(token: int) -> str:
    """Return the one character of a token, as if the vocabulary had no others."""
    return chr(0x4E00 + token % 20000)
