"""Rows of logits to measure on, of any vocabulary size.

* ``real``: the bundled rows of a 135M model; a larger vocabulary gets further unlikely tokens drawn
  from each row's own tail, a smaller one loses such tokens.
* ``peaked``: the same, with the most likely token raised until it holds 95 % of the mass.
* ``flat``: normal logits with a standard deviation of 2; at temperature 1.5 and top-p 0.9 half of
  the vocabulary survives.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from logitlab import datasets, log_softmax
from numpy.typing import NDArray

KINDS = ("real", "peaked", "flat")
_HEAD = 2000  # tokens of a real row that are always kept


def make(kind: str, batch: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 logits of shape (batch, size)."""
    rng = np.random.default_rng(seed)
    if kind == "flat":
        return rng.normal(scale=2, size=(batch, size)).astype(np.float32)
    rows = np.stack([_resized(row, size, rng) for row in _recorded(batch)])
    if kind == "peaked":
        top = rows.argmax(axis=-1)[:, None]
        rest = rows.astype(np.float64)
        np.put_along_axis(rest, top, -np.inf, axis=-1)
        # The odds of the top token against the rest become 95 to 5.
        total = rest.max(axis=-1) - log_softmax(rest).max(axis=-1)
        np.put_along_axis(rows, top, (total + math.log(19))[:, None].astype(np.float32), axis=-1)
    return rows


def _recorded(batch: int) -> NDArray[Any]:
    rows = datasets.load("smollm2").logits
    return np.asarray(rows[np.arange(batch) % len(rows)])


def _resized(row: NDArray[Any], size: int, rng: np.random.Generator) -> NDArray[Any]:
    order = np.argsort(-row)
    tail = row[order[_HEAD:]]
    if size <= len(row):
        head = order[: min(_HEAD, size)]
        rest = rng.choice(order[_HEAD:], size - len(head), replace=False)
        return np.asarray(row[np.sort(np.concatenate([head, rest]))])
    return np.concatenate([row, rng.choice(tail[len(tail) // 4 :], size - len(row))])
