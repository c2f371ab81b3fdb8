"""The evidence of an examination: which explanations are refuted, and after how many requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError, check_choice
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

__all__ = ["evidence"]

_LOWEST = -2.0  # nats that a panel shows below no evidence at all
_TOP = 1.25  # of a panel, in evidence that refutes
_LONGEST = 34  # characters of a name
_MOST_NAMED = 3  # explanations that are left, by name


class Found(Protocol):
    """What is known of one parameter: `verification.finding.Finding`."""

    @property
    def verdict(self) -> Any: ...

    @property
    def history(self) -> Any: ...


@runtime_checkable
class Examined(Protocol):
    """What has findings: `Verification`."""

    @property
    def alpha(self) -> float: ...

    @property
    def findings(self) -> Any: ...


class _Course(NamedTuple):
    """One hypothesis: its evidence after each request, as far as a panel shows it."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    is_refuted: bool


def evidence(
    result: Examined, parameter: str | None = None, *, limit: int = 12, ax: Axes | None = None
) -> Axes:
    r"""Draw the evidence against each hypothesis over the requests, a panel for each parameter.

    Evidence is in nats; less than -2 is drawn as -2. A line that reaches the dotted one, at
    :math:`\log 1/\alpha`, ends there: its hypothesis is refuted, with that error. Those that are
    left keep their colours and are named, the likeliest first.

    Parameters
    ----------
    result : Verification
        As by `logitlab.verify`.
    parameter : str, optional
        Only its panel.
    limit : int
        How many panels at most, 1 or more: the first ones.
    ax : matplotlib.axes.Axes, optional
        As of `plot.distribution`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For what is no examination, or one without evidence of that parameter.

    Examples
    --------
    >>> from logitlab.plot.evidence import evidence
    >>> from logitlab.verification.finding import Finding
    >>> from logitlab.verification.result import Verification
    >>> course = tuple((n, {"honoured": -1.0 * n, "ignored": 2.0 * n}) for n in range(1, 6))
    >>> found = Finding("honoured", "proven", alive={"honoured": -5.0}, history=course)
    >>> ax = evidence(Verification({"top_k": found}))
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['top_k\nhonoured']
    """
    if not isinstance(result, Examined) or not isinstance(result.findings, Mapping):
        hint = "Give the whole of which it is a part." if hasattr(result, "history") else ""
        raise ParameterError("result", "a Verification, as by verify", result, hint)
    found: dict[str, Found] = {key: each for key, each in result.findings.items() if each.history}
    if not found:
        hint = "Draws and races have evidence; what is read off an answer has none."
        raise ParameterError("result", "an examination with evidence", result, hint)
    if parameter is not None:
        check_choice("parameter", parameter, tuple(found))
        found = {parameter: found[parameter]}
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ParameterError("limit", "an integer >= 1", limit)
    found = dict(list(found.items())[:limit])
    ax, look = style.canvas(ax, 8, 1.2 + 0.9 * len(found))
    bound = -math.log(result.alpha)
    most = max(each.history[-1][0] for each in found.values())
    for row, each in enumerate(found.values()):
        _panel(ax, look, row, each, bound, len(found))
    names = [f"{key}\n{each.verdict.replace('_', ' ')}" for key, each in found.items()]
    size = style.fit_font(style.inches(ax)[1], 2 * len(names))
    ax.set_yticks([row + 0.5 for row in range(len(names))], names, fontsize=size, **style.PLAIN)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, most * 1.02), ylim=(len(found), 0), xlabel="requests about that parameter")
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    where = f"at {bound:.2g} nats, dotted, error {result.alpha:g}"
    style.title(ax, f"evidence against each explanation: refuted (×) {where}")
    return ax


