"""Bodies that no client should send, and what the answer has to name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["HOSTILE", "Hostile"]

_MESSAGES = [{"role": "user", "content": "Once"}]
_CHAT = {"messages": _MESSAGES, "max_tokens": 2}
_TEXT = {"prompt": "Once", "max_tokens": 2}
_INPUT = {"input": "Once", "max_output_tokens": 2}
_SURROGATE = "\ud800"
_HUGE = 10**400


class Hostile(NamedTuple):
    """A request, the status of its answer, and how the message of that begins."""

    name: str
    path: str
    body: bytes
    named: str
    status: int = 400
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def encoded_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as they are sent."""
        return [(name.encode(), value.encode("latin-1")) for name, value in self.headers]

    def fault(self, status: int, content: bytes) -> str | None:
        """Say what is wrong with an answer, if anything is."""
        try:
            error = json.loads(content)["error"]
            message, code = error["message"], error["code"]
        except (ValueError, KeyError):
            message, code = content[:100].decode("latin-1"), None
        whole = message.startswith(self.named) and " must be " in message and ", got " in message
        if (status, code) == (self.status, status) and whole and len(message) < 1000:
            return None
        return f"{self.path}, {self.name}: {status}, {message[:300]}"


def _nested(left: str, depth: int, right: str = "") -> str:
    return left * depth + right * depth


def _as_bytes(body: Any) -> bytes:
    return json.dumps(body).encode()


def _no_json() -> Iterator[Hostile]:
    """Yield what is no JSON, or no map, for each endpoint that reads a body."""
    whole = _as_bytes(_CHAT)
    bodies = {
        "nothing": b"",
        "space": b" \n",
        "a zero byte": b"\0",
        "zero bytes": bytes(1000),
        "noise": bytes(range(256)),
        "cut off": whole[:-1],
        "cut off in a text": whole[:20],
        "cut off in an escape": b'{"messages": "\\u00',
        "a byte too many": whole + b"}",
        "two bodies": whole + whole,
        "UTF-16": whole.decode().encode("utf-16"),
        "UTF-32": whole.decode().encode("utf-32-le"),
        "UTF-8 cut off": '{"prompt": "Kä'.encode()[:-1],
        "Latin-1": '{"prompt": "Kästchen"}'.encode("latin-1"),
        "an overlong UTF-8": b'{"prompt": "\xc0\xaf"}',
        "UTF-8 of a surrogate": b'{"prompt": "\xed\xa0\x80"}',
        "a form": b"messages=hello&max_tokens=3",
        "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
        "Python": b"{'messages': None}",
        "a comment": b'{"max_tokens": 2} // why',
        "a comma": b'{"max_tokens": 2,}',
        "gzip": bytes.fromhex("1f8b0800000000000203ab56ca4d2d2e4e4c4f55b2528a8e0500"),
        "open lists": _nested("[", 100_000).encode(),
        "lists": _nested("[", 100_000, "]").encode(),
        "open maps": _nested('{"a":', 100_000).encode(),
        "a list": b"[]",
        "a text": b'"messages"',
        "a number": b"7",
        "null": b"null",
        "not a number": b"NaN",
    }
    for name, body in bodies.items():
        yield Hostile(name, "/v1/chat/completions", body, "request must be ")
    for path in ("/v1/completions", "/v1/responses", "/api/v1/tokenize", "/detokenize"):
        for name in ("nothing", "cut off", "noise", "open lists", "lists", "null"):
            yield Hostile(name, path, bodies[name], "request must be ")


def _values(path: str, base: dict[str, Any], key: str, values: list[Any]) -> Iterator[Hostile]:
    """Yield requests with a value that the key cannot have."""
    for value in values:
        body = _as_bytes({**base, key: value})
        shown = json.dumps(value)
        yield Hostile(f"{key} {shown[:40]}", path, body, key)


