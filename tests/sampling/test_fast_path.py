"""The fast path gives what the dense steps give: the same survivors, the same tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any

import logitlab as ll
import numpy as np
import pytest
import scipy.special
from hypothesis import given, strategies as st
from logitlab import (
    Chain,
    Context,
    MinP,
    SamplingParams,
    Temperature,
    TopA,
    TopK,
    TopP,
    kernels,
)
from logitlab.datasets import load
from logitlab.draw import gumbel, uniform
from logitlab.steps import tail_free, top_h, typical

from strategies import TRUNCATIONS, contexts, kinds_of_a_chain, logits, steps

Array = np.ndarray[Any, Any]

needs_kernels = pytest.mark.skipif(kernels.rows is None, reason="there are no kernels")


@pytest.fixture(autouse=True)
def scan_small_rows() -> Iterator[None]:
    """Small rows are scanned too, which are dense elsewhere because that is faster."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in TRUNCATIONS:
            if kind.scanned_from:
                patch.setattr(kind, "scanned_from", 1)
        for module in tail_free, top_h, typical:
            patch.setattr(module, "LOOKS", (8, 40))
        yield


def wide(x: Array) -> Array:
    return x.astype(np.promote_types(x.dtype, np.float32))


def dense_draws(final: Array, seed: int, coupling: str) -> Array:
    """Tokens by plain running sums, or plain maxima, over the dense result."""
    rows = final.reshape(-1, final.shape[-1]).astype(np.float64)
    gap = rows - rows.max(axis=-1, keepdims=True)
    tokens = []
    for i, row in enumerate(gap):
        if coupling == "inverse":
            mass = np.cumsum(np.exp(row))
            tokens.append(int(np.argmax(mass > float(uniform(seed, i)) * mass[-1])))
        else:
            tokens.append(int(np.argmax(row + gumbel(seed, np.arange(row.size), i))))
    return np.array(tokens).reshape(final.shape[:-1])


def agree(x: Array, chain: Chain, context: Context | None = None, **options: Any) -> None:
    """Hold the fast path against the dense chain, in numpy and with what kernels there are."""
    with kernels.off():
        agree_here(x, chain, context, **options)
    if kernels.rows:
        agree_here(x, chain, context, **options)


def agree_here(x: Array, chain: Chain, context: Context | None, **options: Any) -> None:
    final = chain(wide(x), context)
    left = ll.survivors(x, chain, context=context, **options)
    rows = final.reshape(-1, x.shape[-1])
    for tokens, logprobs, row in zip(left.tokens, left.logprobs, rows, strict=True):
        np.testing.assert_array_equal(tokens, np.flatnonzero(row > -np.inf))
        expected = scipy.special.log_softmax(row[tokens].astype(np.float64))
        np.testing.assert_allclose(logprobs, expected, rtol=1e-9, atol=1e-9)
    for coupling in ("inverse", "gumbel"):
        drawn = ll.sample(x, chain, context=context, seed=9, coupling=coupling, **options)
        np.testing.assert_array_equal(drawn.tokens, dense_draws(final, 9, coupling))


SCANNED = [kind for kind in TRUNCATIONS if kind.scanned_from]


@cache
@st.composite
def local_chains(draw: st.DrawFn, size: int) -> Chain:
    """Chains that end as chains do: perhaps a temperature, then truncations."""
    kinds = draw(st.lists(st.sampled_from(SCANNED), min_size=1, max_size=3))
    heat = [draw(steps(Temperature, size))] if draw(st.booleans()) else []
    return Chain(*heat, *(draw(steps(kind, size)) for kind in kinds))


@given(st.data())
def test_truncations_of_every_kind_of_row(data: st.DataObject) -> None:
    x = data.draw(logits())
    agree(x, data.draw(local_chains(x.shape[-1])))


