"""The bounds hold: whatever a correct computation in some arithmetic keeps lies between them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import testing
from logitlab.testing.bounds import bounds, check_chain
from logitlab.testing.rounding import ARITHMETIC, Softmax, gamma

from testing import samplers

ENGINES = ["openrouter", "vllm", "transformers", "mlx_lm", "llama_cpp", "sglang"]


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
def test_what_an_engine_keeps_lies_between(engine: str, data: st.DataObject) -> None:
    row = data.draw(testing.rows(dtype=np.float32, batch=(), max_size=20))
    request = data.draw(testing.requests(size=len(row)))
    context = data.draw(testing.contexts((), len(row)))
    try:
        chain = check_chain(ll.engines.get(engine)(request))
        kept = chain(row, context) > -np.inf
    except ll.ParameterError:  # what the engine refuses, or what leaves no token
        return
    left = bounds(chain, row, context, "float32")
    assert not (left.sure & ~left.perhaps).any()
    assert not (kept & ~left.perhaps).any()
    assert not (left.sure & ~kept).any()


@given(testing.rows(dtype=np.float32, batch=(), max_size=20), st.floats(0, 1))
def test_a_sum_in_single_precision_lies_between(row: Any, p: float) -> None:
    row = np.clip(row, -50, 50, out=row, where=row > -np.inf)
    kept = samplers.top_p(row, p) > -np.inf
    left = bounds(check_chain(ll.Chain(ll.TopP(p))), row, None, "float32")
    assert not (kept & ~left.perhaps).any()
    assert not (left.sure & ~kept).any()


@given(st.integers(0, 6), st.integers(0, 9), st.sampled_from([0.25, 0.5, 0.75, 0.875]))
def test_exact_rows_leave_nothing_open(power: int, others: int, p: float) -> None:
    """Powers of two of equal tokens, others beyond them: the nucleus is counted in fractions."""
    count = 2**power
    row = np.r_[np.full(count, 3.0), np.full(others, -200.0)]
    left = bounds(check_chain(ll.Chain(ll.TopP(p))), row, None, "float32")
    right = next(k for k in range(1, count + 1) if Fraction(k, count) >= Fraction(p))
    assert left.sure.tolist() == left.perhaps.tolist() == [i < right for i in range(len(row))]


def test_rows_that_round_leave_open_what_is_within_the_bound_alone() -> None:
    """Ten equal tokens at 0.3: the mass before the fourth may be 0.3, or a little less."""
    left = bounds(ll.Chain(ll.TopP(0.3)), np.zeros(10), None, "float32")
    assert (left.sure.sum(), left.perhaps.sum()) == (3, 4)
    for p in (0.3 - 1e-5, 0.3 + 1e-5):
        left = bounds(ll.Chain(ll.TopP(p)), np.zeros(10), None, "float32")
        assert left.sure.sum() == left.perhaps.sum() == (3 if p < 0.3 else 4)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_the_error_of_a_softmax_is_within_its_bound(kind: str) -> None:
    """Sums in an arithmetic, one term after the other, against the equation in float64."""
    rng = np.random.default_rng(1)
    for size in (3, 50, 400):
        row = rng.normal(0, 2, size).astype(kind).astype(np.float64)
        weight = np.exp((row - row.max()).astype(kind)).astype(kind)
        total = np.cumsum(weight, dtype=kind)[-1]
        got = (weight / total).astype(kind)
        tied = row == row.max()
        soft = Softmax(row, np.zeros(size), tied, 0.0, ARITHMETIC[kind])
        truth = soft.weight / soft.total
        share = np.abs(got.astype(np.float64) - truth) / truth
        assert (share <= soft.error_of_probability() + 2 * ARITHMETIC[kind].tiny / truth).all()
        mass = np.cumsum(got, dtype=kind).astype(np.float64)
        assert (np.abs(mass - np.cumsum(truth)) <= soft.error_of_mass(np.cumsum(truth))).all()


def test_gamma_is_the_exact_bound_of_a_product() -> None:
    unit = 2.0**-24
    worst = Fraction(1)
    for _ in range(1000):
        worst /= 1 - Fraction(unit)
    assert float(worst - 1) <= gamma(1000, unit) < 1001 * unit
    assert gamma(2**24, unit) == np.inf


def test_steps_without_a_bound_are_refused() -> None:
    with pytest.raises(ll.ParameterError) as error:
        testing.check(lambda row: row, ll.Chain(ll.TypicalP(0.5)))
    assert str(error.value) == (
        "like must be of steps whose rounding has a bound, got TypicalP(0.5). There are bounds for "
        "Temperature, TopK, TopP, MinP, TopA, EpsilonCutoff, EtaCutoff, PLess, LogSoftmax, and for "
        "what edits few tokens."
    )
    with pytest.raises(ll.ParameterError, match="like must be one request, with one value"):
        testing.check(lambda row: row, ll.TopP([0.5, 0.6]))
