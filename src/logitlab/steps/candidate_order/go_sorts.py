"""The order in which Go's sorts leave equal logits, which Ollama's own sampler walks along.

Go's ``container/heap`` and ``slices.SortFunc`` may leave equal values in any order. Which one is
settled by their published algorithms (a binary heap, and pattern-defeating quicksort), followed
here for as long as equal values are involved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.steps.candidate_order.sorts import descending, distinct

Array = np.ndarray[Any, Any]

SMALL = 12  # parts up to this size are sorted by insertion
NINTHER = 50  # parts from this size on have a median of medians for their pivot
PAIRS = 5  # so many pairs out of order are shifted before a part counts as unsorted


def heap_sort(values: Array, k: int) -> Array:
    """Return the places of the k largest values, as a min-heap of k gives them up, largest first.

    The first k values are made a heap; each later one that is larger than the smallest takes its
    place.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        Without NaN.
    k : int
        Between 1 and n.

    Returns
    -------
    ndarray of int64, shape (k,)

    Examples
    --------
    >>> heap_sort(np.zeros(4, np.float32), 3)
    array([1, 2, 0])
    """
    places = distinct(values, k)
    if places is not None:
        return places
    v = values.tolist()
    heap = list(range(k))
    for top in range(k // 2 - 1, -1, -1):
        _down(heap, v, top)
    begin = k
    while begin < len(v):
        end = min(2 * begin, len(v))
        above = np.flatnonzero(values[begin:end] > v[heap[0]])  # the smallest only rises
        for place in (begin + above).tolist():
            if v[place] > v[heap[0]]:
                _pop(heap, v)
                heap.append(place)
                _up(heap, v)
        begin = end
    return np.array([_pop(heap, v) for _ in range(k)][::-1])


def _pop(heap: list[int], v: list[float]) -> int:
    last = heap.pop()
    if not heap:
        return last
    smallest, heap[0] = heap[0], last
    _down(heap, v, 0)
    return smallest


def _down(heap: list[int], v: list[float], at: int) -> None:
    while 2 * at + 1 < len(heap):
        child = 2 * at + 1
        if child + 1 < len(heap) and v[heap[child + 1]] < v[heap[child]]:
            child += 1
        if not v[heap[child]] < v[heap[at]]:
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


def _up(heap: list[int], v: list[float]) -> None:
    at = len(heap) - 1
    while at > 0 and v[heap[at]] < v[heap[(at - 1) // 2]]:
        above = (at - 1) // 2
        heap[at], heap[above] = heap[above], heap[at]
        at = above


def pattern_sort(values: Array) -> Array:
    """Return the places in the order in which ``slices.SortFunc`` leaves the values, largest first.

    Pattern-defeating quicksort: parts of at most 12 are sorted by insertion, which is stable.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        Without NaN.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> pattern_sort(np.array([1, 2, 2], np.float32))
    array([1, 2, 0])
    """
    n = len(values)
    order, tied = descending(values)
    if not tied.any():
        return order
    order = np.arange(n)
    _Quicksort(-values, order, tied).sort(0, n, n.bit_length())
    return order[np.argsort(-values[order], kind="stable")]


class _Quicksort:
    """One sort, smallest key first; places of a part are in ``order`` from ``a`` to before ``b``.

    Parameters
    ----------
    key : ndarray of float32, shape (n,)
    order : ndarray of int64, shape (n,)
        Sorted in place.
    tied : ndarray of bool, shape (n,)
        Of which keys there are others. Parts without such are left alone.
    """

    def __init__(self, key: Array, order: Array, tied: Array) -> None:
        self.key, self.order, self.tied = key, order, tied

    def sort(self, a: int, b: int, limit: int) -> None:
        balanced = parted = True
        while b - a > SMALL and self.tied[self.order[a:b]].any():
            if limit == 0:
                self._heap_sort(a, b)
                return
            if not balanced:
                self._scatter(a, b)
                limit -= 1
            pivot, swaps = self._pivot(a, b)
            if swaps == 12:  # as many as there can be: it falls
                self.order[a:b] = self.order[a:b][::-1].copy()
                pivot, swaps = (b - 1) - (pivot - a), 0
            if balanced and parted and swaps == 0 and self._shifted(a, b):
                return
            self._swap(a, pivot)
            if a > 0 and not self._less(a - 1, a):
                a = self._split(a, b, or_equal=True)[0] + 1
                continue
            middle, parted = self._split(a, b)
            self._swap(a, middle)
            left, right = middle - a, b - middle
            balanced = min(left, right) >= (b - a) // 8
            if left < right:
                self.sort(a, middle, limit)
                a = middle + 1
            else:
                self.sort(middle + 1, b, limit)
                b = middle
        if b - a <= SMALL:
            part = self.order[a:b]
            part[:] = part[np.argsort(self.key[part], kind="stable")]

    def _less(self, i: int, j: int) -> bool:
        return bool(self.key[self.order[i]] < self.key[self.order[j]])

    def _swap(self, i: int, j: int) -> None:
        self.order[i], self.order[j] = self.order[j], self.order[i]

    def _split(self, a: int, b: int, or_equal: bool = False) -> tuple[int, bool]:
        """Swap those below the pivot, which stands first, to the front; return where they end.

        From both ends, pairs that stand on the wrong side. The flag says that there were none.
        """
        part = self.order[a + 1 : b]
        keys, pivot = self.key[part], self.key[self.order[a]]
        below = keys <= pivot if or_equal else keys < pivot
        count = int(np.count_nonzero(below))
        left = np.flatnonzero(~below[:count])
        right = count + np.flatnonzero(below[count:])[::-1]
        part[left], part[right] = part[right], part[left]
        return a + count, not len(left)

    def _pivot(self, a: int, b: int) -> tuple[int, int]:
        """Return the place of a median, and how many swaps it took to find it."""
        swaps, quarter = 0, (b - a) // 4
        places = [a + quarter, a + 2 * quarter, a + 3 * quarter]
        if b - a >= NINTHER:
            for n, place in enumerate(places):
                places[n], more = self._median(place - 1, place, place + 1)
                swaps += more
        median, more = self._median(*places)
        return median, swaps + more

    def _median(self, a: int, b: int, c: int) -> tuple[int, int]:
        swaps = 0
        if self._less(b, a):
            a, b, swaps = b, a, swaps + 1
        if self._less(c, b):
            b, c, swaps = c, b, swaps + 1
        if self._less(b, a):
            a, b, swaps = b, a, swaps + 1
        return b, swaps

    def _shifted(self, a: int, b: int) -> bool:
        """Shift a few pairs that are out of order to their places; return whether it is sorted."""
        i = a + 1
        for _ in range(PAIRS):
            keys = self.key[self.order[i - 1 : b]]
            falls = np.flatnonzero(keys[1:] < keys[:-1])
            if not len(falls):
                return True
            if b - a < NINTHER:
                return False
            i += int(falls[0])
            self._swap(i, i - 1)
            if i - a >= 2:
                j = i - 1
                while j >= 1 and self._less(j, j - 1):
                    self._swap(j, j - 1)
                    j -= 1
            if b - i >= 2:
                j = i + 1
                while j < b and self._less(j, j - 1):
                    self._swap(j, j - 1)
                    j += 1
        return False

    def _scatter(self, a: int, b: int) -> None:
        """Swap three in the middle with some that a generator chooses, seeded by the length."""
        length = b - a
        mask = (1 << length.bit_length()) - 1
        word = length
        for place in range(a + length // 4 * 2 - 1, a + length // 4 * 2 + 2):
            word ^= word << 13 & 0xFFFFFFFFFFFFFFFF
            word ^= word >> 7
            word ^= word << 17 & 0xFFFFFFFFFFFFFFFF
            other = word & mask
            self._swap(place, a + (other - length if other >= length else other))

    def _heap_sort(self, a: int, b: int) -> None:
        for root in range((b - a - 1) // 2, -1, -1):
            self._sift(a, root, b - a)
        for end in range(b - a - 1, -1, -1):
            self._swap(a, a + end)
            self._sift(a, 0, end)

    def _sift(self, a: int, root: int, end: int) -> None:
        while 2 * root + 1 < end:
            child = 2 * root + 1
            if child + 1 < end and self._less(a + child, a + child + 1):
                child += 1
            if not self._less(a + root, a + child):
                return
            self._swap(a + root, a + child)
            root = child
