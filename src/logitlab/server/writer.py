"""The thread that writes: it alone asks the model, for all requests at once."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from logitlab.checks import ParameterError, Seen
from logitlab.generation.loop import Loop
from logitlab.models.model import Model
from logitlab.server.job import Inbox, Job
from logitlab.server.messages import RefusalError

if TYPE_CHECKING:
    from logitlab.generation.result import Piece
    from logitlab.generation.row import Row

__all__ = ["AHEAD", "Writer"]

AHEAD = 256
"""Events that a reader may be behind, before its rows wait."""

_IDLE = 1.0  # seconds after which a thread without work ends: the next request begins another
_CAPPED = 3600.0  # longest wait in one go

_log = logging.getLogger("logitlab.server")


class Writer:
    """Writes the answers to all requests, one token of each at a time.

    A request joins when there is room and leaves when it is finished, or nobody waits for it any
    more. Which rows are written together changes no bit of any of them, where the model promises
    that. Requests of a reader who is behind, or whose next token is not due, wait, and others take
    their place; so do others where one has most of the batch. What goes wrong with one row ends its
    own request only.

    The answers to one request go on together, so that their pieces come in the order that they
    have where nobody else asks.

    Parameters
    ----------
    model : Model
    batch_size : int
        Rows at a time: as long as there are fewer another request joins, with as many as it has,
        but no more than so many of its own at a time.
    """

    def __init__(self, model: Model, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._new: list[Job] = []
        self._calls: list[tuple[Callable[[], Any], Inbox]] = []
        self._closed = False
        self._numbers = itertools.count()
        # What follows is the thread's own.
        self._waiting: deque[Job] = deque()
        self._begun: list[Job] = []
        self._of: dict[int, Job] = {}  # by the index of a row that is on its way

    def submit(self, job: Job) -> None:
        """Take a request.

        Raises
        ------
        RefusalError
            503 once it is closed.
        """
        with self._changed:
            self._begin()
            self._new.append(job)

    def call(self, function: Callable[[], Any], inbox: Inbox) -> None:
        """Take a function that asks the model, to be called between two tokens.

        Into the inbox goes what it returns, in a tuple, or what it raises.

        Raises
        ------
        RefusalError
            503 once it is closed.
        """
        with self._changed:
            self._begin()
            self._calls.append((function, inbox))

    def _begin(self) -> None:
        """See to it that there is a thread; the lock is held."""
        if self._closed:
            raise closing()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="logitlab-writer", daemon=True)
            self._thread = thread
            thread.start()
        self._changed.notify()

    def look(self) -> None:
        """Look whether readers have gone away, or caught up."""
        with self._changed:
            self._changed.notify()

    def close(self, seconds: float = 5.0) -> None:
        """End what is on its way, and the thread: at the latest after the token it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            error: Exception | None = None
            try:
                self._write()
            except Exception as defect:  # nobody may wait for ever
                _log.exception("the writer failed")
                error = defect
            with self._changed:
                if error is None and (self._new or self._calls) and not self._closed:
                    continue  # it came just now
                self._thread = None
                self._end_all(error or closing())
                return

    def _write(self) -> None:
        """Write until there is nothing to do, or it is closed."""
        loop = Loop(self._model, [], self._batch_size)
        while True:
            with self._changed:
                jobs = self._next_jobs()
                calls, self._calls = ([], self._calls) if self._closed else (self._calls, [])
            if not jobs and not calls:
                return
            for function, inbox in calls:
                _answer(function, inbox)
            rows = [row for job in jobs for row in job.active]
            broken: list[tuple[Row, Exception]] = []
            pieces = loop.draw(rows, broken)
            self._hand_over(pieces, broken)
            for job in jobs:
                job.wait_for_next()
                self._drop_finished(job)

    def _next_jobs(self) -> list[Job]:
        """Return the jobs of which the next tokens are to be written, none to end the thread."""
        idle_since = time.monotonic()
        while not self._closed:
            self._waiting.extend(self._new)
            self._new.clear()
            self._drop_cancelled()
            now = time.monotonic()
            jobs = self._ready_jobs(now)
            if jobs or self._calls:
                return jobs
            left = [*self._begun, *self._waiting]
            if not left and now - idle_since >= _IDLE:
                break
            waits = [job.due - now for job in left if job.due > now]
            self._changed.wait(min([*waits, _CAPPED] if left else [_IDLE]))
        return []

    def _ready_jobs(self, now: float) -> list[Job]:
        """Choose the jobs that go on, and let others begin where there is room."""
        count = 0
        chosen: list[Job] = []
        passed: list[Job] = []
        for job in self._begun:
            if count < self._batch_size and job.is_ready(now, AHEAD):
                chosen.append(job)
                count += self._fill(job)
            else:
                passed.append(job)
        while self._waiting and count < self._batch_size:
            chosen.append(self._first_waiting())
            count += self._fill(chosen[-1])
        if self._waiting and any(len(job.active) > self._batch_size // 2 for job in chosen):
            passed.append(self._first_waiting())  # one with so many does not keep others out
        self._begun = passed + chosen  # whoever was passed over comes first the next time
        return chosen

    def _first_waiting(self) -> Job:
        """Return the next job that begins, with numbers for its rows."""
        job = self._waiting.popleft()
        job.first = next(self._numbers)
        for _ in range(job.count - 1):
            next(self._numbers)
        return job

    def _fill(self, job: Job) -> int:
        """Let rows of a job begin in the place of those that are finished; return how many go."""
        while job.waiting and len(job.active) < self._batch_size:
            row = job.waiting.popleft()
            row.index += job.first
            self._of[row.index] = job
            job.active.append(row)
        return len(job.active)

    def _drop_cancelled(self) -> None:
        """Forget the jobs that are over: their rows leave the batch."""
        self._waiting = deque(job for job in self._waiting if not job.is_over)
        for job in self._begun:
            if job.is_over:
                for row in job.active:
                    del self._of[row.index]
                job.active = []
        self._begun = [job for job in self._begun if not job.is_over]

    def _drop_finished(self, job: Job) -> None:
        for row in job.active:
            if row.finish is not None:
                del self._of[row.index]
        job.active = [row for row in job.active if row.finish is None]

    def _hand_over(self, pieces: Sequence[Piece], broken: Sequence[tuple[Row, Exception]]) -> None:
        """Send what there is to the event loops of those who wait."""
        posts: dict[AbstractEventLoop, list[tuple[Inbox, list[Any]]]] = {}
        for piece in pieces:
            job = self._of[piece.index]
            try:
                items = job.add(replace(piece, index=piece.index - job.first))
            except Exception as error:
                if not isinstance(error, ParameterError):
                    _log.exception("an answer could not be worded")
                items = job.fail(error)
            if items:
                posts.setdefault(job.inbox.loop, []).append((job.inbox, items))
        for row, cause in broken:
            if not isinstance(cause, ParameterError):
                _log.error("the model failed", exc_info=cause)
            job = self._of[row.index]
            if items := job.fail(cause):
                posts.setdefault(job.inbox.loop, []).append((job.inbox, items))
        for loop, post in posts.items():
            with suppress(RuntimeError):  # the loop is closed, and nobody waits there
                loop.call_soon_threadsafe(_deliver, post)

    def _end_all(self, error: Exception) -> None:
        """Tell everybody who waits that nothing comes any more."""
        for job in {*self._new, *self._waiting, *self._begun}:
            if items := job.fail(error):
                with suppress(RuntimeError):
                    job.inbox.loop.call_soon_threadsafe(job.inbox.put, items)
        for _, inbox in self._calls:
            _post(inbox, error)
        self._new.clear()
        self._calls.clear()
        self._waiting.clear()
        self._begun.clear()
        self._of.clear()


def closing() -> RefusalError:
    """Return what is said to whoever asks, or waits, while the server ends."""
    error = ParameterError("the server", "running", Seen("a signal to end"))
    return RefusalError(503, error, {"retry-after": "5"})


def _answer(function: Callable[[], Any], inbox: Inbox) -> None:
    try:
        item: Any = (function(),)
    except Exception as error:
        item = error
    _post(inbox, item)


def _post(inbox: Inbox, item: Any) -> None:
    with suppress(RuntimeError):  # nobody waits there any more
        inbox.loop.call_soon_threadsafe(inbox.put, [item])


def _deliver(post: Sequence[tuple[Inbox, list[Any]]]) -> None:
    for inbox, items in post:
        inbox.put(items)
