"""Every picture of logitlab.plot, drawn from the same few logits, and tokens that are hostile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.models import Model, State
from logitlab.verification.finding import Finding
from logitlab.verification.result import Verification
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text

HOSTILE = [
    b"\n",
    b"\t",
    b"",
    b"\xe6\x97",
    "日本語".encode(),
    b"long" * 60,
    b"$",
    b"_",
    b"$a_b$",
    b"_x",
    rb"\frac{1}{2}",
    "é".encode(),
    b" ",
    "\u0301".encode(),
    "مرحبا".encode(),
    "😀".encode(),
    b"\x00",
    "\ufeff".encode(),
    b"%",
    b"#{}~^",
    "\u202e".encode(),
    b"\r\n",
    b"<0xE6>",
    b"^_^",
]
"""Newlines, tabs, nothing, half characters, scripts without a font, mathematics of TeX …"""

Draw = Callable[..., Axes]


class Same(Model):
    """The same logits after every text."""

    name = "same"
    end_ids = frozenset[int]()
    context_length = None

    def __init__(self, row: Any, words: ll.Vocabulary) -> None:
        self.row, self.vocabulary = row, words

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        return np.tile(self.row, (len(states), 1))


def vocabulary(size: int) -> ll.Vocabulary:
    """Return hostile tokens, as many as wanted."""
    return ll.Vocabulary((HOSTILE * (size // len(HOSTILE) + 1))[:size])


def logits(size: int) -> np.ndarray[Any, Any]:
    """Return a row that falls off slowly, in no order of ids."""
    return np.random.default_rng(size).permutation(np.linspace(2, -2, size))


def distribution(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    trace = ll.Chain(ll.Temperature(0.8), ll.TopP(0.7)).trace(row)
    return ll.plot.distribution(trace, words, top=50, **how)


def trace(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    chain = ll.Chain(ll.Temperature(0.8), ll.TopK(20), ll.TopP(0.7), ll.MinP(0.1))
    return ll.plot.trace(chain.trace(row), words, top=50, **how)


def engines(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    request = {"temperature": 2, "top_p": 0.8, "top_k": 20}
    return ll.plot.engines(ll.compare_engines(row, request), words, top=50, **how)


def ranks(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    return ll.plot.ranks(row, [ll.TopK(20), ll.TopP(0.7), ll.MinP(0.1), ll.TopA(0.2)], **how)


def draws(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    tokens = ll.sample(row, size=500, seed=3)
    return ll.plot.draws(tokens, row, words, top=50, **how)


def lines(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    grid = {"temperature": np.linspace(0, 2, 9)}
    return ll.plot.sweep(row, grid, vocabulary=words, top=8, **how)


def band(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    rows = np.stack([row, row / 2, row * 2])
    return ll.plot.sweep(rows, {"top_p": [0.1, 0.5, 1.0]}, show="support", **how)


def colours(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    grid = {"temperature": [0.5, 1.0, 2.0], "min_p": [0.01, 0.1, 0.5]}
    return ll.plot.sweep(row, grid, show="entropy", **how)


def places(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    grid = {"engine": ["openrouter", "vllm", "llama_cpp_python", "mlx_lm", "koboldcpp"]}
    result = ll.sweep(np.stack([row, row / 2]), grid, "entropy", request={"top_p": 0.7})
    return ll.plot.sweep(result, **how)


def histogram(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    rows = np.stack([row / (1 + i / 4) for i in range(30)])
    result = ll.sweep(rows, {"temperature": [0.5, 1.0]}, "perplexity", reduce="histogram")
    return ll.plot.sweep(result, **how)


def bins(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    rows = np.stack([row / (1 + i / 4) for i in range(30)])
    grid = {"temperature": np.linspace(0.2, 2, 7)}
    return ll.plot.sweep(ll.sweep(rows, grid, "entropy", reduce="histogram"), **how)


def penalties(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    context = ll.Context(output=np.arange(len(row)).repeat(2)[: len(row) + 1] % len(row))
    request = {"frequency_penalty": 0.5, "presence_penalty": 0.3, "repetition_penalty": 1.5}
    return ll.plot.penalties(row, request, words, context=context, **how)


def generation(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    answer = ll.generate(
        Same(row, words), [0], seed=1, max_tokens=30, logprobs=True, top_logprobs=min(3, len(row))
    )
    return ll.plot.generation(answer, words, **how)


def scored(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    text = [place % len(row) for place in range(30)]
    result = ll.score(
        Same(row, words), text, {"top_k": 9}, prompt=[0], top_logprobs=min(3, len(row))
    )
    return ll.plot.generation(result, words, **how)


def state(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    request = {"mirostat": 2, "mirostat_tau": 2.0}
    answer = ll.generate(Same(row, words), [0], request, seed=1, max_tokens=40)
    return ll.plot.state(answer, **how)


def adaptive(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    request = {"adaptive_target": 0.3}
    answer = ll.generate(Same(row, words), [0], request, seed=1, max_tokens=1)
    return ll.plot.state(answer, **how)


def evidence(row: Any, words: ll.Vocabulary, **how: Any) -> Axes:
    drifts = np.concatenate([row, [-1.0]])[:8]
    names = [text[:40] for text in map(words.label, range(len(drifts) - 1))] + ["honoured"]
    course = tuple(
        (n, {f"{i} {name}": float(n * np.nan_to_num(drift, neginf=-1.0) / 3)
             for i, (name, drift) in enumerate(zip(names, drifts, strict=True))})
        for n in range(1, 30)
    )  # fmt: skip
    found = Finding("honoured", "proven", 1e-3, history=course)
    keys = ("top_k", "temperature", "repetition_penalty", "$a_b$")
    return ll.plot.evidence(Verification(dict.fromkeys(keys, found)), **how)


PICTURES: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        distribution,
        trace,
        engines,
        ranks,
        draws,
        lines,
        band,
        colours,
        places,
        histogram,
        bins,
        penalties,
        generation,
        scored,
        state,
        adaptive,
        evidence,
    )
}


def rectangles(ax: Axes) -> list[Rectangle]:
    """Return every bar and box, in the order they were drawn."""
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def words(ax: Axes) -> list[Text]:
    """Return every text that is drawn: of the axes, and of what stands beside them."""
    texts: list[Text] = []
    insets = [child for part in ax.figure.axes for child in part.child_axes]
    known = set[Text]()
    for part in [*insets, *ax.figure.axes]:
        ticks: set[Text] = set()
        for axis in (part.xaxis, part.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                ticks |= {tick.label1, tick.label2}
                if low <= tick.get_loc() <= high:
                    texts.append(tick.label1)
        known |= ticks  # an inset's, which are among its parent's texts, too
        texts += [text for text in part.findobj(Text) if text not in known]
        known |= set(texts)
    return [text for text in texts if text.get_text() and text.get_visible()]
