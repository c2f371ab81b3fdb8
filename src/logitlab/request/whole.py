"""What of a request acts on a whole text: no single token can have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import MOST_TEXTS, ParameterError, Range, check_integer
from logitlab.request.params import PARAMETERS, Parameter

__all__ = ["READ", "answers_of", "check_answers", "refuse_answers", "refuse_whole"]

_N = Parameter("n", Range(1, integer=True), 1, "draw", "Asks for answers.", "integer", "", "OpenAI")
READ = PARAMETERS | {_N.key: _N}
"""What is read of a request in its type: the parameters, and how many answers are asked for."""


def answers_of(given: Mapping[str, Any]) -> int | None:
    """Return how many answers a request asks for, or None where it does not say."""
    if given.get("n") is None:
        return None
    return check_answers("n", given["n"])


def check_answers(name: str, count: Any) -> int:
    """Return how many answers are asked for, or raise `ParameterError`."""
    number = check_integer(name, count, Range(1, integer=True))
    if number > MOST_TEXTS:
        hint = "Ask for the rest in other calls."
        raise ParameterError(name, f"at most {MOST_TEXTS}", count, hint)
    return number


def refuse_answers(given: Mapping[str, Any]) -> None:
    """Raise for more answers than one where a single token is drawn."""
    if answers_of(given) not in (None, 1):
        rule = "1 where single tokens are sampled"
        hint = "generate writes several texts, and sample draws several tokens with size."
        raise ParameterError("n", rule, given["n"], hint)


def refuse_whole(given: Mapping[str, Any]) -> None:
    """Raise for a parameter whose effect on the distribution no single step can have."""
    text: Any = {"type": "text"}
    acts = {
        "response_format": given.get("response_format", text) != text,
        "tools": given.get("tools") and given.get("tool_choice") != "none",
        "verbosity": given.get("verbosity", "medium") != "medium",
    }
    for key, does in acts.items():
        if does:
            hint = f"{PARAMETERS[key].sentence[:-1]}: that acts on a whole generation."
            raise ParameterError(key, "absent where single tokens are sampled", given[key], hint)
