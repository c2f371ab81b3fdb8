"""How long to wait before a request is sent again, and after which answers."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np

__all__ = ["LONGEST", "Delays", "is_passing", "told_seconds"]

LONGEST = 60.0
"""Seconds that a wait lasts at most, whatever a server says."""

_FIRST = 0.5


def is_passing(status: int) -> bool:
    """Whether an error may be gone the next time. Any other is an answer.

    Examples
    --------
    >>> [status for status in (400, 404, 408, 409, 422, 425, 429, 500, 503) if is_passing(status)]
    [408, 409, 425, 429, 500, 503]
    """
    return status in (408, 409, 425, 429) or status >= 500


def told_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds of a ``Retry-After``: a number, or a date; None for none, or nonsense.

    Examples
    --------
    >>> told_seconds("2.5"), told_seconds("soon")
    (2.5, None)
    >>> told_seconds("Fri, 27 Nov 2026 12:00:30 GMT", datetime(2026, 11, 27, 12, tzinfo=UTC))
    30.0
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
        seconds = max(seconds, 0.0)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


class Delays:
    """Waits that grow twofold, half of each left to chance, so that clients do not come together.

    ``min(LONGEST, 0.5 · 2^attempt · (1/2 + u))`` seconds, u uniform; where the server tells a time,
    that one, and at most `LONGEST`.

    Examples
    --------
    >>> delays = Delays()
    >>> all(0.25 * 2**k <= delays.seconds(k, None) <= 0.75 * 2**k for k in range(5))
    True
    >>> delays.seconds(0, "3"), delays.seconds(0, "86400")
    (3.0, 60.0)
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng, self._lock = np.random.default_rng(seed), threading.Lock()

    def seconds(self, attempt: int, retry_after: str | None) -> float:
        """Return the wait after an attempt, of which the first is 0."""
        told = told_seconds(retry_after)
        if told is not None:
            return min(told, LONGEST)
        with self._lock:
            chance = float(self._rng.random())
        return float(min(LONGEST, _FIRST * 2.0 ** min(attempt, 20) * (0.5 + chance)))
