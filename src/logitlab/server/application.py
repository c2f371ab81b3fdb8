"""`app`: the routes of the server, and how a request goes to the writer and back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from logitlab.checks import ParameterError, Seen, needs, suggestion
from logitlab.draw import uniform
from logitlab.models.model import Model, check_model
from logitlab.server.about import (
    check_name,
    detokenized,
    model_entry,
    models_of,
    tokenized,
    tokenizer_of,
)
from logitlab.server.explore import routes as page_routes
from logitlab.server.guard import Guard
from logitlab.server.job import Inbox, Job, failure
from logitlab.server.journal import Entry, Journal
from logitlab.server.messages import (
    Answer,
    GoneError,
    Receive,
    RefusalError,
    Scope,
    Send,
    as_json,
    body_map,
    body_of,
    gone,
    send_answer,
    send_events,
)
from logitlab.server.openapi import document
from logitlab.server.script import Script
from logitlab.server.settings import Settings
from logitlab.server.writer import AHEAD, Writer
from logitlab.wire.errors import error_body

if TYPE_CHECKING:
    from logitlab.server.entry import Asked

__all__ = ["Server", "app"]

_PREFIXES = ("/v1", "/api/v1")
_NAMES = ("/chat/completions", "/completions", "/responses", "/models", "/tokenize", "/detokenize")
_CLERKS = 2  # so that a schema that takes long to compile does not hold up everybody

_log = logging.getLogger("logitlab.server")


def app(model: Model, **settings: Any) -> Server:
    """Return an ASGI application that answers with a model, as servers of OpenAI's protocol do.

    Parameters
    ----------
    model : Model
        Whoever answers. Its ``encode`` and ``chat`` may be called while another thread is in its
        ``advance``, which one thread alone calls.
    **settings
        Fields of `server.settings.Settings`, such as ``engine``, ``api_key``, ``hosts``,
        ``origins``, ``queue`` and ``script``.

    Returns
    -------
    Server
        Run it with an ASGI server, mount it under another application, or test it in process,
        as with ``httpx.ASGITransport``. Its ``journal`` and ``script`` are those of this
        application. It needs no lifespan: its threads begin with the first request.

    Raises
    ------
    ParameterError
        For whatever is wrong with the settings.
    ImportError
        Where Starlette is not installed, with the command that installs it.

    Notes
    -----
    Under ``/v1`` and ``/api/v1``: ``POST chat/completions``, ``completions``, ``responses``,
    ``tokenize`` and ``detokenize``, ``GET models`` and ``models/{id}``; beside them ``/health``,
    ``/openapi.json`` and ``/lab/journal``. A request's ``provider: {"order": [engine]}`` chooses
    whose rules it is read by. The page of ``logitlab explore`` is at ``/``, and asks at
    ``/lab/<function>``.

    Requests that come together are written in one batch, and each answer has the bits that it has
    alone, for models that promise it. One that is over what the queue holds gets 503 with
    Retry-After. A prompt is read in one go, as `generate` reads it, since a network's last bits
    depend on that: meanwhile all others wait.

    Examples
    --------
    >>> import asyncio, httpx
    >>> from logitlab import models
    >>> async def ask():
    ...     transport = httpx.ASGITransport(app(models.NGram.bundled()))
    ...     async with httpx.AsyncClient(transport=transport) as client:
    ...         request = {"prompt": "The king", "seed": 7, "max_tokens": 3}
    ...         url = "http://localhost/v1/completions"
    ...         return (await client.post(url, json=request)).json()
    >>> asyncio.run(ask())["choices"][0]["text"]
    ' Curdken went down'
    """
    check_model(model)
    return Server(model, Settings(**settings))


class Server:
    """The application that `app` returns.

    Attributes
    ----------
    model : Model
    settings : Settings
    journal : Journal
    script : Script
        May be replaced by another between requests.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.journal = Journal()
        self.script = Script(settings.script, model)
        self.writer = Writer(model, settings.batch_size)
        self._clerks = ThreadPoolExecutor(_CLERKS, "logitlab-clerk")
        self._created = int(time.time())
        self._lock = threading.Lock()
        self._inside = 0
        self._most = settings.batch_size + settings.queue
        self._document: bytes | None = None
        self._guarded = Guard(self._routes(), settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._guarded(scope, receive, send)

    def close(self) -> None:
        """End what is on its way: whoever waits is told so."""
        self.writer.close()
        self._clerks.shutdown(wait=False, cancel_futures=True)

    def _routes(self) -> Any:
        starlette: Any = needs("serve", "starlette.applications")
        route: Any = needs("serve", "starlette.routing").Route
        under_prefix = [
            ("/chat/completions", "POST", _Writes(self, "chat")),
            ("/completions", "POST", _Writes(self, "completions")),
            ("/responses", "POST", _Writes(self, "responses")),
            ("/tokenize", "POST", _Reads(self, tokenized)),
            ("/detokenize", "POST", _Reads(self, detokenized)),
            ("/models", "GET", _Tells(self._models)),
            ("/models/{id:path}", "GET", _Tells(self._model)),
        ]
        own = [
            ("/health", "GET", _Tells(lambda _: as_json({"status": "ok"}))),
            ("/openapi.json", "GET", _Tells(self._openapi)),
            ("/lab/journal", "GET", _Tells(lambda _: as_json(self.journal.report()))),
            ("/lab/journal", "DELETE", _Tells(self._clear)),
            ("/tokenize", "POST", _Reads(self, tokenized)),
            ("/detokenize", "POST", _Reads(self, detokenized)),
            ("/tokenizer_info", "GET", _Tells(lambda _: as_json(tokenizer_of(self.model)))),
        ]
        entries: list[tuple[str, str, Any]] = [
            *own,
            *(
                (f"{prefix}{path}", method, endpoint)
                for prefix in _PREFIXES
                for path, method, endpoint in under_prefix
            ),
        ]
        methods: dict[str, dict[str, Any]] = {}
        for path, method, endpoint in entries:
            methods.setdefault(path, {})[method] = endpoint
        routes = [route(path, _ByMethod(known)) for path, known in methods.items()]
        routes += page_routes(self.model, self.with_model)

        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            yield
            await asyncio.get_running_loop().run_in_executor(None, self.close)

        inner = starlette.Starlette(routes=routes, lifespan=lifespan)
        inner.router.default = _nothing_here
        inner.router.redirect_slashes = False
        return inner

    def _models(self, _: Scope) -> bytes:
        return as_json(models_of(self.model, self.settings.usual_engine, self._created))

    def _model(self, scope: Scope) -> bytes:
        name = scope["path_params"]["id"]
        if name != self.model.name:
            raise RefusalError(404, ParameterError("model", self.model.name, name))
        return as_json(model_entry(self.model, self.settings.usual_engine, self._created))

    def _openapi(self, _: Scope) -> bytes:
        if self._document is None:
            self._document = as_json(document(self.settings, self.model.name))
        return self._document

    def _clear(self, _: Scope) -> bytes:
        self.journal.clear()
        return as_json(self.journal.report())

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among the requests that are inside.

        Raises
        ------
        RefusalError
            503 where there is none.
        """
        with self._lock:
            if self._inside >= self._most:
                seen = Seen(f"{self._inside} before it")
                rule = f"one of at most {self._most} that are written or wait"
                error = ParameterError("the request", rule, seen, "Try again later.")
                raise RefusalError(503, error, {"retry-after": "1"})
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function outside of the event loop."""
        try:
            future = asyncio.get_running_loop().run_in_executor(self._clerks, function, *arguments)
        except RuntimeError:  # it is shut down
            seen = Seen("a signal to end")
            raise RefusalError(503, ParameterError("the server", "running", seen)) from None
        return await future

    async def with_model(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function that asks the model: in the one thread that may, between two tokens."""
        inbox = Inbox()
        self.writer.call(partial(function, *arguments), inbox)
        [item] = await inbox.take()
        if isinstance(item, BaseException):
            raise item
        return item[0]

    def check_luck(self, number: int) -> None:
        """Raise the failure that is to be played for a request, if there is one."""
        faults = self.settings.fail
        if not faults:
            return
        luck = float(uniform(self.settings.fail_seed, number))
        for fault in faults:
            if luck < fault.share:
                rule = "one that does not fail"
                seen = Seen(f"request {number}, for which --fail plays status {fault.status}")
                headers = {"retry-after": "1"} if fault.status in (429, 503) else {}
                raise RefusalError(fault.status, ParameterError("the request", rule, seen), headers)
            luck -= fault.share


class _ByMethod:
    """Passes a request on to the endpoint of its method."""

    def __init__(self, endpoints: Mapping[str, Any]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        known = self._endpoints.get("GET" if method == "HEAD" else method)
        if known is None:
            rule, allowed = " or ".join(self._endpoints), ", ".join(self._endpoints)
            error = ParameterError("the method", rule, method)
            await send_answer(send, RefusalError(405, error, {"allow": allowed}).answer)
            return
        await known(scope, receive, send)


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    path = scope["path"].rstrip("/")
    meant = next((name for name in _NAMES if path.endswith(name)), None)  # of another base URL
    known = [f"/v1{name}" for name in _NAMES]
    hint = f"Did you mean /v1{meant}?" if meant else suggestion(path, known)
    error = ParameterError("path", "one of those in /openapi.json", scope["path"], hint)
    await send_answer(send, RefusalError(404, error).answer)


class _Tells:
    """An endpoint that says something at once."""

    def __init__(self, content: Callable[[Scope], bytes]) -> None:
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = Answer(200, self._content(scope))
        except RefusalError as refusal:
            answer = refusal.answer
        await send_answer(send, answer)


class _Endpoint:
    """An endpoint that reads a body, as long as its sender waits for the answer."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or give up once nobody waits any more."""
        entry = self.server.journal.begin(scope["path"])

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            await send(message)

        try:
            await self._answer_or_leave(entry, scope, receive, noted)
            entry.outcome = entry.outcome or "finished"
        except RefusalError as refusal:
            entry.outcome = "refused"
            await send_answer(noted, refusal.answer)
        except ParameterError as error:
            entry.outcome = "refused"
            await send_answer(noted, Answer(400, as_json(error_body(error))))
        except GoneError:
            entry.outcome = "gone"
        except _FailedError as failed:
            entry.outcome = "failed"
            status, body = failure(failed.cause)
            await send_answer(noted, Answer(status, as_json(body)))
        except Exception as error:
            _log.exception("a request failed")
            entry.outcome = "failed"
            if entry.status is not None:
                raise
            status, body = failure(error, "the server")
            await send_answer(noted, Answer(status, as_json(body)))
        finally:
            entry.outcome = entry.outcome or "gone"

    async def _answer_or_leave(
        self, entry: Entry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        server = self.server
        raw = await body_of(scope, receive, server.settings.max_body)
        with server.place():
            watch = asyncio.ensure_future(gone(receive))
            answer = asyncio.ensure_future(self.answer(entry, raw, send))
            try:
                await asyncio.wait({watch, answer}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    raise GoneError
                await answer
            finally:
                for task in (watch, answer):
                    task.cancel()
                await asyncio.wait({watch, answer})
                for task in (watch, answer):
                    if not task.cancelled():
                        task.exception()  # which nobody waits for any more

    async def answer(self, entry: Entry, raw: bytes, send: Send) -> None:
        """Answer a request of this body."""
        raise NotImplementedError


class _Reads(_Endpoint):
    """An endpoint that makes something of a body, without the model."""

    def __init__(self, server: Server, function: Callable[[Mapping[str, Any], Model], Any]) -> None:
        super().__init__(server)
        self._function = function

    async def answer(self, entry: Entry, raw: bytes, send: Send) -> None:
        """Answer with what the function returns."""
        content = await self.server.work(self._content, entry, raw)
        await send_answer(send, Answer(200, content))

    def _content(self, entry: Entry, raw: bytes) -> bytes:
        request = body_map(raw)
        entry.keep(request, len(raw))
        check_name(request, self.server.model, self.server.settings)
        return as_json(self._function(request, self.server.model))


class _Writes(_Endpoint):
    """An endpoint for which the model writes."""

    def __init__(self, server: Server, kind: str) -> None:
        super().__init__(server)
        from logitlab.server.entry import read  # all of the wire, which loads with a server

        self._kind, self._read = kind, read

    async def answer(self, entry: Entry, raw: bytes, send: Send) -> None:
        """Answer with what the model writes."""
        server = self.server
        settings = server.settings
        if settings.latency:
            await asyncio.sleep(settings.latency)
        server.check_luck(entry.number)
        how = server.model, settings, server.script, entry
        asked: Asked = await server.work(self._read, self._kind, raw, *how)
        pause = 1 / settings.tokens_per_second if settings.tokens_per_second else 0.0
        job = Job(asked.rows, asked.words, asked.streams, Inbox(), pause)
        try:
            if asked.rows:
                server.writer.submit(job)
            if asked.streams:
                await send_events(send, self._events(job, asked.opening), settings.patience)
            else:
                content = await server.work(_content, asked, await _answers(job))
                await send_answer(send, Answer(200, content))
        finally:
            if not job.is_over:
                job.cancelled = True
                server.writer.look()

    async def _events(self, job: Job, opening: str) -> AsyncIterator[bytes]:
        """Yield events as they come, those together that are there together."""
        if opening:
            yield opening.encode()
        ended = not job.count
        while not ended:
            items = await job.inbox.take()
            ended = items[-1] is None
            events = items[:-1] if ended else items
            if events:
                yield "".join(events).encode()
            if job.take(len(events), AHEAD):
                self.server.writer.look()


class _FailedError(Exception):
    """The model failed, which the writer has told already."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


async def _answers(job: Job) -> Sequence[Any]:
    """Return the finished answers of a job that is not streamed."""
    if not job.count:
        return []
    [last] = await job.inbox.take()
    if isinstance(last, RefusalError | ParameterError):
        raise last
    if isinstance(last, BaseException):
        raise _FailedError(last)
    answers: Sequence[Any] = last
    return answers


def _content(asked: Asked, answers: Sequence[Any]) -> bytes:
    return as_json(asked.words.body(answers))
