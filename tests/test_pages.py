"""The prose of the site is true: every block of it runs, and prints what is shown beneath it.

A fenced ``python`` block, or the lines of a ``bash`` block that begin with ``logitlab``, print what
the ``text`` block after them says, to the letter; a block without one prints nothing. What a block
raises is printed as its last line. Blocks of a page share their names from top to bottom, but a
question stands alone, so that it can be pasted alone: there names end at the next heading. A
comment above a block says what it needs, ``<!-- needs torch -->``, or why it is not run.
``python tests/test_pages.py`` writes the outputs anew.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab.cli import main
from logitlab.engines import ENGINES

PAGES = Path(__file__).parents[1] / "notebooks" / "site" / "pages"
NAMES = ["../index.md", *sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md"))]
BLOCK = re.compile(
    r"^(?P<heading>## [^\n]*)$"
    r"|(?:^<!-- (?P<note>(?:needs|not run)[^>]*) -->\n)?"
    r"^```(?P<language>python|bash|json|yaml|toml)\n(?P<code>.*?)^```$"
    r"(?P<shown>\n\n?```text\n(?P<output>.*?)^```$)?",
    re.S | re.M,
)


@dataclass
class Block:
    """A block of a page, where it stands, and what is said of it."""

    section: str
    language: str
    code: str
    output: str
    needs: tuple[str, ...]
    reason: str
    span: tuple[int, int]  # of the output, or twice the end of the block


def blocks(name: str) -> Iterator[Block]:
    """Yield the blocks of a page that readers may paste."""
    section = ""
    for found in BLOCK.finditer((PAGES / name).read_text("utf-8")):
        if found["heading"]:
            section = found["heading"]
            continue
        note = found["note"] or ""
        yield Block(
            section,
            found["language"],
            found["code"],
            found["output"] or "",
            tuple(note.split()[1:]) if note.startswith("needs") else (),
            note if note.startswith("not run") else "",
            found.span("output") if found["shown"] else (found.end(), found.end()),
        )


def is_missing(block: Block) -> bool:
    return any(importlib.util.find_spec(name) is None for name in block.needs)


def run(block: Block, names: dict[str, Any]) -> str:
    """Run a block, and return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            if block.language == "python":
                exec(compile(ast.parse(block.code), "a page", "exec"), names)
            for command in commands(block):
                main(command)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    return printed.getvalue()


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the arguments of each command of ours in a block of a shell."""
    if block.language == "bash":
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["logitlab"]:
                yield words[1:]


def outputs(name: str) -> Iterator[tuple[Block, str]]:
    """Run a page, and yield each of its blocks with what it printed."""
    names: dict[str, Any] = {}
    section = ""
    for block in blocks(name):
        if name.startswith("questions") and block.section != section:
            section, names = block.section, {}
        if not block.reason and not is_missing(block):
            yield block, run(block, names)


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for what blocks write, a width for what commands print, and no engine left over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "95")
    known = set(ENGINES)
    yield
    for made in ENGINES.keys() - known:
        del ENGINES[made]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_what_comes_out(name: str, somewhere: None) -> None:
    for block, printed in outputs(name):
        where = f"{name}, {block.section}\n{block.code}"
        assert lines(printed) == lines(block.output), where
    if missing := {need for block in blocks(name) if is_missing(block) for need in block.needs}:
        pytest.skip(f"a block was not run, which needs {' and '.join(sorted(missing))}")


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def test_a_test_of_an_application_passes(request: pytest.FixtureRequest) -> None:
    plugins = request.config.pluginmanager
    if not (plugins.hasplugin("logitlab") or plugins.hasplugin("logitlab_pytest")):
        pytest.skip("the package is not installed here, so that its plugin is not either")
    server = request.getfixturevalue("logitlab_server")
    names: dict[str, Any] = {}
    for block in [*blocks("tasks/offline_tests.md")][:2]:
        if is_missing(block):
            pytest.skip("the page needs openai")
        run(block, names)
    names["test_greet"](server)
    assert len(server.journal) == 2


def test_links_lead_somewhere() -> None:
    pages = {name: (PAGES / name).read_text("utf-8") for name in NAMES}
    labels = {label for text in pages.values() for label in re.findall(r"^\((\S+)\)=$", text, re.M)}
    assert len(labels) > 30
    for name, text in pages.items():
        links = re.findall(r"\]\((?!https://)([^)]+)\)", text)
        for link in links:
            if link.startswith("#"):
                assert link[1:] in labels, f"{name}: {link}"
                continue
            path = Path(os.path.relpath((PAGES / name).parent / link, PAGES.parent))
            made = {"parameters": {*ll.PARAMETERS, "index"}, "engines": {*ENGINES, "index"}}
            made |= {key: {"index"} for key in ("notebooks", "reference", "benchmarks")}
            made["claims.md"] = {"claims"}
            written = (PAGES.parent / path).is_file()
            assert written or path.stem in made.get(path.parts[0], ()), f"{name}: {link}"
        for listed in re.findall(r"^```{toctree}\n.*?\n\n(.*?)^```$", text, re.S | re.M):
            assert all((PAGES / f"{page}.md").is_file() for page in listed.split())


def test_every_question_has_a_public_thread_and_a_run() -> None:
    asked = 0
    for name in NAMES:
        if name.startswith("questions/"):
            runs = {block.section for block in blocks(name) if block.output}
            text = (PAGES / name).read_text("utf-8")
            for heading, answer in re.findall(r"^(## [^\n]*)\n(.*?)(?=^## |\Z)", text, re.S | re.M):
                asked += 1
                assert heading in runs
                assert re.search(r"^\*[^\n]*\n?[^\n]*\]\(https://", answer, re.M), heading
    assert asked >= 30


def write(name: str) -> None:
    """Write into a page what its blocks print."""
    text = (PAGES / name).read_text("utf-8")
    for block, printed in reversed(list(outputs(name))):
        begin, end = block.span
        shown = "".join(f"{line}\n" for line in lines(printed))
        if begin == end and shown:
            shown = f"\n\n```text\n{shown}```"
        text = text[:begin] + shown + text[end:]
    (PAGES / name).write_text(text, "utf-8")


if __name__ == "__main__":
    import tempfile

    os.environ["COLUMNS"] = "95"
    for page in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write(page)
