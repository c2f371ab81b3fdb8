"""llama.cpp's own server against its dialect: distributions, and what was found to differ once.

With the extra ``engines-live``; skipped without.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from logitlab import Context, chat, engines
from logitlab.checks import ParameterError
from logitlab.models import Gguf
from scipy import stats

from verification.servers.asking import post
from verification.servers.running import Server

BEGINNING = "The king said to the king that"
OPEN = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
PAGE: list[dict[str, Any]] = [
    {},
    {"temperature": 0.4},
    {"temperature": 1.7, "top_k": 0},
    {"top_k": 3},
    {"top_k": 2.7},
    {"top_k": -1, "top_p": 0.6, "min_p": 0},
    {"min_p": 0.3, "temperature": 2},
    {"top_p": 0.5, "top_k": 20, "min_p": 0.1, "temperature": 0.7},
    {**OPEN, "frequency_penalty": 0.7},
    {**OPEN, "presence_penalty": -1.0},
    {**OPEN, "repeat_penalty": 1.6},
    {**OPEN, "repeat_penalty": 1.6, "repeat_last_n": 3},
    {**OPEN, "typical_p": 0.4},
    {**OPEN, "top_n_sigma": 0.5},
    {"dynatemp_range": 0.5, "temperature": 1.0},
    {**OPEN, "logit_bias": {"300": 14.0}},
    {**OPEN, "logit_bias": [[300, 14.0], [325, False]]},
    {"logit_bias": {"5": "x"}},
    {"samplers": ["nonsense"]},
    {"samplers": ["penalties", "top_a", "top_k"], "top_k": 4},
    {"samplers": "kxz", "top_k": 4},
    {"top_p": 1.5, "min_p": -1},
]
"""Each is drawn by the server's own chain, and by ours."""

# The server keeps no candidate whose probability float32 cannot tell from 0.
FAR = 1e-5
ONE_SLOT = engines.llama_cpp.with_options(n_parallel=1)
FREE = {**OPEN, "temperature": 1.8, "n_predict": 12}


def ask(server: Server, path: str, **body: Any) -> Any:
    status, answer = post(server.url.removesuffix("/v1") + path, body)
    assert status == 200, answer
    return answer


