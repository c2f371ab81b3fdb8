"""`sweep`: grids of parameters over rows of logits, in bounded memory, on one machine or many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range, check_integer
from logitlab.progress import Progress
from logitlab.steps.chain import State
from logitlab.steps.context import Context
from logitlab.sweeps.checkpoint import Checkpoint
from logitlab.sweeps.chunks import Chunk, Rows, RowsLike, Stream, rows_of
from logitlab.sweeps.executing import Here, execute
from logitlab.sweeps.grid import EngineLike, Grid, chains_of, grid_of
from logitlab.sweeps.identity import identified
from logitlab.sweeps.measures import Metrics, resolve
from logitlab.sweeps.reductions import Part, Reduction, reduction
from logitlab.sweeps.result import Sweep, SweepPlan
from logitlab.sweeps.work import Job, SweepJob
from logitlab.version import __version__
from numpy.typing import NDArray

__all__ = ["Swept", "axes_of", "run", "sweep"]

_POSITIVE = Range(1, integer=True)
_CHUNK = 256
_SHARES = 4  # chunks that each worker gets at least, where there are rows enough

Swept = tuple[NDArray[np.float64], int]


def sweep(
    rows: RowsLike,
    grid: Mapping[str, Any],
    metrics: Metrics = ("entropy", "support_size"),
    *,
    engine: EngineLike = "openrouter",
    request: Any = None,
    context: Context | None = None,
    state: State | None = None,
    zipped: bool = False,
    reduce: str | Reduction = "mean",
    executor: Executor | None = None,
    chunk: int = _CHUNK,
    in_flight: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Measure every point of a grid of parameters on rows of logits.

    Parameters
    ----------
    rows : array_like, path, Recorded or iterable
        Logits of shape (..., V), or the path of a .npy file of them, which stays on the disk, or a
        recorded run, or chunks of shape (n, V) one after the other, each perhaps in a pair with
        its `Context`. float16 is taken as float32.
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
    request : SamplingParams or mapping, optional
        Parameters that stay the same.
    context : Context, optional
        The tokens before each row, or before all; needed if there is a penalty.
    state : mapping of str to float or array, optional
        The state of mirostat, at every point; None takes the initial one.
    zipped : bool
        Whether the parameters run together; otherwise every combination is a point.
    reduce : {"mean", "rows", "quantiles", "histogram"} or Reduction
        What is kept of the rows: their mean, each of them, or `Quantiles` or a `Histogram` with
        values of your own. All but "rows" need memory for the grid alone.
    executor : concurrent.futures.Executor, optional
        Where chunks are worked on, threads, processes or machines: here, one by one, by default.
        Of rows in a file only the name travels. A worker that fails or is killed has its chunk
        tried again, up to three times.
    chunk : int
        Rows that are sent away together, at most; fewer where that keeps all workers busy.
    in_flight : int, optional
        Chunks that are sent away at once; twice the number of workers by default, or of the
        processors here where that is not known.
    checkpoint : str or path, optional
        A file to which finished chunks are written. A sweep that finds it there goes on from it.
    progress : bool, optional
        Whether to show a bar on standard error; None does where that is a terminal.

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
        For a chunk that failed three times, naming its rows.

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
    >>> found = sweep(rows, grid, ["entropy", "support_size", "agreement"])
    >>> found
    <Sweep of 20 rows: entropy, support_size, agreement over 3 temperature x 3 top_p>
    >>> found.values["support_size"].round(1)
    array([[1.0000e+00, 1.0000e+00, 1.0000e+00],
           [2.8000e+00, 6.0100e+01, 4.9152e+04],
           [2.0660e+02, 2.8310e+03, 4.9152e+04]])
    >>> found.axes["top_p"], found.units["entropy"]
    (array([0.5, 0.9, 1. ]), 'nats')
    """
    source = rows_of(rows, context)
    checked = grid_of(grid, zipped)
    measures = resolve(metrics)
    kept = reduction(reduce)
    size = source.shape[1]
    bins = kept.edges_of(measures, size)
    if kept.axis in checked.values:
        raise ParameterError("grid", f"free of {kept.axis!r}, which is an axis of the rows", grid)
    job = SweepJob(chains_of(checked, engine, request, size, state), measures, kept)
    values, count = run(job, source, checked, executor, chunk, in_flight, checkpoint, progress)
    dense = sum(job.reasons.values())
    plan = SweepPlan(len(checked) - dense, dense, job.reasons)
    axes, others = axes_of(checked)
    if kept.axis:
        axes[kept.axis] = kept.ticks(count)
        if bins:
            axes[kept.axis] = np.arange(len(bins[0]) - 1)
    edges = {measure.name: ends for measure, ends in zip(measures, bins, strict=False)}
    shape = (*checked.shape, *values.shape[2:])
    return Sweep(
        axes,
        {measure.name: values[i].reshape(shape) for i, measure in enumerate(measures)},
        {measure.name: "rows" if edges else measure.unit for measure in measures},
        count,
        plan,
        others,
        edges,
    )


