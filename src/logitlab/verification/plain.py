"""Values of other libraries as JSON has them: numbers, arrays, buffers, objects of clients."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return what JSON can hold in the place of a value that it cannot, as `json.dumps` asks it.

    Numbers and arrays of numpy, and buffers of numbers, become Python's; bytes the list of their
    values, as reports of tokens have them; objects of clients what their ``model_dump`` or
    ``to_dict`` returns.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import json
    >>> json.dumps({"bytes": b"ab", "logprob": np.float32(-1.5)}, default=plain)
    '{"bytes": [97, 98], "logprob": -1.5}'
    """
    if isinstance(value, np.generic | np.ndarray | array | memoryview):
        return value.tolist()
    if isinstance(value, bytes | bytearray):
        return list(value)
    for name in ("model_dump", "to_dict"):
        if callable(method := getattr(value, name, None)):
            return method()
    raise TypeError(f"it holds {type(value).__name__!r}, which JSON does not")
