"""Chunks on an executor: a bounded number in flight, each tried again where it fails."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from logitlab.checks import ParameterError
from logitlab.sweeps.chunks import Chunk
from logitlab.sweeps.reductions import Part
from logitlab.sweeps.work import Job

__all__ = ["TRIES", "Here", "execute", "is_local"]

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


def is_local(executor: Executor) -> bool:
    """Whether it works in this process, where another try helps against a disk at most."""
    from concurrent.futures import ThreadPoolExecutor  # not there in every Python

    return isinstance(executor, Here | ThreadPoolExecutor)


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
        For a chunk that has failed `TRIES` times, with its rows; here once, unless a file failed.
    """
    _Queue(job, chunks, executor, in_flight, collect).run()


@dataclass
class _Queue:
    """Chunks to come, those in flight, and those to be tried again."""

    job: Job
    chunks: Iterator[Chunk]
    executor: Executor
    in_flight: int
    collect: Callable[[Chunk, Part], None]
    own: Executor | None = None
    pending: dict[Future[Part], Chunk] = field(default_factory=dict)
    again: deque[Chunk] = field(default_factory=deque)
    suspects: deque[Chunk] = field(default_factory=deque)
    failures: Counter[int] = field(default_factory=Counter)
    refusals: int = 0  # broken pools in a row that took nothing

    def run(self) -> None:
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
                raise RuntimeError(f"{chunk} could not be sent: {_sentence(error)}") from error
            self._replace_pool([chunk], error)
            return False
        self.refusals = 0
        return True

    def _take(self, done: dict[Future[Part], Chunk]) -> None:
        is_alone = len(done) == 1 and not self.pending
        suspects: list[Chunk] = []
        breakage: BrokenExecutor | None = None
        for future, chunk in done.items():
            error = None if future.cancelled() else future.exception()
            if isinstance(error, ParameterError):
                raise error
            if isinstance(error, BrokenExecutor):
                suspects.append(chunk)
                breakage = error
            elif error is not None or future.cancelled():
                self._count_failure(chunk, error)
                self.again.append(chunk)
            else:
                self.collect(chunk, future.result())
        if breakage is not None:
            if is_alone:
                self._count_failure(suspects[0], breakage)
            self._replace_pool(suspects, breakage)

    def _count_failure(self, chunk: Chunk, error: BaseException | None) -> None:
        self.failures[chunk.start] += 1
        if is_local(self.executor) and not isinstance(error, OSError | None):
            raise RuntimeError(f"{chunk} failed with {_sentence(error)}") from error
        if self.failures[chunk.start] >= TRIES:
            why = "cancelled" if error is None else _sentence(error)
            raise RuntimeError(f"{chunk} failed {TRIES} times, the last time with {why}") from error

    def _replace_pool(self, chunks: Iterable[Chunk], error: BrokenExecutor) -> None:
        """Take a new pool, and suspect whatever was in flight."""
        from concurrent.futures import ProcessPoolExecutor  # not there in every Python

        suspects = [*chunks, *self.pending.values()]
        self.pending.clear()
        self.suspects.extendleft(reversed(suspects))
        pool = self.executor
        # What is behind a pool of another kind, nobody here can start again.
        if not isinstance(pool, ProcessPoolExecutor):
            rows = f"rows {min(chunk.start for chunk in suspects)} and others"
            raise RuntimeError(f"the executor broke while it had {rows}: {error}") from error
        pool.shutdown(wait=True, cancel_futures=True)
        state = pool._max_workers, pool._mp_context, pool._initializer, pool._initargs  # type: ignore[attr-defined]
        self.executor = self.own = ProcessPoolExecutor(*state)


def _sentence(error: BaseException) -> str:
    sentence = f"{type(error).__name__}: {error}"
    if type(error).__name__ == "BrokenProcessPool":
        sentence += (
            " A script that starts processes calls sweep under `if __name__ == '__main__':`, or"
            " every worker runs the script again."
        )
    return sentence
