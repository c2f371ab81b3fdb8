"""The built site in a browser, from its files; ``LOGITLAB_SITE=build/site/html`` says where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

FOLDER = Path(os.environ.get("LOGITLAB_SITE", "."))
pytestmark = pytest.mark.skipif(
    "LOGITLAB_SITE" not in os.environ or shutil.which("chromedriver") is None,
    reason="LOGITLAB_SITE is not set, or there is no chromium",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(word)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.implicitly_wait(20)
    yield driver
    driver.quit()


# What people type, and the page that has to be among the first three.
FOUND = {
    "vllm llama.cpp differ": "pages/tasks/another_provider",
    "different provider": "pages/tasks/another_provider",
    "order of samplers": "engines/index",
    "provider ignores parameter": "pages/tasks/verify",
    "my own logits npy": "pages/tasks/own_logits",
    "how likely is a token": "pages/tasks/score",
    "mock openai server": "pages/tasks/offline_tests",
    "test without network": "pages/tasks/offline_tests",
    "cuda kernel": "pages/tasks/kernel",
    "huggingface transformers": "pages/tasks/adapters",
    "million rows": "pages/tasks/sweeps",
    "is my seed honoured": "pages/questions/seeds",
    "deterministic temperature 0": "pages/questions/temperature",
    "greedy decoding": "pages/questions/temperature",
    "nucleus sampling": "pages/questions/truncation",
    "model repeats itself": "pages/questions/penalties",
    "repetition penalty prompt": "pages/questions/penalties",
    "json schema": "pages/questions/text",
    "perplexity": "pages/glossary",
    "getting started": "pages/start",
    "top_p": "parameters/top_p",
    "llama_cpp": "engines/llama_cpp",
}


@pytest.mark.parametrize("query", FOUND)
def test_ordinary_words_find_the_page(browser: Any, query: str) -> None:
    browser.get(f"{FOLDER.resolve().as_uri()}/search.html?q={quote(query)}")
    browser.find_element("xpath", "//*[@class='search-summary' and contains(., 'found')]")
    links = browser.find_elements("css selector", "#search-results li a")[:3]
    names = [link.get_attribute("href").partition(".html")[0] for link in links]
    assert any(name.endswith(f"/{FOUND[query]}") for name in names), names


def test_the_search_finds_a_parameter_first(browser: Any) -> None:
    browser.get(f"{FOLDER.resolve().as_uri()}/search.html?q=min_p")
    first = browser.find_element("css selector", "#search-results li a")
    assert "/parameters/min_p.html" in first.get_attribute("href")
    first.click()
    heads = [head.text for head in browser.find_elements("css selector", "h1, h2")]
    assert heads[0].startswith("min_p")
    assert any(head.startswith("Who differs") for head in heads)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_one_picture_for_each_ground_is_shown(browser: Any, theme: str) -> None:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(f"{FOLDER.resolve().as_uri()}/parameters/min_p.html")
    pictures = browser.find_elements("css selector", "article img")
    shown = [p.get_attribute("src") for p in pictures if p.is_displayed()]
    assert 0 < len(shown) == len(pictures) / 2
    assert all(source.endswith(f"_{theme}.png") for source in shown)


def test_a_narrow_page_does_not_scroll_sideways(browser: Any) -> None:
    size = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page in ("index", "parameters/min_p", "engines/vllm", "engines/index", "claims"):
        browser.get(f"{FOLDER.resolve().as_uri()}/{page}.html")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 380, page
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_table_says_that_it_scrolls_where_it_does(browser: Any) -> None:
    size = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(f"{FOLDER.resolve().as_uri()}/parameters/min_p.html")
    script = """return [...document.querySelectorAll(".table-wrapper")].map(one => [
        one.scrollWidth > one.clientWidth, one.tabIndex === 0,
        getComputedStyle(one, "::before").content.includes("scrolls")])"""
    tables = browser.execute_script(script)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert {wide for wide, _, _ in tables} == {True, False}
    assert all(wide == by_keys == told for wide, by_keys, told in tables)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figures_of_notebooks_stand_on_a_card(browser: Any, theme: str) -> None:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(f"{FOLDER.resolve().as_uri()}/notebooks/03_truncations.html")
    script = """const style = getComputedStyle(document.querySelector(".cell_output img"));
        return [style.backgroundColor, style.filter, style.borderRadius]"""
    ground, dimmed, corner = browser.execute_script(script)
    assert (ground, dimmed) == (
        "rgb(255, 255, 255)",
        "brightness(0.85)" if theme == "dark" else "none",
    )
    assert corner != "0px"
