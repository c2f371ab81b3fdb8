"""The page for a static host: what is written, what is refused, and the answers without a server.

That it works in a browser, with a real Pyodide, is shown by `test_browser.py` with LOGITLAB_PYODIDE
and by `benchmarks/browser.py`, both by hand: a Pyodide with numpy cannot be installed as a package.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import logitlab as ll
import pytest
from logitlab import kernels
from logitlab.cli import main
from logitlab.server import browser, explore, static
from logitlab.server.lab import FUNCTIONS, Lab

from server import recorded

PAGE = Path(explore.__file__).parent / "page"
WHEEL = "numpy-2.0.2-cp312-cp312-pyodide_2024_0_wasm32.whl"
BLAS = "openblas-0.3.zip"


def entry(file: str, data: bytes, version: str = "2.0.2", *depends: str) -> dict[str, Any]:
    sha = hashlib.sha256(data).hexdigest()
    return {"file_name": file, "sha256": sha, "version": version, "depends": list(depends)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A distribution with the right names, and nothing in them; other packages, too."""
    place = tmp_path / "pyodide"
    place.mkdir()
    names = (
        "pyodide.mjs",
        "pyodide.asm.js",
        "pyodide.asm.wasm",
        "python_stdlib.zip",
        "pyodide.d.ts",
    )
    for name in (*names, WHEEL, BLAS, "scipy.whl"):
        (place / name).write_bytes(name.encode())
    packages = {
        "numpy": entry(WHEEL, WHEEL.encode(), "2.0.2", "openblas"),
        "openblas": entry(BLAS, BLAS.encode(), "0.3"),
        "scipy": entry("scipy.whl", b"other bytes", "1.14", "numpy"),
    }
    lock = {"info": {"python": "3.12.7", "version": "0.27.7"}, "packages": packages}
    (place / "pyodide-lock.json").write_text(json.dumps(lock), "utf-8")
    return place


def changed(folder: Path, **parts: Any) -> None:
    """Change what the lock file says of numpy, or of Python."""
    file = folder / "pyodide-lock.json"
    lock = json.loads(file.read_text("utf-8"))
    python = parts.pop("python", None)
    lock["packages"]["numpy"] |= parts
    lock["info"] |= {} if python is None else {"python": python}
    file.write_text(json.dumps(lock), "utf-8")


def test_what_is_written_is_the_page_the_package_and_what_it_needs(
    folder: Path, tmp_path: Path
) -> None:
    site = tmp_path / "a" / "site"
    sizes = static.write(site, folder)
    there = {str(file.relative_to(site)): file for file in site.rglob("*") if file.is_file()}
    assert {name: file.stat().st_size for name, file in there.items()} == sizes
    core = {"pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", WHEEL, BLAS}
    pages = {file.name for file in PAGE.iterdir()}
    assert there.keys() == pages | {"logitlab.zip"} | {
        f"pyodide/{name}" for name in core | {"pyodide-lock.json"}
    }
    for name in pages - {"index.html"}:  # one JavaScript
        assert there[name].read_bytes() == (PAGE / name).read_bytes()
    for name in core:
        assert there[f"pyodide/{name}"].read_bytes() == name.encode()
    lock = json.loads(there["pyodide/pyodide-lock.json"].read_text("utf-8"))
    assert lock["packages"].keys() == {"numpy", "openblas"}
    before = {name: file.read_bytes() for name, file in there.items()}
    (site / "main.js").write_text("old")
    static.write(str(site), str(folder))
    assert {name: file.read_bytes() for name, file in there.items()} == before


def test_the_page_differs_in_its_head_and_what_it_says_at_first(
    folder: Path, tmp_path: Path
) -> None:
    static.write(tmp_path / "site", folder)
    own = (PAGE / "index.html").read_text("utf-8").splitlines()
    lines = (tmp_path / "site" / "index.html").read_text("utf-8").splitlines()
    assert [line for line in own if line not in lines] == ['<html lang="en">']
    more = [line.strip() for line in lines if line not in own]
    assert more == [
        '<html lang="en" data-python="here">',
        f'<meta http-equiv="Content-Security-Policy" content="{static.POLICY}">',
        '<meta name="referrer" content="no-referrer">',
        '<p id="beginning" class="faint" role="status">Python begins in this browser: 5 MB come '
        "from this host, the first time.</p>",
    ]
    assert lines.index(f"    {more[1]}") < next(i for i, x in enumerate(lines) if "<script" in x)


def test_its_policy_is_that_of_the_server_and_webassembly_in_a_worker() -> None:
    def parts(policy: str) -> dict[str, str]:
        return dict(part.strip().split(" ", 1) for part in policy.split(";"))

    served, ours = parts(explore.HEADERS["content-security-policy"]), parts(static.POLICY)
    assert "unsafe" not in str(served)
    assert ours.pop("worker-src") == "'self' blob:"
    assert ours.pop("script-src") == served.pop("script-src") + " 'wasm-unsafe-eval'"
    assert served.pop("frame-ancestors") == "'none'"  # of no effect in a page
    assert ours == served


