"""Forms of texts and calls: held, asked for, refused, and cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from logitlab.verification.answer import Answer
from logitlab.verification.calls import calls, calls_of, parallel
from logitlab.verification.finding import Finding
from logitlab.verification.structure import begins, formats, has_form
from logitlab.verification.study import Spent

from verification.examined import saying, study_of
from verification.providers import Provider

pytestmark = pytest.mark.slow

WEATHER = {"name": "get_weather", "arguments": '{"place": "Oslo"}'}


def claims(finding: Finding) -> dict[Any, str]:
    return {claim.sent: claim.verdict for claim in finding.claims}


def answer(text: str | None, reason: str = "stop", *made: Mapping[str, Any]) -> Answer:
    message = {"content": text, "tool_calls": [{"function": each} for each in made]}
    return Answer(200, {"choices": [{"message": message, "finish_reason": reason}]})


@pytest.mark.parametrize("dialect", ["openrouter", "vllm", "llama_cpp"])
def test_forms_of_providers(dialect: str) -> None:
    pytest.importorskip("llguidance")
    for fault in ("", "ignored", "refused", "weakened"):
        faults = {"response_format": fault} if fault else {}
        study = study_of(Provider(dialect, faults, logprobs="none"))
        formats(study)
        found = study.findings["response_format"]
        # Of a value, unlike of a parameter, it is all one whether it is ignored.
        schema = {"": "honoured", "refused": "refused"}.get(fault, "not_honoured")
        words = "honoured" if fault == "weakened" else schema
        assert claims(found) == {"json_object": words, "json_schema": schema}
        assert found.verdict == ("not_honoured" if fault == "weakened" else fault or "honoured")
        if fault == "refused":
            assert found.says == "Unsupported parameter: 'response_format'."
        if not fault:
            assert study.findings["structured_outputs"].verdict == "honoured"
            assert found.detail == (
                "json_object: 7 of 7 as asked, 0 of 4 at neutral; "
                "json_schema: 7 of 7 as asked, 0 of 4 at neutral."
            )


@pytest.mark.parametrize("dialect", ["openrouter", "vllm"])
def test_calls_of_providers(dialect: str) -> None:
    pytest.importorskip("llguidance")
    for fault in ("", "ignored", "refused"):
        faults = {"tool_choice": fault} if fault else {}
        study = study_of(Provider(dialect, faults, logprobs="none"))
        calls(study)
        found = study.findings["tool_choice"]
        assert found.verdict == (fault or "honoured")
        claimed = "not_honoured" if fault == "ignored" else found.verdict
        assert claims(found)["required"] == claims(found)["named"] == claimed
        # The tales never call by themselves, so that nothing is told of these.
        assert claims(found).get("none") == (None if fault == "refused" else "cannot_tell")
        tools = {"": "honoured", "ignored": "cannot_tell", "refused": "refused"}
        assert study.findings["tools"].verdict == tools[fault]


def test_a_model_that_writes_json_by_itself_tells_nothing() -> None:
    study = saying('{"a": 1}')
    formats(study)
    assert claims(study.findings["response_format"]) == {
        "json_object": "cannot_tell", "json_schema": "not_honoured"
    }  # fmt: skip


def test_answers_that_are_cut_are_not_broken() -> None:
    whole = '{"a": [1, -2.5e3, {"b\\u00e9": "x\\\\\\""}], "c": tru'
    for end in range(1, len(whole) + 1):
        assert begins(whole[:end]), whole[:end]
        assert has_form("json_object", answer(whole[:end], "length"))
    assert not has_form("json_object", answer(whole, "stop"))
    for text in ("[1", '{"a" 1', '{"a": 1}}', "{'a", '{"a": [}', '```json\n{"a": 1}\n```'):
        assert not begins(text)
        assert not has_form("json_object", answer(text, "length"))
    for text in ('{ "ploomish" : "qib', '{"ploomish":"zorvane"}', "{"):
        assert has_form("json_schema", answer(text, "length"))
    assert not has_form("json_schema", answer('{"ploomish": "blue', "length"))
    assert has_form("json_schema", answer('{"ploomish": "blue"}')) is False
    assert has_form("json_object", answer("", "length")) is None
    assert has_form("json_object", answer(None, "stop")) is False
    assert has_form("json_object", Answer(200, {"error": {}})) is None


@pytest.mark.parametrize(
    ("made", "reason", "names"),
    [
        ([WEATHER, WEATHER], "tool_calls", ["get_weather"] * 2),
        ([WEATHER | {"arguments": {"place": "Oslo"}}], "stop", ["get_weather"]),
        ([WEATHER | {"arguments": '{"place": "Os'}], "length", ["get_weather"]),
        ([WEATHER | {"arguments": '{"place": "Os'}], "stop", []),
        ([WEATHER | {"arguments": '{"town": "Oslo"}'}], "stop", []),
        ([WEATHER | {"name": "other"}], "stop", []),
        ([WEATHER | {"arguments": None}], "length", ["get_weather"]),
        ([{"name": "report_ploomish", "arguments": '{"ploomish": "wextant"}'}], "stop",
         ["report_ploomish"]),
        ([{"name": "report_ploomish", "arguments": '{"ploomish": "blue"}'}], "stop", []),
        ([], "stop", []),
    ],
)  # fmt: skip
def test_which_calls_count(made: list[Any], reason: str, names: list[str]) -> None:
    assert calls_of(answer(None, reason, *made)) == names


def constantly(body: dict[str, Any]) -> Any:
    return lambda asked: (200, json.loads(json.dumps(body)))


def caller(obeys: bool) -> Any:
    """Return a server that calls twice where it is begged, and else as it is told if it obeys."""

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        choice, prompt = body.get("tool_choice"), body["messages"][0]["content"]
        odd = {"name": "report_ploomish", "arguments": '{"ploomish": "zorvane"}'}
        made = [WEATHER, WEATHER] if "weather" in prompt else []
        if obeys:
            made = made or ([WEATHER] if choice == "required" else [])
            made = [odd] if isinstance(choice, Mapping) else [] if choice == "none" else made
            made = made[:1] if body.get("parallel_tool_calls") is False else made
        return 200, dict(answer("Blue.", "stop", *made).body)

    return ask


@pytest.mark.parametrize("obeys", [True, False])
def test_each_choice_of_tools_is_judged_against_what_the_model_does_by_itself(obeys: bool) -> None:
    study = study_of(caller(obeys))
    calls(study)
    parallel(study)
    found, verdict = study.findings["tool_choice"], "honoured" if obeys else "ignored"
    claimed = "honoured" if obeys else "not_honoured"
    assert claims(found) == {
        "required": claimed, "named": claimed, "none": claimed, "auto": "honoured"
    }  # fmt: skip
    assert study.findings["tools"].verdict == "honoured"
    assert study.findings["parallel_tool_calls"].verdict == verdict
    assert found.verdict == ("honoured" if obeys else "not_honoured")


def test_a_call_that_is_cut_before_its_name_is_asked_for_again() -> None:
    count = 0
    inner = caller(True)

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        nonlocal count
        count += 1
        return (200, dict(answer(None, "length").body)) if count % 3 == 0 else inner(body)

    study = study_of(ask)
    calls(study)
    assert claims(study.findings["tool_choice"])["required"] == "honoured"


def test_answers_of_odd_shapes_and_the_end_of_the_requests() -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"choices": [{"message": None}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"tool_calls": [None, {"function": 3}]}}]},
    ]
    for body in odd:
        study = study_of(constantly(body))
        formats(study)
        calls(study)
        assert study.findings["tool_choice"].verdict in ("cannot_tell", "ignored")
    for stage, key in ((formats, "response_format"), (calls, "tool_choice")):
        for cap in (0, 4, 9):
            study = study_of(Provider("vllm", logprobs="none"), cap=cap)
            with pytest.raises(Spent):
                stage(study)
            assert study.findings[key].requests == cap
