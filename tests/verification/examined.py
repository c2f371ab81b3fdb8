"""Examinations of simulated providers, begun without a handshake."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from logitlab.verification.answer import Answer
from logitlab.verification.study import Study

from verification.subject import PROMPTS

__all__ = ["NEUTRAL", "saying", "study_of"]

NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(("min_p", "top_a", "frequency_penalty", "presence_penalty"), 0.0),
    **dict.fromkeys(("temperature", "top_p", "repetition_penalty"), 1.0),
    "top_k": 0,
}

Ask = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]


def study_of(ask: Ask, **options: Any) -> Study:
    """Return an examination without log-probabilities; what is asked together comes at once."""

    def send(bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        if len(bodies) == 1:
            return [Answer(*ask(bodies[0]))]
        with ThreadPoolExecutor(len(bodies)) as pool:
            return [Answer(*found) for found in pool.map(ask, bodies)]

    usual = {"prompts": PROMPTS, "rng": np.random.default_rng(0), "neutral": NEUTRAL}
    given: dict[str, Any] = {**usual, **options}
    return Study(send, **given)


def saying(*texts: str | None, reason: str = "stop", **more: Any) -> Study:
    """Return an examination of a server that says these texts, again and again."""
    count = 0

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        nonlocal count
        count += 1
        message = {"content": texts[(count - 1) % len(texts)]}
        return 200, {"choices": [{"message": message, "finish_reason": reason}]}

    return study_of(ask, **more)
