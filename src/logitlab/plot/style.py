"""How pictures look: axes on light and dark grounds, titles, legends, letters that stay legible.

Nothing here touches ``matplotlib.rcParams`` or a figure of pyplot's.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, check_flag
from logitlab.plot.colours import (
    DARK,
    PALETTE,
    REMOVED_HATCH,
    Look,
    engine_color,
    ink_on,
    look_on,
)
from logitlab.plot.labels import fonts
from logitlab.plot.room import (
    SLACK,
    Margins,
    cell_of,
    fit_font,
    keep_to_cell,
    margins_of,
    part_of,
    predicted,
    wrap,
)
from logitlab.plot.ticks import decimals
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, ScalarFormatter
from matplotlib.transforms import ScaledTranslation

__all__ = [
    "MARKERS",
    "PALETTE",
    "PLAIN",
    "REMOVED_HATCH",
    "STROKES",
    "Look",
    "ShownAxes",
    "around",
    "axes",
    "canvas",
    "engine_color",
    "figure_of",
    "fit_font",
    "ground",
    "inches",
    "ink_on",
    "legend",
    "note",
    "spread",
    "title",
    "token_ticks",
    "write",
]

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""What every text that may hold a token is made with: no ``$`` in it is mathematics."""

MARKERS = "osD^vP"
"""Points beside each other, told apart without colours."""

STROKES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))
"""Lines beside each other, told apart without colours."""


class ShownAxes(Axes):
    """Axes that a notebook shows, though their figure is none of pyplot's."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        figure_of(self).savefig(buffer, format="png")
        return buffer.getvalue()


def figure_of(ax: Axes) -> Figure:
    """Return the figure that some axes stand on, whatever parts of it lie between.

    ``get_figure(root=True)`` says the same since matplotlib 3.10.
    """
    return ax.figure.canvas.figure


def axes(width: float = 8, height: float = 4.5, *, dark: bool = False) -> Axes:
    """Return new axes for one picture, on a figure that pyplot does not know.

    Every function of `logitlab.plot` makes them where it is given no ``ax``. A notebook shows
    them as the last value of a cell; ``ax.figure.savefig(path)`` writes them to a file. There is
    nothing to close.

    Parameters
    ----------
    width, height : float
        In inches. The resolution is that of ``rcParams["figure.dpi"]``, at least 100.
    dark : bool
        Light ink on a dark ground. Axes of one's own may have any ground: the colours follow it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a width or height that is not above 0 and below 1000.

    Examples
    --------
    >>> from logitlab import plot
    >>> ax = plot.axes(6, 3, dark=True)
    >>> plot.distribution([2.0, 1.0, 0.0], ax=ax) is ax
    True
    """
    for name, value in {"width": width, "height": height}.items():
        if not isinstance(value, int | float) or not 0 < value < 1000:
            raise ParameterError(name, "a number of inches above 0 and below 1000", value)
    check_flag("dark", dark)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_dpi(max(figure.dpi, 100))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot(axes_class=ShownAxes)
    if dark:
        figure.set_facecolor(DARK.ground)
        ax.set_facecolor(DARK.ground)
    return ax


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Axes, Look]:
    """Return the axes to draw on, new ones of that size where there are none, and their colours."""
    ax = axes(width, height) if ax is None else ax
    return ax, ground(ax)


def ground(ax: Axes) -> Look:
    """Return the colours for the ground that some axes have, after giving them to the frame."""
    _check_axes(ax)
    outer = around(ax)
    for side, spine in ax.spines.items():
        spine.set(color=outer.faint, visible=side in ("left", "bottom"))
    ax.tick_params(which="both", color=outer.faint, labelcolor=outer.ink)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_color(outer.ink)
    return look_on(ax.get_facecolor())


def _check_axes(ax: object) -> None:
    if not isinstance(ax, Axes) or ax.name != "rectilinear":
        raise ParameterError("ax", "Axes with two straight axes, or None", ax)


def around(ax: Axes) -> Look:
    """Return the colours for what stands around some axes, on the ground of their figure."""
    color = to_rgba(ax.figure.get_facecolor())
    return look_on(color if color[3] > 0 else ax.get_facecolor())


def inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of some axes in inches, before any layout."""
    _check_axes(ax)
    box = ax.get_position().transformed(ax.figure.transFigure)
    dpi = ax.figure.dpi
    return box.width / dpi, box.height / dpi


