"""Cost of one draw a row against the size of the vocabulary and of the batch.

Run ``python benchmarks/scaling.py``: it prints both tables and writes ``results/scaling.json`` and
``results/scaling.png`` beside this file, with the compiled kernels and without.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

from functools import partial

from logitlab import SamplingParams, sample

import report
import rows
import timing
from compare import floor, in_numpy

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
MOST_IN_NUMPY = 16  # rows
TURNS = 15


def measure(batch: int, size: int, turns: int) -> dict[str, float]:
    """Return the median milliseconds a row of each chain, in numpy too, and of the floor."""
    logits = rows.make("real", batch, size)
    runs: dict[str, Any] = {"floor": floor(logits)}
    for name, params in CHAINS.items():
        runs[name] = partial(sample, logits, params, seed=7)
        few = logits[:MOST_IN_NUMPY]
        runs[f"{name}, numpy"] = in_numpy(partial(sample, few, params, seed=7))
    times = timing.interleaved(runs, seconds=0, least=turns, turn=0.01)
    return {
        name: 1e3
        * timing.spread(values)[0]
        / min(batch, MOST_IN_NUMPY if "numpy" in name else batch)
        for name, values in times.items()
    }


def show(axis: str, found: dict[int, dict[str, float]]) -> list[str]:
    """Return a table: kernels, and numpy in brackets."""
    cells = []
    for value, ms in found.items():
        pairs = (f"{1e3 * ms[name]:.3g} ({1e3 * ms[f'{name}, numpy']:.3g})" for name in CHAINS)
        cells.append([f"{value:,}", f"{1e3 * ms['floor']:.3g}", *pairs])
    return report.table([axis, "floor", *CHAINS], cells)


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    turns = 2 if arguments.quick else TURNS
    some = 2 if arguments.quick else None
    print(report.machine(), flush=True)
    by_size = {size: measure(BATCH, size, turns) for size in SIZES[:some]}
    lines = ["µs a row, and of the numpy path", "", *show(f"V, {BATCH} rows", by_size), ""]
    by_batch = {batch: measure(batch, SIZE, turns) for batch in BATCHES[:some]}
    lines += show(f"rows, V = {SIZE:,}", by_batch)
    print("\n".join(lines))
    if not arguments.quick:
        text = {"machine": report.stamp(), "by_size": by_size, "by_batch": by_batch}
        report.RESULTS.mkdir(exist_ok=True)
        (report.RESULTS / "scaling.json").write_text(json.dumps(text, indent=1) + "\n")
        report.write("scaling.md", lines)
        chart(by_size, by_batch)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "scaling", [f"Measured {report.stamp()}", "", *lines])
    return 0


def chart(by_size: dict[int, dict[str, float]], by_batch: dict[int, dict[str, float]]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    colors = ["#7F7F7F", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00"]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    panels = ((by_size, f"vocabulary, {BATCH} rows"), (by_batch, f"rows, V = {SIZE}"))
    for panel, (found, label) in zip(axes, panels, strict=True):
        for name, color, marker in zip(["floor", *CHAINS], colors, "sDovP^", strict=True):
            values = [times[name] for times in found.values()]
            panel.plot(list(found), values, marker=marker, color=color, label=name)
            if name != "floor":
                values = [times[f"{name}, numpy"] for times in found.values()]
                panel.plot(list(found), values, ":", color=color)
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.set_xticks(list(found), [f"{value}" for value in found])
        panel.minorticks_off()
        panel.grid(alpha=0.2)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("milliseconds a row (median; dotted: numpy)")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[1].legend(fontsize=8, frameon=False)
    figure.savefig(report.RESULTS / "scaling.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
