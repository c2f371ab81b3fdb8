r"""What hypotheses expect of a prompt, where values are spans and the order of steps is unknown.

A setting says of each parameter between which values the one is that is used. Its cut lies between
those of the ends, and of every order in which truncations and temperature may be applied: the
cuts of top_p and top_a look at what others left, and all of them at the temperature where it comes
first. ``reported`` is a temperature by which the report itself has been divided: the cuts that come
before it look at logits that it has not cooled.

Between temperatures, :math:`\log P_\beta(y)` is concave in :math:`\beta = 1 / T`, its second
derivative being minus the variance of the logits. So between two that are
:math:`\Delta\beta` apart it is at most :math:`\mathrm{Var} \, \Delta\beta^2 / 8` above the larger
end. Temperatures of a span are a tenth apart, and :math:`\beta^2 \mathrm{Var}`, the heat capacity,
is at most about :math:`(\log K)^2 / 4`, 5.3 for a hundred tokens: `BETWEEN` nats cover 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from logitlab.steps.chain import Chain
from logitlab.steps.step import Transform
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.verification.completion import Left, Rest
from logitlab.verification.observed import Observed, Prediction
from logitlab.verification.race import Cell
from logitlab.verification.rules import KEYS, NEUTRAL, OFF, Setting, Span
from numpy.typing import NDArray

__all__ = ["Settings", "temperatures"]

# Truncations that look at what others left: as early as can be, and as late, in both ways.
_ORDERS = (
    ("top_p", "top_a", "top_k", "min_p"),
    ("top_k", "min_p", "top_a", "top_p"),
    ("top_k", "min_p", "top_p", "top_a"),
)
_STEPS = {
    "reported": Temperature,
    "temperature": Temperature,
    "top_k": TopK,
    "top_p": TopP,
    "min_p": MinP,
    "top_a": TopA,
}
_ALL = (*KEYS, "reported")
_OFF = {**NEUTRAL, "reported": 1.0}
_FINE = 1.1  # the ratio of temperatures of a span
_LOOKS = {"top_p", "top_a"}

Point = tuple[float, ...]  # a value of each of _ALL
Steps = tuple[str, ...]
Spans = tuple[Span, ...]  # of each of _ALL


class Settings:
    """Hypotheses, each with the settings that it allows, of which every chain is run once.

    Examples
    --------
    >>> both = Settings([[{"top_k": (1, 1)}], [{"top_k": (1, 2)}]])
    >>> seen = Observed("Is it?", ("yes", "no"), np.log([0.6, 0.3]))
    >>> both.predict(seen).envelope.round(2)
    array([[1.  , 0.01, 0.01],
           [1.  , 0.34, 0.01]])
    """

    def __init__(self, hypotheses: Sequence[Sequence[Setting]]) -> None:
        self._chains: dict[tuple[Steps, Point], int] = {}
        self._groups: dict[tuple[int, ...], int] = {}
        self._known: dict[Spans, tuple[int, int]] = {}
        allowed: dict[tuple[int, ...], int] = {}
        centres: list[int] = []
        self._which: list[int] = []
        for settings in hypotheses:
            found = [self._group(setting) for setting in settings]
            key = tuple(dict.fromkeys(group for group, _ in found))
            # The first setting is what a hypothesis bets on.
            if key not in allowed or centres[allowed[key]] != found[0][1]:
                key = (*key, -1 - len(allowed)) if key in allowed else key
                allowed[key] = len(allowed)
                centres.append(found[0][1])
            self._which.append(allowed[key])
        self._allowed = [[group for group in key if group >= 0] for key in allowed]
        self._centres = centres
        self._temperature = np.array([_heat(steps, point) for steps, point in self._chains])

    def _group(self, setting: Setting) -> tuple[int, int]:
        spans = tuple(setting.get(key, (_OFF[key], _OFF[key])) for key in _ALL)
        if spans not in self._known:
            self._known[spans] = self._made(spans)
        return self._known[spans]

    def _made(self, spans: Spans) -> tuple[int, int]:
        points = _points(spans)
        members: dict[int, None] = {}
        middle = points[len(points) // 2]
        centre = -1
        for point in points:
            for steps in _orders(point):
                place = self._chains.setdefault((steps, point), len(self._chains))
                members[place] = None
                if point == middle and centre < 0:
                    centre = place
        return self._groups.setdefault(tuple(members), len(self._groups)), centre

    def cell(self, observed: Observed, own: Observed | None = None, among: bool = False) -> Cell:
        """Return what each hypothesis expects of a request.

        Parameters
        ----------
        observed : Observed
            What was learnt of its prompt.
        own : Observed, optional
            What the answer itself reports, see `Observed.narrowed`; the categories stay.
        among : bool
            Whether only tokens count that were reported.
        """
        seen = own or observed
        found = self.predict(seen)
        reference = seen.probabilities
        parts: tuple[NDArray[np.float64], ...]
        if among:
            parts = (found.among, found.among_envelope, reference[:-1] / reference[:-1].sum())
        else:
            parts = (found.central, found.envelope, reference)
        if own is not None:
            parts = tuple(own.spread(part, observed) for part in parts)
        central, envelope, around = parts
        return Cell(central, envelope, around, found.share if among else None)

    def predict(self, observed: Observed) -> Prediction:
        """Return what each hypothesis expects, in arrays of H rows."""
        # What a chain leaves of a prompt is asked for by many races.
        known = observed.known
        fresh: dict[tuple[Steps, bool], list[tuple[Point, Rest]]] = {}
        for steps, point in self._chains:
            if (steps, point) not in known:
                known[steps, point] = len(known)
                rest = _rest(observed, steps, point)
                fresh.setdefault((steps, rest.vanishes), []).append((point, rest))
        if fresh:
            order: list[int] = []
            parts = [observed.kept] if observed.kept is not None else []
            before = len(known) - sum(map(len, fresh.values()))
            for (steps, _), points in fresh.items():
                order += [known[steps, point] for point, _ in points]
                parts.append(_left(observed, steps, points))
            rows = np.concatenate([np.arange(before), np.argsort(order) + before])
            observed.kept = Left.stacked(parts).rows(rows)
        assert observed.kept is not None
        left = observed.kept.rows(np.array([known[chain] for chain in self._chains], np.intp))
        found = observed.prediction(
            left, self._temperature, list(self._groups), self._allowed, self._centres
        )
        return Prediction(*(array[self._which] for array in found))


def _heat(steps: Steps, point: Point) -> float:
    """Return the temperature relative to that of the report."""
    return point[0] if "temperature" in steps and "reported" not in steps else 1.0


def _rest(observed: Observed, steps: Steps, point: Point) -> Rest:
    named = [(key, point[_ALL.index(key)]) for key in steps]
    if "reported" in steps:
        named[0] = ("temperature", 1 / named[0][1])
    return Rest.of(named, observed.reported, observed.last)


def _left(observed: Observed, steps: Steps, points: Sequence[tuple[Point, Rest]]) -> Left:
    values = np.array([point for point, _ in points])
    temperature = np.array([_heat(steps, point) for point, _ in points])
    return observed.left(_chain(steps, values), temperature, [rest for _, rest in points])


def _chain(steps: Steps, values: NDArray[np.float64]) -> Chain:
    made: list[Transform] = []
    for key in steps:
        value = values[:, [_ALL.index(key)]]
        if key == "reported":
            value = 1 / value
        if key == "top_k":
            value = np.where(value >= OFF, 0, value).astype(np.int64)
        made.append(_STEPS[key](value))
    return Chain(*made)


def _points(spans: Spans) -> list[Point]:
    """Return the values between which those of spans lie."""
    ends = [
        temperatures(span) if key in ("temperature", "reported") else tuple(dict.fromkeys(span))
        for key, span in zip(_ALL, spans, strict=True)
    ]
    points = list(product(*ends))
    if spans[-1] == (1.0, 1.0):
        return points
    # A report is divided by the temperature that is in force.
    return [point for point in points if point[-1] == point[0]]


def temperatures(span: Span) -> tuple[float, ...]:
    """Return temperatures of a span, a tenth apart.

    Examples
    --------
    >>> [round(each, 3) for each in temperatures((0.8, 1.0))]
    [0.8, 0.862, 0.928, 1.0]
    """
    low, high = span
    if low == high:
        return (low,)
    count = max(1, math.ceil(math.log(high / low) / math.log(_FINE)))
    return tuple(low * (high / low) ** (n / count) for n in range(count + 1))


def _orders(point: Point) -> tuple[Steps, ...]:
    """Return the orders of steps that may differ."""
    is_active = tuple(value != _OFF[key] for key, value in zip(_ALL, point, strict=True))
    return _orders_of(is_active, point[0] == 0)


@cache
def _orders_of(is_active: tuple[bool, ...], is_greedy: bool) -> tuple[Steps, ...]:
    active = {key for key, on in zip(_ALL, is_active, strict=True) if on}
    cuts = active - {"temperature", "reported"}
    orders = dict.fromkeys(tuple(key for key in order if key in cuts) for order in _ORDERS)
    if not cuts & _LOOKS:
        orders = dict.fromkeys(list(orders)[1:2] or list(orders)[:1])
    if "reported" in active:
        return tuple(("reported", *order, "temperature") for order in orders)
    if "temperature" not in active:
        return tuple(orders)
    if cuts <= {"top_k"}:
        return ((*cuts, "temperature"),)
    found = dict.fromkeys(("temperature", *order) for order in orders)
    found |= dict.fromkeys((*order, "temperature") for order in orders)
    # One token is left by temperature 0, whatever is cut before.
    return tuple(found)[:1] if is_greedy else tuple(found)
