from __future__ import annotations

import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from logitlab import Chain, Context, MinP, Step, Temperature, TopA, TopK, TopP
from logitlab.datasets import load
from logitlab.numerics import cast_finite

from strategies import (
    RANDOM,
    STATEFUL,
    STEPS,
    TRUNCATIONS,
    contexts,
    kinds_of_a_chain,
    logits,
    steps,
)

FULL = Chain(
    ll.LogitBias({5: 2.0, 7: -100.0}),
    ll.RepetitionPenalty(1.2),
    ll.FrequencyPenalty(0.3),
    ll.PresencePenalty(0.2),
    Temperature(0.9),
    TopK(50),
    TopP(0.95),
    MinP(0.02),
    TopA(0.1),
)


@st.composite
def chains(draw: st.DrawFn, size: int) -> Chain:
    kinds = draw(kinds_of_a_chain(4))
    return Chain(*(draw(steps(kind, size)) for kind in kinds))


@given(st.data())
def test_a_chain_prints_as_the_program_it_is(data: st.DataObject) -> None:
    chain = data.draw(chains(9))
    again = eval(repr(chain), vars(ll) | {kind.__name__: kind for kind in STEPS})
    assert again == chain
    assert hash(again) == hash(chain)
    assert pickle.loads(pickle.dumps(chain)) == chain


@given(st.data())
def test_a_chain_is_its_steps_one_after_another(data: st.DataObject) -> None:
    x = data.draw(logits())
    context = data.draw(contexts(x.shape[:-1], x.shape[-1]))
    chain = data.draw(chains(x.shape[-1])).at()
    assume(not chain.coins)  # a mixture of chains
    # In between, a chain holds float16 as float32.
    stages: list[Any] = [x.astype(np.promote_types(x.dtype, np.float32))]
    for step in chain:
        stages.append(step(stages[-1], context))
    result = chain(x, context)
    assert result.dtype == np.promote_types(x.dtype, np.float32)
    np.testing.assert_array_equal(result, cast_finite(stages[-1], result.dtype))
    assert not np.shares_memory(result, x)
    trace = chain.trace(x, context)
    assert trace.logits.tobytes() == np.stack(stages).tobytes()
    assert trace.names == ("logits", *map(repr, chain))


@given(st.data())
def test_nesting_changes_nothing(data: st.DataObject) -> None:
    chain = data.draw(chains(9))
    cut = data.draw(st.integers(0, len(chain)))
    nested = Chain(Chain(*chain.steps[:cut]), Chain(Chain(*chain.steps[cut:])))
    assert nested == chain
    assert len(nested) == len(chain)


def test_every_stage_of_a_trace() -> None:
    rows = load()
    context = Context(prompt=rows.prompt_ids)
    trace = FULL.trace(rows.logits, context)
    assert trace.logits.shape == (10, 20, 49152)
    assert trace.kept.shape == trace.entropy.shape == trace.mass_removed.shape == (10, 20)
    np.testing.assert_array_equal(trace.logits[-1], FULL(rows.logits, context))
    for i in range(10):
        np.testing.assert_array_equal(trace.kept[i], np.isfinite(trace.logits[i]).sum(axis=-1))
        np.testing.assert_array_equal(trace.entropy[i], ll.entropy(trace.logits[i]))
    np.testing.assert_array_equal(trace.mass_removed[0], 0)
    p = ll.softmax(trace.logits[5])
    gone = (p * ~np.isfinite(trace.logits[6])).sum(axis=-1)
    np.testing.assert_allclose(trace.mass_removed[6], gone, rtol=1e-12)
    assert repr(trace) == f"<Trace of {FULL!r}, logits (10, 20, 49152) float32>"


def test_a_trace_of_one_row_has_one_number_a_stage() -> None:
    trace = Chain(TopK(2)).trace([1.0, 2.0, 3.0])
    assert trace.kept.tolist() == [3, 2]
    assert Chain().trace([1.0, 2.0]).kept.tolist() == [2]


