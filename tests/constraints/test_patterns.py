"""Patterns match what ECMA 262 and Python both say, and options are themselves."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable

import pytest
from logitlab import ParameterError
from logitlab.constraints import Choice, Constraint, JsonSchema, Regex
from logitlab.constraints.patterns import restated

from constraints.writing import BYTES, RUNS, accepts, text, written

CHARACTERS = [
    *map(chr, range(0x20, 0x100)),
    *"\n\r\t\b\f\v\x00\x1e\u0100\u0660\u2028\u3000\ufeff日🙂",
]

# Each is one class of characters, in the place of a whole text.
CLASSES = [
    "[^a]",
    '[^"]',
    r"[^\\]",
    r'[^"\\]',
    r"[^\x20-\x7e]",
    "[^ -~]",
    "[!-~]",
    r"[\x00-\x1f]",
    ".",
    r"\s",
    r"\S",
    r"\d",
    r"\D",
    r"\w",
    r"\W",
    r"[\s\d]",
    r"[^\s\d]",
    r"[\W\d]",
    r"[^\W\d]",
    r"[\D]",
    r"[^\D]",
    r"[^\w.-]",
    r"[\w.-]",
    "[a-z&&b]",
    "[^a-z&&b]",
    "[[:alpha:]]?",
    "[a[b]?",
    "[a~~b]",
    "[+--]",
    r"[%-\/]",
    r"[\]\[-]",
    "[-a]",
    "[a-]",
    r"\x41",
    r"\u00e9",
    r"[\u00e0-\u00ff]",
    r"\/",
    r"\.",
    "é",
    "[é-ü]",
    "🙂",
    "[日🙂]",
    "&",
    "~",
    "#",
    "@",
    "<",
    ">",
    "/",
    "-",
    ",",
    "'",
    '"',
    " ",
    "}",
    "]",
    r"\n",
    r"[\n\t]",
    "a|[bc]",
    "(?:a|b)",
    "(x)",
    "a?",
    "[ab]{1}",
    "[ab]{0,1}",
    "b+?",
]

REFUSED = [
    ("(?=a)", "It has a look-ahead, which is not supported, at character 0."),
    ("a(?!a)", "It has a look-ahead, which is not supported, at character 1."),
    ("(?<=a)b", "It has a look-behind, which is not supported"),
    ("(?i)a", "It has a flag, which is not supported"),
    ("(?P<n>a)", "It has a group named as Python does, which is not supported"),
    ("(?i:a)", "It has a flag, which is not supported"),
    ("(?<1>a)", "A group is plain"),
    (r"\bword", "It has a word boundary, which is not supported"),
    (r"(a)\1", "It has a backreference, which is not supported, at character 3."),
    (r"\Aa\z", "An escape is"),
    (r"\cA", "An escape is"),
    (r"\0", "An escape is"),
    (r"\k<a>", "It has a backreference, which is not supported"),
    ("\\", "An escape is"),
    (r"\x4", "An escape is"),
    (r"\u{61}", "An escape is"),
    (r"\p{Greek}", "A property is a general category"),
    (r"\é", "An escape is"),
    (r"[\b]", "An escape is"),
    (r"\ud800", "no half of a surrogate"),
    ("\ud800", "no half of a surrogate"),
    ("a**", "A quantifier follows one thing"),
    ("*a", "A quantifier follows one thing"),
    ("a|*", "A quantifier follows one thing"),
    ("^*", "A quantifier follows one thing"),
    ("a++", "A quantifier follows one thing"),
    ("a{2}{3}", "A quantifier follows one thing"),
    ("a{,2}", "A brace is"),
    ("a{0,100000}", "It has a number of more than 5 digits in braces at character 1."),
    ("a{", "A brace is"),
    ("{a}", "A brace is"),
    ("(a", "An opening parenthesis"),
    ("a)", "A closing parenthesis"),
    ("(" * 60, "at most 50"),
    ("[]", "at least one character"),
    ("[^]", "at least one character"),
    ("[]a]", "at least one"),
    ("[a", "A class ends with ]"),
    ("[z-a]", "A range goes"),
    (r"[\w-z]", "A range goes"),
    (r"[a-\d]", "A range goes"),
    ("[a-", "A range goes"),
]


def language(constraint: Constraint) -> set[str]:
    return {c for c in CHARACTERS if accepts(constraint, c)}


def ecma(pattern: str) -> str:
    """Return a pattern for `re.ASCII` whose spaces are those of ECMA 262."""
    inside, spaces = pattern.startswith("["), r" \t-\r\xa0\u2028\u3000\ufeff"
    pattern = pattern.replace(r"\s", spaces if inside else f"[{spaces}]")
    return pattern.replace(r"\S", f"[^{spaces}]")


def matched(pattern: str, flags: int) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {c for c in CHARACTERS if re.fullmatch(pattern, c, flags)}


@pytest.mark.parametrize("pattern", CLASSES)
def test_a_class_is_no_wider_than_in_python(pattern: str) -> None:
    found = language(Regex(pattern))
    both = matched(pattern, 0) & matched(ecma(pattern), re.ASCII)
    assert found <= both
    # Left out are U+0000, and what the dialects do not agree on.
    disputed = set("\x00\u0660") | (set("\r\u2028") if pattern == "." else set())
    assert both - found <= disputed


@pytest.mark.parametrize("pattern", CLASSES)
def test_the_same_inside_of_json(pattern: str) -> None:
    constraint = JsonSchema({"type": "string", "pattern": f"^(?:{pattern})$"})
    dump = json.dumps
    found = {c for c in CHARACTERS if accepts(constraint, dump(c, ensure_ascii=False))}
    spelled = set(CHARACTERS) - set("\x00\x0b\x1e\x7f")  # the others have no short escape
    assert found == language(Regex(pattern)) & spelled


@pytest.mark.parametrize(("pattern", "message"), REFUSED)
def test_what_is_read_differently_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ParameterError, match="pattern must be a regular expression") as error:
        Regex(pattern)
    assert message in str(error.value)


def test_other_refusals() -> None:
    with pytest.raises(ParameterError, match="pattern must be a regular expression, got 3"):
        restated("pattern", 3)
    with pytest.raises(ParameterError, match="pattern must be of at most 10000 characters"):
        restated("pattern", "a" * 10_001)
    with pytest.raises(ParameterError, match="pattern must be one that can be enforced"):
        Regex("a^b")
    with pytest.raises(ParameterError, match="Nothing may follow here"):
        Regex(r"[\x00]")


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^a+$", ["a", "aaa"], ["", "ab"]),
        ("a|bc", ["a", "bc"], ["abc", "b"]),
        ("(ab){2,}", ["abab", "ababab"], ["ab", "aba"]),
        (r"a/b\/c", ["a/b/c"], ["a/b"]),
        (r"\p{Lu}\P{Lu}", ["Éé", "A1"], ["AA"]),
        ("x*", ["", "xx"], ["y"]),
    ],
)
def test_the_whole_text_matches(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [accepts(Regex(pattern), one) for one in good + bad] == [True] * len(good) + [
        False
    ] * len(bad)


@pytest.mark.parametrize("vocabulary", ["bytes", "grimm", "smollm2"])
@pytest.mark.parametrize(
    "pattern", [r"[A-Z][a-z]{1,8}( [a-z]{1,8}){0,4}[.!?]", r"(\d{1,3}\.){3}\d{1,3}", r"\S{3,9}"]
)
def test_many_texts_match(pattern: str, vocabulary: str) -> None:
    for seed in range(RUNS):
        tokens, ended = written(Regex(pattern), vocabulary, seed)
        assert ended
        assert re.fullmatch(pattern, text(vocabulary, tokens))


OPTIONS = [
    "a",
    "ab",
    "abc",
    "Yes!",
    'a"b',
    "a/b",
    "日本",
    "日曜",
    "two\nlines",
    "\x01",
    "(.*)",
    " ",
]


@pytest.mark.parametrize("vocabulary", ["bytes", "grimm", "smollm2"])
def test_two_hundred_choices(vocabulary: str) -> None:
    options = [option for option in OPTIONS if vocabulary != "smollm2" or option != "\x01"]
    seen = set()
    for seed in range(200):
        tokens, ended = written(Choice(options), vocabulary, seed, close=0)
        assert ended
        seen.add(text(vocabulary, tokens))
    assert seen == set(options)


def test_choices_and_nothing_else() -> None:
    constraint = Choice(OPTIONS)
    assert all(accepts(constraint, option) for option in OPTIONS)
    assert not any(accepts(constraint, option) for option in ("", "b", "abcd", "A", "(a)", "  "))


@pytest.mark.parametrize("options", [[], "abc", b"abc", 3, ["a", "a"], [""], [1], ["\udc80"]])
def test_options_that_are_none(options: Iterable[str]) -> None:
    with pytest.raises(ParameterError, match="options must be"):
        Choice(options)


def test_all_bytes_of_a_character_are_needed() -> None:
    matcher = Choice(["é"]).start(BYTES, [256])
    matcher.advance(0xC3)
    assert not matcher.is_complete
    assert matcher.allowed().nonzero()[0].tolist() == [0xA9]
