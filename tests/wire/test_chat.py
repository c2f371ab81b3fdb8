"""Requests and responses on the wire, against what `generate` returns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, generate, generate_many, resume, score, stream, transport
from logitlab.models import NGram
from logitlab.wire.chat import chat, chat_stream
from logitlab.wire.completions import complete

from toys import END, Bigrams

MODEL = NGram.bundled()
ASKED: dict[str, Any] = {
    "model": "brothers/grimm",
    "messages": [
        {"role": "system", "content": "You tell tales."},
        {"role": "user", "content": "Once upon a time"},
    ],
    "seed": 7,
    "max_tokens": 24,
    "temperature": 0.8,
    "top_p": 0.95,
    "min_p": 0.02,
    "top_k": 100,
    "top_a": 0.01,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "repetition_penalty": 1.05,
    "logit_bias": {"65": -1},
    "verbosity": "high",
    "stop": ["."],
}


def parameters(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in ("model", "messages", "n")}


def test_the_response_is_what_generate_returns() -> None:
    body = chat(MODEL, ASKED)
    answer = generate(MODEL, ASKED["messages"], parameters(ASKED))
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": answer.text, "refusal": None}
    assert choice["finish_reason"] == answer.finish_reason
    assert choice["native_finish_reason"] == answer.finish.cause
    assert body["usage"] == {
        "prompt_tokens": len(answer.prompt),
        "completion_tokens": len(answer.tokens),
        "total_tokens": len(answer.prompt) + len(answer.tokens),
    }
    assert (body["object"], body["model"]) == ("chat.completion", "brothers/grimm")
    assert body["logitlab"]["seed"] == 7
    assert body["logitlab"]["finish"] == [str(answer.finish)]
    json.dumps(body, allow_nan=False)


def test_a_repeated_request_gets_the_same_response() -> None:
    one, two = chat(MODEL, ASKED), chat(MODEL, json.loads(json.dumps(ASKED)))
    one.pop("created"), two.pop("created")
    assert one == two
    assert chat(MODEL, {**ASKED, "seed": 8})["id"] != one["id"]
    fresh = chat(MODEL, {**ASKED, "seed": None})
    again = chat(MODEL, {**ASKED, "seed": fresh["logitlab"]["seed"]})
    assert again["choices"] == fresh["choices"]


@pytest.mark.parametrize("n", [1, 3])
def test_chunks_add_up_to_the_response(n: int) -> None:
    request = {**ASKED, "n": n, "logprobs": True, "top_logprobs": 2}
    body, chunks = chat(MODEL, request), list(chat_stream(MODEL, request))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in body["choices"]:
        mine = [
            part
            for chunk in chunks
            for part in chunk["choices"]
            if part["index"] == choice["index"]
        ]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert (
            "".join(part["delta"].get("content", "") for part in mine)
            == (choice["message"]["content"])
        )
        reports = [part["logprobs"]["content"] for part in mine if part["logprobs"]]
        assert [entry for report in reports for entry in report] == choice["logprobs"]["content"]
        assert mine[-1]["delta"] == {}
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        assert all(part["finish_reason"] is None for part in mine[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == body["usage"]
    assert chunks[-1]["logitlab"] == body["logitlab"]


def test_logprobs_have_bytes_and_alternatives() -> None:
    request = {**ASKED, "logprobs": True, "top_logprobs": 20}
    answer = generate(MODEL, ASKED["messages"], parameters(request))
    entries = chat(MODEL, request)["choices"][0]["logprobs"]["content"]
    assert answer.logprobs is not None
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode().startswith(answer.text)
    for i, entry in enumerate(entries):
        assert entry["logprob"] == answer.logprobs.logprobs[i]
        assert bytes(entry["bytes"]) == MODEL.vocabulary[answer.tokens[i]]
        tops = [top["logprob"] for top in entry["top_logprobs"]]
        assert tops == sorted(tops, reverse=True)
        assert tops == answer.logprobs.top_logprobs[i].tolist()
    assert (
        chat(MODEL, {**ASKED, "logprobs": True})["choices"][0]["logprobs"]["content"][0][
            "top_logprobs"
        ]
        == []
    )


def test_what_has_no_probability_is_written_as_a_number() -> None:
    class Certain(Bigrams):
        def advance(self, states: Any, tokens: Any) -> Any:
            logits = super().advance(states, tokens)
            logits[:, 3:] = -np.inf
            return logits

    request = {"prompt": "a", "seed": 1, "max_tokens": 2, "logprobs": True, "top_logprobs": 20}
    entries = chat(Certain(), request)["choices"][0]["logprobs"]["content"]
    assert [top["logprob"] for top in entries[0]["top_logprobs"]].count(-9999.0) == 17
    json.dumps(entries, allow_nan=False)


def test_tokens_that_are_cut_off_are_not_reported() -> None:
    request = {"prompt": "a", "logit_bias": {"2": 100}, "stop": "bb", "logprobs": True}
    choice = chat(Bigrams(), request)["choices"][0]
    assert (choice["message"]["content"], choice["logprobs"]["content"]) == ("", [])
    to_end = chat(Bigrams(), {"prompt": "a", "logit_bias": {str(END): 100}, "logprobs": True})
    assert to_end["choices"][0]["logprobs"]["content"] == []
    assert to_end["usage"]["completion_tokens"] == 1


def test_keys_beyond_the_twenty() -> None:
    request = {
        **ASKED,
        "user": "me",
        "provider": {"order": ["x"]},
        "max_tokens": None,
        "max_completion_tokens": 3,
    }
    body = chat(MODEL, request)
    assert body["usage"]["completion_tokens"] == 3
    assert body["logitlab"]["ignored"] == ["provider", "user"]
    plain = chat(MODEL, {"prompt": "Once upon", "max_tokens": 2, "seed": 1})
    text = generate(MODEL, "Once upon", max_tokens=2, seed=1).text
    assert plain["choices"][0]["message"]["content"] == text
    assert plain["model"] == "grimm"


def test_an_engine_reads_keys_of_its_own() -> None:
    request = {**ASKED, "repeat_last_n": 1, "grammar": "root ::= x"}
    body = chat(MODEL, request, engine="llama_cpp")
    sampling = parameters(request)
    answer = generate(MODEL, ASKED["messages"], sampling, engine="llama_cpp")
    assert body["choices"][0]["message"]["content"] == answer.text
    assert body["logitlab"]["ignored"] == ["grammar"]
    assert any("top_a is ignored by llama_cpp" in note for note in body["logitlab"]["notes"])


@pytest.mark.parametrize(
    ("change", "parameter", "message"),
    [
        ({"top_p": 2}, "top_p", "top_p must be in [0, 1], got 2.0."),
        ({"temperature": "hot"}, "temperature", "temperature must be a number in [0, 2]"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be an integer >= 1, got 0."),
        ({"messages": None}, "messages", "messages must be a non-empty array of messages"),
        ({"messages": []}, "messages", "messages must be a non-empty array of messages"),
        ({"messages": [{"role": "bard", "content": ""}]}, "messages[0].role", "must be one of"),
        ({"n": 0}, "n", "n must be an integer >= 1, got 0."),
        ({"stream": "yes"}, "stream", "stream must be true or false, got 'yes'."),
        ({"model": 5}, "model", "model must be the name of a model, got 5."),
        ({"top_logprobs": 5}, "top_logprobs", "top_logprobs must be 0 unless logprobs is on"),
        ({"logit_bias": {"9999": 1}}, "logit_bias", "token ids in [0, 4095], got 9999."),
        ({"verbosity": "max"}, "verbosity", "verbosity must be one of 'low', 'medium', 'high'"),
    ],
)
def test_what_is_wrong_is_an_error_body(
    change: dict[str, Any], parameter: str, message: str
) -> None:
    error = chat(MODEL, {**ASKED, **change})["error"]
    assert error["code"] == 400
    assert message in error["message"]
    assert error["metadata"] == {"parameter": parameter}
    with pytest.raises(ParameterError):
        chat_stream(MODEL, {**ASKED, **change})


def test_a_body_that_is_none() -> None:
    for given, hint in ((ASKED["messages"], ' Send messages as {"messages": […]}.'), ([], "")):
        told = chat(MODEL, given)["error"]["message"]  # type: ignore[arg-type]
        assert told.startswith("request must be a map, the body of a request, got [")
        assert told.endswith(f"].{hint}")


@pytest.mark.parametrize(
    ("door", "second"),
    [
        (chat, "request"),
        (chat_stream, "request"),
        (complete, "request"),
        (lambda request, model: transport(request), "request"),
        (generate, "prompt"),
        (generate_many, "prompt"),
        (lambda prompt, model: next(stream(prompt, model)), "prompt"),
        (score, "text"),
        (resume, "generations"),
    ],
)
def test_arguments_in_the_wrong_order_are_said_to_be(door: Any, second: str) -> None:
    with pytest.raises(ParameterError, match=r"^model must be a Model, got ") as caught:
        door({"prompt": "a"}, MODEL)
    assert str(caught.value).endswith(f"The model comes first, then the {second}.")


@pytest.mark.parametrize("door", [chat, chat_stream, complete])
def test_what_is_wrong_beside_the_request_is_raised(door: Any) -> None:
    for keyword in ("engine", "logprobs_mode"):
        with pytest.raises(ParameterError, match=f"^{keyword} must be one of"):
            door(MODEL, ASKED, **{keyword: "nobody"})


def test_values_are_told_as_they_were_sent() -> None:
    message = chat(MODEL, {**ASKED, "stop": [None, {"a": True}]})["error"]["message"]
    assert message.endswith('got [null, {"a": true}].')


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
CALLING: dict[str, Any] = {
    "messages": ASKED["messages"],
    "seed": 3,
    "max_tokens": 300,
    "temperature": 0.8,
    "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": CITY}},
        {"type": "function", "function": {"name": "now"}},
    ],
}


@pytest.mark.parametrize(
    ("choice", "n"),
    [
        *(("none", 3), ("auto", 3), ("required", 3), ("required", 1)),
        ({"type": "function", "function": {"name": "weather"}}, 3),
    ],
)
def test_streamed_calls_add_up_to_the_response(choice: Any, n: int) -> None:
    request = {**CALLING, "tool_choice": choice, "n": n, "logprobs": True}
    body, chunks = chat(MODEL, request), list(chat_stream(MODEL, request))
    answers = generate(MODEL, request["messages"], parameters(request), n=n)
    for choice_, answer in zip(body["choices"], answers, strict=True):
        index, message = choice_["index"], choice_["message"]
        mine = [part for chunk in chunks for part in chunk["choices"] if part["index"] == index]
        content = "".join(part["delta"].get("content") or "" for part in mine)
        assert content == (message["content"] or "")
        assert message["content"] == answer.content
        calls: list[dict[str, Any]] = []
        for part in mine:
            for piece in part["delta"].get("tool_calls", []):
                if "id" in piece:
                    assert piece["index"] == len(calls)
                    calls.append({**piece, "function": dict(piece["function"])})
                else:
                    calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
        plain = [{key: call[key] for key in ("id", "type", "function")} for call in calls]
        assert plain == message.get("tool_calls", [])
        assert mine[-1]["finish_reason"] == choice_["finish_reason"] == answer.finish_reason
        per_part = [part["logprobs"]["content"] for part in mine if part["logprobs"]]
        reports = [entry for entries in per_part for entry in entries]
        assert reports == choice_["logprobs"]["content"]
        assert len(reports) >= len(answer.tokens) - 1
    ids = [call["id"] for c in body["choices"] for call in c["message"].get("tool_calls", [])]
    assert len(set(ids)) == len(ids)


def test_a_schema_constrains_the_content() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    body = chat(MODEL, {**ASKED, "stop": None, "response_format": form, "max_tokens": 200})
    assert set(json.loads(body["choices"][0]["message"]["content"])) == {"city"}
    wrong = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"not": {"pattern": "a"}}},
    }
    error = chat(MODEL, {**ASKED, "response_format": wrong})["error"]
    assert error["metadata"] == {"parameter": "response_format.json_schema.schema.not"}
    assert "cannot be enforced" in error["message"]


def test_what_is_wrong_with_tools() -> None:
    choice = {"type": "function", "function": {"name": "nobody"}}
    error = chat(MODEL, {**CALLING, "tool_choice": choice})["error"]
    assert error["message"].startswith("tool_choice must be one of the tools")
    assert "error" in chat(MODEL, {"messages": ASKED["messages"], "tool_choice": "required"})


JSON: dict[str, Any] = {"type": "json_object"}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}


@pytest.mark.parametrize(
    ("change", "parameter", "message"),
    [
        (
            {"response_format": {**JSON, "schema": {"required": ["a"]}}},
            "response_format",
            "response_format must be of type json_schema where it has a schema",
        ),
        ({"response_format": deep(500)}, "response_format", "nested less deeply"),
        ({"max_completion_tokens": "x"}, "max_completion_tokens", "equal to max_tokens where both"),
        ({"max_completion_tokens": 3}, "max_completion_tokens", "equal to max_tokens where both"),
        ({"messages": None, "prompt": ["a"]}, "prompt", 'prompt must be a text, got ["a"].'),
        ({"stream_options": "yes"}, "stream_options", "stream_options must be a map, got 'yes'."),
    ],
)
def test_odd_requests_are_refused(change: dict[str, Any], parameter: str, message: str) -> None:
    error = chat(MODEL, {**ASKED, **change})["error"]
    assert error["metadata"] == {"parameter": parameter}
    assert message in error["message"]


def test_what_is_not_read_is_told() -> None:
    body = chat(MODEL, {**ASKED, "prompt": "x", "guided_json": {}, 5: 1})  # type: ignore[dict-item]
    assert body["logitlab"]["ignored"] == ["5", "guided_json", "prompt"]


def test_usage_can_be_left_out_of_a_stream() -> None:
    request = {**ASKED, "stream_options": {"include_usage": False}}
    assert all(chunk["choices"] for chunk in chat_stream(MODEL, request))


def test_a_stop_string_cuts_what_is_constrained_and_says_so() -> None:
    body = chat(MODEL, {**ASKED, "stop": ['"'], "response_format": JSON})
    assert body["choices"][0]["native_finish_reason"] == "stop string"
    assert body["logitlab"]["finish"][0].endswith("The text is not complete under its constraint.")


def test_a_call_that_is_cut_within_its_marker_is_no_content() -> None:
    for length in (1, 3, 6):
        request = {**CALLING, "tool_choice": "required", "max_tokens": length}
        [choice] = chat(MODEL, request)["choices"]
        assert choice["message"]["content"] is None
        parts = [part for chunk in chat_stream(MODEL, request) for part in chunk["choices"]]
        assert not any(part["delta"].get("content") for part in parts)


def turns(request: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the answers of a conversation in which every call gets a result without a word."""
    messages, bodies = list(request["messages"]), []
    for _ in range(count):
        body = chat(MODEL, {**request, "messages": messages})
        message = body["choices"][0]["message"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": ""}
            for call in message["tool_calls"]
        ]
        messages = [*messages, message, *results]
        bodies.append(body)
    return bodies


