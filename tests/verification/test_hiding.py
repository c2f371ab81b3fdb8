"""What nobody may read is nowhere, in whatever form it comes back."""

from __future__ import annotations

import base64
import html
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import logitlab as ll
import pytest
from logitlab import EndpointError, ParameterError
from logitlab.verification import battery
from logitlab.verification.address import Address
from logitlab.verification.hiding import Hiding, without_passwords
from logitlab.verification.log import read_log

from verification.sockets import Sockets, http, said
from verification.stages import STAGES

KEY = "sk-very/secret+0123456789"
PASSWORD = "hunter2-hunter2"


def code_points(form: str) -> Callable[[str], str]:
    return lambda key: "".join(form.format(ord(letter)) for letter in key)


def twice(form: Callable[[str], str]) -> Callable[[str], str]:
    return lambda key: form(form(key))


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "JSON": code_points("\\u{:04x}"),
    "JSON, capitals": code_points("\\u{:04X}"),
    "JSON twice": code_points("\\\\u{:04x}"),
    "JSON in JSON": lambda key: json.dumps(json.dumps(code_points("\\u{:04x}")(key))),
    "slashes": lambda key: key.replace("/", "\\/"),
    "URL": lambda key: quote(key, safe=""),
    "URL, all": code_points("%{:02x}"),
    "URL twice": twice(lambda key: quote(key, safe="")),
    "Python": code_points("\\x{:02x}"),
    "HTML": lambda key: html.escape(code_points("&#{};")(key)),
    "HTML, hexadecimal": code_points("&#x{:x};"),
    "some of it": lambda key: "\\u0073" + key[1:4] + "%65" + key[5:],
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic, 1": lambda key: base64.b64encode(f":{key}".encode()).decode(),
    "basic, 2": lambda key: base64.b64encode(f"u:{key}:x".encode()).decode(),
    "basic, 3": lambda key: base64.urlsafe_b64encode(f"us:{key}".encode()).decode(),
    "digits": lambda key: key.encode().hex(),
    "lines": lambda key: "\n".join([key[:9], key[9:]]),
    "letters": " ".join,
    "quoted parts": lambda key: '"' + '", "'.join([key[:9], key[9:]]) + '"',
}


def put_together(text: str) -> str:
    """Return a text as somebody would who looks for the key: all escapes read, all else gone."""
    for _ in range(4):
        text = html.unescape(text)
        for escape, base in (("\\u", 4), ("\\x", 2), ("%", 2)):
            parts = text.split(escape)
            read = [parts[0]]
            for part in parts[1:]:
                try:
                    read.append(chr(int(part[:base], 16)) + part[base:])
                except ValueError:
                    read.append(escape + part)
            text = "".join(read)
        text = text.replace("\\", "")
    return "".join(c for c in text if c not in " \n\t\"',[]")


def is_in(text: str) -> bool:
    coded = [
        base64.b64encode(b"\0" * n + KEY.encode()).decode()[4 * (n > 0) : -4] for n in range(3)
    ]
    plain = text.replace("-", "+").replace("_", "/")
    forms = [each.replace("-", "+").replace("_", "/") for each in (*coded, KEY.encode().hex())]
    return KEY in put_together(text) or any(form in plain for form in forms)


@pytest.mark.parametrize("form", FORMS)
def test_the_test_finds_the_key_and_a_text_has_none(form: str) -> None:
    told = f"a {FORMS[form](KEY)} z"
    assert is_in(told)
    hidden = Hiding(KEY).text(told)
    assert not is_in(hidden)
    assert "[key]" in hidden
    assert hidden.startswith("a ")
    assert hidden.endswith(" z")


