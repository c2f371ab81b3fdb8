"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from logitlab.checks import ParameterError, suggestion
from logitlab.models.model import Model as Model, State as State
from logitlab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from logitlab.models.gguf import Gguf as Gguf
    from logitlab.models.huggingface import Transformers as Transformers
    from logitlab.models.llama_cpp import LlamaCpp as LlamaCpp
    from logitlab.models.ngram import NGram as NGram
    from logitlab.models.recording import (
        Recorded as Recorded,
        Recorder as Recorder,
        read_logits as read_logits,
        write_logits as write_logits,
    )


class _Adapter(NamedTuple):
    """Where a model stands, and which files `load` opens with it: with ``open``, if it has that."""

    module: str
    ending: str = ""
    files: str = ""


# Each is loaded when it is asked for: most who import logitlab want one of them, or none.
_ADAPTERS = {
    "Gguf": _Adapter("gguf", ".gguf", "a .gguf file"),
    "LlamaCpp": _Adapter("llama_cpp"),
    "NGram": _Adapter("ngram"),
    "Recorded": _Adapter("recording", ".npy", "a recorded .npy"),
    "Recorder": _Adapter("recording"),
    "Transformers": _Adapter("huggingface"),
}

_FILES = ("read_logits", "write_logits")

BUNDLED = "grimm"
"""Name of the model that comes along."""

__all__ = sorted(["BUNDLED", "Model", "State", "load", "load_vocabulary", *_ADAPTERS, *_FILES])


def __getattr__(name: str) -> Any:
    module = "recording" if name in _FILES else getattr(_ADAPTERS.get(name), "module", None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__


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
    if isinstance(name, str) and name == BUNDLED:
        from logitlab.models.ngram import NGram

        return NGram.bundled()
    adapters = {key: adapter for key, adapter in _ADAPTERS.items() if adapter.ending}
    for key, adapter in adapters.items():
        if isinstance(name, str) and name.endswith(adapter.ending):
            kind = __getattr__(key)
            model: Model = getattr(kind, "open", kind)(name)
            return model
    files = " or ".join(adapter.files for adapter in adapters.values())
    raise ParameterError("model", f"{BUNDLED}, {files}", name, suggestion(name, [BUNDLED]))


def load_vocabulary(path: str | PathLike[str]) -> Vocabulary:
    """Return the vocabulary of a file of a tokenizer, to label the tokens of logits of one's own.

    Parameters
    ----------
    path : str or path
        A ``tokenizer.json`` of Hugging Face, byte-level BPE or SentencePiece, or a GGUF file, which
        may hold a model of any architecture.

    Raises
    ------
    ParameterError
        For a file that is missing, or has no such vocabulary.

    Examples
    --------
    >>> load_vocabulary("tokenizer.json").label(9)  # doctest: +SKIP
    '␣the'
    """
    from logitlab.models.vocabulary_file import file_vocabulary

    return file_vocabulary(path)
