"""Every chain beside another copy of the package, turn by turn: `compare.py --against`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import logitlab
import numpy as np
from logitlab import SamplingParams

import other
import report
import rows
import timing
from cases import CASES

TURNS = 40
CONTEXT = 512
SHORT = SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05)


def against(src: str, quick: bool) -> int:
    """Time `sample` of this package and of another copy of it, and write the ratios."""
    theirs = other.load(src)
    found = []
    measured = [
        (case.name, case.params, case.rows, batch, size)
        for size in ((32_000,) if quick else (32_000, 128_256, 262_144))
        for batch in ((1,) if quick else (1, 32, 256))
        for case in CASES
    ]
    measured += [("T 0.8, top_k 50, top_p 0.9, min_p 0.05", SHORT, "real", 10_000, size)
                 for size in (() if quick else (256, 1024, 4096))]  # fmt: skip
    for name, params, kind, batch, size in measured:
        logits = rows.make(kind, batch, size)
        ids = np.random.default_rng(1).integers(size, size=(batch, CONTEXT))
        runs: dict[str, Callable[[], Any]] = {}
        for copy, library in (("this", logitlab), ("other", theirs)):
            chain = library.engines.openrouter(library.SamplingParams(**params.given()))
            context = library.Context(prompt=ids)
            runs[copy] = partial(library.sample, logits, chain, context=context, seed=7)
        assert (runs["this"]().tokens == runs["other"]().tokens).all()
        times = timing.interleaved(runs, seconds=0, least=3 if quick else TURNS)
        pairs = zip(times["this"], times["other"], strict=True)
        middle, low, high = timing.interval([mine / its for mine, its in pairs])
        cells = [name, kind, str(batch), str(size), f"{middle:.3f}", f"{low:.3f}–{high:.3f}"]
        found.append(cells)
        print(" | ".join(cells), flush=True)
    if not quick:
        head = ["chain", "rows", "B", "V", "this / other", "90 % interval"]
        note = f"{TURNS} paired turns each, one thread, the median of the ratios."
        report.write("against.md", [note, "", *report.table(head, found)])
    return 0
