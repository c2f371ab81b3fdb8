"""A server on a port: real clients, a process of its own, signals, and mistakes of its owner."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import logitlab as ll
import openai
import pytest
from logitlab.cli import main
from logitlab.models import NGram
from logitlab.server.run import Background
from openrouter import OpenRouter

MODEL = NGram.bundled()
MESSAGES: Any = [{"role": "user", "content": "Once upon a time"}]


@pytest.fixture(scope="module")
def server() -> Iterator[Background]:
    with Background(MODEL) as running:
        yield running


def test_openais_client(server: Background) -> None:
    client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
    known: Any = {"seed": 7, "max_tokens": 12, "logprobs": True}
    answer = ll.generate(MODEL, MESSAGES, known)
    result = client.chat.completions.create(model="grimm", messages=MESSAGES, **known)
    assert result.choices[0].message.content == answer.text
    chunks = client.chat.completions.create(model="x", messages=MESSAGES, stream=True, **known)
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == answer.text
    completion = client.completions.create(model="x", prompt="The king", seed=1, max_tokens=5)
    assert completion.choices[0].text == ll.generate(MODEL, "The king", seed=1, max_tokens=5).text
    assert [model.id for model in client.models.list()] == ["grimm"]
    assert client.models.retrieve("grimm").owned_by == "logitlab"
    with pytest.raises(openai.NotFoundError, match="model must be grimm, got 'other'"):
        client.models.retrieve("other")
    with pytest.raises(openai.BadRequestError, match=r"top_p must be in \[0, 1\], got 2.0."):
        client.chat.completions.create(model="x", messages=MESSAGES, top_p=2)


def test_a_stream_ends_once_and_at_its_end(server: Background) -> None:
    asked = {"messages": MESSAGES, "max_tokens": 2, "seed": 1, "stream": True}
    with httpx.Client() as client:  # writer and reader are in a race
        texts = {
            re.sub(
                '"created": [0-9]+',
                "",
                client.post(f"{server.url}/chat/completions", json=asked).text,
            )
            for _ in range(100)
        }
    [text] = texts
    assert text.count("[DONE]") == 1
    assert text.endswith("data: [DONE]\n\n")


def test_openrouters_client(server: Background) -> None:
    client = OpenRouter(api_key="none", server_url=server.url.replace("/v1", "/api/v1"))
    asked: Any = {"seed": 7, "max_tokens": 12, "min_p": 0.05}
    answer = ll.generate(MODEL, MESSAGES, asked)
    result = client.chat.send(messages=MESSAGES, model="grimm", **asked)
    assert result.choices[0].message.content == answer.text
    chunks = client.chat.send(messages=MESSAGES, model="grimm", stream=True, **asked)
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(parts) == answer.text
    listed: Any = client.models.list()
    [model] = listed.result.data
    assert model.id == "grimm"
    assert "min_p" in model.supported_parameters


def test_curl(server: Background) -> None:
    body = json.dumps({"messages": MESSAGES, "max_tokens": 3, "seed": 1, "stream": True})
    command = ["curl", "-sN", f"{server.url}/chat/completions", "-d", body]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.endswith("data: [DONE]\n\n")


class Process:
    """``logitlab serve`` on a free port."""

    def __init__(self, *options: str, **variables: str) -> None:
        command = [sys.executable, "-m", "logitlab", "serve", "--port", "0", *options]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.running = subprocess.Popen(command, env={**os.environ, **variables}, **pipes)
        assert self.running.stdout is not None
        assert select.select([self.running.stdout], [], [], 30)[0]
        self.line = self.running.stdout.readline()
        self.url = self.line.split()[3] if self.line else ""

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.running.send_signal(number)
        _, told = self.running.communicate(timeout=20)
        return self.running.returncode, told

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.kill()  # a test that failed leaves nothing behind
        self.running.communicate()


def spent() -> float:
    """Return the seconds that processes of this one, which have ended, were busy."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_it_is_there_at_once_and_ends_at_a_signal(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"match": "time", "text": "Late."}]))
    before = spent()
    words = ["--script", str(rules), "--host", "0.0.0.0"]
    with Process(*words, LOGITLAB_API_KEY="secret") as process:
        assert process.line.startswith("grimm at openrouter: http://0.0.0.0:")
        url = process.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"authorization": "Bearer secret", "host": "my.lab"}
        asked = {"messages": MESSAGES, "max_tokens": 9}
        response = httpx.post(f"{url}/chat/completions", json=asked, headers=headers)
        assert response.json()["choices"][0]["message"]["content"] == "Late."
        assert httpx.get(f"{url}/models").status_code == 401
        assert process.end(signal.SIGINT) == (0, "logitlab: the server has ended.\n")
    assert spent() - before < 5  # of work, however busy the machine is


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_proper_end_of_the_page_and_the_help_says_so(number: int) -> None:
    words = [sys.executable, "-m", "logitlab", "explore", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("logitlab explore: http://")
        process.send_signal(number)
        assert process.wait(20) == 0
    for command in ("explore", "serve"):
        told = subprocess.run([*words[:3], command, "--help"], capture_output=True, text=True)
        assert "with status 0" in " ".join(told.stdout.split())


def test_a_signal_ends_a_stream_that_is_on_its_way(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    words = ["--tokens-per-second", "5", "--api-key", str(key), "--engine", "vllm"]
    with Process(*words) as process:
        assert process.line.startswith("grimm at vllm: http://127.0.0.1:")
        asked: Any = {
            "json": {"messages": MESSAGES, "max_tokens": 4000, "stream": True, "ignore_eos": True},
            "headers": {"authorization": "Bearer secret"},
        }
        with httpx.stream("POST", f"{process.url}/chat/completions", **asked, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.running.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert "the server must be running, got a signal to end." in rest[-2]
        assert rest[-1] == "data: [DONE]"
        _, told = process.running.communicate(timeout=20)
        assert (process.running.returncode, told) == (0, "logitlab: the server has ended.\n")


def test_what_its_owner_got_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LOGITLAB_API_KEY", raising=False)
    monkeypatch.delenv("NOT_SET", raising=False)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    blob = tmp_path / "blob"
    blob.write_bytes(b"\xff\xfe")
    bad = tmp_path / "bad.json"
    bad.write_text('[{"text": 5}]')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            (["--host", "0.0.0.0"], "--host must be an address of the loopback where there is no"),
            (["--host", "no such host"], "--host must be an address of the loopback where"),
            (["--port", port], f"--port must be free, got {port}. Address already in use."),
            (["--port", "70000"], "--port must be an integer in [0, 65535], got 70000."),
            (["--api-key", "env:NOT_SET"], "--api-key must be env:NAME of a variable that is set"),
            (["--api-key", "/none"], "--api-key must be a readable file, or env:NAME, got '/none'"),
            (["--api-key", str(empty)], "--api-key must be a file with a key in it"),
            (["--api-key", str(blob)], "--api-key must be a readable file, or env:NAME"),
            (["--script", str(bad)], "script[0].text must be a text, got 5."),
            (["--script", "/none"], "--script must be a readable file, got '/none'."),
            (["--fail", "x"], "--fail must be STATUS:SHARE, such as 429:0.05, got 'x'."),
            (["--fail-seed", "x"], "--fail-seed must be an integer, got 'x'."),
            (["--cors", "*"], "--cors must be origins of pages"),
            (["--allow-host", "a:1"], "--allow-host must be names of hosts without ports"),
            (["--latency", "x"], "--latency must be a number in [0, 3600], got 'x'."),
            (["--tokens-per-second", "0"], "--tokens-per-second must be a number above 0"),
            (["--batch-size", "0"], "--batch-size must be an integer >= 1, got 0."),
            (["--queue", "-1"], "--queue must be an integer >= 0, got -1."),
            (["--max-body", "x"], "--max-body must be an integer >= 1, got 'x'."),
        ]
        for options, message in cases:
            assert main(["serve", *options]) == 2
            assert message in capsys.readouterr().err


def test_idle_connections_outlive_those_of_clients(server: Background) -> None:
    # aiohttp keeps one for 15 seconds, requests and node for as long as the server does.
    config = server._server.config
    assert config.timeout_keep_alive > 60


def test_nothing_makes_it_read_a_file(server: Background) -> None:
    root = server.url.removesuffix("/v1")
    paths = ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd",
             "/%2e%2e/etc/passwd", "//etc/passwd", "/file:///etc/passwd", "/v1/models//etc/passwd",
             "/openapi.json/../../etc/passwd"]  # fmt: skip
    for path in paths:
        raw = socket.create_connection(("127.0.0.1", int(root.rsplit(":", 1)[1])), timeout=5)
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda raw=raw: raw.recv(4096), b""))  # type: ignore[misc]
        raw.close()
        assert b" 404 " in answer.splitlines()[0]
        assert b"root:" not in answer
    schema = {"$ref": "file:///etc/passwd"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = {"messages": MESSAGES, "response_format": form, "max_tokens": 5}
    refused = httpx.post(f"{server.url}/chat/completions", json=asked)
    assert refused.status_code == 400
    assert "root:" not in refused.text
