"""``logitlab engines``: the same request on several engines, and where they part ways."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations
from string import ascii_uppercase
from typing import Any

from logitlab.checks import ParameterError
from logitlab.cli.arguments import (
    Row,
    add_command,
    add_options,
    add_request,
    add_row,
    add_state,
    option_of,
    request_of,
    row_of,
    state_of,
    top_of,
    uncounted,
)
from logitlab.cli.text import as_json, columns, table, top_tokens
from logitlab.engines import ENGINES, MAIN, get
from logitlab.engines.compare import Comparison, compare_engines
from logitlab.engines.differences import difference_tables
from logitlab.engines.partings import Parting
from logitlab.engines.rules import Note
from logitlab.request.params import PARAMETERS

__all__ = ["add"]

_ALL_PAIRS = 3  # of more groups the table tells how they part from the first; --json tells all


def add(commands: Any) -> None:
    """Add the command ``engines``: one request at several, or what they declare."""
    parser = add_command(
        commands,
        "engines",
        _engines,
        help="the same request as several engines evaluate it",
        description="Compare the distributions that engines make of one request.",
    )
    add_row(parser)
    add_request(parser)
    show = parser.add_argument_group("engines and output")
    add_state(show)
    add_options(
        show,
        ("--engines", "NAMES", f"some of {', '.join(ENGINES)}; or all", ",".join(MAIN)),
        ("--top", "N", "how many top tokens to show for each engine"),
    )
    add_options(
        show.add_mutually_exclusive_group(),
        ("--json", None, "print JSON instead of tables"),
        ("--about", None, "print what each engine declares: rules, sources …"),
        ("--differences", None, "print where the engines differ, as Markdown"),
    )


def _engines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what is printed; where every engine refuses, leave with the status 1."""
    names = [name.strip() for name in arguments.engines.split(",")]
    if names == ["all"]:
        names = list(ENGINES)
    if len(set(names)) < len(names) or "" in names:
        raise ParameterError("--engines", "different names, one at least", arguments.engines)
    if arguments.differences or arguments.about:
        _check_alone(arguments)
        about = "\n\n".join(str(get(name)) for name in names)
        yield f"{difference_tables(names) if arguments.differences else about}\n"
        return
    row, request = row_of(arguments), request_of(arguments)
    top = top_of(arguments, row)
    where: dict[str, Any] = {"context": row.context, "state": state_of(arguments)}
    where["vocabulary"] = row.vocabulary
    comparison = compare_engines(row.logits, request, engines=names, **where)
    if arguments.json:
        yield as_json(_comparison_report(row, request, comparison, top)) + "\n"
    else:
        yield _text(row, request, comparison, top) + "\n"
    if not comparison.engines:
        raise SystemExit(1)


def _check_alone(arguments: argparse.Namespace) -> None:
    """Raise for a row or a request beside what engines declare, which is about neither."""
    given = {name: getattr(arguments, name) for name in getattr(arguments, "given", ())}
    given |= {name: getattr(arguments, name, None) for name in (*PARAMETERS, "set")}
    for name, value in given.items():
        if value and name not in ("engines", "about", "differences"):
            raise ParameterError(option_of(name), "absent beside --about and --differences", value)


def _notes(row: Row, comparison: Comparison, name: str) -> list[Note]:
    chain = comparison.chains[name]
    return [*comparison.notes[name], *uncounted(name, chain, row.context)]


def _partings(comparison: Comparison) -> list[tuple[str, str, tuple[Parting, ...]]]:
    """Return where the first engines of every two groups part ways."""
    return [
        (a, b, comparison.partings(a, b))
        for a, b in combinations((group[0] for group in comparison.groups), 2)
    ]


def _text(row: Row, request: dict[str, Any], comparison: Comparison, top: int | None) -> str:
    letters = {
        group: ascii_uppercase[i % 26] * (1 + i // 26) for i, group in enumerate(comparison.groups)
    }
    names = [(letter, name) for group, letter in letters.items() for name in group]
    parameters = ", ".join(f"{key} {value}" for key, value in request.items()) or "nothing"
    lines = [row.title, f"request: {parameters}", ""]
    if names:
        index = [comparison.engines.index(name) for _, name in names]
        body = [
            [
                f"{letter}  {name}",
                str(comparison.kept[i]),
                f"{comparison.entropy[i]:.3f}",
                f"{comparison.total_variation[index[0], i]:.4f}",
            ]
            for (letter, name), i in zip(names, index, strict=True)
        ]
        head = ["   engine", "kept", "entropy", "distance"]
        lines += table(head, body, row, comparison.logits[index], top)
    lines += [f"–  {name}: refused. {why}" for name, why in comparison.refused.items()]
    if len(letters) > 1:
        lines += ["", *_distances(comparison, list(letters.values())), "", "where they part ways:"]
        letter_of = {group[0]: letter for group, letter in letters.items()}
        first = comparison.groups[0][0]
        for a, b, stages in _partings(comparison):
            if a == first or len(letters) <= _ALL_PAIRS:
                reasons = (f"at {at.key}: {at.reason} ({at.distance:.4f})" for at in stages)
                lines.append(f"{letter_of[a]} {letter_of[b]}  {'; '.join(reasons)}")
    own = {key for name in comparison.engines for key in ENGINES[name].own_keys}
    notes = [
        note.sentence
        for name in comparison.engines
        for note in _notes(row, comparison, name)
        if not (note.effect == "unknown" and note.key in own)
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _distances(comparison: Comparison, letters: list[str]) -> list[str]:
    first = [group[0] for group in comparison.groups]
    rows = [["total variation", *letters]]
    for letter, a in zip(letters, first, strict=True):
        cells = ["–" if a == b else f"{float(comparison.distance(a, b)):.4f}" for b in first]
        rows.append([letter, *cells])
    return columns(rows)


def _comparison_report(
    row: Row, request: dict[str, Any], comparison: Comparison, top: int | None
) -> dict[str, Any]:
    """Return the comparison as a JSON object."""
    tops = top_tokens(comparison.logits, top) if comparison.engines else []
    engines = {
        name: {
            "chain": repr(comparison.chains[name]),
            "kept": int(comparison.kept[i]),
            "entropy": float(comparison.entropy[i]),
            "notes": [vars(note) for note in _notes(row, comparison, name)],
            "top": row.entries(tops[i]),
        }
        for i, name in enumerate(comparison.engines)
    }
    return row.report(
        request,
        engines=engines,
        refused=dict(comparison.refused),
        same=comparison.groups,
        total_variation=comparison.total_variation.tolist(),
        partings=[
            {"engines": [a, b], "stages": [vars(stage) for stage in stages]}
            for a, b, stages in _partings(comparison)
        ],
    )
