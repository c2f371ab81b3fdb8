"""What an endpoint may answer that is no answer, and the words about it."""

from __future__ import annotations

from verification.sockets import Behaviour, http

NONSENSE: dict[str, tuple[Behaviour, str]] = {
    "page": (
        http(200, b"<html>Welcome", kind="text/html"),
        'answers with text/html "<html>Welcome", and not with JSON. Is the address that of an API?',
    ),
    "steering": (
        http(200, b"\x1b[2J\nHi\x07 " + b"x" * 99, kind="text/plain"),
        'answers with text/plain "Hi xxxxxxxxxxxxxxxxxxxxxxxxxxx", and not with JSON.',
    ),
    "no JSON at all": (http(200, b"OK"), 'answers with what begins "OK", and not with JSON.'),
    "lines": (http(200, b"{}\n{}"), "answers with JSON and something behind it, and not with one"),
    "begins like JSON": (
        http(200, b"404 page", kind="text/plain"),
        'answers with text/plain "404 page", and not with JSON.',
    ),
    "cut": (http(200, b'{"choices": [{"mess'), "does not answer: the answer breaks off."),
    "empty": (http(200, b""), "does not answer: the answer is empty."),
    "nothing": (b"HTTP/1.1 204 No\r\n\r\n", "does not answer: the answer is empty."),
    "less than promised": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{}",
        "does not answer: the response breaks off.",
    ),
    "no HTTP": (b"hello\r\n\r\n", "does not answer: the response is not HTTP (BadStatusLine)."),
    "stream": (
        http(200, b'data: {"choices": []}\n\n', kind="text/event-stream"),
        "answers with a stream of events, which nobody asked for.",
    ),
    "list": (http(200, [1]), "answers with a list, and not with a JSON object."),
    "no choices": (http(200, {"text": "hi"}), "answers without choices."),
    "choices": (http(200, {"choices": 5}), "answers with an int as choices."),
    "choice": (http(200, {"choices": [5]}), "answers with an int as choices[0]."),
    "content": (
        http(200, {"choices": [{"message": {"content": 5}}]}),
        "answers with an int as choices[0].message.content.",
    ),
    "usage": (
        http(200, {"choices": [], "usage": {"prompt_tokens": "x"}}),
        "answers with a str as usage.prompt_tokens.",
    ),
    "token": (
        http(200, {"choices": [{"logprobs": {"content": [{"token": None}]}}]}),
        "answers without choices[0].logprobs.content[0].token.",
    ),
    "top": (
        http(
            200,
            {
                "choices": [
                    {"logprobs": {"content": [{"token": "a", "top_logprobs": [{"token": 5}]}]}}
                ]
            },
        ),
        "answers with an int as choices[0].logprobs.content[0].top_logprobs[0].token.",
    ),
    "bytes": (
        http(200, {"choices": [{"logprobs": {"content": [{"token": "a", "bytes": [300]}]}}]}),
        "answers with choices[0].logprobs.content[0].bytes that are no bytes.",
    ),
    "positive": (
        http(200, {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": 5}]}}]}),
        "answers with 5 as choices[0].logprobs.content[0].logprob.",
    ),
    "NaN": (
        http(200, b'{"choices": [], "usage": {"prompt_tokens": NaN}}'),
        "answers with NaN as usage.prompt_tokens.",
    ),
    "NaN of a token": (
        http(200, b'{"choices": [{"logprobs": {"content": [{"token": "a", "logprob": NaN}]}}]}'),
        "answers with NaN as choices[0].logprobs.content[0].logprob.",
    ),
    "too large": (
        http(200, b'{"choices": [], "usage": {"prompt_tokens": 1' + b"0" * 400 + b"}}"),
        "answers with inf as usage.prompt_tokens.",
    ),
    "deep": (http(200, b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), "answers with a dict"),
    "huge": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx",
        "answers with more than 67108864 bytes.",
    ),
    "other host": (
        http(307, {}, "Location: https://evil.example/v1/chat/completions"),
        "redirects to https://evil.example, which is not followed: give that address",
    ),
    "other port": (
        http(307, {}, "Location: http://127.0.0.1:1/v1/chat/completions"),
        "redirects to http://127.0.0.1:1, which is not followed",
    ),
    "odd redirect": (http(302, {}, "Location: javascript:alert(1)"), "redirects to nowhere"),
    "circle": (http(307, {}, "Location: /v1/chat/completions"), "redirects in a circle."),
    "no key": (http(401, {"error": {"message": "who?"}}), "401, who?. It wants a key"),
    "no money": (http(402, {"error": {"message": "credits"}}), "402, credits."),
}
