"""An independent reference: the equations of every parameter in plain Python floats.

One row at a time, sorted lists, sums, no numpy. Nothing here is imported from logitlab.
A truncation answers with two sets, the tokens that must stay and those that may: they differ only
by tokens whose probability lies within a relative 1e-9 of the cut, where float64 cannot tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

Row = list[float]
Sets = tuple[set[int], set[int]]

SLACK = 1e-9


def softmax(row: Row) -> Row:
    top = max(row)
    weight = [math.exp(x - top) for x in row]
    total = math.fsum(weight)
    return [w / total for w in weight]


def by_likelihood(row: Row) -> list[int]:
    """Token ids, most likely first, the lower id first on ties."""
    return sorted((i for i, x in enumerate(row) if x > -math.inf), key=lambda i: (-row[i], i))


def temperature(row: Row, t: float) -> Row:
    if t == 0:
        best = by_likelihood(row)[0]
        return [x if i == best else -math.inf for i, x in enumerate(row)]
    return [x / t for x in row]


def top_k(row: Row, k: int) -> Sets:
    order = by_likelihood(row)
    kept = set(order if k == 0 else order[:k])
    return kept, kept


def top_p(row: Row, p: float) -> Sets:
    order = by_likelihood(row)
    if p >= 1:
        return set(order), set(order)
    probs = softmax(row)

    sums = list(accumulate(probs[i] for i in order))

    def nucleus(mass: float) -> set[int]:
        return set(order[: 1 + next((n for n, s in enumerate(sums) if s >= mass), len(order) - 1)])

    return nucleus(p * (1 - SLACK)), nucleus(p * (1 + SLACK))


def min_p(row: Row, m: float) -> Sets:
    probs = softmax(row)
    return _above(row, probs, m * max(probs))


def top_a(row: Row, a: float) -> Sets:
    probs = softmax(row)
    must, may = _above(row, probs, a * max(probs) ** 2)
    top = max(row)
    best = {i for i, x in enumerate(row) if x == top}
    return must | best, may | best


def typical_p(row: Row, p: float) -> Sets:
    alive = by_likelihood(row)
    if p >= 1:
        return set(alive), set(alive)
    probs, top = softmax(row), max(row)
    total = math.log(math.fsum(math.exp(row[i] - top) for i in alive)) + top
    surprise = {i: total - row[i] for i in alive}
    entropy = math.fsum(probs[i] * surprise[i] for i in alive)
    off = {i: abs(surprise[i] - entropy) for i in alive}
    order = sorted(alive, key=lambda i: (off[i], -row[i], i))
    sums = list(accumulate(probs[i] for i in order))

    def typical(mass: float) -> int:
        return 1 + next((n for n, s in enumerate(sums) if s >= mass), len(order) - 1)

    fewest, most = typical(p * (1 - SLACK)), typical(p * (1 + SLACK))
    # Two deviations that are this close may come in either order.
    near = [off[order[n]] for n in (fewest - 1, most - 1)]
    must = {i for i in order[:fewest] if off[i] < near[0] - SLACK * (1 + entropy)}
    last = off[order[most - 1]] + SLACK * (1 + entropy)
    return must, {i for i in alive if off[i] <= last}


def exclude_top_choices(row: Row, threshold: float) -> Sets:
    alive = set(by_likelihood(row))
    probs = softmax(row)

    def left(t: float) -> set[int]:
        top = [i for i in by_likelihood(row) if probs[i] >= t]
        if len(top) < 2:
            return alive
        least = min(i for i in top if row[i] == row[top[-1]])
        return alive - set(top) | {least}

    one, other = left(threshold * (1 - SLACK)), left(threshold * (1 + SLACK))
    return one & other, one | other


def max_surprise(row: Row, bits: float) -> Sets:
    must, may = _above(row, softmax(row), 2.0**-bits)
    best = {by_likelihood(row)[0]}
    return must | best, may | best


def _above(row: Row, probs: Row, cut: float) -> Sets:
    alive = [i for i, x in enumerate(row) if x > -math.inf]
    must = {i for i in alive if probs[i] >= cut * (1 + SLACK)}
    may = {i for i in alive if probs[i] >= cut * (1 - SLACK)}
    return must, may


def repetition_penalty(row: Row, r: float, tokens: Sequence[int]) -> Row:
    seen = set(tokens)
    return [x if i not in seen else x / r if x > 0 else x * r for i, x in enumerate(row)]


def frequency_penalty(row: Row, alpha: float, tokens: Sequence[int]) -> Row:
    count = Counter(tokens)
    return [x - alpha * count[i] for i, x in enumerate(row)]


def presence_penalty(row: Row, alpha: float, tokens: Sequence[int]) -> Row:
    seen = set(tokens)
    return [x - alpha * (i in seen) for i, x in enumerate(row)]


def logit_bias(row: Row, bias: dict[int, float]) -> Row:
    return [x + bias.get(i, 0.0) for i, x in enumerate(row)]


def allowed_token_ids(row: Row, ids: Sequence[int]) -> Row:
    return [x if i in ids else -math.inf for i, x in enumerate(row)]


def suppress_tokens(row: Row, ids: Sequence[int]) -> Row:
    return [-math.inf if i in ids else x for i, x in enumerate(row)]


def min_tokens(row: Row, n: int, end_ids: Sequence[int], length: int) -> Row:
    return [-math.inf if length < n and i in end_ids else x for i, x in enumerate(row)]


def sequence_bias(row: Row, bias: dict[tuple[int, ...], float], tokens: Sequence[int]) -> Row:
    result = list(row)
    for (*before, last), amount in bias.items():
        if not before or list(tokens)[-len(before) :] == before:
            result[last] += amount
    return result


def bad_words(row: Row, words: Sequence[Sequence[int]], tokens: Sequence[int]) -> Row:
    return sequence_bias(row, dict.fromkeys(map(tuple, words), -math.inf), tokens)
