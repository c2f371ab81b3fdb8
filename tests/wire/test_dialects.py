"""How answers end and streams look, by dialect: what the servers' own code and answers say."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from logitlab import ParameterError, chat, chat_stream, engines, generate, transport
from logitlab.engines.dialect import Dialect
from logitlab.models import NGram
from openrouter import OpenRouter

MODEL = NGram.bundled()
URL = "http://lab.invalid/v1"
MESSAGES: Any = [{"role": "user", "content": "Once upon a time"}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": CITY}}
NAMED = {"type": "function", "function": {"name": "weather"}}
CALL: dict[str, Any] = {
    "messages": MESSAGES,
    "tools": [TOOL],
    "parallel_tool_calls": False,
    "seed": 3,
    "temperature": 1,
    "max_tokens": 200,
}
# After a named function and after "required". OpenAI and vLLM: the answers of both in
# vllm-project/vllm#25054; the others: their servers' code, in which a call is a call.
ENDS = {
    "openrouter": ("tool_calls", "tool_calls"),
    "openai": ("stop", "tool_calls"),
    "vllm": ("stop", "tool_calls"),
    "vllm_triton": ("stop", "tool_calls"),
    "aphrodite": ("stop", "tool_calls"),
    "sglang": ("tool_calls", "tool_calls"),
    "llama_cpp": ("tool_calls", "tool_calls"),
    "transformers_serve": ("tool_calls", "tool_calls"),
    "mlx_lm_server": ("tool_calls", "tool_calls"),
    "koboldcpp": ("stop", "stop"),
}


def client(engine: str) -> openai.OpenAI:
    http: Any = httpx.Client(transport=transport(MODEL, engine=engine))
    return openai.OpenAI(base_url=URL, api_key="none", http_client=http, max_retries=0)


@pytest.mark.parametrize("engine", ENDS)
def test_calls_end_in_the_engines_word(engine: str) -> None:
    for choice, expected in zip((NAMED, "required"), ENDS[engine], strict=True):
        request = {**CALL, "tool_choice": choice}
        result = client(engine).chat.completions.create(model="grimm", **request)
        [message] = result.choices
        assert message.message.tool_calls is not None
        json.loads(message.message.tool_calls[0].function.arguments)
        assert message.finish_reason == expected
        with client(engine).chat.completions.stream(model="grimm", **request) as events:
            final = events.get_final_completion()
        assert final.choices[0].finish_reason == expected
        assert final.choices[0].message.tool_calls is not None


@pytest.mark.parametrize("engine", ENDS)
def test_plain_text_and_calls_that_are_cut_end_alike_everywhere(engine: str) -> None:
    text = chat(MODEL, {"messages": MESSAGES, "seed": 1, "max_tokens": 3}, engine=engine)
    assert text["choices"][0]["finish_reason"] == "length"
    assert "logitlab" not in text["choices"][0]
    for choice in (NAMED, "required"):
        cut = chat(MODEL, {**CALL, "tool_choice": choice, "max_tokens": 40}, engine=engine)
        assert cut["choices"][0]["finish_reason"] == "length"
        assert cut["choices"][0]["logitlab"] == {"complete": False}


def usage_of(engine: str, **options: Any) -> tuple[bool, bool]:
    """Say whether a chunk without choices comes, and whether usage comes at all."""
    request: dict[str, Any] = {"messages": MESSAGES, "seed": 1, "max_tokens": 3, "stream": True}
    if options:
        request["stream_options"] = options
    chunks = list(chat_stream(MODEL, request, engine=engine))
    told = chat(MODEL, request, engine=engine)["logitlab"]
    assert [chunk.get("logitlab") for chunk in chunks] == [None] * (len(chunks) - 1) + [told]
    with_usage = [chunk for chunk in chunks if "usage" in chunk]
    assert len(with_usage) <= 1
    assert with_usage in ([], chunks[-1:])
    if with_usage:
        assert with_usage[0]["usage"]["completion_tokens"] == 3
    return not chunks[-1]["choices"], bool(with_usage)


def test_usage_comes_where_it_comes() -> None:
    for engine in engines.MAIN:
        by_default = engine == "openrouter"
        assert usage_of(engine) == (by_default, by_default)
        assert usage_of(engine, include_usage=None) == (by_default, by_default)
        assert usage_of(engine, include_usage=False) == (False, False)
        asked = engine != "koboldcpp"
        assert usage_of(engine, include_usage=True) == (asked, asked)
    # transformers serve tells it in the chunk that ends the answer, asked or not.
    assert usage_of("transformers_serve") == (False, True)
    assert usage_of("transformers_serve", include_usage=False) == (False, True)


def test_what_of_stream_options_is_not_read_is_told() -> None:
    request = {"messages": MESSAGES, "max_tokens": 2, "seed": 1, "stream": True}
    options = {"include_usage": True, "continuous_usage_stats": True, "nothing": None}
    for engine, unread in {"vllm": [], "koboldcpp": ["include_usage"]}.items():
        body = chat(MODEL, {**request, "stream_options": options}, engine=engine)
        expected = [f"stream_options.{name}" for name in ["continuous_usage_stats", *unread]]
        assert body["logitlab"]["ignored"] == expected


def test_the_official_client_sees_what_it_asked_for() -> None:
    for engine in ("openai", "vllm"):
        completions = client(engine).chat.completions
        request: dict[str, Any] = {"model": "grimm", "messages": MESSAGES, "max_tokens": 5}
        plain = list(completions.create(**request, seed=1, stream=True))
        assert all(chunk.choices and chunk.usage is None for chunk in plain)
        asked = {"include_usage": True}
        more: Any = list(
            completions.create(**request, seed=1, stream=True, stream_options=asked)  # type: ignore[call-overload]
        )
        assert (more[-1].choices, more[-1].usage.completion_tokens) == ([], 5)
        assert len(more) == len(plain) + 1
        assert plain[-1].model_extra["logitlab"] == more[-1].model_extra["logitlab"]


@pytest.mark.parametrize("engine", ENDS)
def test_a_stream_of_calls_alone_has_no_content(engine: str) -> None:
    for choice in ("required", NAMED, "auto"):
        tokens = 12 if choice == "auto" else 200
        request = {**CALL, "tool_choice": choice, "max_tokens": tokens}
        chunks = list(chat_stream(MODEL, request, engine=engine))
        opening = chunks[0]["choices"][0]["delta"]
        assert opening == {"role": "assistant", "content": None}
        deltas = [part["delta"] for chunk in chunks for part in chunk["choices"]]
        content = "".join(delta.get("content") or "" for delta in deltas)
        whole = chat(MODEL, request, engine=engine)["choices"][0]["message"]
        assert (content or None) == whole["content"]
        if choice != "auto":
            assert not any("content" in delta for delta in deltas[1:])
    for more in ({"tool_choice": "none"}, {"tools": None}):
        chunks = list(chat_stream(MODEL, {**CALL, **more, "max_tokens": 2}, engine=engine))
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_openrouters_client_reads_both() -> None:
    router = OpenRouter(
        api_key="none", server_url=URL, client=httpx.Client(transport=transport(MODEL))
    )
    request = {**CALL, "tool_choice": NAMED, "model": "brothers/grimm"}
    chunks = list(router.chat.send(**request, stream=True))
    assert not chunks[0].choices[0].delta.content
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].usage.completion_tokens > 0


def test_an_engine_of_ones_own_has_a_dialect() -> None:
    @engines.engine(dialect=Dialect(stops_after="all", usage="always"))
    def oddly(p: Any) -> Any:
        return engines.openai.build(p)

    try:
        request = {**CALL, "tool_choice": "required"}
        chunks = list(chat_stream(MODEL, request, engine="oddly"))
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert chunks[-1]["choices"] == []
        answer = generate(MODEL, MESSAGES, {**request, "messages": None}, engine="oddly")
        assert answer.finish_reason == "tool_calls"  # the library's own word
    finally:
        engines.ENGINES.pop("oddly")
    with pytest.raises(ParameterError, match="usage must be one of 'asked', 'always'"):
        Dialect(usage="often")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="stops_after must be one of 'none', 'named', 'all'"):
        Dialect(stops_after="some")  # type: ignore[arg-type]


# What these servers themselves answered to such requests: vLLM 0.32.0, llama-server of xllamacpp
# 2026.10, mlx_lm.server 0.32.2, transformers serve 5.23.0.
SEEN = ("vllm", "llama_cpp", "mlx_lm_server", "transformers_serve")
SHORT: dict[str, Any] = {"messages": MESSAGES, "seed": 1, "temperature": 1}


@pytest.mark.parametrize("engine", SEEN)
def test_the_newer_limit_counts_beside_the_older(engine: str) -> None:
    body = chat(MODEL, {**SHORT, "max_tokens": 2, "max_completion_tokens": 4}, engine=engine)
    assert body["usage"]["completion_tokens"] == 4
    assert body["logitlab"]["ignored"] == ["max_tokens"]
    body = chat(MODEL, {**SHORT, "max_tokens": 4, "max_completion_tokens": 4}, engine=engine)
    assert body["logitlab"]["ignored"] == []


@pytest.mark.parametrize("engine", ["openrouter", "openai"])
def test_elsewhere_two_limits_are_refused(engine: str) -> None:
    body = chat(MODEL, {**SHORT, "max_tokens": 2, "max_completion_tokens": 4}, engine=engine)
    assert body["error"]["message"] == (
        "max_completion_tokens must be equal to max_tokens where both are given, got 4."
    )


@pytest.mark.parametrize("engine", ["mlx_lm_server", "transformers_serve"])
@pytest.mark.parametrize("n", [0, 2, 1.0, "2", [1, 2]])
def test_servers_that_do_not_read_n(engine: str, n: Any) -> None:
    body = chat(MODEL, {**SHORT, "max_tokens": 2, "n": n}, engine=engine)
    assert len(body["choices"]) == 1
    assert body["logitlab"]["ignored"] == ["n"]
    assert (
        chat(MODEL, {**SHORT, "max_tokens": 2, "n": 1}, engine=engine)["logitlab"]["ignored"] == []
    )


def test_limits_below_one() -> None:
    body = chat(MODEL, {**SHORT, "max_tokens": 0}, engine="llama_cpp")
    assert body["usage"]["completion_tokens"] == 1
    assert "max_tokens 0 is read as 1 by llama_cpp." in body["logitlab"]["notes"]
    body = chat(MODEL, {**SHORT, "max_tokens": -1, "stop": ["a"]}, engine="llama_cpp")
    assert body["choices"][0]["finish_reason"] == "stop"
    assert "max_tokens -1 means no limit to llama_cpp." in body["logitlab"]["notes"]
    for engine, says in {
        "vllm": "vllm refuses the request: max_tokens must be at least 1, got 0.",
        "mlx_lm_server": "mlx_lm_server refuses the request: max_tokens must be at least 1",
        "transformers_serve": "transformers_serve answers 500 without a text, and logs: "
        "`max_new_tokens` must be greater than 0, but is 0.",
    }.items():
        message = chat(MODEL, {**SHORT, "max_tokens": 0}, engine=engine)["error"]["message"]
        assert message == f"max_tokens must be an integer >= 1, got 0. {says}"
    for engine in ("openrouter", "openai", "sglang", "ollama_openai", "ollama", "textgen"):
        message = chat(MODEL, {**SHORT, "max_tokens": 0}, engine=engine)["error"]["message"]
        assert message == "max_tokens must be an integer >= 1, got 0."


def test_stop_strings_of_a_server() -> None:
    five = {**SHORT, "stop": list("vwxyz"), "max_tokens": 2}
    assert chat(MODEL, five, engine="vllm")["error"]["message"] == (
        'stop must be an array of at most 4 strings, got ["v", "w", "x", "y", "z"]. vllm refuses '
        "the request: List should have at most 4 items after validation"
    )
    none = {**SHORT, "stop": [], "max_tokens": 2}
    message = chat(MODEL, none, engine="transformers_serve")["error"]["message"]
    assert message.startswith("stop must be an array of at least one string, got []. transformers_")
    told = chat(MODEL, five, engine="mlx_lm_server")["logitlab"]["notes"]
    assert (
        "stop: at mlx_lm_server every such text is cut out of the answer, which ends only where "
        "the very tokens come that spell one by itself; here it ends before the first."
    ) in told
    assert not any(
        "stop" in note for note in chat(MODEL, none, engine="mlx_lm_server")["logitlab"]["notes"]
    )


def test_an_empty_bias_stops_transformers() -> None:
    with pytest.raises(ParameterError, match=r"^logit_bias must be a map that is not empty, got"):
        engines.transformers_serve({"logit_bias": {}})


def test_llama_server_counts_log_probabilities() -> None:
    def told(**body: Any) -> tuple[list[int] | None, list[str]]:
        asked = {**SHORT, "max_tokens": 2, **body}
        answer = chat(MODEL, asked, engine="llama_cpp")
        entries = answer["choices"][0]["logprobs"]
        counts = entries and [len(entry["top_logprobs"]) for entry in entries["content"]]
        return counts, [note for note in answer["logitlab"]["notes"] if "logprobs" in note]

    # As its own server answered.
    assert told(logprobs=True) == ([20, 20], ["top_logprobs is absent: llama_cpp reports 20."])
    assert told(logprobs=True, top_logprobs=0) == (
        None,
        ["logprobs is ignored by llama_cpp beside a top_logprobs of 0."],
    )
    assert told(logprobs=True, top_logprobs=3) == ([3, 3], [])
    assert told(logprobs=5)[0] == [5, 5]
    assert told(logprobs=False) == (None, [])
    assert told(logprobs=-3)[0] == [0, 0]  # as before: a number that is not 0
    tied = chat(MODEL, {**SHORT, "logprobs": True, "max_tokens": 1}, engine="vllm")
    assert tied["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    with pytest.raises(ParameterError, match="tops must be an integer >= 1, got 0"):
        Dialect(tops=0)
