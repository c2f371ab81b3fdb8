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
from logitlab.wire.errors import message_of

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
}
ENGINES = sorted(name for name in engines.ENGINES if engines.get(name).is_bundled)


def outcome(call: Callable[[], Any], words: Callable[[ParameterError], str] = str) -> str:
    """Return what is wrong, or nothing."""
    try:
        call()
    except ParameterError as error:
        return words(error)
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
    [key] = request
    doors: dict[str, Callable[[], Any]] = {
        "sample": lambda: ll.sample(ROW, request, seed=1, **here),
        "greedy": lambda: ll.greedy(ROW, request, **here),
        "survivors": lambda: ll.survivors(ROW, request, **here),
        "logprobs": lambda: ll.logprobs(ROW, 0, request, mode="raw", **here),
        "distribution": lambda: ll.distribution(ROW, request, **here),
        "trace": lambda: ll.trace(ROW, request, **here),
    }
    if key in ("temperature", "top_p", "frequency_penalty"):
        grid, quiet = {key: [request[key]]}, {"progress": False, **here}
        doors["sweep"] = lambda: ll.sweep(ROW[None], grid, **quiet)
        doors["simulate"] = lambda: ll.simulate(ROW[None], grid, draws=2, seed=1, **quiet)
    return doors


def of_texts(engine: str, request: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    short = {**request, "max_tokens": 1}
    body = {**short, "messages": MESSAGES}
    return {
        "generate": lambda: ll.generate(MODEL, MESSAGES, short, engine=engine),
        "keywords": lambda: ll.generate(MODEL, MESSAGES, engine=engine, **short),
        "generate_many": lambda: ll.generate_many(MODEL, [MESSAGES], short, engine=engine),
        "stream": lambda: list(ll.stream(MODEL, MESSAGES, short, engine=engine)),
        "chat_stream": lambda: list(ll.chat_stream(MODEL, body, engine=engine)),
    }


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=max(settings().max_examples // 2, 1))  # of each of many engines
@given(data=st.data())
def test_every_door_agrees(engine: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(VALUES)))
    request = {key: data.draw(st.sampled_from(VALUES[key]))}
    size = len(MODEL.vocabulary)

    def says(words: Callable[[ParameterError], str]) -> str:
        said = outcome(lambda: engines.translate(request, engine, vocabulary_size=size), words)
        if engine == "openrouter":  # a request in its own terms is wrong where it is written
            said = said.split(" openrouter refuses the request: It documents")[0]
        return said

    told = {name: outcome(call) for name, call in of_one_token(engine, request).items()}
    told |= {name: outcome(call) for name, call in of_texts(engine, request).items()}
    if key == "seed":  # among the keywords it is an option of this library, and of no request
        told.pop("keywords")
    assert {name: words for name, words in told.items() if words != says(str)} == {}
    body = {**request, "messages": MESSAGES, "max_tokens": 1}
    told = {"chat": on_the_wire(ll.chat(MODEL, body, engine=engine))}
    told["transport"] = transported(engine, body)
    told["transport, streamed"] = transported(engine, {**body, "stream": True})
    assert {name: words for name, words in told.items() if words != says(message_of)} == {}


# What servers were seen to take or to refuse: asked over HTTP, or run.
TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("vllm", {"top_k": -1}),
    ("vllm", {"repetition_penalty": 2.5}),
    ("llama_cpp", {"temperature": 100}),
    ("llama_cpp", {"top_p": 1.5}),
    ("llama_cpp", {"top_p": -1, "top_k": -3, "min_p": 2, "temperature": -1}),
    ("llama_cpp", {"frequency_penalty": 9, "presence_penalty": 9}),
    ("sglang", {"logit_bias": {"5": -1000}}),
]
REFUSED = [
    ("vllm", {"temperature": 2.5}, "temperature must be in [0, 2], got 2.5"),
    ("openrouter", {"temperature": 100}, "temperature must be in [0, 2], got 100.0."),
]


