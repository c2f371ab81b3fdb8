"""The command line: ``logitlab demo``, ``trace``, ``generate``, ``score``, ``sweep`` and more."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from logitlab.checks import ParameterError
from logitlab.cli.arguments import in_words_of_options, join_negative_values
from logitlab.cli.parser import Parser
from logitlab.request.params import parameter_table
from logitlab.version import __version__

__all__ = ["main"]

_COMMANDS = (
    *("trace", "generate", "score", "chat", "serve", "explore", "verify"),
    *("engines", "claims", "sweep", "docs"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is well, 1 that a claim failed, every engine refused or a required parameter is not honoured,
    2 a mistake, or that nothing can be told, 130 an interruption, which to a server is no other
    end than a signal has to be: 0.
    """
    _open_streams()
    arguments = None
    try:
        try:
            words = join_negative_values(sys.argv[1:] if argv is None else argv)
            arguments = _parser().parse_args(words)
            text = arguments.run(arguments)
            for part in (text, "\n") if isinstance(text, str) else text:
                print(part, end="", flush=True)
        finally:
            sys.stdout.flush()  # help is not, and a closed pipe shows here
    except (ParameterError, ImportError) as error:
        _say(f"logitlab: error: {in_words_of_options(error, arguments)}")
        return 2
    except KeyboardInterrupt:
        _say("logitlab: interrupted.")
        if checkpoint := getattr(arguments, "checkpoint", None):
            _say(f"The same command goes on from {checkpoint}.")
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `logitlab params | head`
        _discard(sys.stdout)
    except MemoryError:
        _say("logitlab: error: there is not enough memory for that.")
        return 2
    except OSError as error:
        _say(f"logitlab: error: cannot write the output: {error.strerror}.")
        _discard(sys.stdout)
        return 2
    return 0


def _open_streams() -> None:
    """See to it that there are streams, and that what they cannot show is shown as something else.

    Whoever closes one, as ``>&-`` does, wants to see nothing of it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _say(line: str) -> None:
    """Print a line on standard error, if anybody reads it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Send what is left in a stream nowhere, so that Python's end does not stumble over it."""
    with suppress(OSError):  # a stream that is no file has nothing left
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> Parser:
    parser = Parser(
        prog="logitlab",
        description="A local laboratory for LLM sampling. Start with: logitlab demo",
        epilog="Exit status: 0 is well, 1 that a claim failed, every engine refused or a required "
        "parameter is not honoured, 2 a mistake in the command or its files or that an endpoint "
        "cannot be told, 130 an interruption. A server (serve, explore) that is interrupted has "
        "ended well: 0.",
    )
    parser.add_argument("--version", action="version", version=f"logitlab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    for name in _COMMANDS:
        import_module(f"{__name__}.{name}").add(commands)
    params = commands.add_parser("params", help="the tables of all request parameters")
    params.set_defaults(run=lambda _: parameter_table() + "\n\n" + parameter_table(beyond=True))
    return parser