def test_ids_of_calls_differ_over_a_conversation() -> None:
    request = {**CALLING, "tool_choice": "required", "max_tokens": 120}
    one, two = (turns(request, 4) for _ in range(2))
    ids = [
        call["id"] for body in one for c in body["choices"] for call in c["message"]["tool_calls"]
    ]
    assert len(set(ids)) == len(ids) >= 4
    assert len({body["id"] for body in one}) == 4
    for body, again in zip(one, two, strict=True):
        assert body["id"] == again["id"]
        assert body["choices"] == again["choices"]


def test_ids_are_those_of_the_conversation_alone() -> None:
    request = {**CALLING, "tool_choice": "required", "n": 2, "parallel_tool_calls": True}

    def ids(**change: Any) -> list[str]:
        body = {**request, **change}
        [one] = [chat(MODEL, body)["choices"]]
        whole = [call["id"] for choice in one for call in choice["message"]["tool_calls"]]
        assert len(set(whole)) == len(whole) >= 2
        assert all(identity.startswith("call_") for identity in whole)
        return whole

    first = ids()
    deltas = [part["delta"] for c in chat_stream(MODEL, request) for part in c["choices"]]
    streamed = [call["id"] for d in deltas for call in d.get("tool_calls", []) if "id" in call]
    assert sorted(streamed) == sorted(first)
    reordered = [dict(reversed(message.items())) for message in ASKED["messages"]]
    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in ASKED["messages"]]
    for same in ({"stream": True}, {"messages": reordered}, {"messages": parts}):
        assert ids(**same) == first
    for other in (
        {"seed": 4},
        {"messages": [*ASKED["messages"], {"role": "user", "content": "!"}]},
    ):
        assert not set(ids(**other)) & set(first)


