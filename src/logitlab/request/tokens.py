"""What request parameters accept that name tokens: ids, phrases of text or ids, biases on them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from logitlab.checks import (
    Check,
    FrozenDict,
    ParameterError,
    Range,
    check_choice,
    check_integer,
    check_number,
)

__all__ = [
    "breakers",
    "ids",
    "length_decay",
    "one_or_more_ids",
    "phrase_bias",
    "phrases",
    "repetition_detection",
    "repetition_map",
    "some_ids",
    "two_phrases",
    "watermarking_config",
    "watermarking_fields",
]

_COUNT = Range(0, integer=True)
_WIDEST = 1 << 20  # window of a watermark


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def ids(key: str, value: Any) -> tuple[int, ...]:
    """Take an array of token ids."""
    if not _is_list(value):
        raise ParameterError(key, "an array of token ids", value)
    for token in value:
        if isinstance(token, bool) or not isinstance(token, int | np.integer) or token < 0:
            raise ParameterError(key, "of token ids >= 0", token)
        if token >= 1 << 63:
            raise ParameterError(key, "of token ids below 2**63", token)
    return tuple(map(int, value))


def some_ids(key: str, value: Any) -> tuple[int, ...]:
    """Take an array of token ids that is not empty."""
    taken = ids(key, value)
    if not taken:
        raise ParameterError(key, "an array of at least one token id", value)
    return taken


def one_or_more_ids(key: str, value: Any) -> tuple[int, ...]:
    """Take a token id, or an array of them."""
    return ids(key, value if _is_list(value) else [value])


def phrases(key: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    """Take an array of texts; each may be an array of token ids, or one id, instead."""
    if isinstance(value, str) or not _is_list(value):
        raise ParameterError(key, "an array of texts or arrays of token ids", value)
    taken: list[str | tuple[int, ...]] = []
    for phrase in value:
        if isinstance(phrase, str):
            taken.append(phrase)
            continue
        tokens = one_or_more_ids(key, phrase)
        if not tokens:
            raise ParameterError(key, "an array of phrases of at least one token", value)
        taken.append(tokens)
    return tuple(taken)


def two_phrases(key: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    """Take an array of two texts; each may be an array of token ids, or one id, instead."""
    taken = phrases(key, value)
    if len(taken) != 2 or "" in taken:
        raise ParameterError(key, "an array of two texts or arrays of token ids", value)
    return taken


def breakers(key: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    """Take what `phrases` takes, or that as JSON in a text, with its brackets or without."""
    if isinstance(value, str):
        for text in (value, f"[{value}]"):
            with suppress(ValueError, RecursionError):
                known = json.loads(text)
                if isinstance(known, list):
                    return phrases(key, known)
        rule = "an array of texts or arrays of token ids, or that as JSON in a text"
        raise ParameterError(key, rule, value)
    return phrases(key, value)


def phrase_bias(key: str, value: Any) -> Mapping[tuple[int, ...], float]:
    """Take a map from tuples of token ids to numbers, or in JSON pairs ``[[id, …], number]``."""
    pairs = value.items() if isinstance(value, Mapping) else value
    if not _is_list(pairs) and not isinstance(value, Mapping):
        raise ParameterError(key, "a map from tuples of token ids to numbers, or pairs", value)
    entries: dict[tuple[int, ...], float] = {}
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2:
            raise ParameterError(key, "pairs of token ids and a number", value)
        tokens = some_ids(key, _of_text(pair[0]))
        if tokens in entries:
            raise ParameterError(key, "a map with one entry for each phrase", value)
        entries[tokens] = check_number(f"{key}[{list(tokens)}]", pair[1])
    return FrozenDict(entries)


def _of_text(phrase: Any) -> Any:
    """Return the ids that a key of JSON holds, with commas between them; others as they are."""
    is_text = isinstance(phrase, str) and phrase.replace(",", "").isdecimal() and phrase.isascii()
    return [int(each) for each in phrase.split(",") if each] if is_text else phrase


def length_decay(key: str, value: Any) -> tuple[int, float]:
    """Take the token at which it starts, and a factor."""
    if not _is_list(value) or len(value) != 2:
        raise ParameterError(key, "a pair: where it starts, and a factor", value)
    start = check_integer(f"{key}[0]", value[0], _COUNT)
    return start, check_number(f"{key}[1]", value[1], Range(0))


def _map(fields: Mapping[str, Check]) -> Check:
    """Take a map of some fields, each of which may be absent."""

    def check(key: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ParameterError(key, f"a map of {', '.join(fields)}", value)
        for name in value:
            if name not in fields:
                raise ParameterError(key, f"a map whose keys are among {sorted(fields)}", name)
        return FrozenDict(
            {name: fields[name](f"{key}.{name}", each) for name, each in value.items()}
        )

    return check


def _scheme(key: str, value: Any) -> str:
    check_choice(key, value, ("lefthash", "selfhash"))
    return str(value)


def _within(low: float, high: float) -> Check:
    return partial(check_integer, rule=Range(low, high, integer=True))


repetition_map = _map(
    dict.fromkeys(
        ("max_pattern_size", "min_pattern_size", "min_count"), _within(-math.inf, math.inf)
    )
)
"""Take the sizes of a pattern and how often it is to stand at the end, whatever these are."""


def repetition_detection(key: str, value: Any) -> Mapping[str, Any]:
    """Return the sizes and counts of patterns, in the ranges that vLLM takes."""
    taken = repetition_map(key, value)
    most, least = taken.get("max_pattern_size", 0), taken.get("min_pattern_size", 0)
    if not 0 <= least <= most:
        rule = "with 0 <= min_pattern_size <= max_pattern_size"
        raise ParameterError(key, rule, dict(taken), "Set both to 0 to detect nothing.")
    if most and taken.get("min_count", 0) < 2:
        raise ParameterError(key, "with a min_count of at least 2", dict(taken))
    return FrozenDict(taken)


watermarking_config = _map(
    {
        "greenlist_ratio": lambda key, value: check_number(key, value, Range(0, 1)),
        "bias": check_number,
        "hashing_key": _within(0, (1 << 63) - 1),
        "seeding_scheme": _scheme,
        "context_width": _within(1, _WIDEST),
    }
)
"""Take what transformers' ``WatermarkingConfig`` takes."""

watermarking_fields = _map(
    {
        "greenlist_ratio": check_number,
        "bias": check_number,
        "hashing_key": _within(0, (1 << 63) - 1),
        "seeding_scheme": _scheme,
        "context_width": _within(-_WIDEST, _WIDEST),
    }
)
"""Take its fields, whatever their numbers are, as far as `Watermark` reaches."""
