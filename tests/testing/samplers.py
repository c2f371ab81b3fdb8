"""Samplers in plain numpy, as their authors would write them, and each of their known mistakes.

Every function takes the name of a mistake, "" for none. They know nothing of the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def softmax(x: Array, mistake: str = "") -> Array:
    if mistake == "no shift":
        weight = np.exp(x)
        return np.asarray(weight / weight.sum(axis=-1, keepdims=True))
    weight = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def ranked(x: Array, mistake: str = "") -> Array:
    """Ids, the most likely first; of equal ones the lowest."""
    if mistake == "ties to the highest":
        return len(x) - 1 - np.argsort(-x[::-1], kind="stable")
    if mistake == "rising":
        return np.argsort(x, kind="stable")
    if mistake == "in half precision":
        with np.errstate(over="ignore"):
            x = x.astype(np.float16)
    return np.argsort(-x, kind="stable")


def top_p(x: Array, p: float, mistake: str = "") -> Array:
    """Keep the nucleus of one row of logits."""
    if p >= 1 and mistake != "cuts at 1":
        return x
    seen = np.nan_to_num(x, neginf=0.0) if mistake == "masked hold mass" else x
    order = ranked(seen, mistake)
    probs = softmax(seen[order], mistake)
    if mistake == "not normalised":
        probs = np.exp(x[order] - x.max())
    kind = np.float16 if mistake == "half sums" else np.float32
    mass = np.cumsum(probs.astype(kind), dtype=kind)
    before = np.concatenate([np.zeros(1, kind), mass[:-1]])
    keep: Array = np.asarray(before < kind(p))
    keep[0] = True
    if mistake == "at equality":
        keep = np.asarray(before <= kind(p))
    if mistake == "without the crossing one":
        keep = np.asarray(mass <= kind(p))
    if mistake == "one fewer":
        keep[max(1, keep.sum() - 1) :] = False
    if mistake == "one more":
        keep[: keep.sum() + 1] = True
    if mistake == "no guard":
        keep[0] = p > 0
    if mistake == "ids lost":
        return np.where(keep, x, -np.inf)
    if mistake == "ties by value":
        return np.where(x >= x[order[keep]].min(), x, -np.inf)
    left = np.full_like(x, -np.inf)
    left[order[keep]] = x[order[keep]]
    return left


def top_k(x: Array, k: int, mistake: str = "") -> Array:
    """Keep the k most likely tokens of one row of logits."""
    if k == 0 and mistake != "0 keeps one":
        return x
    if mistake == "k beyond V":
        return np.where(x >= np.sort(x)[-k], x, -np.inf)
    k = max(1, k) + {"one more": 1, "one fewer": -1}.get(mistake, 0)
    if mistake == "ties by value":
        return np.where(x >= np.sort(x)[-min(k, len(x))], x, -np.inf)
    order = ranked(np.abs(x) if mistake == "by size" else x, mistake)
    left = np.full_like(x, -np.inf)
    left[order[:k]] = x[order[:k]]
    return left


def min_p(x: Array, m: float, mistake: str = "") -> Array:
    probs = softmax(x)
    best = probs.max(axis=-1, keepdims=True)
    if mistake == "of the batch":
        best = probs.max()
    if mistake == "of the sum":
        best = probs.sum(axis=-1, keepdims=True)
    keep = probs >= np.float32(m) * best
    if mistake == "more than":
        keep = probs > np.float32(m) * best
    if mistake == "of logits":
        keep = x >= m * x.max()
    if mistake == "first row's":
        keep = probs >= m * best[:1]
    if mistake == "last row only":
        keep = np.broadcast_to(keep[-1:], keep.shape)
    if mistake == "reversed":
        keep = probs <= np.float32(m) * best
    return np.where(keep, x, -np.inf)


def top_a(x: Array, a: float, mistake: str = "") -> Array:
    probs = softmax(x)
    best = probs.max()
    cut = {"not squared": best, "sum of squares": (probs * probs).sum()}.get(mistake, best * best)
    return np.where((probs >= np.float32(a) * cut) | (probs == best), x, -np.inf)


def temperature(x: Array, t: float, mistake: str = "") -> Array:
    if t == 0 and mistake != "divides by 0":
        best = x.argmax()
        if mistake == "last of the best":
            best = len(x) - 1 - x[::-1].argmax()
        return np.where(np.arange(len(x)) == best, x, -np.inf)
    if mistake == "multiplies":
        return x * np.float32(t)
    if mistake == "twice":
        return x / np.float32(t) / np.float32(t)
    with np.errstate(all="ignore"):
        return np.asarray(x / np.float32(t))


def penalised(x: Array, prompt: Array, output: Array, mistake: str = "", **request: float) -> Array:
    """Repetition, frequency and presence penalty over the context of one row."""
    ids = np.concatenate([prompt, output])
    if mistake == "output alone":
        ids = output
    if mistake == "prompt alone":
        ids = prompt
    ids = ids if mistake == "padding" else ids[ids >= 0]
    if mistake == "newest left out":
        ids = ids[:-1]
    count = np.zeros(len(x), np.float32)
    np.add.at(count, ids, 1)
    seen = count > 0
    r = np.float32(request.get("repetition_penalty", 1))
    y = np.where(seen, np.where(x > 0, x / r, x * r), x)
    if mistake == "divides all":
        y = np.where(seen, x / r, x)
    if mistake == "repeats":
        y = np.where(seen, np.where(x > 0, x / r**count, x * r**count), x)
    frequency = np.float32(request.get("frequency_penalty", 0))
    presence = np.float32(request.get("presence_penalty", 0))
    if mistake == "counts once":
        count = np.minimum(count, 1)
    if mistake == "presence of all":
        seen = np.ones_like(seen)
    if mistake == "presence counted":
        return np.asarray(y - (frequency + presence) * count)
    if mistake == "adds":
        return np.asarray(y + frequency * count + presence * seen)
    with np.errstate(invalid="ignore"):
        return np.asarray(y - frequency * count - presence * seen)


def inverse_cdf(probs: Array, u: float, mistake: str = "") -> int:
    """Draw the first token whose cumulative probability exceeds u."""
    mass = np.cumsum(probs, dtype=np.float64)
    token = int(np.searchsorted(mass, u * mass[-1], "right"))
    if mistake == "off by one":
        token = min(token + 1, len(probs) - 1)
    if mistake == "argmax":
        token = int(probs.argmax())
    if mistake == "rank for id":
        order = np.argsort(-probs, kind="stable")
        return int(np.searchsorted(np.cumsum(probs[order]), u, "right"))
    return token
