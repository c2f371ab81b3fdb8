"""A random llama, written as a GGUF file, and its forward pass in plain float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]

# One token for each byte, written as GPT-2 writes it, special ones, and pairs of these letters.
SPECIAL = ["<|end|>", "<|start|>", "<|unknown|>"]
LETTERS = "aBslt12 \n\r\t'!.é日\u3000½"


def _alphabet() -> list[str]:
    # https://github.com/openai/gpt-2/blob/master/src/encoder.py, bytes_to_unicode
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, fresh = {byte: chr(byte) for byte in printable}, 256
    for byte in range(256):
        if byte not in names:
            names[byte] = chr(fresh)
            fresh += 1
    return [names[byte] for byte in range(256)]


ALPHABET = _alphabet()


def _merges() -> list[tuple[str, str]]:
    singles = [ALPHABET[byte] for byte in sorted(set(LETTERS.encode()))]
    rng = np.random.default_rng(5)
    pairs = [(a, b) for a in singles for b in singles]
    order = rng.permutation(len(pairs))
    merges = [pairs[i] for i in order]
    doubled = [a + b for a, b in merges]
    for _ in range(200):
        a, b = rng.choice(doubled), rng.choice(singles)
        merges.append((str(a), str(b)))
    return list(dict.fromkeys(merges))


MERGES = _merges()
TOKENS = [*SPECIAL, *ALPHABET, *dict.fromkeys(a + b for a, b in MERGES), "<user>"]
KINDS = [3, 3, 2, *[1] * (len(TOKENS) - 4), 4]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('No tools here.') }}"
    "{% endif %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """The size of a model."""

    layers: int = 2
    width: int = 32
    inner: int = 64
    heads: int = 4
    groups: int = 2
    head: int = 8
    rotated: int = 8
    base: float = 10_000.0
    tied: bool = True
    factor: float = 1.0
    context: int = 400
    epsilon: float = 1e-5
    frequencies: tuple[float, ...] = ()
    tokens: list[str] = field(default_factory=lambda: TOKENS)

    def weights(self, seed: int = 0) -> Weights:
        """Return random weights, their rows in the order of transformers' checkpoints."""
        rng = np.random.default_rng(seed)

        def draw(*shape: int) -> NDArray[Any]:
            scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.3
            return (rng.normal(0, scale, shape) + (len(shape) == 1)).astype(np.float32)

        queries, keys = self.heads * self.head, self.groups * self.head
        found = {"token_embd": draw(len(self.tokens), self.width) * 4}
        for i in range(self.layers):
            found |= {
                f"blk.{i}.attn_norm": draw(self.width),
                f"blk.{i}.attn_q": draw(queries, self.width) * 2,
                f"blk.{i}.attn_k": draw(keys, self.width) * 2,
                f"blk.{i}.attn_v": draw(keys, self.width),
                f"blk.{i}.attn_output": draw(self.width, queries),
                f"blk.{i}.ffn_norm": draw(self.width),
                f"blk.{i}.ffn_gate": draw(self.inner, self.width),
                f"blk.{i}.ffn_up": draw(self.inner, self.width),
                f"blk.{i}.ffn_down": draw(self.width, self.inner),
            }
        found["output_norm"] = draw(self.width)
        if not self.tied:
            found["output"] = draw(len(self.tokens), self.width) * 4
        return found

    def metadata(self) -> dict[str, Any]:
        return {
            "llama.context_length": self.context,
            "llama.embedding_length": self.width,
            "llama.block_count": self.layers,
            "llama.feed_forward_length": self.inner,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.groups,
            "llama.attention.key_length": self.head,
            "llama.attention.value_length": self.head,
            "llama.attention.layer_norm_rms_epsilon": self.epsilon,
            "llama.rope.freq_base": self.base,
            "llama.rope.dimension_count": self.rotated,
            "llama.rope.scaling.type": "none" if self.factor == 1 else "linear",
            "llama.rope.scaling.factor": self.factor,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.token_type": KINDS,
            "tokenizer.ggml.merges": [" ".join(pair) for pair in MERGES],
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.chat_template": TEMPLATE,
        }

    def permuted(self, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        """Return rows as a GGUF file has them: the two halves of a rotation side by side."""
        if not name.endswith(("attn_q", "attn_k")):
            return weight
        heads = weight.reshape(-1, self.head, weight.shape[1])
        turned, rest = heads[:, : self.rotated], heads[:, self.rotated :]
        pairs = turned.reshape(len(heads), 2, -1, weight.shape[1]).swapaxes(1, 2)
        both = [pairs.reshape(turned.shape), rest]
        return np.ascontiguousarray(np.concatenate(both, axis=1).reshape(weight.shape))

    def write(self, path: Path, weights: Weights, kind: str = "F32", **changes: Any) -> Path:
        """Write the file, with some of its metadata changed, or left out where None."""
        quantisation = gguf.GGMLQuantizationType[kind]
        architecture = changes.pop("architecture", "llama")
        writer = gguf.GGUFWriter(path, architecture)
        metadata = self.metadata() | {name.replace("__", "."): v for name, v in changes.items()}
        for key, value in metadata.items():
            _add(writer, key, value)
        for name, weight in weights.items():
            rows = self.permuted(name, weight)
            flat = weight.ndim == 1
            data = rows if flat else gguf.quantize(rows, quantisation)
            raw = None if flat or kind in ("F32", "F16") else quantisation
            writer.add_tensor(f"{name}.weight", data, raw_dtype=raw)
        if self.frequencies:
            writer.add_tensor("rope_freqs.weight", np.array(self.frequencies, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def logits(self, weights: Weights, tokens: list[int]) -> NDArray[np.float64]:
        """Return the logits after the last token: float64, one position and head at a time."""
        w = {name: weight.astype(np.float64) for name, weight in weights.items()}
        x = [w["token_embd"][token] for token in tokens]
        for i in range(self.layers):
            b = f"blk.{i}."
            normed = [self._norm(v, w[f"{b}attn_norm"]) for v in x]
            queries = [self._turned(w[f"{b}attn_q"] @ v, at) for at, v in enumerate(normed)]
            keys = [self._turned(w[f"{b}attn_k"] @ v, at) for at, v in enumerate(normed)]
            values = [(w[f"{b}attn_v"] @ v).reshape(-1, self.head) for v in normed]
            for at in range(len(x)):
                heads = []
                for h in range(self.heads):
                    g = h * self.groups // self.heads
                    scores = [queries[at][h] @ k[g] / self.head**0.5 for k in keys[: at + 1]]
                    p = np.exp(np.array(scores) - max(scores))
                    mixed = zip(p / p.sum(), values, strict=False)
                    heads.append(np.sum([share * v[g] for share, v in mixed], axis=0))
                x[at] = x[at] + w[f"{b}attn_output"] @ np.concatenate(heads)
            for at, v in enumerate(x):
                normed_v = self._norm(v, w[f"{b}ffn_norm"])
                gate, up = w[f"{b}ffn_gate"] @ normed_v, w[f"{b}ffn_up"] @ normed_v
                x[at] = v + w[f"{b}ffn_down"] @ (gate / (1 + np.exp(-gate)) * up)
        result: NDArray[np.float64] = w.get("output", w["token_embd"]) @ self._norm(
            x[-1], w["output_norm"]
        )
        return result

    def _norm(self, v: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
        normed: NDArray[Any] = v / (np.mean(v**2) + self.epsilon) ** 0.5 * weight
        return normed

    def _turned(self, v: NDArray[Any], position: int) -> NDArray[Any]:
        # Each pair is a complex number: the first half of a head its real part, the second half
        # its imaginary part.
        heads = v.reshape(-1, self.head)
        half = self.rotated // 2
        frequency = self.base ** (-2 * np.arange(half) / self.rotated) / self.factor
        frequency /= np.array(self.frequencies or (1.0,))
        z = heads[:, :half] + 1j * heads[:, half : self.rotated]
        z = z * np.exp(1j * position * frequency)
        return np.concatenate([z.real, z.imag, heads[:, self.rotated :]], axis=1)


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)
