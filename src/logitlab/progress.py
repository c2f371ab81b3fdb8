"""What long runs have: one line of progress on a terminal, and an orderly end at Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

__all__ = ["Progress", "interruptible"]

_DELAY = 1.0  # seconds before the first line: what is quick shows none


class Progress:
    """A bar with rate and remaining time on standard error, gone when it is done.

    Parameters
    ----------
    unit : str
        What is counted: "tokens".
    shown : bool, optional
        Whether to show anything; None does where standard error is a terminal.
    stream : file, optional

    Examples
    --------
    >>> with Progress("tokens", shown=False) as progress:
    ...     progress.update(10, 100)
    """

    def __init__(self, unit: str, shown: bool | None = None, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty() if shown is None else shown
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def update(self, done: int, total: int | None) -> None:
        """Show that ``done`` of at most ``total`` are done; None where nobody knows the total."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,
                unit=f" {self._unit}",
                file=self._stream,
                delay=_DELAY,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C be asked for, instead of breaking off in the middle of a step.

    The second is raised as ever. Signals reach the main thread only.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # whoever handles it otherwise goes on to
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
