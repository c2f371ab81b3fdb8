from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, strategies as st
from logitlab import (
    Chain,
    Context,
    ParameterError,
    SamplingParams,
    Temperature,
    TopK,
    TopP,
    engines,
    greedy,
    gumbel,
    logprobs,
    sample,
    softmax,
    uniform,
)
from logitlab.datasets import load

from strategies import logits

PARAMS = SamplingParams(temperature=1.2, top_k=300, top_p=0.95, seed=11)
COUPLINGS = ("inverse", "gumbel")
couplings = pytest.mark.parametrize("coupling", COUPLINGS)

# 14 chi-square tests at this level: together they fail by chance once in 70 000 sets of seeds.
FALSE_ALARM = 1e-6


@couplings
@pytest.mark.parametrize("row", [0, 3, 5, 10, 13, 16])
def test_draws_follow_the_distribution(coupling: Any, row: int) -> None:
    x = load().logits[row]
    params = SamplingParams(temperature=1.2, top_k=60, seed=2026 + row)
    draws = sample(x, params, size=100_000, coupling=coupling)
    observed = np.bincount(draws.tokens, minlength=x.size)
    expected = softmax(engines.openrouter(params)(x)) * 100_000
    assert observed[expected == 0].sum() == 0
    rare = (expected > 0) & (expected < 10)
    common = expected >= 10
    table = np.append(observed[common], observed[rare].sum())
    wanted = np.append(expected[common], expected[rare].sum())
    keep = wanted > 0
    assert keep.sum() > 1
    assert scipy.stats.chisquare(table[keep], wanted[keep]).pvalue > FALSE_ALARM


@couplings
@pytest.mark.parametrize("huge", [1e18, 1e300])
def test_huge_logits_lose_nothing(coupling: Any, huge: float) -> None:
    x = np.array([huge, huge, huge * 0.9, huge])
    tokens = sample(x, seed=1, size=3000, coupling=coupling).tokens
    # Three equal tokens: the rarest is below 900 in 3000 once in 20 000 seeds.
    assert (np.bincount(tokens, minlength=4)[[0, 1, 3]] > 900).all()
    report = logprobs(x, [0, 2], top_logprobs=3)
    np.testing.assert_allclose(report.logprobs, [-np.log(3), huge * 0.9 - huge])
    np.testing.assert_allclose(report.top_logprobs, -np.log([3, 3, 3]))


def test_a_flat_row_without_truncation_follows_the_distribution() -> None:
    x = load().logits[4]
    draws = sample(x, Chain(Temperature(2.0)), seed=5, size=100_000)
    p = softmax(Chain(Temperature(2.0))(x))
    order = np.argsort(-p)
    groups = np.empty(x.size, int)
    groups[order] = np.minimum(np.cumsum(p[order]) * 100, 99).astype(int)
    observed = np.bincount(groups[draws.tokens], minlength=100)
    expected = np.bincount(groups, weights=p, minlength=100) * 100_000
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert scipy.stats.chisquare(observed, expected).pvalue > FALSE_ALARM


@given(logits(batch=(), min_size=2), st.integers(0, 2**32), st.integers(0, 50))
def test_inverse_takes_the_first_token_beyond_the_uniform(
    x: np.ndarray[Any, Any], seed: int, position: int
) -> None:
    token = int(sample(x, seed=seed, position=position).tokens)
    u = float(uniform(seed, 0, position))
    p = softmax(x)
    assert p[:token].sum() <= u + 1e-12
    assert p[: token + 1].sum() > u - 1e-12
    assert p[token] > 0


@given(logits(batch=(), min_size=2), st.integers(0, 2**32), st.integers(0, 50))
def test_gumbel_takes_the_best_of_logit_plus_noise(
    x: np.ndarray[Any, Any], seed: int, position: int
) -> None:
    token = int(sample(x, seed=seed, position=position, coupling="gumbel").tokens)
    with np.errstate(divide="ignore"):
        noisy = np.log(softmax(x)) + gumbel(seed, np.arange(x.size), 0, position)
    assert noisy[token] >= noisy.max() - 1e-9


