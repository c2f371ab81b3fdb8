"""Responses in their plain text form: as OpenAI's client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import logitlab as ll
import openai
import pytest
from logitlab.models import NGram
from logitlab.server import app
from logitlab.server.run import Background

from asking import ask

MODEL = NGram.bundled()
SAID = "Once upon a time"
ASKED: dict[str, Any] = {"input": SAID, "max_output_tokens": 9}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with Background(MODEL) as server:
        yield openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)


def test_a_response_is_what_generate_writes(client: openai.OpenAI) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SAID}]
    answer = ll.generate(MODEL, prompt, max_tokens=9, seed=3, temperature=0.7)
    words: Any = {"instructions": "Be brief.", "temperature": 0.7, "extra_body": {"seed": 3}}
    response = client.responses.create(model="grimm", **ASKED, **words)
    assert response.output_text == answer.text
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 9
    assert response.usage.input_tokens == len(answer.prompt)
    with client.responses.stream(model="grimm", **ASKED, **words) as stream:
        events: list[Any] = list(stream)
    kinds = [event.type for event in events]
    assert events[-1].response.output_text == answer.text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.incomplete"
    assert kinds.count("response.output_text.delta") > 3
    until: Any = {"extra_body": {"seed": 3, "stop": ["."]}}
    with client.responses.stream(model="grimm", input=SAID, **until) as stream:
        final = stream.get_final_response()
    assert final.output_text == ll.generate(MODEL, prompt[1:], seed=3, stop=["."]).text


def test_messages_and_their_parts() -> None:
    entries = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Yes?"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": SAID}]},
    ]
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": SAID},
    ]
    server = app(MODEL)
    request = {"input": entries, "max_output_tokens": 5, "seed": 2, "store": True, "tools": []}
    body = ask(server, "POST", "/v1/responses", json=request).json()
    answer = ll.generate(MODEL, messages, max_tokens=5, seed=2)
    assert body["output"][0]["content"][0]["text"] == answer.text
    ended = {"input": SAID, "stop": [" "], "seed": 2}
    assert ask(server, "POST", "/v1/responses", json=ended).json()["status"] == "completed"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"input": None}, "input must be a text, or a list of messages, not empty, got null."),
        ({"input": []}, "input must be a text, or a list of messages, not empty, got []."),
        ({"input": [5]}, "input[0] must be a message with role and content, got 5."),
        ({"input": [{"role": "x", "content": "a"}]}, "input[0].role must be one of"),
        ({"input": [{"type": "function_call"}]}, "input[0] must be a message with role and"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0] must be a part of type input_text or output_text",
        ),
        ({"instructions": 5}, "instructions must be a text, got 5."),
        ({"max_output_tokens": 0}, "max_output_tokens must be an integer >= 1, got 0."),
        ({"tools": [{"type": "web_search"}]}, "tools must be absent: responses have their plain"),
        ({"background": True}, "background must be absent: responses have their plain text form"),
        ({"previous_response_id": "x"}, "previous_response_id must be absent"),
        ({"text": {"format": {"type": "json_object"}}}, 'text.format must be {"type": "text"}'),
        ({"tool_choice": "required"}, "tool_choice must be none or auto, got 'required'."),
        ({"top_p": 2}, "top_p must be in [0, 1], got 2.0."),
    ],
)
def test_what_is_wrong_is_told(more: dict[str, Any], message: str) -> None:
    for streams in (False, True):
        request = {**ASKED, **more, "stream": streams}
        response = ask(app(MODEL), "POST", "/v1/responses", json=request)
        assert response.status_code == 400
        assert response.json()["error"]["message"].startswith(message)


def test_what_goes_wrong_on_the_way_is_an_event() -> None:
    class Failing(NGram):
        def advance(self, states: Any, tokens: Any) -> Any:
            logits = super().advance(states, tokens)
            return logits * float("nan") if len(states[0].tokens) > 8 else logits

    tale = Failing.fit("Once upon a time there was a king who had a king. " * 3)
    request = {"input": "a", "stream": True, "seed": 1, "max_output_tokens": 50}
    text = ask(app(tale), "POST", "/v1/responses", json=request).text
    last = text.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: response.failed"
    body = json.loads(last[1].removeprefix("data: "))
    assert "logits must be free of NaN" in body["response"]["error"]["message"]
