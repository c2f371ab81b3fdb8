"""The endpoint: requests go out, are tried again where that is right, and come back as answers."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logitlab.checks import ParameterError, Seen, counted, with_article
from logitlab.verification.address import Address
from logitlab.verification.answer import Answer
from logitlab.verification.delays import Delays, is_passing
from logitlab.verification.errors import EndpointError
from logitlab.verification.exchange import ByClient, ByHand, Dropped, Exchange, Response
from logitlab.verification.hiding import Hiding
from logitlab.verification.pieces import ROUTES, asked_for, pieces_of
from logitlab.verification.plain import plain
from logitlab.verification.reading import (
    answer_of,
    document_of,
    given_document,
    given_error,
    status_of,
)

__all__ = ["Endpoint", "Reply", "key_from", "plain_body"]

_BUSY = (408, 409, 425, 429)
_UNPAID = (401, 402)  # whatever is asked: no answer to a parameter


class Reply(NamedTuple):
    """An answer as it arrived, and what it took."""

    status: int
    document: dict[str, Any]
    retries: int = 0


@dataclass
class Endpoint:
    """Whoever is examined: an address that speaks HTTP, or a function.

    Parameters
    ----------
    asked : Address or callable
        A function takes a request's body and returns its answer: a mapping, (status, mapping), or
        an object of a client. An exception with a ``status_code``, as clients raise, is an answer.
    key : str, optional
        Sent as a bearer token. It is in no message, no repr and no answer: what an endpoint repeats
        of it is hidden, in whatever form, see `Hiding`.
    retries : int
        How often a request is sent again, after 408, 409, 425, 429, 5xx and lost connections
        alone.
    timeout : float
        Seconds for a request and its response.
    jobs : int
        Requests that are sent at a time.
    client : httpx.Client, optional
        Carries the requests, in place of the standard library.
    is_stopped : callable, optional
        Asked while the endpoint waits; what it then raises ends the wait.

    Notes
    -----
    A server that answers one request with 5xx, or hangs up, again and again may mean that request
    alone, as some do with values that they cannot use: then an earlier request that it answered is
    sent once more. If that is answered, the failure is an answer, too; else the server is gone.

    Examples
    --------
    >>> endpoint = Endpoint(lambda body: {"choices": [{"message": {"content": body["model"]}}]})
    >>> [answer.text() for answer in endpoint.send([{"model": "a"}, {"model": "b"}])]
    ['a', 'b']
    """

    asked: Address | Callable[[dict[str, Any]], Any]
    key: str | None = field(default=None, repr=False)
    retries: int = 4
    timeout: float = 120.0
    jobs: int = 1
    client: Any = field(default=None, repr=False)
    is_stopped: Callable[[], None] = field(default=lambda: None, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    retried: int = field(default=0, init=False)
    _delays: Delays = field(default_factory=Delays, init=False, repr=False)
    _exchange: Exchange | None = field(default=None, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)
    _good: dict[str, Any] | None = field(default=None, init=False, repr=False)
    _hiding: Hiding = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._hiding = Hiding(self.key)
        if isinstance(self.asked, Address):
            made = ByHand if self.client is None else ByClient
            rest = () if self.client is None else (self.client,)
            self._exchange = made(self.asked, self.timeout, *rest)
        elif self.client is not None:
            raise ParameterError("client", "left out where the endpoint is a function", self.client)

    @property
    def url(self) -> str | None:
        """The base URL; None of a function."""
        return self.asked.url if isinstance(self.asked, Address) else None

    def send(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Send requests, as many at a time as there are jobs, and return their answers in order."""
        return [answer_of(reply.status, reply.document) for reply in self.replies(bodies)]

    def replies(self, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
        """Yield what arrives for each request, in order."""
        plain = [plain_body(body) for body in bodies]
        if self.jobs == 1 or len(plain) == 1:
            yield from map(self._reply, plain)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._reply, body) for body in plain]
            try:
                for future in futures:
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def models(self) -> list[str]:
        """Return the names that the endpoint lists as its models; [] where it lists none."""
        if not isinstance(self.asked, Address):
            return []
        try:
            status, document, _ = self._once("GET", "/models", None)
        except (Dropped, EndpointError):
            return []
        data = document.get("data") if status == 200 else None
        listed = data if isinstance(data, list) else []
        return [str(each["id"]) for each in listed if isinstance(each, dict) and each.get("id")]

    def pieces(self, text: str, model: str | None) -> list[bytes] | None:
        """Return the tokens of a text, as the server tells them; None where it does not."""
        if not isinstance(self.asked, Address):
            return None
        for route in ROUTES:
            path = route.format(root=self.asked.root)
            try:
                answer = self._ask("POST", path, asked_for(text, model))
            except (Dropped, EndpointError):
                return None
            if answer[0] == 200:
                return pieces_of(answer[1], text)
        return None

    def close(self) -> None:
        """Close all connections."""
        if self._exchange is not None:
            self._exchange.close()

    # One request.

    def _reply(self, body: dict[str, Any]) -> Reply:
        reply = self._attempts(body, self.retries)
        if isinstance(reply, Reply) and reply.status in _UNPAID:
            raise EndpointError(self._refusal(reply))
        if isinstance(reply, Reply) and not is_passing(reply.status):
            if reply.status == 200:
                self._good = body
            return reply
        self._check_alive(body, reply)
        if isinstance(reply, Reply):
            return reply
        words = {"error": {"message": f"No answer: {reply}."}}
        return Reply(599, words, self.retries)

    def _refusal(self, reply: Reply) -> str:
        """Return the sentence about an endpoint that wants a key, or money."""
        said = f"{self.url or 'The function'} answers {reply.status}"
        words = (Answer(reply.status, reply.document).words or "").rstrip(".")
        hint = "It wants a key, or another one: key='env:NAME', --key-env NAME."
        return f"{said}, {words}." + (f" {hint}" if reply.status == 401 else "")

    def _check_alive(self, body: dict[str, Any], reply: Reply | Dropped) -> None:
        """Raise unless the failure is that of this request alone."""
        where = self.url or "The function"
        if isinstance(reply, Dropped):
            said = str(reply)
        else:
            said = f"{reply.status}, {Answer(reply.status, reply.document).words}"
        is_busy = isinstance(reply, Reply) and reply.status in _BUSY
        if not is_busy and self._good is not None and self._good != body:
            again = self._attempts(self._good, min(self.retries, 1))
            if isinstance(again, Reply) and again.status == 200:
                return
        times = f" after {counted(self.retries + 1, 'attempt')}" if self.retries else ""
        raise EndpointError(f"{where} does not answer{times}: {said}.")

    def _attempts(self, body: dict[str, Any], retries: int) -> Reply | Dropped:
        """Send a request until its answer is one, and return that or the last failure."""
        for attempt in range(retries + 1):
            self.is_stopped()
            last: Reply | Dropped
            wait: str | None = None
            try:
                status, document, wait = self._once("POST", _route(body), body)
                last = Reply(status, document, attempt)
                if not is_passing(status):
                    return last
            except Dropped as lost:
                if not lost.is_there and self._good is None:
                    raise EndpointError(f"{self.url} does not answer: {lost}.") from None
                last = lost
            if attempt < retries:
                with self._lock:
                    self.retried += 1
                self._wait(self._delays.seconds(attempt, wait))
        return last

    def _wait(self, seconds: float) -> None:
        while seconds > 0:
            self.is_stopped()
            self.sleep(min(seconds, 0.25))
            seconds -= 0.25

    def _once(
        self, method: str, route: str, body: dict[str, Any] | None
    ) -> tuple[int, dict[str, Any], str | None]:
        """Return status, document and the time to wait."""
        if not isinstance(self.asked, Address):
            return (*self._call(self.asked, body or {}), None)
        return self._ask(method, self.asked.root + route, body)

    def _ask(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> tuple[int, dict[str, Any], str | None]:
        response = self._response(method, path, body)
        document = document_of(response, self._hiding.text)
        status = status_of(response.status, document)
        return status, self._hiding.document(document), response.retry_after

    def _response(self, method: str, path: str, body: dict[str, Any] | None) -> Response:
        """Return a response, after redirects on the same host."""
        assert self._exchange is not None
        assert isinstance(self.asked, Address)
        headers = {"Accept": "application/json", "User-Agent": "logitlab"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, allow_nan=False).encode()
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        for _ in range(4):
            response = self._exchange(method, path, content, headers)
            if not 300 <= response.status < 400:
                return response
            target = response.location or ""
            origin, there = _split(target)
            if origin not in ("", self.asked.origin) or not there.startswith("/"):
                other = self._hiding.text(origin or "nowhere")
                raise EndpointError(
                    f"{self.asked.url} redirects to {other}, which is not followed: "
                    "give that address, if it is the endpoint's."
                )
            path = there
        raise EndpointError(f"{self.asked.url} redirects in a circle.")

    def _call(
        self, function: Callable[[dict[str, Any]], Any], body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Return what a function answers, or what a client's exception says."""
        try:
            given = function(json.loads(json.dumps(body)))  # its own copy
        except EndpointError:
            raise
        except Exception as error:
            status, document = given_error(error)
        else:
            status, document = given_document(given)
        return status, self._hiding.document(document)


def key_from(source: str | None, address: Address | None) -> str | None:
    """Return the key for an address: the one given, or that of its host's variable.

    Parameters
    ----------
    source : str, optional
        The key, or ``env:NAME`` for the variable that holds it. None looks for the variable of
        OpenRouter's and OpenAI's own hosts, ``OPENROUTER_API_KEY`` and ``OPENAI_API_KEY``, which
        is sent nowhere else.
    address : Address, optional
        None is a function's, which takes no key.

    Raises
    ------
    ParameterError
        For a variable that is not set, or a key that no header can hold. It is not shown.
    """
    if source is None:
        variable = address.key_variable if address is not None else None
        value = os.environ.get(variable, "") if variable else ""
        source = f"env:{variable}" if value else None
    if source is None:
        return None
    if address is None:
        seen = Seen("a key")
        raise ParameterError("key", "left out where the endpoint is a function", seen)
    if not isinstance(source, str):
        raise ParameterError(
            "key",
            "a text, or env:NAME",
            Seen(with_article(type(source).__name__)),
        )
    if source.startswith("env:"):
        source = os.environ.get(source[4:], "").strip()
        if not source:
            name = Seen("the name of another")
            raise ParameterError("key", "env:NAME of a variable that is set", name)
    if not re.fullmatch(r"[\x21-\x7e]+", source):
        raise ParameterError("key", "printable ASCII without spaces", Seen("another text"))
    return source


def _route(body: Mapping[str, Any]) -> str:
    return "/chat/completions" if "messages" in body else "/completions"


def _split(target: str) -> tuple[str, str]:
    """Return origin and path of a redirect's target."""
    if target.startswith("/") and not target.startswith("//"):
        return "", target
    try:
        origin = Address.of(re.split(r"[?#]", target)[0]).origin
    except ParameterError:
        return "", ""
    return origin, "/" + target.split("://", 1)[-1].partition("/")[2]


def plain_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body as JSON has it: numbers and arrays among its values as Python's own.

    Raises
    ------
    ParameterError
        For what JSON cannot hold, with the key of the request that it stands under.
    """
    found: dict[str, Any] = {}
    for key, value in body.items():
        try:
            found[key] = json.loads(json.dumps(value, default=plain, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ParameterError(str(key), "what JSON can hold", value) from error
    return found
