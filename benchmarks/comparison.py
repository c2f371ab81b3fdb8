"""What `compare.py` found, as lines, tables and a chart."""

from __future__ import annotations

from typing import Any

import report
from cases import LARGE

NAMES = {"llama.cpp": "llama.cpp", "transformers": "transformers", "vllm": "vLLM",
         "aphrodite": "Aphrodite", "sglang": "SGLang", "mlx-lm": "mlx-lm"}  # fmt: skip
NONE = "–"
PREPARED, PLAIN = 0.5, 3.0  # floors of a row of 32 000 tokens that a call may cost by itself
SURE = {"real": 1.0, "peaked": 1.0, "flat": 5.0}  # percent of the rows, left to numpy at most


def judged(text: str, value: float, most: float | None = None, least: float | None = None) -> str:
    """Return a figure with its target, bold where it missed."""
    if most is None and least is None:
        return text
    goal = f"≤ {most:g}" if most is not None else f"≥ {least:g}"
    met = value <= most if most is not None else value >= (least or 0)
    return f"{text} ({goal})" if met else f"**{text}** (missed {goal})"


def _ratio(value: float) -> str:
    return f"{value:.2g}x" if value < 10 else f"{value:.0f}x"


def _floors(case: dict[str, Any]) -> str:
    value = case["in_floors"]["kernels"]
    return judged(f"{value:.2f}", value, most=case["most_floors"])


def _times(case: dict[str, Any], peer: str, with_target: bool = True) -> str:
    if peer not in case["times"]:
        return NONE
    value = case["times"][peer]
    return judged(
        _ratio(value), value, least=case["least_times"].get(peer) if with_target else None
    )


def _left(case: dict[str, Any]) -> str:
    share = 100 * case["left"]
    return judged(f"{share:.2g} %", share, most=SURE[case["rows"]])


def _batch(case: dict[str, Any]) -> str:
    return "1, prepared" if case["B"] == 1 else str(case["B"])


def line(case: dict[str, Any]) -> str:
    """Return a case as one line for the terminal."""
    cells = [f"{peer} {_times(case, peer)}" for peer in ("numpy", *NAMES) if peer in case["times"]]
    if "plain" in case["in_floors"]:
        cells.insert(0, f"plain {case['in_floors']['plain']:.2f}")
    return (
        f"{case['case'][:24]:24} {case['rows']:6} V={case['V']:<6} B={case['B']:<3} "
        f"{_floors(case):>22} floors of {1e3 * case['ms']['floor'][0]:.0f} us, "
        f"left {_left(case)}   {'   '.join(cells)}"
    )


def lines(results: dict[str, Any]) -> list[str]:
    """Return the whole of the results file."""
    head = ["chain", "rows", "V", "B", "ms a row", "in floors", "plain call, floors",
            "numpy path, floors", "left to numpy", *NAMES.values()]  # fmt: skip
    cells = []
    for case in results["cases"]:
        middle, low, high = case["ms"]["kernels"]
        plain = case["in_floors"].get("plain")
        cells.append([
            case["case"], case["rows"], f"{case['V']:,}", _batch(case),
            f"{middle:.3g} ({low:.2g}–{high:.2g})", _floors(case),
            NONE if plain is None else f"{plain:.2f}", f"{case['in_floors']['numpy']:.2f}",
            _left(case), *(_times(case, peer) for peer in NAMES),
        ])  # fmt: skip
    turns = f"{results['turns']} paired turns each, one thread; ratios are medians over the turns."
    return [turns, "", *report.table(head, cells), "", *calls(results), "", *small(results), "",
            verdict(results)]  # fmt: skip


def calls(results: dict[str, Any]) -> list[str]:
    """Return the table of what a call costs by itself."""
    head = ["a call with 64 tokens, µs, and floors of 32,000", "prepared", "the same request again",
            "a new request"]  # fmt: skip
    cells = []
    for case in results["calls"]:
        found, us = case["in_floors"], case["us"]
        cells.append([
            f"{case['case']}, {case['rows']} rows",
            f"{us['prepared']:.0f}, "
            + judged(f"{found['prepared']:.2f}", found["prepared"], PREPARED),
            f"{us['plain']:.0f}, " + judged(f"{found['plain']:.2f}", found["plain"], PLAIN),
            f"{us['new']:.0f}, " + judged(f"{found['new']:.2f}", found["new"], PLAIN),
        ])  # fmt: skip
    return report.table(head, cells)