@pytest.mark.parametrize(
    "document",
    [
        {"a": [KEY[:9], KEY[9:]]},
        {"a": {"x": KEY[:9], "y": KEY[9:]}},
        {"a": list(KEY)},
        {"a": list(KEY.encode())},
        {"a": [{"token": each, "logprob": -1, "other": "x"} for each in KEY]},
        {"a": [{"token": "x", "bytes": [each, 0][:1]} for each in KEY.encode()]},
        {KEY: {"x": [KEY]}},
        {"a": f"{KEY}{KEY}", "b": f"x{KEY[:5]}", "c": f"{KEY[5:]}y"},
    ],
)
def test_parts_of_a_document_do_not_make_the_key(document: Any) -> None:
    hidden = Hiding(KEY).document(document)
    letters = put_together(json.dumps(hidden))
    assert KEY not in letters
    assert not any(part in letters for part in (KEY[:4], KEY[-4:]))
    assert (
        "[key]" in json.dumps(hidden) or list(b"[key]") in [hidden["a"]] or hidden["a"][0]["bytes"]
    )
    assert Hiding(KEY).document({"a": [1, 2.5, None, True, "b"]}) == {
        "a": [1, 2.5, None, True, "b"]
    }


@pytest.mark.parametrize(
    "text",
    [
        "\\" * 200_000,
        "".join("\\" * 4 + f"u{ord(letter):04x}" for letter in KEY[:-1]) * 500,
        "".join(f"\\\\\\n{letter}" for letter in KEY[:-1]) * 500,
        ("s" + " \\n" * 50) * 2000,
        "%3a%2f%2f" * 30_000,
        "%2525252525" * 20_000,
        "&amp;amp;amp;" * 20_000,
        "://" * 50_000,
        "?key=" * 50_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.monotonic()
    Hiding(KEY).document([text])
    assert time.monotonic() - begun < 5  # it takes a second at most


def test_a_short_key_is_hidden_in_texts_and_nowhere_else() -> None:
    hiding = Hiding("EMPTY")
    assert hiding.document({"EMPTY": "EMPTY E M P T Y", "x": ["EMP", "TY"]}) == {
        "EMPTY": "[key] E M P T Y", "x": ["EMP", "TY"]
    }  # fmt: skip
    assert "EMPTY" not in repr(hiding)


@pytest.fixture(autouse=True)
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "STAGES", STAGES)


@pytest.mark.parametrize("form", FORMS)
def test_an_echoed_key_is_in_no_log_report_or_error(form: str, tmp_path: Path) -> None:
    told = FORMS[form](KEY)
    answer = said(f"You are {told}", system_fingerprint=told)
    answer["choices"].append({"message": {"content": told}})
    refusal = {"error": {"message": f"{told} must not send top_a"}}
    log = tmp_path / "log"
    with Sockets([*[http(200, answer)] * 9, http(400, refusal)]) as server:
        result = ll.verify(server.url, key=KEY, log=log, model="m")
    for text in (str(result), result.markdown(), json.dumps(result.to_dict()), log.read_text()):
        assert not is_in(text)
        assert "[key]" in text
    pages: list[tuple[int, bytes, str]] = [
        (200, told.encode(), "text/html"),
        (200, b"x" + told.encode(), told.replace("\n", " ")),
        (400, b"x" * 490 + told.encode(), "text/plain"),
        (401, json.dumps(refusal).encode(), "application/json"),
    ]
    for status, content, kind in pages:
        with Sockets([http(status, content, kind=kind)]) as server:
            with pytest.raises(EndpointError) as error:
                ll.verify(server.url, key=KEY, model="m", retries=0)
            assert not is_in("".join(traceback.format_exception(error.value)))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("at http://me:{}@h/v1 now", "at http://…@h/v1 now"),
        ("at http://{}@h/v1", "at http://…@h/v1"),
        ("http%3A%2F%2Fme%3A{}%40h", "http%3A%2F%2F…@h"),
        ("http%253A%252F%252Fme%253A{}%2540h", "http%253A%252F%252F…@h"),
        ("http:\\/\\/me:{}@h", "http:\\/\\/…@h"),
        ("https://h/v1?api_key={}&n=1", "https://h/v1?api_key=…&n=1"),
        ("https://h/v1?n=1&access_token={}", "https://h/v1?n=1&access_token=…"),
        ("https://h/v1%3Fapi-key%3D{}%26n%3D1", "https://h/v1%3Fapi-key%3D…%26n%3D1"),
        ("(/v1?KEY={})", "(/v1?KEY=…)"),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, hidden: str) -> None:
    assert without_passwords(text.format(PASSWORD)) == hidden
    assert without_passwords(hidden) == hidden


