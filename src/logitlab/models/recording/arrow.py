"""Rows of logits in the tables of Arrow: IPC files and streams, Feather, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.checks import needs
from numpy.typing import NDArray

__all__ = ["read"]

Pick = Callable[[list[str]], str]


def read(path: Path, pick: Pick, name: str | None) -> NDArray[Any]:
    """Return the rows of a file.

    A column of lists of floats, all of the same length V, holds one row of logits in each of its
    places: shape (n, V). A column of floats is one row, shape (V,); several of them, where no
    column is chosen, are the tokens, shape (n, V). The index that pandas writes beside its columns
    is none of them.

    Parameters
    ----------
    path : Path
    pick : callable
        Chooses one of several columns.
    name : str or None
        What the caller chose.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ValueError
        For nulls, lists of unequal lengths, and whatever pyarrow raises.
    """
    pa = needs("arrow", "pyarrow")
    schema, columns_of = _opened(pa, path)
    lists = [field.name for field in schema if _is_list(pa, field.type)]
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    index = _index_of_pandas(schema)
    places = [i for i, field in enumerate(schema) if field.name not in index]
    are_tokens = all(pa.types.is_floating(schema.field(i).type) for i in places)
    if name is None and are_tokens and len(places) > 1:
        table = columns_of(None)
        return np.stack([_numbers(table.column(i)) for i in places], axis=-1)
    if name is None and index:  # which is there to be asked for, and not instead of anything
        lists, floats = ([each for each in some if each not in index] for some in (lists, floats))
    chosen = pick(lists if lists and name is None else [*lists, *floats])
    column = columns_of(chosen).column(chosen)
    if chosen in floats:
        return _numbers(column)
    axes = len(getattr(column.type, "shape", [None]))  # lists have no shape
    if axes != 1:
        raise ValueError(f"its tensors have {axes} axes, not one")
    if column.null_count:
        raise ValueError(f"nulls are among its rows, {column.null_count} of them")
    parts = [_rows(chunk) for chunk in column.chunks if len(chunk)]
    if not parts:
        return np.empty((0, getattr(_storage(pa, column.type), "list_size", 0)), np.float32)
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise _unequal(widths)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _opened(pa: Any, path: Path) -> tuple[Any, Callable[[str | None], Any]]:
    """Return the schema of a file, and what reads one of its columns, or all."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"PAR1"):
        from pyarrow import parquet

        table = parquet.ParquetFile(path, memory_map=True)
        # A dot in a name means a part of a column there.
        return table.schema_arrow, lambda name: table.read(
            columns=None if name is None or "." in name else [name]
        )
    source = pa.memory_map(str(path))
    reader = pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)
    # All columns: they stay where they are, while one that is asked for alone would be copied.
    return reader.schema, lambda _: reader.read_all()


def _index_of_pandas(schema: Any) -> set[str]:
    """Return the columns that pandas wrote of the index of its rows, by its own account."""
    told = (schema.metadata or {}).get(b"pandas")
    try:
        columns = json.loads(told)["index_columns"] if told else []
        return {column for column in columns if isinstance(column, str)}  # a range is a map
    except (ValueError, TypeError, KeyError):
        return set()


def _storage(pa: Any, kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(pa: Any, kind: Any) -> bool:
    kind = _storage(pa, kind)
    is_any = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in is_any) and pa.types.is_floating(kind.value_type)


def _numbers(values: Any) -> NDArray[Any]:
    if values.null_count:
        raise ValueError(f"nulls are among its numbers, {values.null_count} of them")
    # An array says what it must not copy, a column of several arrays is always one.
    options = {} if hasattr(values, "chunks") else {"zero_copy_only": False}
    array: NDArray[Any] = values.to_numpy(**options)
    return array


def _rows(chunk: Any) -> NDArray[Any]:
    """Return lists of equal lengths as rows, in the memory of Arrow."""
    chunk = getattr(chunk, "storage", chunk)
    numbers = _numbers(chunk.flatten())
    width = getattr(chunk.type, "list_size", None)
    if width is None:
        lengths = np.unique(chunk.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) > 1:
            raise _unequal(lengths)
        width = int(lengths[0])
    return numbers.reshape(len(chunk), width)


def _unequal(lengths: Any) -> ValueError:
    return ValueError(f"its rows have from {lengths[0]} to {lengths[-1]} numbers")
