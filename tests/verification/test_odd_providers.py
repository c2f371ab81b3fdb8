"""Proxies, models that think, half characters: that they are as odd as they should be."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from verification.odd_providers import AsMlx, Halved, Proxy, Thoughtful, running_model
from verification.providers import Provider
from verification.subject import PROMPTS

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPTS[3]}], "max_tokens": 1}


def text(answer: tuple[int, dict[str, Any]]) -> str:
    assert answer[0] == 200, answer
    return str(answer[1]["choices"][0]["message"]["content"])


def test_a_proxy_asks_several_and_tells_whom() -> None:
    proxy = Proxy({"a": Provider(), "b": Provider(greedy=True)}, [0.7, 0.3], seed=1)
    answers = [proxy(ASKED)[1] for _ in range(200)]
    names = [answer["provider"] for answer in answers]
    assert stats.binomtest(names.count("a"), 200, 0.7).pvalue > 1e-4
    assert {answer["system_fingerprint"] for answer in answers} == {"of a", "of b"}
    assert (
        len({a["choices"][0]["message"]["content"] for a in answers if a["provider"] == "b"}) == 1
    )


def test_a_proxy_can_be_pinned() -> None:
    proxy = Proxy({"a": Provider(), "b": Provider(greedy=True)}, [1, 0])
    pinned = {**ASKED, "provider": {"order": ["b"], "allow_fallbacks": False}}
    assert {proxy(pinned)[1]["provider"] for _ in range(20)} == {"b"}
    nobody = {**ASKED, "provider": {"order": ["c"], "allow_fallbacks": False}}
    status, answer = proxy(nobody)
    assert (status, answer["error"]["message"]) == (404, "No allowed providers are available.")


def test_a_model_that_thinks_begins_with_it() -> None:
    wise = running_model(Thoughtful, "vllm", seed=1)
    whole = text(wise({**ASKED, "max_tokens": 60}))
    assert whole.startswith("<think>\nWell. ")
    assert "</think>\n" in whole
    firsts = {text(wise(ASKED)) for _ in range(20)}
    assert len(firsts) == 1


@pytest.mark.parametrize(
    "off",
    [
        {"reasoning": {"enabled": False}},
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ],
    ids=repr,
)
def test_it_need_not_think(off: dict[str, Any]) -> None:
    wise = running_model(Thoughtful, "vllm", seed=1)
    assert len({text(wise({**ASKED, **off})) for _ in range(20)}) > 4


def test_after_its_thoughts_it_answers_as_at_once() -> None:
    wise, plain = running_model(Thoughtful, "openrouter"), Provider("openrouter")
    thought = text(wise({**ASKED, "max_tokens": 80, "temperature": 0})).partition("</think>\n")[2]
    assert thought.startswith(text(plain({**ASKED, "temperature": 0})))


def test_half_characters_come_first() -> None:
    halved = running_model(Halved, "vllm", seed=2)
    texts = [text(halved(ASKED)) for _ in range(60)]
    assert 5 < texts.count("\N{REPLACEMENT CHARACTER}") < 60
    told = halved({**ASKED, "logprobs": True, "top_logprobs": 20})[1]["choices"][0]["logprobs"]
    tops = [top for entry in told["content"] for top in entry["top_logprobs"]]
    assert not tops or any(top["bytes"] == [0xE2] for top in tops)


def test_answers_as_mlx_writes_them() -> None:
    provider = AsMlx(Provider("mlx_lm_server", seed=4))
    asked = {**ASKED, "temperature": 1.0, "logprobs": True}
    contents, firsts = set(), set()
    for _ in range(20):
        answer = provider({**asked, "top_logprobs": 8})
        [entry] = answer[1]["choices"][0]["logprobs"]["content"]
        contents.add(text(answer))
        firsts.add(entry["token"])
        assert {**entry["top_logprobs"][0], "top_logprobs": entry["top_logprobs"]} == entry
        ranks = [top["logprob"] for top in entry["top_logprobs"]]
        assert ranks != sorted(ranks, reverse=True)
        assert entry.keys() == {"id", "token", "logprob", "top_logprobs"}
    assert len(firsts) == 1 < len(contents)
    assert firsts.pop().startswith("\u0120")  # the space of byte-level vocabularies
    assert not any(content.startswith(" ") for content in contents)
    [entry] = provider(asked)[1]["choices"][0]["logprobs"]["content"]
    assert entry.keys() == {"id", "logprob"}
