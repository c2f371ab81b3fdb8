"""`simulate`: a sweep by drawing tokens, at every point with the same luck."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from statistics import NormalDist
from typing import Any

import numpy as np
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_integer,
    check_number,
)
from logitlab.draw import COUPLINGS, SeedLike, resolve_seed
from logitlab.numerics import FloatArray, IntArray
from logitlab.sampling.reports import logprobs
from logitlab.sampling.sample import sample
from logitlab.steps.chain import Chain, State
from logitlab.steps.context import Context
from logitlab.sweeps.chunks import RowsLike, rows_of
from logitlab.sweeps.grid import EngineLike, chains_of, grid_of
from logitlab.sweeps.measures import Measure, resolve
from logitlab.sweeps.reductions import Mean, Reduction
from logitlab.sweeps.result import Sweep, SweepPlan
from logitlab.sweeps.sweeping import axes_of, run
from logitlab.sweeps.work import Job
from numpy.typing import NDArray

__all__ = ["DRAWN", "simulate"]

_DRAWS = Range(2, integer=True)
_FRACTION = Range(0, 1)
_CHUNK = 64


def _agreement(tokens: IntArray, logprob: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(tokens == raw.argmax(axis=-1)[:, None])


def _surprise(tokens: IntArray, logprob: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(-logprob().logprobs)


def _top(tokens: IntArray, logprob: Callable[[], Any], raw: FloatArray) -> NDArray[Any]:
    return np.asarray(tokens == logprob().top_tokens[:, :1])


DRAWN: dict[str, Measure] = {
    "agreement": Measure("agreement", "probability", _agreement, range="unit"),
    "entropy": Measure("entropy", "nats", _surprise),
    "top_probability": Measure("top_probability", "probability", _top, range="unit"),
}
"""What can be estimated by name: the mean over draws is the metric of the same name."""


def simulate(
    rows: RowsLike,
    grid: Mapping[str, Any],
    metrics: Any = ("agreement", "entropy"),
    *,
    draws: int = 100,
    seed: SeedLike = None,
    coupling: str = "inverse",
    confidence: float = 0.95,
    engine: EngineLike = "openrouter",
    request: Any = None,
    context: Context | None = None,
    state: State | None = None,
    zipped: bool = False,
    executor: Executor | None = None,
    chunk: int = _CHUNK,
    in_flight: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Sweep:
    r"""Estimate every point of a grid of parameters by drawing tokens.

    At each point, draw ``j`` of row ``i`` uses the random number of (seed, sequence ``i``, position
    ``j``): these are the tokens of `sample`. Equal luck everywhere makes differences between points
    surer than the points themselves.

    Parameters
    ----------
    rows, grid, engine, request, context, state, zipped
        As in `sweep`.
    metrics : str, callable, or sequence of those
        "agreement" (a draw is the model's own most likely token), "entropy" (``-ln p`` of a draw),
        "top_probability" (a draw is the most likely token there), or a function of your own from
        tokens, int64 of shape (n, draws), to one number for each.
    draws : int
        At least 2, for each row and point.
    seed : int, numpy.random.Generator or None
        None takes a fresh one, which the result reports.
    coupling : {"inverse", "gumbel"}
        As in `sample`. "gumbel" changes a token between points only where it must, which makes
        differences surer still, and costs a random number for each survivor and draw.
    confidence : float
        Of the intervals, between 0 and 1.
    executor, chunk, in_flight, checkpoint, progress
        As in `sweep`.

    Returns
    -------
    Sweep
        Means over rows and draws, with ``low`` and ``high``: the interval in which the mean of all
        possible draws lies, for these rows. Wilson's where each draw is a yes or a no, which errs
        on the safe side where rows differ, and otherwise the normal one, from the variance
        within each row.

    Raises
    ------
    ParameterError, RuntimeError
        As in `sweep`.

    References
    ----------
    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.

    Examples
    --------
    >>> from logitlab import datasets, simulate, sweep
    >>> rows = datasets.load("smollm2").logits
    >>> grid = {"temperature": [0.5, 1.0], "top_p": [0.9]}
    >>> found = simulate(rows, grid, "agreement", draws=50, seed=7)
    >>> found.values["agreement"].round(3)
    array([[0.74 ],
           [0.461]])
    >>> exact = sweep(rows, grid, "agreement").values["agreement"]
    >>> bool(((found.low["agreement"] < exact) & (exact < found.high["agreement"])).all())
    True
    """
    source = rows_of(rows, context)
    checked = grid_of(grid, zipped)
    measures = resolve(metrics, DRAWN)
    check_integer("draws", draws, _DRAWS)
    check_choice("coupling", coupling, COUPLINGS)
    if not 0 < check_number("confidence", confidence, _FRACTION) < 1:
        raise ParameterError("confidence", "between 0 and 1", confidence)
    if seed is None and checkpoint is not None:
        hint = "Another run would draw a fresh one, and could not go on from the file."
        raise ParameterError("seed", "given with a checkpoint", seed, hint)
    used = resolve_seed(seed)
    chains = chains_of(checked, engine, request, source.shape[1], state)
    job = _DrawJob(chains, measures, Mean(), used, draws, coupling)
    values, count = run(job, source, checked, executor, chunk, in_flight, checkpoint, progress)
    mean, variance, binary = values.reshape(3, len(measures), *checked.shape)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of the mean over rows of means over draws, these rows being given.
        reach = z * np.sqrt(variance / (draws * max(count, 1)))
        low, high = _wilson(mean, count * draws, z)
    is_binary = binary == 1
    low, high = np.where(is_binary, low, mean - reach), np.where(is_binary, high, mean + reach)
    axes, others = axes_of(checked)
    names = [measure.name for measure in measures]
    return Sweep(
        axes,
        dict(zip(names, mean, strict=True)),
        {measure.name: measure.unit for measure in measures},
        count,
        SweepPlan(0, len(chains), {"draw from each chain by itself": len(chains)}),
        others,
        low=dict(zip(names, low, strict=True)),
        high=dict(zip(names, high, strict=True)),
        seed=used,
    )


def _wilson(p: NDArray[Any], n: int, z: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ends of Wilson's interval for a share ``p`` of ``n``."""
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return np.where(p == 0, 0, middle - reach), np.where(p == 1, 1, middle + reach)


class _DrawJob(Job):
    """The mean of the draws of every row, their variance, and whether each is 0 or 1."""

    def __init__(
        self,
        chains: Sequence[Chain],
        measures: Sequence[Measure],
        reduction: Reduction,
        seed: int,
        draws: int,
        coupling: str,
    ) -> None:
        super().__init__(chains, measures, reduction)
        self.seed = seed
        self.draws = draws
        self.coupling = coupling

    def _parts(self) -> tuple[Any, ...]:
        return *super()._parts(), self.seed, self.draws, self.coupling

    @property
    def columns(self) -> int:
        """Three numbers of each measure."""
        return 3 * len(self.measures)

    def settings(self) -> dict[str, Any]:
        """Return what a checkpoint has to know."""
        own = {"seed": str(self.seed), "draws": self.draws, "coupling": self.coupling}
        return super().settings() | own

    def numbers(self, rows: FloatArray, context: Context | None, start: int) -> NDArray[np.float64]:
        """Return the numbers of checked rows: shape (n, 3 M, P)."""
        out = np.empty((3, len(self.measures), len(self.chains), len(rows)))
        sequence = np.arange(start, start + len(rows))
        for point, chain in enumerate(self.chains):
            tokens = sample(
                rows, chain, context=context, seed=self.seed, size=self.draws,
                coupling=self.coupling, sequence=sequence,  # type: ignore[arg-type]
            ).tokens  # fmt: skip
            reports: list[Any] = []

            def logprob(
                tokens: IntArray = tokens, chain: Chain = chain, reports: list[Any] = reports
            ) -> Any:
                if not reports:
                    reports.append(logprobs(rows, tokens, chain, context=context,
                                            top_logprobs=1, mode="processed"))  # fmt: skip
                return reports[0]

            for place, measure in enumerate(self.measures):
                found = _drawn(measure, tokens, logprob, rows)
                out[0, place, point] = found.mean(axis=-1)
                out[1, place, point] = found.var(axis=-1, ddof=1)
                out[2, place, point] = (
                    measure.range == "unit"
                    if measure in DRAWN.values()
                    else ((found == 0) | (found == 1)).all(axis=-1)
                )
        return np.moveaxis(out, -1, 0).reshape(len(rows), self.columns, len(self.chains))


def _drawn(
    measure: Measure, tokens: IntArray, logprob: Callable[[], Any], rows: FloatArray
) -> NDArray[np.float64]:
    """Return one number for each draw."""
    if measure in DRAWN.values():
        return np.asarray(measure.function(tokens, logprob, rows), np.float64)
    lent = tokens.view()
    lent.flags.writeable = False
    found = np.asarray(measure.function(lent), np.float64)
    if found.shape != tokens.shape:
        rule = "a function from tokens (n, draws) to as many numbers"
        seen = Seen(f"a result of shape {found.shape} for {tokens.shape}")
        raise ParameterError(f"metrics, {measure.name}", rule, seen)
    return found
