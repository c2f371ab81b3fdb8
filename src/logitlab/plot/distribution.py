"""One distribution: its most likely tokens, its whole curve, and draws from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Range, Seen, check_integer, check_number
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, labels, missing_fonts
from logitlab.plot.room import predicted
from logitlab.plot.source import Stages, row_of, stages_of, top_of
from logitlab.plot.ticks import count, decimal, share
from logitlab.steps.chain import Chain
from logitlab.steps.step import Transform
from logitlab.steps.trace import Trace
from logitlab.vocabulary import Vocabulary
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

__all__ = ["distribution", "draws", "ranks"]


def distribution(
    source: Any,
    vocabulary: Vocabulary | None = None,
    *,
    before: Any = None,
    position: int = 0,
    top: int = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw the most likely tokens as bars: what is kept, and what was removed.

    A broad pale bar is the probability before, a narrow one the probability in the end; what was
    removed is grey and hatched.

    Parameters
    ----------
    source : array_like of shape (V,), Trace or Generation
        Logits; the first and the last stage of a trace of one row; or of a token of a generation
        that was made with ``trace=True``.
    vocabulary : Vocabulary, optional
        What labels the tokens: of V tokens, or a tenth fewer at most where rows are padded. Without
        it, and beyond it, a token is its id, ``#17``.
    before : array_like of shape (V,), optional
        For an array: the logits before. Without them nothing was removed: a token of ``-inf`` has
        no bar.
    position : int
        For a generation: which token, from the end where it is negative.
    top : int
        How many tokens, 1 to 200: the most likely ones, before or in the end. One that has
        probability 0 in both is not shown, and of the others fewer are, where there are no more.
    ax : matplotlib.axes.Axes, optional
        Where to draw; without it on new axes, as by `plot.axes`.

    Returns
    -------
    matplotlib.axes.Axes
        Those. Probabilities are shares of 1, entropies are in nats.

    Raises
    ------
    ParameterError
        For bad logits, more rows than one, ``before`` beside a trace or of another shape, a
        generation without traces or without that position, a vocabulary of another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> rows = ll.datasets.load("smollm2")
    >>> trace = ll.engines.openrouter({"temperature": 0.8, "top_p": 0.9}).trace(rows.logits[3])
    >>> ax = ll.plot.distribution(trace, rows.vocabulary, top=10)
    >>> ax.get_title(loc="left")
    '27 of 49,152 tokens kept, 0.210 of the probability removed, entropy 2.66 nats'
    """
    stages = stages_of(source, position, before)
    check_vocabulary(vocabulary, stages.logits.shape[-1])
    probs = stages.probs[[0, -1]]
    tokens = top_of(probs, top)
    ax, look = style.canvas(ax, 7, 1.2 + 0.24 * len(tokens))
    first, last = probs[:, tokens]
    kept = stages.logits[-1, tokens] > -np.inf
    y = np.arange(len(tokens))
    if len(stages.names) > 1:
        ax.barh(y[kept], first[kept], 0.8, color=look.kept, alpha=0.3)
        ax.barh(y[~kept], first[~kept], 0.8, linewidth=0, **look.hatch)
    ax.barh(y[kept], last[kept], 0.42 if len(stages.names) > 1 else 0.8, color=look.kept)
    font = style.token_ticks(ax, labels(tokens, vocabulary))
    texts = [
        ax.annotate(
            share(float(last[i])) if kept[i] else "removed",
            (end, i),
            (3, 0),
            textcoords="offset points",
            va="center",
            color=look.ink if kept[i] else look.faint,
            fontsize=min(font, 8),
        )
        for i, end in enumerate(np.maximum(first, last))
    ]
    hidden = int(metrics.support_size(stages.logits[-1])) - np.count_nonzero(kept)
    left = f"{count(hidden)} survivors with {share(1 - float(last.sum()))}"
    ax.set_xlabel(f"probability (not shown: {left})" if hidden else "probability")
    _fit_to_bars(ax, np.maximum(first, last), texts)
    style.note(ax, missing_fonts(tokens, vocabulary))
    if len(stages.names) == 1:
        style.title(ax, stages.summary)
    else:
        swatches = {"before": Patch(facecolor=look.kept, alpha=0.3)}
        if not kept.all():
            swatches["before, removed"] = Patch(**look.hatch)
        swatches["in the end"] = Patch(facecolor=look.kept)
        style.legend(ax, stages.summary, swatches.values(), swatches)
    return ax


