"""Requests to an ASGI application in this process, as a test writes them down."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

__all__ = ["ask", "ask_together", "chunks_of"]


def ask(application: Any, method: str, path: str, **options: Any) -> httpx.Response:
    """Return the response to one request, from a loop of its own."""
    return ask_together(application, [(method, path, options)])[0]


def ask_together(
    application: Any, requests: list[tuple[str, str, dict[str, Any]]], host: str = "localhost"
) -> list[httpx.Response]:
    """Return the responses to requests that come at once."""

    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        url = f"http://{host}"
        async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as client:
            asked = (client.request(method, path, **more) for method, path, more in requests)
            return await asyncio.gather(*asked)

    return asyncio.run(all_of_them())


def chunks_of(text: str) -> list[Any]:
    """Return the chunks of server-sent events, the last of which says that it is done."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]
