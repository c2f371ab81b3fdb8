"""How a distribution changes along a parameter, or over two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab import sweeps
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.engines import Engine, RequestLike
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, fonts, labels
from logitlab.plot.source import row_of, top_of
from logitlab.plot.swept import draw_swept
from logitlab.steps.context import Context
from logitlab.sweeps.grid import chains_of, grid_of
from logitlab.sweeps.measures import MEASURES
from logitlab.sweeps.result import Sweep
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

__all__ = ["sweep"]


def sweep(
    logits: ArrayLike | Sweep,
    grid: Mapping[str, Any] | None = None,
    *,
    show: str | None = None,
    params: RequestLike | None = None,
    engine: str | Engine = "openrouter",
    context: Context | None = None,
    vocabulary: Vocabulary | None = None,
    top: int = 6,
    ax: Axes | None = None,
) -> Axes:
    """Draw what changes along a parameter as lines, or over two as a map of colours.

    Parameters
    ----------
    logits : array_like, shape (V,) or (n, V), or Sweep
        One row, or several: then lines are medians over the rows, with a band from the lower to
        the upper quartile, and colours are medians. The result of `logitlab.sweep` or
        `logitlab.simulate` is drawn as it is: up to six lines along its first numbers, or a map
        over its two parameters.
    grid : mapping of str to sequence
        Parameters and their values: ``{"temperature": np.linspace(0, 2, 41)}``; none of a result,
        which has its own. Three values and more of each of two parameters make a map.
    show : str, optional
        "probability", the default: a line for each of the most likely tokens of one row, along one
        parameter. Or a metric that `logitlab.sweep` knows: "entropy", "support" … Of a result one
        of its metrics, by default the first.
    params : SamplingParams or mapping, optional
        The rest of the request.
    engine : str or Engine
        Whose chain it is.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    vocabulary : Vocabulary, optional
    top : int
        How many tokens have a line, 1 to 20.
    ax : matplotlib.axes.Axes, optional
        Where to draw; without it on new axes, as by `plot.axes`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For bad logits, no values, more axes than can be drawn, or values that the engine refuses.

    Examples
    --------
    >>> import logitlab as ll
    >>> ax = ll.plot.sweep([2.0, 1.0, 0.0], {"temperature": [0.5, 1.0, 2.0]}, show="entropy")
    >>> ax.lines[0].get_ydata().round(2)
    array([0.44, 0.83, 1.02])
    """
    if isinstance(logits, Sweep):
        if grid is not None:
            raise ParameterError("grid", "left out of a result, which has its own", grid)
        return draw_swept(logits, show, ax)
    check_vocabulary(vocabulary)
    top = check_integer("top", top, Range(1, 20, integer=True))
    if show not in (None, "probability"):
        check_choice("show", show, ("probability", *MEASURES))
        found = sweeps.sweep(
            logits, grid or {}, show, engine=engine, request=params, context=context, reduce="rows",
            progress=False,
        )  # fmt: skip
        return draw_swept(found, show, ax)
    row = row_of(logits)
    points = grid_of(grid or {})
    if len(points.values) > 1:
        hint = "Show the entropy, or another metric, over two."
        raise ParameterError("grid", "one parameter for probabilities", list(points.values), hint)
    [(name, values)] = points.values.items()
    chains = chains_of(points, engine, params, len(row))
    x = Range().check(name, values)
    probs = np.array([softmax(chain(row, context)) for chain in chains])
    return _lines_of_tokens(name, x, probs, vocabulary, top, ax)


def _lines_of_tokens(
    name: str,
    x: NDArray[np.float64],
    probs: NDArray[np.float64],
    vocabulary: Vocabulary | None,
    top: int,
    ax: Axes | None,
) -> Axes:
    if ax is None:
        ax = style.axes(7, 4)
    look = style.ground(ax)
    order = np.argsort(x, kind="stable")
    x, probs = x[order], probs[order]
    tokens = top_of(probs, top)
    for i, token in enumerate(tokens):
        ax.plot(
            x, probs[:, token], color=look.series[i % len(look.series)],
            linestyle=style.STROKES[i // len(look.series) % len(style.STROKES)], linewidth=1.8,
            marker="o" if len(x) == 1 else "",
        )  # fmt: skip
    texts = labels(tokens, vocabulary)
    others = np.maximum(1 - probs[:, tokens].sum(axis=1), 0)
    if others.max() > 1e-12:
        ax.plot(x, others, color=look.faint, linestyle=":", linewidth=1.5)
        texts.append("all others")
    drawn = [np.asarray(line.get_ydata(), np.float64) for line in ax.lines]
    low, high = -0.02, max(y.max() for y in drawn) * 1.05
    ax.set_ylim(low, high)
    ends = [float(y[-1]) for y in drawn]
    font = style.fit_font(style.inches(ax)[1], len(texts), largest=8.5)
    apart = (high - low) * font * 1.5 / 72 / style.inches(ax)[1]
    places = style.spread(ends, apart, low, high)
    for line, text, end, place in zip(ax.lines, texts, ends, places, strict=True):
        ax.annotate(
            text, (1, end), xycoords=ax.get_yaxis_transform(), xytext=(1.06, place),
            textcoords=ax.get_yaxis_transform(), va="center", color=look.ink, fontsize=font,
            fontfamily=list(fonts()), annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": line.get_color(), "linestyle": line.get_linestyle(),
                "lw": 1.2, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5),
            },
            **style.PLAIN,
        )  # fmt: skip
    ax.set_xlim(x[0], x[-1]) if x[0] != x[-1] else ax.set_xlim(x[0] - 0.5, x[0] + 0.5)
    ax.set_xlabel(name)
    ax.set_ylabel("probability")
    style.title(ax, f"the most likely tokens along {name}")
    return ax
