"""A folder on a static host of this machine: the standard library's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on the loopback, and return the address, with its slash."""
    words = [sys.executable, "-um", "http.server", "0", "--bind", "127.0.0.1", "-d", str(folder)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().partition("(")[2].partition(")")[0]
        finally:
            process.terminate()
