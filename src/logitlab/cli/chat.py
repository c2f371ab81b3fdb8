"""``logitlab chat``: a request body in, the response body out."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from logitlab.checks import ParameterError
from logitlab.cli.arguments import add_command, add_engine, add_model, json_of
from logitlab.cli.text import as_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command ``chat``: the body of a response to that of a request."""
    parser = add_command(
        commands,
        "chat",
        _chat,
        help="answer a chat completion request, as an engine's server would",
        description="Read the body of a chat completion request and print that of the response.",
    )
    parser.add_argument("request", help="a .json file; - reads standard input")
    add_model(parser)
    add_engine(parser)
    parser.add_argument("--stream", action="store_true", help="print the events of a stream")


def _chat(arguments: argparse.Namespace) -> str | Iterator[str]:
    from logitlab.models import load
    from logitlab.wire.chat import chat, chat_stream, events
    from logitlab.wire.errors import error_body

    request = json_of("request", arguments.request)
    model = load(arguments.model)
    if arguments.stream or (isinstance(request, dict) and request.get("stream") is True):
        try:
            return events(chat_stream(model, request, engine=arguments.engine))
        except ParameterError as error:
            body = error_body(error)
    else:
        body = chat(model, request, engine=arguments.engine)
    if "error" in body:
        print(as_json(body))
        raise SystemExit(2)
    return as_json(body)
