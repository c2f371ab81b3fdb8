"""What request parameters accept that are no numbers of a range.

Each is called with the key and what the request says; it returns the value in canonical form, or
raises `ParameterError`. Values that may be changed later by the caller are copied.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from logitlab.checks import (
    Check,
    FrozenDict,
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_integer,
    check_number,
    check_token,
)
from logitlab.foreign import as_python

__all__ = [
    "BIAS",
    "any_bias",
    "any_version",
    "bias_entries",
    "choice",
    "copied",
    "extra",
    "flag",
    "hashable",
    "logit_bias",
    "mirostat",
    "plain",
    "response_format",
    "stop",
    "structured_outputs",
    "text",
    "tool_choice",
    "tools",
]

BIAS = Range(-100, 100)


def plain(key: str, value: Any) -> Any:
    """Return a value with Python's numbers, and lists of them, for the arrays in it."""
    try:
        return as_python(value, str(key))
    except Exception as error:
        hint = f"{' '.join(str(error).split()).rstrip('.')}."
        raise ParameterError(str(key), "a number, or numbers", value, hint) from None


def flag(key: str, value: Any) -> bool:
    """Return true or false; 0, 1 and words are refused."""
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(key, "true or false", value)
    return bool(value)


def structured_outputs(key: str, value: Any) -> bool:
    """Take true or false; vLLM's parameter of the same name is a map of another kind."""
    if isinstance(value, Mapping):
        hint = "vLLM's map of grammars is not modelled: give response_format a schema."
        raise ParameterError(key, "true or false", value, hint)
    return flag(key, value)


def choice(*choices: str) -> Check:
    """Return what takes one of some words, as the check of a parameter."""

    def check(key: str, value: Any) -> str:
        check_choice(key, value, choices)
        return str(value)

    return check


def logit_bias(key: str, value: Any) -> dict[int, float]:
    """Take a map from token ids to numbers."""
    if not isinstance(value, Mapping):
        raise ParameterError(key, f"a map from token ids to numbers {BIAS}", value)
    entries = bias_entries(key, value)
    return FrozenDict({i: check_number(f"{key}[{i}]", n, BIAS) for i, n in entries.items()})


def any_bias(key: str, value: Any) -> dict[int, float]:
    """Take a map from token ids to numbers of any size; ``-inf`` removes a token."""
    if not isinstance(value, Mapping):
        raise ParameterError(key, "a map from token ids to numbers", value)
    # Whole numbers stay integers, as JSON has them: transformers tells them apart.
    return {
        token: amount
        if type(amount) is int or (type(amount) is float and amount == -math.inf)
        else check_number(f"{key}[{token}]", amount)
        for token, amount in bias_entries(key, value).items()
    }


def bias_entries(key: str, value: Mapping[Any, Any]) -> dict[int, Any]:
    """Return the entries of a map from token ids, which may be strings as in JSON, by id."""
    entries: dict[int, Any] = {}
    for token, amount in value.items():
        if isinstance(token, str) and token.isascii() and token.isdigit() and len(token) < 20:
            token = int(token)
        token = check_token(key, token)
        if token in entries:
            raise ParameterError(key, "a map with one entry for each token id", value)
        entries[token] = amount
    return entries


def stop(key: str, value: Any) -> tuple[str, ...]:
    """Take one string or several, none of them empty."""
    strings = (value,) if isinstance(value, str) else value
    if not isinstance(strings, Sequence) or not all(isinstance(s, str) for s in strings):
        raise ParameterError(key, "an array of strings", value)
    if not all(strings):
        raise ParameterError(key, "an array of non-empty strings", value)
    return tuple(strings)


def response_format(key: str, value: Any) -> dict[str, Any]:
    """Take a map with a type, and a schema where the type is json_schema."""
    kinds = ("text", "json_object", "json_schema")
    if not isinstance(value, Mapping) or value.get("type") not in kinds:
        raise ParameterError(key, "a map whose type is one of " + ", ".join(kinds), value)
    if value["type"] == "json_schema":
        wrapper = value.get("json_schema")
        schema = wrapper.get("schema") if isinstance(wrapper, Mapping) else None
        if isinstance(wrapper, Mapping):
            _check_fields(f"{key}.json_schema", wrapper, name=str, description=str, strict=bool)
        if not isinstance(schema, Mapping | bool):
            hint = 'Send {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}.'
            raise ParameterError(key, "a map with a schema under json_schema", value, hint)
    elif {"schema", "json_schema"} & value.keys():
        raise ParameterError(key, "of type json_schema where it has a schema", value)
    return deep_copy(key, value)


