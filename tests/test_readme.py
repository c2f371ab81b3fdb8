"""The README is true: its table is the declaration's, its examples print what they say."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from logitlab.engines import ENGINES
from logitlab.engines.differences import difference_tables
from logitlab.request.params import parameter_table

README = Path(__file__).parents[1] / "README.md"


def test_the_parameter_table_is_the_declaration() -> None:
    text = README.read_text("utf-8")
    block = re.search(r"<!-- logitlab params -->\n(.*?)\n<!-- end -->", text, re.S)
    assert block
    assert block[1] == parameter_table()


def test_the_table_beyond_the_page_is_the_declaration_too() -> None:
    text = README.read_text("utf-8")
    block = re.search(
        r"<!-- logitlab params, beyond -->\n(.*?)\n<!-- end of beyond -->", text, re.S
    )
    assert block
    assert block[1] == parameter_table(beyond=True)


def test_the_examples_print_what_they_say() -> None:
    known = set(ENGINES)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testfile(str(README), module_relative=False, optionflags=flags)
    for made in ENGINES.keys() - known:  # an engine that they make stays theirs
        del ENGINES[made]
    assert results.attempted >= 10
    assert results.failed == 0


def test_the_output_of_the_commands_is_real(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from logitlab.cli import main

    monkeypatch.setenv("COLUMNS", "95")
    shown = re.findall(r"\$ logitlab (.*?)\n(.*?)\n```", README.read_text("utf-8"), re.S)
    assert [command.split()[0] for command, _ in shown] == ["demo", "generate"]
    for command, output in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out.rstrip() == output


def test_the_table_of_differences_is_made_of_the_declarations() -> None:
    text = README.read_text("utf-8")
    block = re.search(
        r"<!-- logitlab engines --differences -->\n(.*?)\n<!-- end of differences -->", text, re.S
    )
    assert block
    assert block[1] == difference_tables()
