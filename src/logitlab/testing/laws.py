"""Laws that every sampler holds to, whatever it is to do: `LAWS`, for parametrised tests.

Each takes the arguments of `check`, and raises as that does. Those named after a kind of rows are
`check` over these rows alone. The others compare a sampler with itself, so that they hold for
samplers, too, whose rounding has no bound here, such as typical-p, and for requests of any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from logitlab.checks import ParameterError
from logitlab.steps.context import Context
from logitlab.testing.asking import Asking
from logitlab.testing.bounds import check_chain
from logitlab.testing.calling import Spent, Unreadable
from logitlab.testing.checking import check
from logitlab.testing.row_kinds import KINDS, Row
from numpy.typing import NDArray

__all__ = ["LAWS"]

Array = NDArray[Any]


def _asked(sampler: Any, like: Any, options: dict[str, Any]) -> Iterator[Asking]:
    """Yield the sampler under each request, and end where the calls do."""
    asking = Asking(sampler, like, **options)
    try:
        for place in range(len(asking.requests)):
            asking.start(place)
            yield asking
    except Spent:
        return


def _answers(
    asking: Asking, rows: list[Row], contexts: list[Context | None], seeds: Any = None
) -> list[Array]:
    try:
        return asking.answers(rows, contexts, seeds)
    except Unreadable as told:
        if len(rows) == 1:
            asking.fail(str(told), rows[0], contexts[0], told.__cause__)
        asking.fail(str(told), np.stack(rows), contexts, told.__cause__)


def _mask(asking: Asking, answer: Array) -> Array:
    """Return which tokens an answer leaves, of drawn ones those that were drawn."""
    if asking.gives == "survivors":
        return answer
    return answer > (0 if asking.gives == "probabilities" else -3e38)


def one_token_stays(sampler: Any, like: Any, **options: Any) -> None:
    """Hold to this: a token is left of every row, and no number is NaN or infinite."""
    for asking in _asked(sampler, like, options):
        for rows, contexts in asking.batches():
            parts = _answers(asking, rows, contexts)
            for row, context, part in zip(rows, contexts, parts, strict=True):
                if asking.gives == "tokens":
                    if not 0 <= part[0] < len(row):
                        told = f"draws token {part[0]} of a vocabulary of {len(row)}"
                        asking.fail(told, row, context)
                    continue
                if asking.gives != "survivors" and (np.isnan(part) | (part == np.inf)).any():
                    asking.fail("gives a number that is NaN or infinite", row, context)
                if not _mask(asking, part).any():
                    asking.fail("keeps no token", row, context)


def removed_stays_removed(sampler: Any, like: Any, **options: Any) -> None:
    """Hold to this: a token at ``-inf`` is neither kept nor drawn."""
    for asking in _asked(sampler, like, options):
        for rows, contexts in asking.batches():
            parts = _answers(asking, rows, contexts)
            for row, context, part in zip(rows, contexts, parts, strict=True):
                gone = row == -np.inf
                if asking.gives == "tokens":
                    wrong = [int(token) for token in part if gone[token]]
                else:
                    wrong = np.flatnonzero(gone & _mask(asking, part)).tolist()
                if wrong:
                    verb = "draws" if asking.gives == "tokens" else "keeps"
                    told = f"{verb} token {wrong[0]}, whose logit is -inf"
                    asking.fail(told, row, context)


def the_same_again(sampler: Any, like: Any, **options: Any) -> None:
    """Hold to this: the same row, and seed, gets the same answer, bit for bit."""
    for asking in _asked(sampler, like, options):
        if asking.gives == "tokens" and "seed" not in asking.caller.asks:
            continue
        for rows, contexts in asking.batches():
            once, again = (_answers(asking, rows, contexts) for _ in range(2))
            for row, context, one, other in zip(rows, contexts, once, again, strict=True):
                if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
                    asking.fail("gives another answer when asked again", row, context)


def a_batch_is_its_rows(sampler: Any, like: Any, **options: Any) -> None:
    """Hold to this: a row of a batch is answered as if it were alone.

    Sums may be rounded otherwise: tokens that another arithmetic could keep or remove are left out,
    and numbers are not compared.
    """
    for asking in _asked(sampler, like, options):
        if not asking.batch or (asking.gives == "tokens" and "seed" not in asking.caller.asks):
            continue
        try:
            check_chain(asking.chain)
        except ParameterError:  # what rounding may decide is not known
            continue
        for rows, contexts in asking.batches():
            seeds = list(range(len(rows)))
            together = _answers(asking, rows, contexts, seeds)
            for place, (row, context) in enumerate(zip(rows, contexts, strict=True)):
                alone = _answers(asking, [row], [context], [place])[0]
                judge = asking.judge(row, context)
                settled = judge.left.sure | ~judge.left.perhaps
                if asking.gives == "tokens":
                    differs = bool(alone[0] != together[place][0]) and bool(settled.all())
                else:
                    one, other = _mask(asking, alone), _mask(asking, together[place])
                    differs = bool(((one != other) & settled).any())
                if differs:
                    told = f"answers row {place} of a batch of {len(rows)} otherwise than alone"
                    asking.fail(told, np.stack(rows), contexts)


def _agrees(kind: str, sampler: Any, like: Any, **options: Any) -> None:
    check(sampler, like, **(options | {"rows": kind}))


LAWS: dict[str, Callable[..., None]] = {
    "one-token-stays": one_token_stays,
    "removed-stays-removed": removed_stays_removed,
    "the-same-again": the_same_again,
    "a-batch-is-its-rows": a_batch_is_its_rows,
    **{f"right-on-{kind}": partial(_agrees, kind) for kind in KINDS},
}
"""Laws by name, each a function of a sampler, a request and the options of `check`.

It returns nothing, and raises as `check` does: `SamplerError` for a sampler that breaks the law,
`ParameterError` for a request or an option that is wrong.

Examples
--------
>>> import pytest
>>> from logitlab import testing
>>> @pytest.mark.parametrize("law", testing.LAWS)
... def test_my_sampler(law):
...     testing.LAWS[law](my_sampler, {"top_p": 0.9}, batch=True)
>>> testing.LAWS["removed-stays-removed"](lambda row: row, {"top_p": 0.9}, rows="masked")
"""
