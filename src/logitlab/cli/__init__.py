"""The command line: ``logitlab demo``, ``trace``, ``generate``, ``claims``, ``sweep`` and more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from logitlab.checks import ParameterError
from logitlab.cli.arguments import in_words_of_options, join_negative_values
from logitlab.request.params import parameter_table
from logitlab.version import __version__

__all__ = ["main"]

_COMMANDS = ("trace", "generate", "chat", "engines", "claims", "sweep")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 2 for a mistake, 130 if interrupted."""
    arguments = _parser().parse_args(join_negative_values(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show ␣ shows something else
            stream.reconfigure(errors="replace")
    try:
        text = arguments.run(arguments)
        for part in (text, "\n") if isinstance(text, str) else text:
            print(part, end="", flush=True)
    except (ParameterError, ImportError) as error:
        print(f"logitlab: error: {in_words_of_options(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("logitlab: interrupted.", file=sys.stderr)
        if getattr(arguments, "checkpoint", None):
            print(f"The same command goes on from {arguments.checkpoint}.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `logitlab params | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"logitlab: error: cannot write the output: {error.strerror}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logitlab",
        description="A local laboratory for LLM sampling. Start with: logitlab demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"logitlab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    for name in _COMMANDS:
        import_module(f"{__name__}.{name}").add(commands)
    params = commands.add_parser("params", help="the tables of all request parameters")
    params.set_defaults(run=lambda _: parameter_table() + "\n\n" + parameter_table(beyond=True))
    return parser
