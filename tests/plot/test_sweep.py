"""Lines, bands and maps are what the chains give."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, plot
from logitlab.plot.style import figure_of
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from plot.pictures import logits

VALUES = [0.0, 0.5, 1.0, 2.0]
ROWS = np.random.default_rng(0).normal(scale=2, size=(7, 30)).astype(np.float32)
GRID = {"temperature": [0.0, 0.5, 1.0, 1.5], "top_p": [0.5, 0.9]}


def test_lines_are_the_probabilities_of_tokens_and_of_all_others() -> None:
    row = logits(20)
    ax = plot.sweep(row, {"temperature": VALUES}, request={"top_k": 9}, top=3)
    finals = [ll.engines.openrouter({"temperature": t, "top_k": 9})(row) for t in VALUES]
    probs = np.array([ll.softmax(final) for final in finals])
    tokens = np.argsort(-row)[:3]
    for line, token in zip(ax.lines, tokens, strict=False):
        assert np.asarray(line.get_xdata()).tolist() == VALUES
        assert np.asarray(line.get_ydata()) == pytest.approx(probs[:, token])
    rest = np.asarray(ax.lines[3].get_ydata())
    assert rest == pytest.approx(1 - probs[:, tokens].sum(axis=1))
    assert [text.get_text() for text in ax.texts] == [*(f"#{t}" for t in tokens), "all others"]
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 4


def test_bands_are_median_and_quartiles_over_rows() -> None:
    rows = np.stack([logits(20) * scale for scale in (0.5, 1, 2, 4, 8)])
    ax = plot.sweep(rows, {"top_p": [0.3, 0.6, 0.9]}, show="entropy")
    expected = np.array([ll.entropy(ll.top_p(rows, p)) for p in (0.3, 0.6, 0.9)])
    assert np.asarray(ax.lines[0].get_ydata()) == pytest.approx(np.median(expected, axis=1))
    edges = ax.collections[0].get_paths()[0].vertices
    low, high = np.quantile(expected, [0.25, 0.75], axis=1)
    assert {round(float(y), 6) for y in np.asarray(edges)[:, 1]} == {
        round(float(y), 6) for y in [*low, *high]
    }
    assert ax.get_title(loc="left") == (
        "entropy, the median of 5 rows, and a band from the lower to the upper quartile"
    )


@pytest.mark.parametrize(
    ("show", "measure"),
    [("support", ll.support_size), ("top_probability", ll.top_probability)],
)
def test_maps_hold_a_measure_over_two_parameters(show: str, measure: Any) -> None:
    row = logits(200)
    grid = {"temperature": [0.5, 1.0, 2.0], "min_p": [0.1, 0.3, 0.5]}
    ax = plot.sweep(row, grid, show=show)
    expected = [
        [measure(ll.min_p(ll.temperature(row, t), p)) for p in grid["min_p"]]
        for t in grid["temperature"]
    ]
    values = ax.collections[0].get_array()
    assert values is not None
    assert np.asarray(values).reshape(3, 3) == pytest.approx(np.array(expected))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("min_p", "temperature")


def test_uneven_values_stand_one_by_one_under_their_names() -> None:
    ax = plot.sweep(logits(9), {"top_k": [1, 5, 50], "top_p": [0.5, 0.9, 0.99]}, show="entropy")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.5", "0.9", "0.99"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "5", "50"]


def test_another_engine_and_a_context() -> None:
    row = logits(20)
    context = ll.Context(prompt=[1, 2, 2])
    ax = plot.sweep(
        row, {"presence_penalty": [0.0, 1.0]}, show="entropy", engine="vllm", context=context
    )
    # vLLM counts the output alone, so that a prompt changes nothing.
    y = np.asarray(ax.lines[0].get_ydata())
    assert y[0] == y[1]


@pytest.mark.parametrize(
    ("grid", "how", "message"),
    [
        ({}, {}, "grid must be a map from parameters to sequences of values"),
        (
            {"temperature": [1, 2], "top_p": [1, 0.5], "min_p": [0, 0.1, 0.2, 0.3]},
            {"show": "entropy"},
            "result must be one of two axes, or of 6 lines",
        ),
        ({"engine": ["vllm"]}, {}, "engine must be a finite number"),
        ({"temperature": [1], "top_p": [1]}, {}, "grid must be one parameter for probabilities"),
        ({"seed": [1]}, {}, "grid must be a map whose keys are among temperature"),
        ({"temperature": []}, {}, "temperature must be a sequence of at least one value"),
        ({"temperature": [3]}, {"show": "entropy"}, "temperature must be in [0, 2], got 3"),
        ({"temperature": [1]}, {"show": "fun"}, "show must be one of 'probability'"),
    ],
)
def test_what_is_wrong_is_said(grid: Any, how: Any, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        plot.sweep(logits(5), grid, **how)
    assert message in str(caught.value)


def test_lines_are_the_values() -> None:
    result = ll.sweep(ROWS, GRID, ["entropy", "support"])
    ax = plot.sweep(result, show="support")
    for i, line in enumerate(ax.lines):
        assert np.asarray(line.get_xdata()).tolist() == GRID["temperature"]
        assert np.array_equal(np.asarray(line.get_ydata()), result.values["support"][:, i])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("temperature", "support in tokens")
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["top_p 0.5", "top_p 0.9"]
    assert ax.get_title(loc="left") == "support, the mean of 7 rows"
    assert plot.sweep(result).get_ylabel() == "entropy in nats"


def test_engines_have_a_line_each_and_alone_a_place_each() -> None:
    names = ["openrouter", "vllm"]
    result = ll.sweep(ROWS, {"engine": names, "temperature": [0.5, 1.0, 2.0]}, "entropy")
    assert len(plot.sweep(result).lines) == 2
    ax = plot.sweep(ll.sweep(ROWS, {"engine": names}, "entropy"))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["openrouter", "vllm = openrouter"]


def test_rows_are_drawn_as_their_median_and_intervals_as_bands() -> None:
    result = ll.sweep(ROWS, GRID, "entropy", reduce="rows")
    line = plot.sweep(result).lines[1]
    middle = np.median(result.values["entropy"][:, 1], axis=-1)
    assert np.array_equal(np.asarray(line.get_ydata()), middle)
    simulated = ll.simulate(ROWS, GRID, "agreement", draws=20, seed=1)
    assert len(plot.sweep(simulated).collections) == 2


def test_many_values_make_a_map() -> None:
    grid = {"temperature": np.linspace(0, 2, 30), "min_p": np.linspace(0, 0.5, 9)}
    result = ll.sweep(ROWS, grid, "support")
    ax = plot.sweep(result)
    values = ax.collections[0].get_array()
    assert values is not None
    assert np.asarray(values).reshape(30, 9) == pytest.approx(result.values["support"])


def test_mistakes_with_a_result() -> None:
    result = ll.sweep(ROWS, GRID | {"min_p": [0.0, 0.1, 0.2, 0.3]}, "entropy")
    with pytest.raises(ParameterError, match="result must be one of two axes, or of 6 lines"):
        plot.sweep(result)
    with pytest.raises(ParameterError, match="show must be one of 'entropy', got 'support'"):
        plot.sweep(result, show="support")
    with pytest.raises(ParameterError, match="grid must be left out of a result"):
        plot.sweep(result, GRID)
    for given in ({"engine": "vllm"}, {"engine": ll.engines.vllm}, {"top": 3}):
        [name] = given
        with pytest.raises(ParameterError, match=f"^{name} must be left out of a result"):
            plot.sweep(result, **given)


def test_values_and_keys_are_looked_at_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for show in ("probability", "entropy"):
        row = ROWS[0] if show == "probability" else ROWS
        with pytest.raises(ParameterError, match=r"^top_k must be free of values that are given t"):
            plot.sweep(row, {"top_k": [1, 1]}, show=show)
        with pytest.raises(ParameterError, match=r"^request must be free of keys that nobody know"):
            plot.sweep(row, {"top_k": [1, 2]}, show=show, request={"my_own": 1})
    monkeypatch.setattr("logitlab.sweeps.sweep", None)
    with pytest.raises(ParameterError, match="keys that nobody knows, got 'my_own'"):
        plot.sweep(ROWS, {"top_k": [1, 2]}, show="entropy", request={"my_own": 1})


def test_a_histogram_has_its_bins_in_their_unit_and_counts_rows() -> None:
    edges = [0.0, 0.5, 1.0, 2.0, 3.4, 9.0]
    result = ll.sweep(
        ROWS, {"temperature": [0.5, 1.5]}, "entropy", reduce=ll.sweeps.Histogram(edges)
    )
    ax = plot.sweep(result)
    assert ax.get_title(loc="left") == "entropy of 7 rows: how many have how much"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("entropy in nats", "number of rows")
    for t, step in zip([0.5, 1.5], stairs(ax), strict=True):
        counts, ends, _ = step.get_data()
        expected = np.histogram(ll.entropy(ll.temperature(ROWS, t)), edges)[0]
        shown = np.isin(edges, ends)
        assert np.array_equal(ends, np.array(edges)[shown])
        assert np.array_equal(counts, expected[shown[:-1] & shown[1:]])
        assert counts.sum() == 7  # only empty bins at the ends are left out
    legend = ax.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["temperature 0.5", "temperature 1.5"]
    assert all(float(tick).is_integer() for tick in ax.get_yticks())


def stairs(ax: Axes) -> list[StepPatch]:
    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


def test_histograms_along_many_values_are_a_map_over_the_same_bins() -> None:
    grid = {"temperature": np.linspace(0.2, 2, 10)}
    result = ll.sweep(ROWS, grid, "support", request={"top_p": 0.9}, reduce="histogram")
    ax = plot.sweep(result)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("support in tokens", "temperature")
    assert ax.get_xscale() == "log"  # bins of tokens grow by a ratio
    [scale] = ax.child_axes
    assert scale.get_ylabel() == "number of rows"
    mesh = ax.collections[0]
    values = np.asarray(mesh.get_array())
    assert np.array_equal(values.sum(axis=1), np.full(10, 7))
    edges = result.edges["support"]
    low, high = ax.get_xlim()
    assert np.isclose(edges, low).any()
    assert np.isclose(edges, high).any()


def test_evenly_spaced_values_of_a_map_stand_on_a_scale_of_numbers() -> None:
    grid = {"temperature": np.linspace(0.2, 2, 20), "min_p": np.linspace(0, 0.5, 11)}
    ax = plot.sweep(ll.sweep(ROWS, grid, "entropy"))
    figure_of(ax).draw_without_rendering()
    step = 1.8 / 19
    assert ax.get_ylim() == pytest.approx((0.2 - step / 2, 2 + step / 2))
    for axis in (ax.xaxis, ax.yaxis):
        for tick in axis.get_major_ticks():
            number = float(tick.label1.get_text().replace("−", "-"))
            assert number == pytest.approx(float(tick.get_loc()), abs=1e-9)
            assert len(tick.label1.get_text()) <= 5


def test_engines_of_a_map_stand_as_in_a_list_and_quantiles_have_lines() -> None:
    grid = {"engine": list(ll.engines.MAIN), "temperature": [0.5, 1.0, 1.5]}
    ax = plot.sweep(ll.sweep(ROWS, grid, "entropy"))
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert ax.get_yticklabels()[0].get_text() == "openrouter"
    quantiles = ll.sweep(ROWS, {"temperature": [0.5, 1.0, 1.5]}, "entropy", reduce="quantiles")
    ax = plot.sweep(quantiles)
    legend = ax.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [f"quantile {q:g}" for q in quantiles.axes["quantile"]]
    for line, curve in zip(ax.lines, quantiles.values["entropy"].T, strict=True):
        assert np.array_equal(np.asarray(line.get_ydata()), curve)


def test_bins_of_a_measure_of_ones_own_have_no_unit() -> None:
    def half(final: Any) -> Any:
        return ll.entropy(final) / 2

    rows = ll.sweep(ROWS, {"top_k": [3]}, half, reduce=ll.sweeps.Histogram([0.0, 0.2, 2.0]))
    ax = plot.sweep(rows)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("half", "number of rows")
    many = ll.sweep(ROWS, {"top_k": [3, 4], "top_p": [0.5, 0.9]}, "entropy", reduce="histogram")
    with pytest.raises(ParameterError, match="result must be one of two axes, or of 6 lines"):
        plot.sweep(many)


def test_curves_with_infinite_values_are_equal_only_where_all_of_them_are() -> None:
    def odds(rows: Any) -> Any:
        left = np.isfinite(rows).sum(axis=-1)
        return np.where(left == 1, np.inf, left)

    grid = {"temperature": [0.0, 1.0, 2.0], "engine": ["openrouter", "mlx_lm"]}
    swept = ll.sweep(logits(30)[None], grid, odds, request={"top_p": 0.7})
    ax = plot.sweep(swept)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["openrouter", "mlx_lm"]


def test_places_with_a_zero_stand_on_a_plain_axis() -> None:
    def others(rows: Any) -> Any:
        return np.isfinite(rows).sum(axis=-1) - 1.0

    grid = {"engine": ["openrouter", "openai"]}  # which knows no top_k
    swept = ll.sweep(logits(600)[None], grid, others, request={"top_k": 1})
    ax = plot.sweep(swept)
    assert (ax.get_xscale(), ax.get_xlim()[0]) == ("linear", 0)
