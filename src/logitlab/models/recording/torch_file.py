"""Tensors of a file that torch.save wrote, without running any code of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from logitlab.checks import needs

__all__ = ["tensors"]

_SAFE = (2, 10)
"""Before it, a file could do harm in spite of ``weights_only`` (CVE-2025-32434, CVE-2026-24747)."""


def tensors(path: Path) -> Any:
    """Return the tensor of a file, or a map of names to tensors.

    Raises
    ------
    ImportError
        If torch is not installed, or too old to be safe.
    ValueError
        For anything else, above all what would have to be run.
    """
    torch = needs("transformers", "torch")
    version = str(torch.__version__)
    if tuple(map(int, version.split(".")[:2])) < _SAFE:
        least = ".".join(map(str, _SAFE))
        raise ImportError(
            f"torch {version} does not open files safely: pip install 'torch>={least}'",
            name="torch",
        )
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Only the later format of torch, a zip, can be mapped into memory.
            content = torch.load(str(path), mmap=is_zipfile(path), **options)
    except Exception:  # of torch's parsers; its words would advise to run what is in the file
        raise ValueError("it is damaged, or holds more than tensors, which is never run") from None
    named = content.items() if isinstance(content, dict) else [("", content)]
    for name, tensor in named:
        if not (isinstance(name, str) and isinstance(tensor, torch.Tensor)):
            kind = type(tensor).__name__
            raise ValueError(f"it holds a {kind}, and not one tensor or named ones")
    return content
