"""An independent reference: the equations of every parameter in plain Python floats.

One row at a time, sorted lists, sums, no numpy. Nothing here is imported from logitlab.
A truncation answers with two sets, the tokens that must stay and those that may: they differ only
by tokens whose probability lies within a relative 1e-9 of the cut, where float64 cannot tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import mul

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


def zipf_top_k(row: Row, bits: float) -> Sets:
    order = by_likelihood(row)
    top, size = [row[i] for i in order[:100]], len(row)
    if len(top) == 1:
        return set(order), set(order)
    gaps = [a - b for a, b in pairwise(top)]
    t = [math.log((i + 2) / (i + 1)) for i in range(len(gaps))]
    s = math.fsum(map(mul, t, gaps)) / math.fsum(map(mul, t, t))
    e, ln = s - 1, math.log(size)
    base = bits * math.log(2) + (math.log(-e / math.expm1(-e * ln)) if e else -math.log(ln))
    # What float64 cannot tell of s and of the base weighs 1 / s times as much in ln k.
    doubt = SLACK + 1e-13 * (1 + abs(base)) / s if s else math.inf
    power = base / s if s else 0.0

    def count(ln_k: float) -> int:
        return size if ln_k > 30 else max(int(math.exp(ln_k)), 1)

    return set(order[: count(power - doubt)]), set(order[: count(power + doubt)])


def guidance(row: Row, other: Row, scale: float) -> Row:
    c, u = (
        [x - max(each) - math.log(math.fsum(math.exp(y - max(each)) for y in each)) for x in each]
        for each in (row, other)
    )
    return [scale * (a - b) + b for a, b in zip(c, u, strict=True)]


def near_probability(row: Row, target: float) -> Row:
    far = [abs(p - target) / 0.3 for p in softmax(row)]
    pairs = zip(row, far, strict=True)
    return [-math.inf if x == -math.inf else 5 - 10 * d * d / (1 + d) for x, d in pairs]


def mirostat(surprises: Sequence[float], tau: float, eta: float) -> Row:
    """Return mu after each token, from what each surprised in bits."""
    return list(accumulate(surprises, lambda mu, s: mu - eta * (s - tau), initial=2 * tau))


def top_n_sigma(row: Row, n: float) -> Sets:
    alive = set(by_likelihood(row))
    if n <= 0:
        return alive, alive
    scale = max(abs(row[i]) for i in alive) or 1.0
    top = max(row) / scale
    depth = {i: top - row[i] / scale for i in alive}
    mean = math.fsum(depth.values()) / len(alive)
    sigma = math.sqrt(math.fsum((d - mean) ** 2 for d in depth.values()) / len(alive))
    must = {i for i in alive if depth[i] <= n * sigma * (1 - SLACK)}
    return must, {i for i in alive if depth[i] <= n * sigma * (1 + SLACK)}


def epsilon_cutoff(row: Row, epsilon: float) -> Sets:
    return _above_or_best(row, epsilon)


def eta_cutoff(row: Row, eta: float) -> Sets:
    return _above_or_best(row, min(eta, math.sqrt(eta) * math.exp(-entropy(row))))


def p_less(row: Row, on: int) -> Sets:
    return _above_or_best(row, on * math.fsum(p * p for p in softmax(row)))


def tfs(row: Row, z: float) -> Sets:
    order, probs = by_likelihood(row), softmax(row)
    if z >= 1 or len(order) < 2:
        return set(order), set(order)
    p = [probs[i] for i in order]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(p, p[1:], p[2:], strict=False)]
    total = math.fsum(bends)
    # What rounding can make of one bend, in parts of all.
    doubt = SLACK + 1e-15 * len(order) / total if total else SLACK

    def kept(z: float) -> set[int]:
        sums = accumulate(b / total for b in bends) if total else []
        crossing = next((i for i, s in enumerate(sums) if s > z), len(order))
        return set(order[: min(crossing + 1, len(order) - 1)])

    return kept(z - doubt), kept(z + doubt)


def top_h(row: Row, alpha: float) -> Sets:
    order = by_likelihood(row)
    if alpha >= 1:
        return set(order), set(order)
    depth = [row[order[0]] - row[i] for i in order]
    weight = [math.exp(-d) for d in depth]
    terms = (w * d if w else 0.0 for w, d in zip(weight, depth, strict=True))
    both = zip(accumulate(weight), accumulate(terms), strict=True)
    entropies = [math.log(mass) + sums / mass for mass, sums in both]

    def kept(limit: float) -> set[int]:
        return set(order[: next((n for n, h in enumerate(entropies) if n and h > limit), None)])

    limit = alpha * entropies[-1]
    return kept(limit * (1 - SLACK) - 1e-14), kept(limit * (1 + SLACK) + 1e-14)


def entropy(row: Row) -> float:
    return -math.fsum(p * math.log(p) for p in softmax(row) if p)


def _above_or_best(row: Row, cut: float) -> Sets:
    must, may = _above(row, softmax(row), cut)
    top = max(row)
    best = {i for i, x in enumerate(row) if x == top}
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


def dynamic_temperature(row: Row, spread: float, middle: float, exponent: float) -> Row:
    probs = [p for p, x in zip(softmax(row), row, strict=True) if x > -math.inf]
    low, high = max(middle - spread, 0.0), max(middle + spread, 0.0)
    evenness = 0.0
    if len(probs) > 1:
        evenness = -math.fsum(p * math.log(p) for p in probs if p) / math.log(len(probs))
    if low == high:
        t = low
    elif evenness == 0 and exponent < 0:
        t = math.inf if high > low else 0
    else:
        t = low + (high - low) * evenness**exponent
    if math.isinf(t):
        return [0.0 if x > -math.inf else x for x in row]
    return temperature(row, max(t, 0.0))


def smoothing(row: Row, factor: float, curve: float) -> Row:
    top = max(row)
    k, s = factor * (3 - curve) / 2, factor * (curve - 1) / 2
    if factor == 0:
        return row
    return [x if x == -math.inf else top - k * (x - top) ** 2 + s * (x - top) ** 3 for x in row]


def skew(row: Row, amount: float, by_id: bool) -> Row:
    order = [i for i, x in enumerate(row) if x > -math.inf] if by_id else by_likelihood(row)
    probs, result, before = softmax(row), [0.0] * len(row), 0.0
    for place, i in enumerate(order):
        total = math.fsum(probs[j] for j in order[: place + 1]) ** math.exp(amount)
        result[i], before = total - before, total
    return result


def after_breaker(tokens: list[int], breakers: Sequence[tuple[int, ...]]) -> int | None:
    """Tokens after the breaker that begins last, the longest of those."""
    n = len(tokens)
    for start in range(n - 1, -1, -1):
        here = [b for b in breakers if tuple(tokens[start : start + len(b)]) == b]
        if here:
            return n - start - max(map(len, here))
    return None


def agreeing(tokens: list[int], place: int) -> int:
    """How many tokens up to a place are those at the end."""
    n = len(tokens)
    k = 0
    while k <= place and tokens[place - k] == tokens[n - 1 - k]:
        k += 1
    return k


def dry(
    row: Row,
    tokens: list[int],
    multiplier: float,
    base: float,
    allowed: int,
    breakers: Sequence[tuple[int, ...]],
    *,
    more: int = 0,
    least: int | None = None,
    longest: int | None = None,
    penalises_breakers: bool = False,
) -> Row:
    after = after_breaker(tokens, breakers)
    if after is not None and longest is not None and after >= longest:
        after = None
    room = min(len(tokens) if after is None else after, longest or len(tokens))
    if room < allowed + more:
        return row
    length: dict[int, int] = {}
    for place in range(len(tokens) - 1):
        k = min(agreeing(tokens, place), room)
        if k >= (max(allowed, 1) if least is None else least):
            token = tokens[place + 1]
            length[token] = max(length.get(token, 0), k)
    if not penalises_breakers:
        length = {token: k for token, k in length.items() if (token,) not in breakers}
    return [
        x - multiplier * base ** (length[i] - allowed) if i in length else x
        for i, x in enumerate(row)
    ]


def aphrodite_dry(
    row: Row,
    tokens: list[int],
    multiplier: float,
    base: float,
    allowed: int,
    breakers: set[int],
    max_ngram: int,
    occurrences: int,
    enough: int,
    compiled: bool,
) -> Row:
    """Newest occurrences of the last token first, each followed back as far as it agrees."""
    n = len(tokens)
    if n < 2 or tokens[-1] in breakers:
        return row
    back = [i for i in range(min(n, max_ngram + 1)) if tokens[n - 1 - i] in breakers]
    room = (back[0] - compiled) if back else min(n, max_ngram + 1) - 1
    if room <= allowed:
        return row
    length: dict[int, int] = {}
    for place in [i for i in range(n - 2, -1, -1) if tokens[i] == tokens[-1]][:occurrences]:
        m = 0
        while (
            m < min(place, room)
            and tokens[place - m - 1] == tokens[n - 2 - m]
            and tokens[place - m - 1] not in breakers
        ):
            m += 1
        if m:
            token = tokens[place + 1]
            length[token] = max(length.get(token, 0), m + 1)
            if m + 1 >= enough:
                break
    return [
        x - multiplier * base ** (length[i] - allowed) if i in length else x
        for i, x in enumerate(row)
    ]


def no_repeat_ngram(tokens: list[int], n: int, first: int = 0) -> set[int]:
    grams = [tokens[i : i + n] for i in range(first, len(tokens) - n + 1)] if n else []
    end = tokens[len(tokens) - n + 1 :] if n > 1 else []
    return {gram[-1] for gram in grams if gram[:-1] == end}


def length_decay(row: Row, factor: float, k: int, ends: Sequence[int]) -> Row:
    return [
        x + abs(x) * (factor**k - 1) if i in ends and k > 0 and x > -math.inf else x
        for i, x in enumerate(row)
    ]
