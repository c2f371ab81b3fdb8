"""What may be in force beside what a request says, as far as earlier races have told."""

from __future__ import annotations

import math
from typing import Any

from logitlab.verification.rules import NEUTRAL, SENT, Setting
from logitlab.verification.study import Study

__all__ = ["beside", "certain", "errors", "in_force"]

_COLD = 0.2  # a temperature below which little but the likeliest is drawn


def in_force(study: Study, *keys: str) -> list[Setting]:
    """Return what may be in force beside parameters, the likeliest first: the backgrounds left.

    Nothing, if all of them were refuted.

    Parameters
    ----------
    study : Study
    *keys : str
        Those that are sent, and certain.
    """
    backgrounds = study.backgrounds
    if backgrounds is None:
        return [{}]
    found: dict[tuple[tuple[str, Any], ...], None] = {}
    for setting in backgrounds.alive:
        possible = [{key: span for key, span in setting.items() if key not in keys}]
        for key, left in backgrounds.rules.items():
            if key in keys or not left:
                continue
            spans = dict.fromkeys(rule.neutral(key) for rule in left)
            own = setting.get(key, (NEUTRAL[key], NEUTRAL[key]))
            # A rule and a background that do not meet are not both true.
            both = [(max(span[0], own[0]), min(span[1], own[1])) for span in spans]
            possible = [
                {**each, key: span} for each in possible for span in both if span[0] <= span[1]
            ]
        for each in possible:
            kept = {k: s for k, s in each.items() if s != (NEUTRAL[k], NEUTRAL[k])}
            found[tuple(sorted(kept.items()))] = None
    return [dict(each) for each in found]


def errors(study: Study) -> tuple[float, float]:
    """Return the error of a race that takes `in_force` for granted, and what of it is of others."""
    if study.backgrounds is None:
        return study.alpha, 0.0
    relies = study.backgrounds.relied()
    return study.alpha + study.backgrounds.race.alpha + relies, relies


def certain(study: Study, key: str, value: float) -> bool:
    """Whether every rule that is left of a parameter that is honoured keeps a value as it is."""
    if study.backgrounds is None or study.verdict(key) not in ("honoured", "clamped"):
        return False
    rules = study.backgrounds.rules.get(key, ())
    return bool(rules) and all(rule.answer != "ignored" and rule.keeps(value) for rule in rules)


def beside(study: Study) -> dict[str, float]:
    """Return what is best sent beside others: a proven temperature, where it is not known which is.

    What is not known of a temperature in force is lost at every draw.
    """
    if not any("temperature" in setting for setting in in_force(study)):
        return {}
    known = [x for x in SENT["temperature"] if x >= _COLD and certain(study, "temperature", x)]
    return {"temperature": min(known, key=lambda x: abs(math.log(x)))} if known else {}
