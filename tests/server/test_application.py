"""What the server answers is what the wire says, whatever else it is asked at the same time."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import pytest
from logitlab import ParameterError, generate
from logitlab.models import NGram
from logitlab.server import app
from logitlab.wire.chat import chat, chat_stream

from asking import ask, ask_together, chunks_of
from toys import Bigrams

MODEL = NGram.bundled()
MESSAGES = [{"role": "user", "content": "Once upon a time"}]
ASKED: dict[str, Any] = {"messages": MESSAGES, "seed": 7, "max_tokens": 12, "min_p": 0.02}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Kassel", "Hanau"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": ASKED,
    "log-probabilities": {**ASKED, "logprobs": True, "top_logprobs": 3, "stop": ["."]},
    "several": {**ASKED, "n": 3, "temperature": 1.5},
    "calls": {**ASKED, "tools": [WEATHER], "tool_choice": "required", "max_tokens": 80},
    "JSON": {**ASKED, "response_format": {"type": "json_object"}, "max_tokens": 30},
    "state": {**ASKED, "mirostat": 2, "mirostat_tau": 3},
    "ignored": {**ASKED, "user": "x", "metadata": {"a": 1}},
    "out of range": {**ASKED, "top_p": 1.3},
    "no messages": {"seed": 1},
    "other engine": {**ASKED, "provider": {"order": ["nobody", "llama.cpp"]}, "top_k": 3},
    "no such engine": {**ASKED, "provider": {"order": ["nobody"], "allow_fallbacks": False}},
}


@pytest.fixture(scope="module")
def server() -> Any:
    return app(MODEL)


def timeless(body: Any) -> Any:
    return {key: value for key, value in body.items() if key != "created"}


@pytest.mark.parametrize("name", REQUESTS)
def test_chat_is_that_of_the_wire(server: Any, name: str) -> None:
    request = REQUESTS[name]
    expected = chat(MODEL, request)
    for prefix in ("/v1", "/api/v1"):
        response = ask(server, "POST", f"{prefix}/chat/completions", json=request)
        assert response.status_code == (400 if "error" in expected else 200)
        assert response.headers["content-type"] == "application/json"
        assert timeless(response.json()) == timeless(expected)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_stream_is_that_of_the_wire(server: Any, name: str) -> None:
    request = {**REQUESTS[name], "stream": True}
    response = ask(server, "POST", "/v1/chat/completions", json=request)
    refused = chat(MODEL, REQUESTS[name]).get("error")
    if refused:
        assert response.status_code == 400
        assert response.json()["error"] == refused
        return
    expected = list(chat_stream(MODEL, request))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert list(map(timeless, chunks_of(response.text))) == list(map(timeless, expected))


def test_requests_that_come_together_have_the_bits_that_they_have_alone() -> None:
    prompts = ["Once", "The king went to the wood. " * 40, "A", "There was a miller"] * 2
    requests: list[dict[str, Any]] = [
        {
            **REQUESTS[name],
            "messages": [{"role": "user", "content": prompt}],
            "seed": seed,
            "stream": seed % 2 == 0,
            "provider": {"order": [("openrouter", "vllm", "llama_cpp")[seed % 3]]},
        }
        for seed, prompt in enumerate(prompts)
        for name in ("log-probabilities", "several", "calls", "state")
        if not (name == "state" and seed % 3 != 0)
    ]
    server = app(MODEL, batch_size=8)  # so that some wait, and join others that are under way
    assert len(requests) > 2 * 8
    asked = [("POST", "/v1/chat/completions", {"json": request}) for request in requests]
    for request, response in zip(requests, ask_together(server, asked), strict=True):
        assert response.status_code == 200
        if request["stream"]:
            expected = map(timeless, chat_stream(MODEL, request))
            assert list(map(timeless, chunks_of(response.text))) == list(expected)
        else:
            assert timeless(response.json()) == timeless(chat(MODEL, request))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),  # a base URL without /v1
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),  # one with too much
        ("/v1/v1/models", "/v1/models"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/completions/", "/v1/completions"),
        ("/v1/embeddings", None),
    ],
)
def test_a_path_that_is_none_is_answered_with_the_one_that_was_meant(
    path: str, meant: str | None
) -> None:
    response = ask(app(MODEL), "POST", path, json={})
    assert response.status_code == 404
    hint = f" Did you mean {meant}?" if meant else ""
    message = f"path must be one of those in /openapi.json, got '{path}'.{hint}"
    assert response.json()["error"]["message"] == message


@pytest.mark.parametrize("strict", [False, True])
def test_a_model_of_another_name_is_refused_where_that_is_asked_for(strict: bool) -> None:
    server = app(MODEL, strict_model=strict)
    bodies: dict[str, dict[str, Any]] = {
        "chat/completions": {"messages": MESSAGES, "max_tokens": 1},
        "completions": {"prompt": "Once", "max_tokens": 1},
        "responses": {"input": "Once", "max_output_tokens": 1},
        "tokenize": {"prompt": "Once"},
    }
    for path, body in bodies.items():
        for name, status in (("nope", 404 if strict else 200), ("grimm", 200), (None, 200)):
            response = ask(server, "POST", f"/v1/{path}", json={**body, "model": name})
            assert response.status_code == status, (path, name, response.text)
            if status == 404:
                assert response.json()["error"]["message"] == (
                    "model must be grimm, got 'nope'. Without --strict-model any name would do."
                )
    with pytest.raises(ParameterError, match="strict_model must be True or False"):
        app(MODEL, strict_model="yes")


def test_the_engine_of_the_server_is_that_of_requests_that_name_none() -> None:
    server = app(MODEL, engine="vllm")
    request = {**ASKED, "min_p": 0.9, "repetition_penalty": 2.5}  # which the page refuses
    body = ask(server, "POST", "/v1/chat/completions", json=request).json()
    assert timeless(body) == timeless(chat(MODEL, request, engine="vllm"))
    named = {**request, "provider": {"order": ["OpenRouter"]}}
    refused = ask(server, "POST", "/v1/chat/completions", json=named)
    assert "repetition_penalty must be" in refused.json()["error"]["message"]
    none = {**ASKED, "provider": {"order": ["nobody"], "allow_fallbacks": False}}
    message = ask(server, "POST", "/v1/chat/completions", json=none).json()["error"]["message"]
    assert message.startswith("provider.order must be of engines (")
    assert 'got ["nobody"].' in message


def test_what_else_it_tells(server: Any) -> None:
    assert ask(server, "GET", "/health").json() == {"status": "ok"}
    [model] = ask(server, "GET", "/v1/models").json()["data"]
    assert (model["id"], model["context_length"]) == ("grimm", 4096)
    assert {"temperature", "top_a", "tools", "xtc_probability"} <= {*model["supported_parameters"]}
    assert ask(server, "GET", "/api/v1/models/grimm").json() == model
    other = ask(server, "GET", "/v1/models/brothers/other")
    assert other.status_code == 404
    assert other.json()["error"]["message"] == "model must be grimm, got 'brothers/other'."
    narrow = ask(app(MODEL, engine="openai"), "GET", "/v1/models").json()["data"][0]
    assert "min_p" not in narrow["supported_parameters"]
    tokens = ask(server, "POST", "/v1/tokenize", json={"prompt": "The king"}).json()
    assert tokens == {"count": 2, "max_model_len": 4096, "tokens": MODEL.encode("The king")}
    request = {"messages": MESSAGES, "return_token_strs": True}
    tokens = ask(server, "POST", "/tokenize", json=request).json()
    assert tokens["tokens"] == MODEL.chat(MESSAGES)
    text = ask(server, "POST", "/v1/detokenize", json={"tokens": tokens["tokens"]}).json()["prompt"]
    assert text == "".join(tokens["token_strs"]) == "Once upon a time\n\n"
    assert ask(server, "POST", "/v1/tokenize", json={"prompt": ""}).json()["tokens"] == []
    assert ask(server, "POST", "/v1/detokenize", json={"tokens": []}).json() == {"prompt": ""}


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        ("GET", "/v1/chat", b"", 404, "path must be one of those in /openapi.json, got '/v1/chat'"),
        ("GET", "/v1/completions", b"", 405, "the method must be POST, got 'GET'."),
        ("PUT", "/lab/journal", b"", 405, "the method must be GET or DELETE, got 'PUT'."),
        ("POST", "/v1/completions", b"{", 400, "request must be JSON, got '{'."),
        ("POST", "/v1/completions", b"\xff", 400, "request must be JSON in UTF-8, got"),
        ("POST", "/v1/chat/completions", b"[1]", 400, "request must be a map, the body of a"),
        (
            "POST",
            "/v1/chat/completions",
            b'[{"role": "user"}]',
            400,
            "request must be a map, the "
            'body of a request, got [{"role": "user"}]. Send messages as {"messages": [',
        ),
        ("POST", "/v1/tokenize", b"{}", 400, "prompt must be a text, or absent beside messages"),
        ("POST", "/v1/detokenize", b'{"tokens": 1}', 400, "tokens must be a list of token ids"),
        ("POST", "/v1/detokenize", b'{"tokens": [[1]]}', 400, "tokens must be a list of token"),
        ("POST", "/v1/detokenize", b'{"tokens": [9999]}', 400, "tokens must be an integer in"),
        ("POST", "/v1/tokenize", b"[" * 99999, 400, "request must be JSON, got"),
        ("POST", "/v1/completions", b'{"prompt": "a", "n": 1000}', 400, "prompt must be so many"),
        ("POST", "/v1/chat/completions", b'{"prompt": "a", "n": 1000}', 400, "n must be so many"),
    ],
)
def test_what_is_wrong_is_told(
    server: Any, method: str, path: str, content: bytes, status: int, message: str
) -> None:
    response = ask(server, method, path, content=content)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == status
    assert error["message"].startswith(message)


def test_a_body_that_is_too_long_is_refused() -> None:
    server = app(MODEL, max_body=1000)

    async def parts() -> Any:
        for _ in range(11):
            yield b" " * 100

    for content in (b" " * 1001, parts()):
        response = ask(server, "POST", "/v1/completions", content=content)
        assert response.status_code == 413
        assert response.json()["error"]["message"].startswith("request must be at most 1000 bytes")
    huge = ask(server, "POST", "/v1/completions", content=b" " * 20_000)  # which is not read
    assert huge.status_code == 413
    body = b'{"prompt": "The", "max_tokens": 1}'
    fits = ask(server, "POST", "/v1/completions", content=body.ljust(1000))
    assert fits.status_code == 200


def test_it_mounts_under_others() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/lab", app(MODEL, api_key="k"))])
    assert ask(outer, "GET", "/lab/health").status_code == 200
    assert ask(outer, "GET", "/lab/v1/models").status_code == 401
    headers = {"authorization": "Bearer k"}
    body = ask(outer, "POST", "/lab/v1/chat/completions", json=ASKED, headers=headers).json()
    assert timeless(body) == timeless(chat(MODEL, ASKED))


def test_a_model_of_ones_own_and_settings_that_are_none() -> None:
    model = Bigrams(seed=3)
    request = {"prompt": "ab", "seed": 1, "max_tokens": 5}
    body = ask(app(model), "POST", "/v1/completions", json=request).json()
    expected = generate(model, "ab", seed=1, max_tokens=5)
    assert body["choices"][0]["text"] == expected.text
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"queue": -1}, "queue must be an integer >= 0, got -1."),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0."),
        ({"engine": "vlm"}, "engine must be one of"),
        ({"api_key": ""}, "api_key must be a text of printable characters, or None, got ''."),
        ({"hosts": ["a:80"]}, "hosts must be names of hosts without ports"),
        ({"hosts": "a"}, "hosts must be a list, got 'a'."),
        ({"origins": ["example.org"]}, "origins must be origins of pages"),
        ({"origins": ["*"]}, "origins must be origins of pages"),
        ({"origins": [1]}, "origins must be origins of pages"),
        ({"fail": ["429"]}, "fail must be STATUS:SHARE, such as 429:0.05, got '429'."),
        ({"fail": ["200:0.1"]}, "The status is 400 to 599, the share 0 to 1."),
        ({"fail": ["500:0.6", "429:0.6"]}, "fail must be of shares that add up to 1 at most"),
        ({"patience": 0}, "patience must be a number of seconds above 0, got 0"),
        ({"tokens_per_second": 0}, "tokens_per_second must be a number above 0, got 0"),
        ({"latency": -1}, "latency must be in [0, 3600], got -1"),
        ({"logprobs_mode": "x"}, "logprobs_mode must be one of"),
    ]
    for settings, message in wrong:
        with pytest.raises(ParameterError) as error:
            app(MODEL, **settings)
        assert message in str(error.value)
    with pytest.raises(ParameterError, match="model must be a Model, got 5"):
        app(5)  # type: ignore[arg-type]


def test_nothing_is_promised_that_the_library_does_not_have() -> None:
    assert callable(ll.server.app)
    assert dir(ll.server) == ["Background", "app"]
    with pytest.raises(AttributeError, match="has no attribute 'serve'"):
        _ = ll.server.serve
