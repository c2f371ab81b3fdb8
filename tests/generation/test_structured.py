"""Generation under a constraint: what ends is valid, and parameters mean what they do."""

from __future__ import annotations

import json
import os
from typing import Any

import jsonschema
import logitlab as ll
import numpy as np
import pytest
from logitlab import Generation, ParameterError, generate, generate_many, resume
from logitlab.constraints import Choice, JsonSchema, Regex
from logitlab.generation.generate import _loop, _pieces
from logitlab.generation.options import Options
from logitlab.models import Gguf, NGram

from toys import Bigrams

MODEL = NGram.bundled()
SMOLLM2 = os.environ.get("LOGITLAB_SMOLLM2", "")
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "trades": {"type": "array", "items": {"enum": ["miller", "tailor", "king"]}, "maxItems": 3},
    },
    "required": ["name", "age", "trades"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "find", "parameters": PERSON}},
    {"type": "function", "function": {"name": "now"}},
]


def check(text: str) -> None:
    jsonschema.Draft202012Validator(PERSON).validate(json.loads(text))


def same(one: Generation, other: Generation) -> bool:
    return (
        one.tokens.tolist() == other.tokens.tolist()
        and (one.text, one.finish, one.tool_calls) == (other.text, other.finish, other.tool_calls)
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [0, 1, 2])
def test_whatever_ends_is_valid(temperature: float) -> None:
    answers = generate(
        MODEL, "The king", response_format=FORMAT, temperature=temperature, n=20, seed=1,
        max_tokens=300,
    )  # fmt: skip
    for answer in answers:
        assert answer.finish.cause == "end token"
        check(answer.text)


def test_what_is_cut_off_is_the_beginning_of_something_valid() -> None:
    whole = generate(MODEL, "The king", response_format=FORMAT, seed=1, max_tokens=300)
    for length in range(1, len(whole.tokens)):
        cut = generate(MODEL, "The king", response_format=FORMAT, seed=1, max_tokens=length)
        assert cut.finish_reason == "length"
        assert whole.text.startswith(cut.text.rstrip("\ufffd"))


def test_greedy_is_the_most_likely_token_that_may_come() -> None:
    constraint = JsonSchema(PERSON)
    answer = generate(MODEL, "The king", constraint=constraint, temperature=0, max_tokens=300)
    matcher = constraint.start(MODEL.vocabulary, MODEL.end_ids)
    tokens = MODEL.encode("The king")
    for token in answer.tokens.tolist():
        logits = MODEL.advance([MODEL.start()], [tokens])[0]
        assert token == np.where(matcher.allowed(), logits, -np.inf).argmax()
        matcher.advance(token)
        tokens.append(token)


@pytest.mark.parametrize(
    "narrow", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 0}]
)
def test_truncations_act_on_what_is_allowed(narrow: dict[str, Any]) -> None:
    greedy = generate(MODEL, "A", response_format=FORMAT, temperature=0, max_tokens=300)
    answer = generate(MODEL, "A", narrow, response_format=FORMAT, seed=3, max_tokens=300)
    assert answer.text == greedy.text
    check(answer.text)


def test_raw_logprobs_are_of_the_model_and_processed_ones_of_what_is_drawn_from() -> None:
    asked: dict[str, Any] = {"seed": 1, "max_tokens": 40, "logprobs": True, "top_logprobs": 3}
    raw = generate(MODEL, "A", response_format=FORMAT, **asked)
    processed = generate(MODEL, "A", response_format=FORMAT, logprobs_mode="processed", **asked)
    assert raw.tokens.tolist() == processed.tokens.tolist()
    logits = MODEL.advance([MODEL.start()], [MODEL.encode("A")])
    assert raw.logprobs is not None
    assert processed.logprobs is not None
    expected = ll.logprobs(logits, [raw.tokens[0]], top_logprobs=3)
    assert raw.logprobs.logprobs[0] == expected.logprobs[0]
    assert raw.logprobs.top_tokens[0].tolist() == expected.top_tokens[0].tolist()
    allowed = JsonSchema(PERSON).start(MODEL.vocabulary, MODEL.end_ids).allowed()
    left = processed.logprobs.top_logprobs[0] > -np.inf
    assert allowed[processed.logprobs.top_tokens[0][left]].all()
    assert processed.logprobs.logprobs[0] > raw.logprobs.logprobs[0]


