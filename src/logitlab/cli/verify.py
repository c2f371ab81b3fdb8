"""``logitlab verify``: an endpoint is examined, and a report printed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_number, counted
from logitlab.cli.arguments import COUNT, add_command, add_options, whole
from logitlab.cli.forms import number_of
from logitlab.cli.outputs import check_outputs
from logitlab.cli.text import as_json
from logitlab.request.params import PARAMETERS

__all__ = ["add"]

_STATUS = {True: 0, False: 1, None: 2}
_OPTIONS = {
    "endpoint": "URL",
    "key": "--key-env",
    "keys": "--require",
    "resume": "--from",
}
_MOST_COST = 1e9


def add(commands: Any) -> None:
    """Add ``verify``."""
    parser = add_command(
        commands,
        "verify",
        _verify,
        help="does an endpoint do what it is asked?",
        description="Examine an endpoint of OpenAI's form: which parameters it honours, ignores, "
        "clamps or refuses, by proof where that is possible. With --require the status is 0 if "
        "all of these are honoured, 1 if one is not, 2 if that cannot be told.",
    )
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="such as http://127.0.0.1:8080/v1; none with --from"
    )
    add_options(
        parser,
        ("--model", "NAME", "as the server calls it; needed where it has several"),
        ("--provider", "NAME", "whom a router has to ask, and nobody else"),
        ("--key-env", "NAME", "the environment variable that holds the key"),
        ("--plain", None, "ask for completions of a prompt, and not for chats"),
        ("--timeout", "SECONDS", "for a request and its response (120)", "120"),
    )
    what = parser.add_argument_group("what is examined")
    add_options(
        what,
        ("--only", "KEYS", "these parameters alone: temperature,top_p"),
        ("--quick", None, "top_k, top_p, min_p and temperature alone"),
        ("--require", "KEYS", "parameters that have to be honoured, which the status tells"),
        ("--alpha", "X", "the error of each proof (0.001)"),
        ("--cap", "N", "the most requests (800)"),
        ("--jobs", "N", "requests that are sent at a time (1)", "1"),
        ("--seed", "N", "of the choices that are made (0)"),
        ("--price", "IN,OUT", "of a million tokens read and written, to tell the cost"),
    )
    log = parser.add_argument_group("log")
    add_options(
        log,
        ("--log", "FILE", "a new file for every request and answer; the key is not in it"),
        ("--from", "FILE", "make the report from a log; with a URL go on with it"),
    )
    output = parser.add_argument_group("output")
    add_options(
        output.add_mutually_exclusive_group(),
        ("--json", None, "print JSON"),
        ("--markdown", None, "print Markdown"),
    )
    add_options(
        output,
        ("--plot", "FILE", "draw the evidence over the requests: .png, .svg or .pdf"),
        ("--quiet", None, "tell nothing but the report, and what is wrong"),
    )


def _verify(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what is printed; leave with the status that the required parameters have."""
    from logitlab.verification.errors import EndpointError
    from logitlab.verification.report import markdown, terminal
    from logitlab.verification.wording import harmless

    try:
        result, cost = _examined(arguments)
    except EndpointError as error:
        print(f"logitlab: error: {harmless(str(error))}", file=sys.stderr)
        raise SystemExit(2) from None
    except ParameterError as error:
        raise _in_options(error) from None
    if arguments.json:
        yield as_json({**result.to_dict(), **({} if cost is None else {"cost": cost})}) + "\n"
    else:
        wide = shutil.get_terminal_size((100, 24)).columns
        table = markdown(result, cost) if arguments.markdown else terminal(result, wide, cost)
        yield table + "\n"
    if arguments.plot is not None:
        _figure(result, arguments.plot)
    if result.stopped == "it was interrupted":
        raise KeyboardInterrupt
    if arguments.require is not None:
        _tell_required(result, arguments.require)
        raise SystemExit(_STATUS[result.honoured(arguments.require)])


