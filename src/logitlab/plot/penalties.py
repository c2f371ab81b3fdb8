"""What penalties and biases do to logits: the change against how often a token has occurred."""

from __future__ import annotations

from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.checks import ParameterError
from logitlab.engines import Engine, RequestLike, get
from logitlab.numerics import IntArray
from logitlab.plot.labels import check_vocabulary, fonts, labels
from logitlab.plot.source import row_of, stages_of
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Trace
from logitlab.steps.context import Context, check_context
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

__all__ = ["penalties"]

_STEPS = (LogitBias, RepetitionPenalty, FrequencyPenalty, PresencePenalty, AdditivePenalty)
_MARKERS = "osD^v"
_NAMED = 8  # tokens that have a label, at most


def penalties(
    source: Any,
    context: Context,
    params: RequestLike | None = None,
    vocabulary: Vocabulary | None = None,
    *,
    engine: str | Engine = "openrouter",
    ax: Axes | None = None,
) -> Axes:
    """Draw by how much each penalty changes a token's logit, against the token's count.

    One point for each token of the context and each penalty; the most frequent tokens are named.
    A bias is drawn, too, for the tokens it names.

    Parameters
    ----------
    source : array_like of shape (V,), or Trace
        Logits, or a trace of them that has penalties.
    context : Context
        The tokens so far, of one text.
    params : SamplingParams or mapping, optional
        The request, for logits; a trace has its own.
    vocabulary : Vocabulary, optional
    engine : str or Engine
        Whose penalties they are.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For bad logits or context, or where nothing penalises.

    Examples
    --------
    >>> import logitlab as ll
    >>> context = ll.Context(output=[0, 0, 1])
    >>> ax = ll.plot.penalties([2.0, 1.0, 0.0], context, {"frequency_penalty": 0.5})
    >>> ax.lines[1].get_xydata().tolist()
    [[1.0, -0.5], [2.0, -1.0]]
    """
    check_vocabulary(vocabulary)
    trace = source if isinstance(source, Trace) else None
    if trace is None:
        row = row_of(source)
        if params is None:
            raise ParameterError("params", "a request with penalties beside logits", params)
        trace = get(engine)(params, vocabulary_size=len(row)).trace(row, _checked(context, row))
    elif params is not None:
        raise ParameterError("params", "None beside a trace, which has its own", params)
    stages = stages_of(trace)
    counts = _counts(_checked(context, stages.logits[0]), stages.logits.shape[-1])
    steps = [(i, step) for i, step in enumerate(trace.chain, 1) if isinstance(step, _STEPS)]
    if not steps:
        raise ParameterError("chain", "one with a penalty or a bias", trace.chain)
    if ax is None:
        ax = style.axes(7, 4)
    look = style.ground(ax)
    ax.axhline(0, color=look.removed, linewidth=0.8)
    named: dict[int, float] = {}
    for i, (stage, step) in enumerate(steps):
        before, after = stages.logits[stage - 1 : stage + 1].astype(np.float64)
        change = np.subtract(after, before, out=np.zeros_like(before), where=before > -np.inf)
        tokens = np.flatnonzero(((counts > 0) & (before > -np.inf)) | (change != 0))
        tokens = tokens[np.lexsort((change[tokens], counts[tokens]))]
        ax.plot(
            counts[tokens], change[tokens], _MARKERS[i % len(_MARKERS)], label=type(step).__name__,
            color=look.series[i % len(look.series)], markersize=5, alpha=0.75,
        )  # fmt: skip
        for token in tokens.tolist():
            if abs(change[token]) >= abs(named.get(token, 0.0)):
                named[token] = float(change[token])
    _name(ax, counts, named, vocabulary, look)
    ax.margins(x=0.12, y=0.1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("times that the token has occurred")
    ax.set_ylabel("change of its logit")
    points = ax.lines[1:]
    text = f"what each penalty does to the {np.count_nonzero(counts)} tokens of the context"
    style.legend(ax, text, points, [repr(step) for _, step in steps])
    return ax


def _checked(context: object, row: Any) -> Context:
    if not isinstance(context, Context):
        raise ParameterError("context", "a Context", context, "Write Context(prompt=ids).")
    check_context(context, row)
    return context


def _counts(context: Context, size: int) -> IntArray:
    """Count every token of the vocabulary in the whole context."""
    found = context.counts((1,), size)
    counts: IntArray = np.zeros(size, np.int64)
    counts[found.token] = found.count
    return counts


def _name(
    ax: Axes,
    counts: IntArray,
    named: dict[int, float],
    vocabulary: Vocabulary | None,
    look: style.Look,
) -> None:
    """Label the most frequent tokens at their largest changes, one label for each count."""
    chosen: list[int] = []
    for token in sorted(named, key=lambda token: (-counts[token], -abs(named[token]))):
        near = abs(np.subtract([named[other] for other in chosen], named[token]))
        same = np.array([counts[other] == counts[token] for other in chosen], bool)
        reach = max(abs(change) for change in named.values()) / 12
        if not (same & (near < reach)).any() and len(chosen) < _NAMED:
            chosen.append(token)
    for token, text in zip(chosen, labels(chosen, vocabulary), strict=True):
        ax.annotate(
            text, (counts[token], named[token]), (6, 0), textcoords="offset points", va="center",
            fontsize=8, fontfamily=list(fonts()), color=look.ink, **style.PLAIN,
        )  # fmt: skip