def test_alone_and_in_any_batch_streamed_and_resumed() -> None:
    constraints = [JsonSchema(PERSON), Choice(["yes", "no", "perhaps"]), None, Regex("[a-z ]{5,9}")]
    alone = [
        generate(MODEL, "The wolf", constraint=one, seed=i, max_tokens=60)
        for i, one in enumerate(constraints)
    ]
    for size in (1, 3, 64):
        batch = generate_many(
            MODEL, "The wolf", constraint=constraints, seed=range(4), max_tokens=60,
            batch_size=size,
        )  # fmt: skip
        assert all(map(same, alone, batch))
    masked = [Options(constraint=one, parameters={"max_tokens": 60}) for one in constraints]
    pieces = list(_pieces(_loop(MODEL, ["The wolf"], [None], masked, list(range(4)), None)))
    for i, answer in enumerate(alone):
        assert "".join(piece.text for piece in pieces if piece.index == i) == answer.text
    seeds = list(range(4))
    begun = generate_many(MODEL, "The wolf", constraint=constraints, seed=seeds, max_tokens=5)
    assert all(map(same, alone, resume(MODEL, begun, max_tokens=60)))
    assert alone[1].text in ("yes", "no", "perhaps")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
@pytest.mark.parametrize("parallel", [True, False])
def test_calls_are_valid_and_parsed_back(choice: Any, parallel: bool) -> None:
    answers = generate(
        MODEL, "The king", tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel, n=12,
        seed=5, max_tokens=400,
    )  # fmt: skip
    finished = [answer for answer in answers if answer.finish_reason == "tool_calls"]
    assert len(finished) >= 3
    for answer in finished:
        assert answer.content is None
        for call in answer.tool_calls:
            if call.name == "find":
                check(call.arguments)
            else:
                assert call.arguments == "{}"
        if not parallel or choice != "required":
            assert len(answer.tool_calls) == 1
    assert all(answer.finish_reason in ("tool_calls", "length") for answer in answers)


def test_tools_that_are_not_called() -> None:
    for choice in ("auto", "none"):
        answers = generate(
            MODEL, "The king", tools=TOOLS, tool_choice=choice, n=5, seed=2, max_tokens=30
        )
        for answer in answers:
            assert answer.content == answer.text
            assert answer.tool_calls == ()
            assert "<tool_call>" not in answer.text


def test_what_cannot_be_enforced_is_said_at_once() -> None:
    def error(**request: Any) -> str:
        with pytest.raises(ParameterError) as caught:
            generate(MODEL, "A", max_tokens=5, **request)
        return str(caught.value)

    def wanted(schema: Any) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    assert "not must be absent" in error(response_format=wanted({"not": {"pattern": "a"}}))
    assert "$ref" in error(response_format=wanted({"$ref": "https://example.com/x.json"}))
    assert "tools, which are a constraint of their own" in error(
        tools=TOOLS, constraint=Choice(["a"])
    )
    assert "structured_outputs must be true with a json_schema" in error(
        response_format=FORMAT, structured_outputs=False
    )
    with pytest.raises(ParameterError, match="end_ids must be at least one token"):
        generate(Endless(), [1], constraint=Choice(["a"]), max_tokens=3)
    with pytest.raises(ParameterError, match="these tokens can spell"):
        generate(Bigrams(), [1], constraint=Choice(["xyz"]), max_tokens=3)


class Endless(Bigrams):
    end_ids = frozenset[int]()


def test_a_model_that_rules_out_what_is_allowed() -> None:
    class Stubborn(Bigrams):
        def advance(self, states: Any, tokens: Any) -> Any:
            logits = super().advance(states, tokens)
            logits[:, 1:] = -np.inf
            return logits

    with pytest.raises(ParameterError, match="finite for a token that the constraint allows"):
        generate(Stubborn(), [1], constraint=Choice(["ab"]), max_tokens=3)


