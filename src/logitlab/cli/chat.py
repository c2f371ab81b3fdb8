"""``logitlab chat``: a request body in, the response body out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from logitlab.checks import ParameterError
from logitlab.cli.arguments import add_engine, add_model
from logitlab.cli.text import as_json
from logitlab.models import load
from logitlab.wire.chat import chat, chat_stream, error_body, events

__all__ = ["add", "json_of"]


def add(commands: Any) -> None:
    """Add ``chat``."""
    parser = commands.add_parser(
        "chat",
        help="answer a chat completion request, as OpenRouter would",
        description="Read the body of a chat completion request and print that of the response.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_chat)
    parser.add_argument("request", help="a .json file; - reads standard input")
    add_model(parser)
    add_engine(parser)
    parser.add_argument("--stream", action="store_true", help="print the events of a stream")


def json_of(name: str, file: str) -> Any:
    """Return what a JSON file holds, or raise `ParameterError` that names the option."""
    try:
        if file == "-":
            return json.load(sys.stdin)
        with open(file, encoding="utf-8") as lines:
            return json.load(lines)
    except OSError as error:
        raise ParameterError(name, "a readable file", file, f"{error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(name, "a file of JSON", file, f"{error}.") from None


def _chat(arguments: argparse.Namespace) -> str | Iterator[str]:
    request = json_of("request", arguments.request)
    model = load(arguments.model)
    wants_stream = arguments.stream or (isinstance(request, dict) and request.get("stream") is True)
    if wants_stream:
        try:
            return events(chat_stream(request, model, engine=arguments.engine))
        except ParameterError as error:
            body = error_body(error)
    else:
        body = chat(request, model, engine=arguments.engine)
    if "error" in body:
        print(as_json(body))
        raise SystemExit(2)
    return as_json(body)
