"""Who answered: the deployment behind an endpoint, and what happens where it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from logitlab.checks import counted
from logitlab.verification.wording import harmless

__all__ = ["Identity", "Watch"]

_MOST_SEEN = 64  # of a server that has a new name for each answer


class Identity(NamedTuple):
    """Who answered, as far as the answer says it."""

    model: str | None = None
    provider: str | None = None
    fingerprint: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Identity:
        """Return the identity that a document names."""
        named = (document.get(key) for key in ("model", "provider", "system_fingerprint"))
        return cls(*(None if each is None else harmless(str(each))[:200] for each in named))

    def __str__(self) -> str:
        return " ".join(filter(None, self)) or "nameless"


@dataclass
class Watch:
    """Keeps an examination to one deployment: what another one answers belongs to another.

    The first requests choose it: the one that most of their answers name. A fingerprint that is
    new with nearly each of them names nothing, and is not looked at.

    Examples
    --------
    >>> watch = Watch()
    >>> for name in ("a", "b", "a"):
    ...     watch.see({"system_fingerprint": name})
    >>> watch.settle()
    >>> watch.is_home({"system_fingerprint": "a"}), watch.is_home({"system_fingerprint": "b"})
    (True, False)
    """

    seen: dict[Identity, tuple[int, int]] = field(default_factory=dict)
    answers: int = 0
    home: Identity | None = None
    has_fingerprints: bool = True

    def see(self, document: Mapping[str, Any]) -> None:
        """Count an answer: how many of each identity, and the number of the first."""
        self.answers += 1
        identity = self._of(document)
        if identity in self.seen or len(self.seen) < _MOST_SEEN:
            count, first = self.seen.get(identity, (0, self.answers))
            self.seen[identity] = count + 1, first

    def settle(self) -> None:
        """Choose the deployment."""
        if len(self.seen) > max(2, 0.6 * self.answers):
            self.has_fingerprints = False
            merged: dict[Identity, tuple[int, int]] = {}
            for identity, (count, first) in self.seen.items():
                named = identity._replace(fingerprint=None)
                known, earlier = merged.get(named, (0, first))
                merged[named] = known + count, earlier
            self.seen = merged
        counts = Counter({identity: count for identity, (count, _) in self.seen.items()})
        self.home = counts.most_common(1)[0][0] if counts else None

    def is_home(self, document: Mapping[str, Any]) -> bool:
        """Whether an answer is of the chosen deployment; any is before it is chosen."""
        return self.home is None or self._of(document) == self.home

    def _of(self, document: Mapping[str, Any]) -> Identity:
        identity = Identity.of(document)
        return identity if self.has_fingerprints else identity._replace(fingerprint=None)

    def sentences(self) -> list[str]:
        """Return what a report has to say of changes."""
        told = []
        if not self.has_fingerprints:
            told.append("The fingerprint differs from answer to answer, and was not looked at.")
        if len(self.seen) > 1:
            parts = [
                f"{identity} {counted(count, 'time')} from answer {first}"
                for identity, (count, first) in list(self.seen.items())[:4]
            ]
            told.append(
                f"The answers name {len(self.seen)} deployments: {'; '.join(parts)}. What is said "
                f"here is about {self.home or 'all of them'}; what others answered was asked for "
                "again."
            )
        return told
