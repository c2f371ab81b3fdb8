"""One hypothesis profile for all laws: repeatable, no deadlines on a noisy machine.

``LOGITLAB_EXAMPLES=200`` looks at more examples of every law than the 20 of a quick run.
``LOGITLAB_ARRAYS=torch`` hands each step that is called with an array one of torch's instead, and
so holds all laws of steps to that: CI does it with torch and with array_api_strict.

A seed that a test leaves to chance is the same in every run, for a gate must not close by chance.
"""

import os
import zlib
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from logitlab import draw

# These run where the engines are installed, each in a process of its own.
collect_ignore_glob = ["engines/own_code/*", "adapters/inside_*", "testing/inside_*"]

settings.register_profile(
    "logitlab",
    max_examples=int(os.environ.get("LOGITLAB_EXAMPLES", "20")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("logitlab")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Draw fresh seeds from a generator of the test's own, and not from the operating system."""
    generator = np.random.default_rng(zlib.crc32(item.nodeid.encode()))
    vars(draw)["os"] = SimpleNamespace(urandom=generator.bytes)


if library := os.environ.get("LOGITLAB_ARRAYS"):
    from logitlab import Step
    from logitlab.foreign import as_numpy

    import foreign_arrays

    xp, call = foreign_arrays.of(library), Step.__call__

    @wraps(call)
    def through(self: Step, logits: Any, context: Any = None) -> Any:
        if type(logits) is not np.ndarray or not logits.dtype.isnative:
            return call(self, logits, context)
        if library == "array_api_strict" and logits.dtype == np.float16:
            return call(self, logits, context)  # the standard has none
        given = xp.asarray(logits.copy())
        result = call(self, given, context)
        assert isinstance(result, type(given) if library == "torch" else np.ndarray)
        return as_numpy(result, "result")

    Step.__call__ = through  # type: ignore[method-assign]
