"""Completions: what is drawn is `generate`'s, what is echoed has the likelihood of `score`."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab.models import NGram
from logitlab.server import app
from logitlab.wire.completions import complete

from asking import ask, chunks_of
from toys import END, Bigrams

MODEL = NGram.bundled()
TEXT = "The king's daughter was beautiful."


def test_what_is_drawn_is_that_of_generate() -> None:
    asked: dict[str, Any] = {"seed": 7, "max_tokens": 9, "top_k": 50, "stop": ["."]}
    body = complete(MODEL, {**asked, "prompt": TEXT, "n": 2, "logprobs": 3})
    answers = ll.generate(MODEL, TEXT, asked, n=2, logprobs=True, top_logprobs=3)
    assert body["object"] == "text_completion"
    for choice, answer in zip(body["choices"], answers, strict=True):
        assert answer.logprobs is not None
        assert choice["text"] == answer.text
        assert choice["finish_reason"] == answer.finish_reason
        logprobs = choice["logprobs"]
        assert logprobs["token_logprobs"] == answer.logprobs.logprobs.tolist()
        assert logprobs["tokens"] == [MODEL.vocabulary.decode([i]) for i in answer.tokens]
        for place, tops in enumerate(logprobs["top_logprobs"]):
            expected = answer.logprobs.top_logprobs[place].tolist()
            assert list(tops.values())[:3] == expected
            assert logprobs["tokens"][place] in tops
    assert body["usage"]["prompt_tokens"] == len(MODEL.encode(TEXT))
    assert body["usage"]["completion_tokens"] == sum(len(answer.tokens) for answer in answers)
    assert complete(MODEL, {"prompt": TEXT, "seed": 1})["usage"]["completion_tokens"] == 16
    assert complete(MODEL, {"prompt": TEXT, "seed": 1})["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("limit", [0, 1])
def test_what_is_echoed_is_that_of_score(limit: int) -> None:
    ids = MODEL.encode(TEXT)
    for prompt in (TEXT, ids):
        asked = {"prompt": prompt, "echo": True, "logprobs": 2, "max_tokens": limit, "seed": 1}
        [choice] = complete(MODEL, asked)["choices"]
        score = ll.score(MODEL, ids[1:], prompt=ids[:1], top_logprobs=2)
        logprobs = choice["logprobs"]
        first, *rest = logprobs["token_logprobs"][: len(ids)]
        assert first is None
        assert logprobs["top_logprobs"][0] is None
        assert rest == score.raw.logprobs.tolist()
        for tops, values in zip(
            logprobs["top_logprobs"][1 : len(ids)], score.raw.top_logprobs, strict=True
        ):
            assert list(tops.values())[:2] == values.tolist()
        assert len(logprobs["tokens"]) == len(ids) + limit
        assert choice["text"].startswith(TEXT)
        assert (choice["text"] == TEXT) == (limit == 0)
        for offset, token in zip(logprobs["text_offset"], logprobs["tokens"], strict=True):
            assert choice["text"][offset:].startswith(token)
        greedy = [max(tops, key=tops.get) for tops in logprobs["top_logprobs"][1 : len(ids)]]
        ranks = score.raw.ranks == 1
        assert [a == b for a, b in zip(greedy, logprobs["tokens"][1:], strict=False)] == [*ranks]


def test_prompts_in_every_form_have_their_answers_in_order() -> None:
    texts = ["The king", "Once upon a time", "A"]
    ids = [MODEL.encode(text) for text in texts]
    asked = {"seed": 3, "max_tokens": 4, "n": 2}
    expected = [answer.text for text in texts for answer in ll.generate(MODEL, text, asked, n=2)]
    for prompts in (texts, ids, [texts[0], ids[1], texts[2]]):
        body = complete(MODEL, {**asked, "prompt": prompts})
        assert [choice["text"] for choice in body["choices"]] == expected
        assert [choice["index"] for choice in body["choices"]] == list(range(6))
    body = complete(MODEL, {**asked, "prompt": ids[1]})
    assert [choice["text"] for choice in body["choices"]] == expected[2:4]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"echo": True},
        {"echo": True, "logprobs": 2},
        {"logprobs": 1, "n": 2},
        {"echo": True, "logprobs": 0, "n": 2, "stream_options": {"include_usage": False}},
        {"echo": True, "logprobs": 1, "max_tokens": 0},
        {"echo": True, "max_tokens": 0},
    ],
)
def test_a_stream_says_the_same(more: dict[str, Any]) -> None:
    prompts = ["The king", "A", "Once upon a time there was"]
    asked = {"prompt": prompts, "seed": 5, "max_tokens": 6, **more}
    whole = complete(MODEL, asked)
    response = ask(app(MODEL), "POST", "/v1/completions", json={**asked, "stream": True})
    chunks = chunks_of(response.text)
    joined: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        assert {key: chunk[key] for key in ("object", "model")} == {
            "object": "text_completion", "model": "grimm"}  # fmt: skip
        for choice in chunk["choices"]:
            mine = joined.setdefault(choice["index"], {"text": "", "logprobs": None, "reason": []})
            mine["text"] += choice["text"]
            mine["reason"] += [choice["finish_reason"]] if choice["finish_reason"] else []
            if choice["logprobs"]:
                mine["logprobs"] = mine["logprobs"] or {key: [] for key in choice["logprobs"]}
                for key, values in choice["logprobs"].items():
                    mine["logprobs"][key] += values
    for choice in whole["choices"]:
        mine = joined[choice["index"]]
        assert mine["text"] == choice["text"]
        assert mine["reason"] == [choice["finish_reason"]]
        assert mine["logprobs"] == choice["logprobs"]
    assert len(joined) == len(whole["choices"])
    last = chunks[-1]
    assert last["logitlab"]["finish"] == whole["logitlab"]["finish"]
    assert ("usage" in last) == ("stream_options" not in more)
    assert last.get("usage", whole["usage"]) == whole["usage"]


def test_an_end_token_counts_and_within_a_prompt_ends_nothing() -> None:
    model = Bigrams(seed=1, end=9.0)
    [choice] = complete(model, {"prompt": "a", "logprobs": 0, "seed": 1})["choices"]
    assert choice["logprobs"]["tokens"][-1] == "<end>"
    assert choice["text"] == "".join(choice["logprobs"]["tokens"][:-1])
    ids = [1, END, 2, 10, 11, 19]  # a character in two parts, and a special token
    asked = {"prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 0}
    [choice] = complete(model, asked)["choices"]
    assert choice["text"] == "abé"
    assert choice["logprobs"]["tokens"] == ["a", "<end>", "b", "bytes:\\xc3", "bytes:\\xa9",
                                            "<note>"]  # fmt: skip
    assert choice["logprobs"]["text_offset"] == [0, 1, 1, 2, 2, 3]
    assert np.isfinite(choice["logprobs"]["token_logprobs"][1:]).all()
    one = {"prompt": [1], "echo": True, "logprobs": 1, "max_tokens": 0}
    [choice] = complete(model, one)["choices"]
    assert choice["logprobs"]["token_logprobs"] == [None]


def test_a_removed_token_has_openais_placeholder() -> None:
    asked = {"prompt": TEXT, "top_k": 1, "logprobs": 2, "max_tokens": 2, "seed": 1}
    [choice] = complete(MODEL, asked, logprobs_mode="processed")["choices"]
    assert [*choice["logprobs"]["top_logprobs"][0].values()] == [0.0, -9999.0]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "prompt must be a text, token ids, or a list of those, not empty, got null."),
        ({"prompt": ""}, "prompt must be a text, token ids, or a list of those, not empty"),
        ({"prompt": []}, "prompt must be a text, token ids, or a list of those, not empty"),
        ({"prompt": [[]]}, "prompt[0] must be a text or token ids, not empty, got []."),
        ({"prompt": ["a", 5]}, "prompt[1] must be a text or token ids, not empty, got 5."),
        ({"prompt": [5000]}, "prompt must be an integer in [0, 4095]"),
        ({"prompt": [[True]]}, "prompt must be"),
        ({"prompt": "a", "echo": 1}, "echo must be"),
        ({"prompt": "a", "logprobs": 21}, "logprobs must be an integer in [0, 20], got 21."),
        ({"prompt": "a", "logprobs": True}, "logprobs must be an integer in [0, 20], got true."),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens must be an integer >= 1, got 0."),
        ({"prompt": "a", "suffix": "b"}, "suffix must be absent, got 'b'."),
        ({"prompt": "a", "best_of": 3}, "best_of must be absent, or as large as n, got 3."),
        ({"prompt": "a", "n": 70_000}, "n must be at most 65536"),
        ({"prompt": ["a"] * 2, "n": 40_000}, "n must be so many that there are at most 65536"),
        ({"prompt": "a", "top_p": 3}, "top_p must be in [0, 1], got 3.0."),
    ],
)
def test_what_is_wrong_is_told(request_: dict[str, Any], message: str) -> None:
    assert complete(MODEL, request_)["error"]["message"].startswith(message)


def test_what_is_not_read_is_told() -> None:
    asked = {"prompt": "a", "user": "x", "messages": [], "best_of": 1, "suffix": "", "seed": 1}
    assert complete(MODEL, asked)["logitlab"]["ignored"] == ["messages", "user"]
