"""Messages as chat templates read them: arguments are maps, and what is wrong has a path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from logitlab import ParameterError, chat, chat_stream
from logitlab.models import NGram
from logitlab.models.chat_template import render
from logitlab.models.messages import check_messages

from models.calling import ARGUMENTS, CODER, HERMES, LLAMA, QWEN, called

MODEL = NGram.bundled()


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (json.dumps(ARGUMENTS), ARGUMENTS),
        (json.dumps(ARGUMENTS, ensure_ascii=False, indent=2), ARGUMENTS),
        (ARGUMENTS, ARGUMENTS),
        ("{}", {}), ("", {}), ("  \n", {}), (None, {}), ("null", {}),
        ('{"a": {"b": "{\\"c\\": 1}"}}', {"a": {"b": '{"c": 1}'}}),
    ],
)  # fmt: skip
def test_every_kind_of_template_gets_the_object(given: Any, arguments: dict[str, Any]) -> None:
    messages = called(given)
    before = json.dumps(messages)
    text = render(HERMES, messages).removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    assert json.loads(text) == {"name": "f", "arguments": arguments}
    assert json.loads(render(QWEN, messages)) == {"name": "f", "arguments": arguments}
    assert json.loads(render(LLAMA, messages)) == {"name": "f", "parameters": arguments}
    assert all(f"<{key}>" in render(CODER, messages) for key in arguments)
    assert json.dumps(messages) == before  # the caller's own


def test_checking_again_changes_nothing() -> None:
    messages = called(json.dumps(ARGUMENTS), refusal="No.", name=None)
    once = check_messages(messages)
    assert check_messages(once) == once


def test_what_is_null_is_absent() -> None:
    """Clients send back what they got: `message.model_dump()` has a null for all there is not."""
    echoed = {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": None,
              "function_call": None, "audio": None, "annotations": None}  # fmt: skip
    assert check_messages([echoed]) == [{"role": "assistant", "content": "Hi"}]
    assert render(LLAMA, [echoed, {**echoed, "tool_calls": []}]) == ""


def test_refusals_are_text() -> None:
    parts = [{"type": "text", "text": "Well. "}, {"type": "refusal", "refusal": "I cannot."}]
    [message] = check_messages([{"role": "assistant", "content": parts}])
    assert message["content"] == "Well. I cannot."
    [message] = check_messages([{"role": "assistant", "content": None, "refusal": "I cannot."}])
    assert message["content"] == "I cannot."
    [message] = check_messages([{"role": "assistant", "content": "Yes", "refusal": "No"}])
    assert message["content"] == "Yes"


def changed(path: str, value: Any) -> list[dict[str, Any]]:
    """Return messages in which one place holds something else."""
    messages: list[dict[str, Any]] = json.loads(json.dumps(called("{}")))
    spot: Any = messages
    *way, last = path.replace("[", ".[").removeprefix(".").split(".")
    for name in way:
        spot = spot[int(name[1:-1])] if name.startswith("[") else spot.setdefault(name, {})
    spot[int(last[1:-1]) if last.startswith("[") else last] = value
    return messages


CALL = "[1].tool_calls[0]"
WRONG: list[tuple[str, Any, str]] = [
    ("[1]", "hello", "a map with role and content"),
    ("[0].role", None, "one of 'system', 'developer', 'user', 'assistant', 'tool'"),
    ("[0].role", ["user"], "one of 'system', 'developer', 'user', 'assistant', 'tool'"),
    ("[0].content", None, "a text, or an array of text parts"),
    ("[0].content", {"type": "text"}, "a text, or an array of text parts"),
    ("[0].name", 5, "a text"),
    ("[1].refusal", ["no"], "a text"),
    ("[1].reasoning", 3, "a text"),
    ("[2].tool_call_id", 7, "a text"),
    ("[1].tool_calls", "f()", "an array of tool calls"),
    ("[1].tool_calls", {"0": 1}, "an array of tool calls"),
    (CALL, "f()", "a map with a function"),
    (f"{CALL}.id", 5, "a text"),
    (f"{CALL}.type", "custom", "'function'"),
    (f"{CALL}.function", "f", "a map with name and arguments"),
    (f"{CALL}.function", None, "a map with name and arguments"),
    (f"{CALL}.function.name", None, "the name of a function"),
    (f"{CALL}.function.name", 5, "the name of a function"),
    *((f"{CALL}.function.arguments", value, "the JSON text of an object")
      for value in ("{", "{'a': 1}", "[1]", '"text"', "5", "NaN", '{"a": NaN}', '{"a": Infinity}',
                    '{"a": 1} x', [1], 5, True, "[" * 5000, '{"a": ' + "9" * 5000 + "}")),
    ("[1].function_call", "f", "a map with name and arguments"),
    ("[1].function_call", {"name": "f", "arguments": "{"}, "the JSON text of an object"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "rule"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_has_its_place(path: str, value: Any, rule: str) -> None:
    messages = changed(path, value)
    with pytest.raises(ParameterError) as caught:
        check_messages(messages)
    place = f"messages{path}"
    if "function_call" in path and isinstance(value, dict):
        place += ".arguments"
    assert (caught.value.name, caught.value.rule) == (place, rule)
    error = chat(MODEL, {"messages": messages, "max_tokens": 2})["error"]
    assert (error["code"], error["metadata"]) == (400, {"parameter": place})
    assert error["message"].startswith(f"{place} must be {rule}, got ")
    with pytest.raises(ParameterError, match=r"^messages\["):
        chat_stream(MODEL, {"messages": messages, "max_tokens": 2})


@pytest.mark.parametrize(
    ("role", "part", "place"),
    [
        ("user", {"type": "refusal", "refusal": "No"}, "content[0]"),
        ("user", {"type": "image_url"}, "content[0]"),
        ("assistant", "text", "content[0]"),
        ("assistant", {"type": "text", "text": 5}, "content[0].text"),
        ("assistant", {"type": "text"}, "content[0].text"),
        ("assistant", {"type": "refusal", "refusal": None}, "content[0].refusal"),
    ],
)
def test_parts_have_their_place(role: str, part: Any, place: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_messages([{"role": role, "content": [part]}])
    assert caught.value.name == f"messages[0].{place}"


def test_calls_without_arguments_or_type() -> None:
    [message] = check_messages(
        [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}], "function_call": None}]
    )
    assert message["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}]