def small(results: dict[str, Any]) -> list[str]:
    """Return the table of small vocabularies."""
    head = ["T 0.8, top_k 50, top_p 0.9, min_p 0.05, V", "rows", "µs a row", "numpy path",
            "dense chain and plain draws"]  # fmt: skip
    cells = [
        [f"{case['V']:,}", str(case["B"]), f"{case['us']:.1f}", f"{case['times']['numpy']:.2f}x",
         judged(f"{case['times']['dense']:.2f}x", case["times"]["dense"], least=1)]
        for case in results["small"]
    ]  # fmt: skip
    return report.table(head, cells)


def verdict(results: dict[str, Any]) -> str:
    """Return how many of the targets were met."""
    told = "\n".join(text for case in results["cases"] for text in _every(case))
    told += "\n".join([*calls(results), *small(results)])
    missed = told.count("(missed ")
    return f"{told.count('(≤') + told.count('(≥')} targets met, {missed} missed."


def _every(case: dict[str, Any]) -> list[str]:
    return [_floors(case), _left(case), *(_times(case, peer) for peer in NAMES)]


def targets(results: dict[str, Any]) -> list[str]:
    """Return the tables of targets for the README of the benchmarks."""
    head = ["chain", "V", "B = 32", "B = 256", "B = 1, prepared", "left to numpy", "x llama.cpp",
            "x transformers", "x vLLM", "x Aphrodite", "x SGLang"]  # fmt: skip
    by_chain: dict[tuple[str, str, int], dict[int, Any]] = {}
    for case in results["cases"]:
        by_chain.setdefault((case["case"], case["rows"], case["V"]), {})[case["B"]] = case
    cells = []
    for (name, kind, size), found in by_chain.items():
        middle = found[32]
        left = max(found.values(), key=lambda case: float(case["left"]))
        cells.append([
            f"{name}, {kind}", f"{size:,}",
            *(_floors(found[batch]) if batch in found else NONE for batch in (32, 256, 1)),
            _left(left),
            *(_times(middle, peer) for peer in NAMES if peer != "mlx-lm"),
        ])  # fmt: skip
    stamp = f"Measured {report.stamp()} Floors; engines at B = 32. {verdict(results)}"
    return [stamp, "", *report.table(head, cells), "", *calls(results), "", *small(results)]


def in_short(cases: list[dict[str, Any]]) -> list[str]:
    """Return the table for the reference page about speed."""
    head = ["one thread, V = 128 256, 32 rows", "µs a row", "in floors", "one row, in floors",
            "numpy path", "llama.cpp", "transformers", "vLLM (CPU)"]  # fmt: skip
    one = {(c["case"], c["rows"]): c for c in cases if c["B"] == 1 and c["V"] == LARGE}
    cells = []
    for case in cases:
        if case["B"] == 32 and case["V"] == LARGE:
            ratios = (
                _ratio(case["times"][peer]) if peer in case["times"] else NONE
                for peer in ("numpy", "llama.cpp", "transformers", "vllm")
            )
            single = one[case["case"], case["rows"]]["in_floors"]["kernels"]
            cells.append([
                f"{case['case']}, {case['rows']} rows", f"{1e3 * case['ms']['kernels'][0]:.0f}",
                f"{case['in_floors']['kernels']:.2f}", f"{single:.2f}", *ratios,
            ])  # fmt: skip
    return report.table(head, cells)


def chart(cases: list[dict[str, Any]]) -> None:
    """Draw the milliseconds a row of every contender at V = 128256, B = 32."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    chosen = [case for case in cases if case["B"] == 32 and case["V"] == LARGE]
    names = ["kernels", "floor", "numpy", *NAMES]
    colors = [
        "#D55E00",
        "#7F7F7F",
        "#000000",
        "#CC79A7",
        "#0072B2",
        "#009E73",
        "#56B4E9",
        "#F0E442",
        "#E69F00",
    ]
    looks = dict(zip(names, zip("DoxPvs<>^", colors, strict=True), strict=True))
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(chosen) + 1.4), layout="constrained")
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
    figure.legend([handles[name] for name in order], [NAMES.get(name, name) for name in order],
                  ncols=5, fontsize=8, loc="outside upper center", frameon=False)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(report.RESULTS / "compare.png", dpi=150)
    plt.close(figure)
