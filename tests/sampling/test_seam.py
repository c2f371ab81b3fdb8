"""Random and stateful steps: pure at heart, one coin and one state for each token.

False alarms: each statistical test fails by chance once in 10,000 seeds; the seeds are fixed.
"""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import Chain, MinP, Mirostat, ParameterError, Temperature, TopP, Xtc
from logitlab.datasets import load
from scipy import stats

ROW = np.log([0.3, 0.25, 0.2, 0.15, 0.1])
DRAWS = 4000
ALPHA = 1e-4
CHAINS = [
    Chain(Xtc(0.5, threshold=0.22)),
    Chain(Xtc(0.3, threshold=0.12), TopP(0.7)),  # what follows sees one side of the coin
    Chain(Xtc(0.5, threshold=0.22), Temperature(0.7), Xtc(0.6, threshold=0.12), MinP(0.2)),
    Chain(Xtc(1.0, threshold=0.22)),
]


def by_hand(chain: Chain, row: Any) -> Any:
    """The weighted sum over all sides of all coins, step by step."""
    parts = [(1.0, np.asarray(row, np.float64))]
    for step in chain:
        if isinstance(step, Xtc):
            q = step.value
            acting = step.acting()
            parts = [(w * q, acting(x)) for w, x in parts] + [(w * (1 - q), x) for w, x in parts]
        else:
            parts = [(w, step(x)) for w, x in parts]  # type: ignore[misc]
    return sum(w * ll.softmax(x) for w, x in parts)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_a_chain_with_coins_is_a_mixture_of_pure_chains(chain: Chain) -> None:
    expected = by_hand(chain, ROW)
    np.testing.assert_allclose(ll.distribution(ROW, chain), expected, rtol=1e-13)
    np.testing.assert_allclose(ll.softmax(chain(ROW)), expected, rtol=1e-13)
    assert sum(float(branch.weight) for branch in chain.branches()) == pytest.approx(1)
    left = ll.survivors(ROW, chain)
    np.testing.assert_allclose(np.exp(left.logprobs[0]), expected[left.tokens[0]], rtol=1e-13)
    told = ll.logprobs(ROW, [0, 4], chain, mode="processed").logprobs
    np.testing.assert_allclose(np.exp(told), expected[[0, 4]], rtol=1e-13)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
@pytest.mark.parametrize("coupling", ["inverse", "gumbel"])
def test_draws_toss_the_coin_first(chain: Chain, coupling: Any) -> None:
    tokens = ll.sample(ROW, chain, seed=11, size=DRAWS, coupling=coupling).tokens
    expected = ll.distribution(ROW, chain) * DRAWS
    counts = np.bincount(tokens, minlength=5)
    possible = expected > 0
    assert not counts[~possible].any()
    if possible.sum() > 1:
        assert stats.chisquare(counts[possible], expected[possible]).pvalue > ALPHA


def test_a_coin_disturbs_no_draw() -> None:
    chain = Chain(Xtc(0.4, threshold=0.22))
    falls = ll.uniform(5, position=np.arange(DRAWS), coin=0) < 0.4
    drawn = ll.sample(ROW, chain, seed=5, size=DRAWS).tokens
    plain = ll.sample(ROW, None, seed=5, size=DRAWS).tokens
    acted = ll.sample(ROW, chain.branch([True]), seed=5, size=DRAWS).tokens
    np.testing.assert_array_equal(drawn, np.where(falls, acted, plain))
    assert stats.binomtest(int(falls.sum()), DRAWS, 0.4).pvalue > ALPHA


def test_coins_of_rows_are_their_own() -> None:
    x, chain = np.stack([ROW] * 40), Chain(Xtc(0.4, threshold=0.22))
    falls = ll.uniform(5, sequence=np.arange(40)[:, None], position=np.arange(50), coin=0) < 0.4
    drawn, plain, acted = (
        ll.sample(x, each, seed=5, size=50).tokens for each in (chain, None, chain.branch([True]))
    )
    np.testing.assert_array_equal(drawn, np.where(falls, acted, plain))
    assert (falls[0] != falls[1]).any()


def test_a_coin_keeps_its_number_where_another_is_neutral() -> None:
    x = np.stack([ROW] * 4)
    first, second = np.array([0.0, 0.0, 0.3, 0.3]), np.full(4, 0.5)
    many = Chain(Xtc(first, threshold=0.1), Xtc(second, threshold=0.1))
    tokens = ll.sample(x, many, seed=3, size=30).tokens
    part = many.for_rows((4,), np.arange(2))
    assert part.numbers == (1,)
    alone = ll.sample(x[:2], part, seed=3, size=30, sequence=np.arange(2)).tokens
    np.testing.assert_array_equal(tokens[:2], alone)


