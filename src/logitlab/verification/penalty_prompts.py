"""What is asked about penalties, and what is said of what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.finding import Claim
from logitlab.verification.penalty_rules import PenaltyRule
from logitlab.verification.places import MOST
from logitlab.verification.scopes import Said
from logitlab.verification.study import Study

__all__ = [
    "PROMPTS",
    "alone",
    "claim_of",
    "detail_of",
    "fewer",
    "frame_of",
    "other_names",
    "said_of",
    "scopes_of",
    "words",
]

PROMPTS = (
    "the of and to a was he it in that his the of and to a was he it in that his",
    "to be or not to be",
    "she had not for they had not for he had not for you had not for it was on the and of the",
)
"""Of the commonest words, which every vocabulary has as one token each: what counts is known, and
these words are likely in any answer, so that it shows whether those of the prompt count, too."""


def claim_of(value: float, alive: Sequence[PenaltyRule], log_e: float = 0.0) -> Claim:
    """Return what is claimed of a value that all hypotheses keep that are left, or none."""
    used = {rule.used(value) for rule in alive}
    if used == {(value, value)}:
        return Claim(value, "honoured", log_e=log_e)
    low, high = used.pop()
    is_one = not used and low == high
    return Claim(value, "not_honoured", used=low if is_one else None, log_e=log_e)


def alone(key: str, value: float) -> dict[str, Any]:
    """Return what is sent: KoboldCpp takes frequency for presence, if that is not sent, too."""
    return {key: value} | ({"presence_penalty": None} if key == "frequency_penalty" else {})


def fewer(study: Study) -> dict[str, int]:
    """Return what asks for as many log-probabilities of a token as are looked at, and no more."""
    return {
        key: min(count, MOST)
        for key, count in study.logprobs.items()
        if isinstance(count, int) and not isinstance(count, bool)
    }


def said_of(study: Study, prompt: str, frame: int | None, answer: Answer) -> Said:
    """Return what is known of a prompt of `PROMPTS` after its answer."""
    pieces = study.pieces(prompt) if study.pieces is not None else words(prompt)
    return Said(prompt, pieces, frame, answer.tokens[0])


def frame_of(study: Study) -> int | None:
    """Return how many tokens a template adds to a prompt, at most; None if that is not told.

    Two prompts in one message share theirs.
    """
    if not study.chat:
        return 0
    if not study.frames:
        prompt = PROMPTS[1]
        twice = f"{prompt}\n\n{prompt}"
        answers = study.together([study.body(text) for text in (prompt, twice)])
        one, two = (answer.tokens[0] for answer in answers)
        # Between them lie at most two tokens.
        study.frames.append(max(2 * one - two + 2, 0) if 0 < one < two else None)
    return study.frames[0]


def words(prompt: str) -> list[bytes]:
    """Return the tokens of a prompt of `PROMPTS`."""
    first, *others = prompt.split(" ")
    return [first.encode(), *(f" {word}".encode() for word in others)]


def scopes_of(verdict: str, alive: Sequence[PenaltyRule]) -> list[str]:
    """Return what may be counted, if it is known that something is."""
    is_used = verdict in ("honoured", "clamped", "cannot_tell") and bool(alive)
    is_used = is_used and all(rule.answer != "ignored" for rule in alive)
    return sorted({rule.where for rule in alive}) if is_used else []


def detail_of(key: str, verdict: str, scopes: Sequence[str], alive: Sequence[PenaltyRule]) -> str:
    """Return what is said beside the verdict of a penalty."""
    if verdict == "ignored":
        return other_names(key)
    if not scopes:
        return ""
    as_presence = key == "frequency_penalty" and {rule.form for rule in alive} == {"presence"}
    counts = "counts " + ", or ".join(scopes) + (", as presence" if as_presence else "")
    return f"used, within bounds or without; {counts}" if verdict == "cannot_tell" else counts


def other_names(key: str) -> str:
    """Return which engines call a parameter otherwise, in words."""
    from logitlab.engines import ENGINES, MAIN

    names: dict[str, list[str]] = {}
    for name in MAIN:
        for other, known in ENGINES[name].aliases.items():
            if known == key:
                names.setdefault(other, []).append(name)
    return "; ".join(f"{', '.join(who)} read {name}" for name, who in names.items())
