"""The page in a real browser: what a hand, a keyboard and a link do, and what the eye then sees.

Needs chromium and its driver, the package selenium, and for one test axe-core: LOGITLAB_AXE is the
path of its axe.min.js. Without them it is left out; `.ci/run` has them. Where LOGITLAB_PYODIDE is
the folder of a Pyodide with numpy, the page is the one for a static host, and no server answers.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab.server import static

from server.hosted import hosted

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("chromium and chromedriver are not here", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --lang=en-US"
)
PYODIDE = os.environ.get("LOGITLAB_PYODIDE")
ROWS = ll.datasets.load()
FIRST: dict[str, Any] = {
    "repetition_penalty": 1.1,
    "temperature": 0.8,
    "top_k": 50,
    "top_p": 0.9,
    "min_p": 0.05,
}
MODEL = ll.models.NGram.bundled()
READ = """
const texts = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
const values = (row) => [...document.querySelectorAll(`.stages tfoot tr:nth-child(${row}) td`)]
  .map((e) => Number(e.dataset.value));
return {
  heads: [...document.querySelectorAll('.stages thead th')].slice(1).map((e) => e.title),
  tokens: texts('.stages tbody th'),
  probs: [...document.querySelectorAll('.stages tbody tr')].map((row) =>
    [...row.querySelectorAll('td')].map((e) => e.dataset.p === '' ? null : Number(e.dataset.p))),
  kept: values(1), removed: values(2), entropy: values(3),
};
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if PYODIDE is not None:
        folder = tmp_path_factory.mktemp("site")
        static.write(folder, PYODIDE)
        with hosted(folder) as there:
            yield there
        return
    words = [sys.executable, "-m", "logitlab", "explore", "--port", "0", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" ")[2]
        process.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in OPTIONS.split():
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver


