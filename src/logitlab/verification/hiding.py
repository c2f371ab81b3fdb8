"""What nobody may read: a key in whatever form it comes back, and passwords in addresses."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Hiding", "without_passwords"]

_HIDDEN = "[key]"
_LONGEST = 1000  # letters of a name and a password; what has no bound takes too long
_SHORT = 8  # shorter keys, such as EMPTY, stand in many a text, and are hidden as they are alone
_SEPARATORS = "\"'`,;+|"
"""What may stand between the parts of a key that is split; white space and backslashes, too."""

_SLASHES = r"\\{1,8}"
"""How often a letter may be escaped: 8 are three times."""

_NAMES = (
    r"(?:api[_-]?key|apikey|key|(?:[a-z]+[_-]?)?token|password|passwd|pwd|pass|secret|"
    r"client[_-]secret|auth|authorization|credentials?|signature|sig)"
)
_AT = r"(?:@|%(?:25)*40)"
_IS, _AND = r"(?:=|%(?:25)*3d)", r"(?:[?&;]|%(?:25)*(?:3f|26|3b))"
_LOGIN = re.compile(
    rf"((?::|%(?:25)*3a)(?:/|\\+/|%(?:25)*2f){{2}})[^\s/?#\"'<>]{{0,{_LONGEST}}}{_AT}",
    re.IGNORECASE,
)
_QUERY = re.compile(rf"({_AND}{_NAMES}{_IS})(?:(?!{_AND})[^\s\"'<>#,)\]}}])+", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Return a text in which addresses have no name and password, and no key in their query.

    Percent-encoding changes nothing about that.

    Examples
    --------
    >>> without_passwords("no https://me:secret@lab.invalid/v1?api_key=secret&n=2 here")
    'no https://…@lab.invalid/v1?api_key=…&n=2 here'
    """
    return _QUERY.sub(r"\1…", _LOGIN.sub(r"\1…@", text))


class Hiding:
    r"""Takes a key out of what comes back, and passwords out of addresses.

    The key is found as it is; escaped as JSON, URLs or HTML escape it, once or several times;
    with quotes, commas, line breaks and the like between its letters; in base64, as in the header
    of a basic authentication, and in hexadecimal digits; and in the texts or bytes of a document
    that follow one another. Of a key of fewer than 8 letters, which many a text has by chance,
    only the first counts.

    Parameters
    ----------
    key : str, optional
        None hides passwords alone.

    Examples
    --------
    >>> hiding = Hiding("sk-very-secret")
    >>> hiding.text("Bearer sk-very-secret, or %73k%2Dvery-secret, or \\u0073k-very-secret")
    'Bearer [key], or [key], or [key]'
    >>> hiding.document({"parts": ["sk-very", "-secret"], "code": 5})
    {'parts': ['[key]', '[key]'], 'code': 5}
    """

    def __init__(self, key: str | None = None) -> None:
        self._is_long = key is not None and len(key) >= _SHORT
        self._pattern = re.compile(_pattern(key or "") if self._is_long else re.escape(key or ""))
        self._has_key = bool(key)

    def __repr__(self) -> str:
        return "Hiding()"

    def text(self, text: str) -> str:
        """Return a text without them."""
        return without_passwords(self._pattern.sub(_HIDDEN, text) if self._has_key else text)

    def document(self, document: Any) -> Any:
        """Return a document of JSON without them, whatever parts a key comes in."""
        texts: list[str] = []
        runs: dict[tuple[str, ...], list[int]] = {}
        for path, text in _texts(document, ()):
            for run in ((), path) if path[-1:] != (_KEYS,) else (path,):
                runs.setdefault(run, []).append(len(texts))
            texts.append(text)
        if self._has_key:
            texts = self._without_key(texts, runs)
        rest = iter([without_passwords(text) for text in texts])
        return _rebuilt(document, rest, self._is_long)

    def _without_key(self, texts: list[str], runs: dict[tuple[str, ...], list[int]]) -> list[str]:
        """Return texts without the key, which may begin in one of a run and end in another."""
        if not self._is_long:
            return [self._pattern.sub(_HIDDEN, text) for text in texts]
        cuts: dict[int, list[tuple[int, int]]] = {}
        for run in runs.values():
            joined = "".join(texts[number] for number in run)
            for found in self._pattern.finditer(joined):
                start = 0
                for number in run:
                    size = len(texts[number])
                    low, high = max(found.start() - start, 0), min(found.end() - start, size)
                    if low < high:
                        cuts.setdefault(number, []).append((low, high))
                    start += size
        return [_cut(text, cuts.get(number, ())) for number, text in enumerate(texts)]


