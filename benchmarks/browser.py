"""The page for a static host in a real browser, beside this Python: what it answers, and how fast.

Run ``python benchmarks/browser.py FOLDER``, with the folder of a Pyodide that has numpy, where
chromium, chromedriver and selenium are. It writes the page with ``logitlab explore --static``,
serves it as plain files and asks, through the page's own back end, what `tests/server/recorded.py`
has recorded and what it has not; draws come from the same package in the same browser. It exits 1
where a token, a sentence, or a number by more than 1e-12 differs, where anything is asked of
another host, or where Python in the browser could ask it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import logitlab as ll
from logitlab.cli import main as logitlab
from logitlab.server import browser
from logitlab.server.lab import Lab
from selenium import webdriver

import report

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from server import recorded
from server.hosted import hosted

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --lang=en-US"
)
ASK = """
const [name, body, done] = arguments;
import("./backend.js").then(async ({ ask }) => {
  const begin = performance.now();
  const answer = await ask(name, JSON.parse(body)); // a driver would sort the keys of a map
  done(JSON.stringify([answer, performance.now() - begin]));
});
"""
DRAWS = """
const [code, done] = arguments;
(async () => {
  const here = new URL("./", location.href).href;
  const { loadPyodide } = await import(`${here}pyodide/pyodide.mjs`);
  const python = await loadPyodide({ indexURL: `${here}pyodide/` });
  await python.loadPackage("numpy");
  python.unpackArchive(await (await fetch(`${here}logitlab.zip`)).arrayBuffer(), "zip");
  done(python.runPython(code));
})().catch((error) => done(`${error}`));
"""
# A worker that begins as the page's own does, and tries another host: as blocked, or as an answer.
STRANGE = """
const [other, done] = arguments;
const text = `fetch("${other}", { mode: "no-cors" })
  .then(() => postMessage("came"), () => postMessage("blocked"));`;
const blob = new Blob([text], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(blob), { type: "module" });
worker.onmessage = ({ data }) => done(data);
worker.onerror = () => done("no worker");
"""


@contextmanager
def browsing(folder: Path) -> Iterator[Any]:
    """Start a browser that has never been here, and notes whom it asks in ``net.json``."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    for word in (*OPTIONS.split(), alone, f"--log-net-log={folder / 'net.json'}"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        driver.set_script_timeout(90)
        yield driver


def seconds_to_picture(driver: Any, address: str) -> float:
    driver.get("about:blank")
    begin = time.perf_counter()
    driver.get(address)
    while not driver.find_elements("css selector", "body.is-ready .stages tbody tr"):
        if (told := driver.find_element("id", "problem").text) or time.perf_counter() > begin + 120:
            raise SystemExit(f"It does not begin: {told}")
        time.sleep(0.02)
    return time.perf_counter() - begin


def questions() -> list[tuple[str, dict[str, Any]]]:
    """Return what the page may ask, seeded: the recorded questions, and the rest in words."""
    engines = [("engine", {"engine": name}) for name in ("openrouter", "vllm", "llama_cpp")]
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("trace", {"source": {"prompt": 3}, "request": {"top_p": 1.3}}),
        ("trace", {"source": {"prompt": 77}}),
        ("trace", {"source": {"text": "\u00e9\u4e2d\U0001f600 <b>"}, "request": {}}),
        ("keep", {"npy": "AAAA"}),
        ("no", {}),
    ]
    spell = ("spell", {"source": {"prompt": 3}, "request": {"top_p": 0.9}})
    return [*recorded.questions(), ("about", {}), *engines, spell, *wrong]


def asked_hosts(log: Path, origin: str) -> set[str]:
    """Return the hosts that a page of this origin asked, by the browser's own record.

    What the browser asks for itself has no origin.
    """
    text = log.read_text("utf-8", "replace")
    asked = re.findall(rf'"initiator":"{re.escape(origin)}"[^\n]*?"url":"([^"]*)"', text)
    return {urlsplit(address).netloc for address in asked}


