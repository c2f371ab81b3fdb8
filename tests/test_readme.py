"""The README and the reference pages are true: their tables, blocks, commands and links.

In the README a ``python`` block prints what the ``text`` block after it says, and all share their
names. In ``notebooks/site/pages/reference`` a ``pycon`` block is a doctest, with the names of its
page. Every command of ours that either shows is one that the command line takes.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab.cli import _parser, main
from logitlab.cli.arguments import join_negative_values
from logitlab.engines import ENGINES
from logitlab.engines.differences import difference_tables
from logitlab.request.params import parameter_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REFERENCE = ROOT / "notebooks" / "site" / "pages" / "reference"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGES = sorted(REFERENCE.glob("*.md"))
SHELL = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.S | re.M)


def between(page: str, begin: str, end: str) -> str:
    """Return what stands between two comments of a page."""
    text = (REFERENCE / page).read_text("utf-8")
    block = re.search(rf"<!-- {begin} -->\n(.*?)\n<!-- {end} -->", text, re.S)
    assert block, (page, begin)
    return block[1]


@pytest.fixture(autouse=True)
def engines_of_examples_stay_theirs() -> Iterator[None]:
    known = set(ENGINES)
    yield
    for made in ENGINES.keys() - known:
        del ENGINES[made]


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= 10_000


def test_the_parameter_table_is_the_declaration() -> None:
    assert between("parameters.md", "logitlab params", "end") == parameter_table()


def test_the_table_beyond_the_page_is_the_declaration_too() -> None:
    told = between("parameters.md", "logitlab params, beyond", "end of beyond")
    assert told == parameter_table(beyond=True)


def test_the_table_of_differences_is_made_of_the_declarations() -> None:
    told = between("engines.md", "logitlab engines --differences", "end of differences")
    assert told == difference_tables()


def test_the_version_is_said_once_and_dated_once() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    said = dict(re.findall(r"^(version|date-released): (.+)$", citation, re.M))
    newest = re.findall(
        r"^## \[(\d.*?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert newest[0] == (said["version"], said["date-released"])
    assert said["version"] == ll.__version__


def test_every_extra_has_its_size_and_its_purpose() -> None:
    table = between("install.md", r"benchmarks/extras\.py", r"end of extras\.py")
    told = set(re.findall(r"^\| `logitlab\[(.+?)\]` \| .+ \| \d+ \| [\d< ]+ \|$", table, re.M))
    assert set(PROJECT["optional-dependencies"]) <= told


def test_the_readme_counts_right() -> None:
    text = README.read_text("utf-8")
    engines = difference_tables().split("\n\n")[0].splitlines()[2:]
    assert len(engines) == 13
    assert "Each of thirteen (and their variants)" in text
    assert "vLLM, llama.cpp and ten others" in text
    assert 40 < len(parameter_table(beyond=True).splitlines()[2:]) < 50
    assert "more than forty of them" in text


def test_the_examples_of_the_readme_print_what_they_say() -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?",
        README.read_text("utf-8"),
        re.S | re.M,
    )
    names: dict[str, Any] = {}
    for code, output in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == output, code
    assert len(blocks) == 7  # a tour, and six doors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_print_what_they_say(page: Path) -> None:
    inside, lines = False, []
    for line in page.read_text("utf-8").splitlines():  # all else becomes empty lines
        inside = inside and line != "```"
        lines.append(line if inside else "")
        inside = inside or line == "```pycon"
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    text = "\n".join(lines)
    examples = doctest.DocTestParser().get_doctest(
        text, {"__name__": "__main__"}, page.name, str(page), 0
    )
    results = doctest.DocTestRunner(optionflags=flags).run(examples)
    assert results.attempted == text.count(">>> ")
    assert results.failed == 0


def test_most_pages_have_examples() -> None:
    assert sum(page.read_text("utf-8").count(">>> ") for page in PAGES) > 130


def test_tensors_come_back_as_it_says() -> None:
    torch = pytest.importorskip("torch")
    code = apart("arrays.md", "torch")
    said = dict(re.findall(r"^(ll\S.*?)\s+# (?:an? )?(.*)$", code, re.M))
    names = {"ll": ll, "torch": torch, "rows": ll.datasets.load(), "params": {"top_p": 0.9}}
    exec(code.split("\nll.")[0], names)
    assert len(said) == 4
    for call, words in said.items():
        if "cuda" in call:
            assert "ParameterError" in words  # no machine here has one
            continue
        result = eval(call, names)
        dtype = words.split()[0]
        assert words.split()[1].rstrip(":") == "tensor"
        assert result.dtype is getattr(torch, dtype)


def test_transformers_writes_what_generate_does() -> None:
    torch = pytest.importorskip("torch")
    from models.test_huggingface import network

    prompt = [5, 6, 7]
    names: Any = {
        "ll": ll,
        "network": network("llama"),
        "prompt": prompt,
        "ids": torch.tensor([prompt]),
    }
    code = apart("models.md", "transformers")
    exec(code.replace("max_new_tokens=20", "max_new_tokens=20, pad_token_id=0"), names)
    tokens = names["answer"].tokens.tolist()
    assert len(tokens) > 5
    assert names["output"][0, 3 : 3 + len(tokens)].tolist() == tokens


def apart(page: str, library: str) -> str:
    """Return the block of a page that needs a library."""
    text = (REFERENCE / page).read_text("utf-8")
    block = re.search(
        rf"<!-- not run here: .*? where {library} is installed -->\n```python\n(.*?)```", text, re.S
    )
    assert block
    return block[1]


@pytest.mark.parametrize(("page", "command"), [("trace", "demo"), ("generate", "generate")])
def test_the_output_of_the_commands_is_real(
    page: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "95")
    text = (REFERENCE / f"{page}.md").read_text("utf-8")
    [(line, output)] = re.findall(r"\$ logitlab (.*?)\n(.*?)\n```", text, re.S)
    assert line.split()[0] == command
    assert main(shlex.split(line)) == 0
    assert capsys.readouterr().out.rstrip() == output


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_the_command_line_takes_every_command(page: Path) -> None:
    for block in SHELL.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.split("#")[0].split(" && "):
                words = shlex.split(command)
                if words and words[0].endswith("logitlab"):
                    assert _parser().parse_args(join_negative_values(words[1:])).run


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in (first or second for first, second in links):
        if not link.startswith("https://"):
            assert (page.parent / link.split("#")[0]).exists(), link
