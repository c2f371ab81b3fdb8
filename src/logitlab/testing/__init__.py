"""An oracle for people who write a sampler, in numpy, torch, a kernel or an engine.

`check` hands a sampler rows that break samplers and judges what comes back, whatever it is.
`rows`, `requests` and `contexts` are strategies of hypothesis, for tests of your own.

>>> import numpy as np
>>> from logitlab import testing
>>> def hot(row):  # probabilities at temperature 0.8
...     weight = np.exp((row - row.max()) / 0.8)
...     return weight / weight.sum()
>>> print(testing.check(hot, {"temperature": 0.8}))
probabilities: 78 rows in 79 calls; rounding decides on 0.00% of their tokens
"""

from typing import TYPE_CHECKING, Any

from logitlab.testing.checking import Checked, check
from logitlab.testing.laws import LAWS
from logitlab.testing.row_kinds import KINDS
from logitlab.testing.telling import SamplerError

if TYPE_CHECKING:
    from logitlab.testing.strategies import contexts, requests, rows

__all__ = ["KINDS", "LAWS", "Checked", "SamplerError", "check", "contexts", "requests", "rows"]


def __getattr__(name: str) -> Any:
    if name in ("contexts", "requests", "rows"):  # these alone need hypothesis
        from logitlab.testing import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