def test_a_transform_of_ones_own_sees_the_whole_batch_beside_a_coin() -> None:
    class PerRow(ll.Transform):
        def __call__(self, logits: Any, context: Any = None) -> Any:
            assert logits.shape == (2, 3, 5)
            return logits + 50.0 * np.eye(6, 5).reshape(2, 3, 5)

        def __repr__(self) -> str:
            return "PerRow()"

    x = np.zeros((2, 3, 5))
    tokens = ll.sample(x, Chain(PerRow(), Xtc(0.5, threshold=0.9)), seed=1).tokens
    without = ll.sample(x, PerRow(), seed=1).tokens
    acted = ll.sample(x, Chain(PerRow(), ll.ExcludeTopChoices(0.9)), seed=1).tokens
    assert tokens.shape == (2, 3)
    assert ((tokens == without) | (tokens == acted)).all()
    assert tokens.ravel()[:5].tolist() == [0, 1, 2, 3, 4]


def test_no_draw_says_what_is_wrong_as_any_number_of_draws_does() -> None:
    with pytest.raises(ParameterError, match="logits must be free of NaN"):
        ll.sample(np.array([np.nan, 1.0]), Chain(Xtc(0.5)), seed=1, size=0)


def test_coins_are_independent_of_each_other_and_of_the_draw() -> None:
    place = np.arange(DRAWS)
    numbers = [ll.uniform(3, position=place, coin=coin) for coin in (None, 0, 1)]
    for numbers_of in numbers:
        assert stats.kstest(numbers_of, "uniform").pvalue > ALPHA
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert stats.spearmanr(numbers[i], numbers[j]).pvalue > ALPHA