def _wrong_values() -> Iterator[Hostile]:
    chat = "/v1/chat/completions"
    nan, endless = float("nan"), float("inf")
    numbers = ["1", [1], {"a": 1}, True, nan, endless, -endless, _HUGE]
    for key in ("temperature", "top_p", "min_p", "frequency_penalty", "repetition_penalty"):
        yield from _values(chat, _CHAT, key, numbers)
    counts = ["1", [1], {}, True, 1.5, nan, -1]
    for key in ("top_k", "max_tokens", "n"):
        yield from _values(chat, _CHAT, key, counts)
    yield from _values(chat, _CHAT, "n", [0, 129, 10**9, 2**64])
    yield from _values(chat, _CHAT, "seed", ["1", [1], {}, True, 1.5, nan])
    yield from _values(chat, _CHAT, "stream", ["true", 1, [], {}])
    yield from _values(chat, _CHAT, "logprobs", ["true", 1, [], {}])
    yield from _values(
        chat, {**_CHAT, "logprobs": True}, "top_logprobs", ["1", 21, -1, 1.5, [], _HUGE]
    )
    bias: list[Any] = [[], "x", 3, {"x": 1}, {"-1": 1}, {"1": "x"}, {"1": nan}, {"1": 101},
                       {str(_HUGE): 1}, {"1": None}, {"1": {}}, {"99999999": 1}]  # fmt: skip
    yield from _values(chat, _CHAT, "logit_bias", bias)
    yield from _values(chat, _CHAT, "stop", [1, {}, [1], [[]], [None], [""], ["a"] * 1025])


