"""What models check before they run: tokens for every text, and that a library is there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, TypeVar

from logitlab.checks import ParameterError, Range, Seen
from logitlab.models.model import State

__all__ = ["check_tokens", "library", "own_states"]

S = TypeVar("S", bound=State)


def check_tokens(
    states: Sequence[State], tokens: Sequence[Sequence[int]], size: int, length: int | None = None
) -> list[list[int]]:
    """Return the new tokens of every text as Python integers.

    Parameters
    ----------
    states, tokens : sequences of length n
        As in `Model.advance`.
    size : int
        How many tokens there are: V.
    length : int or None
        Most tokens that a text can have.

    Raises
    ------
    ParameterError
        For other than one text to a state, a text without new tokens, ids outside of
        [0, V - 1], or a text that becomes too long.

    Examples
    --------
    >>> check_tokens([State()], [[7]], size=5)
    Traceback (most recent call last):
    logitlab.checks.ParameterError: tokens[0] must be an integer in [0, 4], got 7. It is ...
    """
    if len(states) != len(tokens):
        rule = f"one sequence of new tokens for each of {len(states)} states"
        raise ParameterError("tokens", rule, Seen(f"{len(tokens)}"))
    if len({id(state) for state in states}) < len(states):
        raise ParameterError("states", "different objects", Seen("one of them twice"))
    checked = []
    for i, (state, new) in enumerate(zip(states, tokens, strict=True)):
        ids = Range(0, size - 1, integer=True).check(f"tokens[{i}]", new)
        if ids.ndim != 1 or not ids.size:
            raise ParameterError(f"tokens[{i}]", "a sequence of at least one token", new)
        if length is not None and len(state.tokens) + ids.size > length:
            total = Seen(f"{len(state.tokens) + ids.size} tokens")
            raise ParameterError(f"tokens[{i}]", f"within the context length of {length}", total)
        checked.append(ids.tolist())
    return checked


def own_states(states: Sequence[State], kind: type[S]) -> list[S]:
    """Return the states, each of the class that the model's own `start` returns, or raise."""
    for i, state in enumerate(states):
        if not isinstance(state, kind):
            raise ParameterError(f"states[{i}]", "from start() of the model", state)
    return [state for state in states if isinstance(state, kind)]


def library(name: str, extra: str) -> Any:
    """Return a module that logitlab does not need by itself.

    Raises
    ------
    ImportError
        If it is not installed; the message says the command that installs it.

    Examples
    --------
    >>> library("no_such_library", "transformers")
    Traceback (most recent call last):
    ImportError: no_such_library is not installed: pip install 'logitlab[transformers]'
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        message = f"{name} is not installed: pip install 'logitlab[{extra}]'"
        raise ImportError(message, name=name) from None
