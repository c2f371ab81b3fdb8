from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    Chain,
    EpsilonCutoff,
    EtaCutoff,
    ExcludeTopChoices,
    MaxSurprise,
    MinP,
    ParameterError,
    PLess,
    Tfs,
    TopA,
    TopH,
    TopK,
    TopNSigma,
    TopP,
    TypicalP,
    ZipfTopK,
    epsilon_cutoff,
    eta_cutoff,
    max_surprise,
    min_p,
    p_less,
    softmax,
    temperature,
    tfs,
    top_a,
    top_h,
    top_k,
    top_n_sigma,
    top_p,
    typical_p,
    zipf_top_k,
)
from logitlab.datasets import load
from logitlab.steps.truncation import largest

import reference
from strategies import logits, values as step_values


def exclude_top_choices(x: Any, threshold: float) -> Any:
    return ExcludeTopChoices(threshold)(x)


UNIT = [0.0, 1e-6, 0.05, 0.2, 0.5, 0.9, 0.95, 0.999, 1.0]
PAIRS: list[tuple[Callable[..., Any], Callable[..., Any], list[float]]] = [
    (top_k, reference.top_k, [0, 1, 2, 40, 1000, 49152, 49153]),
    (top_p, reference.top_p, UNIT),
    (min_p, reference.min_p, UNIT),
    (top_a, reference.top_a, [*UNIT, 3.0]),
    (typical_p, reference.typical_p, [0.2, 0.9]),
    (exclude_top_choices, reference.exclude_top_choices, [0.0, 0.05]),
    (max_surprise, reference.max_surprise, [0.5, 3.3, 10.0]),
    (zipf_top_k, reference.zipf_top_k, [0.5, 3.3, 10.0]),
    (top_n_sigma, reference.top_n_sigma, [-1.0, 0.0, 0.5, 1.0, 3.0]),
    (epsilon_cutoff, reference.epsilon_cutoff, [0.0, 3e-4, 9e-4, 0.1, 2.0]),
    (eta_cutoff, reference.eta_cutoff, [0.0, 3e-4, 4e-3, 0.1]),
    (p_less, reference.p_less, [0, 1]),
    (tfs, reference.tfs, [0.0, 0.5, 0.95, 0.99, 1.0]),
    (top_h, reference.top_h, [0.0, 0.1, 0.4, 0.9, 1.0]),
]
KINDS = [TopK, TopP, MinP, TopA, TypicalP, ExcludeTopChoices, MaxSurprise, ZipfTopK, TopNSigma]
KINDS += [EpsilonCutoff, EtaCutoff, PLess, Tfs, TopH]
pairs = pytest.mark.parametrize(
    ("ours", "theirs", "values"), PAIRS, ids=[ours.__name__ for ours, *_ in PAIRS]
)


def assert_kept(result: Any, sets: tuple[set[int], set[int]]) -> None:
    must, may = sets
    kept = set(np.flatnonzero(result > -np.inf).tolist())
    assert must <= kept <= may


@pairs
@given(data=st.data())
def test_equals_the_reference(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    values: list[float],
    data: st.DataObject,
) -> None:
    x = data.draw(logits(batch=()))
    kinds = {each: kind for (each, *_), kind in zip(PAIRS, KINDS, strict=True)}
    value = data.draw(step_values(kinds[ours], x.size))
    assert_kept(ours(x, value), theirs(x.astype(float).tolist(), value))


@pairs
def test_equals_the_reference_on_real_rows(
    ours: Callable[..., Any], theirs: Callable[..., Any], values: list[float]
) -> None:
    # One row as it is, and others of an eighth of the vocabulary: plain Python is slow.
    rows = load().logits
    for x in (rows[0], *rows[5::5, ::8]):
        row = x.astype(float).tolist()
        for value in values:
            assert_kept(ours(x, value), theirs(row, value))


@pytest.mark.parametrize("size", [2, 3, 7, 10, 100])
def test_a_nucleus_of_equal_tokens_takes_decimals_at_their_word(size: int) -> None:
    for count in range(1, size + 1):
        kept = np.isfinite(top_p(np.zeros(size), count / size))
        assert np.count_nonzero(kept) == count


def test_top_p_removes_more_when_applied_twice() -> None:
    # The survivors' mass is renormalised in between: 0.45 of 0.9 reaches one half.
    x = np.log([0.45, 0.45, 0.1])
    once = top_p(x, 0.5)
    assert np.isfinite(once).tolist() == [True, True, False]
    assert np.isfinite(top_p(once, 0.5)).tolist() == [True, False, False]