@given(st.data())
def test_chains_of_any_steps(data: st.DataObject) -> None:
    x = data.draw(logits())
    context = data.draw(contexts(x.shape[:-1], x.shape[-1]))
    kinds = data.draw(kinds_of_a_chain(5))
    chain = Chain(*(data.draw(steps(kind, x.shape[-1])) for kind in kinds)).at()
    for _, _, branch in chain.branches():
        agree(x, branch, context)


@given(st.data())
def test_larger_rows_with_ties(data: st.DataObject) -> None:
    """Rows of some hundred tokens from few levels: every cut falls among ties."""
    size = data.draw(st.integers(60, 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    levels = data.draw(st.integers(1, 60))
    scale = data.draw(st.sampled_from([1e-6, 0.1, 1.0, 5.0, 300.0]))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    x = (rng.integers(levels, size=(2, size)) / levels * scale).astype(dtype)
    x[rng.random(x.shape) < data.draw(st.sampled_from([0.0, 0.3]))] = -np.inf
    x[:, 0] = 0
    agree(x, data.draw(local_chains(size)))


REQUESTS = [
    SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05),
    SamplingParams(temperature=0.8, top_p=0.9),
    SamplingParams(top_p=0.999),
    SamplingParams(temperature=1.5, top_p=0.9),
    SamplingParams(temperature=0.8, min_p=0.05),
    SamplingParams(temperature=0.8, top_a=0.2),
    SamplingParams(temperature=0.7),
    SamplingParams(temperature=0),
    SamplingParams(temperature=0, top_p=0.5),
    SamplingParams(temperature=1e-30, top_k=3),
    SamplingParams(top_k=40_000),
    SamplingParams(top_k=1, top_a=1),
    SamplingParams(temperature=2, top_p=0.5, top_a=0.9),
    SamplingParams(
        repetition_penalty=1.3, frequency_penalty=0.2, presence_penalty=-0.1, temperature=0.9,
        top_k=100, top_p=0.95, min_p=0.01, top_a=0.01, logit_bias={5: 3.0, 9: -100.0},
    ),
    SamplingParams(),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("params", REQUESTS, ids=repr)
def test_real_rows(params: SamplingParams, dtype: type) -> None:
    rows = load()
    context = Context(prompt=rows.prompt_ids)
    agree(rows.logits.astype(dtype), ll.engines.openrouter(params), context)


def test_flat_one_hot_masked_and_wide_rows() -> None:
    rng = np.random.default_rng(5)
    size = 70_001
    rows = [
        rng.normal(0, 1, size),
        np.zeros(size),
        np.where(np.arange(size) == 777, 50.0, 0.0),
        np.where(np.arange(size) < 20, rng.normal(0, 3, size), np.finfo(np.float32).min),
        np.where(np.arange(size) % 3 == 0, rng.normal(0, 3, size), -np.inf),
        np.repeat(rng.normal(0, 2, size // 7 + 1), 7)[:size],
        -(rng.exponential(1, size) ** 3),
    ]
    x = np.array(rows, np.float32)
    for chain in (
        Chain(Temperature(0.8), TopP(0.9)),
        Chain(Temperature(1.5), TopP(0.9)),
        Chain(TopP(0.5, ties="highest"), TopK(30_000, ties="all")),
        Chain(Temperature(0.5), TopA(0.3), TopP(0.7, ties="all")),
        Chain(Temperature(1.3), MinP(0.01)),
        Chain(Temperature(0.8), TopK(50, ties="highest")),
        Chain(
            TopK(90), TopP(0.9, ties="introsort"), MinP(0.1), TopK(7, ties="introsort"), TopP(0.7)
        ),
        Chain(Temperature(0.8)),
        Chain(),
    ):
        agree(x, chain)


def test_cuts_at_the_very_edge() -> None:
    """Masses that reach p to the last bit, one way and the other."""
    for n in (10, 100, 1000, 20_000):
        x = np.zeros((3, 30_000), np.float32)
        x[:, n:] = -np.inf
        for p in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, np.nextafter(0.3, 1), np.nextafter(0.3, 0)):
            agree(x, Chain(TopP(p)))
    halves = np.log(np.append(0.5 ** np.arange(1, 41), 0.5**40))[None].repeat(2, 0)
    for exponent in range(1, 30):
        for p in (1 - 0.5**exponent, np.nextafter(1 - 0.5**exponent, 1)):
            agree(halves, Chain(TopP(p)))
            agree(halves.astype(np.float32), Chain(TopP(p)))
        agree(halves, Chain(MinP(0.5**exponent)))
        agree(halves, Chain(TopA(0.5**exponent)))


def test_parameters_of_each_row() -> None:
    x = load().logits[:6].reshape(2, 3, -1)
    chain = Chain(
        ll.LogitBias({7: np.array([1.0, 2.0, 3.0])}),
        ll.PresencePenalty(np.array([[0.5], [0.0]])),
        Temperature(np.array([[0.0, 0.5, 1.0], [1e-30, 1.5, 2.0]])),
        TopK(np.array([0, 50, 1000])),
        TopP(np.array([[0.9], [1.0]])),
        MinP(np.array([0.0, 0.05, 0.3])),
    )
    context = Context(prompt=[[[1, 2]], [[3, 7]]], output=[7, 7, 9])
    agree(x, chain, context)
    agree(x, chain, context, threads=3)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_and_batches_change_no_bit(threads: int) -> None:
    rows = load()
    chain = ll.engines.openrouter(REQUESTS[0])
    context = Context(prompt=rows.prompt_ids)
    alone = [ll.survivors(row, chain) for row in rows.logits]
    left = ll.survivors(rows.logits, chain, context=context, threads=threads)
    for i, one in enumerate(alone):
        assert left.tokens[i].tobytes() == one.tokens[0].tobytes()
        assert left.logprobs[i].tobytes() == one.logprobs[0].tobytes()


def test_the_plan_tells_which_steps_act_on_what() -> None:
    with kernels.off():
        assert str(ll.plan(REQUESTS[0])) == (
            "scan of the vocabulary: Temperature(0.8), TopK(50)\n"
            "dense, on the candidates: TopP(0.9), MinP(0.05)"
        )
        assert str(
            ll.plan(Chain(TopK(9), ll.LogitBias({1: 2.0}), Temperature(2.0), MinP(0.1)))
        ) == (
            "dense, on the whole vocabulary: TopK(9), LogitBias({1: 2.0})\n"
            "scan of the vocabulary: Temperature(2.0), MinP(0.1)"
        )
        assert str(
            ll.plan(Chain(Temperature(2.0), Temperature(3.0), TopK(2), Temperature(4.0)))
        ) == (
            "dense, on the whole vocabulary: Temperature(2.0)\n"
            "scan of the vocabulary: Temperature(3.0), TopK(2)\n"
            "dense, on the candidates: Temperature(4.0)"
        )
        assert str(ll.plan(Chain(TopK(9), TopP(0.5, ties="introsort"), TopK(3), MinP(0.1)))) == (
            "dense, on the whole vocabulary: TopK(9), TopP(0.5, ties='introsort')\n"
            "scan of the vocabulary: TopK(3)\n"
            "dense, on the candidates: MinP(0.1)"
        )
        assert str(ll.plan(Chain(Temperature(1.0), TopP(1.0)))) == "nothing to do"


@needs_kernels
def test_the_plan_tells_what_kernels_do() -> None:
    request = SamplingParams(frequency_penalty=0.5, temperature=0.8, top_k=50, typical_p=0.9)
    assert str(ll.plan(request)) == (
        "compiled kernels: FrequencyPenalty(0.5), Temperature(0.8), TopK(50), TypicalP(0.9)"
    )
    odd = Chain(ll.Temperature(0.7), ll.NoRepeatNgram(3), ll.LogitBias({1: 2.0}), TopK(9))
    assert str(ll.plan(odd)) == (
        "dense, on the whole vocabulary: Temperature(0.7), NoRepeatNgram(3)\n"
        "compiled kernels: LogitBias({1: 2.0}), TopK(9)"
    )
    assert str(ll.plan(Chain(Temperature(1.0), TopP(1.0)))) == "nothing to do"
    assert str(ll.plan(Chain(ll.Tfs(0.9)))) == "scan of the vocabulary: Tfs(0.9)"


def test_a_transform_of_the_users_own_sees_the_whole_batch() -> None:
    class Centred(ll.Transform):
        def __call__(self, logits: Any, context: Context | None = None) -> Any:
            return logits - logits.mean(axis=0)

    x = load().logits[:4]
    agree(x, Chain(TopK(40_000), Chain(Centred()) if False else Temperature(1.0)))
    chain = Chain(Centred(), Temperature(0.5), TopK(20))
    left = ll.survivors(x, chain)
    final = chain(x)
    for i in range(4):
        np.testing.assert_array_equal(left.tokens[i], np.flatnonzero(final[i] > -np.inf))


def test_errors_name_the_step() -> None:
    x = load().logits[:2]
    with pytest.raises(ll.ParameterError, match=r"In step 2, TopP"):
        ll.sample(x, Chain(Temperature(0.5), TopP([0.1, 0.2, 0.3])))
    with pytest.raises(ll.ParameterError, match=r"In step 1, FrequencyPenalty"):
        ll.sample(x, Chain(ll.FrequencyPenalty(1.0), TopP(0.3)))


def test_processed_logprobs_of_candidates() -> None:
    rows = load()
    chain = ll.engines.openrouter(REQUESTS[0])
    final = scipy.special.log_softmax(chain(rows.logits).astype(np.float64), axis=-1)
    ids = np.random.default_rng(1).integers(49152, size=(20, 5))
    ids[:, 0] = final.argmax(axis=-1)
    report = ll.logprobs(rows.logits, ids, chain, top_logprobs=60, mode="processed")
    np.testing.assert_allclose(report.logprobs, np.take_along_axis(final, ids, -1), rtol=1e-9)
    order = np.argsort(-final, axis=-1, kind="stable")[:, :60]
    np.testing.assert_array_equal(report.top_tokens, order)
    np.testing.assert_allclose(report.top_logprobs, np.take_along_axis(final, order, -1), rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_removed_and_neighbouring_rows_move_no_cut(dtype: Any) -> None:
    """Cuts of top-a and top-p to the last bit, after a truncation, alone and in a batch."""
    rng = np.random.default_rng(6)
    for k in (9, 40, 300):
        x = rng.normal(size=(3, 3000)).astype(dtype)
        row = np.sort(x[0])[::-1][:k].astype(np.float64)
        weight = np.exp(row - row[0])
        for j in (3, k // 2, k - 1):
            edge = weight[j] * weight.sum()
            for a in (np.nextafter(edge, 0), edge, np.nextafter(edge, 9)):
                agree(x, Chain(TopK(k), TopA(a)))
                agree(x[:1], Chain(TopK(k), TopA(a)))
            for p in (weight[:j].sum() / weight.sum(),):
                agree(x, Chain(TopK(k), TopP(p)))
                agree(x, Chain(TopK(np.array([k, k + 70, k])), TopP(p), TopA(0.9)))


def test_huge_offsets_whose_rounding_changes_the_distribution() -> None:
    for low, high, t in ((8.413994e6, 8.414e6, 1.003), (1.4365586e6, 1.4365665e6, 1.37)):
        x: Array = np.full((2, 8192), low, np.float32)
        x[:, 4000] = high
        for step in (TopP(0.02), TopP(0.0327605), TopA(0.3353251889), TopA(0.1100881)):
            agree(x, Chain(Temperature(t), step))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_of_every_kind(dtype: Any) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(4, 16_384)).astype(dtype)
    x[0, ::64] = -np.inf
    x[1, np.arange(16_384) % 64 != 1] = -np.inf
    x[2, 50:] = np.finfo(dtype).min
    x[3, ::2] = np.finfo(dtype).min
    for t in (0.001, 0.5, 1.0, 1.7):
        for step in (TopP(0.9), TopP(0.3), TopA(0.2), TopK(60), MinP(0.1)):
            agree(x, Chain(Temperature(t), step))


def test_next_to_nothing_removes_nothing() -> None:
    x = load().logits[:2]
    for step in (TopA(5e-324), MinP(5e-324), TopA(1e-300)):
        agree(x, Chain(step))


def test_no_floating_point_error_escapes() -> None:
    x = np.random.default_rng(1).normal(scale=30, size=(2, 10_000)).astype(np.float32)
    with np.errstate(all="raise"):
        for step in (TopA(0.1), TopP(0.9), MinP(0.1), TopK(7)):
            ll.survivors(x, Chain(Temperature(0.7), step))


@pytest.mark.parametrize("size", [100, 16_384])
def test_a_neutral_parameter_has_to_fit_too(size: int) -> None:
    x = np.zeros((3, size), np.float32)
    with pytest.raises(ll.ParameterError, match=r"temperature .*In step 1"):
        ll.sample(x, Chain(Temperature([1.0, 1.0]), TopK(3)))


def test_an_empty_batch() -> None:
    x = np.empty((0, 16_384), np.float32)
    draws = ll.sample(x, Chain(TopK(5)), seed=1)
    assert draws.tokens.shape == (0,)
    assert ll.logprobs(x, draws.tokens, top_logprobs=3).top_tokens.shape == (0, 3)
    assert ll.survivors(x, Chain(TopK(5)), threads=3).tokens == ()
    with pytest.raises(ll.ParameterError, match="context must be a Context"):
        ll.sample(x, Chain(ll.RepetitionPenalty(1.1), TopK(5)))


def test_more_threads_than_rows() -> None:
    x = load().logits[:2]
    many = ll.sample(x, Chain(TopK(5)), seed=1, threads=10**9)
    np.testing.assert_array_equal(many.tokens, ll.sample(x, Chain(TopK(5)), seed=1).tokens)


def test_top_logprobs_rank_logits_whose_gaps_are_equal() -> None:
    x = np.array([1e300, 1.0, 3.0, 2.0])
    assert ll.logprobs(x, 0, top_logprobs=4).top_tokens.tolist() == [0, 2, 3, 1]


def test_a_step_of_the_users_own_is_run_as_it_is() -> None:
    class Second(TopK):
        """It keeps the second best, whatever its k."""

        def keep(
            self, rows: Any, value: Any, dtype: Any = np.float64, sorted_as: Any = None
        ) -> Any:
            return rows == np.sort(rows, axis=-1)[:, -2:-1]

        can_scan = False

    row = np.arange(5000, dtype=np.float32)
    assert ll.sample(row, Chain(Second(3)), seed=1).tokens == 4998
    assert ll.survivors(row, Chain(Temperature(0.5), Second(3), TopP(0.9))).tokens[0] == [4998]


def test_the_plan_of_coins_is_that_of_what_they_do() -> None:
    with kernels.off():
        shown = str(ll.plan({"xtc_probability": 0.5, "temperature": 0.8, "top_k": 9}))
    assert shown.splitlines()[0] == "scan of the vocabulary: Temperature(0.8), TopK(9)"


def test_a_bad_row_behind_a_dense_step_is_told_without_a_warning() -> None:
    rows = np.zeros((2, 9000), np.float32)
    rows[1] = -np.inf
    for chosen in (nullcontext, kernels.off):
        with chosen(), pytest.raises(ll.ParameterError, match=r"only -inf in row \(1,\)"):
            ll.sample(rows, {"top_k": 2, "dynatemp_range": 0.5}, seed=1)
