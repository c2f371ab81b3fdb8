"""Adaptive-p: against its equation, llama.cpp's answers, and over many draws."""

from __future__ import annotations

import math
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import AdaptiveP, Chain, NearProbability, ParameterError, SortedChain, TopK
from scipy import stats

import reference
from sampler_examples import examples
from strategies import logits


@examples("llama.cpp", "adaptive_p", count=5)
def test_llama_cpps_logits_and_its_next_state(example: dict[str, Any]) -> None:
    asked, row = example["params"], np.array(example["logits"], np.float32)
    names = ("weighted_sum", "total_weight")
    before = {name: example[f"{name}_before"] for name in names}
    chain = SortedChain(AdaptiveP(asked["adaptive_target"], asked["adaptive_decay"]))
    if example["step"] == 0:
        assert chain.init() == before
    final = chain.at(before)(row)
    np.testing.assert_allclose(final, example["logits_after"], rtol=1e-6)
    np.testing.assert_allclose(ll.softmax(final), example["probs"], atol=1e-6)
    q = ll.log_softmax(row)[example["selected_id"]]
    after = chain.update(before, {"adaptive_p": q})
    assert after == {name: example[f"{name}_after_reference"] for name in names}


@given(x=logits(batch=(), dtype=np.float64), target=st.floats(0, 1))
def test_equals_the_reference(x: np.ndarray[Any, Any], target: float) -> None:
    expected = reference.near_probability(x.tolist(), target)
    np.testing.assert_allclose(NearProbability(target)(x), expected, rtol=1e-12, atol=1e-12)


def test_the_state_is_that_of_its_equation() -> None:
    chain, probs = Chain(AdaptiveP(0.4, 0.75)), [0.9, 0.05, 0.4, 0.6]
    state, aims = chain.init(), []
    for q in probs:
        aims.append(chain.at(state)[0].value)  # type: ignore[attr-defined]
        state = chain.update(state, {"adaptive_p": math.log(q)})
    expected, total, weight = [], 0.4 / 0.25, 1 / 0.25
    for q in probs:
        expected.append(min(max(0.8 - total / weight, 0), 1))
        total, weight = q + 0.75 * total, 1 + 0.75 * weight
    np.testing.assert_allclose(aims, expected, rtol=1e-12)
    assert state == pytest.approx({"weighted_sum": total, "total_weight": weight}, rel=1e-12)


def test_what_it_looks_at_is_what_it_was_given_or_the_models_own() -> None:
    own = [Chain(TopK(2), AdaptiveP(0.3, memory=memory)) for memory in ("before", "model")]
    assert [chain.observed for chain in own] == [{"adaptive_p": 1}, {"adaptive_p": None}]
    both = Chain(ll.Mirostat(5.0), AdaptiveP(0.3))
    assert both.observed == {"mirostat": 2, "adaptive_p": 1}
    assert both.init().keys() == {"mirostat", "weighted_sum", "total_weight"}


def test_edges() -> None:
    x = np.array([1.0, 0.0, -1.0, -20.0])
    assert AdaptiveP(-0.5).is_neutral
    np.testing.assert_array_equal(AdaptiveP([-1.0, 0.5])([x, x])[0], x)
    assert Chain(AdaptiveP(0.5)).at({"total_weight": 0.0})[0] == NearProbability(0.5)
    assert NearProbability(0.5, at_least=1e-8)(x)[3] == -np.inf
    assert np.isfinite(NearProbability(0.5, at_least=1.0)(x)).tolist() == [True, *[False] * 3]
    assert NearProbability(0.5)([3.0, -np.inf]).tolist() == [
        5 - 10 * (5 / 3) ** 2 / (1 + 5 / 3),
        -np.inf,
    ]
    after = Chain(AdaptiveP(0.5, 0.5)).at({"weighted_sum": 2.0, "total_weight": 2.0})
    assert after[0] == NearProbability(0.0)
    with pytest.raises(ParameterError, match=r"adaptive_target must be <= 1, got 1.5"):
        AdaptiveP(1.5)
    with pytest.raises(ParameterError, match=r"adaptive_decay must be in .0, 1., got 2"):
        AdaptiveP(0.5, 2)
    with pytest.raises(ParameterError, match="step must be the only adaptive_p of its chain"):
        Chain(AdaptiveP(0.5), AdaptiveP(0.4))


def test_openrouter_has_it_last_where_mirostat_is_off() -> None:
    asked = {"adaptive_target": 0.3, "adaptive_decay": 0.5, "top_k": 5}
    assert ll.engines.openrouter(asked)[-1] == AdaptiveP(0.3, 0.5)
    assert not ll.engines.openrouter(asked | {"adaptive_target": -0.1}).stateful
    both = ll.engines.openrouter(asked | {"mirostat": 2})
    assert list(both.stateful) == ["mirostat"]


def drawn_probabilities(chain: Chain, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how likely each token was that was drawn from a row, the state carried along."""
    state, probs = chain.init(), []
    for position, row in enumerate(rows):
        token = ll.sample(row, chain, state=state, seed=6, position=position).tokens
        logprob = ll.log_softmax(row)[token]
        state = chain.update(state, {"adaptive_p": logprob})
        probs.append(math.exp(logprob))
    return np.array(probs)


@pytest.mark.parametrize("target", [0.25, 0.5])
def test_the_memory_brings_what_is_drawn_nearer_to_the_target(target: float) -> None:
    """A one-sided t-test on the means of 20 batches: a false alarm in 1 of 10,000 runs.

    Rows seldom hold a token at the target, and the less likely ones are more. So at a fixed aim
    the mean is below the target, and an aim that moves up makes up for a part of that.
    """
    rows = np.log(np.random.default_rng(3).dirichlet(np.full(30, 0.15), 1000))
    fixed, adaptive = (
        drawn_probabilities(Chain(step), rows).reshape(20, 50).mean(axis=1)
        for step in (NearProbability(target), AdaptiveP(target))
    )
    assert adaptive.mean() < target
    assert stats.ttest_rel(adaptive, fixed, alternative="greater").pvalue < 1e-4


@pytest.mark.parametrize("precision", ["double", "single"])
def test_sums_stay_within_what_floats_hold(precision: str) -> None:
    most = float(np.finfo(np.float32 if precision == "single" else np.float64).max)
    for target in (0.3, -1e308):
        chain = Chain(AdaptiveP(target), precision=precision)
        for state in (
            chain.init(),
            {"weighted_sum": 1e308},
            {"weighted_sum": -1e308, "total_weight": 1e-308},
            {"total_weight": 1e308},
        ):
            later = chain.update(state, math.log(0.5))
            assert all(abs(number) <= most for number in later.values())
            assert np.isfinite(chain.at(later)([2.0, 1.0])).all()
