"""What is drawn: one row of logits, or the stages of one, and the request that made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any, NamedTuple

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, Range, Seen, check_integer
from logitlab.generation.result import Generation
from logitlab.numerics import softmax
from logitlab.plot.labels import legible
from logitlab.plot.ticks import count, decimal, share
from logitlab.steps.step import Step, Transform
from logitlab.steps.trace import Trace
from numpy.typing import NDArray

__all__ = ["Stages", "request_words", "row_of", "stages_of", "top_of"]

_MOST_KEYS = 7  # of a request, in a title
_LONGEST = 16  # characters of a value there


class Stages(NamedTuple):
    """Stages of one row: names, logits of shape (S, V), and the steps between them, if known."""

    names: tuple[str, ...]
    logits: FloatArray
    steps: tuple[Transform, ...] = ()

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
        '2 of 2 tokens kept, nothing removed, entropy 0.00 nats'
        """
        first, last = self.logits[0], self.logits[-1]
        removed = ""
        if len(self.names) > 1:
            gone = float(metrics.mass_removed(first, last))
            removed = f", {share(gone)} of the probability" if gone else ", nothing"
            removed += " removed"
        kept = f"{count(metrics.support_size(last))} of {count(len(last))} tokens kept{removed}"
        return f"{kept}, entropy {metrics.entropy(last):.2f} nats"


def request_words(request: Mapping[Any, Any] | Iterable[Transform]) -> str:
    """Return a request, or the steps of a chain, as a title says it: names and values.

    Of a long value it says how long it is.

    Examples
    --------
    >>> from logitlab import Temperature, TypicalP, Xtc
    >>> request_words({"temperature": 2, "logit_bias": {7: 1.0}, "p_less": True})
    'temperature 2, logit_bias of 1, p_less'
    >>> request_words([Temperature(0.8), TypicalP(0.9), Xtc(0.5)])
    'temperature 0.8, typical_p 0.9, Xtc(0.5)'
    >>> request_words({})
    'no parameters'
    """
    if isinstance(request, Mapping):
        parts = [_part(str(key), value) for key, value in request.items()]
    else:
        parts = [_step(step) for step in request]
    parts = [
        part if len(part) <= 2 * _LONGEST else f"{part[: 2 * _LONGEST - 1]}…" for part in parts
    ]
    if len(parts) > _MOST_KEYS:
        parts = [*parts[: _MOST_KEYS - 1], f"{len(parts) - _MOST_KEYS + 1} more"]
    return legible(", ".join(parts)) or "no parameters"


def _step(step: Transform) -> str:
    is_key = isinstance(step, Step) and step.key.title().replace("_", "") == type(step).__name__
    return _part(step.key, step.value) if is_key and isinstance(step, Step) else repr(step)


def _part(key: str, value: Any) -> str:
    if value is True:
        return key
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f"{key} {decimal(float(value))}"
    if isinstance(value, Sized) and not (isinstance(value, str) and len(value) <= _LONGEST):
        return f"{key} of {len(value)}"
    return f"{key} {value}"


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
        return Stages(source.names, source.logits, tuple(source.chain))
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