def test_a_body_without_a_seed_has_an_id_of_its_own() -> None:
    request = {"prompt": "Once", "max_tokens": 1}
    assert chat(MODEL, request)["id"] != chat(MODEL, request)["id"]
    assert chat(MODEL, {**request, "seed": 1})["id"] == chat(MODEL, {"seed": 1, **request})["id"]
    nested: Any = 1
    for _ in range(3000):
        nested = [nested]
    error = chat(MODEL, {**request, "seed": 1, "user": nested}, engine="vllm")["error"]
    assert "nested less deeply, got too many levels" in error["message"]


NAMED = {"type": "function", "function": {"name": "weather"}}
FUNCTION = {"name": "f", "description": "Does.", "strict": True, "parameters": {"type": "object"}}


def with_tool(**change: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": FUNCTION | change}]}


def with_schema(**change: Any) -> dict[str, Any]:
    wrapper = {"name": "x", "description": "A thing.", "strict": True, "schema": CITY} | change
    return {"response_format": {"type": "json_schema", "json_schema": wrapper}}


def streamed(**options: Any) -> dict[str, Any]:
    return {"stream": True, "stream_options": options}


WRAPPER = "response_format.json_schema"


@pytest.mark.parametrize(
    ("change", "path", "rule"),
    [
        (with_tool(strict="yes"), "tools[0].function.strict", "true or false"),
        (with_tool(strict=1), "tools[0].function.strict", "true or false"),
        (with_tool(description=3), "tools[0].function.description", "a text"),
        (with_tool(description=["x"]), "tools[0].function.description", "a text"),
        (with_tool(parameters="{}"), "tools[0].function.parameters", "a JSON schema"),
        (with_tool(name=5), "tools[0].function.name", "1 to 64 of A-Z a-z 0-9 _ -"),
        (with_tool() | {"tool_choice": 5}, "tool_choice", "'none', 'auto', 'required' or "),
        (with_tool() | {"tool_choice": {"type": "custom"}}, "tool_choice.type", "'function'"),
        (with_tool() | {"tool_choice": {"function": {"name": "f"}}}, "tool_choice.type", "'func"),
        (
            with_tool() | {"tool_choice": {"type": "function", "function": "f"}},
            "tool_choice.function",
            "a map with a name",
        ),
        (
            with_tool() | {"tool_choice": {"type": "function", "function": {"name": 5}}},
            "tool_choice.function.name",
            "the name of a function",
        ),
        (with_schema(strict="yes"), f"{WRAPPER}.strict", "true or false"),
        (with_schema(name=5), f"{WRAPPER}.name", "a text"),
        (with_schema(description={}), f"{WRAPPER}.description", "a text"),
        (streamed(include_usage="yes"), "stream_options.include_usage", "true or"),
        (streamed(include_usage=1), "stream_options.include_usage", "true or"),
        ({"stream": True, "stream_options": [1]}, "stream_options", "a map"),
    ],
)
@pytest.mark.parametrize("engine", ["openrouter", "vllm"])
def test_every_field_has_its_type(
    change: dict[str, Any], path: str, rule: str, engine: str
) -> None:
    error = chat(MODEL, {**ASKED, **change}, engine=engine)["error"]
    assert error["metadata"] == {"parameter": path}
    assert error["message"].startswith(f"{path} must be {rule}")


def test_fields_that_are_null_are_absent() -> None:
    nothing = dict.fromkeys(("description", "strict", "parameters"))
    body = chat(MODEL, {**ASKED, **with_tool(**nothing), "tool_choice": "none"})
    assert "error" not in body
    options = {"stream": True, "stream_options": {"include_usage": None}}
    assert "error" not in chat(
        MODEL, {**ASKED, **with_schema(**nothing | {"schema": CITY}), **options}
    )


def test_a_call_that_a_stop_string_cuts_is_told() -> None:
    request = {**CALLING, "tool_choice": NAMED, "max_tokens": 300}
    whole = chat(MODEL, request)["choices"][0]
    assert (whole["native_finish_reason"], whole["logitlab"]) == ("end token", {"complete": True})
    for engine in ("openrouter", "openai"):
        body = chat(MODEL, {**request, "stop": ['"city"']}, engine=engine)
        [choice] = body["choices"]
        [call] = choice["message"]["tool_calls"]
        assert call["function"]["arguments"] == "{"
        assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "stop string")
        assert choice["logitlab"] == {"complete": False}
        assert body["logitlab"]["finish"][0].endswith("is not complete under its constraint.")
        chunks = list(chat_stream(MODEL, {**request, "stop": ['"city"']}, engine=engine))
        ending = [part for c in chunks for part in c["choices"] if part["finish_reason"]]
        assert [part["logitlab"] for part in ending] == [{"complete": False}]
        assert ending[0]["native_finish_reason"] == "stop string"


