"""Where a text repeats its own end, and how far back: what DRY looks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from logitlab.arrays import BoolArray, IntArray
from numpy.typing import NDArray

__all__ = ["Breakers", "continuations"]

_SHORT = 16  # tokens that are compared one after another
_FEW = 200  # places that are quicker picked out than passed over
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Breakers:
    """Sequences of tokens that no repetition reaches across.

    Parameters
    ----------
    sequences : sequence of tuples of int
    """

    def __init__(self, sequences: Sequence[tuple[int, ...]]) -> None:
        self._tails: dict[int, list[list[int]]] = {}
        for head, *tail in sorted(sequences, key=len, reverse=True):
            self._tails.setdefault(head, []).append(tail)
        # The last place stands for all greater ids.
        self._is_head, self._is_single = np.zeros((2, max(self._tails, default=-1) + 2), bool)
        self._is_head[list(self._tails)] = True
        self._is_single[[head for head, tails in self._tails.items() if [] in tails]] = True

    @cached_property
    def _pairs(self) -> IntArray:
        """The first two tokens of the longer ones, as one number each, sorted."""
        pairs = {(h << 32) + tail[0] for h, tails in self._tails.items() for tail in tails if tail}
        return np.array(sorted(pairs), np.int64)

    def are_single(self, tokens: IntArray) -> BoolArray:
        """Return which tokens are breakers by themselves."""
        return np.asarray(self._is_single[np.minimum(tokens, len(self._is_single) - 1)])

    def after(self, text: IntArray) -> int | None:
        """Return how many tokens stand after the last breaker, or None without one.

        The last is the one that begins last, and of several that begin there the longest.
        """
        if not self._tails:
            return None
        heads = np.flatnonzero(self._is_head[np.minimum(text, len(self._is_head) - 1)])
        if len(self._pairs) and len(heads):
            # Most heads of longer ones are followed by another token.
            follower = text[np.minimum(heads + 1, len(text) - 1)]
            pairs = (text[heads] << 32) + follower
            near = np.minimum(self._pairs.searchsorted(pairs), len(self._pairs) - 1)
            heads = heads[(self._pairs[near] == pairs) | self.are_single(text[heads])]
        for place in reversed(heads.tolist()):
            behind = len(text) - 1 - place
            for tail in self._tails[int(text[place])]:
                if len(tail) <= behind and text[place + 1 : place + 1 + len(tail)].tolist() == tail:
                    return int(behind) - len(tail)
        return None


def continuations(
    text: IntArray, reach: int, newest: int | None = None, enough: int | None = None
) -> tuple[IntArray, IntArray]:
    """Return the earlier places of the last token, and how many tokens agree up to there.

    Parameters
    ----------
    text : ndarray of int64, shape (n,)
    reach : int
        No more tokens are compared.
    newest : int, optional
        Only so many places are looked at, those nearest to the end.
    enough : int, optional
        And none before one at which so many tokens agree.

    Returns
    -------
    ndarray of int64, shape (m,)
    ndarray of int64, shape (m,)
        Of all places after which a token comes, those with the greatest number have their own;
        others may have less, down to 16.
    """
    agrees = text[:-1] == text[-1]
    places = np.flatnonzero(agrees)
    if newest is not None:
        places = places[-newest:]
        agrees[: places[0] if len(places) else None] = False
    short = min(reach, max(_SHORT, enough or 0))
    count = np.zeros(len(agrees), np.intp)
    count += agrees if reach else 0
    here, k = places, 1
    while len(here) > _FEW and k < short:  # all places of the text at once
        agrees[:k] = False
        agrees[k:] &= text[: -1 - k] == text[-1 - k]
        count += agrees
        k += 1
        if not k % 8 or k == short:
            here = np.flatnonzero(agrees)
    here = np.flatnonzero(agrees)
    while len(here) and k < short:  # or those that are left
        here = here[here >= k]
        here = here[text[here - k] == text[-1 - k]]
        count[here] += 1
        k += 1
    if enough is not None and (count >= enough).any():
        first = np.flatnonzero(count >= enough)[-1]
        places, here = places[places >= first], here[here >= first]
    if reach > short and len(here):
        _lengthen(text, reach, count, here)
    return places, count[places]


def _lengthen(text: IntArray, reach: int, count: IntArray, here: IntArray) -> None:
    """Find the greatest number for each continuation, where many tokens agree.

    From the newest place back, each next one has to agree on one token more than the best so far.
    Hashes of equal length tell almost all that do not; what they let pass is compared.
    """
    n = len(text)
    powers = sums = None
    following = text[here + 1]
    for token in set(following.tolist()):
        group = here[following == token][::-1]
        best = 0
        while len(group) and best < reach:
            place = int(group[0])
            count[place] = _agreement(text, place, reach)
            best = max(best, int(count[place]))
            group = group[1:]
            group = group[group >= best]  # as far back as the text goes
            if not len(group):
                break
            if powers is None or sums is None:
                powers = _powers(1 << n.bit_length())[:n]
                sums = np.zeros(n + 1, np.uint64)
                np.cumsum((text + 1).astype(np.uint64) * powers, out=sums[1:])
            hashes = (sums[best + 1 : n] - sums[: n - best - 1]) * powers[n - best - 1 : 0 : -1]
            group = group[(hashes == sums[n:] - sums[n - best - 1])[group - best]]


def _agreement(text: IntArray, place: int, reach: int) -> int:
    """Return how many tokens up to a place are those at the end."""
    most = min(place + 1, reach)
    differ = text[place + 1 - most : place + 1][::-1] != text[len(text) - most :][::-1]
    first = int(differ.argmax())
    return first if differ[first] else most


@lru_cache
def _powers(count: int) -> NDArray[np.uint64]:
    """Return powers of an odd number, modulo 2**64."""
    powers: NDArray[np.uint64] = np.full(count, _BASE, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)
