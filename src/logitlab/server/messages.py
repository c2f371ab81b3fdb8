"""ASGI messages in and out: bodies of a bounded size, JSON, events, and who has gone away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias

from logitlab.checks import ParameterError, Seen
from logitlab.wire.errors import check_body, error_body

__all__ = [
    "Answer",
    "GoneError",
    "Receive",
    "RefusalError",
    "Scope",
    "Send",
    "as_json",
    "body_map",
    "body_of",
    "gone",
    "header",
    "send_answer",
    "send_events",
]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DRAINED = 16  # times the limit: so much of a body that is too long is read, to answer politely


class GoneError(Exception):
    """Whoever asked has gone away, or does not read."""


class RefusalError(Exception):
    """A response that is an error, with a status of its own.

    Parameters
    ----------
    status : int
    error : ParameterError
        What is wrong.
    headers : mapping of str to str
    """

    def __init__(
        self, status: int, error: ParameterError, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, error)
        self.status, self.error, self.headers = status, error, dict(headers or {})

    @property
    def answer(self) -> Answer:
        """The response: the error as OpenAI's clients read it, with its status."""
        return Answer(self.status, as_json(error_body(self.error, self.status)), self.headers)


class Answer:
    """A whole response.

    Parameters
    ----------
    status : int
    content : bytes
        JSON.
    headers : mapping of str to str
    """

    def __init__(
        self, status: int, content: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status, self.content, self.headers = status, content, dict(headers or {})


def as_json(body: Any) -> bytes:
    """Return a body in ASCII, which every reader decodes; a lone surrogate stays an escape."""
    return json.dumps(body).encode()


def header(scope: Scope, name: str) -> str | None:
    """Return the value of a request's header, or None; Latin-1, as HTTP has it."""
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key == wanted:
            return str(value.decode("latin-1"))
    return None


async def body_of(scope: Scope, receive: Receive, most: int) -> bytes:
    """Return the body of a request.

    Raises
    ------
    RefusalError
        413 for one that is too long: it is read on for a while, so that a client that writes first
        and reads then sees the answer. 415 for one that is compressed.
    GoneError
        If the client goes away before its end.
    """
    coding = header(scope, "content-encoding")
    if coding is not None and coding.strip().lower() not in ("", "identity"):
        error = ParameterError("the header Content-Encoding", "identity, or absent", coding)
        raise RefusalError(415, error)
    told = header(scope, "content-length")
    size = int(told) if told and told.isascii() and told.isdigit() and len(told) < 16 else 0
    parts: list[bytes] = []
    length, more = 0, size <= most * _DRAINED
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        part = message.get("body", b"")
        length += len(part)
        more = message.get("more_body", False)
        if length <= most:
            parts.append(part)
        else:
            parts.clear()
            more = more and length <= most * _DRAINED
    if max(length, size) > most:
        seen = Seen(f"{max(length, size)} bytes or more")
        raise RefusalError(413, ParameterError("request", f"at most {most} bytes", seen))
    return b"".join(parts)


def body_map(raw: bytes) -> dict[str, Any]:
    """Return the map that a body is.

    Raises
    ------
    ParameterError
        For a body that is something else.
    """
    try:
        # By itself `loads` guesses at UTF-16 and UTF-32, and takes surrogates for UTF-8.
        request = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        raise ParameterError("request", "JSON in UTF-8", text) from None
    except (ValueError, RecursionError):
        raise ParameterError("request", "JSON", raw.decode()) from None
    return dict(check_body(request))


async def gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(status: int, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": pairs}


async def send_answer(send: Send, answer: Answer) -> None:
    """Send a whole response."""
    headers = {"content-type": "application/json", "content-length": str(len(answer.content))}
    await send(_head(answer.status, {**headers, **answer.headers}.items()))
    await send({"type": "http.response.body", "body": answer.content})


async def send_events(send: Send, batches: AsyncIterator[bytes], patience: float) -> None:
    """Send server-sent events as they come.

    Raises
    ------
    GoneError
        If the client takes nothing for so many seconds.
    """
    headers = {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",  # a proxy is to pass on what there is
    }
    await send(_head(200, headers.items()))
    async for batch in batches:
        try:
            async with asyncio.timeout(patience):
                await send({"type": "http.response.body", "body": batch, "more_body": True})
        except TimeoutError:
            raise GoneError from None
    await send({"type": "http.response.body", "body": b""})
