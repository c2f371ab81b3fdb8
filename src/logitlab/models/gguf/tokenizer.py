"""The tokenizer of a GGUF file: byte-level byte pair encoding, from its vocabulary and merges."""

from __future__ import annotations

import os
from typing import Any

from logitlab.checks import ParameterError, check_choice, needs
from logitlab.models.gguf.file import GgufFile
from logitlab.models.tokenizer_bytes import byte_level, piece
from logitlab.vocabulary import Vocabulary

__all__ = ["SPLITS", "GgufTokenizer", "gguf_vocabulary"]

_WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

SPLITS = ("gpt-2", "llama-bpe", "qwen2", "smollm")
"""Ways to cut a text into words, ``tokenizer.ggml.pre``, that are equal to their originals."""

_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6  # llama.cpp's types of tokens


class GgufTokenizer:
    """Text to token ids and the bytes of every token, as a GGUF file describes them.

    The text is cut into words (``tokenizer.ggml.pre``), and the bytes of each word are merged in
    the order of the file's merges. Special tokens in the text are read as such. A byte that has
    no token is left out, as in the originals.

    Parameters
    ----------
    file : GgufFile

    Attributes
    ----------
    vocabulary : Vocabulary
    first : list of int
        What every prompt begins with: the token of the beginning, or nothing.

    Raises
    ------
    ParameterError
        For another kind of tokenizer.
    ImportError
        Without the extra ``gguf``.
    """

    def __init__(self, file: GgufFile) -> None:
        needs("gguf", "tokenizers")
        tokens, kinds, self.vocabulary = _contents(file, ("gpt2",))
        split = file.get("tokenizer.ggml.pre", "default")
        check_choice("tokenizer.ggml.pre", split, SPLITS)
        self._tokens = tokens
        begins = file.get("tokenizer.ggml.add_bos_token", split == "llama-bpe")
        self.first = [int(file.get("tokenizer.ggml.bos_token_id"))] if begins else []
        words = [tokens[i] for i, kind in enumerate(kinds) if kind == _USER]
        try:
            self._tokenizer = _library_tokenizer(
                split,
                tokens,
                file.get("tokenizer.ggml.merges"),
                [tokens[i] for i in sorted(self.vocabulary.special)],
                words,
            )
        except Exception as error:  # the library raises nothing more special
            raise file.wrong("a file with a sound tokenizer", f"It is not: {error}") from error

    def text(self, token: int | None) -> str:
        """Return the name of a special token, or nothing for none."""
        return "" if token is None else self._tokens[token]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without any before it."""
        if not isinstance(text, str):
            raise ParameterError("prompt", "a text", text)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ParameterError("prompt", "text without lone surrogates", text) from None
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def gguf_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """Return the bytes of every token of a GGUF file, byte-level BPE or SentencePiece."""
    return _contents(GgufFile(path), ("gpt2", "llama"))[2]


def _contents(file: GgufFile, models: tuple[str, ...]) -> tuple[list[str], list[int], Vocabulary]:
    """Return the spelling, the type and the bytes of every token, of some kinds of tokenizers."""
    model = file.get("tokenizer.ggml.model")
    check_choice("tokenizer.ggml.model", model, models)
    tokens: list[str] = file.get("tokenizer.ggml.tokens")
    kinds: list[int] = file.get("tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    if len(kinds) != len(tokens):
        raise file.wrong("a file with one type for each token")
    spelling = byte_level if model == "gpt2" else piece
    plain = (_NORMAL, _BYTE)
    data = (spelling(t) if k in plain else t.encode() for t, k in zip(tokens, kinds, strict=True))
    special = [i for i, kind in enumerate(kinds) if kind in (_CONTROL, _UNKNOWN)]
    return tokens, kinds, Vocabulary(data, special)


def _library_tokenizer(
    split: str, tokens: list[str], merges: list[str], special: list[str], words: list[str]
) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    # The first space is that of the pair, except where it is the first character.
    pairs = [(pair[:cut], pair[cut + 1 :]) for pair in merges for cut in [pair.index(" ", 1)]]
    ids = {token: i for i, token in reversed(tuple(enumerate(tokens)))}
    # Vocabularies of tiktoken have words that no merges lead to.
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=pairs, ignore_merges=split == "llama-bpe"))
    cuts: dict[str, list[Any]] = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "qwen2": [pre_tokenizers.Split(Regex(_WORD_PATTERN % 1), behavior="isolated")],
        "llama-bpe": [pre_tokenizers.Split(Regex(_WORD_PATTERN % 3), behavior="isolated")],
    }
    # GPT-2's own words are those of the last step.
    letters = pre_tokenizers.ByteLevel(False, use_regex=split in ("gpt-2", "smollm"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts[split], letters])
    if split == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in words])
    return tokenizer
