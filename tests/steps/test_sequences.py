from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    BadWords,
    Chain,
    Context,
    ParameterError,
    SequenceBias,
    bad_words,
    greedy,
    sequence_bias,
)

import reference
from sampler_examples import close, context_of, examples, row_of
from strategies import contexts, logits

ROW = [2.0, 1.0, 0.5, 0.0, -1.0]


@given(st.data())
def test_equal_the_reference(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64, min_size=2, max_size=4))
    x[0] = 1.0
    context = data.draw(contexts((), x.size))
    ids = st.integers(0, x.size - 1)
    some = st.tuples(st.lists(ids, max_size=3), st.integers(1, x.size - 1))
    words = data.draw(st.lists(some.map(lambda pair: (*pair[0], pair[1])), max_size=5))
    amounts = data.draw(st.lists(st.integers(-9, 9), min_size=len(words), max_size=len(words)))
    bias = dict(zip(words, map(float, amounts), strict=True))
    output = [t for t in context.output.tolist() if t >= 0]
    text = [t for t in context.prompt.tolist() if t >= 0] + output
    for scope, tokens in (("all", text), ("output", output)):
        np.testing.assert_array_equal(
            bad_words(x, words, context, scope=scope),
            reference.bad_words(x.tolist(), words, tokens),
        )
        result: Any = sequence_bias(x, bias, context, scope=scope)
        np.testing.assert_allclose(
            result,
            np.array(reference.sequence_bias(x.tolist(), bias, tokens)),
            rtol=1e-12,
            atol=1e-12,
        )


@examples("transformers", "sequence_bias", count=5)
def test_a_bias_is_that_of_transformers(example: dict[str, Any]) -> None:
    bias = {tuple(ids): amount for ids, amount in example["params"]["sequence_bias"]}
    close(SequenceBias(bias)(row_of(example), context_of(example)), example)


@examples("transformers", "bad_words_ids", count=3)
def test_bans_are_those_of_transformers(example: dict[str, Any]) -> None:
    step = BadWords(example["params"]["bad_words_ids"], scope="all")
    close(step(row_of(example), context_of(example)), example)


@examples("vllm", "bad_words (token ids)", count=5)
def test_bans_are_those_of_vllm(example: dict[str, Any]) -> None:
    step = BadWords(example["params"]["bad_words_token_ids"])
    close(step(row_of(example), context_of(example)), example)


def test_what_begins_in_the_prompt_is_another_matter() -> None:
    context = Context(prompt=[1], output=[0])
    assert bad_words(ROW, [[1, 0, 2]], context)[2] == 0.5
    assert bad_words(ROW, [[1, 0, 2]], context, scope="all")[2] == -np.inf


def test_padding_is_no_token() -> None:
    batch = Context(prompt=[[-1, 1], [1, -1]], output=[[0, -1], [-1, 0]])
    assert (BadWords([[1, 0, 2]], scope="all")([ROW, ROW], batch)[:, 2] == -np.inf).all()


def test_a_row_without_any_token_is_one_clear_error() -> None:
    with pytest.raises(ParameterError) as error:
        BadWords([[0], [1]])([[1.0, 2.0], [1.0, 2.0]], Context([[], []]))
    rule = "bad_words must be such that one token at least is left"
    assert str(error.value) == f"{rule}, got only -inf in row (0,)."
    with pytest.raises(ParameterError, match="sequence_bias must be such that one token"):
        SequenceBias({(0,): -np.inf, (1,): -np.inf})([1.0, 2.0], Context())


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"^bad_words must be of token ids in \[0, 1\], got 2"):
        BadWords([[2, 0]])([1.0, 2.0], Context())


def test_they_need_a_context() -> None:
    with pytest.raises(ParameterError, match="context must be a Context for sequence_bias"):
        SequenceBias({(0,): 1.0})([1.0, 2.0])
    assert BadWords([])([1.0, 2.0]).tolist() == [1.0, 2.0]


def test_values_may_differ_by_row_and_follow_their_rows() -> None:
    step = SequenceBias({(1,): [1.0, 2.0], (0, 0): -1.0})
    context = Context(output=[[0], [1]])
    result = step(np.zeros((2, 3)), context)
    np.testing.assert_array_equal(result, [[-1, 1, 0], [0, 2, 0]])
    second = step.for_rows((2,), np.array([1]))
    np.testing.assert_array_equal(second(np.zeros((1, 3)), Context(output=[[1]])), [[0, 2, 0]])


def test_steps_compare_by_content() -> None:
    assert SequenceBias({(1,): 2, (0, 1): 1}) == SequenceBias({(0, 1): 1.0, (1,): 2.0})
    assert SequenceBias({(1,): 2}) != SequenceBias({(1,): 2}, scope="output")
    assert hash(BadWords([[1, 2]])) == hash(BadWords([(1, 2)]))
    assert repr(BadWords([[1]], scope="all")) == "BadWords(((1,),), scope='all')"


def test_huge_amounts_saturate() -> None:
    huge = SequenceBias({(0,): 1.7e308, (1, 0): 1.7e308})
    result = huge(np.array([1.7e308, 0.0]), Context(output=[1]))
    assert np.isfinite(result).all()
    assert np.isfinite(Chain(huge, precision="single")([0.0, 1.0], Context(output=[1]))).any()


def test_requests_reach_them_under_openrouter() -> None:
    request = {"bad_words": [[3, 0]], "sequence_bias": [[[4, 4], 9.0]]}
    assert greedy(ROW, request, context=Context(output=[3])) == 1
    assert greedy(ROW, request, context=Context(output=[4])) == 4
    assert greedy(ROW, request, context=Context(output=[0])) == 0


@pytest.mark.parametrize("value", ["word", [[]], [[-1]], [["a"]], 5, {1: 2}])
def test_what_is_no_list_of_sequences_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^bad_words must be "):
        BadWords(value)


@pytest.mark.parametrize("value", [[1], {1: 2.0}, {(): 1.0}, {(1,): "a"}, {(1,): np.nan}])
def test_what_is_no_map_of_sequences_is_refused(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^sequence_bias"):
        SequenceBias(value)
