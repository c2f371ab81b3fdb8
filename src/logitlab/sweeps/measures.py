"""What a sweep measures: the metrics of `logitlab.metrics` by name, and functions of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Seen
from logitlab.numerics import FloatArray
from numpy.typing import NDArray

__all__ = ["MEASURES", "Measure", "Metrics", "resolve"]

Metrics: TypeAlias = "str | Callable[..., Any] | Sequence[str | Callable[..., Any]]"


@dataclass(frozen=True)
class Measure:
    """One number of each row: a function of its final logits, and perhaps of the raw ones.

    Attributes
    ----------
    name : str
        What the result calls it.
    unit : str
        "nats", "tokens", "probability", or "" where it is not known.
    function : callable
        ``function(final)``, or ``function(raw, final)`` with ``pair``.
    pair : bool
        Whether it compares with the logits as they were given.
    shared : bool
        Whether it is known for every prefix of a sorted row at once.
    range : {"unit", "nats", "tokens", ""}
        Where its values lie: in [0, 1], [0, ln V] or [1, V].
    """

    name: str
    unit: str
    function: Callable[..., Any]
    pair: bool = False
    shared: bool = False
    range: str = ""

    def __call__(self, raw: FloatArray, final: FloatArray) -> NDArray[np.float64]:
        """Return the numbers of some rows, both of shape (n, V)."""
        found = self.function(raw, final) if self.pair else self.function(final)
        try:
            values = np.asarray(found, np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (len(final),):
            rule = "a function from logits (n, V) to n numbers, one for each row"
            seen = Seen(f"a result of shape {np.shape(found)} for {len(final)} rows")
            raise ParameterError(f"metrics, {self.name}", rule, seen)
        return values

    def bounds(self, size: int) -> tuple[float, float] | None:
        """Return the ends of its range for V tokens, or None where they are not known."""
        ends = {"unit": (0.0, 1.0), "nats": (0.0, float(np.log(size))), "tokens": (1.0, size)}
        return ends.get(self.range)


def _against_raw(measure: Callable[..., Any], raw: FloatArray, final: FloatArray) -> Any:
    return measure(final, raw)


_KNOWN = (
    Measure("entropy", "nats", metrics.entropy, shared=True, range="nats"),
    Measure("perplexity", "tokens", metrics.perplexity, shared=True, range="tokens"),
    Measure("support_size", "tokens", metrics.support_size, shared=True, range="tokens"),
    Measure("top_probability", "probability", metrics.top_probability, shared=True, range="unit"),
    Measure("mass_removed", "probability", metrics.mass_removed, True, True, "unit"),
    Measure("agreement", "probability", metrics.agreement, True, True, "unit"),
    Measure("kl_divergence", "nats", partial(_against_raw, metrics.kl_divergence), True),
    Measure("js_divergence", "nats", metrics.js_divergence, True, range=""),
    Measure("total_variation", "probability", metrics.total_variation, True, range="unit"),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _KNOWN}
"""The metrics that a sweep knows by name."""
MEASURES["support"] = dataclasses.replace(MEASURES["support_size"], name="support")

_BY_FUNCTION = {
    getattr(metrics, name): measure for name, measure in MEASURES.items() if hasattr(metrics, name)
}


def resolve(wanted: Metrics, known: Mapping[str, Measure] = MEASURES) -> tuple[Measure, ...]:
    """Return the measures that names and functions stand for, or raise `ParameterError`."""
    each = [wanted] if isinstance(wanted, str) or callable(wanted) else wanted
    if not isinstance(each, Sequence) or not each:
        raise ParameterError("metrics", "a name, a function, or a sequence of those", wanted)
    found: list[Measure] = []
    for entry in each:
        if isinstance(entry, str) and entry in known:
            measure = known[entry]
        elif callable(entry):
            measure = _BY_FUNCTION.get(entry) or _own(entry)
        else:
            names = ", ".join(map(repr, known))
            raise ParameterError("metrics", f"functions, or among {names}", entry)
        if any(measure.name == other.name for other in found):
            raise ParameterError("metrics", "of different names", measure.name)
        found.append(measure)
    return tuple(found)


def _own(function: Callable[..., Any]) -> Measure:
    name = getattr(function, "__name__", type(function).__name__)
    return Measure(name, str(getattr(function, "unit", "")), function)
