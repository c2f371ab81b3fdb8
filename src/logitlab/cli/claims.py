"""``logitlab claims``: what is stated, what was measured, and the verdict."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from logitlab.cli.arguments import add_command, add_options
from logitlab.cli.text import as_json

__all__ = ["add"]

_WIDEST, _NARROWEST = 120, 72


def add(commands: Any) -> None:
    """Add the command ``claims``: documented effects, as experiments with verdicts."""
    parser = add_command(
        commands,
        "claims",
        _claims,
        help="what the parameters are said to do, put to the test",
        description="Run an experiment for every effect that OpenRouter's page of parameters "
        "states, or that papers and authors state about other samplers. The status is 1 if one "
        "of them fails.",
    )
    add_options(
        parser,
        ("--parameter", "KEY", "only the claims about one parameter, or general"),
        ("--beyond", None, "the claims of papers and authors about samplers beyond the page"),
    )
    add_options(
        parser.add_mutually_exclusive_group(),
        ("--json", None, "print JSON, with unrounded numbers"),
        ("--write", "DIR", "write report.md and a figure for each parameter into DIR"),
    )


def _claims(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what is printed, while the experiments run."""
    from logitlab.claims import PAGE, findings
    from logitlab.claims.report import check_directory, summary, titles, write

    experiments = findings(arguments.parameter, beyond=arguments.beyond)
    results = []
    if arguments.write is not None:
        check_directory(arguments.write)  # before anything is run
        results = list(experiments)
        files = write(results, arguments.write)
        yield f"{files[0]} and {len(files) - 1} figures. {summary(results)}\n"
    elif arguments.json:
        results = list(experiments)
        page = {} if all(finding.claim.source for finding in results) else {"page": PAGE}
        yield as_json({**page, "claims": list(map(_entry, results))}) + "\n"
    else:
        widths, heading = _widths(), ""
        for finding in experiments:
            claim = finding.claim
            section = "section " * (claim.source is None) + claim.section
            if not results:
                yield _row(titles([finding]), widths)
            if heading != (heading := f"{claim.parameter} ({section})"):
                yield f"\n{heading}\n"
            results.append(finding)
            yield _row((claim.statement, finding.sentence, finding.verdict), widths)
        yield f"\n{summary(results)}\n"
    if any(finding.holds is False for finding in results):
        raise SystemExit(1)


def _entry(finding: Any) -> dict[str, Any]:
    """Return a finding as a JSON object."""
    of_claim = ("name", "parameter", "section", "url", "statement", "wording", "remark")
    of_finding = ("holds", "verdict", "sentence")
    return {
        **{name: getattr(finding.claim, name) for name in of_claim},
        **{name: getattr(finding, name) for name in of_finding},
        "measured": dict(finding.measured),
    }


def _widths() -> tuple[int, int, int]:
    """Return how wide the three columns are."""
    columns = shutil.get_terminal_size((_WIDEST, 24)).columns
    room = min(max(columns, _NARROWEST), _WIDEST) - 6  # two spaces before each column
    first, last = room * 30 // 100, room * 24 // 100
    return first, room - first - last, last


def _row(cells: tuple[str, str, str], widths: tuple[int, int, int]) -> str:
    """Return lines of three wrapped cells."""
    parts = [wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = (
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True))
        for line in zip_longest(*parts, fillvalue="")
    )
    return "".join(f"  {line.rstrip()}\n" for line in lines)
