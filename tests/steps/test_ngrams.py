from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, Context, NoRepeatNgram, ParameterError, no_repeat_ngram, trace

import reference
from sampler_examples import close, context_of, examples, row_of
from strategies import contexts, logits


@examples("transformers", "no_repeat_ngram_size", count=9)
def test_transformers_n_grams(example: dict[str, Any]) -> None:
    step = NoRepeatNgram(example["params"]["no_repeat_ngram_size"], guard=False)
    close(step(row_of(example), context_of(example)), example)


@examples("aphrodite", "no_repeat_ngram_size", count=5)
def test_aphrodites_n_grams(example: dict[str, Any]) -> None:
    step = NoRepeatNgram(example["params"]["no_repeat_ngram_size"])
    close(step(row_of(example), context_of(example)), example)


@examples("sglang", "DeepseekOCRNoRepeatNGram", count=4)
def test_sglangs_processor(example: dict[str, Any]) -> None:
    p = example["params"]
    step = NoRepeatNgram(p["ngram_size"], p["window_size"], p["whitelist_token_ids"])
    close(step(row_of(example), context_of(example)), example)


@given(data=st.data())
def test_equals_the_reference(data: st.DataObject) -> None:
    x = data.draw(logits(batch=(), dtype=np.float64))
    context = data.draw(contexts((), x.size))
    tokens = [t for t in [*context.prompt.tolist(), *context.output.tolist()] if t >= 0]
    n = data.draw(st.integers(0, 5))
    last_n = data.draw(st.one_of(st.none(), st.integers(0, 12)))
    allowed = data.draw(st.lists(st.integers(0, x.size - 1), max_size=2))
    first = 0 if last_n is None else max(0, len(tokens) - last_n)
    banned = reference.no_repeat_ngram(tokens, n, first) - set(allowed)
    expected = [-np.inf if i in banned else v for i, v in enumerate(x.tolist())]
    if max(expected) == -np.inf:
        expected = x.tolist()
    left = no_repeat_ngram(x, n, context, last_n=last_n, allowed=allowed)
    np.testing.assert_array_equal(left, expected)


def test_a_row_keeps_a_token() -> None:
    x = np.array([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0]])
    context = Context([[0, 1, 2], [0, 1, 0]])
    left = no_repeat_ngram(x, 1, context)
    assert left.tolist() == [[1, 0.5, 0], [-np.inf, -np.inf, 0]]
    # Of what was removed before nothing comes back.
    left = no_repeat_ngram([1.0, -np.inf, 0.0], 1, Context([0, 2]))
    assert left.tolist() == [1, -np.inf, 0]
    message = (
        r"^no_repeat_ngram_size must be such that one token at least is left, got only -inf in row "
        r"\(0,\)\. \(In step 1, NoRepeatNgram\(1, guard=False\)\.\)$"
    )
    with pytest.raises(ParameterError, match=message):
        Chain(NoRepeatNgram(1, guard=False))(x, context)


@pytest.mark.parametrize("engine", ["transformers", "aphrodite", "textgen"])
def test_engines_without_a_guard_name_the_ban(engine: str) -> None:
    x, context, request = [1.0, 0.5, 0.0], Context([0, 1, 2]), {"no_repeat_ngram_size": 1}
    with pytest.raises(ParameterError, match=r"^no_repeat_ngram_size must be such"):
        trace(x, request, context=context, engine=engine)
    np.testing.assert_array_equal(trace(x, request, context=context).logits[-1], x)


def test_every_row_has_its_own_size_and_text() -> None:
    x = np.zeros((3, 3))
    context = Context([[0, 1, 0], [0, 1, -1], [0, 1, 2]], output=[[-1], [0], [0]])
    left = no_repeat_ngram(x, [2, 2, 0], context)
    assert np.isinf(left).tolist() == [[False, True, False], [False, True, False], [False] * 3]
    assert np.isinf(no_repeat_ngram(x, 10**12, context)).sum() == 0


def test_wrong_values() -> None:
    for make, message in (
        (lambda: NoRepeatNgram(-1), "no_repeat_ngram_size must be an integer >= 0, got -1."),
        (lambda: NoRepeatNgram(2, -1), "last_n must be an integer >= 0, got -1."),
        (lambda: NoRepeatNgram(2, allowed="a"), "allowed must be a sequence of token ids, got"),  # type: ignore[arg-type]
        (lambda: NoRepeatNgram(2)([0.0]), "context must be a Context for no_repeat_ngram_size"),
    ):
        with pytest.raises(ParameterError) as error:
            make()
        assert message in str(error.value)