def test_steps_with_arrays_are_values_too() -> None:
    step = TopP(np.array([0.5, 0.9]))
    assert step == TopP([0.5, 0.9])
    assert step != TopP([0.5, 0.8])
    assert step != TopP(0.5)
    assert hash(step) == hash(TopP([0.5, 0.9]))
    assert repr(step) == "TopP([0.5, 0.9])"
    assert repr(TopP(np.full(100, 0.5))) == "TopP(<array of shape (100,)>)"
    with pytest.raises(ValueError, match="read-only"):
        step.value[0] = 1


def test_options_print_only_where_they_differ() -> None:
    assert repr(TopK(2, ties="all")) == "TopK(2, ties='all')"
    assert repr(ll.PresencePenalty(0.5, last_n=64)) == "PresencePenalty(0.5, last_n=64)"
    assert TopK(2) != TopK(2, ties="all")
    assert TopP(0.5) != MinP(0.5)


def test_later_changes_of_an_array_do_not_reach_the_step() -> None:
    values = np.array([0.5, 0.9])
    step = TopP(values)
    values[0] = 0.1
    assert step == TopP([0.5, 0.9])


def test_without_neutral() -> None:
    chain = Chain(Temperature(1), TopK(0), TopP([1.0, 1.0]), MinP([0.0, 0.1]))
    assert chain.without_neutral() == Chain(MinP([0.0, 0.1]))


def test_a_step_of_the_users_own() -> None:
    class Shift(ll.Transform):
        def __call__(self, logits: Any, context: Context | None = None) -> Any:
            return np.asarray(logits) + 1

    class Broken(ll.Transform):
        def __call__(self, logits: Any, context: Context | None = None) -> Any:
            return np.zeros(3)

    np.testing.assert_array_equal(Chain(Shift(), TopK(1))([1.0, 2.0]), [-np.inf, 3.0])
    with pytest.raises(ll.ParameterError, match="keeps shape"):
        Chain(Broken())([1.0, 2.0])


def test_errors_name_the_step() -> None:
    chain = Chain(Temperature(0.5), TopP([0.5, 0.9, 0.5]))
    with pytest.raises(ll.ParameterError) as caught:
        chain(np.zeros((2, 4)))
    assert str(caught.value) == (
        "top_p must be a scalar or an array that broadcasts to the batch shape (2,), "
        "got shape (3,). (In step 2, TopP([0.5, 0.9, 0.5]).)"
    )


def test_temperature_zero_wins_over_all_truncations() -> None:
    chain = Chain(Temperature(0), TopK(5), TopP(0.9), MinP(0.5), TopA(0.5))
    np.testing.assert_array_equal(chain([1.0, 2.0, 2.0]), [-np.inf, 2.0, -np.inf])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_parameters_at_their_edges_at_once(dtype: Any) -> None:
    rows = load()
    context = Context(prompt=rows.prompt_ids[::5])
    x = rows.logits[::5].astype(dtype)
    for t in (0.0, 1e-30, 1.0, 2.0):
        for r in (0.0, 2.0):
            for alpha in (-2.0, 2.0):
                for strict in (0.0, 1.0):
                    params = ll.SamplingParams(
                        temperature=t, repetition_penalty=r, frequency_penalty=alpha,
                        presence_penalty=alpha, top_k=49153, top_p=1 - strict, min_p=strict,
                        top_a=strict, logit_bias={3: 100, 4: -100},
                    )  # fmt: skip
                    p = ll.softmax(ll.engines.openrouter(params)(x, context))
                    assert np.isfinite(p).all()
                    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-9)


def test_context_pads_nested_lists() -> None:
    context = Context(prompt=[[[1], [2, 3]], [[], [4]]], output=np.array([5]))
    np.testing.assert_array_equal(context.prompt, [[[1, -1], [2, 3]], [[-1, -1], [4, -1]]])
    assert repr(Context()) == "Context(prompt=[], output=[])"
    assert repr(Context(prompt=range(3))) == "Context(prompt=[0, 1, 2], output=[])"


@given(st.data())
def test_counts_equal_a_plain_count(data: st.DataObject) -> None:
    context = data.draw(contexts((2,), 5))
    seen = context.counts((2,), 5)
    dense = np.zeros((2, 5), int)
    dense[seen.row, seen.token] = seen.count
    for row in range(2):
        tokens = [*context.prompt[row], *context.output[row]]
        assert dense[row].tolist() == [tokens.count(i) for i in range(5)]


