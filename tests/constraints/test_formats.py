"""A text of a format is one for every validator: jsonschema's, pydantic's and plain Python's."""

from __future__ import annotations

import calendar
import datetime
import ipaddress
import json
import os
import re
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from logitlab import ParameterError
from logitlab.constraints import JsonSchema
from logitlab.constraints.formats import FORMATS
from pydantic import AnyUrl, AwareDatetime, EmailStr, TypeAdapter, ValidationError

from constraints.writing import accepts, text, written

EXAMPLES = int(os.environ.get("LOGITLAB_EXAMPLES", "20"))
CHECKER = Draft202012Validator.FORMAT_CHECKER

_TYPES: dict[str, Any] = {
    "date": datetime.date,
    "date-time": AwareDatetime,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "email": EmailStr,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": AnyUrl,
    "uuid": uuid.UUID,
}
ADAPTERS = {kind: TypeAdapter(one) for kind, one in _TYPES.items()}


def is_date(value: str) -> bool:
    match = re.fullmatch("([0-9]{4})-([0-9]{2})-([0-9]{2})", value)
    if not match:
        return False
    year, month, day = map(int, match.groups())
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]


def is_time(value: str) -> bool:
    pattern = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))"
    match = re.fullmatch(pattern, value)
    if not match:
        return False
    hour, minute, second, *offset = (int(one or 0) for one in match.groups())
    return max(hour, offset[0]) < 24 and max(minute, second, offset[1]) < 60


def is_date_time(value: str) -> bool:
    return is_date(value[:10]) and value[10:11] in ("T", "t") and is_time(value[11:])


def is_hostname(value: str) -> bool:
    labels = value.split(".")
    return len(value) <= 253 and all(
        1 <= len(label) <= 63
        and re.fullmatch("[0-9a-zA-Z-]+", label)
        and label[0] != "-" != label[-1]
        for label in labels
    )


def is_email(value: str) -> bool:
    local, _, domain = value.partition("@")
    fits = 1 <= len(local) <= 64 and len(value) <= 254
    return fits and bool(re.fullmatch(r"[^@\s.]+(\.[^@\s.]+)*", local)) and is_hostname(domain)


RULES: dict[str, Callable[[str], bool]] = {
    "date": is_date,
    "time": is_time,
    "date-time": is_date_time,
    "hostname": is_hostname,
    "idn-hostname": is_hostname,
    "email": is_email,
    "idn-email": is_email,
}


def refusals(kind: str, value: str) -> list[str]:
    """Return who says that a text is not of a format."""
    names = []
    with warnings.catch_warnings():  # re tells of sets in sets
        warnings.simplefilter("ignore", FutureWarning)
        if kind in CHECKER.checkers and not CHECKER.conforms(value, kind):
            names.append("jsonschema")
    if kind in ADAPTERS:
        try:
            ADAPTERS[kind].validate_json(json.dumps(value))
        except ValidationError:
            names.append("pydantic")
    if kind in RULES and not RULES[kind](value):
        names.append("the rule")
    return names