def test_top_a_removes_more_when_applied_twice() -> None:
    x = np.log([0.5, 0.26, 0.24])  # 0.25 is the cut; then p_max is 0.66 and the cut 0.43
    once = top_a(x, 1.0)
    assert np.isfinite(once).tolist() == [True, True, False]
    assert np.isfinite(top_a(once, 1.0)).tolist() == [True, False, False]


def test_top_a_is_min_p_with_a_times_p_max() -> None:
    for x in load().logits:
        p_max = softmax(x).max()
        np.testing.assert_array_equal(top_a(x, 0.3), min_p(x, 0.3 * p_max))


def test_each_truncation_sees_the_renormalised_survivors() -> None:
    x = np.log([0.4, 0.3, 0.2, 0.1])
    # Of the two survivors of top_k the first holds 4/7, which reaches one half.
    assert np.isfinite(top_p(top_k(x, 2), 0.5)).tolist() == [True, False, False, False]
    assert np.isfinite(top_p(x, 0.5)).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("ties", "kept"),
    [
        ("lowest", [0, 1, 2]),
        ("highest", [1, 2, 3]),
        ("all", [0, 1, 2, 3]),
        ("introsort", [0, 1, 2]),
    ],
)
@pytest.mark.parametrize(("truncate", "value"), [(top_k, 3), (top_p, 0.84)])
def test_ties(truncate: Callable[..., Any], value: float, ties: str, kept: list[int]) -> None:
    x = np.array([1.0, 3.0, 1.0, 1.0, 0.0])  # probabilities .10 .69 .09 .09 .03
    assert np.flatnonzero(np.isfinite(truncate(x, value, ties=ties))).tolist() == kept


def test_ties_are_cut_at_the_edge_of_the_nucleus() -> None:
    x = np.zeros(4)
    assert np.isfinite(top_p(x, 0.5)).tolist() == [True, True, False, False]
    assert np.isfinite(top_p(x, 0.5, ties="highest")).tolist() == [False, False, True, True]
    assert np.isfinite(top_p(x, 0.5, ties="all")).tolist() == [True] * 4
    # Introsort is stable up to 16 tokens. Beyond, as torch 2.13 left 40 zeros:
    rising = Chain(TopP(0.5, ties="introsort", sums="ascending"), precision="single")
    for size, kept in (16, range(8, 16)), (40, range(20)):
        result = rising(np.zeros(size, np.float32))
        assert np.flatnonzero(np.isfinite(result)).tolist() == list(kept)
    falling = top_k(np.zeros(40), 3, ties="introsort")
    assert np.flatnonzero(np.isfinite(falling)).tolist() == [21, 22, 30]


@pytest.mark.parametrize("k", [0, 49152, 49153, 10**12])
def test_top_k_keeps_all(k: int) -> None:
    x = load().logits[0]
    assert top_k(x, k).tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("truncate", "value"), [(top_k, 1), (top_p, 0.0), (min_p, 1.0), (top_a, 1e6)]
)
def test_the_strictest_value_keeps_the_best_of_every_real_row(
    truncate: Callable[..., Any], value: float
) -> None:
    x = load().logits
    kept = truncate(x, value) > -np.inf
    np.testing.assert_array_equal(kept, x == x.max(axis=-1, keepdims=True))


def test_top_a_of_one_keeps_what_is_as_likely_as_the_square() -> None:
    for x in load().logits:
        p = softmax(x)
        np.testing.assert_array_equal(top_a(x, 1.0) > -np.inf, p >= p.max() ** 2)


def test_min_p_tells_apart_logits_whose_probabilities_round_to_the_same() -> None:
    x = np.array([0.0, -5e-324])
    assert softmax(x)[0] == softmax(x)[1]
    assert np.isfinite(min_p(x, 1.0)).tolist() == [True, False]


def test_rows_may_have_values_of_their_own() -> None:
    x = load().logits[:4]
    result = top_k(x, [1, 5, 0, 10**6])
    assert np.isfinite(result).sum(axis=-1).tolist() == [1, 5, 49152, 49152]


def test_flat_rows_far_beyond_a_block() -> None:
    rng = np.random.default_rng(1)
    x = temperature(rng.normal(size=(3, 300_000)).astype(np.float32), 2.0)
    kept = np.isfinite(top_p(x, 0.9))
    for row, keep in zip(x, kept, strict=True):
        p = softmax(row)
        mass = p[keep].sum()
        assert mass >= 0.9 - 1e-12
        assert mass - p[keep].min() < 0.9 + 1e-12
        assert p[keep].min() >= p[~keep].max()


