"""Dynamic temperature, smoothing and skew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    Chain,
    DynamicTemperature,
    LogitBias,
    ParameterError,
    Skew,
    Smoothing,
    SortedChain,
    Temperature,
    TopK,
    dynamic_temperature,
    engines,
    skew,
    smoothing,
    softmax,
    survivors,
)
from logitlab.datasets import load

import reference
from sampler_examples import close, examples, row_of
from strategies import logits

RNG = np.random.default_rng(16)
ROWS = [RNG.normal(0, 3, n) for n in (1, 2, 5, 40, 400)]


@examples("llama.cpp", "dynatemp", count=4)
def test_llama_cpps_dynamic_temperature(example: dict[str, Any]) -> None:
    p = example["params"]
    step = DynamicTemperature(p["dynatemp_range"], p["temperature"], p["dynatemp_exponent"])
    close(SortedChain(step)(row_of(example)), example)
    close(Chain(step, precision="single")(row_of(example)), example)


@examples("koboldcpp", "dynatemp", count=4)
def test_koboldcpps_dynamic_temperature(example: dict[str, Any]) -> None:
    p = example["params"]
    exponent = max(p["dynatemp_exponent"], 0)
    step = DynamicTemperature(p["dynatemp_range"], p["temperature"], exponent)
    close(SortedChain(step, Smoothing(p["smoothing_factor"]))(row_of(example)), example)


@examples("aphrodite", "dynatemp", count=5)
def test_aphrodites_dynamic_temperature(example: dict[str, Any]) -> None:
    p = example["params"]
    ends = p["dynatemp_min"], p["dynatemp_max"], p["dynatemp_exponent"]
    step = DynamicTemperature.between(*ends, least=1e-5)
    close(Chain(step, precision="single")(row_of(example)), example)


@examples("koboldcpp", "smoothing", count=6)
def test_koboldcpps_smoothing(example: dict[str, Any]) -> None:
    p = example["params"]
    step = Smoothing(p["smoothing_factor"], p["smoothing_curve"])
    close(SortedChain(Temperature(p["temperature"]), step)(row_of(example)), example)


@examples("text-generation-webui", "smoothing", count=3)
def test_the_authors_own_smoothing(example: dict[str, Any]) -> None:
    p = example["params"]
    step = Smoothing(p["smoothing_factor"], p["smoothing_curve"])
    close(Chain(step, precision="mixed")(row_of(example)), example)


@examples("exllamav2", "smoothing", count=6)
def test_exllamav2_smooths_before_temperature(example: dict[str, Any]) -> None:
    p = example["params"]
    chain = Chain(Smoothing(p["smoothing_factor"]), Temperature(p["temperature"]))
    close(chain(row_of(example)), example)


@examples("aphrodite", "smoothing_factor", count=4)
def test_aphrodites_smoothing(example: dict[str, Any]) -> None:
    p = example["params"]
    step = Smoothing(p["smoothing_factor"], p["smoothing_curve"])
    close(Chain(step, precision="single")(row_of(example)), example)


@examples("aphrodite", "skew", count=5)
def test_aphrodites_skew(example: dict[str, Any]) -> None:
    step = Skew(example["params"]["skew"], along="ids", stays_removed=False)
    close(Chain(step, precision="single")(row_of(example)), example)


@pytest.mark.parametrize("x", ROWS, ids=len)
@pytest.mark.parametrize("spread", [0.0, 0.4, 2.0, -0.4, -2.0])
@pytest.mark.parametrize("exponent", [1.0, 0.0, 0.5, 3.0, -1.0])
@pytest.mark.parametrize("middle", [0.0, 0.7, 1.5])
def test_dynamic_temperature_is_its_equation(
    x: np.ndarray[Any, Any], spread: float, exponent: float, middle: float
) -> None:
    for row in (x, np.where(np.arange(len(x)) % 3 == 1, -np.inf, x)):
        expected = reference.dynamic_temperature(row.tolist(), spread, middle, exponent)
        left = dynamic_temperature(row, spread, middle, exponent)
        np.testing.assert_allclose(softmax(left), reference.softmax(expected), atol=1e-12)


@given(logits(batch=(), dtype=np.float64), st.floats(0, 3), st.floats(0.2, 2))
def test_without_a_spread_it_is_temperature(
    x: np.ndarray[Any, Any], exponent: float, t: float
) -> None:
    left = dynamic_temperature(x, 0.0, t, exponent)
    np.testing.assert_array_equal(left, Temperature(t)(x))


def test_the_ends_of_dynamic_temperature() -> None:
    even, sure = np.zeros(4), np.array([800.0, 0.0, 0.0])
    # A uniform row has the high temperature, a sure one the low, and 0 is greedy.
    np.testing.assert_array_equal(dynamic_temperature(even + 2, 0.5, 1.5), even + 1)
    np.testing.assert_array_equal(dynamic_temperature(sure, 1.0, 1.0), [800, -np.inf, -np.inf])
    np.testing.assert_array_equal(dynamic_temperature(sure, 0.5, 1.0), sure / 0.5)
    np.testing.assert_array_equal(dynamic_temperature(sure, -0.5, 1.0), sure / 1.5)
    # Below 0 on both ends: greedy, for any row.
    np.testing.assert_array_equal(
        dynamic_temperature([1.0, 2.0, 2.0], -3.0, 0.0, 0.0), [-np.inf, 2, -np.inf]
    )
    # A negative exponent flattens a row without any entropy.
    np.testing.assert_allclose(softmax(dynamic_temperature(sure, 0.5, 1.0, -1.0)), [1 / 3] * 3)
    # One token left is one token left.
    assert dynamic_temperature([-np.inf, 3.0], 0.5, 1.0).tolist() == [-np.inf, 6.0]
    assert dynamic_temperature([3.0], 2.0, 1.0).tolist() == [3.0]


def test_a_least_temperature_takes_the_place_of_greedy() -> None:
    sure = np.array([800.0, 700.0])
    left = dynamic_temperature(sure, 1.0, 1.0, least=0.5)
    np.testing.assert_array_equal(left, sure / 0.5)
    assert not DynamicTemperature(0.0, least=2.0).is_neutral
    assert DynamicTemperature(0.0).is_neutral
    assert not DynamicTemperature(0.0, 0.5).is_neutral


def test_between_gives_both_ends() -> None:
    sure, even = [500.0, 0.0], [6.0, 6.0]
    for low, high in ((0.5, 3.0), (3.0, 0.5)):
        step = DynamicTemperature.between(low, high, 2.0)
        np.testing.assert_allclose(step(sure), [500 / low, 0])
        np.testing.assert_allclose(step(even), [6 / high, 6 / high])


def test_masked_candidates_count_in_llama_cpp() -> None:
    x = np.array([2, 1, 0.5, 0, -1], np.float32)
    step, masked = DynamicTemperature(0.5), LogitBias({2: -np.inf, 3: -np.inf, 4: -np.inf})
    entropy = -sum(p * math.log(p) for p in softmax(x[:2]).tolist())
    for chain, n in ((SortedChain(masked, step), 5), (SortedChain(masked, TopK(2), step), 2)):
        t = 0.5 + entropy / math.log(n)
        np.testing.assert_allclose(chain(x)[:2], x[:2] / t, rtol=1e-6)
    t = 0.5 + entropy / math.log(2)
    np.testing.assert_allclose(Chain(masked, step)(x)[:2], x[:2] / t, rtol=1e-6)
    # One candidate is left as it is, and a temperature of 0 keeps the first of the best.
    assert SortedChain(TopK(1), step)(x)[0] == 2
    assert SortedChain(DynamicTemperature(-2.0, 1.0, 0.0))(x).tolist() == [2, *[-np.inf] * 4]


@pytest.mark.parametrize("x", ROWS, ids=len)
@pytest.mark.parametrize("curve", [1.0, 2.0, 3.0, 5.0, 0.0])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.7])
def test_smoothing_is_its_equation(x: np.ndarray[Any, Any], factor: float, curve: float) -> None:
    for row in (x, np.where(np.arange(len(x)) % 3 == 1, -np.inf, x)):
        expected = reference.smoothing(row.tolist(), factor, curve)
        np.testing.assert_allclose(smoothing(row, factor, curve), expected, rtol=1e-12, atol=1e-12)


def test_the_order_stays_for_curves_from_1_to_3_alone() -> None:
    x = np.linspace(-8, 0, 500)
    for curve in (1.0, 1.5, 3.0):
        assert (np.diff(smoothing(x, 0.7, curve)) > 0).all()
    # Above 3 what is just below the best overtakes it, below 1 what is far away.
    assert smoothing(x, 0.7, 3.5).argmax() not in (0, 499)
    assert smoothing(x, 0.7, 0.5).argmax() == 0
    np.testing.assert_allclose(smoothing([1.0, 0.7, -2.0], 0.3, 5.0), [1, 1.0108, -12.5])


def test_smoothing_of_what_is_far_apart() -> None:
    big = np.finfo(np.float64).max
    left = smoothing([big, 0.0, -big], 3.0, 2.0)
    assert np.isfinite(left).all()
    assert softmax(left).tolist() == [1, 0, 0]
    half = smoothing(np.array([60000, 0, -60000], np.float16), 2.0)
    assert np.isfinite(half).all()
    assert softmax(half).tolist() == [1, 0, 0]
    np.testing.assert_array_equal(smoothing(np.full(4, 3.0), 2.0, 5.0), np.full(4, 3.0))


@pytest.mark.parametrize("x", ROWS, ids=len)
@pytest.mark.parametrize("amount", [0.5, -0.5, 2.0, -3.0])
@pytest.mark.parametrize("along", ["likelihood", "ids"])
def test_skew_is_its_equation(x: np.ndarray[Any, Any], amount: float, along: str) -> None:
    for row in (x, np.where(np.arange(len(x)) % 3 == 1, -np.inf, x)):
        expected = reference.skew(row.tolist(), amount, along == "ids")
        np.testing.assert_allclose(softmax(skew(row, amount, along=along)), expected, atol=1e-12)


def test_skew_is_the_distribution_of_a_bent_uniform_number() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    u = (np.arange(100_000) + 0.5) / 100_000
    for amount in (0.7, -1.2):
        drawn = np.cumsum(p)[:-1].searchsorted(u ** np.exp(-amount), "right")
        expected = np.bincount(drawn, minlength=4) / u.size
        np.testing.assert_allclose(softmax(skew(np.log(p), amount)), expected, atol=2e-5)


def test_no_token_vanishes_in_a_skew() -> None:
    for x in ([0.0, -50.0, -900.0], [-900.0, -50.0, 0.0]):
        for along in ("likelihood", "ids"):
            for amount in (3.0, -3.0, 40.0, 1e300, -1e300):
                left = skew(x, amount, along=along)
                assert np.isfinite(left).all()
    # The part of a token that is next to nothing grows by the power alone.
    left = skew([0.0, -900.0], math.log(3))
    np.testing.assert_allclose(left, [0, math.log(3) - 900], atol=1e-12)


def test_removed_tokens_come_back_in_aphrodites_skew() -> None:
    x = np.array([1.0, -np.inf, 0.0])
    assert skew(x, 0.5)[1] == -np.inf
    left = skew(x, 0.5, along="ids", stays_removed=False)
    assert left[1] == pytest.approx(math.log(np.finfo(np.float32).tiny))
    assert skew(x, 0.0, stays_removed=False).tobytes() == x.tobytes()


def test_the_fast_path_gives_the_same_survivors() -> None:
    rows = load().logits[:6]
    context = None
    for request in (
        {"dynatemp_range": 0.5, "top_k": 40, "temperature": 0.9},
        {"dynatemp_range": 0.5, "top_p": 0.9, "temperature_last": True},
        {"smoothing_factor": 0.2, "smoothing_curve": 4.0, "top_k": 20, "skew": 0.4},
        {"smoothing_factor": 0.2, "min_p": 0.05, "skew": -0.4, "temperature_last": True},
    ):
        chain = engines.openrouter(request)
        left = survivors(rows, chain, context=context)
        dense = chain(rows)
        for i in range(len(rows)):
            kept = np.flatnonzero(dense[i] > -np.inf)
            np.testing.assert_array_equal(np.sort(left.tokens[i]), kept)
            order = np.argsort(left.tokens[i])
            np.testing.assert_allclose(
                np.exp(left.logprobs[i][order]), softmax(dense[i])[kept], atol=1e-6
            )
    # Removed tokens that come back cannot be left out.
    chain = Chain(TopK(3), Skew(0.5, along="ids", stays_removed=False))
    assert len(survivors(rows[0], chain).tokens[0]) == rows.shape[-1]


def test_temperature_last_moves_all_that_tempers() -> None:
    request = {"temperature": 0.5, "top_k": 5, "xtc_probability": 0.5, "smoothing_factor": 0.2}
    names = [type(step).__name__ for step in engines.openrouter(request)]
    assert names == ["Temperature", "Smoothing", "TopK", "Xtc"]
    names = [type(s).__name__ for s in engines.openrouter({**request, "temperature_last": True})]
    assert names == ["TopK", "Xtc", "Temperature", "Smoothing"]
    chain = engines.openrouter({**request, "dynatemp_range": 0.2, "temperature_last": True})
    assert repr(chain[2]) == "DynamicTemperature(0.2, temperature=0.5)"


def test_wrong_values() -> None:
    for step, message in (
        (lambda: DynamicTemperature(np.inf), "dynatemp_range must be finite, got inf."),
        (lambda: DynamicTemperature(0.5, -1.0), "temperature must be >= 0, got -1.0."),
        (lambda: DynamicTemperature(0.5, [1.0]), "temperature must be one number >= 0, got"),  # type: ignore[arg-type]
        (lambda: DynamicTemperature(0.5, 1.0, np.nan), "dynatemp_exponent must be finite, got nan"),
        (lambda: DynamicTemperature(0.5, least=-1.0), "least must be >= 0, got -1.0."),
        (lambda: Smoothing(-0.5), "smoothing_factor must be >= 0, got -0.5."),
        (lambda: Smoothing(0.5, np.inf), "smoothing_curve must be finite, got inf."),
        (lambda: Skew(np.nan), "skew must be finite, got nan."),
        (lambda: Skew(1.0, along="x"), "along must be one of 'likelihood', 'ids', got 'x'."),
    ):
        with pytest.raises(ParameterError) as error:
            step()
        assert message in str(error.value)
