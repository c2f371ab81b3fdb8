"""The progress bar: on terminals, after a while, and gone at the end."""

from __future__ import annotations

import io

import pytest
from logitlab.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("logitlab.progress.time.monotonic", lambda: now[0])
    return now


def test_it_shows_rate_and_remaining_time(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress("tokens", shown=True, stream=stream) as bar:
        clock[0] += 0.5
        bar.update(100, 4000)
        assert stream.getvalue() == ""  # what is quick shows nothing
        clock[0] += 1.5
        bar.update(1000, 4000)
        assert stream.getvalue().endswith(
            "\r[######------------------] 1,000/4,000 tokens, 500/s, 6 s left\x1b[K"
        )
        before = stream.getvalue()
        clock[0] += 0.01
        bar.update(1001, 4000)
        assert stream.getvalue() == before
    assert stream.getvalue().endswith("\r\x1b[K")


def test_it_is_silent_where_nobody_watches(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress("tokens", stream=stream) as bar:
        clock[0] += 60
        bar.update(1, 2)
        bar.update(0, 0)
    assert stream.getvalue() == ""
