"""Every door asks the engine alone: what it takes is taken, and refused are its words."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import Context, ParameterError, engines
from logitlab.cli import main
from logitlab.models import NGram

MODEL = NGram.bundled()
ROW = np.random.default_rng(5).normal(0, 2, len(MODEL.vocabulary)).astype(np.float32)
SEEN = Context(prompt=[1, 2], output=[3])
MESSAGES = [{"role": "user", "content": "Once"}]
# On both sides of the ranges of OpenRouter's page, and of each engine's own.
VALUES: dict[str, list[Any]] = {
    "temperature": [0, 0.001, 1, 2, 2.5, 100, -0.5],
    "top_p": [0, 0.5, 1, 1.5, -0.1],
    "top_k": [-2, -1, 0, 3, 10**6],
    "min_p": [0, 0.5, 1, 1.5, -0.1],
    "top_a": [0, 0.5, 1.5],
    "frequency_penalty": [-3, -1, 0, 1.5, 2.5],
    "presence_penalty": [-3, 0, 1.5, 2.5],
    "repetition_penalty": [0, 0.5, 1, 2.5, -1],
    "logit_bias": [{"5": -1000.0}, {"5": 50.0}, {"5": -1000}, {"9999": 1.0}],
    "seed": [-1, 0, 7, 2**40],
    "top_logprobs": [-5, -1, 0, 11, 20, 21, 30],
}
ENGINES = sorted(name for name in engines.ENGINES if engines.get(name).is_bundled)


def outcome(call: Callable[[], Any]) -> str:
    """Return what is wrong, or nothing."""
    try:
        call()
    except ParameterError as error:
        return str(error)
    return ""


def on_the_wire(body: dict[str, Any]) -> str:
    return str(body["error"]["message"]) if "error" in body else ""


def transported(engine: str, request: dict[str, Any]) -> str:
    client = httpx.Client(transport=ll.transport(MODEL, engine=engine))
    response = client.post("http://lab.invalid/v1/chat/completions", json=request)
    if "text/event-stream" in response.headers["content-type"]:
        return ""
    assert response.status_code == (400 if "error" in response.json() else 200)
    return on_the_wire(response.json())


def typed(folder: Path, engine: str, request: dict[str, Any]) -> str:
    file = folder / "request.json"
    file.write_text(json.dumps(request))
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        print(main(["chat", str(file), "--engine", engine]) or "")
    return on_the_wire(json.JSONDecoder().raw_decode(out.getvalue())[0])


def of_one_token(engine: str, request: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    here: dict[str, Any] = {"engine": engine, "context": SEEN}
    return {
        "sample": lambda: ll.sample(ROW, request, seed=1, **here),
        "greedy": lambda: ll.greedy(ROW, request, **here),
        "survivors": lambda: ll.survivors(ROW, request, **here),
        "distribution": lambda: ll.distribution(ROW, request, **here),
        "trace": lambda: ll.trace(ROW, request, **here),
        "sweep": lambda: ll.sweep(ROW[None], {"zip": [0]}, request=request, **here),
        "compare": lambda: ll.compare_engines(
            ROW, request, context=SEEN, engines=[engine]
        ),
    }


def of_texts(engine: str, request: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    short = {**request, "max_tokens": 1}
    return {
        "generate": lambda: ll.generate(MODEL, MESSAGES, short, engine=engine),
        "keywords": lambda: ll.generate(MODEL, MESSAGES, engine=engine, **short),
        "generate_many": lambda: ll.generate_many(MODEL, [MESSAGES], short, engine=engine),
        "stream": lambda: list(ll.stream(MODEL, MESSAGES, short, engine=engine)),
    }
