"""The room of models: its names, and what its doors open."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from logitlab import ParameterError, models

from models.counting import record


def test_dir_lists_exactly_what_is_promised_and_all_of_it_is_there() -> None:
    assert dir(models) == sorted(models.__all__)
    for name in models.__all__:
        assert hasattr(models, name), name
    with pytest.raises(AttributeError, match="no attribute 'NGramm'"):
        models.NGramm  # noqa: B018


def test_type_checkers_are_told_of_every_adapter() -> None:
    """The one place that says a name again: no type checker reads a table."""
    tree = ast.parse(Path(models.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    aliases = [a for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert {alias.asname for alias in aliases} == {*models._ADAPTERS, *models._FILES}


def test_a_file_is_loaded_by_its_ending(tmp_path: Path) -> None:
    record(tmp_path / "run.npy", [[0, 1]])
    assert isinstance(models.load(str(tmp_path / "run.npy")), models.Recorded)
    with pytest.raises(ParameterError) as caught:
        models.load("model.bin")
    rule = "grimm, a .gguf file or a recorded .npy"
    assert str(caught.value) == f"model must be {rule}, got 'model.bin'."


def test_every_module_imports_where_no_process_can_be_started() -> None:
    code = (
        "import sys, pkgutil\n"
        "from importlib import import_module\n"
        "sys.modules['_multiprocessing'] = sys.modules['_posixshmem'] = None\n"
        "for room in ('models', 'constraints'):\n"
        "    package = import_module(f'logitlab.{room}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'logitlab.{room}.'):\n"
        "        import_module(module.name)\n"
        "print('multiprocessing' in sys.modules)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