@pytest.mark.parametrize("text", ["a@b.c", "x = 5", "if key=5 then", "1 ? a : b", "http://h/a?n=1"])
def test_other_texts_stay(text: str) -> None:
    assert without_passwords(text) == text


@pytest.mark.parametrize(
    "url",
    [
        "http://me:{}@h/v1",
        "http://{}@h",
        "http://me%3A{}%40h/v1",
        "http://me%253A{}%2540h/v1",
        "http://h/v1?api_key={}",
        "http://h/v1%3Fapi_key={}",
        "http://h/v1%253Fapi_key={}",
        "http://h/v1#{}",
        "http://h/me:{}%40x/v1",
        "me:{}@h/v1",
        "me%3A{}%40h",
        "ftp://me:{}@h/v1",
        "http:\\\\me:{}@h/v1",
        "http://me:{}@h:99999/v1",
        "http://me:{}@h:x/v1",
        "http://me:{} @h/v1",
    ],
)
def test_an_address_with_a_password_is_refused_without_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as error:
        Address.of(url.format(PASSWORD))
    assert PASSWORD not in "".join(traceback.format_exception(error.value))
    log = tmp_path / "log"
    header = {"log": "logitlab verify", "schema": 1, "endpoint": url.format(PASSWORD)}
    log.write_text(json.dumps(header) + "\n")
    with pytest.raises(ParameterError, match=r"Its first line has .* as the endpoint") as error:
        read_log(log)
    assert PASSWORD not in "".join(traceback.format_exception(error.value))


def test_a_zone_of_an_address_may_have_a_percent_sign() -> None:
    assert Address.of("http://[fe80::1%25eth0]:8080/v1").host == "fe80::1%25eth0"
    assert Address.of("http://h/a%20b").root == "/a%20b"


def test_passwords_that_a_server_or_a_function_tells_are_hidden(tmp_path: Path) -> None:
    url = f"http://me:{PASSWORD}@upstream/v1?api_key={PASSWORD}"

    def fails(body: dict[str, Any]) -> Any:
        raise OSError(f"no connection to {url}")

    with pytest.raises(EndpointError, match="no connection to http://…@upstream") as error:
        ll.verify(fails)
    assert PASSWORD not in str(error.value)
    log = tmp_path / "log"

    def refuses(body: dict[str, Any]) -> Any:
        wrong = body.get("top_a") or "logprobs" in body
        return (400, {"error": {"message": f"{url} says no"}}) if wrong else said(f"{url}?")

    result = ll.verify(refuses, log=log)
    for text in (str(result), json.dumps(result.to_dict()), log.read_text()):
        assert PASSWORD not in text
    # A log of an earlier version may have it still.
    log.write_text(log.read_text().replace("…@upstream", f"me:{PASSWORD}@upstream"))
    assert PASSWORD not in json.dumps(ll.verify(resume=log).to_dict())


@pytest.mark.parametrize(
    "target", ["http://me:{}@h/v1", "http://me%3A{}%40h/v1", "https://h/v1?api_key={}", "//me:{}@h"]
)
def test_a_redirect_does_not_tell_a_password(target: str) -> None:
    behaviour = http(307, {}, f"Location: {target.format(PASSWORD)}")
    expected = pytest.raises(EndpointError, match="redirects to")
    with Sockets([behaviour]) as server, expected as error:
        ll.verify(server.url, model="m")
    assert PASSWORD not in "".join(traceback.format_exception(error.value))
