"""A generated text, coloured by how sure the model was of each token."""

from __future__ import annotations

import math
import unicodedata
from functools import partial
from typing import NamedTuple

import logitlab.plot.style as style
import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Range, check_choice, check_integer
from logitlab.generation.result import Generation
from logitlab.numerics import softmax
from logitlab.plot.labels import check_vocabulary, fonts, label, labels
from logitlab.plot.source import top_of
from logitlab.vocabulary import Vocabulary
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

__all__ = ["generation"]

_CHARACTER_WIDTH = 0.602  # of DejaVu Sans Mono, in font sizes
_LINE_HEIGHT = 1.5  # in font sizes
_SMALL = 0.8  # the size of alternatives beside that of the text
_STRONGEST = {"probability": style.PALETTE["orange"], "entropy": style.PALETTE["sky"]}


class _Token(NamedTuple):
    """One token as it is drawn: a text, its colour's value, and alternatives beneath it."""

    text: str
    value: float
    alternatives: tuple[str, ...]
    ends_line: bool

    @property
    def width(self) -> float:
        below = max(map(_text_width, self.alternatives), default=0) * _SMALL
        return max(_text_width(self.text), below) + 0.6


def generation(
    answer: Generation,
    vocabulary: Vocabulary,
    *,
    by: str = "probability",
    alternatives: int = 3,
    limit: int = 80,
    ax: Axes | None = None,
) -> Axes:
    """Draw a text token by token, coloured by probability or entropy, with the alternatives.

    The rarer the token, or the higher the entropy, the stronger the colour.

    Parameters
    ----------
    answer : Generation
        Made with ``logprobs`` for probabilities, and ``top_logprobs`` for alternatives; or with
        ``trace=True``, which serves both and the entropy.
    vocabulary : Vocabulary
        The model's.
    by : {"probability", "entropy"}
        Probability of the drawn token, as the generation reports it or, without ``logprobs``, in
        the distribution it was drawn from; entropy in nats of that distribution.
    alternatives : int
        How many of the most likely tokens to write beneath each token, 0 to 20, as far as they
        are reported.
    limit : int
        How many tokens of the text, from its beginning.
    ax : matplotlib.axes.Axes, optional
        Where to draw, as large as fits; without it on new axes, as by `plot.axes`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For a generation that holds neither log-probabilities nor, for entropy, traces.

    Examples
    --------
    >>> import logitlab as ll
    >>> model = ll.models.NGram.bundled()
    >>> answer = ll.generate(model, "Once", seed=7, max_tokens=8, logprobs=True, top_logprobs=3)
    >>> ax = ll.plot.generation(answer, model.vocabulary)
    >>> ax.get_title(loc="left")
    '8 tokens, coloured by probability'
    """
    if not isinstance(answer, Generation):
        raise ParameterError("answer", "a Generation, as by generate", answer)
    if vocabulary is None:
        raise ParameterError("vocabulary", "the model's", None, "Take model.vocabulary.")
    check_vocabulary(vocabulary)
    check_choice("by", by, ("probability", "entropy"))
    alternatives = check_integer("alternatives", alternatives, Range(0, 20, integer=True))
    limit = check_integer("limit", limit, Range(1, integer=True))
    if not len(answer.tokens):
        raise ParameterError("answer", "of at least one token", answer)
    values = _color_values(answer, by)[:limit]
    top = 1.0 if by == "probability" else max(float(values.max()), 1e-9)
    strength = 1 - values if by == "probability" else values / top
    tokens = [
        _Token(
            label(token, vocabulary),
            float(value),
            _alternatives(answer, place, alternatives, vocabulary),
            b"\n" in vocabulary[token],
        )
        for place, (token, value) in enumerate(zip(answer.tokens.tolist(), strength, strict=False))
    ]
    ax, font, lines = _layout(ax, tokens)
    look = style.ground(ax)
    colors = LinearSegmentedColormap.from_list("surprise", [look.ground, _STRONGEST[by]])
    tall = _height(tokens)
    for y, line in enumerate(lines):
        x = 0.0
        for token in line:
            _draw_token(ax, x, y * tall, token, colors(token.value), look, font)
            x += token.width + 0.3
    _draw_scale(ax, look, colors, by, top, len(lines) * tall + 0.6, font)
    width, height = style.inches(ax)
    bottom = max(len(lines) * tall + 1.7, 72 * height / font / _LINE_HEIGHT)
    right = 72 * width / font / _CHARACTER_WIDTH
    ax.set(xlim=(0, right), ylim=(bottom, -0.3), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    count = len(answer.tokens)
    part = f"{count} tokens" if count <= limit else f"the first {limit} of {count} tokens"
    style.title(ax, f"{part}, coloured by {by}")
    return ax


def _color_values(answer: Generation, by: str) -> NDArray[np.float64]:
    if by == "probability" and answer.logprobs is not None:
        return np.exp(answer.logprobs.logprobs)
    if answer.traces is None:
        rule = "made with trace=True" if by == "entropy" else "made with logprobs or trace=True"
        raise ParameterError("answer", rule, answer)
    finals = [trace.logits[-1] for trace in answer.traces]
    if by == "entropy":
        return np.array([float(metrics.entropy(final)) for final in finals])
    return np.array([softmax(f)[t] for f, t in zip(finals, answer.tokens, strict=True)])


def _alternatives(
    answer: Generation, position: int, count: int, vocabulary: Vocabulary
) -> tuple[str, ...]:
    if answer.logprobs is not None and answer.logprobs.top_tokens.shape[-1]:
        report = answer.logprobs.at(position)
        tokens, probs = report.top_tokens[:count], np.exp(report.top_logprobs[:count])
    elif answer.traces is not None:
        whole = softmax(answer.traces[position].logits[-1])
        tokens = top_of(whole[None], 20)[:count]
        probs = whole[tokens]
    else:
        return ()
    names = labels(tokens, vocabulary, 12)
    return tuple(f"{p:.2f} {name}" for name, p in zip(names, probs, strict=True) if p > 0)


def _text_width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _height(tokens: list[_Token]) -> float:
    return 1.25 + max(len(token.alternatives) for token in tokens) * _SMALL


def _break_lines(tokens: list[_Token], width: float) -> list[list[_Token]]:
    lines: list[list[_Token]] = []
    end = math.inf
    for token in tokens:
        if end + token.width > width or lines[-1][-1].ends_line:
            lines.append([])
            end = 0.0
        lines[-1].append(token)
        end += token.width + 0.3
    return lines


def _layout(
    ax: Axes | None, tokens: list[_Token], largest: float = 9, smallest: float = 3
) -> tuple[Axes, float, list[list[_Token]]]:
    """Return axes, font size and lines: new axes as high as needed, or a size that fits."""
    width, height = (8 * 0.96, math.inf) if ax is None else style.inches(ax)
    for font in np.arange(largest, smallest - 0.25, -0.25).tolist():
        lines = _break_lines(tokens, 72 * width / font / _CHARACTER_WIDTH)
        used = (len(lines) * _height(tokens) + 2) * font * _LINE_HEIGHT / 72
        if used <= height:
            break
    if ax is None:
        tall = max(used + 0.4, 1.2)
        ax = style.axes(8, tall)
        ax.set_position((0.02, 0.05 / tall, 0.96, 1 - 0.4 / tall))
    return ax, font, lines


def _draw_token(
    ax: Axes,
    x: float,
    y: float,
    token: _Token,
    color: tuple[float, ...],
    look: style.Look,
    font: float,
) -> None:
    ax.add_patch(Rectangle((x, y), token.width, 1, facecolor=color, edgecolor=look.removed, lw=0.4))
    families = ["DejaVu Sans Mono", *fonts()]
    write = partial(style.write, ax, x + 0.3, va="center", fontfamily=families)
    write(y + 0.5, token.text, fontsize=font, color=style.ink_on(color), gid="token")
    write = partial(write, fontsize=font * _SMALL, color=look.faint, gid="alternative")
    for row, text in enumerate(token.alternatives):
        write(y + 1 + (row + 0.5) * _SMALL, text)


def _draw_scale(
    ax: Axes,
    look: style.Look,
    colors: LinearSegmentedColormap,
    by: str,
    top: float,
    y: float,
    font: float,
) -> None:
    """Draw what the colours mean, as a strip."""
    ends = ("probability 1", "0") if by == "probability" else ("entropy 0", f"{top:.2f} nats")
    for x, end in zip((0.3, 25.6), ends, strict=True):
        style.write(ax, x, y + 0.4, end, fontsize=font * _SMALL, va="center", color=look.faint)
    for i, strength in enumerate(np.linspace(0, 1, 20)):
        ax.add_patch(Rectangle((11 + i * 0.7, y), 0.7, 0.8, facecolor=colors(strength), lw=0))