@couplings
def test_same_seed_same_tokens_however_the_rows_are_cut(coupling: Any) -> None:
    x = np.concatenate([load().logits] * 2)
    whole = sample(x, PARAMS, size=7, coupling=coupling).tokens
    numbers = np.arange(40)
    again = sample(x, PARAMS, size=7, coupling=coupling).tokens
    np.testing.assert_array_equal(again, whole)

    for step in (1, 3, 13):  # chunks
        parts = [
            sample(
                x[i : i + step], PARAMS, size=7, coupling=coupling, sequence=numbers[i : i + step]
            ).tokens
            for i in range(0, 40, step)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)

    order = np.random.default_rng(3).permutation(40)  # order
    shuffled = sample(x[order], PARAMS, size=7, coupling=coupling, sequence=numbers[order])
    np.testing.assert_array_equal(shuffled.tokens, whole[order])

    shaped = sample(x.reshape(4, 10, -1), PARAMS, size=7, coupling=coupling)  # shape
    np.testing.assert_array_equal(shaped.tokens.reshape(40, 7), whole)


@couplings
def test_same_seed_same_tokens_in_threads(coupling: Any) -> None:
    x = load().logits
    whole = sample(x, PARAMS, coupling=coupling).tokens

    def one(i: int) -> Any:
        return sample(x[i], PARAMS, coupling=coupling, sequence=i).tokens

    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_array_equal(list(pool.map(one, range(20))), whole)


def test_same_seed_same_tokens_in_other_processes() -> None:
    x = load().logits[:4]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for coupling in COUPLINGS:
            futures = [
                pool.submit(sample, x[i], PARAMS, coupling=coupling, sequence=i, size=3)  # type: ignore[arg-type]
                for i in range(4)
            ]
            remote = [future.result().tokens for future in futures]
            local = sample(x, PARAMS, coupling=coupling, size=3).tokens  # type: ignore[arg-type]
            np.testing.assert_array_equal(remote, local)


@couplings
def test_position_500_alone_is_position_500_of_a_long_run(coupling: Any) -> None:
    x = load().logits[3]
    run = sample(x, PARAMS, size=600, coupling=coupling).tokens
    alone = sample(x, PARAMS, position=500, coupling=coupling).tokens
    assert alone == run[500]
    tail = sample(x, PARAMS, position=500, size=100, coupling=coupling).tokens
    np.testing.assert_array_equal(tail, run[500:])


@given(logits(batch=(), min_size=2), st.integers(), st.data())
def test_gumbel_keeps_the_token_unless_it_is_removed(
    x: np.ndarray[Any, Any], seed: int, data: st.DataObject
) -> None:
    before = int(sample(x, seed=seed, coupling="gumbel").tokens)
    step = data.draw(st.sampled_from([TopK(1), TopK(2), TopK(3), TopP(0.3), TopP(0.8)]))
    after = int(sample(x, Chain(step), seed=seed, coupling="gumbel").tokens)
    if step(x)[before] > -np.inf:
        assert after == before
    else:
        assert after != before


def test_gumbel_couples_requests_where_independent_draws_would_differ() -> None:
    x = load().logits[3]
    plain = sample(x, seed=1, size=500, coupling="gumbel").tokens
    nucleus = sample(x, Chain(TopP(0.9)), seed=1, size=500, coupling="gumbel").tokens
    survivors = np.flatnonzero(np.isfinite(TopP(0.9)(x)))
    stayed = np.isin(plain, survivors)
    assert (plain[stayed] == nucleus[stayed]).all()
    assert 0.8 < stayed.mean() < 0.99  # 0.9 of the mass survives


@pytest.mark.parametrize(
    "seed",
    [0, 1, -1, -(2**63), 2**64, 2**64 + 1, -(10**40), 10**5000],
    ids=lambda s: s.bit_length(),
)
def test_any_integer_is_a_seed(seed: int) -> None:
    x = load().logits[3]
    first = sample(x, Chain(TopK(500)), seed=seed, size=50)
    assert first.seed == seed
    np.testing.assert_array_equal(
        sample(x, Chain(TopK(500)), seed=seed, size=50).tokens, first.tokens
    )
    other = sample(x, Chain(TopK(500)), seed=-seed if seed else 5, size=50)
    assert (other.tokens != first.tokens).any() or seed == -seed


def test_a_fresh_seed_is_reported_and_draws_the_same_again() -> None:
    x = load().logits[3]
    first, second = sample(x, size=50), sample(x, size=50)
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**53
    np.testing.assert_array_equal(sample(x, seed=first.seed, size=50).tokens, first.tokens)


def test_where_the_seed_comes_from() -> None:
    x = load().logits[3]
    assert sample(x, SamplingParams(seed=4)).seed == 4
    assert sample(x, SamplingParams(seed=4), seed=5).seed == 5
    generators = [np.random.default_rng(1) for _ in range(2)]
    seeds = [[sample(x, seed=generator).seed for _ in range(3)] for generator in generators]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3


