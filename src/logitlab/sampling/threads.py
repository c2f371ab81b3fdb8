"""Rows in parts, each in a thread of one pool for the process."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import cache
from itertools import chain, pairwise
from typing import Any

__all__ = ["spread"]

_MOST_THREADS = 64
_PARTS = 4  # for each thread


def spread(run: Callable[[int, int], Any], count: int, threads: int) -> list[Any]:
    """Call ``run`` with the ends of parts of so many rows, in so many threads, in any order.

    There are some parts for each thread, so that none waits long for a slower one.
    """
    workers = min(threads, count, _MOST_THREADS)
    if workers == 1:
        return [run(0, count)]
    parts = min(_PARTS * workers, count)
    cuts = [count * i // parts for i in range(parts + 1)]
    waiting = deque(pairwise(cuts))

    def work() -> list[Any]:
        done = []
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:  # another thread was faster
                break
            done.append(run(*part))
        return done

    futures = []
    try:
        for _ in range(workers):
            futures.append(_pool().submit(work))
    except RuntimeError:  # no thread begins once the interpreter ends, and in some none at all
        pass
    try:
        done = work() if len(futures) < workers else []
        return [*done, *chain.from_iterable(future.result() for future in futures)]
    finally:
        waiting.clear()  # after an error, or Ctrl-C, nobody waits for the rest


@cache
def _pool() -> Any:
    """Return the threads of this process, which begin when they are first needed."""
    from concurrent.futures import ThreadPoolExecutor  # not there in every Python

    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="logitlab")


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
