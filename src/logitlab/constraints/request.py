"""The constraint that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.constraints.constraint import Constraint
from logitlab.constraints.kinds import JsonObject, JsonSchema
from logitlab.constraints.tools import Tools
from logitlab.request.params import SamplingParams

__all__ = ["constraint_of"]

_KEYS = (
    "response_format", "structured_outputs", "tools", "tool_choice", "parallel_tool_calls",
)  # fmt: skip


def constraint_of(params: SamplingParams | Mapping[str, Any]) -> Constraint | None:
    """Return the constraint of a request's text, or None where any text will do.

    Parameters
    ----------
    params : SamplingParams or mapping
        Of its keys ``response_format``, ``structured_outputs``, ``tools``, ``tool_choice`` and
        ``parallel_tool_calls`` are read. ``strict`` is accepted wherever it may stand: what cannot
        be enforced is an error in any case.

    Returns
    -------
    Constraint or None
        With ``response_format`` and tools under "auto", the text has the format or is calls. Calls
        that are forced leave no text, so that the format has nothing to say; it is checked
        nevertheless.

    Raises
    ------
    ParameterError
        For parameters out of their rules, or a schema that cannot be enforced.

    Examples
    --------
    >>> constraint_of({"response_format": {"type": "json_object"}})
    JsonObject()
    >>> constraint_of({"temperature": 0.5}) is None
    True
    >>> tools = [{"type": "function", "function": {"name": "now"}}]
    >>> constraint_of({"tools": tools, "parallel_tool_calls": False})
    Tools(['now'], 'auto', parallel=False)
    """
    if not isinstance(params, SamplingParams | Mapping):
        raise ParameterError("params", "SamplingParams or a map of parameters", params)
    given = params.given() if isinstance(params, SamplingParams) else params
    try:
        asked = SamplingParams(**{key: given[key] for key in _KEYS if given.get(key) is not None})
    except RecursionError:
        rule = "nested less deeply"
        raise ParameterError("response_format and tools", rule, Seen("a schema")) from None
    content = _format(asked.response_format or {})
    if not asked.tools:
        return content
    choice = asked.tool_choice or "auto"
    if choice == "none" and content is not None:
        return content
    parallel = asked.parallel_tool_calls is not False
    return Tools(asked.tools, choice, parallel, content)


def _format(asked: Mapping[str, Any]) -> JsonSchema | JsonObject | None:
    if asked.get("type") == "json_object":
        return JsonObject()
    if asked.get("type") == "json_schema":
        schema = asked["json_schema"]["schema"]
        return JsonSchema(schema, name="response_format.json_schema.schema")
    return None
