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
from logitlab.checks import ParameterError, Seen
from logitlab.engines.compare import Comparison
from logitlab.numerics import IntArray, softmax
from logitlab.plot.labels import check_vocabulary, fonts, labels
from logitlab.plot.source import check_top, stages_of, top_of
from logitlab.plot.style import Look
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
    top = check_top(top)
    stages = stages_of(source, position)
    probs = stages.probs
    tokens = _with_removed(probs, top)
    removed = np.zeros(len(probs))
    removed[1:] = metrics.mass_removed(stages.logits[:-1], stages.logits[1:])
    feet = {
        "kept": [str(count) for count in metrics.support_size(stages.logits)],
        "removed": [f"{mass:.3f}" if mass else "–" for mass in removed],
        "entropy": [f"{value:.2f}" for value in metrics.entropy(stages.logits)],
    }
    if ax is None:
        ax = style.axes(max(4, 1.2 + 1.2 * len(probs)), 2 + 0.24 * len(tokens))
    look = style.ground(ax)
    before = np.concatenate([np.full_like(probs[:1], np.nan), probs[:-1]])
    _columns(
        ax, look, stages.names, probs[:, tokens], before[:, tokens],
        [look.kept] * len(probs), labels(tokens, vocabulary), feet,
    )  # fmt: skip
    return ax


def _with_removed(probs: NDArray[np.float64], top: int) -> IntArray:
    """Return the tokens to show, most likely first: half of them may be removed ones."""
    chosen: list[int] = []
    for before, after in pairwise(probs):
        gone = np.where(after == 0, before, 0)
        if gone.any() and len(chosen) < top // 2:
            chosen.append(int(gone.argmax()))
    best = [token for token in top_of(probs, top).tolist() if token not in chosen]
    shown = np.array(best[: top - len(chosen)] + chosen)
    order: IntArray = shown[np.lexsort((shown, -probs.max(axis=0)[shown]))]
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
    top = check_top(top)
    if not isinstance(compared, Comparison):
        raise ParameterError("compared", "a Comparison, as by compare_engines", compared)
    if compared.source.ndim != 1:
        hint = "Compare one row: compare_engines(logits[0], params)."
        shape = Seen(f"logits of shape {compared.source.shape}")
        raise ParameterError("compared", "of one row of shape (V,)", shape, hint)
    if not compared.engines:
        raise ParameterError("compared", "of engines that answer", Seen("refusals by all"))
    probs = softmax(compared.logits)
    tokens = top_of(probs, top)
    distance = compared.total_variation[0]
    feet = {
        "kept": [str(count) for count in compared.kept],
        "entropy": [f"{value:.2f}" for value in compared.entropy],
        "distance": ["–", *(f"{value:.2f}" for value in distance[1:])],
    }
    if ax is None:
        ax = style.axes(max(4, 1.2 + 0.9 * len(probs)), 2 + 0.24 * len(tokens))
    look = style.ground(ax)
    before = np.broadcast_to(probs[:1], probs.shape).copy()
    before[0] = np.nan
    _columns(
        ax, look, compared.engines, probs[:, tokens], before[:, tokens],
        [style.engine_color(name, look) for name in compared.engines],
        labels(tokens, vocabulary), feet,
    )  # fmt: skip
    if compared.refused:
        ax.set_xlabel(f"refused by {', '.join(compared.refused)}", fontsize=8, color=look.faint)
    return ax


def _columns(
    ax: Axes,
    look: Look,
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
    width, height = style.inches(ax)
    font = style.fit_font(height - 0.6, n + len(feet))
    # At 7 points a character is 0.06 inch wide; a layout widens the axes by a fifth.
    heads = [_wrapped(head, max(4, int(1.2 * width / count / 0.06))) for head in heads]
    y = np.arange(n)
    for c in range(count):
        gone = (probs[c] == 0) & (before[c] > 0)
        ax.barh(y, probs[c] * scale, 0.72, left=c, color=colors[c])
        ax.barh(
            y[gone], before[c, gone] * scale, 0.72, left=c, color=look.ground,
            edgecolor=look.removed, hatch=style.REMOVED_HATCH, linewidth=0,
        )  # fmt: skip
        seen = ~gone & (np.nan_to_num(before[c]) > 0)
        ax.barh(
            y[seen], before[c, seen] * scale, 0.72, left=c, fill=False, edgecolor=look.faint,
            linewidth=0.6,
        )  # fmt: skip
        ax.axvline(c, color=look.removed, linewidth=0.6)
        if count <= _NUMBERED:
            ends = np.fmax(probs[c], before[c]) * scale + c + 0.03
            for i in np.flatnonzero((probs[c] > 0) | gone):
                ax.text(
                    ends[i], int(i), "removed" if gone[i] else _number(probs[c, i]), va="center",
                    fontsize=min(6.5, font), color=look.faint, gid="number",
                )  # fmt: skip
        ax.text(
            c + 0.03, -0.7, heads[c], fontsize=min(7, font), va="bottom", color=look.ink,
            gid="head", **style.PLAIN,
        )  # fmt: skip
        for row, (name, texts) in enumerate(feet.items()):
            ax.text(
                c + 0.03, n + 0.3 + row, texts[c], fontsize=min(7.5, font), va="center",
                color=look.ink, gid=name,
            )  # fmt: skip
    style.token_ticks(ax, [*names, *feet], fonts(), font)
    ax.yaxis.set_ticks([*y, *(n + 0.3 + row for row in range(len(feet)))], [*names, *feet])
    ax.set_ylim(n + len(feet) - 0.2, -0.6)
    ax.axhline(n - 0.4, color=look.faint, linewidth=0.6)
    ax.set_xlim(0, count)
    ax.set_xticks([])
    ax.spines[["left", "bottom"]].set_visible(False)


def _number(p: float) -> str:
    """Write a probability in little room: .25."""
    if p < 0.005:
        return "<.01"
    return f"{p:.2f}".removeprefix("0")


def _wrapped(head: str, width: int) -> str:
    """Break a step such as RepetitionPenalty(1.1) or a name such as llama_cpp into short lines."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=\()|(?<=_)", " ", head)
    lines = textwrap.wrap(spaced, width, break_long_words=True)
    joined = [line.replace(" ", "") if " " not in head else line for line in lines]
    return "\n".join(joined if len(joined) <= 4 else [*joined[:3], "…"])
