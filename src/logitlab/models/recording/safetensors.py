"""Tensors of a safetensors file, by its public format: no package, no copy, nothing is run.

The file is the length of the header in eight bytes, little-endian; the header, a JSON object that
says of each tensor its dtype, its shape, and where its bytes are; and the bytes, one tensor after
the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from logitlab.checks import ParameterError, Seen
from numpy.typing import NDArray

__all__ = ["Tensor", "tensors"]

_LONGEST_HEADER = 100_000_000  # as the format's own implementation has it

# Bytes of one number. Others, of less than a byte, are left to whoever reads them.
_SIZES = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class Tensor(NamedTuple):
    """Where a tensor lies.

    Attributes
    ----------
    path : Path
    dtype : str
        As the format calls it: "F32", "BF16" …
    shape : tuple of int
    start : int
        Where its bytes begin in the file.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def read(self) -> NDArray[Any]:
        """Return the numbers: mapped into memory where numpy has the dtype, else as float32.

        Raises
        ------
        ParameterError
            For a dtype that is no float.
        """
        if self.dtype in _FLOATS:
            return self._mapped(_FLOATS[self.dtype])
        if self.dtype in _WIDENED:
            bits, widen = _WIDENED[self.dtype]
            return widen(np.asarray(self._mapped(bits)))
        rule = f"one of {', '.join([*_FLOATS, *_WIDENED])}"
        raise ParameterError("logits", rule, Seen(self.dtype))

    def _mapped(self, dtype: str) -> NDArray[Any]:
        if 0 in self.shape:  # of nothing there is no map
            return np.empty(self.shape, dtype)
        return np.memmap(self.path, dtype, "r", self.start, self.shape)


def _from_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32, whose upper half a bfloat16 is."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _from_e5m2(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32: E5M2 is the upper half of a float16."""
    return (bits.astype(np.uint16) << np.uint16(8)).view(np.float16).astype(np.float32)


def _from_e4m3(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32: E4M3 has no infinities, and NaN where all bits but the sign are set."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    size = np.where(
        exponent > 0, np.ldexp(8.0 + fraction, exponent - 10), np.ldexp(1.0 * fraction, -9)
    )
    size[(codes & 127) == 127] = np.nan
    values = np.where(codes < 128, size, -size).astype(np.float32)
    numbers: NDArray[np.float32] = values[bits]
    return numbers


_WIDENED: dict[str, tuple[str, Callable[[NDArray[Any]], NDArray[np.float32]]]] = {
    "BF16": ("<u2", _from_bfloat16),
    "F8_E4M3": ("u1", _from_e4m3),
    "F8_E5M2": ("u1", _from_e5m2),
}


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, in the order of their bytes.

    Raises
    ------
    ValueError
        For a header that is damaged, or does not fit the bytes.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_LONGEST_HEADER, size - 8):
            raise ValueError(f"its header cannot be {length} bytes long")
        text = file.read(length)
    header = json.loads(text.decode(), object_pairs_hook=_each_once)
    if not text.startswith(b"{") or not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    about = header.pop("__metadata__", {})
    if not (isinstance(about, dict) and all(isinstance(value, str) for value in about.values())):
        raise ValueError("its metadata is no map of texts")
    return _placed(path, header, 8 + length, size)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("its header has a name twice")
    return content


def _placed(path: Path, header: dict[str, Any], start: int, size: int) -> dict[str, Tensor]:
    """Return tensors whose bytes follow each other from ``start`` to the end of the file."""
    places: list[tuple[int, int, str, Tensor]] = []
    for name, entry in header.items():
        try:
            dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            are_sizes = all(type(n) is int and n >= 0 for n in (begin, end, *shape))
        except (KeyError, TypeError, ValueError):
            are_sizes = False
        if not (are_sizes and isinstance(dtype, str) and isinstance(shape, list)):
            raise ValueError(f"of {name!r} it says no dtype, shape and place")
        if dtype in _SIZES and end - begin != math.prod(shape) * _SIZES[dtype]:
            raise ValueError(f"{name!r} has {end - begin} bytes, not those of {dtype} {shape}")
        places.append((begin, end, name, Tensor(path, dtype, tuple(shape), start + begin)))
    last = 0
    for begin, end, name, _ in sorted(places, key=lambda place: place[:2]):
        if begin != last or end < begin:
            raise ValueError(f"the bytes of {name!r} begin at {begin}, not at {last}")
        last = end
    if start + last != size:
        raise ValueError(f"it has {size - start} bytes of tensors, not {last}")
    return {name: tensor for _, _, name, tensor in sorted(places, key=lambda place: place[:2])}
