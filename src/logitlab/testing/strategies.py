"""Strategies of hypothesis: logits of every unpleasant kind, contexts, and requests.

The extra ``testing`` installs hypothesis; nothing else here needs it.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from logitlab.checks import (
    ParameterError,
    Range,
    check_choice,
    check_flag,
    check_integer,
    needs,
)
from logitlab.request.params import PARAMETERS
from logitlab.steps.context import Context

try:
    import hypothesis.extra.numpy as hnp
    from hypothesis import strategies as st
except ImportError:
    needs("testing", "hypothesis")
    raise

__all__ = ["DTYPES", "UNIT", "batch_shapes", "contexts", "integers", "picks", "requests", "rows"]

DTYPES = (np.float16, np.float32, np.float64)

_DTYPE = st.sampled_from(DTYPES)

# Ties, signed zeros, one-hot rows, the far ends, gaps below the smallest normal number.
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 1e4, -1e4, 6e-8, 1.2e-7, -6e-8, -np.inf)

_SIZES = Range(1, 1 << 18, integer=True)

_DRAWN = 1 << 11  # entries of one array: hypothesis draws no more than 8 kB for a test

UNIT = (0.0, 1.0, 0.5, 0.9, 1e-3)
"""Values between 0 and 1 that are to be met often."""


@cache
def batch_shapes(max_dims: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of batches, none among them, with up to two rows along each axis."""
    return hnp.array_shapes(min_dims=0, max_dims=max_dims, max_side=2)


# Strategies are cached where they are made inside of others: hypothesis validates each new one,
# which took most of the time of the laws.
@cache
def _bytes(length: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=length, max_size=length)


def picks(draw: st.DrawFn, shape: tuple[int, ...], count: int) -> np.ndarray[Any, Any]:
    """Return indices below ``count``: drawn as bytes, many times faster than one by one.

    More than 2,048 of them repeat what was drawn.
    """
    kind = np.dtype(np.uint8 if count <= 1 << 8 else "<u4")
    drawn = draw(_bytes(min(math.prod(shape), _DRAWN) * kind.itemsize))
    indices = np.frombuffer(drawn, kind).astype(np.int64)
    return np.resize(indices % count, shape)


@cache
def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers of a range, made once for each."""
    return st.integers(low, high)


@cache
def _codes(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, count), min_size=1, max_size=10)


def rows(
    *,
    dtype: Any = None,
    batch: Any = None,
    min_size: int = 1,
    max_size: int = 9,
) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Logits that break samplers: ties, masks, one-hot rows, huge offsets, tiny gaps.

    Parameters
    ----------
    dtype : dtype, optional
        float16, float32 or float64, by default any of them.
    batch : int or tuple of int, optional
        The batch shape, () for a single row; by default that, or up to three axes of one or two
        rows.
    min_size, max_size : int
        Of the vocabulary, at most 262,144. Beyond 2,048 entries an array repeats what was drawn.

    Returns
    -------
    strategy of ndarray, shape (..., V)
        At least one token of every row is not at ``-inf``.

    Raises
    ------
    ParameterError
        For another dtype, and sizes that no row has.

    Examples
    --------
    >>> from hypothesis import given
    >>> from logitlab import testing, top_k
    >>> @given(testing.rows())
    ... def test_one_stays(logits):
    ...     assert (np.isfinite(top_k(logits, 1)).sum(axis=-1) == 1).all()
    >>> test_one_stays()
    """
    least = check_integer("min_size", min_size, _SIZES)
    most = check_integer("max_size", max_size, _SIZES)
    if most < least:
        raise ParameterError("max_size", f"at least min_size, {least}", max_size)
    return _rows(_dtype(dtype), None if batch is None else _shape(batch), least, most)


def _dtype(dtype: Any) -> Any:
    """Return one of `DTYPES`, or None for any."""
    if dtype is None:
        return None
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind not in DTYPES:
        raise ParameterError("dtype", "float16, float32 or float64", dtype)
    return kind


def _shape(batch: Any) -> tuple[int, ...]:
    """Return a batch shape as a tuple of integers of Python."""
    sizes = batch if isinstance(batch, list | tuple) else (batch,)
    try:
        return tuple(
            check_integer("batch", each, Range(0, 1 << 16, integer=True)) for each in sizes
        )
    except ParameterError:
        raise ParameterError("batch", "a shape, such as () or (2, 3)", batch) from None


