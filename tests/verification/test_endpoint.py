"""The endpoint: what is tried again, what is an answer, what is nonsense; where keys go."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pytest
from logitlab import EndpointError, ParameterError
from logitlab.verification import exchange
from logitlab.verification.address import Address
from logitlab.verification.delays import LONGEST, Delays, told_seconds
from logitlab.verification.endpoint import Endpoint, key_from
from logitlab.verification.reading import answer_of

from verification.nonsense import NONSENSE
from verification.sockets import Behaviour, Sockets, drip, drip_body, hang_up, http, said

BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
KEY = "sk-very-secret-0123456789"


class Made:
    """An endpoint of sockets, that does not wait, and how long it would have."""

    def __init__(
        self, behaviours: list[Behaviour], retries: int = 3, timeout: float = 5, **how: Any
    ) -> None:
        self.server, self.waits = Sockets(behaviours), list[float]()
        how.update(retries=retries, timeout=timeout, sleep=self.waits.append)
        self.endpoint = Endpoint(Address.of(self.server.url), **how)

    def __enter__(self) -> Made:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.close()
        self.server.__exit__()

    def __call__(self, **parameters: Any) -> Any:
        return self.endpoint.send([BODY | parameters])[0]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    failing: list[Behaviour] = [http(status, {"error": {"message": "later"}})] * 2
    with Made([*failing, http(200, said("hi"))]) as made:
        assert made().text() == "hi"
        assert len(made.server.requests) == 3
        assert made.endpoint.retried == 2
        assert 0.25 + 0.5 <= sum(made.waits) <= 0.75 + 1.5


@pytest.mark.parametrize("status", [400, 402 + 2, 405, 413, 418, 422, 451])
def test_any_other_error_is_an_answer_and_is_not_asked_for_again(status: int) -> None:
    with Made([http(status, {"error": {"message": "top_k is not known"}})]) as made:
        answer = made()
        assert answer.status == status
        assert answer.words == "top_k is not known"
        assert len(made.server.requests) == 1
        assert made.waits == []


@pytest.mark.parametrize("behaviour", [hang_up, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])
def test_a_lost_connection_is_tried_again(behaviour: Behaviour) -> None:
    with Made([behaviour, http(200, said("hi"))]) as made:
        assert made().text() == "hi"
        assert len(made.server.requests) == 2


def test_a_text_that_breaks_off_is_tried_again() -> None:
    with Made([http(200, b'{"choices": ['), http(200, said("hi"))]) as made:
        assert made().text() == "hi"


def test_who_never_answers_is_no_endpoint() -> None:
    with Made([http(503, {"error": {"message": "busy"}})]) as made:
        with pytest.raises(EndpointError) as error:
            made()
        assert len(made.server.requests) == 4
    assert str(error.value) == f"{made.server.url} does not answer after 4 attempts: 503, busy."
    with Made([hang_up], retries=0) as made, pytest.raises(EndpointError) as error:
        made()
    assert "does not answer: the connection was closed without a response." in str(error.value)


def test_a_request_that_alone_fails_for_ever_is_refused() -> None:
    """As transformers' server does with values that it cannot use, and mlx-lm's by hanging up."""
    broken: list[Behaviour] = [http(500, b"Internal Server Error", kind="text/plain")] * 2
    good = http(200, said("hi"))
    with Made([good, *broken, good, *[hang_up] * 2, good], retries=1) as made:
        made()
        answer = made(temperature=-1)
        assert (answer.status, answer.words) == (500, "Internal Server Error")
        answer = made(seed=-1)
        assert answer.refused
        assert answer.words == "No answer: the connection was closed without a response."
        assert len(made.server.requests) == 7


def test_a_server_that_died_refuses_nothing() -> None:
    with Made([http(200, said("hi")), hang_up], retries=1) as made:
        made()
        with pytest.raises(EndpointError, match="does not answer after 2 attempts"):
            made(temperature=2)


def test_a_rate_limit_is_no_refusal() -> None:
    good, limit = http(200, said("hi")), http(429, {"error": {"message": "slow down"}})
    with Made([good, limit], retries=1) as made:
        made()
        with pytest.raises(EndpointError, match="429, slow down"):
            made(temperature=2)


def test_a_server_tells_how_long_to_wait() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    headers = ["Retry-After: 2", f"Retry-After: {date}", "Retry-After: 99999"]
    later: list[Behaviour] = [http(429, {}, header) for header in headers]
    with Made([*later, http(200, said("hi"))]) as made:
        made()
        assert 2 + 27 + LONGEST <= sum(made.waits) <= 2 + 30 + LONGEST + 0.5


@pytest.mark.parametrize("header", ["soon", "-5", "nan", "inf", "", "Fri, 99 Nov 2026 1:1:1 GMT"])
def test_nonsense_is_no_time(header: str) -> None:
    assert told_seconds(header) is None


def test_waits_grow_with_a_jitter_that_is_repeated() -> None:
    one, same, other = (Delays(seed) for seed in (0, 0, 1))
    waits = [one.seconds(k, None) for k in range(12)]
    assert waits == [same.seconds(k, None) for k in range(12)]
    assert waits != [other.seconds(k, None) for k in range(12)]
    for k, wait in enumerate(waits):
        assert min(LONGEST, 0.25 * 2**k) <= wait <= min(LONGEST, 0.75 * 2**k)


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_named_and_never_raises_anything_else(name: str) -> None:
    behaviour, words = NONSENSE[name]
    with Made([behaviour], retries=0, key=KEY) as made, pytest.raises(EndpointError) as error:
        made()
    assert words in str(error.value)
    assert KEY not in repr(error.value)


@pytest.mark.parametrize(
    "behaviour",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        http(200, b""),
    ],
)
def test_what_is_no_http_is_a_lost_connection(behaviour: Behaviour) -> None:
    expected = pytest.raises(EndpointError, match="does not answer")
    with Made([behaviour], retries=0) as made, expected:
        made()


@pytest.mark.parametrize("behaviour", [drip, drip_body])
def test_a_server_that_drips_is_left(behaviour: Behaviour) -> None:
    with Made([behaviour], retries=0, timeout=0.5) as made:
        begun = time.monotonic()
        with pytest.raises(EndpointError, match="no response within the timeout"):
            made()
        assert time.monotonic() - begun < 3


def test_where_nothing_listens_and_where_no_host_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    waits: list[float] = []
    endpoint = Endpoint(Address.of(f"http://127.0.0.1:{port}"), sleep=waits.append)
    with pytest.raises(EndpointError, match=r"/v1 does not answer: nothing listens there\."):
        endpoint.send([BODY])
    assert waits == []  # nobody waits for what was never there
    assert endpoint.models() == []


def test_tls_is_checked() -> None:
    with Sockets([b"plain text"]) as server:
        endpoint = Endpoint(Address.of(server.url.replace("http:", "https:")), timeout=5)
        with pytest.raises(EndpointError, match=r"does not speak TLS|does not answer"):
            endpoint.send([BODY])
        endpoint.close()


def test_a_redirect_on_the_same_host_is_followed() -> None:
    with Made([http(308, {}, "Location: /v2/x"), http(200, said("hi"))], key=KEY) as made:
        assert made().text() == "hi"
        assert made.server.requests[1].startswith(b"POST /v2/x HTTP/1.1")
        assert b'"Hello"' in made.server.requests[1]


def test_the_key_is_sent_and_hidden_when_it_comes_back() -> None:
    told = {"error": {"message": f"Bearer {KEY} is wrong", KEY: [KEY], "x": "\\u0073k"}}
    escaped = json.dumps(told).replace("sk-", "\\u0073k-").encode()
    for content in (json.dumps(told).encode(), escaped, b"x" * 490 + KEY.encode()):
        with Made([http(400, content)], key=KEY) as made:
            [reply] = made.endpoint.replies([BODY])
            assert f"Authorization: Bearer {KEY}".encode() in made.server.requests[0]
            assert KEY[:8] not in repr(reply)
            assert "[key]" in repr(reply)
            assert KEY not in repr(made.endpoint)


def test_a_client_of_httpx_may_carry_the_requests() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 1:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(200, json=said("hi"))

    client = httpx.Client(transport=httpx.MockTransport(handle))
    address = Address.of("https://lab.invalid/api/v1")
    endpoint = Endpoint(address, KEY, client=client, sleep=lambda seconds: None)
    assert endpoint.send([BODY])[0].text() == "hi"
    assert str(asked[1].url) == "https://lab.invalid/api/v1/chat/completions"
    assert asked[1].headers["authorization"] == f"Bearer {KEY}"
    with pytest.raises(ParameterError, match="client must be a Client of httpx, got 5"):
        Endpoint(address, client=5)
    with pytest.raises(ParameterError, match="client must be left out where the endpoint is a fu"):
        Endpoint(lambda body: {}, client=client)
    broken = httpx.Client(transport=httpx.MockTransport(refuse))
    with pytest.raises(EndpointError, match=r"does not answer: no connection \(ConnectError\)"):
        Endpoint(address, client=broken).send([BODY])


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no")


def test_plain_completions_have_their_own_route() -> None:
    with Made([http(200, {"choices": [{"text": "hi"}]})]) as made:
        answer = made.endpoint.send([{"prompt": "Hello"}])[0]
        assert answer.text() == "hi"
        assert made.server.requests[0].startswith(b"POST /v1/completions ")


class Given:
    """What a client of pydantic's kind returns."""

    def model_dump(self) -> dict[str, Any]:
        return said("hi")


