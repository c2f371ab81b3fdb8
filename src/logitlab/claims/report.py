"""Findings as a small Markdown report, with a figure for each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Seen
from logitlab.claims.claim import PAGE, SECTIONS, Finding, Picture

__all__ = ["check_directory", "draw", "summary", "write"]

_REPORT = "report.md"
_MARK = "<!-- written by logitlab claims -->"
# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7"]


def summary(findings: Sequence[Finding]) -> str:
    """Count the verdicts.

    Examples
    --------
    >>> from logitlab.claims import check
    >>> summary(check("top_a"))
    '5 claims: 1 holds, 3 are vague, 1 is wrong as written; no experiment fails.'
    """
    kinds = [finding.verdict.partition(":")[0] for finding in findings]
    words = {
        "holds": ("holds", "hold"),
        "vague": ("is vague", "are vague"),
        "wrong": ("is wrong as written", "are wrong as written"),
        "not run": ("was not run", "were not run"),
    }
    parts = [
        f"{kinds.count(kind)} {one if kinds.count(kind) == 1 else many}"
        for kind, (one, many) in words.items()
        if kind in kinds
    ]
    failed = kinds.count("FAILS")
    end = f"{failed} FAIL." if failed else "no experiment fails."
    return f"{len(kinds)} claim{'s' * (len(kinds) != 1)}: {', '.join(parts) or '–'}; {end}"


def check_directory(directory: str) -> Path:
    """Return a directory that is empty or holds a report of ours; make it if there is none.

    Raises
    ------
    ParameterError
        If there is anything else in it, or it cannot be written.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / _REPORT
        if not (report.is_file() and _MARK in report.read_text("utf-8", errors="replace")):
            found = sorted(path.name for path in folder.iterdir())
            if found:
                rule = "an empty directory, or one with an earlier report"
                raise ParameterError("directory", rule, Seen(f"{folder} with {found[0]!r}"))
    except OSError as error:
        rule = "a directory that can be written"
        raise ParameterError("directory", rule, directory, f"{error.strerror}.") from None
    return folder


def write(findings: Sequence[Finding], directory: str) -> list[Path]:
    """Write ``report.md`` and ``<parameter>.png`` for each parameter.

    Parameters
    ----------
    findings : sequence of Finding
        In the order of the page.
    directory : str
        Is made if it does not exist. It must be empty or hold an earlier report, whose files of
        the same names are replaced.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ParameterError
        If there is anything else in the directory, or it cannot be written.
    """
    folder = check_directory(directory)
    lines = [
        _MARK, "# What the parameters do", "",
        f"The statements of [OpenRouter's page]({PAGE}) on the effects of its parameters, in our "
        "words, each with an experiment on recorded logits of SmolLM2-135M-Instruct or on texts "
        "that a small model of the Grimms' tales writes.", "", summary(findings), "",
    ]  # fmt: skip
    files = [folder / _REPORT]
    for parameter, group in groupby(findings, key=lambda finding: finding.claim.parameter):
        found = list(group)
        lines += [f"## {parameter}", "", f"Section [{SECTIONS[parameter]}]({found[0].claim.url})."]
        picture = next((one.picture for one in found if one.picture is not None), None)
        if picture is not None:
            file = folder / f"{parameter}.png"
            draw(picture).savefig(file)
            files.append(file)
            lines += ["", f"![{picture.title}]({file.name})"]
        lines += ["", "| the page states | measured | verdict |", "| --- | --- | --- |"]
        for one in found:
            cells = (one.claim.statement, one.sentence, one.verdict)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    files[0].write_text("\n".join(lines), "utf-8")
    return files


def draw(picture: Picture) -> Any:
    """Return a picture as a matplotlib figure, 800 pixels wide.

    Examples
    --------
    >>> figure = draw(Picture("Two bars", "which", "size", ["a", "b"], {"it": [1, 2]}, "bars"))
    >>> figure.axes[0].get_title(loc="left")
    'Two bars'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    if picture.kind == "bars":
        _bars(axes, picture)
    else:
        mark = {"line": "o-", "points": "o"}[picture.kind]
        for (name, values), colour in zip(picture.y.items(), _COLOURS, strict=False):
            axes.plot(picture.x, values, mark, color=colour, label=name)
        axes.grid(alpha=0.3)
        if picture.log_x:
            axes.set_xscale("log")
    if picture.log_y:
        axes.set_yscale("log")
    axes.set_title(picture.title, loc="left")
    axes.set_xlabel(picture.x_label)
    axes.set_ylabel(picture.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if len(picture.y) > 1:
        figure.legend(loc="outside lower center", ncols=len(picture.y), frameon=False)
    return figure


def _bars(axes: Any, picture: Picture) -> None:
    count, places = len(picture.y), np.arange(len(picture.x))
    width = 0.8 / count
    for i, ((name, values), colour) in enumerate(zip(picture.y.items(), _COLOURS, strict=False)):
        offset = (i - (count - 1) / 2) * width
        bars = axes.bar(places + offset, values, width, color=colour, label=name)
        if count * len(places) <= 16:
            axes.bar_label(bars, fmt="{:.3g}", fontsize=9, padding=2)
    slanted = sum(map(len, picture.x)) > 50
    turned = {"rotation": 45, "ha": "right"} if slanted else {}
    axes.set_xticks(places, picture.x, **turned)
    axes.axhline(0, color="black", linewidth=0.8)
