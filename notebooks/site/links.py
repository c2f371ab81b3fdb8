"""Whether a built site is whole: every link and anchor leads somewhere, and nothing is fetched.

    python notebooks/site/links.py FOLDER         # leaves with 1, and what is wrong, if it is not

A page may link to other sites. It may load nothing from them: no script, style, picture or font.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

__all__ = ["faults"]

_LOADS = {
    **dict.fromkeys(
        ("script", "img", "iframe", "source", "video", "audio", "embed"), ("src", "srcset")
    ),
    "link": ("href",),
    "object": ("data",),
}
_PLAIN_LINKS = {"canonical", "next", "prev", "search", "index", "author", "copyright", "license"}
_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """What a page refers to, and what in it can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = {""}
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self._in_style = tag == "style"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and {*given.get("rel", "").split()} & _PLAIN_LINKS:
            self.links.append(given.get("href", ""))
        else:
            for name in _LOADS.get(tag, ()):
                value = given.get(name, "")
                parts = value.split(",") if name == "srcset" else [value]
                self.loads += [part.split()[0] for part in parts if part.strip()]
        self.loads += _urls(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loads += _urls(data)
            self._in_style = False


def _urls(style: str) -> list[str]:
    return [first or second for first, second in _STYLE.findall(style)]


def faults(folder: Path) -> list[str]:
    """Return what is wrong with the files of a folder, a sentence each."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in folder.rglob("*.html")}
    wrong = [] if pages else [f"{folder} has no page"]
    for path, page in pages.items():
        here = path.relative_to(folder.resolve())
        for link in page.loads:
            wrong += _load_fault(f"{here}", path, link)
        for link in page.links:
            wrong += _link_fault(f"{here}", path, link, pages)
    for path in folder.rglob("*.css"):
        here = path.relative_to(folder)
        for link in _urls(path.read_text("utf-8")):
            wrong += _load_fault(f"{here}", path.resolve(), link)
    return sorted(set(wrong))


def _load_fault(here: str, path: Path, link: str) -> list[str]:
    if link.startswith(("data:", "#")):
        return []
    if urlsplit(link).scheme or link.startswith("//"):
        return [f"{here} loads {link}"]
    target = path.parent / unquote(urlsplit(link).path)
    return [] if target.is_file() else [f"{here} loads {link}, which is not there"]


def _link_fault(here: str, path: Path, link: str, pages: dict[Path, Page]) -> list[str]:
    if urlsplit(link).scheme or link.startswith("//"):
        return []
    name, anchor = urldefrag(link)
    target = (path.parent / unquote(name)).resolve() if name else path
    if target not in pages:
        return [] if target.is_file() else [f"{here} links to {link}, which is not there"]
    if unquote(anchor) not in pages[target].anchors:
        return [f"{here} links to {link}, which has no such anchor"]
    return []


def main() -> int:
    """Print what is wrong with a folder."""
    wrong = faults(Path(sys.argv[1]))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