def test_steps_are_transforms() -> None:
    assert all(issubclass(kind, Step) and issubclass(kind, ll.Transform) for kind in STEPS)


class Custom(ll.Transform):
    """A transform of the user's own."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, logits: Any, context: Context | None = None) -> Any:
        return self.function(logits)

    def __repr__(self) -> str:
        return "Custom()"


def test_a_chain_takes_transforms_of_the_users_own() -> None:
    chain = Chain(Custom(lambda x: x * 2), TopK(1))
    np.testing.assert_array_equal(chain(np.array([1.0, 2.0])), [-np.inf, 4.0])
    assert int(ll.sample(np.array([1.0, 2.0]), Custom(lambda x: -1e9 * x), seed=1).tokens) == 0


def bump(x: Any) -> Any:
    x += 1
    return x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.full_like(x, np.nan), "its result must be free of NaN, got NaN."),
        (lambda x: np.full_like(x, np.inf), "its result must be free of +inf, got +inf."),
        (lambda x: np.full_like(x, -np.inf), "its result must be finite for at least one token"),
        (lambda x: x[:1], "a transform that keeps shape (2,)"),
        (lambda x: x.astype(np.float32), "a transform that keeps shape (2,)"),
        (lambda x: [0, 1], "its result must be float16, bfloat16, float32 or float64, got int64."),
        (lambda x: None, "its result must be an array of shape (..., V), got None."),
    ],
)
def test_what_a_transform_returns_is_checked(function: Any, message: str) -> None:
    for call in (Chain(Custom(function)), Chain(Custom(function)).trace):
        with pytest.raises(ll.ParameterError) as caught:
            call(np.zeros(2))
        assert message in str(caught.value)
        assert "Custom()" in str(caught.value)


def test_a_transform_cannot_change_what_it_is_given() -> None:
    x = np.zeros(2)
    with pytest.raises(ValueError, match="read-only"):
        Chain(Custom(bump))(x)
    assert (x == 0).all()


def test_float16_is_held_as_float32_between_steps() -> None:
    rows = load()
    half = rows.logits.astype(np.float16)
    context = Context(prompt=rows.prompt_ids)
    wide = FULL(half.astype(np.float32), context)
    np.testing.assert_array_equal(FULL(half, context), wide)
    assert FULL(half, context).dtype == np.float32
    assert FULL.trace(half, context).logits.dtype == np.float32
    params = ll.SamplingParams(temperature=0.05, top_p=0.9, seed=3)
    for coupling in ("inverse", "gumbel"):
        one = ll.sample(half, params, size=20, coupling=coupling)
        two = ll.sample(half.astype(np.float32), params, size=20, coupling=coupling)
        np.testing.assert_array_equal(one.tokens, two.tokens)


def test_contexts_compare_by_what_they_hold() -> None:
    assert Context(prompt=[1, 2]) == Context(prompt=np.array([1, 2]))
    assert Context(prompt=[1, 2]) != Context(output=[1, 2])
    assert len({Context([1]), Context([1]), Context([2])}) == 2


def test_a_chain_gives_its_parts() -> None:
    assert FULL[5] == TopK(50)
    assert FULL[4:6] == Chain(Temperature(0.9), TopK(50))


def float32(value: float) -> np.float32:
    return np.float32(value)


def test_single_precision_rounds_every_operation() -> None:
    """Against numpy's own float32 arithmetic, operation by operation."""
    x = load().logits[3, :2000]
    context = Context(prompt=[1, 2, 2, 5], output=[7, 7, 7])
    chain = Chain(
        ll.LogitBias({5: 0.7}),
        ll.RepetitionPenalty(1.3, reciprocal=True),
        ll.FrequencyPenalty(0.1, scope="output"),
        ll.PresencePenalty(0.3),
        Temperature(0.7),
        precision="single",
    )
    expected = x.copy()
    expected[5] += float32(0.7)
    for token in (1, 2, 5, 7):
        positive = expected[token] > 0
        factor = float32(1) / float32(1.3) if positive else float32(1.3)
        expected[token] *= factor
    expected[7] -= float32(0.1) * float32(3)
    for token in (1, 2, 5, 7):
        expected[token] -= float32(0.3)
    expected = expected / float32(0.7)
    assert chain(x, context).tobytes() == expected.tobytes()


