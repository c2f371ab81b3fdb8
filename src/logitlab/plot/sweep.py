"""How a distribution changes along a parameter, or over two."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.arrays import IntArray, check_array
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.engines.engine import Engine
from logitlab.engines.resolve import Request, Resolved
from logitlab.engines.rules import Note
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, fonts, labels, missing_fonts
from logitlab.plot.results import draw_result
from logitlab.plot.source import row_of, top_of
from logitlab.request.keys import refuse_unknown
from logitlab.steps.context import Context
from logitlab.sweeps.grid import chains_of, grid_of
from logitlab.sweeps.measures import MEASURES
from logitlab.sweeps.result import Sweep
from logitlab.sweeps.run import sweep as swept
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

__all__ = ["sweep"]


def sweep(
    logits: ArrayLike | Sweep,
    grid: Mapping[str, Any] | None = None,
    *,
    show: str | None = None,
    request: Request = None,
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
        over its two parameters; a histogram as up to three lines over its bins, or a map; engines
        alone as a line from zero for each. Engines have their colours, and lines that are equal
        say so.
    grid : mapping of str to sequence
        Parameters and their values: ``{"temperature": np.linspace(0, 2, 41)}``; none of a result,
        which has its own, and takes no engine and no ``top``. Three values and more of each of two
        parameters make a map.
    show : str, optional
        "probability", the default: a line for each of the most likely tokens of one row, along one
        parameter. Or a metric that `logitlab.sweep` knows: "entropy", "support" … Of a result one
        of its metrics, by default the first.
    request : SamplingParams or mapping, optional
        The rest of the request.
    engine : str or Engine
        Whose chain it is.
    context : Context, optional
        The tokens so far; needed if there is a penalty.
    vocabulary, ax
        As of `plot.distribution`.
    top : int
        How many tokens have a line, 1 to 20; all others share a dotted one.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For bad logits, no values, more axes than can be drawn, or values that the engine refuses;
        for a vocabulary of another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> ax = ll.plot.sweep([2.0, 1.0, 0.0], {"temperature": [0.5, 1.0, 2.0]}, show="entropy")
    >>> ax.lines[0].get_ydata().round(2)
    array([0.44, 0.83, 1.02])
    """
    if isinstance(logits, Sweep):
        given: dict[str, Any] = {
            "grid": grid,
            "request": request,
            "engine": None if engine == "openrouter" else engine,
            "context": context,
            "vocabulary": vocabulary,
            "top": None if isinstance(top, int) and top == 6 else top,
        }
        for key, value in given.items():
            if value is not None:
                raise ParameterError(key, "left out of a result, which has its own", value)
        return draw_result(logits, show, ax)
    if vocabulary is not None:
        check_vocabulary(vocabulary, check_array(logits).shape[-1])
    top = check_integer("top", top, Range(1, 20, integer=True))
    if show is not None and not (isinstance(show, str) and show == "probability"):
        check_choice("show", show, ("probability", *MEASURES))
        told = chains_of(grid_of(grid or {}), engine, request, None)[1]
        _refuse_unknown(request, told)  # before all rows are worked on
        result = swept(
            logits,
            grid or {},
            show,
            engine=engine,
            request=request,
            context=context,
            reduce="rows",
            progress=False,
        )
        return draw_result(result, show, ax)
    row = row_of(logits)
    points = grid_of(grid or {})
    if len(points.values) > 1:
        raise ParameterError(
            "grid",
            "one parameter for probabilities",
            list(points.values),
            "Show the entropy, or another metric, over two.",
        )
    [(name, values)] = points.values.items()
    chains, notes = chains_of(points, engine, request, len(row))
    _refuse_unknown(request, notes)
    x = Range().check(name, values)
    order = np.argsort(x, kind="stable")
    probs = np.array([softmax(chain(row, context)) for chain in chains])[order]
    tokens = top_of(probs, top)
    ax, look = style.canvas(ax, 7, 4)
    _draw_tokens(ax, look, x[order], probs, tokens, labels(tokens, vocabulary))
    ax.set(xlabel=name, ylabel="probability")
    style.note(ax, missing_fonts(tokens, vocabulary))
    style.title(ax, f"the most likely tokens along {name}")
    return ax


def _refuse_unknown(request: Request, notes: Sequence[Note]) -> None:
    """Raise for keys that nobody knows: a picture has no notes."""
    if not isinstance(request, Resolved):
        refuse_unknown(note.key for note in notes if note.effect == "unknown")


def _draw_tokens(
    ax: Axes,
    look: style.Look,
    x: NDArray[np.float64],
    probs: NDArray[np.float64],
    tokens: IntArray,
    texts: list[str],
) -> None:
    looks = itertools.product(style.STROKES, look.series)
    marker = "o" if len(x) == 1 else ""
    for token, (stroke, color) in zip(tokens, looks, strict=False):
        ax.plot(x, probs[:, token], c=color, ls=stroke, linewidth=1.8, marker=marker)
    others = np.maximum(1 - probs[:, tokens].sum(axis=1), 0)
    if others.max() > 1e-12:
        ax.plot(x, others, color=look.faint, linestyle=":", linewidth=1.5)
        texts.append("all others")
    curves = [np.asarray(line.get_ydata(), np.float64) for line in ax.lines]
    low, high = ax.set_ylim(-0.02, max(y.max() for y in curves) * 1.05)
    ends = [float(y[-1]) for y in curves]
    font = style.fit_font(style.inches(ax)[1], len(texts), largest=8.5)
    apart = (high - low) * font * 1.5 / 72 / style.inches(ax)[1]
    places = style.spread(ends, apart, low, high)
    for line, text, end, place in zip(ax.lines, texts, ends, places, strict=True):
        ax.annotate(
            text,
            (1, end),
            xycoords=ax.get_yaxis_transform(),
            xytext=(1.06, place),
            textcoords=ax.get_yaxis_transform(),
            va="center",
            color=look.ink,
            fontsize=font,
            fontfamily=list(fonts()),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "linestyle": line.get_linestyle(),
                "lw": 1.2,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
            **style.PLAIN,
        )
    margin = 0.5 if x[0] == x[-1] else 0
    ax.set_xlim(x[0] - margin, x[-1] + margin)
