"""The command line: ``logitlab demo``, ``logitlab trace``, ``logitlab params``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab import __version__
from logitlab.chain import Trace
from logitlab.checks import ParameterError, Range, Seen, check_integer, check_logits
from logitlab.context import Context
from logitlab.datasets import load
from logitlab.draw import COUPLINGS
from logitlab.engines import openrouter
from logitlab.numerics import FloatArray
from logitlab.params import PARAMETERS, SamplingParams, parameter_table
from logitlab.sampling import Draws, logprobs, sample

__all__ = ["main"]

_OPTIONS = [p for p in PARAMETERS.values() if p.role in ("distribution", "draw")]

_DEMO_ROW = 3
_DEMO = SamplingParams(
    repetition_penalty=1.1, temperature=0.8, top_k=50, top_p=0.9, min_p=0.05, seed=7
)


@dataclass(frozen=True)
class Row:
    """One row of logits and what is known of it."""

    title: str
    logits: FloatArray
    context: Context | None
    label: Callable[[int], str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 for a mistake of the user's."""
    arguments = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show ␣ shows something else
            stream.reconfigure(errors="replace")
    try:
        text = arguments.run(arguments)
    except ParameterError as error:
        print(f"logitlab: error: {error}", file=sys.stderr)
        return 2
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader has seen enough, as in `logitlab params | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"logitlab: error: cannot write the output: {error.strerror}.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    return 0


def _joined(words: Sequence[str]) -> list[str]:
    """Return ``--key=-1e-3`` for ``--key -1e-3``, which argparse would take for an option."""
    joined: list[str] = []
    for word in words:
        if word.startswith("-") and _literal(word) is not word and joined[-1:] != []:
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logitlab",
        description="A local laboratory for LLM sampling. Start with: logitlab demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"logitlab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    demo = commands.add_parser("demo", help="a real prompt, stage by stage, then seeded draws")
    demo.set_defaults(run=_demo)

    params = commands.add_parser("params", help="the table of all twenty request parameters")
    params.set_defaults(run=lambda _: parameter_table())

    trace = commands.add_parser(
        "trace",
        help="what a request makes of a row of logits",
        description="Show every stage of the chain that a request means, then draw from it.",
        allow_abbrev=False,
    )
    trace.set_defaults(run=_trace)
    where = trace.add_argument_group("logits")
    where.add_argument("--row", metavar="N", help="row of the recording or file (default 0)")
    where.add_argument(
        "--prompt", metavar="TEXT", help="the bundled row whose prompt contains TEXT"
    )
    where.add_argument("--logits", metavar="FILE", help="your own .npy of shape (V,) or (n, V)")
    where.add_argument("--prompt-ids", metavar="IDS", help="tokens before your row: 5,17,5")
    request = trace.add_argument_group("request")
    for parameter in _OPTIONS:
        many = parameter.key == "logit_bias"
        request.add_argument(
            "--" + parameter.key.replace("_", "-"),
            dest=parameter.key,
            metavar="ID=VALUE" if many else "VALUE",
            action="append" if many else "store",
            help=f"{parameter.rule}: {parameter.sentence}",
        )
    show = trace.add_argument_group("output")
    show.add_argument("--draws", metavar="N", default="10", help="how many tokens to draw (10)")
    show.add_argument("--coupling", choices=COUPLINGS, default="inverse", help="how to draw")
    show.add_argument("--top", metavar="N", help="how many top tokens to show at each stage")
    show.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


# ---------------------------------------------------------------- commands


def _demo(_: argparse.Namespace) -> str:
    row = _bundled(_DEMO_ROW)
    trace = openrouter(_DEMO).trace(row.logits, row.context)
    draws = sample(row.logits, _DEMO, context=row.context, size=10)
    hint = f"Next: logitlab trace --row {_DEMO_ROW} --temperature 1.5 --min-p 0.1"
    return "\n".join([_table(row, _DEMO, trace, draws, None), "", hint])


def _trace(arguments: argparse.Namespace) -> str:
    row = _row(arguments)
    params = _request(arguments)
    size = _whole("--draws", arguments.draws, Range(0, 10**6, integer=True))
    top = None
    if arguments.top is not None:
        top = _whole("--top", arguments.top, Range(0, len(row.logits), integer=True))
    try:
        trace = openrouter(params).trace(row.logits, row.context)
    except ParameterError as error:
        if error.name != "context":
            raise
        hint = "A penalty counts the tokens before your row."
        raise ParameterError("--prompt-ids", "given with a penalty", None, hint) from None
    draws = sample(row.logits, params, context=row.context, size=size, coupling=arguments.coupling)
    if arguments.json:
        return _json(row, params, trace, draws, arguments.coupling, 10 if top is None else top)
    return _table(row, params, trace, draws, top)


# ---------------------------------------------------------------- input


def _row(arguments: argparse.Namespace) -> Row:
    if arguments.logits is None:
        if arguments.prompt_ids is not None:
            raise ParameterError(
                "--prompt-ids", "given together with --logits", arguments.prompt_ids
            )
        if arguments.prompt is not None:
            if arguments.row is not None:
                raise ParameterError("--row", "absent where --prompt is given", arguments.row)
            return _bundled(_find(arguments.prompt))
        last = len(load()) - 1
        row = "0" if arguments.row is None else arguments.row
        return _bundled(_whole("--row", row, Range(0, last, integer=True)))
    if arguments.prompt is not None:
        hint = "A file of logits has no prompts: choose with --row."
        raise ParameterError("--prompt", "absent where --logits is given", arguments.prompt, hint)
    return _own(arguments.logits, arguments.row, arguments.prompt_ids)


def _bundled(index: int) -> Row:
    rows = load()
    return Row(
        title=f"row {index}, {rows.kinds[index]}: {rows.prompts[index]!r}",
        logits=rows.logits[index],
        context=Context(prompt=rows.prompt_ids[index]),
        label=rows.vocabulary.label,
    )


def _find(text: str) -> int:
    prompts = load().prompts
    found = [i for i, prompt in enumerate(prompts) if text in prompt]
    if len(found) != 1:
        listing = found or range(len(prompts))
        choices = "".join(f"\n  --row {i:<3} {prompts[i][:60]!r}" for i in listing)
        hint = f"No model runs here; choose a recorded prompt:{choices}"
        raise ParameterError("--prompt", "part of exactly one bundled prompt", text, hint)
    return found[0]


def _own(file: str, row: str | None, prompt_ids: str | None) -> Row:
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # numpy passes on whatever its parsers stumble over
        reason = getattr(error, "strerror", None) or "Its contents are not those of a .npy file"
        raise ParameterError("--logits", "a readable .npy file", file, f"{reason}.") from None
    if array.ndim not in (1, 2) or not array.size:
        found = Seen(f"shape {array.shape}")
        raise ParameterError("--logits", "an array of shape (V,) or (n, V), not empty", found)
    rows = np.atleast_2d(array)
    index = _whole("--row", "0" if row is None else row, Range(0, len(rows) - 1, integer=True))
    logits = check_logits(rows[index], "--logits")
    context = None
    if prompt_ids is not None:
        ids = [_literal(part.strip()) for part in prompt_ids.split(",")]
        known = Range(0, len(logits) - 1, integer=True)
        context = Context(prompt=known.check("--prompt-ids", ids))
    return Row(f"row {index} of {file}", np.array(logits), context, "#{}".format)


def _request(arguments: argparse.Namespace) -> SamplingParams:
    request: dict[str, Any] = {}
    for parameter in _OPTIONS:
        given = getattr(arguments, parameter.key)
        if given is None:
            continue
        if parameter.key == "logit_bias":
            pairs = [entry.partition("=") for entry in given]
            keys = [key.strip() for key, _, _ in pairs]
            if len(set(keys)) < len(keys):
                raise ParameterError("--logit-bias", "given once for each token", " ".join(given))
            request["logit_bias"] = {key.strip(): _literal(value) for key, _, value in pairs}
        else:
            request[parameter.key] = _literal(given)
    return SamplingParams.from_request(request)


def _literal(text: str) -> Any:
    """Return the number that a text is, or the text itself for the checks to refuse."""
    for number in (int, float):
        try:
            return text if "_" in text else number(text)
        except ValueError:
            continue
    return text


def _whole(name: str, text: str, rule: Range) -> int:
    return check_integer(name, _literal(text), rule)


# ---------------------------------------------------------------- output


def _table(row: Row, params: SamplingParams, trace: Trace, draws: Draws, top: int | None) -> str:
    """Return the stages as lines: name, kept, entropy, mass removed, most likely tokens."""
    head = ["stage", "kept", "entropy", "removed"]
    body = [
        [name, str(kept), f"{entropy:.3f}", f"{removed:.4f}" if i else "–"]
        for i, (name, kept, entropy, removed) in enumerate(
            zip(trace.names, trace.kept, trace.entropy, trace.mass_removed, strict=True)
        )
    ]
    widths = [max(map(_width, column)) for column in zip(head, *body, strict=True)]
    room = shutil.get_terminal_size((100, 24)).columns - sum(widths) - 2 * len(widths)
    cells = _top_cells(row, trace, 8 if top is None else top)
    if top is None:  # as many as the terminal is wide
        while len(cells[0]) > 1 and sum(_width(cell) + 2 for cell in cells[0]) > room + 2:
            cells = [line[:-1] for line in cells]
    lines = [row.title, repr(trace.chain), ""]
    for (name, *numbers), tops in zip([head, *body], [["top tokens"], *cells], strict=True):
        left = name + " " * (widths[0] - _width(name))
        right = [" " * (w - _width(n)) + n for n, w in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([left, *right, *tops]).rstrip())
    drawn = "  ".join(row.label(int(token)) for token in draws.tokens)
    return "\n".join([*lines, "", f"{len(draws.tokens)} draws, seed {draws.seed}:", drawn]).rstrip()


def _top_cells(row: Row, trace: Trace, count: int) -> list[list[str]]:
    """Return aligned cells ``token probability``, one list for each stage."""
    stages = [
        [(row.label(token), f"{probability:.3f}") for token, _, probability in stage]
        for stage in _top(trace, count)
    ]
    widths = [
        max((_width(stage[i][0]) for stage in stages if i < len(stage)), default=0)
        for i in range(max(map(len, stages)))
    ]
    return [
        [
            label + " " * (width - _width(label)) + " " + number
            for (label, number), width in zip(stage, widths, strict=False)
        ]
        for stage in stages
    ]


def _top(trace: Trace, count: int) -> list[list[tuple[int, float, float]]]:
    """Return (id, logit, probability) of the most likely survivors at every stage."""
    count = min(count, trace.logits.shape[-1])
    report = logprobs(trace.logits, trace.logits.argmax(axis=-1), top_logprobs=count)
    return [
        [
            (int(token), float(logits[token]), float(np.exp(logprob)))
            for token, logprob in zip(tokens, values, strict=True)
            if logits[token] > -np.inf
        ]
        for logits, tokens, values in zip(
            trace.logits, report.top_tokens, report.top_logprobs, strict=True
        )
    ]


def _json(
    row: Row, params: SamplingParams, trace: Trace, draws: Draws, coupling: str, top: int
) -> str:
    def stage(i: int, tokens: list[tuple[int, float, float]]) -> dict[str, Any]:
        return {
            "name": trace.names[i],
            "kept": int(trace.kept[i]),
            "entropy": float(trace.entropy[i]),
            "mass_removed": float(trace.mass_removed[i]),
            "top": [
                {"id": token, "label": row.label(token), "logit": logit, "probability": probability}
                for token, logit, probability in tokens
            ],
        }

    report = {
        "row": row.title,
        "vocabulary_size": len(row.logits),
        "request": params.to_request(),
        "chain": repr(trace.chain),
        "stages": [stage(i, tokens) for i, tokens in enumerate(_top(trace, top))],
        "draws": {
            "seed": draws.seed,
            "coupling": coupling,
            "tokens": [{"id": token, "label": row.label(token)} for token in draws.tokens.tolist()],
        },
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # escapes are plain, and lose nothing
        text = json.dumps(report, indent=2, allow_nan=False)
    return text


def _width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
