"""Models for real servers: a tiny one that writes English words, and folders as Hugging Face's.

``python tests/verification/servers/files.py FOLDER [MODEL.gguf]`` writes the folder of a file, by
default of the tiny model, which is written beside it then.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from logitlab import datasets
from logitlab.models.gguf.file import GgufFile
from logitlab.models.gguf.tokenizer import GgufTokenizer
from logitlab.models.ngram.bpe import BPE
from numpy.typing import NDArray

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from models.tiny_llama import ALPHABET, Tiny, Weights

__all__ = ["tiny_weights", "write_folder", "write_tiny"]

_START = "<|start|>"
_CONSTANT = 6.0
_SPREAD = 0.45
_UNSEEN = 0.02  # how often a token counts that no tale has


def write_tiny(path: Path) -> Path:
    """Write a random llama of 4,097 tokens, those of the Brothers Grimm, as a GGUF file.

    Its context moves each logit by about 2 around the logarithm of how often the token is in the
    tales, so that the first tokens of answers are as uncertain as those of a real model, and hardly
    ever half a character. For that one number of the residual stream is the same everywhere: no
    layer writes it, and the output's weights for it are those logarithms.
    """
    tiny, bpe = _tiny()
    changes: dict[str, Any] = {
        "tokenizer__ggml__pre": "gpt-2",
        "tokenizer__ggml__token_type": [*[1] * bpe.end, 3, 3],
        "tokenizer__ggml__merges": [
            f"{tiny.tokens[first]} {tiny.tokens[second]}" for first, second in bpe.merges
        ],
        "tokenizer__ggml__bos_token_id": bpe.end + 1,
        "tokenizer__ggml__eos_token_id": bpe.end,
        "tokenizer__ggml__add_bos_token": False,
    }
    return tiny.write(path, tiny_weights(), **changes)


def tiny_weights() -> Weights:
    """Return what it is made of, its rows in the order of Hugging Face."""
    tiny, bpe = _tiny()
    seen = [token for tale in datasets.texts() for token in [*bpe.encode(tale), bpe.end]]
    counts = np.bincount(seen, minlength=len(tiny.tokens)) + _UNSEEN
    return _weights(tiny, np.log(counts / counts.sum()))


@cache
def _tiny() -> tuple[Tiny, BPE]:
    bpe = BPE(datasets.merges())
    tokens = [_spelt(bytes(bpe.vocabulary[token])) for token in range(bpe.end)]
    # A head of 32 is what vLLM's kernels on a CPU take.
    tiny = Tiny(
        width=64, inner=128, heads=2, groups=2, head=32, rotated=32, tied=False, context=2048,
        tokens=[*tokens, "<|end|>", _START],
    )  # fmt: skip
    return tiny, bpe


def _spelt(piece: bytes) -> str:
    return "".join(ALPHABET[byte] for byte in piece)


def _weights(tiny: Tiny, shares: NDArray[Any]) -> Weights:
    weights = tiny.weights()
    weights["output_norm"][:] = 1
    weights["token_embd"][:, 0] = _CONSTANT
    for name, weight in weights.items():
        if name.endswith(("attn_output", "ffn_down")):
            weight[0] = 0
    # By that root of a mean square a final state is divided.
    scale = np.sqrt((_CONSTANT**2 + (tiny.width - 1) * 0.5) / tiny.width)
    rng = np.random.default_rng(1)
    output = rng.normal(0, _SPREAD, weights["output"].shape).astype(np.float32)
    output[:, 0] = shares * scale / _CONSTANT
    return weights | {"output": output}


def write_folder(gguf: Path, folder: Path) -> Path:
    """Write a GGUF file of architecture llama as a folder that Hugging Face's libraries read.

    All in float32, in ``model.safetensors``; its ``generation_config.json`` samples, since
    ``transformers serve`` is greedy otherwise.
    """
    from safetensors.numpy import save_file

    file = GgufFile(gguf)
    tokenizer = GgufTokenizer(file)
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(file, len(tokenizer.vocabulary))
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    names = {f"{name}_token": tokenizer.text(config[f"{name}_token_id"]) for name in ("bos", "eos")}
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"do_sample": True, **ends})
    described = json.loads(tokenizer._tokenizer.to_str())
    described["decoder"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    described["decoder"]["use_regex"] = False
    _write(folder / "tokenizer.json", described)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(tokenizer.first),
        "chat_template": file.get("tokenizer.chat_template"),
        **names,
    }
    _write(folder / "tokenizer_config.json", about)
    _write(folder / "special_tokens_map.json", names)
    save_file(_tensors(file, config), str(folder / "model.safetensors"), {"format": "pt"})
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")


def _config(file: GgufFile, size: int) -> dict[str, Any]:
    width = file.count("llama.embedding_length")
    heads = file.count("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": size,
        "hidden_size": width,
        "intermediate_size": file.count("llama.feed_forward_length"),
        "num_hidden_layers": file.count("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.count("llama.attention.head_count_kv", heads),
        "head_dim": file.count("llama.attention.key_length", width // heads),
        "max_position_embeddings": file.count("llama.context_length"),
        "rms_norm_eps": float(file.get("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": float(file.get("llama.rope.freq_base", 10000.0)),
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": int(file.get("tokenizer.ggml.bos_token_id")),
        "eos_token_id": int(file.get("tokenizer.ggml.eos_token_id")),
    }


_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def _tensors(file: GgufFile, config: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return every tensor under Hugging Face's name, its rows in Hugging Face's order."""
    tensors = {}
    for name, place in file.tensors.items():
        *block, kind = name.removesuffix(".weight").split(".")
        weight = file.read(name, place.shape)
        if not block:
            tensors[f"{_WHOLE[kind]}.weight"] = weight
            continue
        if kind in ("attn_q", "attn_k"):
            # A GGUF file turns neighbouring rows, Hugging Face the two halves of a head.
            half = config["head_dim"] // 2
            weight = weight.reshape(-1, half, 2, weight.shape[1]).swapaxes(1, 2)
            weight = np.ascontiguousarray(weight).reshape(place.shape)
        tensors[f"model.layers.{block[1]}.{_LAYER[kind]}.weight"] = weight
    return tensors


if __name__ == "__main__":
    where = Path(sys.argv[1])
    source = Path(sys.argv[2]) if sys.argv[2:] else write_tiny(where.with_suffix(".gguf"))
    print(write_folder(source, where))
