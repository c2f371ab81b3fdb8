"""What is left of a row between the steps of a chain: surely, or perhaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.steps.context import Context
from logitlab.steps.step import Transform
from logitlab.testing.rounding import EXPONENTIAL, Arithmetic, Softmax
from numpy.typing import NDArray

__all__ = ["Before", "Floats", "Left", "Stage", "Ties"]

Floats = NDArray[np.float64]
Ties: TypeAlias = Callable[[str], str]


class Before(NamedTuple):
    """How much comes before each token in a sorted row: at least, and at most."""

    least: Floats
    most: Floats


class Stage(NamedTuple):
    """What a step has decided.

    Attributes
    ----------
    step : Transform
    sure, perhaps : ndarray of bool, shape (V,)
        The tokens that are left behind it for certain, and at all.
    number : ndarray, shape (V,)
        What the step compares: the mass before a token, its place, its share of the best one.
    is_exact : bool
        Whether no rounding has a say in that number.
    """

    step: Transform
    sure: BoolArray
    perhaps: BoolArray
    number: Floats
    is_exact: bool


@dataclass
class Left:
    """A row on its way through a chain.

    Attributes
    ----------
    logits : ndarray, shape (V,)
        In float64, as the equations have them; ``-inf`` only where a row or a ban has it.
    error : ndarray, shape (V,)
        By how much an arithmetic may miss them.
    history : ndarray of int, shape (V,)
        Tokens of equal logits and equal history have the same number in any arithmetic.
    ties : callable
        From a step's rule for equal tokens to the one that holds.
    sure, perhaps : ndarray of bool, shape (V,)
        Which tokens every rounding leaves, and which some rounding leaves.
    common : float
        A relative error that all probabilities may share.
    ranks_probs : bool
        Whether the sampler tells the most likely tokens by probabilities, not by logits.
    exceeds_p : bool
        Whether a nucleus goes on until its mass exceeds p, as Ollama's does whatever a step says.
    stages : list of Stage
        What each cut has decided so far.
    """

    logits: Floats
    error: Floats
    history: IntArray
    sure: BoolArray
    perhaps: BoolArray
    arithmetic: Arithmetic
    context: Context | None
    ties: Ties
    common: float = 0.0
    ranks_probs: bool = False
    exceeds_p: bool = False
    stages: list[Stage] = field(default_factory=list)

    @classmethod
    def of(
        cls, row: Any, context: Context | None, arithmetic: Arithmetic, ties: Ties = str
    ) -> Left:
        """Return a row as it enters a chain."""
        logits = np.asarray(row, np.float64)
        left = logits > -np.inf
        history = np.zeros(logits.shape, np.int64)
        return cls(
            logits, np.zeros_like(logits), history, left, left.copy(), arithmetic, context, ties
        )

    @property
    def masked(self) -> Floats:
        """The logits of what is perhaps left."""
        return np.where(self.perhaps, self.logits, -np.inf)

    @property
    def tied(self) -> BoolArray:
        """Which tokens any arithmetic takes for as good as one of the best."""
        best = int(self.masked.argmax())
        same = (self.logits == self.logits[best]) & (self.history == self.history[best])
        return np.asarray(same & self.perhaps)

    def softmax(self, among: BoolArray | None = None) -> Softmax:
        """Return the weights of what is perhaps left, or of some of it."""
        if among is not None:
            return replace(self, perhaps=among).softmax()
        return Softmax(self.masked, self.error, self.tied, self.common, self.arithmetic)

    def radius(self, soft: Softmax) -> Floats:
        """Return how far a logit is from those that have another probability for certain.

        Probabilities that are too small for the arithmetic are all alike.
        """
        deepest = np.log(self.arithmetic.tiny * soft.total)
        radius = self.error + self.arithmetic.unit * (np.abs(soft.gap) + EXPONENTIAL)
        return np.where(self.perhaps, np.maximum(radius, deepest - soft.gap), 0.0)

    def decide(
        self, step: Any, sure: BoolArray, perhaps: BoolArray, number: Any, exact: bool
    ) -> None:
        """Take off what a cut removes."""
        self.sure = self.sure & sure
        self.perhaps = self.perhaps & perhaps
        numbers = np.broadcast_to(np.asarray(number, np.float64), self.logits.shape)
        self.stages.append(Stage(step, self.sure, self.perhaps, numbers, exact))

    def before(self, weight: Floats, radius: FloatArray, ties: str) -> Before:
        """Return how much weight comes before each token, most likely first.

        A token whose logit is further than both their radii above another's comes before it; within
        that, it may. Of tokens that are equal in any arithmetic the rule of ties tells which does.

        Parameters
        ----------
        weight, radius : ndarray, shape (V,)
        ties : {"lowest", "highest", "all", "introsort"}
            "all" lets none of them come before another; with "introsort" any may.
        """
        ties = self.ties(ties)
        ids = np.flatnonzero(self.perhaps)
        tie = -ids if ties == "highest" else ids
        ids = ids[np.lexsort((tie, self.history[ids], -self.logits[ids]))]
        x, r, w = self.logits[ids], radius[ids], weight[ids]
        surely = w * self.sure[ids]
        first = np.append(True, (np.diff(x) != 0) | (np.diff(self.history[ids]) != 0))
        start = np.flatnonzero(first)[np.cumsum(first) - 1]
        end = np.append(np.flatnonzero(first)[1:], len(ids))[np.cumsum(first) - 1]
        upto = np.append(0, np.cumsum(w))
        surely_upto = np.append(0, np.cumsum(surely))
        apart = first[1:].nonzero()[0] + 1
        if (x[apart - 1] - r[apart - 1] > x[apart] + r[apart]).all():
            least, most = surely_upto[start], upto[start]
        else:
            least = _mass_above(x - r, surely, x + r, "left")
            most = _mass_above(x + r, w, x - r, "right") - (upto[end] - upto[start])
        here = np.arange(len(ids))
        if ties in ("lowest", "highest"):
            least = least + surely_upto[here] - surely_upto[start]
            most = most + upto[here] - upto[start]
        elif ties != "all":
            most = most + upto[end] - upto[start] - w
        result = Before(np.full(len(weight), np.inf), np.full(len(weight), np.inf))
        result.least[ids], result.most[ids] = least, np.maximum(most, least)
        return result


def _mass_above(of: Floats, weight: Floats, bound: Floats, side: Any) -> Floats:
    """Return how much weight has a number above each bound, or at it where the side is right."""
    order = np.argsort(-of, kind="stable")
    upto = np.append(0, np.cumsum(weight[order]))
    return np.asarray(upto[np.searchsorted(-of[order], -bound, side)])
