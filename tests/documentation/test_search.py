"""The built site in a browser, from its files; ``LOGITLAB_SITE=build/site/html`` says where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
