"""What penalties and biases do to logits: the change against how often a token has occurred."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError
from logitlab.engines.engine import Engine
from logitlab.engines.resolve import Request, resolve_alone
from logitlab.plot.labels import check_vocabulary, fonts, labels, missing_fonts
from logitlab.plot.source import row_of, stages_of
from logitlab.steps.bias import LogitBias
from logitlab.steps.context import Context, check_context
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.trace import Trace
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

__all__ = ["penalties"]

_PENALTY_STEPS = (LogitBias, RepetitionPenalty, FrequencyPenalty, PresencePenalty, AdditivePenalty)
_MOST_LABELS = 8  # tokens that have a label, at most


def penalties(
    source: Any,
    request: Request = None,
    vocabulary: Vocabulary | None = None,
    *,
    context: Context,
    engine: str | Engine = "openrouter",
    ax: Axes | None = None,
) -> Axes:
    """Draw by how much each penalty changes a token's logit, in nats, against the token's count.

    One point for each token of the context and each penalty; the most frequent tokens are named.
    A bias is drawn, too, for the tokens it names. A token that was removed before has no point.

    Parameters
    ----------
    source : array_like of shape (V,), or Trace
        Logits, or a trace of them that has penalties.
    request : SamplingParams, mapping or Transform, optional
        The request, for logits; a trace has its own.
    vocabulary, ax
        As of `plot.distribution`.
    context : Context
        The tokens so far, of one text.
    engine : str or Engine
        Whose penalties they are.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For bad logits or context, where nothing penalises, for a request beside a trace, a
        vocabulary of another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> context = ll.Context(output=[0, 0, 1])
    >>> ax = ll.plot.penalties([2.0, 1.0, 0.0], {"frequency_penalty": 0.5}, context=context)
    >>> ax.lines[1].get_xydata().tolist()
    [[1.0, -0.5], [2.0, -1.0]]
    """
    if isinstance(source, Trace):
        given = {"request": request, "engine": None if engine == "openrouter" else engine}
        for key, value in given.items():
            if value is not None:
                raise ParameterError(key, "left out beside a trace, which has its own", value)
        trace = source
    else:
        row = row_of(source)
        if request is None:
            raise ParameterError("request", "one with penalties beside logits", request)
        _check_context(context, row)
        trace = resolve_alone(request, engine, size=len(row)).chain.trace(row, context)
    logits = stages_of(trace).logits
    check_vocabulary(vocabulary, logits.shape[-1])
    _check_context(context, logits[0])
    counts = _token_counts(context, logits.shape[-1])
    steps = [(i, step) for i, step in enumerate(trace.chain, 1) if isinstance(step, _PENALTY_STEPS)]
    if not steps:
        raise ParameterError("chain", "one with a penalty or a bias", trace.chain)
    ax, look = style.canvas(ax, 7, 4)
    ax.axhline(0, color=look.removed, linewidth=0.8)
    changes: dict[int, float] = {}
    looks = zip(cycle(style.MARKERS), cycle(look.series))
    for (stage, step), (marker, color) in zip(steps, looks, strict=False):
        before, after = logits[stage - 1 : stage + 1].astype(np.float64)
        change = np.subtract(after, before, out=np.zeros_like(before), where=before > -np.inf)
        tokens = np.flatnonzero(((counts > 0) & (before > -np.inf)) | (change != 0))
        tokens = tokens[np.lexsort((change[tokens], counts[tokens]))]
        ax.plot(
            counts[tokens],
            change[tokens],
            marker,
            color=color,
            label=type(step).__name__,
            markersize=5,
            alpha=0.75,
        )
        for token in tokens.tolist():
            changes[token] = max(float(change[token]), changes.get(token, 0.0), key=abs)
    named = _label_tokens(ax, counts, changes, vocabulary, look)
    ax.margins(x=0.12, y=0.1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="times that the token has occurred", ylabel="change of its logit, nats")
    style.note(ax, missing_fonts(named, vocabulary))
    text = f"what each penalty does to the {np.count_nonzero(counts)} tokens of the context"
    style.legend(ax, text, ax.lines[1:], [repr(step) for _, step in steps])
    return ax


def _check_context(context: object, row: Any) -> None:
    if not isinstance(context, Context):
        raise ParameterError("context", "a Context", context, "Write Context(prompt=ids).")
    check_context(context, row)


def _token_counts(context: Context, size: int) -> IntArray:
    """Count every token of the vocabulary in the whole context."""
    occurrences = context.counts((1,), size)
    counts: IntArray = np.zeros(size, np.int64)
    counts[occurrences.token.astype(np.intp)] = occurrences.count
    return counts


def _label_tokens(
    ax: Axes,
    counts: IntArray,
    changes: dict[int, float],
    vocabulary: Vocabulary | None,
    look: style.Look,
) -> list[int]:
    """Label the most frequent tokens at their largest changes, and return them."""
    reach = max(map(abs, changes.values()), default=0) / 12
    tokens: list[int] = []
    for token in sorted(changes, key=lambda token: (-counts[token], -abs(changes[token]))):
        same = (other for other in tokens if counts[other] == counts[token])
        near = any(abs(changes[other] - changes[token]) < reach for other in same)
        if len(tokens) < _MOST_LABELS and not near:
            tokens.append(token)
    for token, text in zip(tokens, labels(tokens, vocabulary), strict=True):
        ax.annotate(
            text,
            (counts[token], changes[token]),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            fontfamily=list(fonts()),
            color=look.ink,
            **style.PLAIN,
        )
    return tokens