class Page:
    """The page, as somebody uses it who waits until it says what was expected, and no longer."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, fragment: str = "", width: int = 1280, dark: bool = False) -> None:
        self.browser.get("about:blank")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        ground = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [ground]})
        self.browser.get(f"{self.address}{fragment}")
        self.until(lambda: self.all("body.is-ready"))

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return found

    def one(self, selector: str) -> Any:
        self.until(lambda: self.all(selector))
        return self.all(selector)[0]

    def text(self, selector: str) -> str:
        self.until(lambda: self.all(selector))
        script = "return document.querySelector(arguments[0])?.textContent"
        return str(self.browser.execute_script(script, selector))

    def act(self, do: Callable[[], Any]) -> None:
        """Do something, and once more where the page was drawn anew meanwhile."""

        def done() -> bool:
            do()
            return True

        self.until(done)

    def read(self) -> dict[str, Any]:
        told: dict[str, Any] = self.browser.execute_script(READ)
        return told

    def until(self, holds: Callable[[], Any]) -> None:
        end, last = time.monotonic() + 20, None
        while time.monotonic() < end:
            try:
                last = holds()
                if last:
                    return
            except self.gone:
                pass
            time.sleep(0.02)
        raise AssertionError(f"it never came: {last!r}, {self.all('#problem')[0].text!r}")

    @property
    def gone(self) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException

        return StaleElementReferenceException

    def keys(self, selector: str, *keys: str) -> None:
        self.one(selector).send_keys(*keys)

    def write(self, selector: str, text: str) -> None:
        self.keys(selector, Keys.CONTROL, "a")
        self.keys(selector, text)

    def shows(self, trace: ll.Trace, vocabulary: Any = ROWS.vocabulary) -> None:
        """Wait until all numbers are those of a trace."""

        def same() -> bool:
            told = self.read()
            if told["heads"] != list(trace.names) or told["kept"] != trace.kept.tolist():
                return False
            measured = np.array([told["entropy"], told["removed"]])
            if not np.allclose(measured, [trace.entropy, trace.mass_removed], atol=1e-9):
                return False
            ids = [vocabulary.find(label.replace("␣", " ")) for label in told["tokens"]]
            shown = np.array([[p or 0 for p in line] for line in told["probs"]])
            gone = np.array([[p is None for p in line] for line in told["probs"]])
            assert len(ids) == len(set(ids)) > 1
            is_close = np.allclose(shown, ll.softmax(trace.logits)[:, ids].T, rtol=0, atol=1e-12)
            return bool(is_close and (gone == (trace.logits[:, ids] == -np.inf).T).all())

        self.until(same)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    yield Page(browser, address)
    complaints = [
        each
        for each in browser.get_log("browser")
        if each["level"] == "SEVERE" and "status of 400" not in each["message"]
    ]
    assert not complaints


def traced(i: int = 3, engine: str = "openrouter", **request: Any) -> ll.Trace:
    context = ll.Context(ROWS.prompt_ids[i])
    return ll.trace(ROWS.logits[i], request, engine=engine, context=context)


def test_it_opens_with_the_demo_and_every_number_is_that_of_trace(page: Page) -> None:
    page.open()
    page.shows(traced(**FIRST))
    page.until(lambda: "19 of 49,152 tokens are left" in page.text("#told"))
    assert page.text("#sentence").endswith("there lived a␣brave")


def test_a_slider_changes_what_it_should(page: Page) -> None:
    page.open()
    page.keys('[data-key="temperature"] input[type="range"]', *[Keys.ARROW_RIGHT] * 5)
    page.shows(traced(**{**FIRST, "temperature": 0.9}))
    page.write("#p-top_k", "7")
    page.shows(traced(**{**FIRST, "temperature": 0.9, "top_k": 7}))
    page.one('[data-key="top_k"] .reset').click()
    page.shows(traced(**{k: x for k, x in FIRST.items() if k != "top_k"} | {"temperature": 0.9}))
    page.one("#beyond-drawer summary").click()
    page.keys('[data-key="typical_p"] input[type="range"]', *[Keys.ARROW_LEFT] * 30)
    request: dict[str, Any] = {
        "repetition_penalty": 1.1,
        "temperature": 0.9,
        "top_p": 0.9,
        "min_p": 0.05,
    }
    page.shows(traced(**request, typical_p=0.7))
    page.one("#neutral").click()
    page.shows(traced())


def test_all_parameters_have_their_control_with_range_and_default(page: Page) -> None:
    page.open()
    keys = [each.get_attribute("data-key") for each in page.all("#controls .control")]
    assert sorted(keys) == sorted(ll.PARAMETERS)
    slider = page.one('[data-key="repetition_penalty"] input[type="range"]')
    assert [slider.get_attribute(x) for x in ("min", "max")] == ["0", "2"]
    assert page.one("#p-repetition_penalty").get_attribute("placeholder") == "1"
    about = page.text("#p-repetition_penalty-about")
    assert about.startswith("0 to 2. Divides positive")


def test_another_engine_has_its_own_stages_defaults_and_lacks(page: Page) -> None:
    page.open("#prompt=3&temperature=0.8&top_a=0.2")
    page.keys("#engine", "vllm", Keys.TAB)
    page.shows(traced(engine="vllm", temperature=0.8, top_a=0.2))
    lack = "top_a is ignored by vllm: it has no such parameter."
    page.until(lambda: page.text("#p-top_a-lack") == lack)
    assert not page.one("#p-top_a").is_enabled()
    assert lack in page.text("#notes")
    page.keys("#engine", "llama_cpp", Keys.TAB)
    page.shows(traced(engine="llama_cpp", temperature=0.8, top_a=0.2))
    page.until(lambda: page.one("#p-top_k").get_attribute("placeholder") == "40")


def test_a_dragged_column_is_a_step_in_another_place(page: Page) -> None:
    page.open()
    page.shows(traced(**FIRST))
    column = '.stages th[data-key="min_p"] .step'
    width = page.one('.stages th[data-key="min_p"]').size["width"]
    drag = ActionChains(page.browser, duration=30).click_and_hold(page.one(column))
    for _ in range(12):
        drag = drag.move_by_offset(-round(width * 0.36), 0).pause(0.1)
    drag.release().perform()
    chain = ll.Chain(
        ll.MinP(0.05), ll.RepetitionPenalty(1.1), ll.Temperature(0.8), ll.TopK(50), ll.TopP(0.9)
    )
    page.shows(chain.trace(ROWS.logits[3], ll.Context(ROWS.prompt_ids[3])))
    assert "engines has this order by itself. llama_cpp takes it when told" in page.text("#order")
    assert '{"samplers":["' in page.text("#order pre")
    page.act(lambda: page.one("#own-order").click())
    page.shows(traced(**FIRST))


def test_steps_move_by_keyboard_and_the_page_says_who_has_that_order(page: Page) -> None:
    page.open("#prompt=3&temperature=0.8&top_k=50&top_p=0.9&min_p=0.05")
    page.shows(traced(temperature=0.8, top_k=50, top_p=0.9, min_p=0.05))
    mover = '[data-move="temperature 1"]'
    page.one(mover).send_keys(Keys.ENTER)
    for place in (2, 3):
        page.until(lambda: page.read()["heads"].index("Temperature(0.8)") == place)  # noqa: B023
        assert page.browser.switch_to.active_element == page.one(mover)
        page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: page.text("#order").startswith("This is the order of llama_cpp"))
    chain = ll.Chain(ll.TopK(50), ll.TopP(0.9), ll.MinP(0.05), ll.Temperature(0.8))
    page.shows(chain.trace(ROWS.logits[3]))


def test_engines_side_by_side(page: Page) -> None:
    page.open("#prompt=3&temperature=0.8&top_p=0.9")
    page.one("#tab-engines").click()
    request = {"temperature": 0.8, "top_p": 0.9}
    context = ll.Context(ROWS.prompt_ids[3])
    compared = ll.compare_engines(ROWS.logits[3], request, context=context)
    for name in ("llama_cpp", "mlx_lm"):
        seen = page.text(f'[data-engine="{name}"] .distance')
        assert seen == f"{float(compared.distance('openrouter', name)):.3f}"
        words = "".join(map(str, compared.partings("openrouter", name)))
        page.until(lambda: page.text(f'[data-parting="{name}"]') == words)  # noqa: B023
    assert page.text('[data-parting="vllm"]') == "the same distribution"


def tokens(page: Page) -> list[int]:
    script = (
        "return [...document.querySelectorAll('#panel-writing .tok')].map((e) => +e.dataset.id)"
    )
    ids: list[int] = page.browser.execute_script(script)
    return ids


def test_writing_forcing_rewinding_and_branching(page: Page) -> None:
    page.open("#text=Once+upon+a+time&temperature=0.9&seed=7&tab=writing")
    page.one("#next").click()
    page.until(lambda: len(tokens(page)) == 1)
    for _ in range(2):  # nothing is lost of what is clicked while an answer is on its way
        page.browser.execute_script(
            "for (let i = 0; i < 5; i++) document.getElementById('next').click()"
        )
    page.until(lambda: len(tokens(page)) == 11)
    request = {"temperature": 0.9, "seed": 7}
    whole = ll.generate(MODEL, "Once upon a time", request, max_tokens=11)
    assert tokens(page) == whole.tokens.tolist()
    assert page.text("#luck") == "seed 7, sequence 0, inverse coupling"
    third = "#panel-writing .tok:nth-of-type(3)"
    page.act(lambda: page.one(third).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_LEFT))
    other = "#panel-writing li:has(.other:not(.is-here)) button"
    page.until(lambda: page.text("#panel-writing .beside p").startswith("Token 3, "))
    label = page.text(f"{other} .token")
    page.act(lambda: page.one(other).click())
    page.until(lambda: len(tokens(page)) == 3)
    forced = tokens(page)[2]
    assert MODEL.vocabulary.label(forced) == label != MODEL.vocabulary.label(whole.tokens[2])
    page.one("#rewind").click()
    page.until(lambda: tokens(page) == whole.tokens.tolist()[:2])
    page.one("#on").click()
    page.until(lambda: len(tokens(page)) == 12)
    assert tokens(page)[:11] == whole.tokens.tolist()
    page.act(lambda: page.one("#panel-writing .tok:nth-of-type(5)").click())
    page.one("#branch").click()
    page.until(lambda: page.text("#luck").startswith("seed 7, sequence 1"))
    page.until(lambda: len(tokens(page)) == 14)
    assert tokens(page)[:4] == whole.tokens.tolist()[:4]
    assert tokens(page)[:12] != whole.tokens.tolist()[:12]
    page.act(lambda: page.all(".twig")[-1].click())
    page.until(lambda: tokens(page)[:11] == whole.tokens.tolist())
    page.until(lambda: page.text("#luck").startswith("seed 7, sequence 0"))


def test_a_pasted_answer_dies_at_a_step(page: Page) -> None:
    page.open("#text=Once+upon+a+time+there&top_k=3&tab=scoring")
    page.write("#answer", " was a king")
    result = ll.score(MODEL, " was a king", {"top_k": 3}, prompt="Once upon a time there")
    page.until(lambda: page.text("#verdict") == result.processed.verdict)
    dead = [each.get_attribute("textContent") for each in page.all("#panel-scoring .is-dead")]
    assert dead == [" king"]


def test_a_link_is_the_whole_state(page: Page) -> None:
    page.open()
    page.keys("#engine", "vllm", Keys.TAB)
    page.write("#p-top_k", "9")
    page.until(lambda: "top_k=9" in page.browser.current_url)
    page.act(lambda: page.one('[data-move="top_p -1"]').click())
    page.until(lambda: "order=" in page.browser.current_url)
    page.one("#tab-writing").click()
    page.write("#begin", "The wolf")
    page.one("#on").click()
    page.until(lambda: len(tokens(page)) == 10)
    page.until(lambda: "out=" in page.browser.current_url)
    seen, fragment = tokens(page), page.browser.current_url.partition("#")[2]
    page.open(f"#{fragment}")
    page.until(lambda: tokens(page) == seen)
    assert page.one("#engine").get_property("value") == "vllm"
    assert page.one("#begin").get_property("value") == "The wolf"
    page.one("#tab-stages").click()
    page.until(lambda: page.read()["heads"])
    told = page.read()
    names = [name.partition("(")[0] for name in told["heads"]]
    own = traced(engine="vllm", **{**FIRST, "top_k": 9}).names
    assert sorted(names) == sorted(name.partition("(")[0] for name in own)
    assert names.index("TopP") < names.index("TopK")


def test_what_is_too_long_for_a_link_is_told(page: Page) -> None:
    page.open()
    lines = "\\n".join(f"token{i}: {i % 7}" for i in range(4000))
    page.one('[data-kind="lines"]').click()
    page.browser.execute_script(
        "const field = document.querySelector('#source textarea');"
        f"field.value = '{lines}'; field.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    )
    page.until(lambda: page.read()["kept"][0] == 4000)
    page.until(lambda: "prompt=" not in page.browser.current_url)
    assert len(page.browser.current_url) < 100
    page.one("#tab-along").click()
    page.until(lambda: "too long for a link" in page.text("#panel-along"))


def test_the_python_of_the_page_gives_its_numbers(page: Page) -> None:
    page.open("#prompt=5&temperature=0.7&top_p=0.8&tab=along")
    code = page.text("#python")
    names: dict[str, Any] = {"print": lambda *_, **__: None}
    exec(compile(code, "<page>", "exec"), names)
    assert page.text("#curl").startswith("curl http://127.0.0.1:")
    assert page.text("#link") == page.browser.current_url
    page.one("#tab-stages").click()
    page.shows(names["trace"])


def test_bad_input_is_told_in_the_library_s_words_and_the_picture_stays(page: Page) -> None:
    page.open()
    page.shows(traced(**FIRST))
    page.write("#p-top_p", "1.3")
    page.until(lambda: page.text("#problem") == "top_p must be in [0, 1], got 1.3.")
    assert page.one("#p-top_p").get_attribute("aria-invalid") == "true"
    page.shows(traced(**{**FIRST, "top_p": 1.0}))  # what was typed before
    page.write("#p-top_p", "0.9")
    page.until(lambda: page.text("#problem") == "")
    page.one('[data-kind="lines"]').click()
    page.write("#source textarea", "a: 1\nb")
    page.until(lambda: page.text("#problem") == "line 2 must be token: logit, got 'b'.")
    page.open("#prompt=3&no_such=1")
    page.until(lambda: "The link says no_such" in page.text("#link-told"))
    page.open("#prompt=77")
    page.until(lambda: page.text("#problem") == "prompt must be an integer in [0, 19], got 77.")


GREY = """
return [...document.querySelectorAll(arguments[0])].map((e) => {
  const style = getComputedStyle(e);
  return style.opacity === '0.4' && style.filter === 'grayscale(1)';
});
"""


@pytest.mark.parametrize(
    ("tab", "results"),
    [
        ("stages", "#sentence, #told, #stages, #order, #notes"),
        ("writing", "#panel-writing :is(.tokens, .beside, #writing-told, #luck, .faint)"),
        ("scoring", "#panel-scoring :is(.tokens, .beside, #verdict, #sums, ul.faint)"),
    ],
)
def test_what_was_asked_before_is_grey_beside_an_error(page: Page, tab: str, results: str) -> None:
    page.open(f"#prompt=3&temperature=0.5&seed=1&answer=%20a%20king&tab={tab}")

    def are(grey: bool) -> bool:
        seen = page.browser.execute_script(GREY, results)
        return bool(seen) and all(each is grey for each in seen)

    page.until(lambda: are(False))
    page.write("#p-top_p", "1.3")
    page.until(lambda: page.text("#problem") == "top_p must be in [0, 1], got 1.3.")
    assert are(True)
    page.write("#p-top_p", "0.9")
    page.until(lambda: page.text("#problem") == "")
    assert are(False)


def test_engines_are_grey_beside_an_error(page: Page) -> None:
    page.open("#lines=a:%201&temperature=0.5&tab=engines")
    panel = "#panel-engines > *"
    page.until(lambda: page.all("table.engines"))
    assert not any(page.browser.execute_script(GREY, panel))
    page.write("#source textarea", "a: 1\nb")
    page.until(lambda: page.text("#problem") == "line 2 must be token: logit, got 'b'.")
    assert all(page.browser.execute_script(GREY, panel))


def test_where_the_chosen_engine_refuses_the_others_have_no_distance(page: Page) -> None:
    page.open("#prompt=3&top_p=1.3&tab=engines")
    count = len(page.all("tr[data-engine]")) if page.one("tr[data-engine]") else 0
    page.until(lambda: page.text("#engines-told").startswith(f"0 of {count} other engines"))
    cells = page.all("td.partings[data-parting]")
    assert [cell.text for cell in cells] == ["–"] * count


def test_nothing_that_was_asked_before_is_taken_along(page: Page) -> None:
    page.open("#prompt=3&temperature=0.5&tab=along")
    page.until(lambda: "0.5" in page.text("#python"))
    page.write("#p-top_p", "1.3")
    page.until(lambda: page.text("#problem") == "top_p must be in [0, 1], got 1.3.")
    assert page.text("#panel-along") == ""


def test_an_error_of_an_answer_goes_with_it(page: Page) -> None:
    page.open("#prompt=3&top_p=1.3&answer=a&tab=scoring")
    page.until(lambda: page.text("#problem") == "top_p must be in [0, 1], got 1.3.")
    field = page.one("#answer")
    field.send_keys(Keys.BACKSPACE)
    page.until(lambda: page.text("#problem") == "")


def test_rows_of_one_s_own(page: Page, tmp_path: Path) -> None:
    page.open("#temperature=0.5")
    page.one('[data-kind="text"]').click()
    page.write("#source textarea", "The king's")
    ids = MODEL.encode("The king's")
    row = MODEL.advance([MODEL.start()], [ids])[0]
    page.shows(ll.trace(row, {"temperature": 0.5}), MODEL.vocabulary)
    rows = np.random.default_rng(2).normal(size=(3, 300)).astype(np.float32)
    np.save(tmp_path / "mine.npy", rows)
    page.one('[data-kind="file"]').click()
    page.one('input[type="file"]').send_keys(str(tmp_path / "mine.npy"))
    words = ll.Vocabulary([f"#{i}".encode() for i in range(300)])
    page.shows(ll.trace(rows[0], {"temperature": 0.5}), words)
    page.write(".row-number", "2")
    page.shows(ll.trace(rows[2], {"temperature": 0.5}), words)


SCRIPTS = "\n".join(
    f"{token}: {2 - i / 10}"
    for i, token in enumerate(
        ["␣king", "العربية", "עברית", "日本語の長いトークンでここに入らない",
         "Ж̴̢̛̖́͆u̷̡̻͐͋", "<b>x</b>", "🧑‍🚀",
         "ᠮᠣᠩᠭᠣᠯ", "a" * 200, "\u202eevil", "ﷺ﷽", "हिन्दी"]
    )
)  # fmt: skip


@pytest.mark.parametrize("width", [1280, 380])
def test_tokens_of_any_script_overlap_nothing(page: Page, width: int) -> None:
    from urllib.parse import quote

    page.open(f"#lines={quote(SCRIPTS)}&top_k=8&seed=1", width)
    page.until(lambda: len(page.all(".stages tbody tr")) == 12)
    boxes = page.browser.execute_script(
        "return [...document.querySelectorAll('.stages tbody tr')].map((row) => {"
        "const r = (e) => { const b = e.getBoundingClientRect();"
        "  return [b.left, b.top, b.right, b.bottom]; };"
        "return [r(row.querySelector('.token')), r(row.querySelector('td'))]; })"
    )
    for (label, cell), (below, _) in zip(boxes, [*boxes[1:], ([0, 1e9, 0, 0], [])], strict=True):
        assert label[2] <= cell[0] + 1
        assert label[3] <= below[1] + 1
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    labels = page.read()["tokens"]
    assert "<b>x</b>" in labels
    assert not page.all(".stages tbody b")


def test_nothing_in_a_link_or_a_text_becomes_markup(page: Page) -> None:
    from urllib.parse import quote

    evil = quote(
        "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>"
    )
    for tab in ("stages", "writing", "scoring", "along"):
        page.open(f"#text={evil}&answer={evil}&begin={evil}&{evil}=1&temperature={evil}&tab={tab}")
        page.until(lambda: page.text("#problem"))
        page.open(f"#text={evil}&answer={evil}&seed=1&tab={tab}")
        time.sleep(0.3)
        assert page.browser.title == "logitlab explore"
        assert not page.all("img, body script")


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    page.open("#tab=engines")
    page.one('[data-engine="vllm"]')
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(names) > 8
    assert all(name.startswith(page.address) for name in names)


def test_it_feels_instant(page: Page) -> None:
    """A generous bound: the machine of the tests has other things to do."""
    page.open()
    page.shows(traced(**FIRST))
    for _ in range(20):
        page.keys('[data-key="top_p"] input[type="range"]', Keys.ARROW_LEFT)
        time.sleep(0.05)
    script = "return performance.getEntriesByName('input to picture').map((e) => e.duration)"
    page.until(lambda: len(page.browser.execute_script(script)) >= 10)
    assert statistics.median(page.browser.execute_script(script)) < 500


def test_the_whole_page_works_by_keyboard(page: Page) -> None:
    page.open()
    page.shows(traced(**FIRST))
    page.one("#tab-stages").send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.browser.switch_to.active_element.get_attribute("id") == "tab-engines")
    page.browser.switch_to.active_element.send_keys(Keys.END)
    page.until(lambda: page.browser.switch_to.active_element.get_attribute("id") == "tab-along")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.browser.switch_to.active_element.get_attribute("id") == "tab-stages")
    seen = set()
    for _ in range(60):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        element = page.browser.switch_to.active_element
        seen.add(element.get_attribute("id") or element.get_attribute("data-move"))
    assert {"stages", "engine", "p-temperature", "p-seed", "top_k 1"} <= seen


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 380])
@pytest.mark.parametrize(
    ("tab", "more", "ready"),
    [
        ("stages", "&order=top_p,temperature&engine=vllm&top_a=0.1", "#own-order"),
        ("engines", "&top_p=0.9", '[data-engine="vllm"]'),
        ("writing", "&out=300,301,302,303", "#panel-writing .other"),
        ("scoring", "&answer=+was+a+king&top_k=3", "#panel-scoring .other"),
        ("along", "", "#curl"),
    ],
)
def test_axe_finds_nothing_serious(
    page: Page, tab: str, more: str, ready: str, width: int, dark: bool
) -> None:
    axe = os.environ.get("LOGITLAB_AXE")
    if not axe:
        pytest.skip("LOGITLAB_AXE is not set")
    page.open(f"#prompt=3&temperature=0.8&seed=7&tab={tab}{more}", width, dark)
    page.one(ready)
    page.browser.execute_script(
        "document.querySelectorAll('details').forEach((d) => d.open = true)"
    )
    page.browser.execute_script(Path(axe).read_text("utf-8"))
    found = page.browser.execute_async_script(
        "axe.run().then((r) => arguments[0](r.violations.map((v) => "
        "[v.impact, v.id, v.nodes.map((n) => n.html.slice(0, 120))])))"
    )
    assert [each for each in found if each[0] in ("serious", "critical")] == []
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
