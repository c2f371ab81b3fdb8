"""Seeded uniforms and the choice of a token: randomness without state.

Every random number is a pure function of (seed, sequence, position), and for Gumbel noise of the
token id too. Nothing is consumed, so a draw cannot depend on what was drawn before it, on its
neighbours in a batch, or on the thread or process that makes it.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from logitlab import kernels
from logitlab.arrays import FloatArray, IntArray, in_order
from logitlab.checks import Range, check_choice, check_integer
from logitlab.numerics import blocks, scratch, shifted, weights
from numpy.typing import ArrayLike, NDArray

__all__ = ["COUPLINGS", "SeedLike", "choose", "gumbel", "resolve_seed", "uniform", "uniforms"]

SeedLike: TypeAlias = "int | np.random.Generator | None"

COUPLINGS = ("inverse", "gumbel")

_WORD = 0xFFFFFFFF
_WIDE = 1 << 14  # rows beyond this are searched in two steps
_STRETCH = 256
_WEIGHTLESS = -60.0  # the gap from which on a weight cannot matter among float32 sums
_FEW = 8  # so many numbers are drawn faster one by one
# A draw's own uniform takes the place of the one token id that no vocabulary can reach.
NO_TOKEN = _WORD

_held = threading.local()

_SEED = Range(integer=True)
_SEQUENCE = Range(0, (1 << 63) - 1, integer=True)
_POSITION = Range(0, (1 << 32) - 1, integer=True)
_TOKEN = Range(0, NO_TOKEN - 1, integer=True)


def resolve_seed(seed: SeedLike) -> int:
    """Return the seed that will really be used.

    Parameters
    ----------
    seed : int, numpy.random.Generator or None
        Any Python integer stands for itself, negative and huge ones too. A generator gives its
        next 53-bit integer, None a fresh one from the operating system (53 bits survive JSON).

    Examples
    --------
    >>> resolve_seed(7)
    7
    """
    if seed is None:
        return int.from_bytes(os.urandom(8), "little") >> 11
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(1 << 53))
    return check_integer("seed", seed, _SEED)


@lru_cache(maxsize=1024)
def philox_key(seed: int, coin: int = -1) -> tuple[int, int]:
    """Mix a seed of any size and sign, and the number of a coin, into the words of a Philox key."""
    spawn_key = (int(seed < 0),) if coin < 0 else (int(seed < 0), 1 + coin)
    sequence = np.random.SeedSequence(abs(seed), spawn_key=spawn_key)
    first, second = sequence.generate_state(2).tolist()
    return first, second


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Philox4x32-10: four random words for each counter of four words.

    Works alike on Python integers (a single draw costs a few microseconds) and on uint64 arrays
    that broadcast.

    Parameters
    ----------
    counter : tuple of four int or uint64 ndarray
        Words below 2**32.
    key : tuple of two int or uint64 ndarray
        Words below 2**32.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    a, b, c, d = counter
    key_a, key_c = key
    for _ in range(10):
        product_a = a * 0xD2511F53
        product_c = c * 0xCD9E8D57
        a, b, c, d = (
            (product_c >> 32) ^ b ^ key_a,
            product_c & _WORD,
            (product_a >> 32) ^ d ^ key_c,
            product_a & _WORD,
        )
        key_a = (key_a + 0x9E3779B9) & _WORD
        key_c = (key_c + 0xBB67AE85) & _WORD
    return a, b, c, d


def mt19937(seed: int, count: int) -> NDArray[np.uint32]:
    """Return the first words of an mt19937 that is seeded by one word of 32 bits."""
    if not hasattr(_held, "twister"):  # to make one takes a hundred times as long as to seed it
        _held.twister = np.random.RandomState(0)
    _held.twister.seed(seed & _WORD)
    return np.frombuffer(_held.twister.bytes(4 * count), "<u4")


def _bits(key: tuple[Any, Any], token: Any, sequence: Any, position: Any) -> Any:
    """53 random bits, as integers below 2**53."""
    counter = (token, position, sequence & _WORD, sequence >> 32)
    high, low, _, _ = philox(counter, key)
    return ((high << 32) | low) >> 11


def _index(name: str, value: ArrayLike, rule: Range) -> Any:
    """Return a counter: a Python int, or a uint64 array."""
    if isinstance(value, int):  # the common case, and the cheap one
        return check_integer(name, value, rule)
    array = rule.check(name, value)
    return array.astype(np.uint64) if array.ndim else int(array)


def uniform(
    seed: int, sequence: ArrayLike = 0, position: ArrayLike = 0, *, coin: int | None = None
) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), a pure function of (seed, sequence, position, coin).

    Parameters
    ----------
    seed : int
        Any integer.
    sequence : array_like of int
        Which of the independent sequences of this seed, 0 to 2**63 - 1.
    position : array_like of int
        Which token of the sequence, 0 to 2**32 - 1. Broadcasts with ``sequence``.
    coin : int, optional
        Which of a chain's random steps it is for, the first being 0: it acts where the number is
        below its probability. None is the number that the token itself is drawn with.

    Returns
    -------
    ndarray, float64
        Multiples of 2**-53.

    Raises
    ------
    ParameterError
        If the seed is no integer, or a place is out of its range.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror and D. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.

    Examples
    --------
    Position 500 needs none of the 500 before it:

    >>> bool(uniform(7, position=500) == uniform(7, position=range(501))[500])
    True
    """
    place = _index("sequence", sequence, _SEQUENCE), _index("position", position, _POSITION)
    which = -1 if coin is None else check_integer("coin", coin, _SEQUENCE)
    return uniforms([check_integer("seed", seed, _SEED)], *place, which)