@pytest.mark.parametrize("size", [None, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_of_a_batch_is_as_if_it_were_alone(size: int | None, threads: int) -> None:
    x = load().logits[:6]
    chain = Chain(Temperature(1.2), Xtc(0.5, threshold=0.05), Mirostat(3.0))
    state = {"mirostat": np.linspace(1, 9, 6)}
    many = ll.sample(x, chain, seed=2, size=size, threads=threads, state=state)
    for i, row in enumerate(x):
        own = {"mirostat": float(state["mirostat"][i])}
        alone = ll.sample(row, chain, seed=2, size=size, sequence=i, state=own).tokens
        np.testing.assert_array_equal(alone, many.tokens[i])
        np.testing.assert_array_equal(
            ll.distribution(row, chain, state=own), ll.distribution(x, chain, state=state)[i]
        )


def test_a_probability_for_each_row() -> None:
    x = np.stack([ROW] * 3)
    chances = np.array([0.0, 0.5, 1.0])
    chain = Chain(Xtc(chances, threshold=0.22), TopP(0.9))
    each = [Chain(Xtc(q, threshold=0.22), TopP(0.9)) for q in chances]
    expected = [ll.distribution(ROW, one) for one in each]
    np.testing.assert_allclose(ll.distribution(x, chain), expected, rtol=1e-13)
    tokens = ll.sample(x, chain, seed=4, size=50).tokens
    for i, one in enumerate(each):
        alone = ll.sample(ROW, one, seed=4, size=50, sequence=i).tokens
        np.testing.assert_array_equal(tokens[i], alone)


def test_a_trace_shows_the_mixture_or_one_side() -> None:
    request = {"xtc_probability": 0.5, "xtc_threshold": 0.22, "top_p": 0.9}
    trace = ll.trace(ROW, request)
    assert trace.names == ("logits", "TopP(0.9)", "Xtc(0.5, threshold=0.22)")
    np.testing.assert_allclose(
        ll.softmax(trace.logits[-1]), ll.distribution(ROW, request), rtol=1e-13
    )
    assert ll.trace(ROW, request, coins=True).names[-1] == "ExcludeTopChoices(0.22)"
    assert ll.trace(ROW, request, coins=False).names == ("logits", "TopP(0.9)")
    with pytest.raises(ll.ParameterError, match=r"^coins must be True or False, got \[False\]\.$"):
        ll.trace(ROW, request, coins=[False])  # type: ignore[arg-type]
    assert trace.logits[0].tobytes() == ROW.tobytes()
    assert trace.logits[1].tobytes() == TopP(0.9)(ROW).tobytes()
    two = Chain(Xtc(0.5, threshold=0.22), Temperature(1.0), Xtc(0.3, threshold=0.1))
    assert ll.trace(ROW, two, coins=True).names[1:] == (
        "ExcludeTopChoices(0.22)",
        "Temperature(1.0)",
        "ExcludeTopChoices(0.1)",
    )
    later = Chain(Xtc(0.5, threshold=0.22), TopP(0.7))
    for i in (1, 2):
        expected = by_hand(later[:i], ROW)
        np.testing.assert_allclose(ll.softmax(later.trace(ROW).logits[i]), expected, rtol=1e-13)


def test_engines_are_compared_in_expectation_over_coins_and_in_a_state() -> None:
    asked = {"xtc_probability": 0.5, "xtc_threshold": 0.22, "temperature": 1, "top_k": 0}
    asked |= {"top_p": 1, "min_p": 0}
    compared = ll.compare_engines(ROW, asked, engines=["openrouter", "llama_cpp", "vllm"])
    np.testing.assert_allclose(compared.probs[1], compared.probs[0], atol=1e-6)
    [parting] = compared.partings("openrouter", "vllm")
    assert str(parting) == ("they differ at xtc_probability: only openrouter applies it, 0.5")
    cut = {"mirostat": 2, "temperature": 1}
    state = {"mirostat": 2.1}
    bound = ll.compare_engines(ROW, cut, engines=["openrouter", "llama_cpp"], state=state)
    assert bound.kept.tolist() == [2, 2]
    assert repr(bound.chains["llama_cpp"]) == "SortedChain(MaxSurprise(2.1))"


def test_a_state_is_told_and_used() -> None:
    request = {"mirostat": 2, "mirostat_tau": 3.0}
    assert ll.sample(ROW, request, seed=1).state == {"mirostat": 6.0}
    draws = ll.sample(ROW, request, seed=1, size=200, state={"mirostat": 1.8})
    assert draws.state == {"mirostat": 1.8}
    assert set(draws.tokens.tolist()) == {0}
    assert ll.trace(ROW, request).names == ("logits", "MaxSurprise(6.0)")
    assert ll.sample(ROW, {}, seed=1).state is None
    state: Any = {"mirostat": 1.8}
    assert ll.survivors(ROW, request, state=state).tokens[0].tolist() == [0]
    assert ll.distribution(ROW, request, state=state)[0] == 1
    assert ll.greedy(ROW[::-1], request, state=state) == 4
    assert ll.logprobs(ROW, 0, request, state=state, mode="processed").logprobs == 0

    def reported(row: Any, request: Any, state: Any) -> Any:
        return ll.logprobs(row, 0, request, state=state, mode="processed")

    def compared(row: Any, request: Any, state: Any) -> Any:
        return ll.compare_engines(row, request, state=state)

    doors: list[Any] = [ll.sample, ll.distribution, ll.trace, ll.survivors, ll.greedy]
    doors += [reported, compared]
    for function in doors:
        with pytest.raises(ParameterError, match="state must be absent where no step has one"):
            function(ROW, {}, state={"mirostat": 3.0})
        with pytest.raises(ParameterError, match="state must be a map from steps to numbers"):
            function(ROW, request, state=3.0)
        with pytest.raises(ParameterError, match=r"^state must .* among \['mirostat'\], got 'mu'"):
            function(ROW, request, state={"mu": 3.0})
        with pytest.raises(ParameterError, match=r"^state\['mirostat'\] must be finite, got nan"):
            function(ROW, request, state={"mirostat": np.nan})
        with pytest.raises(ParameterError, match=r"^state\['mirostat'\] must be a scalar or "):
            function(ROW, request, state={"mirostat": [1.0, 2.0]})


@pytest.mark.parametrize("bits", [-1.0, 0.0, 1.7, 2.0, 2.5, 50.0])
def test_mirostat_keeps_what_surprises_no_more(bits: float) -> None:
    kept = ll.softmax(Mirostat(5.0).at({"mirostat": bits})(ROW)) > 0
    expected = -np.log2(ll.softmax(ROW)) <= bits
    expected[0] = True
    np.testing.assert_array_equal(kept, expected)


def test_the_fast_path_of_a_cut_at_a_surprise_is_the_mask() -> None:
    x = load().logits
    for bits in (0.5, 3.0, 6.5, 11.0, 16.0):
        for t in (1.0, 0.7):
            chain = Chain(Temperature(t), ll.MaxSurprise(bits))
            assert ll.plan(chain).scanned
            left = ll.survivors(x, chain)
            for i, row in enumerate(chain(x)):
                np.testing.assert_array_equal(left.tokens[i], np.flatnonzero(row > -np.inf))


def test_an_engines_own_draw_says_what_it_cannot_repeat() -> None:
    # The page's draws are numbered by the token alone; llama.cpp's coins and states are its own.
    with pytest.raises(ParameterError, match=r"^request must be free of XTC where this engine"):
        ll.engines.openrouter.draw(ROW.astype(np.float32), {"xtc_probability": 0.5}, seed=1)
    for request in ({"xtc_probability": 0.5}, {"mirostat": 2}, {"adaptive_target": 0.3}):
        assert ll.engines.llama_cpp.draw(ROW.astype(np.float32), request, seed=1) >= 0
