"""Arrays that a caller gave as logits, or as one value a row.

What the library takes in, and gives back, is told once, here:

* Logits are float16, bfloat16, float32 or float64, or floats of 8 bits, of numpy, torch, jax,
  pandas, polars, pyarrow, xarray, dask, or of anything with ``__array__`` or ``__dlpack__``;
  or lists of them. Whatever is not on the CPU is refused, never copied.
* torch gets tensors back, jax arrays of its own on the same device, everybody else numpy's.
  Memory is shared where that can be. Nothing is differentiable.
* Bits: floats of 16 and of 8 bits are widened exactly. A single transform gives the dtype that it
  was given: float16 rounds once, what numpy does not know by itself is rounded from float32. A
  chain returns float32, and so does a transform that removed tokens where that dtype has no
  ``-inf``, as float8_e4m3fn.
* Probabilities and measures are float64, token ids int64. jax holds these as 32 bits unless
  ``jax_enable_x64`` is set.
* Reports with arrays of several kinds hold numpy's: `trace`, `survivors`, `compare_engines`,
  sweeps, generations.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from logitlab.checks import ParameterError, Seen, plain_array
from logitlab.foreign import back
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "check_array",
    "check_left",
    "check_logits",
    "given_back",
    "in_order",
    "per_row",
]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.int64]

T = TypeVar("T")

_HINTS = {
    **dict.fromkeys("iu", "Write floats: [2.0, 1.0]."),
    "O": "Write np.stack(x) of rows, or x.astype(np.float64) of numbers.",
    "V": "If a file has lost the name of bfloat16, x.view(ml_dtypes.bfloat16) gives it back.",
}
_NATIVE = frozenset(map(np.dtype, (np.float16, np.float32, np.float64)))


def check_array(logits: ArrayLike, name: str = "logits") -> NDArray[Any]:
    """Return ``logits`` as an array of native floats with at least one token, or raise."""
    if type(logits) is np.ndarray and logits.dtype in _NATIVE and logits.ndim and logits.shape[-1]:
        return logits  # the common case, and the cheap one
    is_list = isinstance(logits, list | tuple)
    seen = Seen("a ragged list") if is_list else None
    array = plain_array(name, logits, "an array of shape (..., V)", seen, fill="-np.inf")
    if array.dtype == object and not array.ndim:  # None, a map, or whatever else is no array
        raise ParameterError(name, "an array of shape (..., V)", logits, _meant(name, logits))
    if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4, 8):
        if array.dtype.kind in "SU" and not isinstance(logits, np.ndarray):
            rule = "float16, bfloat16, float32 or float64"
            raise ParameterError(name, rule, logits, _meant(name, logits))
        is_known = array.dtype.type is not np.void or array.dtype.itemsize == 2
        is_known &= array.dtype.names is None and array.dtype.type.__module__ == "numpy"
        hint = _HINTS.get(array.dtype.kind, "") if is_known else ""
        raise ParameterError(
            name, "float16, bfloat16, float32 or float64", Seen(array.dtype.name), hint
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim == 0 or array.shape[-1] == 0:
        rule = "of shape (..., V) with V at least 1"
        shape = Seen(f"shape {array.shape}")
        raise ParameterError(name, rule, shape, "" if array.ndim else _meant(name, logits))
    return array


def _meant(name: str, given: object) -> str:
    """Return what to give where an argument is no array: a recording, a request, a number."""
    if "logits" in getattr(given, "__dict__", ()) or hasattr(type(given), "logits"):
        return f"Give its logits: x.logits of this {type(given).__name__}."
    is_array = given is None or isinstance(given, np.ndarray | np.generic)
    return "" if is_array or name != "logits" else "The first argument is the logits."


def check_logits(logits: ArrayLike, name: str = "logits") -> NDArray[Any]:
    """Return ``logits`` as an array that every function of the library can work on.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, bfloat16, float32 or float64; ``-inf`` marks a removed token.
    name : str
        What the array is called in the message.

    Returns
    -------
    ndarray, shape (..., V)
        The array itself where it is one already (never a copy of native floats).

    Raises
    ------
    ParameterError
        For other dtypes, no axis, V = 0, NaN, ``+inf``, or a row without any finite logit.
    """
    if type(logits) is np.ndarray and logits.dtype in _NATIVE and logits.ndim and logits.shape[-1]:
        array: NDArray[Any] = logits  # as in `check_array`
    else:
        array = check_array(logits, name)
    # One pass tells all: the largest logit of a row is NaN if any is, and -inf only if all are.
    top = array.max(axis=-1)
    wrong = ~np.isfinite(top)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        row = f" in row {index}" if index else ""
        if np.isnan(top[index]):
            raise ParameterError(name, "free of NaN", Seen(f"NaN{row}"))
        if top[index] > 0:
            raise ParameterError(name, "free of +inf", Seen(f"+inf{row}"))
        raise ParameterError(
            name, "finite for at least one token of every row", Seen(f"only -inf{row}")
        )
    return array


def given_back(result: T, given: Any, own_dtype: bool = False) -> T:
    """Return a result as an array of the library of what was given: torch's, jax's, or numpy's.

    Parameters
    ----------
    result : ndarray or numpy scalar
        Nobody else's: its memory may become the array's.
    given : array_like
        What the result was made of.
    own_dtype : bool
        Whether it is rounded to the dtype of what was given, also where numpy has no such dtype.
    """
    if type(given) is np.ndarray and given.dtype in _NATIVE:
        return result
    return cast(T, back(result, given, own_dtype))


def check_left(name: str, logits: FloatArray) -> None:
    """Raise `ParameterError` in the name of what removed the last token of a row.

    Of a single row it tells no number, since steps on rows see every batch as a list of them.
    """
    dead = logits.max(axis=-1) == -np.inf
    if dead.any():
        index = tuple(int(i) for i in np.argwhere(dead)[0])
        seen = Seen(f"only -inf in row {index}" if dead.size > 1 else "only -inf")
        raise ParameterError(name, "such that one token at least is left", seen)


def per_row(name: str, array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """Return a checked parameter of one value, shape (), or of one a row, shape ``batch``."""
    if not array.ndim:
        return array
    try:
        return np.broadcast_to(array, batch)
    except ValueError:
        rule = f"a scalar or an array that broadcasts to the batch shape {batch}"
        raise ParameterError(name, rule, Seen(f"shape {array.shape}")) from None


def in_order(array: NDArray[Any], dtype: type[Any] | None = None) -> NDArray[Any]:
    """Return an array as kernels read it: in C order, each number at an address that fits it."""
    return np.require(array, dtype, ("C", "A"))