def test_the_text_is_judged_as_it_was_cut() -> None:
    """The tokens of a stop string may complete what the text without them is not."""
    for stop in ("}", "{", ":"):
        request = {**ASKED, **with_schema(), "stop": [stop], "max_tokens": 200}
        [choice] = chat(MODEL, request)["choices"]
        assert choice["native_finish_reason"] == "stop string"
        assert choice["logitlab"] == {"complete": False}
        with pytest.raises(ValueError, match="Expecting"):
            json.loads(choice["message"]["content"])
    number = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": 12}}}
    request = {**ASKED, "response_format": number, "max_tokens": 20}
    [choice] = chat(MODEL, {**request, "stop": ["2"]})["choices"]
    assert (choice["message"]["content"], choice["logitlab"]) == ("1", {"complete": False})
    [choice] = chat(MODEL, {**request, "stop": ["x"]})["choices"]
    assert (choice["message"]["content"], choice["logitlab"]) == ("12", {"complete": True})


def test_what_can_never_match_is_told() -> None:
    note = (
        "stop '<|end|>' can never match the special token <|end|>, which leaves no text: "
        "only other tokens that spell its name can."
    )
    body = chat(MODEL, {**ASKED, "stop": [".", "<|end|>"]})
    assert note in body["logitlab"]["notes"]
    streamed = list(chat_stream(MODEL, {**ASKED, "stop": "<|end|>"}, engine="vllm"))
    assert note in streamed[-1]["logitlab"]["notes"]
    assert not chat(MODEL, {**ASKED, "stop": [".", "<|end"]})["logitlab"]["notes"]


def test_a_provider_that_is_no_engine_is_told() -> None:
    def notes(*order: str) -> list[str]:
        body = chat(MODEL, {**ASKED, "max_tokens": 1, "provider": {"order": list(order)}})
        return [note for note in body["logitlab"]["notes"] if note.startswith("provider")]

    assert notes("vlm") == [
        "provider.order names vlm, which is no engine here: openrouter answers. Did you mean vllm?"
    ]
    assert notes("Somebody", "Another", "llama.cpp") == [
        "provider.order names Somebody, Another, which are no engines here: llama_cpp answers."
    ]
    assert notes("vLLM", "somebody") == []
    alone = {"order": ["vlm"], "allow_fallbacks": False}
    message = chat(MODEL, {**ASKED, "provider": alone})["error"]["message"]
    assert message.endswith('got ["vlm"]. Did you mean vllm?')
