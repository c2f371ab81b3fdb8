"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from __future__ import annotations

from logitlab.checks import ParameterError
from logitlab.models.gguf import Gguf
from logitlab.models.huggingface import Transformers
from logitlab.models.llama_cpp import LlamaCpp
from logitlab.models.model import Model, State
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

BUNDLED = "grimm"
"""Name of the model that comes along."""


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
        return NGram.bundled()
    if isinstance(name, str) and name.endswith(".gguf"):
        return Gguf(name)
    if isinstance(name, str) and name.endswith(".npy"):
        return Recorded.open(name)
    raise ParameterError("model", f"{BUNDLED}, a .gguf file or a recorded .npy", name)
