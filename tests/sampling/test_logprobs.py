"""Log-probabilities of whole rows: kernels sum and find what numpy sums and finds."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Context, ParameterError, kernels
from logitlab.sampling.ready import best_tokens, masses_of

from strategies import logits

compiled = pytest.mark.skipif(kernels.rows is None, reason="logitlab was installed without kernels")


def same(array: Any, tokens: Any, count: int) -> None:
    ours = ll.logprobs(array, tokens, top_logprobs=count)
    with kernels.off():
        theirs = ll.logprobs(array, tokens, top_logprobs=count)
    np.testing.assert_array_equal(ours.top_tokens, theirs.top_tokens)
    np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.top_logprobs, theirs.top_logprobs, rtol=1e-13, atol=1e-12)


@given(logits(max_size=9), st.data())
def test_kernels_tell_the_same(array: Any, data: st.DataObject) -> None:
    batch, size = array.shape[:-1], array.shape[-1]
    tokens = np.full(batch, data.draw(st.integers(0, size - 1)))
    same(array, tokens, data.draw(st.integers(0, size)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 20, 1024, 1025])
def test_kernels_tell_the_same_of_wide_rows(dtype: Any, count: int) -> None:
    rows = ll.datasets.load("smollm2").logits[:4].astype(dtype)
    rows[1] = np.round(rows[1])  # ties
    rows[2, 7:] = -np.inf  # fewer than are asked for
    rows[3] = 1
    same(rows, [5, 1, 6, 40000], count)


@compiled
def test_the_kernels_do_it() -> None:
    rows = ll.datasets.load("smollm2").logits[:3]
    found = best_tokens(rows, 20)
    assert found.keys() == {0, 1, 2}
    for row, tokens in found.items():
        assert tokens.tolist() == sorted(np.argsort(-rows[row], kind="stable")[:20].tolist())
    assert best_tokens(rows, 0) == best_tokens(rows, 5000) == {}
    with kernels.off():
        expected = masses_of(rows)
    np.testing.assert_allclose(masses_of(rows), expected, rtol=1e-13)


def test_raw_reports_check_what_they_do_not_look_at() -> None:
    row = np.zeros(4, np.float32)
    calls: list[tuple[Any, str]] = [
        (lambda: ll.logprobs([0.0, np.nan], 0), "logits must be free of NaN, got NaN"),
        (
            lambda: ll.logprobs([[[0.0], [np.inf]]], [[0, 0]]),
            r"free of \+inf, got \+inf in row \(0, 1\)",
        ),
        (lambda: ll.logprobs(row - np.inf, 0), "one token of every row, got only -inf[.]"),
        (lambda: ll.logprobs(row, 0, context=Context([9])), "prompt must be token ids in"),
        (lambda: ll.logprobs(row, 0, context=[1]), "context must be a Context or None"),  # type: ignore[arg-type]
    ]
    for call, message in calls:
        with pytest.raises(ParameterError, match=message):
            call()