def _wrong_messages() -> Iterator[Hostile]:
    chat, key = "/v1/chat/completions", "messages"
    user: dict[str, Any] = {"role": "user"}
    values: list[Any] = [
        None, [], {}, "Once", 3, [None], ["Once"], [[]], [{}], [{"role": "user"}],
        [{"role": "boss", "content": "a"}], [{"role": 3, "content": "a"}],
        [{"role": None, "content": "a"}], [{"content": "a"}], [{**user, "content": 3}],
        [{**user, "content": {}}], [{**user, "content": [3]}], [{**user, "content": [{}]}],
        [{**user, "content": [{"type": "text"}]}],
        [{**user, "content": [{"type": "text", "text": 3}]}],
        [{**user, "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
        [{"role": "assistant", "content": None, "tool_calls": 3}],
        [{"role": "assistant", "content": None, "tool_calls": [3]}],
        [{"role": "assistant", "content": None, "tool_calls": [{"function": 3}]}],
        [{"role": "tool", "content": []}, 3], _MESSAGES * 1000 + [{}],
    ]  # fmt: skip
    yield from _values(chat, {"max_tokens": 2}, key, values)
    deep: Any = "a"
    for _ in range(300):
        deep = [deep]
    yield from _values(chat, {"max_tokens": 2}, key, [deep, [{**user, "content": deep}]])


def _wrong_structures() -> Iterator[Hostile]:
    chat = "/v1/chat/completions"
    form = {"type": "json_schema"}
    schemas: list[Any] = [
        3, [], "x", {"type": 3}, {"type": "nothing"}, {"$ref": "#/nowhere"},
        {"$ref": "file:///etc/passwd"}, {"properties": 3}, {"enum": 3}, {"enum": []},
        {"pattern": "("}, {"pattern": "(a+)+$" * 200_000}, {"minLength": -1},
        {"type": "object", "required": 3}, {"anyOf": []}, {"minimum": "x"},
        {"type": "string", "minLength": 10**12},
    ]  # fmt: skip
    deep: Any = {"type": "integer"}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    forms: list[Any] = [
        3, [], "json", {}, {"type": 3}, {"type": "xml"}, form, {**form, "json_schema": 3},
        {**form, "json_schema": {}},
        *({**form, "json_schema": {"name": "x", "schema": schema}} for schema in schemas),
    ]  # fmt: skip
    yield from _values(chat, _CHAT, "response_format", forms)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    tools: list[Any] = [
        3, {}, "x", [3], [[]], [{}], [{"type": "function"}], [{"type": "function", "function": 3}],
        [{"type": "function", "function": {}}], [{"type": "function", "function": {"name": 3}}],
        [{"type": "function", "function": {"name": ""}}], [tool, tool],
        [{"type": "function", "function": {"name": "f", "parameters": 3}}],
        [{"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}],
    ]  # fmt: skip
    yield from _values(chat, _CHAT, "tools", tools)
    choices: list[Any] = [3, [], "always", {}, {"type": "function"}, {"type": 3},
                          {"type": "function", "function": {"name": "g"}}]  # fmt: skip
    yield from _values(chat, {**_CHAT, "tools": [tool]}, "tool_choice", choices)
    providers: list[Any] = [3, [], "vllm", {"order": 3}, {"order": [3]}, {"order": {}},
                            {"order": ["nobody"], "allow_fallbacks": False}]  # fmt: skip
    yield from _values(chat, _CHAT, "provider", providers)


def _other_endpoints() -> Iterator[Hostile]:
    text, words = "/v1/completions", "/v1/responses"
    prompts: list[Any] = [None, 3, {}, [], [[]], [None], [1.5], [-1], [10**9], [_HUGE], [True],
                          [1, "a"], [[[1]]], ["a"] * 129]  # fmt: skip
    yield from _values(text, {"max_tokens": 2}, "prompt", prompts)
    yield from _values(text, _TEXT, "logprobs", ["1", -1, 21, 1.5, [], {}, nan_ := float("nan")])
    yield from _values(text, _TEXT, "echo", ["true", 1, [], {}])
    yield from _values(text, _TEXT, "suffix", [3, [], "x"])
    yield from _values(text, _TEXT, "best_of", [3, "x", -1, nan_])
    yield from _values(words, {"max_output_tokens": 2}, "input", [None, 3, {}, [], [3], [{}]])
    yield from _values(words, _INPUT, "max_output_tokens", ["1", 0, -1, 1.5, []])
    for path in ("/v1/tokenize", "/tokenize"):
        yield from _values(path, {}, "prompt", [None, 3, [], {}])
        yield from _values(path, {}, "messages", [3, {}, [3], [{}]])
        yield from _values(path, {"prompt": "a"}, "return_token_strs", ["true", 1, []])
    tokens: list[Any] = [None, 3, "x", {}, [None], ["1"], [1.5], [-1], [10**9], [_HUGE], [True],
                         [[1]], [[]], [1, [2]], [float("nan")]]  # fmt: skip
    yield from _values("/v1/detokenize", {}, "tokens", tokens)


def _huge() -> Iterator[Hostile]:
    chat, most = "/v1/chat/completions", 4 << 20
    filler = b" " * most
    for path in (chat, "/v1/completions", "/v1/tokenize"):
        yield Hostile("over the limit", path, b"{" + filler + b"}", "request must be at most", 413)
    digits = b'{"max_tokens": ' + b"9" * 1_000_000 + b"}"
    yield Hostile("a million digits", chat, digits, "request must be JSON")
    keys = {f"key{i}": i for i in range(100_000)}
    yield Hostile("many keys", chat, _as_bytes({**_CHAT, **keys, "top_p": 2}), "request")
    long_name = {**_CHAT, "x" * 1_000_000: 1, "top_p": 2}
    yield Hostile("a long key", chat, _as_bytes(long_name), "top_p")
    yield Hostile(
        "a long text for a number", chat, _as_bytes({**_CHAT, "top_p": "9" * 10**6}), "top_p"
    )
    yield Hostile("a million of a list", chat, _as_bytes({**_CHAT, "top_p": [0] * 10**6}), "top_p")
    many = [f"z{i}" for i in range(1025)]
    for key in ("bad_words", "dry_sequence_breakers", "stop", "provider"):
        value = dict.fromkeys(many) if key == "provider" else many
        named = f"{key} must be of at most 1024 entries, got 1025 of them."
        yield Hostile(f"many {key}", chat, _as_bytes({**_CHAT, key: value}), named)
    prompts = {**_TEXT, "prompt": [[1] * 10**6, []]}
    yield Hostile("a long prompt", "/v1/completions", _as_bytes(prompts), "prompt")


def _wrong_headers() -> Iterator[Hostile]:
    chat, body = "/v1/chat/completions", _as_bytes(_CHAT)
    headers: list[tuple[str, tuple[tuple[str, str], ...], str, int]] = [
        ("another host", (("host", "evil.example"),), "the header Host must be", 403),
        ("an empty host", (("host", ""),), "the header Host must be", 403),
        ("a host of other letters", (("host", "lócalhost"),), "the header Host must be", 403),
        ("an origin", (("origin", "https://evil.example"),), "the header Origin must be", 403),
        ("the origin null", (("origin", "null"),), "the header Origin must be", 403),
    ]
    for name, given, named, status in headers:
        yield Hostile(name, chat, body, named, status, given)
    for coding in ("gzip", "br", "deflate", "x" * 1000):
        given = (("content-encoding", coding),)
        named = "the header Content-Encoding must be"
        yield Hostile(f"coded with {coding[:9]}", chat, body, named, 415, given)


HOSTILE = [
    *_no_json(), *_wrong_values(), *_wrong_messages(), *_wrong_structures(), *_other_endpoints(),
    *_huge(), *_wrong_headers(),
]  # fmt: skip
