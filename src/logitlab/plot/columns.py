"""Distributions side by side: the stages of a chain, or several engines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.engines.compare import Comparison
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, labels
from logitlab.plot.source import stages_of, top_of
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["engines", "trace"]

_ROOM = 0.62  # of a column's width is for bars, the rest for their numbers
_NUMBERED = 10  # columns at most that have room for numbers


def trace(
    source: Any,
    vocabulary: Vocabulary | None = None,
    *,
    position: int = 0,
    top: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw the stages of a chain side by side.

    Each column is a stage: the most likely tokens as bars, the stage before it as outlines, what
    the step removed grey and hatched; below it how many tokens are kept, how much probability
    the step removed, and the entropy in nats.

    Parameters
    ----------
    source : Trace or Generation
        A trace of one row; or a generation that was made with ``trace=True``.
    vocabulary : Vocabulary, optional
        To label the tokens; without it they are ids.
    position : int
        For a generation: which token, from the end where it is negative.
    top : int
        How many tokens, 1 to 200: the most likely ones of any stage, and the likeliest that each
        step removed.
    ax : matplotlib.axes.Axes, optional
        Where to draw; without it on new axes, as by `plot.axes`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a trace of more rows than one, a generation without traces.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> trace = ll.engines.openrouter({"temperature": 0.8, "top_p": 0.9}).trace(rows.logits[3])
    >>> ax = ll.plot.trace(trace, rows.vocabulary)
    >>> [text.get_text() for text in ax.texts if text.get_gid() == "kept"]
    ['49152', '49152', '27']
    """
    check_vocabulary(vocabulary)
    stages = stages_of(source, position)
    probs = stages.probs
    tokens = _with_removed(probs, top)
    removed = [0.0, *metrics.mass_removed(stages.logits[:-1], stages.logits[1:])]
    feet = {
        "kept": [str(count) for count in metrics.support_size(stages.logits)],
        "removed": [f"{mass:.3f}" if mass else "–" for mass in removed],
        "entropy": [f"{value:.2f}" for value in metrics.entropy(stages.logits)],
    }
    ax, look = style.canvas(ax, max(4, 1.2 + 1.2 * len(probs)), 2 + 0.24 * len(tokens))
    before = np.concatenate([np.full_like(probs[:1], np.nan), probs[:-1]])[:, tokens]
    names, colors = labels(tokens, vocabulary), [look.kept] * len(probs)
    _draw_columns(ax, look, stages.names, probs[:, tokens], before, colors, names, feet)
    return ax


