"""Points are the changes that each penalty makes to the logits of counted tokens."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from matplotlib.lines import Line2D

ROW = np.array([2.0, 1.0, -1.0, 0.5, -3.0])
CONTEXT = ll.Context(prompt=[0, 2], output=[2, 2, 1])
COUNTS = {0: 1, 1: 1, 2: 3}
REQUEST = {"frequency_penalty": 0.5, "presence_penalty": 0.25, "repetition_penalty": 2.0}


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(x, y) for x, y in np.asarray(line.get_xydata()).tolist()]


def test_points_follow_the_equations() -> None:
    ax = plot.penalties(ROW, REQUEST, context=CONTEXT)
    repetition, frequency, presence = map(points, ax.lines[1:])
    halved = {0: -1.0, 1: -0.5, 2: -1.0}
    assert sorted(repetition) == sorted((COUNTS[t], halved[t]) for t in COUNTS)
    assert sorted(frequency) == sorted((n, -0.5 * n) for n in COUNTS.values())
    assert sorted(presence) == sorted((n, -0.25) for n in COUNTS.values())
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "RepetitionPenalty(2.0)",
        "FrequencyPenalty(0.5)",
        "PresencePenalty(0.25)",
    ]


def test_the_most_frequent_tokens_are_named_at_their_largest_change() -> None:
    ax = plot.penalties(ROW, REQUEST, context=CONTEXT)
    first = ax.texts[0]
    assert (first.get_text(), first.xy) == ("#2", (3, -1.5))  # type: ignore[attr-defined]


def test_a_trace_and_a_bias() -> None:
    chain = ll.Chain(ll.LogitBias({4: 1.5}), ll.FrequencyPenalty(0.5), ll.TopK(2))
    ax = plot.penalties(chain.trace(ROW, CONTEXT), context=CONTEXT)
    bias, frequency = map(points, ax.lines[1:])
    assert (0.0, 1.5) in bias
    assert len(frequency) == 3


def test_tokens_that_were_removed_before_have_no_point() -> None:
    row = np.where(np.arange(5) == 2, -np.inf, ROW)
    ax = plot.penalties(row, {"frequency_penalty": 0.5}, context=CONTEXT)
    assert points(ax.lines[1]) == [(1, -0.5), (1, -0.5)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((ROW, None, CONTEXT), "request must be one with penalties"),
        ((ROW, REQUEST, [1, 2]), "context must be a Context"),
        ((ROW, {"temperature": 2}, CONTEXT), "chain must be one with a penalty or a bias"),
        ((ROW, CONTEXT, REQUEST), "context must be a Context, got {"),  # in the old order
        ((ROW, REQUEST, ll.Context(prompt=[[1], [2]])), "prompt must be token ids"),
        ((ll.Chain().trace(ROW), REQUEST, CONTEXT), "request must be left out beside a trace"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[Any, Any, Any], message: str) -> None:
    source, request, context = args
    with pytest.raises(ParameterError) as caught:
        plot.penalties(source, request, context=context)
    assert message in str(caught.value)


def test_an_engine_beside_a_trace_is_refused_by_its_name() -> None:
    trace = ll.Chain(ll.FrequencyPenalty(0.5)).trace(ROW, CONTEXT)
    for engine in ("vllm", ll.engines.vllm):
        with pytest.raises(ParameterError, match=r"^engine must be left out beside a trace"):
            plot.penalties(trace, context=CONTEXT, engine=engine)
