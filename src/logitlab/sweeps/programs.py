"""Which points of a grid can share their work, and the programs that they share.

A program is a list of kinds of steps with the values of many points: at each temperature the row
is divided and summed once, and each truncation cuts all points at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.numerics import IntArray
from logitlab.steps.chain import Chain
from logitlab.steps.step import RowStep, SparseStep, Step, Transform, Truncation
from logitlab.steps.temperature import Temperature
from numpy.typing import NDArray

__all__ = ["Branch", "Cut", "Program", "programs_of", "split", "why_dense"]

Signature = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Cut:
    """A truncation with one value for each point, shape (g,)."""

    step: Truncation
    values: NDArray[Any]


@dataclass(frozen=True)
class Branch:
    """Truncations of some points, then a temperature of each, or the end.

    Attributes
    ----------
    points : ndarray of int64, shape (g,)
        Which points of the grid these are.
    cuts : tuple of Cut
    after : tuple of (Temperature, ndarray, Branch)
        Each temperature that follows, which of these points it is of, and what comes then.
    """

    points: IntArray
    cuts: tuple[Cut, ...]
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
    _, rest = split(chain)
    for step in rest:
        if not _is_cut(step):
            return f"{type(step).__name__} is not known for all prefixes of a row at once"
        if isinstance(step, Step) and np.ndim(step.value):
            return f"{type(step).__name__} has a value for each row"
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
    heads: dict[Chain, dict[Signature, list[tuple[int, tuple[Any, ...]]]]] = {}
    for point in points:
        head, steps = split(chains[point])
        heads.setdefault(head, {}).setdefault(_signature(steps), []).append((point, steps))
    programs = []
    for head, groups in heads.items():
        merged: dict[Signature, list[tuple[int, list[Any]]]] = {}
        kinds: dict[Signature, tuple[Any, ...]] = {}
        for signature in sorted(groups, key=len, reverse=True):
            into = next((s for s in merged if _embedded(signature, s) is not None), signature)
            if into not in merged:
                merged[into] = []
                kinds[into] = groups[into][0][1]
            places = _embedded(signature, into) or []
            neutral = [step.neutral for step in kinds[into]]
            for point, steps in groups[signature]:
                values = list(neutral)
                for place, step in zip(places, steps, strict=True):
                    values[place] = step.value
                merged[into].append((point, values))
        for signature, members in merged.items():
            index = np.array([point for point, _ in members], np.int64)
            columns = list(zip(*(values for _, values in members), strict=True))
            steps = kinds[signature]
            lowest = all(getattr(step, "ties", "lowest") != "highest" for step in steps)
            body = _branch(index, steps, [np.array(column) for column in columns])
            programs.append(Program(head, body, lowest))
    return programs


def _signature(steps: Sequence[Any]) -> Signature:
    return tuple(
        (type(step), *(getattr(step, field.name) for field in dataclasses.fields(step)[1:]))
        for step in steps
    )


def _embedded(short: Signature, long: Signature) -> list[int] | None:
    """Return where the kinds of one signature stand in another, in order, or None."""
    places: list[int] = []
    for kind in short:
        start = places[-1] + 1 if places else 0
        if kind not in long[start:]:
            return None
        places.append(long.index(kind, start))
    return places


def _branch(points: IntArray, steps: Sequence[RowStep], columns: list[NDArray[Any]]) -> Branch:
    cuts = []
    for i, (step, values) in enumerate(zip(steps, columns, strict=True)):
        if isinstance(step, Truncation):
            cuts.append(Cut(step, values))
            continue
        after = []
        for t in np.unique(values):
            here = np.flatnonzero(values == t)
            rest = _branch(points[here], steps[i + 1 :], [c[here] for c in columns[i + 1 :]])
            after.append((dataclasses.replace(step, t=float(t)), here, rest))
        return Branch(points, tuple(cuts), tuple(after))
    return Branch(points, tuple(cuts), ())
