"""What models check before they run: new tokens for every text, and states of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from logitlab.checks import ParameterError, Range, Seen
from logitlab.models.model import State

__all__ = ["check_tokens", "own_states"]

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
    if len(set(map(id, states))) < len(states):
        raise ParameterError("states", "different objects", Seen("one of them twice"))
    result = []
    for i, (state, new) in enumerate(zip(states, tokens, strict=True)):
        ids = Range(0, size - 1, integer=True).check(f"tokens[{i}]", new)
        if ids.ndim != 1 or not ids.size:
            raise ParameterError(f"tokens[{i}]", "a sequence of at least one token", new)
        if length is not None and len(state.tokens) + ids.size > length:
            total = Seen(f"{len(state.tokens) + ids.size} tokens")
            raise ParameterError(f"tokens[{i}]", f"within the context length of {length}", total)
        result.append(ids.tolist())
    return result


def own_states(states: Sequence[State], kind: type[S]) -> list[S]:
    """Return the states, each of the class that the model's own `start` returns, or raise."""
    for i, state in enumerate(states):
        if not isinstance(state, kind):
            raise ParameterError(f"states[{i}]", "from start() of the model", state)
    return [state for state in states if isinstance(state, kind)]