@pytest.mark.parametrize(("engine", "request_"), TAKEN)
def test_what_a_server_takes_is_taken(
    engine: str, request_: dict[str, Any], tmp_path: Path
) -> None:
    body = {**request_, "messages": MESSAGES, "max_tokens": 2, "seed": 1}
    assert typed(tmp_path, engine, body) == transported(engine, body) == ""
    answer = ll.generate(MODEL, MESSAGES, {**request_, "max_tokens": 2, "seed": 1}, engine=engine)
    choice = ll.chat(MODEL, body, engine=engine)["choices"][0]
    assert choice["message"]["content"] == answer.text


@pytest.mark.parametrize(("engine", "request_", "words"), REFUSED)
def test_what_a_server_refuses_is_refused_in_its_words(
    engine: str, request_: dict[str, Any], words: str, tmp_path: Path
) -> None:
    body = {**request_, "messages": MESSAGES, "max_tokens": 2}
    assert words in (says := transported(engine, body))
    assert typed(tmp_path, engine, body) == transported(engine, {**body, "stream": True}) == says


def test_answers_are_counted_as_the_engine_counts_them() -> None:
    """Real servers: vLLM reads n with pydantic, and takes up to 16384; OpenAI documents 128."""
    asked = {"prompt": "Once", "max_tokens": 1, "seed": 1}
    for engine, n, count in (
        ("vllm", 130, 130),
        ("vllm", 2.0, 2),
        ("vllm", "2", 2),
        ("sglang", 2.0, 2),
    ):
        body = ll.chat(MODEL, {**asked, "n": n}, engine=engine)
        assert len(body["choices"]) == count
        answers: Any = ll.generate(MODEL, "Once", {"max_tokens": 1, "n": n}, engine=engine)
        assert len(answers) == count
    for engine, n, words in (
        ("openai", 129, "n must be in [1, 128], got 129. openai refuses"),
        ("vllm", 0, "n must be at least 1, got 0. vllm refuses"),
        ("vllm", 2.5, "n must be an integer, got 2.5. vllm refuses"),
        ("openrouter", 2.0, "n must be an integer >= 1, got 2.0."),
    ):
        assert ll.chat(MODEL, {**asked, "n": n}, engine=engine)["error"]["message"].startswith(
            words
        )
        with pytest.raises(ParameterError) as caught:
            ll.generate(MODEL, "Once", {"max_tokens": 1, "n": n}, engine=engine)
        assert str(caught.value).startswith(words)


def test_the_limit_goes_by_its_own_name() -> None:
    asked = {"prompt": "Once", "seed": 1}
    body = ll.chat(MODEL, {**asked, "max_completion_tokens": 4.0}, engine="vllm")
    assert body["usage"]["completion_tokens"] == 4
    error = ll.chat(MODEL, {**asked, "max_completion_tokens": "x"}, engine="vllm")["error"]
    assert error["metadata"] == {"parameter": "max_completion_tokens"}


def test_openai_documents_four_stop_sequences() -> None:
    request = {"prompt": "Once", "max_tokens": 1, "stop": list("abcde")}
    message = ll.chat(MODEL, request, engine="openai")["error"]["message"]
    assert message.startswith("stop must be at most 4 sequences")
    assert "error" not in ll.chat(MODEL, {**request, "stop": list("abcd")}, engine="openai")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("key", "value"), [("negative_prompt", "x"), ("negative_prompt_ids", [1])])
def test_a_negative_prompt_that_does_nothing_is_told(engine: str, key: str, value: Any) -> None:
    for scale in ({}, {"guidance_scale": 1.5}):
        try:
            notes = engines.translate({key: value, **scale}, engine).notes
        except ParameterError:  # of a server that refuses keys which it does not know
            continue
        guides = bool(scale) and "guidance_scale" in engines.get(engine).reads
        told = {note.key for note in notes if note.effect == "ignored"}
        assert (key in told) != guides
