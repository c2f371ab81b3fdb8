"""One file that a sweep can go on from: a header, then a record for each finished chunk.

Records are appended, each with its length and two checksums. Where the file ends in the middle of
one, that was the last append of a run that was cut off, and is dropped: nothing can follow it. Any
other difference is damage, and refused.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from logitlab.checks import ParameterError, Seen, check_path
from logitlab.sweeps.reductions import Part

__all__ = ["Checkpoint"]

_MAGIC = b"logitlab sweep 1\n"
_RECORD = struct.Struct("<4sQQQII")  # mark, start, stop, length, seal, checksum of the payload
_MARK = b"rows"
_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_HINT = "Delete it, or name another, to start anew."


class Checkpoint:
    """The checkpoint of one sweep.

    Parameters
    ----------
    path : str or path
    request : dict
        What makes it this sweep and no other, as JSON can hold it.

    Raises
    ------
    ParameterError
        For a file that is none, is damaged, or belongs to another sweep: what differs is named.
    """

    def __init__(self, path: str | os.PathLike[str], request: dict[str, Any]) -> None:
        self.path = check_path("checkpoint", path)
        content = json.dumps(request, sort_keys=True).encode()
        self._header = _MAGIC + _with_checksum(_LENGTH.pack(len(content)) + content)
        self._end = 0
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ParameterError("checkpoint", "a file in an existing folder", str(path))
        if self.path.exists():
            with self.path.open("rb") as file:
                start = file.read(len(self._header))
                # What is shorter was cut off in its very first write.
                if not self._header.startswith(start):
                    raise self._difference(file, json.loads(content))
                if len(start) == len(self._header):
                    self._end = file.tell()

    def _difference(self, file: BinaryIO, request: dict[str, Any]) -> ParameterError:
        """Return the error of a file that begins otherwise."""
        file.seek(0)
        if file.read(len(_MAGIC)) != _MAGIC:
            rule = "a checkpoint of a sweep, or a file that is not there yet"
            return ParameterError("checkpoint", rule, str(self.path))
        try:
            length = file.read(_LENGTH.size)
            content = file.read(min(_LENGTH.unpack(length)[0], 1 << 32))
            if file.read(_CHECKSUM.size) != _with_checksum(length + content)[-_CHECKSUM.size :]:
                return self._damage("its header")
            other = json.loads(content)
        except (struct.error, ValueError):
            return self._damage("its header")
        keys = sorted(other.keys() | request.keys())
        differences = ", ".join(key for key in keys if other.get(key) != request.get(key))
        rule = f"of the same sweep; this one differs in {differences}"
        return ParameterError("checkpoint", rule, str(self.path), _HINT)

    def _damage(self, where: str) -> ParameterError:
        seen = Seen(f"other bytes in {where} of {self.path}")
        return ParameterError("checkpoint", "as it was written", seen, _HINT)

    def records(self) -> Iterator[tuple[int, int, int, Part]]:
        """Yield (start, stop, seal, part) of each finished chunk.

        Raises
        ------
        ParameterError
            For a damaged record; nothing of the file may be used then.
        """
        if not self._end:
            return
        size = self.path.stat().st_size
        spans: list[tuple[int, int]] = []
        with self.path.open("rb") as file:
            while True:
                file.seek(self._end)
                head = file.read(_RECORD.size + _CHECKSUM.size)
                if len(head) < _RECORD.size + _CHECKSUM.size:
                    if not head.startswith(_MARK[: len(head)]):
                        raise self._damage(f"byte {self._end}")
                    return  # the end, or a torn head
                fields = head[: _RECORD.size]
                mark, start, stop, length, seal, checksum = _RECORD.unpack(fields)
                if mark != _MARK or head != _with_checksum(fields):
                    raise self._damage(f"the head of the record at byte {self._end}")
                if file.tell() + length > size:
                    return  # a torn payload: the length is right, and the file ends before it does
                payload = file.read(length)
                overlaps = any(start < b and a < stop for a, b in spans)
                if crc32(payload) != checksum or overlaps:
                    raise self._damage(f"the record of rows {start} to {stop - 1}")
                with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
                    part = dict(arrays)
                spans.append((start, stop))
                yield start, stop, seal, part
                self._end = file.tell()

    def append(self, start: int, stop: int, seal: int, part: Part) -> None:
        """Write the record of a chunk, in one go, and see to it that it is on the disk."""
        buffer = io.BytesIO()
        np.savez(buffer, **part)  # type: ignore[arg-type]
        payload = buffer.getvalue()
        fields = _RECORD.pack(_MARK, start, stop, len(payload), seal, crc32(payload))
        record = _with_checksum(fields) + payload
        with self.path.open("r+b" if self._end else "wb") as file:
            file.seek(self._end)
            file.truncate()
            file.write(record if self._end else self._header + record)
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()


def _with_checksum(content: bytes) -> bytes:
    return content + _CHECKSUM.pack(crc32(content))
