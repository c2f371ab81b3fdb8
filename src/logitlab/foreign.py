"""Arrays of other libraries: how they are read, and how a result becomes one of theirs.

No library is imported to find out what an object is: its class says where it comes from, and
whoever made the object has loaded the library. What can be read without loss is read; nothing is
copied from one device to another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_numpy", "as_python", "back", "is_array", "largest"]

_DEVICES = {2: "cuda", 4: "opencl", 7: "vulkan", 8: "metal", 10: "rocm", 14: "oneapi", 15: "webgpu"}
# Kinds of DLPack whose memory the CPU reads: its own, and what CUDA, ROCm and Metal share with it.
_READABLE = frozenset({1, 3, 8, 11, 13})
_PYTHON = (int, float, str, bytes, bool, type(None))


def is_array(value: Any) -> bool:
    """Whether it is an array of some library, numpy's among them; numpy's scalars are none."""
    kind: Any = type(value)
    if kind is np.ndarray:
        return True
    if kind in _PYTHON or isinstance(value, np.generic | list | tuple):
        return False
    return hasattr(kind, "__array__") or hasattr(kind, "__dlpack__") or _reader(kind) is not None


Check: TypeAlias = Callable[[NDArray[Any]], None]


def as_numpy(value: Any, name: str, check: Check = lambda array: None) -> NDArray[Any]:
    """Return an array of any library as numpy's, sharing its memory where that can be.

    Parameters
    ----------
    value : array_like
    name : str
        What it is called in messages.
    check : callable, optional
        Sees each array, also those in a list, and may raise: one that is of a subclass, such as a
        masked array, means more than its numbers.

    Returns
    -------
    ndarray
        Floats of fewer than 16 bits, and bfloat16, become float32, which holds all of them
        exactly.

    Raises
    ------
    Exception
        Of any kind, whose text says what helps: a `TypeError` for what is on another device, and
        whatever a foreign library raises.
    """
    if isinstance(value, list | tuple):
        return np.asarray(_of_list(value, name, check))
    kind: Any = type(value)
    array = (_reader(kind) or _of_other)(value, name)
    check(array)
    if _is_small(array.dtype):
        with np.errstate(invalid="ignore"):  # NaN that signals; somebody else refuses it
            return array.astype(np.float32)
    return array


def _of_list(value: Any, name: str, check: Check) -> Any:
    """Return a list, nested or not, with numpy's arrays in place of others."""
    parts = []
    for part in value:
        if isinstance(part, list | tuple):
            part = _of_list(part, name, check)
        elif is_array(part):
            part = as_numpy(part, name, check)
        parts.append(part)
    return parts


def _is_small(dtype: Any) -> bool:
    """Whether numbers are floats that numpy does not know by itself: bfloat16, and 8 bits or less.

    numpy has them from the package ml_dtypes, which jax and others bring along.
    """
    return dtype.type.__module__ == "ml_dtypes" and "float" in dtype.name


@lru_cache(256)
def _reader(kind: Any) -> Callable[[Any, str], NDArray[Any]] | None:
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if library in _READERS:
            return _READERS[library]
    return None


def _on_device(name: str, device: object, call: str = "call .cpu()") -> TypeError:
    return TypeError(f"{name} {_be(name)} on {device}: {call}")


def _traced(name: str, whom: str) -> TypeError:
    return TypeError(f"{name} {_be(name)} traced, without numbers: call outside of {whom}")


def _be(name: str) -> str:
    return "are" if name.endswith("s") else "is"


