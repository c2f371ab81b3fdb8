"""What is wrong with a token, in words: "keeps token 7, whose mass before it is exactly 0.9"."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.testing.left import Left, Stage

__all__ = ["dropped", "kept", "others"]


def kept(left: Left, token: int, verb: str = "keeps") -> str:
    """Say why a token cannot be there."""
    if left.logits[token] == -np.inf:
        return f"{verb} token {token}, whose logit is -inf"
    for stage in left.stages:
        if not stage.perhaps[token]:
            return f"{verb} token {token}, {_why_not(stage, token)}"
    return f"{verb} token {token}, whose logit is -inf"


def _why_not(stage: Stage, token: int) -> str:
    step, number = stage.step, float(stage.number[token])
    key, value = getattr(step, "key", ""), getattr(step, "value", None)
    if isinstance(step, Temperature):
        return "which is not the first of the most likely: temperature is 0"
    if isinstance(step, TopP):
        if stage.is_exact and number == value:
            return f"whose mass before it is exactly {value}"
        return f"whose mass before it is {_shown(number, value)}: top_p is {value}"
    if isinstance(step, TopK):
        return f"number {int(number)} of the most likely: {key} is {value}"
    if isinstance(step, MinP):
        share = _shown(number, value)
        return f"which is {share} times as likely as the best: min_p is {value}"
    if key in ("top_a", "epsilon_cutoff", "eta_cutoff", "p_less"):
        return f"whose probability is {number:.6g}, too low for {key} {value}"
    return f"which {step!r} removes"


def dropped(left: Left, token: int) -> str:
    """Say why a token has to be there."""
    reasons = [_why(stage, token) for stage in left.stages]
    told = ", ".join(reason for reason in reasons if reason)
    return f"drops token {token}: {told}" if told else f"drops token {token}, which nothing removes"


def _why(stage: Stage, token: int) -> str:
    step, number = stage.step, float(stage.number[token])
    key, value = getattr(step, "key", ""), getattr(step, "value", None)
    if isinstance(step, Temperature):
        return "the first of the most likely (temperature is 0)"
    if isinstance(step, TopP):
        exactly = "exactly " if stage.is_exact else ""
        return f"the mass before it is {exactly}{_shown(number, value)} (top_p is {value})"
    if isinstance(step, TopK):
        return f"number {int(number)} of the most likely ({key} is {value})"
    if isinstance(step, MinP):
        share = _shown(number, value)
        return f"{share} times as likely as the best (min_p is {value})"
    if key in ("top_a", "epsilon_cutoff", "eta_cutoff", "p_less"):
        return f"its probability is {number:.6g}, enough for {key} {value}"
    return ""


def _shown(number: float, value: Any) -> str:
    """Show a number with as many digits as tell it from a parameter."""
    for digits in range(4, 17):
        text = f"{number:.{digits}g}"
        if float(text) != value or number == value:
            return text
    return repr(number)


def others(count: int) -> str:
    """Say that more tokens are wrong in the same way."""
    return "" if count < 2 else f" (and {count - 1} more)"
