r"""Formats of texts, as patterns: as their specifications say, and no wider than validators.

Python's validators and pydantic know no year 0000 and no second 60, so these never come. Where
something cannot be checked letter by letter, only what is sure is written: no label of a domain
has hyphens in its third and fourth place, which would announce Punycode.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

__all__ = ["FORMATS", "enforced"]


def _digits(least: int, most: int) -> str:
    return f"[0-9]{{{least},{most}}}"


def _other_than(words: Iterable[str], first: str, rest: str, most: int | None = None) -> str:
    """Return a pattern of all words but some, whose letters are given in lower case.

    ``first`` and ``rest`` are the insides of the classes of the first and the further characters;
    the words and their beginnings have letters alone.
    """
    after: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        if word:
            after[word[0]].append(word[1:])
    limit = "" if most is None else str(most - 1)
    anything = f"[{rest}]{{0,{limit}}}"
    taken = "".join(letter + letter.upper() for letter in after)
    parts = [f"[[{first}]&&[^{taken}]]{anything}" if taken else f"[{first}]{anything}"]
    for letter, rests in after.items():
        further = _other_than(rests, rest, rest, most and most - 1)
        if "" not in rests:
            further = f"(?:{further})?"
        parts.append(f"[{letter}{letter.upper()}](?:{further})")
    return "|".join(parts)


# RFC 3339
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_FOURTH = "(?:0[48]|[2468][048]|[13579][26])"
_DATE = (
    rf"(?:{_YEAR}\-(?:(?:0[13578]|1[02])\-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)\-(?:0[1-9]|[12][0-9]|30)|02\-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)\-02\-29)"
)
_HOUR_AND_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR_AND_MINUTE}:[0-5][0-9](?:\.[0-9]+)?(?:[zZ]|[+\-]{_HOUR_AND_MINUTE})"
# Its appendix A, with numbers that a duration of at most 999,999,999 days can have.
_HOURS = f"{_digits(1, 5)}H(?:{_digits(1, 7)}M(?:{_digits(1, 9)}S)?)?"
_CLOCK = f"T(?:{_HOURS}|{_digits(1, 7)}M(?:{_digits(1, 9)}S)?|{_digits(1, 9)}S)"
_MONTHS = f"{_digits(1, 7)}M(?:{_digits(1, 8)}D)?"
_DAYS = f"(?:{_digits(1, 6)}Y(?:{_MONTHS})?|{_MONTHS}|{_digits(1, 8)}D)"
_DURATION = f"P(?:{_DAYS}(?:{_CLOCK})?|{_CLOCK}|{_digits(1, 8)}W)"


def _label(letters: str, most: int = 63, first: str = "") -> str:
    """Return a label of a domain: RFC 1123, without Punycode; one may begin in fewer ways."""
    one, any_of = f"[{letters}]", rf"[{letters}\-]"
    longer = rf"{any_of}(?:{one}{any_of}|\-{one}){any_of}{{0,{most - 5}}}{one}"
    return f"[{first or letters}](?:{any_of}?{one}|{any_of}{{2}}{one}|{longer})?"


_LABEL = _label("a-zA-Z0-9")
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
# RFC 5321 without quotes and addresses of numbers, and RFC 6761 with those that reach nobody. Its
# 254 characters are shared out, because a pattern beside a format could not be followed otherwise.
_ATOM = r"[a-zA-Z0-9!#$%&'*+\-/=?\^_`{|}~]"
_NOWHERE = ["arpa", "invalid", "local", "localhost", "onion", "test"]
_TOP = _other_than(_NOWHERE, "a-zA-Z", "a-zA-Z", 24)
_EMAIL = rf"{_ATOM}(?:\.?{_ATOM}){{0,31}}@(?:{_label('a-zA-Z0-9', 41)}\.){{1,3}}(?:{_TOP})"

# RFC 4291
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "[0-9a-fA-F]{1,4}"
_LAST = f"(?:{_GROUP}:{_GROUP}|{_IPV4})"
_IPV6 = "|".join(
    [
        f"(?:{_GROUP}:){{6}}{_LAST}",
        *(
            f"(?:(?:{_GROUP}:){{0,{before - 1}}}{_GROUP})?::(?:{_GROUP}:){{{5 - before}}}{_LAST}"
            if before
            else f"::(?:{_GROUP}:){{5}}{_LAST}"
            for before in range(6)
        ),
        f"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}",
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    ]
)

# RFC 3986 and 3987
_BEYOND_ASCII = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"  # not more than validators know
_PRIVATE = "\ue000-\uf8ff"
_PORT = r"(?::(?:[0-9]{0,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_SPECIAL = ["file", "ftp", "http", "https", "ws", "wss"]
_HIERARCHICAL = "(?:[fF][tT][pP]|[hH][tT][tT][pP][sS]?|[wW][sS][sS]?)"
_SCHEME = _other_than(_SPECIAL, "a-zA-Z", r"a-zA-Z0-9+\-.")


def _resource(more: str, private: str) -> tuple[str, str]:
    """Return the patterns of an identifier, and of a reference, with further characters."""
    letters = rf"a-zA-Z0-9\-._~!$&'()*+,;={more}"
    escape = "|%[0-9a-fA-F]{2}"
    character = f"(?:[{letters}:@]{escape})"
    no_colon = f"(?:[{letters}@]{escape})"
    label = _label(f"a-zA-Z0-9_{more}")
    # A host whose last label begins with a digit would be an address.
    last = _label(f"a-zA-Z0-9{more}", first=f"a-zA-Z{more}")
    host = rf"(?:(?:{label}\.)*{last}|{_IPV4}|\[(?:{_IPV6})\])"
    authority = f"(?:(?:[{letters}:]{escape})*@)?{host}{_PORT}"
    path = f"(?:/{character}*)*"
    rest = f"(?:\\?(?:[{letters}:@/?{private}]{escape})*)?(?:\\#(?:[{letters}:@/?]{escape})*)?"
    no_authority = f"(?:/(?:{character}+{path})?|{character}+{path})?"
    absolute = (
        f"(?:{_HIERARCHICAL}://{authority}{path}"
        f"|[fF][iI][lL][eE]:(?://(?:{host})?/{character}*{path}|/(?:{character}+{path})?)"
        f"|(?:{_SCHEME}):(?://{authority}{path}|{no_authority}))"
    )
    relative = f"(?://(?:{authority})?{path}|/(?:{character}+{path})?|(?:{no_colon}+{path})?)"
    return f"{absolute}{rest}", f"(?:{absolute}|{relative}){rest}"


_URI, _URI_REFERENCE = _resource("", "")
_IRI, _IRI_REFERENCE = _resource(_BEYOND_ASCII, _PRIVATE)

# RFC 6570, with prefixes of at most 999 characters
_NAME = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_]|%[0-9a-fA-F]{2})*(?:\.(?:[a-zA-Z0-9_]|%[0-9a-fA-F]{2})+)*"
_VARIABLE = rf"{_NAME}(?:\*|:[1-9][0-9]{{0,2}})?"
_EXPRESSION = rf"\{{[+\#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}}"
_TEMPLATE = rf"(?:[!\#$&-;=?-\[\]_a-z~{_BEYOND_ASCII}{_PRIVATE}]|%[0-9a-fA-F]{{2}}|{_EXPRESSION})*"

_POINTER = r"(?:/(?:[^/~\x00]|~[01])*)*"  # RFC 6901

# Expressions that ECMA-262 and Python read alike, with groups one deep.
_TIMES = r"(?:[*+?]|\{[0-9]\})?"
_PIECES = (
    r"(?:[a-zA-Z0-9 _,:;@%=<>!'\"/.]|\\[dDsSwW\^$\\.*+?()\[\]{}|/]"
    rf"|\[\^?(?:a\-z|A\-Z|0\-9|[a-zA-Z0-9_])+\]){_TIMES}|[\^$|]"
)
_REGEX = rf"(?:{_PIECES}|\((?:\?:)?(?:{_PIECES})*\){_TIMES})*"

_PATTERNS: dict[str, str] = {
    "date": _DATE,
    "date-time": f"{_DATE}[tT]{_TIME}",
    "time": _TIME,
    "duration": _DURATION,
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "hostname": _HOSTNAME,
    "idn-hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": _URI_REFERENCE,
    "iri": _IRI,
    "iri-reference": _IRI_REFERENCE,
    "uri-template": _TEMPLATE,
    "regex": _REGEX,
    "uuid": r"[0-9a-fA-F]{8}(?:\-[0-9a-fA-F]{4}){3}\-[0-9a-fA-F]{12}",
    "json-pointer": _POINTER,
    # Of 99 levels at most: Python's validator misreads larger numbers.
    "relative-json-pointer": rf"(?:0|[1-9][0-9]?)(?:\#|{_POINTER})",
}
_LONGEST = {"hostname": 253, "idn-hostname": 253}

FORMATS = tuple(_PATTERNS)
"""The formats of texts that are enforced."""


def enforced(name: str) -> dict[str, Any]:
    r"""Return the schema that a text of a format is valid under.

    Parameters
    ----------
    name : str
        One of `FORMATS`.

    References
    ----------
    JSON Schema 2020-12, "Validation", section 7.3.

    Examples
    --------
    >>> print(enforced("json-pointer")["pattern"])
    ^(?:(?:/(?:[^/~\x00]|~[01])*)*)$
    """
    schema: dict[str, Any] = {"pattern": f"^(?:{_PATTERNS[name]})$"}
    return {**schema, "maxLength": _LONGEST[name]} if name in _LONGEST else schema
