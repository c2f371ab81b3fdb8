"""Means, quantiles and histograms over rows: exact sums, stated errors, any order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import ParameterError, simulate, sweep
from logitlab.sweeps import Histogram, Mean, Quantiles
from logitlab.sweeps.measures import measures_of
from logitlab.sweeps.reductions import Reduction

numbers = st.floats(-1e12, 1e12) | st.floats(0, 1) | st.integers(1, 600).map(float)


def reduction(kind: Reduction, values: list[float], cuts: list[int], backwards: bool) -> Any:
    """Reduce numbers in parts, merged in one order or the other."""
    column = np.array(values)[:, None, None]
    total = kind.start((), 1, 1, 5)
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        part = kind.start((), 1, 1, 5)
        kind.add(part, column[start:stop])
        parts.append((part, start))
    for part, start in reversed(parts) if backwards else parts:
        kind.merge(total, part, start)
    return kind.finish(total, len(values))[0, 0]


@given(st.lists(numbers, min_size=1, max_size=40), st.data())
def test_means_are_exact_and_independent_of_order(values: list[float], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    mean = reduction(Mean(), values, cuts, data.draw(st.booleans()))
    exact = sum(map(Fraction, values), Fraction(0)) / len(values)
    assert abs(Fraction(float(mean)) - exact) <= Fraction(2) ** -60 + abs(exact) / 2**52
    assert mean == reduction(Mean(), values[::-1], [], False)


def test_means_of_what_is_not_finite() -> None:
    assert math.isnan(reduction(Mean(), [1.0, math.nan], [1], False))
    assert math.isnan(reduction(Mean(), [math.inf, -math.inf], [1], False))
    assert reduction(Mean(), [1.0, math.inf], [1], False) == math.inf
    assert reduction(Mean(), [1.0, -math.inf], [], False) == -math.inf
    with pytest.raises(ParameterError, match=r"metrics must be below 2\*\*50 to be averaged"):
        reduction(Mean(), [1e19], [], False)


@given(st.lists(numbers | st.just(math.inf), min_size=1, max_size=40), st.data())
def test_quantiles_are_within_a_part_in_512(values: list[float], data: st.DataObject) -> None:
    levels = [0.0, 0.1, 0.5, 0.9, 1.0]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    result = reduction(Quantiles(levels), values, cuts, data.draw(st.booleans()))
    exact = np.quantile(values, levels, method="inverted_cdf")
    np.testing.assert_allclose(result, exact, rtol=1 / 512, atol=1e-37)
    whole = (np.abs(exact) <= 512) & (exact == np.round(exact))
    assert np.array_equal(result[whole], exact[whole])


def test_quantiles_of_many_rows() -> None:
    values = np.random.default_rng(0).gamma(2, size=20_000)
    result = reduction(Quantiles([0.25, 0.75]), values.tolist(), [7, 9000], True)
    exact = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
    np.testing.assert_allclose(result, exact, rtol=1 / 512)


@given(st.lists(st.floats(-3, 3) | st.just(math.nan), min_size=1, max_size=40))
def test_histograms_count_like_numpy(values: list[float]) -> None:
    edges = [-3.0, -1.0, 0.0, 0.5, 3.0]

    class Both(Histogram):
        def edges_of(self, measures: Any, size: int) -> Any:
            return [np.array(edges)]

    finite = [value for value in values if not math.isnan(value)]
    result = reduction(Both(edges), values, [len(values) // 2], False)
    assert result.tolist() == np.histogram(finite, edges)[0].tolist()


def test_a_sweep_as_quantiles_and_histogram() -> None:
    rows = np.random.default_rng(0).normal(scale=2, size=(50, 30))
    grid = {"temperature": [0.5, 1.0], "top_p": [0.9]}
    each = sweep(rows, grid, ["entropy", "support"], reduce="rows")
    assert list(each.axes) == ["temperature", "top_p", "row"]
    result = sweep(rows, grid, ["entropy", "support"], reduce=Quantiles([0.5]))
    assert result.axes["quantile"].tolist() == [0.5]
    middle = np.quantile(each.values["support"], [0.5], axis=-1, method="inverted_cdf")
    assert np.array_equal(result.values["support"][..., 0], middle[0])
    result = sweep(rows, grid, ["entropy", "support"], reduce=Histogram(8))
    assert result.values["entropy"].shape == (2, 1, 8)
    assert result.edges["entropy"][[0, -1]].tolist() == [0.0, math.log(30)]
    assert result.edges["support"][[0, -1]].round(9).tolist() == [1.0, 30.0]
    assert result.units == {"entropy": "rows", "support": "rows"}
    for at in np.ndindex(2, 1):
        counts = np.histogram(each.values["entropy"][at], result.edges["entropy"])[0]
        assert result.values["entropy"][at].tolist() == counts.tolist()


@pytest.mark.parametrize("reduce", ["mean", "quantiles", "rows", "histogram"])
def test_no_rows_at_all_are_an_error(reduce: str) -> None:
    for empty in (np.empty((0, 4)), np.empty((0, 3, 4)), iter([np.empty((0, 4))] * 2)):
        with pytest.raises(ParameterError, match=r"^rows must be at least one row, got "):
            sweep(empty, {"top_k": [1]}, "entropy", reduce=reduce)
    with pytest.raises(ParameterError, match=r"^rows must be at least one row, got "):
        simulate(np.empty((0, 4)), {"top_k": [1]}, seed=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Quantiles([1.5]), r"quantiles must be in \[0, 1\], got 1.5"),
        (lambda: Quantiles([]), "quantiles must be a sequence of numbers"),
        (lambda: Histogram(0), r"edges must be an integer in \[1, 1000000\], got 0"),
        (lambda: Histogram(2**28), r"edges must be an integer in \[1, 1000000\], got 268435456"),
        (lambda: Histogram([1.0, 1.0]), "edges must be two or more increasing numbers"),
        (
            lambda: Histogram({"entropy": [0, 1]}).edges_of(measures_of("support"), 5),
            "edges must be a map that has support",
        ),
        (
            lambda: Histogram({"entropy": 3, "support": 4}).edges_of(
                measures_of(["entropy", "support"]), 5
            ),
            "edges must be equally many for every metric",
        ),
        (
            lambda: Histogram(5).edges_of(measures_of("kl_divergence"), 5),
            "edges must be given for kl_divergence, got 5",
        ),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()
