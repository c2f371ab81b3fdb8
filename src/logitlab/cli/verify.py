"""``logitlab verify``: an endpoint is examined, and a report printed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from logitlab.checks import ParameterError, Range, Seen, check_number, counted
from logitlab.cli.arguments import COUNT, add_command, add_options, whole
from logitlab.cli.forms import number_of
from logitlab.cli.outputs import check_outputs
from logitlab.cli.text import as_json

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
        "clamps or refuses, by proof where that is possible. The status is 2 if nothing could be "
        "told. With --require it is 0 if all of these are honoured, 1 if one is not, 2 if that "
        "cannot be told.",
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
        ("--timeout", "SECONDS", "for a request and its response (120)"),
    )
    what = parser.add_argument_group("what is examined")
    add_options(
        what,
        ("--only", "KEYS", "these parameters alone: temperature,top_p"),
        ("--quick", None, "top_k, top_p, min_p and temperature alone"),
        ("--require", "KEYS", "parameters that have to be honoured, which the status tells"),
        ("--alpha", "X", "the error of each race (0.001); a proof has those it relies on, too"),
        ("--cap", "N", "the most requests (800)"),
        ("--jobs", "N", "requests that are sent at a time (1)"),
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
    if all(found.verdict == "cannot_tell" for found in result.findings.values()):
        why = f": {result.stopped}" if result.stopped else ""
        print(f"logitlab: error: Nothing could be told{harmless(why)}.", file=sys.stderr)
        raise SystemExit(2)


def _examined(arguments: argparse.Namespace) -> tuple[Any, float | None]:
    """Return the report and what it cost, where a price is given."""
    from logitlab.verification.address import Address
    from logitlab.verification.endpoint import key_from
    from logitlab.verification.names import only_names, required_names
    from logitlab.verification.verify import examined

    if arguments.plot is not None:
        _check_plot(arguments.plot)
    source = getattr(arguments, "from")
    outputs = {"--log": arguments.log, "--plot": arguments.plot}
    check_outputs(outputs, {"--from": source})
    if arguments.url is None and source is None:
        raise ParameterError("URL", "given where there is no --from", Seen("nothing"))
    if arguments.url is None:
        _check_offline(arguments)
    address = None if arguments.url is None else Address.of(arguments.url)
    key = None if arguments.key_env is None else f"env:{arguments.key_env}"
    if address is not None:
        key_from(key, address)  # wrong ones are told before anything else is
    only = only_names("--only", arguments.only, arguments.quick)
    if arguments.require is not None:
        required_names("--require", arguments.require, only, arguments.quick)
    price = _price(arguments.price)
    given = {
        "model": arguments.model,
        "provider": arguments.provider,
        "only": only or None,
        "quick": arguments.quick or None,
        "plain": arguments.plain or None,
        "cap": None if arguments.cap is None else whole("--cap", arguments.cap, COUNT),
    }
    if arguments.alpha is not None:
        given["alpha"] = check_number("--alpha", number_of(arguments.alpha))
    if arguments.seed is not None:
        given["seed"] = whole("--seed", arguments.seed, Range(0, 2**63 - 1, integer=True))
    how: dict[str, Any] = {
        "log": arguments.log,
        "resume": source,
        "key": key,
        "progress": False if arguments.quiet else None,
    }
    if arguments.jobs is not None:
        how["jobs"] = whole("--jobs", arguments.jobs, Range(1, 64, integer=True))
    if arguments.timeout is not None:
        how["timeout"] = number_of(arguments.timeout)

    def begun(settings: Mapping[str, Any], recorded: int) -> None:
        if arguments.require is not None:  # a log may have examined less
            only, quick = settings["only"], settings["quick"]
            required_names("--require", arguments.require, only, quick)
        if arguments.url is not None and not arguments.quiet:
            _tell_estimate(settings, recorded, price)

    result = examined(arguments.url, given, begun=begun, **how)
    return result, None if price is None else result.spending.cost(price)


def _check_offline(arguments: argparse.Namespace) -> None:
    """Raise for an option that says something of requests, where none is sent."""
    for option in ("--key-env", "--timeout", "--jobs"):
        value = getattr(arguments, option[2:].replace("-", "_"))
        if value is not None:
            seen = Seen("a name") if option == "--key-env" else value
            hint = "No request is sent: the report is made from the log alone."
            raise ParameterError(option, "left out where --from has no URL", seen, hint)


def _tell_required(result: Any, required: str) -> None:
    """Print why a parameter that has to be honoured is not known to be."""
    from logitlab.verification.names import required_names

    for key in required_names("--require", required, found=result.parameters):
        found = result.parameters.get(key)
        if found is None:
            print(f"--require {key}: it was not examined.", file=sys.stderr)
        elif found.verdict != "honoured":
            verdict = found.verdict.replace("_", " ")
            why = f", {found.detail.rstrip('.')}" if not found.requests and found.detail else ""
            print(f"--require {key}: {verdict}{why}.", file=sys.stderr)


def _tell_estimate(
    settings: Mapping[str, Any], recorded: int, price: tuple[float, float] | None
) -> None:
    """Print what will be asked, and about what it costs."""
    from logitlab.verification.battery import estimate, keys_of

    cap = settings["cap"]
    requests, read, written = estimate(keys_of(settings["only"], settings["quick"]), cap)
    if recorded:
        share = max(0.0, 1 - recorded / requests)
        requests, read, written = (round(each * share) for each in (requests, read, written))
        cap = max(0, cap - recorded)
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
