"""``logitlab docs``: where the documentation is, or what builds it."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from logitlab.cli import docs, main


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("src/logitlab/a.py", "notebooks/site/build.py", "benchmarks/results/b.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def built(clone: Path, age: float) -> Path:
    first = clone / "build" / "site" / "html" / "index.html"
    first.parent.mkdir(parents=True)
    first.touch()
    changed = (clone / "src" / "logitlab" / "a.py").stat().st_mtime
    os.utime(first, (changed - age, changed - age))
    return first


def test_the_command_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == f"{docs.where(Path(docs.__file__).parents[3], Path.cwd())}\n"


def test_what_is_looked_for_is_what_the_extra_brings() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["optional-dependencies"]["docs"]
    names = {re.split(r"[<>=\[ ]", each)[0].replace("-", "_") for each in wanted}
    assert names - {"logitlab"} == set(docs._NEEDS)


def test_what_was_built_is_printed_alone(clone: Path) -> None:
    first = built(clone, age=-60)
    assert docs.where(clone, clone) == str(first)


def test_what_is_not_built_is_told_with_its_command(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "find_spec", lambda name: name)
    *_, command = docs.where(clone, clone).splitlines()
    assert docs.where(clone, clone).startswith("The documentation is not built yet. To build it:\n")
    assert command.endswith(f"{clone}/notebooks/site/build.py")
    monkeypatch.setattr(docs, "find_spec", lambda name: None if name == "furo" else name)
    assert f"-m pip install -e '{clone}[docs]'    # furo is missing\n" in docs.where(clone, clone)


def test_an_older_site_says_so(clone: Path) -> None:
    first = built(clone, age=60)
    assert docs.where(clone, clone).startswith(f"{first}\nis older than what it was made of.")


def test_without_a_clone_the_commands_are_those_of_one(tmp_path: Path) -> None:
    text = docs.where(tmp_path / "site-packages", tmp_path)
    assert "nor is this folder in one" in text
    assert text.endswith("    pip install -e '.[docs]'\n    python notebooks/site/build.py")


def test_in_a_clone_a_package_that_is_installed_elsewhere_is_led_there(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "find_spec", lambda name: name)
    elsewhere = tmp_path_factory.mktemp("site-packages")
    text = docs.where(elsewhere, clone / "notebooks" / "site")
    install, build = text.splitlines()[1:]
    assert f"-m pip install -e '{clone}[docs]'    # what is installed is no clone" in install
    assert build.endswith(f"{clone}/notebooks/site/build.py")
    first = built(clone, age=-60)
    assert docs.where(elsewhere, clone) == str(first)
