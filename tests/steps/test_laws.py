"""Every step keeps every law, on every kind of logits."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from logitlab import (
    AdaptiveP,
    AveragedXtc,
    Context,
    DynamicTemperature,
    FrequencyPenalty,
    Guidance,
    LogitBias,
    MinP,
    NearProbability,
    PresencePenalty,
    SequenceBias,
    Skew,
    Step,
    ThinkingBudget,
    TopK,
    Watermark,
)
from logitlab.steps.step import SparseStep

from strategies import (
    NAMING,
    OF_IDS,
    PENALTIES,
    PREFIX_CUTS,
    RANDOM,
    STATEFUL,
    STEPS,
    TRUNCATIONS,
    contexts,
    logits,
    options,
    relabelled,
    steps,
    values,
)

# Half as many examples as of other laws: there are 300 of these, and most steps share their code.
EXAMPLES = settings(max_examples=max(settings().max_examples // 2, 1))


def of_kinds(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    each = pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)
    return lambda law: EXAMPLES(each(law))


all_steps = of_kinds(STEPS)
truncations = of_kinds(TRUNCATIONS)
prefix_cuts = of_kinds(PREFIX_CUTS)


def test_whoever_is_a_step_is_held_to_the_laws() -> None:
    named = {value for value in vars(ll).values() if isinstance(value, type)}
    promised = {kind for kind in named if issubclass(kind, Step) and not inspect.isabstract(kind)}
    assert promised <= set(STEPS)
    assert len(STEPS) >= 16


@cache
@st.composite
def cases(draw: st.DrawFn, kind: Any) -> tuple[Any, np.ndarray[Any, Any], Context]:
    x = alive(kind, draw(logits()))
    return draw(steps(kind, x.shape[-1])), x, draw(contexts(x.shape[:-1], x.shape[-1]))


def alive(kind: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logits that leave token 0 to a step that may leave no other, and whatever may be forced."""
    if kind is ThinkingBudget:
        x[x == -np.inf] = -1
    elif kind in NAMING:
        x[..., 0] = np.where(x[..., 0] == -np.inf, 0, x[..., 0])
    return x


def row_of(context: Context, index: tuple[int, ...]) -> Context:
    assert context.unconditional is not None
    return Context(context.prompt[index], context.output[index], context.unconditional[index])


