"""From a row that a sampler gets wrong to a small one that it gets wrong, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from logitlab.steps.context import Context
from numpy.typing import NDArray

__all__ = ["shrunk"]

Case: TypeAlias = "tuple[NDArray[np.float32], Context | None]"
Fails: TypeAlias = Callable[[Any, Any], str]


def shrunk(
    row: NDArray[np.float32], context: Context | None, fails: Fails, removable: bool, tries: int
) -> Case:
    """Return a case that still fails, from which no smaller step leads to one that does.

    First tokens are taken out, half of them, a quarter, one by one, where ids are not named by the
    request; then the tokens of the context; then logits become the largest, 0, or rounder numbers.

    Parameters
    ----------
    row : ndarray of float32, shape (V,)
    context : Context or None
    fails : callable
        Takes both; returns what is wrong, or "".
    removable : bool
        Whether ids may change.
    tries : int
        How often ``fails`` is asked at most.
    """
    case: Case = (row, context)
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(case, removable):
            if tries <= 0:
                break
            tries -= 1
            if fails(*smaller):
                case, progress = smaller, True
                break
    return case


def _smaller(case: Case, removable: bool) -> Iterator[Case]:
    row, context = case
    size = len(row)
    chunk = size // 2 if removable else 0
    while chunk:
        for start in range(0, size, chunk):
            keep = np.ones(size, np.bool_)
            keep[start : start + chunk] = False
            if np.isfinite(row[keep]).any():
                yield row[keep], _without(context, keep)
        # Beyond a few dozen tokens single ones are not worth a call each.
        chunk = chunk // 2 if chunk > 1 and size // chunk <= 64 else 0
    for part in ("output", "prompt"):
        ids = getattr(context, part, np.empty(0))
        for place in range(len(ids)):
            yield row, _with(context, part, np.delete(ids, place))
    yield from ((simple, context) for simple in _simpler(row))


def _without(context: Context | None, keep: NDArray[np.bool_]) -> Context | None:
    """Return a context without the tokens that are taken out, and with the ids of the others."""
    if context is None:
        return None
    new = np.cumsum(keep) - 1

    def renamed(ids: NDArray[Any]) -> NDArray[Any]:
        ids = ids[(ids < 0) | keep[ids]]
        return np.where(ids < 0, -1, new[ids])

    return Context(renamed(context.prompt), renamed(context.output))


def _with(context: Context | None, part: str, ids: NDArray[Any]) -> Context:
    known = {"prompt": getattr(context, "prompt", ()), "output": getattr(context, "output", ())}
    return Context(**(known | {part: ids}))


def _simpler(row: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield rows of simpler numbers, each simpler by a measure that cannot fall for ever."""
    finite = np.isfinite(row)
    top = row[finite].max()
    candidates = [row + 0.0]  # no -0
    candidates += [np.where(finite, row - top, row), np.where(finite, np.round(row), row)]
    candidates += [np.where(finite, np.round(row, digits), row) for digits in (1, 2)]
    if len(row) <= 16:
        for token in np.flatnonzero(finite & (row != 0)):
            for value in (top, 0.0, np.round(row[token])):
                candidates.append(np.where(np.arange(len(row)) == token, value, row))
    for simple in candidates:
        made = simple.astype(np.float32)
        if _length(made) < _length(row):
            yield made


def _length(row: NDArray[np.float32]) -> tuple[int, int]:
    """Return how many different numbers there are, and how many digits and signs they take."""
    kinds = np.unique(row[:4096])
    digits = sum(len(f"{x:g}") for x in np.abs(kinds).tolist()) + int((row[:64] != 0).sum())
    return len(kinds), digits + int(np.signbit(row[:64]).sum())
