"""Chunks on an executor: a bounded number in flight, each tried again where it fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any

from logitlab.checks import ParameterError
from logitlab.sweeps.chunks import Chunk
from logitlab.sweeps.reductions import Part
from logitlab.sweeps.work import Job

__all__ = ["TRIES", "Here", "execute"]

TRIES = 3


class Here(Executor):
    """An executor that does everything at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it, and return a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def execute(
    job: Job,
    chunks: Iterator[Chunk],
    executor: Executor,
    in_flight: int,
    collect: Callable[[Chunk, Part], None],
) -> None:
    """Do all chunks, and hand what they come to to ``collect``, in any order.

    A pool of processes that a killed worker has broken is replaced by one of its like. Chunks that
    were in flight then run one at a time, so that the one that kills workers is found out.

    Raises
    ------
    ParameterError
        What a worker raised, as it is: another try would change nothing.
    RuntimeError
        For a chunk that has failed `TRIES` times, with its rows.
    """
    _Run(job, chunks, executor, in_flight, collect).all()


class _Run:
    def __init__(
        self,
        job: Job,
        chunks: Iterator[Chunk],
        executor: Executor,
        in_flight: int,
        collect: Callable[[Chunk, Part], None],
    ) -> None:
        self.job = job
        self.chunks = chunks
        self.executor = executor
        self.in_flight = in_flight
        self.collect = collect
        self.own: Executor | None = None
        self.pending: dict[Future[Part], Chunk] = {}
        self.again: deque[Chunk] = deque()
        self.suspects: deque[Chunk] = deque()
        self.failures: dict[int, int] = {}
        self.refusals = 0  # broken pools in a row that took nothing

    def all(self) -> None:
        try:
            self._fill()
            while self.pending or self.suspects:
                if self.pending:
                    done = wait(self.pending, return_when=FIRST_COMPLETED).done
                    self._take({future: self.pending.pop(future) for future in done})
                self._fill()
        finally:
            for future in self.pending:
                future.cancel()
            if self.own:
                self.own.shutdown(cancel_futures=True)

    def _fill(self) -> None:
        if self.suspects:
            if not self.pending:
                self._submit(self.suspects.popleft())
            return
        while len(self.pending) < self.in_flight:
            chunk = self.again.popleft() if self.again else next(self.chunks, None)
            if chunk is None or not self._submit(chunk):
                return

    def _submit(self, chunk: Chunk) -> bool:
        try:
            self.pending[self.executor.submit(self.job, chunk)] = chunk
        except BrokenExecutor as error:
            self.refusals += 1
            if self.refusals >= TRIES:
                raise RuntimeError(f"{_rows(chunk)} could not be sent: {_told(error)}") from error
            self._broken([chunk], error, alone=False)
            return False
        self.refusals = 0
        return True

    def _take(self, done: dict[Future[Part], Chunk]) -> None:
        alone = len(done) == 1 and not self.pending
        broken: list[Chunk] = []
        last: BrokenExecutor | None = None
        for future, chunk in done.items():
            error = None if future.cancelled() else future.exception()
            if isinstance(error, ParameterError):
                raise error
            if isinstance(error, BrokenExecutor):
                broken.append(chunk)
                last = error
            elif error is not None or future.cancelled():
                self._failed(chunk, error)
                self.again.append(chunk)
            else:
                self.collect(chunk, future.result())
        if last is not None:
            self._broken(broken, last, alone)

    def _failed(self, chunk: Chunk, error: BaseException | None) -> None:
        self.failures[chunk.start] = self.failures.get(chunk.start, 0) + 1
        if self.failures[chunk.start] >= TRIES:
            why = "cancelled" if error is None else _told(error)
            message = f"{_rows(chunk)} failed {TRIES} times, the last time with {why}"
            raise RuntimeError(message) from error

    def _broken(self, chunks: list[Chunk], error: BrokenExecutor, alone: bool) -> None:
        """Take a new pool, and suspect whatever was in flight."""
        suspected = [*chunks, *self.pending.values()]
        self.pending.clear()
        self.suspects.extendleft(reversed(suspected))
        if alone:
            self._failed(chunks[0], error)
        from concurrent.futures import ProcessPoolExecutor  # not there in every Python

        # What is behind a pool of another kind, nobody here can start again.
        if not isinstance(self.executor, ProcessPoolExecutor):
            rows = f"rows {min(chunk.start for chunk in suspected)} and others"
            raise RuntimeError(f"the executor broke while it had {rows}: {error}") from error
        before = self.executor
        before.shutdown(wait=True, cancel_futures=True)
        self.executor = self.own = ProcessPoolExecutor(
            before._max_workers,  # type: ignore[attr-defined]
            before._mp_context,
            before._initializer,
            before._initargs,
        )


def _rows(chunk: Chunk) -> str:
    return f"rows {chunk.start} to {chunk.stop - 1}"


def _told(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "BrokenProcessPool":
        told += (
            " A script that starts processes calls sweep under `if __name__ == '__main__':`, or"
            " every worker runs the script again."
        )
    return told
