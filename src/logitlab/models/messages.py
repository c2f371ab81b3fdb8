"""Messages: the turns of a conversation, checked, as chat templates read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from logitlab.checks import ParameterError, check_choice

__all__ = ["check_messages"]

_ROLES = ("system", "developer", "user", "assistant", "tool")

_TEXTS = ("name", "tool_call_id", "refusal", "reasoning", "reasoning_content")


def check_messages(messages: object) -> list[dict[str, Any]]:
    r"""Return the messages of a conversation as chat templates read them, or raise.

    Parameters
    ----------
    messages : sequence of mapping
        As in a request body. A field that is null is absent.

    Returns
    -------
    list of dict
        The contents are texts: parts are joined, those of type "refusal" included, and an
        assistant's message without content is its ``refusal``, or empty. The ``arguments`` of tool
        calls are maps, since templates write them out themselves: [1]_ a JSON text is parsed, and
        an empty one, or null, is ``{}``. All other fields stay as they are.

    Raises
    ------
    ParameterError
        For what is no message, with the path of the wrong field; for arguments that are not the
        JSON text of an object.

    References
    ----------
    .. [1] https://huggingface.co/docs/transformers/chat_extras

    Examples
    --------
    >>> check_messages([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])
    [{'role': 'user', 'content': 'Hello'}]
    >>> call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    >>> [message] = check_messages([{"role": "assistant", "tool_calls": [call]}])
    >>> message["content"], message["tool_calls"][0]["function"]["arguments"]
    ('', {'a': 1})
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise ParameterError("messages", "a non-empty array of messages", messages)
    return [_message(f"messages[{i}]", message) for i, message in enumerate(messages)]


def _message(path: str, message: object) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise ParameterError(path, "a map with role and content", message)
    fields = {key: value for key, value in message.items() if value is not None}
    is_answer = fields.get("role") == "assistant"
    check_choice(f"{path}.role", fields.get("role"), _ROLES)
    for key in _TEXTS:
        if not isinstance(fields.get(key, ""), str):
            raise ParameterError(f"{path}.{key}", "a text", fields[key])
    content = fields.get("content")
    if content is None and is_answer:
        content = fields.get("refusal", "")  # it may consist of tool calls alone
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        parts = enumerate(content)
        content = "".join(_part(f"{path}.content[{i}]", part, is_answer) for i, part in parts)
    if not isinstance(content, str):
        raise ParameterError(f"{path}.content", "a text, or an array of text parts", content)
    calls = fields.pop("tool_calls", ())
    if not isinstance(calls, Sequence) or isinstance(calls, str | bytes):
        raise ParameterError(f"{path}.tool_calls", "an array of tool calls", calls)
    if calls:
        here = f"{path}.tool_calls"
        fields["tool_calls"] = [_call(f"{here}[{i}]", call) for i, call in enumerate(calls)]
    if "function_call" in fields:  # as calls were written before there were tools
        fields["function_call"] = _function(f"{path}.function_call", fields["function_call"])
    return {**fields, "content": content}


def _part(path: str, part: object, is_answer: bool) -> str:
    kinds = ("text", "refusal") if is_answer else ("text",)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in kinds:
        rule = "a part of type " + " or ".join(f'"{name}"' for name in kinds)
        raise ParameterError(path, rule, part)
    text = part.get(kind)
    if not isinstance(text, str):
        raise ParameterError(f"{path}.{kind}", "a text", text)
    return text


def _call(path: str, call: object) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise ParameterError(path, "a map with a function", call)
    fields = {key: value for key, value in call.items() if value is not None}
    if not isinstance(fields.get("id", ""), str):
        raise ParameterError(f"{path}.id", "a text", fields["id"])
    if fields.get("type", "function") != "function":
        raise ParameterError(f"{path}.type", "'function'", fields["type"])
    return {**fields, "function": _function(f"{path}.function", fields.get("function"))}


def _function(path: str, function: object) -> dict[str, Any]:
    if not isinstance(function, Mapping):
        raise ParameterError(path, "a map with name and arguments", function)
    if not isinstance(function.get("name"), str):
        raise ParameterError(f"{path}.name", "the name of a function", function.get("name"))
    arguments = _arguments(f"{path}.arguments", function.get("arguments"))
    return {**function, "arguments": arguments}


def _arguments(path: str, arguments: object) -> Mapping[str, Any]:
    """Return the arguments of a call as a map."""
    value = arguments
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_refuse) if value.strip() else None
        except (ValueError, RecursionError):
            value = ()
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ParameterError(path, "the JSON text of an object", arguments)
    return value


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(constant)
