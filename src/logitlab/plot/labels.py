"""Tokens as labels: what no font at hand can show, or is too long, or looks like another one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import accumulate

from logitlab.checks import ParameterError
from logitlab.plot.scripts import FAMILIES, SCRIPTS, SPOKEN
from logitlab.vocabulary import Vocabulary, check_size
from matplotlib.font_manager import findfont, fontManager, get_font

__all__ = ["check_vocabulary", "fonts", "label", "labels", "legible", "missing_fonts", "shortened"]

_GLYPH = re.compile(r"<[^<>\s]{1,10}>|.", re.DOTALL)
_RUN = re.compile(r"(.)\1{3,}", re.DOTALL)
_ASCII = {"␣": "_", "⏎": r"\n", "⇥": r"\t", "␍": r"\r", "◌": "o"}
# Letters of Greek and Cyrillic that have the shape of Latin ones, and bars that are all alike.
_ALIKE = str.maketrans(
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧνορАВЕЅІЈКМНОРСТУХаеорсухѕіјԁһ" + "I|−",
    "ABEZHIKMNOPTYXvopABESIJKMHOPCTYXaeopcyxsijdh".replace("I", "l") + "ll-",
)


@cache
def fonts() -> tuple[str, ...]:
    """Return the font families of labels: DejaVu Sans, then what is installed for other scripts."""
    installed = {entry.name for entry in fontManager.ttflist}
    return tuple(name for name in FAMILIES if name in installed)


@cache
def _covered() -> frozenset[int]:
    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in fonts()))


def check_vocabulary(vocabulary: object, size: int) -> None:
    """Raise `ParameterError` unless it is a `Vocabulary` for rows of that size, or None."""
    if not isinstance(vocabulary, Vocabulary | None):
        raise ParameterError(
            "vocabulary",
            "a Vocabulary or None",
            vocabulary,
            "Take rows.vocabulary or model.vocabulary.",
        )
    if vocabulary is not None:
        check_size("vocabulary", vocabulary, size)


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
    text = legible(vocabulary.label(int(token)))
    if len(text) > length:
        text = _RUN.sub(lambda run: f"{run[1]}×{len(run[0])}", text)
    return shortened(text, length)


def labels(tokens: Iterable[int], vocabulary: Vocabulary | None, length: int = 18) -> list[str]:
    """Return the labels of several tokens: those that look alike have their id, too.

    Examples
    --------
    >>> words = Vocabulary([b"...", "…".encode(), b"a" * 9 + b"b" * 9 + b"c" * 9])
    >>> labels([0, 1, 2, 0], words)
    ['... #0', '… #1', 'a×9b×9c×9', '... #0']
    """
    ids = [int(token) for token in tokens]
    names = {token: label(token, vocabulary, length) for token in ids}
    shapes = {token: _shape(name) for token, name in names.items()}
    alike = Counter(shapes.values())
    for token, name in names.items():
        own = f"#{token}"
        if alike[shapes[token]] > 1 and name != own:
            names[token] = f"{shortened(name, max(length - len(own) - 1, 3))} {own}"
    return [names[token] for token in ids]


def _shape(name: str) -> str:
    """Return what the eye sees of a label: the same text for labels that look alike."""
    plain = unicodedata.normalize("NFKC", name).translate(_ALIKE)
    return "".join("-" if unicodedata.category(c) == "Pd" else c for c in plain)


def missing_fonts(tokens: Iterable[int], vocabulary: Vocabulary | None) -> str:
    """Return a sentence that says which fonts would show these tokens, or nothing.

    Characters of which nobody has a font, or that are no letters or symbols, are not told of.
    """
    if vocabulary is None:
        return ""
    ids = {int(token) for token in tokens if token < len(vocabulary)}
    hidden = {c for i in ids for c in vocabulary.label(i) if ord(c) not in _covered()}
    scripts = sorted({name for name in map(_script, hidden) if name})
    wanted = dict.fromkeys(SCRIPTS[name] for name in scripts)
    if not wanted:
        return ""
    names = ", ".join(SPOKEN.get(name, name.title()) for name in scripts)
    return f"No font here shows {names}: install {', '.join(wanted)}."


def _script(character: str) -> str:
    """Return the script of a character that fonts are known for, as Unicode's names begin."""
    if ord(character) >= 0x1F000 and unicodedata.category(character) == "So":
        return "EMOJI"
    name = unicodedata.name(character, "")
    return next((script for script in SCRIPTS if name.startswith(f"{script} ")), "")


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


def legible(text: str) -> str:
    """Return a text with code points instead of characters that no font here has."""
    return "".join(c if ord(c) in _covered() else _ASCII.get(c, f"<U+{ord(c):04X}>") for c in text)
