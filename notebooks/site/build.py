"""Build the documentation: a site that works from its files, without a network.

    python notebooks/site/build.py                # into build/site/html
    python notebooks/site/build.py --out DIR      # into DIR/html

What is written by hand stands in ``pages/``. The pages of parameters, engines and the reference are
made of the package's own declarations and of runs, so that they cannot say anything else. Notebooks
are shown as they are committed. Warnings are errors, and so is a link that leads nowhere.
Needs ``pip install 'logitlab[docs]'``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROCESSES = 2
CONTENTS = {
    "Begin": ("pages/start", "pages/tasks", "pages/questions", "notebooks/index", "pages/glossary"),
    "Look up": ("parameters/index", "engines/index", "reference/index"),
    "Guide": (
        *("pages/reference/install", "pages/reference/trace", "pages/reference/parameters"),
        *("pages/reference/engines", "pages/reference/verify", "pages/reference/generate"),
        *("pages/reference/structure", "pages/reference/serve", "pages/reference/explore"),
        "pages/reference/*",
    ),
    "Proof": ("pages/promises", "claims", "benchmarks/index", "changes"),
}
sys.path.insert(0, str(HERE))

from prose import contents  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", metavar="DIR")
    out = parser.parse_args().out
    start = time.perf_counter()
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        parser.error("Sphinx is not installed: pip install 'logitlab[docs]'")
    sources, html = out / "sources", out / "html"
    for folder in (sources, html):
        shutil.rmtree(folder, ignore_errors=True)
    copy_pages(sources)
    make_pages(sources)
    add_contents(sources)
    print(f"{time.perf_counter() - start:.0f} s: the sources are made", flush=True)
    options = ["-b", "html", "-c", str(HERE), "-d", str(out / "doctrees"), "-j", str(PROCESSES)]
    strict = ["-E", "-W", "--keep-going", "-q"]
    status = build_main([*options, *strict, str(sources), str(html)])
    from links import faults

    wrong = faults(html)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    pages = len(list(html.rglob("*.html")))
    size = sum(path.stat().st_size for path in html.rglob("*") if path.is_file()) / 1e6
    print(f"{time.perf_counter() - start:.0f} s: {pages} pages, {size:.0f} MB, in {html}")
    return 1 if wrong else int(status)


def copy_pages(sources: Path) -> None:
    """Copy what is written, and what the repository has anyway; links are led to their places."""
    from record_pages import COPIED, notebooks_page, relinked, titled

    shutil.copytree(HERE, sources, ignore=shutil.ignore_patterns("*.py", "*.js", "__pycache__"))
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    files = [path for name in COPIED if name != "notebooks" for path in _files(ROOT / name)]
    for path in [*files, *notebooks]:
        name = next(name for name in COPIED if path.is_relative_to(ROOT / name))
        place = sources / COPIED[name] / path.relative_to(ROOT / name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = relinked(path, place.relative_to(sources), path.read_text("utf-8"))
            place.write_text(titled(path, text), "utf-8")
        else:
            shutil.copy(path, place)
    (sources / "notebooks" / "index.md").write_text(notebooks_page(notebooks), "utf-8")
    results = sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    _append(sources / "benchmarks" / "index.md", contents(f"results/{name}" for name in results))


def add_contents(sources: Path) -> None:
    """Add what the site has to its first page, for the menu and the order of pages."""
    for caption, patterns in CONTENTS.items():
        files = [path for each in patterns for path in sorted(sources.glob(f"{each}.md"))]
        names = dict.fromkeys(p.relative_to(sources).with_suffix("").as_posix() for p in files)
        _append(sources / "index.md", contents(names, f":caption: {caption}", ":hidden:"))


def _append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text('utf-8')}\n{text}", "utf-8")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())


def make_pages(sources: Path) -> None:
    """Write all that is made of declarations and runs."""
    import logitlab

    import engine_pages
    import measured
    import parameter_pages
    import reference_pages
    from record_pages import claims_page

    pictures = sources / "parameters" / "pictures"
    pictures.mkdir(parents=True)
    keys = ["general", *logitlab.PARAMETERS]
    with ProcessPoolExecutor(PROCESSES) as pool:
        seen = dict(zip(keys, pool.map(measured.see, keys, [pictures] * len(keys)), strict=True))
    written = {"claims.md": claims_page(seen)}
    written |= reference_pages.pages() | engine_pages.pages() | parameter_pages.pages(seen)
    for name, text in written.items():
        path = sources / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
