"""Why a log does not answer a request: what differs from what it holds, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.checks import brief, counted
from logitlab.verification.wording import harmless
from logitlab.version import __version__

__all__ = ["missing"]

_LONGEST = 60
_MOST_NAMED = 3
_ABSENT = object()


def missing(
    body: Mapping[str, Any], number: int, logged: Sequence[Mapping[str, Any]], version: Any = None
) -> str:
    """Return the sentence about a request that a log has no answer to.

    Parameters
    ----------
    body : mapping
        The request.
    number : int
        Which one of the examination it is, the first is 1.
    logged : sequence of mapping
        The requests of the log, those that are used up among them.
    version : str, optional
        Of the package that wrote the log.

    Examples
    --------
    >>> logged = [{"prompt": "Name a city.", "top_k": k} for k in (1, 5)]
    >>> missing({"prompt": "Name a city.", "top_k": 9}, 3, logged)
    'the log has no answer to request 3: the nearest in it has top_k 1, and not 9'
    >>> missing({"prompt": "Name a city.", "top_k": 5}, 3, logged)
    'the log has no answer to request 3: it has 1 answer to the like of it, which is used'
    """
    told = f"the log has no answer to request {number}"
    equal = sum(each == body for each in logged)
    if equal:
        are = "is" if equal == 1 else "are"
        told += f": it has {counted(equal, 'answer')} to the like of it, which {are} used"
    elif logged:
        nearest = min(logged, key=lambda each: len(_differing(each, body)))
        keys = _differing(nearest, body)
        parts = [_difference(key, nearest, body) for key in keys[:_MOST_NAMED]]
        if len(keys) > _MOST_NAMED:
            parts.append(f"{len(keys) - _MOST_NAMED} more")
        told += f": the nearest in it has {'; '.join(parts)}"
    if version is not None and version != __version__:
        told += f" (logitlab {harmless(str(version))} wrote it, this is {__version__})"
    return told


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    keys = [*one, *(key for key in other if key not in one)]
    return [key for key in keys if one.get(key, _ABSENT) != other.get(key, _ABSENT)]


def _difference(key: str, logged: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    if key not in asked:
        return f"{key}, which this has not"
    if key not in logged:
        return f"no {key}, and not {_short(key, asked[key])}"
    return f"{key} {_short(key, logged[key])}, and not {_short(key, asked[key])}"


def _short(key: str, value: Any) -> str:
    if key == "messages":  # all of ours have one
        value = value[0].get("content") if value and isinstance(value[0], dict) else value
    text = harmless(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else brief(text[: _LONGEST - 1] + "…").strip("'")
