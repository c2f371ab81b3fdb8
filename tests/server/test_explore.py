"""The page over HTTP: what is answered, to whom, and that nothing else can be had."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab import server
from logitlab.cli import main
from logitlab.server import explore, run

testclient = pytest.importorskip("starlette.testclient")
PAGE = Path(explore.__file__).parent / "page"
CLIENT: Any = testclient.TestClient(
    server.app(ll.models.NGram.bundled()), base_url="http://127.0.0.1:8642"
)
BODY = {"source": {"lines": "a: 1\nb: 0"}, "request": {"top_k": 1}}


def test_every_file_of_the_page_is_there_and_nothing_else() -> None:
    for file in PAGE.iterdir():
        answer = CLIENT.get(f"/{file.name}")
        assert (answer.status_code, answer.content) == (200, file.read_bytes())
        kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
        assert answer.headers["content-type"] == f"{kinds[file.suffix]}; charset=utf-8"
    assert CLIENT.get("/").content == (PAGE / "index.html").read_bytes()
    for path in (
        "/lab.py",
        "/..%2flab.py",
        "/%2e%2e/lab.py",
        "/page/main.js",
        "/lab/trace",
        "/%00",
    ):
        assert CLIENT.get(path).status_code in (404, 405), path
    answer = CLIENT.get("/no.js").json()["error"]
    assert answer["message"] == "path must be one of those in /openapi.json, got '/no.js'."


def test_all_answers_say_that_nothing_comes_from_elsewhere() -> None:
    for answer in (CLIENT.get("/"), CLIENT.get("/main.js"), CLIENT.post("/lab/trace", json=BODY)):
        policy = answer.headers["content-security-policy"]
        parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert parts["default-src"] == "'none'"
        assert parts["script-src"] == parts["style-src"] == parts["connect-src"] == "'self'"
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_names_nothing_of_elsewhere_and_writes_no_markup() -> None:
    for file in PAGE.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        for word in ("http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML",
                     "document.write", "eval(", "new Function", "srcdoc",
                     "createContextualFragment", " style="):  # fmt: skip
            assert word not in text, (file.name, word)


def test_answers_are_those_of_the_lab() -> None:
    answer = CLIENT.post("/lab/trace", json=BODY)
    assert answer.status_code == 200
    assert [stage["kept"] for stage in answer.json()["stages"]] == [2, 1]
    wrong = CLIENT.post("/lab/trace", json={**BODY, "request": {"top_p": 7}})
    assert wrong.status_code == 400
    told = {"message": "top_p must be in [0, 1], got 7.0.", "parameter": "top_p"}
    assert wrong.json() == {"error": told}


@pytest.mark.parametrize(
    ("status", "words", "how"),
    [
        (403, "the header Host must be one of 127.0.0.1, [::1], localhost, got 'evil.example'.",
         {"headers": {"host": "evil.example"}}),
        (403, "the header Host must be one of", {"headers": {"host": "[::1"}}),
        (403, "the header Origin must be that of the server itself, got 'http://evil.example'.",
         {"headers": {"origin": "http://evil.example"}}),
        (403, "the header Origin must be that of the server itself, got 'null'.",
         {"headers": {"origin": "null"}}),
        (415, "content-type must be application/json, got 'text/plain'.",
         {"headers": {"content-type": "text/plain"}}),
        (413, "body must be at most 16777216 bytes", {"content": b" " * ((1 << 24) + 1)}),
        (400, "body must be JSON, got '{'.", {"content": b"{"}),
        (400, "body must be JSON", {"content": b"[" * 100_000}),
        (400, "body must be JSON", {"content": b"\xff\xfe"}),
        (400, "body must be a map, got 5.", {"content": b"5"}),
        (400, "top_k must be", {"content": b'{"source":{"prompt":1},"request":{"top_k":1e999}}'}),
        (400, "top_p must be", {"content": b'{"source":{"prompt":1},"request":{"top_p":NaN}}'}),
        (400, "source must be", {"content": b'{"source":"\\ud800"}'}),
        (400, "engine must be one of",
         {"content": b'{"source":{"prompt":1},"engine":"\\ud800"}'}),
    ],
)  # fmt: skip
def test_strangers_and_bodies_that_are_none_are_refused(
    status: int, words: str, how: dict[str, Any]
) -> None:
    headers = {"content-type": "application/json", **how.get("headers", {})}
    content = how.get("content", b"{}")
    answer = CLIENT.post("/lab/trace", headers=headers, content=content)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


def test_it_can_stand_under_another_path() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    ours = server.app(ll.models.NGram.bundled())
    client: Any = testclient.TestClient(
        Starlette(routes=[Mount("/explore", app=ours)]), base_url="http://127.0.0.1"
    )
    assert b"<title>logitlab explore</title>" in client.get("/explore/").content
    assert client.get("/explore/main.js").status_code == 200
    assert client.post("/explore/lab/trace", json=BODY).status_code == 200


def test_its_own_page_may_ask() -> None:
    headers = {"origin": "http://127.0.0.1:8642"}
    assert CLIENT.post("/lab/trace", json=BODY, headers=headers).status_code == 200
    headers = {"host": "localhost:9", "origin": "http://localhost:9"}
    assert CLIENT.post("/lab/trace", json=BODY, headers=headers).status_code == 200


def test_the_command_serves_the_page_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "logitlab", "explore", "--port", "0", "--no-browser"]
    quiet = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.removeprefix("logitlab explore: ").partition(" ")[0]
        assert line == f"logitlab explore: {address} (Ctrl-C ends it)\n"
        with urllib.request.urlopen(address) as answer:
            assert b"<title>logitlab explore</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)


def test_the_browser_is_opened_once_there_are_answers(monkeypatch: Any, capsys: Any) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(run, "serve", lambda model, port, ready: ready("http://127.0.0.1:1/v1"))
    assert main(["explore", "--port", "0"]) == 0
    assert [address in capsys.readouterr().out for address in opened] == [True]
    assert main(["explore", "--port", "0", "--no-browser"]) == 0
    assert len(opened) == 1


def test_a_port_that_is_none_or_taken_is_told(capsys: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["explore", "--no-browser", "--port", str(port)]) == 2
        told = capsys.readouterr().err
        assert f"--port must be free, got {port}. Address already in use." in told
    assert main(["explore", "--port", "65536"]) == 2
    assert "--port must be an integer in [0, 65535], got 65536." in capsys.readouterr().err
    assert main(["explore", "--model", "no.gguf", "--port", "0"]) == 2


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["explore", "--port", "0"]) == 2
    assert "starlette is not installed: pip install 'logitlab[serve]'" in capsys.readouterr().err
