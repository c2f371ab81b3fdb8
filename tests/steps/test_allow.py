from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    AllowedTokens,
    Chain,
    Context,
    ForcedTokens,
    MinTokens,
    ParameterError,
    SuppressTokens,
    allowed_token_ids,
    greedy,
    min_tokens,
    sample,
    softmax,
    suppress_tokens,
)

import reference
from sampler_examples import close, context_of, examples, row_of
from strategies import contexts, logits

ROW = [2.0, 1.0, 0.5, 0.0, -1.0]


@given(st.data())
def test_equal_the_reference(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64, min_size=2))
    x[0] = 1.0
    context = data.draw(contexts((), x.size))
    some = data.draw(st.lists(st.integers(1, x.size - 1), max_size=4))
    n = data.draw(st.integers(0, 6))
    row, length = x.tolist(), int((context.output >= 0).sum())
    pairs = [
        (allowed_token_ids(x, [0, *some]), reference.allowed_token_ids(row, [0, *some])),
        (suppress_tokens(x, some), reference.suppress_tokens(row, some)),
        (
            min_tokens(x, n, context, end_ids=some),
            reference.min_tokens(row, n, some, length),
        ),
        (
            min_tokens(x, n, context, end_ids=some, scope="all"),
            reference.min_tokens(row, n, some, length + int((context.prompt >= 0).sum())),
        ),
    ]
    for result, expected in pairs:
        np.testing.assert_array_equal(result, expected)


@examples("vllm", "allowed_token_ids", count=5)
def test_allowed_tokens_are_those_of_vllm(example: dict[str, Any]) -> None:
    close(AllowedTokens(example["params"]["allowed_token_ids"])(row_of(example)), example)


def minimum(example: dict[str, Any]) -> None:
    """Hold a minimum length to an example."""
    params, context = example["params"], context_of(example)
    ends = [*params.get("stop_token_ids", ()), *np.atleast_1d(params.get("eos_token_id", []))]
    if "prompt_length" in params:  # they pass one text, and say how long the prompt is
        count = params["prompt_length"]
        context = Context(context.prompt[:count], context.prompt[count:])
    n = params.get("min_tokens", params.get("min_new_tokens"))
    close(MinTokens(n, ends)(row_of(example), context), example)


@examples("vllm", "min_tokens", count=4)
def test_minimum_lengths_are_those_of_vllm(example: dict[str, Any]) -> None:
    minimum(example)


@examples("sglang", "min_new_tokens", count=4)
def test_minimum_lengths_are_those_of_sglang(example: dict[str, Any]) -> None:
    example["context"].setdefault("prompt", [])
    minimum(example)


@examples("transformers", "min_new_tokens", count=6)
def test_minimum_lengths_are_those_of_transformers(example: dict[str, Any]) -> None:
    minimum(example)


def test_a_minimum_length_may_count_the_prompt() -> None:
    step = MinTokens(3, [0], scope="all")
    assert step(ROW, Context([1], [1]))[0] == -np.inf
    assert step(ROW, Context([1, 1], [1]))[0] == 2.0
    assert MinTokens(3, [0])(ROW, Context([1, 1], [1]))[0] == -np.inf


def test_ends_come_back_where_nothing_else_is_left() -> None:
    row = [0.0, -np.inf, 1.0]
    kept = MinTokens(2, [0, 2], restores=True)
    assert kept(row, Context()).tolist() == row
    assert kept([0.0, 1.0, 1.0], Context()).tolist() == [-np.inf, 1.0, -np.inf]
    with pytest.raises(ParameterError, match=r"^min_tokens must be such that one token at least"):
        MinTokens(2, [0, 2])(row, Context())


def test_a_row_without_any_token_is_one_clear_error() -> None:
    with pytest.raises(ParameterError) as error:
        AllowedTokens([1])([[0.0, 1.0], [0.0, -np.inf]])
    rule = "allowed_token_ids must be such that one token at least is left"
    assert str(error.value) == f"{rule}, got only -inf in row (1,)."
    with pytest.raises(ParameterError, match="suppress_tokens must be such that"):
        SuppressTokens([0, 1])([0.0, 1.0])
    with pytest.raises(ParameterError, match="In step 2, SuppressTokens"):
        Chain(AllowedTokens([0]), SuppressTokens([0]))([0.0, 1.0])


def test_ids_outside_the_vocabulary() -> None:
    with pytest.raises(
        ParameterError, match=r"^allowed_token_ids must be of token ids in \[0, 1\]"
    ):
        AllowedTokens([2])([0.0, 1.0])
    with pytest.raises(ParameterError, match=r"^suppress_tokens must be of token ids in \[0, 1\]"):
        SuppressTokens([2])([0.0, 1.0])
    with pytest.raises(ParameterError, match=r"^end_ids must be of token ids in \[0, 1\], got 2"):
        MinTokens(1, [2])([0.0, 1.0], Context())
    ignored = SuppressTokens([2, 0], outside="ignored")
    assert ignored([0.0, 1.0]).tolist() == [-np.inf, 1.0]


def test_a_suppressed_beginning_and_forced_tokens_act_at_one_place() -> None:
    texts = [Context([1], [0] * n) for n in range(3)]
    first = SuppressTokens([0], at=0)
    assert [first(ROW, text)[0] for text in texts] == [-np.inf, 2.0, 2.0]
    begins = ForcedTokens([3], at=1, scope="all")
    assert [begins(ROW, text)[0] for text in texts] == [-np.inf, 2.0, 2.0]
    ends = ForcedTokens([4, 3], at=2, form="zero")
    assert ends(ROW, texts[2]).tolist() == [-np.inf] * 3 + [0.0, 0.0]
    assert ends(ROW, texts[1]).tolist() == ROW
    batch = Context([[1], [1]], [[0, 0], [0, -1]])
    assert ends([ROW, ROW], batch)[1].tolist() == ROW


def test_a_forced_token_that_was_removed() -> None:
    row = [0.0, -np.inf]
    assert ForcedTokens([1], form="zero")(row, Context()).tolist() == [-np.inf, 0.0]
    with pytest.raises(ParameterError, match="forced_tokens must be such that one token"):
        ForcedTokens([1])(row, Context())


def test_requests_reach_them_under_openrouter() -> None:
    request: dict[str, Any] = {"allowed_token_ids": [1, 2, 3], "suppress_tokens": [1]}
    assert softmax(Chain(AllowedTokens([1, 2, 3]), SuppressTokens([1]))(ROW))[2] > 0.5
    assert greedy(ROW, request) == 2
    assert set(sample(ROW, request, seed=1, size=99).tokens.tolist()) == {2, 3}
    request = {"min_tokens": 2, "eos_token_id": 0, "stop_token_ids": [1]}
    assert greedy(ROW, request, context=Context(output=[4])) == 2
    assert greedy(ROW, request, context=Context(output=[4, 4])) == 0
    with pytest.raises(ParameterError, match="context must be a Context for min_tokens"):
        greedy(ROW, request)


@pytest.mark.parametrize("value", [[-1], [0.5], [True], "1", 7, [[1]], {1: 2}])
def test_what_is_no_list_of_ids_is_refused(value: Any) -> None:
    for kind in (AllowedTokens, SuppressTokens, ForcedTokens):
        with pytest.raises(ParameterError, match=f"^{kind.key} must be "):
            kind(value)
