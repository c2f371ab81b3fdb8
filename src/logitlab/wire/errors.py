"""What is no body of a request; errors as bodies of responses, and as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, brief, cut

__all__ = ["DONE", "check_body", "error_body", "event", "message_of"]

DONE = "data: [DONE]\n\n"
"""The event after the last chunk."""


def check_body(request: Any) -> Mapping[str, Any]:
    """Return the body of a request, or raise `ParameterError` for what is no map."""
    if isinstance(request, Mapping):
        return request
    are_messages = isinstance(request, list) and all(isinstance(each, Mapping) for each in request)
    hint = 'Send messages as {"messages": […]}.' if are_messages and request else ""
    raise ParameterError("request", "a map, the body of a request", request, hint)


def event(body: Mapping[str, Any]) -> str:
    """Return a chunk, or an error, as a server-sent event."""
    return f"data: {json.dumps(body)}\n\n"


def message_of(error: ParameterError) -> str:
    """Return what is wrong in words for whoever wrote JSON, with the value as it was sent.

    A text has single quotes, as in all rules, which JSON need not escape.

    Examples
    --------
    >>> message_of(ParameterError("tools[0]", "a map", [True, None]))
    'tools[0] must be a map, got [true, null].'
    """
    return error.message(_shown)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | list | tuple | dict):
        try:
            return cut(" ".join(json.dumps(value, ensure_ascii=False).split()))
        except (TypeError, ValueError, RecursionError):  # it holds what was read already
            pass
    return brief(value)


def error_body(error: ParameterError, code: int = 400) -> dict[str, Any]:
    """Return the body of a response to a request that is wrong.

    Examples
    --------
    >>> error_body(ParameterError("top_p", "in [0, 1]", 2))["error"]["metadata"]
    {'parameter': 'top_p'}
    """
    return {
        "error": {"code": code, "message": message_of(error), "metadata": {"parameter": error.name}}
    }
