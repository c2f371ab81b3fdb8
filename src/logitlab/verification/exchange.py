"""One request and its response over HTTP: bounded in time and size, to one host, and no other."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from logitlab.checks import ParameterError, needs
from logitlab.verification.address import Address
from logitlab.verification.errors import EndpointError

__all__ = ["MOST_BYTES", "ByClient", "ByHand", "Dropped", "Exchange", "Response"]

MOST_BYTES = 64 << 20
"""Bytes of a response that are read at most; 49,152 log-probabilities take 5 MB."""

_PIECE = 1 << 16


class Response(NamedTuple):
    """A response, as far as it matters here."""

    status: int
    kind: str
    retry_after: str | None
    location: str | None
    content: bytes


class Dropped(Exception):  # noqa: N818 - it is tried again, and then told as an EndpointError
    """A connection that was lost, or never came about."""

    def __init__(self, reason: str, is_there: bool = True) -> None:
        super().__init__(reason)
        self.is_there = is_there


class Exchange(Protocol):
    """Whoever carries a request to the address and brings the response back."""

    def __call__(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Response:
        """Return the response, or raise `Dropped`."""

    def close(self) -> None:
        """Close all connections."""


class ByHand:
    """HTTP with the standard library: a connection for each thread, kept while it lasts.

    No proxy of the environment is asked, and no redirect followed.

    Parameters
    ----------
    address : Address
    timeout : float
        Seconds that a request and its response may take together.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def __call__(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Response:
        """Return the response, or raise `Dropped`."""
        connection = self._connection()
        is_kept = connection.sock is not None
        try:
            return self._ask(connection, method, path, content, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            connection.close()
            if not is_kept:
                raise Dropped("the connection was closed without a response") from error
        except OSError as error:
            connection.close()
            raise _lost(error, self._address) from None
        except http.client.HTTPException as error:
            connection.close()
            if isinstance(error, http.client.IncompleteRead):
                raise Dropped("the response breaks off") from None
            raise Dropped(f"the response is not HTTP ({type(error).__name__})") from None
        # A server may close a connection that it has kept for long enough: that is no failure.
        return self(method, path, content, headers)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            host, port = self._address.host, self._address.port
            if self._address.scheme == "https":
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(
                    host, port, timeout=self._timeout, context=context
                )
            else:
                connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
            self._own.connection = connection
            self._all.append(connection)
        return connection

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
    ) -> Response:
        if connection.sock is None:
            connection.connect()
        with _within(self._timeout, connection.sock):
            connection.request(method, path, content, headers)
            with closing(connection.getresponse()) as response:
                data = bounded(iter(lambda: response.read(_PIECE), b""), response.length)
                is_cut = bool(response.length)
        if is_cut:  # what was promised did not come
            raise http.client.IncompleteRead(b"")
        if response.will_close:
            connection.close()
        get = response.headers.get
        return Response(
            response.status,
            (get("Content-Type") or "").split(";")[0].strip().lower(),
            get("Retry-After"),
            get("Location"),
            data,
        )

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            connection.close()


class ByClient:
    """HTTP with a client of httpx: proxies, certificates and transports of one's own.

    Parameters
    ----------
    address : Address
    timeout : float
    client : httpx.Client
        It stays open.
    """

    def __init__(self, address: Address, timeout: float, client: Any) -> None:
        self._httpx: Any = needs("sdk", "httpx")
        if not isinstance(client, self._httpx.Client):
            raise ParameterError("client", "a Client of httpx", client)
        self._address, self._timeout, self._client = address, timeout, client

    def __call__(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Response:
        """Return the response, or raise `Dropped`."""
        url = self._address.origin + path
        how = {"content": content, "headers": headers, "timeout": self._timeout}
        try:
            with self._client.stream(method, url, follow_redirects=False, **how) as response:
                data = bounded(response.iter_bytes(_PIECE))
        except self._httpx.ConnectError as error:
            raise Dropped(f"no connection ({type(error).__name__})", is_there=False) from None
        except RuntimeError as error:  # it is closed
            raise ParameterError("client", "an open Client of httpx", self._client) from error
        except self._httpx.HTTPError as error:
            raise Dropped(f"the connection was lost ({type(error).__name__})") from None
        get = response.headers.get
        return Response(
            response.status_code,
            (get("Content-Type") or "").split(";")[0].strip().lower(),
            get("Retry-After"),
            get("Location"),
            data,
        )

    def close(self) -> None:
        """Leave the client as it is: it belongs to whoever made it."""


def bounded(pieces: Iterable[bytes], promised: int | None = None) -> bytes:
    """Return the bytes of some pieces, or raise for too many."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if max(len(data), promised or 0) > MOST_BYTES:
            raise EndpointError(f"The endpoint answers with more than {MOST_BYTES} bytes.")
    return bytes(data)


@contextmanager
def _within(seconds: float, connection: socket.socket) -> Iterator[None]:
    """End a connection after some seconds: a response that drips keeps no socket's timeout."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except EndpointError:
        raise
    except Exception:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def _lost(error: OSError, address: Address) -> Exception:
    """Return what an error of a socket comes to."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        return EndpointError(f"The certificate of {address.origin} is not to be trusted: {why}.")
    if isinstance(error, ssl.SSLError):
        return EndpointError(f"{address.origin} does not speak TLS: {error.reason or error}.")
    if isinstance(error, socket.gaierror):
        return EndpointError(f"No host is called {address.host}.")
    if isinstance(error, TimeoutError):
        return Dropped("no response within the timeout")
    if isinstance(error, ConnectionRefusedError):
        return Dropped("nothing listens there", is_there=False)
    return Dropped(error.strerror or type(error).__name__)
