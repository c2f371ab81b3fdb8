"""What is drawn: one row of logits, or the stages of one, out of whatever was given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, Range, Seen, check_integer
from logitlab.generation.result import Generation
from logitlab.numerics import softmax
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Stages", "row_of", "stages_of", "top_of"]


class Stages(NamedTuple):
    """Stages of one row: names, and logits of shape (S, V)."""

    names: tuple[str, ...]
    logits: FloatArray

    @property
    def probs(self) -> NDArray[np.float64]:
        """Probabilities: float64, shape (S, V)."""
        return softmax(self.logits)

    @property
    def summary(self) -> str:
        """What is left in the end, and what was removed since the beginning, in words.

        Examples
        --------
        >>> Stages(("before", "after"), np.log([[0.5, 0.5], [1e-9, 0.5]])).summary
        '2 of 2 kept, 0.000 removed, entropy 0.00 nats'
        """
        first, last = self.logits[0], self.logits[-1]
        removed = (
            f", {metrics.mass_removed(first, last):.3f} removed" if len(self.names) > 1 else ""
        )
        kept = f"{metrics.support_size(last)} of {len(last)} kept{removed}"
        return f"{kept}, entropy {metrics.entropy(last):.2f} nats"


def row_of(logits: Any, name: str = "logits") -> FloatArray:
    """Return one row of logits, shape (V,), or raise `ParameterError`."""
    array = check_logits(logits, name)
    if array.ndim != 1:
        raise ParameterError(
            name,
            "one row of shape (V,)",
            Seen(f"shape {array.shape}"),
            f"Take one row: {name}[0].",
        )
    return array


def stages_of(source: Any, position: int = 0, before: Any = None) -> Stages:
    """Return the stages of a trace, of one token of a generation, or of plain logits.

    Parameters
    ----------
    source : Trace, Generation or array_like of shape (V,)
    position : int
        Which token of a generation; negative ones count from the end.
    before : array_like of shape (V,), optional
        Where the source is an array: the stage before it.
    """
    if isinstance(source, Generation):
        source = _trace_of(source, position)
    elif check_integer("position", position, Range(integer=True)):
        raise ParameterError("position", "left out where there is no generation", position)
    if isinstance(source, Trace):
        if before is not None:
            raise ParameterError("before", "None beside a trace, which has it", Seen("an array"))
        if source.logits.ndim != 2:
            raise ParameterError(
                "trace",
                "one row's, with logits of shape (S, V)",
                Seen(f"logits of shape {source.logits.shape}"),
                "Trace one row: chain.trace(logits[0]).",
            )
        return Stages(source.names, source.logits)
    row = row_of(source)
    if before is None:
        return Stages(("logits",), row[None])
    first = row_of(before, "before")
    if first.shape != row.shape:
        raise ParameterError(
            "before", f"of the shape of the logits, {row.shape}", Seen(f"shape {first.shape}")
        )
    return Stages(("before", "after"), np.stack([first, row]))


def _trace_of(generation: Generation, position: int) -> Trace:
    if generation.traces is None:
        raise ParameterError("generation", "made with trace=True", generation)
    places = Range(-len(generation.traces), len(generation.traces) - 1, integer=True)
    return generation.traces[check_integer("position", position, places)]


def top_of(probs: NDArray[np.float64], top: int) -> IntArray:
    """Return the most likely tokens of any stage, most likely first, the lower id on ties.

    Parameters
    ----------
    probs : ndarray, shape (S, V)
    top : int
        How many at most, 1 to 200.

    Raises
    ------
    ParameterError
        For another number of tokens.
    """
    count = check_integer("top", top, Range(1, 200, integer=True))
    best = probs.max(axis=0)
    order: IntArray = np.argsort(-best, kind="stable")[: min(count, np.count_nonzero(best))]
    return order
