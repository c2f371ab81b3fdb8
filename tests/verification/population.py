"""A seeded population of simulated providers, each with faults of its own.

>>> [provider.dialect.name for provider in providers(3, seed=1)]
['openrouter', 'vllm', 'sglang']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verification.providers import Provider, lacks

__all__ = ["DIALECTS", "FAULTY", "NOISES", "providers"]

DIALECTS = (
    "openrouter",
    "vllm",
    "sglang",
    "llama_cpp",
    "koboldcpp",
    "mlx_lm_server",
    "transformers",
    "aphrodite",
    "tabbyapi",
    "textgen",
)
NOISES = (0.0, 0.01, 0.03)
_HELD_OUT = 1 << 40  # no seed of the development population comes so far

# How often each parameter is honoured, ignored, clamped and refused.
_USUAL = (0.5, 0.25, 0.17, 0.08)
_KEPT = (0.6, 0.3, 0.0, 0.1)  # where nothing can be clamped
FAULTY: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "top_a"), _USUAL),
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "repetition_penalty"), _USUAL),
    "max_tokens": (0.7, 0.1, 0.15, 0.05),
    **dict.fromkeys(("logit_bias", "seed", "stop", "n"), _KEPT),
    **dict.fromkeys(("typical_p", "top_n_sigma", "xtc_probability", "dry_multiplier"), _KEPT),
}
_SCOPED = 0.15  # of the penalties that are honoured count otherwise

Luck = np.random.Generator
# A bound above or below, half of them on what a verifier may have on its grid. Many move the
# neutral value, and so everything else that is looked at.
_HIGH: dict[str, Callable[[Luck], float]] = {
    "temperature": lambda luck: _one_of(luck, luck.uniform(0.1, 1.8), 1.0, 1.5),
    "top_p": lambda luck: _one_of(luck, luck.uniform(0.1, 0.98), 0.9, 0.95),
    "top_k": lambda luck: int(_one_of(luck, float(luck.integers(3, 60)), 10, 40)),
    "min_p": lambda luck: _one_of(luck, luck.uniform(0.05, 0.6), 0.1, 0.5),
    "top_a": lambda luck: _one_of(luck, luck.uniform(0.05, 0.6), 0.1, 0.5),
}
_LOW: dict[str, Callable[[Luck], float]] = {
    "temperature": lambda luck: luck.uniform(0.1, 0.6) + luck.choice([0, 1.0], p=[0.8, 0.2]),
    "top_p": lambda luck: luck.uniform(0.1, 0.6),
    "top_k": lambda luck: int(luck.integers(3, 12)),
    "min_p": lambda luck: luck.uniform(0.02, 0.6),
    "top_a": lambda luck: luck.uniform(0.02, 0.6),
}
_INFINITE = float("inf")


def _one_of(luck: Luck, drawn: float, *grid: float) -> float:
    return float(drawn if luck.random() < 0.6 else luck.choice(grid))


def _bounds(key: str, luck: Luck) -> tuple[float, float]:
    """Return the bounds of a clamp."""
    if key == "max_tokens":
        return 1, int(luck.integers(2, 7))
    if key == "repetition_penalty":
        return 1.0, luck.uniform(1.05, 1.6)
    if key in ("frequency_penalty", "presence_penalty"):
        most = luck.uniform(0.3, 1.5)
        return -most, most
    if luck.random() < 0.7:
        return -_INFINITE, _HIGH[key](luck)
    return _LOW[key](luck), _INFINITE


def _fault(key: str, luck: Luck) -> Any:
    kind = luck.choice(["", "ignored", "clamped", "refused"], p=FAULTY[key])
    if kind == "clamped":
        return "clamped", *_bounds(key, luck)
    if not kind and key.endswith("_penalty") and luck.random() < _SCOPED:
        return "scope", luck.choice(["output", "prompt and output"]).item()
    return str(kind)


def providers(
    count: int, seed: int = 0, *, held_out: bool = False, logprobs: bool | None = None
) -> Iterator[Provider]:
    """Yield a population that is the same for the same seed, one dialect after the other.

    Parameters
    ----------
    count : int
    seed : int
    held_out : bool
        Whether it is the one that nobody has looked at while a verifier was made.
    logprobs : bool, optional
        Whether all or none of them report log-probabilities; by default nine of ten do.
    """
    for number in range(count):
        luck = np.random.default_rng([seed + _HELD_OUT * held_out, number])
        name = DIALECTS[number % len(DIALECTS)]
        faults = {key: fault for key in FAULTY if (fault := _fault(key, luck))}
        kind = None
        if luck.random() < 0.3:
            kind = luck.choice(["raw", "penalised", "tempered", "processed"]).item()
        silent = luck.random() < 0.1 if logprobs is None else not logprobs
        yield _made(name, faults, "none" if silent else kind, luck)


def _made(name: str, faults: dict[str, Any], logprobs: str | None, luck: Luck) -> Provider:
    noise = luck.choice(NOISES, p=[0.5, 0.25, 0.25]).item()
    foreign = 0.01 if luck.random() < 0.3 else 0.0
    top = 11 if name == "mlx_lm_server" else luck.choice([20, 5], p=[0.9, 0.1]).item()
    number = int(luck.integers(2**31))
    listed = luck.choice(["best", "added", "replaced"], p=[0.6, 0.2, 0.2]).item()
    provider = Provider(name, faults, noise, logprobs, foreign, top, number, listed=listed)
    scoped = {key: fault for key, fault in faults.items() if fault[0] == "scope"}
    if any(lacks(provider.dialect, key) for key in scoped):  # there is nothing to count
        kept = {key: fault for key, fault in faults.items() if key not in scoped}
        provider = Provider(name, kept, noise, logprobs, foreign, top, number, listed=listed)
    return provider
