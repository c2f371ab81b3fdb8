"""A text that was generated or scored, coloured by how sure the model was of each token."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.generation.result import Generation
from logitlab.generation.score_result import Removal, Score
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, fonts, labels, missing_fonts
from logitlab.plot.room import predicted
from logitlab.plot.source import top_of
from logitlab.plot.ticks import share
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

__all__ = ["generation"]

_CHARACTER_WIDTH = 0.602  # of DejaVu Sans Mono, in font sizes
_LINE_HEIGHT = 1.5  # in font sizes
_SMALL = 0.8  # the size of alternatives beside that of the text
_SPARE = 1.07  # of room for them: at another resolution hinting makes letters as much wider
_LONGEST = 22  # characters of what removed a token
_STRONGEST = {"probability": style.PALETTE["orange"], "entropy": style.PALETTE["sky"]}
_DECADES = 3  # of probability, from 1 down, between no colour and the strongest


_Reported: TypeAlias = list[tuple[int, float]]
"""Tokens and their probabilities, the likeliest first."""


class _Token(NamedTuple):
    """One token as it is drawn: a text, its colour's value, and what stands beneath it."""

    text: str
    value: float
    alternatives: tuple[str, ...]
    ends_line: bool
    removal: str = ""

    @property
    def below(self) -> tuple[str, ...]:
        return (self.removal, *self.alternatives) if self.removal else self.alternatives

    def width(self, small: float) -> float:
        """Return how wide it is, in characters; one beneath it is ``small``."""
        below = max(map(_text_width, self.below), default=0) * small
        return max(_text_width(self.text), below) + 0.6


