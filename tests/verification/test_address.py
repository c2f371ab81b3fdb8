"""Addresses: as people write them, and what is wrong with bad ones."""

from __future__ import annotations

import pytest
from logitlab import ParameterError
from logitlab.verification.address import Address


@pytest.mark.parametrize(
    ("written", "url"),
    {
        "http://127.0.0.1:8080": "http://127.0.0.1:8080/v1",
        "http://127.0.0.1:8080/": "http://127.0.0.1:8080/v1",
        "http://127.0.0.1:8080/v1/": "http://127.0.0.1:8080/v1",
        "http://127.0.0.1:8080/v1/chat/completions": "http://127.0.0.1:8080/v1",
        "http://127.0.0.1:8080/v1/completions": "http://127.0.0.1:8080/v1",
        "http://host/a/b/v1/models": "http://host/a/b/v1",
        " HTTP://Host:80/v1 ": "http://host/v1",
        "https://host:443": "https://host/v1",
        "http://[::1]:8080": "http://[::1]:8080/v1",
        "https://openrouter.ai": "https://openrouter.ai/api/v1",
        "https://openrouter.ai/api/v1": "https://openrouter.ai/api/v1",
        "https://api.openai.com/v1": "https://api.openai.com/v1",
    }.items(),
)
def test_urls_come_to_the_base_url(written: str, url: str) -> None:
    assert Address.of(written).url == url
    assert Address.of(url).url == url


RULE = "endpoint must be a URL such as http://127.0.0.1:8080/v1, got "


@pytest.mark.parametrize(
    ("written", "message"),
    {
        "": RULE + "nothing.",
        "localhost:8080": RULE + "localhost:8080. Write http://localhost:8080.",
        "ftp://host/v1": RULE + "ftp://host/v1. An endpoint speaks http or https.",
        "  ": RULE + "nothing.",
        "api.example.org/v1": RULE + "api.example.org/v1. Write https://api.example.org/v1.",
        "10.0.0.2": RULE + "10.0.0.2. Write http://10.0.0.2.",
        "http://me:hunter2/x@host": RULE + "http://…@host. Its port is no number from 1 to 65535.",
        "http//host": RULE + "http//host. Write http://host.",
        "me:hunter2@host/v1": RULE + "…@host/v1. Write http://host/v1.",
        "//me:hunter2@host/v1": RULE + "//…@host/v1. Write http://host/v1.",
        "http://bücher.example": RULE + "http://bücher.example. A URL has ASCII characters alone.",
        "http://a\x1b[2Jb": RULE + "http://ab. A URL has no spaces.",
        "http://": RULE + "http://. It names no host.",
        "http://host:0": RULE + "http://host:0. No server has the port 0.",
        "http://host:99999": RULE + "http://host:99999. Its port is no number from 1 to 65535.",
        "http://host:x": RULE + "http://host:x. Its port is no number from 1 to 65535.",
        "http://[::1": RULE + "http://[::1. Its host is no address.",
        "http://a b": RULE + "http://a b. A URL has no spaces.",
        "http://me:hunter2@host/v1": "endpoint must be a URL without name and password, got "
        "http://…@host/v1. A key is taken from an environment variable: key='env:NAME', "
        "--key-env NAME.",
        "http://host/v1?key=hunter2": "endpoint must be a URL without a query, got "
        "http://host/v1?…. Leave out what follows ?; for a key there is key='env:NAME', --key-env "
        "NAME.",
        "http://host/v1#hunter2": "endpoint must be a URL without a fragment, got "
        "http://host/v1#…. Leave out what follows #; for a key there is key='env:NAME', --key-env "
        "NAME.",
    }.items(),
)
def test_what_is_wrong_with_a_url_is_said_and_no_secret_shown(written: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        Address.of(written)
    assert str(error.value) == message
    assert "hunter2" not in repr(error.value)


def test_only_texts_and_functions_are_endpoints() -> None:
    with pytest.raises(ParameterError, match=r"or a function of a request's body, got 5\."):
        Address.of(5)  # type: ignore[arg-type]


def test_keys_are_known_for_the_hosts_that_they_are_of_and_over_tls_alone() -> None:
    variables = {
        url: Address.of(url).key_variable
        for url in (
            "https://openrouter.ai",
            "https://api.openai.com",
            "http://openrouter.ai",
            "https://openrouter.ai.evil.example",
            "https://evil.example/openrouter.ai",
        )
    }
    assert list(variables.values()) == ["OPENROUTER_API_KEY", "OPENAI_API_KEY", None, None, None]
