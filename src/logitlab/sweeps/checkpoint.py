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
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from logitlab.checks import ParameterError, Seen
from logitlab.sweeps.reductions import Part

__all__ = ["Checkpoint"]

_MAGIC = b"logitlab sweep 1\n"
_HEAD = struct.Struct("<4sQQQII")  # mark, start, stop, length, seal, checksum of the payload
_MARK = b"rows"
_CRC = struct.Struct("<I")
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
        self.path = Path(path)
        self._header = _framed(json.dumps(request, sort_keys=True).encode())
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise ParameterError("checkpoint", "a file in an existing folder", str(path))
        if self.path.exists() and self.path.stat().st_size:
            self._check(request)
        else:
            self._end = 0

    def _check(self, request: dict[str, Any]) -> None:
        whole = _MAGIC + self._header
        with self.path.open("rb") as file:
            found = file.read(len(whole))
            if whole.startswith(found) and len(found) < len(whole):
                self._end = 0  # cut off in its very first write
                return
            file.seek(0)
            if file.read(len(_MAGIC)) != _MAGIC:
                rule = "a checkpoint of a sweep, or a file that is not there yet"
                raise ParameterError("checkpoint", rule, str(self.path))
            held = _unframed(file)
            if held is None:
                raise self._damaged("its header")
            try:
                before = json.loads(held)
            except ValueError:
                raise self._damaged("its header") from None
            now = json.loads(json.dumps(request))
            keys = sorted(before.keys() | now.keys())
            differ = [key for key in keys if before.get(key) != now.get(key)]
            if differ:
                rule = f"of the same sweep; this one differs in {', '.join(differ)}"
                raise ParameterError("checkpoint", rule, str(self.path), _HINT)
            self._end = file.tell()

    def _damaged(self, where: str) -> ParameterError:
        rule = "as it was written"
        seen = Seen(f"other bytes in {where} of {self.path}")
        return ParameterError("checkpoint", rule, seen, _HINT)

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
        with self.path.open("rb") as file:
            file.seek(self._end)
            seen: list[tuple[int, int]] = []
            while True:
                begin = file.tell()
                head = file.read(_HEAD.size + _CRC.size)
                if len(head) < _HEAD.size + _CRC.size:
                    if not head.startswith(_MARK[: len(head)]):
                        raise self._damaged(f"byte {begin}")
                    return  # the end, or a torn head
                fields, crc = head[: _HEAD.size], _CRC.unpack(head[_HEAD.size :])[0]
                mark, start, stop, length, seal, sum_ = _HEAD.unpack(fields)
                if mark != _MARK or crc32(fields) != crc:
                    raise self._damaged(f"the head of the record at byte {begin}")
                if file.tell() + length > size:
                    return  # a torn payload: the length is right, and the file ends before it does
                payload = file.read(length)
                overlaps = any(start < b and a < stop for a, b in seen)
                if crc32(payload) != sum_ or overlaps:
                    raise self._damaged(f"the record of rows {start} to {stop - 1}")
                with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
                    part = {name: arrays[name] for name in arrays.files}
                seen.append((start, stop))
                yield start, stop, seal, part
                self._end = file.tell()

    def append(self, start: int, stop: int, seal: int, part: Part) -> None:
        """Write the record of a chunk, in one go, and see to it that it is on the disk."""
        buffer = io.BytesIO()
        np.savez(buffer, **part)  # type: ignore[arg-type]
        payload = buffer.getvalue()
        fields = _HEAD.pack(_MARK, start, stop, len(payload), seal, crc32(payload))
        record = fields + _CRC.pack(crc32(fields)) + payload
        with self.path.open("r+b" if self._end else "wb") as file:
            if not self._end:
                record = _MAGIC + self._header + record
            file.seek(self._end)
            file.truncate()
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()


def _framed(content: bytes) -> bytes:
    fields = struct.pack("<Q", len(content)) + content
    return fields + _CRC.pack(crc32(fields))


def _unframed(file: BinaryIO) -> bytes | None:
    """Return what `_framed` has put into a file, or None if it is not whole."""
    head = file.read(8)
    if len(head) < 8:
        return None
    length = struct.unpack("<Q", head)[0]
    if length > 1 << 32:
        return None
    content, crc = file.read(length), file.read(_CRC.size)
    if len(crc) < _CRC.size or _CRC.unpack(crc)[0] != crc32(head + content):
        return None
    return content
