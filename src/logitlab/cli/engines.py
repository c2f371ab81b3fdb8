"""``logitlab engines``: the same request on several engines, and where they part ways."""

from __future__ import annotations

import argparse
from itertools import combinations
from string import ascii_uppercase
from typing import Any

from logitlab.checks import ParameterError, Range
from logitlab.cli.arguments import (
    Row,
    add_request,
    add_row,
    needs_context,
    request_of,
    row_of,
    whole,
)
from logitlab.cli.text import as_json, columns, table, top_tokens
from logitlab.engines import ENGINES, MAIN, get
from logitlab.engines.compare import Comparison, compare_engines
from logitlab.engines.differences import difference_tables
from logitlab.engines.partings import Parting

__all__ = ["add"]

_ALL_PAIRS = 3  # of more groups the table tells how they part from the first; --json tells all


def add(commands: Any) -> None:
    """Add ``engines``."""
    parser = commands.add_parser(
        "engines",
        help="the same request as several engines evaluate it",
        description="Compare the distributions that engines make of one request.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=_engines)
    add_row(parser)
    add_request(parser)
    show = parser.add_argument_group("engines and output")
    show.add_argument(
        "--engines", metavar="NAMES", default=",".join(MAIN),
        help="some of " + ", ".join(ENGINES) + "; or all",
    )  # fmt: skip
    show.add_argument("--top", metavar="N", help="how many top tokens to show for each engine")
    show.add_argument("--json", action="store_true", help="print JSON instead of tables")
    show.add_argument(
        "--about", action="store_true", help="print what each engine declares: rules, sources …"
    )
    show.add_argument(
        "--differences", action="store_true", help="print where the engines differ, as Markdown"
    )


def _engines(arguments: argparse.Namespace) -> str:
    names = [name.strip() for name in arguments.engines.split(",") if name.strip()]
    if names == ["all"]:
        names = list(ENGINES)
    if arguments.differences:
        return difference_tables(names)
    if arguments.about:
        return "\n\n".join(str(get(name)) for name in names)
    row = row_of(arguments)
    request = request_of(arguments)
    top = None
    if arguments.top is not None:
        top = whole("--top", arguments.top, Range(0, len(row.logits), integer=True))
    try:
        compared = compare_engines(row.logits, request, context=row.context, engines=names)
    except ParameterError as error:
        raise needs_context(error) from None
    if arguments.json:
        return _json(row, request, compared, 10 if top is None else top)
    return _text(row, request, compared, top)


def _partings(compared: Comparison) -> list[tuple[str, str, tuple[Parting, ...]]]:
    """Return where the first engines of every two groups part ways."""
    return [
        (a, b, compared.partings(a, b))
        for a, b in combinations((group[0] for group in compared.groups), 2)
    ]


def _text(row: Row, request: dict[str, Any], compared: Comparison, top: int | None) -> str:
    letters = dict(zip(compared.groups, _letters(len(compared.groups)), strict=True))
    in_order = [(letter, name) for group, letter in letters.items() for name in group]
    asked = ", ".join(f"{key} {value}" for key, value in request.items()) or "nothing"
    lines = [row.title, f"request: {asked}", ""]
    if in_order:
        index = [compared.engines.index(name) for _, name in in_order]
        body = [
            [
                f"{letter}  {name}",
                str(compared.kept[i]),
                f"{compared.entropy[i]:.3f}",
                f"{compared.total_variation[index[0], i]:.4f}",
            ]
            for (letter, name), i in zip(in_order, index, strict=True)
        ]
        head = ["   engine", "kept", "entropy", "distance"]
        lines += table(head, body, row, compared.logits[index], top)
    lines += [f"–  {name}: refused. {why}" for name, why in compared.refused.items()]
    if len(letters) > 1:
        lines += ["", *_distances(compared, list(letters.values())), "", "where they part ways:"]
        of = {group[0]: letter for group, letter in letters.items()}
        first = compared.groups[0][0]
        for a, b, stages in _partings(compared):
            if a == first or len(letters) <= _ALL_PAIRS:
                told = "; ".join(
                    f"at {stage.key}: {stage.reason} ({stage.distance:.4f})" for stage in stages
                )
                lines.append(f"{of[a]} {of[b]}  {told}")
    own = {key for name in compared.engines for key in ENGINES[name].own_keys}
    notes = [
        note.sentence
        for name in compared.engines
        for note in compared.notes[name]
        if not (note.effect == "unknown" and note.key in own)
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _letters(count: int) -> list[str]:
    return [ascii_uppercase[i % 26] * (1 + i // 26) for i in range(count)]


def _distances(compared: Comparison, letters: list[str]) -> list[str]:
    first = [group[0] for group in compared.groups]
    rows = [["total variation", *letters]]
    for letter, a in zip(letters, first, strict=True):
        cells = ["–" if a == b else f"{float(compared.distance(a, b)):.4f}" for b in first]
        rows.append([letter, *cells])
    return columns(rows)


def _json(row: Row, request: dict[str, Any], compared: Comparison, top: int) -> str:
    tops = top_tokens(compared.logits, top) if compared.engines else []
    engines = {
        name: {
            "chain": repr(compared.chains[name]),
            "kept": int(compared.kept[i]),
            "entropy": float(compared.entropy[i]),
            "notes": [vars(note) for note in compared.notes[name]],
            "top": row.described(tops[i]),
        }
        for i, name in enumerate(compared.engines)
    }
    partings = [
        {"engines": [a, b], "stages": [vars(stage) for stage in stages]}
        for a, b, stages in _partings(compared)
    ]
    return as_json(
        {
            "row": row.title,
            "vocabulary_size": len(row.logits),
            "request": request,
            "engines": engines,
            "refused": dict(compared.refused),
            "same": compared.groups,
            "total_variation": compared.total_variation.tolist(),
            "partings": partings,
        }
    )
