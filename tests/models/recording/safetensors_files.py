"""A writer of safetensors files, straight from the description of the format."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint16": "BF16"}


def packed(header: Any, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def safetensors(**arrays: NDArray[Any]) -> bytes:
    """Return the bytes of a file; uint16 stands for the bits of bfloat16."""
    header, content = {}, b""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        offsets = [len(content), len(content) + len(data)]
        dtype = DTYPES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        content += data
    return packed(header, content)