def test_the_package_is_whole_without_what_is_compiled(folder: Path, tmp_path: Path) -> None:
    static.write(tmp_path / "site", folder)
    data = (tmp_path / "site" / "logitlab.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    house = Path(ll.__file__).parent
    wanted = {*house.rglob("*.py"), *(house / "data").iterdir(), house / "py.typed"}
    assert names == {str(Path("logitlab") / file.relative_to(house)) for file in wanted}


# Where nothing but numpy is installed, no thread begins and nothing is compiled, as in a browser.
ALONE = """
import sys, threading
absent = "scipy matplotlib tqdm starlette uvicorn llguidance logitlab.kernels._rows multiprocessing"
for name in f"{absent} _multiprocessing mmap ssl _ssl socket _socket selectors".split():
    sys.modules[name] = None
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
sys.path.insert(0, sys.argv[1])
import json
from server import recorded
import logitlab
assert logitlab.__file__.startswith(sys.argv[1]), logitlab.__file__
from logitlab.server.browser import answer
asked = [("about", {}), ("engine", {}), ("spell", {"source": {"prompt": 1}})]
asked += recorded.questions()[:6] + recorded.questions()[-2:]
print(json.dumps([json.loads(answer(name, json.dumps(body))) for name, body in asked]))
"""


def test_the_package_that_is_written_answers_with_numpy_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ll.engines.ENGINES, "halved", raising=False)  # of the toys of other tests
    static.write(tmp_path / "site", folder)
    # A zip holds no .npz that can be mapped: it is unpacked in the browser, too.
    with zipfile.ZipFile(tmp_path / "site" / "logitlab.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    tests = str(Path(__file__).parents[1])
    words = [sys.executable, "-c", ALONE, str(tmp_path / "unpacked")]
    told = subprocess.check_output(words, env={**os.environ, "PYTHONPATH": tests}, text=True)
    answers = json.loads(told)
    lab = Lab(ll.models.NGram.bundled())
    asked = [("about", {}), ("spell", {"source": {"prompt": 1}})]
    asked += recorded.questions()[:6] + recorded.questions()[-2:]
    assert {name for name, _ in asked} == {*FUNCTIONS} - {"engine", "keep"}
    with kernels.off():  # whose sums round in another order
        expected = [json.loads(json.dumps(lab.answer(*each))) for each in asked]
    assert [answers[0], *answers[2:]] == expected
    assert not any("error" in each for each in answers)
    assert answers[1]["lacks"]["response_format"] == browser.LACK


def test_the_recorded_set_is_what_this_python_answers() -> None:
    told = recorded.recorded()
    lab = Lab(ll.models.NGram.bundled())
    asked = recorded.questions()
    for (name, body), known in zip(asked, told["answers"], strict=True):
        apart = recorded.distance(recorded.numbers(lab.answer(name, body)), known)
        assert apart < recorded.CLOSE, (name, body)
    assert {name for name, _ in asked} == {*FUNCTIONS} - {"about", "engine", "keep", "spell"}
    assert recorded.drawn() == told["draws"]


def test_distance_sees_whatever_differs() -> None:
    one = {"a": [1, 0.5, None, "x"], "b": {"c": True}}
    assert recorded.distance(one, json.loads(json.dumps(one))) == 0
    assert recorded.distance({"a": 1.0}, {"a": 1}) == 0
    assert recorded.distance([2.0, 1e6], [2.0, 1e6 + 1]) == pytest.approx(1e-6)
    for other in ({**one, "a": [1]}, {**one, "d": 1}, {**one, "b": {"c": 1}}, [one], None):
        assert recorded.distance(one, other) == float("inf")
    assert recorded.numbers({"a": ["x", 1], "text": "y", "z": "w"}) == {"a": [1], "text": "y"}


def test_what_needs_a_compiled_package_is_lacking_in_every_engine() -> None:
    for engine in ("openrouter", "vllm"):
        told = json.loads(browser.answer("engine", json.dumps({"engine": engine})))
        own = Lab(ll.models.NGram.bundled()).answer("engine", {"engine": engine})
        structure = ("response_format", "structured_outputs", "tools", "tool_choice",
                     "parallel_tool_calls")  # fmt: skip
        assert told["lacks"] == own["lacks"] | dict.fromkeys(structure, browser.LACK)
        assert told["lacks"].keys() < ll.PARAMETERS.keys()
    told = json.loads(browser.answer("engine", '{"engine": "none"}'))
    assert told["error"]["parameter"] == "engine"


def test_a_schema_in_a_link_is_answered_in_one_sentence(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    body = {"prompt": "Once", "request": {"response_format": schema}, "count": 2}
    told = json.loads(browser.answer("write", json.dumps(body)))
    assert told == {"error": {"message": browser.LACK, "parameter": "llguidance"}}


HINT = (
    "It is the unpacked archive pyodide-VERSION.tar.bz2 of github.com/pyodide/pyodide/releases, "
    "0.27 or later; npm's package pyodide has no numpy."
)


def lock(text: bytes) -> Any:
    return lambda folder: (folder / "pyodide-lock.json").write_bytes(text)


def numpy(**parts: Any) -> Any:
    return lambda folder: changed(folder, **parts)


def without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


IS_NONE = "one whose pyodide-lock.json is none"


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("one without pyodide.mjs", without("pyodide.mjs")),
        ("one without pyodide.asm.mjs", without("pyodide.asm.js")),
        ("one without pyodide.asm.wasm", without("pyodide.asm.wasm")),
        ("one without python_stdlib.zip", without("python_stdlib.zip")),
        ("one without pyodide-lock.json", without("pyodide-lock.json")),
        (f"one without {WHEEL}", without(WHEEL)),
        (f"one without {BLAS}", without(BLAS)),
        (f"one whose {WHEEL} is not the one that its pyodide-lock.json means",
         lambda folder: (folder / WHEEL).write_bytes(b"cut")),
        ("one whose pyodide-lock.json has no blas", numpy(depends=["blas"])),
        ("one whose pyodide-lock.json has no numpy",
         lock(b'{"info": {"python": "3.12"}, "packages": {}}')),
        (IS_NONE, lock(b"{")),
        (IS_NONE, lock(b"[]")),
        (IS_NONE, lock(b"\xff")),
        (IS_NONE, lock(b"[" * 100_000)),
        (IS_NONE, numpy(file_name=7)),
        (IS_NONE, numpy(depends=None)),
        (IS_NONE, numpy(python=["3"])),
        ("one that would fetch numpy from https://a.example/b.whl",
         numpy(file_name="https://a.example/b.whl")),
        ("one that would fetch numpy from ../b.whl", numpy(file_name="../b.whl")),
        ("one with numpy 1.26.4", numpy(version="1.26.4")),
        ("one with Python 3.10.2", numpy(python="3.10.2")),
    ],
)  # fmt: skip
def test_a_distribution_that_lacks_something_is_refused_in_one_sentence(
    words: str, change: Any, folder: Path, tmp_path: Path
) -> None:
    change(folder)
    with pytest.raises(ll.ParameterError) as caught:
        static.write(tmp_path / "site", folder)
    assert str(caught.value) == (
        f"pyodide must be the folder of a Pyodide with numpy, got {words}. {HINT}"
    )
    assert not (tmp_path / "site").exists()


