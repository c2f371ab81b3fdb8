"""Numbers are decimals, as few digits as tell them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import plot
from logitlab.plot.ticks import decimal, decimals, values


@given(st.floats(1e-6, 1e12) | st.floats(-1e12, -1e-6))
def test_a_decimal_is_the_number_to_four_digits(number: float) -> None:
    text = decimal(number)
    assert "e" not in text
    read = float(text.replace(",", "").replace("−", "-"))
    assert read == pytest.approx(number, rel=6e-4)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (1e-9, "10⁻⁹"), (1e20, "10²⁰"), (math.inf, "∞"), (math.nan, "?"), (0.1, "0.1")],
)
def test_few_are_powers_of_ten(number: float, text: str) -> None:
    assert decimal(number) == text


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=8, unique=True))
def test_values_of_an_axis_differ(numbers: list[float]) -> None:
    assert len(set(values(numbers))) == len(numbers)


@pytest.mark.parametrize("limits", [(0, 1), (0, 0.00003), (-2.5, 0.1), (0, 49152), (1e5, 1e5 + 2)])
def test_ticks_of_an_axis_are_the_places_where_they_stand(limits: tuple[float, float]) -> None:
    ax = plot.axes()
    ax.set_xlim(*limits)
    decimals(ax.xaxis)
    ticks = ax.get_xticks()
    shown = ax.xaxis.get_major_formatter().format_ticks(list(ticks))
    read = [float(text.replace(",", "").replace("−", "-")) for text in shown]
    assert np.allclose(read, ticks, rtol=0, atol=(limits[1] - limits[0]) / 500)
    assert len({len(text.partition(".")[2]) for text in shown}) == 1  # as many places each


def test_the_smallest_numbers_that_there_are_have_their_digits() -> None:
    assert decimal(5e-324) == "4.941×10⁻³²⁴"
    assert decimal(2.2250738585072014e-308) == "2.225×10⁻³⁰⁸"
    assert decimal(9.99999e-7) == "10⁻⁶"
    assert decimal(-1e300) == "−10³⁰⁰"