def test_global_random_state_is_left_alone() -> None:
    def state() -> Any:
        return repr(np.random.get_state()), random.getstate()  # noqa: NPY002

    before = state()
    sample(load().logits, PARAMS, size=3)
    sample(load().logits, size=3, coupling="gumbel")
    assert state() == before


def test_shapes() -> None:
    x = np.zeros((2, 3, 5), np.float32)
    assert sample(x, seed=1).tokens.shape == (2, 3)
    assert sample(x, seed=1, size=4).tokens.shape == (2, 3, 4)
    assert sample(x, seed=1, size=0).tokens.shape == (2, 3, 0)
    assert sample(x[0, 0], seed=1).tokens.shape == ()
    assert sample(np.empty((0, 5)), seed=1, size=2).tokens.shape == (0, 2)
    assert np.asarray(sample(x, seed=1)).dtype == np.int64


def test_rows_use_different_luck() -> None:
    x = np.zeros((1000, 100))
    assert len(np.unique(sample(x, seed=1).tokens)) > 90


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_greedy_is_the_argmax(dtype: Any) -> None:
    rows = load()
    x = rows.logits.astype(dtype)
    np.testing.assert_array_equal(greedy(x), x.argmax(axis=-1))
    context = Context(prompt=rows.prompt_ids)
    params = SamplingParams(repetition_penalty=2.0, temperature=2.0, top_p=0.3)
    np.testing.assert_array_equal(
        greedy(x, params, context=context),
        sample(x, SamplingParams(repetition_penalty=2.0, temperature=0), context=context).tokens,
    )
    assert greedy([1.0, 2.0, 2.0]) == 1


def test_logprobs_of_the_model_and_of_the_request() -> None:
    x = load().logits
    draws = sample(x, PARAMS, size=4)
    raw = logprobs(x, draws.tokens, PARAMS, top_logprobs=5, mode="raw")
    expected = scipy.special.log_softmax(x.astype(np.float64), axis=-1)
    np.testing.assert_allclose(
        raw.logprobs, np.take_along_axis(expected, draws.tokens, -1), rtol=1e-12
    )
    np.testing.assert_array_equal(raw.top_tokens, np.argsort(-x, axis=-1, kind="stable")[:, :5])
    np.testing.assert_allclose(raw.top_logprobs, -np.sort(-expected)[:, :5], rtol=1e-12)

    chain = engines.openrouter(PARAMS)
    final = scipy.special.log_softmax(chain(x).astype(np.float64), axis=-1)
    processed = logprobs(x, draws.tokens[:, 0], PARAMS, top_logprobs=400, mode="processed")
    assert processed.logprobs.shape == (20,)
    np.testing.assert_allclose(
        processed.logprobs, np.take_along_axis(final, draws.tokens[:, :1], -1)[:, 0], rtol=1e-12
    )
    np.testing.assert_allclose(processed.top_logprobs, -np.sort(-final)[:, :400], rtol=1e-12)
    assert (processed.top_logprobs[:, 300:] == -np.inf).all()


def test_top_logprobs_come_from_the_request() -> None:
    params = SamplingParams(logprobs=True, top_logprobs=3)
    assert logprobs(load().logits, np.zeros(20, int), params).top_tokens.shape == (20, 3)
    assert logprobs(load().logits[0], 0).top_tokens.shape == (0,)


@given(logits(batch=(2,)), st.data())
def test_top_tokens_take_the_lowest_id_on_ties(
    x: np.ndarray[Any, Any], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, x.shape[-1]))
    top = logprobs(x, np.zeros(2, int), top_logprobs=count).top_tokens
    wide = x.astype(np.float64)
    np.testing.assert_array_equal(top, np.argsort(-wide, axis=-1, kind="stable")[:, :count])


def test_a_request_may_be_the_body_of_one() -> None:
    row = np.log([0.4, 0.3, 0.2, 0.1])
    body = {"temperature": 1, "top_k": 2, "seed": 5, "logprobs": True, "top_logprobs": 2}
    params = SamplingParams.from_request(body)
    one, other = sample(row, body, size=20), sample(row, params, size=20)
    assert (one.seed, one.tokens.tolist()) == (5, other.tokens.tolist())
    assert logprobs(row, 0, body, mode="raw").top_tokens.tolist() == [0, 1]
    with pytest.raises(ParameterError, match=r"top_p must be in \[0, 1\], got 1.3"):
        sample(row, {"top_p": 1.3})