@all_steps
@given(data=st.data())
def test_gives_new_logits_of_the_same_kind(kind: Any, data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    before = x.copy()
    result = step(x, context)
    # Shape and dtype are kept, the input is untouched.
    assert result.shape == x.shape
    assert result.dtype == x.dtype
    assert not np.shares_memory(result, x)
    assert x.tobytes() == before.tobytes()
    # The result is logits again, and at least one token survives.
    assert not np.isnan(result).any()
    assert (result < np.inf).all()
    assert (result > -np.inf).any(axis=-1).all()
    # Removed stays removed.
    assert (result[x == -np.inf] == -np.inf).all()


@all_steps
@given(data=st.data())
def test_a_batch_is_the_stack_of_its_rows(kind: Any, data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    result = step(x, context)
    for index in np.ndindex(x.shape[:-1]):
        alone = step(x[index], row_of(context, index))
        assert result[index].tobytes() == alone.tobytes()


@of_kinds(tuple(kind for kind in STEPS if kind not in OF_IDS))
@given(data=st.data())
def test_an_array_parameter_is_the_stack_of_its_values(kind: Any, data: st.DataObject) -> None:
    x = alive(kind, data.draw(logits()))
    batch, size = x.shape[:-1], x.shape[-1]
    context = data.draw(contexts(batch, size))
    count = math.prod(batch)
    numbers = st.floats(-100, 100) if kind is SequenceBias else values(kind, size)
    drawn = data.draw(st.lists(numbers, min_size=count, max_size=count))
    each = np.array(drawn).reshape(batch)
    if kind in (LogitBias, SequenceBias):
        token: Any = data.draw(st.integers(0, size - 1))
        token = token if kind is LogitBias else (token,)
        result = kind({token: each})(x, context)
        expected = [kind({token: each[i]})(x[i], row_of(context, i)) for i in np.ndindex(batch)]
    else:
        chosen = data.draw(options(kind, size))
        result = kind(each, **chosen)(x, context)
        expected = [kind(each[i], **chosen)(x[i], row_of(context, i)) for i in np.ndindex(batch)]
    assert result.tobytes() == np.array(expected, dtype=x.dtype).tobytes()


# What the numbers of the tokens decide.
NUMBERED = (Watermark,)

# What looks at the entropy of a row, at a sum of its weights, or at those of its sorted ones.
SUMMING = (AdaptiveP, AveragedXtc, DynamicTemperature, Guidance, NearProbability, Skew)


@of_kinds(tuple(kind for kind in STEPS if kind not in NUMBERED))
@given(data=st.data())
def test_relabelling_the_vocabulary_commutes(kind: Any, data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    order = data.draw(st.permutations(range(x.shape[-1])))
    new_id = np.append(np.argsort(order), -1)  # -1 pads and stays -1
    if isinstance(step, LogitBias):
        moved_step: Step = LogitBias({int(new_id[i]): b for i, b in step.bias.items()})
    else:
        assume(getattr(step, "along", "") != "ids")  # the numbers of the tokens are its order
        assume(getattr(step, "amount", "") != "logit")  # leaves token 0 out, whatever that is
        moved_step = relabelled(step, new_id)
    assert context.unconditional is not None
    texts = new_id[context.prompt], new_id[context.output]
    moved = Context(*texts, context.unconditional[..., order])
    result = moved_step(x[..., order], moved)
    expected = step(x, context)[..., order]
    if kind in (*RANDOM, *SUMMING):  # probabilities are added up, in the order of the ids
        rounding = {"float16": 4e-3, "float32": 1e-5, "float64": 1e-6}[x.dtype.name]
        close: Any = partial(np.testing.assert_allclose, rtol=rounding, atol=1e-9)
        result, expected = ll.softmax(result), ll.softmax(expected)
    else:
        close = np.testing.assert_array_equal
    if not issubclass(kind, SparseStep) and not getattr(step, "protected", ()):
        # Which of equal tokens stays goes by id; how many stay does not.
        close(np.sort(result), np.sort(expected))
    distinct = all(len(set(row)) == len(row) for row in x.reshape(-1, x.shape[-1]).tolist())
    if distinct or issubclass(kind, SparseStep):
        close(result, expected)


@of_kinds(tuple(kind for kind in STEPS if kind.neutral is not None))
@given(data=st.data())
def test_neutral_changes_no_bit(kind: Any, data: st.DataObject) -> None:
    x = data.draw(logits())
    batch, size = x.shape[:-1], x.shape[-1]
    context = data.draw(contexts(batch, size))
    if kind is LogitBias:
        step: Step = LogitBias(data.draw(st.dictionaries(st.integers(0, size - 1), st.just(0.0))))
    elif kind is SequenceBias:
        step = SequenceBias(dict.fromkeys(data.draw(values(kind, size)), 0.0))
    else:
        chosen = data.draw(options(kind, size))
        chosen |= {k: 0.0 for k in chosen if k == "presence"}
        chosen |= {"entropy": "survivors", "among": 0} if kind is ll.TopH else {}
        step = kind(kind.neutral, **chosen)
    assert step.is_neutral
    assert step(x, context).tobytes() == x.tobytes()


@pytest.mark.parametrize("kind", [FrequencyPenalty, PresencePenalty])
def test_a_negative_zero_is_neutral_too(kind: Any) -> None:
    x = np.array([-0.0, 0.0, 1.0])
    result = kind(-0.0)(x, Context(prompt=[0, 1, 2]))
    assert result.tobytes() == x.tobytes()


@all_steps
@given(data=st.data())
def test_lower_precision_only_rounds_the_result(kind: Any, data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    result, wide = step(x, context), step(x.astype(np.float64), context)
    assume(np.abs(wide[wide > -np.inf]).max() <= np.finfo(x.dtype).max)
    np.testing.assert_array_equal(result, wide.astype(x.dtype))


@truncations
@given(data=st.data())
def test_a_truncation_only_removes(kind: Any, data: st.DataObject) -> None:
    step, x, _ = data.draw(cases(kind))
    result = step(x)
    kept = result > -np.inf
    assert result[kept].tobytes() == x[kept].tobytes()
    # Rows at a time, or all at once.
    rows = x.reshape(-1, x.shape[-1])
    mask = step.keep(rows, step.values(x.shape[:-1]).reshape(-1, 1)).reshape(x.shape)
    np.testing.assert_array_equal(kept, mask & (x > -np.inf))


@prefix_cuts
@given(data=st.data())
def test_a_prefix_cut_keeps_the_best(kind: Any, data: st.DataObject) -> None:
    step, x, _ = data.draw(cases(kind))
    result = step(x)
    kept = result > -np.inf
    lowest_kept = np.where(kept, x, np.inf).min(axis=-1)
    highest_removed = np.where(kept, -np.inf, x).max(axis=-1)
    assert (highest_removed <= lowest_kept).all()


@pytest.mark.parametrize("kind", [TopK, MinP])
@given(data=st.data())
def test_top_k_and_min_p_are_idempotent(kind: Any, data: st.DataObject) -> None:
    step, x, _ = data.draw(cases(kind))
    once = step(x)
    assert step(once).tobytes() == once.tobytes()


@prefix_cuts
@given(data=st.data())
def test_prefix_cuts_are_monotone(kind: Any, data: st.DataObject) -> None:
    x = data.draw(logits())
    chosen = data.draw(options(kind, x.shape[-1]))
    pair = data.draw(st.lists(values(kind, x.shape[-1]), min_size=2, max_size=2))
    if issubclass(kind, ll.TopK):  # 0 keeps all
        pair = [value or x.shape[-1] for value in pair]
    if issubclass(kind, ll.TopNSigma):  # so do 0 and below
        pair = [value if value > 0 else 1e9 for value in pair]
    falling = ll.TopK | ll.TopP | ll.MaxSurprise | ll.TopNSigma | ll.Tfs | ll.TopH
    loose, strict = sorted(pair, reverse=issubclass(kind, falling))
    kept_loose, kept_strict = (kind(value, **chosen)(x) > -np.inf for value in (loose, strict))
    assert not (kept_strict & ~kept_loose).any()


@of_kinds(RANDOM)
@given(data=st.data())
def test_a_random_step_is_the_mixture_of_its_two_sides(kind: Any, data: st.DataObject) -> None:
    step, x, _ = data.draw(cases(kind))
    q = step.value
    acted, plain = ll.softmax(step.acting()(x)), ll.softmax(x)
    expected = q * acted + (1 - q) * plain
    close = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-12}[x.dtype.name]
    np.testing.assert_allclose(ll.softmax(step(x)), expected, rtol=close, atol=close)
    wide = ll.Chain(step).distribution(x.astype(np.float64))
    sides = ll.softmax(step.acting()(x.astype(np.float64))), ll.softmax(x.astype(np.float64))
    np.testing.assert_allclose(wide, q * sides[0] + (1 - q) * sides[1], rtol=1e-12, atol=1e-15)


@of_kinds(STATEFUL)
@given(data=st.data())
def test_a_stateful_step_is_a_pure_one_for_each_state(kind: Any, data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    chain = ll.Chain(step)
    first = chain.init()
    assert first.keys() == chain.stateful.keys() == set(step.states)
    begun = chain.at(first)(x, context).astype(x.dtype)  # of float16 a chain makes float32
    assert step(x, context).tobytes() == begun.tobytes()
    assert not chain.at(first).stateful
    state = {name: data.draw(st.floats(0, 20)) for name in first}
    alone = chain.at(state)(x, context)
    each = {name: np.full(x.shape[:-1], number) for name, number in state.items()}
    assert chain.at(each)(x, context).tobytes() == alone.tobytes()
    later = chain.update(state, -1.0)
    assert later == chain.update(state, {step.name: -1.0})
    assert later.keys() == first.keys()


@pytest.mark.parametrize("kind", PENALTIES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_penalties_only_touch_the_context(kind: Any, data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.shape[-1]))
    step = kind(1.5)
    seen = np.unique(np.concatenate([context.prompt, context.output]))
    rest = np.setdiff1d(np.arange(x.size), seen)
    assert step(x, context)[rest].tobytes() == x[rest].tobytes()