def write(ax: Axes, x: float, y: float, text: str, **how: Any) -> Text:
    """Write a text that may hold a token."""
    return ax.text(x, y, text, **(PLAIN | how))


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Return places near the wanted ones that keep their distance: for labels beside lines.

    Parameters
    ----------
    wanted : sequence of float
    distance : float
        The least that two neighbours are apart, as far as there is room for it.
    low, high : float
        The ends of the room.

    Examples
    --------
    >>> spread([0.5, 0.5, 0.9], 0.1, 0, 1)
    [0.45, 0.55, 0.9]
    """
    distance = min(distance, (high - low) / max(len(wanted) - 1, 1))

    def start(group: list[int]) -> float:
        length = distance * (len(group) - 1)
        middle = sum(wanted[i] for i in group) / len(group)
        return min(max(middle - length / 2, low), high - length)

    def overlap(before: list[int], after: list[int]) -> bool:
        return start(after) < start(before) + distance * len(before) - 1e-12

    # Groups of neighbours that touch, each around the mean of what its members want.
    groups: list[list[int]] = []
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        groups.append([i])
        while len(groups) > 1 and overlap(*groups[-2:]):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = {
        i: round(start(group) + step * distance, 9)
        for group in groups
        for step, i in enumerate(group)
    }
    return [places[i] for i in range(len(wanted))]


def title(ax: Axes, text: str) -> None:
    """Write the sentence that sums up a picture, and give everything the room that there is.

    It stands above the left end of the axes and of what is above them, in two lines at most where
    letters of 7 points allow that. This comes last: all else that is drawn is measured.
    """
    _entitle(ax, text, _margins(ax))


def legend(ax: Axes, text: str, handles: Collection[Artist], names: Collection[str]) -> None:
    """Write the title, and between it and the picture what colours and hatches mean."""
    margins = _margins(ax)
    if names:
        box = _keys(ax, margins, list(handles), list(names))
        above = box.get_window_extent().y1 - ax.bbox.y1
        margins = margins._replace(above=max(margins.above, float(above)))
    _entitle(ax, text, margins)


def _margins(ax: Axes) -> Margins:
    """Write numbers at ticks as people read them, wrap the labels, and measure what is around."""
    for axis in (ax.xaxis, ax.yaxis):
        # Names have another formatter than numbers.
        if isinstance(axis.get_major_formatter(), ScalarFormatter | LogFormatter):
            decimals(axis)
            if part_of(ax) < 1:
                axis.set_tick_params(labelsize=10 * part_of(ax))
                axis.label.set_fontsize(min(float(axis.label.get_fontsize()), 10 * part_of(ax)))
    ax.set_title("", loc="left")
    margins = margins_of(ax)
    box, cell = predicted(ax, margins), cell_of(ax)
    below, beside = ax.xaxis.label, ax.yaxis.label
    before = below.get_text(), beside.get_text()
    wrap(below, cell.x1 - box.x0 if below.get_horizontalalignment() == "left" else box.width)
    wrap(beside, box.height)
    return margins if before == (below.get_text(), beside.get_text()) else margins_of(ax)


def _entitle(ax: Axes, text: str, margins: Margins) -> None:
    room, pixels = cell_of(ax).x1 - predicted(ax, margins).x0, ax.figure.dpi / 72
    how: dict[str, Any] = {"fontfamily": list(fonts()), "color": around(ax).ink, **PLAIN}
    pad = margins.above / pixels + 5
    for size, most in ((9.5, 1), (9.0, 1), (8.5, 1), (9.5, 2), (8.5, 2), (7.5, 2), (7.0, 2)):
        shown = ax.set_title(text, loc="left", fontsize=size * part_of(ax), pad=pad, **how)
        if wrap(shown, room) <= most:
            break
    tall = shown.get_window_extent().height + 5 * pixels
    keep_to_cell(ax, margins._replace(above=margins.above + tall))


def _keys(ax: Axes, margins: Margins, handles: list[Artist], names: list[str]) -> Legend:
    """Write a legend above all else, in as few lines as there is room for."""
    dpi, part = ax.figure.dpi, part_of(ax)
    room = SLACK * (cell_of(ax).x1 - predicted(ax, margins).x0)
    up = ScaledTranslation(0, margins.above / dpi, ax.figure.dpi_scale_trans)

    def drawn(columns: int, size: float) -> Legend:
        box = ax.legend(
            handles,
            names,
            fontsize=size * part,
            labelcolor=around(ax).ink,
            ncols=columns,
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            bbox_transform=ax.transAxes + up,
            borderpad=0.1,
            borderaxespad=0.3,
            columnspacing=1.2,
        )
        for entry in box.get_texts():
            entry.set(fontfamily=list(fonts()), **PLAIN)
        return box

    box = drawn(len(names), 8.0)
    wide = [entry.get_window_extent().width for entry in box.get_texts()]

    def width(columns: int, size: float) -> float:
        # Each name has a piece of 2 letters and a gap of 0.8 before it, columns 1.2 between them.
        rows = np.array_split(wide, columns)
        letters = columns * 2.8 + (columns - 1) * 1.2 + 0.2
        return float(sum(one.max() for one in rows) * size / 8 + letters * size * part * dpi / 72)

    choices = [*itertools.product(range(len(names), 0, -1), (8.0, 7.0)), (1, 6.0)]
    best = next((choice for choice in choices if width(*choice) <= room), choices[-1])
    return box if best == choices[0] else drawn(*best)


def note(ax: Axes, sentence: str, *, is_left: bool = False) -> None:
    """Write a sentence below a picture, below what stands there already."""
    if sentence:
        lines = [line for line in (ax.get_xlabel(), sentence) if line]
        how: dict[str, Any] = {"fontfamily": list(fonts()), **PLAIN}
        if is_left:
            how |= {"fontsize": 8 * part_of(ax), "color": around(ax).faint, "loc": "left"}
        ax.set_xlabel("\n".join(lines), **how)


def token_ticks(ax: Axes, names: Sequence[str], margin: float = 0) -> float:
    """Put tokens beside the vertical axis, the first one on top, and return their font size.

    They are as large as fits between ``margin`` inches above and below together.
    """
    size = fit_font(inches(ax)[1] - margin, len(names))
    ax.set_yticks(range(len(names)), names, fontsize=size, fontfamily=list(fonts()), **PLAIN)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return size
