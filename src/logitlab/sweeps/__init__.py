"""Sweeps: grids of parameters over many rows of logits.

`sweep` measures every point exactly, `simulate` draws tokens at every point with the same luck.
Both return a `Sweep`.
"""

from __future__ import annotations

from logitlab.sweeps.reductions import Each, Histogram, Mean, Quantiles
from logitlab.sweeps.result import Sweep, SweepPlan
from logitlab.sweeps.run import simulate, sweep

__all__ = [
    "Each",
    "Histogram",
    "Mean",
    "Quantiles",
    "Sweep",
    "SweepPlan",
    "simulate",
    "sweep",
]
