"""What the commands print: aligned columns, legible tokens, JSON."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from typing import Any

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.cli.arguments import Row
from logitlab.sampling.logprobs import logprobs

__all__ = ["as_json", "columns", "table", "top_tokens"]


def top_tokens(logits: FloatArray, top: int | None) -> list[list[tuple[int, float, float]]]:
    """Return (id, logit, probability) of the most likely survivors of each row, shape (n, V)."""
    count = min(10 if top is None else top, logits.shape[-1])
    report = logprobs(logits, logits.argmax(axis=-1), top_logprobs=count)
    return [
        [
            (int(token), float(row[token]), float(np.exp(logprob)))
            for token, logprob in zip(tokens, values, strict=True)
            if row[token] > -np.inf
        ]
        for row, tokens, values in zip(logits, report.top_tokens, report.top_logprobs, strict=True)
    ]


def _top_cells(row: Row, logits: FloatArray, count: int) -> list[list[str]]:
    """Return aligned cells ``token probability``, one list for each row of logits."""
    lines = [
        [(row.label(token), f"{probability:.3f}") for token, _, probability in line]
        for line in top_tokens(logits, count)
    ]
    widths = [
        max((width(line[i][0]) for line in lines if i < len(line)), default=0)
        for i in range(max(map(len, lines)))
    ]
    return [
        [
            label + " " * (room - width(label)) + " " + number
            for (label, number), room in zip(line, widths, strict=False)
        ]
        for line in lines
    ]


def columns(rows: list[list[str]]) -> list[str]:
    """Return rows as lines of aligned columns: the first to the left, others to the right."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell + " " * (room - width(cell)) if i == 0 else " " * (room - width(cell)) + cell
            for i, (cell, room) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def table(
    head: list[str], body: list[list[str]], row: Row, logits: FloatArray, top: int | None
) -> list[str]:
    """Return lines of columns, each with the top tokens of its row of logits, shape (n, V).

    ``top`` is how many; None stands for as many as the terminal is wide.
    """
    lines = columns([head, *body])
    cells = _top_cells(row, logits, 8 if top is None else top)
    if top is None:
        room = shutil.get_terminal_size((100, 24)).columns - width(lines[0])
        count = max(map(len, cells))
        while count > 1 and max(sum(width(c) + 2 for c in line[:count]) for line in cells) > room:
            count -= 1
        cells = [line[:count] for line in cells]
    pairs = zip(lines, [["top tokens"], *cells], strict=True)
    return ["  ".join([line, *tops]).rstrip() for line, tops in pairs]


def as_json(report: dict[str, Any]) -> str:
    """Return a report as JSON that the output can show."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # escapes are plain, and lose nothing
        text = json.dumps(report, indent=2, allow_nan=False)
    return text


def width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
