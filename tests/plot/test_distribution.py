"""What distribution, ranks and draws draw is what they were given."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from logitlab.plot.style import figure_of
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.text import Text
from scipy.stats import binomtest

from plot.pictures import logits, rectangles

ROW = np.log([0.5, 0.25, 0.125, 0.0625, 0.0625])
WORDS = ll.Vocabulary([b" king", b"\n", b"$x$", b"_", b"\xe6"])


def ticks(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend
    return [text.get_text() for text in legend.get_texts()]


def bars(ax: Axes) -> list[tuple[float, float, float]]:
    """Return left end, width and middle of every bar."""
    return [
        (p.get_x(), p.get_width(), round(p.get_y() + p.get_height() / 2, 9)) for p in rectangles(ax)
    ]


def test_bars_are_the_probabilities_of_the_most_likely_tokens() -> None:
    ax = plot.distribution(ROW, WORDS, top=3)
    assert ticks(ax) == ["␣king", "⏎", "$x$"]
    assert np.array(bars(ax)) == pytest.approx(np.array([(0, 0.5, 0), (0, 0.25, 1), (0, 0.125, 2)]))
    assert [text.get_text() for text in ax.texts] == ["0.500", "0.250", "0.125"]
    assert ax.get_xlabel() == "probability (not shown: 2 survivors with 0.125)"


def test_the_first_token_is_on_top() -> None:
    bottom, top = plot.distribution(ROW, WORDS).get_ylim()
    assert bottom > top


def test_kept_and_removed_tokens_differ_in_colour_hatch_and_words() -> None:
    trace = ll.Chain(ll.TopK(2)).trace(ROW)
    ax = plot.distribution(trace, WORDS)
    before, removed, after = rectangles(ax)[:2], rectangles(ax)[2:5], rectangles(ax)[5:]
    assert [bar.get_width() for bar in [*before, *removed]] == pytest.approx(np.exp(ROW))
    assert [bar.get_width() for bar in after] == pytest.approx([2 / 3, 1 / 3])
    assert {bar.get_hatch() for bar in removed} == {"////"}
    assert {bar.get_hatch() for bar in [*before, *after]} == {None}
    assert all(same_color(bar.get_facecolor(), "#0072B2") for bar in after)
    assert [text.get_text() for text in ax.texts][2:] == ["removed"] * 3
    assert ax.get_title(loc="left") == (
        "2 of 5 tokens kept, 0.250 of the probability removed, entropy 0.64 nats"
    )


def test_an_array_with_the_one_before_is_drawn_as_a_trace() -> None:
    trace = ll.Chain(ll.TopP(0.6)).trace(ROW)
    one = plot.distribution(trace, WORDS)
    other = plot.distribution(trace.logits[-1], WORDS, before=ROW)
    assert bars(one) == bars(other)


def test_a_token_that_only_a_bias_made_likely_is_shown() -> None:
    row = logits(40)
    least = int(row.argmin())
    ax = plot.distribution(ll.Chain(ll.LogitBias({least: 20.0})).trace(row), top=3)
    assert ticks(ax)[0] == f"#{least}"


def test_a_token_of_a_generation() -> None:
    model = ll.models.NGram.bundled()
    answer = ll.generate(model, "Once", seed=1, max_tokens=3, top_k=4, trace=True)
    assert answer.traces is not None
    ax = plot.distribution(answer, model.vocabulary, position=-1)
    expected = np.sort(ll.softmax(answer.traces[-1].logits[-1]))[::-1][:4]
    assert [bar.get_width() for bar in rectangles(ax)[-4:]] == pytest.approx(expected)


def test_ids_stand_for_tokens_that_the_vocabulary_does_not_have() -> None:
    assert ticks(plot.distribution(ROW, ll.Vocabulary([b"a", b"b"]), top=3)) == ["a", "b", "#2"]
    assert ticks(plot.distribution(ROW, top=2)) == ["#0", "#1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.distribution(np.zeros((2, 3))), "Take one row: logits[0]."),
        (lambda: plot.distribution(ROW, before=np.zeros(3)), "before must be of the shape"),
        (lambda: plot.distribution(ROW, top=0), "top must be an integer in [1, 200], got 0."),
        (
            lambda: plot.distribution(ROW, ["a"]),  # type: ignore[arg-type]
            "vocabulary must be a Vocabulary or None",
        ),
        (
            lambda: plot.distribution(ll.Chain().trace(np.zeros((2, 3)))),
            "Trace one row: chain.trace(logits[0]).",
        ),
        (
            lambda: plot.distribution(ll.Chain().trace(ROW), before=ROW),
            "before must be None beside a trace",
        ),
        (lambda: plot.ranks(ll.Chain().trace(ROW), [ll.TopK(2)]), "cuts must be absent"),
        (lambda: plot.ranks(ROW, [0.9]), "cuts must be transforms"),  # type: ignore[list-item]
        (lambda: plot.draws([], ROW), "tokens must be at least one draw"),
        (lambda: plot.draws(ROW, [1, 2]), "Draws come first, then the logits."),
        (lambda: plot.draws([5], ROW), "tokens must be an integer in [0, 4], got 5."),
        (lambda: plot.draws([1], ROW, confidence=1), "confidence must be above 0 and below 1"),
        (lambda: plot.axes(0, 3), "width must be a number of inches above 0"),
    ],
)
def test_what_is_wrong_is_said(call: Any, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        call()
    assert message in str(caught.value)


def test_ranks_are_the_sorted_probabilities_and_cuts_the_sizes() -> None:
    row = logits(40)
    cuts = [ll.TopK(7), ll.TopP(0.5), ll.MinP(0.3), ll.TopA(0.9)]
    ax = plot.ranks(row, cuts)
    x, y = ax.lines[0].get_data()
    assert np.array_equal(x, np.arange(1, 41))
    assert np.asarray(y) == pytest.approx(np.sort(ll.softmax(row))[::-1])
    sizes = [int(ll.support_size(cut(row))) for cut in cuts]
    lines, points = ax.lines[1::2], ax.lines[2::2]
    assert [np.asarray(line.get_xdata())[0] for line in lines] == sizes
    assert [point.get_xdata()[0] for point in points] == sizes  # type: ignore[index]
    assert len({point.get_marker() for point in points}) == 4
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_ranks_of_a_trace_start_before_its_first_cut() -> None:
    chain = ll.Chain(ll.Temperature(0.5), ll.TopK(3), ll.MinP(0.2))
    ax = plot.ranks(chain.trace(ROW))
    assert np.asarray(ax.lines[0].get_ydata()) == pytest.approx(ll.softmax(ROW / 0.5))
    assert [np.asarray(line.get_xdata())[0] for line in ax.lines[1::2]] == [3, 2]


def test_draws_are_counted_and_their_intervals_are_those_of_the_binomial() -> None:
    tokens = [0] * 60 + [1] * 20 + [2] * 20
    ax = plot.draws(tokens, ROW, WORDS, confidence=0.95, top=3)
    assert ticks(ax) == ["␣king", "⏎", "$x$", "2 others"]
    expected, inside, outside = (line.get_xdata() for line in ax.lines)
    assert np.asarray(expected) == pytest.approx([50, 25, 12.5, 12.5])
    assert [*np.asarray(inside), *np.asarray(outside)] == [60, 20, 20, 0]
    for (left, width, _), p in zip(bars(ax), [0.5, 0.25, 0.125, 0.125], strict=True):
        # Equal tails: at either end of the interval at least 2.5 % lie beyond, but not inside.
        assert binomtest(int(left), 100, p, "less").pvalue >= 0.025
        assert binomtest(int(left) - 1, 100, p, "less").pvalue < 0.025
        assert binomtest(int(left + width), 100, p, "greater").pvalue >= 0.025
        assert binomtest(int(left + width) + 1, 100, p, "greater").pvalue < 0.025


def test_a_removed_token_that_was_drawn_all_the_same_stands_out() -> None:
    ax = plot.draws([0] * 9 + [4], np.array([0.0, -1, -2, -3, -np.inf]), top=2)
    assert ticks(ax) == ["#0", "#4", "3 others"]
    outside = ax.lines[2]
    assert (outside.get_marker(), list(np.asarray(outside.get_xdata()))) == ("X", [1])


def test_ranks_of_cuts_that_keep_no_beginning_of_the_row() -> None:
    x = np.log([0.4, 0.3, 0.2, 0.07, 0.03])
    typical, top = ll.TypicalP(0.25), ll.ExcludeTopChoices(0.15)
    ax = plot.ranks(x, [typical, top, ll.TopK(2), ll.LogitBias({1: -np.inf})])
    assert legend_of(ax) == [
        "TypicalP(0.25): 1 token, ranks 2 to 2, 0.300",
        "ExcludeTopChoices(0.15): 3 tokens, ranks 3 to 5, 0.300",
        "TopK(2): 2 tokens, 0.700",
        "LogitBias({1: -inf}): 4 tokens, ranks 1 to 5, 0.700",
    ]
    at = [np.asarray(line.get_xdata())[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert at == [2, 3, 5, 2, 5]


def test_ranks_of_a_trace_with_such_a_cut() -> None:
    x = np.log([0.4, 0.3, 0.2, 0.07, 0.03])
    trace = ll.Chain(ll.TopK(4), ll.ExcludeTopChoices(0.2), ll.MinP(0.5)).trace(x)
    texts = legend_of(plot.ranks(trace))
    assert texts == [
        "TopK(4): 4 tokens, 0.970",
        "ExcludeTopChoices(0.2): 2 tokens, ranks 3 to 4, 0.270",
        "MinP(0.5): 1 token, ranks 3 to 3, 0.200",
    ]


@pytest.mark.parametrize("p", [0.001, 0.02, 0.4, 0.9, 1.0])
def test_the_axis_ends_behind_the_bars_and_their_numbers(p: float) -> None:
    size = max(2, round(3 / p))
    row = np.log(np.array([p, *[(1 - p + 1e-300) / (size - 1)] * (size - 1)]))
    ax = plot.distribution(row, top=2, ax=plot.axes(6, 2))
    figure_of(ax).draw_without_rendering()
    low, high = ax.get_xlim()
    longest = max(bar.get_width() for bar in rectangles(ax))
    assert low == 0
    assert 0.8 * high < longest < high
    for text in ax.texts:
        assert Text.get_window_extent(text).x1 <= ax.bbox.x1 + 1
    ticks = ax.get_xticks()
    assert len(ticks) >= 3
    assert max(ticks) <= 1


def test_ranks_show_the_cuts_and_say_what_lies_below() -> None:
    row = np.linspace(0, -40, 1000)
    probs = np.exp(row) / np.exp(row).sum()
    ax = plot.ranks(row, [ll.TopP(0.9)])
    low, _ = ax.get_ylim()
    hidden = int((probs < low).sum())
    assert 0 < hidden < 1000
    assert low == pytest.approx(1e-5)
    assert ax.get_xlabel() == f"rank (not shown: {hidden} tokens below 0.00001)"
    assert plot.ranks(ROW).get_xlabel() == "rank"
