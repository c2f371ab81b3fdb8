"""Names of parameters as people write them: those that are wanted, those that are required."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from logitlab.checks import ParameterError, suggestion
from logitlab.request.params import PARAMETERS
from logitlab.verification.battery import QUICK, is_beyond, is_examined
from logitlab.verification.outcome import KNOWN, OTHERS

__all__ = ["only_names", "required_names"]

_BEYOND = "beyond"
_RULE = "names of parameters, such as temperature,top_p"
_FEWEST = 3  # letters of a name that is cut
_MOST = 4  # names in a hint


def only_names(name: str, given: Any, quick: bool = False) -> tuple[str, ...]:
    """Return the names of what is wanted; () for all.

    Parameters
    ----------
    name : str
        What the caller calls it.
    given : str or iterable of str, optional
        A text has commas between them. ``beyond`` stands for all samplers beyond the page, and
        findings such as ``dialects`` may be wanted, too.
    quick : bool
        Whether only the parameters of a quick examination may be among them.

    Raises
    ------
    ParameterError
        For no name, one that nobody knows, and one that no examination tells of.

    Examples
    --------
    >>> only_names("only", "temperature, top_p")
    ('temperature', 'top_p')
    """
    if given is None:
        return ()
    names = _names(name, given, [*KNOWN, *PARAMETERS, *OTHERS])
    if not names:
        hint = "Leave it out for all of them."
        raise ParameterError(name, "at least one parameter", given, hint)
    for each in names:
        _check_examined(name, each)
        if quick and each not in QUICK:
            rule = f"among {', '.join(QUICK)}, which is all that a quick examination looks at"
            raise ParameterError(name, rule, each)
    return names


def required_names(
    name: str,
    given: Any,
    only: Collection[str] = (),
    quick: bool = False,
    found: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the names of parameters that have to be honoured.

    Parameters
    ----------
    name : str
        What the caller calls it.
    given : str or iterable of str
    only : collection of str
        What `only_names` returned: the parameter has to be among these, where there are some.
    quick : bool
        Whether an examination is quick.
    found : collection of str
        Names that are known beside those of all examinations.

    Raises
    ------
    ParameterError
        As of `only_names`; for ``beyond``, which is no parameter, and for one that will not be
        examined.

    Examples
    --------
    >>> required_names("keys", "temp")
    Traceback (most recent call last):
    logitlab.checks.ParameterError: keys must be names of parameters, such as temperature,top_p, \
got 'temp'. Did you mean temperature?
    """
    known = [key for key in (*KNOWN, *PARAMETERS, *found) if key != _BEYOND]
    names = _names(name, given, known)
    if not names:
        raise ParameterError(name, "at least one parameter", given)
    chosen = only or (QUICK if quick else ())
    for key in names:
        if key not in found:
            _check_examined(name, key)
        is_chosen = key in chosen or key == "logprobs" or (_BEYOND in chosen and is_beyond(key))
        if chosen and not is_chosen:
            what = "is examined" if only else "a quick examination looks at"
            raise ParameterError(name, f"among {', '.join(chosen)}, which is all that {what}", key)
    return names


def _names(name: str, given: Any, known: Collection[str]) -> tuple[str, ...]:
    """Return names that were given as a text with commas, or several, each a known one once."""
    if isinstance(given, str):
        given = [each.strip() for each in given.split(",") if each.strip()]
    try:
        names = list(given)
    except TypeError:
        raise ParameterError(name, _RULE, given) from None
    for each in names:
        if not isinstance(each, str):
            raise ParameterError(name, _RULE, each)
        # Such as reasoning_effort, which the page does not have.
        is_stage = each not in (_BEYOND, *OTHERS) and not is_beyond(each)
        if each not in known and not is_stage:
            raise ParameterError(name, _RULE, each, _meant(each, known))
    return tuple(dict.fromkeys(names))


def _meant(name: str, known: Collection[str]) -> str:
    """Return a sentence about a name that is none: what it stands for, or what was meant."""
    if name == _BEYOND:
        return "It stands for all samplers beyond the page: name those that you need."
    if name in OTHERS:
        return "That is a finding about no parameter."
    part = name.lower().replace("-", "_").replace("penalties", "penalty")
    named = dict.fromkeys(known) if len(part) >= _FEWEST else ()
    parts = [each for each in named if part in each and is_examined(each)]
    found = [each for each in parts if each.startswith(part)]
    if not found and (told := suggestion(name, known)):
        return told
    found = (found or parts)[:_MOST]
    if not found:
        return ""
    return f"Did you mean {' or '.join(filter(None, [', '.join(found[:-1]), found[-1]]))}?"


def _check_examined(name: str, key: str) -> None:
    if not is_examined(key):
        hint = "No request that is sent would tell of it."
        raise ParameterError(name, "parameters that are examined", key, hint)
