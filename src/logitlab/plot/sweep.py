"""How a distribution changes along a parameter, or over two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Range, check_choice, check_integer, check_logits
from logitlab.context import Context
from logitlab.engines import Engine, get
from logitlab.engines.translation import RequestLike
from logitlab.numerics import softmax
from logitlab.params import PARAMETERS, SamplingParams
from logitlab.plot.labels import check_vocabulary, fonts, labels
from logitlab.plot.source import row_of, top_of
from logitlab.plot.swept import draw_map, draw_swept
from logitlab.sweeps.result import Sweep
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

__all__ = ["sweep"]

_SHOWN = {
    "entropy": (metrics.entropy, "entropy in nats"),
    "survivors": (metrics.support_size, "tokens kept"),
    "top_probability": (metrics.top_probability, "probability of the most likely token"),
}
_STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))


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
        the upper quartile, and colours are medians. The result of `sweep` or `simulate` is drawn
        as it is: up to six lines along its first numbers, or a map over its two parameters.
    grid : mapping of str to sequence
        One or two parameters and their values: ``{"temperature": np.linspace(0, 2, 41)}``; none of
        a result, which has its own.
    show : {"probability", "entropy", "survivors", "top_probability"}
        "probability", the default: a line for each of the most likely tokens, along one parameter.
        Of a result one of its metrics, by default the first.
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
        For bad logits, no values, more than two parameters, or values that the engine refuses.

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
    show = "probability" if show is None else show
    check_choice("show", show, ("probability", *_SHOWN))
    top = check_integer("top", top, Range(1, 20, integer=True))
    axes = _checked(grid)
    if show == "probability":
        rows = row_of(logits)
        if len(axes) > 1:
            hint = "Show the entropy, or another measure, over two."
            raise ParameterError("grid", "one parameter for probabilities", list(axes), hint)
    else:
        rows = check_logits(logits)
        rows = rows.reshape(-1, rows.shape[-1])
    request = params.to_request() if isinstance(params, SamplingParams) else dict(params or {})
    chains = [
        get(engine)(request | dict(zip(axes, point, strict=True)), vocabulary_size=rows.shape[-1])
        for point in product(*axes.values())
    ]
    finals = (chain(rows, context) for chain in chains)
    if show == "probability":
        probs = np.array([softmax(final) for final in finals])
        return _lines_of_tokens(axes, probs, vocabulary, top, ax)
    measure, name = _SHOWN[show]
    values = np.array([measure(final) for final in finals], np.float64)
    if len(axes) == 2:
        first, second = axes.values()
        middle = np.median(values, axis=-1).reshape(len(first), len(second))
        return draw_map(axes, middle, name, f"{name} over {' and '.join(axes)}", ax)
    return _draw_band(axes, values, name, ax)


def _checked(grid: Any) -> dict[str, list[Any]]:
    if not isinstance(grid, Mapping) or not 1 <= len(grid) <= 2:
        hint = 'Write {"temperature": [0.5, 1.0]}.'
        raise ParameterError("grid", "a map of one or two parameters to values", grid, hint)
    axes = {}
    for name, values in grid.items():
        roles = {key for key, entry in PARAMETERS.items() if entry.role == "distribution"}
        check_choice("grid", name, sorted(roles - {"logit_bias"}))
        array = np.asarray(values)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "iuf":
            raise ParameterError(name, "a sequence of numbers, one at least", values)
        axes[name] = np.sort(array).tolist()
    return axes


def _lines_of_tokens(
    axes: dict[str, list[Any]],
    probs: NDArray[np.float64],
    vocabulary: Vocabulary | None,
    top: int,
    ax: Axes | None,
) -> Axes:
    if ax is None:
        ax = style.axes(7, 4)
    look = style.ground(ax)
    [(name, x)] = axes.items()
    tokens = top_of(probs, top)
    for i, token in enumerate(tokens):
        ax.plot(
            x, probs[:, token], color=look.series[i % len(look.series)],
            linestyle=_STYLES[i // len(look.series) % len(_STYLES)], linewidth=1.8,
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


def _draw_band(
    axes: Mapping[str, Sequence[Any]], values: NDArray[np.float64], name: str, ax: Axes | None
) -> Axes:
    """Draw values of shape (x, rows) as their median and quartiles."""
    if ax is None:
        ax = style.axes(7, 4)
    look = style.ground(ax)
    [(parameter, x)] = axes.items()
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=1)
    title = f"{name} along {parameter}"
    if values.shape[1] > 1:
        ax.fill_between(x, low, high, color=look.kept, alpha=0.25, linewidth=0)
        title += f": median and quartiles of {values.shape[1]} rows"
    ax.plot(x, middle, color=look.kept, linewidth=1.8, marker="o" if len(x) == 1 else "")
    if name == _SHOWN["survivors"][1] and values.max() > 20:
        ax.set_yscale("log")
    ax.set_xlabel(parameter)
    ax.set_ylabel(name)
    style.title(ax, title)
    return ax