@cache
@st.composite
def _rows(
    draw: st.DrawFn, dtype: Any, batch: tuple[int, ...] | None, min_size: int, max_size: int
) -> np.ndarray[Any, Any]:
    kind = np.dtype(draw(_DTYPE) if dtype is None else dtype)
    batch = draw(batch_shapes()) if batch is None else batch
    size = draw(integers(min_size, max_size))
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
    if draw(st.booleans()):  # as after a truncation
        levels = np.append(levels, np.array([-np.inf], kind))
    array: np.ndarray[Any, Any] = levels[picks(draw, (*batch, size), len(levels))]
    empty = ~np.isfinite(array).any(axis=-1)
    array[empty, 0] = 0
    return array


def contexts(batch: Any, size: int) -> st.SearchStrategy[Context]:
    """Tokens so far, with padding, and the logits after a negative prompt.

    Parameters
    ----------
    batch : int or tuple of int
        The batch shape of the logits that it is for, () for a single row.
    size : int
        Their vocabulary.

    Returns
    -------
    strategy of Context

    Raises
    ------
    ParameterError
        For a shape or a size that no logits have.

    Examples
    --------
    >>> from hypothesis import given
    >>> from logitlab import testing
    >>> @given(testing.contexts((), 5))
    ... def test_ids_are_of_the_vocabulary(context):
    ...     assert (context.output < 5).all()
    >>> test_ids_are_of_the_vocabulary()
    """
    return _contexts(_shape(batch), check_integer("size", size, _SIZES))


@cache
@st.composite
def _contexts(draw: st.DrawFn, batch: tuple[int, ...], size: int) -> Context:
    prompt, output = (picks(draw, (*batch, draw(integers(0, 5))), size + 1) - 1 for _ in range(2))
    levels = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 30.0, -30.0])
    return Context(prompt, output, levels[picks(draw, (*batch, size), len(levels))])


_OFTEN: dict[str, tuple[Any, ...]] = {
    "temperature": (0.0, 1.0, 0.5, 0.8, 2.0),
    "top_p": (0.0, 1.0, 0.5, 0.75, 0.9),
    "min_p": UNIT,
    "top_a": UNIT,
    "repetition_penalty": (1.0, 0.5, 1.3, 2.0),
    "frequency_penalty": (0.0, -2.0, 0.5, 2.0),
    "presence_penalty": (0.0, -2.0, 0.5, 2.0),
}


def requests(
    *keys: str, size: int = 9, required: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    """Request bodies: parameters of the page that shape the distribution, edges often.

    Parameters
    ----------
    *keys : str
        Which of them; by default all nine.
    size : int
        Of the vocabulary: the ids of a bias are below it, and k is beyond it at times.
    required : bool
        Whether every body has all of these keys.

    Returns
    -------
    strategy of dict
        Which engine ``openrouter`` takes, and every other whose ranges are those.

    Raises
    ------
    ParameterError
        For a key that is not one of them, or a size that no vocabulary has.

    Examples
    --------
    >>> from hypothesis import given
    >>> from logitlab import engines, testing
    >>> @given(testing.requests("top_p", "top_k"))
    ... def test_at_most_two(request):
    ...     assert len(engines.openrouter(request)) <= 2
    >>> test_at_most_two()
    """
    known = [*_OFTEN, "top_k", "logit_bias"]
    for key in keys:
        if not isinstance(key, str):
            raise ParameterError("keys", "names of parameters, each by itself", key)
        check_choice("keys", key, known)
    check_flag("required", required)
    return _requests(keys or tuple(known), check_integer("size", size, _SIZES), required)


@cache
def _requests(
    keys: tuple[str, ...], size: int, required: bool
) -> st.SearchStrategy[dict[str, Any]]:
    values = {key: _value(key, size) for key in keys}
    if required:
        return st.fixed_dictionaries(values)
    return st.fixed_dictionaries({}, optional=values)


def _value(key: str, size: int) -> st.SearchStrategy[Any]:
    if key == "top_k":
        return integers(0, size + 1)
    if key == "logit_bias":
        return st.dictionaries(integers(0, size - 1), st.floats(-100, 100), max_size=4)
    rule: Any = PARAMETERS[key].range
    return st.one_of(st.sampled_from(_OFTEN[key]), st.floats(rule.low, rule.high))
