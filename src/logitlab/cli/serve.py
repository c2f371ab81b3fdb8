"""``logitlab serve``: a model behind HTTP, for any client of OpenAI's protocol."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from logitlab.checks import ParameterError, Range, check_integer
from logitlab.cli.arguments import (
    add_command,
    add_engine,
    add_model,
    add_options,
    json_of,
    whole,
)
from logitlab.cli.forms import number_of

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command ``serve``: a model behind HTTP."""
    parser = add_command(
        commands,
        "serve",
        _serve,
        help="a model behind HTTP, for any client of OpenAI's protocol",
        description="Answer chat completions, completions and responses over HTTP, until Ctrl-C. "
        "Clients take the URL that is printed as their base URL. A request may name any model: it "
        "is answered by the one that is here. Ctrl-C and SIGTERM end it with status 0. Needs "
        "logitlab[serve].",
    )
    add_model(parser)
    add_engine(parser)
    address = parser.add_argument_group("who may come")
    key = "a file with the key that requests have to send, or env:NAME (env:LOGITLAB_API_KEY)"
    add_options(
        address,
        ("--host", "ADDRESS", "where to listen; others than the loopback want a key", "127.0.0.1"),
        ("--port", "N", "0 takes a free one (8000)", "8000"),
        ("--api-key", "SOURCE", key),
    )
    origins = "pages of this origin may ask, too; may be given several times"
    hosts = "requests may call the server by this name, too; may be given several times"
    for option, metavar, words in (("--cors", "ORIGIN", origins), ("--allow-host", "NAME", hosts)):
        address.add_argument(option, metavar=metavar, action="append", default=[], help=words)
    limits = parser.add_argument_group("limits")
    add_options(
        limits,
        ("--batch-size", "N", "answers that are written at a time (64)", "64"),
        ("--queue", "N", "requests that wait beside those (256)", "256"),
        ("--max-body", "BYTES", "of a request (4194304)", str(4 << 20)),
        ("--strict-model", None, "refuse requests for a model of another name with 404"),
    )
    tests = parser.add_argument_group("for tests of applications")
    add_options(
        tests,
        ("--script", "FILE", "JSON: a list of rules, match and text, tool_calls or status"),
        ("--latency", "SECONDS", "before a request is begun", "0"),
        ("--tokens-per-second", "X", "how fast an answer is written at most"),
        ("--fail-seed", "N", "which requests fail is a function of it (0)", "0"),
    )
    failing = "play failures, such as 429:0.05 for a twentieth; may be given several times"
    tests.add_argument("--fail", metavar="STATUS:SHARE", action="append", default=[], help=failing)


def _serve(arguments: argparse.Namespace) -> Iterator[str]:
    from logitlab.models import load
    from logitlab.server.run import key_of, serve

    settings: dict[str, Any] = {
        "engine": arguments.engine,
        "api_key": key_of(arguments.api_key),
        "hosts": arguments.allow_host or None,
        "origins": arguments.cors,
        "fail": arguments.fail,
        "strict_model": arguments.strict_model,
        "latency": number_of(arguments.latency),
        "fail_seed": whole("--fail-seed", arguments.fail_seed, Range(integer=True)),
    }
    for name in ("batch_size", "queue", "max_body"):
        option = "--" + name.replace("_", "-")
        least = Range(int(name != "queue"), integer=True)
        settings[name] = check_integer(option, number_of(getattr(arguments, name)), least)
    if arguments.tokens_per_second is not None:
        settings["tokens_per_second"] = number_of(arguments.tokens_per_second)
    if arguments.script is not None:
        settings["script"] = json_of("--script", arguments.script)
    port = whole("--port", arguments.port, Range(0, 65535, integer=True))
    model = load(arguments.model)

    def ready(url: str) -> None:
        print(f"{model.name} at {arguments.engine}: {url} (Ctrl-C ends it)", flush=True)

    try:
        serve(model, host=arguments.host, port=port, ready=ready, **settings)
    except ParameterError as error:
        option = "--" + error.name.replace("_", "-")
        own = {"--hosts": "--allow-host", "--origins": "--cors"}
        name = own.get(option, option if error.name in settings else error.name)
        raise ParameterError(name, error.rule, error.value, error.hint) from None
    print("logitlab: the server has ended.", file=sys.stderr)
    return iter(())
