"""Every step keeps every law, on every kind of logits."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from logitlab import (
    Context,
    FrequencyPenalty,
    LogitBias,
    MinP,
    PresencePenalty,
    Step,
    Temperature,
    TopK,
)

from strategies import PENALTIES, STEPS, TRUNCATIONS, contexts, logits, options, steps, values

all_steps = pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.__name__)
truncations = pytest.mark.parametrize("kind", TRUNCATIONS, ids=lambda kind: kind.__name__)


@cache
@st.composite
def cases(draw: st.DrawFn, kind: type[Step]) -> tuple[Step, np.ndarray[Any, Any], Context]:
    x = draw(logits())
    return draw(steps(kind, x.shape[-1])), x, draw(contexts(x.shape[:-1], x.shape[-1]))


def row_of(context: Context, index: tuple[int, ...]) -> Context:
    return Context(prompt=context.prompt[index], output=context.output[index])


@all_steps
@given(data=st.data())
def test_gives_new_logits_of_the_same_kind(kind: type[Step], data: st.DataObject) -> None:
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
def test_a_batch_is_the_stack_of_its_rows(kind: type[Step], data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    result = step(x, context)
    for index in np.ndindex(x.shape[:-1]):
        alone = step(x[index], row_of(context, index))
        assert result[index].tobytes() == alone.tobytes()


@all_steps
@given(data=st.data())
def test_an_array_parameter_is_the_stack_of_its_values(
    kind: type[Step], data: st.DataObject
) -> None:
    x = data.draw(logits())
    batch, size = x.shape[:-1], x.shape[-1]
    context = data.draw(contexts(batch, size))
    count = math.prod(batch)
    drawn = data.draw(st.lists(values(kind, size), min_size=count, max_size=count))
    each = np.array(drawn).reshape(batch)
    if kind is LogitBias:
        token = data.draw(st.integers(0, size - 1))
        result = LogitBias({token: each})(x)
        expected = [LogitBias({token: each[i]})(x[i]) for i in np.ndindex(batch)]
    else:
        chosen = data.draw(options(kind))
        result = kind(each, **chosen)(x, context)  # type: ignore[call-arg]
        expected = [
            kind(each[i], **chosen)(x[i], row_of(context, i))  # type: ignore[call-arg]
            for i in np.ndindex(batch)
        ]
    assert result.tobytes() == np.array(expected, dtype=x.dtype).tobytes()


@all_steps
@given(data=st.data())
def test_relabelling_the_vocabulary_commutes(kind: type[Step], data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    order = data.draw(st.permutations(range(x.shape[-1])))
    new_id = np.append(np.argsort(order), -1)  # -1 pads and stays -1
    if isinstance(step, LogitBias):
        relabelled: Step = LogitBias({int(new_id[i]): b for i, b in step.bias.items()})
    elif getattr(step, "fill", None) is not None:
        relabelled = dataclasses.replace(step, fill=int(new_id[step.fill]))  # type: ignore[call-arg,attr-defined]
    else:
        relabelled = step
    moved = Context(prompt=new_id[context.prompt], output=new_id[context.output])
    result = relabelled(x[..., order], moved)
    expected = step(x, context)[..., order]
    if kind in TRUNCATIONS or kind is Temperature:
        # Which of equal tokens stays goes by id; how many stay does not.
        np.testing.assert_array_equal(np.sort(result), np.sort(expected))
    distinct = all(len(set(row)) == len(row) for row in x.reshape(-1, x.shape[-1]).tolist())
    if distinct or kind not in (*TRUNCATIONS, Temperature):
        np.testing.assert_array_equal(result, expected)


@all_steps
@given(data=st.data())
def test_neutral_changes_no_bit(kind: type[Step], data: st.DataObject) -> None:
    x = data.draw(logits())
    batch, size = x.shape[:-1], x.shape[-1]
    context = data.draw(contexts(batch, size))
    if kind is LogitBias:
        step: Step = LogitBias(data.draw(st.dictionaries(st.integers(0, size - 1), st.just(0.0))))
    else:
        chosen = data.draw(options(kind))
        step = kind(kind.neutral, **chosen | {k: 0.0 for k in chosen if k == "presence"})  # type: ignore[call-arg]
    assert step.is_neutral
    assert step(x, context).tobytes() == x.tobytes()


@pytest.mark.parametrize("kind", [FrequencyPenalty, PresencePenalty])
def test_a_negative_zero_is_neutral_too(kind: type[Step]) -> None:
    x = np.array([-0.0, 0.0, 1.0])
    result = kind(-0.0)(x, Context(prompt=[0, 1, 2]))  # type: ignore[call-arg]
    assert result.tobytes() == x.tobytes()


@all_steps
@given(data=st.data())
def test_lower_precision_only_rounds_the_result(kind: type[Step], data: st.DataObject) -> None:
    step, x, context = data.draw(cases(kind))
    result, wide = step(x, context), step(x.astype(np.float64), context)
    assume(np.abs(wide[wide > -np.inf]).max() <= np.finfo(x.dtype).max)
    np.testing.assert_array_equal(result, wide.astype(x.dtype))


@truncations
@given(data=st.data())
def test_a_truncation_only_removes_and_keeps_the_best(
    kind: type[Step], data: st.DataObject
) -> None:
    step, x, _ = data.draw(cases(kind))
    result = step(x)
    kept = result > -np.inf
    assert result[kept].tobytes() == x[kept].tobytes()
    lowest_kept = np.where(kept, x, np.inf).min(axis=-1)
    highest_removed = np.where(kept, -np.inf, x).max(axis=-1)
    assert (highest_removed <= lowest_kept).all()


@pytest.mark.parametrize("kind", [TopK, MinP])
@given(data=st.data())
def test_top_k_and_min_p_are_idempotent(kind: type[Step], data: st.DataObject) -> None:
    step, x, _ = data.draw(cases(kind))
    once = step(x)
    assert step(once).tobytes() == once.tobytes()


@truncations
@given(data=st.data())
def test_truncations_are_monotone(kind: type[Step], data: st.DataObject) -> None:
    x = data.draw(logits())
    chosen = data.draw(options(kind))
    pair = data.draw(st.lists(values(kind, x.shape[-1]), min_size=2, max_size=2))
    if kind is TopK:  # 0 keeps all
        pair = [value or x.shape[-1] for value in pair]
    loose, strict = sorted(pair, reverse=kind.__name__ in ("TopK", "TopP"))
    kept_loose = kind(loose, **chosen)(x) > -np.inf  # type: ignore[call-arg]
    kept_strict = kind(strict, **chosen)(x) > -np.inf  # type: ignore[call-arg]
    assert not (kept_strict & ~kept_loose).any()


@pytest.mark.parametrize("kind", PENALTIES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_penalties_only_touch_the_context(kind: type[Step], data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.shape[-1]))
    step = kind(1.5)  # type: ignore[call-arg]
    seen = np.unique(np.concatenate([context.prompt, context.output]))
    rest = np.setdiff1d(np.arange(x.size), seen)
    assert step(x, context)[rest].tobytes() == x[rest].tobytes()