def test_a_row_that_cannot_go_on_leaves_the_others_alone() -> None:
    class Stubborn(Bigrams):
        """After a "b" it gives logits for an "a" alone."""

        def advance(self, states: Any, tokens: Any) -> Any:
            logits = super().advance(states, tokens)
            for row, state in zip(logits, states, strict=True):
                if state.tokens[-1] == 2:
                    row[[0, *range(2, len(row))]] = -np.inf
            return logits

    asked: dict[str, Any] = {"constraint": Choice(["ab", "bbb", "xab", "a"]), "max_tokens": 5}
    answers = generate(Stubborn(), [1], n=24, seed=1, **asked)  # no token spells an "x"
    for i, answer in enumerate(answers):
        [alone] = generate(Stubborn(), [1], n=1, seed=1, sequence=i, **asked)
        assert same(alone, answer)
        if answer.text.startswith("a") and answer.finish.cause == "end token":
            continue
        assert answer.finish_reason == "error"
        assert answer.text in ("b", "ab")
        assert "only -inf among them" in answer.finish.sentence
    reasons = [answer.finish_reason for answer in answers]
    assert min(reasons.count("stop"), reasons.count("error")) > 2
    failed = answers[reasons.index("error")]
    with pytest.raises(ParameterError, match="finite for a token that the constraint allows"):
        generate(Stubborn(), [1], seed=1, sequence=failed.sequence, **asked)
    assert resume(Stubborn(), [failed], max_tokens=9)[0] is failed


def test_a_model_that_gives_no_number_is_told_as_that() -> None:
    class Broken(Bigrams):
        def advance(self, states: Any, tokens: Any) -> Any:
            return super().advance(states, tokens) * np.nan

    with pytest.raises(ParameterError, match="logits must be free of NaN"):
        generate(Broken(), [1], n=2, constraint=Choice(["ab"]), max_tokens=3)


def test_a_bias_that_rules_out_all_but_one() -> None:
    answer = generate(
        MODEL, "A", constraint=Choice(["yes", "no"]), logit_bias={MODEL.vocabulary.find("n"): 100},
        seed=1, max_tokens=9,
    )  # fmt: skip
    assert answer.text == "no"


@pytest.mark.skipif(not SMOLLM2, reason="LOGITLAB_SMOLLM2 names no file")
def test_smollm2_writes_what_is_asked_for() -> None:
    model = Gguf(SMOLLM2)
    messages = [{"role": "user", "content": "Describe a miller of a fairy tale as JSON."}]
    for temperature in (0.7, 2):
        answer = generate(
            model, messages, response_format=FORMAT, seed=1, temperature=temperature,
            max_tokens=120,
        )  # fmt: skip
        check(answer.text)
    called = generate(model, messages, tools=TOOLS, tool_choice="required", seed=1, max_tokens=150,
                      parallel_tool_calls=False)  # fmt: skip
    assert called.finish_reason == "tool_calls"


def test_none_leaves_room_for_a_constraint() -> None:
    answer = generate(
        MODEL, "A", tools=TOOLS, tool_choice="none", constraint=Choice(["yes"]), seed=1,
        max_tokens=9,
    )  # fmt: skip
    assert answer.text == "yes"


@pytest.mark.parametrize("stop", ["}", '"', ",", "1", "e", "king", "x"])
def test_what_is_cut_is_told(stop: str) -> None:
    for form in ({"response_format": FORMAT}, {"tools": TOOLS, "tool_choice": "required"}):
        request: dict[str, Any] = {**form, "stop": [stop], "max_tokens": 60, "temperature": 1}
        for answer in generate(MODEL, "Once", request, n=6, seed=2):
            if "tools" in form:
                # A further call may have begun whose name is not known yet.
                whole = answer.text.endswith("</tool_call>")
                assert not whole or answer.tool_calls[-1].complete
            else:
                try:
                    check(answer.text)
                    whole = True
                except ValueError:
                    whole = False
            assert answer.finish.complete is whole
            told = "The text is not complete under its constraint." in str(answer.finish)
            assert told is (answer.finish.cause == "stop string" and not whole)


def test_a_prefix_may_be_complete() -> None:
    answers = [
        generate(MODEL, "Once", constraint=Regex("a{2,9}b"), stop=[s], seed=1, max_tokens=30)
        for s in ("b", "aab")
    ]
    assert [answer.finish.complete for answer in answers] == [False, False]
    number = generate(MODEL, "Once", constraint=Regex("[0-9]+x?"), stop=["x"], seed=1, max_tokens=9)
    assert number.finish.complete
