"""Ask llama.cpp which tokens the breakers of DRY are in a vocabulary, and store what it penalised.

``vectors/breakers.json`` has a small vocabulary, its merges, and cases: breakers as texts, a
history, and the logits that ``llama_sampler_init_dry`` left of a row of zeros, where not 0. All of
it is llama.cpp's own code, the tokenizer too: the vocabulary is loaded from a GGUF without tensors.

    python tests/engines/record_breakers.py [another/file.json]
"""

from __future__ import annotations

import ctypes
import importlib
import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

PATH = Path(__file__).parent / "vectors" / "breakers.json"
MULTIPLIER, BASE = 1.0, 1.5

# Byte-level BPE writes each byte as a character; these stand for themselves.
_PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PLAIN]
WRITTEN = {b: chr(b) for b in _PLAIN} | {b: chr(256 + n) for n, b in enumerate(_OTHERS)}
# What is joined, in this order: breakers inside of a token, at its end, over two, and bytes of é.
JOINED = [
    (b"a", b"b"), (b"b", b"a"), (b":", b"\n"), (b"\n", b"\n"), (b"a", b":"), (b"ab", b"ab"),
    (b"a", b"\xc3"), (b"\xc3", b"\xa9"), (b"\xa9", b"a"), (b"a", b"\n"), (b"b", b":\n"),
]  # fmt: skip
BREAKERS = [
    ["\n"], [":"], [":\n"], ["ab"], ["aba"], ["abab:"], ["é"], ["éa"], ["aé"], ["\n", ":", "é"],
    ["ba", "\n\n"], ["x"], ["a" * 60], ["", "b"],
]  # fmt: skip
CASES = 10  # with each of them


def own() -> Any:
    """Return what calls llama.cpp, which is installed where this is recorded."""
    return importlib.import_module("engines.own_code.llama_cpp")


def written(piece: bytes) -> str:
    """Return a piece as byte-level BPE writes it."""
    return "".join(map(WRITTEN.__getitem__, piece))


TOKENS = [*map(written, (bytes([b]) for b in range(256))), *(written(a + b) for a, b in JOINED)]
ABAB = TOKENS.index("abab")
MERGES = [f"{written(a)} {written(b)}" for a, b in JOINED]


class _ModelParams(ctypes.Structure):
    """``llama_model_params`` up to what is set here, and room for the rest."""

    _fields_ = (
        ("pointers", ctypes.c_void_p * 2),
        ("numbers", ctypes.c_int32 * 6),
        ("more_pointers", ctypes.c_void_p * 4),
        ("vocab_only", ctypes.c_bool),
        ("rest", ctypes.c_char * 183),
    )


def main(path: Path) -> None:
    vocabulary = _vocabulary()
    rng = np.random.default_rng(16)
    cases = []
    for breakers in BREAKERS:
        for _ in range(CASES):
            history = _history(rng, breakers)
            allowed, last_n = int(rng.integers(1, 4)), int(rng.choice([20, 64, 300]))
            left = _left(vocabulary, breakers, history, allowed, last_n)
            cases.append([breakers, history, allowed, last_n, left])
    # 40 bytes of a breaker count, and 20 tokens behind the first.
    for text, token, counts in (("a" * 60, ord("a"), (20, 21, 22)), ("abab" * 15, ABAB, (9, 10))):
        for count in counts:
            history = ([120, 34, *[token] * count, 58, 98]) * 3
            left = _left(vocabulary, [text], history[:-1], 1, 300)
            cases.append([[text], history[:-1], 1, 300, left])
    head: dict[str, Any] = {"versions": own().VERSIONS, "tokens": TOKENS, "merges": MERGES}
    head |= {"multiplier": MULTIPLIER, "base": BASE}
    lines = ",\n".join(map(json.dumps, cases))
    path.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n')


def _history(rng: np.random.Generator, breakers: list[str]) -> list[int]:
    """Return three times the same tokens, among which a breaker is, somehow cut into tokens."""
    pieces = {bytes([b]): b for b in range(256)}
    pieces |= {a + b: 256 + n for n, (a, b) in enumerate(JOINED)}
    data = rng.choice(breakers).encode()
    inside: list[int] = []
    while data:
        begins = [piece for piece in pieces if data.startswith(piece)]
        # At its end a token may reach beyond it, and at its beginning begin before it.
        begins += [piece for piece in pieces if len(data) < 4 and piece.startswith(data)]
        if not inside:
            begins += [p for p in pieces for n in (1, 2) if len(p) > n and data.startswith(p[n:])]
        piece = begins[int(rng.integers(len(begins)))]
        inside.append(pieces[piece])
        cut = next(n for n in range(len(piece)) if data.startswith(piece[n:][: len(data)]))
        data = data[len(piece) - cut :]
    alphabet = [*map(ord, 'ab:\n"x'), 0xC3, 0xA9, *range(256, len(TOKENS))]
    around = [rng.choice(alphabet, int(rng.integers(1, 8))).tolist() for _ in range(2)]
    text: list[int] = (around[0] + inside + around[1]) * 3
    return text[: len(text) - int(rng.integers(0, len(around[1]) + 1))]


def _left(vocabulary: Any, breakers: list[str], history: list[int], *limits: int
          ) -> dict[str, float]:  # fmt: skip
    """Return the logits that DRY leaves of zeros, where it changed them."""
    texts = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
    arguments = vocabulary, MULTIPLIER, BASE, *limits, texts, len(breakers)
    with own()._chain([("dry", arguments)], history) as chain:
        tokens, _ = own()._apply(chain, np.zeros(len(TOKENS), np.float32))
    return {str(t["id"]): float(t["logit"]) for t in np.sort(tokens, order="id") if t["logit"]}


def _vocabulary() -> Any:
    """Return what llama.cpp reads from a file that has a vocabulary alone."""
    library = own()._library()
    library.llama_model_default_params.restype = _ModelParams
    library.llama_model_load_from_file.argtypes = (ctypes.c_char_p, _ModelParams)
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = (ctypes.c_void_p,)
    library.llama_vocab_n_tokens.argtypes = (ctypes.c_void_p,)
    params = library.llama_model_default_params()
    params.vocab_only = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        path.write_bytes(_gguf())
        model = library.llama_model_load_from_file(str(path).encode(), params)
    assert model
    vocabulary = library.llama_model_get_vocab(model)
    assert library.llama_vocab_n_tokens(vocabulary) == len(TOKENS)
    return vocabulary


def _gguf() -> bytes:
    """Return a file that has a vocabulary, and nothing else."""
    pairs = [
        ("general.architecture", "llama"),
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", "gpt-2"),
        ("tokenizer.ggml.tokens", TOKENS),
        ("tokenizer.ggml.merges", MERGES),
    ]
    parts = [b"GGUF", struct.pack("<IQQ", 3, 0, len(pairs))]
    for key, value in pairs:
        texts = [value] if isinstance(value, str) else value
        array = struct.pack("<IIQ", 9, 8, len(value))
        kind = struct.pack("<I", 8) if isinstance(value, str) else array
        parts += [_text(key), kind, *map(_text, texts)]
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PATH)
