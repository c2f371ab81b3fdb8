"""The first requests: every dialect of limits, log-probabilities, thoughts and refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from logitlab import EndpointError
from logitlab.verification.endpoint import Endpoint
from logitlab.verification.handshake import NEUTRAL, handshake
from logitlab.verification.study import Study

Answering = Callable[[dict[str, Any]], Any]


def met(function: Answering, **how: Any) -> Study:
    study = Study(Endpoint(function, retries=0).send, **how)
    handshake(study)
    return study


def refusal(words: str, status: int = 400) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": words}}


class Server:
    """A server that takes some keys, and reports so many log-probabilities."""

    def __init__(self, keys: Sequence[str] = (*NEUTRAL,), most: int = 20) -> None:
        self.keys, self.most, self.bodies = {*keys}, most, list[dict[str, Any]]()
        self.numbers = itertools.count()

    def __call__(self, body: dict[str, Any]) -> Any:
        self.bodies.append(body)
        known = {"messages", "prompt", "max_tokens", "logprobs", "top_logprobs", *self.keys}
        if unknown := sorted(body.keys() - known):
            return refusal(f"unknown: {unknown[0]}", 422)
        top = body.get("top_logprobs", 0)
        if "top_logprobs" in body and top > self.most:
            return refusal(f"top_logprobs must be at most {self.most}")
        number = next(self.numbers)
        return answer(f"text {number}", top, f"id-{number}")


def answer(text: str, top: int = 0, name: str = "id", **message: Any) -> dict[str, Any]:
    tops = [{"token": f"t{i}", "logprob": -1.0 - i} for i in range(top)]
    entry = {"token": text, "logprob": -1.0, "top_logprobs": tops}
    reported = {"logprobs": {"content": [entry]}} if top else {}
    return {"id": name, "choices": [{"message": {"content": text, **message}, **reported}]}


@pytest.mark.parametrize("most", [1000, 20, 11, 5, 1])
def test_as_many_log_probabilities_are_asked_for_as_there_are(most: int) -> None:
    study = met(Server(most=most))
    assert study.logprobs == {"logprobs": True, "top_logprobs": min(most, 200)}
    assert study.findings["logprobs"].verdict == "honoured"
    assert study.findings["logprobs"].detail == f"{min(most, 200)} log-probabilities per token"
    assert study.neutral == {key: values[0] for key, values in NEUTRAL.items()}
    assert study.notes == []
    assert study.chat


def test_where_there_are_none() -> None:
    study = met(Server(most=-1))
    assert study.logprobs == {}
    assert study.findings["logprobs"].verdict == "refused"
    assert study.findings["logprobs"].says == "top_logprobs must be at most -1"
    study = met(lambda body: answer("hi"))
    assert study.findings["logprobs"].verdict == "ignored"
    assert study.findings["logprobs"].detail == "no log-probabilities are reported"
    assert study.logprobs == {}


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([None], "null"),
        ([-9999.0], "-9999"),
        ([-math.inf, -1e9], "-inf, -1e+09"),
        ([None, -9999.0, -math.inf, -1e9], "null, -9999, -inf, …"),
    ],
)
def test_what_stands_in_the_place_of_log_probabilities_is_told(
    values: list[Any], seen: str
) -> None:
    def function(body: dict[str, Any]) -> Any:
        told = answer("hi", 1)
        entry = told["choices"][0]["logprobs"]["content"][0]
        entry["top_logprobs"] = [
            {"token": f"t{i}", "logprob": value} for i, value in enumerate(values)
        ]
        return told

    study = met(function)
    found = study.findings["logprobs"]
    assert found.verdict == "not_honoured"
    assert found.detail == f"tokens are listed, but with {seen} in the place of numbers"
    assert study.logprobs == {}


def test_log_probabilities_of_the_drawn_token_alone_are_told() -> None:
    def function(body: dict[str, Any]) -> Any:
        told = answer("hi", 1)
        told["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = []
        return told

    found = met(function).findings["logprobs"]
    assert (found.verdict, found.detail) == (
        "not_honoured", "of the drawn tokens alone"
    )  # fmt: skip


def test_keys_that_are_refused_are_found_one_by_one_in_the_servers_words() -> None:
    study = met(Server(["temperature", "top_p", "frequency_penalty", "presence_penalty"]))
    assert set(study.neutral) == {
        "temperature", "top_p", "frequency_penalty", "presence_penalty",
    }  # fmt: skip
    for key in ("top_k", "min_p", "top_a", "repetition_penalty"):
        assert study.findings[key].verdict == "refused"
        assert study.findings[key].says == f"unknown: {key}"
    assert study.findings["top_k"].refused_values == dict.fromkeys(("0", "-1"), "unknown: top_k")


def test_another_spelling_of_all_is_found() -> None:
    server = Server()

    def function(body: dict[str, Any]) -> Any:
        if body.get("top_k") == 0:
            return refusal("top_k must be -1 (disable), or at least 1, got 0.")
        return server(body)

    study = met(function)
    assert study.neutral["top_k"] == -1
    assert "top_k" not in study.findings
    assert set(study.neutral) == set(NEUTRAL)


def test_what_is_refused_beside_others_alone_is_no_refusal() -> None:
    server = Server()

    def function(body: dict[str, Any]) -> Any:
        if {"temperature", "top_p"} <= body.keys():
            return refusal("temperature and top_p cannot both be given")
        return server(body)

    study = met(function)
    assert "top_p" not in study.neutral
    assert study.findings["top_p"].verdict == "cannot_tell"
    assert study.findings["top_p"].detail == "refused beside the others, taken alone"


def test_what_is_refused_at_neutral_alone_is_left_out() -> None:
    server = Server()

    def ask(body: dict[str, Any]) -> Any:
        if body.get("top_p") == 1:
            return refusal("top_p must be > 0.0 and < 1.0", 422)
        return server(body)

    study = met(ask)
    assert "top_p" not in study.findings
    assert study.neutral == {key: values[0] for key, values in NEUTRAL.items()} | {"top_p": None}
    assert "top_p" not in study.body("Name a city.")
    assert study.body("Name a city.", top_p=0.5)["top_p"] == 0.5
    assert "top_p is refused at its neutral value: it was left out there." in study.notes


@pytest.mark.parametrize("words", ["Use 'max_completion_tokens' instead.", "no."])
def test_the_limit_may_have_another_name_and_a_least(words: str) -> None:
    server = Server()

    def function(body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            return refusal(f"Unsupported parameter: 'max_tokens'. {words}")
        if body["max_completion_tokens"] < 16:
            return refusal("Expected a value >= 16, but got 1 instead.")
        least = body.pop("max_completion_tokens")
        return server({**body, "max_tokens": least})

    study = met(function)
    assert (study.limit, study.least) == ("max_completion_tokens", 16)
    assert len(study.notes) == 2


def test_plain_completions_are_found_out() -> None:
    server = Server()

    def function(body: dict[str, Any]) -> Any:
        if "messages" in body:
            return refusal("Not Found", 404)
        return server({**body, "top_logprobs": int(body.pop("logprobs", 0))})

    study = met(function)
    assert not study.chat
    assert study.logprobs == {"logprobs": 20}
    assert study.notes == ["There are no chat completions here: plain ones were asked for."]


def thinking(by: Mapping[str, Any]) -> Answering:
    server = Server([*NEUTRAL, "reasoning", "reasoning_effort", "chat_template_kwargs"])

    def function(body: dict[str, Any]) -> Any:
        got = server(body)
        if all(body.get(key) != value for key, value in by.items()):
            got["choices"][0]["message"] = {"content": "", "reasoning_content": "Hm"}
        return got

    return function


@pytest.mark.parametrize(
    "by",
    [
        {"reasoning": {"enabled": False}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "minimal"},
    ],
)
def test_thoughts_are_switched_off(by: dict[str, Any]) -> None:
    study = met(thinking(by))
    assert study.extra == by
    assert "The model thinks first" in study.notes[0]


@pytest.mark.parametrize(
    "message", [{"content": "<think>\nHm"}, {"content": "", "reasoning": "Hm"}]
)
def test_thoughts_that_stay_are_told(message: dict[str, Any]) -> None:
    study = met(lambda body: {"choices": [{"message": message}]})
    assert study.extra == {}
    assert "no known request leaves that out" in study.notes[0]


def test_greedy_servers_and_caches_are_told_apart() -> None:
    numbers = itertools.count()
    greedy = met(lambda body: answer("same", 3, f"id-{next(numbers)}"))
    assert not greedy.is_cached
    assert "it is greedy there" in greedy.notes[0]
    cached = met(lambda body: answer("same", 3))
    assert cached.is_cached
    assert "a cache" in cached.notes[0]


@pytest.mark.parametrize(
    ("status", "words", "message"),
    [
        (403, "forbidden", "403, forbidden. It wants a key, or another one"),
        (404, "The model `x` does not exist.", "A model is named by model=, or --model."),
        (404, "Not Found", "404, Not Found. Is that its base URL?"),
        (422, "messages: wrong", "422, messages: wrong."),
    ],
)
def test_who_refuses_everything_is_no_endpoint(status: int, words: str, message: str) -> None:
    with pytest.raises(EndpointError) as error:
        met(lambda body: refusal(words, status))
    assert str(error.value).startswith(f"The endpoint refuses the simplest request: {status}, ")
    assert message in str(error.value)