@given(data=st.data())
def test_ascending_sums_are_the_same_nucleus(data: st.DataObject) -> None:
    x = data.draw(logits(batch=()))
    p = data.draw(step_values(TopP, x.size))
    kept = reference.top_p(x.astype(float).tolist(), p)
    assert_kept(top_p(x, p, sums="ascending"), kept)


def test_at_p_keeps_one_more_at_equality_only() -> None:
    x = np.log([0.5, 0.25, 0.125, 0.125])
    for sums in ("descending", "ascending"):
        kept = [
            np.isfinite(top_p(x, p, at_p="keep", sums=sums)).sum()
            for p in (0.4, 0.5, 0.6, 0.75, 0.8)
        ]
        assert kept == [1, 2, 2, 3, 3]


def test_typical_p_at_equality() -> None:
    x = np.log(2) * np.array([-1.0, -2.0, -3.0, -3.0])
    for at_p, counts in (("drop", [1, 1, 2, 2, 3]), ("keep", [1, 2, 2, 3, 3])):
        kept = [np.isfinite(typical_p(x, p, at_p=at_p)).sum() for p in (0.2, 0.25, 0.5, 0.75, 0.8)]
        assert kept == counts


def test_top_choices_are_at_the_threshold_or_above() -> None:
    x = np.log([0.5, 0.25, 0.125, 0.125])
    for threshold, kept in ((0.25, [1, 2, 3]), (0.125, [2]), (0.3, [0, 1, 2, 3])):
        left = np.flatnonzero(np.isfinite(ExcludeTopChoices(threshold)(x)))
        assert left.tolist() == kept
    alive = np.isfinite(ExcludeTopChoices(0.0)(np.array([1.0, 0, -np.inf, 2.0])))
    assert np.flatnonzero(alive).tolist() == [1]


@given(data=st.data())
def test_ratios_of_probabilities_are_those_of_logits(data: st.DataObject) -> None:
    x = data.draw(logits(batch=()))
    row = x.astype(float).tolist()
    p = data.draw(step_values(MinP, x.size))
    assert_kept(min_p(x, p, space="probs"), reference.min_p(row, p))
    a = data.draw(step_values(TopA, x.size))
    assert_kept(top_a(x, a, space="probs"), reference.top_a(row, a))


def test_without_a_guard_no_token_may_be_left() -> None:
    x = [0.0, 0.0, -1.0]
    np.testing.assert_array_equal(top_a(x, 2.0, guard=False), [0.0, 0.0, -np.inf])
    with pytest.raises(ParameterError) as error:
        top_a(x, 3.0, guard=False)
    assert str(error.value) == (
        "top_a must be at most 1 / p_max: above, no token is left, got 3.0."
    )


def test_single_precision_sums_as_torch_does() -> None:
    """float32 probabilities, running sums in float64 that are rounded one by one."""
    rng = np.random.default_rng(3)
    for size in (4, 10, 16):
        x = rng.integers(-2, 3, size).astype(np.float32)
        for p in (0.1, 0.3, 0.5, 0.7, 0.9):
            ascending = np.argsort(x, kind="stable")
            weight = np.exp((x - x.max()).astype(np.float64)).astype(np.float32)
            probs = weight[ascending] / np.float32(weight.astype(np.float64).sum())
            sums = np.cumsum(probs.astype(np.float64)).astype(np.float32)
            gone = sums <= np.float32(1) - np.float32(p)
            gone[-1] = False
            expected = np.full(size, -np.inf, np.float32)
            expected[ascending[~gone]] = x[ascending[~gone]]
            step = TopP(p, ties="highest", sums="ascending")
            np.testing.assert_array_equal(Chain(step, precision="single")(x), expected)


@given(logits(batch=(3,)))
def test_largest_keeps_exactly_count(x: np.ndarray[Any, Any]) -> None:
    size = x.shape[-1]
    for k in range(1, size + 1):
        count = np.full((3, 1), k)
        threshold = np.sort(x, axis=-1)[:, size - k, None]
        for ties in ("lowest", "highest"):
            keep = largest(x, count, threshold, ties)
            assert (keep.sum(axis=-1) == k).all()
            assert (np.sort(x)[:, size - k :] == np.sort(np.where(keep, x, -np.inf))[:, -k:]).all()
        assert (largest(x, count, threshold, "all") == (x >= threshold)).all()


def test_a_surprise_beyond_every_float_is_infinite() -> None:
    x = np.array([-np.finfo(np.float64).max, 0.0])
    assert np.isfinite(max_surprise(x, 0.0)).tolist() == [False, True]
    assert np.isfinite(max_surprise(x, 1e300)).tolist() == [False, True]
