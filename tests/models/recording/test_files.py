"""Files of logits of numpy's, and the doors that open a file of any format."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import ParameterError
from logitlab.models import Recorded, read_logits, write_logits
from logitlab.models.recording.files import ENDINGS
from logitlab.sweeps.chunks import Rows, rows_of
from numpy.typing import NDArray

from models.counting import SIZE, Counting
from models.recording.safetensors_files import safetensors
from strategies import logits

ROWS = np.random.default_rng(5).normal(size=(6, SIZE)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(write: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


class Bomb:
    """What would leave a file behind if it were unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def message(*arguments: Any, **options: Any) -> str:
    with pytest.raises(ParameterError) as error:
        read_logits(*arguments, **options)
    return str(error.value)


@given(logits())
def test_what_is_written_is_read_to_the_bit(x: NDArray[Any]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write_logits(path, x)
        for again in (read_logits(path), np.load(path, allow_pickle=False)):
            assert again.dtype == x.dtype
            assert again.shape == x.shape
            assert again.tobytes() == np.ascontiguousarray(x).tobytes()
        del again


def test_a_npy_file_stays_on_the_disk(folder: Path) -> None:
    np.save("rows.npy", ROWS)
    rows = read_logits("rows.npy")
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    # Of other byte orders and layouts, too.
    np.save("big.npy", ROWS.astype(">f8"))
    np.save("columns.npy", np.asfortranarray(ROWS))
    for path in ("big.npy", "columns.npy"):
        rows = read_logits(path)
        assert isinstance(rows, np.memmap)
        np.testing.assert_array_equal(rows, ROWS)
        expected = ll.sweep(ROWS.astype(rows.dtype), {"top_k": [1, 3]}).values["entropy"]
        found = ll.sweep(path, {"top_k": [1, 3]}).values["entropy"]
        assert found.tobytes() == expected.tobytes()
        model = Recorded(path, Counting.vocabulary)
        assert model.advance([model.start()], [[0]])[0].tolist() == ROWS[0].tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(folder: Path, save: Any) -> None:
    save("one.npz", x=ROWS)
    assert read_logits("one.npz").tobytes() == ROWS.tobytes()
    assert read_logits("one.npz", name="x").tobytes() == ROWS.tobytes()
    assert not read_logits("one.npz").flags.writeable
    save("two.npz", logits=ROWS, tokens=np.arange(6))
    assert read_logits("two.npz", name="logits").tobytes() == ROWS.tobytes()
    assert message("two.npz") == "name must be one of 'logits', 'tokens', got None."
    assert message("two.npz", name="logit") == (
        "name must be one of 'logits', 'tokens', got 'logit'. Did you mean logits?"
    )
    assert "logits must be float16, bfloat16, float32 or float64, got int64" in message(
        "two.npz", name="tokens"
    )


def test_of_many_names_some_are_told(folder: Path) -> None:
    np.savez("many.npz", **{f"row{i}": ROWS[0] for i in range(11)})
    assert message("many.npz") == (
        "name must be one of 'row0', 'row1', 'row2', 'row3', 'row4', 'row5', 'row6', 'row7' or "
        "3 others, got None."
    )
    np.savez("none.npz")
    assert message("none.npz").endswith("got 'none.npz'. It holds no array of floats.")


def test_another_ending_is_opened_by_its_first_bytes(folder: Path) -> None:
    contents = {
        "npy": saved(lambda file: np.save(file, ROWS)),
        "npz": saved(lambda file: np.savez(file, ROWS)),
        "safetensors": safetensors(rows=ROWS),
    }
    for name, content in contents.items():
        Path(f"{name}.of_mine").write_bytes(content)
        assert read_logits(f"{name}.of_mine").tobytes() == ROWS.tobytes()
    Path("ROWS.NPY").write_bytes(contents["npy"])
    assert read_logits("ROWS.NPY").tobytes() == ROWS.tobytes()


PICKLED = "It holds pickled objects, which could run any code: they are never read."


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("no.npy", None, "path must be an existing file of logits, got 'no.npy'."),
        ("cut.npy", b"\x93NUMPY\x01\x00", "path must be a .npy file of logits, got 'cut.npy'."),
        ("cut.npz", b"PK\x03\x04", "path must be a .npz file of logits, got 'cut.npz'. File is n"),
        ("cut.zip", b"PK\x03\x04", "path must be a file of logits: .npy, .npz, .safetensors, "),
        ("odd", b"PK\x05\x06" + b"\xff" * 18, "path must be a file of logits: .npy, .npz, .safe"),
        ("x.txt", b"0.1 0.2", f"path must be a file of logits: {', '.join(ENDINGS)}, got 'x.txt'."),
        ("empty", b"", f"path must be a file of logits: {', '.join(ENDINGS)}, got 'empty'."),
        ("array.npz", saved(lambda f: np.save(f, ROWS)), "got 'array.npz'. It is a .npy file."),
        ("int.npy", saved(lambda f: np.save(f, np.arange(3))), "logits must be float16, bfloat16"),
        (
            "wide.npy",
            saved(lambda f: np.save(f, np.ones(3, "g"))),
            "logits must be float16, bfloat16",
        ),
        ("complex.npy", saved(lambda f: np.save(f, 1j * ROWS)), "float64, got complex64."),
        ("text.npy", saved(lambda f: np.save(f, np.array(["a"]))), "float64, got str32."),
        ("one.npy", saved(lambda f: np.save(f, 1.5)), "of shape (..., V) with V at least 1, got"),
        ("flat.npy", saved(lambda f: np.save(f, ROWS[:, :0])), "at least 1, got shape (6, 0)."),
        (
            "bfloat16.npy",
            saved(lambda f: np.save(f, np.zeros((2, 3), "V2"))),
            "logits must be float16, float32 or float64, got raw bytes, '|V2'. If it was bfloat16, "
            "np.load(path).view(ml_dtypes.bfloat16) gives it back.",
        ),
        (
            "float8.npy",
            saved(lambda f: np.save(f, np.zeros((2, 3), "V1"))),
            "np.load(path).view(ml_dtypes.float8_e4m3fn) gives it back.",
        ),
        ("fields.npy", saved(lambda f: np.save(f, np.zeros(2, "f4,f4"))), "float64, got void64."),
        (
            "objects.npy",
            saved(lambda f: np.save(f, np.array([Bomb()]), allow_pickle=True)),
            f"path must be a .npy file of logits, got 'objects.npy'. {PICKLED}",
        ),
        (
            "objects.npz",
            saved(lambda f: np.savez(f, np.array([Bomb()]))),
            f"path must be a .npz file of logits, got 'objects.npz'. {PICKLED}",
        ),
        (
            "pickle.npz",
            pickle.dumps(Bomb()),
            f"path must be a .npz file of logits, got 'pickle.npz'. {PICKLED}",
        ),
    ],
)
def test_other_files_are_errors(
    folder: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    assert expected in message(name)
    assert not Path("exploded").exists()


def test_bad_arguments(folder: Path) -> None:
    np.save("rows.npy", ROWS)
    assert message(5) == "path must be the path of a file, got 5."
    assert message("rows.npy", name=5) == "name must be a text or None, got 5."
    assert message(folder) == f"path must be an existing file of logits, got '{folder}'."
    assert message("x" * 300).startswith("path must be an existing file of logits, got")
    assert message("rows.npy", name="x") == (
        "name must be absent for a file of one array without a name, got 'x'."
    )


@given(
    st.sampled_from(["npy", "npz"]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
    st.booleans(),
)
def test_a_damaged_file_is_never_a_foreign_exception(
    kind: str, place: int, other: bytes, cut: bool
) -> None:
    from tempfile import TemporaryDirectory

    content = saved(lambda file: {"npy": np.save, "npz": np.savez}[kind](file, ROWS))
    damaged = content[:place] + (b"" if cut else other + content[place + len(other) :])
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        path.write_bytes(damaged)
        try:
            rows = read_logits(path)
        except ParameterError:
            return
        assert rows.dtype.kind == "f"
        assert rows.nbytes <= len(content)
        del rows


class TestWrite:
    def test_refusals(self, folder: Path) -> None:
        def error(path: Any, x: Any = ROWS) -> str:
            with pytest.raises(ParameterError) as error:
                write_logits(path, x)
            return str(error.value)

        write_logits("rows.npy", ROWS)
        before = Path("rows.npy").read_bytes()
        assert error("rows.npy", ROWS + 1) == "path must be a new file, got 'rows.npy'."
        assert Path("rows.npy").read_bytes() == before
        assert error("rows.npz") == "path must be the path of a .npy file, got 'rows.npz'."
        assert error("no/x.npy") == "path must be a file in an existing folder, got 'no/x.npy'."
        assert error("x" * 300 + ".npy").endswith("File name too long.")
        assert error(None) == "path must be the path of a file, got None."
        assert error("x.npy", [np.nan, 1.0]) == "logits must be free of NaN, got NaN."
        assert error("x.npy", np.arange(3)).startswith(
            "logits must be float16, bfloat16, float32 or"
        )
        assert os.listdir() == ["rows.npy"]

    def test_bfloat16_is_written_as_float32(self, folder: Path) -> None:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        rows = ROWS.astype(ml_dtypes.bfloat16)
        np.save("forgotten.npy", rows)
        write_logits("again.npy", np.load("forgotten.npy").view(ml_dtypes.bfloat16))
        assert read_logits("again.npy").tobytes() == rows.astype(np.float32).tobytes()

    def test_torchs_tensors(self, folder: Path) -> None:
        torch = pytest.importorskip("torch")
        rows = torch.from_numpy(ROWS).to(torch.bfloat16)
        write_logits("rows.npy", rows)
        assert read_logits("rows.npy").tobytes() == rows.float().numpy().tobytes()

    def test_a_full_disk_leaves_no_half_of_a_file(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(file: Any, array: Any, **_: Any) -> None:
            file.write(b"\x93NUMPY")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np.lib.format, "write_array", full)
        with pytest.raises(ParameterError) as error:
            write_logits("rows.npy", ROWS)
        assert str(error.value) == (
            "path must be a file that can be written, got 'rows.npy'. No space left on device."
        )
        monkeypatch.setattr(np.lib.format, "write_array", lambda *_, **__: pickle.loads(b"\x80"))
        with pytest.raises(pickle.UnpicklingError):
            write_logits("rows.npy", ROWS)
        assert os.listdir() == []


class TestDoors:
    """What takes a file takes one of any format, and knows it by the caller's own word."""

    @pytest.fixture(autouse=True)
    def files(self, folder: Path) -> None:
        np.save("rows.npy", ROWS)
        np.savez("rows.npz", rows=ROWS)
        Path("rows.safetensors").write_bytes(safetensors(rows=ROWS))
        np.savez("two.npz", cold=ROWS, hot=ROWS * 2)

    @pytest.mark.parametrize("path", ["rows.npy", "rows.npz", "rows.safetensors"])
    def test_all_of_them_open_it(self, path: str) -> None:
        grid = {"temperature": [0.5, 1.0]}
        expected = ll.sweep(ROWS, grid).values["entropy"]
        assert ll.sweep(path, grid).values["entropy"].tobytes() == expected.tobytes()
        draws: dict[str, Any] = {"draws": 50, "seed": 3, "metrics": "entropy"}
        expected = ll.simulate(ROWS, grid, **draws).values["entropy"]
        assert ll.simulate(Path(path), grid, **draws).values["entropy"].tobytes() == (
            expected.tobytes()
        )
        assert Recorded(path, Counting.vocabulary).logits.tobytes() == ROWS.tobytes()

    def test_workers_read_what_is_mapped_themselves(self) -> None:
        for path, is_mapped in [("rows.npy", 1), ("rows.npz", 0), ("rows.safetensors", 1)]:
            rows = rows_of(path, None)
            assert isinstance(rows, Rows)
            assert (rows.file is not None) == bool(is_mapped)
            if rows.file is not None:
                assert rows.file.read(2, 4).tobytes() == ROWS[2:4].tobytes()

    def test_a_map_in_another_order_of_bytes_is_sent_as_a_file(self) -> None:
        np.save("big.npy", ROWS.astype(">f4"))
        for rows in (rows_of("big.npy", None), rows_of(read_logits("big.npy"), None)):
            assert isinstance(rows, Rows)
            assert rows.file is not None
            (chunk,) = rows.chunks(10, {})
            assert chunk.load().dtype.isnative
            np.testing.assert_array_equal(chunk.load(), ROWS)
        with pytest.raises(ParameterError, match=r"^rows must be float16, .*, got int64"):
            rows_of(np.memmap("ints", np.int64, "w+", shape=(2, 2)), None)

    def test_several_arrays(self) -> None:
        end = (
            " must be a file of one array, got 2: 'cold', 'hot'. "
            "Open one with logitlab.models.read_logits(path, name=...)."
        )
        with pytest.raises(ParameterError) as error:
            ll.sweep("two.npz", {"top_k": [1]})
        assert str(error.value) == f"rows{end}"
        with pytest.raises(ParameterError) as error:
            Recorded("two.npz", Counting.vocabulary)
        assert str(error.value) == f"path{end}"

    def test_the_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        from logitlab.cli import main

        def out(*words: str) -> str:
            assert main(words) == 0
            return capsys.readouterr().out

        def err(*words: str) -> str:
            assert main(words) == 2
            return capsys.readouterr().err.removeprefix("logitlab: error: ").rstrip()

        trace = ("trace", "--row", "2", "--temperature", "0.7", "--seed", "1", "--json", "--logits")
        expected = json.loads(out(*trace, "rows.npy"))["stages"]
        for path in ("rows.npz", "rows.safetensors"):
            assert json.loads(out(*trace, path))["stages"] == expected
        assert json.loads(out(*trace, "two.npz", "--array", "cold"))["stages"] == expected
        assert err(*trace, "two.npz") == "--array must be one of 'cold', 'hot', got None."
        assert err("trace", "--array", "cold") == (
            "--array must be given together with --logits, got 'cold'."
        )
        sweep = ("--top-k", "1,2", "--quiet")
        expected = out("sweep", "rows.npy", *sweep)
        assert out("sweep", "rows.safetensors", *sweep) == expected
        assert out("sweep", "two.npz", "--array", "cold", *sweep) == expected
        assert err("sweep", "two.npz", *sweep) == "--array must be one of 'cold', 'hot', got None."
        assert err("sweep", "--array", "cold", *sweep) == (
            "--array must be given together with ROWS, got 'cold'."
        )
