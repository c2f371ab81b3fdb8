"""``logitlab claims``: what the page states, what was measured, and the verdict."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from logitlab.claims import PAGE, Finding, findings
from logitlab.claims.report import check_directory, summary, write
from logitlab.cli.text import as_json

__all__ = ["add"]

_WIDEST, _NARROWEST = 120, 72
_HEAD = ("the page states", "measured", "verdict")


def add(commands: Any) -> None:
    """Add ``claims``."""
    parser = commands.add_parser(
        "claims",
        help="what the parameters are said to do, put to the test",
        description="Run an experiment for every effect that OpenRouter's page of parameters "
        "states. The status is 1 if one of them fails.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_claims)
    parser.add_argument(
        "--parameter", metavar="KEY", help="only the claims about one of the twenty, or general"
    )
    show = parser.add_mutually_exclusive_group()
    show.add_argument("--json", action="store_true", help="print JSON, with unrounded numbers")
    show.add_argument(
        "--write", metavar="DIR", help="write report.md and a figure for each parameter into DIR"
    )


def _claims(arguments: argparse.Namespace) -> Iterator[str]:
    begun = findings(arguments.parameter)
    if arguments.write is not None:  # what is wrong is said before anything is run
        check_directory(arguments.write)
    return _told(arguments, begun)


def _told(arguments: argparse.Namespace, begun: Iterator[Finding]) -> Iterator[str]:
    done: list[Finding] = []
    if arguments.json:
        done = list(begun)
        yield as_json({"page": PAGE, "claims": [_described(one) for one in done]}) + "\n"
    elif arguments.write is not None:
        done = list(begun)
        files = write(done, arguments.write)
        yield f"{files[0]} and {len(files) - 1} figures. {summary(done)}\n"
    else:
        widths = _widths()
        yield _row(_HEAD, widths)
        for one in begun:
            if not done or done[-1].claim.parameter != one.claim.parameter:
                yield f"\n{one.claim.parameter} (section {one.claim.section})\n"
            done.append(one)
            yield _row((one.claim.statement, one.sentence, one.verdict), widths)
        yield f"\n{summary(done)}\n"
    if any(one.holds is False for one in done):
        raise SystemExit(1)


def _described(one: Finding) -> dict[str, Any]:
    claim = one.claim
    return {
        "name": claim.name,
        "parameter": claim.parameter,
        "section": claim.section,
        "url": claim.url,
        "statement": claim.statement,
        "wording": claim.wording,
        "remark": claim.remark,
        "holds": one.holds,
        "verdict": one.verdict,
        "sentence": one.sentence,
        "measured": dict(one.measured),
    }


def _widths() -> tuple[int, int, int]:
    """Return how wide the three columns are."""
    columns = shutil.get_terminal_size((_WIDEST, 24)).columns
    room = min(max(columns, _NARROWEST), _WIDEST) - 6  # two spaces before each column
    first, last = room * 30 // 100, room * 24 // 100
    return first, room - first - last, last


def _row(cells: tuple[str, str, str], widths: tuple[int, int, int]) -> str:
    """Return lines of three wrapped cells."""
    parts = [wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for i in range(max(map(len, parts))):
        line = [
            (part[i] if i < len(part) else "").ljust(width)
            for part, width in zip(parts, widths, strict=True)
        ]
        lines.append("  " + "  ".join(line).rstrip() + "\n")
    return "".join(lines)