def _fit_to_bars(ax: Axes, ends: NDArray[np.float64], texts: Sequence[Text]) -> None:
    """Let the axis reach as far as the bars and the numbers behind them, and no tick beyond 1."""
    wide = predicted(ax).width
    # Of an annotation the text alone: it stands 3 points behind its bar.
    taken = [(Text.get_window_extent(text).width + ax.figure.dpi * 5 / 72) / wide for text in texts]
    reach = max(end / max(1 - part, 0.25) for end, part in zip(ends, taken, strict=True))
    ax.set_xlim(0, float(reach))
    ticks = ax.xaxis.get_major_locator().tick_values(0, float(reach))
    ax.set_xticks([x for x in ticks if 0 <= x <= min(float(reach), 1 + 1e-9)])


def ranks(
    source: Any,
    cuts: Sequence[Transform] = (),
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw probability against rank, both in logarithms, and where each truncation cuts.

    A cut that keeps no beginning of the sorted row, as typical-p and XTC, has two ends: a line at
    the first and one at the last token that stays, and the ranks in words. The curve goes on
    tenfold below the last cut, and below 0.00001; how many tokens lie beyond is said. Tokens of
    ``-inf`` have no rank. Without cuts there is the curve alone.

    Parameters
    ----------
    source : array_like of shape (V,), or Trace
        Logits; of a trace, the stage before its first truncation.
    cuts : sequence of Transform, or Chain
        Truncations, each applied to these logits by itself; for a trace they are its own.
    ax : matplotlib.axes.Axes, optional
        As of `plot.distribution`.

    Returns
    -------
    matplotlib.axes.Axes
        Ranks begin with 1; of equal tokens the lower id comes first.

    Raises
    ------
    ParameterError
        For bad logits, more rows than one, cuts beside a trace, or what is no transform.

    Examples
    --------
    >>> import logitlab as ll
    >>> row = ll.datasets.load("smollm2").logits[3]
    >>> ax = ll.plot.ranks(row, [ll.TopK(50), ll.TopP(0.9), ll.MinP(0.05), ll.TopA(0.2)])
    >>> [text.get_text() for text in ax.get_legend().get_texts()][:2]
    ['TopK(50): 50 tokens, 0.884', 'TopP(0.9): 59 tokens, 0.901']
    >>> ax = ll.plot.ranks(row, [ll.TypicalP(0.2)])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['TypicalP(0.2): 9 tokens, ranks 7 to 15, 0.207']
    """
    if isinstance(source, Trace):
        if len(cuts):
            raise ParameterError("cuts", "absent beside a trace, which has its own", cuts)
        stages = stages_of(source)
        kept = metrics.support_size(stages.logits)
        cut = np.flatnonzero(np.diff(kept)) + 1
        row = stages.logits[cut[0] - 1 if len(cut) else -1]
        left = {stages.names[i]: stages.logits[i] for i in cut}
    else:
        row = row_of(source)
        left = {repr(cut): cut(row) for cut in _transforms(cuts)}
    order = np.argsort(-row, kind="stable")
    probs = softmax(row)[order]
    probs = probs[: np.count_nonzero(probs)]
    ax, look = style.canvas(ax, 7, 4)
    ax.set(xscale="log", yscale="log", xlabel="rank", ylabel="probability")
    dot = "." if len(probs) == 1 else ""
    ax.plot(np.arange(1, len(probs) + 1), probs, color=look.ink, linewidth=1.5, marker=dot)
    points, lowest = {}, 1.0
    looks = zip(cycle(look.series), cycle(style.MARKERS))
    for (name, logits), (color, marker) in zip(left.items(), looks, strict=False):
        stays = logits[order] > -np.inf
        first, size, last = int(stays.argmax()), int(stays.sum()), int(np.flatnonzero(stays)[-1])
        ends = [min(last + 1, len(probs))]
        where = ""
        if last >= size:  # some before the last one went
            ends = sorted({first + 1, *ends}) if first else ends
            where = f"ranks {count(first + 1)} to {count(last + 1)}, "
        for rank in ends:
            ax.axvline(rank, color=color, linewidth=1, linestyle=(0, (4, 2)))
        mass = float(probs[stays[: len(probs)]].sum())
        text = f"{name}: {count(size)} token{'s' if size > 1 else ''}, {where}{share(mass)}"
        heights = [probs[rank - 1] for rank in ends]
        [points[text]] = ax.plot(ends, heights, marker, color=color, markersize=7)
        lowest = min(lowest, *heights)
    floor = 10.0 ** np.floor(np.log10(min(1e-5, lowest / 10)))
    if hidden := np.count_nonzero(probs < floor):
        ax.set(ylim=(floor, probs[0] * 2), xlim=(0.8, (len(probs) - hidden) * 1.25))
        ax.set_xlabel(f"rank (not shown: {count(hidden)} tokens below {decimal(floor)})")
    if points:
        text = "where each truncation cuts: how many tokens it keeps, and their probability"
        style.legend(ax, text, points.values(), points)
    else:
        style.title(ax, Stages(("logits",), row[None]).summary)
    return ax


def _transforms(cuts: Sequence[Transform]) -> tuple[Transform, ...]:
    if isinstance(cuts, Chain):
        return cuts.steps
    transforms = (cuts,) if isinstance(cuts, Transform) else tuple(cuts)
    for cut in transforms:
        if not isinstance(cut, Transform):
            raise ParameterError("cuts", "transforms such as TopP(0.9)", cut)
    return transforms


def draws(
    tokens: ArrayLike,
    logits: ArrayLike,
    vocabulary: Vocabulary | None = None,
    *,
    confidence: float = 0.99,
    top: int = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often tokens were drawn against how often they should be.

    The bars are the equal-tailed intervals of the binomial distribution: of n draws, a token of
    probability p is drawn Binomial(n, p) times. What lies outside has another colour and marker. A
    token that was drawn although its probability is 0 has a bar before all others.

    Parameters
    ----------
    tokens : array_like of int, or Draws
        The drawn tokens, of any shape.
    logits : array_like of shape (V,)
        What they were drawn from: the logits after all steps.
    vocabulary, ax
        As of `plot.distribution`.
    confidence : float
        Of each interval, in (0, 1).
    top : int
        How many tokens have a bar, 1 to 200; all others share the last one.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For bad logits, no draws, ids outside the logits, a confidence that is not between 0 and 1,
        a vocabulary of another size.

    Examples
    --------
    >>> import logitlab as ll
    >>> logits = ll.Temperature(2.0)([2.0, 1.0, 0.0])
    >>> ax = ll.plot.draws(ll.sample(logits, size=1000, seed=1), logits)
    >>> ax.get_title(loc="left")
    '1,000 draws: 3 of 3 counts within their 99% intervals'
    """
    from scipy.stats import binom

    if np.asarray(tokens).dtype.kind == "f" and np.size(tokens):
        raise ParameterError("tokens", "token ids", tokens, "Draws come first, then the logits.")
    row = row_of(logits)
    check_vocabulary(vocabulary, len(row))
    ids = Range(0, len(row) - 1, integer=True).check("tokens", np.asarray(tokens)).ravel()
    if not ids.size:
        raise ParameterError("tokens", "at least one draw", Seen("none"))
    if not 0 < check_number("confidence", confidence) < 1:
        raise ParameterError("confidence", "above 0 and below 1", confidence)
    probs, counts = softmax(row), np.bincount(ids.astype(np.intp), minlength=len(row))
    most = check_integer("top", top, Range(1, 200, integer=True))
    # What should never be drawn but was comes first of all.
    bars = np.lexsort((-probs, -counts * (probs == 0)))[:most]
    bars = bars[(probs[bars] > 0) | (counts[bars] > 0)]
    bars = bars[np.argsort(-probs[bars], kind="stable")]
    p, observed = probs[bars], counts[bars]
    names = labels(bars, vocabulary)
    others = np.count_nonzero(probs) - np.count_nonzero(p)
    if others or observed.sum() < ids.size:
        p = np.append(p, max(1 - p.sum(), 0))
        observed = np.append(observed, ids.size - observed.sum())
        names.append(f"{count(others)} others")
    low, high = binom.interval(confidence, ids.size, np.minimum(p, 1))
    inside = (low <= observed) & (observed <= high)
    y = np.arange(len(names))
    ax, look = style.canvas(ax, 7, 1.2 + 0.24 * len(names))
    ax.barh(y, high - low, 0.7, left=low, color=look.removed, alpha=0.6)
    ax.plot(p * ids.size, y, "|", color=look.ink, markersize=9)
    ax.plot(observed[inside], y[inside], "o", color=look.kept, markersize=4.5)
    ax.plot(observed[~inside], y[~inside], "X", color=style.PALETTE["vermilion"], markersize=7)
    style.token_ticks(ax, names)
    ax.set(xlim=(0, None), xlabel="times drawn")
    share = f"{100 * confidence:.6g}%"
    keys: dict[str, Artist] = {f"{share} interval": Patch(facecolor=look.removed, alpha=0.6)}
    keys |= zip(("expected", "drawn", "drawn, outside"), ax.lines, strict=False)
    if inside.all():
        del keys["drawn, outside"]
    within = f"{np.count_nonzero(inside)} of {len(names)} counts within their {share} intervals"
    style.note(ax, missing_fonts(bars, vocabulary))
    style.legend(ax, f"{count(ids.size)} draws: {within}", keys.values(), keys)
    return ax
