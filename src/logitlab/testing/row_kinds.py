"""Rows that break samplers, by kind: `KINDS`.

Every kind is a function from a generator of random numbers and the `Aims` of a chain to float32
rows. Some rows are made for the parameters: masses near p, gaps near ln m, ties at the k-th token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from logitlab.numerics import rounded_to_bfloat16
from logitlab.steps.chain import Chain
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from numpy.typing import NDArray

__all__ = ["KINDS", "Aims", "Row"]

Row: TypeAlias = "NDArray[np.float32]"
NONE = -np.inf


@dataclass(frozen=True)
class Aims:
    """The values of a chain that rows are made for."""

    masses: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()
    temperature: float = 1.0

    @classmethod
    def of(cls, chain: Chain) -> Aims:
        """Return the values that the cuts of a chain have."""
        steps: list[Any] = [(step, getattr(step, "value", None)) for step in chain]
        heat = math.prod(float(t) for s, t in steps if isinstance(s, Temperature) and t)
        return cls(
            tuple(float(p) for s, p in steps if isinstance(s, TopP)),
            tuple(int(k) for s, k in steps if isinstance(s, TopK)),
            tuple(float(m) for s, m in steps if isinstance(s, MinP)),
            heat,
        )


Kind: TypeAlias = Callable[[np.random.Generator, Aims], Iterator[Any]]
KINDS: dict[str, Kind] = {}
"""Kinds of rows by name, each a function of a generator and the `Aims` of a chain to rows, (V,).

Examples
--------
>>> rows = [np.asarray(row) for row in KINDS["equal"](np.random.default_rng(0), Aims())]
>>> rows[0], len(rows)
(array([0.5, 0.5]), 8)
"""


def _kind(make: Kind) -> Kind:
    KINDS[make.__name__.strip("_").replace("_", "-")] = make
    return make


@_kind
def _ordinary(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield rows as models have them, and such as are sorted already."""
    for size in (2, 5, 33, 257):
        yield rng.normal(0, 3, size)
    yield np.sort(rng.normal(0, 2, 40))
    yield np.sort(rng.normal(0, 2, 40))[::-1]


@_kind
def _few_tokens(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield vocabularies of one to a few tokens, so that k reaches V and beyond."""
    yield [0.7]
    yield [-3.0]
    for count in {1, 2, 3, *aims.counts}:
        for size in (count - 1, count, count + 1):
            if 0 < size < 1 << 14:
                yield rng.permutation(size) / 4.0


@_kind
def _equal(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield rows of equal tokens: powers of two have exact masses."""
    for size in (2, 3, 8, 10, 16, 64, 1000):
        yield np.full(size, 0.5)
    yield [0.0, -0.0, 0.0, -0.0]


@_kind
def _ties(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield ties as bfloat16 and whole numbers make them, and at the place of the cut."""
    for size in (9, 64, 500):
        yield rounded_to_bfloat16(rng.normal(0, 2, size).astype(np.float32))
        yield rng.integers(-2, 3, size).astype(float)
    for count in aims.counts:
        if count < 1 << 12:
            row = np.r_[np.full(max(count - 2, 0), 2.0), np.full(5, 1.0), np.zeros(4)]
            yield rng.permutation(row)
    yield [1.0, 3.0, 3.0, 2.0, 3.0, 2.0]


@_kind
def _mass_at_p(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield masses exactly at p, where p is a share of equal tokens, and a little beside it.

    The equal ones stand among tokens whose weight is 0 in any arithmetic.
    """
    for p in (*aims.masses, *(() if aims.masses else (0.5, 0.9))):
        for count in (4, 8, 16):
            row = np.full(count + 3, -300.0)
            row[rng.permutation(count + 3)[:count]] = 1.0
            yield row
        if 0 < p < 1:
            for first in (p * 0.98, p, min(p * 1.02, (1 + p) / 2)):
                rest = (1 - first) * np.array([0.4, 0.35, 0.25])
                yield np.log(np.r_[rest[0], first, rest[1:]]) * aims.temperature
            for head in (p * 0.97, min(p * 1.03, (1 + p) / 2)):
                masses = np.r_[head * np.array([0.5, 0.3, 0.2]), (1 - head) * np.full(4, 0.25)]
                yield rng.permutation(np.log(masses) * aims.temperature)


@_kind
def _gap_at_the_cut(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield gaps near ln m of min_p, and powers of two apart."""
    for m in (*aims.ratios, 0.05):
        if m > 0:
            gap = -math.log(m) * aims.temperature
            yield [0.0, -gap * 0.98, -gap * 1.02 - 0.01, -gap - 2, 0.0]
            yield [5.0 - gap - 0.03, 5.0, 5.0 - gap + 0.03, 4.9]
    yield -np.arange(12) * math.log(2)


@_kind
def _one_hot(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield one token that has all, or nearly all of it."""
    for size, place in ((5, 0), (5, 4), (300, 123)):
        row = np.full(size, NONE)
        row[place] = 0.25
        yield row
        row = np.zeros(size)
        row[place] = 50.0
        yield row


@_kind
def _masked(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield rows with tokens at -inf: first, last, most, and between equal ones."""
    for size in (6, 100):
        row = rng.normal(0, 2, size)
        row[rng.random(size) < 0.5] = NONE
        row[2] = 0.5
        yield row
    yield [NONE, NONE, 1.0, 1.0, NONE]
    yield [2.0, NONE, 1.0, 0.0, NONE, NONE]
    yield [NONE, 0.0, 0.0, NONE, 0.0, 0.0, NONE]
    yield np.r_[np.full(50, NONE), rng.normal(0, 1, 3)]


@_kind
def _offsets(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield huge numbers, whose exponentials overflow unless the largest is taken off."""
    for offset in (100.0, -100.0, 1e4, -1e4):
        yield offset + np.array([0.0, -1.0, 2.0, -4.0, 2.0, 0.5])
    yield [1e4, 0.0, -1e4]
    yield [1e30, 5e29, 0.0, -3e30]


@_kind
def _tiny_gaps(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield logits a last place apart, and below the smallest normal number."""
    yield 1 + rng.permutation(8) * 2.0**-23
    yield rng.permutation(6) * 2.0**-149
    yield [0.0, -6e-8, 6e-8, 1.0, 1.0 + 1.2e-7]


@_kind
def _signs(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield rows below 0, above it, and on both sides."""
    yield -1.0 - rng.random(7) * 3
    yield 1.0 + rng.random(7) * 3
    yield [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, -3.0]


@_kind
def _wide(rng: np.random.Generator, aims: Aims) -> Iterator[Any]:
    """Yield vocabularies up to 262,144 tokens."""
    yield np.full(4096, -1.0)
    row = np.full(32000, -400.0)
    row[rng.permutation(32000)[:4096]] = 2.0
    yield row
    yield rounded_to_bfloat16(rng.normal(0, 3, 32000).astype(np.float32))
    row = rng.normal(0, 1, 262_144)
    row[[7, 131_072, 262_143]] = 18.0, 17.0, 17.5
    yield row
