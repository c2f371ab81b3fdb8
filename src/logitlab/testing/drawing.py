"""Tokens that a sampler draws: whether one may be drawn, how often, and by which seed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from logitlab.steps.context import Context
from logitlab.testing.asking import WIDE, Asking
from logitlab.testing.calling import Unreadable
from logitlab.testing.draws import Pool, alike, wrong_rates
from logitlab.testing.judging import Judge
from logitlab.testing.row_kinds import Row

__all__ = ["judge_draws"]


class _Judged(NamedTuple):
    """A row to draw from, and whether there is more than one token to draw."""

    row: Row
    context: Context | None
    judge: Judge
    is_open: bool


def judge_draws(asking: Asking) -> None:
    """Draw from all rows, and raise if what is drawn is wrong."""
    rows = asking.rows()
    many = asking.batch or "size" in asking.caller.asks
    budget = asking.caller.rest // asking.shares
    _check_seeds(asking, rows)
    judged = []
    for row in rows:
        context = asking.context_of(row)
        judge = asking.judge(row, context)
        judged.append(_Judged(row, context, judge, bool(judge.left.perhaps.sum() > 1)))
    judged = judged if many else _fewer(judged)
    open_rows = max(1, sum(each.is_open for each in judged))
    sure = 2 if many else 4  # calls for a row of which there is one token to draw
    each = max(1, (budget * 9 // 10 - sure * (len(judged) - open_rows)) // open_rows)
    error, pool = asking.error / len(asking.requests), Pool()
    level = error / (4 * len(judged))  # half of it for all rows together
    for row, context, judge, is_open in judged:
        calls = (min(each, 8) if many else each) if is_open else min(sure, each)
        tokens, pairs, agreeing = _drawn(asking, row, context, calls)
        asking.note(judge, len(tokens))
        told = wrong_rates(judge, tokens, level)
        if not told and pairs:
            told = alike(judge, pairs, agreeing, level)
        if told:
            asking.fail(told, row, context)
        pool.add(judge, tokens)
    if together := pool.wrong(error / 2):
        told, judge = together
        asking.fail(f"{told} together, this one best", judge.row.astype(np.float32), judge.context)


def _drawn(asking: Asking, row: Row, context: Context | None, calls: int) -> tuple[Any, int, int]:
    """Draw from one row; count how often two neighbours of a call are the same."""
    parts, pairs, agreeing = [], 0, 0
    copies = (64 if len(row) < WIDE else 8) if asking.batch else 1
    size = 256 if "size" in asking.caller.asks else 1
    for _ in range(calls):
        seeds = asking.rng.integers(0, 2**31, copies).tolist()
        try:
            drawn = asking.answers([row] * copies, [context] * copies, seeds, size)
        except Unreadable as told:
            asking.fail(str(told), row, context, told.__cause__)
        for one, other in zip(drawn[::2], drawn[1::2], strict=False):
            pairs += 1
            agreeing += int(one[0] == other[0])
        parts += drawn
    return np.concatenate(parts), pairs, agreeing


def _check_seeds(asking: Asking, rows: list[Row]) -> None:
    """Ask twice with the same seeds, beside other rows and alone."""
    if "seed" not in asking.caller.asks:
        return
    row = np.zeros(64, np.float32)
    if asking.chain and len(rows) and not any(len(each) <= 64 for each in rows):
        row = rows[0]
    context = asking.context_of(row)
    seeds = asking.rng.integers(0, 2**31, 12).tolist()
    once = _tokens_of(asking, row, context, seeds)
    if asking.batch:
        again = [_tokens_of(asking, row, context, [each])[0] for each in seeds]
        beside = _tokens_of(asking, row, context, seeds[::-1])[::-1]
        for other, words in ((again, "alone"), (beside, "in another place of a batch")):
            if once != other:
                place = next(i for i in range(len(once)) if once[i] != other[i])
                asking.fail(
                    f"draws token {once[place]} with seed {seeds[place]} in a batch, and token "
                    f"{other[place]} with the same seed {words}",
                    row,
                    context,
                )
    elif once != (again := _tokens_of(asking, row, context, seeds)):
        place = next(i for i in range(len(once)) if once[i] != again[i])
        asking.fail(
            f"draws token {once[place]} with seed {seeds[place]}, and token {again[place]} "
            "with the same seed when asked again",
            row,
            context,
        )


def _tokens_of(asking: Asking, row: Row, context: Context | None, seeds: list[int]) -> list[int]:
    try:
        parts = asking.answers([row] * len(seeds), [context] * len(seeds), seeds)
    except Unreadable as told:
        asking.fail(str(told), row, context, told.__cause__)
    return [int(part[0]) for part in parts]


def _fewer(judged: list[_Judged]) -> list[_Judged]:
    """Return a dozen rows of those that are not wide, where every draw is a call.

    Most of them are those whose surprise varies most: equal tokens tell nothing of a temperature.
    """
    narrow = [each for each in judged if len(each.row) < WIDE] or judged
    spread = {id(each): each.judge.spread for each in narrow}
    certain = [each for each in narrow if not each.is_open][:2]
    equal = [each for each in narrow if each.is_open and spread[id(each)] < 1e-9][:2]
    others = [each for each in narrow if spread[id(each)] >= 1e-9]
    others = sorted(others, key=lambda each: -spread[id(each)])[:8]
    return sorted(certain + equal + others, key=lambda each: len(each.row))