GOOD = {
    "regex": ["", "^[a-z]+$", r"^\d{3}\.x?(?:ab|c)*$", "a|b", r"\\", "[^A-Z0-9_]*"],
    "idn-email": ["a@example.com", "first.last+x@sub.example.org"],
    "idn-hostname": ["example.com", "a", "x-1.y"],
    "date": ["2024-02-29", "2000-02-29", "0004-02-29", "1999-12-31", "2023-11-30", "0001-01-01"],
    "date-time": [
        "2024-05-01T10:20:30Z",
        "2024-02-29t23:59:59.123456789z",
        "1985-04-12T23:20:50.52-23:59",
        "2023-06-30T00:00:00+00:00",
    ],
    "time": ["10:20:30Z", "23:59:59+01:00", "00:00:00.000001-23:59"],
    "duration": [
        "P1DT2H",
        "PT36H",
        "P4W",
        "P1Y2M3DT4H5M6S",
        "PT0S",
        "P0D",
        "P1YT1S",
        "PT86400000S",
    ],
    "email": [
        "a.b@c.de",
        "joe.bloggs+tag@example.com",
        "~!#$%&'*+/=?^_`{|}-@x-y.museum",
        "A1@sub.sub2.EXAMPLE.org",
        "a@b.tests",
    ],
    "hostname": ["a-1.org", "localhost", "1.example.com", "a" * 63 + ".com", "a.b.c", "A--B.x"],
    "ipv4": ["10.0.255.1", "0.0.0.0", "255.255.255.255"],
    "ipv6": [
        "::",
        "::1",
        "1::",
        "1:2:3:4:5:6:7:8",
        "::ffff:192.168.0.1",
        "1::d6:192.168.0.1",
        "1:2::8",
        "1:2:3:4:5:6:1.2.3.4",
        "::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "FE80::A",
    ],
    "uri": [
        "http://mesos-master:5050",
        "https://my-host.my-domain/",
        "https://a.b/c?d=e#f",
        "http://user:pw@example.com:8080/%7Euser/?q=a+b",
        "ftp://ftp.is.co.za/rfc/rfc1808.txt",
        "mailto:John.Doe@example.com",
        "urn:oasis:names:specification:docbook:dtd:xml:4.1.2",
        "file:///etc/hosts",
        "file:/etc/hosts",
        "ws://localhost/a",
        "ldap://[2001:db8::7]/c=GB?objectClass?one",
        "http://[::ffff:1.2.3.4]:65535",
        "http://a_b.example.com",
        "tel:+1-816-555-1212",
        "data:,A%20brief%20note",
        "a:",
        "httpx://x",
    ],
    "uri-reference": ["", "/a/b?c#d", "../x", "//host/p", "#f", "?q", "https://a.b", "a/b:c", "//"],
    "iri": ["http://ƒøø.ßår/?∂éœ=πîx#πîüx", "http://a.b/日本", "urn:é"],
    "iri-reference": ["/âππ", "#ƒrägmênt", "日本", "http://ƒøø.ßår/"],
    "uri-template": [
        "http://example.com/dictionary/{term:1}/{term}",
        "/{+path,x}/here{?q,y*}",
        "",
        "{a.b%20}",
        "é{#v}",
    ],
    "uuid": ["12345678-9abc-def0-1234-56789ABCDEF0", "00000000-0000-0000-0000-000000000000"],
    "json-pointer": ["", "/", "/foo/0", "/a~1b", "/~0", "/é", '/"', "//"],
    "relative-json-pointer": ["0", "1", "0#", "10/a/b", "1/", "0/~01", "42"],
}
BAD = {
    "regex": ["(", "[", "*", "a**", "\\", "^*", "[z-a]", "(?P<a>b)", "(?#c)", r"\a", "x{2,1}"],
    "idn-email": ["2962", "a@", "@b.com", "user\uff20example.com", "a b@c.de"],
    "idn-hostname": ["", "-a", "a..b", "\u302e\uc2e4.\ud14c", "a_b", "x" * 64],
    "date": [
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "2100-02-29",
        "2023-04-31",
        "2023-13-01",
        "2023-00-01",
        "2023-01-00",
        "0000-01-01",
        "0000-02-29",
        "2023-1-1",
        "20230101",
        "2023-01-01 ",
        "२०२३-01-01",
    ],
    "date-time": [
        "2024-05-01 10:20:30Z",
        "2024-05-01T10:20:60Z",
        "1998-12-31T23:59:60Z",
        "2023-02-29T10:20:30Z",
        "2023-02-28T24:00:00Z",
        "2023-02-28T10:20:30",
        "2023-02-28T10:20:30+24:00",
        "2023-02-28T10:20:30+01:60",
        "2023-02-28T10:20:30.Z",
        "2023-02-28T10:20Z",
        "2023-02-28T10:20:30+0100",
    ],
    "time": [
        "25:00:00Z",
        "23:59:60Z",
        "10:20:30",
        "10:20Z",
        "10:20:30.Z",
        "10:60:00Z",
        "10:20:30+1",
    ],
    "duration": [
        "1D",
        "P",
        "PT",
        "P1DT",
        "P1H",
        "PT1D",
        "P1D1W",
        "P1Y2D",
        "PT1H2S",
        "P1.5D",
        "p1d",
    ],
    "email": [
        "a" + ".a" * 49 + "@b.de",
        "a.b",
        "a@b",
        "@b.de",
        "a@",
        ".a@b.de",
        "a.@b.de",
        "a..b@c.de",
        "a b@c.de",
        "a@b@c.de",
        "a@-b.de",
        "a@b-.de",
        "a@b..de",
        "a@b.de.",
        "a" * 65 + "@b.de",
        "a@b.test",
        "a@b.LOCAL",
        "a@ab--c.de",
        "a@" + "a" * 64 + ".de",
        "a@" + "b." * 126 + "de",
        "a@1.2.3.4",
    ],
    "hostname": [
        "",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "a_b",
        "a" * 64,
        "a." * 126 + "ab",
        ".".join(["a" * 49] * 6),
        "ab--c",
        "é.de",
        "a b",
    ],
    "ipv4": ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.4 ", "0x1.2.3.4", "1.2.3.-4"],
    "ipv6": [
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "::1%eth0",
        "12345::",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3",
        "1.2.3.4",
        ":1",
        "1:",
        ":::",
        "1:2:3:4::5:6:7:8",
        "::01.2.3.4",
        "g::",
        "",
    ],
    "uri": [
        "no scheme",
        "//a.b",
        "/a",
        "http://",
        "http:a",
        "https:///a",
        "http://a b",
        "http://a:65536",
        "http://a:b",
        "http://1.2.3.400",
        "http://[1::2::3]",
        "http://[::1",
        "http://xn--x.com",
        "a:%zz",
        "a:%4",
        "1a:b",
        "http://é.com",
        "a:b c",
        "a:\\b",
        'a:"',
        "a:[",
        "file://u@h/x",
        ":a",
    ],
    "uri-reference": ["\\\\a", "a b", "1a:b", "#a#b", "//a:b", "%"],
    "iri": ["/é", "http://é b", "a:\ue000", "http://é:x"],
    "iri-reference": ["\\\\é", "é é", "a:b c", "1é:b"],
    "uri-template": [
        "{",
        "}",
        "{a",
        "a}",
        "{}",
        "{a b}",
        "{=a}",
        "{a:0}",
        "{a:b}",
        "a b",
        "{a**}",
        "%",
    ],
    "uuid": ["1234", "123456789abcdef0123456789abcdef0", "12345678-9abc-def0-1234-56789abcdeg0"],
    "json-pointer": ["a", "/~", "/~2", "#", "/a~", "#/a"],
    "relative-json-pointer": ["", "/a", "01", "-1", "a", "1a", "0##", "0#/a", "1/~2"],
}


