"""The progress bar: on terminals, after a while, and gone at the end."""

from __future__ import annotations

import io

import pytest
from logitlab import progress
from logitlab.progress import Progress


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_DELAY", 0.0)


@pytest.mark.usefixtures("quick")
def test_it_shows_what_is_done_and_is_gone_at_the_end() -> None:
    stream = io.StringIO()
    with Progress("tokens", shown=True, stream=stream) as bar:
        bar.update(100, 4000)
        shown = stream.getvalue()
        assert "100/4000" in shown
        assert "tokens/s" in shown
    assert stream.getvalue().endswith("\r")


@pytest.mark.usefixtures("quick")
def test_a_total_that_nobody_knows() -> None:
    stream = io.StringIO()
    with Progress("rows", shown=True, stream=stream) as bar:
        bar.update(100, None)
    assert "100 rows" in stream.getvalue()


def test_what_is_quick_shows_nothing() -> None:
    stream = io.StringIO()
    with Progress("tokens", shown=True, stream=stream) as bar:
        bar.update(100, 4000)
    assert stream.getvalue().strip() == ""


def test_it_is_silent_where_nobody_watches() -> None:
    stream = io.StringIO()
    with Progress("tokens", stream=stream) as bar:
        bar.update(1, 2)
        bar.update(0, 0)
    assert stream.getvalue() == ""