def _of_torch(value: Any, name: str) -> NDArray[Any]:
    if not hasattr(value, "detach"):
        return _of_other(value, name)
    if value.device.type != "cpu":
        raise _on_device(name, value.device)
    if value.is_nested:
        raise TypeError(f"{name} {_be(name)} nested, of unequal lengths: call .unbind()")
    if hasattr(value, "get_mask"):
        raise TypeError(f"{name} {_be(name)} masked: call .to_tensor(value)")
    torch = sys.modules["torch"]
    if torch.jit.is_tracing():  # it would record the numbers as constants
        raise _traced(name, "torch.jit.trace")
    tensor = value.detach().resolve_conj().resolve_neg()
    is_small = tensor.dtype.is_floating_point and _is_small_tensor(tensor)
    same_size = torch.uint8 if tensor.element_size() == 1 else torch.int16
    try:
        array: NDArray[Any] = (tensor.view(same_size) if is_small else tensor).numpy()
    except RuntimeError:  # a wrapper of torch.func or torch.compile
        raise _traced(name, "torch.func and torch.compile") from None
    if is_small:  # into memory of numpy's, which comes in large pages: several times as fast
        array = np.empty(array.shape, np.float32)
        torch.from_numpy(array).copy_(tensor)
    return array


def _is_small_tensor(tensor: Any) -> bool:
    return bool(tensor.element_size() == 1 or tensor.dtype == sys.modules["torch"].bfloat16)


def _of_jax(value: Any, name: str) -> NDArray[Any]:
    if any(base.__name__ == "Tracer" for base in type(value).__mro__):
        raise _traced(name, "jit, vmap and grad")
    for device in value.devices() if hasattr(value, "devices") else ():
        if device.platform != "cpu":
            raise _on_device(name, f"{device.platform}:{device.id}", "call jax.device_get(x)")
    return np.asarray(value)


def _of_mlx(value: Any, name: str) -> NDArray[Any]:
    core = sys.modules["mlx.core"]
    if getattr(value, "dtype", None) == core.bfloat16:
        value = value.astype(core.float32)
    return np.asarray(value)


