"""What experiments compare with: equations in float64, written without the library's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from logitlab import datasets
from numpy.typing import NDArray

if TYPE_CHECKING:
    from logitlab.generation.result import Generation

__all__ = [
    "LEVEL",
    "Floats",
    "Ints",
    "are_larger",
    "changed_bits",
    "chi_square",
    "entropies",
    "mass_of",
    "mean_logprobs",
    "probabilities",
    "ranking",
    "recorded_probs",
    "repeated_share",
    "survivors",
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


def survivors(logits: Any) -> NDArray[np.bool_]:
    """Mask of the tokens that are left."""
    mask: NDArray[np.bool_] = np.asarray(logits) > -np.inf
    return mask


@cache
def recorded_probs() -> Floats:
    """Probabilities of the recorded rows; not to be written to."""
    return probabilities(datasets.load("smollm2").logits)


@cache
def ranking() -> Ints:
    """Tokens of the recorded rows, most likely first, the lower id first on ties."""
    return np.argsort(-datasets.load("smollm2").logits, axis=-1, kind="stable")


def changed_bits(one: Any, other: Any) -> int:
    """Count the logits of two arrays that differ in any bit."""
    a, b = np.ascontiguousarray(one), np.ascontiguousarray(other)
    if a.dtype != b.dtype or a.shape != b.shape:
        return int(max(a.size, b.size))
    return int((a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")).sum())


def mass_of(probs: Floats, tokens: Sequence[Ints]) -> Floats:
    """Probability of a set of tokens, one set for each row."""
    sets = (np.unique(ids).astype(np.intp) for ids in tokens)
    return np.array([row[ids].sum() for row, ids in zip(probs, sets, strict=True)])


def repeated_share(prompt: Sequence[int] | Ints, tokens: Sequence[int] | Ints) -> float:
    """Share of the tokens of a text that occurred before, in its prompt or in itself.

    Examples
    --------
    >>> repeated_share([5, 6], [5, 7, 7, 8])
    0.5
    """
    text = [*map(int, prompt), *map(int, tokens)]
    return sum(text[i] in text[:i] for i in range(len(prompt), len(text))) / len(tokens)


def mean_logprobs(answers: Sequence[Generation]) -> list[float]:
    """Mean log-probability of each answer's tokens, as it is reported, in nats."""
    return [float(a.logprobs.logprobs.mean()) for a in answers if a.logprobs is not None]


def are_larger(high: Sequence[float] | Floats, low: Sequence[float] | Floats) -> float:
    """P value of Mann and Whitney's one-sided test that the first sample tends to be larger.

    Examples
    --------
    >>> round(are_larger([3, 4, 5, 6], [1, 2, 3, 4]), 4)
    0.0398
    """
    from scipy.stats import mannwhitneyu

    how = {"alternative": "greater", "method": "asymptotic", "use_continuity": False}
    return float(mannwhitneyu(high, low, **how).pvalue)


def chi_square(times: Ints, expected: Floats) -> float:
    """P value of Pearson's test that kinds occur as often as expected.

    Examples
    --------
    >>> round(chi_square(np.array([12, 9, 9]), np.array([10.0, 10.0, 10.0])), 4)
    0.7408
    """
    from scipy.stats import chisquare

    return float(chisquare(times, expected).pvalue)
