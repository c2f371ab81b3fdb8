r"""Interpolated modified Kneser-Ney smoothing: what to expect after tokens, seen before or not.

Kneser & Ney 1995; the three discounts are those of Chen & Goodman 1999, equations 25 to 28.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

import numpy as np
from logitlab.arrays import IntArray
from numpy.typing import NDArray

__all__ = ["KneserNey", "discounts"]

Indices: TypeAlias = NDArray[np.intp]

# What discounts are near to where a text is long enough to tell.
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)


class _Level(NamedTuple):
    """All sequences of one length that occur, sorted by their context and then by their token.

    Attributes
    ----------
    contexts : ndarray of int64
        Each context as one number, sorted: the place of the context that is one token shorter,
        times V, plus the token before it.
    starts : list of int
        What follows context i stands at ``starts[i]`` to ``starts[i + 1]``.
    tokens : ndarray of intp
    logprobs : ndarray of float64
    rests : list of float
        Of each context, the logarithm of the share that it leaves to the shorter context.
    """

    contexts: IntArray
    starts: list[int]
    tokens: Indices
    logprobs: NDArray[np.float64]
    rests: list[float]


class _Counts(NamedTuple):
    contexts: IntArray  # as above
    owner: Indices  # the place of each sequence's context
    tokens: Indices
    counts: IntArray
    parents: Indices  # the place, one level below, of the sequence without its first token


class KneserNey:
    r"""Log-probabilities of the next token after any history.

    .. math::
        p(w | h) = \frac{c(hw) - D(c(hw))}{\sum_v c(hv)} + \gamma(h) \, p(w | h')

    where h' is h without its first token, and :math:`\gamma(h)` is the sum of all discounts D over
    the same denominator. The shortest history, none, is interpolated with 1 / V. Of the longest
    sequences, and of those at the start of a text, c is the number of occurrences; of others it
    is the number of different tokens before them.

    Parameters
    ----------
    sequences : sequence of sequences of int
        Each text between two tokens that are nowhere else in it: the first is context only.
    size : int
        V, the number of tokens.
    order : int
        The length of the longest sequences that are counted.
    discount : float
        Which part of the discounts is taken. With less than all of them the model keeps closer to
        the texts: it reads better, and expects other texts less well.

    Examples
    --------
    >>> model = KneserNey([[2, 0, 1, 0, 1, 2]], size=3, order=2)
    >>> np.exp(model.logprobs([0])).round(3)  # 1 came after every 0
    array([0.208, 0.646, 0.146])
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], size: int, order: int, discount: float = 1.0
    ) -> None:
        self.size = size
        self.order = order
        levels = _count_sequences(sequences, size, order)
        self._levels: list[_Level] = []
        below = np.full(size, 1 / size)
        for place, level in enumerate(levels):
            # Only what begins a text has nothing before it; it keeps its occurrences.
            counts = level.counts
            if place + 1 < len(levels):
                before = np.bincount(levels[place + 1].parents, minlength=len(counts))
                counts = np.where(before > 0, before, counts)
            loss = discount * np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
            total = np.bincount(level.owner, weights=counts)
            rest = np.bincount(level.owner, weights=loss) / total
            probs = (counts - loss) / total[level.owner] + rest[level.owner] * below[level.parents]
            if place == 0:
                unseen = np.full(size, rest[0] / size)
                unseen[level.tokens] = probs
                self._base = np.log(unseen)
            else:
                starts = np.searchsorted(level.owner, np.arange(len(total) + 1)).tolist()
                arrays = level.contexts, starts, level.tokens, np.log(probs)
                self._levels.append(_Level(*arrays, np.log(rest).tolist()))
            below = probs

    def logprobs(
        self, history: Sequence[int], out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the logarithms of the probabilities of all tokens.

        Parameters
        ----------
        history : sequence of int
            The tokens so far, with the one that starts a text; the last ``order - 1`` count.
        out : ndarray of float64, shape (V,), optional
            Where to write them.
        """
        matches: list[tuple[_Level, int]] = []
        rests: list[float] = []
        context = 0
        for level, token in zip(self._levels, reversed(history), strict=False):
            key = context * self.size + token
            context = int(level.contexts.searchsorted(key))
            if context == len(level.contexts) or level.contexts[context] != key:
                break  # nor can any longer one have been seen
            matches.append((level, context))
            rests.append(level.rests[context])
        # What longer contexts leave to each, and at last to none.
        shares = list(accumulate(reversed(rests), initial=0.0))[::-1]
        result: NDArray[np.float64] = np.add(self._base, shares[0], out=out)
        for (level, context), share in zip(matches, shares[1:], strict=True):
            here = slice(level.starts[context], level.starts[context + 1])
            result[level.tokens[here]] = level.logprobs[here] + share
        return result


def _count_sequences(sequences: Sequence[Sequence[int]], size: int, order: int) -> list[_Counts]:
    """Count sequences of 1 to ``order`` tokens, whose last is not the first of a text."""
    # Keys need 64 bits, places those of a pointer.
    tokens = np.array([token for sequence in sequences for token in sequence], np.int64)
    ages = np.concatenate([np.arange(len(sequence)) for sequence in sequences])
    events = np.flatnonzero(ages)
    contexts = np.zeros(len(events), np.int64)
    owner = parent = np.zeros(len(events), np.intp)
    levels: list[_Counts] = []
    for length in range(order):
        if length:
            old = ages[events] >= length
            if not old.any():
                break
            keys = owner[old].astype(np.int64) * size + tokens[events[old] - length]
            contexts, owner = np.unique(keys, return_inverse=True)
            events, parent = events[old], parent[old]
        keys = owner.astype(np.int64) * size + tokens[events]
        grams, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
        # On the lowest level the level below is 1 / V, of which every token has one.
        parents = (grams % size).astype(np.intp)
        level = _Counts(contexts, (grams // size).astype(np.intp), parents.copy(), counts, parents)
        if length:
            parents[number] = parent
        levels.append(level)
        parent = number
    return levels


def discounts(counts: IntArray) -> tuple[float, float, float]:
    r"""Return what is taken from counts of 1, of 2, and of 3 and more.

    .. math::
        D_k = k - (k + 1) \frac{n_1}{n_1 + 2 n_2} \frac{n_{k+1}}{n_k}

    with the numbers :math:`n_k` of counts that are k. Where one of the four is 0, or a discount
    would not be above 0, all three are 0.5, 1 and 1.5.

    Parameters
    ----------
    counts : ndarray of int

    Examples
    --------
    >>> discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4]))
    (0.5, 1.25, 1.0)
    >>> discounts(np.array([1, 2, 3]))
    (0.5, 1.0, 1.5)
    """
    _, n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5).astype(np.intp), minlength=6)[:5].tolist()
    if not n1 * n2 * n3 * n4:
        return _USUAL_DISCOUNTS
    share = n1 / (n1 + 2 * n2)
    result = 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3
    return result if min(result) > 0 else _USUAL_DISCOUNTS
