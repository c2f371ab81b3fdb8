"""A chain between bounds: which tokens it leaves whatever a sampler's arithmetic rounds.

Every step is run in float64 as its equation says, with a bound of what rounding can do to each
number, as `logitlab.testing.rounding` derives it. A cut then has three answers: a token stays,
goes, or may do either. What may do either goes on as such, and widens what later steps allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from logitlab.arrays import BoolArray
from logitlab.checks import ParameterError
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff, PLess
from logitlab.steps.normalisation import LogSoftmax
from logitlab.steps.penalties import RepetitionPenalty
from logitlab.steps.step import SparseStep, Transform
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.testing.left import Floats, Left
from logitlab.testing.rounding import ARITHMETIC, EXPONENTIAL, Softmax, gamma

__all__ = ["bounds", "check_chain"]


def check_chain(chain: Chain) -> Chain:
    """Return a chain without the steps that do nothing, if the bounds know all others.

    Raises
    ------
    ParameterError
        For a step with a coin or a state, or one whose rounding has no bound here.
    """
    chain = chain.without_neutral()
    for step in chain:
        if _rule_of(step) is None:
            names = ", ".join(kind.__name__ for kind in _RULES)
            hint = f"There are bounds for {names}, and for what edits few tokens."
            raise ParameterError("like", "of steps whose rounding has a bound", step, hint)
        if isinstance(getattr(step, "value", None), np.ndarray):
            raise ParameterError("like", "one request, with one value for each key", step)
    return chain


def bounds(
    chain: Chain, row: Any, context: Context | None, arithmetic: str, counting: bool = False
) -> Left:
    """Return what a chain leaves of a row, shape (V,), between bounds.

    Parameters
    ----------
    chain : Chain
    row : array_like, shape (V,)
    context : Context or None
    arithmetic : str
        What a sampler computes in: a key of `ARITHMETIC`.
    counting : bool
        Whether it is only to tell how many tokens stay. Where any of equal tokens may, as a sort
        leaves them, the lowest ids stand for them.
    """
    free = isinstance(chain, SortedChain)  # whose order of candidates is that of no id

    def ties(rule: str) -> str:
        if free or rule == "introsort":
            return "lowest" if counting else "introsort"
        return rule

    left = Left.of(row, context, ARITHMETIC[arithmetic], ties)
    left.ranks_probs = getattr(chain, "sorts", "") == "probs"
    left.exceeds_p = getattr(chain, "like", "") == "ollama"
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        for step in chain:
            rule = _rule_of(step)
            if rule is not None:
                rule(left, step)
    return left


def _edit(left: Left, step: Any) -> None:
    """Change few tokens: a penalty, a bias, a ban."""
    x = left.masked
    y = np.asarray(Chain(step)(x, left.context), np.float64)
    changed = y != x
    scale = np.ones_like(x)
    if isinstance(step, RepetitionPenalty):
        np.divide(y, x, out=scale, where=changed & (x != 0))
    with np.errstate(invalid="ignore"):
        made = gamma(4, left.arithmetic.unit) * (np.abs(x) + np.abs(y)) + left.arithmetic.tiny
        left.error = np.where(changed, left.error * np.abs(scale) + made, left.error)
    _, kinds = np.unique(np.stack([left.history[changed], x[changed]]), axis=1, return_inverse=True)
    left.history[changed] = left.history.max() + 1 + kinds.ravel()
    left.logits = np.where(left.perhaps, y, left.logits)
    stays = y > -np.inf
    if (left.perhaps & ~stays).any():
        left.decide(step, stays, stays, 0.0, True)


def _temperature(left: Left, step: Temperature) -> None:
    t: Any = step.value
    if t == 0:
        _first(left, step, 1, "lowest")
        return
    if t < 2 * left.arithmetic.tiny:  # which may be 0 there
        best = left.before(np.ones(len(left.logits)), left.error, "lowest").most < 1
        left.decide(step, best, left.perhaps, 0.0, False)
    x = left.logits
    y = x / t
    if np.isinf(y[x > -np.inf]).any():
        y = (x - left.masked.max()) / t
    left.error = left.error / t + left.arithmetic.tiny
    if math.frexp(t)[0] != 0.5:
        made = gamma(3, left.arithmetic.unit) * np.abs(y)
        left.error = left.error + np.where(x > -np.inf, made, 0)
    left.logits = y


def _top_k(left: Left, step: TopK) -> None:
    _first(left, step, int(step.value), step.ties)


def _first(left: Left, step: Transform, count: int, ties: str) -> None:
    radius = left.radius(left.softmax()) if left.ranks_probs else left.error
    ahead = left.before(np.ones(len(left.logits)), radius, ties)
    sure = ahead.most < count
    if left.ranks_probs:  # by which a probability of 0 is equal to that of a removed token
        sure &= ~left.softmax().is_deep
    left.decide(step, sure, ahead.least < count, 1 + ahead.least, True)


def _top_p(left: Left, step: TopP) -> None:
    p: Any = step.value
    soft = left.softmax()
    ahead = left.before(soft.weight, left.radius(soft), step.ties)
    surely = float(soft.weight[left.sure].sum())
    # A share grows with what is before, and falls with what is not.
    rest = np.maximum(surely - ahead.most, soft.weight)
    most, least = ahead.most / (ahead.most + rest), ahead.least / soft.total
    best_surely, best_perhaps = ahead.most == 0, ahead.least == 0
    if p == 0:
        left.decide(step, best_surely, best_perhaps, least, soft.is_exact)
        return
    rounds = 0.0 if soft.is_exact and left.arithmetic.holds(p) else left.arithmetic.unit * p
    most = most + soft.error_of_mass(most) + rounds
    low = least - soft.error_of_mass(least) - rounds
    sure, perhaps = (most < p, low < p)
    if step.at_p == "keep" or left.exceeds_p:
        sure, perhaps = sure | (most == p), perhaps | (low == p)
    exact = soft.is_exact and bool((left.sure == left.perhaps).all())
    left.decide(step, sure | best_surely, perhaps | best_perhaps, least, exact)


def _min_p(left: Left, step: MinP) -> None:
    m = float(step.value)
    soft = left.softmax()
    low = math.log(m) if m >= 2 * left.arithmetic.tiny else -math.inf  # which may be 0 there
    sure, perhaps = _near(left, soft, low, math.log(m), left.tied)
    if step.min_keep > 1:
        ahead = left.before(np.ones(len(left.logits)), left.error, step.ties)
        sure, perhaps = sure | (ahead.most < step.min_keep), perhaps | (ahead.least < step.min_keep)
    left.decide(step, sure, perhaps, soft.weight, False)


def _top_a(left: Left, step: TopA) -> None:
    soft = left.softmax()
    surely = max(float(soft.weight[left.sure].sum()), 1.0)
    a, wrong = math.log(step.value), _log1p(soft.total_error)
    low, high = a - math.log(soft.total) - wrong, a - math.log(surely) + wrong
    if low < math.log(2 * left.arithmetic.tiny):  # where the product may be 0
        low = -math.inf
    if not step.guard and high > 0:
        raise ParameterError("like", "a request that leaves a token of every row", step)
    sure, perhaps = _near(left, soft, min(low, 0.0), min(high, 0.0), left.tied)
    left.decide(step, sure, perhaps, soft.weight / soft.total, False)


def _cutoff(left: Left, step: Any) -> None:
    """Compare probabilities with a number that the whole row tells: epsilon, eta, p-less."""
    soft = left.softmax()
    low, high = _height(soft, step)
    if not isinstance(step, EpsilonCutoff) and (left.sure != left.perhaps).any():
        low, high = -math.inf, 0.0  # it may rise or fall with what is left
    if isinstance(step, EpsilonCutoff):
        surely = max(float(soft.weight[left.sure].sum()), 1.0)
        low = low + math.log(surely / soft.total)
    exempt = left.tied
    if getattr(step, "exempt", "") == "first":
        exempt = np.arange(len(exempt)) == exempt.argmax()
    else:
        low, high = min(low, 0.0), min(high, 0.0)
    sure, perhaps = _near(left, soft, low, high, exempt)
    left.decide(step, sure, perhaps, soft.weight / soft.total, False)


def _height(soft: Softmax, step: Any) -> tuple[float, float]:
    """Return the logarithm of the cut in parts of the best token, between bounds."""
    share, log_total = soft.weight / soft.total, math.log(soft.total)
    wrong = _log1p(soft.total_error)
    if isinstance(step, EpsilonCutoff):
        cut = math.log(step.value) + log_total
    elif isinstance(step, PLess):
        cut = math.log(float(soft.weight @ share))
        if step.normalised and soft.count > 1:
            ratio = max(soft.count * math.exp(cut) - soft.total, 0) / (soft.count - 1)
            # The difference of two sums has the error of both.
            lost = 4 * wrong * soft.count / (soft.count - 1) * max(1.0, soft.total)
            return (_log(ratio - lost), _log(ratio + lost))
        wrong *= 2
    else:
        gap = np.where(share > 0, soft.gap, 0)
        depth = np.abs(log_total - gap)
        entropy = float(share @ depth)
        # d(p ln p) = (1 + ln p) dp, and one more sum.
        wrong += float(share @ (soft.error_of_probability() * (1 + depth)))
        wrong += soft.total_error * (1 + entropy)
        log_eta = math.log(step.value)
        cut = min(log_eta + log_total, log_eta / 2 - entropy + log_total)
    return cut - wrong, cut + wrong


def _near(
    left: Left, soft: Softmax, low: float, high: float, exempt: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """Return which tokens reach a height below the best one: surely, and perhaps.

    The two may be compared as logits, as probabilities, or as a logit with the sum of the best one
    and a logarithm: ``x_max + ln m`` rounds to a part of its own size.
    """
    unit, tied = left.arithmetic.unit, left.tied
    size = abs(low) if np.isfinite(low) else abs(high)
    rounds = unit * (np.abs(soft.gap) + 12 + size + abs(soft.top))
    slack: Floats = left.error + soft.top_error + rounds
    gap = np.where(tied, 0.0, soft.gap)
    within = np.where(tied & (low == high) & (low == 0), 0.0, slack)
    sure = exempt | ((gap - within >= high) & ~soft.is_deep)
    return np.asarray(sure), np.asarray(exempt | (gap + within >= low))


def _log_softmax(left: Left, step: LogSoftmax) -> None:
    soft = left.softmax()
    unit, log_mass = left.arithmetic.unit, math.log(soft.total)
    total = soft.top + log_mass
    left.logits = left.logits - total
    size = np.where(left.perhaps, np.abs(left.logits), 0)
    left.error = left.error + 2 * unit * size
    # From here on a probability is an exponential, whose error not even the best one escapes.
    rounds = EXPONENTIAL + 2 + 2 * (abs(total) + abs(soft.top) + log_mass)
    left.common += _log1p(soft.total_error) + unit * rounds


def _log1p(share: float) -> float:
    """Return what a relative error does to a logarithm: at most ``-ln(1 - share)``."""
    return -math.log1p(-share) if share < 1 else math.inf


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf


_RULES: dict[type, Callable[[Left, Any], None]] = {
    Temperature: _temperature,
    TopK: _top_k,
    TopP: _top_p,
    MinP: _min_p,
    TopA: _top_a,
    EpsilonCutoff: _cutoff,
    EtaCutoff: _cutoff,
    PLess: _cutoff,
    LogSoftmax: _log_softmax,
}


def _rule_of(step: Any) -> Callable[[Left, Any], None] | None:
    """Return the rule of a step, or of what it is a kind of."""
    for kind in type(step).__mro__:
        if kind in _RULES:
            return _RULES[kind]
    return _edit if isinstance(step, SparseStep) else None
