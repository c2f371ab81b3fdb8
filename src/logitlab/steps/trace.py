"""What a chain makes of logits, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray
from numpy.typing import NDArray

__all__ = ["Trace"]


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Every stage of a chain: one array, so that every metric works on it.

    Attributes
    ----------
    chain : Chain
        The program.
    logits : ndarray, shape (S, ..., V)
        Stage 0 holds the logits as given, stage i what step i made of them.
    notes : tuple of Note
        What the engine ignored, changed or filled in, where a request was traced.
    """

    chain: Any
    logits: FloatArray
    notes: tuple[Any, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names: "logits", then the steps as they print."""
        return ("logits", *map(repr, self.chain))

    @cached_property
    def kept(self) -> IntArray:
        """Number of survivors at every stage: int64, shape (S, ...)."""
        return metrics.support_size(self.logits)

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy at every stage in nats: float64, shape (S, ...)."""
        return metrics.entropy(self.logits)

    @cached_property
    def mass_removed(self) -> NDArray[np.float64]:
        """Probability that each step took from the distribution before it.

        float64, shape (S, ...); stage 0 removes nothing.
        """
        removed = np.zeros(self.logits.shape[:-1])
        removed[1:] = metrics.mass_removed(self.logits[:-1], self.logits[1:])
        return removed

    def __repr__(self) -> str:
        return f"<Trace of {self.chain!r}, logits {self.logits.shape} {self.logits.dtype}>"
