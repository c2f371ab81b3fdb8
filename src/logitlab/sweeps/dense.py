"""All points of a grid on some rows by the dense chains, each common beginning run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.numerics import FloatArray
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import Transform
from logitlab.sweeps.measures import Measure
from numpy.typing import NDArray

__all__ = ["Tree", "measure_point", "tree_of"]


@dataclass(frozen=True)
class Tree:
    """Chains that begin alike.

    Attributes
    ----------
    points : list of int
        Points whose chain ends here.
    branches : list of (Transform, Tree)
        What comes next.
    """

    points: list[int] = field(default_factory=list)
    branches: dict[Any, tuple[Transform, Tree]] = field(default_factory=dict)

    def measure(
        self,
        measures: Sequence[Measure],
        raw: FloatArray,
        context: Context | None,
        out: NDArray[np.float64],
    ) -> None:
        """Measure all points on rows of shape (n, V), into ``out`` of shape (n, M, P)."""
        self._descend(measures, raw, raw, context, out)

    def _descend(
        self,
        measures: Sequence[Measure],
        raw: FloatArray,
        logits: FloatArray,
        context: Context | None,
        out: NDArray[np.float64],
    ) -> None:
        if self.points:
            lent = logits.view()
            lent.flags.writeable = False
            for place, measure in enumerate(measures):
                out[:, place, self.points] = measure(raw, lent)[:, None]
        for step, tree in self.branches.values():
            tree._descend(measures, raw, step(logits, context), context, out)


def tree_of(chains: Sequence[Chain], points: Sequence[int]) -> Tree:
    """Return the tree of the chains of some points."""
    root = Tree()
    for point in points:
        chain = chains[point]
        # A chain of a kind of its own, or with coins, looks ahead, and is one step here.
        plain = type(chain) is Chain and not chain.coins
        # Without steps it still rounds to its precision.
        parts = [chain.of(step) for step in chain.without_neutral()] if plain else []
        here = root
        for part in parts or [chain]:
            _, here = here.branches.setdefault(_key(part), (part, Tree()))
        here.points.append(point)
    return root


def _key(part: Chain) -> Any:
    try:
        hash(part)
    except TypeError:  # a transform of the user's own
        return id(part.steps[0] if len(part) == 1 else part)
    return part


def measure_point(
    chain: Chain,
    measures: Sequence[Measure],
    raw: FloatArray,
    context: Context | None,
) -> NDArray[np.float64]:
    """Return the numbers of one point on rows of shape (n, V): float64, shape (n, M)."""
    final = chain(raw, context)
    return np.stack([measure(raw, final) for measure in measures], axis=-1)
