"""What a server may do with a value that is sent: use it, ignore it, or use the nearest it allows.

Values that were used are spans, from a weakest to a strongest, since bounds and defaults may be any
number: a hypothesis is that a bound lies between two values of a grid. Its envelope is a supremum
over all of them, so that a bound off the grid is no surprise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Literal, TypeAlias

__all__ = [
    "DEFAULTS",
    "HIDDEN",
    "KEYS",
    "MOVED",
    "NEUTRAL",
    "OFF",
    "SENT",
    "Answer",
    "Rule",
    "Setting",
    "Span",
    "finer",
    "rules",
    "touches_neutral",
]

Span: TypeAlias = tuple[float, float]
Setting: TypeAlias = Mapping[str, Span]
Answer: TypeAlias = Literal["honoured", "ignored", "clamped"]

OFF = 10.0**6
"""The top_k that keeps everything; servers write it as 0 or -1."""

NEUTRAL: dict[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": OFF,
    "min_p": 0.0,
    "top_a": 0.0,
}
KEYS = tuple(NEUTRAL)

SENT: dict[str, tuple[float, ...]] = {
    "temperature": (0.0, 0.05, 0.4, 1.25, 2.0),
    "top_p": (0.05, 0.3, 0.6),
    "top_k": (1, 5, 10, 40),
    "min_p": (0.1, 0.4, 0.9),
    "top_a": (0.2, 1.0),
}
"""The values to send. Extreme ones exclude most: a bound that they are not moved to by is no bound
for any value between them and the neutral one."""

# Between which lie the bounds below which a value may not be, and above.
_FLOORS: dict[str, tuple[float, ...]] = {
    "temperature": (0.05, 0.4, 0.7, 1.0, 1.25, 2.0),
    "top_p": (0.05, 0.3, 0.6, 1.0),
    "top_k": (1, 5, 10, 100),
    "min_p": (0.02, 0.1, 0.4, 0.9),
    "top_a": (0.02, 0.2, 1.0),
}
_CAPS: dict[str, tuple[float, ...]] = {
    "temperature": (0.05, 0.4, 1.0, 1.25, 2.0),
    "top_p": (0.05, 0.3, 0.6, 0.98),
    "top_k": (1, 5, 10, 40),
    "min_p": (0.0, 0.05, 0.1, 0.4, 0.9),
    "top_a": (0.0, 0.05, 0.2, 1.0),
}
# The bounds that a value meets which is sent: those of the side that it is on.
_MET: dict[str, tuple[str, ...]] = {
    "temperature": ("floor", "cap"),
    "top_p": ("floor",),
    "min_p": ("cap",),
    "top_a": ("cap",),
}
# What may stay in force where a value is ignored: the defaults of servers, and what is near them.
# Narrow spans, as each is refuted by itself.
DEFAULTS: dict[str, tuple[Span, ...]] = {
    "temperature": ((0.0, 0.0), (0.2, 0.4), (0.4, 0.55), (0.55, 0.65), (0.65, 0.75), (0.75, 0.85)),
    "top_p": ((0.9, 0.96), (0.8, 0.9), (0.7, 0.8), (0.6, 0.7), (0.5, 0.6)),
    "top_k": ((10, 14), (15, 20), (20, 30), (30, 50), (50, 100)),
    "min_p": ((0.02, 0.05), (0.05, 0.1)),
    "top_a": (),
}
# What a bound may make of a neutral value besides.
MOVED: dict[str, tuple[Span, ...]] = {
    "temperature": ((0.05, 0.2), (0.85, 1.0), (1.0, 1.15), (1.15, 1.4), (1.4, 2.0)),
    "top_p": ((0.05, 0.12), (0.12, 0.25), (0.25, 0.35), (0.35, 0.42), (0.42, 0.5), (0.96, 1.0)),
    "top_k": ((1, 3), (4, 9)),
    "min_p": ((0.0, 0.02), (0.1, 0.3), (0.3, 0.9)),
    "top_a": ((0.0, 0.05), (0.05, 0.3), (0.3, 1.0)),
}
HIDDEN: tuple[Span, ...] = ((0.55, 0.7), (0.7, 0.85), (0.85, 1.0))
"""Temperatures that reports may have been divided by already, where what is sent is ignored.

