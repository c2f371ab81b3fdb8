"""Uniforms next to every boundary of the dense running sum: the token is right, or left to numpy.

Without bounds the same test has to find wrong tokens in every chain: it can see an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, Temperature, TopA, TopK, TopP, kernels
from logitlab.steps.xtc import ExcludeTopChoices

from kernel_cases import EXAMPLES, RECORD, Array, compiled, dense_draws, draw, make

pytestmark = compiled

CHAINS: dict[str, Chain] = {
    "T": Chain(Temperature(0.8)),
    "no step": Chain(TopK(0)),
    "k": Chain(Temperature(0.7), TopK(50)),
    "wide k": Chain(TopK(3000)),
    "p": Chain(Temperature(0.8), TopP(0.9)),
    "p of flat": Chain(Temperature(1.5), TopP(0.9)),
    "p, T last": Chain(TopP(0.95), Temperature(1.3)),
    "m": Chain(Temperature(0.8), ll.MinP(0.05)),
    "a": Chain(Temperature(0.8), TopA(0.2)),
    "epsilon": Chain(ll.EpsilonCutoff(3e-4)),
    "eta": Chain(ll.EtaCutoff(1e-3)),
    "p less": Chain(Temperature(1.2), ll.PLess()),
    "sigma": Chain(ll.TopNSigma(2.5)),
    "typical": Chain(Temperature(0.9), ll.TypicalP(0.9)),
    "xtc": Chain(Temperature(1.1), ExcludeTopChoices(0.05)),
    "k, p, m": Chain(Temperature(0.8), TopK(50), TopP(0.9), ll.MinP(0.05)),
    "p, m": Chain(Temperature(0.9), TopP(0.9), ll.MinP(0.01)),
}
ROWS = ("real", "flat", "bfloat16", "few levels", "masked", "offset", "one above", "float64")
DRAWS = 40


def next_to_boundaries(final: Array, rng: np.random.Generator) -> Array:
    """Uniforms at ends of tokens' shares, and between 1e-17 and 1e-3 of them beside."""
    mass = np.cumsum(np.exp(final.astype(np.float64) - final.max()))
    alive = np.flatnonzero(final > -np.inf)
    picked = np.append(rng.choice(alive, DRAWS - 6), [*alive[:3], *alive[-3:]][:6])
    edge = mass[np.resize(picked, DRAWS)] / mass[-1]
    beside = np.append(np.zeros(10), 10.0 ** rng.uniform(-17, -3, DRAWS - 10))
    luck = edge * (1 + beside * rng.choice([-1, 1], DRAWS))
    return np.asarray(np.floor(np.clip(luck, 0, 1 - 2**-53) * 2**53) * 2.0**-53)


def cases(chain: Chain, size: int, seed: int) -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(seed)
    for kind in ROWS:
        x = make(kind, 1, size, rng)
        yield x, next_to_boundaries(chain(x)[0], rng)


def wrong_and_left(chain: Chain, size: int, seed: int) -> tuple[int, int, int]:
    """Return how many draws were wrong, how many were left over, and how many there were."""
    wrong = left = total = 0
    for x, luck in cases(chain, size, seed):
        rows = np.broadcast_to(x, (DRAWS, size)).copy()
        tokens, done = draw(rows, chain, luck[:, None])
        expected = dense_draws(chain(x), luck[None])[0]
        wrong += int((tokens[:, 0] != expected)[done].sum())
        left += int((~done).sum())
        total += DRAWS
    return wrong, left, total


@contextmanager
def bounds_times(factor: float) -> Iterator[None]:
    assert kernels.rows
    before = kernels.rows.slack(factor)
    try:
        yield
    finally:
        kernels.rows.slack(before)


SIZES = (7, 300, 4096, 5000, 32_001)
ROUNDS = max(1, EXAMPLES // 20)


@pytest.mark.parametrize("name", CHAINS)
def test_tokens_are_right_or_left(name: str) -> None:
    counts = np.zeros(3, int)
    for seed in range(ROUNDS):
        for size in SIZES:
            counts += wrong_and_left(CHAINS[name], size, seed)
    wrong, left, total = counts.tolist()
    RECORD[f"adversarial draws: {name}"] = f"{wrong} wrong of {total}, {left / total:.0%} left"
    assert wrong == 0
    assert left < total


@pytest.mark.parametrize("name", CHAINS)
def test_without_bounds_it_finds_wrong_tokens(name: str) -> None:
    wrong = 0
    with bounds_times(0.0):
        for seed in range(20):
            for size in (4096, 5000):
                found, _, _ = wrong_and_left(CHAINS[name], size, seed)
                wrong += found
            if wrong:
                break
    RECORD[f"without bounds: {name}"] = f"{wrong} wrong"
    assert wrong


def test_the_bounds_are_there_again() -> None:
    assert kernels.rows
    assert kernels.rows.slack(1.0) == 1


def test_slack_takes_numbers() -> None:
    assert kernels.rows
    wrong: Any = "none"
    with pytest.raises(TypeError):
        kernels.rows.slack(wrong)
    assert kernels.rows.slack(1.0) == 1
