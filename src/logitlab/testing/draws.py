"""Whether tokens are drawn as often as they should be: exact binomial tests, all together.

Of N independent draws the number c that fall into a set of tokens is binomial. Where rounding may
have moved the probability of the set to anywhere in [low, high], the sampler is refuted at level a
if ``P(X >= c; high) < a`` or ``P(X <= c; low) < a``: both are exact, no large number of draws is
assumed. The sets are every token, the most likely ones up to each of a few places, and the ids
below each of a few; Bonferroni's correction divides the error by the number of tests.

What is wrong by little in every row, such as a temperature, shows in all draws together. For every
exponent s the product of ``p_i ** s / sum_j p_j ** (1 + s)`` over independent draws i has the mean
1, so that it, and the average of several, exceeds 1 / a with a chance of at most a (Markov). It is
the likelihood of a temperature of ``1 / (1 + s)`` on top of what is right, in parts of that of
none.
"""

from __future__ import annotations

import numpy as np
from logitlab.arrays import BoolArray, IntArray
from logitlab.testing.judging import Judge
from logitlab.testing.left import Floats
from logitlab.testing.rounding import gamma

__all__ = ["Pool", "alike", "wrong_rates"]

_PLACES = 8


def _between(judge: Judge) -> tuple[Floats, Floats, float]:
    """Return the probability of each token between bounds, and what sums of them may miss."""
    left, soft = judge.left, judge.left.softmax()
    wrong = soft.error_of_probability()
    u = left.arithmetic.unit
    surely = max(float(soft.weight[left.sure].sum()), 1.0)
    # An inverse CDF takes differences of sums, and a uniform number of 24 bits or more.
    apart = 2.0**-24 + (0.0 if soft.is_exact else 2 * gamma(soft.count, u))
    low = np.where(left.sure, soft.weight / soft.total * np.maximum(1 - wrong, 0), 0.0)
    high = np.where(left.perhaps, soft.weight / surely * (1 + wrong), 0.0)
    return low, np.minimum(high, 1.0), apart


def wrong_rates(judge: Judge, tokens: IntArray, error: float) -> str:
    """Return what is drawn too often or too seldom, in words, or "".

    Parameters
    ----------
    judge : Judge
        Of the row that all tokens were drawn from.
    tokens : ndarray of int, shape (N,)
    error : float
        The chance that a sampler that is right is refuted.
    """
    from scipy.stats import binom

    if told := judge.drawn(tokens):
        return told
    low, high, apart = _between(judge)
    count = np.bincount(tokens, minlength=judge.size)
    n = len(tokens)
    level = error / (2 * (judge.left.perhaps.sum() + 2 * _PLACES))
    over = np.flatnonzero(count)
    beyond = binom.sf(count[over] - 1, n, np.minimum(high[over] + apart, 1)) < level
    under = np.flatnonzero(n * (low - apart) > -np.log(level) / 2)
    short = binom.cdf(count[under], n, np.maximum(low[under] - apart, 0)) < level
    for ids in (over[beyond], under[short]):
        if ids.size:
            token = int(ids[count[ids].argmax()])
            return f"draws token {token} {_rate(int(count[token]), n, low[token], high[token])}"
    for words, inside in _sets(judge):
        least, most = float(low[inside].sum()), min(float(high[inside].sum()), 1.0)
        c = int(count[inside].sum())
        if (
            binom.sf(c - 1, n, min(most + apart, 1)) < level
            or binom.cdf(c, n, max(least - apart, 0)) < level
        ):
            return f"draws {words} {_rate(c, n, least, most)}"
    return ""


def _rate(count: int, n: int, low: float, high: float) -> str:
    middle = (low + high) / 2
    return f"in {count} of {n} draws, where the probability is {middle:.4g}"


def _sets(judge: Judge) -> list[tuple[str, BoolArray]]:
    left = judge.left
    ids = np.flatnonzero(left.perhaps)
    order = ids[np.argsort(-left.logits[ids], kind="stable")]
    sets = []
    for k in np.unique(np.geomspace(1, len(ids), _PLACES).astype(int))[:-1].tolist():
        inside = np.zeros(judge.size, np.bool_)
        inside[order[:k]] = True
        sets.append((f"one of the {k} most likely tokens", inside))
    for part in range(1, _PLACES):
        end = judge.size * part // _PLACES
        if 0 < end < judge.size:
            sets.append((f"one of the first {end} ids", np.arange(judge.size) < end))
    return sets


_EXPONENTS = (-0.5, -0.25, -0.125, 0.125, 0.25, 0.5)


class Pool:
    """Draws from all rows together, which may be hotter or colder than they should be."""

    def __init__(self) -> None:
        self._rows: list[tuple[Judge, int, Floats]] = []

    def add(self, judge: Judge, tokens: IntArray) -> None:
        """Take in the draws from one row, where it is known what is left of it."""
        low, high, apart = _between(judge)
        p, alive = (low + high) / 2, high > 0
        is_open = (judge.left.perhaps & ~judge.left.sure).any() or not low[alive].all()
        if is_open or apart > 1e-4 or not p[tokens].all():
            return
        # The truth may be so many times p: it goes off the evidence, once for every draw.
        wrong = float(np.log((high[alive] / low[alive]).max() + apart / p[tokens].min()))
        surprise = float(np.log(p[tokens]).sum())
        normal = [float((p[alive] ** (1 + s)).sum()) for s in _EXPONENTS]
        logs = np.array(_EXPONENTS) * surprise - len(tokens) * (np.log(normal) + wrong)
        self._rows.append((judge, len(tokens), logs))

    def wrong(self, error: float) -> tuple[str, Judge] | None:
        """Return what is wrong, in words, and the row that shows it best."""
        logs = np.sum([logs for _, _, logs in self._rows], axis=0)
        if not self._rows or np.logaddexp.reduce(logs) - np.log(len(logs)) < -np.log(error):
            return None
        best = int(logs.argmax())
        how = "hotter" if _EXPONENTS[best] < 0 else "colder"
        draws = sum(count for _, count, _ in self._rows)
        told = f"draws {how} than it should, as {draws} draws from {len(self._rows)} rows show"
        return told, max(self._rows, key=lambda row: row[2][best])[0]


def alike(judge: Judge, pairs: int, agreeing: int, error: float) -> str:
    """Return whether two rows of one call draw the same token too often, or too seldom.

    Independent draws agree with the probability ``sum_i p_i ** 2``.
    """
    from scipy.stats import binom

    low, high, apart = _between(judge)
    least, most = float((low**2).sum()) - 2 * apart, float((high**2).sum()) + 2 * apart
    if (
        binom.sf(agreeing - 1, pairs, min(most, 1)) < error / 2
        or binom.cdf(agreeing, pairs, max(least, 0)) < error / 2
    ):
        return (
            f"draws the same token in two rows of a call {agreeing} times of {pairs}, where "
            f"independent rows do with probability {(low * high).sum():.4g}"
        )
    return ""
