"""The hypotheses about a penalty: which value acts, what it counts, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from logitlab.verification.finding import Verdict
from logitlab.verification.penalised import FORMS
from logitlab.verification.rules import Rule, Span
from logitlab.verification.scopes import SCOPES, where

__all__ = ["NEUTRAL", "VALUES", "PenaltyRule", "penalty_rules", "verdict_of"]

NEUTRAL = {"frequency_penalty": 0.0, "presence_penalty": 0.0, "repetition_penalty": 1.0}

VALUES = {
    "frequency_penalty": (-2.0, 2.0, -1.0),
    "presence_penalty": (-2.0, 2.0, -1.0),
    "repetition_penalty": (0.3, 1.8, 0.8),
}
"""What is sent: rewards first, since a text that is rewarded for repeating itself soon does, and
what counts then shows whatever the model is."""

# Between which a bound lies, from the neutral value on, above it and below. A bound is one number
# for all answers: narrow spans are refuted sooner.
_ABOVE = {
    "frequency_penalty": (0.0, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "presence_penalty": (0.0, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0),
    "repetition_penalty": (1.0, 1.05, 1.2, 1.35, 1.5, 1.8),
}
_BELOW = {
    "frequency_penalty": (0.0, -0.3, -0.5, -0.75, -1.0, -1.25, -1.5, -2.0),
    "presence_penalty": (0.0, -0.3, -0.5, -0.75, -1.0, -1.25, -1.5, -2.0),
    "repetition_penalty": (1.0, 0.9, 0.8, 0.5, 0.3),
}
# The raw logits of a place are its log-probabilities and a constant. It may be any of a range,
# and differs from place to place; the narrow ranges bet better.
# Between 6 and 40 the likely tokens have positive logits, as those of language models are. The
# narrow ranges only bet better.
_RANGES = {
    "logits": (6.0, 40.0),
    "log-probabilities": (0.0, 0.0),
    "logits from 8 to 16": (8.0, 16.0),
    "logits from 16 to 28": (16.0, 28.0),
}
_BETS = ("logits from 8 to 16", "logits from 16 to 28")
_CLAMPED = ("output", "prompt and output", "the last 64 of both", "the last 20 of both")


@dataclass(frozen=True)
class PenaltyRule(Rule):
    """One hypothesis: what becomes of every value, as of any `Rule`, and what it does.

    Attributes
    ----------
    scope : str
        One of `SCOPES`; "" if nothing is counted.
    form : str
        How the value is used.
    shifts : pair of float
        What the raw logits are above the log-probabilities, at least and at most.
    """

    scope: str = ""
    form: str = ""
    shifts: tuple[float, float] = (0.0, 0.0)

    def is_as(self, value: float, sent: float) -> bool:
        """Whether a value may be used where one is sent, or one that is as near as one likes."""
        low, high = self.used(sent)
        return low <= value <= high

    @property
    def where(self) -> str:
        """What is counted: "output", "prompt", "prompt and output"."""
        return where(self.scope) if self.scope else ""


def penalty_rules(key: str, scopes: Sequence[str] = SCOPES) -> list[PenaltyRule]:
    """Return the hypotheses about a penalty.

    Parameters
    ----------
    key : str
        One of `VALUES`.
    scopes : sequence of str
        Of `SCOPES`.

    Returns
    -------
    list of PenaltyRule
        "ignored" is the first.

    Examples
    --------
    >>> rules = penalty_rules("presence_penalty", ["output"])
    >>> [rule.name for rule in rules][:3]
    ['ignored', 'honoured (output)', 'clamped to at least 0 (output)']
    >>> [rule.used(-2.0) for rule in rules][:3]
    [(0.0, 0.0), (-2.0, -2.0), (0.0, 0.0)]
    """
    neutral = NEUTRAL[key]
    rules = [PenaltyRule("ignored", "ignored", always=(neutral, neutral))]
    own = FORMS[key][0]
    for form in FORMS[key]:
        as_what = "" if form == own else f", as {form}"
        for scope in scopes:
            for words, shifts in _ranges(form):
                said = f" ({scope}{as_what}{words})"
                more: dict[str, Any] = {"scope": scope, "form": form, "shifts": shifts}
                rules.append(PenaltyRule(f"honoured{said}", "honoured", **more))
                if scope in _CLAMPED and words.removeprefix(", ") not in _BETS:
                    rules += [
                        PenaltyRule(
                            f"clamped to {_bounds(floor, cap)}{said}",
                            "clamped",
                            floor=floor,
                            cap=cap,
                            **more,
                        )
                        for floor, cap in _clamps(key)
                    ]
    return rules


def _clamps(key: str) -> list[tuple[Span | None, Span | None]]:
    """Return bounds below and above: both alike, or the neutral value for one of them."""
    off = (NEUTRAL[key],) * 2
    below = [(low, high) for high, low in pairwise(_BELOW[key])]
    above = list(pairwise(_ABOVE[key]))
    found: list[tuple[Span | None, Span | None]] = [(off, None), (None, off)]
    if key != "repetition_penalty":  # whose sides are not alike
        found += zip(below, above, strict=True)
    else:
        found += [(low, off) for low in below]
    return found + [(off, high) for high in above]


def _bounds(floor: Span | None, cap: Span | None) -> str:
    parts = (("at least", floor), ("at most", cap))
    return ", ".join(
        f"{words} {' to '.join(f'{end:g}' for end in dict.fromkeys(span))}"
        for words, span in parts
        if span is not None
    )


def verdict_of(key: str, alive: Sequence[PenaltyRule], accepted: Sequence[float]) -> Verdict:
    """Return the verdict where these hypotheses are left, of values that were not refused.

    Bounds that may be the neutral value are as good as ignoring, if that is left itself; and those
    that may be the very value that was sent leave it honoured: no request could tell.

    Examples
    --------
    >>> rules = penalty_rules("presence_penalty", ["output"])
    >>> verdict_of("presence_penalty", rules[:1], [-2.0, 2.0])
    'ignored'
    >>> verdict_of("presence_penalty", rules[1:3], [-2.0, 2.0])
    'cannot_tell'
    >>> verdict_of("presence_penalty", rules[1:3], [2.0])
    'honoured'
    """
    if not alive:
        return "none_of_these"
    answers = {rule.answer for rule in alive}
    if "honoured" in answers:
        is_sure = all(rule.is_as(value, value) for rule in alive for value in accepted)
        return "honoured" if is_sure and "ignored" not in answers else "cannot_tell"
    if "ignored" in answers:
        is_near = all(rule.is_as(NEUTRAL[key], value) for rule in alive for value in accepted)
        return "ignored" if is_near else "not_honoured"
    return "clamped"


def _ranges(form: str) -> list[tuple[str, tuple[float, float]]]:
    """Return the ranges of the constant in words; there is none but of repetition."""
    if form != "repetition":
        return [("", (0.0, 0.0))]
    return [(f", {words}", shifts) for words, shifts in _RANGES.items()]
