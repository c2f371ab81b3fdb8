"""A text is drawn token by token, with its probabilities and alternatives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Generation, ParameterError, Score, plot, score
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, same_color
from matplotlib.patches import Rectangle

from plot.pictures import rectangles
from plot.seeing import difference, lab

MODEL = ll.models.NGram.bundled()


@pytest.fixture(scope="module")
def answer() -> Generation:
    return ll.generate(
        MODEL, "Once upon", seed=3, max_tokens=12, logprobs=True, top_logprobs=4, trace=True
    )


def texts(ax: Axes, gid: str) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_gid() == gid]


def boxes(ax: Axes, count: int) -> list[Rectangle]:
    return rectangles(ax)[:count]


def test_tokens_and_alternatives_are_written(answer: Generation) -> None:
    ax = plot.generation(answer, MODEL.vocabulary, alternatives=2)
    assert texts(ax, "token") == [MODEL.vocabulary.label(int(t)) for t in answer.tokens]
    assert answer.logprobs is not None
    first = [
        f"{np.exp(p):.2f} {MODEL.vocabulary.label(int(t))}"
        for t, p in zip(
            answer.logprobs.top_tokens[0, :2], answer.logprobs.top_logprobs[0, :2], strict=True
        )
    ]
    assert texts(ax, "alternative")[:2] == first
    assert len(texts(ax, "alternative")) == 24


@pytest.mark.parametrize("by", ["probability", "entropy"])
def test_the_colour_of_a_token_is_its_value(answer: Generation, by: str) -> None:
    ax = plot.generation(answer, MODEL.vocabulary, by=by)
    assert answer.logprobs is not None
    assert answer.traces is not None
    if by == "probability":
        strength, strong = -answer.logprobs.logprobs / np.log(1000), "#E69F00"
    else:
        entropy = np.array([float(ll.entropy(trace.logits[-1])) for trace in answer.traces])
        strength, strong = entropy / entropy.max(), "#56B4E9"
    colors = LinearSegmentedColormap.from_list("expected", ["#FFFFFF", strong])
    for box, s in zip(boxes(ax, 12), strength, strict=True):
        assert same_color(box.get_facecolor(), colors(s))


def test_without_reported_logprobs_the_traces_serve() -> None:
    how: dict[str, Any] = {"seed": 3, "max_tokens": 5, "temperature": 0.7, "top_p": 0.8}
    traced = ll.generate(MODEL, "Once upon", trace=True, **how)
    reported = ll.generate(
        MODEL, "Once upon", logprobs=True, top_logprobs=3, logprobs_mode="processed", **how
    )
    one, other = (plot.generation(g, MODEL.vocabulary) for g in (traced, reported))
    assert texts(one, "alternative") == texts(other, "alternative")
    for a, b in zip(boxes(one, 5), boxes(other, 5), strict=True):
        assert a.get_facecolor() == pytest.approx(b.get_facecolor(), abs=1 / 128)


def test_a_long_text_is_cut_and_says_so(answer: Generation) -> None:
    ax = plot.generation(answer, MODEL.vocabulary, limit=4)
    assert len(texts(ax, "token")) == 4
    assert ax.get_title(loc="left") == (
        "the first 4 of 12 tokens: the rarer, the stronger the colour; "
        "beneath each, what was likeliest there"
    )


def test_tokens_stand_in_lines_and_do_not_touch(answer: Generation) -> None:
    ax = plot.generation(answer, MODEL.vocabulary, ax=plot.axes(3, 6))
    places = [(box.get_y(), box.get_x(), box.get_width()) for box in boxes(ax, 12)]
    assert len({y for y, _, _ in places}) > 1
    right = ax.get_xlim()[1]
    for (y, x, width), (below, beside, _) in pairwise(places):
        assert below > y or beside > x + width
        assert x + width <= right or x == 0


def test_what_is_missing_is_said(answer: Generation) -> None:
    plain = ll.generate(MODEL, "Once", seed=1, max_tokens=2)
    with pytest.raises(ParameterError, match="answer must be made with logprobs or trace=True"):
        plot.generation(plain, MODEL.vocabulary)
    reported = ll.generate(MODEL, "Once", seed=1, max_tokens=2, logprobs=True)
    with pytest.raises(ParameterError, match="answer must be made with trace=True"):
        plot.generation(reported, MODEL.vocabulary, by="entropy")
    with pytest.raises(ParameterError, match=r"vocabulary must be the model's, got None"):
        plot.generation(answer, None)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="answer must be a Generation or a Score"):
        plot.generation("Once", MODEL.vocabulary)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="engine must be absent for a generation"):
        plot.generation(answer, MODEL.vocabulary, engine="vllm")
    with pytest.raises(ParameterError, match="engine must be one of 'openrouter', got 'vllm'"):
        plot.generation(scored(), MODEL.vocabulary, engine="vllm")


def scored(**how: Any) -> Score:
    text = " there was a king who had a castle."
    return score(MODEL, text, {"top_k": 40}, prompt="Once upon a time", **how)


@pytest.mark.parametrize("size", [700, 4097])
def test_the_vocabulary_of_another_model_is_refused(size: int) -> None:
    other = ll.Vocabulary([b"a"] * size)
    answer = ll.generate(MODEL, "Once", seed=7, max_tokens=3, logprobs=True)
    for made in (answer, ll.score(MODEL, " upon a time", prompt="Once")):
        rule = f"vocabulary must be of 4096 tokens, as many as the logits, got {size}"
        with pytest.raises(ParameterError, match=rule):
            plot.generation(made, other)


def test_a_score_has_its_own_probabilities_and_frames_what_could_not_come() -> None:
    result = scored(top_logprobs=2)
    ax = plot.generation(result, MODEL.vocabulary)
    assert texts(ax, "token") == [MODEL.vocabulary.label(int(t)) for t in result.tokens]
    colors = LinearSegmentedColormap.from_list("expected", ["#FFFFFF", "#E69F00"])
    drawn = boxes(ax, len(result.tokens))
    for box, logprob in zip(drawn, result.raw.logprobs, strict=True):
        assert same_color(box.get_facecolor(), colors(-logprob / np.log(1000)))
    assert [box.get_linewidth() > 1 for box in drawn] == (~result.processed.possible).tolist()
    assert texts(ax, "removal") == ["× TopK(40)"]
    assert len(texts(ax, "alternative")) == 2 * len(result.tokens)
    assert ax.get_title(loc="left").replace("\n", " ") == (
        "9 tokens: the rarer, the stronger the colour; beneath each, what was likeliest there; "
        "framed: 1 could not have been drawn"
    )
    by = plot.generation(result, MODEL.vocabulary, by="entropy")
    strength = result.raw.entropy / result.raw.entropy.max()
    colors = LinearSegmentedColormap.from_list("expected", ["#FFFFFF", "#56B4E9"])
    for box, s in zip(boxes(by, 9), strength, strict=True):
        assert same_color(box.get_facecolor(), colors(s))


def test_of_several_engines_one_is_shown() -> None:
    result = scored(engine=("vllm", "llama_cpp"), min_p=0.1, temperature=2)
    first = plot.generation(result, MODEL.vocabulary)
    assert first.get_title(loc="left").endswith("1 could not have been drawn at vllm")
    assert texts(first, "removal") == ["× MinP(0.1, space='prob…"]
    other = plot.generation(result, MODEL.vocabulary, engine="llama_cpp")
    assert texts(other, "removal") == ["× MinP(0.1)", "× TopK(40)"]
    assert texts(other, "alternative") == []
    refused = scored(engine=["vllm"], top_p=0)
    assert texts(plot.generation(refused, MODEL.vocabulary), "removal") == []


def test_what_removed_a_token_is_brief() -> None:
    ended = score(MODEL, " king. was", stop=["."], prompt="The")
    assert texts(plot.generation(ended, MODEL.vocabulary), "removal") == ["× after stop string"]
    constraint = ll.constraints.Choice([" king"])
    other = score(MODEL, " queen", prompt="The", constraint=constraint)
    shown = texts(plot.generation(other, MODEL.vocabulary), "removal")
    assert shown[0] == "× constraint"
    step = score(MODEL, [5], ll.Chain(ll.TopK(1, ties="highest")), prompt="The")
    assert texts(plot.generation(step, MODEL.vocabulary), "removal") == ["× TopK(1, ties='highest…"]


def test_the_scale_reads_from_left_to_right_and_is_logarithmic(answer: Generation) -> None:
    ax = plot.generation(answer, MODEL.vocabulary)
    marks = [text for text in ax.texts if text.get_gid() == "scale"]
    assert [text.get_text() for text in marks] == ["1", "0.1", "0.01", "0.001 or less"]
    places = [text.get_position()[0] for text in marks]
    assert places == sorted(places)
    swatches = rectangles(ax)[len(answer.tokens) :]
    colors = LinearSegmentedColormap.from_list("expected", ["#FFFFFF", "#E69F00"])
    for box, text, s in zip(swatches, marks, [0.0, 1 / 3, 2 / 3, 1.0], strict=True):
        assert same_color(box.get_facecolor(), colors(s))
        assert box.get_x() < text.get_position()[0] < box.get_x() + box.get_width()
    seen = [
        difference(lab(a.get_facecolor()), lab(b.get_facecolor())) for a, b in pairwise(swatches)
    ]
    assert min(seen) > 5
    ax = plot.generation(answer, MODEL.vocabulary, by="entropy")
    marks = [text for text in ax.texts if text.get_gid() == "scale"]
    numbers = [float(text.get_text()) for text in marks]
    assert numbers == sorted(numbers)
    assert [text.get_position()[0] for text in marks] == sorted(
        text.get_position()[0] for text in marks
    )
