"""Temperature: how sharp the distribution is; and one that follows the entropy of the row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import Range
from logitlab.numerics import (
    cast_finite,
    rounded_log_softmax,
    scratch,
    shifted,
    torch_sums,
    weights,
)
from logitlab.steps.step import RowStep, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["DynamicTemperature", "Temperature", "dynamic_temperature", "temperature"]


def temperature(logits: ArrayLike, t: ArrayLike, *, reciprocal: bool = False) -> FloatArray:
    """Divide logits by the temperature: ``x / t``.

    The odds of two tokens become their power: ``p'_i / p'_j = (p_i / p_j) ** (1 / t)``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    t : array_like, broadcasting to the batch shape (...)
        At least 0. 1 changes nothing, below 1 sharpens, above 1 flattens. 0 is greedy: only the
        most likely token stays, the lowest id on ties.
    reciprocal : bool
        Whether to multiply by ``1 / t``, rounded, instead: that differs by rounding only.

    Returns
    -------
    ndarray, shape (..., V)
        No temperature is too small: where a quotient would overflow the dtype, the row is shifted
        so that its largest logit is 0, and what is still too low keeps its order at the lower end.

    Raises
    ------
    ParameterError
        If a temperature is negative, not finite, or does not broadcast.

    Notes
    -----
    Engines differ at the small end: vLLM raises temperatures below 0.01 to 0.01, SGLang treats
    those below 1e-6 as greedy. llama.cpp and mlx-lm apply temperature after the truncations.

    References
    ----------
    D. Ackley, G. Hinton and T. Sejnowski, "A Learning Algorithm for Boltzmann Machines", 1985.

    Examples
    --------
    >>> temperature([2.0, 1.0, 0.0], 0.5)
    array([4., 2., 0.])
    >>> temperature([[2.0, 1.0], [2.0, 1.0]], [0.0, 2.0])
    array([[ 2. , -inf],
           [ 1. ,  0.5]])
    """
    return Temperature(t, reciprocal)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Temperature(RowStep):
    """The step `temperature` with its value chosen.

    Examples
    --------
    >>> Temperature(0.5)([2.0, 1.0])
    array([4., 2.])
    """

    t: ArrayLike
    reciprocal: bool = option(False)

    key: ClassVar[str] = "temperature"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 1.0

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``x / t``, and for 0 the most likely token alone."""
        return _tempered(rows, value, dtype, self.reciprocal)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """At 0 keep the first of equal maxima by order, not by id."""
        if value == 0:
            candidates.take_best()
        return bool(value == 0)


def dynamic_temperature(
    logits: ArrayLike,
    spread: ArrayLike,
    temperature: float = 1.0,
    exponent: float = 1.0,
    *,
    least: float = 0.0,
) -> FloatArray:
    """Divide logits by a temperature that follows the entropy: hot where the model is unsure.

    With the entropy ``H = -sum_j p_j ln p_j`` of n tokens, ``low = max(0, temperature - spread)``
    and ``high = max(0, temperature + spread)`` it is ``low + (high - low) (H / ln n) ** exponent``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        Tokens already removed do not count among the n.
    spread : array_like, broadcasting to the batch shape (...)
        Any finite number. 0 is `temperature` alone; a negative one turns the map round, so that a
        sure model is hot.
    temperature : float
        The middle, at least 0.
    exponent : float
        Any finite number. 0 gives ``high`` everywhere; a negative one makes sure rows hotter than
        that, up to uniform ones where the entropy is 0.
    least : float
        What is below is raised to this.

    Returns
    -------
    ndarray, shape (..., V)
        A temperature of 0 is greedy, as in `temperature`; a row with one token left is what it was,
        up to a factor.

    Raises
    ------
    ParameterError
        If a value is not finite, or the spread does not broadcast, or temperature or ``least`` is
        negative.

    Notes
    -----
    In llama.cpp n are all candidates, those that a mask put at ``-inf`` as well: `SortedChain`
    counts so; a spread below 0 is off there. KoboldCpp takes a negative exponent for 0 and divides
    by a temperature of 0, which leaves NaN. Aphrodite and text-generation-webui give both ends:
    `DynamicTemperature.between`; Aphrodite's least temperature is 1e-5. exllamav2 does it last.

    References
    ----------
    kalomaze, "Dynamic temperature", https://github.com/LostRuins/koboldcpp/pull/600;
    https://github.com/ggml-org/llama.cpp/pull/4972

    Examples
    --------
    A row of two equal tokens has all the entropy that it can have:

    >>> dynamic_temperature([2.0, 2.0, -np.inf], 0.5, 1.5)
    array([  1.,   1., -inf])
    >>> dynamic_temperature([1000.0, 0.0], 0.5, 1.5)
    array([1000.,    0.])
    """
    return DynamicTemperature(spread, temperature, exponent, least)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class DynamicTemperature(RowStep):
    """The step `dynamic_temperature` with its values chosen.

    Examples
    --------
    >>> DynamicTemperature(0.5, temperature=1.5)([2.0, 2.0])
    array([1., 1.])
    >>> DynamicTemperature.between(1.0, 2.0)
    DynamicTemperature(0.5, temperature=1.5)
    """

    spread: ArrayLike
    temperature: float = option(1.0, rule=Range(0))
    exponent: float = option(1.0, rule=Range(), name="dynatemp_exponent")
    least: float = option(0.0, rule=Range(0))

    key: ClassVar[str] = "dynatemp_range"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[None] = None

    @classmethod
    def between(
        cls, low: float, high: float, exponent: float = 1.0, *, least: float = 0.0
    ) -> DynamicTemperature:
        """Return the step that goes from ``low``, where the model is sure, to ``high``."""
        return cls((high - low) / 2, (low + high) / 2, exponent, least)

    @property
    def is_neutral(self) -> bool:
        """Whether the temperature is 1, whatever the row."""
        return bool(np.all(self.value == 0) and self.temperature == 1 and self.least <= 1)

    def temperature_of(self, evenness: NDArray[Any], value: NDArray[Any]) -> NDArray[Any]:
        """Return the temperature of rows whose entropy is this part of the greatest.

        Operations are made, and rounded, in the dtype of the evenness.
        """
        dtype = evenness.dtype.type
        middle, spread = dtype(self.temperature), value.astype(dtype)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            low, high = np.maximum(middle - spread, 0), np.maximum(middle + spread, 0)
            # A float64 function, rounded once, is what the C library gives.
            power = np.power(evenness.astype(np.float64), self.exponent).astype(dtype)
            t = np.where(low == high, low, low + (high - low) * power)
        return np.asarray(np.clip(t, dtype(self.least), np.finfo(dtype).max))

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``x / t`` for the temperature of each row."""
        evenness = _evenness(rows) if dtype == np.float64 else _rounded_evenness(rows)
        return _tempered(rows, self.temperature_of(evenness, value).astype(dtype), dtype)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and divide by the temperature; candidates at ``-inf`` count among the n."""
        if len(candidates.order) < 2:
            return True
        t = self.temperature_of(np.asarray(candidates.evenness()), np.asarray(value))
        if t == 0:
            candidates.take_best()
        else:
            candidates.row = _tempered(candidates.row[None], t.reshape(1, 1), np.float32)[0]
        return True


