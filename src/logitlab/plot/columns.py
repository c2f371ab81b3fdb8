"""Distributions side by side: the stages of a chain, or several engines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Seen
from logitlab.engines.compare import Comparison
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, labels, missing_fonts
from logitlab.plot.room import predicted
from logitlab.plot.source import request_words, stages_of, top_of
from logitlab.plot.ticks import count, share
from logitlab.vocabulary import Vocabulary
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

__all__ = ["engines", "trace"]

_ROOM = 0.62  # of a column's width is for bars, the rest for their numbers
_NUMBERED = 0.58  # inches of a column that has room for numbers
_TURNED = 10  # more columns than that have heads that read upwards
_SHORT = 14  # characters of heads that do so, too, where they would be too small to read
_CHARACTER = 0.62 / 72  # inches a character is wide, for each point of its size
_STROKE = 0.8  # points of an outline
_GIDS = {
    "tokens kept": "kept",
    "share removed": "removed",
    "entropy, nats": "entropy",
    "distance": "distance",
}


class _Columns(NamedTuple):
    """What is drawn: a column for each stage or engine, C of them, and n tokens.

    Attributes
    ----------
    heads, colors : sequence of str
        The name of each column, and the colour of its bars.
    probs, before : ndarray of float64, shape (C, n)
        Bars, and the ends of outlines, NaN where there are none.
    names : sequence of str
        The labels of the tokens.
    feet : dict of str to list of str
        What stands below the bars, by what it is called.
    """

    heads: Sequence[str]
    colors: Sequence[str]
    probs: NDArray[np.float64]
    before: NDArray[np.float64]
    names: Sequence[str]
    feet: dict[str, list[str]]


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
    the step removed grey and hatched; below it how many tokens are kept, which share of the
    probability the step removed, and the entropy in nats.

    Parameters
    ----------
    source : Trace or Generation
        A trace of one row; or a generation that was made with ``trace=True``.
    vocabulary, position, ax
        As of `plot.distribution`.
    top : int
        How many tokens, 1 to 200: the most likely ones of any stage, and the likeliest that each
        step removed, which are half of them at most.

    Returns
    -------
    matplotlib.axes.Axes
        A chain without steps has the one column of the model.

    Raises
    ------
    ParameterError
        For a trace of more rows than one, a generation without traces or without that position, a
        vocabulary of another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> trace = ll.engines.openrouter({"temperature": 0.8, "top_p": 0.9}).trace(rows.logits[3])
    >>> ax = ll.plot.trace(trace, rows.vocabulary)
    >>> [text.get_text() for text in ax.texts if text.get_gid() == "kept"]
    ['49,152', '49,152', '27']
    >>> ax.get_title(loc="left")
    'temperature 0.8, top_p 0.9: 27 of 49,152 tokens left'
    """
    stages = stages_of(source, position)
    check_vocabulary(vocabulary, stages.logits.shape[-1])
    probs = stages.probs
    tokens = _with_removed(probs, top)
    kept = metrics.support_size(stages.logits)
    removed = [0.0, *metrics.mass_removed(stages.logits[:-1], stages.logits[1:])]
    feet = {
        "tokens kept": [count(one) for one in kept],
        "share removed": [share(mass) if mass else "–" for mass in removed],
        "entropy, nats": [f"{value:.2f}" for value in metrics.entropy(stages.logits)],
    }
    ax, look = style.canvas(ax, max(6.5, 1.2 + 1.2 * len(probs)), 2.5 + 0.24 * len(tokens))
    before = np.concatenate([np.full_like(probs[:1], np.nan), probs[:-1]])[:, tokens]
    columns = _Columns(
        stages.names,
        [look.kept] * len(probs),
        probs[:, tokens],
        before,
        labels(tokens, vocabulary),
        feet,
    )
    _draw_columns(ax, look, columns)
    style.note(ax, missing_fonts(tokens, vocabulary), is_left=True)
    size = stages.logits.shape[-1]
    title = f"{request_words(stages.steps)}: {count(kept[-1])} of {count(size)} tokens left"
    keys: dict[str, Artist] = {"share of probability": Patch(facecolor=look.kept)}
    keys |= _outline_keys(columns, look, "stage before", "removed by the step")
    style.legend(ax, title, keys.values(), keys)
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
    An engine whose distribution is that of an earlier one says so.

    Parameters
    ----------
    compared : Comparison
        By `compare_engines`, of one row.
    vocabulary, ax
        As of `plot.distribution`.
    top : int
        How many tokens, 1 to 200: the most likely ones of any engine.

    Returns
    -------
    matplotlib.axes.Axes
        Engines that refused have no column, and are named below.

    Raises
    ------
    ParameterError
        For a comparison of more rows than one, or if all engines refused; for a vocabulary of
        another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> compared = ll.compare_engines(rows.logits[3], {"temperature": 2, "top_p": 0.8},
    ...     engines=["vllm", "mlx_lm"])
    >>> ax = ll.plot.engines(compared, rows.vocabulary)
    >>> [text.get_text() for text in ax.texts if text.get_gid() == "distance"]
    ['–', '0.72']
    >>> ax.get_title(loc="left")
    'temperature 2, top_p 0.8: what 2 engines make of it'
    """
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
    check_vocabulary(vocabulary, compared.source.shape[-1])
    probs = softmax(compared.logits)
    tokens = top_of(probs, top)
    heads, first = compared.engines, compared.engines[0]
    feet = {
        "tokens kept": [count(one) for one in compared.kept],
        "entropy, nats": [f"{value:.2f}" for value in compared.entropy],
        "distance": ["–", *(f"{value:.2f}" for value in compared.total_variation[0, 1:])],
    }
    ax, look = style.canvas(ax, max(6.5, 1.2 + 0.9 * len(probs)), 2.5 + 0.24 * len(tokens))
    shown = probs[:, tokens]
    columns = _Columns(
        [f"{name}\n= {same}" if same else name for name, same in _equal(compared).items()],
        [style.engine_color(name, look) for name in heads],
        shown,
        np.where(np.arange(len(probs))[:, None] > 0, shown[0], np.nan),
        labels(tokens, vocabulary),
        feet,
    )
    _draw_columns(ax, look, columns)
    if len(heads) > 1:
        words = f"distance: the share of it that lies elsewhere than at {first}"
        style.note(ax, f"bars: share of probability; {words}", is_left=True)
    if compared.refused:
        style.note(ax, f"refused by {', '.join(compared.refused)}", is_left=True)
    style.note(ax, missing_fonts(tokens, vocabulary), is_left=True)
    many = f"{len(heads)} engines make" if len(heads) > 1 else f"{first} makes"
    keys = _outline_keys(columns, look, first, f"at {first}, but not here")
    title = f"{request_words(compared.request)}: what {many} of it"
    style.legend(ax, title, keys.values(), keys)
    return ax


def _equal(compared: Comparison) -> dict[str, str]:
    """Return by engine which earlier one has the same distribution, or nothing."""
    firsts = {name: group[0] for group in compared.groups for name in group}
    return {name: firsts[name] if firsts[name] != name else "" for name in compared.engines}


def _outline_keys(
    columns: _Columns, look: style.Look, outline: str, removed: str
) -> dict[str, Artist]:
    """Return what a legend says of outlines and of hatched bars, as far as they occur."""
    gone = (columns.probs == 0) & (columns.before > 0)
    keys: dict[str, Artist] = {}
    if (~gone & (columns.before > 0)).any():
        keys[outline] = Patch(facecolor="none", edgecolor=look.faint, linewidth=_STROKE)
    if gone.any():
        keys[removed] = Patch(**look.hatch)
    return keys


def _draw_columns(ax: Axes, look: style.Look, columns: _Columns) -> None:
    probs, before, feet = columns.probs, columns.before, columns.feet
    number, n = probs.shape
    scale = _ROOM / max(probs.max(), np.nanmax(before, initial=0))
    font = style.token_ticks(ax, [*columns.names, *feet], margin=0.6)
    wide = predicted(ax).width / ax.figure.dpi / number

    def ink(gid: str, size: float, color: str = look.ink) -> dict[str, Any]:
        return {"gid": gid, "fontsize": min(size, font), "color": color}

    heads, size, turn = _heads(columns.heads, wide)
    y = np.arange(n)
    below = n + 0.3 + np.arange(len(feet))
    for c in range(number):
        removed = (probs[c] == 0) & (before[c] > 0)
        outline = ~removed & (before[c] > 0)
        lengths = before[c] * scale
        ax.barh(y, probs[c] * scale, 0.62, left=c, color=columns.colors[c])
        ax.barh(y[removed], lengths[removed], 0.62, left=c, linewidth=0, **look.hatch)
        # Taller than the bars, so that it is seen around those that grew.
        how: dict[str, Any] = {"fill": False, "edgecolor": look.faint, "linewidth": _STROKE}
        ax.barh(y[outline], lengths[outline], 0.86, left=c, **how)
        ax.axvline(c, color=look.removed, linewidth=0.6)
        if wide >= _NUMBERED:
            ends = np.fmax(probs[c], before[c]) * scale + c + 0.03
            for i in np.flatnonzero((probs[c] > 0) | removed):
                text = "removed" if removed[i] else share(probs[c, i], 2)
                ax.text(ends[i], int(i), text, va="center", **ink("number", 6.5, look.faint))
        style.write(ax, c + 0.03, -0.7, heads[c], va="bottom", rotation=turn, **ink("head", size))
        for place, (name, texts) in zip(below, feet.items(), strict=True):
            gid = _GIDS[name]
            ax.text(c + 0.03, place, texts[c], va="center", **ink(gid, 7.5))
    ax.yaxis.set_ticks([*y, *below], [*columns.names, *feet])
    ax.axhline(n - 0.4, color=look.faint, linewidth=0.6)
    ax.set(ylim=(n + len(feet) - 0.2, -0.6), xlim=(0, number), xticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)


def _heads(heads: Sequence[str], wide: float) -> tuple[list[str], float, int]:
    """Return heads as they are written over columns so many inches wide, their size and turn."""
    lines = [line for head in heads for line in head.split("\n")]
    parts = [part for line in lines for part in _parts(line)]
    size = float(np.clip(wide / (_CHARACTER * max(map(len, parts))), 4, 7))
    if len(heads) > _TURNED or (size < 5 and max(map(len, lines)) <= _SHORT):
        return list(heads), min(7.0, 72 * wide / 2.6), 90
    room = max(4, int(wide / (_CHARACTER * size)))
    return ["\n".join(_wrap(line, room) for line in head.split("\n")) for head in heads], size, 0


def _parts(head: str) -> list[str]:
    """Return the parts between which a head such as RepetitionPenalty(1.1) may be broken."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=\()|(?<=_)", " ", head).split(" ")


def _wrap(head: str, width: int) -> str:
    """Break a step such as RepetitionPenalty(1.1) or a name such as llama_cpp into short lines."""
    # Blanks of its own are marked, to be told from those at which it may be broken.
    text = " ".join(_parts(head.replace(" ", "\0 ")))
    lines = textwrap.wrap(text, width, break_long_words=True)
    lines = [re.sub(r"(?<!\0) ", "", line).replace("\0", "") for line in lines]
    return "\n".join(lines if len(lines) <= 4 else [*lines[:3], "…"])
