"""Models of llama.cpp, through the package llama-cpp-python."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_flag,
    check_integer,
    check_path,
    needs,
)
from logitlab.models.inputs import check_tokens, own_states
from logitlab.models.messages import check_messages
from logitlab.models.model import Message, Model, State, Tool
from logitlab.vocabulary import Vocabulary

__all__ = ["LlamaCpp"]


class LlamaCpp(Model):
    """A model in a .gguf file, computed by llama.cpp.

    Texts are read one by one, each in a part of the memory of its own. llama.cpp would read several
    together, but then neighbours change the logits, by some tenths where weights have 4 bits: sums
    of other lengths round otherwise, and whatever is computed from them is rounded to 8 bits again.
    In the same way it matters how many tokens of a text are read at once. The latest texts stay in
    the memory of llama.cpp; what has to leave it, or is copied, is kept as bytes.

    Parameters
    ----------
    path : str or path
        The .gguf file.
    context_length : int, optional
        Most tokens of a text; by default what the model was trained with, at most 4096.
    sequences : int
        How many texts stay in the memory of llama.cpp, each with room for ``context_length``
        tokens.
    tokens_together : int
        How many tokens of a text are read at once, at most. With 1 the logits are a function of the
        text, in whatever pieces it comes; a long prompt takes several times as long.
    threads : int, optional
        By default what llama.cpp chooses.
    verbose : bool
        Whether llama.cpp may say what it does, on stderr.

    Raises
    ------
    ParameterError
        For a file that is missing or not readable, and for bad options.
    ImportError
        Where llama-cpp-python is not installed, with the command that installs it.

    Examples
    --------
    >>> model = LlamaCpp("SmolLM2-135M-Instruct.Q4_1.gguf")  # doctest: +SKIP
    >>> logits = model.advance(  # doctest: +SKIP
    ...     [model.start()], [model.encode("The capital of France is")]
    ... )
    >>> model.vocabulary.label(int(logits.argmax()))  # doctest: +SKIP
    '␣Paris'
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        context_length: int | None = None,
        sequences: int = 4,
        tokens_together: int = 512,
        threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        if not check_path("path", path).is_file():
            raise ParameterError("path", "an existing .gguf file", str(path))
        rule = Range(1, integer=True)
        if context_length is not None:
            context_length = check_integer("context_length", context_length, rule)
        if threads is not None:
            threads = check_integer("threads", threads, rule)
        sequences = check_integer("sequences", sequences, Range(1, 64, integer=True))
        rule = Range(1, 4096, integer=True)
        tokens_together = check_integer("tokens_together", tokens_together, rule)
        check_flag("verbose", verbose)
        self._lib = lib = needs("llama-cpp", "llama_cpp")
        import logging

        logging.getLogger("llama-cpp-python").setLevel(logging.DEBUG if verbose else logging.ERROR)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(
            os.fsencode(path), lib.llama_model_default_params()
        )
        if not self._model:
            raise ParameterError("path", "a .gguf file that llama.cpp can read", str(path))
        self.context_length = context_length or min(lib.llama_n_ctx_train(self._model), 4096)
        self._memory = _Memory(
            lib, self._model, self.context_length, sequences, tokens_together, threads
        )
        self.close = weakref.finalize(self, _free_model, lib, self._model, self._memory)
        """Give the memory back; states cannot be advanced afterwards."""
        self._vocab = lib.llama_model_get_vocab(self._model)
        title = _buffer_text(lib.llama_model_meta_val_str, self._model, b"general.name")
        self.name = title.decode() or Path(path).stem
        every = range(lib.llama_vocab_n_tokens(self._vocab))
        self.vocabulary = Vocabulary(
            (_buffer_text(lib.llama_token_to_piece, self._vocab, i, 0, True) for i in every),
            (i for i in every if lib.llama_vocab_is_control(self._vocab, i)),
        )
        self.end_ids = frozenset(i for i in every if lib.llama_vocab_is_eog(self._vocab, i))

    def start(self) -> State:
        """Return the state of an empty text."""
        return _SlotState(self._memory)

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the token after them, as in `Model.advance`."""
        if not self._memory.is_open:
            raise ParameterError("model", "open", Seen("a closed one"))
        ids = check_tokens(states, tokens, len(self.vocabulary), self.context_length)
        logits = np.empty((len(ids), len(self.vocabulary)), np.float32)
        for row, state, new in zip(logits, own_states(states, _SlotState), ids, strict=True):
            state.read(new)
            row[:] = self._memory.read(state, len(self.vocabulary))
        return logits

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, special tokens included, with those that come first."""
        return self._tokenize(text, add_special=True)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation by the chat template in the file.

        Raises
        ------
        ParameterError
            For messages that are none, and those that the template refuses.
        """
        plain, lib = check_messages(messages), self._lib
        template = lib.llama_model_chat_template(self._model, None)
        if not template:
            return super().chat(plain, tools)
        begin, end = lib.llama_vocab_bos(self._vocab), lib.llama_vocab_eos(self._vocab)
        names = {
            "bos_token": self.vocabulary[begin].decode() if begin >= 0 else "",
            "eos_token": self.vocabulary[end].decode() if end >= 0 else "",
        }
        formats = needs("llama-cpp", "llama_cpp.llama_chat_format")
        try:
            formatter = formats.Jinja2ChatFormatter(template.decode(), **names)
            text = formatter(messages=plain, tools=list(tools) or None).prompt
        except Exception as error:  # a template raises what it likes
            rule = f"what the chat template of {self.name} takes"
            raise ParameterError("messages", rule, messages, f"It says: {error}.") from error
        return self._tokenize(text, add_special=False)

    def _tokenize(self, text: str, *, add_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8  # a token is a byte at least, but for those that come first and last
        tokens = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(
            self._vocab, data, len(data), tokens, room, add_special, True
        )
        return list(tokens[: max(count, 0)])


class _SlotState(State):
    """A text, which slot of the memory it is in, and a copy of what was there."""

    def __init__(self, memory: _Memory) -> None:
        super().__init__()
        self.memory = memory
        self.slot: int | None = None
        self.live = 0  # how many tokens of the text are in the slot
        self.saved: Any = None
        self.saved_length = 0  # how many tokens of the text are in the copy

    def copy(self) -> Self:
        self.memory.save(self)
        twin = super().copy()
        twin.slot, twin.live = None, 0
        return twin

    def rewind(self, length: int) -> None:
        super().rewind(length)
        self.live = min(self.live, length)
        self.saved_length = min(self.saved_length, length)


class _Memory:
    """The context of llama.cpp: slots for texts, each with keys and values of its own."""

    def __init__(
        self, lib: Any, model: Any, length: int, slots: int, width: int, threads: int | None
    ) -> None:
        options = lib.llama_context_default_params()
        options.n_ctx = slots * -(-length // 256) * 256  # llama.cpp rounds the share of each up
        options.n_seq_max = slots
        options.n_batch = options.n_ubatch = max(width, slots)  # it aborts with fewer
        options.kv_unified = False  # in a shared buffer neighbours change the logits
        options.swa_full = True  # windows can be rewound
        if threads is not None:
            options.n_threads = options.n_threads_batch = threads
        self._lib = lib
        self._context = lib.llama_init_from_model(model, options)
        if not self._context:
            hint = "Fewer sequences, or a shorter context_length, need less memory."
            raise ParameterError(
                "path", "a model that fits the memory", Seen("too large a one"), hint
            )
        self._cells = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(width, 0, 1)
        self._width = width
        # Which text is in each slot, in the order of their last use.
        self._texts: dict[int, weakref.ref[_SlotState] | None] = dict.fromkeys(range(slots))
        self.is_open = True

    def free(self) -> None:
        self.is_open = False
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._context)

    def read(self, text: _SlotState, columns: int) -> FloatArray:
        """Read the tokens that are not in the memory yet, and return the logits after them."""
        slot = self._place(text)
        new, start = text.tokens[text.live :], text.live
        text.live = 0  # if llama.cpp fails, the text is read again
        for begin in range(0, len(new), self._width):
            self._decode(slot, new[begin : begin + self._width], start + begin)
        text.live = len(text.tokens)
        return np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._context, -1), (columns,))

    def _decode(self, slot: int, tokens: list[int], start: int) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, slot
            batch.logits[i] = i == len(tokens) - 1
        code = self._lib.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama.cpp could not read {len(tokens)} tokens: code {code}.")

    def _place(self, text: _SlotState) -> int:
        """Give a text a slot with the first ``live`` of its tokens, and nothing else."""
        lib = self._lib
        slot = self._vacate() if text.slot is None else text.slot
        if text.slot is None:
            lib.llama_memory_seq_rm(self._cells, slot, -1, -1)
            text.slot, text.live = slot, 0
            if text.saved_length and lib.llama_state_seq_set_data(
                self._context, text.saved, len(text.saved), slot
            ):
                text.live = text.saved_length
        if not lib.llama_memory_seq_rm(self._cells, slot, text.live, -1):
            text.live = 0  # a running sum does not go back
            lib.llama_memory_seq_rm(self._cells, slot, -1, -1)
        del self._texts[slot]
        self._texts[slot] = weakref.ref(text)
        return slot

    def _vacate(self) -> int:
        texts = {slot: None if ref is None else ref() for slot, ref in self._texts.items()}
        # The first empty one, or else the one that was used longest ago.
        slot = min(texts, key=lambda slot: texts[slot] is not None)
        text = texts[slot]
        if text is not None:
            self.save(text)
            text.slot, text.live = None, 0
        return slot

    def save(self, text: _SlotState) -> None:
        """Copy what the slot of a text holds, unless the last copy is as good."""
        if text.slot is None or text.saved_length >= text.live or not self.is_open:
            return
        size = self._lib.llama_state_seq_get_size(self._context, text.slot)
        data = (ctypes.c_uint8 * size)()
        if self._lib.llama_state_seq_get_data(self._context, data, size, text.slot) == size:
            text.saved, text.saved_length = data, text.live


def _buffer_text(function: Any, owner: Any, key: Any, *rest: Any) -> bytes:
    """Return what a function of llama.cpp writes into a buffer: empty for what there is not."""
    for size in (64, 1 << 16):
        buffer = ctypes.create_string_buffer(size)
        length = function(owner, key, buffer, size, *rest)
        if 0 <= length < size:
            break
    return buffer.raw[: max(length, 0)]


def _free_model(lib: Any, model: Any, memory: _Memory) -> None:
    memory.free()
    lib.llama_model_free(model)
