"""The state of a chain: the numbers of every step that has some."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from logitlab.arrays import per_row
from logitlab.checks import ParameterError, Range
from numpy.typing import NDArray

__all__ = ["Course", "State", "check_state", "finite"]

State = Mapping[str, Any]
"""Numbers by their names, those of every step that has some: ``{"mirostat": 10.0}``."""


def check_state(
    state: object,
    names: Collection[str] | None = None,
    batch: tuple[int, ...] | None = None,
) -> State:
    """Return a state, none for None, or raise `ParameterError`.

    Parameters
    ----------
    state : object
    names : collection of str, optional
        All it may have.
    batch : tuple of int, optional
        What its arrays are to broadcast to.
    """
    if state is None:
        return {}
    if not isinstance(state, Mapping):
        raise ParameterError("state", 'a map from steps to numbers: {"mirostat": 10.0}', state)
    for key in set() if names is None else state.keys() - {*names}:
        if not names:
            raise ParameterError("state", "absent where no step has one", state)
        raise ParameterError("state", f"a map whose keys are among {sorted(names)}", key)
    for key, value in state.items():
        array = Range().check(f"state[{key!r}]", value)
        if batch is not None:
            per_row(f"state[{key!r}]", array, batch)
    return state


def finite(numbers: Any, dtype: type[Any] = np.float64) -> NDArray[Any]:
    """Return numbers as a dtype can hold them: those too large for it as its largest."""
    limit = np.finfo(dtype).max
    return np.asarray(np.clip(np.asarray(numbers, np.float64), -limit, limit).astype(dtype))


class Course(NamedTuple):
    """What a step with a state makes of a text: what it aims at, and what came of it.

    Attributes
    ----------
    quantity : str
        What is measured of each token: "surprise, bits".
    seen : ndarray of float64, shape (T,)
        How much of it each token had.
    limit : ndarray of float64, shape (T,)
        What the state made of it for each token.
    word : str
        What that is called.
    target : float
        What the step aims at in the long run.
    target_word : str
    """

    quantity: str
    seen: NDArray[np.float64]
    limit: NDArray[np.float64]
    word: str
    target: float
    target_word: str
