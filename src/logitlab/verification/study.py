"""One examination of an endpoint: what is known so far, and the one door through which it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from logitlab.checks import counted
from logitlab.verification.answer import Answer
from logitlab.verification.finding import Finding

if TYPE_CHECKING:
    from logitlab.verification.backgrounds import Backgrounds
    from logitlab.verification.observed import Observed
    from logitlab.verification.whole import Defaults, Dialects

__all__ = ["Spent", "Study"]


class Spent(Exception):  # noqa: N818 - it ends the examination, and is no fault
    """The cap of requests is reached, or a log that is read offline has no more answers."""


@dataclass
class Study:
    """What is known of an endpoint so far. Stages ask through it, and add their findings.

    Attributes
    ----------
    send : callable
        From a list of request bodies, asked together, to their answers.
    alpha : float
        The error of each race.
    cap : int
        The most requests.
    neutral : dict
        The keys that the server takes, with the values that change nothing.
    logprobs : dict
        What asks for log-probabilities; empty where the server gives none.
    observed : dict of str to Observed
        The distribution of the first token after each prompt, as far as it was reported.
    findings : dict of str to Finding
        What was found, by parameter.
    """

    send: Callable[[Sequence[Mapping[str, Any]]], list[Answer]]
    alpha: float = 1e-3
    cap: int = 800
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    prompts: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)  # sent with every request: model, provider
    chat: bool = True
    limit: str = "max_tokens"  # as the server calls it
    least: int = 1  # the fewest tokens that it lets one ask for
    neutral: dict[str, Any] = field(default_factory=dict)
    logprobs: dict[str, Any] = field(default_factory=dict)
    meaning: str = "unknown"  # raw, penalised, tempered, processed, filtered, unknown
    vocabulary: int = 200_000  # the most tokens that its vocabulary may have
    pieces: Callable[[str], list[bytes]] | None = None  # the tokens of a prompt, if known
    observed: dict[str, Observed] = field(default_factory=dict)
    backgrounds: Backgrounds | None = None
    findings: dict[str, Finding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # sentences that a report has to say
    is_cached: bool = False  # equal requests get one answer, so that draws prove nothing
    dialects: Dialects | None = None
    defaults: Defaults | None = None
    frames: list[int | None] = field(default_factory=list)  # tokens of the template, once counted
    requests: int = 0
    tokens: int = 0

    def body(
        self, prompt: str, tokens: int = 1, *, plain: bool = False, **parameters: Any
    ) -> dict[str, Any]:
        """Return a request: the neutral values, then `parameters`; `plain` leaves them out.

        A parameter that is None is left out, even where it has a neutral value.
        """
        said = (
            {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        )
        given = ({} if plain else self.neutral) | self.logprobs | parameters
        kept = {key: value for key, value in given.items() if value is not None}
        return self.extra | said | {self.limit: max(tokens, self.least)} | kept

    def ask(
        self, prompt: str, tokens: int = 1, *, plain: bool = False, **parameters: Any
    ) -> Answer:
        """Send one request, and return its answer."""
        return self.together([self.body(prompt, tokens, plain=plain, **parameters)])[0]

    def together(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Send requests at once, and return their answers in order."""
        if self.requests + len(bodies) > self.cap:
            raise Spent(f"the cap of {counted(self.cap, 'request')} is reached")
        answers = self.send(bodies)
        self.requests += len(bodies)
        self.tokens += sum(answer.tokens[1] for answer in answers)
        return answers

    @property
    def tops(self) -> int | None:
        """How many log-probabilities of a token are asked for, None if that is not said."""
        told = self.logprobs.get("top_logprobs", self.logprobs.get("logprobs"))
        return None if told is None or isinstance(told, bool) else int(told)

    def verdict(self, key: str) -> str | None:
        """Return what was found about a parameter, None if nothing yet."""
        return self.findings[key].verdict if key in self.findings else None
