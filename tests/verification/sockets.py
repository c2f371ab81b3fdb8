"""Servers of a few lines that answer whatever bytes one likes, each connection with the next."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

Behaviour = bytes | Callable[[socket.socket], None]


def http(status: int, document: Any, *headers: str, kind: str = "application/json") -> bytes:
    """Return a response; a document that is bytes goes out as it is."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def said(text: str, **more: Any) -> dict[str, Any]:
    """Return a chat completion."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    return {"choices": [{"message": {"content": text}}], "usage": usage, **more}


class Sockets:
    """A server on the loopback whose n-th connection behaves as the n-th, the last for ever."""

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        self.behaviours, self.requests = list(behaviours), list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    self.requests.append(_request(connection))
                    number = min(len(self.requests), len(self.behaviours)) - 1
                    behaviour = self.behaviours[number]
                    if isinstance(behaviour, bytes):
                        connection.sendall(behaviour)
                    else:
                        behaviour(connection)
                except OSError:
                    continue


def _request(connection: socket.socket) -> bytes:
    connection.settimeout(5)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
        if data[:1] == b"\x16":  # TLS, which nobody speaks here
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    ]
    while lengths and len(body) < lengths[0]:
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def hang_up(connection: socket.socket) -> None:
    """Answer nothing."""


def drip_body(connection: socket.socket) -> None:
    """Send a text, a byte at a time, for ever, and no length of it."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b"x")
        time.sleep(0.02)


def drip(connection: socket.socket) -> None:
    """Send a header, a byte at a time, for ever."""
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)
