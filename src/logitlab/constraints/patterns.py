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
_DEEPEST_GROUP = 50
_QUANTIFIER = re.compile(r"(?P<greedy>[*+?]|\{\d{1,5}(?:,\d{0,5})?\})\??")
_LONG_BRACE = re.compile(r"\{\d+(?:,\d*)?\}")
_FLAG = re.compile(r"\(\?[a-z-]+[:)]")
_GROUP = re.compile(r"\((?:\?:|\?<[A-Za-z_]\w*>|(?!\?))")
_ESCAPE = re.compile(
    r"\\(?:(?P<kind>[wWdDsS])|(?P<property>[pP]\{[A-Za-z_=]+\})|(?P<control>[nrtfv])"
    r"|x(?P<byte>[0-9a-fA-F]{2})|u(?P<unit>[0-9a-fA-F]{4})|(?P<sign>[ -/:-@\[-`{-~]))"
)
# How groups begin that are refused by their name.
_GROUPS = {
    "(?=": "a look-ahead",
    "(?!": "a look-ahead",
    "(?<=": "a look-behind",
    "(?<!": "a look-behind",
    "(?P=": "a backreference",
    "(?P<": "a group named as Python does",
    "(?(": "a condition",
}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}

# Long names of categories, as ECMA 262 allows them, with the short ones.
_CATEGORIES = {
    "Letter": "L",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Titlecase_Letter": "Lt",
    "Cased_Letter": "LC",
    "Modifier_Letter": "Lm",
    "Other_Letter": "Lo",
    "Mark": "M",
    "Nonspacing_Mark": "Mn",
    "Spacing_Mark": "Mc",
    "Enclosing_Mark": "Me",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Letter_Number": "Nl",
    "Other_Number": "No",
    "Punctuation": "P",
    "Connector_Punctuation": "Pc",
    "Dash_Punctuation": "Pd",
    "Open_Punctuation": "Ps",
    "Close_Punctuation": "Pe",
    "Initial_Punctuation": "Pi",
    "Final_Punctuation": "Pf",
    "Other_Punctuation": "Po",
    "Symbol": "S",
    "Math_Symbol": "Sm",
    "Currency_Symbol": "Sc",
    "Modifier_Symbol": "Sk",
    "Other_Symbol": "So",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Line_Separator": "Zl",
    "Paragraph_Separator": "Zp",
    "Other": "C",
    "Control": "Cc",
    "Format": "Cf",
    "Private_Use": "Co",
    "Unassigned": "Cn",
}

# Each class by its smallest and its largest reading: outside of a negation the smallest is safe.
_SPACES = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CLASSES = {
    "w": ("0-9A-Za-z_", r"\p{L}\p{M}\p{N}\p{Pc}"),
    "d": ("0-9", r"\p{Nd}"),
    "s": (_SPACES, _SPACES + r"\x1c-\x1f\u0085\ufeff"),
}


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
    It has a look-ahead, which is not supported, at character 0.
    """
    if not isinstance(pattern, str):
        raise ParameterError(name, "a regular expression", pattern)
    if len(pattern) > _LONGEST:
        raise ParameterError(name, f"of at most {_LONGEST} characters", pattern)
    return _PatternReader(name, pattern).whole()


def character(code: int) -> str:
    """Return one character as Rust's syntax writes it anywhere."""
    text = chr(code)
    if text.isascii() and not text.isalnum() and text not in " <>_\"',:;=@`!%":
        return f"\\{text}" if 0x20 < code < 0x7F and text != "/" else f"\\x{code:02x}"
    return text


def _spelled(one: int | str) -> str:
    return character(one) if isinstance(one, int) else one


