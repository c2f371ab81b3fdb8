"""Rows of logits from an array, a file or a stream, cut into chunks that can be sent away."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, cast
from zlib import crc32

import numpy as np
from logitlab.arrays import FloatArray, check_array
from logitlab.checks import ParameterError, Seen
from logitlab.datasets import Recording
from logitlab.foreign import is_array
from logitlab.models.recording.files import open_logits
from logitlab.models.recording.recorded import Recorded
from logitlab.steps.context import Context
from numpy.typing import NDArray

__all__ = ["Chunk", "FileRows", "Rows", "RowsLike", "Span", "Stream", "gaps", "rows_of"]

RowsLike: TypeAlias = "Any | str | PathLike[str] | Recording | Recorded | Iterable[Any]"
Span: TypeAlias = tuple[int, int]
"""From one row up to another."""

_SAMPLED = 16  # rows whose bytes identify an array


@dataclass(frozen=True)
class FileRows:
    """Rows that lie in a file: what a worker needs to read them itself.

    Attributes
    ----------
    path : str
    offset : int
        Where the first row begins, in bytes.
    dtype : str
    shape : tuple of int
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, int]

    def read(self, start: int, stop: int) -> FloatArray:
        """Return some rows, mapped into memory."""
        size = self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if Path(self.path).stat().st_size < size:
            raise OSError(f"{self.path} is shorter than the {self.shape[0]} rows it had")
        rows: FloatArray = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return rows[start:stop]


@dataclass(frozen=True)
class Chunk:
    """Some rows, or where they are, and the tokens before them.

    Attributes
    ----------
    start, stop : int
        Which rows of the sweep.
    rows : FileRows or ndarray
    context : Context or None
    """

    start: int
    stop: int
    rows: FileRows | FloatArray
    context: Context | None

    def __str__(self) -> str:
        return f"rows {self.start} to {self.stop - 1}"

    @property
    def seal(self) -> int:
        """Return a checksum of the logits."""
        return crc32(np.ascontiguousarray(self.load()).tobytes())

    def load(self) -> FloatArray:
        """Return the logits, shape (n, V)."""
        if isinstance(self.rows, FileRows):
            return check_array(self.rows.read(self.start, self.stop), "rows")
        return self.rows


class Rows:
    """Rows that are all there: an array, or a file.

    Parameters
    ----------
    array : ndarray, shape (..., V)
    context : Context or None

    Attributes
    ----------
    batch : tuple of int
        How the rows were laid out.
    shape : tuple of int
        Rows, and tokens of the vocabulary.
    identity : dict
        What tells these rows from others.
    """

    def __init__(self, array: FloatArray, context: Context | None) -> None:
        self.batch: tuple[int, ...] | None = array.shape[:-1]
        self.array = _two_axes(array)
        self.shape: tuple[int, int] = self.array.shape
        self.file = _file_of(self.array)
        if self.file is None:
            self.array = check_array(self.array, "rows")  # in this machine's order of bytes
        if context is not None and array.ndim > 2:
            context = context.for_rows(array.shape[:-1], slice(None))
        self.context = context
        if context is not None:
            for name in ("prompt", "output"):
                context.tokens(name, self.shape[:1], self.shape[1])

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these rows from others."""
        # A file tells of a change itself; an array has to be looked at as a whole.
        count = _SAMPLED if self.file else len(self.array)
        places = np.unique(np.linspace(0, len(self.array) - 1, count).astype(np.intp))
        checksum = 0
        for place in places if len(self.array) else ():
            checksum = crc32(np.ascontiguousarray(self.array[place]).tobytes(), checksum)
        identity = {"shape": list(self.shape), "dtype": self.array.dtype.str, "bytes": checksum}
        if self.file:
            stat = Path(self.file.path).stat()
            identity |= {"bytes of the file": stat.st_size, "time of the file": stat.st_mtime_ns}
        return identity

    def chunks(self, size: int, done: Mapping[Span, int]) -> Iterator[Chunk]:
        """Yield chunks of at most ``size`` rows, but for spans that are done."""
        for first, last in gaps(done, self.shape[0]):
            for start in range(first, last, size):
                stop = min(start + size, last)
                context = _part_of(self.context, start, stop)
                yield Chunk(start, stop, self.file or self.array[start:stop], context)


class Stream:
    """Rows that come in chunks, from any iterable, and are never all there.

    Parameters
    ----------
    chunks : iterable
        Arrays of shape (n, V), or pairs of such an array and a `Context`.
    """

    batch: tuple[int, ...] | None = None
    context: Context | None = None

    def __init__(self, chunks: Iterable[Any]) -> None:
        items = iter(chunks)
        first = next(items, None)
        if first is None:
            raise ParameterError("rows", "at least one chunk of rows", Seen("none"))
        self._items = chain([first], items)
        self.shape: tuple[int | None, int] = None, _item(first)[0].shape[1]

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint compares before the stream is read."""
        return {"rows": "a stream of chunks", "tokens": self.shape[1]}

    def chunks(self, size: int, done: Mapping[Span, int]) -> Iterator[Chunk]:
        """Yield chunks of at most ``size`` rows, but for spans that are done, with their seals."""
        ends = dict(done.keys())
        last = 0
        for item in self._items:
            rows, context = _item(item)
            if rows.shape[1] != self.shape[1]:
                rule = f"of {self.shape[1]} tokens in every chunk"
                raise ParameterError("rows", rule, Seen(f"shape {rows.shape}"))
            first, last = last, last + len(rows)
            at = first
            while at < last:
                stop = ends.get(at, min(at + size, last))
                part = slice(at - first, stop - first)
                chunk = Chunk(at, stop, rows[part], _part_of(context, part.start, part.stop))
                if at not in ends:
                    if any(at < start < stop for start in ends):
                        raise _other_rows(f"other chunks from row {at} on")
                    yield chunk
                elif stop > last or chunk.seal != done[at, stop]:
                    raise _other_rows(f"others in rows {at} to {stop - 1}")
                at = stop
        if any(stop > last for _, stop in done):
            raise _other_rows(f"only {last}")