_KEYS = "<keys>"


def _texts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield texts, lists of bytes and keys, each with the names that lead to it."""
    if isinstance(value, str):
        yield path, value
    elif _is_bytes(value):
        yield path, bytes(value).decode("latin-1")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield (*path, _KEYS), key
            yield from _texts(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each, path)


def _rebuilt(value: Any, texts: Iterator[str], with_keys: bool) -> Any:
    """Return a document with other texts, in the order of `_texts`."""
    if isinstance(value, str):
        return next(texts)
    if _is_bytes(value):
        return list(next(texts).encode("latin-1", "replace"))
    if isinstance(value, dict):
        found = {}
        for key, each in value.items():
            name = next(texts)
            found[name if with_keys else key] = _rebuilt(each, texts, with_keys)
        return found
    if isinstance(value, list):
        return [_rebuilt(each, texts, with_keys) for each in value]
    return value


def _is_bytes(value: Any) -> bool:
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(type(each) is int and 0 <= each < 256 for each in value)


def _cut(text: str, cuts: Sequence[tuple[int, int]]) -> str:
    """Return a text without some parts of it, which may overlap."""
    parts: list[str] = []
    end = 0
    for low, high in sorted(cuts):
        if high > end:
            parts += [text[end:low], _HIDDEN] if low >= end and (low > end or not parts) else []
            end = high
    return "".join([*parts, text[end:]])


def _pattern(key: str) -> str:
    """Return the pattern of a key in all its forms.

    Its parts give nothing back that they have taken, so that no text takes long to search.
    """
    space = "".join(re.escape(sign) for sign in _SEPARATORS if sign not in key)
    # A backslash that begins the escape of a letter is of that.
    slash = "" if "\\" in key else r"|\\[nrt]|\\(?!\\{0,8}(?:u00|x)[0-9A-Fa-f]{2})"
    between = rf"(?>[\s\u200b-\u200d\u2060{space}]{slash})*+"
    forms = [between.join(map(_letter, key))]
    data = key.encode()
    for place in range(3):  # where the key begins in a group of three bytes
        first, last = -(-place * 4 // 3), (place + len(data)) * 4 // 3
        found = base64.b64encode(b"\0" * place + data + b"\0\0").decode()[first:last]
        form = "".join(f"[{a}{b}]" if a != b else re.escape(a) for a, b in _url_safe(found))
        forms.append(form + r"(?:[A-Za-z0-9+/_\-]{0,2}={1,2})?")
    forms.append(f"(?i:{data.hex()})")
    return "|".join(forms)


def _url_safe(text: str) -> Iterator[tuple[str, str]]:
    for sign in text:
        yield sign, {"+": r"\-", "/": "_"}.get(sign, sign)


def _letter(letter: str) -> str:
    code = ord(letter)
    both = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in f"{code:02x}")
    named = html.escape(letter)
    forms = [
        rf"{_SLASHES}(?:u00|x){both}",
        rf"%(?:25){{0,4}}{both}",
        rf"&(?:amp;){{0,4}}#(?:0*{code}|[xX]0*{both});",
        re.escape(letter),
    ]
    if named != letter:
        forms.insert(0, re.escape(named))
    if not letter.isalnum():
        forms.insert(0, rf"{_SLASHES}{re.escape(letter)}")
    return f"(?>{'|'.join(forms)})"