It shows only where a truncation cuts that comes before."""

# Where the spans of bounds are cut into rows, for the same reason.
_PARTS: dict[str, tuple[float, ...]] = {
    "temperature": (0.2, 0.55, 0.7, 0.85, 1.1, 1.5),
    "top_p": (0.15, 0.45, 0.8),
    "top_k": (2, 3, 7, 15, 25),
    "min_p": (0.05, 0.2, 0.6),
    "top_a": (0.1, 0.5),
}


@dataclass(frozen=True)
class Rule:
    """What becomes of every value that is sent.

    Attributes
    ----------
    name : str
    answer : {"honoured", "ignored", "clamped"}
    always : span, optional
        What is used whatever is sent.
    floor, cap : span, optional
        Where the bound lies below which no value is used, or above. A floor may be the upper end of
        its span and not the lower, a cap the lower and not the upper: no value that is sent lies
        within.
    zero : bool
        Whether 0 is used in spite of the floor, as by servers that read it as "greedy".
    """

    name: str
    answer: Answer
    always: Span | None = None
    floor: Span | None = None
    cap: Span | None = None
    zero: bool = False

    def used(self, sent: float) -> Span:
        """Return between which values the one is that is used.

        Examples
        --------
        >>> Rule("at least .4 to .7", "clamped", floor=(0.4, 0.7)).used(0.05)
        (0.4, 0.7)
        """
        if self.always is not None:
            return self.always
        if self.floor is not None and sent < self.floor[1] and not (self.zero and sent == 0):
            return self.floor
        if self.cap is not None and sent > self.cap[0]:
            return self.cap
        return (sent, sent)

    def neutral(self, key: str) -> Span:
        """Return what the neutral value becomes. A top_k that is off is not bound by a cap."""
        off = NEUTRAL[key]
        is_off = key == "top_k" and self.always is None
        return (off, off) if is_off else self.used(off)

    def parts(self, key: str) -> list[Rule]:
        """Return the rule as a union of others with narrower spans; of two bounds as it is."""
        if self.floor is not None and self.cap is not None:
            return [self]
        floors, caps = _parts(key, self.floor), _parts(key, self.cap)
        return [replace(self, floor=floor, cap=cap) for floor, cap in product(floors, caps)]

    def keeps(self, sent: float) -> bool:
        """Whether exactly the value that was sent is used, because it was sent."""
        return self.answer != "ignored" and self.used(sent) == (sent, sent)

    def may_keep(self, sent: float) -> bool:
        """Whether it may be, as by a default of just that value.

        Examples
        --------
        >>> rule = Rule("ignored (30 to 50)", "ignored", always=(30, 50))
        >>> rule.keeps(40), rule.may_keep(40), rule.may_keep(10)
        (False, True, False)
        """
        if self.always is not None:
            return self.always[0] <= sent <= self.always[1]
        return self.keeps(sent)


def rules(
    key: str,
    floors: Sequence[float] | None = None,
    caps: Sequence[float] | None = None,
) -> dict[str, Rule]:
    """Return the hypotheses about a parameter, by name.

    Parameters
    ----------
    key : str
        One of `KEYS`.
    floors, caps : sequence of float, optional
        Other grids of bounds.

    Examples
    --------
    >>> list(rules("top_a"))[:3]
    ['honoured', 'ignored (0)', 'ignored (0 to 0.05)']
    """
    low = [None, *pairwise(_FLOORS[key] if floors is None else floors)]
    high = [None, *pairwise(_CAPS[key] if caps is None else caps)]
    if key == "top_k":
        low = [span and (span[0] + 1, span[1]) for span in low]
        high = [span and (span[0], span[1] - 1) for span in high]
    neutral = NEUTRAL[key]
    found = [Rule("honoured", "honoured")]
    for default in ((neutral, neutral), *DEFAULTS[key], *MOVED[key]):
        found.append(Rule(f"ignored ({_span(key, default)})", "ignored", always=default))
    for floor, cap in product(low, high):
        if floor is None and cap is None:
            continue
        if floor is not None and cap is not None and cap[0] < floor[1]:
            continue
        parts = [f"at least {_span(key, floor)}"] if floor is not None else []
        parts += [f"at most {_span(key, cap)}"] if cap is not None else []
        name = "clamped to " + ", ".join(parts)
        found.append(Rule(name, "clamped", floor=floor, cap=cap))
        if key == "temperature" and floor is not None:
            found.append(Rule(f"{name}, but 0", "clamped", floor=floor, cap=cap, zero=True))
    return {rule.name: rule for rule in found}


def _span(key: str, span: Span) -> str:
    ends = dict.fromkeys("off" if key == "top_k" and end >= OFF else f"{end:.3g}" for end in span)
    return " to ".join(ends)


def _parts(key: str, span: Span | None) -> list[Span | None]:
    if span is None or span[0] == span[1]:
        return [span]
    low, high = span
    inner = [cut for cut in _PARTS[key] if low < cut < high]
    if key == "top_k":
        ends = [low, *(cut + 1 for cut in inner)]
        return list(zip(ends, [*inner, high], strict=True))
    return list(pairwise([low, *inner, high]))


def touches_neutral(key: str, rule: Rule) -> bool:
    """Whether the bounds that values meet may be the neutral one: it may be as good as ignored."""
    neutral = NEUTRAL[key]
    if key == "top_k":
        return rule.floor is not None and rule.floor[1] >= _FLOORS[key][-1]
    if any(getattr(rule, side) is None for side in _MET[key]):
        return False
    bounds = [bound for bound in (rule.floor, rule.cap) if bound is not None]
    return all(low <= neutral <= high for low, high in bounds)


def finer(low: float, high: float, count: int = 6, *, integer: bool = False) -> list[float]:
    """Return a grid between two bounds, evenly spaced in their logarithms.

    Examples
    --------
    >>> finer(1.0, 8.0, 3)
    [1.0, 2.0, 4.0, 8.0]
    """
    start = max(low, high / 1000)
    steps = [start * (high / start) ** (n / count) for n in range(count + 1)]
    grid = [low, *(float(f"{step:.4g}") for step in steps[1:-1]), high]
    if integer:
        grid = [float(math.floor(step)) for step in grid]
    return sorted(set(grid))