def test_every_format_has_a_judge() -> None:
    assert set(FORMATS) <= {*CHECKER.checkers, *ADAPTERS}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_of_a_format_and_what_is_not(kind: str) -> None:
    assert set(GOOD) == set(BAD) == set(FORMATS)
    constraint = JsonSchema({"type": "string", "format": kind})
    for value in GOOD[kind]:
        assert not refusals(kind, value), value
        assert accepts(constraint, json.dumps(value, ensure_ascii=False)), value
    for value in BAD[kind]:
        assert not accepts(constraint, json.dumps(value, ensure_ascii=False)), value


@pytest.mark.parametrize("kind", FORMATS)
def test_random_texts_are_of_their_format(kind: str) -> None:
    constraint = JsonSchema({"type": "string", "format": kind})
    ends = 0
    for seed in range(EXAMPLES):
        vocabulary = "smollm2" if seed % 10 == 9 else "bytes"
        tokens, ended = written(constraint, vocabulary, seed, most=300, close=seed % 3 * 2.0)
        ends += ended
        if ended:
            value = json.loads(text(vocabulary, tokens))
            assert not refusals(kind, value), value
    assert ends > EXAMPLES // 2


def changed(rng: np.random.Generator, value: str) -> str:
    """Return a text with one or two characters more, less or other."""
    signs = [*"0123456789aAzZ.-_:/?#[]@!%~{}+ TtPYMD\\é\u0660", "60", "--", "::", "//", ".."]
    for _ in range(int(rng.integers(1, 3))):
        place, width = int(rng.integers(len(value) + 1)), int(rng.integers(2))
        sign = signs[int(rng.integers(len(signs)))] if rng.random() < 0.8 else ""
        value = value[:place] + sign + value[place + width :]
    return value