def test_mixed_precision_keeps_values_until_they_meet_a_logit() -> None:
    x = np.array([0.3, -1.7, 8.1], np.float32)
    single = Chain(Temperature(0.7, reciprocal=True), precision="single")(x)
    mixed = Chain(Temperature(0.7, reciprocal=True), precision="mixed")(x)
    np.testing.assert_array_equal(single, x * (float32(1) / float32(0.7)))
    np.testing.assert_array_equal(mixed, x * float32(1 / 0.7))


def test_by_ones_rounds_at_every_occurrence() -> None:
    x = np.array([20.3, 1.0], np.float32)
    context = Context(output=[0] * 7)
    one_by_one = x[0]
    total = float32(0)
    for _ in range(7):
        one_by_one = one_by_one - float32(0.1)
        total = total + float32(0.1)
    step = ll.FrequencyPenalty(0.1, by_ones=True)
    assert Chain(step, precision="single")(x, context)[0] == one_by_one
    added = ll.AdditivePenalty(0.1, 0.3, by_ones=True)
    assert Chain(added, precision="single")(x, context)[0] == x[0] - (total + float32(0.3))


@given(st.data())
def test_precisions_agree_up_to_rounding(data: st.DataObject) -> None:
    x = data.draw(logits(dtype=np.float32))
    context = data.draw(contexts(x.shape[:-1], x.shape[-1]))
    x[x == -np.inf] = -1  # or a step that bans might leave no token
    kinds = [kind for kind in STEPS if kind not in (*TRUNCATIONS, *RANDOM, *STATEFUL)]
    kind = data.draw(st.sampled_from(kinds))
    step = data.draw(steps(kind, x.shape[-1]))
    if kind is not ll.LogitBias:  # in float32 a smaller value is 0, and temperature 0 is greedy
        assume(not isinstance(step.value, float) or step.value == 0 or abs(step.value) > 1e-30)
    wide = step(x, context)
    for precision in ("single", "mixed"):
        result = Chain(step, precision=precision)(x, context)
        assert result.dtype == np.float32
        if np.abs(wide[np.isfinite(wide)]).max() < 1e30:
            np.testing.assert_allclose(result, wide, rtol=1e-5, atol=1e-5)


def test_a_chain_of_single_precision_gives_the_dtype_it_got_or_float32() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array([3.0, 2.0, 1.0], dtype)
        chain = Chain(Temperature(0.3), TopP(0.9), precision="single")
        assert chain(x).dtype == np.promote_types(dtype, np.float32)
        assert chain.trace(x).logits.dtype == np.float32
        assert not np.shares_memory(Chain(precision="single")(x), x)


def test_a_precision_is_part_of_the_value() -> None:
    chain = Chain(TopK(5), precision="single")
    assert repr(chain) == "Chain(TopK(5), precision='single')"
    assert eval(repr(chain), vars(ll)) == chain
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert chain != Chain(TopK(5))
    assert chain[:1] == chain
    assert Chain(chain, precision="single") == chain
    with pytest.raises(ll.ParameterError, match="precision must be one of 'double', 'single'"):
        Chain(precision="half")
    with pytest.raises(ll.ParameterError, match="no chain of another kind than Chain of double"):
        Chain(chain)


def test_a_chain_of_single_precision_is_sampled_from() -> None:
    x = load().logits[:4]
    chain = Chain(Temperature(0.8), TopP(0.9, ties="all"), precision="single")
    left = ll.survivors(x, chain)
    for row, tokens in zip(chain(x), left.tokens, strict=True):
        np.testing.assert_array_equal(tokens, np.flatnonzero(row > -np.inf))
    draws = ll.sample(x, chain, size=20, seed=1)
    for tokens, kept in zip(draws.tokens, left.tokens, strict=True):
        assert set(tokens.tolist()) <= set(kept.tolist())


def test_normalised_logits_have_the_same_distribution() -> None:
    x = load().logits[:3]
    result = ll.LogSoftmax()(x)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, ll.log_softmax(x), atol=4e-6)
    assert repr(Chain(ll.LogSoftmax(), TopK(3))) == "Chain(LogSoftmax(), TopK(3))"
