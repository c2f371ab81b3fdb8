"""Threads of the process: what becomes of them after an error, and at the end."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from logitlab.sampling.threads import spread


def test_after_an_error_no_thread_goes_on_with_the_rest() -> None:
    done = []

    def run(start: int, stop: int) -> None:
        if start == 0:
            raise KeyboardInterrupt
        done.append(start)
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        spread(run, 400, 2)
    time.sleep(0.2)
    assert len(done) <= 2


def test_an_error_of_the_work_is_raised_whatever_its_kind() -> None:
    def run(start: int, stop: int) -> int:
        if start == 30:
            raise RuntimeError("the work's own")
        return stop - start

    with pytest.raises(RuntimeError, match="the work's own"):
        spread(run, 40, 2)
    assert sum(spread(lambda start, stop: stop - start, 41, 3)) == 41


def test_threads_are_not_needed_where_none_can_begin() -> None:
    code = (
        "import atexit, numpy as np, logitlab as ll\n"
        "draw = lambda: print(ll.sample(np.eye(4, 9000), {'top_k': 1}, threads=2).tokens)\n"
        "atexit.register(draw)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.stdout == "[0 1 2 3]\n", told.stderr
