"""Errors as bodies of responses, and bodies as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError

__all__ = ["DONE", "error_body", "event"]

DONE = "data: [DONE]\n\n"
"""The event after the last chunk."""


def event(body: Mapping[str, Any]) -> str:
    """Return a chunk, or an error, as a server-sent event."""
    return f"data: {json.dumps(body)}\n\n"


def error_body(error: ParameterError, code: int = 400) -> dict[str, Any]:
    """Return the body of a response to a request that is wrong.

    Examples
    --------
    >>> error_body(ParameterError("top_p", "in [0, 1]", 2))["error"]["metadata"]
    {'parameter': 'top_p'}
    """
    return {"error": {"code": code, "message": str(error), "metadata": {"parameter": error.name}}}