def page(address: str, driver: Any, failures: list[str]) -> list[list[str]]:
    """Ask the page, and return the lines of the table."""
    lab, told, apart, exact, times = Lab(ll.models.NGram.bundled()), recorded.recorded(), 0.0, 0, []
    cold, warm = (seconds_to_picture(driver, address) for _ in range(2))
    asked = questions()
    for i, (name, body) in enumerate(asked):
        answer, _ = json.loads(driver.execute_async_script(ASK, name, json.dumps(body)))
        own = json.loads(json.dumps(lab.answer(name, body)))
        if name == "engine":
            own = json.loads(browser.answer(name, json.dumps(body)))
        far = recorded.distance(answer, own)
        if i < len(told["answers"]):
            far = max(far, recorded.distance(recorded.numbers(answer), told["answers"][i]))
        apart, exact = max(apart, far), exact + (far == 0)
        if far > recorded.CLOSE:
            failures.append(f"{name} {body}: {far}")
    for i in range(30):
        body = {"source": {"prompt": 3}, "request": {"temperature": 0.8, "top_p": 0.5 + i / 100}}
        times.append(json.loads(driver.execute_async_script(ASK, "trace", json.dumps(body)))[1])
    complaints = [
        each["message"] for each in driver.get_log("browser") if each["level"] == "SEVERE"
    ]
    failures += complaints
    return [
        ["first picture, first visit", f"{cold:.1f} s"],
        ["first picture, again", f"{warm:.1f} s"],
        ["a trace of 49,152 tokens, median of 30", f"{statistics.median(times):.0f} ms"],
        ["answers compared, words and numbers", f"{len(asked)}"],
        ["of which the same to the last bit", f"{exact}"],
        ["farthest number", f"{apart:.1e}"],
    ]


def draws(address: str, driver: Any, failures: list[str]) -> list[list[str]]:
    """Draw in the browser, and return the lines of the table."""
    driver.get(f"{address}draws.html")
    code = f"{recorded.source_of_draws()}\nimport json, sys, numpy\n" + (
        "json.dumps([drawn(), sys.version.split()[0], numpy.__version__, str(numpy.intp)])"
    )
    told = driver.execute_async_script(DRAWS, code)
    if not told.startswith("["):
        raise SystemExit(told)
    found, python, numpy, _ = json.loads(told)
    known = recorded.recorded()["draws"]
    failures += [f"draws of {name}" for name in known if found.get(name) != known[name]]
    same = sum(found.get(name) == known[name] for name in known)
    few = sum(len(x) for x in known.values() if isinstance(x, list))
    count = few + 100_000 * sum(isinstance(x, str) for x in known.values())
    return [
        ["sets of seeded draws, the same / all", f"{same} / {len(known)}, {count:,} draws"],
        ["Python and numpy there", f"{python}, {numpy}"],
    ]


def main() -> int:
    parser = report.options(__doc__)
    parser.add_argument("folder", help="of a Pyodide with numpy")
    arguments = parser.parse_args()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        place, site = Path(scratch), Path(scratch) / "site"
        if logitlab(["explore", "--static", str(site), "--pyodide", arguments.folder]):
            return 2
        size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
        lock = json.loads((site / "pyodide" / "pyodide-lock.json").read_text("utf-8"))
        (site / "draws.html").write_text("<!doctype html><title>draws</title>", "utf-8")
        (place / "other").mkdir()
        with hosted(site) as address, hosted(place / "other") as other:
            with browsing(place) as driver:
                rows = page(address, driver, failures)
                version = driver.capabilities["browserVersion"]
                strange = driver.execute_async_script(STRANGE, other)
                rows += draws(address, driver, failures)
            ours = urlsplit(address).netloc
        hosts = asked_hosts(place / "net.json", f"http://{ours}")
    if strange != "blocked":
        failures.append("a worker of the page may ask another host")
    failures += [f"{host} was asked" for host in hosts - {ours}]
    failures += [] if ours in hosts else ["the record of what was asked has nothing of the page"]
    rows = [
        ["Pyodide", f"{lock['info']['version']}" if "version" in lock["info"] else "?"],
        ["Chromium", version],
        ["the folder", f"{size / 1e6:.1f} MB"],
        *rows,
        ["load of the machine's cores meanwhile", f"{os.getloadavg()[0]:.0f} of {os.cpu_count()}"],
        ["another host, from a worker of the page", strange],
        ["other hosts that were asked", f"{len(hosts - {ours})}"],
    ]
    lines = report.table(["in the browser", ""], rows)
    print("\n".join([*lines, *failures]))
    if not arguments.quick and not failures:
        report.write("browser.md", lines)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
