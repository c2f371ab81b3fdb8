"""The real clients, in this process: what they parse is what `generate` returns."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Annotated, Any

import httpx
import openai
import pydantic
import pytest
from logitlab import ParameterError, generate, transport
from logitlab.models import NGram
from openrouter import OpenRouter
from openrouter.errors import BadRequestResponseError

MODEL = NGram.bundled()
URL = "http://lab.invalid/api/v1"
MESSAGES: Any = [{"role": "user", "content": "Once upon a time"}]
# What OpenAI's client knows, and what it sends as an extra body.
KNOWN: dict[str, Any] = {
    "seed": 7,
    "max_tokens": 20,
    "temperature": 0.8,
    "top_p": 0.95,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "logit_bias": {"65": -1},
    "verbosity": "high",
    "stop": ["."],
    "logprobs": True,
    "top_logprobs": 2,
}
EXTRA: dict[str, Any] = {"min_p": 0.02, "top_k": 100, "top_a": 0.01, "repetition_penalty": 1.05}
CANNOT = {"verbosity"}
ANSWER = generate(MODEL, MESSAGES, KNOWN | EXTRA)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network is involved")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def sync_client() -> openai.OpenAI:
    client: Any = httpx.Client(transport=transport(MODEL))
    return openai.OpenAI(base_url=URL, api_key="none", http_client=client, max_retries=0)


def async_client() -> openai.AsyncOpenAI:
    client: Any = httpx.AsyncClient(transport=transport(MODEL))
    return openai.AsyncOpenAI(base_url=URL, api_key="none", http_client=client, max_retries=0)


def router() -> OpenRouter:
    client = httpx.Client(transport=transport(MODEL))
    return OpenRouter(api_key="none", server_url=URL, client=client)


def test_openai_plain() -> None:
    completions = sync_client().chat.completions
    result = completions.create(model="grimm", messages=MESSAGES, extra_body=EXTRA, **KNOWN)
    [choice] = result.choices
    assert choice.message.content == ANSWER.text
    assert choice.finish_reason == ANSWER.finish_reason
    assert result.usage is not None
    assert result.usage.completion_tokens == ANSWER.usage.completion_tokens
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert ANSWER.logprobs is not None
    for i, entry in enumerate(choice.logprobs.content):
        assert entry.logprob == ANSWER.logprobs.logprobs[i]
        assert entry.bytes == list(MODEL.vocabulary[ANSWER.tokens[i]])
        assert [top.logprob for top in entry.top_logprobs] == (
            ANSWER.logprobs.top_logprobs[i].tolist()
        )
    assert result.model_extra is not None
    assert result.model_extra["logitlab"]["finish"] == [str(ANSWER.finish)]


def test_openai_streamed() -> None:
    completions = sync_client().chat.completions
    chunks = list(
        completions.create(model="grimm", messages=MESSAGES, extra_body=EXTRA, stream=True, **KNOWN)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ANSWER.text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == ANSWER.finish_reason
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == ANSWER.usage.completion_tokens
    until_stop: dict[str, Any] = {"seed": 7, "max_tokens": 400, "stop": ["."]}
    with completions.stream(model="grimm", messages=MESSAGES, **until_stop) as events:
        final = events.get_final_completion()
    answer = generate(MODEL, MESSAGES, until_stop)
    assert answer.finish_reason == "stop"
    assert final.choices[0].message.content == answer.text


def test_openai_asynchronous() -> None:
    async def ask() -> tuple[str | None, str]:
        completions = async_client().chat.completions
        plain, stream = await asyncio.gather(
            completions.create(model="grimm", messages=MESSAGES, extra_body=EXTRA, **KNOWN),
            completions.create(
                model="grimm", messages=MESSAGES, extra_body=EXTRA, stream=True, **KNOWN
            ),
        )
        parts = [c.choices[0].delta.content or "" async for c in stream if c.choices]
        return plain.choices[0].message.content, "".join(parts)

    assert asyncio.run(ask()) == (ANSWER.text, ANSWER.text)


def test_openrouter_plain_and_streamed() -> None:
    # This client has no argument for some.
    parameters = {key: value for key, value in (KNOWN | EXTRA).items() if key not in CANNOT}
    answer = generate(MODEL, MESSAGES, parameters)
    request = {**parameters, "messages": MESSAGES, "model": "brothers/grimm"}
    result = router().chat.send(**request)
    [choice] = result.choices
    assert choice.message.content == answer.text
    assert choice.finish_reason == answer.finish_reason
    assert result.usage.completion_tokens == answer.usage.completion_tokens
    assert answer.logprobs is not None
    entries = choice.logprobs.content
    assert [entry.logprob for entry in entries] == (
        answer.logprobs.logprobs[: len(entries)].tolist()
    )
    assert len(entries) == len(answer.tokens) - (answer.finish.cause != "max_tokens")
    assert [top.logprob for top in entries[0].top_logprobs] == (
        answer.logprobs.top_logprobs[0].tolist()
    )
    chunks = list(router().chat.send(**request, stream=True))
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == answer.text
    assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens


def test_several_answers() -> None:
    result = sync_client().chat.completions.create(
        model="grimm", messages=MESSAGES, n=3, seed=7, max_tokens=10
    )
    answers = generate(MODEL, MESSAGES, n=3, seed=7, max_tokens=10)
    assert [choice.message.content for choice in result.choices] == [
        answer.text for answer in answers
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_arrive_as_errors(stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        sync_client().chat.completions.create(
            model="grimm", messages=MESSAGES, top_p=1.3, stream=stream
        )
    body: Any = error.value.body
    assert body["message"] == "top_p must be in [0, 1], got 1.3."
    assert body["metadata"] == {"parameter": "top_p"}
    with pytest.raises(BadRequestResponseError, match=r"top_p must be in \[0, 1\], got 1.3."):
        router().chat.send(messages=MESSAGES, model="grimm", top_p=1.3, stream=stream)


def test_log_probabilities_of_another_kind() -> None:
    request = {"messages": MESSAGES, "logprobs": True, "top_k": 1, "max_tokens": 2, "seed": 1}
    values = []
    for mode in ("raw", "processed"):
        client = httpx.Client(transport=transport(MODEL, engine="openai", logprobs_mode=mode))
        body = client.post(f"{URL}/chat/completions", json={**request, "temperature": 0}).json()
        values.append([e["logprob"] for e in body["choices"][0]["logprobs"]["content"]])
    assert max(values[0]) < 0.0 == min(values[1])
    with pytest.raises(ParameterError, match="logprobs_mode must be one of 'engine', 'raw'"):
        transport(MODEL, logprobs_mode="cooked")


def test_other_paths_and_bodies() -> None:
    client = httpx.Client(transport=transport(MODEL), base_url=URL)
    assert client.get("/models").status_code == 404
    wrong = client.post("/chat/completions", content=b"{")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["message"] == "request must be JSON, got '{'."
    assert client.post("/chat/completions", json=[1]).status_code == 400
    with pytest.raises(ParameterError, match="model must be a Model, got 5"):
        transport(5)  # type: ignore[arg-type]


def test_what_goes_wrong_in_a_stream_is_an_event() -> None:
    class Failing(NGram):
        def advance(self, states: Any, tokens: Any) -> Any:
            logits = super().advance(states, tokens)
            return logits * float("nan") if len(states[0].tokens) > 8 else logits

    tale = Failing.fit("Once upon a time there was a king who had a king. " * 3)
    client = httpx.Client(transport=transport(tale))
    request = {"messages": [{"role": "user", "content": "a"}], "stream": True, "seed": 1}
    text = client.post(f"{URL}/chat/completions", json={**request, "max_tokens": 50}).text
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert "logits must be free of NaN" in json.loads(events[-2])["error"]["message"]
    assert events[-1] == "[DONE]"


class Tailor(pydantic.BaseModel, extra="forbid"):
    name: Annotated[str, pydantic.Field(min_length=1, max_length=16)]
    age: Annotated[int, pydantic.Field(ge=0, le=120)]
    married: bool


def test_openai_parses_a_model_back() -> None:
    result = sync_client().chat.completions.parse(
        model="grimm", messages=MESSAGES, response_format=Tailor, seed=4, max_tokens=200
    )
    tailor = result.choices[0].message.parsed
    assert isinstance(tailor, Tailor)
    assert result.choices[0].message.content is not None
    assert Tailor.model_validate_json(result.choices[0].message.content) == tailor
    with sync_client().chat.completions.stream(
        model="grimm", messages=MESSAGES, response_format=Tailor, seed=4, max_tokens=200
    ) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.parsed == tailor


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 10}, "days": {"enum": [1, 2]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CALL: dict[str, Any] = {
    "tools": [WEATHER],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "seed": 2,
    "max_tokens": 200,
}


def test_openai_calls_tools() -> None:
    answer = generate(MODEL, MESSAGES, CALL)
    completions = sync_client().chat.completions
    result = completions.create(model="grimm", messages=MESSAGES, **CALL)
    message = result.choices[0].message
    assert result.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    [call] = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    assert call.function.arguments == answer.tool_calls[0].arguments
    with completions.stream(model="grimm", messages=MESSAGES, **CALL) as events:
        final = events.get_final_completion()
    calls: Any = final.choices[0].message.tool_calls
    assert calls[0].function.arguments == call.function.arguments
    assert calls[0].id == call.id
    assert calls[0].function.parsed_arguments["days"] in (1, 2)


def test_openrouter_calls_tools_and_constrains() -> None:
    answer = generate(MODEL, MESSAGES, CALL)
    result = router().chat.send(messages=MESSAGES, model="grimm", **CALL)
    [call] = result.choices[0].message.tool_calls
    assert result.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == (
        "weather",
        answer.tool_calls[0].arguments,
    )
    pieces = [
        piece
        for chunk in router().chat.send(messages=MESSAGES, model="grimm", stream=True, **CALL)
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or []
    ]
    assert pieces[0].id == call.id
    assert "".join(piece.function.arguments or "" for piece in pieces) == call.function.arguments
    schema = {"name": "tailor", "schema": Tailor.model_json_schema()}
    form: Any = {"type": "json_schema", "json_schema": schema}
    completion = router().chat.send(
        messages=MESSAGES, model="grimm", response_format=form, seed=4, max_tokens=200
    )
    content: Any = completion.choices[0].message.content
    Tailor.model_validate_json(content)


def test_texts_that_no_encoding_has() -> None:
    client = httpx.Client(transport=transport(MODEL))
    request = {"model": "\ud800", "messages": MESSAGES, "max_tokens": 2, "\ud801": 1}
    for stream in (False, True):
        body = json.dumps({**request, "stream": stream}).encode()
        response = client.post(f"{URL}/chat/completions", content=body)
        assert response.status_code == 200
        assert "ud801" in response.text
    deep = client.post(f"{URL}/chat/completions", content=b"[" * 100_000)
    assert deep.status_code == 400
