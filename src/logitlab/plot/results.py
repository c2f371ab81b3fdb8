"""The result of a sweep: lines along a parameter, places, histograms, or a map over two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError, check_choice
from logitlab.plot.ticks import count, decimal, decimals, is_number, values
from logitlab.sweeps.measures import MEASURES
from logitlab.sweeps.result import Sweep
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgba
from numpy.typing import NDArray

__all__ = ["draw_result"]

_MOST_LINES = 6  # of more a map tells more
_MOST_STAIRS = 3  # histograms over each other
_SAME = 1e-5  # of the largest value: curves nearer than that differ by rounding alone

Floats = NDArray[np.float64]


def draw_result(result: Sweep, show: str | None, ax: Axes | None) -> Axes:
    """Draw a metric of a sweep, the first one by default.

    Along the first axis of numbers there is a line for each combination of the others, if these are
    few, with what `simulate` knows of its error as a band; rows are drawn as their median, with a
    band from the lower to the upper quartile; a quantile has a line. Three values and more of each
    of two parameters make a map.
    """
    metric = next(iter(result.values)) if show is None else show
    check_choice("show", metric, result.values)
    numbers, axes = result.values[metric], dict(result.axes)
    if "bin" in axes:
        return _draw_histogram(result, metric, ax)
    band = (result.low[metric], result.high[metric]) if metric in result.low else None
    if "row" in axes:
        del axes["row"]
        lower, numbers, upper = np.quantile(numbers, [0.25, 0.5, 0.75], axis=-1)
        band = (lower, upper) if result.rows > 1 else None
    along = next((key for key in axes if all(map(is_number, axes[key]))), next(iter(axes)))
    label = _label(metric, result.units[metric])
    are_many = all(all(map(is_number, a)) and len(a) > 2 for a in axes.values())
    is_map = len(axes) == 2 and are_many and "quantile" not in axes
    if numbers.size // max(len(axes[along]), 1) <= _MOST_LINES and not is_map:
        title = _title(metric, result, band is not None)
        if len(axes) == 1 and not all(map(is_number, axes[along])):
            return _draw_places(along, axes[along], numbers, label, title, ax)
        return _draw_lines(axes, along, numbers, band, label, title, ax)
    _check_two(axes, result)
    x, y = reversed(axes)
    grid = [_Side(x, axes[x]), _Side(y, axes[y])]
    return _draw_map(grid, numbers, label, _title(metric, result, False), ax)


def _check_two(axes: Mapping[str, Any], result: Sweep) -> None:
    if len(axes) != 2:
        raise ParameterError(
            "result",
            f"one of two axes, or of {_MOST_LINES} lines",
            result,
            "Sweep fewer values, or draw some of them.",
        )


def _label(metric: str, unit: str) -> str:
    """Return what an axis of a metric says: with its unit."""
    name = metric.replace("_", " ")
    if unit == "probability":
        return name if unit in name else f"{name}, a share of probability"
    return f"{name} in {unit}" if unit else name


def _title(metric: str, result: Sweep, has_band: bool) -> str:
    name, rows = metric.replace("_", " "), f"{count(result.rows)} rows"
    beside = f" (with {', '.join(result.zipped)})" if result.zipped else ""
    if result.rows == 1:
        title = f"{name} of one row"
    elif "row" in result.axes:
        title = f"{name}, the median of {rows}"
        title += ", and a band from the lower to the upper quartile" if has_band else ""
    elif "quantile" in result.axes:
        title = f"{name}, quantiles of {rows}"
    elif "bin" in result.axes:
        title = f"{name} of {rows}: how many have how much"
    else:
        title = f"{name}, the mean of {rows}"
    if has_band and "row" not in result.axes:
        title += ", and a band for the error of the draws"
    return title + beside


def _names(axes: Mapping[str, Any]) -> list[str]:
    """Return what each combination of the values of some axes is called; an engine by its name."""
    columns = [
        [text if key == "engine" else f"{key} {text}" for text in values(axes[key])] for key in axes
    ]
    return [", ".join(parts) for parts in itertools.product(*columns)]


def _told_equal(names: Sequence[str], curves: Sequence[Floats]) -> list[str]:
    """Return names, with that of an earlier curve where one is the same: "vllm = openrouter"."""
    result: list[str] = []
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        size = _SAME * float(np.max(np.abs(curve[np.isfinite(curve)]), initial=0))
        same = (
            j for j in range(i) if np.allclose(curves[j], curve, rtol=0, atol=size, equal_nan=True)
        )
        first = next(same, None)
        result.append(name if first is None else f"{name} = {names[first]}")
    return result


def _colors(axes: Mapping[str, Any], look: style.Look) -> list[str]:
    """Return a colour for each combination: of an engine its own, else one after the other."""
    combinations = [
        dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())
    ]
    if "engine" in axes:
        return [style.engine_color(str(point["engine"]), look) for point in combinations]
    return [color for _, color in zip(combinations, itertools.cycle(look.series), strict=False)]


def _draw_places(
    name: str, places: Sequence[Any], numbers: Floats, label: str, title: str, ax: Axes | None
) -> Axes:
    """Draw a number for each of some names, as lines from the axis, below each other."""
    ax, look = style.canvas(ax, 7, 1.2 + 0.3 * len(places))
    ones = _told_equal([str(place) for place in places], [np.array([one]) for one in numbers])
    font = style.token_ticks(ax, ones)
    y, colors = np.arange(len(places)), _colors({name: places}, look)
    is_log = _is_wide(numbers)
    if is_log:
        ax.set_xscale("log")
    start = float(np.nanmin(numbers)) / 2 if is_log else min(0.0, float(np.nanmin(numbers)))
    ax.hlines(y, start, numbers, colors=colors, linewidth=2.5)
    ax.scatter(numbers, y, c=colors, s=40, zorder=3)
    for at, number in zip(y.tolist(), numbers.tolist(), strict=True):
        how: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(decimal(number), (number, at), fontsize=min(font, 8), color=look.ink, **how)
    ax.margins(x=0.12)
    ax.set_xlim(left=start)
    ax.set(xlabel=label, ylabel="" if name == "engine" else name)
    style.title(ax, title)
    return ax


def _is_wide(numbers: Floats) -> bool:
    """Whether numbers want a logarithmic scale."""
    known = numbers[np.isfinite(numbers)]
    lowest, most = np.min(known, initial=np.inf), np.max(known, initial=0)
    return bool(lowest > 0 and most > 100 * max(lowest, 1))


def _draw_lines(
    axes: dict[str, Any],
    along: str,
    numbers: Floats,
    band: tuple[Floats, Floats] | None,
    label: str,
    title: str,
    ax: Axes | None,
) -> Axes:
    ax, look = style.canvas(ax, 7, 4)
    numeric, number = all(map(is_number, axes[along])), len(axes[along])
    x = np.asarray(axes[along], np.float64) if numeric else np.arange(number)
    order = np.argsort(x, kind="stable")
    x, others = x[order], {key: axes[key] for key in axes if key != along}

    def lines(array: Floats) -> Floats:
        return np.moveaxis(array, list(axes).index(along), -1).reshape(-1, number)[:, order]

    colors, curves = _colors(others, look), lines(numbers)
    if band is not None:
        for low, high, color in zip(*map(lines, band), colors, strict=False):
            ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    marker = "" if numeric and number > 1 else "o"
    strokes = style.STROKES if numeric else ("none",) * _MOST_LINES
    for line, color, stroke in zip(curves, colors, strokes, strict=False):
        ax.plot(x, line, c=color, ls=stroke, linewidth=1.8, marker=marker)
    if not numeric:
        ax.set_xticks(x, [str(value) for value in axes[along]], **style.PLAIN)
    if _is_wide(numbers):
        ax.set_yscale("log")
    ax.set(xlabel=along, ylabel=label)
    if others:
        style.legend(ax, title, ax.lines, _told_equal(_names(others), list(curves)))
    else:
        style.title(ax, title)
    return ax


def _draw_histogram(result: Sweep, metric: str, ax: Axes | None) -> Axes:
    """Draw how many rows lie in each bin, over the bins in the unit of the metric."""
    axes, counts = {k: v for k, v in result.axes.items() if k != "bin"}, result.values[metric]
    edges = np.asarray(result.edges[metric], np.float64)
    unit = MEASURES[metric].unit if metric in MEASURES else ""
    curves, title = counts.reshape(-1, counts.shape[-1]), _title(metric, result, False)
    filled = np.flatnonzero(curves.any(axis=0))
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, counts.shape[-1])
    bins = _Side(_label(metric, unit), edges[first : last + 1], edges[first : last + 1])
    if len(curves) > _MOST_STAIRS:
        _check_two(result.axes, result)
        [(key, places)] = axes.items()
        grid = [bins, _Side(key, places)]
        return _draw_map(grid, counts[..., first:last], "number of rows", title, ax)
    ax, look = style.canvas(ax, 7, 4)
    looks = zip(curves, _colors(axes, look), style.STROKES, strict=False)
    steps = [
        ax.stairs(
            each[first:last],
            bins.edges,
            edgecolor=color,
            facecolor=to_rgba(color, 1.0 if len(curves) == 1 else 0.2),
            fill=True,
            linestyle=stroke,
            linewidth=1.8,
        )
        for each, color, stroke in looks
    ]
    if bins.is_log:
        ax.set_xscale("log")
    ax.set(xlabel=bins.name, ylabel="number of rows", ylim=(0, None))
    decimals(ax.yaxis, is_count=True)
    style.legend(ax, title, steps, _told_equal(_names(axes), list(curves)))
    return ax


class _Side:
    """One side of a map, or the bins of a histogram.

    Attributes
    ----------
    name : str
    edges : ndarray
        Of the cells: in the unit of the values where these are evenly spaced, else 0, 1, 2 …
    names : list of str
        What stands at the middle of each cell, if it is not on a scale of numbers.
    is_log : bool
        Whether the edges grow by a ratio.
    is_words : bool
        Whether the values are names, as of engines.
    """

    def __init__(self, name: str, places: Any, edges: Floats | None = None) -> None:
        self.name, self.names, self.is_log = name, list[str](), False
        self.is_words = not all(map(is_number, places))
        if edges is not None:
            self.edges = edges
            ratios = edges[1:] / edges[:-1] if edges[0] > 0 else np.zeros(0)
            self.is_log = len(ratios) > 2 and bool(np.ptp(ratios) < 1e-6)
            return
        steps = (
            np.diff(np.asarray(places, np.float64)) if all(map(is_number, places)) else np.zeros(1)
        )
        if len(steps) > 2 and steps[0] > 0 and np.allclose(steps, steps[0]):
            start = float(places[0]) - steps[0] / 2
            self.edges = start + steps[0] * np.arange(len(places) + 1)
            return
        self.edges, self.names = np.arange(len(places) + 1.0), values(places)


def _draw_map(
    sides: Sequence[_Side], numbers: Floats, label: str, title: str, ax: Axes | None
) -> Axes:
    """Draw values of shape (y, x) as colours, with a scale beside them."""
    ax, look = style.canvas(ax, 7, 4.5)
    x, y = sides
    norm = (LogNorm if _is_wide(numbers) else Normalize)(np.nanmin(numbers), np.nanmax(numbers))
    mesh = ax.pcolormesh(x.edges, y.edges, numbers, cmap="cividis", norm=norm)
    width, height = style.inches(ax)
    if x.is_log:
        ax.set_xscale("log")
    for axis, side, room in ((ax.xaxis, x, 0.85 * width), (ax.yaxis, y, height)):
        if side.names:
            # At 10 points a character is 0.09 inch wide, and a line 0.25 inch high.
            least = 0.09 * max(map(len, side.names)) + 0.12 if axis is ax.xaxis else 0.25
            places = np.arange(0, len(side.names), -(-len(side.names) // max(1, int(room / least))))
            axis.set_ticks(places + 0.5, [side.names[i] for i in places], **style.PLAIN)
    # Within the axes, so that a figure without a layout has room for it, too.
    scale = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.03, 0, 0.035, 1)))
    scale.set_label(label, color=look.ink)
    scale.ax.tick_params(which="both", color=look.faint, labelcolor=look.ink)
    scale.outline.set_visible(False)
    decimals(scale.ax.yaxis, is_count=label == "number of rows")
    ax.set(xlabel=x.name, ylabel=y.name)
    if y.is_words:
        ax.invert_yaxis()  # the first one on top, as in a list
    style.title(ax, title)
    return ax
