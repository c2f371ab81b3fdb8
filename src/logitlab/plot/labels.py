"""Tokens as labels: what no font at hand can show, or is too long, is shown another way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import accumulate

from logitlab.checks import ParameterError
from logitlab.vocabulary import Vocabulary
from matplotlib.font_manager import findfont, fontManager, get_font

__all__ = ["check_vocabulary", "fonts", "label", "labels", "shortened"]

# The first comes along with matplotlib. The others are looked for, to show more scripts.
_FONT_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Symbols2",
)
_GLYPH = re.compile(r"<[^<>\s]{1,10}>|.", re.DOTALL)
_RUN = re.compile(r"(.)\1{3,}", re.DOTALL)
_ASCII = {"␣": "_", "⏎": r"\n", "⇥": r"\t", "␍": r"\r", "◌": "o"}


@cache
def fonts() -> tuple[str, ...]:
    """Return the font families of labels: DejaVu Sans, then what is installed for other scripts."""
    installed = {entry.name for entry in fontManager.ttflist}
    return tuple(name for name in _FONT_FAMILIES if name in installed)


@cache
def _covered() -> frozenset[int]:
    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in fonts()))


def check_vocabulary(vocabulary: object) -> None:
    """Raise `ParameterError` unless it is a `Vocabulary` or None."""
    if not isinstance(vocabulary, Vocabulary | None):
        raise ParameterError(
            "vocabulary",
            "a Vocabulary or None",
            vocabulary,
            "Take rows.vocabulary or model.vocabulary.",
        )


def label(token: int, vocabulary: Vocabulary | None, length: int = 18) -> str:
    r"""Return a token as a label that every font of `fonts` together can show.

    Parameters
    ----------
    token : int
    vocabulary : Vocabulary or None
        Without one, and for an id beyond it, the label is the id: ``#17``.
    length : int
        The most characters it may have: longer ones have runs counted, ``-×27``, and then the
        middle left out, as by `shortened`.

    Examples
    --------
    >>> words = Vocabulary([b" king", b"\n", "\U000e0fff".encode()])
    >>> [label(token, words) for token in range(4)]
    ['␣king', '⏎', '<U+E0FFF>', '#3']
    """
    if vocabulary is None or token >= len(vocabulary):
        return f"#{token}"
    text = "".join(map(_legible, vocabulary.label(int(token))))
    if len(text) > length:
        text = _RUN.sub(lambda run: f"{run[1]}×{len(run[0])}", text)
    return shortened(text, length)


def labels(tokens: Iterable[int], vocabulary: Vocabulary | None, length: int = 18) -> list[str]:
    """Return the labels of several tokens."""
    return [label(int(token), vocabulary, length) for token in tokens]


def shortened(text: str, length: int) -> str:
    """Leave out the middle of a text that is longer; a byte like ``<0xE6>`` is not cut.

    Examples
    --------
    >>> shortened("internationalisation", 9)
    'inte…tion'
    >>> shortened("<0xE6><0x97><0xA5>", 14)
    '<0xE6>…<0xA5>'
    """
    if len(text) <= length:
        return text
    glyphs, half = _GLYPH.findall(text), (length - 1) // 2

    def fitting(side: list[str]) -> list[str]:
        ends = accumulate(map(len, side))
        return [glyph for glyph, end in zip(side, ends, strict=True) if end <= half]

    return "".join([*fitting(glyphs), "…", *fitting(glyphs[::-1])[::-1]])


def _legible(character: str) -> str:
    if ord(character) in _covered():
        return character
    return _ASCII.get(character, f"<U+{ord(character):04X}>")
