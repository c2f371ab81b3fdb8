"""A real network and a recording behind the server: each answer has the bits that it has alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from logitlab.models import Gguf, NGram, Recorded, Recorder
from logitlab.server import app
from logitlab.wire.chat import chat

from asking import ask_together

FILE = os.environ.get("LOGITLAB_SMOLLM2", "")


def check(model: Any, requests: list[dict[str, Any]]) -> None:
    asked = [("POST", "/v1/chat/completions", {"json": request}) for request in requests]
    responses = ask_together(app(model, batch_size=4), asked)
    for request, response in zip(requests, responses, strict=True):
        body, expected = response.json(), chat(model, request)
        assert body.pop("created") <= expected.pop("created")
        assert body == expected


@pytest.mark.skipif(not Path(FILE).is_file(), reason="LOGITLAB_SMOLLM2 names no file")
def test_a_network_of_a_file() -> None:
    prompts = ["Hi", "What is the capital of France?", "A story"]
    check(
        Gguf(FILE),
        [
            {
                "messages": [{"role": "user", "content": prompt}],
                "seed": seed,
                "max_tokens": 2 + seed,
                "logprobs": True,
                "top_logprobs": 2,
                "n": 1 + seed % 2,
            }
            for seed, prompt in enumerate(prompts)
        ],
    )


def test_a_recording(tmp_path: Path) -> None:
    file = tmp_path / "run.npy"
    requests = [
        {
            "messages": [{"role": "user", "content": prompt}],
            "seed": 3,
            "temperature": 0,
            "max_tokens": 5,
            "logprobs": True,
        }
        for prompt in ("Once", "The king", "A wolf", "Hans", "Two brothers")
    ]
    with Recorder(NGram.bundled(), file) as recorder:
        for request in requests:
            chat(recorder, request)
    check(Recorded.open(file), requests)