def _evenness(rows: FloatArray) -> NDArray[np.float64]:
    """Return what part of the greatest entropy each row has, shape (n, 1)."""
    weight, depth = weights(rows), -shifted(rows)
    # Running sums, to whose rounding removed tokens add nothing, wherever they stand.
    total = np.cumsum(weight, axis=-1)[:, -1:]
    np.multiply(weight, depth, out=depth, where=weight > 0)
    depth[weight == 0] = 0
    entropy = np.log(total) + np.cumsum(depth, axis=-1)[:, -1:] / total
    most = np.log((rows > -np.inf).sum(axis=-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(most > 0, np.minimum(entropy / most, 1), 0)


def _rounded_evenness(rows: FloatArray) -> NDArray[np.float32]:
    """Return the same in float32, each operation rounded as in torch."""
    logprobs = rounded_log_softmax(rows)
    probs = np.exp(logprobs.astype(np.float64)).astype(np.float32)
    terms = np.where(probs > 0, probs * np.where(probs > 0, logprobs, 0), 0)
    entropy = -torch_sums(terms)
    most = np.log((rows > -np.inf).sum(axis=-1, keepdims=True)).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(most > 0, entropy / most, np.float32(0))


def _tempered(
    rows: FloatArray, value: NDArray[Any], dtype: type[Any], reciprocal: bool = False
) -> FloatArray:
    """Return rows divided by temperatures of shape (n, 1) or (1, 1)."""
    greedy = value.astype(dtype) == 0
    divisor = np.where(greedy, 1, value)
    wide = scratch(rows.shape, np.float64)
    wide[...] = rows
    with np.errstate(over="ignore"):
        if reciprocal:
            # Where 1 / t overflows, the quotient does not.
            factor = (1 / divisor).astype(dtype)
            finite = np.isfinite(factor)
            np.multiply(wide, factor, out=wide, where=finite)
            np.divide(wide, divisor.astype(dtype), out=wide, where=~finite)
        else:
            wide /= divisor.astype(dtype)
        scaled: FloatArray = wide.astype(rows.dtype)
    if not np.isfinite(scaled).all():
        far = (np.isinf(scaled) != np.isinf(rows)).any(axis=-1)
        scaled[far] = _within_reach(rows[far], divisor[far] if len(divisor) > 1 else divisor)
    if greedy.any():
        first = np.arange(rows.shape[-1]) == rows.argmax(axis=-1)[:, None]
        scaled = np.where(greedy, np.where(first, rows, -np.inf), scaled).astype(rows.dtype)
    return scaled


def _within_reach(rows: FloatArray, t: NDArray[Any]) -> FloatArray:
    """Return ``rows / t`` without overflow.

    A row whose largest quotient would overflow float64 is shifted first. What is then too low has
    probability 0, and is squeezed, in order, into the lower half of what float64 can hold.
    """
    wide = rows.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    reach = np.finfo(np.float64).max
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        base = np.where(np.isinf(top / t), top, 0)
        quotient = (wide - base) / t
        far = np.isinf(quotient) & np.isfinite(wide)
        if far.any():
            # Halved, so that not even the gap between the two ends of float64 overflows.
            depth = base / 2 - wide / 2
            start = reach / 4 * t
            deepest = depth.max(axis=-1, keepdims=True, where=wide > -np.inf, initial=0)
            low = -reach * (0.5 + 0.5 * (depth - start) / (deepest - start))
            squeezed = far.any(axis=-1, keepdims=True) & (depth > start) & (wide > -np.inf)
            quotient = np.where(squeezed, low, quotient)
    return cast_finite(quotient, rows.dtype)
