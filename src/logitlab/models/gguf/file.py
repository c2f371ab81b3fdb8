"""A GGUF file: its metadata, and its tensors as float32."""

from __future__ import annotations

import mmap
import os
import struct
from typing import Any, NamedTuple

import numpy as np
from logitlab.checks import ParameterError, Range, Seen, check_integer, check_path, needs
from numpy.typing import NDArray

__all__ = ["GgufFile"]

# The format's types of scalars; 8 is a string, 9 an array.
_SCALARS = dict(enumerate(("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?")))
_SCALARS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)


class TensorPlace(NamedTuple):
    """Where a tensor is in the file: its shape as numpy has it, its type and its first byte."""

    shape: tuple[int, ...]
    kind: int
    start: int


class GgufFile:
    """The metadata and tensors of a GGUF file, version 2 or 3, little-endian.

    Its vocabulary is read here: the gguf package's own reader makes arrays of every string's parts,
    which takes seconds. That package undoes the quantisation.

    Parameters
    ----------
    path : path-like
        For example ``"SmolLM2-135M-Instruct.Q4_1.gguf"``.

    Attributes
    ----------
    metadata : dict
        Numbers, texts, and lists of them, by key.
    tensors : dict
        Where each tensor is, by name.

    Raises
    ------
    ParameterError
        If there is no such file, or it is none of GGUF, or it ends too early.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_path("path", path)
        if not self.path.is_file():
            raise ParameterError("path", "a GGUF file that exists", str(path))
        if self.path.stat().st_size < 24:
            raise self.wrong("a GGUF file", "It is shorter than any.")
        with self.path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._at = 0
        try:
            self._read_header()
        except (struct.error, EOFError):
            raise self.wrong("a whole GGUF file", "It ends within its metadata.") from None

    def wrong(self, rule: str, hint: str = "") -> ParameterError:
        """Return the error that says what the file must be."""
        return ParameterError("path", rule, str(self.path), hint)

    def get(self, key: str, default: Any = None) -> Any:
        """Return what the metadata holds for a key; without a default it has to be there."""
        value = self.metadata.get(key, default)
        if value is None:
            raise self.wrong(f"a GGUF file with the metadata key {key!r}")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """Return a number of something, at least 1."""
        return check_integer(key, self.get(key, default), Range(1, 2**32, integer=True))

    def read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a tensor of this shape as float32.

        Raises
        ------
        ParameterError
            If it is missing, cut off, of another shape, or quantised in a way that is unknown.
        """
        if name not in self.tensors:
            raise self.wrong(f"a GGUF file with the tensor {name!r}")
        gguf = needs("gguf", "gguf")
        place = self.tensors[name]
        if place.shape != shape:
            raise ParameterError(f"tensor {name!r}", f"of shape {shape}", Seen(place.shape))
        noun = f"type {place.kind}"
        try:
            kind = gguf.GGMLQuantizationType(place.kind)
            noun = kind.name
            rows = gguf.quant_shape_to_byte_shape(shape, kind)
            size = int(np.prod(rows))
            if place.start + size > len(self._bytes):
                raise self.wrong("a whole GGUF file", f"It ends within the tensor {name!r}.")
            raw = np.frombuffer(self._bytes, np.uint8, size, place.start)
            values = gguf.dequantize(raw.reshape(rows), kind)
        except ParameterError:
            raise
        except (ValueError, NotImplementedError):
            kinds = "F32, F16, BF16, or quantised in a way that the gguf package can undo"
            raise ParameterError(f"tensor {name!r}", kinds, Seen(noun)) from None
        return np.asarray(values, np.float32).reshape(shape)

    def _read_header(self) -> None:
        if self._take(4) != b"GGUF":
            raise self.wrong("a GGUF file", "It does not begin with the letters GGUF.")
        (version,) = self._unpack("I")
        if version not in _VERSIONS:
            order = " and big-endian" if version & 0xFFFF == 0 else ""
            number = int.from_bytes(version.to_bytes(4, "little"), "big") if order else version
            rule = "a little-endian GGUF file of version 2 or 3"
            raise self.wrong(rule, f"It is {number}{order}.")
        tensors, pairs = self._unpack("QQ")
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string()
            self.metadata[key] = self._value(*self._unpack("I"))
        relative = [self._tensor() for _ in range(tensors)]
        alignment = self.count("general.alignment", 32)
        start = -(-self._at // alignment) * alignment
        self.tensors = {n: t._replace(start=t.start + start) for n, t in relative}

    def _tensor(self) -> tuple[str, TensorPlace]:
        name = self._string()
        (axes,) = self._unpack("I")
        *shape, kind, start = self._unpack(f"{axes}QIQ")
        return name, TensorPlace(tuple(reversed(shape)), kind, start)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._numbers(kind, 1)[0]
        kind, count = self._unpack("IQ")
        if kind == _STRING:
            return [self._string() for _ in range(count)]
        if kind == _ARRAY:
            return [self._value(_ARRAY) for _ in range(count)]
        return self._numbers(kind, count)

    def _numbers(self, kind: int, count: int) -> list[Any]:
        if kind not in _SCALARS:
            raise self.wrong("a GGUF file of known types", f"It holds a value of type {kind}.")
        dtype = np.dtype(_SCALARS[kind])
        values: list[Any] = np.frombuffer(self._take(count * dtype.itemsize), dtype).tolist()
        return values

    def _string(self) -> str:
        (size,) = self._unpack("Q")
        return self._take(size).decode("utf-8", "replace")

    def _unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._bytes):
            raise EOFError
        return self._bytes[start : self._at]
