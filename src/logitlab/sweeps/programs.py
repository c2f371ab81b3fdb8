"""Which points of a grid can share their work, and the programs that they share.

A program is a list of kinds of steps with the values of many points: at each temperature the row
is divided and summed once, and each truncation cuts all points at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.arrays import IntArray
from logitlab.steps.chain import Chain
from logitlab.steps.step import RandomStep, SparseStep, Step, Transform, Truncation
from logitlab.steps.temperature import Temperature
from numpy.typing import NDArray

__all__ = ["Branch", "Program", "programs_of", "split", "why_dense"]

Signature = tuple[tuple[Any, ...], ...]
Group = dict[Signature, list[tuple[int, tuple[Any, ...]]]]
"""Points and their steps, by the kinds of these."""


@dataclass(frozen=True)
class Branch:
    """Truncations of some points, then a temperature of each, or the end.

    Attributes
    ----------
    points : ndarray of intp, shape (g,)
        Which points of the grid these are.
    cuts : tuple of (Truncation, ndarray)
        Each with one value for each point, shape (g,).
    after : tuple of (Temperature, ndarray, Branch)
        Each temperature that follows, which of these points it is of, and what comes then.
    """

    points: IntArray
    cuts: tuple[tuple[Truncation, NDArray[Any]], ...]
    after: tuple[tuple[Temperature, IntArray, Branch], ...]


@dataclass(frozen=True)
class Program:
    """Steps that act on token ids, and the tree of what comes after them.

    Attributes
    ----------
    head : Chain
    body : Branch
    lowest : bool
        Whether equal logits always go to the lowest ids.
    """

    head: Chain
    body: Branch
    lowest: bool


def why_dense(chain: Chain) -> str:
    """Return why a chain cannot share its work, or ""."""
    if type(chain) is not Chain:
        return f"{type(chain).__name__} runs its steps in a way of its own"
    if chain.precision != "double":
        return f"{chain.precision} precision"
    for step in split(chain)[1]:
        name = type(step).__name__
        if isinstance(step, RandomStep):
            return f"{name} tosses a coin, so that the chain is a mixture"
        if isinstance(step, Truncation) and type(step).prefix is Truncation.prefix:
            return f"{name} keeps no prefix of a sorted row"
        if not _is_cut(step):
            return f"{name} is not known for all prefixes of a row at once"
        if isinstance(step, Step) and getattr(step.value, "ndim", None):
            return f"{name} has a value for each row"
    return ""


def _is_cut(step: Transform) -> bool:
    """Whether a step keeps the order of a row, and a prefix of it."""
    return isinstance(step, Temperature) or (isinstance(step, Truncation) and step.can_prefix)


def split(chain: Chain) -> tuple[Chain, tuple[Any, ...]]:
    """Return the steps up to the last one that edits tokens, and the rest."""
    steps = chain.without_neutral().steps
    end = max((i + 1 for i, step in enumerate(steps) if isinstance(step, SparseStep)), default=0)
    if any(_is_cut(step) for step in steps[:end]):
        return Chain(), steps  # edits after a truncation: nothing is shared
    return Chain(*steps[:end]), steps[end:]


def programs_of(chains: Sequence[Chain], points: Sequence[int]) -> list[Program]:
    """Return the programs that together are the chains of some points."""
    heads: dict[Chain, Group] = {}
    for point in points:
        head, steps = split(chains[point])
        heads.setdefault(head, {}).setdefault(_signature(steps), []).append((point, steps))
    return [program for head, group in heads.items() for program in _programs_after(head, group)]


def _programs_after(head: Chain, group: Group) -> Iterator[Program]:
    """Yield the programs of points that begin alike: a short list of kinds joins a longer one."""
    rows: dict[Signature, list[tuple[int, list[Any]]]] = {}
    for short in sorted(group, key=len, reverse=True):
        long = next((s for s in rows if _embedding(short, s, group[s][0][1]) is not None), short)
        model = group[long][0][1]
        places = _embedding(short, long, model) or ()
        for point, steps in group[short]:
            values = [step.neutral for step in model]
            for place, step in zip(places, steps, strict=True):
                values[place] = step.value
            rows.setdefault(long, []).append((point, values))
    for signature, members in rows.items():
        model = group[signature][0][1]
        points = np.array([point for point, _ in members], np.intp)
        columns = [np.array(column) for column in zip(*(row for _, row in members), strict=True)]
        lowest = all(getattr(step, "ties", "lowest") != "highest" for step in model)
        yield Program(head, _branch(points, model, columns), lowest)


def _signature(steps: Sequence[Any]) -> Signature:
    return tuple(
        (type(step), *(getattr(step, field.name) for field in dataclasses.fields(step)[1:]))
        for step in steps
    )


def _embedding(short: Signature, long: Signature, steps: Sequence[Any]) -> list[int] | None:
    """Return where the kinds of one signature stand in another, in order, or None.

    What stands between them has to have a neutral value.
    """
    places: list[int] = []
    for kind in short:
        start = places[-1] + 1 if places else 0
        if kind not in long[start:]:
            return None
        places.append(long.index(kind, start))
    others = (step for i, step in enumerate(steps) if i not in places)
    return None if any(step.neutral is None for step in others) else places


def _branch(points: IntArray, steps: Sequence[Any], columns: list[NDArray[Any]]) -> Branch:
    cuts = []
    for i, (step, values) in enumerate(zip(steps, columns, strict=True)):
        if isinstance(step, Truncation):
            cuts.append((step, values))
            continue
        after = []
        for t in np.unique(values):
            members = np.flatnonzero(values == t)
            later = [column[members] for column in columns[i + 1 :]]
            rest = _branch(points[members], steps[i + 1 :], later)
            after.append((dataclasses.replace(step, t=float(t)), members, rest))
        return Branch(points, tuple(cuts), tuple(after))
    return Branch(points, tuple(cuts), ())
