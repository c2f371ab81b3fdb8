"""All points of a grid on some rows by the dense chains, each common beginning run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.sweeps.measures import Measure
from numpy.typing import NDArray

__all__ = ["Tree", "tree_of"]


@dataclass(frozen=True)
class Tree:
    """Chains that begin alike.

    Attributes
    ----------
    points : list of int
        Points whose chain ends here.
    branches : dict of Any to (Chain, Tree)
        What comes next, by what tells it from others.
    """

    points: list[int] = field(default_factory=list)
    branches: dict[Any, tuple[Chain, Tree]] = field(default_factory=dict)

    def measure(
        self,
        measures: Sequence[Measure],
        raw: FloatArray,
        context: Context | None,
        out: NDArray[np.float64],
        logits: FloatArray | None = None,
    ) -> None:
        """Measure all points on rows of shape (n, V), into ``out`` of shape (n, M, P).

        ``logits`` are what the steps up to here have made of the rows.
        """
        logits = raw if logits is None else logits
        if self.points:
            view = logits.view()
            view.flags.writeable = False
            for place, measure in enumerate(measures):
                out[:, place, self.points] = measure(raw, view)[:, None]
        for chain, tree in self.branches.values():
            tree.measure(measures, raw, context, out, chain(logits, context))


def tree_of(chains: Sequence[Chain], points: Sequence[int]) -> Tree:
    """Return the tree of the chains of some points."""
    root = Tree()
    for point in points:
        chain = chains[point]
        # A chain of a kind of its own, or with coins, looks ahead, and is one step here.
        is_plain = type(chain) is Chain and not chain.coins
        # Without steps it still rounds to its precision.
        parts = [chain.of(step) for step in chain.without_neutral()] if is_plain else []
        tree = root
        for part in parts or [chain]:
            _, tree = tree.branches.setdefault(_branch_key(part), (part, Tree()))
        tree.points.append(point)
    return root


def _branch_key(part: Chain) -> Any:
    try:
        hash(part)
    except TypeError:  # a transform of the user's own
        return id(part.steps[0] if len(part) == 1 else part)
    return part
