"""A transport for httpx: API clients talk to a model here, and no network is involved."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from logitlab.checks import ParameterError, needs
from logitlab.engines.registry import EngineLike
from logitlab.models.model import Model
from logitlab.wire.chat import chat, chat_stream, events
from logitlab.wire.errors import error_body
from logitlab.wire.task import checked_engine

__all__ = ["transport"]

_PATH = "/chat/completions"


def transport(
    model: Model,
    *,
    engine: EngineLike = "openrouter",
    logprobs_mode: str = "engine",
    httpx: ModuleType | None = None,
) -> Any:
    """Return a transport that answers chat completion requests with a model.

    Parameters
    ----------
    model : Model
        Whoever answers.
    engine : str or Engine
        Whose chain the requests mean.
    logprobs_mode : {"engine", "raw", "processed"}
        As of `chat`.
    httpx : module, optional
        The package whose clients will use it, where that is not httpx itself.

    Returns
    -------
    httpx.BaseTransport and httpx.AsyncBaseTransport
        For ``httpx.Client(transport=…)`` and ``httpx.AsyncClient(transport=…)``, and so for
        ``openai.OpenAI(http_client=…)`` and ``openrouter.OpenRouter(client=…)``. It answers
        ``POST …/chat/completions``, streamed or not, with what `chat` and `chat_stream` return; a
        request that is wrong gets status 400 and an error body, another path 404.

    Raises
    ------
    ParameterError
        As of `chat`.
    ImportError
        Where httpx is not installed, with the command that installs it.

    Examples
    --------
    >>> import httpx
    >>> from logitlab import models
    >>> client = httpx.Client(transport=transport(models.NGram.bundled()))
    >>> request = {"messages": [{"role": "user", "content": "Once"}], "seed": 7, "max_tokens": 4}
    >>> response = client.post("http://lab.invalid/api/v1/chat/completions", json=request)
    >>> response.status_code, response.json()["usage"]["completion_tokens"]
    (200, 4)
    """
    library: Any = needs("sdk", "httpx") if httpx is None else httpx
    if not hasattr(library, "SyncByteStream"):
        raise ParameterError("httpx", "the httpx of the client", httpx)
    whose = checked_engine(model, engine, logprobs_mode)
    options: dict[str, Any] = {"engine": whose, "logprobs_mode": logprobs_mode}

    class Events(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        """Server-sent events, made as they are read."""

        def __init__(self, chunks: Iterator[dict[str, Any]]) -> None:
            self._events = (event.encode() for event in events(chunks))

        def __iter__(self) -> Iterator[bytes]:
            return self._events

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while event := await _in_thread(next, self._events, b""):
                yield event

    def respond(body: dict[str, Any]) -> Any:
        status = body["error"]["code"] if "error" in body else 200
        headers = {"content-type": "application/json"}
        return library.Response(status, headers=headers, content=json.dumps(body).encode())

    def answer(path: str, content: bytes) -> Any:
        if not path.endswith(_PATH):
            return respond(error_body(ParameterError("path", f"…{_PATH}", path), 404))
        try:
            request = json.loads(content)
        except (ValueError, RecursionError):
            text = content.decode("utf-8", "replace")
            return respond(error_body(ParameterError("request", "JSON", text)))
        if not (isinstance(request, dict) and request.get("stream")):
            return respond(chat(model, request, **options))
        try:
            stream = Events(chat_stream(model, request, **options))
        except ParameterError as error:
            return respond(error_body(error))
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    class Transport(library.BaseTransport, library.AsyncBaseTransport):  # type: ignore[misc]
        """Answers requests in this process."""

        def handle_request(self, request: Any) -> Any:
            return answer(request.url.path, request.read())

        async def handle_async_request(self, request: Any) -> Any:
            return await _in_thread(answer, request.url.path, await request.aread())

    return Transport()


async def _in_thread(function: Any, *arguments: Any) -> Any:
    """Run a function while other tasks go on, in whichever loop there is."""
    to_thread: Any = needs("sdk", "anyio.to_thread")
    return await to_thread.run_sync(function, *arguments)
