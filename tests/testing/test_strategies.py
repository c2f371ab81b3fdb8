"""The public strategies give what they promise, and say what is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings, strategies as st
from logitlab import ParameterError, engines, testing

import strategies


@given(testing.rows(), st.data())
def test_rows_and_contexts_are_taken_by_a_chain(logits: np.ndarray, data: st.DataObject) -> None:
    size = logits.shape[-1]
    request = data.draw(testing.requests(size=size))
    context = data.draw(testing.contexts(logits.shape[:-1], size))
    assert np.isfinite(logits).any(axis=-1).all()
    left = engines.openrouter(request)(logits, context)
    assert left.shape == logits.shape


@given(st.data())
def test_sizes_and_keys_are_those_asked_for(data: st.DataObject) -> None:
    row = data.draw(testing.rows(dtype=np.float32, batch=(2,), min_size=3, max_size=4))
    assert row.dtype == np.float32
    assert row.shape in ((2, 3), (2, 4))
    request = data.draw(testing.requests("top_k", "min_p", required=True))
    assert request.keys() == {"top_k", "min_p"}
    assert ll.SamplingParams(**request).top_k == request["top_k"]


def test_they_are_the_ones_of_these_tests() -> None:
    assert strategies.logits is testing.rows
    assert strategies.contexts is testing.contexts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: testing.requests("stop"), "keys must be one of 'temperature', "),
        (
            lambda: testing.requests(["top_p"]),  # type: ignore[arg-type]
            "keys must be names of parameters, each by itself, got ['top_p'].",
        ),
        (lambda: testing.requests(size=0), "size must be an integer in [1, 262144], got 0."),
        (
            lambda: testing.requests(required="no"),  # type: ignore[arg-type]
            "required must be True or False, got 'no'.",
        ),
        (
            lambda: testing.rows(dtype=np.int32),
            "dtype must be float16, float32 or float64, got <class 'numpy.int32'>.",
        ),
        (
            lambda: testing.rows(dtype="bfloat16"),
            "dtype must be float16, float32 or float64, got 'bfloat16'.",
        ),
        (lambda: testing.rows(batch="x"), "batch must be a shape, such as () or (2, 3), got 'x'."),
        (lambda: testing.rows(min_size=0), "min_size must be an integer in [1, 262144], got 0."),
        (
            lambda: testing.rows(max_size=2.5),  # type: ignore[arg-type]
            "max_size must be an integer in [1, 262144], got 2.5.",
        ),
        (
            lambda: testing.rows(min_size=5, max_size=3),
            "max_size must be at least min_size, 5, got 3.",
        ),
        (
            lambda: testing.contexts((-1,), 5),
            "batch must be a shape, such as () or (2, 3), got (-1,).",
        ),
        (lambda: testing.contexts((), 0), "size must be an integer in [1, 262144], got 0."),
    ],
)
def test_what_no_strategy_has_is_refused_where_it_is_made(make: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        make()
    assert str(error.value).startswith(message)


def test_they_shrink_to_what_is_small() -> None:
    row = find(testing.rows(dtype="float32"), lambda row: row.shape[-1] >= 4)
    assert (row.dtype, row.tolist()) == (np.float32, [0.0] * 4)
    assert find(testing.rows(batch=2), lambda rows: True).tolist() == [[0.0], [0.0]]
    assert find(testing.requests(), lambda request: request.get("top_p", 1) < 1) == {"top_p": 0.0}
    context = find(testing.contexts([], 5), lambda context: context.output.size > 0)
    assert (context.prompt.size, context.output.size) == (0, 1)


def test_a_wide_vocabulary_has_all_its_ids() -> None:
    far = find(testing.contexts((), 2000), lambda context: context.output.max(initial=0) > 1500)
    assert 1500 < far.output.max() < 2000


@settings(suppress_health_check=[HealthCheck.large_base_example])
@given(testing.contexts((2, 2), 9001), testing.rows(batch=(3,), min_size=1 << 18, max_size=1 << 18))
def test_wide_ones_are_no_more_than_hypothesis_can_draw(context: ll.Context, row: Any) -> None:
    assert context.unconditional is not None
    assert context.unconditional.shape == (2, 2, 9001)
    assert row.shape == (3, 1 << 18)
    assert np.isfinite(row).any(axis=-1).all()


def test_without_hypothesis_the_check_works_and_the_strategies_say_what_installs_it() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import logitlab as ll\n"
        "print(ll.testing.check(lambda row: row, {}, rows='signs').rows)\n"
        "try:\n"
        "    ll.testing.rows\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert told == ["3", "hypothesis is not installed: pip install 'logitlab[testing]'"]
