"""What is found of an endpoint as a whole: the engines that it may be, what it does by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Defaults", "Dialects"]


@dataclass(frozen=True)
class Dialects:
    """The engines that are left.

    Attributes
    ----------
    alive : tuple of str
        Those that neither the race nor the scope of a penalty has excluded.
    ranking : tuple of (str, float)
        All by their weight after the race, which proves nothing.
    order : {"before", "after", "unknown"}
        Whether all that are left apply temperature before the truncations, or after them.
    scopes : mapping of str to str
        What penalties count, where a race has told.
    vote : tuple of str
        The engines that refuse just what the server has refused of `EDGES`.
    refused : mapping of str to str
        The server's words, by value.
    requests : int
    error : float
    """

    alive: tuple[str, ...] = ()
    ranking: tuple[tuple[str, float], ...] = ()
    order: str = "unknown"
    scopes: Mapping[str, str] = field(default_factory=dict)
    vote: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    requests: int = 0
    error: float = 0.0


@dataclass(frozen=True)
class Defaults:
    """What an empty request may mean.

    Attributes
    ----------
    alive : tuple of str
        The bundles that are left, as words.
    neutral : {"refuted", "possible"}
        Whether it may be neutral: temperature 1, and nothing cut.
    ranges : mapping of str to (float, float)
        Between which each parameter lies in all bundles that are left.
    requests : int
    error : float
        Of what is refuted.
    """

    alive: tuple[str, ...] = ()
    neutral: str = "possible"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    requests: int = 0
    error: float = 0.0
