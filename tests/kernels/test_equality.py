"""With kernels and without: the same tokens, survivors and log-probabilities, or the same error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, Context, LogitBias, ParameterError, Temperature, kernels
from logitlab.draw import uniforms

from kernel_cases import KINDS, Array, bound_to, compiled, dense_draws, draw, make
from strategies import CUTS, biases, chains_of_cuts, contexts, cut, kinds_of_a_chain, steps

pytestmark = compiled


@st.composite
def rows(draw: st.DrawFn) -> Array:
    """Logits of any kind, of sizes around those where something begins."""
    kind = draw(st.sampled_from(KINDS))
    some = st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 4096, 9001])
    size = draw(st.one_of(some, st.integers(1, 300)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return make(kind, draw(st.integers(1, 3)), size, rng)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ParameterError as error:
        return str(error)


def agree(x: Array, chain: Chain, context: Context | None = None, seed: int = 5) -> None:
    """Hold what kernels do against numpy, and draws against the plain equation."""

    def draws(coupling: Any, size: int) -> Any:
        return ll.sample(x, chain, context=context, seed=seed, coupling=coupling, size=size).tokens

    def survivors() -> Any:
        left = ll.survivors(x, chain, context=context)
        return [*left.tokens, *left.logprobs]

    calls = [lambda: draws("inverse", 1), lambda: draws("inverse", 5), lambda: draws("gumbel", 2)]
    if not chain.coins:
        calls.append(survivors)
    for call in calls:
        ours = outcome(call)
        with kernels.off():
            theirs = outcome(call)
        assert type(ours) is type(theirs)
        if isinstance(ours, str):
            assert ours == theirs
            return
        assert len(ours) == len(theirs)
        assert all(map(np.array_equal, ours, theirs))
    if not chain.coins:
        batch = np.arange(len(x))[:, None]
        luck = uniforms([seed], np.broadcast_to(batch, (len(x), 5)), np.arange(5)[None])
        final = chain(x.astype(np.promote_types(x.dtype, np.float32)), context)
        assert np.array_equal(draws("inverse", 5), dense_draws(final, luck))
        gaps = final.astype(np.float64) - final.max(axis=-1, keepdims=True)
        tokens, ids = draws("gumbel", 2), np.arange(x.shape[1])
        for i, gap in enumerate(gaps):
            for j in range(2):
                assert tokens[i, j] == np.argmax(gap + ll.gumbel(seed, ids, i, j))
            left = np.flatnonzero(gap > -np.inf)
            told = ll.survivors(x, chain, context=context)
            assert np.array_equal(told.tokens[i], left)
            logprobs = gap[left] - np.log(np.exp(gap[left]).sum())
            np.testing.assert_allclose(told.logprobs[i], logprobs, rtol=1e-12, atol=1e-12)


@given(rows(), st.data())
def test_cuts_in_any_order(x: Array, data: st.DataObject) -> None:
    agree(x, data.draw(chains_of_cuts(x.shape[1], len(x))))


@pytest.mark.parametrize("kind", [Temperature, *CUTS])
@given(rows(), st.data())
def test_each_cut_after_a_temperature_and_before_one(
    kind: Any, x: Array, data: st.DataObject
) -> None:
    size = x.shape[1]
    heat, step = (data.draw(cut(which, size, len(x))) for which in (Temperature, kind))
    agree(x, Chain(heat, step))
    agree(x, Chain(step, heat))


EDITS = [ll.RepetitionPenalty, ll.FrequencyPenalty, ll.PresencePenalty, ll.AdditivePenalty]


@given(rows(), st.data())
def test_penalties_and_a_bias_before_them(x: Array, data: st.DataObject) -> None:
    size = x.shape[1]
    kinds = data.draw(st.lists(st.sampled_from([*EDITS, LogitBias]), min_size=1, max_size=4))
    edits: list[Any] = []
    for kind in kinds:
        edit = data.draw(steps(kind, size))
        if kind is LogitBias and data.draw(st.booleans()):
            amounts = data.draw(biases(size))
            edit = LogitBias(
                {t: np.full(len(x), b) * np.arange(len(x)) for t, b in amounts.items()}
            )
        elif kind is not LogitBias and data.draw(st.booleans()):
            edit = kind(np.linspace(0.5, 2, len(x)))
        edits.append(edit)
    context = data.draw(contexts((len(x),), size))
    agree(x, Chain(*edits, *data.draw(chains_of_cuts(size, len(x)))), context)


@given(rows(), st.data())
def test_chains_of_any_steps(x: Array, data: st.DataObject) -> None:
    x = x[:, :300]
    x[~(x > -np.inf).any(axis=-1), 0] = 0
    context = data.draw(contexts((len(x),), x.shape[1]))
    made = [data.draw(steps(kind, x.shape[1])) for kind in data.draw(kinds_of_a_chain(4))]
    agree(x, Chain(*made, *data.draw(chains_of_cuts(x.shape[1], len(x)))).at(), context)


@given(rows(), st.data())
def test_uniforms_at_their_ends(x: Array, data: st.DataObject) -> None:
    """The lowest and the highest uniforms, and few rows of luck: kernels alone are asked."""
    chain = data.draw(chains_of_cuts(x.shape[1], len(x)))
    luck = np.array([[0.0, 2.0**-53, 0.5, 1 - 2.0**-53]] * len(x))
    x = x.astype(np.promote_types(x.dtype, np.float32))
    if bound_to(x, chain) is None:  # of two temperatures the first is dense
        return
    tokens, done = draw(x, chain, luck)
    assert np.array_equal(tokens[done], dense_draws(chain(x)[done], luck[done]))


EQUAL: list[tuple[str, Array, Chain]] = [
    (
        "after typical_p the most likely token is gone",
        np.array([[3.0, 2.0, 1.9, 1.5, 1.0]], np.float32),
        Chain(ll.TypicalP(0.1), ll.MinP(0.9)),
    ),
    (
        "a quotient that overflows is no removed token",
        np.array([[1.0, 0.5, 0.0, np.finfo(np.float32).min]], np.float32),
        Chain(Temperature(0.5), ll.TopNSigma(1.0)),
    ),
    (
        "where one overflows, others are squeezed",
        np.array([[1.0, -1.5e38, -1.4e38, np.finfo(np.float32).min]], np.float32),
        Chain(Temperature(0.7), ll.TopK(3)),
    ),
    (
        "weights that vanish are no top choices",
        np.array([[720.0, 10.0, 9.0]], np.float32),
        Chain(ll.steps.xtc.ExcludeTopChoices(1e-310)),
    ),
    (
        "numpy minds the lowest float under a temperature no more",
        np.append([3.0, 1.0], np.full(4094, np.finfo(np.float32).min)).astype(np.float32)[None],
        Chain(Temperature(0.8), ll.TypicalP(0.5)),
    ),
    (
        "an estimate of huge logits is off by far more than all of itself",
        np.repeat(1e8 + np.array([104, 96, 88]), [1, 100_000, 10]).astype(np.float32)[None],
        Chain(Temperature(1.01), ll.TopA(30.0)),
    ),
]


@pytest.mark.parametrize(("why", "x", "chain"), EQUAL, ids=[why for why, *_ in EQUAL])
def test_rows_that_were_wrong(why: str, x: Array, chain: Chain) -> None:
    agree(x, chain)


def test_a_peak_just_below_the_edge_of_a_head_is_counted_once() -> None:
    """Quotients by 1.5 of neighbouring floats are equal: such a peak is in the head, and was in
    the least that the others hold, too."""
    rng = np.random.default_rng(1)
    x = np.full((1, 64 * 64), -np.inf, np.float32)
    x[0, ::64] = np.float32(1.0) + rng.permutation(64) * np.spacing(np.float32(1))
    for p in np.linspace(0.4, 0.6, 41):
        agree(x, Chain(Temperature(1.5), ll.TopP(float(p))))


def test_float64_tokens_that_a_temperature_makes_equal_stay_together() -> None:
    """Such pairs lie on either side of a float32, where a wide nucleus has its fence."""
    rng = np.random.default_rng(2)
    middle = np.float32(1 + np.arange(9000) * 2.0**-14).astype(np.float64) + 2.0**-24
    x = rng.permutation(np.concatenate([middle, np.nextafter(middle, 0)]))[None]
    for p in (0.3, 0.5, 0.9):
        for ties in ("lowest", "all"):
            agree(x, Chain(Temperature(1.9), ll.TopP(p, ties)))


@pytest.mark.parametrize("shape", ["bell", "valley"])
def test_rows_that_rise_and_fall_take_no_longer(shape: str) -> None:
    """The first, the middle and the last of such a row were the worst of pivots: ten seconds."""
    place = np.linspace(-1, 1, 100_000, dtype=np.float32)
    x = (-8 * place**2 if shape == "bell" else 10 * np.abs(place))[None]
    luck = np.full((1, 1), 0.5)
    for chain in (
        Chain(ll.TopP(0.9)),
        Chain(Temperature(5.0), ll.TopP(0.9)),
        Chain(ll.TypicalP(0.9)),
    ):
        start = time.thread_time()
        tokens, done = draw(x, chain, luck)
        assert time.thread_time() - start < 1
        assert np.array_equal(tokens[done], dense_draws(chain(x), luck)[done])
