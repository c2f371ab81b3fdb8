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

ORDER, SIZE, DISCOUNT = 5, 4096, 1.0
CASES = [
    *((order, SIZE, DISCOUNT) for order in (1, 2, 3, 4, 5, 6)),
    *((ORDER, size, DISCOUNT) for size in (257, 512, 1024, 2048, 8192)),
    *((ORDER, SIZE, discount) for discount in (0.9, 0.75, 0.5)),
]


def nats(model: NGram, text: str) -> tuple[float, int]:
    """Return what a text costs, its end included, and its number of tokens."""
    (end,) = model.end_ids
    tokens = [end, *model.encode(text), end]
    state, total = model.start(), 0.0
    for token, following in pairwise(tokens):
        total -= float(model.advance([state], [[token]])[0, following])
    return total, len(tokens) - 1


def row(order: int, size: int, discount: float) -> str:
    """Return one line of the table."""
    tales = datasets.texts("grimm")
    held_out = tales[9::10]
    seen = [tale for tale in tales if tale not in held_out]
    begin = time.perf_counter()
    model = NGram.fit(
        seen, order=order, vocabulary_size=size, discount=discount, context_length=1 << 20
    )
    fitted = time.perf_counter()
    costs, counts = zip(*(nats(model, tale) for tale in held_out), strict=True)
    read = time.perf_counter()
    cost, count = sum(costs), sum(counts)
    bits = cost / math.log(2) / sum(len(tale.encode()) for tale in held_out)
    return (
        f"| {order} | {len(model.vocabulary)} | {discount:g} | {math.exp(cost / count):.1f} "
        f"| {bits:.3f} | {fitted - begin:.1f} | {1e3 * (read - fitted) / count:.3f} |"
    )


def main() -> None:
    tales = datasets.texts("grimm")
    print(f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"{len(tales[9::10])} of {len(tales)} tales held out\n")
    print("| order | tokens | discount | perplexity | bits per byte | fit, s | ms a token |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        print(row(*case), flush=True)


if __name__ == "__main__":
    main()
