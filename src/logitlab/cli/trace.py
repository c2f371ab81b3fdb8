"""``logitlab trace`` and ``logitlab demo``: every stage of a chain, then draws."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, Range
from logitlab.cli.arguments import (
    Row,
    add_engine,
    add_request,
    add_row,
    bundled,
    needs_context,
    request_of,
    row_of,
    whole,
)
from logitlab.cli.text import as_json, table, top_tokens
from logitlab.draw import COUPLINGS
from logitlab.engines.resolve import resolve
from logitlab.request.params import SamplingParams
from logitlab.sampling.reports import trace as trace_of
from logitlab.sampling.sample import Draws, sample
from logitlab.steps.chain import Trace

__all__ = ["add_commands"]

_DEMO_ROW = 3
_DEMO = SamplingParams(
    repetition_penalty=1.1, temperature=0.8, top_k=50, top_p=0.9, min_p=0.05, seed=7
)


def add_commands(commands: Any) -> None:
    """Add ``demo`` and ``trace``."""
    demo = commands.add_parser("demo", help="a real prompt, stage by stage, then seeded draws")
    demo.set_defaults(run=_demo)
    trace = commands.add_parser(
        "trace",
        help="what a request makes of a row of logits",
        description="Show every stage of the chain that a request means, then draw from it.",
        allow_abbrev=False,
    )
    trace.set_defaults(run=_trace)
    add_row(trace)
    add_request(trace)
    show = trace.add_argument_group("output")
    add_engine(show)
    show.add_argument("--draws", metavar="N", default="10", help="how many tokens to draw (10)")
    show.add_argument("--coupling", choices=COUPLINGS, default="inverse", help="how to draw")
    show.add_argument("--top", metavar="N", help="how many top tokens to show at each stage")
    show.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _demo(_: argparse.Namespace) -> str:
    row = bundled(_DEMO_ROW)
    trace = trace_of(row.logits, _DEMO, context=row.context)
    draws = sample(row.logits, _DEMO, context=row.context, size=10)
    hint = f"Next: logitlab trace --row {_DEMO_ROW} --temperature 1.5 --min-p 0.1"
    return "\n".join([_table(row, trace, draws, None), "", hint])


def _trace(arguments: argparse.Namespace) -> str:
    row = row_of(arguments)
    request = request_of(arguments)
    size = whole("--draws", arguments.draws, Range(0, 10**6, integer=True))
    top = None
    if arguments.top is not None:
        top = whole("--top", arguments.top, Range(0, len(row.logits), integer=True))
    resolved = resolve(request, arguments.engine, size=len(row.logits))
    try:
        trace = trace_of(row.logits, resolved, context=row.context)
    except ParameterError as error:
        raise needs_context(error) from None
    draws = sample(
        row.logits, resolved, context=row.context, size=size, coupling=arguments.coupling
    )
    if arguments.json:
        return _json(row, request, trace, draws, arguments.coupling, 10 if top is None else top)
    own = "" if arguments.engine == "openrouter" else " of logitlab's own generator"
    notes = [note.sentence for note in resolved.notes if note.effect != "unknown" or own]
    return "\n".join([_table(row, trace, draws, top, own), *([""] if notes else []), *notes])


def _table(row: Row, trace: Trace, draws: Draws, top: int | None, own: str = "") -> str:
    """Return the stages as lines: name, kept, entropy, mass removed, most likely tokens."""
    head = ["stage", "kept", "entropy", "removed"]
    body = [
        [name, str(kept), f"{entropy:.3f}", f"{removed:.4f}" if i else "–"]
        for i, (name, kept, entropy, removed) in enumerate(
            zip(trace.names, trace.kept, trace.entropy, trace.mass_removed, strict=True)
        )
    ]
    lines = [row.title, repr(trace.chain), "", *table(head, body, row, trace.logits, top)]
    drawn = "  ".join(row.label(int(token)) for token in draws.tokens)
    title = f"{len(draws.tokens)} draws{own}, seed {draws.seed}:"
    return "\n".join([*lines, "", title, drawn]).rstrip()


def _json(
    row: Row, request: Mapping[str, Any], trace: Trace, draws: Draws, coupling: str, top: int
) -> str:
    stages = [
        {
            "name": name,
            "kept": int(trace.kept[i]),
            "entropy": float(trace.entropy[i]),
            "mass_removed": float(trace.mass_removed[i]),
            "top": row.described(tokens),
        }
        for i, (name, tokens) in enumerate(
            zip(trace.names, top_tokens(trace.logits, top), strict=True)
        )
    ]
    drawn = [{"id": token, "label": row.label(token)} for token in draws.tokens.tolist()]
    return as_json(
        {
            "row": row.title,
            "vocabulary_size": len(row.logits),
            "request": dict(request),
            "chain": repr(trace.chain),
            "stages": stages,
            "draws": {"seed": draws.seed, "coupling": coupling, "tokens": drawn},
        }
    )
