"""What a request gives, whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.rules import Note
from logitlab.request.keys import check_key
from logitlab.request.params import SamplingParams
from logitlab.request.values import plain
from logitlab.request.whole import READ

__all__ = ["Given", "read_request"]


class Given(dict[str, Any]):
    """The keys of a request that are not None, the values of parameters in their types.

    Attributes
    ----------
    nulls : frozenset of str
        Keys of a request body that are null.
    unread : mapping of str to ParameterError
        Parameters of another type than their own, as they are, which a server's schema may read
        all the same, and what is wrong with them if it does not.
    notes : tuple of Note
        What a schema made of them.
    """

    nulls: frozenset[str] = frozenset()
    unread: Mapping[str, ParameterError] = {}
    notes: tuple[Note, ...] = ()


def read_request(request: Any) -> Given:
    """Return the keys of a request that are not None, each parameter checked for its type alone.

    What raises here no engine could read.
    """
    if isinstance(request, Given):
        return request
    if isinstance(request, SamplingParams):  # checked where it was written
        values: Mapping[str, Any] = {**vars(request), **request.extra, "extra": None}
        return Given({key: value for key, value in values.items() if value is not None})
    if not isinstance(request, Mapping):
        hint = "SamplingParams.from_request reads a request body."
        raise ParameterError("request", "SamplingParams or a request body", request, hint)
    given = Given({key: plain(key, x) for key, x in request.items() if x is not None})
    given.nulls = frozenset(key for key, value in request.items() if value is None)
    unread: dict[str, ParameterError] = {}
    for key, value in given.items():
        check_key(key, value)
        if key in READ:
            try:
                given[key] = READ[key].typed(value)
            except ParameterError as error:
                if not _is_readable(key, value):
                    raise
                unread[key] = error
    given.unread = unread
    return given


def _is_readable(key: str, value: Any) -> bool:
    """Whether the schema of some server reads a value that is not in the type of its parameter."""
    if key == "logit_bias":
        return isinstance(value, bool | int | float | str | list | tuple | Mapping)
    kind = READ[key].kind
    if kind not in ("float", "integer", "boolean"):
        return False
    if isinstance(value, str):
        return kind == "boolean" or _is_number(value)
    if isinstance(value, bool | int):
        is_limit = key == "max_tokens"  # of 0, or below, some servers make something
        return kind != "integer" or isinstance(value, bool) or READ[key].range is None or is_limit
    return isinstance(value, float) and kind != "float" and value - value == 0


def _is_number(text: str) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return number - number == 0