def _other_rows(seen: str) -> ParameterError:
    hint = "Give the chunks that the first run had, or another checkpoint."
    return ParameterError("rows", "those of the checkpoint", Seen(seen), hint)


def gaps(done: Iterable[Span], count: int) -> list[Span]:
    """Return the spans of rows that are not done."""
    spans = sorted(done)
    starts, stops = (*(start for start, _ in spans), count), (0, *(stop for _, stop in spans))
    return [(stop, start) for stop, start in zip(stops, starts, strict=True) if stop < start]


def rows_of(rows: RowsLike, context: Context | None) -> Rows | Stream:
    """Return the rows that an argument means, or raise `ParameterError`."""
    if context is not None and not isinstance(context, Context):
        raise ParameterError("context", "a Context or None", context)
    if isinstance(rows, Recorded | Recording):
        return Rows(rows.logits, context)
    if isinstance(rows, str | PathLike):
        return Rows(open_logits(rows, path_key="rows", name_key=None), context)
    if isinstance(rows, list | tuple) and _are_chunks(rows):
        rows = iter(rows)
    if isinstance(rows, np.memmap):  # stays in its file, in whatever order of bytes
        check_array(rows[:0] if rows.ndim > 1 and rows.size else rows, "rows")
        return Rows(rows, context)
    if is_array(rows) or isinstance(rows, Sequence):
        return Rows(check_array(cast(Any, rows), "rows"), context)
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping):
        rule = "an array, the path of a file, a recording, or an iterable of chunks"
        raise ParameterError("rows", rule, rows)
    if context is not None:
        hint = "Give pairs of a chunk and its Context instead."
        raise ParameterError("context", "None for a stream of chunks", context, hint)
    return Stream(rows)


def _are_chunks(items: Sequence[Any]) -> bool:
    """Return whether a list holds chunks of unequal lengths, or pairs of a chunk and a context."""
    if any(isinstance(i, tuple) and len(i) == 2 and isinstance(i[1], Context) for i in items):
        return True
    shapes = [getattr(item, "shape", ()) for item in items]
    return all(len(shape) == 2 for shape in shapes) and len(set(shapes)) > 1


def _two_axes(array: FloatArray) -> FloatArray:
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def _item(item: Any) -> tuple[FloatArray, Context | None]:
    """Return the rows and the context of one chunk of a stream."""
    rows, context = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    array = _two_axes(check_array(rows, "rows"))
    if context is not None and not isinstance(context, Context):
        raise ParameterError("rows", "chunks, or pairs of a chunk and a Context", context)
    return array, context


def _part_of(context: Context | None, start: int, stop: int) -> Context | None:
    """Return the context of some rows; one that serves all rows as it is."""
    if context is None:
        return None

    def part(array: Any) -> Any:
        return array.reshape(-1) if array.size == array.shape[-1] else array[start:stop]

    other = context.unconditional
    return Context(
        part(context.prompt), part(context.output), None if other is None else part(other)
    )


def _file_of(array: NDArray[Any]) -> FileRows | None:
    """Return where in a file an array lies, if it does, as it is."""
    root, below = array, array.base
    while isinstance(below, np.ndarray):
        root, below = below, below.base
    if not (isinstance(root, np.memmap) and isinstance(below, mmap.mmap)):
        return None
    if not array.flags.c_contiguous or root.filename is None or not array.size:
        return None
    shift = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    path = str(Path(root.filename).resolve())
    return FileRows(path, root.offset + shift, array.dtype.str, array.shape)
