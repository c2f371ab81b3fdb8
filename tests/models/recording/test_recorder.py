from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.arrays import FloatArray
from logitlab.models import Recorded, Recorder, State

from models.counting import SIZE, Counting, record


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        record(tmp_path / "run.npy", [[0, 1, 2], [3], [4]])
        return tmp_path / "run.npy"

    @pytest.fixture
    def texts(self, path: Path) -> Path:
        return path.with_name("run.tokens.jsonl")

    def test_a_run_without_rows(self, tmp_path: Path) -> None:
        record(tmp_path / "run.npy")
        assert np.load(tmp_path / "run.npy").shape == (0, SIZE)
        model = Recorded.open(tmp_path / "run.npy")
        with pytest.raises(ParameterError, match=r"token 0 at position 0. No recorded text"):
            model.advance([model.start()], [[0]])

    def test_every_row_is_there_at_once(self, tmp_path: Path) -> None:
        """What is written is complete while the recorder is still open."""
        with Recorder(Counting(), tmp_path / "run.npy") as recorder:
            state = recorder.start()
            for step in range(3):
                row = recorder.advance([state], [[step]])[0]
                model = Recorded.open(tmp_path / "run.npy")
                assert np.load(tmp_path / "run.npy").shape == (step + 1, SIZE)
                again = model.advance([model.start()], [list(range(step + 1))])
                assert again.tobytes() == row.tobytes()

    @pytest.mark.parametrize("kind", ["ml_dtypes", "torch", "lists"])
    def test_rows_of_any_library_are_recorded(self, tmp_path: Path, kind: str) -> None:
        """As they are read: numpy's files have no bfloat16."""
        if kind != "lists":
            pytest.importorskip(kind)

        class Other(Counting):
            def advance(self, states: Any, tokens: Any) -> Any:
                rows = super().advance(states, tokens)
                if kind == "lists":
                    return list(rows)
                if kind == "torch":
                    return importlib.import_module(kind).tensor(rows).bfloat16()
                return rows.astype(importlib.import_module(kind).bfloat16)

        with Recorder(Other(), tmp_path / "run.npy") as recorder:
            row = recorder.advance([recorder.start()], [[0, 1]])
        assert type(row) is np.ndarray
        again = Recorded.open(tmp_path / "run.npy")
        assert again.logits.dtype == row.dtype
        assert kind == "lists" or row.dtype == np.float32
        assert again.advance([again.start()], [[0, 1]]).tobytes() == row.tobytes()

    @pytest.mark.parametrize("bytes_", range(1, 50, 6))
    def test_a_run_that_was_cut_off(self, path: Path, texts: Path, bytes_: int) -> None:
        texts.write_bytes(texts.read_bytes()[:-bytes_])
        model = Recorded.open(path)
        state = model.start()
        model.advance([state], [[0, 1, 2]])
        model.advance([state], [[3]])
        with pytest.raises(ParameterError, match="token 4 at position 4"):
            model.advance([state], [[4]])

    def test_a_cut_off_array(self, path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(
            ParameterError, match=r"path must be a .npy file of logits, got .*[Mm]map"
        ):
            Recorded.open(path)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"x" * 300])
    def test_no_array(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(ParameterError, match=r"path must be a .npy file of logits, got"):
            Recorded.open(path)

    def test_changed_bytes(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[130] ^= 1  # in row 0
        path.write_bytes(data)
        model = Recorded.open(path)
        with pytest.raises(ParameterError) as error:
            model.advance([model.start()], [[0, 1, 2]])
        assert str(error.value) == (
            "logits must be as they were recorded, got other bytes in row 0. "
            "The file is damaged, or belongs to another run."
        )

    def test_files_of_two_runs(self, path: Path, tmp_path: Path) -> None:
        record(tmp_path / "short.npy", [[0]])
        np.save(tmp_path / "other.npy", np.zeros((3, SIZE)))
        np.save(tmp_path / "wide.npy", np.zeros((3, SIZE + 1)))
        for name, message in [
            ("short", "path must be two files of the same run, got 1 rows and texts for 3."),
            ("other", "logits must be as they were recorded, got other bytes in row 2"),
            ("wide", "vocabulary must be of 6 tokens, as many as the logits have columns"),
        ]:
            path.write_bytes((tmp_path / f"{name}.npy").read_bytes())
            with pytest.raises(ParameterError, match=message):
                Recorded.open(path)

    @pytest.mark.parametrize(
        ("line", "content"),
        [
            (1, b"{}"),
            (1, b"no JSON"),
            (1, b'{"format": "logitlab recording", "version": 2}'),
            (1, b'{"format": "logitlab recording", "version": 1}'),
            (2, b"[]"),
            (3, b"\xff\xfe"),
            (3, b'{"after": [0, 3], "tokens": [3]}'),
            (3, b'{"after": [1, 3], "tokens": [3], "crc32": 1}'),
            (3, b'{"after": [-2, 0], "tokens": [3], "crc32": 1}'),
            (3, b'{"after": [0, 4], "tokens": [3], "crc32": 1}'),
            (3, b'{"after": [0, -1], "tokens": [3], "crc32": 1}'),
            (3, b'{"after": [0, 3], "tokens": [5], "crc32": 1}'),
            (3, b'{"after": [0, 3], "tokens": "3", "crc32": 1}'),
            (3, b'{"after": 0, "tokens": [3], "crc32": 1}'),
            (3, b'{"prompt": "a", "tokens": [7]}'),
        ],
    )
    def test_other_lines(self, path: Path, texts: Path, line: int, content: bytes) -> None:
        lines = texts.read_bytes().splitlines(keepends=True)
        lines[line - 1] = content + b"\n"
        texts.write_bytes(b"".join(lines))
        with pytest.raises(ParameterError) as error:
            Recorded.open(path)
        assert str(error.value) == (
            "run.tokens.jsonl must be as Recorder writes it, 'logitlab recording' of version 1, "
            f"got something else in line {line}. The file is damaged, or belongs to another run."
        )

    def test_an_empty_file_of_texts(self, path: Path, texts: Path) -> None:
        texts.write_bytes(b"")
        with pytest.raises(ParameterError, match="got something else in line 1"):
            Recorded.open(path)

    def test_no_texts(self, path: Path, texts: Path) -> None:
        texts.unlink()
        with pytest.raises(ParameterError, match=r"with its texts in run.tokens.jsonl beside it"):
            Recorded.open(path)
        assert Recorded(path, Counting.vocabulary).name == "recorded"

    def test_nothing_is_overwritten(self, path: Path, texts: Path) -> None:
        with pytest.raises(ParameterError, match=r"path must be a new file, got .*run.npy'"):
            Recorder(Counting(), path)
        path.unlink()
        with pytest.raises(
            ParameterError, match=r"path must be a new file, got .*run.tokens.jsonl"
        ):
            Recorder(Counting(), path)
        with pytest.raises(
            ParameterError, match=r"path must be the path of a .npy file, got 'run'"
        ):
            Recorder(Counting(), "run")

    def test_after_close(self, tmp_path: Path) -> None:
        recorder = Recorder(Counting(), tmp_path / "run.npy")
        recorder.close()
        recorder.close()
        with pytest.raises(ParameterError, match="recorder must be open, got a closed one"):
            recorder.advance([recorder.start()], [[0]])
        assert recorder.encode("a") == [0]


class Changing(Counting):
    """float64 at first, float32 afterwards; a column too few for token 4."""

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        rows = super().advance(states, tokens)
        rows = rows.astype(np.float64 if self.calls == 1 else np.float32)
        return rows[:, : SIZE - 1] if tokens[0][-1] == 4 else rows


def test_a_model_that_changes(tmp_path: Path) -> None:
    with Recorder(Changing(), tmp_path / "run.npy") as recorder:
        recorder.advance([recorder.start()], [[0]])
        with pytest.raises(
            ParameterError, match="logits must be float64 as the rows before, got f"
        ):
            recorder.advance([recorder.start()], [[1]])
        with pytest.raises(
            ParameterError, match=r"logits must be of shape \(1, 5\), got shape \(1,"
        ):
            recorder.advance([recorder.start()], [[4]])
    assert np.load(tmp_path / "run.npy").shape == (1, SIZE)


def test_the_model_comes_before_the_path(tmp_path: Path) -> None:
    hint = "The model comes first, then the path"
    with pytest.raises(ParameterError, match=rf"^model must be a Model, got .* {hint}"):
        Recorder(tmp_path / "run.npy", Counting())  # type: ignore[arg-type]
