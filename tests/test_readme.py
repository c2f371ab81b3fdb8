"""The README is true: its table is the declaration's, its examples print what they say."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from logitlab.engines.differences import difference_tables
from logitlab.params import parameter_table

README = Path(__file__).parents[1] / "README.md"


def test_the_parameter_table_is_the_declaration() -> None:
    text = README.read_text("utf-8")
    block = re.search(r"<!-- logitlab params -->\n(.*?)\n<!-- end -->", text, re.S)
    assert block
    assert block[1] == parameter_table()


def test_the_examples_print_what_they_say() -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testfile(str(README), module_relative=False, optionflags=flags)
    assert results.attempted >= 10
    assert results.failed == 0


def test_the_demo_output_is_real(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from logitlab.cli import main

    block = re.search(r"\$ logitlab demo\n(.*?)\n```", README.read_text("utf-8"), re.S)
    assert block
    monkeypatch.setenv("COLUMNS", "95")
    assert main(["demo"]) == 0
    assert capsys.readouterr().out.rstrip() == block[1]


def test_the_table_of_differences_is_made_of_the_declarations() -> None:
    text = README.read_text("utf-8")
    block = re.search(
        r"<!-- logitlab engines --differences -->\n(.*?)\n<!-- end of differences -->", text, re.S
    )
    assert block
    assert block[1] == difference_tables()