class RefusedError(Exception):
    status_code = 400
    body = {"message": "no top_k", "type": "invalid_request_error"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        (said("hi"), 200, None),
        ((200, said("hi")), 200, None),
        ((422, {"detail": "no"}), 422, "no"),
        (Given(), 200, None),
        (httpx.Response(200, json=said("hi")), 200, None),
        (httpx.Response(400, json={"error": {"message": "no"}}), 400, "no"),
        ({"error": {"code": 404, "message": "no model"}}, 404, "no model"),
        ({"error": "no"}, 400, "no"),
        ({"choices": [{"error": {"code": 400, "message": "bad"}}]}, 400, None),
    ],
)
def test_functions_answer_in_many_ways(given: Any, status: int, words: str | None) -> None:
    answer = Endpoint(lambda body: given).send([BODY])[0]
    assert answer.status == status
    if words:
        assert answer.words == words
    elif status == 200:
        assert answer.text() == "hi"


def giving(given: Any) -> Callable[[Any], Any]:
    return lambda body: given


def raising(error: Exception) -> Callable[[Any], Any]:
    def function(body: Any) -> Any:
        raise error

    return function


def test_what_a_function_raises_is_an_answer_or_an_error_with_its_words() -> None:
    answer = Endpoint(raising(RefusedError("x"))).send([BODY])[0]
    assert (answer.status, answer.words) == (400, "no top_k")
    with pytest.raises(EndpointError, match=r"The function raises KeyError: 'x'\.") as error:
        Endpoint(raising(KeyError("x"))).send([BODY])
    assert isinstance(error.value.__cause__, KeyError)


