"""Findings as a small Markdown report, with a figure for each parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Seen, check_path
from logitlab.claims.claim import PAGE, Finding, Picture

__all__ = ["check_directory", "draw", "summary", "write"]

_REPORT = "report.md"
_REPORT_MARK = "<!-- written by logitlab claims -->"


def summary(findings: Sequence[Finding]) -> str:
    """Count the verdicts.

    Examples
    --------
    >>> from logitlab.claims import check
    >>> summary(check("top_a"))
    '5 claims: 1 holds, 3 are vague, 1 is wrong as written; no experiment fails.'
    """
    counts = Counter(finding.verdict.partition(":")[0] for finding in findings)
    words = {
        "holds": ("holds", "hold"),
        "vague": ("is vague", "are vague"),
        "wrong": ("is wrong as written", "are wrong as written"),
        "not run": ("was not run", "were not run"),
    }
    parts = [f"{counts[kind]} {words[kind][counts[kind] > 1]}" for kind in words if counts[kind]]
    end = f"{counts['FAILS']} FAIL." if counts["FAILS"] else "no experiment fails."
    total = f"{len(findings)} claim{'s' * (len(findings) != 1)}"
    return f"{total}: {', '.join(parts) or '–'}; {end}"


def titles(findings: Sequence[Finding]) -> tuple[str, str, str]:
    """Return the heads of a table of findings."""
    from_page = all(finding.claim.source is None for finding in findings)
    return "the page states" if from_page else "it is stated", "measured", "verdict"


def _whose(findings: Sequence[Finding]) -> str:
    if all(finding.claim.source is None for finding in findings):
        return f"The statements of [OpenRouter's page]({PAGE}) on the effects of its parameters"
    return "What papers and authors state on the effects of samplers beyond OpenRouter's page"


def check_directory(directory: str) -> Path:
    """Return a directory that is empty or holds a report of ours; make it if there is none.

    Raises
    ------
    ParameterError
        If there is anything else in it, or it cannot be written.
    """
    folder = check_path("directory", directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / _REPORT
        if not (report.is_file() and _REPORT_MARK in report.read_text("utf-8", errors="replace")):
            for name in sorted(path.name for path in folder.iterdir()):
                rule = "an empty directory, or one with an earlier report"
                raise ParameterError("directory", rule, Seen(f"{folder} with {name!r}"))
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
        _REPORT_MARK,
        "# What the parameters do",
        "",
        f"{_whose(findings)}, in our words, each with an experiment on recorded logits of "
        "SmolLM2-135M-Instruct or on texts that a small model of the Grimms' tales writes.",
        "",
        summary(findings),
        "",
    ]
    files = [folder / _REPORT]
    for parameter, group in groupby(findings, key=lambda finding: finding.claim.parameter):
        section = list(group)
        links = dict.fromkeys(f"[{one.claim.section}]({one.claim.url})" for one in section)
        which = "Section " if section[0].claim.source is None else ""
        lines += [f"## {parameter}", "", f"{which}{'; '.join(links)}."]
        picture = next((one.picture for one in section if one.picture is not None), None)
        if picture is not None:
            file = folder / f"{parameter}.png"
            draw(picture).figure.savefig(file)
            files.append(file)
            lines += ["", f"![{picture.title}]({file.name})"]
        lines += ["", f"| {titles(section)[0]} | measured | verdict |", "| --- | --- | --- |"]
        for one in section:
            cells = (one.claim.statement, one.sentence, one.verdict)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    files[0].write_text("\n".join(lines), "utf-8")
    return files


def draw(picture: Picture, *, dark: bool = False) -> Any:
    """Return a picture as matplotlib axes, 800 pixels wide, as `logitlab.plot` makes them.

    Examples
    --------
    >>> ax = draw(Picture("Two bars", "which", "size", ["a", "b"], {"it": [1, 2]}, "bars"))
    >>> ax.get_title(loc="left")
    'Two bars'
    """
    from logitlab.plot import style
    from matplotlib.ticker import MaxNLocator

    ax, look = style.canvas(style.axes(8, 4.5, dark=dark), 8, 4.5)
    scales = {
        "xscale": (ax.xaxis, picture.log_x, [picture.x]),
        "yscale": (ax.yaxis, picture.log_y, picture.y.values()),
    }
    if picture.kind == "bars":
        _draw_bars(ax, picture, look)
        del scales["xscale"]
    else:
        marks = {"line": ["o-", "s--", "^:"], "points": ["o"]}[picture.kind]
        series = zip(picture.y.items(), marks, look.series, strict=False)
        for (name, values), mark, colour in series:
            ax.plot(picture.x, values, mark, color=colour, label=name)
        ax.grid(alpha=0.3)
    for scale, (axis, is_log, values) in scales.items():
        if is_log:
            ax.set(**{scale: "log"})
            axis.set_major_formatter("{x:g}")
        elif _are_counts(values):
            axis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=picture.x_label, ylabel=picture.y_label)
    if len(picture.y) > 1:
        style.legend(ax, picture.title, *ax.get_legend_handles_labels())
    else:
        style.title(ax, picture.title)
    return ax


def _draw_bars(ax: Any, picture: Picture, look: Any) -> None:
    from logitlab.plot.labels import fonts
    from logitlab.plot.style import PLAIN

    count, places = len(picture.y), np.arange(len(picture.x))
    width = 0.8 / count
    for i, ((name, values), colour) in enumerate(zip(picture.y.items(), look.series, strict=False)):
        at = places + (i - (count - 1) / 2) * width
        bars = ax.bar(at, values, width, color=colour, label=name)
        if count * len(places) <= 16:
            ax.bar_label(bars, fmt=_bar_number, fontsize=8, padding=2, color=look.ink)
    turn: dict[str, Any] = {}
    if len(places) > 24:
        turn = {"rotation": 90, "fontsize": 8}
    elif sum(map(len, picture.x)) > 40:
        turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(places, picture.x, fontfamily=list(fonts()), **turn, **PLAIN)
    ax.axhline(0, color=look.ink, linewidth=0.8)


def _bar_number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _are_counts(values: Any) -> bool:
    return all(np.issubdtype(np.asarray(one).dtype, np.integer) for one in values)
