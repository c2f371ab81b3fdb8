"""Compiled kernels over rows of logits, where the installation has them.

`rows` is the extension module, or None: where no compiler was found when logitlab was installed,
where the environment says ``LOGITLAB_KERNELS=0`` (or off, no, false), and inside `off`. Whoever
uses it looks at that name when called, once, and does the same work in numpy where it is None; what
has decided for the kernels calls `built`, which stays when another thread enters `off`. Kernels
change no token and no survivor; sums, and so log-probabilities, may be rounded otherwise in their
last bits.

The number of ``INTERFACE``, here and in ``module.c``, grows whenever functions of the extension
come, go or take other arguments: in an editable installation it may be older than this file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

__all__ = ["built", "off", "rows"]

INTERFACE = 3


_OFF = frozenset({"0", "off", "no", "false"})


def _found() -> ModuleType | None:
    if os.environ.get("LOGITLAB_KERNELS", "").lower() in _OFF:
        return None
    try:
        module = import_module("logitlab.kernels._rows")
    except ImportError:  # not built, or built for another machine
        return None
    return module if getattr(module, "INTERFACE", 0) == INTERFACE else None


built: ModuleType | None = _found()
rows = built

_lock = threading.Lock()
_without = 0  # how many blocks do without them now


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
    global rows, _without
    with _lock:
        _without, rows = _without + 1, None
    try:
        yield
    finally:
        with _lock:
            _without -= 1
            rows = None if _without else built
