"""The page, and what it asks for, as routes of a server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

from logitlab.checks import ParameterError, needs
from logitlab.models.model import Model
from logitlab.server.messages import RefusalError
from logitlab.wire.errors import message_of

if TYPE_CHECKING:
    from logitlab.server.lab import Lab

__all__ = ["HEADERS", "routes"]

_MOST_BYTES = 1 << 24  # of a body: a .npy of some rows fits
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

WithModel: TypeAlias = Callable[..., Awaitable[Any]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""What goes with every answer: the page loads nothing from elsewhere, and nobody frames it."""


def routes(model: Model, with_model: WithModel) -> list[Any]:
    """Return the page at ``/``, its files, and what it asks at ``POST /lab/<function>``.

    Answers are those of `Lab.answer`; one that is an error has status 400. The page asks for what
    lies beside it, so it can be mounted at any path that ends in ``/``.

    Parameters
    ----------
    model : Model
        What reads and writes texts.
    with_model : callable
        Awaits a function of this thread's choice, called with arguments, where it alone has the
        model: `Server.with_model`.

    Raises
    ------
    ImportError
        Where starlette is not installed, with the command that installs it.
    """
    from logitlab.server.lab import FUNCTIONS, Lab  # which loads with a server

    routing = needs("serve", "starlette.routing")
    response: Any = needs("serve", "starlette.responses").Response
    lab, pages = lru_cache(1)(lambda: Lab(model)), _pages()

    def answered(body: dict[str, Any], status: int = 200) -> Any:
        text = json.dumps(body, allow_nan=False).encode()
        return response(text, status, {**HEADERS, "content-type": "application/json"})

    def refused(status: int, error: ParameterError) -> Any:
        return answered({"error": {"message": message_of(error), "parameter": error.name}}, status)

    async def ask(request: Any) -> Any:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind != "application/json":  # what a form of another page cannot send
            return refused(415, ParameterError("content-type", "application/json", kind))
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > _MOST_BYTES:
                rule = f"at most {_MOST_BYTES} bytes"
                return refused(413, ParameterError("body", rule, len(data)))
        name = request.url.path.rpartition("/")[2]
        try:
            answer = await with_model(_answer, lab, name, bytes(data))
        except RefusalError as refusal:
            told = refusal.answer
            return response(told.content, told.status, {**HEADERS, **told.headers})
        return answered(answer, 400 if "error" in answer else 200)

    async def show(request: Any) -> Any:
        kind, data = pages[request.url.path.rpartition("/")[2] or "index.html"]
        return response(data, 200, {**HEADERS, "content-type": f"{kind}; charset=utf-8"})

    return [
        *(routing.Route(f"/{name}", show) for name in ("", *pages)),
        *(routing.Route(f"/lab/{name}", ask, methods=["POST"]) for name in FUNCTIONS),
    ]


def _answer(lab: Callable[[], Lab], name: str, data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        text = data[:200].decode("utf-8", "replace")
        error = ParameterError("body", "JSON", text)
        return {"error": {"message": message_of(error), "parameter": error.name}}
    return lab().answer(name, body)


def _pages() -> dict[str, tuple[str, bytes]]:
    """Return the files of the page by name: no request can name any other."""
    folder = files("logitlab") / "server" / "page"
    known = {}
    for entry in folder.iterdir():
        kind = _KINDS.get(entry.name[entry.name.rfind(".") :])
        if kind is not None:
            known[entry.name] = kind, entry.read_bytes()
    return known
