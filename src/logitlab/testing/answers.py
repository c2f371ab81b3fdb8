"""What a sampler has returned, as one answer for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.checks import counted, with_article
from logitlab.foreign import as_numpy, is_array
from logitlab.testing.calling import Unreadable
from numpy.typing import NDArray

__all__ = ["kind_of", "read"]

Array = NDArray[Any]


_NUMBERS = (bool, int, float, np.generic, memoryview, range)


def _array(value: Any) -> Array:
    """Return what one row got, as an array of numpy."""
    if value is None:
        raise Unreadable("returns None: what works in place returns what it has changed, too")
    is_list = isinstance(value, list | tuple)
    if not (is_list or is_array(value) or isinstance(value, _NUMBERS)):
        raise Unreadable(f"returns {_named(value)}, where numbers are due")
    if is_list and len(value) > 1 and any(_is_several(part) for part in value):
        raise Unreadable(f"returns {_named(value)} of {len(value)} arrays, where one is due")
    if isinstance(value, np.ma.MaskedArray):
        hint = "filled(-np.inf) of it removes tokens, filled(0) probabilities"
        raise Unreadable(f"returns a masked array, which may mean anything: {hint}")
    try:
        array = np.asarray(as_numpy(value, "answer"))
    except Exception as error:
        words = " ".join(str(error).split()).rstrip(".")
        raise Unreadable(f"returns what is no array: {words}") from error
    if array.dtype.kind not in "biuf":
        raise Unreadable(f"returns an array of dtype {array.dtype}, where numbers are due")
    return array


def _named(value: Any) -> str:
    name = "tuple" if isinstance(value, tuple) else type(value).__name__
    return with_article(name)


def _is_several(part: Any) -> bool:
    return isinstance(part, list | tuple) or (is_array(part) and bool(np.ndim(part)))


def _apart(answer: Any, count: int, batch: bool) -> list[Any]:
    """Return what belongs to each row."""
    if not batch:
        return list(answer)
    if isinstance(answer, list | tuple) and any(
        isinstance(part, list | tuple) or is_array(part) for part in answer
    ):
        parts = list(answer)
    else:
        whole = _array(answer)
        if not whole.ndim:
            raise Unreadable("returns one number for a batch of rows")
        parts = list(whole)
    nothing = [place for place, part in enumerate(parts) if part is None]
    if nothing and len(nothing) < len(parts):
        raise Unreadable(f"returns {_named(answer)} in which number {nothing[0]} is None")
    if len(parts) != count:
        raise Unreadable(f"returns {counted(len(parts), 'answer')} for {counted(count, 'row')}")
    return parts


def kind_of(answer: Any, batch: bool, size: int, sized: bool) -> str:
    """Return what an answer to the rows ``[0, 1, 2, …]`` is: see `check` for the rules."""
    part = _array(_apart(answer, 2, batch)[0])
    if part.dtype.kind == "b":
        if not part.ndim:
            raise Unreadable(f"returns one bool for {counted(size, 'token')}")
        return "survivors"
    if part.dtype.kind in "iu":
        _check_no_flags(part, size)
        is_ids = part.ndim and not sized and not (batch and part.size == 1)
        return "survivors" if is_ids else "tokens"
    if part.shape not in ((size,), (1, size)):
        raise Unreadable(_wrong_shape(part, size))
    values = part.astype(np.float64).ravel()
    is_share = (values >= 0).all() and abs(values.sum() - 1) < 0.05
    return "probabilities" if is_share else "logits"


def _check_no_flags(part: Array, size: int) -> None:
    """Raise for integers that are a number for each token: neither ids nor a mask."""
    ids = part[part >= 0]  # -1 pads, and is no id
    if part.shape in ((size,), (1, size)) and size > 1 and len(np.unique(ids)) < ids.size:
        raise Unreadable(
            f"returns {size} integers for {size} tokens, some of them equal: a mask is of bools, "
            "ids stand once each, and numbers need gives='logits' or gives='probabilities'"
        )


def _wrong_shape(array: Array, size: int) -> str:
    if array.size == 1 and array.dtype.kind == "f":
        return f"returns one float for {counted(size, 'token')}: ids are integers"
    what = counted(array.size, "number") if array.ndim == 1 else f"an answer of shape {array.shape}"
    return f"returns {what} for {counted(size, 'token')}"


def read(
    answer: Any, gives: str, count: int, size: int, batch: bool, draws: int = 1
) -> list[Array]:
    """Return the answer to each of ``count`` rows of ``size`` tokens.

    A mask of survivors, float64 logits or probabilities of shape (V,), or ``draws`` int64 tokens.
    """
    return [_read_one(_array(part), gives, size, draws) for part in _apart(answer, count, batch)]


def _read_one(array: Array, gives: str, size: int, draws: int) -> Array:
    if gives == "tokens":
        if array.size != draws:
            are = "is" if draws == 1 else "are"
            drawn = counted(array.size, "token")
            raise Unreadable(f"returns {drawn}, where {draws} {are} asked for")
        if array.dtype.kind == "b" or (array != np.trunc(array)).any():
            raise Unreadable(f"returns {array.dtype} numbers, where token ids are due")
        return array.astype(np.int64).ravel()
    if array.ndim > 1 and array.shape[0] == 1:
        array = array.reshape(array.shape[1:])
    if gives == "survivors" and array.dtype.kind == "f":
        raise Unreadable(f"returns {array.dtype} numbers, where survivors are due: bools, or ids")
    if gives == "survivors" and array.dtype.kind != "b":
        _check_no_flags(array, size)
        ids = array.ravel()
        ids = ids[ids >= 0] if array.dtype.kind in "i" else ids  # -1 pads
        if (ids >= size).any():
            hint = ": a mask is of bools" if array.size == size else ""
            raise Unreadable(f"keeps token {ids.max()} of a vocabulary of {size}{hint}")
        if len(np.unique(ids)) < len(ids):
            raise Unreadable("keeps a token twice")
        mask = np.zeros(size, np.bool_)
        mask[ids.astype(np.intp)] = True
        return mask
    if array.shape != (size,):
        raise Unreadable(_wrong_shape(array, size))
    if gives != "survivors" and array.dtype.kind == "b":
        raise Unreadable(f"returns bools, where {gives} are due")
    return array if gives == "survivors" else array.astype(np.float64)
