"""A server on a port: in the foreground until a signal ends it, or in a thread beside a test."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from logitlab.checks import ParameterError, Range, check_integer, needs
from logitlab.models.model import Model
from logitlab.server.application import Server, app
from logitlab.server.settings import LOOPBACK

__all__ = ["Background", "key_of", "serve"]

KEY_VARIABLE = "LOGITLAB_API_KEY"
"""The environment variable of the key, where nothing else is said."""

_PORTS = Range(0, 65535, integer=True)
_GRACE = 2.0  # seconds that requests have to end after a signal
_MOST_GRACE = 8  # and then they are told, which they may not read
_KEPT = 75  # seconds of a connection without requests: clients close theirs sooner, so none is lost


def key_of(source: str | None) -> str | None:
    """Return the key that a file or an environment variable holds: no command line shows it.

    Parameters
    ----------
    source : str or None
        The path of a file, or ``env:NAME``. None looks for `KEY_VARIABLE`.

    Raises
    ------
    ParameterError
        If there is no key.
    """
    if source is None:
        return os.environ.get(KEY_VARIABLE) or None
    if source.startswith("env:"):
        key = os.environ.get(source[4:], "")
        if not key:
            raise ParameterError("--api-key", "env:NAME of a variable that is set", source)
        return key
    try:
        key = Path(source).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "It is no text"
        hint = f"{reason}."
        raise ParameterError("--api-key", "a readable file, or env:NAME", source, hint) from None
    if not key:
        raise ParameterError("--api-key", "a file with a key in it", source)
    return key


def serve(
    model: Model,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] = print,
    **settings: Any,
) -> None:
    """Run a server until SIGINT or SIGTERM.

    Parameters
    ----------
    model : Model
    host : str
        The address to listen at. Others than those of the loopback want a key.
    port : int
        0 takes a free one.
    ready : callable
        Called with the URL once it answers.
    **settings
        As of `app`.

    Raises
    ------
    ParameterError
        For whatever is wrong with them, or a port that is taken.
    """
    uvicorn: Any = needs("serve", "uvicorn")
    settings = _at_host(host, settings)
    listener, application = _listener(host, port), None
    try:
        application = app(model, **settings)
        server = _server_class(uvicorn)(_config(uvicorn, application))
        server.ready = lambda: ready(_url(host, listener))
        server.application = application
        server.run(sockets=[listener])
    finally:
        listener.close()
        if application is not None:
            application.close()


def _at_host(host: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings for an address: who may come there."""
    if settings.get("api_key") is None:
        if not _is_loopback(host):
            rule = "an address of the loopback where there is no key"
            hint = f"--api-key FILE or the variable {KEY_VARIABLE} gives one."
            raise ParameterError("--host", rule, host, hint)
        named = f"[{host}]" if ":" in host else host
        hosts = [*LOOPBACK, named, *(settings.get("hosts") or ())]
        settings = {**settings, "hosts": hosts}
    return settings


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    check_integer("--port", port, _PORTS)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
    except (OSError, UnicodeError):
        raise ParameterError("--host", "an address of this machine", host) from None
    # Of a socket that does not say that it is TCP asyncio does not switch off Nagle's algorithm,
    # and every response waits 40 ms for its end.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ParameterError("--host", "an address of this machine", host) from None
        reason = os.strerror(error.errno) if error.errno else "It cannot be had"
        raise ParameterError("--port", "free", port, f"{reason}.") from None
    return listener


def _url(host: str, listener: socket.socket) -> str:
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{listener.getsockname()[1]}/v1"


def _config(uvicorn: Any, application: Server) -> Any:
    return uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        lifespan="on",
        proxy_headers=False,  # nobody tells it whom a request is from
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_MOST_GRACE,
        timeout_keep_alive=_KEPT,
    )


def _server_class(uvicorn: Any) -> Any:
    class Listening(uvicorn.Server):  # type: ignore[misc]
        """A server whose end, after a signal, is no failure."""

        ready: Callable[[], None]
        application: Server

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return
            signals = (signal.SIGINT, signal.SIGTERM)
            before = {each: signal.signal(each, self.handle_exit) for each in signals}
            try:
                yield
            finally:
                for each, handler in before.items():
                    signal.signal(each, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Let requests end for a while, and then end them."""
            super().handle_exit(sig, frame)
            self.end_soon()

        def end_soon(self) -> None:
            timer = threading.Timer(_GRACE, self.application.writer.close)
            timer.daemon = True
            timer.start()

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                self.ready()

    return Listening


class Background:
    """A server on a free port of the loopback, in a thread, for as long as the block lasts.

    Parameters
    ----------
    model : Model
    **settings
        As of `app`.

    Attributes
    ----------
    url : str
        Where clients ask, such as ``http://127.0.0.1:40123/v1``.
    application : Server

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> from logitlab import models
    >>> with Background(models.NGram.bundled()) as server:
    ...     urlopen(server.url.replace("/v1", "/health")).read()
    b'{"status": "ok"}'
    """

    def __init__(self, model: Model, **settings: Any) -> None:
        uvicorn: Any = needs("serve", "uvicorn")
        self.application = app(model, **settings)
        self._listener = _listener("127.0.0.1", 0)
        self.url = _url("127.0.0.1", self._listener)
        self._server = _server_class(uvicorn)(_config(uvicorn, self.application))
        self._is_ready = threading.Event()
        self._server.ready = self._is_ready.set
        self._server.application = self.application
        sockets = {"sockets": [self._listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._is_ready.wait(0.05):
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the server did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self.application.close()
        self._thread.join(10)
        self._listener.close()
