from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
from typing import Any

import pytest
from logitlab import PARAMETERS, LogitBias, ParameterError, SamplingParams

KEYS = [
    *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "min_p", "top_a", "seed", "max_tokens", "logit_bias", "logprobs"),
    *("top_logprobs", "response_format", "structured_outputs", "stop", "tools", "tool_choice"),
    *("parallel_tool_calls", "verbosity"),
]

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}

EVERYTHING: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "frequency_penalty": -0.5,
    "presence_penalty": 0.5, "repetition_penalty": 1.1, "min_p": 0.05, "top_a": 0.1,
    "seed": -7, "max_tokens": 100, "logit_bias": {"50": -100.0, "7": 5.0}, "logprobs": True,
    "top_logprobs": 5, "response_format": SCHEMA, "structured_outputs": True, "stop": ["a", "b"],
    "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False, "verbosity": "low",
}  # fmt: skip


def test_all_twenty_are_declared_once() -> None:
    assert [key for key, known in PARAMETERS.items() if known.origin == "page"] == KEYS
    assert list(PARAMETERS)[: len(KEYS)] == KEYS
    fields = [field.name for field in dataclasses.fields(SamplingParams)]
    assert fields == [*PARAMETERS, "extra"]
    for key, parameter in PARAMETERS.items():
        assert parameter.key == key
        assert parameter.role in ("distribution", "draw", "ending", "report", "structure", "prompt")
        assert parameter.sentence.endswith(".")


def test_defaults_are_the_documented_ones_and_valid() -> None:
    filled = SamplingParams().with_defaults()
    assert filled.given() == {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0,
        "presence_penalty": 0.0, "repetition_penalty": 1.0, "min_p": 0.0, "top_a": 0.0,
        "logit_bias": {}, "logprobs": False, "top_logprobs": 0, "stop": (), "tools": (),
        "parallel_tool_calls": True, "verbosity": "medium",
    }  # fmt: skip
    assert SamplingParams(top_k=3).with_defaults(top_k=40, temperature=0.8).given() | {
        "top_k": 3, "temperature": 0.8,
    } == SamplingParams(top_k=3).with_defaults(top_k=40, temperature=0.8).given()  # fmt: skip


def test_a_request_goes_in_and_comes_out() -> None:
    body = EVERYTHING | {"model": "m", "messages": [{"role": "user"}], "provider": {"x": [1]}}
    params = SamplingParams.from_request(json.loads(json.dumps(body)))
    assert params.to_request() == body
    assert json.loads(json.dumps(params.to_request())) == body
    assert params.logit_bias == {50: -100.0, 7: 5.0}
    assert params.stop == ("a", "b")
    assert params.extra["provider"] == {"x": [1]}
    assert pickle.loads(pickle.dumps(params)) == params


def test_json_types_as_they_come() -> None:
    params = SamplingParams.from_request(
        {"temperature": 1, "top_p": None, "stop": "END", "logit_bias": {3: 1}, "x": None}
    )
    assert params == SamplingParams(
        temperature=1.0, stop=("END",), logit_bias={3: 1.0}, extra={"x": None}
    )
    assert isinstance(params.temperature, float)
    assert params.given() == {"temperature": 1.0, "stop": ("END",), "logit_bias": {3: 1.0}}


def test_it_is_a_frozen_keyword_only_value() -> None:
    params = SamplingParams(temperature=0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.temperature = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        SamplingParams(0.5)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match=r"^keywords .* Did you mean temperature\?$"):
        SamplingParams(temprature=0.5)  # type: ignore[call-arg]
    with pytest.raises(ParameterError, match=r"got temp=0\.5\. Did you mean temperature\?$"):
        SamplingParams(temp=0.5)  # type: ignore[call-arg]
    assert [*inspect.signature(SamplingParams).parameters] == [*PARAMETERS, "extra"]
    assert params == SamplingParams(temperature=0.5)
    assert params != SamplingParams(temperature=0.5, top_p=1.0)
    assert repr(params) == "SamplingParams(temperature=0.5)"
    assert dataclasses.replace(params, top_p=0.5) == SamplingParams(temperature=0.5, top_p=0.5)


def test_later_changes_of_the_request_do_not_reach_the_parameters() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    bias = {"5": 1.0}
    params = SamplingParams.from_request({"tools": [tool], "logit_bias": bias})
    tool["function"]["name"] = "changed"  # type: ignore[index]
    bias["5"] = 99.0
    assert params.tools is not None
    assert params.tools[0]["function"]["name"] == "f"
    assert params.logit_bias == {5: 1.0}


@pytest.mark.parametrize("key", KEYS)
def test_null_is_absent(key: str) -> None:
    assert SamplingParams.from_request({key: None}) == SamplingParams()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", 0), ("temperature", 2), ("top_p", 0), ("top_p", 1), ("top_k", 0),
        ("top_k", 10**12), ("frequency_penalty", -2), ("presence_penalty", 2),
        ("repetition_penalty", 0), ("min_p", 1), ("top_a", 1), ("max_tokens", 1),
        ("seed", -(10**30)), ("logit_bias", {"0": 100, "1": -100}), ("logit_bias", {}),
        ("stop", []), ("tools", []), ("response_format", {"type": "json_object"}),
        ("tool_choice", "auto"), ("structured_outputs", False), ("verbosity", "high"),
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_belong_to_them(key: str, value: Any) -> None:
    assert key in SamplingParams.from_request({key: value}).given()


def test_every_message_names_key_rule_and_value() -> None:
    with pytest.raises(ParameterError) as caught:
        SamplingParams(min_p=7)
    error = caught.value
    assert (error.name, error.rule, error.value) == ("min_p", "in [0, 1]", 7.0)


def test_vllms_map_of_the_same_name_is_told_apart() -> None:
    with pytest.raises(ParameterError, match=r"true or false, got .* give response_format"):
        SamplingParams.from_request({"structured_outputs": {"json": {"type": "object"}}})


def test_what_was_validated_cannot_change() -> None:
    params = SamplingParams(logit_bias={5: 1})
    bias = LogitBias({5: 1.0})
    for held in (params.logit_bias, bias.bias):
        with pytest.raises(TypeError, match="read-only"):
            held[5] = 1e9  # type: ignore[index]
        with pytest.raises(TypeError, match="read-only"):
            held.update({6: 1})  # type: ignore[union-attr]
        assert pickle.loads(pickle.dumps(held)) == copy.deepcopy(held) == {5: 1.0}
    extra = {"provider": {"order": ["a"]}}
    kept = SamplingParams(extra=extra)
    extra["provider"]["order"].append("b")
    assert kept.extra == {"provider": {"order": ["a"]}}


def test_any_seed_prints() -> None:
    assert repr(SamplingParams(seed=10**5000)) == "SamplingParams(seed=an integer of 16610 bits)"
    assert repr(SamplingParams(seed=-7)) == "SamplingParams(seed=-7)"
