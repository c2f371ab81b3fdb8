"""Guidance: against its equation, transformers' answers, and in texts of every kind."""

from __future__ import annotations

import pickle
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import (
    Chain,
    Context,
    Guidance,
    ParameterError,
    generate,
    generate_many,
    guidance_scale,
    resume,
    stream,
)

import reference
from sampler_examples import examples
from toys import END, Bigrams, same

MODEL = Bigrams()
REQUEST: dict[str, Any] = {"logit_bias": {END: -100}, "max_tokens": 12, "guidance_scale": 1.8}


@examples("transformers", "guidance_scale", count=3)
def test_transformers_answers(example: dict[str, Any]) -> None:
    asked = example["params"]
    context = Context(unconditional=np.array(asked["unconditional_logits"], np.float32))
    row = np.array(example["logits"], np.float32)
    for precision in ("double", "mixed"):
        left = Chain(Guidance(asked["guidance_scale"]), precision=precision)(row, context)
        np.testing.assert_allclose(left, example["answer"], atol=2e-6)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.5, 7.0])
def test_equals_the_reference(scale: float) -> None:
    rng = np.random.default_rng(1)
    row, other = rng.normal(0, 3, (2, 40)).tolist()
    expected = reference.guidance(row, other, scale)
    result = guidance_scale(row, scale, Context(unconditional=other))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_edges() -> None:
    row, other = [1.0, 0.0, -np.inf, 2.0], [0.0, 3.0, 1.0, -np.inf]
    context = Context(unconditional=other)
    own = ll.log_softmax(row)
    left = guidance_scale(row, 3.0, context)
    assert left[2] == -np.inf
    assert left[3] == pytest.approx(own[3], rel=1e-12)
    np.testing.assert_array_equal(guidance_scale(row, 1.0, None), row)
    twice = guidance_scale([row, row], [1.0, 3.0], context)
    assert twice[0].tolist() == row
    assert twice[1].tobytes() == left.tobytes()
    far = guidance_scale([0.0, -600.0], 1e306, Context(unconditional=[0.0, 600.0]))
    assert np.isfinite(far).all()
    assert far.argmax() == 0


def test_what_is_missing_or_does_not_fit_is_said() -> None:
    row = [1.0, 0.0]
    for context in (None, Context(prompt=[0])):
        with pytest.raises(ParameterError, match="a Context with unconditional logits") as caught:
            ll.sample(row, {"guidance_scale": 2}, context=context)
        assert "Pass context=Context(unconditional=logits)" in str(caught.value)
    with pytest.raises(ParameterError, match=r"unconditional must be logits that broadcast to"):
        guidance_scale(row, 2.0, Context(unconditional=[1.0, 0.0, 0.0]))
    with pytest.raises(ParameterError, match=r"unconditional must be logits that broadcast to"):
        guidance_scale(row, 2.0, Context(unconditional=np.zeros((3, 2))))
    with pytest.raises(ParameterError, match="unconditional must be"):
        Context(unconditional=[np.nan, 0.0])


def test_a_context_with_logits_is_a_value() -> None:
    one, other = (Context([1], [2], unconditional=[0.0, level]) for level in (1.0, 2.0))
    assert one == pickle.loads(pickle.dumps(one)) != other
    assert repr(one) == "Context(prompt=[1], output=[2], unconditional=[0.0, 1.0])"
    assert one.for_rows((2,), np.array([1])).unconditional is not None
    assert hash(one) != hash(Context([1], [2]))


@pytest.mark.parametrize("negative", [None, [2, 3, 1], [5]])
def test_the_model_is_asked_twice(negative: list[int] | None) -> None:
    prompt = [4, 2]
    asked = REQUEST | ({} if negative is None else {"negative_prompt_ids": negative})
    text = generate(MODEL, prompt, asked, seed=3, trace=True)
    tokens: list[int] = []
    assert text.traces is not None
    for token, trace in zip(text.tokens.tolist(), text.traces, strict=True):
        own, other = (
            Bigrams().advance([MODEL.start()], [[*begin, *tokens]])[0]
            for begin in (prompt, prompt[-1:] if negative is None else negative)
        )
        np.testing.assert_array_equal(trace.logits[0], own)
        expected = reference.guidance(own.tolist(), other.tolist(), 1.8)
        np.testing.assert_allclose(trace.logits[1], expected, rtol=1e-5, atol=1e-5)
        draw = ll.sample(
            own,
            {key: value for key, value in REQUEST.items() if key != "max_tokens"},
            context=Context(prompt, tokens, other),
            seed=3,
            position=len(tokens),
        )
        assert int(draw.tokens) == token
        tokens.append(token)


def test_alone_in_a_batch_streamed_and_resumed() -> None:
    prompts: list[list[int]] = [[1, 2], [2, 3], [4]]
    requests = [REQUEST, REQUEST | {"negative_prompt": "ba"}, {"max_tokens": 12, "top_k": 3}]
    requests[1] |= {"mirostat": 2, "mirostat_tau": 2.0}
    pairs = enumerate(zip(prompts, requests, strict=True))
    alone = [generate(MODEL, p, r, seed=i, logprobs=True) for i, (p, r) in pairs]
    for size in (1, 2, 3):
        batch = generate_many(
            MODEL, prompts, requests, seed=[0, 1, 2], batch_size=size, logprobs=True
        )
        assert all(map(same, alone, batch))
    *_, last = stream(MODEL, prompts[1], requests[1], seed=1, logprobs=True)
    assert last.generation is not None
    assert same(last.generation, alone[1])
    for length in (1, 5):
        begun = generate(
            MODEL, prompts[1], requests[1] | {"max_tokens": length}, seed=1, logprobs=True
        )
        [whole] = resume(MODEL, [pickle.loads(pickle.dumps(begun))], max_tokens=12)
        assert same(whole, alone[1])
        assert whole.state == alone[1].state


def test_under_a_constraint_and_within_both_contexts() -> None:
    mask = ll.constraints.Regex("(ab| )*")
    text = generate(MODEL, [1], REQUEST | {"negative_prompt_ids": [2]}, seed=1, constraint=mask)
    assert set(text.text) <= set("ab ")
    short = Bigrams(context_length=10)
    text = generate(short, [1], REQUEST | {"negative_prompt_ids": [2] * 7}, seed=1)
    assert len(text.tokens) == 3
    for size in (10, 11):
        with pytest.raises(ParameterError, match="negative_prompt_ids must be shorter than the"):
            generate(short, [1], REQUEST | {"negative_prompt_ids": [2] * size}, seed=1)


def test_a_negative_prompt_is_one() -> None:
    both = {"negative_prompt": "a", "negative_prompt_ids": [1]}
    with pytest.raises(ParameterError, match="negative_prompt must be absent where negative_pro"):
        generate(MODEL, [1], REQUEST | both)
    with pytest.raises(ParameterError, match="negative_prompt must be a text, token ids or chat"):
        generate(MODEL, [1], REQUEST | {"negative_prompt": ""})
    calls = Bigrams()
    generate(calls, [1], {"guidance_scale": 1, "negative_prompt": "b", "max_tokens": 2}, seed=1)
    assert calls.calls[0] == [1]