class _PatternReader:
    def __init__(self, name: str, pattern: str) -> None:
        self.name = name
        self.text = pattern
        self.at = 0
        self.in_class = False

    def refused(self, what: str) -> ParameterError:
        hint = f"It has {what} at character {self.at}."
        return ParameterError(self.name, "a regular expression", self.text, hint)

    def error(self, reason: str, at: int | None = None) -> ParameterError:
        hint = f"{reason}: not at character {self.at if at is None else at}."
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
                parts.append(quantifier["greedy"])  # a lazy one matches the same whole texts
                repeatable = False
                continue
            repeatable = here not in "(|^$"
            if here == "(":
                group = _GROUP.match(self.text, self.at)
                if not group:
                    if _FLAG.match(self.text, self.at):
                        raise self.refused("a flag, which is not supported,")
                    for opening, what in _GROUPS.items():
                        if self.text.startswith(opening, self.at):
                            raise self.refused(f"{what}, which is not supported,")
                    raise self.error("A group is plain, (?:…) or (?<name>…)")
                self.at = group.end()
                depth += 1
                if depth > _DEEPEST_GROUP:
                    raise self.error(f"Groups are at most {_DEEPEST_GROUP} deep")
                parts.append("(?:")
            elif here == "[":
                parts.append(self.bracket())
            elif here == "{":
                if _LONG_BRACE.match(self.text, self.at):
                    raise self.refused("a number of more than 5 digits in braces")
                raise self.error(r"A brace is {n}, {n,}, {n,m} or \{")
            elif here in ".)|^$":
                depth -= here == ")"
                if depth < 0:
                    raise self.error("A closing parenthesis has an opening one")
                self.at += 1
                parts.append(r"[^\n\r\u2028\u2029\x00]" if here == "." else here)
            else:
                one = self.one(negated=False)
                alone = isinstance(one, int) or one[0] == "["
                parts.append(_spelled(one) if alone else f"[{one}]")
        if depth:
            raise self.error("An opening parenthesis has a closing one")
        return "".join(parts)

    def one(self, *, negated: bool) -> int | str:
        """Read a character, given by its code, or an escape that stands for a class."""
        start = self.at
        self.at += 1
        kind, value = "sign", self.text[start]
        if value == "\\":
            escape = _ESCAPE.match(self.text, start)
            if escape is None:
                self.at = start
                following = self.text[start + 1 : start + 2]
                if following and following in "bB" and not self.in_class:
                    raise self.refused("a word boundary, which is not supported,")
                if following and following in "123456789k":
                    raise self.refused("a backreference, which is not supported,")
                signs = r"\d \w \s \D \W \S \n \r \t \f \v \xhh \uhhhh \p{L}"
                raise self.error(f"An escape is {signs} or of a sign", start)
            self.at = escape.end()
            kind = str(escape.lastgroup)
            value = escape[kind]
        if kind == "kind":
            smallest, largest = _CLASSES[value.lower()]
            if value.islower():
                return largest if negated else smallest
            return f"[^{smallest if negated else largest}\\x00]"
        if kind == "property":
            return f"[\\{value[0]}{{{self.category(value[2:-1], start)}}}&&[^\\x00]]"
        if kind == "control":
            return ord(_CONTROLS[value])
        code = ord(value) if kind == "sign" else int(value, 16)
        if 0xD800 <= code <= 0xDFFF:
            raise self.error("A character is no half of a surrogate pair", start)
        return code

    def category(self, name: str, start: int) -> str:
        """Return a general category of characters by its short name."""
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        short = _CATEGORIES.get(name, name)
        if len(short) > 2:
            raise self.error(r"A property is a general category, as \p{L} or \p{Letter}", start)
        return short

    def bracket(self) -> str:
        """Read a class of characters in brackets."""
        start = self.at
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        if self.text.startswith("]", self.at):
            raise self.error("A class has at least one character", start)
        self.in_class = True
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
                items.append(_spelled(first))
        self.at += 1
        self.in_class = False
        inside = "".join(items)
        # A class with every control character lets a quote through where it excludes one
        # (llguidance 1.9), and JSON texts have no use for U+0000.
        return f"[^{inside}\\x00]" if negated else f"[[{inside}]&&[^\\x00]]"
