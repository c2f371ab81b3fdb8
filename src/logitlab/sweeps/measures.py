"""What a sweep measures: the metrics of `logitlab.metrics` by name, and functions of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from logitlab import metrics
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Seen, suggestion
from numpy.typing import NDArray

__all__ = ["MEASURES", "Measure", "Metrics", "measures_of", "numbers_of"]

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
        values = self.function(raw, final) if self.pair else self.function(final)
        rule = "a function from logits (n, V) to n numbers, one for each row"
        return numbers_of(self, values, (len(final),), rule, f"{len(final)} rows")

    def bounds(self, size: int) -> tuple[float, float] | None:
        """Return the ends of its range for V tokens, or None where they are not known."""
        ends = {"unit": (0.0, 1.0), "nats": (0.0, float(np.log(size))), "tokens": (1.0, size)}
        return ends.get(self.range)


def numbers_of(
    measure: Measure, values: Any, shape: tuple[int, ...], rule: str, source: str
) -> NDArray[np.float64]:
    """Return what a function came to as numbers of a shape, or raise `ParameterError`."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != shape:
        seen = Seen(f"a result of shape {np.shape(values)} for {source}")
        raise ParameterError(f"metrics, {measure.name}", rule, seen)
    return numbers


def _kl_divergence_from_raw(raw: FloatArray, final: FloatArray) -> Any:
    return metrics.kl_divergence(final, raw)


_METRICS = (
    Measure("entropy", "nats", metrics.entropy, shared=True, range="nats"),
    Measure("perplexity", "tokens", metrics.perplexity, shared=True, range="tokens"),
    Measure("support_size", "tokens", metrics.support_size, shared=True, range="tokens"),
    Measure("top_probability", "probability", metrics.top_probability, shared=True, range="unit"),
    Measure("mass_removed", "probability", metrics.mass_removed, True, True, "unit"),
    Measure("agreement", "probability", metrics.agreement, True, True, "unit"),
    Measure("kl_divergence", "nats", _kl_divergence_from_raw, True),
    Measure("js_divergence", "nats", metrics.js_divergence, True, range=""),
    Measure("total_variation", "probability", metrics.total_variation, True, range="unit"),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _METRICS}
"""The metrics that a sweep knows by name."""
MEASURES["support"] = dataclasses.replace(MEASURES["support_size"], name="support")

_BY_FUNCTION = {
    getattr(metrics, name): measure for name, measure in MEASURES.items() if hasattr(metrics, name)
}


def measures_of(names: Metrics, table: Mapping[str, Measure] = MEASURES) -> tuple[Measure, ...]:
    """Return the measures that names and functions stand for, or raise `ParameterError`."""
    entries = [names] if isinstance(names, str) or callable(names) else names
    if not isinstance(entries, Sequence) or not entries:
        raise ParameterError("metrics", "a name, a function, or a sequence of those", names)
    measures: dict[str, Measure] = {}
    for entry in entries:
        if isinstance(entry, str) and entry in table:
            measure = table[entry]
        elif callable(entry):
            name = getattr(entry, "__name__", type(entry).__name__)
            own = Measure(name, str(getattr(entry, "unit", "")), entry)
            measure = _BY_FUNCTION.get(entry, own)
        else:
            choices = ", ".join(map(repr, table))
            rule = f"functions, or among {choices}"
            raise ParameterError("metrics", rule, entry, suggestion(entry, table))
        if measure.name in measures:
            raise ParameterError("metrics", "of different names", measure.name)
        measures[measure.name] = measure
    return tuple(measures.values())
