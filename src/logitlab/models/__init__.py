"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from logitlab.checks import ParameterError
from logitlab.models.model import Model, State

if TYPE_CHECKING:
    from logitlab.models.gguf import Gguf
    from logitlab.models.huggingface import Transformers
    from logitlab.models.llama_cpp import LlamaCpp
    from logitlab.models.ngram import NGram
    from logitlab.models.recorded import Recorded
    from logitlab.models.recorder import Recorder

__all__ = [
    "BUNDLED",
    "Gguf",
    "LlamaCpp",
    "Model",
    "NGram",
    "Recorded",
    "Recorder",
    "State",
    "Transformers",
    "load",
]

# Loaded when they are asked for: most who import logitlab want one of them, or none.
_HOMES = {
    "Gguf": "gguf",
    "LlamaCpp": "llama_cpp",
    "NGram": "ngram",
    "Recorded": "recorded",
    "Recorder": "recorder",
    "Transformers": "huggingface",
}

BUNDLED = "grimm"
"""Name of the model that comes along."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load(name: str) -> Model:
    """Return a model by its name or file.

    Parameters
    ----------
    name : str
        "grimm", the bundled n-gram model; the path of a GGUF file that ends in ".gguf", or of a
        run that a `Recorder` wrote and that ends in ".npy".

    Raises
    ------
    ParameterError
        For any other name, or a file that holds no model.

    Examples
    --------
    >>> load("grimm")
    <NGram grimm: 4096 tokens>
    """
    if name == BUNDLED:
        from logitlab.models.ngram import NGram

        return NGram.bundled()
    if isinstance(name, str) and name.endswith(".gguf"):
        from logitlab.models.gguf import Gguf

        return Gguf(name)
    if isinstance(name, str) and name.endswith(".npy"):
        from logitlab.models.recorded import Recorded

        return Recorded.open(name)
    raise ParameterError("model", f"{BUNDLED}, a .gguf file or a recorded .npy", name)
