"""No output of a command destroys what it reads, or another output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab.cli import main
from logitlab.cli.outputs import _ignores_case


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(1).normal(size=(5, 6)))
    (tmp_path / "linked.npy").symlink_to("rows.npy")
    os.link(path, tmp_path / "hard.npy")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.csv").symlink_to("new.png")
    return path


CASES = [
    (["rows.npy", "--out", "rows.npy"], "--out must be another file than ROWS"),
    (["rows.npy", "--out", "./rows.npy"], "--out must be another file than ROWS"),
    (["rows.npy", "--out", "folder/../rows.npy"], "--out must be another file than ROWS"),
    (["rows.npy", "--out", "linked.npy"], "--out must be another file than ROWS"),
    (["linked.npy", "--out", "rows.npy"], "--out must be another file than ROWS"),
    (["rows.npy", "--out", "hard.npy"], "--out must be another file than ROWS"),
    (["rows.npy", "--checkpoint", "hard.npy"], "--checkpoint must be another file than ROWS"),
    (["rows.npy", "--out", "x.png", "--plot", "x.png"], "--plot must be another file than --out"),
    (["--out", "x.png", "--plot", "./x.png"], "--plot must be another file than --out"),
    (["--out", "dangling.csv", "--plot", "new.png"], "--plot must be another file than --out"),
    (["--out", "c", "--checkpoint", "c"], "--checkpoint must be another file than --out"),
    (["--plot", "c.png", "--checkpoint", "c.png"], "--checkpoint must be another file than --plot"),
    (["--out", "folder"], "--out must be a file in an existing folder"),
    (["--out", ""], "--out must be a file in an existing folder"),
    (["--plot", "nowhere/x.png"], "--plot must be a file in an existing folder"),
    (["--checkpoint", "nowhere/c"], "--checkpoint must be a file in an existing folder"),
    (["--out", "a\0b"], "--out must be the path of a file"),
]


@pytest.mark.parametrize(("words", "message"), CASES)
def test_it_is_refused_before_any_work(
    words: list[str], message: str, rows: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows.read_bytes()
    monkeypatch.setattr("logitlab.cli.sweep.sweep", None)
    assert main(["sweep", *words, "--top-k", "1,2"]) == 2
    assert message in capsys.readouterr().err
    assert rows.read_bytes() == before
    assert {path.name for path in rows.parent.iterdir()} == {
        *("rows.npy", "linked.npy", "hard.npy", "folder", "dangling.csv"),
    }


def test_names_that_differ_in_capitals_are_one_file_where_the_folder_says_so(
    rows: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", "--top-k", "1", "--out", "x.PNG", "--plot", "X.png", "--quiet"]
    assert main(words) == 0
    for name in ("x.PNG", "X.png"):
        (rows.parent / name).unlink()
    monkeypatch.setattr("logitlab.cli.outputs._ignores_case", lambda folder: True)
    assert main(words) == 2
    assert "--plot must be another file than --out" in capsys.readouterr().err


def test_what_is_no_file_cannot_be_destroyed(rows: Path) -> None:
    words = ["--out", os.devnull, "--checkpoint", "held", "--quiet"]
    assert main(["sweep", str(rows), "--top-k", "1", *words]) == 0
    assert rows.with_name("held").exists()


def test_the_root_has_no_name_to_write_in_capitals() -> None:
    assert _ignores_case(Path("/")) is False


@pytest.mark.parametrize(
    ("words", "mode", "file", "message"),
    [
        ("--out t.csv", "w", "t.csv", "--out must be another file than standard output"),
        ("--plot t.png", "w", "t.png", "--plot must be another file than standard output"),
        ("--checkpoint c", "w", "c", "--checkpoint must be another file than standard output"),
        ("", "a", "rows.npy", "ROWS must be another file than standard output"),
        ("", "a", "hard.npy", "ROWS must be another file than standard output"),
    ],
)
def test_standard_output_is_an_output(
    words: str,
    mode: str,
    file: str,
    message: str,
    rows: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = rows.read_bytes()
    with open(file, mode) as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert main(["sweep", "rows.npy", "--top-k", "1", "--quiet", *words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.endswith("The command writes that, too.\n")
    assert rows.read_bytes() == before


def test_standard_output_of_a_shell_is_an_output_too(rows: Path) -> None:
    before = rows.read_bytes()
    command = f"{sys.executable} -m logitlab sweep rows.npy --top-k 1 --quiet >> rows.npy"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "ROWS must be another file than standard output" in result.stderr
    assert rows.read_bytes() == before


def test_the_texts_beside_a_recording_are_not_overwritten(rows: Path, capsys: Any) -> None:
    texts = rows.with_name("rows.tokens.jsonl")
    texts.write_text("{}")
    assert main(["sweep", "rows.npy", "--top-k", "1", "--out", texts.name]) == 2
    assert "--out must be another file than the texts of ROWS" in capsys.readouterr().err
    assert texts.read_text() == "{}"