def uniforms(
    seeds: Sequence[int], sequence: Any, position: Any, coin: int = -1
) -> NDArray[np.float64]:
    """Do `uniform` for checked places: integers, or arrays of any integer dtype.

    There is one seed, or one for each row of two-dimensional places.
    """
    if np.ndim(sequence) == 0 == np.ndim(position):
        bits = _bits(philox_key(seeds[0], coin), NO_TOKEN, int(sequence), int(position))
        return np.asarray(bits * 2.0**-53)
    sequence, position = np.broadcast_arrays(sequence, position)
    keys = list(map(philox_key, seeds, [coin] * len(seeds)))
    if run := kernels.rows:
        drawn = np.empty(sequence.shape)
        places = [in_order(place, np.uint64) for place in (sequence, position)]
        run.uniforms(np.array(keys, np.uint64), *places, NO_TOKEN, drawn)
        return drawn
    if sequence.size > _FEW:
        words = sequence.astype(np.uint64), position.astype(np.uint64)
        columns = np.array(keys, np.uint64).T[:, :, None] if len(keys) > 1 else keys[0]
        return np.asarray(_bits(tuple(columns), NO_TOKEN, *words) * 2.0**-53)
    each = sequence.size // len(keys)
    few = np.empty(sequence.size)
    pairs = zip(sequence.ravel().tolist(), position.ravel().tolist(), strict=True)
    for i, place in enumerate(pairs):
        few[i] = _bits(keys[i // each], NO_TOKEN, *place) * 2.0**-53
    return few.reshape(sequence.shape)


def gumbel(
    seed: int, token: ArrayLike, sequence: ArrayLike = 0, position: ArrayLike = 0
) -> NDArray[np.float64]:
    """Return standard Gumbel noise, a pure function of (seed, sequence, position, token id).

    Parameters
    ----------
    seed : int
        Any integer.
    token, sequence, position : array_like of int
        0 to 2**32 - 2, 2**63 - 1 and 2**32 - 1. Broadcast against each other.

    Returns
    -------
    ndarray, float64
        ``-ln(-ln u)`` with ``u`` strictly between 0 and 1.

    Raises
    ------
    ParameterError
        If the seed is no integer, or a place is out of its range.

    References
    ----------
    C. Maddison, D. Tarlow and T. Minka, "A* Sampling", 2014.

    Examples
    --------
    >>> gumbel(7, [3, 4]).shape
    (2,)
    """
    place = _index("sequence", sequence, _SEQUENCE), _index("position", position, _POSITION)
    ids = _index("token", token, _TOKEN)
    bits = _bits(philox_key(check_integer("seed", seed, _SEED)), ids, *place)
    # 52 bits and a half: u is exact in float64 and can be neither 0 nor 1.
    u = (np.asarray(bits >> 1) + 0.5) * 2.0**-52
    noise: NDArray[np.float64] = -np.log(-np.log(u))
    return noise


def choose(
    logits: FloatArray,
    seed: int | Sequence[int],
    sequence: NDArray[Any],
    position: NDArray[Any],
    coupling: str = "inverse",
    tokens: IntArray | None = None,
) -> IntArray:
    """Draw tokens from rows of logits.

    Parameters
    ----------
    logits : ndarray, shape (n, V)
        Unnormalised; ``-inf`` is a removed token.
    seed : int or sequence of n int
        One for all rows, or one for each.
    sequence, position : ndarray of int, shape (n, m)
        The place of each of the ``m`` draws of each row.
    coupling : {"inverse", "gumbel"}
        "inverse" takes the first token, by increasing id, at which the cumulative probability
        exceeds the uniform of the place. "gumbel" takes the survivor with the largest logit plus
        Gumbel noise of its own (the lowest id on ties), so that the same luck gives the same token
        under other parameters unless they change something about it.
    tokens : ndarray of int64, shape (n, V), optional
        Token ids, increasing up to the last survivor of each row, where the logits are those of
        candidates only. It changes nothing about the draw.

    Returns
    -------
    ndarray of int64, shape (n, m)
    """
    check_choice("coupling", coupling, COUPLINGS)
    seeds = [seed] if isinstance(seed, int) else seed
    if coupling == "inverse":
        places = np.empty(sequence.shape, np.int64)
        luck = uniforms(seeds, sequence, position)
        for block in blocks(logits.shape):
            places[block] = _first_beyond(logits[block], luck[block])
        return places if tokens is None else tokens[np.arange(len(tokens))[:, None], places]
    drawn = np.empty(sequence.shape, np.int64)
    for row in _race(logits, seeds, (sequence, position), tokens, drawn).tolist():
        logit = logits[row]
        survivors = np.flatnonzero(logit > -np.inf)
        ids = survivors if tokens is None else tokens[row, survivors]
        gap = shifted(logit[survivors])
        step = max(1, (1 << 18) // len(ids))
        for start in range(0, sequence.shape[1], step):
            here = row, slice(start, start + step), None
            own = seeds[row if len(seeds) > 1 else 0]
            noise = gumbel(own, ids, sequence[here], position[here])
            drawn[here[:2]] = ids[np.argmax(gap + noise, axis=-1)]
    return drawn


def _race(
    logits: FloatArray,
    seeds: Sequence[int],
    places: tuple[NDArray[Any], NDArray[Any]],
    tokens: IntArray | None,
    drawn: IntArray,
) -> IntArray:
    """Fill in what the kernels draw with Gumbel noise, and return the rows left to numpy."""
    run = kernels.rows
    if run is None or logits.dtype.char not in "fd" or 0 in (logits.size, drawn.size):
        return np.arange(len(logits))
    sure = np.empty(drawn.shape, np.uint8)
    run.gumbel(
        in_order(logits),
        None if tokens is None else in_order(tokens, np.int64),
        np.array(list(map(philox_key, seeds)), np.uint64),
        *(in_order(place, np.uint64) for place in places),
        drawn,
        sure,
    )
    return np.flatnonzero(~sure.all(axis=1))


def _first_beyond(rows: FloatArray, luck: NDArray[np.float64]) -> IntArray:
    """Return the first places at which the cumulative weight exceeds ``luck`` of the whole.

    The sum runs through the row from the left, so that removed tokens, wherever they stand, change
    neither it nor its rounding, and the search ends at a survivor.
    """
    if rows.shape[-1] > _WIDE:
        return np.array([_search(row, u) for row, u in zip(rows, luck, strict=True)])
    weight = weights(rows, out=scratch(rows.shape, np.float64))
    mass = np.cumsum(weight, axis=-1, out=weight)
    target = luck * mass[:, -1:]
    if target.shape[1] == 1:
        return np.asarray((mass <= target).sum(axis=-1, keepdims=True))
    pairs = zip(mass, target, strict=True)
    return np.array([np.searchsorted(row, goal, side="right") for row, goal in pairs])


def _search(row: FloatArray, luck: NDArray[np.float64]) -> IntArray:
    """Do `_first_beyond` for one wide row, with running sums only where they are needed.

    Sums in float32, or in another order, decide where their error cannot matter.
    """
    size = len(row)
    if row.dtype == np.float32:
        rough = scratch(row.shape, np.float32)
        with np.errstate(over="ignore"):
            np.subtract(row, row.max(), out=rough)
        np.maximum(rough, _WEIGHTLESS, out=rough)
        # In units of 2**-24: of the gap 1, and it weighs at most ln V on average; of the
        # exponential 8; of the sum of a stretch 40.
        error = (64 + math.log(size)) * 2.0**-24 + size * math.exp(_WEIGHTLESS)
        places = _where_beyond(np.exp(rough, out=rough), luck, error)
        if places is not None:
            return places
    weight = weights(row[None], out=scratch((1, size), np.float64))[0]
    places = _where_beyond(weight, luck, size * 2.0**-50)
    if places is not None:
        return places
    mass = np.cumsum(weight)
    return np.asarray(np.searchsorted(mass, luck * mass[-1], side="right"))


def _where_beyond(weight: FloatArray, luck: NDArray[np.float64], error: float) -> IntArray | None:
    """Return where the running sum exceeds ``luck``, or None if any is too close to tell."""
    cut = len(weight) // _STRETCH * _STRETCH
    sums = weight[:cut].reshape(-1, _STRETCH).sum(axis=1)
    before = np.append(0.0, np.cumsum(np.append(sums, weight[cut:].sum()), dtype=np.float64))
    target = luck * before[-1]
    # Both sides of the comparison, the sum so far and luck times the whole, err by no more than
    # `error` of the whole, and most of that alike.
    doubt = error * before[-1]
    places = np.empty(len(luck), np.int64)
    starts = np.searchsorted(before, target, side="right") - 1
    for i, (goal, start) in enumerate(zip(target.tolist(), starts.tolist(), strict=True)):
        here = weight[start * _STRETCH : (start + 1) * _STRETCH]
        mass = before[start] + np.cumsum(here, dtype=np.float64)
        place = int(np.searchsorted(mass, goal, side="right"))
        if place == len(mass) or mass[place] - goal < doubt:
            return None
        if goal - (mass[place - 1] if place else before[start]) < doubt:
            return None
        places[i] = start * _STRETCH + place
    return places
