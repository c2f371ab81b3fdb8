"""Who may come in: names of the server, pages of the web, and keys."""

from __future__ import annotations

from typing import Any

import pytest
from logitlab.models import NGram
from logitlab.server import app
from logitlab.server.application import Server

from asking import ask

MODEL = NGram.bundled()
POST: dict[str, Any] = {"json": {"prompt": "The", "max_tokens": 1, "seed": 1}}


@pytest.fixture(scope="module")
def open_server() -> Server:
    return app(MODEL)


def status(server: Server, headers: dict[str, Any], **options: Any) -> int:
    return ask(server, "POST", "/v1/completions", headers=headers, **POST, **options).status_code


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_the_loopback_are_its_own(open_server: Server, host: str) -> None:
    assert status(open_server, {"host": host}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "::1", "x:y:1"]
)
def test_another_name_is_refused(open_server: Server, host: str) -> None:
    response = ask(open_server, "GET", "/v1/models", headers={"host": host})
    assert response.status_code == 403
    assert response.json()["error"]["message"].startswith(
        "the header Host must be one of 127.0.0.1, [::1], localhost, got "
    )
    assert "The setting hosts, or --allow-host, allows another." in response.text
    assert status(open_server, {"host": host}) == 403
    assert ask(open_server, "GET", "/health", headers={"host": host}).status_code == 403


def test_names_can_be_given_and_a_key_stands_for_them() -> None:
    named = app(MODEL, hosts=["Lab.Example", "[fd00::1]"])
    assert status(named, {"host": "lab.example:80"}) == 200
    assert status(named, {"host": "[fd00::1]:80"}) == 200
    assert status(named, {"host": "localhost"}) == 403
    assert status(app(MODEL, hosts=["*"]), {"host": "any"}) == 200
    key = {"authorization": "Bearer k"}
    assert status(app(MODEL, api_key="k"), {"host": "any", **key}) == 200
    assert status(app(MODEL, api_key="k", hosts=["a"]), {"host": "b", **key}) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "https://localhost", ""]
)
def test_pages_of_others_may_not_ask(open_server: Server, origin: str) -> None:
    response = ask(open_server, "POST", "/v1/completions", headers={"origin": origin}, **POST)
    assert response.status_code == 403
    message = response.json()["error"]["message"]
    assert message.startswith("the header Origin must be that of the server itself, got ")
    assert message.endswith("The setting origins, or --cors, allows another.")
    assert not {name for name in response.headers if name.startswith("access-control")}


def test_pages_of_its_own_may_ask(open_server: Server) -> None:
    assert status(open_server, {"host": "localhost:80", "origin": "http://localhost:80"}) == 200


def test_pages_that_are_named_may_ask() -> None:
    server = app(MODEL, origins=["https://example.org", "http://localhost:3000/"])
    origin = {"origin": "https://example.org"}
    response = ask(server, "POST", "/v1/completions", headers=origin, **POST)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://example.org"
    assert response.headers["vary"] == "Origin"
    asked = {
        **origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-stainless-os",
        "access-control-request-private-network": "true",
    }
    before = ask(server, "OPTIONS", "/v1/completions", headers=asked)
    assert before.status_code == 200
    assert before.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    assert "POST" in before.headers["access-control-allow-methods"]
    assert before.headers["access-control-allow-private-network"] == "true"
    other = {**asked, "origin": "https://example.org.evil.example"}
    assert ask(server, "OPTIONS", "/v1/completions", headers=other).status_code == 403
    wrong = ask(server, "POST", "/v1/completions", headers=origin, content=b"{")
    assert wrong.status_code == 400  # and the page may read why
    assert wrong.headers["access-control-allow-origin"] == "https://example.org"


def test_a_key_is_wanted_everywhere_but_for_its_health() -> None:
    server = app(MODEL, api_key="clé secret")
    paths = [("GET", "/v1/models"), ("GET", "/openapi.json"), ("GET", "/lab/journal"),
             ("DELETE", "/lab/journal"), ("POST", "/v1/completions"), ("GET", "/none")]  # fmt: skip
    for method, path in paths:
        response = ask(server, method, path)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["message"] == (
            "the header Authorization must be Bearer and the key, got none."
        )
    assert ask(server, "GET", "/health").status_code == 200
    for value in ("Bearer x", "Bearer", "clé secret", "Basic clé secret", "Bearer clé", ""):
        assert status(server, {"authorization": value.encode()}) == 401
    for value in ("Bearer clé secret", "bearer  clé secret "):
        assert status(server, {"authorization": value.encode()}) == 200


def test_a_websocket_is_closed() -> None:
    import asyncio

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1", "headers": []}
    asyncio.run(app(MODEL)(scope, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
