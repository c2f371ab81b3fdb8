"""mlx_lm.server against its dialect: what was found to differ from what others do.

With the extra ``engines-live``; skipped without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab import Context, chat, engines
from logitlab.models import Gguf, NGram

from verification.servers.asking import post
from verification.servers.running import Server

MESSAGES = [{"role": "user", "content": "Name a city."}]


def ask(server: Server, **body: Any) -> Any:
    asked = {"model": server.model, "messages": MESSAGES, "max_tokens": 12, **body}
    return post(f"{server.url}/chat/completions", asked)


def text(server: Server, **body: Any) -> str:
    status, answer = ask(server, **body)
    assert status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


def test_it_refuses_null(mlx_server: Server) -> None:
    for key in ("temperature", "top_p", "max_tokens", "logprobs"):
        status, answer = ask(mlx_server, **{key: None})
        refused = chat(NGram.bundled(), {"messages": MESSAGES, key: None}, engine="mlx_lm_server")
        assert status == 400
        assert answer["error"] in refused["error"]["message"]


def test_it_gives_one_answer(mlx_server: Server) -> None:
    for n in (0, 2):
        assert len(ask(mlx_server, n=n)[1]["choices"]) == 1


def test_the_newer_limit_counts(mlx_server: Server) -> None:
    answer = ask(mlx_server, max_tokens=2, max_completion_tokens=4)[1]
    assert answer["usage"]["completion_tokens"] == 4


def test_a_stop_string_is_cut_out_and_ends_by_its_tokens_alone(mlx_server: Server) -> None:
    whole = text(mlx_server)  # greedy
    letter = whole[-2]
    _, answer = ask(mlx_server, stop=letter)
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == whole.replace(letter, "")
    _, answer = ask(mlx_server, stop=[" " + whole.split(" ")[-1]])  # a token of its own
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_the_entry_of_a_token_is_the_first_of_an_unsorted_list(mlx_server: Server) -> None:
    entries = [
        ask(mlx_server, max_tokens=1, temperature=1.0, seed=seed, logprobs=True, top_logprobs=5)[1]
        for seed in range(8)
    ]
    told = {entry["choices"][0]["logprobs"]["content"][0]["id"] for entry in entries}
    texts = {entry["choices"][0]["message"]["content"] for entry in entries}
    assert len(told) == 1 < len(texts)


@pytest.mark.parametrize(
    "penalty",
    [{"presence_penalty": 1.5}, {"frequency_penalty": 0.7}, {"repetition_penalty": 1.6}],
    ids=repr,
)
def test_with_a_seed_penalties_do_not_see_what_is_cached(
    mlx_server: Server, tiny_model: Gguf, penalty: dict[str, float]
) -> None:
    """The option ``cached_prompt`` of the dialect: of the prompt only what is computed counts."""
    begun = text(mlx_server, max_tokens=24)
    messages = [{"role": "user", "content": begun + begun}]
    ids = tiny_model.chat(messages)
    logits = tiny_model.advance([tiny_model.start()], [ids])[0]
    far: list[float] = []
    usual: list[float] = []
    for seed in ({}, {"seed": 1}):
        asked = {**penalty, **seed, "messages": messages, "max_tokens": 1, "temperature": 1.0}
        for _ in range(2):  # the second time the prompt is in the cache
            _, answer = ask(mlx_server, **asked, logprobs=True, top_logprobs=11)
            cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached == len(ids) - 1
        [entry] = answer["choices"][0]["logprobs"]["content"]
        theirs = {top["id"]: top["logprob"] for top in entry["top_logprobs"]}
        for option, differences in ((cached, far), (0, usual)):
            request = {**penalty, **seed, "cached_prompt": option}
            row = engines.mlx_lm_server.reported(request)(logits, Context(prompt=ids))
            row = row - np.logaddexp.reduce(row)
            differences.append(max(abs(row[token] - value) for token, value in theirs.items()))
    # Without a seed all of the prompt counts, whatever is cached, with one the tokens that are not.
    assert max(far) < 2e-3
    assert usual[0] < 2e-3
    assert usual[1] > 0.1
