"""Whatever a body is, the answer says what is wrong with it, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from logitlab.models import NGram
from logitlab.server import app

from asking import ask
from hostile import HOSTILE

MODEL = NGram.bundled()


def test_two_hundred_hostile_bodies_are_each_refused_in_clear_words() -> None:
    assert len(HOSTILE) > 200
    server = app(MODEL)

    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(server)  # which raises what the application raises
        url = "http://localhost"
        async with httpx.AsyncClient(transport=transport, base_url=url, timeout=60) as client:
            return [
                await client.post(case.path, content=case.body, headers=case.encoded_headers)
                for case in HOSTILE
            ]

    for case, response in zip(HOSTILE, asyncio.run(answers()), strict=True):
        assert case.fault(response.status_code, response.content) is None


def test_a_body_in_utf8_may_say_so() -> None:
    body = json.dumps({"prompt": "Käse"}, ensure_ascii=False).encode("utf-8-sig")
    told = ask(app(MODEL), "POST", "/tokenize", content=body).json()
    assert told["tokens"] == list(MODEL.encode("Käse"))
    plain = {"content-encoding": "identity"}
    response = ask(app(MODEL), "POST", "/tokenize", content=body, headers=plain)
    assert response.json() == told


def test_a_long_text_is_spelled_in_no_time() -> None:
    begin = time.monotonic()
    asked = {"prompt": "ab " * 100_000, "return_token_strs": True}
    body = ask(app(MODEL), "POST", "/tokenize", json=asked).json()
    assert "".join(body["token_strs"]) == asked["prompt"]
    assert time.monotonic() - begin < 3  # one token at a time takes ten


@pytest.mark.parametrize("key", ["logit_bias", "suppress_tokens"])
def test_what_is_as_long_as_the_vocabulary_may_be(key: str) -> None:
    ids = list(range(len(MODEL.vocabulary) - 1))
    value: Any = {str(token): -100 for token in ids} if key == "logit_bias" else ids
    asked = {"prompt": "a", "max_tokens": 1, "logprobs": 1, key: value}
    body = ask(app(MODEL), "POST", "/v1/completions", json=asked)
    assert body.status_code == 200
