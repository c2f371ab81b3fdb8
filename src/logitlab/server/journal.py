"""What was asked of a server, and how it ended: for the tests of an application to look at."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

__all__ = ["Entry", "Journal"]

_ENTRIES = 1000
_LONGEST = 1 << 16


class Entry:
    """One request.

    Attributes
    ----------
    number : int
        Which it is of all; the first has 1.
    path : str
    request : object
        Its body, or None before it is read, and where it is no JSON or long.
    size : int
        Bytes of that.
    status : int or None
        None while it is on its way.
    rule : int or None
        Which rule of the script answered it.
    outcome : str
        "finished", "refused", "gone" if the client went away, or "" while it is on its way.
    """

    def __init__(self, number: int, path: str) -> None:
        self.number, self.path = number, path
        self.at = time.time()
        self.request: Any = None
        self.size = 0
        self.status: int | None = None
        self.rule: int | None = None
        self.outcome = ""

    def keep(self, request: Any, size: int) -> None:
        """Take the body of the request, unless it is long."""
        self.size = size
        self.request = request if size <= _LONGEST else None

    def report(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dict(vars(self))


class Journal:
    """The last 1,000 requests, oldest first; bodies of more than 64 KiB are left out of them.

    Examples
    --------
    >>> journal = Journal()
    >>> journal.begin("/v1/chat/completions").number
    1
    >>> [entry["path"] for entry in journal.report()["requests"]]
    ['/v1/chat/completions']
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_ENTRIES)
        self._count = 0
        self._lock = threading.Lock()

    def begin(self, path: str) -> Entry:
        """Return the entry of a request that has come."""
        with self._lock:
            self._count += 1
            entry = Entry(self._count, path)
            self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget all entries; numbers go on."""
        with self._lock:
            self._entries.clear()

    def report(self) -> dict[str, Any]:
        """Return it as JSON."""
        with self._lock:
            entries = list(self._entries)
        return {"count": self._count, "requests": [entry.report() for entry in entries]}
