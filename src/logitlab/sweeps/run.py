"""`sweep` and `simulate`: grids of parameters over rows of logits, in bounded memory.

Both work here, in threads, in processes or on many machines: whatever an executor has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from statistics import NormalDist
from typing import Any

import numpy as np
from logitlab.checks import (
    MOST_DRAWS,
    MOST_NUMBERS,
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from logitlab.draw import COUPLINGS, SeedLike, resolve_seed
from logitlab.engines.resolve import Request
from logitlab.engines.rules import Note
from logitlab.engines.spelling import Lexicon, VocabularyLike
from logitlab.progress import Progress
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.state import State
from logitlab.sweeps.checkpoint import Checkpoint
from logitlab.sweeps.chunks import Chunk, Rows, RowsLike, Span, Stream, rows_of
from logitlab.sweeps.executor import Here, execute, is_local
from logitlab.sweeps.grid import Grid, Recipe, at_state, chains_of, grid_of, values_of
from logitlab.sweeps.identity import digest
from logitlab.sweeps.measures import Metrics, measures_of
from logitlab.sweeps.reductions import Mean, Part, Reduction, reduction_of
from logitlab.sweeps.result import Sweep, SweepPlan
from logitlab.sweeps.simulation import DRAWN, DrawJob
from logitlab.sweeps.work import Job, SweepJob
from logitlab.version import __version__
from numpy.typing import NDArray

__all__ = ["simulate", "sweep"]

_DRAWS = Range(2, integer=True)
_FRACTION = Range(0, 1)
_CHUNK_SIZES = Range(1, integer=True)
_SHARES = 4  # chunks that each worker gets at least, where there are rows enough


def sweep(
    rows: RowsLike,
    grid: Mapping[str, Any],
    metrics: Metrics = ("entropy", "support_size"),
    *,
    engine: Recipe = "openrouter",
    request: Request = None,
    context: Context | None = None,
    state: State | None = None,
    zipped: bool = False,
    reduce: str | Reduction = "mean",
    executor: Executor | None = None,
    chunk: int = 256,
    in_flight: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    vocabulary: VocabularyLike = None,
) -> Sweep:
    """Measure every point of a grid of parameters on rows of logits.

    Parameters
    ----------
    rows : array_like, path, Recording, Recorded or iterable
        Logits of shape (..., V), or what `logitlab.datasets.load` returns, or the path of a file of
        logits, of any format of `logitlab.models.read_logits` (a .npy or .safetensors file stays on
        the disk), or a recorded run, or chunks of shape (n, V) one after the other, each perhaps in
        a pair with its `Context`. float16 is taken as float32.
    grid : mapping of str to sequence
        Parameters that shape the distribution, engines' own ones too, with their values;
        "engine" is one of them, whose values are names.
    metrics : str, callable, or sequence of those
        Names or functions of `logitlab.metrics`; those of two distributions compare the result
        with the logits as they are (``kl_divergence`` is that of the result from them). A
        function of your own takes final logits (n, V), and returns n numbers, each from its row
        alone.
    engine : str, Engine, or callable
        Whose chain it is. A callable takes a dict, the request and the point, and returns a chain.
    request : SamplingParams, mapping or None
        Parameters that stay the same.
    context : Context, optional
        The tokens before each row, or before all; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat, at every point; None takes the initial one. The result says which.
    zipped : bool
        Whether the parameters run together; otherwise every combination is a point.
    reduce : {"mean", "rows", "quantiles", "histogram"} or Reduction
        What is kept of the rows: their mean, each of them, or `Quantiles` or a `Histogram` with
        values of your own. All but "rows" need memory for the grid alone.
    executor : concurrent.futures.Executor, optional
        Where chunks are worked on, threads, processes or machines: here, one by one, by default.
        Of rows in a file only the name travels. A process or machine that fails or is killed has
        its chunk tried again, up to three times; in this process only what a file failed at.
    chunk : int
        Rows that are sent away together, at most; fewer where that keeps all workers busy.
    in_flight : int, optional
        Chunks that are sent away at once; twice the number of workers by default, or of the
        processors here where that is not known.
    checkpoint : str or path, optional
        A file to which finished chunks are written. A sweep that finds it there goes on from it.
    progress : bool, optional
        Whether to show a bar on standard error; None does where that is a terminal.
    vocabulary : Model or Vocabulary, optional
        As of `sample`.

    Returns
    -------
    Sweep
        Arrays with labelled axes: those of the grid, then that of the reduction. It is the same,
        bit for bit, for any executor, chunk and order of the work.

    Raises
    ------
    ParameterError
        For a bad grid, before anything is computed; for rows that are no logits, naming the row;
        for a checkpoint that is damaged or of another sweep.
    RuntimeError
        For a chunk that failed, naming its rows.

    Notes
    -----
    Exact chains (those of `openrouter`, `openai` and your own in double precision) share their
    work: each row is sorted once, and once for each temperature its running sums are taken, of
    which every truncation and metric is a function (``Sweep.plan`` tells). Survivors are those of
    the dense chain, and entropies equal to 1e-9. Chains that compute as an engine does, step by
    step in single precision, run densely, common beginnings once.

    Examples
    --------
    >>> from logitlab import datasets, sweep
    >>> rows = datasets.load("smollm2").logits
    >>> grid = {"temperature": [0.0, 0.7, 1.4], "top_p": [0.5, 0.9, 1.0]}
    >>> result = sweep(rows, grid, ["entropy", "support_size", "agreement"])
    >>> result
    <Sweep of 20 rows: entropy, support_size, agreement over 3 temperature x 3 top_p>
    >>> result.values["support_size"].round(1)
    array([[1.0000e+00, 1.0000e+00, 1.0000e+00],
           [2.8000e+00, 6.0100e+01, 4.9152e+04],
           [2.0660e+02, 2.8310e+03, 4.9152e+04]])
    >>> result.axes["top_p"], result.units["entropy"]
    (array([0.5, 0.9, 1. ]), 'nats')
    """
    source, points, chains, notes, state = _task(
        rows, grid, engine, request, context, state, zipped, vocabulary
    )
    measures, reduction = measures_of(metrics), reduction_of(reduce)
    edges = reduction.edges_of(measures, source.shape[1])
    axis = reduction.axis
    if axis in points.values:
        raise ParameterError("grid", f"free of {axis!r}, which is an axis of the rows", grid)
    job = SweepJob(chains, measures, reduction, source.batch)
    values, count = _run(job, source, points, executor, chunk, in_flight, checkpoint, progress)
    dense = sum(job.reasons.values())
    axes, others = points.axes()
    if axis:
        axes[axis] = np.arange(len(edges[0]) - 1) if edges else reduction.ticks(count)
    names = [measure.name for measure in measures]
    return Sweep(
        axes,
        dict(zip(names, values.reshape(len(names), *points.shape, *values.shape[2:]), strict=True)),
        {measure.name: "rows" if edges else measure.unit for measure in measures},
        count,
        SweepPlan(len(points) - dense, dense, job.reasons),
        others,
        dict(zip(names, edges, strict=False)),
        state=state,
        notes=notes,
    )


def simulate(
    rows: RowsLike,
    grid: Mapping[str, Any],
    metrics: Metrics = ("agreement", "entropy"),
    *,
    draws: int = 100,
    seed: SeedLike = None,
    coupling: str = "inverse",
    confidence: float = 0.95,
    engine: Recipe = "openrouter",
    request: Request = None,
    context: Context | None = None,
    state: State | None = None,
    zipped: bool = False,
    executor: Executor | None = None,
    chunk: int = 64,
    in_flight: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    vocabulary: VocabularyLike = None,
) -> Sweep:
    r"""Estimate every point of a grid of parameters by drawing tokens.

    At each point, draw ``j`` of row ``i`` uses the random number of (seed, sequence ``i``, position
    ``j``): these are the tokens of `sample`. Equal luck everywhere makes differences between points
    surer than the points themselves.

    Parameters
    ----------
    rows, grid, engine, request, context, state, zipped, vocabulary
        As in `sweep`.
    metrics : str, callable, or sequence of those
        "agreement" (a draw is the model's own most likely token), "entropy" (``-ln p`` of a draw),
        "top_probability" (a draw is the most likely token there), or a function of your own from
        tokens, int64 of shape (n, draws), to one number for each.
    draws : int
        At least 2, for each row and point.
    seed : int, numpy.random.Generator or None
        None takes the request's, or else a fresh one; the result reports it.
    coupling : {"inverse", "gumbel"}
        As in `sample`. "gumbel" changes a token between points only where it must, which makes
        differences surer still, and costs a random number for each survivor and draw.
    confidence : float
        Of the intervals, between 0 and 1.
    executor, chunk, in_flight, checkpoint, progress
        As in `sweep`.
    vocabulary : Model or Vocabulary, optional
        As of `sample`.

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
    >>> result = simulate(rows, grid, "agreement", draws=50, seed=7)
    >>> result.values["agreement"].round(3)
    array([[0.74 ],
           [0.461]])
    >>> exact = sweep(rows, grid, "agreement").values["agreement"]
    >>> bool(((result.low["agreement"] < exact) & (exact < result.high["agreement"])).all())
    True
    """
    source, points, chains, notes, state = _task(
        rows, grid, engine, request, context, state, zipped, vocabulary
    )
    measures = measures_of(metrics, DRAWN)
    draws = check_integer("draws", draws, _DRAWS)
    chunk = check_integer("chunk", chunk, _CHUNK_SIZES)
    here = min(chunk, source.shape[0] or chunk)
    if draws * here > MOST_DRAWS:
        rule = f"at most {MOST_DRAWS // here} for chunks of {here} rows"
        raise ParameterError("draws", rule, draws, "Take a smaller chunk.")
    check_choice("coupling", coupling, COUPLINGS)
    confidence = check_number("confidence", confidence, _FRACTION)
    if not 0 < confidence < 1:
        raise ParameterError("confidence", "between 0 and 1", confidence)
    seed = values_of(request).get("seed") if seed is None else seed
    if seed is None and checkpoint is not None:
        hint = "Another run would draw a fresh one, and could not go on from the file."
        raise ParameterError("seed", "given with a checkpoint", seed, hint)
    seed = resolve_seed(seed)
    job = DrawJob(chains, measures, Mean(), source.batch, seed, draws, coupling)
    values, count = _run(job, source, points, executor, chunk, in_flight, checkpoint, progress)
    mean, variance, binary = values.reshape(3, len(measures), *points.shape)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of the mean over rows of means over draws, these rows being given.
        reach = z * np.sqrt(variance / (draws * max(count, 1)))
        ends = _wilson(mean, count * draws, z)
    low, high = np.where(binary == 1, ends, [mean - reach, mean + reach])
    axes, others = points.axes()
    names = [measure.name for measure in measures]
    mean, low, high = (dict(zip(names, numbers, strict=True)) for numbers in (mean, low, high))
    plan = SweepPlan(0, len(chains), {"draw from each chain by itself": len(chains)})
    units = {measure.name: measure.unit for measure in measures}
    return Sweep(axes, mean, units, count, plan, others, {}, low, high, seed, state, notes)


def _task(
    rows: RowsLike,
    grid: Mapping[str, Any],
    engine: Recipe,
    request: Request,
    context: Context | None,
    state: State | None,
    zipped: bool,
    vocabulary: VocabularyLike,
) -> tuple[Rows | Stream, Grid, list[Chain], tuple[Note, ...], dict[str, Any] | None]:
    """Return the rows, the grid, the chain of each point, the notes, and the state they are in."""
    source, points = rows_of(rows, context), grid_of(grid, zipped)
    chains, notes = chains_of(points, engine, request, source.shape[1], Lexicon.of(vocabulary))
    chains, told = at_state(points, chains, state)
    return source, points, chains, notes, told


def _wilson(p: NDArray[Any], n: int, z: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ends of Wilson's interval for a share ``p`` of ``n``."""
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    return np.where(p == 0, 0, middle - reach), np.where(p == 1, 1, middle + reach)


def _run(
    job: Job,
    source: Rows | Stream,
    grid: Grid,
    executor: Executor | None,
    chunk: int,
    in_flight: int | None,
    checkpoint: str | os.PathLike[str] | None,
    progress: bool | None,
) -> tuple[NDArray[np.float64], int]:
    """Return the finished values of a job, shape (M, P, ...), and the number of rows."""
    if executor is not None and not isinstance(executor, Executor):
        hint = "Of a dask Client that is client.get_executor()."
        raise ParameterError("executor", "a concurrent.futures.Executor", executor, hint)
    chunk = check_integer("chunk", chunk, _CHUNK_SIZES)
    if progress is not None:
        check_flag("progress", progress)
    if in_flight is not None:
        in_flight = check_integer("in_flight", in_flight, _CHUNK_SIZES)
    if executor is not None and not is_local(executor):
        _ = job.payload  # says at once what cannot be sent
    limit = 1 if executor is None else in_flight or 2 * _workers(executor)
    count = source.shape[0]
    if count == 0:
        raise ParameterError("rows", "at least one row", Seen(f"shape {source.shape}"))
    kept = max(1, job.reduction.width(count or 1)) * job.columns * len(grid)
    if kept > MOST_NUMBERS:
        rule = f"of at most {MOST_NUMBERS} numbers, with its metrics and what is kept of the rows"
        raise ParameterError("grid", rule, Seen(f"{kept}"), "Cut it into parts.")
    total = job.start(source.shape[1])
    file = None if checkpoint is None else Checkpoint(checkpoint, _identity(job, source, grid))
    done: dict[Span, int] = {}
    for start, stop, seal, part in file.records() if file else ():
        job.reduction.merge(total, part, start)
        done[start, stop] = seal
    ready = sum(stop - start for start, stop in done)
    if count is not None and any(stop > count for _, stop in done):
        raise ParameterError("checkpoint", f"of {count} rows", checkpoint)
    if count is not None and executor is not None:
        chunk = max(1, min(chunk, -(-(count - ready) // (_SHARES * max(limit // 2, 1)))))

    with Progress("rows", progress) as bar:
        bar.update(ready, count)

        def collect(rows: Chunk, part: Part) -> None:
            nonlocal ready
            if file:
                seal = rows.seal if isinstance(source, Stream) else 0
                file.append(rows.start, rows.stop, seal, part)
            job.reduction.merge(total, part, rows.start)
            ready += rows.stop - rows.start
            bar.update(ready, count)

        execute(job, source.chunks(chunk, done), executor or Here(), limit, collect)
    if not ready:
        raise ParameterError("rows", "at least one row", Seen("a stream of none"))
    return job.reduction.finish(total, ready), ready


def _workers(executor: Executor) -> int:
    """Return how many workers an executor has, where it tells."""
    count = getattr(executor, "_max_workers", None)
    client = getattr(executor, "_client", None)  # of dask
    if client is not None:
        count = sum(client.ncores().values())
    return count if isinstance(count, int) and count > 0 else os.cpu_count() or 1


def _identity(job: Job, source: Rows | Stream, grid: Grid) -> dict[str, Any]:
    """Return what makes a sweep this one: as JSON, so that a checkpoint can hold it."""
    programs, tokens = hashlib.sha256(), hashlib.sha256()
    for chain in job.chains:
        programs.update(f"{chain.kind}\n".encode())
        for step in chain:
            programs.update(digest(step))
    context = source.context
    for ids in () if context is None else (context.prompt, context.output):
        tokens.update(str(ids.shape).encode() + ids.tobytes())
    return {
        "logitlab": __version__,
        **source.identity,
        "grid": [[name, repr(values)] for name, values in grid.values.items()],
        "zipped": grid.zipped,
        "engine or request": programs.hexdigest(),
        "metrics": [[measure.name, digest(measure.function).hex()] for measure in job.measures],
        "context": None if context is None else tokens.hexdigest(),
        **job.settings(),
    }
