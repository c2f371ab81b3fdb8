"""The room that a picture has: its cell of the figure, and letters and axes that keep to it."""

from __future__ import annotations

from types import NoneType
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

__all__ = [
    "SLACK",
    "Margins",
    "cell_of",
    "fit_font",
    "has_layout",
    "keep_to_cell",
    "margins_of",
    "part_of",
    "predicted",
    "wrap",
]

_PAD = 0.05  # inches between a cell's edge and what stands in it, as in matplotlib's own layout
_LEAST = 0.25  # of a cell belongs to the axes, however much stands around them
_SMALLEST = 4.0  # points of a letter
_USUAL = (4.5, 3.2)  # inches of a cell; in one that is narrower and lower letters are smaller
_SMALL = 0.7  # and at least that large, beside the usual ones
SLACK = 0.88
"""How much of its room a line may fill: hinting makes letters a tenth wider at some resolutions."""
_SPARE = 1.06  # of the room beside axes, for the same reason


def has_layout(ax: Axes) -> bool:
    """Whether the figure places its axes by itself, when it is drawn."""
    return not isinstance(ax.figure.get_layout_engine(), NoneType | PlaceHolderLayoutEngine)


class Margins(NamedTuple):
    """How far things reach beyond some axes, in pixels."""

    left: float
    right: float
    below: float
    above: float


def margins_of(ax: Axes) -> Margins:
    """Measure what stands around some axes: all but the widths of their title and x label."""
    box = ax.get_window_extent()
    around = ax.get_tightbbox(for_layout_only=True) or box
    sides = box.x0 - around.x0, around.x1 - box.x1, box.y0 - around.y0, around.y1 - box.y1
    return Margins(*(max(0.0, float(side)) for side in sides))


def cell_of(ax: Axes) -> Bbox:
    """Return the part of the figure that belongs to some axes, in pixels.

    In a grid it reaches to the middle of the gaps, and to the edge of the figure; axes that are in
    no grid have what lies above, below and left of them.
    """
    figure: Any = ax.figure  # a part of a figure will do, though matplotlib's types say otherwise
    spec = ax.get_subplotspec()
    if spec is None:
        return Bbox.from_extents(figure.bbox.x0, figure.bbox.y0, ax.bbox.x1, figure.bbox.y1)
    grid, top = spec.get_gridspec(), spec.get_topmost_subplotspec()
    whole = Bbox.unit() if top is spec else top.get_position(figure)
    bottoms, tops, lefts, rights = grid.get_grid_positions(figure)
    rows, columns = spec.rowspan, spec.colspan
    x0, y0, x1, y1 = whole.extents
    if columns.start:
        x0 = (rights[columns.start - 1] + lefts[columns.start]) / 2
    if columns.stop < grid.ncols:
        x1 = (rights[columns.stop - 1] + lefts[columns.stop]) / 2
    if rows.start:
        y1 = (bottoms[rows.start - 1] + tops[rows.start]) / 2
    if rows.stop < grid.nrows:
        y0 = (bottoms[rows.stop - 1] + tops[rows.stop]) / 2
    return Bbox.from_extents(x0, y0, x1, y1).transformed(figure.transSubfigure)


def predicted(ax: Axes, margins: Margins | None = None) -> Bbox:
    """Return where some axes come to stand, in pixels, so that all around them is in their cell."""
    if ax.get_subplotspec() is None:
        return ax.get_window_extent()
    cell, pad = cell_of(ax), _PAD * ax.figure.dpi
    left, right, below, above = margins_of(ax) if margins is None else margins
    left, right = _SPARE * left, _SPARE * right
    width = max(cell.width - left - right - 2 * pad, _LEAST * cell.width)
    height = max(cell.height - below - above - 2 * pad, _LEAST * cell.height)
    return Bbox.from_bounds(cell.x0 + pad + left, cell.y0 + pad + below, width, height)


def part_of(ax: Axes) -> float:
    """Return how large letters around some axes are, beside those of a picture on its own."""
    cell, dpi = cell_of(ax), ax.figure.dpi
    part = max(cell.width / dpi / _USUAL[0], cell.height / dpi / _USUAL[1])
    return float(min(max(part, _SMALL), 1.0))


def fit_font(available: float, lines: int, largest: float = 9, smallest: float = 4) -> float:
    """Return the font size in points at which so many lines fit into so many inches."""
    return float(min(largest, max(smallest, 72 * available / max(lines, 1) / 1.25)))


def keep_to_cell(ax: Axes, margins: Margins) -> None:
    """Make letters as small as the axes come to be, and without a layout move the axes, too.

    A plain ``plt.subplots(2, 2)`` leaves titles and labels no room of their own: what does not fit
    would cover the neighbours.
    """
    is_placed = has_layout(ax) or ax.get_subplotspec() is None
    for turn in range(1 if is_placed else 3):
        box, now = predicted(ax, None if turn else margins), ax.get_window_extent()
        names, narrow = ax.get_yticklabels(), box.width / now.width
        low = box.height / now.height
        if isinstance(ax.yaxis.get_major_formatter(), FuncFormatter):  # names, one for each row
            lines = sum(name.get_text().count("\n") + 1 for name in names)
            size = max(float(name.get_fontsize()) for name in names)
            low = fit_font(box.height / ax.figure.dpi, lines, largest=size) / size
            _shrink(names, low)
        if min(narrow, low) < 1:
            _shrink([text for text in ax.texts if _height(text) < now.y1], min(narrow, low))
        if not is_placed:
            ax.set_position(box.transformed(ax.figure.transSubfigure.inverted()).bounds)
            ax.set_in_layout(True)  # by a layout that comes later


def _height(text: Text) -> float:
    """Return where a text begins, in pixels: what stands above the axes takes no room in them."""
    return float(Text.get_window_extent(text).y0)


def _shrink(texts: list[Text], ratio: float) -> None:
    for text in texts:
        size = float(text.get_fontsize())
        text.set_fontsize(min(size, max(size * ratio, _SMALLEST)))


def wrap(text: Text, room: float) -> int:
    """Break lines that are longer than so many pixels, at blanks; return how many there are.

    Something is left: by resolution, hinting makes letters wider or narrower.
    """

    def length(line: str) -> float:
        text.set_text(line)
        box = Text.get_window_extent(text)
        return box.height if text.get_rotation() == 90 else box.width

    lines: list[str] = []
    for paragraph in text.get_text().split("\n"):
        line, *words = paragraph.split(" ")
        for word in words:
            if length(f"{line} {word}") > SLACK * room:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}"
        lines.append(line)
    text.set_text("\n".join(lines))
    return len(lines)
