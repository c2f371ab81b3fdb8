"""transformers: what ``generate`` takes beyond the page, in random company, by its own keys."""

from __future__ import annotations

from typing import Any

from engines.asked.phrases import company, phrases
from engines.beyond import Dice

TABLE = {
    "temperature": (0.8, lambda d: d.pick(0.3, 0.7, 0.8, 1.3, 2.0, 1.7, 0.005)),
    "top_k": (0.6, lambda d: d.pick(0, d.count(1, min(d.size, 60)))),
    "top_p": (0.35, lambda d: d.mass()),
    "min_p": (0.25, lambda d: d.pick(0.05, 0.1, 0.25, d.between(0, 0.3))),
    "typical_p": (0.3, lambda d: d.mass(0.05)),
    "epsilon_cutoff": (0.25, lambda d: d.pick(3e-4, 0.01, 0.05, 0.125, 0.25, d.between(0, 0.2))),
    "eta_cutoff": (0.25, lambda d: d.pick(3e-4, 0.01, 0.1, 0.3, 0.9, d.between(0.001, 0.5))),
    "top_h": (0.25, lambda d: d.pick(0.4, 0.1, 0.9, 1.0, d.between(0.05, 0.99))),
    "repetition_penalty": (0.25, lambda d: d.pick(1.1, 1.3, 0.8)),
    "no_repeat_ngram_size": (0.35, lambda d: d.pick(1, 2, 2, 3, 4)),
    "sequence_bias": (
        0.3,
        lambda d: [[p, d.pick(2.5, -1.0, 5.0, -0.7)] for p in phrases(d, d.row.prompt, 4)],
    ),
    "bad_words_ids": (0.35, lambda d: phrases(d, d.row.prompt, 4)),
    "eos_token_id": (0.6, lambda d: d.tokens(1, 2)),
    "min_new_tokens": (0.25, lambda d: near(d, len(d.row.output))),
    "min_length": (0.2, lambda d: near(d, len(d.row.output) + len(d.row.prompt))),
    "exponential_decay_length_penalty": (
        0.3,
        lambda d: [near(d, len(d.row.output) - 3), d.pick(1.01, 1.3, 2.0, 0.7)],
    ),
    "suppress_tokens": (0.2, lambda d: [*d.tokens(1, 3), *d.pick([], [], [d.size + 3])]),
    "begin_suppress_tokens": (0.2, lambda d: d.tokens(1, 3)),
    "forced_bos_token_id": (0.08, lambda d: d.token()),
    "watermarking_config": (0.2, lambda d: watermark(d)),
    "renormalize_logits": (0.15, lambda d: d.pick(True, True, False)),
    "remove_invalid_values": (0.1, lambda d: d.pick(True, False)),
}  # fmt: skip
ODD: tuple[tuple[str, Any], ...] = (
    ("typical_p", 0.0), ("typical_p", -0.5), ("typical_p", 1.5), ("epsilon_cutoff", 2.0),
    ("epsilon_cutoff", -1.0), ("eta_cutoff", 1.0), ("eta_cutoff", -0.2), ("top_h", 0.0),
    ("top_h", 1.5), ("bad_words_ids", []), ("no_repeat_ngram_size", -1), ("min_new_tokens", -2),
    ("sequence_bias", [[[1000000], 1.0]]), ("bad_words_ids", [[0, 1000000]]),
    ("watermarking_config", {"greenlist_ratio": 1.5}),
    ("watermarking_config", {"greenlist_ratio": 1.0}),
    ("watermarking_config", {"context_width": 0}), ("min_length", -1), ("sequence_bias", []),
)  # fmt: skip


def request(dice: Dice) -> dict[str, Any]:
    """Return a request; a whole vocabulary is cut, so that it does not fill the file."""
    asked = company(dice, TABLE)
    if dice.row.kind in ("real", "integers") and asked.get("top_k") == 0:
        asked["top_k"] = dice.count(2, 50)
    if dice.some(0.06):
        asked |= [dice.pick(*ODD)]
    if "exponential_decay_length_penalty" in asked:
        asked.setdefault("eos_token_id", dice.tokens(1, 2))
    if asked.get("remove_invalid_values"):  # together they may leave a row of NaN
        asked.pop("exponential_decay_length_penalty", None)
    if dice.some(0.05):
        asked["forced_eos_token_id"] = dice.tokens(1, 2)
        asked["max_length"] = len(dice.row.prompt) + len(dice.row.output) + dice.pick(1, 2)
    return asked


def near(dice: Dice, length: int) -> int:
    """Return a length about that of a text, at least 0."""
    return max(0, length + dice.count(-3, 4))


def watermark(dice: Dice) -> dict[str, Any]:
    """Return some fields of a ``WatermarkingConfig``; selfhash wants a large vocabulary."""
    fields = {
        "greenlist_ratio": (0.6, lambda d: d.pick(0.25, 0.5, 0.1, 0.9)),
        "bias": (0.6, lambda d: d.pick(2.0, 0.5, 4.0, -1.5)),
        "hashing_key": (0.3, lambda d: d.pick(15485863, 17, 2**61 - 1)),
        "context_width": (0.2, lambda d: d.pick(1, 2, 3)),
    }
    asked: dict[str, Any] = dice.keys(fields)
    if dice.size >= 60 and dice.some(0.4):
        asked |= {"seeding_scheme": "selfhash", "greenlist_ratio": 0.5}
    return asked
