"""How pictures look: colours, light and dark grounds, text that stays legible.

The colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart;
what they distinguish is told a second time by a hatch, a marker or a word. Nothing here touches
``matplotlib.rcParams`` or a figure of pyplot's.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from logitlab.checks import ParameterError, check_flag
from logitlab.plot.labels import fonts
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

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
    "spread",
    "title",
    "token_ticks",
    "write",
]

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
"""M. Okabe and K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/"""

PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""What every text that may hold a token is made with: no ``$`` in it is mathematics."""

REMOVED_HATCH = "////"

MARKERS = "osD^vP"
"""Points beside each other, told apart without colours."""

STROKES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))
"""Lines beside each other, told apart without colours."""


class Look(NamedTuple):
    """The colours that go with a ground.

    Attributes
    ----------
    ground : str
        The ground itself.
    ink : str
        Text and outlines.
    faint : str
        What should be seen last: grid lines, notes.
    kept, removed : str
        Tokens that a chain leaves, and those that it removes.
    series : tuple of str
        For lines beside each other.
    """

    ground: str
    ink: str
    faint: str
    kept: str
    removed: str
    series: tuple[str, ...]

    @property
    def hatch(self) -> dict[str, Any]:
        """How bars and patches of what is removed look."""
        return {"facecolor": self.ground, "edgecolor": self.removed, "hatch": REMOVED_HATCH}


_LIGHT = Look(
    ground="#FFFFFF",
    ink="#222222",
    faint="#6B6B6B",
    kept=PALETTE["blue"],
    removed="#BBBBBB",
    series=tuple(
        PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky")
    ),
)
_DARK = Look(
    ground="#0D1117",
    ink="#E6E6E6",
    faint="#9BA3AD",
    kept=PALETTE["sky"],
    removed="#5B626B",
    series=tuple(
        PALETTE[name] for name in ("sky", "orange", "green", "purple", "yellow", "vermilion")
    ),
)

# One colour for each family; a variant has that of the engine it is a variant of.
_ENGINE_COLORS = {
    "vllm": PALETTE["blue"],
    "sglang": PALETTE["orange"],
    "transformers": PALETTE["purple"],
    "llama": PALETTE["green"],
    "mlx": PALETTE["vermilion"],
    "kobold": PALETTE["sky"],
    "aphrodite": PALETTE["yellow"],
    # Beyond the seven: the names beside them tell these apart.
    "ollama": "#8F8F2A",
    "exllama": "#7C6BD6",
    "tabby": "#7C6BD6",
    "tgi": "#A66A2C",
    "textgen": "#E0567A",
}


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
        For a width or height that is not positive.

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
        figure.set_facecolor(_DARK.ground)
        ax.set_facecolor(_DARK.ground)
    return ax


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Axes, Look]:
    """Return the axes to draw on, new ones of that size where there are none, and their colours."""
    ax = axes(width, height) if ax is None else ax
    return ax, ground(ax)


def ink_on(color: Any) -> str:
    """Return black or white, whichever has the higher contrast: 4.58 at least (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return "#000000" if np.dot(linear, [0.2126, 0.7152, 0.0722]) > 0.179 else "#FFFFFF"


def ground(ax: Axes) -> Look:
    """Return the colours for the ground that some axes have, after giving them to the frame."""
    _check_axes(ax)
    outer = around(ax)
    for side, spine in ax.spines.items():
        spine.set(color=outer.faint, visible=side in ("left", "bottom"))
    ax.tick_params(which="both", color=outer.faint, labelcolor=outer.ink)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_color(outer.ink)
    return _look_on(ax.get_facecolor())


def _check_axes(ax: object) -> None:
    if not isinstance(ax, Axes) or ax.name != "rectilinear":
        raise ParameterError("ax", "Axes with two straight axes, or None", ax)


def around(ax: Axes) -> Look:
    """Return the colours for what stands around some axes, on the ground of their figure."""
    color = to_rgba(ax.figure.get_facecolor())
    return _look_on(color if color[3] > 0 else ax.get_facecolor())


def _look_on(color: Any) -> Look:
    return _DARK if ink_on(color) == "#FFFFFF" else _LIGHT


def engine_color(name: str, look: Look) -> str:
    """Return the colour of an engine: the same in every picture."""
    for family, color in _ENGINE_COLORS.items():
        if name.startswith(family):
            return color
    return look.faint if name == "openai" else look.ink


def inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of some axes in inches, before any layout."""
    _check_axes(ax)
    box = ax.get_position().transformed(ax.figure.transFigure)
    dpi = ax.figure.dpi
    return box.width / dpi, box.height / dpi


def fit_font(available: float, lines: int, largest: float = 9, smallest: float = 4) -> float:
    """Return the font size in points at which so many lines fit into so many inches."""
    return float(min(largest, max(smallest, 72 * available / max(lines, 1) / 1.25)))


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


def title(ax: Axes, text: str, pad: float = 6) -> None:
    """Write the sentence that sums up a picture, above its left end, as large as fits."""
    # A layout gives the axes all room that the labels beside them leave.
    ticks = ax.get_yticklabels()
    beside = max((len(t.get_text()) for t in ticks if not t.get_parse_math()), default=0)
    size = 72 * (1.2 * inches(ax)[0] - 0.08 * beside) / (0.58 * len(text))
    ax.set_title(
        text,
        loc="left",
        color=around(ax).ink,
        fontsize=float(np.clip(size, 5, 9.5)),
        pad=pad,
        **PLAIN,
    )


def legend(ax: Axes, text: str, handles: Collection[Artist], names: Collection[str]) -> None:
    """Write the title, and between it and the picture what colours and hatches mean."""
    width = inches(ax)[0] / (0.068 * max(map(len, names)) + 0.5)
    columns = int(np.clip(width, 1, len(names)))
    box = ax.legend(
        list(handles),
        list(names),
        fontsize=8,
        labelcolor=around(ax).ink,
        ncols=columns,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderpad=0.1,
        borderaxespad=0.3,
        columnspacing=1.2,
    )
    for entry in box.get_texts():
        entry.set(**PLAIN)
    title(ax, text, pad=8 + 13 * -(-len(names) // columns))


def token_ticks(ax: Axes, names: Sequence[str], margin: float = 0) -> float:
    """Put tokens beside the vertical axis, the first one on top, and return their font size.

    They are as large as fits between ``margin`` inches above and below together.
    """
    size = fit_font(inches(ax)[1] - margin, len(names))
    ax.set_yticks(range(len(names)), names, fontsize=size, fontfamily=list(fonts()), **PLAIN)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return size
