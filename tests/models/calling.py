"""Conversations with calls, and chat templates in the shapes of those that come with models."""

from __future__ import annotations

from typing import Any

__all__ = ["ARGUMENTS", "CODER", "HERMES", "LLAMA", "QWEN", "USER", "called"]

USER = {"role": "user", "content": "Weather in Köln?"}
ARGUMENTS: dict[str, Any] = {"city": "Köln <&>", "days": [1, 2.5, None], "deep": {"a": "\"'\n"}}

_EACH = (
    "{% for m in messages %}{% if m.tool_calls %}{% for call in m.tool_calls %}"
    "{% set f = call.function %}"
)
_END = "{% endfor %}{% endif %}{% endfor %}"
# Hermes' writes a whole call.
HERMES = _EACH + "<tool_call>\n{{ f | tojson }}\n</tool_call>" + _END
# Qwen 3's asks whether arguments are a text.
QWEN = (
    _EACH + '{"name": "{{ f.name }}", "arguments": '
    "{% if f.arguments is string %}{{ f.arguments }}"
    "{% else %}{{ f.arguments | tojson }}{% endif %}}" + _END
)
# Qwen 3 Coder's goes through them.
CODER = (
    _EACH + "{% for key, value in f.arguments.items() %}<{{ key }}>"
    "{{ value if value is string else value | tojson }}{% endfor %}" + _END
)
# Llama 3.1's looks for the key, and has one call in a message.
LLAMA = (
    "{% for m in messages %}{% if 'tool_calls' in m %}"
    "{% if not m.tool_calls | length == 1 %}{{ raise_exception('one call') }}{% endif %}"
    "{% set f = m.tool_calls[0].function %}"
    '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
    "{% endif %}{% endfor %}"
)


def called(arguments: Any, **more: Any) -> list[dict[str, Any]]:
    """Return a conversation with a call, its arguments as they are given, and its result."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call], **more},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