def test_folders_that_are_none_are_refused(folder: Path, tmp_path: Path) -> None:
    def told(site: Any, distribution: Any) -> str:
        with pytest.raises(ll.ParameterError) as caught:
            static.write(site, distribution)
        return str(caught.value)

    rule = "pyodide must be the folder of a Pyodide with numpy, got"
    assert told(tmp_path / "site", None) == f"{rule} none. {HINT}"
    assert told(tmp_path / "site", str(tmp_path / "x")) == f"{rule} {str(tmp_path / 'x')!r}. {HINT}"
    assert told(tmp_path / "site", 7).startswith("pyodide must be the path of a file")
    assert told("a\0b", folder).startswith("static must be the path of a file")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("")
    assert told(mine, folder) == (
        "static must be a folder that is new, empty, or was written by this command, "
        f"got {str(mine)!r}."
    )
    assert [file.name for file in mine.iterdir()] == ["thesis.tex"]
    file = mine / "thesis.tex"
    for place in (file, file / "below"):
        answer = told(place, folder)
        assert answer.startswith(
            f"static must be a folder that can be written, got {str(place)!r}."
        )


def test_the_command_writes_and_says_what(folder: Path, tmp_path: Path, capsys: Any) -> None:
    site = tmp_path / "my site"
    assert main(["explore", "--static", str(site), "--pyodide", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [file for file in site.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    assert lines[0] == f"logitlab explore: {len(files)} files, {size:.1f} MB, in {site}"
    assert lines[1:] == [f"To see it: python -m http.server -d '{site}'"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--static", "site"],
         f"--pyodide must be the folder of a Pyodide with numpy, got none. {HINT}"),
        (["--pyodide", "x"], "--static must be given with --pyodide, got None."),
        (["--static", "site", "--pyodide", "x", "--model", "y.gguf"],
         "--model must be grimm with --static, got 'y.gguf'. "
         "No other model travels with the page."),
    ],
)  # fmt: skip
def test_the_command_says_what_is_missing(words: list[str], told: str, capsys: Any) -> None:
    assert main(["explore", *words]) == 2
    assert capsys.readouterr().err == f"logitlab: error: {told}\n"


def test_the_command_needs_no_server(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("starlette", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["explore", "--static", str(tmp_path / "site"), "--pyodide", str(folder)]) == 0
