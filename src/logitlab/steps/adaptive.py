"""Adaptive-p: tokens near a probability come up, and the target follows what was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import Range
from logitlab.numerics import probabilities
from logitlab.steps.state import Course, finite
from logitlab.steps.step import RowStep, StatefulStep, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["AdaptiveP", "NearProbability", "near_probability"]

_WIDTH = 0.3
_PEAK = 5.0
_SHARPNESS = 10.0
_LARGEST_DECAY = 0.99

MEMORIES = {
    "before": Words("what is left", "remembers probabilities as the steps before left them"),
    "model": Words("the model's", "remembers the model's own probabilities"),
}


def near_probability(logits: ArrayLike, target: ArrayLike, *, at_least: float = 0.0) -> FloatArray:
    """Prefer tokens whose probability is near to a target, whatever their place among the others.

    With ``d_i = |p_i - a| / 0.3`` the new logits are ``5 - 10 d_i^2 / (1 + d_i)``: near the target
    a parabola, far from it a slope.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        Removed tokens stay removed.
    target : array_like, broadcasting to the batch shape (...)
        a, at most 1. Below 0 it changes nothing.
    at_least : float
        Tokens less likely than this are removed, but for the most likely one.

    Returns
    -------
    ndarray, shape (..., V)
        At most 5.

    Raises
    ------
    ParameterError
        If a value is out of its range, or does not broadcast.

    Notes
    -----
    Tokens of no probability are not removed: there are many, and with a target near 0 each is as
    likely as the one at the target. So a truncation belongs in front of it.

    References
    ----------
    MrJackSpade and ddh0, https://github.com/ggml-org/llama.cpp/pull/17927

    Examples
    --------
    >>> near_probability(np.log([0.5, 0.3, 0.2]), 0.3).round(2)
    array([2.33, 5.  , 4.17])
    """
    return NearProbability(target, at_least)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class NearProbability(RowStep):
    """The step `near_probability` with its value chosen: `AdaptiveP` in one of its states.

    Examples
    --------
    >>> NearProbability(1.0)([0.0, -np.inf])
    array([  5., -inf])
    """

    target: ArrayLike
    at_least: float = option(0.0, rule=Range(0, 1))

    key: ClassVar[str] = "adaptive_target"
    rule: ClassVar[Range] = Range(high=1)
    neutral: ClassVar[float] = -1.0

    @property
    def is_neutral(self) -> bool:
        """Whether every target is below 0."""
        return bool((np.asarray(self.target) < 0).all())

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``5 - 10 d^2 / (1 + d)``, and rows whose target is below 0 as they are."""
        probs = probabilities(rows, dtype)
        removed = rows == -np.inf
        if self.at_least:
            rare = probs < dtype(self.at_least)
            removed = removed | (rare & (probs < probs.max(axis=-1, keepdims=True)))
        near = np.where(removed, -np.inf, _nearness(probs, value.astype(dtype)))
        return np.where(value < 0, rows, near.astype(rows.dtype))

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Take the probabilities as they add up in the order of the candidates."""
        if value >= 0:
            candidates.reshape(lambda probs: _nearness(probs, np.float32(value)))
        return True


def _nearness(probs: FloatArray, target: Any) -> FloatArray:
    dtype = probs.dtype.type
    far = np.abs((probs - target) * (dtype(1) / dtype(_WIDTH)))
    return np.asarray(dtype(_PEAK) - dtype(_SHARPNESS) * far * far / (1 + far))


@dataclass(frozen=True, eq=False, repr=False)
class AdaptiveP(StatefulStep):
    """Adaptive-p: `near_probability` at a target that makes up for what was drawn.

    The state is a sum of the probabilities of drawn tokens and a sum of weights, older ones
    weighing less: after a token of probability q

        ``weighted_sum = q + decay weighted_sum``, ``total_weight = 1 + decay total_weight``,

    and the next token is drawn near ``2 target - weighted_sum / total_weight``, in [0, 1]. At first
    they are ``target / (1 - decay)`` and ``1 / (1 - decay)``, as if the target had been drawn for
    ever, with a decay of at most 0.99.

    Parameters
    ----------
    target : array_like, broadcasting to the batch shape (...)
        The probability to aim at, at most 1. Below 0 it changes nothing.
    decay : float
        In [0, 1]: 0 remembers the last token alone.
    memory : {"before", "model"}
        Whether q is the probability in what this step was given, or in the model's own
        distribution, before any step and any constraint.
    at_least : float
        As of `near_probability`.

    Raises
    ------
    ParameterError
        If a value is out of its range.

    Notes
    -----
    It has the last word: what follows it would see its logits, which are no log-probabilities of
    the model. llama.cpp runs it last wherever ``samplers`` names it, and only if it does.
    KoboldCpp remembers the model's own probabilities. exllamav3 removes what is rarer than 1e-8,
    and a target of 1 switches it off there.

    References
    ----------
    MrJackSpade and ddh0, https://github.com/ggml-org/llama.cpp/pull/17927

    Examples
    --------
    >>> step = AdaptiveP(0.3, decay=0.5)
    >>> state = step.init()
    >>> state, step.at(state)
    ({'weighted_sum': 0.6, 'total_weight': 2.0}, NearProbability(0.3))
    >>> step.at(step.update(state, np.log(0.5)))
    NearProbability(0.19999999999999996)
    """

    target: ArrayLike
    decay: float = option(0.9, rule=Range(0, 1), name="adaptive_decay")
    memory: str = option("before", MEMORIES)
    at_least: float = option(0.0, rule=Range(0, 1))

    key: ClassVar[str] = "adaptive_target"
    name: ClassVar[str] = "adaptive_p"
    states: ClassVar[tuple[str, ...]] = ("weighted_sum", "total_weight")
    rule: ClassVar[Range] = Range(high=1)
    neutral: ClassVar[float] = -1.0

    @property
    def is_neutral(self) -> bool:
        """Whether every target is below 0."""
        return bool((np.asarray(self.target) < 0).all())

    @property
    def observes(self) -> str:
        """What it was given, or the model's own distribution."""
        return self.memory

    def init(self, dtype: type[Any] = np.float64) -> dict[str, Any]:
        """Return the sums of a long past in which the target was drawn."""
        rest = dtype(1) - dtype(min(self.decay, _LARGEST_DECAY))
        with np.errstate(over="ignore"):  # a target far below 0, which changes nothing
            past = finite(self.target, dtype) / rest
        return {"weighted_sum": finite(past, dtype).tolist(), "total_weight": (1 / rest).tolist()}

    def at(self, state: Mapping[str, Any], dtype: type[Any] = np.float64) -> RowStep:
        """Return the step at the target that makes up for the past."""
        target = np.clip(finite(self.target, dtype), 0, 1)
        weighted_sum, total = (finite(state[name], dtype) for name in self.states)
        with np.errstate(over="ignore"):
            past = weighted_sum / np.where(total == 0, dtype(1), total)
        aim = np.clip(np.where(total == 0, target, 2 * target - past), 0, 1)
        aim = np.where(np.asarray(self.target) < 0, self.neutral, aim)
        return NearProbability(aim.tolist(), self.at_least)

    def update(
        self, state: Mapping[str, Any], logprob: Any, dtype: type[Any] = np.float64
    ) -> dict[str, Any]:
        """Return the next sums."""
        decay, q = dtype(self.decay), np.exp(np.asarray(logprob, np.float64)).astype(dtype)
        weighted_sum, total_weight = (finite(state[name], dtype) for name in self.states)
        with np.errstate(over="ignore"):
            sums = q + decay * weighted_sum, 1 + decay * total_weight
        return {name: finite(x, dtype).tolist() for name, x in zip(self.states, sums, strict=True)}

    def course(self, states: Mapping[str, Any], logprobs: FloatArray) -> Course:
        """Return the aim and the probability of each token, and the target."""
        aims = np.asarray(self.at(states).value)
        target = float(self.target)  # type: ignore[arg-type]
        return Course("probability", np.exp(logprobs), aims, "aim", target, "target")
