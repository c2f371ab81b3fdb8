"""The tests that know nothing of a model hold their error, exactly or within a binomial bound."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from logitlab.verification.exchangeable import (
    OneText,
    TwoArms,
    chance_of_pairs,
    clopper_pearson,
    share,
)
from numpy.typing import NDArray
from scipy.stats import beta, binom, binomtest

pytestmark = pytest.mark.slow

ALPHA = 0.05
RUNS = 300
# What so many refutations of the truth at a rate of 5 % exceed with a chance of 1 in 10,000.
MOST = int(binom.isf(1e-4, RUNS, ALPHA))
FLAT = np.array([0.1, 0.09, 0.08, *[0.73 / 60] * 60])
PEAKED = np.array([0.6, 0.2, 0.1, 0.05, 0.05])


@pytest.mark.parametrize("sharp", [True, False])
def test_one_share_of_both_arms_is_refuted_as_rarely_as_stated(sharp: bool) -> None:
    # All 2 ** 10 outcomes, the arms by turns: the chance that the evidence ever gets so far.
    peaks, counts = [], []
    for outcomes in itertools.product((True, False), repeat=10):
        arms = TwoArms(sharp=sharp)
        for place, success in enumerate(outcomes):
            arms.add(place % 2, success=success)
        peaks.append(arms.log_e)
        counts.append(sum(outcomes))
    peak, count = np.array(peaks), np.array(counts)
    for p in (0.01, 0.1, 0.37, 0.5, 0.8, 0.99):
        chance = p**count * (1 - p) ** (10 - count)
        for alpha in (0.5, 0.2, ALPHA):
            assert chance[peak >= math.log(1 / alpha)].sum() <= alpha
    assert peak.max() > math.log(1 / ALPHA)


@pytest.mark.parametrize("sharp", [True, False])
def test_the_bet_of_two_arms_is_a_probability(sharp: bool) -> None:
    # E times the largest likelihood adds up to 1 over all outcomes.
    total = 0.0
    for outcomes in itertools.product((True, False), repeat=8):
        arms = TwoArms(sharp=sharp)
        for place, success in enumerate(outcomes[:-1]):
            arms.add(place % 2, success=success)
        arms.log_e = -math.inf  # of the last alone
        arms.add(1, success=outcomes[-1])
        n = sum(outcomes)
        total += math.exp(arms.log_e) * (n / 8) ** n * (1 - n / 8) ** (8 - n)
    assert total == pytest.approx(1)


def test_two_different_shares_are_found_soon() -> None:
    rng = np.random.default_rng(1)
    asked = []
    for _ in range(100):
        arms = TwoArms()
        for success in rng.random(12) < 0.1:
            arms.add(0, success=bool(success))
        while arms.log_e < math.log(1000):
            arms.add(1, success=bool(rng.random() < 0.97))
        asked.append(sum(arms.counts[1]))
    assert np.median(asked) <= 12
    assert np.quantile(asked, 0.9) <= 25


def texts(rng: np.random.Generator, p: NDArray[np.float64], count: int) -> Iterator[str]:
    return map(str, rng.choice(len(p), count, p=p / p.sum()))


def single(p: NDArray[np.float64], *shares: float) -> NDArray[np.float64]:
    """Return a distribution of one text or two, with one foreign answer in a hundred."""
    found: NDArray[np.float64] = 0.01 * p / p.sum()
    found[: len(shares)] += 0.99 * np.array(shares)
    return found


@pytest.mark.parametrize("neutral", [FLAT, PEAKED], ids=["flat", "peaked"])
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.8, 0.2), (0.97, 0.03)])
def test_one_text_or_two_are_refuted_as_rarely_as_stated(
    neutral: NDArray[np.float64], shares: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(2)
    refuted = 0
    for _ in range(RUNS):
        arm = OneText(list(texts(rng, neutral, 12)))
        for place, text in enumerate(texts(rng, single(neutral, *shares), 40)):
            arm.add(text)
            if place % 7 == 6:  # the other arm grows as well
                arm.see(next(texts(rng, neutral, 1)))
        refuted += arm.against_one >= math.log(1 / ALPHA)
    assert refuted <= MOST


@pytest.mark.parametrize("shares", [(1.0,), (0.6, 0.4)])
def test_requests_for_many_answers_that_go_elsewhere_refute_as_rarely_as_stated(
    shares: tuple[float, ...],
) -> None:
    rng = np.random.default_rng(7)
    refuted = 0
    for _ in range(RUNS):
        arm = OneText(list(texts(rng, FLAT, 16)))
        for _ in range(4):
            arm.add(*texts(rng, FLAT if rng.random() < 0.01 else single(FLAT, *shares), 16))
        refuted += arm.against_one >= math.log(1 / ALPHA)
    assert refuted <= MOST
    arm = OneText(list(texts(rng, FLAT, 16)))
    arm.add(*texts(rng, FLAT, 16))
    assert arm.against_one < math.log(1000)  # one request is not enough
    arm.add(*texts(rng, FLAT, 16))
    assert arm.against_one > math.log(1000)


@pytest.mark.parametrize("p", [0.3, 0.6, 0.7])
def test_that_no_text_has_seven_tenths_is_refuted_as_rarely_as_stated(p: float) -> None:
    rng = np.random.default_rng(3)
    refuted = 0
    for _ in range(RUNS):
        arm = OneText()
        for text in texts(rng, np.array([p, 1 - p]) if p > 0.5 else FLAT, 60):
            arm.add(text)
        refuted += arm.against_spread >= math.log(1 / ALPHA)
    assert refuted <= MOST


def test_many_texts_are_told_from_one_after_a_handful() -> None:
    rng = np.random.default_rng(4)
    asked = []
    for _ in range(100):
        arm = OneText(list(texts(rng, FLAT, 12)))
        while arm.against_one < math.log(1000):
            arm.add(next(texts(rng, FLAT, 1)))
        asked.append(len(arm.texts))
    assert np.median(asked) <= 9
    assert max(asked) <= 25


def test_no_verdict_rests_on_one_foreign_answer() -> None:
    for before in range(1, 30):
        arm = OneText(["a", "b", "c"] * 6)
        for text in [*["a"] * before, "never seen", "nor this"]:
            arm.add(text)
        assert arm.against_one < math.log(1000)


@pytest.mark.parametrize("words", ["aabb", "abcd", "aabbcc", "aaabbc", "aabbccdd", "aaaabbcd"])
def test_the_chance_of_pairs_is_that_of_all_matchings(words: str) -> None:
    def matchings(left: str) -> Iterator[list[tuple[str, str]]]:
        if not left:
            yield []
        for place in range(1, len(left)):
            for rest in matchings(left[1:place] + left[place + 1 :]):
                yield [(left[0], left[place]), *rest]

    found = list(matchings(words))
    equal = [sum(one == other for one, other in pairs) for pairs in found]
    for pairs, count in zip(found, equal, strict=True):
        truth = np.mean([other >= count for other in equal])
        assert chance_of_pairs(pairs) == pytest.approx(truth)


def test_the_chance_of_pairs_is_small_as_rarely_as_stated() -> None:
    rng = np.random.default_rng(5)
    small = 0
    for _ in range(RUNS):
        drawn = list(texts(rng, PEAKED, 12))
        small += chance_of_pairs(list(zip(drawn[::2], drawn[1::2], strict=True))) <= ALPHA
    assert small <= MOST


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 7), (40, 41), (0, 0)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_the_interval_is_that_of_clopper_and_pearson(
    successes: int, trials: int, level: float
) -> None:
    found = clopper_pearson(successes, trials, level)
    if not trials:
        assert found == (0, 1)
        return
    truth = binomtest(successes, trials).proportion_ci(level, "exact")
    assert found == pytest.approx((truth.low, truth.high), abs=1e-9)
    assert found[0] == pytest.approx(
        beta.ppf((1 - level) / 2, successes, trials - successes + 1) if successes else 0
    )


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_the_interval_of_all_times_holds_at_all_times(p: float) -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(RUNS // 2):
        successes = np.cumsum(rng.random(60) < p)
        intervals = (share(int(n), place + 1 - int(n)) for place, n in enumerate(successes))
        missed += any(not low <= p <= high for low, high in intervals)
    assert missed <= binom.isf(1e-4, RUNS // 2, ALPHA)
    low, high = share(30, 30)
    assert low < 0.4 < 0.6 < high
    assert high - low < 0.5
