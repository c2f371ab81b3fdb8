"""Answers that are known before are still the model's: with what it thinks of each token."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import logitlab as ll
import pytest
from logitlab import ParameterError
from logitlab.models import NGram
from logitlab.server import app
from logitlab.server.script import Script

from asking import ask, ask_together, chunks_of
from toys import Bigrams, Hazard

MODEL = NGram.bundled()
CALL = {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2.5]}}
RULES: list[dict[str, Any]] = [
    {"match": "(?i)capital of france", "text": "Paris is a city, said the king."},
    {"match": "weather", "tool_calls": [CALL, {"function": {"name": "now", "arguments": "{}"}}]},
    {"match": "^teapot$", "status": 418},
    {"match": "nothing", "text": ""},
    {"match": "capital", "text": "Never reached for France."},
]
TOOLS = [
    {"type": "function", "function": {"name": "now"}},
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "array"}},
            },
        },
    },
]


@pytest.fixture(scope="module")
def server() -> Any:
    return app(MODEL, script=RULES)


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"json": {"messages": [{"role": "user", "content": text}], "max_tokens": 60, **more}}


def test_a_text_is_forced_with_its_true_log_probabilities(server: Any) -> None:
    said = "What is the capital of France?"
    asked = says(said, logprobs=True, top_logprobs=2, seed=3)
    body = ask(server, "POST", "/v1/chat/completions", **asked).json()
    [choice] = body["choices"]
    assert choice["message"]["content"] == RULES[0]["text"]
    assert choice["finish_reason"] == "stop"
    prompt = [{"role": "user", "content": said}]
    score = ll.score(MODEL, RULES[0]["text"], prompt=prompt, top_logprobs=2, end=True)
    entries = choice["logprobs"]["content"]
    assert [entry["logprob"] for entry in entries] == score.raw.logprobs[:-1].tolist()
    for entry, tops in zip(entries, score.raw.top_logprobs, strict=False):
        assert [top["logprob"] for top in entry["top_logprobs"]] == tops.tolist()
    chunks = chunks_of(ask(server, "POST", "/v1/chat/completions", **says(said, stream=True)).text)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == RULES[0]["text"]
    assert len(deltas) > 5  # token by token


def test_a_text_under_a_step_that_removes_it_and_one_with_a_state(server: Any) -> None:
    said = "capital of France"
    for more in ({"top_k": 1}, {"mirostat": 2, "mirostat_tau": 1}, {"xtc_probability": 0.5}):
        asked = {"json": {**says(said, seed=1)["json"], **more, "logprobs": True}}
        [choice] = ask(server, "POST", "/v1/chat/completions", **asked).json()["choices"]
        assert choice["message"]["content"] == RULES[0]["text"]
    server = app(MODEL, script=RULES, logprobs_mode="processed")
    asked = says(said, top_k=1, logprobs=True)
    [choice] = ask(server, "POST", "/v1/chat/completions", **asked).json()["choices"]
    values = {entry["logprob"] for entry in choice["logprobs"]["content"]}
    assert values == {0.0, -9999.0}


def test_the_first_rule_wins_and_without_one_the_model_writes(server: Any) -> None:
    body = ask(server, "POST", "/v1/chat/completions", **says("The capital of Spain?")).json()
    assert body["choices"][0]["message"]["content"] == RULES[4]["text"]
    asked = says("Once upon a time", seed=7)
    body = ask(server, "POST", "/v1/chat/completions", **asked).json()
    assert body["choices"] == ll.chat(MODEL, asked["json"])["choices"]
    turns = [
        {"role": "user", "content": "capital of France"},
        {"role": "assistant", "content": "nothing"},
        {"role": "user", "content": [{"type": "text", "text": "a teapot"}]},
    ]
    asked = {"json": {"messages": turns, "max_tokens": 3, "seed": 1}}
    body = ask(server, "POST", "/v1/chat/completions", **asked).json()
    assert body["choices"] == ll.chat(MODEL, asked["json"])["choices"]


def test_limits_and_stop_strings_hold(server: Any) -> None:
    body = ask(server, "POST", "/v1/chat/completions", **says("nothing")).json()
    assert body["choices"][0]["message"]["content"] == ""
    assert body["choices"][0]["finish_reason"] == "stop"
    asked = says("capital of France", max_tokens=2, n=2)
    asked["json"]["max_tokens"] = 2
    choices = ask(server, "POST", "/v1/chat/completions", **asked).json()["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["length"] * 2
    asked = says("capital of France", stop=[", said"])
    [choice] = ask(server, "POST", "/v1/chat/completions", **asked).json()["choices"]
    assert choice["message"]["content"] == "Paris is a city"


@pytest.mark.parametrize("streams", [False, True])
def test_calls_are_forced_through_the_tools_of_the_request(server: Any, streams: bool) -> None:
    asked = says("weather?", tools=TOOLS, stream=streams, max_tokens=400)
    asked["json"]["max_tokens"] = 400
    response = ask(server, "POST", "/v1/chat/completions", **asked)
    if streams:
        calls: dict[int, dict[str, str]] = {}
        for chunk in chunks_of(response.text):
            for choice in chunk["choices"]:
                for call in choice["delta"].get("tool_calls", ()):
                    mine = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                    mine["name"] += call["function"].get("name", "")
                    mine["arguments"] += call["function"]["arguments"]
                reason = choice["finish_reason"]
        made = list(calls.values())
    else:
        [choice] = response.json()["choices"]
        made = [call["function"] for call in choice["message"]["tool_calls"]]
        reason = choice["finish_reason"]
        assert choice["message"]["content"] is None
    assert reason == "tool_calls"
    assert [call["name"] for call in made] == ["weather", "now"]
    assert json.loads(made[0]["arguments"]) == CALL["arguments"]
    assert made[1]["arguments"] == "{}"


def test_what_a_rule_and_a_request_cannot_agree_on_is_told(server: Any) -> None:
    cases = [
        (says("weather"), 400, "tools must be given where script[1] answers with calls, got null."),
        (says("weather", tools=TOOLS[:1]), 400, "script[1].tool_calls must be what the request's"),
        (says("weather", tools=TOOLS, tool_choice="none"), 400, "script[1].tool_calls must be"),
        (says("capital", response_format={"type": "json_object"}), 400, "script[4].text must be"),
        (says("teapot"), 418, "the request must be one that no error is scripted for, got "),
    ]
    for asked, status, message in cases:
        response = ask(server, "POST", "/v1/chat/completions", **asked)
        assert response.status_code == status
        assert response.json()["error"]["code"] == status
        assert response.json()["error"]["message"].startswith(message)


def test_other_endpoints_have_the_script_too(server: Any) -> None:
    asked = {"json": {"prompt": "The capital of France", "echo": True, "logprobs": 0}}
    asked["json"] |= {"max_tokens": 60}
    [choice] = ask(server, "POST", "/v1/completions", **asked).json()["choices"]
    assert choice["text"] == "The capital of France" + RULES[0]["text"]
    asked = {"json": {"input": "The capital of France"}}
    body = ask(server, "POST", "/v1/responses", **asked).json()
    assert body["output"][0]["content"][0]["text"] == RULES[0]["text"]


def test_models_with_other_ends() -> None:
    model = Bigrams(seed=2)
    body = ask(app(model, script=[{"text": "ab日"}]), "POST", "/v1/completions", json={
        "prompt": "a", "max_tokens": 9}).json()  # fmt: skip
    assert body["choices"][0]["text"] == "ab日"
    model.end_ids = frozenset()
    body = ask(app(model, script=[{"text": "ab"}]), "POST", "/v1/completions", json={
        "prompt": "a", "max_tokens": 9}).json()  # fmt: skip
    [choice] = body["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("ab", "stop")
    assert choice["native_finish_reason"] == "forced"
    assert body["logitlab"]["finish"] == ["The text that was to be written ends here."]
    with pytest.raises(ParameterError, match=r"script\[0\].text must be not empty, since bigrams"):
        Script([{"text": ""}], model)
    with pytest.raises(ParameterError, match=r"script\[0\].text must be token ids: hazard has no"):
        Script([{"text": "x"}], Hazard(0.5))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("x", "script must be a list of rules, got 'x'."),
        ([5], "script[0] must be a map with match and text, tool_calls or status, got 5."),
        ([{"match": "("}], "script[0] must be with one of text, tool_calls and status, got none."),
        ([{"text": "a", "status": 400}], "got text and status."),
        ([{"match": "(", "text": "a"}], "script[0].match must be a regular expression, got '('."),
        ([{"match": 5, "text": "a"}], "script[0].match must be a regular expression, got 5."),
        ([{"text": 5}], "script[0].text must be a text, got 5."),
        ([{"text": "\ud800"}], "script[0].text must be a text that UTF-8 can spell"),
        ([{"status": 200}], "script[0].status must be an integer in [400, 599], got 200."),
        (
            [{"txt": "a"}],
            "script[0] must be of the keys match, text, tool_calls, status, got 'txt'",
        ),
        ([{"tool_calls": []}], "script[0].tool_calls must be a list of calls, not empty, got []."),
        ([{"tool_calls": [{}]}], "script[0].tool_calls[0] must be a map with name and arguments"),
        (
            [{"tool_calls": [{"name": "a", "arguments": "["}]}],
            "script[0].tool_calls[0].arguments must be a map, or its JSON text, got '['.",
        ),
    ],
)
def test_what_is_no_rule_is_told(rules: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        Script(rules, MODEL)
    assert message in str(error.value)


def test_the_journal_tells_what_was_asked(server: Any) -> None:
    server.journal.clear()
    before = server.journal.report()["count"]
    ask(server, "POST", "/v1/chat/completions", **says("the teapot"))
    ask(server, "POST", "/v1/chat/completions", **says("teapot"))
    ask(server, "POST", "/v1/completions", content=b"{")
    long = {"prompt": "word " * 20_000, "max_tokens": 1}
    ask(server, "POST", "/v1/completions", json=long)
    report = ask(server, "GET", "/lab/journal").json()
    assert report["count"] == before + 4
    first, second, third, fourth = report["requests"]
    assert first["request"]["messages"][0]["content"] == "the teapot"
    assert (first["status"], first["rule"], first["outcome"]) == (200, None, "finished")
    assert (second["status"], second["rule"], second["outcome"]) == (418, 2, "refused")
    assert (third["status"], third["request"]) == (400, None)
    assert fourth["request"] is None
    assert fourth["size"] > 1 << 16
    assert ask(server, "DELETE", "/lab/journal").json()["requests"] == []


def test_failures_are_played_and_seeded() -> None:
    def statuses(**settings: Any) -> list[int]:
        server = app(MODEL, **settings)
        request = {"json": {"prompt": "The", "max_tokens": 1}}
        return [ask(server, "POST", "/v1/completions", **request).status_code for _ in range(60)]

    some = statuses(fail=["429:0.2", "500:0.1"])
    assert some == statuses(fail=["429:0.2", "500:0.1"])
    assert some != statuses(fail=["429:0.2", "500:0.1"], fail_seed=1)
    assert {*some} == {200, 429, 500}
    # Each count is binomial; either lies outside with a probability below 1 in 1,000.
    assert 3 <= some.count(429) <= 24
    assert 0 < some.count(500) <= 16
    response = ask(app(MODEL, fail=["429:1"]), "POST", "/v1/completions", json={"prompt": "a"})
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["message"] == (
        "the request must be one that does not fail, got request 1, for which --fail plays "
        "status 429."
    )


def test_latency_and_pace_are_kept() -> None:
    server = app(MODEL, latency=0.2, tokens_per_second=50)
    asked = [("POST", "/v1/completions", {"json": {"prompt": "The", "max_tokens": 11, "n": 2}})] * 8
    begun = time.monotonic()
    assert [response.status_code for response in ask_together(server, asked)] == [200] * 8
    taken = time.monotonic() - begun
    assert 0.2 + 10 / 50 <= taken < 8 * (0.2 + 10 / 50)  # all at the same time
    assert math.isfinite(taken)
