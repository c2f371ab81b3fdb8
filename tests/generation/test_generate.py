"""Interrupted, cut and resumed; what is wrong is said at once."""

from __future__ import annotations

import inspect
import pickle
import signal
from collections.abc import Sequence
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import Generation, ParameterError, generate, generate_many, resume, stream
from logitlab.models import Model, State

from toys import END, FULL, Bigrams, Hazard, same

MODEL = Bigrams()


@given(st.integers(0, 40), st.sampled_from([{}, {"stop": ["a b", "é"]}, {"top_k": 1}]))
@settings(max_examples=15)
def test_a_generation_that_was_cut_can_be_resumed(length: int, more: dict[str, Any]) -> None:
    whole = generate(MODEL, [1, 2], FULL | more, seed=3, max_tokens=40)
    begun = generate(MODEL, [1, 2], FULL | more, seed=3, max_tokens=max(1, length))
    begun = pickle.loads(pickle.dumps(begun))
    assert same(resume(MODEL, [begun], max_tokens=40)[0], whole)


class Broken(Bigrams):
    """Is interrupted from the keyboard while it computes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        if len(self.calls) == self.at:
            signal.raise_signal(signal.SIGINT)
        return super().advance(states, tokens)


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_what_is_interrupted_is_returned_and_can_be_resumed(at: int) -> None:
    prompts = [[1], [2], [3], [4]]
    request = {**FULL, "logit_bias": {END: -100}}
    requests = [request | {"max_tokens": m} for m in (3, 9, 20, 6)]
    whole = generate_many(MODEL, prompts, requests, seed=1)
    begun = generate_many(Broken(at), prompts, requests, seed=1, batch_size=2)
    reasons = [answer.finish_reason for answer in begun]
    assert "interrupted" in reasons
    assert reasons.count("length") == sum(at + 1 >= m for m in (3,)) + (at >= 9)
    assert "Interrupted after token" in str(begun[-1].finish)
    assert all(map(same, resume(MODEL, begun), whole))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_raised() -> None:
    class Twice(Broken):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().advance(states, tokens)

    with pytest.raises(KeyboardInterrupt):
        generate(Twice(0), [1], max_tokens=5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Script(Bigrams):
    """Writes one text, a byte at a time."""

    context_length = None

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.text = text
        self.vocabulary = ll.Vocabulary(
            [bytes([value]) for value in range(256)] + [b"<end>"], [256]
        )
        self.end_ids = frozenset([256])

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        logits = np.full((len(states), 257), -50.0)
        for row, state, new in zip(logits, states, tokens, strict=True):
            state.read(new)
            place = len(state.tokens) - 1
            row[self.text[place] if place < len(self.text) else 256] = 50.0
        return logits


@pytest.mark.parametrize(
    ("text", "stops"),
    [("xabcd", ["b", "abcd"]), ("xabce", ["b", "abcd"]), ("\ufffdaaaaé", ["é", "a\ufffd"])],
)
def test_a_text_that_was_cut_anywhere_goes_on_as_if_it_had_not_been(
    text: str, stops: list[str]
) -> None:
    model = Script(text.encode())
    whole = generate(model, [1], temperature=0, seed=1, stop=stops, max_tokens=30)
    assert whole.text == text[: min([text.index(s) for s in stops if s in text])]
    for length in range(1, len(text.encode()) + 2):
        cut = generate(model, [1], temperature=0, seed=1, stop=stops, max_tokens=length)
        [resumed] = resume(model, [cut], max_tokens=30)
        assert same(resumed, whole)


def test_what_is_wrong_with_resume_is_said() -> None:
    begun = generate(MODEL, [1], {"logit_bias": {END: -100}}, seed=1, max_tokens=8)
    broken = generate(Broken(5), [1], {"logit_bias": {END: -100}}, seed=1, max_tokens=9)
    for arguments, message in [
        ((MODEL, None), "generations must be a sequence of Generation, got [None]."),
        ((None, [begun]), "model must be a Model, got None."),
        ((MODEL, [begun], 0), "max_tokens must be an integer >= 1, got 0."),
        ((MODEL, [begun], "x"), "max_tokens must be an integer >= 1, got 'x'."),
        ((MODEL, [begun], 3), "max_tokens must be at least the 8 tokens that there are, got 3."),
        ((MODEL, [broken], 3), "max_tokens must be at least the 6 tokens that there are, got 3."),
        ((Hazard(0.5), [begun], 20), "model must be bigrams, which began the text, got 'hazard'."),
    ]:
        model, generations, *limit = arguments
        with pytest.raises(ParameterError) as error:
            resume(model, generations, max_tokens=limit[0] if limit else None)  # type: ignore[arg-type]
        assert message.split(", got [None]")[0] in str(error.value)
    lazily: Any = (one for one in [begun])
    assert len(resume(MODEL, lazily, max_tokens=12)[0].tokens) == 12


def test_a_request_that_changes_later_changes_nothing() -> None:
    request: dict[str, Any] = {"temperature": 0.5, "seed": 1, "logit_bias": {END: -100}}
    whole = generate(MODEL, [1], dict(request), max_tokens=20)
    begun = generate(MODEL, [1], request, max_tokens=5)
    request["temperature"] = 2.0
    request["logit_bias"][END] = 100
    assert same(resume(MODEL, [begun], max_tokens=20)[0], whole)


def test_the_least_that_a_model_is() -> None:
    class Least(Model):
        vocabulary = ll.Vocabulary([b"a", b"b"])

        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return np.zeros((len(states), 2))

    assert len(generate(Least(), [0], max_tokens=3).tokens) == 3


class Endless(Bigrams):
    def __init__(self) -> None:
        super().__init__(context_length=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": ""}, "prompt must be a text, token ids or chat messages, not empty, got ''."),
        ({"prompt": []}, "prompt must be a text, token ids or chat messages, not empty, got []."),
        ({"prompt": b"a"}, "prompt must be a text, token ids or chat messages"),
        ({"prompt": 5}, "prompt must be a text, token ids or chat messages"),
        ({"prompt": [1.5]}, "prompt must be an integer in [0, 19], got [1.5]."),
        ({"prompt": [20]}, "prompt must be an integer in [0, 19], got 20."),
        ({"prompt": np.array(5)}, "prompt must be a text, token ids or chat messages"),
        ({"seed": np.array(3.5)}, "seed must be an integer"),
        ({"prompt": "zzz"}, "token must be the whole text of one token"),
        ({"prompt": [1] * 64}, "prompt must be shorter than the context of 64 tokens, got 64 tok"),
        ({"prompt": [{"role": "poet", "content": "a"}]}, "messages[0].role must be one of"),
        ({"prompt": [{"content": "a"}]}, "messages[0].role must be one of"),
        ({"prompt": [{"role": "user"}]}, "messages[0].content must be a text"),
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1, got 0."),
        ({"stop": ""}, "stop must be an array of non-empty strings, got ''."),
        ({"stop": ["a", ""]}, "stop must be an array of non-empty strings"),
        ({"top_logprobs": 3}, "top_logprobs must be 0 unless logprobs is on, got 3."),
        ({"logprobs": True, "top_logprobs": 20, "model": Hazard(0.5), "max_tokens": 1},
         "top_logprobs must be at most the 4 tokens of the model, got 20."),
        ({"temperature": 3}, "temperature must be in [0, 2], got 3."),
        ({"temprature": 1}, "keywords must be request parameters, got temprature=1."),
        ({"logit_bias": {20: 1}}, "logit_bias must be a map whose keys are token ids in"),
        ({"verbosity": "huge"}, "verbosity must be one of 'low', 'medium', 'high', got 'huge'."),
        ({"verbosity_bias": "big"}, "verbosity_bias must be"),
        ({"constraint": "yes"}, "constraint must be a Constraint or None, got 'yes'."),
        ({"engine": "llama"}, "engine must be one of"),
        ({"coupling": "luck"}, "coupling must be one of"),
        ({"logprobs_mode": "all"}, "logprobs_mode must be one of"),
        ({"trace": 1}, "trace must be True or False, got 1."),
        ({"n": 0}, "n must be an integer >= 1, got 0."),
        ({"seed": 1.5}, "seed must be an integer, got 1.5."),
        ({"sequence": -1}, "sequence must be an integer in"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0."),
        ({"model": "gpt"}, "model must be a Model, got 'gpt'."),
        ({"request": 5}, "request must be SamplingParams, a map, a chain or None, got 5."),
        ({"request": ll.Chain(ll.TopK(3)), "top_p": 0.5}, "top_p must be a step of the chain"),
        ({"request": ll.Chain(ll.TopK([3, 4]))}, "request must be a chain of steps with one value"),
        ({"request": ll.Chain(ll.LogitBias({1: [3, 4]}))}, "request must be a chain of steps w"),
        ({"model": Endless()}, "max_tokens must be given for bigrams, whose context has no end"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_done(
    change: dict[str, Any], message: str
) -> None:
    arguments = {"model": MODEL, "prompt": [1], "request": None, **change}
    model = arguments["model"]
    calls = len(model.calls) if isinstance(model, Bigrams) else 0
    for function in (generate, stream):
        with pytest.raises(ParameterError) as error:
            function(**arguments)
        assert message in str(error.value)
    assert calls == (len(model.calls) if isinstance(model, Bigrams) else 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[1], []]}, "(In prompt 1.)"),
        ({"seed": [1, 2, 3]}, "prompts must be one, or a list of 3, got a list of 2"),
    ],
)
def test_lists_that_do_not_fit_are_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        generate_many(**{"model": MODEL, "prompts": [[1], [2]], **change})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "change", [{"prompt": [[1], [2]]}, {"request": [{}, {}]}, {"seed": [1, 2]}]
)
def test_one_prompt_is_one_prompt(change: dict[str, Any]) -> None:
    for function in (generate, stream):
        with pytest.raises(ParameterError, match=r"must be one .*generate_many takes lists\."):
            function(**{"model": MODEL, "prompt": [1], **change})


def test_the_options_stand_in_every_signature() -> None:
    for function in (generate, stream, generate_many):
        names = inspect.signature(function).parameters
        assert {"engine", "seed", "coupling", "logprobs_mode", "constraint", "trace"} <= set(names)


def test_a_model_that_breaks_its_promise_is_told_so() -> None:
    class Short(Bigrams):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return super().advance(states, tokens)[:, :5]

    class Nan(Bigrams):
        def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
            return super().advance(states, tokens) * np.nan

    with pytest.raises(ParameterError, match=r"logits must be of shape \(1, 20\), one row for"):
        generate(Short(), [1], max_tokens=2)
    with pytest.raises(ParameterError, match=r"logits must be free of NaN.*logits of bigrams"):
        generate(Nan(), [1], max_tokens=2)


def test_messages_go_through_the_models_template() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
    ]
    answer = generate(MODEL, messages, max_tokens=1)
    assert answer.prompt.tolist() == MODEL.encode("ab\n\nb\n\n")
    prompts: list[Any] = [messages, "ab"]
    many = generate_many(MODEL, prompts, max_tokens=1)
    assert [each.prompt.tolist() for each in many] == [answer.prompt.tolist(), [1, 2]]


def test_generations_show_themselves() -> None:
    answer = generate(MODEL, [1], {"logit_bias": {1: 100}}, seed=4, max_tokens=3)
    assert repr(answer) == "<Generation 'aaa': 3 tokens, max_tokens, seed 4>"
    assert str(answer) == "aaa"


def test_models_are_not_asked_for_what_is_resumed_already() -> None:
    done: list[Generation] = [generate(MODEL, [1], max_tokens=3, seed=1)]
    assert resume(MODEL, done) == done
    with pytest.raises(ParameterError, match="generations must be a sequence of Generation"):
        resume(MODEL, [5])  # type: ignore[list-item]
