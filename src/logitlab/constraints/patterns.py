r"""Regular expressions, restated so that every dialect agrees on what they match.

A pattern of a JSON schema is meant as ECMA 262, Python validators read it as `re`, and the matcher
runs the Rust syntax. `restated` returns a pattern in Rust's syntax that matches nothing the other
two would not, and refuses what they disagree on.

References
----------
ECMA-262, "Patterns"; Python, "re"; Rust, "regex-syntax". JSON Schema 2020-12, section 6.4.
"""

from __future__ import annotations

import re

from logitlab.checks import ParameterError

__all__ = ["restated"]

_LONGEST = 10_000
_DEEPEST = 50
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d{1,5}(?:,\d{0,5})?\})\??")
_PROPERTY = re.compile(r"[pP]\{[A-Z][a-z]?\}")
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_GROUP = re.compile(r"\((?:\?:|\?<[A-Za-z_]\w*>|(?!\?))")
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}

# Each class by its smallest and its largest reading: outside of a negation the smallest is safe.
_WORD = ("0-9A-Za-z_", r"\p{L}\p{M}\p{N}\p{Pc}")
_DIGIT = ("0-9", r"\p{Nd}")
_SPACE = (r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",) * 2
_SPACE = (_SPACE[0], _SPACE[1] + r"\x1c-\x1f\u0085\ufeff")
_CLASSES = {"w": _WORD, "d": _DIGIT, "s": _SPACE}


def restated(name: str, pattern: object) -> str:
    r"""Return a pattern in Rust's syntax, no wider than in ECMA 262 and in Python.

    Parameters
    ----------
    name : str
        What the pattern is called in a message.
    pattern : str
        With ``^`` and ``$`` only where they can hold. ``\d``, ``\w`` and ``\s`` are those of
        ECMA 262 and ``.`` is no line end.

    Raises
    ------
    ParameterError
        For look-around, backreferences, word boundaries, flags, and whatever the dialects
        read differently.

    Examples
    --------
    >>> print(restated("pattern", r"^\d{3}-[a-c&&b]+$"))
    ^[0-9]{3}\-[[a-c\&\&b]&&[^\x00]]+$
    >>> restated("pattern", "(?!a)b")
    Traceback (most recent call last):
    logitlab.checks.ParameterError: pattern must be a regular expression, got '(?!a)b'.
    A group is plain, (?:…) or (?<name>…): not at character 0.
    """
    if not isinstance(pattern, str):
        raise ParameterError(name, "a regular expression", pattern)
    if len(pattern) > _LONGEST:
        raise ParameterError(name, f"of at most {_LONGEST} characters", pattern)
    return _Reader(name, pattern).whole()


def character(code: int) -> str:
    """Return one character as Rust's syntax writes it anywhere."""
    text = chr(code)
    if text.isascii() and not text.isalnum() and text not in " <>_\"',:;=@`!%":
        plain = 0x20 < code < 0x7F and text != "/"
        return f"\\{text}" if plain else f"\\x{code:02x}"
    return text


class _Reader:
    def __init__(self, name: str, pattern: str) -> None:
        self.name = name
        self.text = pattern
        self.at = 0

    def error(self, reason: str, at: int | None = None) -> ParameterError:
        where = self.at if at is None else at
        hint = f"{reason}: not at character {where}."
        return ParameterError(self.name, "a regular expression", self.text, hint)

    def whole(self) -> str:
        parts = []
        depth = 0
        repeatable = False
        while self.at < len(self.text):
            here = self.text[self.at]
            if quantifier := _QUANTIFIER.match(self.text, self.at):
                if not repeatable:
                    raise self.error("A quantifier follows one thing that it repeats")
                self.at = quantifier.end()
                once = quantifier[0] if len(quantifier[0]) == 1 else quantifier[0].removesuffix("?")
                parts.append(once)
                repeatable = False
                continue
            repeatable = here not in "(|^$"
            if here == "(":
                group = _GROUP.match(self.text, self.at)
                if not group:
                    raise self.error("A group is plain, (?:…) or (?<name>…)")
                self.at = group.end()
                depth += 1
                if depth > _DEEPEST:
                    raise self.error(f"Groups are at most {_DEEPEST} deep")
                parts.append("(?:")
            elif here in ")|^$":
                self.at += 1
                depth -= here == ")"
                if depth < 0:
                    raise self.error("A closing parenthesis has an opening one", self.at - 1)
                parts.append(here)
            elif here == "[":
                parts.append(self.bracket())
            elif here == ".":
                self.at += 1
                parts.append(r"[^\n\r\u2028\u2029\x00]")
            elif here == "{":
                raise self.error(r"A brace is {n}, {n,}, {n,m} or \{")
            else:
                found = self.one(negated=False)
                if isinstance(found, int):
                    parts.append(character(found))
                else:
                    parts.append(f"[{found}]" if found[0] != "[" else found)
        if depth:
            raise self.error("An opening parenthesis has a closing one")
        return "".join(parts)

    def one(self, *, negated: bool) -> int | str:
        """Read a character, given by its code, or an escape that stands for a class."""
        here = self.text[self.at]
        self.at += 1
        if here != "\\":
            if "\ud800" <= here <= "\udfff":
                raise self.error("A character is no half of a surrogate pair", self.at - 1)
            return ord(here)
        start = self.at - 1
        letter = self.text[self.at : self.at + 1]
        if letter.lower() in _CLASSES and letter:
            self.at += 1
            smallest, largest = _CLASSES[letter.lower()]
            if letter.islower():
                return largest if negated else smallest
            return f"[^{smallest if negated else largest}\\x00]"
        if found := _PROPERTY.match(self.text, self.at):
            self.at = found.end()
            return f"[\\{found[0]}&&[^\\x00]]"
        if found := _CODE.match(self.text, self.at):
            self.at = found.end()
            code = int(found[1] or found[2], 16)
            if 0xD800 <= code <= 0xDFFF:
                raise self.error("A character is no half of a surrogate pair", start)
            return code
        if letter in _PLAIN and letter:
            self.at += 1
            return ord(_PLAIN[letter])
        if letter.isascii() and letter.isprintable() and letter and not letter.isalnum():
            self.at += 1
            return ord(letter)
        rule = r"An escape is \d \w \s \D \W \S \n \r \t \f \v \xhh \uhhhh \p{L} or of a sign"
        raise self.error(rule, start)

    def bracket(self) -> str:
        """Read a class of characters in brackets."""
        start = self.at
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        if self.text.startswith("]", self.at):
            raise self.error("A class has at least one character", start)
        items = []
        while not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                raise self.error("A class ends with ]", start)
            first = self.one(negated=negated)
            if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                last = self.one(negated=negated) if self.at < len(self.text) else ""
                if isinstance(first, str) or isinstance(last, str) or last < first:
                    raise self.error("A range goes from a character to a higher one", start)
                items.append(f"{character(first)}-{character(last)}")
            else:
                items.append(character(first) if isinstance(first, int) else first)
        self.at += 1
        inside = "".join(items)
        # A class with every control character lets a quote through where it excludes one
        # (llguidance 1.9), and JSON texts have no use for U+0000.
        return f"[^{inside}\\x00]" if negated else f"[[{inside}]&&[^\\x00]]"