def _of_pandas(value: Any, name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype == object and hasattr(value, "columns"):
        # Columns that may have missing values, or are Arrow's: of numbers all the same.
        kinds = [getattr(kind, "numpy_dtype", kind) for kind in set(value.dtypes)]
        if all(isinstance(kind, np.dtype) and kind.kind in "iuf" for kind in kinds):
            return np.asarray(value.to_numpy(np.result_type(*kinds), na_value=np.nan))
    return array


def _of_polars(value: Any, name: str) -> NDArray[Any]:
    if hasattr(value, "collect"):
        raise TypeError("It is a query: call .collect()")
    if hasattr(value, "width") and value.width == 1 and "List" in repr(value.dtypes):
        value = value.to_series()
    array = np.asarray(value)
    if array.dtype == object and hasattr(value, "list"):
        return np.stack([np.asarray(row) for row in value])
    return array


def _of_pyarrow(value: Any, name: str) -> NDArray[Any]:
    if hasattr(value, "to_numpy_ndarray") and not value.null_count:  # tensors of one shape
        return np.asarray(value.to_numpy_ndarray())
    if hasattr(value, "as_py"):
        values = getattr(value, "values", None)  # of a list, in their own dtype
        return np.asarray(value.as_py() if values is None else values)
    array = np.asarray(value)
    if array.dtype == object and getattr(value, "num_columns", 0) == 1:
        return _of_pyarrow(value.column(0), name)
    if array.dtype == object and hasattr(value, "type") and hasattr(value.type, "value_type"):
        return np.stack([_of_pyarrow(row.values, name) for row in value])
    return array


def _of_dask(value: Any, name: str) -> NDArray[Any]:
    return as_numpy(value.compute(), name)  # which keeps a mask, as np.asarray does not


def _of_xarray(value: Any, name: str) -> NDArray[Any]:
    if hasattr(value, "data_vars"):
        raise TypeError("It has several variables: choose one, dataset[variable]")
    return as_numpy(value.data, name)


def _of_other(value: Any, name: str) -> NDArray[Any]:
    kind = type(value)
    if hasattr(kind, "__dlpack_device__") and not isinstance(value, np.ndarray):
        device, number = value.__dlpack_device__()
        if int(device) not in _READABLE:
            known = _DEVICES.get(int(device), f"device {int(device)}")
            call = "call .get()" if hasattr(kind, "get") else "call .cpu()"
            raise _on_device(name, f"{known}:{number}", call)
    if hasattr(kind, "__dlpack__") and not hasattr(kind, "__array__"):
        try:
            return np.asanyarray(np.from_dlpack(value))
        except (RuntimeError, BufferError):  # a dtype that numpy has not, such as bfloat16
            if "torch" not in sys.modules:
                raise
            return _of_torch(sys.modules["torch"].from_dlpack(value), name)
    return np.asanyarray(value)  # with the class that an object of another library has


_READERS: Mapping[str, Callable[[Any, str], NDArray[Any]]] = {
    "torch": _of_torch,
    "jax": _of_jax,
    "jaxlib": _of_jax,
    "mlx": _of_mlx,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_pyarrow,
    "dask": _of_dask,
    "xarray": _of_xarray,
}


def as_python(value: Any, name: str, depth: int = 2) -> Any:
    """Return a value with Python's numbers and lists in place of plain arrays.

    Parameters
    ----------
    value : object
        An array, or lists and maps with arrays in them; anything else is returned as it is, and so
        is a masked array, for somebody else to refuse.
    name : str
    depth : int
        How deep in lists and maps it looks.
    """
    kind = type(value)
    if kind in _PYTHON:
        return value
    if is_array(value):
        array = as_numpy(value, name)
        return array.tolist() if type(array) is np.ndarray else value
    if depth and kind in (list, tuple):
        return kind(as_python(part, name, depth - 1) for part in value)
    if depth and kind is dict:
        return {
            as_python(key, name, 1): as_python(part, name, depth - 1) for key, part in value.items()
        }
    return value


def largest(given: Any) -> float | None:
    """Return the largest number of a dtype that numpy does not have by itself; None of others."""
    dtype: Any = getattr(given, "dtype", None)
    library = _library(given)
    if library == "torch":
        if dtype.is_floating_point and _is_small_tensor(given):
            return float(sys.modules["torch"].finfo(dtype).max)
    elif isinstance(dtype, np.dtype) and _is_small(dtype):
        return float(sys.modules["ml_dtypes"].finfo(dtype).max)
    return None


def _library(value: Any) -> str:
    """Return of which of the libraries that get their own arrays back it is, or nothing."""
    kind: Any = type(value)
    reader = None if kind is np.ndarray else _reader(kind)
    if reader is _of_torch and hasattr(value, "detach"):
        return "torch"
    return "jax" if reader is _of_jax else ""


def back(result: Any, given: Any, own_dtype: bool) -> Any:
    """Return a result as an array of the library of what was given, if that is torch or jax.

    Parameters
    ----------
    result : ndarray or numpy scalar
        Nobody else's: its memory may become the array's.
    given : object
        What the result was made of.
    own_dtype : bool
        Whether a small float is rounded to that again, unless it cannot hold a ``-inf`` among them.
    """
    library, rounded = _library(given), own_dtype and largest(given) is not None
    if library == "torch":
        tensor = sys.modules["torch"].from_numpy(np.require(result, requirements=("C", "W")))
        return _rounded(tensor, tensor.to(given.dtype)) if rounded else tensor
    if rounded:
        result = _rounded(result, result.astype(given.dtype))
    if library == "jax":
        device = min(given.devices(), key=lambda each: int(each.id))
        return sys.modules["jax"].device_put(result, device)
    return result


def _rounded(wide: Any, small: Any) -> Any:
    """Return the same numbers in few bits, or as they were if these have no ``-inf`` for one."""
    numbers = as_numpy(wide, "")
    if not numbers.size or numbers.min() > -np.inf:
        return small
    one = np.unravel_index(numbers.argmin(), numbers.shape)  # what becomes of one becomes of all
    return small if as_numpy(small[one], "") == -np.inf else wide
