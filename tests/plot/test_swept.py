"""The result of a sweep as lines or a map."""

from __future__ import annotations

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot

ROWS = np.random.default_rng(0).normal(scale=2, size=(7, 30)).astype(np.float32)
GRID = {"temperature": [0.0, 0.5, 1.0, 1.5], "top_p": [0.5, 0.9]}


def test_lines_are_the_values() -> None:
    found = ll.sweep(ROWS, GRID, ["entropy", "support"])
    ax = plot.sweep(found, show="support")
    for i, line in enumerate(ax.lines):
        assert np.asarray(line.get_xdata()).tolist() == GRID["temperature"]
        assert np.array_equal(np.asarray(line.get_ydata()), found.values["support"][:, i])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("temperature", "support in tokens")
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["top_p 0.5", "top_p 0.9"]
    assert ax.get_title(loc="left") == "support, mean of 7 rows"
    assert plot.sweep(found).get_ylabel() == "entropy in nats"


def test_engines_have_a_line_each_and_alone_a_place_each() -> None:
    names = ["openrouter", "vllm"]
    found = ll.sweep(ROWS, {"engine": names, "temperature": [0.5, 1.0, 2.0]}, "entropy")
    assert len(plot.sweep(found).lines) == 2
    ax = plot.sweep(ll.sweep(ROWS, {"engine": names}, "entropy"))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == names


def test_rows_are_drawn_as_their_median_and_intervals_as_bands() -> None:
    found = ll.sweep(ROWS, GRID, "entropy", reduce="rows")
    line = plot.sweep(found).lines[1]
    middle = np.median(found.values["entropy"][:, 1], axis=-1)
    assert np.array_equal(np.asarray(line.get_ydata()), middle)
    drawn = ll.simulate(ROWS, GRID, "agreement", draws=20, seed=1)
    assert len(plot.sweep(drawn).collections) == 2


def test_many_values_make_a_map() -> None:
    grid = {"temperature": np.linspace(0, 2, 30), "min_p": np.linspace(0, 0.5, 9)}
    found = ll.sweep(ROWS, grid, "support")
    ax = plot.sweep(found)
    values = ax.collections[0].get_array()
    assert values is not None
    assert np.asarray(values).reshape(30, 9) == pytest.approx(found.values["support"])
    assert ax.get_yticklabels()[1].get_text() == "0.2069"
    counts = ll.sweep(ROWS, {"temperature": [0.5, 1.0]}, "entropy", reduce="histogram")
    assert plot.sweep(counts).get_title(loc="left") == "entropy, counts of 7 rows"


def test_mistakes() -> None:
    found = ll.sweep(ROWS, GRID | {"min_p": [0.0, 0.1, 0.2, 0.3]}, "entropy")
    with pytest.raises(ParameterError, match="result must be one of two axes, or of 6 lines"):
        plot.sweep(found)
    with pytest.raises(ParameterError, match="show must be one of 'entropy', got 'support'"):
        plot.sweep(found, show="support")
    with pytest.raises(ParameterError, match="grid must be left out of a result"):
        plot.sweep(found, GRID)
