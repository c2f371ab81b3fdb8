"""Random trees of texts: states that are copied, rewound and advanced in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from logitlab.arrays import FloatArray
from logitlab.models import Model


def actions(size: int, *, longest: int = 4) -> st.SearchStrategy[list[Any]]:
    """Return a strategy of what is done to states, with tokens below ``size``."""
    tokens = st.lists(st.integers(0, size - 1), min_size=1, max_size=longest)
    action = st.one_of(
        st.tuples(st.just("copy"), st.integers(0, 9)),
        st.tuples(st.just("rewind"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("advance"), st.dictionaries(st.integers(0, 9), tokens, max_size=4)),
    )
    return st.lists(action, max_size=9)


def play(
    model: Model,
    steps: Sequence[Any],
    check: Callable[[list[int], FloatArray], Any],
    *,
    alone: bool = False,
) -> None:
    """Do the steps, and show each text and its logits; ``alone`` advances one text at a time."""
    states = [model.start()]
    for step in steps:
        if step[0] == "copy":
            states.append(states[step[1] % len(states)].copy())
        elif step[0] == "rewind":
            state = states[step[1] % len(states)]
            state.rewind(step[2] % (len(state.tokens) + 1))
        else:
            chosen = {index % len(states): new for index, new in step[1].items()}
            batch = [states[index] for index in chosen]
            news = list(chosen.values())
            if alone:
                pairs = zip(batch, news, strict=True)
                rows = [model.advance([state], [new])[0] for state, new in pairs]
            else:
                rows = list(model.advance(batch, news))
            for state, row in zip(batch, rows, strict=True):
                check(state.tokens, row)
