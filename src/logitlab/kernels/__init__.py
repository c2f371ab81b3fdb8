"""Compiled kernels over rows of logits, where the installation has them.

`rows` is the extension module, or None: where no compiler was found when logitlab was installed,
where the environment says ``LOGITLAB_KERNELS=0``, and inside `off`. Whoever uses it looks at that
name when called, and does the same work in numpy where it is None. Kernels never change a result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

__all__ = ["off", "rows"]


def _found() -> ModuleType | None:
    if os.environ.get("LOGITLAB_KERNELS") == "0":
        return None
    try:
        return import_module("logitlab.kernels._rows")
    except ImportError:  # not built, or built for another machine
        return None


rows: ModuleType | None = _found()


@contextmanager
def off() -> Iterator[None]:
    """Do without the kernels inside a ``with`` block, in every thread: for tests and benchmarks.

    Examples
    --------
    >>> from logitlab import kernels
    >>> with kernels.off():
    ...     kernels.rows is None
    True
    """
    global rows
    kept, rows = rows, None
    try:
        yield
    finally:
        rows = kept
