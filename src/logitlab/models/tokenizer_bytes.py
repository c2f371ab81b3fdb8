"""The bytes behind the spellings of tokens, in files and in fast tokenizers of Hugging Face."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from logitlab.checks import ParameterError, Seen
from logitlab.vocabulary import Vocabulary

__all__ = ["byte_level", "described_vocabulary", "piece", "tokenizer_vocabulary"]

_RAW_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def tokenizer_vocabulary(tokenizer: Any) -> Vocabulary:
    """Return the vocabulary of a tokenizer: token ``i`` are the bytes that it stands for in a text.

    How tokens are spelt is read from the tokenizer's decoder: byte-level BPE, where each byte is a
    printable character (GPT-2, Llama 3, Qwen), or SentencePiece, where a space is ``▁`` and a
    single byte ``<0xE6>`` (Llama 2, Mistral, Gemma). Added tokens are their text. Ids that no token
    has are empty special tokens.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
        Any with a ``backend_tokenizer``.

    Raises
    ------
    ParameterError
        For a tokenizer without that, or one that spells tokens otherwise, such as WordPiece.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ParameterError("tokenizer", "a fast tokenizer, with a backend_tokenizer", tokenizer)
    return described_vocabulary(json.loads(backend.to_str()), tokenizer.get_vocab())


def described_vocabulary(description: dict[str, Any], words: dict[str, int]) -> Vocabulary:
    """Return the vocabulary of words by their spelling, and of a tokenizer's added tokens."""
    spelling = _spelling(_decoders(description["decoder"]))
    tokens = {i: spelling(token) for token, i in words.items()}
    extra = description["added_tokens"]
    tokens |= {token["id"]: token["content"].encode() for token in extra}
    ids = range(max(tokens) + 1)
    special = {token["id"] for token in extra if token["special"]} | set(ids) - set(tokens)
    return Vocabulary((tokens.get(i, b"") for i in ids), sorted(special))


def _decoders(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the steps of a decoder, those of sequences one by one."""
    if decoder is None or decoder["type"] != "Sequence":
        return [decoder] if decoder else []
    return [step for part in decoder["decoders"] for step in _decoders(part)]


def _spelling(decoders: list[dict[str, Any]]) -> Callable[[str], bytes]:
    """Return what turns the spelling of a token into its bytes."""
    kinds = {decoder["type"] for decoder in decoders}
    if "ByteLevel" in kinds:
        return byte_level
    spaces = {decoder["replacement"] for decoder in decoders if decoder["type"] == "Metaspace"}
    for decoder in decoders:
        if decoder["type"] == "Replace" and decoder["content"] == " ":
            spaces.add(decoder["pattern"].get("String"))
    if spaces == {"▁"}:
        return piece if "ByteFallback" in kinds else _spaced
    seen = Seen(f"one with the decoder {', '.join(sorted(kinds)) or 'none'}")
    raise ParameterError("tokenizer", "byte-level BPE or SentencePiece", seen)


def byte_level(token: str) -> bytes:
    r"""Return the bytes of a token whose spelling has a character for each, as GPT-2's has.

    A token with any other character is its own text.

    Examples
    --------
    >>> byte_level("Ġking"), byte_level("æĹ")
    (b' king', b'\xe6\x97')
    """
    table = _characters()
    whole = all(character in table for character in token)
    return bytes(table[character] for character in token) if whole else token.encode()


def piece(token: str) -> bytes:
    """Return the bytes of a SentencePiece, where a byte of its own is ``<0xE6>``."""
    byte = _RAW_BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else _spaced(token)


def _spaced(token: str) -> bytes:
    return token.replace("▁", " ").encode()


@cache
def _characters() -> dict[str, int]:
    """Return GPT-2's character for each byte: itself where it is visible, else from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}