def _with_removed(probs: NDArray[np.float64], top: int) -> IntArray:
    """Return the tokens to show, most likely first: half of them may be removed ones."""
    best = top_of(probs, top).tolist()
    losses = (np.where(after == 0, before, 0) for before, after in pairwise(probs))
    removed = [int(loss.argmax()) for loss in losses if loss.any()][: top // 2]
    best = [token for token in best if token not in removed]
    tokens = np.array(best[: top - len(removed)] + removed)
    order: IntArray = tokens[np.lexsort((tokens, -probs.max(axis=0)[tokens]))]
    return order


def engines(
    compared: Comparison,
    vocabulary: Vocabulary | None = None,
    *,
    top: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Draw what several engines make of one request, side by side.

    Each column is an engine, in its own colour, with the first one's bars as outlines; below it
    how many tokens it keeps, the entropy in nats, and the total variation distance to the first.

    Parameters
    ----------
    compared : Comparison
        By `compare_engines`, of one row.
    vocabulary : Vocabulary, optional
    top : int
        How many tokens, 1 to 200: the most likely ones of any engine.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a comparison of more rows than one, or if all engines refused.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> compared = ll.compare_engines(rows.logits[3], {"temperature": 2, "top_p": 0.8},
    ...     engines=["vllm", "mlx_lm"])
    >>> ax = ll.plot.engines(compared, rows.vocabulary)
    >>> [text.get_text() for text in ax.texts if text.get_gid() == "distance"]
    ['–', '0.72']
    """
    check_vocabulary(vocabulary)
    if not isinstance(compared, Comparison):
        raise ParameterError("compared", "a Comparison, as by compare_engines", compared)
    if compared.source.ndim != 1:
        raise ParameterError(
            "compared",
            "of one row of shape (V,)",
            Seen(f"logits of shape {compared.source.shape}"),
            "Compare one row: compare_engines(logits[0], request).",
        )
    if not compared.engines:
        raise ParameterError("compared", "of engines that answer", Seen("refusals by all"))
    probs = softmax(compared.logits)
    tokens = top_of(probs, top)
    feet = {
        "kept": [str(count) for count in compared.kept],
        "entropy": [f"{value:.2f}" for value in compared.entropy],
        "distance": ["–", *(f"{value:.2f}" for value in compared.total_variation[0, 1:])],
    }
    ax, look = style.canvas(ax, max(4, 1.2 + 0.9 * len(probs)), 2 + 0.24 * len(tokens))
    columns = probs[:, tokens]
    before = np.where(np.arange(len(probs))[:, None] > 0, columns[0], np.nan)
    names, heads = labels(tokens, vocabulary), compared.engines
    colors = [style.engine_color(name, look) for name in heads]
    _draw_columns(ax, look, heads, columns, before, colors, names, feet)
    if compared.refused:
        ax.set_xlabel(f"refused by {', '.join(compared.refused)}", fontsize=8, color=look.faint)
    return ax


def _draw_columns(
    ax: Axes,
    look: style.Look,
    heads: Sequence[str],
    probs: NDArray[np.float64],
    before: NDArray[np.float64],
    colors: Sequence[str],
    names: Sequence[str],
    feet: dict[str, list[str]],
) -> None:
    """Draw one column for each row of ``probs``, shape (C, n); ``before`` is NaN where none is."""
    count, n = probs.shape
    scale = _ROOM / max(probs.max(), np.nanmax(before, initial=0))
    font = style.token_ticks(ax, [*names, *feet], margin=0.6)
    # At 7 points a character is 0.06 inch wide; a layout widens the axes by a fifth.
    wrap = max(4, int(1.2 * style.inches(ax)[0] / count / 0.06))

    def ink(gid: str, size: float, color: str = look.ink) -> dict[str, Any]:
        return {"gid": gid, "fontsize": min(size, font), "color": color}

    y = np.arange(n)
    below = n + 0.3 + np.arange(len(feet))
    for c in range(count):
        removed = (probs[c] == 0) & (before[c] > 0)
        outline = ~removed & (before[c] > 0)
        lengths = before[c] * scale
        ax.barh(y, probs[c] * scale, 0.72, left=c, color=colors[c])
        ax.barh(y[removed], lengths[removed], 0.72, left=c, linewidth=0, **look.hatch)
        ax.barh(
            y[outline],
            lengths[outline],
            0.72,
            left=c,
            fill=False,
            edgecolor=look.faint,
            linewidth=0.6,
        )
        ax.axvline(c, color=look.removed, linewidth=0.6)
        if count <= _NUMBERED:
            ends = np.fmax(probs[c], before[c]) * scale + c + 0.03
            for i in np.flatnonzero((probs[c] > 0) | removed):
                number = "removed" if removed[i] else _brief_probability(probs[c, i])
                ax.text(ends[i], int(i), number, va="center", **ink("number", 6.5, look.faint))
        style.write(ax, c + 0.03, -0.7, _wrap(heads[c], wrap), va="bottom", **ink("head", 7))
        for place, (name, texts) in zip(below, feet.items(), strict=True):
            ax.text(c + 0.03, place, texts[c], va="center", **ink(name, 7.5))
    ax.yaxis.set_ticks([*y, *below], [*names, *feet])
    ax.axhline(n - 0.4, color=look.faint, linewidth=0.6)
    ax.set(ylim=(n + len(feet) - 0.2, -0.6), xlim=(0, count), xticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)


def _brief_probability(p: float) -> str:
    """Write a probability in little room: .25."""
    return "<.01" if p < 0.005 else f"{p:.2f}".removeprefix("0")


def _wrap(head: str, width: int) -> str:
    """Break a step such as RepetitionPenalty(1.1) or a name such as llama_cpp into short lines."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=\()|(?<=_)", " ", head)
    lines = textwrap.wrap(words, width, break_long_words=True)
    if " " not in head:
        lines = [line.replace(" ", "") for line in lines]
    return "\n".join(lines if len(lines) <= 4 else [*lines[:3], "…"])
