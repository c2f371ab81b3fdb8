"""The constraint that a request asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.constraints.constraint import Constraint
from logitlab.constraints.kinds import JsonObject, JsonSchema
from logitlab.constraints.tools import Tools
from logitlab.request.params import SamplingParams

__all__ = ["constraint_of", "constraint_of_values"]

_STRUCTURE = (
    "response_format",
    "structured_outputs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)


def constraint_of(
    params: SamplingParams | Mapping[str, Any], *, strict_formats: bool = False
) -> Constraint | None:
    """Return the constraint of a request's text, or None where any text will do.

    Parameters
    ----------
    params : SamplingParams or mapping
        Of its keys ``response_format``, ``structured_outputs``, ``tools``, ``tool_choice`` and
        ``parallel_tool_calls`` are read. ``strict`` is accepted wherever it may stand: what cannot
        be enforced is an error in any case.
    strict_formats : bool
        Whether that holds for each ``format`` of texts, too; by default one that is not enforced is
        an annotation.

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
    if isinstance(params, Mapping):
        values = {key: params[key] for key in _STRUCTURE if params.get(key) is not None}
        try:
            params = SamplingParams(**values)
        except RecursionError:
            rule = "nested less deeply"
            raise ParameterError("response_format and tools", rule, Seen("a schema")) from None
    if not isinstance(params, SamplingParams):
        raise ParameterError("params", "SamplingParams or a map of parameters", params)
    return constraint_of_values(params.given(), strict_formats=strict_formats)


def constraint_of_values(
    values: Mapping[str, Any], *, strict_formats: bool = False
) -> Constraint | None:
    """Return the constraint of values that were checked where they were written.

    Parameters
    ----------
    values : mapping
        The same keys, with values as `SamplingParams` leaves them; others are not looked at. A
        value of None is absent.
    strict_formats : bool
        As in `constraint_of`.

    Returns
    -------
    Constraint or None
        As `constraint_of` has it.

    Raises
    ------
    ParameterError
        For a schema that cannot be enforced.

    Examples
    --------
    >>> constraint_of_values({"response_format": {"type": "json_object"}, "tools": None})
    JsonObject()
    """
    form = values.get("response_format") or {}
    content: JsonSchema | JsonObject | None = None
    if form.get("type") == "json_object":
        content = JsonObject()
    if form.get("type") == "json_schema":
        schema = form["json_schema"]["schema"]
        here = "response_format.json_schema.schema"
        content = JsonSchema(schema, name=here, strict_formats=strict_formats)
    tools, choice = values.get("tools"), values.get("tool_choice") or "auto"
    if not tools or (choice == "none" and content is not None):
        return content
    parallel = values.get("parallel_tool_calls") is not False
    return Tools.of_values(tools, choice, parallel, content, strict_formats)