def generation(
    answer: Generation | Score,
    vocabulary: Vocabulary,
    *,
    by: str = "probability",
    alternatives: int = 3,
    limit: int = 80,
    engine: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Draw a text token by token, coloured by probability or entropy, with the alternatives.

    The rarer the token, or the higher the entropy, the stronger the colour. Probabilities are on a
    logarithmic scale, :math:`-\log_{10} p / 3`, so that .1 and .001 differ; .001 and below have
    the strongest colour. In a score, a token that could not have been drawn has a frame, and
    beneath it stands what removed it.

    Parameters
    ----------
    answer : Generation or Score
        A generation made with ``logprobs`` for probabilities, and ``top_logprobs`` for
        alternatives; or with ``trace=True``, which serves both and the entropy. A score has the
        model's own probabilities and entropy, and alternatives if made with ``top_logprobs``.
    vocabulary : Vocabulary
        The model's: ``model.vocabulary``.
    by : {"probability", "entropy"}
        Probability of the drawn token, as the generation reports it or, without ``logprobs``, in
        the distribution it was drawn from; entropy in nats of that distribution.
    alternatives : int
        How many of the most likely tokens to write beneath each token, 0 to 20, as far as they
        are reported.
    limit : int
        How many tokens of the text, 1 or more, from its beginning.
    engine : str, optional
        Whose removals are shown, of a score at several engines; None takes the first.
    ax : matplotlib.axes.Axes, optional
        As of `plot.distribution`; the letters are as large as fits there.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a generation that holds neither log-probabilities nor, for entropy, traces; for one
        without tokens; for an engine beside a generation, or one that is not in the score; for a
        vocabulary that is not as large as the model's.

    Examples
    --------
    >>> import logitlab as ll
    >>> model = ll.models.NGram.bundled()
    >>> answer = ll.generate(model, "Once", seed=7, max_tokens=8, logprobs=True, top_logprobs=3)
    >>> ax = ll.plot.generation(answer, model.vocabulary)
    >>> ax.get_title(loc="left")
    '8 tokens: the rarer, the stronger the colour; beneath each, what was likeliest there'
    """
    if not isinstance(answer, Generation | Score):
        raise ParameterError("answer", "a Generation or a Score, as by generate", answer)
    if vocabulary is None:
        raise ParameterError("vocabulary", "the model's", None, "Take model.vocabulary.")
    check_vocabulary(vocabulary, answer.vocabulary_size)
    check_choice("by", by, ("probability", "entropy"))
    alternatives = check_integer("alternatives", alternatives, Range(0, 20, integer=True))
    limit = check_integer("limit", limit, Range(1, integer=True))
    if not len(answer.tokens):
        raise ParameterError("answer", "of at least one token", answer)
    removals, where = _removals(answer, engine)
    values = _color_values(answer, by)[:limit]
    top = max(float(values.max()), 1e-9)
    strength = _strength(values) if by == "probability" else values / top
    shown = answer.tokens[: len(values)]
    names = labels(shown, vocabulary)
    reported = [_alternatives(answer, place, alternatives) for place in range(len(names))]
    words = _words(reported, vocabulary)
    tokens = [
        _Token(
            name,
            float(value),
            tuple(f"{share(p, 2)} {words[other]}" for other, p in reported[place]),
            b"\n" in vocabulary[int(token)],
            removals.get(place, ""),
        )
        for place, (token, name, value) in enumerate(zip(shown, names, strength, strict=True))
    ]
    count = len(answer.tokens)
    title = f"{count} tokens" if count <= limit else f"the first {limit} of {count} tokens"
    title += ": the rarer" if by == "probability" else ": the higher the entropy"
    title += ", the stronger the colour"
    if any(reported):
        title += "; beneath each, what was likeliest there"
    if removals:
        title += f"; framed: {len(removals)} could not have been drawn{where}"
    is_own = ax is None
    ax, look = style.canvas(ax, 8, 4)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    style.note(ax, missing_fonts([*shown, *words], vocabulary), is_left=True)
    style.title(ax, title)  # before the tokens, which take what room it leaves
    font, lines = _layout(ax, tokens, is_own)
    colors = LinearSegmentedColormap.from_list("surprise", [look.ground, _STRONGEST[by]])
    tall, small = _height(tokens), _small(font, style.figure_of(ax).dpi)
    for y, line in enumerate(lines):
        x = 0.0
        for token in line:
            wide = token.width(small)
            _draw_token(ax, (x, y * tall, wide), token, colors(token.value), look, font)
            x += wide + 0.3
    _draw_scale(ax, look, colors, by, top, len(lines) * tall + 0.6, (font, small))
    width, height = _inches(ax)
    bottom = max(len(lines) * tall + 1.7, 72 * height / font / _LINE_HEIGHT)
    right = width / _advance(font, style.figure_of(ax).dpi)
    ax.set(xlim=(0, right), ylim=(bottom, -0.3))
    return ax


def _strength(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how strong the colour of a probability is, in [0, 1]: the same for each decade.

    Examples
    --------
    >>> _strength(np.array([1.0, 0.1, 0.001, 0.0])).round(2)
    array([0.  , 0.33, 1.  , 1.  ])
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(-np.log10(probs) / _DECADES, 0, 1) + 0.0)


def _words(reported: Sequence[_Reported], vocabulary: Vocabulary) -> dict[int, str]:
    """Return the labels of all tokens that stand beneath others."""
    tokens = list(dict.fromkeys(token for each in reported for token, _ in each))
    return dict(zip(tokens, labels(tokens, vocabulary, 12), strict=True))


def _removals(answer: Generation | Score, engine: str | None) -> tuple[dict[int, str], str]:
    """Return what removed a token, by its place, and where that was if it needs to be said."""
    if not isinstance(answer, Score):
        if engine is not None:
            raise ParameterError("engine", "absent for a generation, which has one", engine)
        return {}, ""
    if engine is not None:
        check_choice("engine", engine, answer.engines)
    name = next(iter(answer.engines), None) if engine is None else engine
    if name is None:  # all have refused
        return {}, ""
    found = {each.position: f"× {_brief(each)}" for each in answer.engines[name].removals}
    return found, f" at {name}" if len(answer.engines) > 1 else ""


def _brief(removal: Removal) -> str:
    if removal.cause == "constraint":
        return "constraint"
    name = removal.name if removal.cause != "ended" else f"after {removal.name}"
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _color_values(answer: Generation | Score, by: str) -> NDArray[np.float64]:
    if isinstance(answer, Score):
        return np.exp(answer.raw.logprobs) if by == "probability" else answer.raw.entropy
    if by == "probability" and answer.logprobs is not None:
        return np.exp(answer.logprobs.logprobs)
    if answer.traces is None:
        rule = "made with trace=True" if by == "entropy" else "made with logprobs or trace=True"
        raise ParameterError("answer", rule, answer)
    finals = [trace.logits[-1] for trace in answer.traces]
    if by == "entropy":
        return np.array([float(metrics.entropy(final)) for final in finals])
    return np.array([softmax(f)[t] for f, t in zip(finals, answer.tokens, strict=True)])


def _alternatives(answer: Generation | Score, position: int, count: int) -> _Reported:
    """Return the likeliest tokens at a position and their probabilities, as far as reported."""
    if isinstance(answer, Score):
        tokens = answer.raw.top_tokens[position, :count]
        probs = np.exp(answer.raw.top_logprobs[position, :count])
    elif answer.logprobs is not None and answer.logprobs.top_tokens.shape[-1]:
        report = answer.logprobs.at(position)
        tokens, probs = report.top_tokens[:count], np.exp(report.top_logprobs[:count])
    elif answer.traces is not None:
        whole = softmax(answer.traces[position].logits[-1])
        tokens = top_of(whole[None], 20)[:count]
        probs = whole[tokens]
    else:
        return []
    pairs = zip(tokens.tolist(), probs.tolist(), strict=True)
    return [(token, p) for token, p in pairs if p > 0]


def _text_width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


@cache
def _advance(font: float, dpi: float) -> float:
    """Return how wide a character is, in inches: measured, as hinting rounds it to whole pixels."""
    figure = Figure(dpi=dpi)
    FigureCanvasAgg(figure)
    text = figure.text(0, 0, "0" * 40, fontsize=font, fontfamily="DejaVu Sans Mono")
    return max(text.get_window_extent().width / 40 / dpi, _CHARACTER_WIDTH * font / 72)


def _small(font: float, dpi: float) -> float:
    """Return how wide a character of alternatives is, beside one of the text."""
    return _SPARE * _advance(font * _SMALL, dpi) / _advance(font, dpi)


def _height(tokens: list[_Token]) -> float:
    return 1.25 + max(len(token.below) for token in tokens) * _SMALL


def _break_lines(tokens: list[_Token], width: float, small: float) -> list[list[_Token]]:
    lines: list[list[_Token]] = []
    end = math.inf
    for token in tokens:
        if end + token.width(small) > width or lines[-1][-1].ends_line:
            lines.append([])
            end = 0.0
        lines[-1].append(token)
        end += token.width(small) + 0.3
    return lines


def _inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of some axes as they come to be."""
    box, dpi = predicted(ax), ax.figure.dpi
    return box.width / dpi, box.height / dpi


def _layout(
    ax: Axes, tokens: list[_Token], is_own: bool, largest: float = 9, smallest: float = 3
) -> tuple[float, list[list[_Token]]]:
    """Return the font size that fits, and lines; a figure of our own becomes as high as needed."""
    figure = style.figure_of(ax)
    width, height = _inches(ax)
    for font in np.arange(largest, smallest - 0.25, -0.25).tolist():
        small, advance = _small(font, figure.dpi), _advance(font, figure.dpi)
        lines = _break_lines(tokens, width / advance, small)
        used = (len(lines) * _height(tokens) + 2) * font * _LINE_HEIGHT / 72
        if is_own or used <= height:
            break
    if is_own:
        figure.set_figheight(figure.get_figheight() - height + used)
    return font, lines


def _write(ax: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """Write a text that a layout need not ask about: the box that it stands in has room."""
    style.write(ax, x, y, text, va="center", **how).set_in_layout(False)


def _draw_token(
    ax: Axes,
    place: tuple[float, float, float],
    token: _Token,
    color: tuple[float, ...],
    look: style.Look,
    font: float,
) -> None:
    """Draw a token at some x and y, so wide."""
    x, y, width = place
    edge, wide = (look.ink, 1.4) if token.removal else (look.removed, 0.4)
    box = Rectangle((x, y), width, 1, facecolor=color, edgecolor=edge, lw=wide)
    ax.add_patch(box)
    families = ["DejaVu Sans Mono", *fonts()]
    write = partial(_write, ax, x + 0.3, fontfamily=families)
    write(y + 0.5, token.text, fontsize=font, color=style.ink_on(color), gid="token")
    write = partial(write, fontsize=font * _SMALL)
    for row, text in enumerate(token.below):
        is_removal = bool(token.removal) and not row
        ink, gid = (look.ink, "removal") if is_removal else (look.faint, "alternative")
        write(y + 1 + (row + 0.5) * _SMALL, text, color=ink, gid=gid)


def _draw_scale(
    ax: Axes,
    look: style.Look,
    colors: LinearSegmentedColormap,
    by: str,
    top: float,
    y: float,
    letters: tuple[float, float],
) -> None:
    """Draw what the colours mean, as boxes like those of tokens: from left to right stronger."""
    if by == "probability":
        marks = ["1", "0.1", "0.01", "0.001 or less"]
        strengths = np.arange(_DECADES + 1) / _DECADES
    else:
        strengths = np.arange(5) / 4
        marks = [f"{strength * top:.2g}" for strength in strengths]
    words = "probability of the token" if by == "probability" else "entropy before it, nats"
    font, small = letters
    write = partial(_write, ax, fontsize=font * _SMALL)
    write(0.3, y + 0.4, words, color=look.faint)
    x = len(words) * small + 0.9
    for mark, strength in zip(marks, strengths, strict=True):
        color, wide = colors(float(strength)), (len(mark) + 1) * small
        ax.add_patch(Rectangle((x, y), wide, 0.8, facecolor=color, edgecolor=look.removed, lw=0.4))
        how = {"color": style.ink_on(color), "ha": "center", "gid": "scale"}
        write(x + wide / 2, y + 0.4, mark, **how)
        x += wide
