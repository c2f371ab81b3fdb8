"""Where an endpoint is: a URL as people write it, and what it comes to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from logitlab.checks import ParameterError, Seen, brief
from logitlab.verification.wording import harmless

__all__ = ["Address"]

_RULE = "a URL such as http://127.0.0.1:8080/v1"
_ROUTES = re.compile(r"/(chat/completions|completions|responses|models)$")
_ROOTS = {"openrouter.ai": "/api/v1"}  # of those whose routes do not begin with /v1
_VARIABLES = {"openrouter.ai": "OPENROUTER_API_KEY", "api.openai.com": "OPENAI_API_KEY"}


@dataclass(frozen=True)
class Address:
    """A host, and the path under which its routes are.

    Attributes
    ----------
    scheme : {"http", "https"}
    host : str
    port : int
    root : str
        What stands before ``/chat/completions``.

    Examples
    --------
    >>> Address.of("http://127.0.0.1:8080").url
    'http://127.0.0.1:8080/v1'
    >>> Address.of("https://openrouter.ai/api/v1/chat/completions").url
    'https://openrouter.ai/api/v1'
    """

    scheme: str
    host: str
    port: int
    root: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Return the address that a URL means.

        Parameters
        ----------
        url : str
            With or without ``/v1`` and the route behind it.

        Raises
        ------
        ParameterError
            For another scheme, no host, a bad port, a name and password, a query, or spaces, and
            for these two in percent-encoding. What may be a secret is not in the message.
        """
        if not isinstance(url, str):
            raise ParameterError("endpoint", f"{_RULE}, or a function of a request's body", url)
        if re.search(r"[\s\x00-\x20\x7f]", url.strip()) or not url.isascii():
            hint = "A URL has no spaces." if url.isascii() else "A URL has ASCII characters alone."
            raise ParameterError("endpoint", _RULE, _harmless(url), hint)
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise ParameterError("endpoint", _RULE, _harmless(url), _why(error)) from None
        _check(url, parts)
        host = str(parts.hostname)
        try:
            host.encode("idna")
        except UnicodeError:
            hint = "Its host is no name: a part of it is empty, or too long."
            raise ParameterError("endpoint", _RULE, _harmless(url), hint) from None
        scheme = parts.scheme.lower()
        root = parts.path.rstrip("/")
        root = _ROUTES.sub("", root)
        if host in _ROOTS and root in ("", "/v1", "/api"):
            root = _ROOTS[host]
        return cls(scheme, host, port or (443 if scheme == "https" else 80), root or "/v1")

    @property
    def origin(self) -> str:
        """Scheme, host and port, as browsers compare them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")

    @property
    def url(self) -> str:
        """The base URL, as clients take it."""
        return self.origin + self.root

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds a key for this host, where that is known."""
        return _VARIABLES.get(self.host) if self.scheme == "https" else None


def _check(url: str, parts: SplitResult) -> None:
    """Raise for what is no address of an endpoint."""
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        hint = "An endpoint speaks http or https."
        if "://" not in url:  # `localhost:8080` is a scheme and a path to whoever wrote the rule
            hint = f"Write {_with_scheme(url.strip())}." if url.strip() else ""
        raise ParameterError("endpoint", _RULE, _harmless(url), hint)
    if not parts.hostname:
        raise ParameterError("endpoint", _RULE, _harmless(url), "It names no host.")
    if parts.port == 0:
        raise ParameterError("endpoint", _RULE, _harmless(url), "No server has the port 0.")
    if parts.username is not None or parts.password is not None:
        hint = "A key is taken from an environment variable: key='env:NAME', --key-env NAME."
        raise ParameterError("endpoint", "a URL without name and password", _harmless(url), hint)
    host = re.sub(r"\[.*\]", "", parts.netloc)  # a zone in brackets may have one
    if "%" in host or re.search(r"[@?#]", _decoded(parts.path)):
        hint = "A host has no percent signs; a path has no @, ? and #, encoded or not."
        raise ParameterError("endpoint", "a URL of a host and a path", _harmless(url), hint)
    if parts.query or parts.fragment:
        rule = "a URL without a query" if parts.query else "a URL without a fragment"
        sign = "?" if parts.query else "#"
        hint = f"Leave out what follows {sign}; for a key there is key='env:NAME', --key-env NAME."
        raise ParameterError("endpoint", rule, _harmless(url), hint)


def _harmless(url: str) -> Seen:
    """Return a URL without what may be a secret in it."""
    url = _decoded(harmless(url))
    front = re.split(r"[?#]", url)[0]
    more = f"{url[len(front)]}…" if front != url else ""
    hidden = re.sub(r"^([a-z]+:/+|/*).*@", r"\1…@", front, flags=re.IGNORECASE)
    return Seen(brief(hidden + more).strip("'\"") or "nothing")


def _decoded(url: str) -> str:
    """Return a URL whose percent signs are read, however often they were written."""
    while (found := unquote(url)) != url:
        url = found
    return harmless(url)


def _with_scheme(url: str) -> Seen:
    """Return an address that lacks its scheme with the likely one, and without secrets."""
    url = re.sub(r"^https?:?/*(?=.)", "", _decoded(url), flags=re.IGNORECASE).rpartition("@")[2]
    host = re.split(r"[:/?#]", url)[0]
    is_near = not re.search(r"\.[a-z]+$", host) or ":" in url
    return _harmless(f"{'http' if is_near else 'https'}://{url}")


def _why(error: ValueError) -> str:
    """Return what is wrong with a URL that Python does not take."""
    is_port = "port" in str(error).lower()
    return "Its port is no number from 1 to 65535." if is_port else "Its host is no address."
