"""What a worker of `simulate` does: tokens drawn from a chunk of rows at all points of a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from logitlab.arrays import FloatArray, IntArray
from logitlab.sampling.logprobs import logprobs
from logitlab.sampling.sampler import sample
from logitlab.steps.context import Context
from logitlab.sweeps.measures import Measure, numbers_of
from logitlab.sweeps.work import Job
from numpy.typing import NDArray

__all__ = ["DRAWN", "DrawJob"]


def _is_first_choice(tokens: IntArray, report: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(tokens == raw.argmax(axis=-1)[:, None])


def _surprise(tokens: IntArray, report: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(-report().logprobs)


def _is_top(tokens: IntArray, report: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(tokens == report().top_tokens[:, :1])


DRAWN: dict[str, Measure] = {
    "agreement": Measure("agreement", "probability", _is_first_choice, range="unit"),
    "entropy": Measure("entropy", "nats", _surprise),
    "top_probability": Measure("top_probability", "probability", _is_top, range="unit"),
}
"""What can be estimated by name: the mean over draws is the metric of the same name."""


@dataclass(eq=False, repr=False)
class DrawJob(Job):
    """The mean of the draws of every row, their variance, and whether each is 0 or 1."""

    seed: int
    draws: int
    coupling: Any

    @property
    def columns(self) -> int:
        """Three numbers of each measure."""
        return 3 * len(self.measures)

    def numbers(self, rows: FloatArray, context: Context | None, start: int) -> NDArray[np.float64]:
        """Return the numbers of checked rows: shape (n, 3 M, P)."""
        out = np.empty((3, len(self.measures), len(self.chains), len(rows)))
        luck: dict[str, Any] = {"seed": self.seed, "size": self.draws, "coupling": self.coupling}
        luck["sequence"] = np.arange(start, start + len(rows), dtype=np.int64)
        options: dict[str, Any] = {"top_logprobs": 1, "mode": "processed"}
        for point, chain in enumerate(self.chains):
            tokens = sample(rows, chain, context=context, **luck).tokens
            # Made where a measure asks for it, and once.
            report = cache(partial(logprobs, rows, tokens, chain, context=context, **options))
            for place, measure in enumerate(self.measures):
                values = _numbers_of_draws(measure, tokens, report, rows)
                # A name tells whether each draw is a yes or a no; else these draws tell.
                is_binary = measure.range == "unit"
                if measure not in DRAWN.values():
                    is_binary = ((values == 0) | (values == 1)).all(axis=-1)
                out[0, place, point] = values.mean(axis=-1)
                out[1, place, point] = values.var(axis=-1, ddof=1)
                out[2, place, point] = is_binary
        return np.moveaxis(out, -1, 0).reshape(len(rows), self.columns, len(self.chains))


def _numbers_of_draws(
    measure: Measure, tokens: IntArray, report: Callable[[], Any], rows: FloatArray
) -> NDArray[np.float64]:
    """Return one number for each draw."""
    if measure in DRAWN.values():
        return np.asarray(measure.function(tokens, report, rows), np.float64)
    view = tokens.view()
    view.flags.writeable = False
    rule = "a function from tokens (n, draws) to as many numbers"
    return numbers_of(measure, measure.function(view), tokens.shape, rule, f"{tokens.shape}")
