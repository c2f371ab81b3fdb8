"""What a built site may not have: a link that leads nowhere, and anything from another site."""

from __future__ import annotations

from pathlib import Path

import pytest

from links import faults

WHOLE = """<html><head><link rel="stylesheet" href="style.css"><script src="a.js"></script></head>
<body id="top"><a href="#top">up</a> <a href="other.html#below">on</a> <a href="https://x.org/">out</a>
<img src="data:image/png;base64,AA"></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(WHOLE, "utf-8")
    (tmp_path / "other.html").write_text("<p id='below'>", "utf-8")
    (tmp_path / "style.css").write_text("b {background: url(a.js)}", "utf-8")
    (tmp_path / "a.js").write_text("", "utf-8")
    return tmp_path


def test_a_whole_site_has_no_fault(site: Path) -> None:
    assert faults(site) == []


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("<a href='none.html'>", "links to none.html, which is not there"),
        ("<a href='#none'>", "links to #none, which has no such anchor"),
        ("<a href='other.html#none'>", "links to other.html#none, which has no such anchor"),
        ("<img src='none.png'>", "loads none.png, which is not there"),
        ("<img src='https://x.org/a.png'>", "loads https://x.org/a.png"),
        ("<img srcset='a.js 1x, //x.org/b.png 2x'>", "loads //x.org/b.png"),
        ("<script src='http://x.org/a.js'></script>", "loads http://x.org/a.js"),
        ("<link rel='stylesheet' href='https://x.org/a.css'>", "loads https://x.org/a.css"),
        ("<link rel='preconnect' href='https://x.org'>", "loads https://x.org"),
        ("<style>@import 'https://x.org/a.css'</style>", "loads https://x.org/a.css"),
        ("<style>b{} i{background:url(https://x.org/f)}</style>", "loads https://x.org/f"),
        ("<p style='background: url(//x.org/p)'>", "loads //x.org/p"),
    ],
)
def test_a_fault_is_told_where_it_is(site: Path, part: str, fault: str) -> None:
    (site / "page.html").write_text(part, "utf-8")
    assert faults(site) == [f"page.html {fault}"]


def test_a_font_of_another_site_is_found_in_a_style_sheet(site: Path) -> None:
    (site / "style.css").write_text("@font-face {src: url('https://x.org/f.woff2')}", "utf-8")
    assert faults(site) == ["style.css loads https://x.org/f.woff2"]


def test_no_page_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path) == [f"{tmp_path} has no page"]