def axes_of(grid: Grid) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the axes of a grid, and the parameters that are zipped to the first of them."""
    axes: dict[str, Any] = {}
    for name, values in grid.values.items():
        numbers = all(isinstance(value, int | float) for value in values)
        axes[name] = np.array(values) if numbers else list(values)
    if not grid.zipped:
        return axes, {}
    first, *rest = axes
    return {first: axes[first]}, {name: axes[name] for name in rest}


def run(
    job: Job,
    source: Rows | Stream,
    grid: Grid,
    executor: Executor | None,
    chunk: int,
    in_flight: int | None,
    checkpoint: str | os.PathLike[str] | None,
    progress: bool | None,
) -> Swept:
    """Return the finished values of a job, shape (M, P, ...), and the number of rows."""
    if executor is not None and not isinstance(executor, Executor):
        hint = "Of a dask Client that is client.get_executor()."
        raise ParameterError("executor", "a concurrent.futures.Executor", executor, hint)
    check_integer("chunk", chunk, _POSITIVE)
    if in_flight is not None:
        check_integer("in_flight", in_flight, _POSITIVE)
    pool = executor or Here()
    if not isinstance(pool, Here | ThreadPoolExecutor):
        _ = job.packed  # says at once what cannot be sent
    limit = 1 if executor is None else in_flight or 2 * _workers(pool)
    total = job.start(source.shape[1])
    file = None if checkpoint is None else Checkpoint(checkpoint, _fingerprint(job, source, grid))
    done: dict[tuple[int, int], int] = {}
    for start, stop, seal, part in file.records() if file else ():
        job.reduction.merge(total, part, start)
        done[start, stop] = seal
    finished = sum(stop - start for start, stop in done)
    count = source.shape[0]
    if count is not None and any(stop > count for _, stop in done):
        raise ParameterError("checkpoint", f"of {count} rows", checkpoint)
    step = chunk
    if count is not None and executor is not None:
        step = max(1, min(chunk, -(-(count - finished) // (_SHARES * max(limit // 2, 1)))))

    with Progress("rows", progress) as bar:
        bar.update(finished, count)

        def collect(chunk: Chunk, part: Part) -> None:
            nonlocal finished
            if file:
                seal = chunk.seal if isinstance(source, Stream) else 0
                file.append(chunk.start, chunk.stop, seal, part)
            job.reduction.merge(total, part, chunk.start)
            finished += chunk.stop - chunk.start
            bar.update(finished, count)

        execute(job, source.chunks(step, done), pool, limit, collect)
    return job.reduction.finish(total, finished), finished


def _workers(executor: Executor) -> int:
    """Return how many workers an executor has, where it tells."""
    known = getattr(executor, "_max_workers", None)
    client = getattr(executor, "_client", None)  # of dask
    if client is not None:
        known = sum(client.ncores().values())
    return known if isinstance(known, int) and known > 0 else os.cpu_count() or 1


def _fingerprint(job: Job, source: Rows | Stream, grid: Grid) -> dict[str, Any]:
    """Return what makes a sweep this one: as JSON, so that a checkpoint can hold it."""
    programs = hashlib.sha256()
    for chain in job.chains:
        programs.update(f"{chain.kind}\n".encode())
        for step in chain:
            programs.update(identified(step))
    context = getattr(source, "context", None)
    tokens = None
    if context is not None:
        parts = (part for ids in (context.prompt, context.output)
                 for part in (str(ids.shape).encode(), ids.tobytes()))  # fmt: skip
        tokens = hashlib.sha256(b"".join(parts)).hexdigest()
    return {
        "logitlab": __version__,
        **source.identity,
        "grid": [[name, repr(values)] for name, values in grid.values.items()],
        "zipped": grid.zipped,
        "engine or request": programs.hexdigest(),
        "metrics": [[measure.name, identified(measure.function).hex()] for measure in job.measures],
        "context": tokens,
        **job.settings(),
    }
