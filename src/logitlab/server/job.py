"""A request on its way: its rows, what they have brought, and whoever waits for that."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from logitlab.checks import ParameterError, Seen
from logitlab.server.messages import RefusalError
from logitlab.wire.errors import error_body

if TYPE_CHECKING:
    from logitlab.generation.result import Generation, Piece
    from logitlab.generation.row import Row

__all__ = ["Inbox", "Job", "Words", "failure"]


class Words(Protocol):
    """How an endpoint words its answers."""

    def opening(self) -> Iterable[str]:
        """Yield the events before anything is written."""

    def add(self, piece: Piece) -> Iterable[str]:
        """Yield the events that a piece brings, of which the last one ends all."""

    def body(self, answers: Sequence[Generation]) -> dict[str, Any]:
        """Return the whole response, where it is not streamed."""

    def broken(self, body: dict[str, Any]) -> Iterable[str]:
        """Yield the events of an error on the way."""


class Inbox:
    """What a job has brought, for the event loop of whoever waits.

    Other threads put things in through that loop, `Inbox.put` being called there.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._filled = asyncio.Event()

    def put(self, items: Sequence[Any]) -> None:
        """Add items, and wake whoever waits for some."""
        self._items.extend(items)
        self._filled.set()

    async def take(self) -> list[Any]:
        """Return all that is there, as soon as there is anything."""
        await self._filled.wait()
        items = list(self._items)
        self._items.clear()
        self._filled.clear()
        return items


class Job:
    """A request on its way.

    Parameters
    ----------
    rows : sequence of Row
        Their indices are 0, 1 … of this request.
    words : Words
    streams : bool
    inbox : Inbox
    pause : float
        Seconds from one token to the next, at least.

    Attributes
    ----------
    waiting : deque of Row
        Those that are not begun.
    active : list of Row
        Those that are, and not finished. Both are the writer's.
    cancelled : bool
        Whether nobody waits any longer. Written by the event loop, read by the writer.
    taken : int
        How many events the reader has got. Written by the event loop, read by the writer.
    """

    def __init__(
        self, rows: Sequence[Row], words: Words, streams: bool, inbox: Inbox, pause: float = 0.0
    ) -> None:
        self.words, self.streams, self.inbox = words, streams, inbox
        self.waiting = deque(rows)
        self.active: list[Row] = []
        self.count = len(rows)
        self.cancelled = False
        self.taken = 0
        self.due = 0.0
        self.first = 0  # where the numbers of its rows begin among those of all jobs
        self._pause = pause
        self._put = 0
        self._ended: list[tuple[int, Generation]] = []
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more."""
        return self._is_over or self.cancelled

    def is_ready(self, now: float, ahead: int) -> bool:
        """Whether its next tokens may be written: they are due, and the reader keeps up."""
        return now >= self.due and self._put - self.taken < ahead

    def wait_for_next(self) -> None:
        """See to it that the next token comes no sooner than it may."""
        if self._pause:
            now = time.monotonic()
            self.due = max((self.due or now) + self._pause, now)

    def add(self, piece: Piece) -> list[Any]:
        """Return what is to go into the inbox, for a piece of one of its rows."""
        items: list[Any] = []
        if piece.generation is not None:
            self._ended.append((piece.index, piece.generation))
            self._is_over = len(self._ended) == self.count
        if self.streams:
            items += self.words.add(piece)
            self._put += len(items)
        if self._is_over:
            answers = [answer for _, answer in sorted(self._ended, key=lambda pair: pair[0])]
            items.append(None if self.streams else answers)
        return items

    def take(self, count: int, ahead: int) -> bool:
        """Take note that the reader has got so many events, and say whether it was behind."""
        was_behind = self._put - self.taken >= ahead
        self.taken += count
        return was_behind

    def fail(self, error: BaseException) -> list[Any]:
        """Return what is to go into the inbox where something went wrong: the end, in any case."""
        if self._is_over:
            return []
        self._is_over = True
        if not self.streams:
            return [error]
        events = [*self.words.broken(failure(error)[1]), None]
        self._put += len(events)
        return events


def failure(error: BaseException, whose: str = "the model") -> tuple[int, dict[str, Any]]:
    """Return the status and the body of an error: 400 for one that tells what the caller did.

    Of another the kind alone is told: what it says may be about this machine.

    Examples
    --------
    >>> failure(OSError("/etc/secret"))[1]["error"]["message"]
    'the model must be able to go on, got OSError.'
    """
    if isinstance(error, RefusalError):
        return error.status, error_body(error.error, error.status)
    if isinstance(error, ParameterError):
        return 400, error_body(error)
    told = ParameterError(whose, "able to go on", Seen(type(error).__name__))
    return 500, error_body(told, 500)
