"""Perplexity of the n-gram model on fairy tales that it has not seen.

Run ``python benchmarks/perplexity.py``. Every tenth of the bundled tales is held out; tokens and
counts are learned from the others. Perplexity is per token, the end of each tale included. Its
logarithm over the bytes of the tales is bits per byte, which vocabularies of different sizes have
in common.
"""

from __future__ import annotations

import math
import platform
import time
from itertools import pairwise

import numpy as np
from logitlab import datasets
from logitlab.models import NGram

ORDERS = range(1, 8)
SIZES = (512, 1024, 2048, 4096, 8192)


def nats(model: NGram, text: str) -> tuple[float, int]:
    """Return what a text costs, its end included, and its number of tokens."""
    (end,) = model.end_ids
    tokens = [end, *model.encode(text), end]
    state, total = model.start(), 0.0
    for token, following in pairwise(tokens):
        total -= float(model.advance([state], [[token]])[0, following])
    return total, len(tokens) - 1


def row(order: int, size: int) -> str:
    """Return one line of the table."""
    tales = datasets.texts("grimm")
    held_out = tales[9::10]
    begin = time.perf_counter()
    model = NGram.fit(
        [tale for tale in tales if tale not in held_out],
        order=order,
        vocabulary_size=size,
        context_length=1 << 20,
    )
    fitted = time.perf_counter()
    costs, counts = zip(*(nats(model, tale) for tale in held_out), strict=True)
    read = time.perf_counter()
    cost, count = sum(costs), sum(counts)
    letters = sum(len(tale.encode()) for tale in held_out)
    return (
        f"| {order} | {size} | {math.exp(cost / count):.1f} | {cost / math.log(2) / letters:.3f} "
        f"| {fitted - begin:.1f} | {1e3 * (read - fitted) / count:.3f} |"
    )


def main() -> None:
    print(f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    print("| order | tokens | perplexity | bits per byte | fit, s | a token, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for order in ORDERS:
        print(row(order, 4096))
    for size in SIZES:
        print(row(5, size))


if __name__ == "__main__":
    main()
