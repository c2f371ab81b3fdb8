"""All hypothesis strategies: logits of every unpleasant kind, contexts, steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st
from logitlab import (
    AdditivePenalty,
    Context,
    FrequencyPenalty,
    LogitBias,
    MinP,
    PresencePenalty,
    RepetitionPenalty,
    Step,
    Temperature,
    TopA,
    TopK,
    TopP,
)

DTYPES = (np.float16, np.float32, np.float64)

_DTYPE = st.sampled_from(DTYPES)

# Ties, signed zeros, one-hot rows, the far ends, gaps below the smallest normal number.
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 1e4, -1e4, 6e-8, 1.2e-7, -6e-8, -np.inf)


@cache
def batch_shapes(max_dims: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return hnp.array_shapes(min_dims=0, max_dims=max_dims, max_side=2)


# Strategies are cached where they are made inside of others: hypothesis validates each new one,
# which took most of the time of the laws.
@cache
def _bytes(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


def _picks(draw: st.DrawFn, shape: tuple[int, ...], count: int) -> np.ndarray[Any, Any]:
    """Indices below ``count``; drawn as bytes, which is many times faster than one by one."""
    picks = np.frombuffer(draw(_bytes(math.prod(shape))), np.uint8).astype(np.int64)
    return np.asarray(picks.reshape(shape) % count)


@cache
def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


@cache
def _codes(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, count), min_size=1, max_size=10)


@cache
@st.composite
def logits(
    draw: st.DrawFn,
    *,
    dtype: Any = None,
    batch: tuple[int, ...] | None = None,
    min_size: int = 1,
    max_size: int = 9,
) -> np.ndarray[Any, Any]:
    kind = np.dtype(draw(_DTYPE) if dtype is None else dtype)
    batch = draw(batch_shapes()) if batch is None else batch
    size = draw(_integers(min_size, max_size))
    special = list(_SPECIAL)
    if kind == np.float32:
        special += [1e-45, 3e-45]
    if kind == np.float64:
        special += [5e-324, 1e-323]
    # Small codes are the special values, the others numbers between -30 and 30.
    codes = draw(_codes(960 + len(special)))
    ordinary = [(code - len(special)) / 16 - 30 for code in codes]
    levels = np.array(
        [special[c] if c < len(special) else x for c, x in zip(codes, ordinary, strict=True)], kind
    )
    array: np.ndarray[Any, Any] = levels[_picks(draw, (*batch, size), len(levels))]
    empty = ~np.isfinite(array).any(axis=-1)
    array[empty, 0] = 0
    return array


@cache
@st.composite
def contexts(draw: st.DrawFn, batch: tuple[int, ...], size: int) -> Context:
    prompt, output = (_picks(draw, (*batch, draw(_integers(0, 5))), size + 1) - 1 for _ in range(2))
    return Context(prompt=prompt, output=output)


_unit = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 0.9, 1e-3]), st.floats(0, 1))
_ties = st.sampled_from(["lowest", "highest", "all"])
_scope = st.sampled_from(["all", "output", "prompt", "lagged"])
_window = st.one_of(st.none(), st.integers(0, 6))
_additive = st.one_of(st.sampled_from([0.0, -2.0, 2.0]), st.floats(-2, 2))

_VALUES: dict[type[Step], Callable[[int], st.SearchStrategy[Any]]] = {
    Temperature: lambda size: st.one_of(
        st.sampled_from([0.0, 1.0, 1e-30, 5e-324, 2.0]), st.floats(0, 2)
    ),
    TopK: lambda size: st.integers(0, size + 1),
    TopP: lambda size: _unit,
    MinP: lambda size: _unit,
    TopA: lambda size: st.one_of(_unit, st.floats(0, 5)),
    RepetitionPenalty: lambda size: st.one_of(
        st.sampled_from([0.0, 1.0, 2.0, 1e-30]), st.floats(0, 2)
    ),
    FrequencyPenalty: lambda size: _additive,
    PresencePenalty: lambda size: _additive,
    AdditivePenalty: lambda size: _additive,
    LogitBias: lambda size: st.one_of(st.sampled_from([0.0, 100.0, -100.0]), st.floats(-100, 100)),
}


@cache
def values(kind: type[Step], size: int) -> st.SearchStrategy[Any]:
    """In-range values of a step, the edges often."""
    return _VALUES[kind](size)


STEPS = tuple(_VALUES)
COUNTING = (TopK, TopP)
TRUNCATIONS = (TopK, TopP, MinP, TopA)
PENALTIES = (RepetitionPenalty, FrequencyPenalty, PresencePenalty, AdditivePenalty)

_flag = st.booleans()
_space = st.sampled_from(["logits", "probs"])
_OPTIONS: dict[type[Step], dict[str, st.SearchStrategy[Any]]] = {
    Temperature: {"reciprocal": _flag},
    TopK: {"ties": _ties},
    TopP: {
        "ties": _ties,
        "at_p": st.sampled_from(["drop", "keep"]),
        "sums": st.sampled_from(["descending", "ascending"]),
    },
    MinP: {"space": _space},
    TopA: {"space": _space},
    RepetitionPenalty: {"reciprocal": _flag},
    FrequencyPenalty: {"by_ones": _flag},
    PresencePenalty: {},
    AdditivePenalty: {"presence": _additive, "by_ones": _flag},
}


@cache
@st.composite
def _windows(draw: st.DrawFn, kind: type[Step]) -> dict[str, Any]:
    chosen: dict[str, Any] = {"scope": draw(_scope), "last_n": draw(_window)}
    if chosen["last_n"] is not None:
        chosen["fill"] = draw(st.sampled_from([None, 0]))
        if kind is RepetitionPenalty:
            chosen["slope"] = draw(st.sampled_from([1.0, 0.5, 0.0]))
    return chosen


@cache
def options(kind: type[Step]) -> st.SearchStrategy[dict[str, Any]]:
    own = st.fixed_dictionaries(_OPTIONS.get(kind, {}))
    if kind not in PENALTIES:
        return own
    return st.builds(lambda a, b: a | b, own, _windows(kind))


@cache
def biases(size: int) -> st.SearchStrategy[dict[int, float]]:
    return st.dictionaries(_integers(0, size - 1), values(LogitBias, size), max_size=4)


@cache
@st.composite
def steps(draw: st.DrawFn, kind: type[Step], size: int) -> Step:
    if kind is LogitBias:
        return LogitBias(draw(biases(size)))
    return kind(draw(values(kind, size)), **draw(options(kind)))  # type: ignore[call-arg]


@cache
def chunked_bytes() -> st.SearchStrategy[list[bytes]]:
    """Text of few different characters, some of several bytes and some broken, in chunks."""
    pieces = [b"a", b"b", b"ab", b" ", b"\n", b"aba", "é".encode(), "日b".encode(), b"\xe6",
              b"\x97", b"\xa5", b"\xc3", b"\xa9", b"\xf0\x9f\x99", b"\x82", b"\xff"]  # fmt: skip
    return st.lists(st.sampled_from(pieces), max_size=30)


@cache
def stop_strings() -> st.SearchStrategy[list[str]]:
    """Stop strings that such text may well contain, overlapping each other."""
    return st.lists(st.text("ab é日\n\ufffd", min_size=1, max_size=5), max_size=4)
