"""A sweep goes on where it was cut off, and never from a file that is not its own or not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import Context, ParameterError, simulate, sweep
from logitlab.sweeps import Histogram, Sweep
from numpy.typing import NDArray

GRID = {"temperature": [0.0, 0.7], "top_p": [0.5, 1.0]}
REDUCTIONS = ["mean", "rows", "quantiles", "histogram"]


class Counting:
    """A metric that counts its rows, and stops the sweep like Ctrl-C at one of them."""

    __name__ = "counting"

    def __init__(self, stop: int = 10**9) -> None:
        self.rows = 0
        self.stop = stop

    def __getstate__(self) -> None:
        """What it has counted does not tell it from others."""

    def __call__(self, logits: NDArray[Any]) -> NDArray[Any]:
        self.rows += len(logits)
        if self.rows > self.stop:
            raise KeyboardInterrupt
        return np.asarray(logits.max(axis=-1), np.float64)


@pytest.fixture
def rows() -> NDArray[Any]:
    return np.random.default_rng(1).normal(size=(60, 9)).astype(np.float32)


def bits(result: Sweep) -> bytes:
    return np.asarray(result).tobytes()


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_an_interrupted_sweep_goes_on_and_recomputes_nothing(
    reduce: str, rows: NDArray[Any], tmp_path: Path
) -> None:
    edges: Any = {"histogram": Histogram([0.0, 1.0, 2.0])}
    reduction = edges.get(reduce, reduce)
    whole = bits(sweep(rows, {"top_k": [0]}, Counting(), reduce=reduction))
    file = tmp_path / "sweep"
    first = Counting(stop=34)
    with pytest.raises(KeyboardInterrupt):
        sweep(rows, {"top_k": [0]}, first, reduce=reduction, chunk=10, checkpoint=file)
    second = Counting()
    result = sweep(rows, {"top_k": [0]}, second, reduce=reduction, chunk=7, checkpoint=file)
    assert bits(result) == whole
    assert second.rows == 30
    third = Counting()
    result = sweep(rows, {"top_k": [0]}, third, reduce=reduction, checkpoint=file)
    assert (bits(result), third.rows) == (whole, 0)


def test_a_stream_goes_on_if_it_is_the_same(rows: NDArray[Any], tmp_path: Path) -> None:
    file = tmp_path / "sweep"

    def stream(step: int = 20) -> Any:
        return (rows[i : i + step] for i in range(0, 60, step))

    whole = bits(sweep(rows, {"top_k": [0]}, Counting()))
    with pytest.raises(KeyboardInterrupt):
        sweep(stream(), {"top_k": [0]}, Counting(30), chunk=10, checkpoint=file)
    for wrong, where in (
        ((rows[i : i + 15] for i in range(0, 60, 15)), "rows 10 to 19|row 10 on"),
        ((rows[i : i + 20] + 1 for i in range(0, 60, 20)), "others in rows 0 to 9"),
        ((rows[:10],), "only 10"),
    ):
        with pytest.raises(
            ParameterError, match=f"rows must be those of the checkpoint.*({where})"
        ):
            sweep(iter(wrong), {"top_k": [0]}, Counting(), chunk=10, checkpoint=file)
    again = Counting()
    result = sweep(stream(), {"top_k": [0]}, again, chunk=10, checkpoint=file)
    assert (bits(result), again.rows) == (whole, 30)


def test_another_sweep_is_refused_and_the_difference_named(
    rows: NDArray[Any], tmp_path: Path
) -> None:
    file = tmp_path / "sweep"
    context = Context([1])
    sweep(rows, GRID, checkpoint=file, context=context)
    other = rows.copy()
    other[0, 0] += 1
    for change, keys in (
        ({"rows": other}, "bytes"),
        ({"rows": rows[:50]}, "bytes, shape"),
        ({"grid": {**GRID, "top_p": [0.5, 0.9]}}, "engine or request, grid"),
        ({"metrics": "entropy"}, "metrics"),
        ({"reduce": "rows"}, "reduce"),
        ({"engine": "vllm"}, "engine or request"),
        ({"request": {"min_p": 0.1}}, "engine or request"),
        ({"context": Context([2])}, "context"),
        ({"request": {"xtc_probability": 0.5}}, "engine or request"),
    ):
        arguments: dict[str, Any] = {"rows": rows, "grid": GRID, "context": context} | change
        message = rf"checkpoint must be of the same sweep; this one differs in {keys}, got"
        with pytest.raises(ParameterError, match=message):
            sweep(**arguments, checkpoint=file)
    sweep(rows, GRID, checkpoint=file, context=context)


def test_a_file_that_changed_is_another(rows: NDArray[Any], tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows)
    sweep(tmp_path / "rows.npy", GRID, checkpoint=tmp_path / "sweep")
    rows[30, 3] += 1
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(ParameterError, match=r"differs in .*time of the file"):
        sweep(tmp_path / "rows.npy", GRID, checkpoint=tmp_path / "sweep")


def test_every_cut_is_a_torn_tail_or_refused_and_every_flip_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(6, 3))
    file, copy = tmp_path / "sweep", tmp_path / "copy"
    arguments: Any = {"grid": {"top_k": [0]}, "metrics": "entropy", "chunk": 2}
    whole = bits(sweep(rows, **arguments, checkpoint=file))
    content = file.read_bytes()
    for cut in range(0, len(content), 29):
        copy.write_bytes(content[:cut])
        assert bits(sweep(rows, **arguments, checkpoint=copy)) == whole
        assert len(copy.read_bytes()) == len(content)
    refusals = 0
    for at in range(0, len(content), 19):
        flip = bytearray(content)
        flip[at] ^= 0x10
        copy.write_bytes(bytes(flip))
        with pytest.raises(ParameterError, match="checkpoint must be"):
            sweep(rows, **arguments, checkpoint=copy)
        assert copy.read_bytes() == bytes(flip)  # left as it is
        refusals += 1
    assert refusals > 50
    copy.write_bytes(content + bytes(100))
    with pytest.raises(ParameterError, match="other bytes in the head of the record at byte"):
        sweep(rows, **arguments, checkpoint=copy)


def test_no_checkpoint_at_all(rows: NDArray[Any], tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("my notes, longer than any header " * 50)
    for path in (tmp_path, tmp_path / "nowhere" / "sweep"):
        with pytest.raises(ParameterError, match="checkpoint must be a file in an existing folder"):
            sweep(rows, GRID, checkpoint=path)
    with pytest.raises(ParameterError, match="checkpoint must be a checkpoint of a sweep"):
        sweep(rows, GRID, checkpoint=tmp_path / "notes")
    (tmp_path / "empty").touch()
    sweep(rows, GRID, checkpoint=tmp_path / "empty")


def test_draws_have_checkpoints_too(rows: NDArray[Any], tmp_path: Path) -> None:
    file = tmp_path / "drawn"
    result = simulate(rows, GRID, seed=1, draws=5, checkpoint=file, chunk=9)
    assert bits(simulate(rows, GRID, seed=1, draws=5, checkpoint=file)) == bits(result)
    assert bits(simulate(rows, GRID, seed=1, draws=5, chunk=60)) == bits(result)
    with pytest.raises(ParameterError, match="differs in seed"):
        simulate(rows, GRID, seed=2, draws=5, checkpoint=file)


def test_an_array_that_changed_anywhere_is_another(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(300, 9))
    sweep(rows, GRID, checkpoint=tmp_path / "sweep")
    rows[5, 2] += 1
    with pytest.raises(ParameterError, match="differs in bytes"):
        sweep(rows, GRID, checkpoint=tmp_path / "sweep")


def test_draws_that_can_go_on_have_a_seed(rows: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="seed must be given with a checkpoint, got None"):
        simulate(rows, GRID, draws=5, checkpoint=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_coins_and_states_go_on_where_they_were_cut_off(rows: NDArray[Any], tmp_path: Path) -> None:
    grid = {"xtc_probability": [0.0, 0.5], "mirostat": [0, 2]}
    options: dict[str, Any] = {"state": {"mirostat": 2.5}, "chunk": 7}
    file = tmp_path / "sweep"
    whole = sweep(rows, grid, ["entropy", Counting()], **options)
    with pytest.raises(KeyboardInterrupt):
        sweep(rows, grid, ["entropy", Counting(150)], **options, checkpoint=file)
    metrics: list[Any] = ["entropy", Counting()]
    result = sweep(rows, grid, metrics, **options, checkpoint=file)
    assert bits(result) == bits(whole)
    assert result.state == {"mirostat": 2.5}
    for other in ({"mirostat": 2.0}, None):
        with pytest.raises(ParameterError, match="this one differs in engine or request, got"):
            sweep(rows, grid, metrics, state=other, checkpoint=file)
