"""Who may come in: the names of the server, the pages that may ask, and the key."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.server.messages import Answer, Receive, RefusalError, Scope, Send, header, send_answer
from logitlab.server.settings import Settings

__all__ = ["Guard"]

_OPEN = ("/health",)  # which tells nothing but that it is there


class Guard:
    """An ASGI application that passes on what may come in.

    A page of the web can send requests to a server on its reader's own machine, and can make its
    own name mean that machine. So a request has to call the server by a name of its own (403
    otherwise), and one that a browser sends for a page says of which origin that is: only the
    server's own pages may, and those of `Settings.origins`. Where there is a key, it is compared in
    constant time (401).

    Parameters
    ----------
    inner : ASGI application
    settings : Settings
    """

    def __init__(self, inner: Any, settings: Settings) -> None:
        self._inner = inner
        self._hosts = settings.allowed_hosts
        self._origins = frozenset(settings.origins)
        self._key = None if settings.api_key is None else _digest(settings.api_key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":  # there is nothing for a websocket here
            await send({"type": "websocket.close", "code": 1008})
            return
        origin = header(scope, "origin")
        shared = origin is not None and origin.lower() in self._origins
        inner_send = _with_origin(send, str(origin)) if shared else send
        try:
            self._check_host(scope)
            self._check_origin(scope, origin, shared)
            asked = header(scope, "access-control-request-method")
            if shared and scope["method"] == "OPTIONS" and asked is not None:
                await send_answer(inner_send, _preflight(scope))
                return
            self._check_key(scope)
        except RefusalError as refusal:
            await send_answer(inner_send, refusal.answer)
            return
        await self._inner(scope, receive, inner_send)

    def _check_host(self, scope: Scope) -> None:
        names = [value for key, value in scope["headers"] if key == b"host"]
        if self._hosts is None:
            return
        host = names[0].decode("latin-1") if len(names) == 1 else ""
        if _without_port(host) not in self._hosts:
            hint = "The setting hosts, or --allow-host, allows another."
            rule = f"one of {', '.join(sorted(self._hosts))}"
            seen = host or Seen(f"{len(names)} of them")
            raise RefusalError(403, ParameterError("the header Host", rule, seen, hint))

    def _check_origin(self, scope: Scope, origin: str | None, shared: bool) -> None:
        if origin is None or shared:
            return
        own = f"{scope.get('scheme', 'http')}://{header(scope, 'host') or ''}".lower()
        if origin.lower() != own:
            hint = "The setting origins, or --cors, allows another."
            rule = "that of the server itself"
            raise RefusalError(403, ParameterError("the header Origin", rule, origin, hint))

    def _check_key(self, scope: Scope) -> None:
        if self._key is None or scope["path"].removeprefix(scope.get("root_path", "")) in _OPEN:
            return
        kind, _, given = (header(scope, "authorization") or "").partition(" ")
        # Digests have one length, so that the time tells nothing, and that neither.
        is_right = hmac.compare_digest(_digest(given.strip().encode("latin-1")), self._key)
        if kind.lower() != "bearer" or not is_right:
            seen = Seen("another" if given else "none")
            error = ParameterError("the header Authorization", "Bearer and the key", seen)
            raise RefusalError(401, error, {"www-authenticate": "Bearer"})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _without_port(host: str) -> str:
    """Return the name in a Host header.

    Examples
    --------
    >>> _without_port("[::1]:8000"), _without_port("LocalHost:80"), _without_port("localhost")
    ('[::1]', 'localhost', 'localhost')
    """
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (name.endswith("]") or ":" not in name):
        host = name
    return host.lower()


def _preflight(scope: Scope) -> Answer:
    """Answer a browser that asks what a page may send."""
    headers = {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-max-age": "600",
    }
    if wanted := header(scope, "access-control-request-headers"):
        headers["access-control-allow-headers"] = wanted
    if header(scope, "access-control-request-private-network") == "true":
        headers["access-control-allow-private-network"] = "true"
    return Answer(200, b"{}", headers)


def _with_origin(send: Send, origin: str) -> Send:
    """Return a send that tells the browser that a page of this origin may read the answer."""
    more = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return told