_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tools(key: str, value: Any) -> tuple[dict[str, Any], ...]:
    """Take function tools with names that differ."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ParameterError(key, "an array of tools", value)
    names = set()
    for i, tool in enumerate(value):
        here = f"{key}[{i}]"
        if not isinstance(tool, Mapping) or tool.get("type") != "function":
            raise ParameterError(here, 'a map of type "function"', tool)
        function = tool.get("function")
        if not isinstance(function, Mapping):
            raise ParameterError(here, "a map with a function", tool)
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ParameterError(f"{here}.function.name", "1 to 64 of A-Z a-z 0-9 _ -", name)
        if name in names:
            raise ParameterError(f"{here}.function.name", "different from all others", name)
        names.add(name)
        if not isinstance(function.get("parameters"), Mapping | None):
            raise ParameterError(
                f"{here}.function.parameters", "a JSON schema", function["parameters"]
            )
        _check_fields(f"{here}.function", function, description=str, strict=bool)
    return tuple(deep_copy(key, tool) for tool in value)


def tool_choice(key: str, value: Any) -> str | dict[str, Any]:
    """Take a word, or the name of one function."""
    words = ("none", "auto", "required")
    if isinstance(value, str) and value in words:
        return value
    if not isinstance(value, Mapping):
        rule = """'none', 'auto', 'required' or {"type": "function", "function": {"name": …}}"""
        raise ParameterError(key, rule, value)
    if value.get("type") != "function":
        raise ParameterError(f"{key}.type", "'function'", value.get("type"))
    function = value.get("function")
    if not isinstance(function, Mapping):
        raise ParameterError(f"{key}.function", "a map with a name", function)
    if not isinstance(function.get("name"), str):
        raise ParameterError(f"{key}.function.name", "the name of a function", function.get("name"))
    return deep_copy(key, value)


def _check_fields(path: str, fields: Mapping[str, Any], **kinds: type) -> None:
    """Raise for a text or flag that is none; one that is null is absent."""
    for name, kind in kinds.items():
        value = fields.get(name)
        if value is not None and not isinstance(value, kind):
            rule = "true or false" if kind is bool else "a text"
            raise ParameterError(f"{path}.{name}", rule, value)


def hashable(value: Any) -> Any:
    """Return what is equal for equal requests, and has a hash.

    Examples
    --------
    >>> hashable({"stop": ["a"], "seed": 1.0}) == hashable({"seed": 1, "stop": ["a"]})
    True
    """
    if isinstance(value, Mapping):
        return frozenset((key, hashable(entry)) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(hashable, value))
    # Of other things nobody knows which are equal, so that none may tell requests apart.
    return value if isinstance(value, str | Number) else None


def any_version(key: str, value: Any) -> int:
    """Take an integer: what other versions of mirostat mean is an engine's affair."""
    return check_integer(key, value, Range(integer=True))


def mirostat(key: str, value: Any) -> int:
    """Return 0, 1 or 2, the algorithms that there are."""
    version = check_integer(key, value, Range(integer=True))
    if version not in (0, 1, 2):
        raise ParameterError(key, "0, 1 or 2", value)
    return version


def text(key: str, value: Any) -> str:
    """Return a text as it is; anything else is refused."""
    if not isinstance(value, str):
        raise ParameterError(key, "a text", value)
    return value


def extra(value: Any) -> dict[str, Any]:
    """Take a map of keys that are no parameters."""
    if not isinstance(value, Mapping):
        raise ParameterError("extra", "a map of further request keys", value)
    return {key: _deep_copy(key, entry) for key, entry in value.items()}


def copied(request: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a request that later changes of the caller's do not reach, without arrays."""
    return {key: _deep_copy(key, plain(key, value)) for key, value in request.items()}


def deep_copy(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map that later changes of the caller's do not reach."""
    return dict(_deep_copy(key, dict(value)))


def _deep_copy(key: Any, value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except RecursionError:
        raise ParameterError(str(key), "nested less deeply", Seen("too many levels")) from None
    except Exception as error:  # as of a lock, or of a tensor with a history
        hint = f"{' '.join(str(error).split())[:200].rstrip('.')}."
        raise ParameterError(str(key), "a value that can be copied", value, hint) from None
