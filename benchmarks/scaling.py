"""Cost of one draw a row against the size of the vocabulary and of the batch.

Run ``python benchmarks/scaling.py``: it prints both tables and writes ``results/scaling.json`` and
``results/scaling.png`` beside this file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

from logitlab import SamplingParams, engines, sample

import rows
import timing
from compare import RESULTS, floor, machine

CHAINS = {
    "top_k 50, top_p 0.9, min_p 0.05": SamplingParams(
        temperature=0.8, top_k=50, top_p=0.9, min_p=0.05
    ),
    "top_p 0.9": SamplingParams(temperature=0.8, top_p=0.9),
    "min_p 0.05": SamplingParams(temperature=0.8, min_p=0.05),
    "top_a 0.2": SamplingParams(temperature=0.8, top_a=0.2),
    "temperature only": SamplingParams(temperature=0.8),
}
SIZES = (1024, 4096, 16_384, 65_536, 262_144)
BATCHES = (1, 4, 16, 64, 256)
SIZE, BATCH = 128_256, 16  # of the other axis


def measure(batch: int, size: int) -> dict[str, float]:
    """Return the median milliseconds a row of each chain, and of the floor."""
    logits = rows.make("real", batch, size)
    runs: dict[str, Any] = {"floor": floor(logits)}
    for name, params in CHAINS.items():
        chain = engines.openrouter(params)
        runs[name] = lambda chain=chain: sample(logits, chain, seed=7)
    times = timing.interleaved(runs, seconds=3)
    return {name: 1e3 * timing.spread(values)[0] / batch for name, values in times.items()}


def show(axis: str, found: dict[int, dict[str, float]]) -> None:
    print(f"{axis:>8}  " + "  ".join(f"{name:>31}" for name in next(iter(found.values()))))
    for value, times in found.items():
        print(f"{value:8}  " + "  ".join(f"{t:28.4f} ms" for t in times.values()))


def main() -> int:
    print(machine())
    by_size = {size: measure(BATCH, size) for size in SIZES}
    show("V", by_size)
    by_batch = {batch: measure(batch, SIZE) for batch in BATCHES}
    show("B", by_batch)
    RESULTS.mkdir(exist_ok=True)
    report = {"machine": machine(), "by_size": by_size, "by_batch": by_batch}
    (RESULTS / "scaling.json").write_text(json.dumps(report, indent=1) + "\n")
    chart(by_size, by_batch)
    return 0


def chart(by_size: dict[int, dict[str, float]], by_batch: dict[int, dict[str, float]]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    colors = ["#7F7F7F", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00"]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    panels = ((by_size, f"vocabulary, {BATCH} rows"), (by_batch, f"rows, V = {SIZE}"))
    for panel, (found, label) in zip(axes, panels, strict=True):
        for name, color, marker in zip(next(iter(found.values())), colors, "sDovP^", strict=True):
            style = "--" if name == "floor" else "-"
            values = [times[name] for times in found.values()]
            panel.plot(list(found), values, style, marker=marker, color=color, label=name)
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.set_xticks(list(found), [f"{value}" for value in found])
        panel.minorticks_off()
        panel.grid(alpha=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("milliseconds a row (median)")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[1].legend(fontsize=8, frameon=False)
    figure.savefig(RESULTS / "scaling.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
