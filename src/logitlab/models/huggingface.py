"""Causal language models of the library transformers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range, Seen, check_integer, needs
from logitlab.models.inputs import check_tokens, own_states
from logitlab.models.messages import check_messages
from logitlab.models.model import Message, Model, State, Tool
from logitlab.models.tokenizer_bytes import tokenizer_vocabulary
from logitlab.vocabulary import Vocabulary

__all__ = ["Transformers"]


class _CacheState(State):
    """A text with the keys and values of all its tokens, or with None to read it again."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: Any = None

    def copy(self) -> Self:
        twin = super().copy()
        twin.cache = _copy_cache(self.cache)
        return twin

    def rewind(self, length: int) -> None:
        super().rewind(length)
        if self.cache is not None and length and _only_grows(self.cache):
            _change(self.cache, lambda part: part[:, :, :length])
        else:  # windows and running sums do not go back
            self.cache = None


class _Reading(NamedTuple):
    """A text on its way through the model: what is read already, and what is to be read."""

    state: _CacheState
    read: int
    new: list[int]


class Transformers(Model):
    """A causal language model of transformers, with its keys and values kept in the states.

    The model is set to evaluation, and run without gradients. Logits are float32 whatever the
    model computes in, and only those of tokens that the tokenizer knows: the columns that pad an
    embedding are cut off. Neighbours change no bit of a row, but how many tokens are read at once
    can change the last ones: matrices of another shape are added up in another order.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        With logits of the next token: any ``…ForCausalLM``.
    tokenizer : transformers.PreTrainedTokenizerFast, optional
        Byte-level BPE or SentencePiece. Without it tokens are called ``<0>``, ``<1>`` …, and
        prompts are token ids.
    rows_together : int
        How many texts are read in one go, shorter ones padded on the left. More than 1 is faster,
        and lets neighbours change the last bits. Models with other memories than keys and values
        of all tokens (sliding windows, state spaces) always read one by one.
    tokens_together : int, optional
        How many tokens of a text are read at once, at most, where texts are read one by one; by
        default all new ones. With 1 the logits are a function of the text, in whatever pieces it
        comes; a long prompt takes several times as long.

    Raises
    ------
    ParameterError
        For other models and tokenizers.

    Examples
    --------
    >>> from transformers import AutoModelForCausalLM, AutoTokenizer  # doctest: +SKIP
    >>> name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    >>> network = AutoModelForCausalLM.from_pretrained(name)  # doctest: +SKIP
    >>> model = Transformers(network, AutoTokenizer.from_pretrained(name))  # doctest: +SKIP
    >>> logits = model.advance(  # doctest: +SKIP
    ...     [model.start()], [model.encode("The capital of France is")]
    ... )
    >>> model.vocabulary.label(int(logits.argmax()))  # doctest: +SKIP
    '␣Paris'
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        rows_together: int = 1,
        tokens_together: int | None = None,
    ) -> None:
        config: Any = getattr(model, "config", None)
        if not callable(getattr(model, "forward", None)) or not hasattr(config, "get_text_config"):
            raise ParameterError("model", "a causal language model of transformers", model)
        if config.is_encoder_decoder:
            seen = Seen(f"{type(model).__name__}, an encoder and decoder")
            raise ParameterError("model", "a causal language model of transformers", seen)
        self._torch = needs("transformers", "torch")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._takes = set(inspect.signature(model.forward).parameters)
        if tokens_together is not None:
            rule = Range(1, integer=True)
            tokens_together = check_integer("tokens_together", tokens_together, rule)
        self._width = tokens_together
        self._together = check_integer("rows_together", rows_together, Range(1, integer=True))
        if self._together > 1 and not self._can_pad():
            self._together = 1
        text = config.get_text_config()
        self.name = config.name_or_path or config.model_type
        self.vocabulary = _column_tokens(tokenizer, text.vocab_size)
        self.end_ids = _generation_ends(model, tokenizer, len(self.vocabulary))
        self.context_length = getattr(text, "max_position_embeddings", None)

    @classmethod
    def load(
        cls,
        path: str,
        *,
        rows_together: int = 1,
        tokens_together: int | None = None,
        **options: Any,
    ) -> Self:
        """Load a model and its tokenizer.

        Parameters
        ----------
        path : str
            A folder, or a name on the Hugging Face Hub.
        rows_together, tokens_together : int
            As above.
        **options
            Of ``from_pretrained``: ``dtype``, ``device_map``, ``revision``, ``gguf_file`` …

        Raises
        ------
        ImportError
            Where transformers is not installed, with the command that installs it.
        """
        transformers = needs("transformers", "transformers")
        model = transformers.AutoModelForCausalLM.from_pretrained(path, **options)
        about = ("revision", "subfolder", "gguf_file", "token", "cache_dir", "trust_remote_code")
        shared = {key: value for key, value in options.items() if key in about}
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **shared)
        return cls(model, tokenizer, rows_together=rows_together, tokens_together=tokens_together)

    def start(self) -> State:
        """Return the state of an empty text."""
        return _CacheState()

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the token after them, as in `Model.advance`."""
        ids = check_tokens(states, tokens, len(self.vocabulary), self.context_length)
        rows = []
        for state, new in zip(own_states(states, _CacheState), ids, strict=True):
            read = 0 if state.cache is None else len(state.tokens)
            state.read(new)
            rows.append(_Reading(state, read, state.tokens[read:]))
        logits = np.empty((len(rows), len(self.vocabulary)), np.float32)
        # Texts with about as many new tokens go together.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].new))
        for start in range(0, len(rows), self._together):
            group = order[start : start + self._together]
            logits[group] = self._forward([rows[i] for i in group])
        return logits

    def _forward(self, rows: list[_Reading]) -> FloatArray:
        caches = [row.state.cache for row in rows]
        for row in rows:
            row.state.cache = None  # if the model raises, the text is read again
        with self._torch.inference_mode():
            if len(rows) == 1:
                answer = self._read_pieces(rows[0], caches[0])
            else:
                answer = self._read_padded(rows, caches)
            result: FloatArray = answer.logits[:, -1, : len(self.vocabulary)].float().cpu().numpy()
        return result

    def _call(self, ids: list[list[int]], **options: Any) -> Any:
        tensor = self._torch.tensor(ids, device=self._model.device)
        if "logits_to_keep" in self._takes:
            options["logits_to_keep"] = 1
        return self._model(input_ids=tensor, use_cache=True, **options)

    def _read_pieces(self, row: _Reading, cache: Any) -> Any:
        width = self._width or len(row.new)
        answer = None
        for start in range(0, len(row.new), width):
            # Without a cache, the model has none: then it reads from the beginning each time.
            piece = row.new[0 if cache is None else start : start + width]
            answer = self._call([piece], past_key_values=cache)
            cache = getattr(answer, "past_key_values", None)
        row.state.cache = cache
        return answer

    def _read_padded(self, rows: list[_Reading], caches: list[Any]) -> Any:
        """Run texts of different lengths: what each has read and what is new end together."""
        past, width = max(row.read for row in rows), max(len(row.new) for row in rows)
        shape = len(rows), past + width
        mask, positions, ids = np.zeros(shape, int), np.zeros(shape, int), []
        for i, row in enumerate(rows):
            mask[i, past - row.read : past] = 1
            mask[i, past + width - len(row.new) :] = 1
            positions[i] = np.maximum(mask[i].cumsum() - 1, 0)
            ids.append([0] * (width - len(row.new)) + row.new)
        cache = self._stack(rows, caches, past) if past else self._empty()
        device = self._model.device
        answer = self._call(
            ids,
            attention_mask=self._torch.tensor(mask, device=device),
            position_ids=self._torch.tensor(positions[:, past:], device=device),
            past_key_values=cache,
        )
        for i, row in enumerate(rows):
            own_part = partial(_own_part, i, self._torch.tensor(np.flatnonzero(mask[i])))
            row.state.cache = _change(_copy_cache(cache), own_part)
        return answer

    def _stack(self, rows: list[_Reading], caches: list[Any], past: int) -> Any:
        """Return one cache of all texts, shorter ones after zeros."""
        stack = _copy_cache(next(cache for cache in caches if cache is not None))
        for number, layer in enumerate(stack.layers):
            for name in ("keys", "values") if layer.keys is not None else ():
                example = getattr(layer, name)
                every = example.new_zeros(len(rows), example.shape[1], past, example.shape[3])
                for part, row, cache in zip(every, rows, caches, strict=True):
                    if cache is not None:
                        part[:, past - row.read :] = getattr(cache.layers[number], name)[0]
                setattr(layer, name, every)
        return stack

    def _can_pad(self) -> bool:
        return {"attention_mask", "position_ids"} <= self._takes and _only_grows(self._empty())

    def _empty(self) -> Any:
        return needs("transformers", "transformers").DynamicCache(config=self._model.config)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, with those that the tokenizer puts first."""
        if self._tokenizer is None:
            return super().encode(text)
        return [int(token) for token in self._tokenizer(text)["input_ids"]]

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation by the tokenizer's chat template.

        Raises
        ------
        ParameterError
            For messages that are none, and those that the template refuses.
        """
        plain = check_messages(messages)
        if getattr(self._tokenizer, "chat_template", None) is None:
            return super().chat(plain, tools)
        try:
            text = self._tokenizer.apply_chat_template(
                plain, tools=list(tools) or None, add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template raises what it likes
            rule = f"what the chat template of {self.name} takes"
            raise ParameterError("messages", rule, messages, f"It says: {error}.") from error
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return [int(token) for token in ids]


def _change(cache: Any, change: Callable[[Any], Any]) -> Any:
    """Change the keys and values of all layers in place, and return the cache."""
    for layer in cache.layers:
        if layer.keys is not None:
            layer.keys, layer.values = change(layer.keys), change(layer.values)
    return cache


def _own_part(row: int, places: Any, part: Any) -> Any:
    """Return the keys or values of one text, at the places of its tokens."""
    return part[row : row + 1].index_select(2, places.to(part.device))


def _only_grows(cache: Any) -> bool:
    """Whether a cache is keys and values of all tokens, which only ever grow."""
    layers = getattr(cache, "layers", None) or [None]
    return all(type(layer).__name__ == "DynamicLayer" for layer in layers)


def _copy_cache(cache: Any) -> Any:
    """Return a cache that can grow by itself; tensors that never change are shared."""
    if cache is None or not _only_grows(cache):
        return copy.deepcopy(cache)
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    return twin


def _column_tokens(tokenizer: Any, columns: int) -> Vocabulary:
    if tokenizer is None:
        return Vocabulary(f"<{i}>".encode() for i in range(columns))
    vocabulary = tokenizer_vocabulary(tokenizer)
    if len(vocabulary) > columns:
        hint = "model.resize_token_embeddings makes room."
        rule = f"the model's own, with at most {columns} tokens"
        raise ParameterError("tokenizer", rule, Seen(f"one with {len(vocabulary)}"), hint)
    return vocabulary


def _generation_ends(model: Any, tokenizer: Any, size: int) -> frozenset[int]:
    """Return the end tokens, from the first that names any: as `generate` does, then others."""
    sources = (getattr(model, "generation_config", None), model.config.get_text_config(), tokenizer)
    for source in sources:
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            every = ids if isinstance(ids, list | tuple) else [ids]
            return frozenset(int(token) for token in every if 0 <= int(token) < size)
    return frozenset()
