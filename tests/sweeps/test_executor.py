"""Any executor gives the same bits; what fails or is killed is done again."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError, sweep
from logitlab.sweeps import Sweep
from numpy.typing import NDArray

from sweeps.workers import FailsOnce, spread

# Workers begin with everything imported.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["logitlab.sweeps", "sweeps.workers"])

GRID = {"temperature": [0.0, 0.5, 1.5], "top_p": [0.5, 1.0]}
METRICS = ["entropy", "support", "mass_removed"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = np.random.default_rng(1).normal(scale=3, size=(103, 50)).astype(np.float32)
    rows[:, 0] = np.arange(103) + 20
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, rows)
    return path


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, SERVER) as pool:
        yield pool


def same(one: Sweep, other: Sweep) -> None:
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert one.rows == other.rows


@pytest.mark.parametrize("reduce", ["mean", "rows", "quantiles", "histogram"])
def test_any_chunk_and_any_executor_give_the_same_bits(
    reduce: str, file: Path, processes: Executor
) -> None:
    alone = sweep(file, GRID, METRICS, reduce=reduce)
    same(alone, sweep(np.load(file), GRID, METRICS, reduce=reduce, chunk=1))
    with ThreadPoolExecutor(3) as threads:
        same(alone, sweep(file, GRID, METRICS, reduce=reduce, executor=threads, chunk=7))
    same(alone, sweep(file, GRID, METRICS, reduce=reduce, executor=processes, chunk=13))
    array = np.load(file)
    pieces = (array[i : i + 11] for i in range(0, len(array), 11))
    same(alone, sweep(pieces, GRID, METRICS, reduce=reduce, executor=processes, chunk=5))


def test_a_stream_is_read_as_it_is_needed(file: Path) -> None:
    array = np.load(file)
    reads = []

    def pieces() -> Iterator[NDArray[Any]]:
        for i in range(0, 100, 10):
            reads.append(i)
            yield array[i : i + 10]

    ahead = []

    class Counting(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            ahead.append(len(reads))
            future: Future[Any] = Future()
            future.set_result(fn(*args))
            return future

    sweep(pieces(), GRID, "entropy", executor=Counting(), in_flight=2)
    assert max(place - i for i, place in enumerate(ahead)) <= 2
    assert len(reads) == 10


def test_dask_workers(file: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        result = sweep(file, GRID, METRICS, executor=executor, chunk=10)
        own = sweep(file, GRID, lambda x: x.max(axis=-1), executor=executor, chunk=40)
        kills = FailsOnce(tmp_path / "tried", at=50.0, kill=True)
        kill_result = sweep(file, {"top_k": [0]}, kills, executor=executor, chunk=10)
    same(result, sweep(file, GRID, METRICS))
    assert own.values["<lambda>"].shape == (3, 2)
    assert kill_result.values["fails"].tolist() == [np.load(file).max(axis=-1).mean()]
    assert (tmp_path / "tried0").exists()


@pytest.mark.parametrize("kind", ["here", "threads", "processes"])
def test_a_chunk_that_fails_is_tried_again(
    kind: str, file: Path, processes: Executor, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as threads:
        executor = {"here": None, "threads": threads, "processes": processes}[kind]
        fails = FailsOnce(tmp_path / "tried", at=50.0, times=2)
        result = sweep(file, {"top_k": [0]}, fails, executor=executor, chunk=10)
        assert result.values["fails"].tolist() == [np.load(file).max(axis=-1).mean()]
        never = FailsOnce(tmp_path / "never", at=50.0, times=9)
        with pytest.raises(RuntimeError, match=r"rows 30 to 39 failed 3 times, .* disk is gone"):
            sweep(file, {"top_k": [0]}, never, executor=executor, chunk=10)
    assert len(list(tmp_path.glob("never*"))) == 3


def test_a_killed_worker_is_replaced(file: Path, tmp_path: Path) -> None:
    kills = FailsOnce(tmp_path / "tried", at=50.0, times=2, kill=True)
    with ProcessPoolExecutor(2, SERVER) as pool:
        result = sweep(file, {"top_k": [0]}, kills, executor=pool, chunk=10)
    assert result.values["fails"].tolist() == [np.load(file).max(axis=-1).mean()]
    always = FailsOnce(tmp_path / "always", at=50.0, times=9, kill=True)
    with (
        ProcessPoolExecutor(2, SERVER) as pool,
        pytest.raises(RuntimeError, match="rows 30 to 39 failed 3 times, the last time with Brok"),
    ):
        sweep(file, {"top_k": [0]}, always, executor=pool, chunk=10)


def test_bad_rows_are_named_and_not_tried_again(file: Path, processes: Executor) -> None:
    rows = np.load(file)
    rows[77, 3] = np.nan
    for executor in (None, processes):
        with pytest.raises(ParameterError, match=r"rows must be free of NaN, got NaN in row 77\."):
            sweep(rows, GRID, executor=executor, chunk=10)


def test_functions_that_cannot_travel_are_refused_before_any_work(
    file: Path, processes: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    with pytest.raises(ParameterError, match="metrics must be functions of a module"):
        sweep(file, GRID, lambda x: x.max(axis=-1), executor=processes)
    sweep(file, GRID, [spread, "entropy"], executor=processes)


def test_what_is_no_executor_is_refused(file: Path) -> None:
    with pytest.raises(ParameterError, match=r"executor must be a concurrent.futures.Executor"):
        sweep(file, GRID, executor=4)  # type: ignore[arg-type]


def test_a_pool_that_is_broken_beforehand_is_replaced() -> None:
    rows = np.eye(5)
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        assert isinstance(pool.submit(os._exit, 1).exception(), BrokenExecutor)
        result = sweep(rows, {"temperature": [1.0, 2.0]}, executor=pool)
    assert result.rows == 5
    assert np.array_equal(np.asarray(result), np.asarray(sweep(rows, {"temperature": [1.0, 2.0]})))


def test_no_row_is_lost_when_workers_die_while_chunks_are_still_being_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 9))

    def slowly() -> Iterator[NDArray[Any]]:
        for start in range(0, 60, 6):
            time.sleep(0.05)
            yield rows[start : start + 6]

    metric = FailsOnce(tmp_path / "tried", float(rows[13].max()), kill=True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        result = sweep(slowly(), {"top_k": [0]}, metric, executor=pool)
    assert result.rows == 60
    assert result.values["fails"] == pytest.approx(rows.max(axis=1).mean(), rel=1e-12)


def test_a_pool_that_takes_nothing_at_all_is_an_error() -> None:
    class Broken(ProcessPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise BrokenExecutor("out of order")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("concurrent.futures.ProcessPoolExecutor", Broken)
        with pytest.raises(RuntimeError, match=r"rows 0 to \d could not be sent: Broken"):
            sweep(np.eye(5), {"top_k": [0]}, executor=Broken(1))
