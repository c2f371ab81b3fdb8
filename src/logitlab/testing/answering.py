"""Answers that are no tokens: all rows are judged, and the first mistake is made small."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from logitlab.steps.context import Context
from logitlab.testing.asking import Asking
from logitlab.testing.calling import Spent, Unreadable
from logitlab.testing.row_kinds import Row
from logitlab.testing.shrinking import shrunk

__all__ = ["judge_answers"]

_TRIES = 300


def judge_answers(asking: Asking) -> None:
    """Ask for all rows, and raise if an answer is wrong."""
    for rows, contexts in asking.batches():
        told = _told(asking, rows, contexts, count=True)
        if any(told):
            first = next(place for place, each in enumerate(told) if each)
            _fail_small(asking, rows, contexts, first, told[first])


def _told(
    asking: Asking, rows: list[Row], contexts: list[Context | None], count: bool = False
) -> list[str]:
    """Return what is wrong with the answer to each row."""
    try:
        parts = asking.answers(rows, contexts)
    except Unreadable as told:
        return [str(told)] * len(rows)
    result = []
    for row, context, part in zip(rows, contexts, parts, strict=True):
        judge = asking.judge(row, context)
        if count:
            asking.note(judge)
        result.append(str(getattr(judge, asking.gives)(part)))
    return result


def _fail_small(
    asking: Asking, rows: list[Row], contexts: list[Context | None], first: int, told: str
) -> NoReturn:
    """Raise what is wrong with a row, or with a smaller one."""
    last = ""

    def alone(row: Row, context: Context | None) -> str:
        nonlocal last
        try:
            now = _told(asking, [row], [context])[0]
        except Spent:
            return ""
        last = now or last  # what fails is kept, so that this is what is wrong with the smallest
        return now

    row, context = rows[first], contexts[first]
    if alone(row, context):
        tries = min(_TRIES, asking.caller.rest)
        row, context = shrunk(row, context, alone, not asking.names_ids, tries)
        asking.fail(last, row, context)
    if len(rows) > 1:
        rows, contexts, first, told = _fewer_rows(asking, rows, contexts, first, told)
        told = f"{told} (row {first} of a batch of {len(rows)}; alone it is answered rightly)"
        asking.fail(told, np.stack(rows), contexts)
    asking.fail(f"{told}; asked again, the answer is another one", row, context)


def _fewer_rows(
    asking: Asking, rows: list[Row], contexts: list[Context | None], first: int, told: str
) -> tuple[list[Row], list[Context | None], int, str]:
    """Take rows out of a batch as long as an answer to one of the others stays wrong."""
    place = 0
    while place < len(rows) and len(rows) > 2 and asking.caller.rest:
        fewer = rows[:place] + rows[place + 1 :], contexts[:place] + contexts[place + 1 :]
        now = _told(asking, *fewer)
        if any(now):
            (rows, contexts), first = fewer, next(i for i, each in enumerate(now) if each)
            told = now[first]
        else:
            place += 1
    return rows, contexts, first, told
