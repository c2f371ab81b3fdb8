"""``logitlab explore``: a page to play with, in the browser, from this machine or a static host."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

from logitlab.checks import ParameterError, Range, needs
from logitlab.cli.arguments import add_command, add_model, add_options, whole
from logitlab.models import BUNDLED

__all__ = ["add"]

_PORTS = Range(0, 65535, integer=True)


def add(commands: Any) -> None:
    """Add the command ``explore``: the page, served here or written for elsewhere."""
    parser = add_command(
        commands,
        "explore",
        _explore,
        help="a page to play with, in the browser",
        description="Show a page of sliders, stages, engines and texts, served from this machine "
        "alone, until Ctrl-C, which ends it with status 0. Needs pip install 'logitlab[serve]'. "
        "With --static, write it for a static host instead: there the package itself runs in the "
        "browser, all of it but structured output.",
    )
    add_model(parser)
    add_options(
        parser,
        ("--port", "N", "where it listens; 0 takes any free port (8642)", "8642"),
        ("--no-browser", None, "print the address, and open nothing"),
    )
    add_options(
        parser.add_argument_group("a static host"),
        ("--static", "DIR", "write the page into this folder, new, empty or written so before"),
        ("--pyodide", "FOLDER", "a Pyodide with numpy, as its releases have it, unpacked"),
    )


def _explore(arguments: argparse.Namespace) -> str:
    if arguments.static is not None or arguments.pyodide is not None:
        return _written(arguments)
    import webbrowser

    from logitlab.models import load
    from logitlab.server.run import serve

    needs("serve", "starlette"), needs("serve", "uvicorn")
    port = whole("--port", arguments.port, _PORTS)

    def ready(url: str) -> None:
        address = url.removesuffix("v1")
        print(f"logitlab explore: {address} (Ctrl-C ends it)", flush=True)
        if not arguments.no_browser:
            webbrowser.open(address)

    serve(load(arguments.model), port=port, ready=ready)
    sys.stdout.flush()
    return ""


def _written(arguments: argparse.Namespace) -> str:
    """Write the page for a static host, and say so."""
    from logitlab.server.static import write

    if arguments.static is None:
        raise ParameterError("--static", "given with --pyodide", None)
    if arguments.model != BUNDLED:
        hint = "No other model travels with the page."
        raise ParameterError("--model", f"{BUNDLED} with --static", arguments.model, hint)
    sizes = write(arguments.static, arguments.pyodide)
    megabytes = sum(sizes.values()) / 1e6
    return (
        f"logitlab explore: {len(sizes)} files, {megabytes:.1f} MB, in {arguments.static}\n"
        f"To see it: python -m http.server -d {shlex.quote(arguments.static)}"
    )