class Text:
    """A text that the model goes on with as it has begun, so that penalties have a say.

    Attributes
    ----------
    prompt : str
    ids : list of int
    logprobs : ndarray
        All of the model's own, after it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        begun = {"prompt": BEGINNING, "n_predict": 24, "temperature": 0}
        self.prompt = BEGINNING + ask(server, "/completion", **begun)["content"]
        self.ids: list[int] = ask(server, "/tokenize", content=self.prompt)["tokens"]
        answer = self.ask(n_predict=1, n_probs=60000)
        tops = answer["completion_probabilities"][0]["top_logprobs"]
        self.logprobs = np.full(len(tops), -math.inf)
        for top in tops:
            self.logprobs[top["id"]] = top["logprob"]

    def ask(self, **body: Any) -> Any:
        return ask(self.server, "/completion", prompt=self.prompt, cache_prompt=False, **body)

    def probs(self, **body: Any) -> np.ndarray[Any, Any]:
        """Return what the server draws from."""
        answer = self.ask(n_predict=1, n_probs=60000, post_sampling_probs=True, **body)
        result = np.zeros(len(self.logprobs))
        for top in answer["completion_probabilities"][0]["top_probs"]:
            result[top["id"]] = top["prob"]
        return result


@pytest.fixture(scope="module")
def text(tiny_llama_server: Server) -> Text:
    return Text(tiny_llama_server)


@pytest.mark.parametrize("request_body", PAGE, ids=repr)
def test_distributions(text: Text, request_body: dict[str, Any]) -> None:
    # An additive constant is lost, which a penalty of repetition alone can see.
    logits = text.logprobs + (_zero(text) if "repeat_penalty" in request_body else 0)
    chain = engines.llama_cpp(request_body, vocabulary_size=len(logits))
    ours = chain(logits, Context(prompt=text.ids))
    probs = np.exp(ours - ours.max())
    probs /= probs.sum()
    theirs = text.probs(**request_body)
    assert theirs.sum() == pytest.approx(1, abs=1e-4)
    assert np.abs(theirs - probs).sum() / 2 < FAR
    if request_body not in ({}, {"logit_bias": {"5": "x"}}):  # it did something
        usual = text.probs(**(OPEN if OPEN.items() <= request_body.items() else {}))
        assert np.abs(theirs - usual).sum() > 100 * FAR


def _zero(text: Text) -> float:
    """Return what is to be added to log-probabilities to have logits.

    With r = 2 a positive logit x becomes x / 2, a negative one 2 x, and a token that is not
    penalised tells by how much all probabilities have grown.
    """
    probs, before = text.probs(**OPEN, repeat_penalty=2), text.logprobs
    unseen = np.setdiff1d(np.argsort(-before)[:50], text.ids)[0]
    guesses = []
    for token in {*text.ids[-64:]} & {*np.argsort(-before)[:1000].tolist()}:
        gap = math.log(probs[token] / probs[unseen]) + before[unseen]
        positive, negative = before[token] - 2 * gap, gap - 2 * before[token]
        guesses.append(positive if before[token] + positive > 0 else negative)
    return float(np.median(guesses))


@pytest.mark.parametrize("seed", [5, 2**32 + 5, -(2**32) + 5, -4294967291])
def test_seeds_are_taken_modulo(text: Text, seed: int) -> None:
    texts = {text.ask(**FREE, seed=s)["content"] for s in (5, seed)}
    assert len(texts) == 1
    assert engines.llama_cpp.translate({"seed": seed % 2**32}).values == (
        engines.llama_cpp.translate({"seed": seed}).values
    )


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**33 - 1, 2**64 - 1])
def test_seeds_that_mean_a_fresh_one(text: Text, seed: int) -> None:
    texts = [text.ask(**FREE, seed=seed)["content"] for _ in range(3)]
    assert len({*texts}) > 1
    notes = engines.llama_cpp.translate({"seed": seed}).notes
    assert any(note.effect == "off" for note in notes if note.key == "seed")


@pytest.mark.parametrize(
    "body",
    [
        {"repeat_penalty": 0},
        {"temperature": "0.5"},
        {"samplers": [5]},
        {"n": 0},
        {"top_logprobs": 2},
        {"dry_allowed_length": -1},
        {"adaptive_decay": 2},
    ],
    ids=repr,
)
def test_refusals_in_its_own_words(tiny_llama_server: Server, body: dict[str, Any]) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, **body}
    status, answer = post(f"{tiny_llama_server.url}/chat/completions", asked)
    assert status == 400
    with pytest.raises(ParameterError) as caught:
        ONE_SLOT.translate(body)
    assert answer["error"]["message"] in str(caught.value)


def test_a_name_that_it_does_not_know_does_nothing(text: Text) -> None:
    plain = text.probs(**OPEN)
    for key in ("repetition_penalty", "top_a", "nonsense"):
        assert np.array_equal(plain, text.probs(**OPEN, **{key: 1.9}))
    assert not np.array_equal(plain, text.probs(**OPEN, repeat_penalty=1.9))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"logprobs": True}, 20),
        ({"logprobs": True, "top_logprobs": 0}, None),
        ({"logprobs": True, "top_logprobs": 30}, 30),
        ({"logprobs": 5}, 5),
    ],
    ids=repr,
)
def test_log_probabilities(
    tiny_llama_server: Server, tiny_model: Gguf, body: dict[str, Any], count: int | None
) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, **body}
    status, answer = post(f"{tiny_llama_server.url}/chat/completions", asked)
    assert status == 200
    for told in (answer, chat(tiny_model, asked, engine="llama_cpp")):
        entries = told["choices"][0].get("logprobs")
        assert (entries and len(entries["content"][0]["top_logprobs"])) == count


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"max_tokens": 0}, 1),
        ({"max_tokens": 2, "max_completion_tokens": 4}, 4),
        ({"max_tokens": 2.9}, 2),
    ],
    ids=repr,
)
def test_limits(
    tiny_llama_server: Server, tiny_model: Gguf, body: dict[str, Any], count: int
) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], **body}
    status, answer = post(f"{tiny_llama_server.url}/chat/completions", asked)
    assert status == 200
    for told in (answer, chat(tiny_model, asked, engine="llama_cpp")):
        assert told["usage"]["completion_tokens"] == count


def test_one_slot_gives_one_answer(tiny_llama_server: Server) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "n": 2}
    status, answer = post(f"{tiny_llama_server.url}/chat/completions", asked)
    words = "Field 'n': Value must be between 1 <= value <= 1, but got 2"
    assert (status, answer["error"]["message"]) == (400, words)
    with pytest.raises(ParameterError, match=re.escape(words)):
        ONE_SLOT.translate({"n": 2})


def test_draws(text: Text) -> None:
    """The very tokens: its generator is the dialect's."""
    body, context = {"temperature": 1.2, "top_k": 30, "top_p": 0.9}, Context(prompt=text.ids)
    equal = 0
    for seed in range(40):
        answer = text.ask(n_predict=1, n_probs=1, seed=seed, **body)
        ours = engines.llama_cpp.draw(text.logprobs, {**body, "seed": seed}, context=context)
        equal += answer["completion_probabilities"][0]["id"] == ours
    # A uniform number falls between two roundings of one sum in a thousand draws at most.
    assert stats.binom.cdf(equal, 40, 0.999) > 1e-6
