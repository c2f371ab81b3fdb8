"""The llama architecture in numpy: token ids to logits, with keys and values kept for every text.

Every row of a linear map is one product of a matrix and a vector, whose shape no neighbour and no
earlier split of the text can change. So the logits of a text are the same bits however it was read,
as long as BLAS uses the same number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from logitlab.checks import ParameterError
from logitlab.models.gguf.file import GgufFile
from logitlab.models.inputs import check_tokens
from logitlab.models.model import State
from numpy.typing import NDArray

__all__ = ["Llama", "LlamaState"]

Array = NDArray[np.float32]

_PAGE = 64  # positions: keys are read in whole pages
_KNOWN_KEYS = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
}


class _Pages:
    """Keys and values of one text or of several with the same beginning."""

    def __init__(self, array: Array) -> None:
        self.array = array  # (layers, 2, heads, positions, width)
        self.length = 0
        self.shared = False


class LlamaState(State):
    """A text with its keys and values.

    A copy shares them until one of the two goes on: positions that were read never change, and
    whoever finds the next ones taken moves to pages of its own.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        layers, heads, width = shape
        self._pages = _Pages(np.zeros((layers, 2, heads, 0, width), np.float32))

    def copy(self) -> Self:
        """Return a state of the same text that goes its own way from here."""
        self._pages.shared = True
        return super().copy()

    def room(self, count: int) -> Array:
        """Return the keys and values, with room for so many more positions."""
        old, length = self._pages, len(self.tokens)
        capacity = old.array.shape[3]
        fork = old.shared and old.length > length
        if fork or length + count > capacity:
            pages = -(-max(length + count, 0 if fork else 2 * capacity) // _PAGE)
            shape = old.array.shape
            array = np.zeros((*shape[:3], pages * _PAGE, shape[4]), np.float32)
            array[:, :, :, :length] = old.array[:, :, :, :length]
            self._pages = _Pages(array)
        self._pages.length = length + count
        return self._pages.array


class _Layer(NamedTuple):
    attention_norm: Array
    query_key_value: Array
    attention_output: Array
    ffn_norm: Array
    gate_up: Array
    down: Array


class Llama:
    r"""Weights and forward pass of a model of architecture ``llama``.

    With :math:`\mathrm{norm}(x) = w \cdot x / \sqrt{\mathrm{mean}(x^2) + \epsilon}`, a layer is

    .. math:: x \mathrel{+}= W_o\, \mathrm{attention}(\mathrm{norm}(x)), \qquad
              x \mathrel{+}= W_d\, (\mathrm{silu}(W_g \mathrm{norm}(x)) \cdot W_u \mathrm{norm}(x)).

    Query heads share keys and values in groups; positions rotate neighbouring pairs of a head, as
    the rows of a GGUF file are ordered. All in float32. [1]_

    Parameters
    ----------
    file : GgufFile
    vocabulary : int
        Number of tokens.

    Raises
    ------
    ParameterError
        For anything that this forward pass does not compute: experts, biases, scaled positions
        other than by a factor, unknown keys or tensors.

    References
    ----------
    .. [1] Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023.
    """

    def __init__(self, file: GgufFile, vocabulary: int) -> None:
        self.context_length = file.count("llama.context_length")
        self.vocabulary = vocabulary
        width = file.count("llama.embedding_length")
        inner = file.count("llama.feed_forward_length")
        layers = file.count("llama.block_count")
        self._heads = file.count("llama.attention.head_count")
        groups = file.count("llama.attention.head_count_kv", self._heads)
        if self._heads % groups:
            raise file.wrong("a model whose query heads form groups of one size")
        self._head = file.count("llama.attention.key_length", width // self._heads)
        self._epsilon = np.float32(file.get("llama.attention.layer_norm_rms_epsilon"))
        self._shape = (layers, groups, self._head)
        _check_known(file, self._head)
        self._rotation = _rotation(file, self._head, self.context_length)

        names = set()

        def read(name: str, *shape: int) -> Array:
            names.add(name)
            return file.read(name, shape)

        queries, keys = self._heads * self._head, groups * self._head
        self._embedding = read("token_embd.weight", vocabulary, width)
        self._layers = []
        for block in (f"blk.{i}" for i in range(layers)):
            sizes = {"q": queries, "k": keys, "v": keys}
            qkv = [read(f"{block}.attn_{n}.weight", rows, width) for n, rows in sizes.items()]
            both = [read(f"{block}.ffn_{n}.weight", inner, width) for n in ("gate", "up")]
            layer = _Layer(
                read(f"{block}.attn_norm.weight", width),
                np.concatenate(qkv),
                read(f"{block}.attn_output.weight", width, queries),
                read(f"{block}.ffn_norm.weight", width),
                np.concatenate(both),
                read(f"{block}.ffn_down.weight", width, inner),
            )
            self._layers.append(layer)
        self._norm = read("output_norm.weight", width)
        tied = "output.weight" not in file.tensors
        self._output = self._embedding if tied else read("output.weight", vocabulary, width)
        for name in sorted(set(file.tensors) - names - {"rope_freqs.weight"}):
            raise file.wrong("a model of known tensors", f"It has {name!r}, which is not computed.")

    def start(self) -> LlamaState:
        """Return the state of an empty text."""
        return LlamaState(self._shape)

    def advance(self, states: Sequence[LlamaState], tokens: Sequence[Sequence[int]]) -> Array:
        """Read tokens, and return the logits of the token after them, shape (n, V)."""
        new = check_tokens(states, tokens, self.vocabulary, self.context_length)
        memory = [state.room(len(ids)) for state, ids in zip(states, new, strict=True)]
        ends = np.cumsum([len(ids) for ids in new])
        rows = [slice(end - len(ids), end) for ids, end in zip(new, ends, strict=True)]
        starts = [len(state.tokens) for state in states]
        at = [np.arange(len(ids)) + start for ids, start in zip(new, starts, strict=True)]
        if not new:
            return np.empty((0, self.vocabulary), np.float32)
        x = self._embedding[np.concatenate(new)]
        cos, sin = (table[np.concatenate(at), None] for table in self._rotation)
        for number, layer in enumerate(self._layers):
            heads = _linear(self._normed(x, layer.attention_norm), layer.query_key_value)
            heads = heads.reshape(len(x), -1, self._head)
            split = self._heads + self._shape[1]
            _rotate(heads[:, :split], cos, sin)
            mix = np.empty((len(x), self._heads, self._head), np.float32)
            for text, positions, pages in zip(rows, at, memory, strict=True):
                keys, values = pages[number]
                keys[:, positions] = heads[text, self._heads : split].swapaxes(0, 1)
                values[:, positions] = heads[text, split:].swapaxes(0, 1)
                mix[text] = _attention(heads[text, : self._heads], keys, values, positions)
            x += _linear(mix.reshape(len(x), -1), layer.attention_output)
            both = _linear(self._normed(x, layer.ffn_norm), layer.gate_up)
            inner = both.shape[1] // 2
            x += _linear(_silu(both[:, :inner].copy()) * both[:, inner:], layer.down)
        for state, ids in zip(states, new, strict=True):
            state.read(ids)
        return _linear(self._normed(x[ends - 1], self._norm), self._output)

    def _normed(self, x: Array, weight: Array) -> Array:
        mean = np.square(x).sum(axis=-1, keepdims=True) / np.float32(x.shape[-1])
        result: Array = x / np.sqrt(mean + self._epsilon) * weight
        return result


def _linear(x: Array, weight: Array) -> Array:
    # (rows, in) and (out, in) to (rows, out), one product of the matrix and a vector for each row.
    product: Array = np.matmul(weight, x[:, :, None])[..., 0]
    return product


def _silu(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x: the result is 0
        silu: Array = x / (1 + np.exp(-x))
    return silu


def _rotate(heads: Array, cos: Array, sin: Array) -> None:
    turning = heads[..., : 2 * cos.shape[-1]]
    even, odd = turning[..., 0::2].copy(), turning[..., 1::2].copy()
    turning[..., 0::2] = even * cos - odd * sin
    turning[..., 1::2] = even * sin + odd * cos


def _attention(queries: Array, keys: Array, values: Array, positions: NDArray[np.intp]) -> Array:
    # Queries of one page of positions see keys up to the end of that page, later ones at weight 0.
    groups, _, width = keys.shape
    query_groups = queries.reshape(len(queries), groups, -1, width)
    mix = np.empty_like(query_groups)
    for page in range(positions[0] // _PAGE, positions[-1] // _PAGE + 1):
        end = (page + 1) * _PAGE
        here = slice(*np.searchsorted(positions, (end - _PAGE, end)))
        scores = np.matmul(keys[:, None, :end], query_groups[here][..., None])[..., 0]
        scores *= np.float32(width**-0.5)
        np.copyto(scores, -np.inf, where=np.arange(end) > positions[here, None, None, None])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mix[here] = np.matmul(weights[..., None, :], values[:, None, :end])[..., 0, :]
    return mix.reshape(queries.shape)


def _rotation(file: GgufFile, head: int, length: int) -> tuple[Array, Array]:
    # Cosine and sine of every position and pair, made at once: the bits of a row stay the same.
    pairs = file.count("llama.rope.dimension_count", head) // 2
    base = float(file.get("llama.rope.freq_base", 10_000.0))
    frequency = base ** -(np.arange(pairs) / pairs)
    if "rope_freqs.weight" in file.tensors:
        frequency /= file.read("rope_freqs.weight", (pairs,))
    if file.get("llama.rope.scaling.type", "none") == "linear":
        frequency /= float(file.get("llama.rope.scaling.factor"))
    angles = np.outer(np.arange(length), frequency)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _check_known(file: GgufFile, head: int) -> None:
    keys = {key.removeprefix("llama.") for key in file.metadata if key.startswith("llama.")}
    for key in sorted(keys - _KNOWN_KEYS):
        raise file.wrong("a model of known keys", f"It has 'llama.{key}', which is not computed.")
    if file.get("llama.expert_count", 0):
        raise ParameterError("model", "of architecture 'llama' without experts", "experts")
    if file.get("llama.attention.value_length", head) != head:
        raise file.wrong("a model whose keys and values are of one width")
    scaling = file.get("llama.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise ParameterError("llama.rope.scaling.type", "'none' or 'linear'", scaling)
