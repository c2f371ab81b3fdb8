"""What was found about one parameter: a verdict, its claims, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Claim", "Finding", "Kind", "Verdict"]

Verdict = Literal[
    "honoured",
    "ignored",
    "clamped",
    "not_honoured",
    "refused",
    "none_of_these",
    "cannot_tell",
]

# How a finding is known: by a race with a bounded error, by an answer that anybody can read,
# or by the server's own report, such as its log-probabilities.
Kind = Literal["proven", "observed", "reported"]


@dataclass(frozen=True)
class Claim:
    """What became of one value that was sent.

    Attributes
    ----------
    sent : object
        The value of the request.
    verdict : str
        ``"honoured"``, ``"not_honoured"`` (another value was used), ``"refused"`` or
        ``"cannot_tell"``.
    used : object, optional
        The value that was used instead, where only one is left.
    log_e : float
        The evidence in nats against the strongest rival of the claim.

    Examples
    --------
    >>> Claim(1.5, "clamped", used=1.0).verdict
    'not_honoured'
    """

    sent: Any
    verdict: Verdict
    used: Any = None
    log_e: float = 0.0

    def __post_init__(self) -> None:
        if self.verdict in ("ignored", "clamped", "none_of_these"):  # of one value that is all one
            object.__setattr__(self, "verdict", "not_honoured")


@dataclass(frozen=True)
class Finding:
    """What was found about one parameter.

    Attributes
    ----------
    verdict : str
        The answer that is left; ``"cannot_tell"`` where several are.
    kind : str or None
        ``"proven"``, ``"observed"`` or ``"reported"``; None of ``"cannot_tell"``, whatever it is
        given: nothing is known then.
    error : float
        The most that the chance is that a race excluded what is true, and so that of a verdict
        which is proven; 0 where there was no race.
    relies : float
        The part of it that is that of other findings, which it takes for granted.
    claims : tuple of Claim
        One for every value that was sent.
    alive : mapping of str to float
        The hypotheses that are left, with the evidence against each in nats.
    not_excluded : mapping of str to float
        Those of other answers among them, with a forecast of the requests that would exclude
        them: infinity where no request of the battery would.
    requests, tokens : int
        What it took, the tokens of answers.
    detail : str
        What else there is to say.
    says : str, optional
        The server's words of a refusal; those for single values are in ``refused_values``.
    scope : str, optional
        Of a penalty what it counts, of a seed where it repeats.
    history : tuple of (int, mapping)
        The evidence in nats against each hypothesis after each request, for pictures.

    Examples
    --------
    >>> found = Finding("honoured", "proven", 0.001, (Claim(0.5, "honoured"),), requests=12)
    >>> found.verdict, found.kind, found.claims[0].sent
    ('honoured', 'proven', 0.5)
    >>> Finding("cannot_tell", "proven", 0.001).kind
    """

    verdict: Verdict
    kind: Kind | None
    error: float = 0.0
    claims: tuple[Claim, ...] = ()
    alive: Mapping[str, float] = field(default_factory=dict)
    not_excluded: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0
    detail: str = ""
    says: str | None = None
    refused_values: Mapping[str, str] = field(default_factory=dict)
    scope: str | None = None
    history: tuple[tuple[int, Mapping[str, float]], ...] = field(default=(), repr=False)
    relies: float = 0.0

    def __post_init__(self) -> None:
        if self.verdict == "cannot_tell":
            object.__setattr__(self, "kind", None)

    @property
    def is_raced(self) -> bool:
        """Whether a race excluded something, with its error: what is left may be no verdict."""
        return self.kind in ("proven", None) and self.error > 0