def _examined(arguments: argparse.Namespace) -> tuple[Any, float | None]:
    """Return the report and what it cost, where a price is given."""
    from logitlab.verification.address import Address
    from logitlab.verification.battery import estimate, keys_of
    from logitlab.verification.endpoint import key_from
    from logitlab.verification.outcome import KNOWN, OTHERS
    from logitlab.verification.result import names_of
    from logitlab.verification.verify import verify

    if arguments.plot is not None:
        _check_plot(arguments.plot)
    source = getattr(arguments, "from")
    outputs = {"--log": arguments.log, "--plot": arguments.plot}
    check_outputs(outputs, {"--from": source})
    if arguments.url is None and source is None:
        raise ParameterError("URL", "given where there is no --from", None)
    address = None if arguments.url is None else Address.of(arguments.url)
    key = None if arguments.key_env is None else f"env:{arguments.key_env}"
    if address is not None:
        key_from(key, address)  # wrong ones are told before anything else is
    known = [*KNOWN, *PARAMETERS]
    only = names_of("--only", arguments.only or (), [*known, *OTHERS])
    if arguments.only is not None and not only:
        hint = "Leave it out for all of them."
        raise ParameterError("--only", "at least one parameter", arguments.only, hint)
    required = names_of("--require", arguments.require or (), known)
    if arguments.require is not None and not required:
        raise ParameterError("--require", "at least one parameter", arguments.require)
    _check_required(required, only, arguments.quick)
    price = _price(arguments.price)
    cap = None if arguments.cap is None else whole("--cap", arguments.cap, COUNT)
    settings: dict[str, Any] = {
        "model": arguments.model,
        "provider": arguments.provider,
        "only": only or None,
        "quick": arguments.quick or None,
        "plain": arguments.plain or None,
        "cap": cap,
        "jobs": whole("--jobs", arguments.jobs, Range(1, 64, integer=True)),
        "log": arguments.log,
        "resume": source,
        "key": key,
        "timeout": number_of(arguments.timeout),
        "progress": False if arguments.quiet else None,
    }
    if arguments.alpha is not None:
        settings["alpha"] = check_number("--alpha", number_of(arguments.alpha))
    if arguments.seed is not None:
        settings["seed"] = whole("--seed", arguments.seed, Range(0, 2**63 - 1, integer=True))
    if arguments.url is not None and not arguments.quiet:
        counts = estimate(keys_of(only, arguments.quick), 800 if cap is None else cap)
        _tell_estimate(*counts, 800 if cap is None else cap, price)
    result = verify(arguments.url, **settings)
    return result, None if price is None else result.spending.cost(price)


def _check_required(required: Sequence[str], only: Sequence[str], quick: bool) -> None:
    """Raise for a parameter that has to be honoured, and will not be examined."""
    from logitlab.verification.battery import QUICK, is_beyond, is_examined

    chosen = only or (QUICK if quick else ())
    for key in required:
        if not is_examined(key):
            hint = "No request that is sent would tell of it."
            raise ParameterError("--require", "parameters that are examined", key, hint)
        is_chosen = key in chosen or key == "logprobs" or ("beyond" in chosen and is_beyond(key))
        if chosen and not is_chosen:
            option = "--only" if only else "--quick"
            rule = f"among {', '.join(chosen)}, which is all that {option} examines"
            raise ParameterError("--require", rule, key)


def _tell_required(result: Any, required: str) -> None:
    """Print why a parameter that has to be honoured is not known to be."""
    from logitlab.verification.result import names_of

    for key in names_of("--require", required, [*PARAMETERS, *result.parameters, "beyond"]):
        found = result.parameters.get(key)
        if found is None:
            print(f"--require {key}: it was not examined.", file=sys.stderr)
        elif found.verdict != "honoured":
            verdict = found.verdict.replace("_", " ")
            why = f", {found.detail.rstrip('.')}" if not found.requests and found.detail else ""
            print(f"--require {key}: {verdict}{why}.", file=sys.stderr)


def _tell_estimate(
    requests: int, read: int, written: int, cap: int, price: tuple[float, float] | None
) -> None:
    cost = ""
    if price is not None:
        cost = f": about {_money((read * price[0] + written * price[1]) / 1e6)}"
    print(
        f"About {counted(requests, 'request')}, at most {cap:,}; about {read:,} tokens to read and "
        f"{written:,} to write{cost}.",
        file=sys.stderr,
    )


def _money(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 10 else f"{amount:.2g}"


def _price(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    parts = [number_of(part.strip()) for part in text.split(",")]
    if len(parts) != 2:
        raise ParameterError("--price", "two numbers, IN,OUT", text)
    low, high = (check_number("--price", part, Range(0, _MOST_COST)) for part in parts)
    return low, high


def _in_options(error: ParameterError) -> ParameterError:
    """Return an error of the library in words of the command."""
    name = _OPTIONS.get(error.name)
    if name is None and error.name.isidentifier() and error.name.islower():
        name = "--" + error.name.replace("_", "-")
    hint = error.hint.replace("key='env:NAME', --key-env NAME", "--key-env NAME")
    hint = hint.replace("resume, or --from,", "--from")
    value = error.value
    rule = error.rule
    if name == "--key-env" and rule.startswith("env:NAME"):
        # Who gave the key itself for a name does not want to see it.
        rule, value = "the name of a variable that is set", Seen("another")
    return ParameterError(name or error.name, rule, value, hint, error.where)


def _check_plot(path: str) -> None:
    """Raise for a picture that could not be written, before anything is asked."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in kinds:
        rule = f"a file that ends in one of {', '.join('.' + kind for kind in kinds)}"
        raise ParameterError("--plot", rule, path)


def _figure(result: Any, path: str) -> None:
    """Write the picture of the evidence."""
    plot: Any = import_module("logitlab.plot")
    drawn = [key for key, found in result.findings.items() if found.history]
    if not drawn:
        print("There is no evidence to draw.", file=sys.stderr)
        return
    ax = plot.axes(8, 1.2 + 0.9 * len(drawn))
    plot.evidence(result, ax=ax)
    ax.figure.savefig(path, dpi=150)
