"""Rows of ties, the orders in which ``torch.sort`` leaves them on a CPU, and how many top-p keeps.

    python tests/steps/candidate_order/torch_orders.py    # records them anew; needs torch

Each row is told by its kind, so that ``torch_orders.json`` holds no more than digests of the
orders, descending and ascending, and the sizes of the nuclei at `MASSES`, added up from below by
torch with AVX2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

RECORDED = Path(__file__).with_suffix(".json")
SIZES = (2, 3, 5, 8, 15, 16, 17, 18, 20, 31, 32, 33, 34, 40, 47, 63, 64, 65, 100, 127, 128, 129)
MORE = (200, 255, 256, 257, 300, 500, 777, 1000, 1024, 1025, 2000)
LARGE = (4095, 4096, 10_000, 49_152, 131_072)
LEVELS = (1, 2, 40)
MASSES = (0.1, 0.3, 0.5, 0.9, 0.63, 0.765, 0.941)  # in the last three, lanes decide on some row

# What median-of-three splits one token at a time: the heap of introsort takes over.
_HARD = """
93 1 71 3 85 5 69 7 100 9 67 11 83 13 65 15 91 17 63 19 81 21 24 23 98 96 94 92 90 88 86 84
82 80 78 76 74 72 70 68 66 64 95 79 89 77 97 75 87 73 0 2 4 6 8 10 12 14 16 18 20 22 62 59
60 57 58 55 56 53 54 51 52 49 50 47 48 45 46 43 44 41 42 39 40 37 38 35 36 33 34 31 32 29 30
27 28 25 26 61
"""
HARD = -np.array(_HARD.split(), np.float32)


def rows() -> Iterator[tuple[str, Array]]:
    """Yield names and rows of float32: few levels, removed tokens, signed zeros, a hard one."""
    for size in SIZES + MORE + LARGE:
        for levels in LEVELS if size not in LARGE else (40,):
            mixed = np.arange(size, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
            row = (mixed >> np.uint64(7)).astype(np.float32) % levels
            yield f"{size} tokens of {levels} levels", row
            removed = np.where(mixed >> np.uint64(11) & np.uint64(3), -np.inf, row)
            yield f"{size} tokens of {levels} levels, most removed", removed.astype(np.float32)
        if size not in LARGE:
            places = np.arange(size)
            yield f"{size} tokens of rising pairs", (places // 2).astype(np.float32)
            zeros = np.where(places % 3, 0.0, -0.0)
            yield f"{size} tokens, zeros of both signs", zeros.astype(np.float32)
    for least in (-25, -50, -80):
        yield f"hard above {least}", np.maximum(HARD, least)


def digest(order: Array) -> str:
    """Return a digest of an order of places."""
    return hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()[:12]


def main() -> None:
    """Record the orders, and the sizes of nuclei."""
    import torch

    orders, nuclei = {}, {}
    for name, row in rows():
        tensor = torch.from_numpy(row)
        both = (torch.sort(tensor, descending=down).indices.numpy() for down in (True, False))
        orders[name] = [digest(order) for order in both]
        if row.max() > -np.inf:
            below = torch.sort(tensor).values.softmax(-1).cumsum(-1)[:-1]
            nuclei[name] = [len(row) - int((below <= 1 - p).sum()) for p in MASSES]
    recorded = {"torch": torch.__version__.partition("+")[0], "orders": orders, "nuclei": nuclei}
    RECORDED.write_text(json.dumps(recorded, separators=(",", ":")).replace("],", "],\n") + "\n")


if __name__ == "__main__":
    main()
