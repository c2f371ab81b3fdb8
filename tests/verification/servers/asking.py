"""A request to a real server, with the standard library alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

__all__ = ["post"]


def post(url: str, body: dict[str, Any], timeout: float = 120) -> tuple[int, Any]:
    """Return the status and the answer, 0 and what happened where the connection breaks off."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    except OSError as error:
        return 0, repr(error)
    try:
        return status, json.loads(content)
    except ValueError:
        return status, content.decode("utf-8", "replace")
