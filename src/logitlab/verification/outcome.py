"""The facts of an examination, from which its reports are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logitlab.verification.finding import Finding
from logitlab.verification.identity import Identity

__all__ = ["KNOWN", "OTHERS", "Outcome", "Spending"]

KNOWN = (
    *("temperature", "top_p", "top_k", "min_p", "top_a"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty"),
    *("logit_bias", "seed", "max_tokens", "stop", "n", "logprobs"),
    *("response_format", "tools", "tool_choice", "beyond"),
)
"""The parameters that an examination is asked for by name; ``beyond`` stands for all others."""

OTHERS = ("order", "dialects", "defaults", "drift")
"""Findings that are about no parameter."""


class Spending(NamedTuple):
    """What an examination took.

    Attributes
    ----------
    requests : int
        Answers that it rests on.
    recorded : int
        Those of them that came from a log.
    retries : int
        Requests that were sent again.
    prompt_tokens, completion_tokens : int
        As the server counts them, where it does.
    seconds : float
        Of this run.
    """

    requests: int = 0
    recorded: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def cost(self, price: tuple[float, float]) -> float:
        """Return the cost at prices of a million tokens, read and written."""
        return (self.prompt_tokens * price[0] + self.completion_tokens * price[1]) / 1e6


@dataclass(frozen=True)
class Outcome:
    """What was found, by whom, and at what cost; `Verification` describes it."""

    parameters: Mapping[str, Finding]
    url: str | None = None
    model: str | None = None
    identities: Mapping[Identity, tuple[int, int]] = field(default_factory=dict)
    alpha: float = 1e-3
    cap: int = 800
    seed: int = 0
    meaning: str = "unknown"
    noise: float = 0.0
    neutral: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[Mapping[str, Any], ...] = ()
    others: Mapping[str, Finding] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)
    started: str = ""
    notes: tuple[str, ...] = ()
    stopped: str | None = None
    log: str | None = None

    @property
    def error(self) -> float:
        """The chance that any race is wrong, at most: the sum of their own errors.

        A race that leaves several answers counts, too: it has excluded the others.
        """
        found = (*self.parameters.values(), *self.others.values())
        return min(1.0, sum(each.error - each.relies for each in found if each.is_raced))

    @property
    def findings(self) -> dict[str, Finding]:
        """All findings, of parameters and others."""
        return {**self.parameters, **self.others}
