"""Arrow: IPC files and streams, Feather and Parquet, as its libraries write them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.models import read_logits

ROWS = np.random.default_rng(9).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("x.arrow", "x.feather", "x.parquet"):
        Path(name).write_bytes(b"PAR1")
        with pytest.raises(ImportError) as error:
            read_logits(name)
        assert str(error.value) == "pyarrow is not installed: pip install 'logitlab[arrow]'"


class TestWithArrow:
    @pytest.fixture
    def pa(self) -> Any:
        return pytest.importorskip("pyarrow")

    def write(self, table: Any, path: str) -> None:
        """Write a table in pieces of two rows, in the format of the ending."""
        import pyarrow as pa
        from pyarrow import feather, parquet

        if path.endswith(".feather"):
            feather.write_feather(table, path, chunksize=2)
        elif path.endswith(".parquet"):
            parquet.write_table(table, path, row_group_size=2)
        else:
            new = pa.ipc.new_stream if path.endswith(".stream") else pa.ipc.new_file
            with pa.OSFile(path, "wb") as file, new(file, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)

    def refused(self, path: str, **options: Any) -> str:
        with pytest.raises(ParameterError) as error:
            read_logits(path, **options)
        return str(error.value)

    @pytest.mark.parametrize("path", ["x.arrow", "x.stream", "x.feather", "x.parquet"])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_rows_to_the_bit(self, pa: Any, path: str, dtype: Any) -> None:
        x = ROWS.astype(dtype)
        numbers = pa.array(x.ravel())
        kinds = {
            "fixed": pa.FixedSizeListArray.from_arrays(numbers, 4),
            "list": pa.ListArray.from_arrays(pa.array(range(0, 21, 4), pa.int32()), numbers),
            "large": pa.LargeListArray.from_arrays(pa.array(range(0, 21, 4), pa.int64()), numbers),
        }
        for kind in kinds.values():
            prompts = pa.array(["a"] * 5)
            self.write(pa.table({"prompt": prompts, "logits": kind}), path)
            for name in (None, "logits"):
                rows = read_logits(path, name=name)
                assert rows.dtype == dtype
                assert rows.shape == (5, 4)
                assert rows.tobytes() == x.tobytes()
                assert not rows.flags.writeable

    def test_one_piece_is_not_copied(self, pa: Any) -> None:
        tensors = pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float32(), [4]),
            pa.FixedSizeListArray.from_arrays(pa.array(np.tile(ROWS, (1000, 1)).ravel()), 4),
        )
        table = pa.table({"x": tensors})
        with pa.OSFile("x.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        before = pa.total_allocated_bytes()
        rows = read_logits("x.arrow")
        assert pa.total_allocated_bytes() < before + 1000  # of the 80 kB, which are mapped
        assert not rows.flags.owndata
        np.testing.assert_array_equal(rows, np.tile(ROWS, (1000, 1)))

    @pytest.mark.parametrize("name", [None, "score"])
    @pytest.mark.parametrize("index", [[0.5, 1.5, 2.5, 3.5, 4.5], list("abcde"), range(5)])
    def test_the_index_of_pandas_is_no_token(self, pa: Any, index: Any, name: Any) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(ROWS, index=pandas.Index(index, name=name)).rename(columns=str)
        for path in ("x.arrow", "x.parquet", "x.feather"):
            self.write(pa.Table.from_pandas(frame), path)
            np.testing.assert_array_equal(read_logits(path), ROWS)
        frame = frame[["0"]]
        self.write(pa.Table.from_pandas(frame), "one.parquet")
        np.testing.assert_array_equal(read_logits("one.parquet"), ROWS[:, 0])
        if isinstance(index[0], float):  # who asks for it gets it
            name = name or "__index_level_0__"
            np.testing.assert_array_equal(read_logits("one.parquet", name=name), index)

    @pytest.mark.parametrize("path", ["x.arrow", "x.parquet"])
    def test_columns_of_numbers(self, pa: Any, path: str) -> None:
        columns = {f"token{i}": ROWS[:, i] for i in range(4)}
        self.write(pa.table(columns), path)
        np.testing.assert_array_equal(read_logits(path), ROWS)
        np.testing.assert_array_equal(read_logits(path, name="token2"), ROWS[:, 2])
        self.write(pa.table({"logit": ROWS[0]}), path)
        np.testing.assert_array_equal(read_logits(path), ROWS[0])  # one row of all tokens
        self.write(pa.table({"token": range(4), "a.b": ROWS[0], "c": ROWS[1]}), path)
        np.testing.assert_array_equal(read_logits(path, name="a.b"), ROWS[0])
        assert self.refused(path) == "name must be one of 'a.b', 'c', got None."

    def test_several_columns_of_rows(self, pa: Any) -> None:
        self.write(pa.table({"cold": ROWS.tolist(), "hot": (2 * ROWS).tolist()}), "x.parquet")
        np.testing.assert_array_equal(read_logits("x.parquet", name="hot"), 2 * ROWS)
        assert self.refused("x.parquet") == "name must be one of 'cold', 'hot', got None."
        assert self.refused("x.parquet", name="hott") == (
            "name must be one of 'cold', 'hot', got 'hott'. Did you mean hot?"
        )
        with pytest.raises(
            ParameterError, match=r"^rows must be a file of one array, got 2: 'cold"
        ):
            ll.sweep("x.parquet", {"top_k": [1]})

    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            ({"x": [[1.0], None]}, "Nulls are among its rows, 1 of them."),
            ({"x": [[1.0], [None]]}, "Nulls are among its numbers, 1 of them."),
            ({"x": [1.0, None]}, "Nulls are among its numbers, 1 of them."),
            ({"x": [1.0, None], "y": [1.0, 2.0]}, "Nulls are among its numbers, 1 of them."),
            ({"x": [[1.0], [1.0, 2.0]]}, "Its rows have from 1 to 2 numbers."),
            ({"x": [[1.0]] * 2 + [[1.0, 2.0]]}, "Its rows have from 1 to 2 numbers."),
            ({"x": ["a"], "y": [1]}, "It holds no array of floats."),
            ({"x": [[1]]}, "It holds no array of floats."),
            ({}, "It holds no array of floats."),
        ],
    )
    def test_what_are_no_rows(self, pa: Any, columns: Any, reason: str) -> None:
        for path in ("x.arrow", "x.parquet"):
            self.write(pa.table(columns), path)
            start, _, told = self.refused(path).partition("'. ")
            assert start == f"path must be a {path[1:]} file of logits, got '{path}"
            assert told == reason

    def test_tensors_of_several_axes(self, pa: Any) -> None:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 4)
        kind = pa.fixed_shape_tensor(pa.float32(), [2, 2], permutation=[1, 0])
        self.write(pa.table({"x": pa.ExtensionArray.from_storage(kind, lists)}), "x.arrow")
        assert self.refused("x.arrow").endswith("Its tensors have 2 axes, not one.")

    def test_no_rows(self, pa: Any) -> None:
        empty = pa.table({"x": pa.array([], pa.list_(pa.float32(), 4))})
        for path in ("x.arrow", "x.parquet"):
            self.write(empty, path)
            assert read_logits(path).shape == (0, 4)

    def test_damage(self, pa: Any) -> None:
        for path in ("x.arrow", "x.stream", "x.feather", "x.parquet"):
            self.write(pa.table({"x": ROWS.tolist()}), path)
            content = Path(path).read_bytes()
            for length in range(0, len(content), 61):
                Path(path).write_bytes(content[:length])
                try:
                    rows = read_logits(path)
                except ParameterError:
                    continue
                assert path == "x.stream"  # which may end after any piece
                assert len(rows) < 5
        Path("x.parquet").write_bytes(b"PAR1" + bytes(20))
        assert self.refused("x.parquet").startswith("path must be a .parquet file of logits, got")

    def test_pandas(self, pa: Any) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"prompt": list("abcde"), "logits": list(ROWS)})
        frame.to_parquet("x.parquet")
        frame.to_feather("x.feather")
        for path in ("x.parquet", "x.feather"):
            np.testing.assert_array_equal(read_logits(path), ROWS)
            expected = ll.sweep(ROWS, {"top_k": [2]}).values["entropy"]
            assert ll.sweep(path, {"top_k": [2]}).values["entropy"] == expected

    def test_polars(self, pa: Any) -> None:
        polars = pytest.importorskip("polars")
        frame = polars.DataFrame({"prompt": list("abcde"), "logits": ROWS})
        frame.write_parquet("x.parquet")
        frame.write_ipc("x.arrow")
        frame.write_ipc_stream("x.stream")
        for path in ("x.parquet", "x.arrow", "x.stream"):
            np.testing.assert_array_equal(read_logits(path), ROWS)