@pytest.mark.parametrize("kind", FORMATS)
def test_what_a_validator_refuses_is_refused(kind: str) -> None:
    constraint = JsonSchema({"type": "string", "format": kind})
    rng = np.random.default_rng(0)
    count = 0
    for i in range(10 * EXAMPLES):
        value = changed(rng, GOOD[kind][i % len(GOOD[kind])])
        if refusals(kind, value):
            count += 1
            assert not accepts(constraint, json.dumps(value, ensure_ascii=False)), value
    assert count > EXAMPLES


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "string", "format": "date", "pattern": "^2"},
            ["2024-02-29"],
            ["1999-01-01", "2023-02-29"],
        ),
        (
            {"type": "string", "format": "hostname", "minLength": 3, "maxLength": 5},
            ["abc", "a.b.c"],
            ["ab", "abcdef", "a..b"],
        ),
        ({"type": "string", "format": "hostname", "maxLength": 400}, ["a"], ["a." * 126 + "ab"]),
        (
            {"type": "string", "format": "email", "pattern": "@example[.]com$"},
            ["a@example.com"],
            ["a@example.org", "a b@example.com"],
        ),
        (
            {"type": "string", "format": "uri", "pattern": "^https://", "maxLength": 20},
            ["https://a.b"],
            ["http://a.b", "https://", "https://a.b/" + 9 * "c"],
        ),
        ({"type": ["string", "null"], "format": "uuid"}, [None, GOOD["uuid"][0]], ["x", 1]),
        ({"format": "ipv4"}, [1, None, [], "1.2.3.4"], ["x"]),
        (
            {"enum": ["2024-02-29", "2023-02-29", 3], "format": "date"},
            ["2024-02-29", 3],
            ["2023-02-29"],
        ),
        (
            {"type": "string", "allOf": [{"format": "date"}, {"pattern": "-02-29$"}]},
            ["2024-02-29"],
            ["2024-02-28", "2023-02-29"],
        ),
        (
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "time"}]},
            ["2024-02-29", "10:20:30Z"],
            ["2023-02-29", "10:20:60Z"],
        ),
        (
            {
                "$defs": {"d": {"type": "string", "format": "date"}},
                "$ref": "#/$defs/d",
                "minLength": 1,
            },
            ["2024-02-29"],
            ["2023-02-29", ""],
        ),
    ],
)
def test_a_format_beside_other_keywords(schema: Any, good: list[Any], bad: list[Any]) -> None:
    constraint = JsonSchema(schema)
    assert all(accepts(constraint, json.dumps(value)) for value in good)
    assert not any(accepts(constraint, json.dumps(value)) for value in bad)


def test_a_format_that_leaves_nothing_is_refused() -> None:
    for more in ({"maxLength": 9}, {"pattern": "^x"}, {"const": "2023-02-29"}):
        with pytest.raises(ParameterError, match="schema must be one that can be enforced"):
            JsonSchema({"type": "string", "format": "date", **more})


def test_what_is_too_hard_together_is_refused() -> None:
    pattern = {"pattern": "@example[.]com$", "maxLength": 20}
    with pytest.raises(ParameterError, match="too hard to tell; drop a length, a pattern or a"):
        JsonSchema({"type": "string", "format": "email", **pattern})


@pytest.mark.parametrize("kind", ["color", "colour", "int32"])
def test_what_no_pattern_can_say_is_refused(kind: str) -> None:
    with pytest.raises(ParameterError, match=r"schema.format must be one of date, date-time"):
        JsonSchema({"type": "string", "format": kind}, strict_formats=True)
