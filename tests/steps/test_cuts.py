"""Truncations beyond the page, held against what engines' own samplers left of a few rows.

And their options at exact equality, which no random row meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, strategies as st
from logitlab import (
    AveragedXtc,
    Chain,
    EpsilonCutoff,
    EtaCutoff,
    ExcludeTopChoices,
    ParameterError,
    PLess,
    Step,
    Tfs,
    TopH,
    TopNSigma,
    TypicalP,
    Xtc,
    distribution,
    entropy,
    greedy,
    sample,
    softmax,
    survivors,
    xtc,
)
from logitlab.datasets import load
from logitlab.steps.candidate_order.sorts import torch_top
from logitlab.steps.step import Truncation

import reference
from sampler_examples import chosen_by, row_of
from strategies import logits

HALVES = np.log(2) * np.array([-1.0, -2.0, -3.0, -3.0])

# What each engine's sampler is, as a step.
MADE: dict[tuple[str, str], Callable[[dict[str, Any]], Truncation]] = {
    ("llama.cpp", "top_n_sigma"): lambda p: TopNSigma(p["top_n_sigma"]),
    ("koboldcpp", "nsigma"): lambda p: TopNSigma(p["nsigma"], removed="nan"),
    ("text-generation-webui", "top_n_sigma"): lambda p: TopNSigma(
        p["top_n_sigma"], "sample", "zero"
    ),
    ("aphrodite", "nsigma"): lambda p: TopNSigma(p["nsigma"], "sample", "nan"),
    ("transformers", "epsilon_cutoff"): lambda p: EpsilonCutoff(p["epsilon_cutoff"]),
    ("aphrodite", "epsilon_cutoff"): lambda p: EpsilonCutoff(p["epsilon_cutoff"], "first"),
    ("transformers", "eta_cutoff"): lambda p: EtaCutoff(p["eta_cutoff"]),
    ("aphrodite", "eta_cutoff"): lambda p: EtaCutoff(p["eta_cutoff"], "first", "log_softmax"),
    ("transformers", "top_h"): lambda p: TopH(p["top_h"], "terms", 100, "topk"),
    ("koboldcpp", "tfs"): lambda p: Tfs(p["tfs"], "drop", "keep", "spread"),
    ("text-generation-webui", "tfs"): lambda p: Tfs(p["tfs"], removed="zero", ties="introsort"),
    ("aphrodite", "tfs"): lambda p: Tfs(p["tfs"], removed="zero", ties="introsort"),
    ("exllamav2", "tfs"): lambda p: Tfs(p["tfs"], last="keep"),
    ("transformers", "typical_p"): lambda p: TypicalP(p["typical_p"], "all"),
    ("aphrodite", "typical_p"): lambda p: TypicalP(p["typical_p"], "introsort", crossing="drop"),
    ("koboldcpp", "typical"): lambda p: TypicalP(p["typical"], at_p="keep"),
    ("exllamav2", "typical"): lambda p: TypicalP(p["typical"], crossing="drop"),
    ("aphrodite", "xtc"): lambda p: ExcludeTopChoices(p["xtc_threshold"], "introsort"),
    ("mlx-lm", "xtc"): lambda p: ExcludeTopChoices(
        p["xtc_threshold"], "all", "below", p["xtc_special_tokens"], "kept"
    ),
    ("text-generation-webui", "xtc"): lambda p: ExcludeTopChoices(
        p["xtc_threshold"], "introsort", protected=p["special_token_ids"], protection="all"
    ),
}


def is_alone(example: dict[str, Any]) -> bool:
    """Whether the engine does no more than the step: no floor of tokens, no temperature of 0."""
    params = example["params"]
    return params.get("min_tokens_to_keep", 1) == 1 and "temperature" not in params


def maker_of(example: dict[str, Any]) -> Callable[[dict[str, Any]], Truncation] | None:
    name, sampler = example["engine"].split(" ")[0].split("-engine")[0], example["sampler"]
    return MADE.get((name, sampler))


CASES = [
    pytest.param(maker_of(e), e, id=f"{e['engine']}-{e['sampler']}-{i}")
    for i, e in enumerate(chosen_by(lambda e: maker_of(e) is not None and is_alone(e)))
]


def allowed_of(example: dict[str, Any]) -> Any:
    row = row_of(example)
    allowed = example["params"].get("allowed_token_ids", range(len(row)))
    return np.where(np.isin(np.arange(len(row)), allowed), row, -np.inf).astype(np.float32)


def left_of(example: dict[str, Any]) -> list[int]:
    if "kept_ids" in example:
        return sorted(example["kept_ids"])
    answer = np.array([-np.inf if x is None else x for x in example["answer"]])
    alive = answer > (-np.inf if example["answer_is"].startswith("logits") else 0)
    return np.flatnonzero(alive).tolist()


def test_every_example_is_a_case() -> None:
    assert len(CASES) == 105


@pytest.mark.parametrize("precision", ["single", "mixed", "double"])
@pytest.mark.parametrize(("make", "example"), CASES)
def test_what_engines_left(
    make: Callable[[dict[str, Any]], Truncation], example: dict[str, Any], precision: str
) -> None:
    step = make(example["params"])
    assert kept(Chain(step, precision=precision), allowed_of(example)) == left_of(example)


def kept(step: Any, row: Any) -> list[int]:
    return np.flatnonzero(step(row) > -np.inf).tolist()


def averaged(example: dict[str, Any]) -> Any:
    p = example["params"]
    step = AveragedXtc(p["xtc_probability"], p["xtc_threshold"], "highest")
    return softmax(step(row_of(example)))


def is_sorted(example: dict[str, Any]) -> bool:
    return bool(example["logits"] == sorted(example["logits"], reverse=True))


AVERAGES = chosen_by(lambda e: (e["engine"], e["sampler"]) == ("exllamav2", "xtc"))


def test_the_average_over_the_coin_as_exllamav2_has_it() -> None:
    rows = [example for example in AVERAGES if is_sorted(example)]
    assert len(rows) == 3
    for example in rows:
        np.testing.assert_allclose(averaged(example), example["probs_unnormalised"], atol=1e-6)


def test_the_average_of_a_row_that_is_not_sorted() -> None:
    # There exllamav2 judges candidates by their neighbours, so that its sums are not 1; exllamav3
    # no longer does. What holds is its answer to the same row, sorted.
    rows = [example for example in AVERAGES if not is_sorted(example)]
    assert len(rows) == 2
    for example in rows:
        assert example["sum"] > 1.2
        order = np.argsort(example["logits"])[::-1]
        same = next(
            other
            for other in AVERAGES
            if other["params"] == example["params"]
            and other["logits"] == np.take(example["logits"], order).tolist()
        )
        np.testing.assert_allclose(averaged(example)[order], same["probs_unnormalised"], atol=1e-6)


@given(data=st.data())
def test_the_average_is_the_mixture(data: st.DataObject) -> None:
    x = data.draw(logits(dtype=np.float64))
    q, threshold = data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0])), data.draw(st.floats(0, 1))
    options: dict[str, Any] = {
        "ties": data.draw(st.sampled_from(["lowest", "all"])),
        "protected": data.draw(st.sampled_from([(), (0,), (1, 99)])),
        "protection": data.draw(st.sampled_from(["apart", "kept", "all"])),
    }
    averaged = softmax(AveragedXtc(q, threshold, **options)(x))
    mixed = softmax(Xtc(q, threshold, **options)(x))
    np.testing.assert_allclose(averaged, mixed, rtol=1e-9, atol=1e-12)


def test_protected_tokens() -> None:
    x = np.log([0.4, 0.3, 0.2, 0.1])
    for protection, left in ("apart", [0, 2, 3]), ("kept", [0, 2, 3]), ("all", [0, 1, 2, 3]):
        step = ExcludeTopChoices(0.15, protected=(0,), protection=protection)
        assert kept(step, x) == left
    # Of the least likely one: apart it is no choice, so that another one is the least likely.
    for protection, left in ("apart", [1, 2, 3]), ("kept", [2, 3]), ("all", [2, 3]):
        step = ExcludeTopChoices(0.15, protected=(2,), protection=protection)
        assert kept(step, x) == left
    assert kept(ExcludeTopChoices(0.15, protected=(7,), protection="all"), x) == [2, 3]
    np.testing.assert_array_equal(xtc(x, 1.0, 0.15, protected=[0, 1]), x)


def test_where_removed_tokens_are_top_choices_none_may_be_left() -> None:
    rows = np.array([[1.0, 0.5], [0.0, -np.inf]])
    assert np.isfinite(ExcludeTopChoices(0.0)(rows)).any(axis=-1).all()
    left = r"^xtc_threshold must be such that one token at least is left, got only -inf in row "
    for step in (ExcludeTopChoices(0.0, removed="counts"), AveragedXtc(1.0, 0.0, removed="counts")):
        with pytest.raises(ParameterError, match=left):
            step(rows)
        for door in (sample, greedy, survivors, distribution):
            with pytest.raises(ParameterError, match=r"one token at least is left, got only -inf"):
                door(rows[1], Chain(step))
    for idle in (AveragedXtc(0.0, 0.0, removed="counts"), Xtc(0.0, 0.0, removed="counts")):
        np.testing.assert_array_equal(idle(rows), rows)


def test_a_protected_token_stays_where_the_others_are_gone() -> None:
    x = np.tile(np.log([0.4, 0.3, 0.2, 0.1]), 2000)
    from logitlab import TopK, survivors

    chain = Chain(TopK(4), ExcludeTopChoices(0.1, protected=(4,)))
    left = survivors(x, chain)
    np.testing.assert_array_equal(left.tokens[0], np.flatnonzero(chain(x) > -np.inf))
    assert 4 in left.tokens[0]


def test_top_choices_at_the_threshold() -> None:
    assert kept(ExcludeTopChoices(0.25), HALVES) == [1, 2, 3]
    assert kept(ExcludeTopChoices(0.25, at_threshold="below"), HALVES) == [0, 1, 2, 3]
    assert kept(ExcludeTopChoices(0.1), HALVES) == [2]
    assert kept(ExcludeTopChoices(0.1, "all"), HALVES) == [2, 3]
    assert kept(ExcludeTopChoices(0.1, "introsort"), HALVES) == [3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigma_is_scipys(dtype: Any) -> None:
    x = load().logits[3].astype(dtype)
    for deviation, ddof in (("population", 0), ("sample", 1)):
        sigma = scipy.stats.tstd(x.astype(float), ddof=ddof)
        for n in (0.3, 1.0, 2.5):
            keep = x.max() - x.astype(float) <= n * sigma
            np.testing.assert_array_equal(TopNSigma(n, deviation)(x) > -np.inf, keep)


def test_n_sigma_at_equality() -> None:
    x = np.array([1.0, 1.0, -1.0, -1.0])
    assert kept(TopNSigma(2.0), x) == [0, 1, 2, 3]
    assert kept(TopNSigma(np.nextafter(2, 0)), x) == [0, 1]
    assert kept(TopNSigma(3.0), np.arange(7.0)) == list(range(7))  # sigma is 2
    assert kept(TopNSigma(1.0), np.arange(7.0)) == [4, 5, 6]
    for flat in (np.zeros(4), np.array([3.0]), np.array([5.0, -np.inf])):
        assert kept(TopNSigma(1e-9), flat) == np.flatnonzero(flat > -np.inf).tolist()


def test_n_sigma_of_removed_tokens() -> None:
    x = np.array([5.0, 4.0, 3.0, -np.inf])
    assert kept(TopNSigma(1.0), x) == [0]  # sigma 0.82
    assert kept(TopNSigma(1.0, removed="zero"), x) == [0, 1]  # 1.87
    assert kept(TopNSigma(1e-3, removed="nan"), x) == [0, 1, 2]
    assert kept(TopNSigma(1e-3, removed="nan"), x[:3]) == [0]
    assert kept(TopNSigma(1e-3, "sample"), [5.0, -np.inf]) == [0]
    rows = np.array([[5.0, 4.0, -np.inf], [1.0, 0.9, 0.0]])
    both = TopNSigma([0.5, -1.0], removed="nan")(rows)
    assert (both > -np.inf).tolist() == [[True, True, False], [True, True, True]]


def test_n_sigma_at_the_ends_of_the_floats() -> None:
    # 1.73 sigma below the largest, whatever the scale.
    for scale in (5e-324, 1e-200, 1.0, 1e200, 1.7e308):
        x = np.array([1.0, -1.0, 1.0, 1.0]) * scale
        assert kept(TopNSigma(2.0), x) == [0, 2, 3]
        assert kept(TopNSigma(2.4), x) == [0, 1, 2, 3]
    for precision in ("single", "mixed", "double"):
        x32 = np.array([3e38, -3e38, 0.0], np.float32)
        assert 0 in kept(Chain(TopNSigma(1.0), precision=precision), x32)


def test_n_sigma_does_not_depend_on_temperature() -> None:
    for x in load().logits[:5].astype(float):
        for t in (0.5, 4.0):
            np.testing.assert_array_equal(
                TopNSigma(1.5)(x) > -np.inf, TopNSigma(1.5)(x / t) > -np.inf
            )


def test_cutoffs_at_equality() -> None:
    for precision in ("single", "double"):

        def left(step: Step, x: Any, precision: str = precision) -> list[int]:
            return kept(Chain(step, precision=precision), np.asarray(x, np.float32))

        assert left(EpsilonCutoff(0.25), np.zeros(4)) == [0, 1, 2, 3]
        assert left(EpsilonCutoff(0.26), np.zeros(4)) == [0, 1, 2, 3]  # all maxima
        assert left(EpsilonCutoff(0.26, "first"), np.zeros(4)) == [0]
        assert left(EtaCutoff(0.0625), np.zeros(4)) == [0, 1, 2, 3]
        assert left(EtaCutoff(3.0, "first"), np.zeros(4)) == [0]
    assert kept(EpsilonCutoff(0.25), HALVES) == [0, 1]
    assert kept(EpsilonCutoff(2.0), HALVES) == [0]
    assert kept(EpsilonCutoff(0.25), [*HALVES, -np.inf]) == [0, 1]


def test_eta_is_the_smaller_of_two() -> None:
    for x in load().logits[:8]:
        h = float(entropy(x.astype(float)))
        p = softmax(x.astype(float))
        for eta in (3e-4, 4e-3, 0.3):
            cut = min(eta, math.sqrt(eta) * math.exp(-h))
            alive = EtaCutoff(eta)(x) > -np.inf
            near = np.abs(p / cut - 1) < 1e-9
            np.testing.assert_array_equal(alive[~near], ((p >= cut) | (p == p.max()))[~near])


def test_p_less_and_its_normalised_form() -> None:
    assert kept(PLess(), np.zeros(5)) == list(range(5))
    assert kept(PLess(), [3.0, -np.inf]) == [0]
    assert kept(PLess(normalised=True), [3.0, -np.inf]) == [0]
    for x in load().logits[:8]:
        p = softmax(x.astype(float))
        agree = float(np.sum(p * p))
        n = p.size
        for normalised, cut in (False, agree), (True, (n * agree - 1) / (n - 1)):
            alive = PLess(normalised=normalised)(x) > -np.inf
            np.testing.assert_array_equal(alive, p >= cut)
    rows = np.array([[0.0, -1.0], [0.0, -1.0]])
    assert (PLess([0, 1])(rows) > -np.inf).tolist() == [[True, True], [True, False]]


def test_p_less_is_on_or_off() -> None:
    with pytest.raises(ParameterError) as error:
        PLess(2)
    assert str(error.value) == "p_less must be an integer in [0, 1], got 2."


# Probabilities 8/16, 4/16, 3/16, 1/16: bends of 3/16, 1/16.
BENT = np.log([8.0, 4.0, 3.0, 1.0])


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        # z = 0, .7, .76, .99, 1
        ({}, [1, 1, 2, 2, 4]),
        ({"crossing": "drop"}, [1, 1, 1, 1, 4]),
        ({"last": "keep"}, [1, 1, 2, 2, 4]),
    ],
)
def test_the_tail(options: dict[str, str], sizes: list[int]) -> None:
    assert [len(kept(Tfs(z, **options), BENT)) for z in (0.0, 0.7, 0.76, 0.99, 1.0)] == sizes


def test_a_flat_row_has_no_tail() -> None:
    x = np.zeros(6)
    assert kept(Tfs(0.5), x) == [0, 1, 2, 3, 4]
    assert kept(Tfs(0.5, last="keep"), x) == [0, 1, 2, 3, 4, 5]
    # A quarter each: KoboldCpp's crossing is the third.
    assert kept(Tfs(0.5, "drop", "keep", "spread"), x) == [0, 1]
    assert kept(Tfs(0.5, "keep", "keep", "spread"), x) == [0, 1, 2]
    for size, left in (1, [0]), (2, [0]):
        assert kept(Tfs(0.5), np.zeros(size)) == left
        assert kept(Tfs(0.5, "drop", "keep", "spread"), np.zeros(size)) == list(range(size))


def test_removed_tokens_end_the_curve_or_do_not() -> None:
    x = np.array([-np.inf, *BENT, -np.inf, -np.inf])
    assert kept(Tfs(0.76), x) == [1, 2]
    # 3, 1, 1 and 1 sixteenths of bending: half of it is there at the first.
    assert kept(Tfs(0.49, removed="zero"), x) == [1]
    assert kept(Tfs(0.51, removed="zero"), x) == [1, 2]
    assert kept(Tfs(0.9, removed="zero"), x) == [1, 2, 3, 4]


def test_ties_at_the_tail() -> None:
    x = np.array([0.0, 5.0, 0.0, 0.0, -9.0, -9.0])
    must, may = reference.tfs(x.tolist(), 0.99)
    assert must == may == {0, 1, 2}
    for ties, left in ("lowest", [0, 1, 2]), ("highest", [1, 2, 3]), ("all", [0, 1, 2, 3]):
        assert kept(Tfs(0.99, ties=ties), x) == left


def test_top_h_at_equality() -> None:
    # ln 2 is half of ln 4, and a third of ln 8.
    assert kept(TopH(0.5), np.zeros(4)) == [0, 1]
    assert kept(TopH(0.4999), np.zeros(4)) == [0]
    assert kept(TopH(0.5, ties="all"), np.zeros(4)) == [0, 1, 2, 3]
    assert kept(TopH(0.0), HALVES) == [0]
    assert kept(TopH(1.0), HALVES) == [0, 1, 2, 3]
    assert kept(TopH(0.999), [0.0, -1e4, -np.inf]) == [0]
    assert kept(TopH(0.5), [7.0]) == [0]


def test_terms_of_the_entropy_are_another_rule_than_that_of_the_survivors() -> None:
    x = np.log([0.9, 0.05, 0.05])  # H is 0.39; the first two have 0.24 of it, or 0.21
    for alpha in (0.3, 0.5, 0.55, 0.7):
        h = alpha * 0.394
        assert len(kept(TopH(alpha), x)) == (1 if h < 0.207 else 2)
        assert len(kept(TopH(alpha, "terms"), x)) == (1 if h < 0.244 else 2)
    x = np.log([0.4, 0.4, 0.1, 0.1])  # 1.19; 0.73, or 0.69
    assert kept(TopH(0.59), x) == [0, 1]
    assert kept(TopH(0.59, "terms"), x) == [0]


def test_top_h_among_the_best() -> None:
    x = np.linspace(0, -1, 300)
    assert len(kept(TopH(1.0, "terms", 100), x)) in (99, 100)
    assert not TopH(1.0, "terms", 100).is_neutral
    assert kept(TopH(1.0, among=2), x) == [0, 1]
    row = x[:50].tolist()
    must, may = reference.top_h(row, 0.7)
    assert must <= set(kept(TopH(0.7, among=50), x)) <= may


@pytest.mark.parametrize(
    ("size", "count", "places"),
    [  # of torch 2.13 on a CPU, for i % 3
        (6, 6, [5, 2, 1, 4, 3, 0]),
        (20, 5, [5, 11, 8, 14, 17]),
        (330, 5, [8, 5, 11, 14, 2]),
    ],
)
def test_equal_values_as_torchs_topk_leaves_them(size: int, count: int, places: list[int]) -> None:
    assert torch_top(np.arange(size) % 3.0, count).tolist() == places


def test_typical_ties_and_the_crossing_token() -> None:
    assert kept(TypicalP(0.5, crossing="drop"), HALVES) == [1]
    assert kept(TypicalP(0.5), HALVES) == [0, 1]
    assert kept(TypicalP(0.0, crossing="drop"), HALVES) == [1]
    assert kept(TypicalP(1.0, crossing="drop"), HALVES) == [0, 1, 2, 3]
    flat = np.zeros(4)
    assert kept(TypicalP(0.5), flat) == [0, 1]
    assert kept(TypicalP(0.5, crossing="drop"), flat) == [0]
    assert kept(TypicalP(0.5, "all"), flat) == [0, 1, 2, 3]
    assert kept(TypicalP(0.75, at_p="keep", crossing="drop"), flat) == [0, 1, 2]
    # Introsort leaves 20 equal deviations in an order of its own.
    assert kept(TypicalP(0.1, "introsort"), np.zeros(20)) == [10, 19]


def test_the_most_likely_token_may_be_untypical() -> None:
    x = np.log([0.4, *[0.06] * 10])
    assert 0 not in kept(TypicalP(0.5), x)
    assert kept(TypicalP(0.5), x) == list(range(1, 10))
