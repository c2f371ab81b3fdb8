"""What a server does to a request that is neutral in words: the defaults that stay in force."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from logitlab.verification.race import Cell, Race
from logitlab.verification.rules import DEFAULTS, HIDDEN, KEYS, MOVED, NEUTRAL, Rule, Setting, Span
from logitlab.verification.settings import Settings

if TYPE_CHECKING:
    from logitlab.verification.answer import Position
    from logitlab.verification.observed import Observed

__all__ = ["Backgrounds"]

_PRIOR = 20.0  # of neutral against each other background
_NOTHING = 0.7  # the weight of no combination of those below
_OFF = 0.9  # that a default is off which is not of the combination
_COOLED = 0.1  # that reports have been divided by a temperature
_KEPT = _SETTLED = 0.45  # that one of it is in force, or known to be off

# What engines and widespread models combine, where it is more than one of the defaults.
_TOGETHER: tuple[Mapping[str, float], ...] = (
    {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05},  # llama.cpp
    {"top_p": 0.95, "top_k": 40, "min_p": 0.05},
    {"temperature": 0.7, "top_p": 0.92, "top_k": 100},  # KoboldCpp
    {"top_p": 0.92, "top_k": 100},
    {"temperature": 0.6, "top_p": 0.95, "top_k": 20},  # models that reason
    {"temperature": 0.7, "top_p": 0.8, "top_k": 20},
    {"temperature": 0.8, "top_p": 0.95},
)


class Backgrounds:
    """The race of what is in force where a request says neutral values.

    Every later hypothesis is a union over the backgrounds that are possible beside it, and its
    evidence begins with these neutral answers: what is not known of a background makes an
    examination longer, and costs no error of its own.

    Parameters
    ----------
    alpha : float
        The error of the race.

    Attributes
    ----------
    race : Race
        Its hypotheses by name; see `settings`.
    settings : dict of str to Setting
    drawn : list of (str, Position or None)
        The prompts of neutral requests, with what was drawn.
    rules : dict of str to sequence of Rule
        The rules that are left of each parameter whose race is over, in parts.
    races : dict of str to int
        How many races have told these, each with its own error, where that was not one.
    hidden : list of Setting
        The temperatures that reports may have been divided by already where that is ignored which
        is sent: they show only where a truncation cuts that comes before.

    Examples
    --------
    >>> backgrounds = Backgrounds(1e-4)
    >>> backgrounds.others("top_k")[0], len(backgrounds.others("top_k"))
    ({}, 38)
    """

    def __init__(self, alpha: float) -> None:
        self.drawn: list[tuple[str, Position | None]] = []
        self.settings: dict[str, Setting] = {"neutral": {}}
        for key in KEYS:
            for span in (*DEFAULTS[key], *MOVED[key]):
                self._add({key: span})
        for together in _TOGETHER:
            self._add({key: (value, value) for key, value in together.items()})
        self.race = Race({name: name for name in self.settings}, alpha, {"neutral": _PRIOR})
        self.rules: dict[str, Sequence[Rule]] = {}
        self.races: dict[str, int] = {}
        self.hidden: list[Setting] = [{"temperature": span, "reported": span} for span in HIDDEN]
        self.expected = Settings([[setting] for setting in self.settings.values()])

    def weight(self, setting: Setting, key: str = "") -> float:
        """Return the weight of one of `others`, the same whatever has been told.

        Neutral answers decide which settings are left, and count as evidence again. So a bet on
        these has the part of the weight that it had among all that there might be: the weights of
        all settings of the other parameters make 1, and what is not left is lost.
        """
        if "reported" in setting:
            return _COOLED / len(HIDDEN)
        found = 0.0
        for bundle in ({}, *_TOGETHER):
            chances = (
                _chance(bundle.get(name), setting.get(name), name) for name in KEYS if name != key
            )
            share = (1 - _NOTHING) / len(_TOGETHER) if bundle else _NOTHING
            found += share * math.prod(chances)
        return found * (1 - _COOLED)

    def _add(self, setting: Setting) -> None:
        parts = (
            f"{key} {low:g}" + (f" to {high:g}" if high != low else "")
            for key, (low, high) in setting.items()
        )
        self.settings[", ".join(parts)] = setting

    def cell(self, observed: Observed) -> Cell:
        """Return what each background expects of a neutral request."""
        return self.expected.cell(observed)

    @property
    def alive(self) -> list[Setting]:
        """The backgrounds that are left, the likeliest first; none if no known one fits."""
        posterior = self.race.posterior
        names = sorted(self.race.alive, key=lambda name: -posterior[name])
        return [self.settings[name] for name in names]

    def relied(self, key: str = "") -> float:
        """Return the errors of the races of other parameters together: they are relied on."""
        return self.race.alpha * sum(self.races.get(name, 1) for name in self.rules if name != key)

    def others(self, key: str, at: Span | None = None) -> list[Setting]:
        """Return what may be in force beside a parameter, as far as races have told.

        Another parameter is neutral if no rule of it is left by which its neutral value is moved.
        One that is ignored has one of the defaults that are left.

        Parameters
        ----------
        key : str
        at : span, optional
            Where the parameter itself is: what servers are known to combine with that.
        """
        own = (NEUTRAL[key], NEUTRAL[key])
        found: dict[tuple[tuple[str, Span], ...], None] = {}
        for setting in self.settings.values():
            if at not in (None, own) and not _overlap(setting.get(key), at):
                continue
            kept: Setting = {name: span for name, span in setting.items() if name != key}
            possible = [kept]
            for name, left in self.rules.items():
                if name != key:
                    possible = [each for one in possible for each in _settled(one, name, left)]
            found |= {tuple(sorted(each.items())): None for each in possible}
        return [dict(each) for each in found] or [{}]


def _others(key: str) -> int:
    """Return how many values a default may have beside off."""
    return len(
        {*DEFAULTS[key], *MOVED[key], *((each[key],) * 2 for each in _TOGETHER if key in each)}
    )


def _chance(own: float | None, span: Span | None, key: str) -> float:
    """Return the chance of a default, given the value that a combination has."""
    count = _others(key)
    if own is None:
        if not count:
            return 1.0
        return _OFF if span is None else (1 - _OFF) / count
    if span is None:
        return _SETTLED
    return _KEPT if span == (own, own) else (1 - _KEPT - _SETTLED) / (count - 1)


def _overlap(one: Span | None, other: Span | None) -> bool:
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]


def _settled(setting: Setting, key: str, left: Sequence[Rule]) -> list[Setting]:
    """Return what a setting may be beside rules that are left of a parameter, if it may be."""
    off = (NEUTRAL[key], NEUTRAL[key])
    spans = dict.fromkeys(rule.neutral(key) for rule in left)
    if not left:
        return [setting]
    if all(rule.answer == "ignored" for rule in left):
        return [_with(setting, key, span) for span in spans]
    moved = [span for span in spans if span != off]
    found = [setting] if any(_overlap(setting.get(key), span) for span in moved) else []
    return [*found, _with(setting, key, off)] if off in spans else found


def _with(setting: Setting, key: str, span: Span) -> Setting:
    rest = {each: value for each, value in setting.items() if each != key}
    return rest if span == (NEUTRAL[key], NEUTRAL[key]) else rest | {key: span}
