"""Real servers and their dialects: who takes which odd value, and what an answer then holds.

llama.cpp's and mlx-lm's with the extra ``engines-live``; transformers' and vLLM's where
``LOGITLAB_PYTHON_TRANSFORMERS`` and ``LOGITLAB_PYTHON_VLLM`` name interpreters that have them.
"""

from __future__ import annotations

from typing import Any

import pytest
from logitlab import chat
from logitlab.models import Gguf

from verification.servers.asking import post
from verification.servers.running import DIALECTS, SERVERS, Server

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BODIES: list[dict[str, Any]] = [
    {"temperature": None}, {"top_p": None, "seed": None}, {"n": None},
    {"temperature": "hot"}, {"temperature": "0.5"}, {"temperature": True}, {"temperature": -1},
    {"top_p": 0}, {"top_p": 1.5}, {"top_p": -1}, {"min_p": 2},
    {"top_k": 2.7}, {"top_k": 5.0}, {"top_k": "5"}, {"top_k": -1}, {"top_k": -2},
    {"seed": -1}, {"seed": 2**32}, {"seed": 2**63}, {"seed": 2**64}, {"seed": 1.5}, {"seed": "1"},
    {"frequency_penalty": 3}, {"presence_penalty": -3}, {"repeat_penalty": 0},
    {"repetition_penalty": 0}, {"repetition_penalty": -1},
    {"logit_bias": {"5": 1}}, {"logit_bias": {"5": 1.0}}, {"logit_bias": {"5000": 1.0}},
    {"logit_bias": {"x": 1}}, {"logit_bias": {"-1": 1.0}}, {"logit_bias": {"5": "x"}},
    {"logit_bias": {"5": 200.0}}, {"logit_bias": []}, {"logit_bias": {}},
    {"max_tokens": 0}, {"max_tokens": 2.0}, {"max_tokens": "3"}, {"max_tokens": True},
    {"max_tokens": None, "max_completion_tokens": 3},
    {"max_tokens": 2, "max_completion_tokens": 4}, {"n": 0}, {"n": 2}, {"n": 1.0},
    {"stop": []}, {"stop": list("vwxyz")},
    {"logprobs": True, "top_logprobs": 0}, {"logprobs": False, "top_logprobs": 2},
    {"top_logprobs": 2}, {"logprobs": 1}, {"logprobs": True, "top_logprobs": 21},
    {"nonsense": 1}, {"top_a": 0.1}, {"samplers": ["nonsense"]}, {"samplers": "kxz"},
    {"response_format": {"type": "text"}}, {"tools": []}, {"tool_choice": "none"},
    {"user": "x", "metadata": {}, "store": False},
]  # fmt: skip
# Where theirs and ours part, and why.
APART: dict[str, dict[str, str]] = {
    "llama_cpp": {
        "{'repetition_penalty': 0}": "it does not know the name: here that is repeat_penalty",
        "{'repetition_penalty': -1}": "it does not know the name: here that is repeat_penalty",
        "{'n': 2}": "it has one slot",
    },
    "mlx_lm": {},
    "transformers": {},
    "vllm": {},
}


# An id of no token writes beyond the row, or from its end: sooner or later it is dead.
DEADLY = {"mlx_lm": ("{'logit_bias': {'5000': 1.0}}", "{'logit_bias': {'-1': 1.0}}")}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    names = {"llama_cpp": "tiny_llama_server", "mlx_lm": "mlx_server"}
    fixture = names.get(request.param, f"{request.param}_server")
    found: Server = request.getfixturevalue(fixture)
    return found


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_what_is_taken_and_what_comes_of_it(
    server: Server, tiny_model: Gguf, body: dict[str, Any]
) -> None:
    if repr(body) in DEADLY.get(server.name, ()):
        return
    messages = [{"role": "user", "content": "Name a city."}]
    asked = {"model": server.model, "messages": messages, "max_tokens": 1, **body}
    status, theirs = post(f"{server.url}/chat/completions", asked)
    ours = chat(tiny_model, asked, engine=DIALECTS[server.name])
    seen, expected = outcome(status, theirs), outcome(200 if "choices" in ours else 400, ours)
    assert (seen != expected) == (repr(body) in APART[server.name]), (theirs, ours)


def outcome(status: int, answer: Any) -> Any:
    """Return how many tokens, answers and log-probabilities there are, None of a refusal."""
    if status != 200:
        return None
    [first, *_] = answer["choices"]
    reported = (first.get("logprobs") or {}).get("content")
    return answer["usage"]["completion_tokens"], len(answer["choices"]), bool(reported)
