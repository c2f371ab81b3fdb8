"""``logitlab trace`` and ``logitlab demo``: every stage of a chain, then draws."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range
from logitlab.cli.arguments import (
    SEQUENCES,
    Row,
    add_command,
    add_coupling,
    add_engine,
    add_options,
    add_request,
    add_row,
    add_state,
    request_of,
    row_of,
    state_of,
    top_of,
    uncounted,
    whole,
)
from logitlab.cli.forms import spaced
from logitlab.cli.text import as_json, table, top_tokens
from logitlab.engines.resolve import resolve
from logitlab.numerics import softmax
from logitlab.sampling.reports import distribution, trace as trace_of
from logitlab.sampling.sampler import Draws, sample
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["add"]

_DEMO = (
    "--row 3 --repetition-penalty 1.1 --temperature 0.8 --top-k 50 --top-p 0.9 --min-p 0.05 "
    "--seed 7"
)
_NEXT = "Next: logitlab trace --row 3 --temperature 1.5 --min-p 0.1"


def add(commands: Any) -> None:
    """Add the commands ``demo`` and ``trace``: what each step does to a row."""
    demo = commands.add_parser("demo", help="a real prompt, stage by stage, then seeded draws")
    demo.set_defaults(run=lambda _: _demo(commands.choices["trace"]))
    trace = add_command(
        commands,
        "trace",
        _trace,
        help="what a request makes of a row of logits",
        description="Show every stage of the chain that a request means, then draw from it.",
    )
    add_row(trace)
    add_request(trace)
    show = trace.add_argument_group("output")
    add_engine(show)
    add_state(show)
    add_options(show, ("--draws", "N", "how many tokens to draw (10)", "10"))
    add_coupling(show)
    add_options(
        show,
        ("--sequence", "N", "which random sequence of the seed draws (0)", "0"),
        ("--top", "N", "how many top tokens to show at each stage"),
        ("--json", None, "print JSON instead of a table"),
    )
    add_options(
        show.add_mutually_exclusive_group(),
        ("--token", "TEXT", "how likely it is; ␣ stands for a space"),
        ("--token-id", "N", "the same, by its id"),
    )


def _demo(trace: argparse.ArgumentParser) -> str:
    return f"{_trace(trace.parse_args(_DEMO.split()))}\n\n{_NEXT}"


def _trace(arguments: argparse.Namespace) -> str:
    row, request = row_of(arguments), request_of(arguments)
    coupling = arguments.coupling
    size = whole("--draws", arguments.draws, Range(0, 10**6, integer=True))
    top = top_of(arguments, row)
    token = _token_of(arguments, row)
    sequence = whole("--sequence", arguments.sequence, SEQUENCES)
    resolved = resolve(request, arguments.engine, size=len(row.logits), vocabulary=row.vocabulary)
    where: dict[str, Any] = {"context": row.context, "state": state_of(arguments)}
    trace = trace_of(row.logits, resolved, **where)
    luck: dict[str, Any] = {"size": size, "coupling": coupling, "sequence": sequence}
    draws = sample(row.logits, resolved, **where, **luck)
    told = [*resolved.notes, *uncounted(arguments.engine, trace.chain, row.context)]
    fate = None
    if token is not None:
        fate = _Fate(token, trace, distribution(row.logits, resolved, **where))
    if arguments.json:
        report = _trace_report(row, request, trace, draws, coupling, top, fate)
        report["draws"]["sequence"] = sequence
        state = {} if draws.state is None else {"state": draws.state}
        return as_json(report | state | {"notes": [vars(note) for note in told]})
    own = "" if arguments.engine == "openrouter" else " of logitlab's own generator"
    lines = [_table(row, trace, draws, top, own, fate)]
    notes = [note.sentence for note in told]
    for part in ([fate.sentence(row)] if fate else [], notes):
        lines += ["", *part] if part else []
    return "\n".join(lines)


def _token_of(arguments: argparse.Namespace, row: Row) -> int | None:
    """Return the token that is asked about, or raise `ParameterError`."""
    if arguments.token_id is not None:
        return whole("--token-id", arguments.token_id, Range(0, len(row.logits) - 1, integer=True))
    if arguments.token is None:
        return None
    if row.vocabulary is None:
        hint = "A file of logits has no vocabulary: give --vocabulary, or --token-id."
        raise ParameterError("--token", "absent where --logits is given", arguments.token, hint)
    try:
        return row.vocabulary.find(spaced(arguments.token))
    except ParameterError as error:
        hint = "Write ␣king for a token that begins with a space."
        raise ParameterError("--token", error.rule, arguments.token, hint) from None


class _Fate:
    """What becomes of one token: how likely it is at every stage, and in the end."""

    def __init__(self, token: int, trace: Trace, probs: NDArray[np.float64]) -> None:
        self.token = token
        self.stages: list[float] = softmax(trace.logits)[:, token].tolist()
        self.probability = float(probs[token])
        self.rank = 1 + int(np.count_nonzero(probs > probs[token]))
        self.kept = int(np.count_nonzero(probs))
        removals = np.flatnonzero(trace.logits[:, token] == -np.inf)
        self.removed_by = trace.names[removals[0]] if len(removals) else None

    def sentence(self, row: Row) -> str:
        """Return how likely the token is and its rank, or what removes it."""
        label = f"{row.label(self.token)} (id {self.token})"
        if self.removed_by == "logits":
            return f"{label} cannot be drawn: the logits have removed it."
        if self.removed_by:
            return f"{label} cannot be drawn: {self.removed_by} removes it."
        place = f"number {self.rank} of {self.kept} tokens"
        return f"{label} is drawn with probability {self.probability:.6g}: {place}."


def _table(
    row: Row,
    trace: Trace,
    draws: Draws,
    top: int | None,
    own: str,
    fate: _Fate | None,
) -> str:
    """Return the stages as lines: name, kept, entropy, mass removed, most likely tokens."""
    head = ["stage", "kept", "entropy", "removed"]
    body = [
        [name, str(kept), f"{entropy:.3f}", f"{removed:.4f}" if i else "–"]
        for i, (name, kept, entropy, removed) in enumerate(
            zip(trace.names, trace.kept, trace.entropy, trace.mass_removed, strict=True)
        )
    ]
    if fate is not None:
        head.append(row.label(fate.token))
        for line, probability in zip(body, fate.stages, strict=True):
            digits = ".4f" if probability >= 5e-5 else ".0e"
            line.append(format(probability, digits) if probability else "–")
    lines = [row.title, repr(trace.chain), "", *table(head, body, row, trace.logits, top)]
    labels = "  ".join(row.label(int(token)) for token in draws.tokens)
    title = f"{len(draws.tokens)} draws{own}, seed {draws.seed}:"
    return "\n".join([*lines, "", title, labels]).rstrip()


def _trace_report(
    row: Row,
    request: dict[str, Any],
    trace: Trace,
    draws: Draws,
    coupling: str,
    top: int | None,
    fate: _Fate | None,
) -> dict[str, Any]:
    """Return the stages and draws as a JSON object."""
    tops = top_tokens(trace.logits, top)
    stages = [
        {
            "name": name,
            "kept": int(trace.kept[i]),
            "entropy": float(trace.entropy[i]),
            "mass_removed": float(trace.mass_removed[i]),
            "top": row.entries(tops[i]),
        }
        for i, name in enumerate(trace.names)
    ]
    tokens = [{"id": token, "label": row.label(token)} for token in draws.tokens.tolist()]
    about = {} if fate is None else {"token": {"label": row.label(fate.token), **vars(fate)}}
    return row.report(
        request,
        chain=repr(trace.chain),
        stages=stages,
        draws={"seed": draws.seed, "coupling": coupling, "tokens": tokens},
        **about,
    )
