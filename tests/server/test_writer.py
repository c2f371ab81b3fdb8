"""Who writes for all: one that goes wrong, goes away or does not read is no matter to others."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from logitlab import generate
from logitlab.constraints.compiled import Compiled
from logitlab.generation.loop import Loop
from logitlab.models import NGram, State
from logitlab.server import app, writer
from logitlab.server.messages import RefusalError
from logitlab.server.run import Background

from asking import ask, ask_together, chunks_of
from toys import Bigrams

MODEL = NGram.bundled()


class Watched(Bigrams):
    """Counts the texts of every step, waits where it is told to, and fails where it is told to."""

    def __init__(self, pause: float = 0.0, context_length: int | None = 100_000) -> None:
        super().__init__(seed=1, end=-50.0, context_length=context_length)
        self.pause = pause
        self.sizes: list[int] = []
        self.threads: set[int] = set()
        self.poison: int | None = None
        self.error: Exception = OSError("/secret/path")

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        time.sleep(self.pause)
        self.sizes.append(len(states))
        self.threads.add(threading.get_ident())
        logits = super().advance(states, tokens)
        for state, row in zip(states, logits, strict=True):
            if self.poison is not None and state.tokens[0] == self.poison and len(state.tokens) > 5:
                if not isinstance(self.error, ValueError):
                    raise self.error
                row[:] = np.nan
        return logits


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_all_are_written_by_one_thread_in_one_batch() -> None:
    model = Watched(pause=0.002)
    asked = [
        ("POST", "/v1/completions", {"json": {"prompt": "ab", "max_tokens": 40, "seed": seed}})
        for seed in range(12)
    ]
    responses = ask_together(app(model), asked)
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads
    assert max(model.sizes) > 6
    assert sum(model.sizes) >= 12 * 39  # no token is drawn twice
    alone = Watched()
    for seed, response in enumerate(responses):
        answer = generate(alone, "ab", seed=seed, max_tokens=40)
        assert response.json()["choices"][0]["text"] == answer.text


def test_one_with_many_answers_does_not_keep_others_out() -> None:
    model = Watched(pause=0.002)
    server = app(model, batch_size=4)
    many = {"prompt": "ab", "max_tokens": 150, "seed": 1, "n": 8}
    few = {"prompt": "ab", "max_tokens": 3, "seed": 2}
    ended: list[str] = []

    async def both() -> None:
        transport = httpx.ASGITransport(server)
        url = "http://localhost"
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:

            async def asks(name: str, request: Any) -> None:
                body = (await client.post("/v1/completions", json=request)).json()
                ended.append(name)
                texts = [choice["text"] for choice in body["choices"]]
                known = {key: value for key, value in request.items() if key != "prompt"}
                alone: Any = generate(Watched(), "ab", known)
                answers = alone if isinstance(alone, list) else [alone]
                assert texts == [answer.text for answer in answers]

            async def later(number: int) -> None:
                await asyncio.sleep(0.05)
                await asks(f"few {number}", few)

            await asyncio.gather(asks("many", many), *map(later, range(6)))

    asyncio.run(both())
    assert ended[-1] == "many"
    assert len(ended) == 7


def test_more_answers_than_fit_come_in_the_order_of_the_wire() -> None:
    model = Watched()
    request = {"prompt": "ab", "max_tokens": 3, "seed": 1, "n": 7}
    body = ask(app(model, batch_size=2), "POST", "/v1/completions", json=request).json()
    assert max(model.sizes) == 2
    answers = generate(model, "ab", n=7, seed=1, max_tokens=3)
    assert [choice["text"] for choice in body["choices"]] == [answer.text for answer in answers]


@pytest.mark.parametrize("kind", ["a foreign error", "not a number"])
def test_what_the_model_does_to_one_request_is_no_matter_to_others(kind: str) -> None:
    model = Watched()
    model.poison = model.vocabulary.find("b")
    model.error = OSError("/secret/path") if kind == "a foreign error" else ValueError()
    asked: list[tuple[str, str, dict[str, Any]]] = [
        (
            "POST",
            "/v1/completions",
            {"json": {"prompt": prompt, "max_tokens": 20, "seed": 1, "stream": streams}},
        )
        for prompt in ("ab", "b", "aab", "ba", "a")
        for streams in (False, True)
    ]
    for (_, _, more), response in zip(asked, ask_together(app(model), asked), strict=True):
        request = more["json"]
        if request["prompt"].startswith("b"):
            status, words = 500, "the model must be able to go on, got OSError."
            if kind == "not a number":
                status, words = 400, "logits must be free of NaN"
            assert response.status_code == (200 if request["stream"] else status)
            body = chunks_of(response.text)[-1] if request["stream"] else response.json()
            assert words in body["error"]["message"]
            assert body["error"]["code"] == status
            assert "secret" not in response.text
            continue
        assert response.status_code == 200
        expected = generate(Bigrams(seed=1, end=-50.0), request["prompt"], seed=1, max_tokens=20)
        if request["stream"]:
            choices = [chunk["choices"] for chunk in chunks_of(response.text)]
            text = "".join(choice[0]["text"] for choice in choices if choice)
        else:
            text = response.json()["choices"][0]["text"]
        assert text == expected.text


def test_one_more_than_the_queue_holds_is_refused() -> None:
    model = Watched(pause=0.01)
    server = app(model, batch_size=2, queue=3)
    request = {"json": {"prompt": "ab", "max_tokens": 20, "seed": 1}}
    responses = ask_together(server, [("POST", "/v1/completions", request)] * 9)
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200] * 5 + [503] * 4
    refused = next(response for response in responses if response.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    message = refused.json()["error"]["message"]
    assert message.startswith("the request must be one of at most 5 that are written or wait")
    assert ask(server, "POST", "/v1/completions", **request).status_code == 200
    assert app(model).settings.queue >= 64


def read_some(url: str, request: dict[str, Any], count: int) -> socket.socket:
    """Send a request, and return the socket after some bytes of the answer."""
    host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps(request).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {len(body)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    if count:
        connection.recv(count)
    return connection


@pytest.mark.parametrize("streams", [False, True])
def test_who_goes_away_leaves_the_batch(streams: bool) -> None:
    model = Watched(pause=0.002)
    with Background(model) as server:
        endless = {"prompt": "ab", "max_tokens": 90_000, "stream": streams, "seed": 1, "n": 3}
        connection = read_some(server.url, endless, 100 if streams else 0)
        until(lambda: model.sizes and model.sizes[-1] == 3)
        connection.close()
        last = server.application.journal
        until(lambda: last.report()["requests"][-1]["outcome"] == "gone")
        time.sleep(0.1)
        count = len(model.sizes)
        time.sleep(0.2)
        assert len(model.sizes) == count  # nothing is written any more
        again = {"prompt": "ab", "max_tokens": 3, "seed": 1}
        assert httpx.post(f"{server.url}/completions", json=again).status_code == 200


def test_who_does_not_read_waits_and_is_given_up() -> None:
    model = Watched()
    with Background(model, patience=0.5) as server:
        endless = {"prompt": "ab", "max_tokens": 90_000, "stream": True, "seed": 1, "n": 8}
        connection = read_some(server.url, endless, 100)
        other = {"prompt": "ab", "max_tokens": 400, "seed": 1}
        assert httpx.post(f"{server.url}/completions", json=other, timeout=60).status_code == 200
        report = server.application.journal.report
        until(lambda: report()["requests"][0]["outcome"] == "gone")
        assert sum(model.sizes) < 60_000  # and not 8 times 90,000
        connection.close()


def test_a_slow_reader_gets_everything() -> None:
    request = {"prompt": "ab", "max_tokens": 900, "stream": True, "seed": 1, "n": 2}
    texts = {0: "", 1: ""}
    model = Watched()
    with (
        Background(model) as server,
        httpx.stream("POST", f"{server.url}/completions", json=request, timeout=30) as response,
    ):
        received = ""
        for number, part in enumerate(response.iter_text()):
            received += part
            time.sleep(0.2 if number < 3 else 0)  # it is behind, and catches up
    for chunk in chunks_of(received):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    answers = generate(model, "ab", seed=1, max_tokens=900, n=2)
    assert list(texts.values()) == [answer.text for answer in answers]


class Clock:
    """What the event loop does while others work."""

    def __init__(self) -> None:
        self.turns = 0

    def wait(self) -> None:
        """Return when the loop has had a turn, which it has not where it waits for the caller."""
        seen = self.turns
        until(lambda: self.turns > seen)


CLOCK = Clock()


class Thinking(NGram):
    """A model that writes only where the event loop has a turn meanwhile."""

    def advance(self, states: Any, tokens: Any) -> Any:
        CLOCK.wait()
        return super().advance(states, tokens)


def test_the_event_loop_is_free_while_a_model_thinks_and_a_schema_compiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Thinking.fit("a rose is a rose", vocabulary_size=260)
    at_once, compiled = Compiled.__init__, 0

    def slowly(self: Any, *arguments: Any, **options: Any) -> None:
        nonlocal compiled
        compiled += 1
        CLOCK.wait()
        at_once(self, *arguments, **options)

    monkeypatch.setattr(Compiled, "__init__", slowly)

    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app(model))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [1, 2]}}}
            request = {"prompt": "ab", "max_tokens": 2}
            posts = [
                asyncio.ensure_future(client.post("/v1/completions", json=each))
                for each in (request, {**request, "response_format": form})
            ]
            while not all(post.done() for post in posts):
                CLOCK.turns += 1
                await asyncio.sleep(0.005)
            return [post.result() for post in posts]

    assert [answer.status_code for answer in asyncio.run(answers())] == [200, 200]
    assert compiled


def test_the_end_is_told_to_everybody_who_waits() -> None:
    model = Watched(pause=0.02)
    with Background(model) as server, ThreadPoolExecutor() as pool:
        endless = {"prompt": "ab", "max_tokens": 90_000, "seed": 1}

        def post(streams: bool) -> httpx.Response:
            request = {**endless, "stream": streams}
            return httpx.post(f"{server.url}/completions", json=request, timeout=30)

        futures = [pool.submit(post, streams) for streams in (False, True)]
        until(lambda: model.sizes and model.sizes[-1] == 2)
        server.application.close()
        whole, stream = (future.result() for future in futures)
        assert whole.status_code == 503
        assert whole.headers["retry-after"] == "5"
        told = "the server must be running, got a signal to end."
        assert whole.json()["error"]["message"] == told
        assert chunks_of(stream.text)[-1]["error"]["message"] == told
        late = post(False)
        assert late.status_code == 503
        assert late.json()["error"]["message"] == told


def test_what_asks_the_model_beside_the_requests_does_so_in_its_thread() -> None:
    model = Watched()
    server = app(model)

    def logits(text: str) -> Any:
        return model.advance([model.start()], [model.encode(text)])

    async def together() -> list[Any]:
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            request = {"prompt": "ab", "max_tokens": 50, "seed": 1}
            post = asyncio.ensure_future(client.post("/v1/completions", json=request))
            calls = [server.with_model(logits, text) for text in ("a", "ab")]
            found = await asyncio.gather(
                *calls, server.with_model(lambda: 1 / 0), return_exceptions=True
            )
            assert (await post).status_code == 200
            server.close()
            with pytest.raises(RefusalError):
                await server.with_model(logits, "a")
            return found

    one, two, error = asyncio.run(together())
    assert len(model.threads) == 1
    assert np.array_equal(one, Bigrams(seed=1, end=-50.0).advance([State()], [[1]]))
    assert two.shape == one.shape
    assert isinstance(error, ZeroDivisionError)


def test_a_defect_of_its_own_is_told_to_everybody_and_passes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = app(MODEL)
    request = {"json": {"prompt": "The", "max_tokens": 3, "seed": 1}}
    with monkeypatch.context() as context:
        context.setattr(Loop, "draw", lambda *_: 1 / 0)
        for response in ask_together(server, [("POST", "/v1/completions", request)] * 3):
            assert response.status_code == 500
    assert "the writer failed" in caplog.text
    assert ask(server, "POST", "/v1/completions", **request).status_code == 200


def test_a_thread_without_work_ends_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_IDLE", 0.1)
    server = app(MODEL)
    request = {"prompt": "The", "max_tokens": 1, "seed": 1}
    texts = []
    for _ in range(2):
        texts.append(ask(server, "POST", "/v1/completions", json=request).json()["choices"])
        assert server.writer._thread is not None
        until(lambda: server.writer._thread is None)
    assert texts[0] == texts[1]
