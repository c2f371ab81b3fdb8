"""What experiments compare with: equations in float64, written without the library's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from logitlab import datasets
from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "are_larger",
    "changed_bits",
    "chi_square",
    "entropies",
    "kept",
    "probabilities",
    "ranked",
    "recorded",
    "repeated_share",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.001
"""False-alarm rate of every statistical test of an experiment; their seeds are fixed."""


def probabilities(logits: Any) -> Floats:
    """``exp(x_i) / sum_j exp(x_j)`` of every row."""
    x = np.asarray(logits, np.float64)
    weight = np.exp(x - x.max(axis=-1, keepdims=True))
    share: Floats = weight / weight.sum(axis=-1, keepdims=True)
    return share


def entropies(logits: Any) -> Floats:
    """``-sum_i p_i ln p_i`` of every row, in nats."""
    p = probabilities(logits)
    entropy: Floats = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    return entropy


def kept(logits: Any) -> NDArray[np.bool_]:
    """Mask of the tokens that are left."""
    mask: NDArray[np.bool_] = np.asarray(logits) > -np.inf
    return mask


@cache
def recorded() -> Floats:
    """Probabilities of the recorded rows; not to be written to."""
    return probabilities(datasets.load("smollm2").logits)


@cache
def ranked() -> Ints:
    """Tokens of the recorded rows, most likely first, the lower id first on ties."""
    return np.argsort(-datasets.load("smollm2").logits, axis=-1, kind="stable")


def changed_bits(one: Any, other: Any) -> int:
    """Count the logits of two arrays that differ in any bit."""
    a, b = np.ascontiguousarray(one), np.ascontiguousarray(other)
    if a.dtype != b.dtype or a.shape != b.shape:
        return int(max(a.size, b.size))
    return int((a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")).sum())


def repeated_share(prompt: Sequence[int] | Ints, tokens: Sequence[int] | Ints) -> float:
    """Share of the tokens of a text that occurred before, in its prompt or in itself.

    Examples
    --------
    >>> repeated_share([5, 6], [5, 7, 7, 8])
    0.5
    """
    seen, repeated = set(np.asarray(prompt).tolist()), 0
    for token in np.asarray(tokens).tolist():
        repeated += token in seen
        seen.add(token)
    return repeated / len(tokens)


def are_larger(high: Sequence[float], low: Sequence[float]) -> float:
    """P value of the one-sided rank test that the first sample tends to be larger.

    Mann and Whitney's U with mean ranks and the normal approximation that is corrected for ties;
    `scipy.stats.mannwhitneyu` without continuity correction gives the same.

    Examples
    --------
    >>> round(are_larger([3, 4, 5, 6], [1, 2, 3, 4]), 4)
    0.0398
    """
    sample = np.concatenate([np.asarray(high, float), np.asarray(low, float)])
    _, kind, count = np.unique(sample, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[kind]
    n, m, total = len(high), len(low), len(sample)
    u = rank[:n].sum() - n * (n + 1) / 2
    ties = float((count.astype(float) ** 3 - count).sum())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance == 0:
        return 1.0
    return 0.5 * math.erfc((u - n * m / 2) / math.sqrt(2 * variance))


def chi_square(times: Ints, expected: Floats) -> float:
    """P value of Pearson's test that an odd number of kinds occur as often as expected.

    Then the degrees of freedom are even, 2n, and the tail is that of a Poisson distribution:
    ``exp(-x/2) sum_{i<n} (x/2)^i / i!``; `scipy.stats.chisquare` gives the same.

    Examples
    --------
    >>> round(chi_square(np.array([12, 9, 9]), np.array([10.0, 10.0, 10.0])), 4)
    0.7408
    """
    half = float(((times - expected) ** 2 / expected).sum()) / 2
    degrees = (len(times) - 1) // 2
    return math.exp(-half) * sum(half**i / math.factorial(i) for i in range(degrees))
