"""Which tokens are reported: those whose first byte is in the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Vocabulary, chat, chat_stream, generate
from logitlab.models import Model, State

from toys import END, PIECES, Bigrams

FACE = "🙂".encode()


class Script(Model):
    """Writes given tokens, whatever is asked."""

    name = "script"
    context_length = 200

    def __init__(self, pieces: Sequence[bytes], script: Sequence[int], special: Any = (0,)) -> None:
        self.vocabulary = Vocabulary(pieces, special)
        self.end_ids = frozenset([0])
        self.script = script

    def encode(self, text: str) -> list[int]:
        return [1]

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        logits = np.zeros((len(states), len(self.vocabulary)), np.float32)
        for state, new, row in zip(states, tokens, logits, strict=True):
            state.read(new)
            place = len(state.tokens) - 1
            row[self.script[place] if place < len(self.script) else 0] = 50
        return logits


def reported(model: Model, **request: Any) -> tuple[str, list[bytes]]:
    """Return the text and the bytes of what is reported, the same streamed and whole."""
    body = {"prompt": "x", "seed": 1, "logprobs": True, "top_logprobs": 2, **request}
    [choice] = chat(model, body)["choices"]
    entries = choice["logprobs"]["content"]
    parts = [part for chunk in chat_stream(model, body) for part in chunk["choices"]]
    streamed = [
        entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]
    ]
    assert streamed == entries
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert all(
        entry["token"] == bytes(entry["bytes"]).decode("utf-8", "replace") for entry in entries
    )
    return choice["message"]["content"], [bytes(entry["bytes"]) for entry in entries]


HALF = [b"<end>", b"Hi ", FACE[:2], FACE[2:], b"(stop)", b"st", b"op", b"!", b"<note>"]


@pytest.mark.parametrize(
    ("script", "stop", "text", "tokens"),
    [
        ([1, 2, 0], None, "Hi \ufffd", [b"Hi ", FACE[:2]]),
        ([1, 2, 3, 0], None, "Hi 🙂", [b"Hi ", FACE[:2], FACE[2:]]),
        ([1, 2, 4, 0], "(stop)", "Hi \ufffd", [b"Hi ", FACE[:2]]),
        ([1, 2, 5, 6, 0], "stop", "Hi \ufffd", [b"Hi ", FACE[:2]]),
        ([1, 2, 7, 0], None, "Hi \ufffd!", [b"Hi ", FACE[:2], b"!"]),
        ([1, 2, 2, 0], None, "Hi \ufffd\ufffd", [b"Hi ", FACE[:2], FACE[:2]]),
        ([1, 2, 8, 3, 0], None, "Hi 🙂", [b"Hi ", FACE[:2], FACE[2:]]),
        ([1, 3, 7, 0], None, "Hi \ufffd\ufffd!", [b"Hi ", FACE[2:], b"!"]),
        ([4, 0], "stop", "(", [b"(stop)"]),
        ([4, 0], "(", "", []),
        ([1, 2, 3, 7, 0], "🙂", "Hi ", [b"Hi "]),
        ([0], None, "", []),
    ],
)
def test_a_token_belongs_to_the_text_iff_its_first_byte_does(
    script: list[int], stop: str | None, text: str, tokens: list[bytes]
) -> None:
    assert reported(Script(HALF, script, [0, 8]), stop=stop) == (text, tokens)


def test_what_a_budget_cuts() -> None:
    model = Script(HALF, [1, 2, 3, 0])
    assert reported(model, max_tokens=2) == ("Hi \ufffd", [b"Hi ", FACE[:2]])
    assert reported(model, max_tokens=3) == ("Hi 🙂", [b"Hi ", FACE[:2], FACE[2:]])


def test_an_end_that_is_no_special_token_is_not_reported() -> None:
    assert reported(Script(HALF, [1, 2, 0], special=())) == ("Hi \ufffd", [b"Hi ", FACE[:2]])


def expected(tokens: Sequence[int], pieces: Sequence[bytes], silent: set[int], text: str) -> Any:
    """Return the tokens that begin in a text, byte by byte and all at once."""
    spelled = [token for token in tokens if token not in silent and pieces[token]]
    data = b"".join(pieces[token] for token in spelled)
    starts = np.cumsum([0, *(len(pieces[token]) for token in spelled)])
    # The character of each byte: how many there are before it, if it begins one, else the last.
    place: list[int] = []
    at = count = 0
    while at < len(data):
        # The longest run of bytes from here that is one character, or one that is replaced.
        size = next(
            n for n in (4, 3, 2, 1) if len(data[at : at + n].decode("utf-8", "replace")) == 1
        )
        place += [count] * min(size, len(data) - at)
        at, count = at + size, count + 1
    return [
        pieces[t] for t, start in zip(spelled, starts, strict=False) if place[start] < len(text)
    ]


@given(
    script=st.lists(st.integers(1, len(PIECES) - 1), min_size=1, max_size=12),
    stop=st.sampled_from([None, "a", "b ", "é", "日", "\ufffd", "ba"]),
    n=st.integers(1, 2),
    cut=st.booleans(),
)
def test_any_bytes(script: list[int], stop: str | None, n: int, cut: bool) -> None:
    model = Script(PIECES, [*script, END], [END, 19])
    request: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "n": n, "seed": 1, "stop": stop}
    if cut:
        request["max_tokens"] = len(script)
    body = chat(model, {"prompt": "x", **request})
    for choice in body["choices"]:
        answer = generate(model, "x", {**request, "n": None}, sequence=choice["index"])
        assert choice["message"]["content"] == answer.text
        told = [bytes(entry["bytes"]) for entry in choice["logprobs"]["content"]]
        assert told == expected(answer.tokens.tolist(), PIECES, {END, 19}, answer.text)
        if stop is None and "\ufffd" not in answer.text:
            assert b"".join(told).decode() == answer.text
    if n == 1:
        reported(model, **{**request, "n": 1})


def test_random_texts_report_alike_streamed_and_whole() -> None:
    for seed in range(20):
        request = {"seed": seed, "stop": ["ab", "日"], "max_tokens": 40}
        text, tokens = reported(Bigrams(seed), prompt="a", **request)
        answer = generate(Bigrams(seed), "a", request)
        assert text == answer.text
        assert tokens == expected(answer.tokens.tolist(), PIECES, {END, 19}, text)


def test_calls_report_their_marks_and_not_their_end() -> None:
    from logitlab.models import NGram

    model = NGram.bundled()
    request: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "now"}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "logprobs": True,
        "seed": 1,
        "max_tokens": 200,
    }
    [choice] = chat(model, request)["choices"]
    text = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"]).decode()
    assert text == '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    json.dumps(choice)
