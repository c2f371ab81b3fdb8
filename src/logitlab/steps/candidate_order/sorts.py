"""The order in which llama.cpp and torch leave equal logits: libstdc++'s sorts, step by step.

llama.cpp sorts candidates with ``std::partial_sort`` and ``std::sort``, and torch sorts rows on a
CPU with the latter. Both may leave equal values in any order. Which one is settled by their
published algorithms (heap select and introsort), followed here for as long as equal values are
involved: without them every sort agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

HEAP_LIMIT = 128  # up to here llama.cpp takes a heap, above it buckets
SMALL = 16  # parts of this size are left to the final insertion sort
BUCKETS = 128  # evenly between the logits -10 and 10
SCALE, SHIFT = np.float32(6.4), np.float32(64)
NUCLEUS_GUESS, NUCLEUS_SMALL = 256, 1024


def partial_sort(values: Array, k: int) -> Array:
    """Return the places of the k largest values, in the order that llama.cpp's top-k leaves.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        Logits in their current order, without NaN.
    k : int
        Between 1 and n.

    Returns
    -------
    ndarray of int64, shape (k,)

    Examples
    --------
    >>> partial_sort(np.zeros(4, np.float32), 4)
    array([1, 3, 0, 2])
    """
    return _heap_sort(values, k) if k <= HEAP_LIMIT else _bucket_sort(values, k)


def nucleus_sort(values: Array, enough: Callable[[Array], bool]) -> Array:
    """Return places of the largest values, in the order that llama.cpp's top-p walks along.

    A list of up to 1024 values is sorted as a whole. Of a longer one the 256 largest are sorted
    first, and all of them only if those are not enough.

    Parameters
    ----------
    values : ndarray of float32, shape (n,)
        Logits in their current order, not sorted so far, without NaN.
    enough : callable
        Whether the nucleus ends within the places that it is given, the last one included.

    Returns
    -------
    ndarray of int64, shape (256,) or (n,)

    Examples
    --------
    >>> nucleus_sort(np.zeros(4, np.float32), lambda places: True)
    array([1, 3, 0, 2])
    """
    if len(values) <= NUCLEUS_SMALL:
        return partial_sort(values, len(values))
    places = _bucket_sort(values, NUCLEUS_GUESS)
    return places if enough(places) else _bucket_sort(values, len(values))


def sort(values: Array, wanted: Array | None = None) -> Array:
    """Return the places in the order in which ``std::sort`` leaves the values, largest first.

    Introsort down to parts of 16, which the stable insertion sort at its end puts in order.
    ``torch.sort(values, descending=True)`` without ``stable`` gives the same on a CPU.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        Without NaN.
    wanted : ndarray of bool, shape (n,), optional
        Which values are to stand in that very order; others need be among their equals only.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> sort(np.array([1, 2, 2], np.float32))
    array([1, 2, 0])
    """
    order, tied = descending(values)
    if not tied.any():
        return order
    if values[order[0]] == values[order[-1]]:
        return _order_of_equals(len(values)).copy()
    return _introsort(values, tied if wanted is None else tied & wanted)


@lru_cache(maxsize=4)
def _order_of_equals(n: int) -> Array:
    """Do `sort` for n equal values: what typical-p sorts by in every row with a masked token."""
    return _introsort(np.zeros(n, np.float32), np.ones(n, bool))


def _introsort(values: Array, tied: Array) -> Array:
    """Do `sort` for values of which some have equals whose order matters."""
    n = len(values)
    order = np.arange(n)
    parts = [(0, n, _depth(n))]
    while parts:
        begin, end, depth = parts.pop()
        part = order[begin:end]
        if end - begin <= SMALL or not tied[part].any():
            continue
        if depth == 0:
            part[:] = part[_heap_sort(values[part], end - begin)]
            continue
        cut = begin + _split(values, part)
        parts += [(begin, cut, depth - 1), (cut, end, depth - 1)]
    return order[np.argsort(-values[order], kind="stable")]


def in_front(values: Array, count: int) -> Array:
    """Return which values ``std::sort``, largest first, leaves on the first ``count`` places.

    The mask of ``sort(values)[:count]``, for less: of the two parts that introsort makes of each,
    only the one that the last of these places is in need be split again, down to 16 values. That
    takes 2 ms at 49 152 equal values, where the whole order takes 100.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        Without NaN.
    count : int
        Between 0 and n.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> in_front(np.zeros(20, np.float32), 2).nonzero()
    (array([10, 19]),)
    """
    order = np.arange(len(values))
    begin, end, depth = 0, len(values), _depth(len(values))
    while end - begin > SMALL and depth:
        depth -= 1
        cut = begin + _split(values, order[begin:end])
        begin, end = (begin, cut) if count <= cut else (cut, end)
    part = order[begin:end]
    if len(part) > SMALL:
        part[:] = part[_heap_sort(values[part], len(part))]
    part[:] = part[np.argsort(-values[part], kind="stable")]
    mask = np.zeros(len(values), bool)
    mask[order[:count]] = True
    return mask


def torch_top(values: Array, count: int) -> Array:
    """Return the places of the largest values in the order in which ``torch.topk`` leaves them.

    On a CPU that is a heap where fewer than a 64th are asked for, else ``std::nth_element`` and a
    sort of what is in front of it.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n,)
        Without NaN.
    count : int
        Between 1 and n.

    Returns
    -------
    ndarray of int64, shape (count,)

    Examples
    --------
    >>> torch_top(np.zeros(5, np.float32), 5)
    array([2, 4, 3, 0, 1])
    """
    n = len(values)
    if 64 * count <= n:
        return _heap_sort(values, count)
    order = np.arange(n)
    begin, end, depth = 0, n, _depth(n)
    while end - begin > 3:
        if depth == 0:
            order[begin:count] = order[begin:end][
                _heap_sort(values[order[begin:end]], count - begin)
            ]
            break
        depth -= 1
        cut = begin + _split(values, order[begin:end])
        begin, end = (cut, end) if cut < count else (begin, cut)
    else:
        part = order[begin:end]
        part[:] = part[np.argsort(-values[part], kind="stable")]
    front = order[: count - 1]
    front[:] = front[sort(values[front])]
    return order[:count]


def _depth(n: int) -> int:
    """Return how often introsort splits before it takes a heap instead."""
    return 2 * (n.bit_length() - 1)


def _bucket_sort(values: Array, k: int) -> Array:
    """Sort bucket by bucket, from the highest one to the one that the k-th value is in."""
    with np.errstate(over="ignore"):
        scaled = SCALE * values + SHIFT
    scaled[scaled >= 2**31] = 0  # what no int can hold becomes the lowest one, as on x86
    rank = BUCKETS - 1 - np.clip(scaled, 0, BUCKETS - 1).astype(np.uint8)
    sizes = np.bincount(rank, minlength=BUCKETS)
    last = int(np.searchsorted(np.cumsum(sizes), k))
    grouped = np.argsort(rank, kind="stable")
    sorted_, begin = [], 0
    for size in sizes[: last + 1].tolist():
        part = grouped[begin : begin + size]
        whole = begin + size < k
        inside = sort(values[part]) if whole else _heap_sort(values[part], k - begin)
        sorted_.append(part[inside])
        begin += size
    return np.concatenate(sorted_)


def _heap_sort(values: Array, k: int) -> Array:
    """``std::partial_sort``: a heap of k, its smallest on top, that the others try to enter."""
    places = distinct(values, k)
    if places is not None:
        return places
    v = values.tolist()
    heap = list(range(k))
    for hole in range(k // 2 - 1, -1, -1):
        _sift(heap, hole, k, heap[hole], v)
    begin = k
    while begin < len(v):
        end = min(2 * begin, len(v))
        above = np.flatnonzero(values[begin:end] > v[heap[0]])  # the top only rises
        for place in (begin + above).tolist():
            if v[place] > v[heap[0]]:
                _sift(heap, 0, k, place, v)
        begin = end
    for size in range(k - 1, 0, -1):
        place, heap[size] = heap[size], heap[0]
        _sift(heap, 0, size, place, v)
    return np.array(heap)


def distinct(values: Array, k: int) -> Array | None:
    """Return the places of the k largest, best first, if no tie leaves a choice."""
    n = len(values)
    places = (
        np.arange(n) if k == n else np.flatnonzero(values >= np.partition(values, n - k)[n - k])
    )
    if len(places) > k:
        return None
    places = places[np.argsort(-values[places], kind="stable")]
    ordered = values[places]
    return None if (ordered[1:] == ordered[:-1]).any() else places


def descending(values: Array) -> tuple[Array, Array]:
    """Return the places of the values, largest first, and which of these have equals."""
    order = np.argsort(-values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    tied = np.zeros(len(values), bool)
    tied[order[1:][same]] = tied[order[:-1][same]] = True
    return order, tied


def _sift(heap: list[int], hole: int, size: int, place: int, v: list[float]) -> None:
    """``__adjust_heap``: move the hole down to a leaf, then the place up from there."""
    top, child = hole, hole
    while child < (size - 1) // 2:
        child = 2 * child + 2
        if v[heap[child]] > v[heap[child - 1]]:
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if size % 2 == 0 and child == size // 2 - 1:
        heap[hole] = heap[2 * child + 1]
        hole = 2 * child + 1
    value = v[place]
    while hole > top and v[heap[(hole - 1) // 2]] > value:
        heap[hole] = heap[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole] = place


def _split(values: Array, part: Array) -> int:
    """Swap the part in place around its median of three; return where the second half begins."""
    a, b, c = 1, len(part) // 2, len(part) - 1
    x, y, z = values[part[[a, b, c]]]
    falling = b if y > z else c if x > z else a
    rising = a if x > z else c if y > z else b
    median = falling if x > y else rising
    part[0], part[median] = part[median], part[0]
    v = values[part]
    left = 1 + np.flatnonzero(v[1:] <= v[0])
    right = 1 + np.flatnonzero(v[1:] >= v[0])[::-1]
    both = min(len(left), len(right))
    swaps = int(np.count_nonzero(left[:both] < right[:both]))
    i, j = left[:swaps], right[:swaps]
    part[i], part[j] = part[j], part[i]
    met = [*left[swaps : swaps + 1].tolist(), *right[swaps - 1 : swaps].tolist()]
    return int(min(met))
