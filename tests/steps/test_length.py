from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, Context, LengthDecay, ParameterError, engines, length_decay

import reference
from sampler_examples import close, examples, row_of
from strategies import contexts, logits


@examples("transformers", "exponential_decay_length_penalty", count=6)
def test_transformers_length_penalty(example: dict[str, Any]) -> None:
    p = example["params"]
    start, factor = p["exponential_decay_length_penalty"]
    prompt, tokens = p["prompt_length"], example["context"]
    step = LengthDecay(factor, start, [p["eos_token_id"]])
    context = Context(tokens[:prompt], tokens[prompt:])
    close(Chain(step, precision="mixed")(row_of(example), context), example)


@given(data=st.data())
def test_equals_the_reference(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.size))
    factor = data.draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, -2.0]))
    start = data.draw(st.integers(0, 4))
    ends = data.draw(st.lists(st.integers(0, x.size - 1), max_size=2))
    k = sum(token >= 0 for token in context.output.tolist()) - start
    expected = reference.length_decay(x.tolist(), factor, k, ends)
    left = length_decay(x, factor, context, start=start, end_ids=ends)
    np.testing.assert_allclose(left, expected, rtol=1e-12)


def test_every_row_has_its_own_length() -> None:
    x = np.array([[1.0, -1.0], [1.0, -1.0], [0.0, 0.0]])
    context = Context([3, 4, 5], output=[[0, -1, -1], [0, 1, 0], [0, 0, 0]])
    x = np.pad(x, [(0, 0), (0, 4)])
    left = length_decay(x, [2.0, 2.0, 5.0], context, start=1, end_ids=[0, 1])
    assert left[:, :2].tolist() == [[1, -1], [4, 2], [0, 0]]


def test_far_beyond_the_start() -> None:
    x = np.array([1e-3, -1e-3, 0.0, -np.inf])
    long = Context(output=[2] * 5000)
    left = length_decay(x, 2.0, long, end_ids=range(4))
    assert np.isfinite(left[:3]).all()
    assert left[0] == left.max()
    assert left[2] == 0
    assert left[3] == -np.inf
    assert length_decay(x, 0.0, long, end_ids=[0, 1])[:2].tolist() == [0, -2e-3]
    half = length_decay(np.array([1, 0.5, 0], np.float16), 2.0, long, end_ids=[0])
    assert np.isfinite(half).all()


def test_openrouter_takes_start_and_factor() -> None:
    request = {"exponential_decay_length_penalty": (5, 1.5), "eos_token_id": [1, 2]}
    [step] = engines.openrouter(request)
    assert repr(step) == "LengthDecay(1.5, start=5, end_ids=(1, 2))"
    assert not len(engines.openrouter({"exponential_decay_length_penalty": (5, 1)}))


def test_wrong_values() -> None:
    text = Context(output=[0])
    for make, message in (
        (lambda: LengthDecay(np.inf), "exponential_decay_length_penalty must be finite, got inf."),
        (lambda: LengthDecay(1.5, -1), "start must be an integer >= 0, got -1."),
        (lambda: LengthDecay(1.5, 0, [-1]), "eos_token_id must be an integer >= 0, got -1."),
        (lambda: LengthDecay(1.5, 0, [[1]]), "eos_token_id must be a sequence of token ids, got"),  # type: ignore[list-item]
        (
            lambda: length_decay([0.0, 0.0], 1.5, text, end_ids=[2]),
            "eos_token_id must be token ids in [0, 1], got 2.",
        ),
        (lambda: LengthDecay(1.5)([0.0]), "context must be a Context for exponential_decay"),
    ):
        with pytest.raises(ParameterError) as error:
            make()
        assert message in str(error.value)
