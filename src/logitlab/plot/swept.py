"""The result of a sweep: a line for each of few values, or a map over two parameters."""

from __future__ import annotations

import itertools
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError, check_choice
from logitlab.sweeps.result import Sweep
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["draw_swept"]

_LINES = 6  # of more a map tells more


def draw_swept(found: Sweep, show: str | None, ax: Axes | None) -> Axes:
    """Draw a metric of a sweep, the first one by default.

    Along the first axis of numbers there is a line for each combination of the others, if these are
    few, with what `simulate` knows of its error as a band; rows are drawn as their median, with a
    band from the lower to the upper quartile. Three values and more of each of two parameters make
    a map.
    """
    name = next(iter(found.values)) if show is None else show
    check_choice("show", name, found.values)
    values, axes = found.values[name], dict(found.axes)
    band = (found.low[name], found.high[name]) if name in found.low else None
    if "row" in axes:
        del axes["row"]
        lower, values, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=-1)
        band = (lower, upper) if found.rows > 1 else None
    beside = f" (with {', '.join(found.zipped)})" if found.zipped else ""
    along = next((key for key in axes if _is_numeric(axes[key])), next(iter(axes)))
    lines = values.size // max(len(axes[along]), 1)
    unit = found.units[name]
    label = name.replace("_", " ") + (f" in {unit}" if unit else "")
    title = f"{name.replace('_', ' ')}, {_kept(found)}"
    is_map = len(axes) == 2 and all(_is_numeric(a) and len(a) > 2 for a in axes.values())
    if lines <= _LINES and not is_map:
        return _draw_lines(axes, along, values, band, label, title + beside, ax)
    if len(axes) != 2:
        hint = "Sweep fewer values, or draw some of them."
        rule = f"one of two axes, or of {_LINES} lines"
        raise ParameterError("result", rule, found, hint)
    return _draw_map(axes, values, label, title.replace(" and quartiles", ""), ax)


def _kept(found: Sweep) -> str:
    if found.rows == 1:
        return "one row"
    words = {"row": "median and quartiles", "quantile": "quantiles", "bin": "counts"}
    kept = next((words[axis] for axis in words if axis in found.axes), "mean")
    return f"{kept} of {found.rows} rows"


def _is_numeric(values: Any) -> bool:
    return all(isinstance(value, int | float | np.number) for value in values)


def _draw_lines(
    axes: dict[str, Any],
    along: str,
    values: NDArray[np.float64],
    band: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    label: str,
    title: str,
    ax: Axes | None,
) -> Axes:
    if ax is None:
        ax = style.axes(7, 4)
    look = style.ground(ax)
    place = list(axes).index(along)
    others = {key: held for key, held in axes.items() if key != along}

    def each(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.moveaxis(array, place, -1).reshape(-1, len(axes[along]))

    numeric = _is_numeric(axes[along])
    x = np.asarray(axes[along], np.float64) if numeric else np.arange(len(axes[along]))
    marker = "" if numeric and len(x) > 1 else "o"
    order = np.argsort(x, kind="stable") if numeric else np.arange(len(x))
    x = x[order]
    for i, line in enumerate(each(values)[:, order]):
        color = look.series[i % len(look.series)]
        if band is not None:
            low, high = (each(end)[i, order] for end in band)
            ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        stroke = style.STROKES[i % len(style.STROKES)]
        ax.plot(x, line, color=color, linestyle=stroke, linewidth=1.8, marker=marker)
    if not numeric:
        ax.set_xticks(x, [str(value) for value in axes[along]], **style.PLAIN)
    if np.nanmax(values, initial=0) > 100 * max(np.nanmin(values, initial=np.inf), 1):
        ax.set_yscale("log")
    ax.set_xlabel(along)
    ax.set_ylabel(label)
    if others:
        names = [
            ", ".join(f"{key} {_brief(value)}" for key, value in zip(others, point, strict=True))
            for point in itertools.product(*others.values())
        ]
        style.legend(ax, title, ax.lines, names)
    else:
        style.title(ax, title)
    return ax


def _draw_map(
    axes: dict[str, Any], values: NDArray[np.float64], label: str, title: str, ax: Axes | None
) -> Axes:
    """Draw values of shape (y, x) as colours, with a scale beside them."""
    from matplotlib.colors import LogNorm, Normalize

    if ax is None:
        ax = style.axes(7, 4.5)
    look = style.ground(ax)
    (first, y), (second, x) = axes.items()
    lowest, most = np.nanmin(values), np.nanmax(values)
    norm = (LogNorm if lowest > 0 and most > 100 * max(lowest, 1) else Normalize)(lowest, most)
    # Cells of equal size, however the values are spaced.
    mesh = ax.pcolormesh(values, cmap="cividis", norm=norm)
    width, height = style.inches(ax)
    for axis, listed, across in ((ax.xaxis, x, True), (ax.yaxis, y, False)):
        names = [_brief(value) for value in listed]
        # At 10 points a character is 0.09 inch wide, and a line 0.2 inch high.
        least = 0.09 * max(map(len, names)) + 0.12 if across else 0.25
        room = max(1, int((0.85 * width if across else height) / least))
        at = np.arange(0, len(listed), -(-len(listed) // room))
        axis.set_ticks(at + 0.5, [names[i] for i in at], **style.PLAIN)
    scale = ax.figure.colorbar(mesh, ax=ax)
    scale.set_label(label, color=look.ink)
    scale.ax.tick_params(which="both", color=look.faint, labelcolor=look.ink)
    scale.outline.set_visible(False)
    ax.set_xlabel(second)
    ax.set_ylabel(first)
    style.title(ax, title)
    return ax


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