def test_a_function_gets_a_copy_with_numbers_of_python() -> None:
    seen: list[dict[str, Any]] = []

    def function(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(body))
        body.clear()
        return said("hi")

    body = {"messages": [], "seed": np.int64(5), "logit_bias": {"3": np.float64(2.5)}}
    Endpoint(function).send([body])
    assert seen == [{"messages": [], "seed": 5, "logit_bias": {"3": 2.5}}]
    assert type(seen[0]["seed"]) is int
    assert len(body) == 3


def test_jobs_are_asked_together_and_answered_in_order() -> None:
    gate = threading.Barrier(4, timeout=10)

    def function(body: dict[str, Any]) -> dict[str, Any]:
        gate.wait()  # only four at a time open it
        time.sleep(0.002 * (7 - body["seed"]))
        return said(str(body["seed"]))

    bodies = [{"messages": [], "seed": seed} for seed in range(8)]
    answers = Endpoint(function, jobs=4).send(bodies)
    assert [answer.text() for answer in answers] == list("01234567")


def test_lists_of_plain_completions_are_read_as_content() -> None:
    lists = {
        "tokens": [" a", "b"],
        "token_logprobs": [-0.5, None],
        "top_logprobs": [{" a": -0.5, "c": -1.5}, None],
    }
    answer = answer_of(200, {"choices": [{"text": " ab", "logprobs": lists}]})
    assert [position.token for position in answer.positions()] == [b" a", b"b"]
    assert answer.positions()[0].top == {b" a": -0.5, b"c": -1.5}


@pytest.mark.parametrize(
    ("text", "token", "read"),
    [("Ann", " Ec", b"Ann"), ("Zoe", " Ec", b"Zoe"), ("Ec", " Ec", b" Ec")],
)
def test_the_token_is_the_one_that_was_written(text: str, token: str, read: bytes) -> None:
    tops = [{"token": each, "logprob": -1.0} for each in (token, "Ann")]
    entry = {"token": token, "logprob": -1.0, "top_logprobs": tops}
    choice = {"message": {"content": text}, "logprobs": {"content": [entry]}}
    answer = answer_of(200, {"choices": [choice]})
    assert answer.positions()[0].token == read


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OPENROUTER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_keys_go_to_their_own_hosts_or_where_they_are_named(no_keys: pytest.MonkeyPatch) -> None:
    router, lab = Address.of("https://openrouter.ai"), Address.of("http://127.0.0.1:1")
    assert key_from(None, router) is None
    no_keys.setenv("OPENROUTER_API_KEY", KEY)
    no_keys.setenv("OPENAI_API_KEY", "sk-other")
    assert key_from(None, router) == KEY
    assert key_from(None, Address.of("https://api.openai.com")) == "sk-other"
    assert key_from(None, lab) is None
    assert key_from("env:OPENROUTER_API_KEY", lab) == KEY
    assert key_from("sk-mine", lab) == "sk-mine"
    assert key_from(None, None) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "env:NO_SUCH_KEY",
            "key must be env:NAME of a variable that is set, got the name of another.",
        ),
        (KEY + "\r\nX: y", "key must be printable ASCII without spaces, got another text."),
        (5, "key must be a text, or env:NAME, got an int."),
    ],
)
def test_bad_keys_are_not_shown(source: Any, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        key_from(source, Address.of("http://127.0.0.1:1"))
    assert str(error.value) == message
    assert KEY not in repr(error.value)


def test_a_function_takes_no_key() -> None:
    with pytest.raises(ParameterError, match="key must be left out where the endpoint is a func"):
        key_from(KEY, None)


def test_the_bound_holds_without_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MOST_BYTES", 1000)
    content = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 5000
    expected = pytest.raises(EndpointError, match="more than 1000 bytes")
    with Made([content], retries=0) as made, expected:
        made()


def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    kept = http(200, said("hi")).replace(b"Connection: close\r\n", b"")
    with Made([kept]) as made:  # the server closes it all the same
        assert [made().text() for _ in range(3)] == ["hi"] * 3
        assert made.endpoint.retried == 0
        assert made.waits == []