def _panel(ax: Axes, look: style.Look, row: int, found: Found, bound: float, rows: int) -> None:
    """Draw the hypotheses of one parameter between the heights ``row`` and ``row + 1``."""

    def height(y: Any) -> Any:
        share = (np.asarray(y) - _LOWEST) / (_TOP * bound - _LOWEST)
        return row + 0.95 - 0.9 * np.clip(share, 0, 1)

    most = found.history[-1][0]
    ax.plot([0, most], [height(bound)] * 2, color=look.ink, linewidth=1, ls=":")
    ax.plot([0, most], [height(0.0)] * 2, color=look.faint, linewidth=0.6, alpha=0.6)
    courses = _courses(found, bound)
    for course in courses:
        if course.is_refuted:
            ax.plot(course.x, height(course.y), color=look.faint, linewidth=1)
            ax.plot(course.x[-1], height(course.y[-1]), "x", color=look.faint, markersize=4)
    left = sorted((c for c in courses if not c.is_refuted), key=_weight)
    named = left if len(left) <= _MOST_NAMED else left[: _MOST_NAMED - 1]
    kinds = list(zip(named, look.series, style.STROKES, strict=False))
    for course in left[len(kinds) :]:
        ax.plot(course.x, height(course.y), c=look.faint, linewidth=1.2)
    # Those that are named lie over the others.
    lines = [
        ax.plot(course.x, height(course.y), c=color, ls=stroke, linewidth=1.8)[0]
        for course, color, stroke in kinds
    ]
    gone = sorted((c for c in courses if c.is_refuted), key=lambda c: _weight(c)[1:])
    _name(ax, look, row, left, gone, lines, rows)


def _weight(course: _Course) -> tuple[float, bool, int]:
    """Return what orders explanations: the likeliest first, of equal ones the plainest."""
    plain = course.name in ("honoured", "ignored")
    return max(float(course.y[-1]), _LOWEST), not plain, len(course.name)


def _courses(found: Found, bound: float) -> list[_Course]:
    names = dict.fromkeys(name for _, each in found.history for name in each)
    courses = []
    for name in names:
        points = [(n, each[name]) for n, each in found.history if name in each]
        x = np.array([0.0, *(n for n, _ in points)])
        y = np.array([0.0, *(e for _, e in points)], np.float64)
        over = np.flatnonzero(y >= bound)
        if len(over):
            end = int(over[0]) + 1
            x, y = x[:end], np.minimum(y[:end], bound)
        courses.append(_Course(name, x, y, bool(len(over))))
    return courses


def _name(
    ax: Axes,
    look: style.Look,
    row: int,
    left: Sequence[_Course],
    gone: Sequence[_Course],
    lines: Sequence[Any],
    rows: int,
) -> None:
    """Write beside a panel what is left, each name with a piece of its line, and what is not."""
    named: list[tuple[str, Any]] = [("not refuted:" if left else "all are refuted", None)]
    named += [(course.name, line) for course, line in zip(left, lines, strict=False)]
    if len(left) > len(lines):
        named.append((f"and {len(left) - len(lines)} more", None))
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        name = gone[0].name
        short = name if len(name + more) <= _LONGEST - 2 else f"{name[: _LONGEST - 3 - len(more)]}…"
        named.append((f"× {short}{more}", None))
    tall = style.inches(ax)[1] / rows
    size = style.fit_font(tall, len(named), largest=8)
    for place, (text, line) in enumerate(named):
        y = row + (place + 0.75) / (len(named) + 0.5)
        if line is not None:
            ax.plot(
                [1.01, 1.04],
                [y, y],
                transform=ax.get_yaxis_transform(),
                clip_on=False,
                color=line.get_color(),
                ls=line.get_linestyle(),
                linewidth=1.8,
            )
        ax.annotate(
            text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…",
            (1.05, y),
            xytext=(1.05, y),
            va="center",
            color=look.ink,
            fontsize=size,
            annotation_clip=False,
            xycoords=ax.get_yaxis_transform(),
            textcoords=ax.get_yaxis_transform(),
            **style.PLAIN,
        )
