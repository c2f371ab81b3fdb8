"""How generated pages are written: words, tables and pictures as MyST Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "code",
    "contents",
    "docstring",
    "first_sentence",
    "heading",
    "picture",
    "request",
    "table",
    "words",
]

_CODE = re.compile(r"(`+[^`]*`+)")
_MARKS = re.compile(r"([\\*_\[\]<>|$#~{}])")


def words(text: str) -> str:
    """Return a sentence of the package so that Markdown shows it as it is, but for `code`.

    Examples
    --------
    >>> words("keeps p_i >= a * p_max, by `top_a`")
    'keeps p\\\\_i \\\\>= a \\\\* p\\\\_max, by `top_a`'
    """
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else _MARKS.sub(r"\\\1", part)
        for part in parts
    )


def code(text: object) -> str:
    """Return a value in the type of a program, for a cell of a table, too."""
    shown = str(text).replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def request(body: Mapping[str, Any]) -> str:
    """Return a request body as it would be sent."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                " ".join(map(str, k)) if isinstance(k, tuple) else k: v for k, v in value.items()
            }
        return value

    return code(json.dumps({key: plain(value) for key, value in body.items()}, ensure_ascii=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already; "" without a row."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|", *lines])


def contents(names: Iterable[str], *options: str) -> str:
    """Return the pages that stand under another one, for the sidebar."""
    return "\n".join(["```{toctree}", *(options or (":hidden:",)), "", *names, "```", ""])


def picture(name: str, ending: str = ".png", *, says: str) -> str:
    """Return a picture of which there is one for each ground: ``name`` goes on with its word."""
    alt = " ".join(says.split())
    return "\n\n".join(
        f":::{{image}} {name}{ground}{ending}\n:class: only-{ground}\n:alt: {alt}\n:::"
        for ground in ("light", "dark")
    )


def docstring(text: str) -> str:
    """Return what a docstring says, which is written in reStructuredText."""
    return f"````{{eval-rst}}\n{text.strip()}\n````"


def heading(title: str, *parts: str) -> str:
    """Return a section of those of its parts that say something; "" if none does."""
    told = [part for part in parts if part]
    return "\n\n".join([f"## {title}", *told]) if told else ""


def first_sentence(doc: str | None) -> str:
    """Return the first sentence of a docstring, as Markdown: doubled backticks become single."""
    paragraph = " ".join((doc or "").strip().partition("\n\n")[0].split())
    return words(paragraph.replace("``", "`"))
