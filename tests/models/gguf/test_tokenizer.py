"""Tokenizers of GGUF files: against plain Python, and what transformers' own tokenizers answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import ParameterError
from logitlab.models.gguf.file import GgufFile
from logitlab.models.gguf.tokenizer import SPLITS, GgufTokenizer

from models import recorded
from models.tiny_llama import ALPHABET, LETTERS, MERGES, TOKENS, Tiny, Weights

NO_WEIGHTS: Weights = {}
ENGLISH = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
SPACES = set(" \t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000")
SPACES |= {chr(code) for code in range(0x2000, 0x200B)}

# Over classes of characters: L letter, N number, _ space, n line end, S other white space, O other.
WORDS = {
    "gpt-2": r"_?L+|_?N+|_?O+|[_nS]+(?![LNO])|[_nS]+",
    "llama-bpe": r"[_SO]?L+|N{1,3}|_?O+n*|[_nS]*n+|[_nS]+(?![LNO])|[_nS]+",
    "qwen2": r"[_SO]?L+|N|_?O+n*|[_nS]*n+|[_nS]+(?![LNO])|[_nS]+",
}


def letter_class(character: str) -> str:
    if character in SPACES:
        return {" ": "_", "\n": "n", "\r": "n"}.get(character, "S")
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def words(text: str, split: str) -> Iterator[str]:
    if split == "smollm":
        for number, run in groupby(text, lambda character: letter_class(character) == "N"):
            part = "".join(run)
            yield from part if number else words(part, "gpt-2")
        return
    classes, at = "".join(map(letter_class, text)), 0
    while at < len(text):
        rest = text[at : at + 3] if split == "gpt-2" else text[at : at + 3].lower()
        found = re.compile(WORDS[split]).match(classes, at)
        assert found
        short = [contraction for contraction in ENGLISH if rest.startswith(contraction)]
        end = at + len(short[0]) if short else found.end()
        yield text[at:end]
        at = end


class Plain:
    """Byte pair encoding as it is described, from the lists of a file."""

    def __init__(
        self, split: str, tokens: list[str], kinds: list[int], merges: list[tuple[str, str]]
    ) -> None:
        self.split = split
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.none = len(merges)
        whole = [token for token, kind in zip(tokens, kinds, strict=True) if kind in (2, 3, 4)]
        whole.sort(key=len, reverse=True)
        self.whole = re.compile("(" + "|".join(map(re.escape, whole)) + ")")
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids = []
        for i, part in enumerate(self.whole.split(text)):
            if i % 2:
                ids.append(self.ids[part])
                continue
            normal = unicodedata.normalize("NFC", part) if self.split == "qwen2" else part
            for word in words(normal, self.split):
                ids += self.known.get(word) or self.known.setdefault(word, self.merged(word))
        return ids

    def merged(self, word: str) -> list[int]:
        pieces = [ALPHABET[byte] for byte in word.encode()]
        if self.split == "llama-bpe" and "".join(pieces) in self.ids:
            return [self.ids["".join(pieces)]]
        while True:
            ranks = [self.ranks.get(pair, self.none) for pair in pairwise(pieces)]
            rank = min(ranks, default=self.none)
            if rank == self.none:
                # A byte that has no token is left out.
                return [self.ids[piece] for piece in pieces if piece in self.ids]
            at = ranks.index(rank)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


def tokenizer(tmp_path: Path, **changes: Any) -> GgufTokenizer:
    return GgufTokenizer(GgufFile(Tiny().write(tmp_path / "t.gguf", NO_WEIGHTS, **changes)))


def texts(count: int, letters: str, seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    parts = [
        *letters,
        *letters,
        "<|end|>",
        "<|start|>",
        "<user>",
        "<|en",
        "'s",
        "'LL",
        "  ",
        "\n\n",
    ]
    for _ in range(count):
        yield "".join(rng.choice(parts, rng.integers(0, 24)))


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_those_of_plain_byte_pair_encoding(split: str, tmp_path: Path) -> None:
    found = tokenizer(tmp_path, tokenizer__ggml__pre=split)
    plain = Plain(split, TOKENS, recorded.KINDS, MERGES)
    for text in texts(1500, LETTERS + "e\u0301😀日本\x1c²", seed=3):
        ids = found.encode(text)
        assert ids == plain.encode(text), text
        expected = unicodedata.normalize("NFC", text) if split == "qwen2" else text
        assert found.vocabulary.decode(ids) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_those_of_transformers(split: str, tmp_path: Path) -> None:
    found = tokenizer(tmp_path, tokenizer__ggml__pre=split)
    answers = recorded.load()["ids"][split]
    assert len(answers) == len(recorded.TEXTS)
    for text, ids in zip(recorded.TEXTS, answers, strict=True):
        assert found.encode(text) == ids, text


def test_a_token_is_its_bytes(tmp_path: Path) -> None:
    vocabulary = tokenizer(tmp_path).vocabulary
    assert [vocabulary[3 + byte] for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert vocabulary[TOKENS.index("".join(MERGES[0]))] == b"".join(
        bytes([ALPHABET.index(letter)]) for letter in MERGES[0]
    )
    assert vocabulary.special == {0, 1, 2}
    assert vocabulary[0] == b"<|end|>"
    assert vocabulary[len(TOKENS) - 1] == b"<user>"


def test_the_token_of_the_beginning_comes_as_the_file_says(tmp_path: Path) -> None:
    assert tokenizer(tmp_path).first == []
    assert tokenizer(tmp_path, tokenizer__ggml__add_bos_token=True).first == [1]
    assert tokenizer(tmp_path, tokenizer__ggml__pre="llama-bpe").first == [1]
    no = {"tokenizer__ggml__pre": "llama-bpe", "tokenizer__ggml__add_bos_token": False}
    assert tokenizer(tmp_path, **no).first == []


def test_a_byte_without_a_token_is_left_out(tmp_path: Path) -> None:
    tokens = [token for token in TOKENS if token != ALPHABET[0x1C]]
    kinds = recorded.KINDS[1:]
    kinds[:3] = recorded.KINDS[:3]
    changes = {"tokenizer__ggml__tokens": tokens, "tokenizer__ggml__token_type": kinds}
    found = tokenizer(tmp_path, **changes)
    assert found.vocabulary.decode(found.encode("a\x1cb")) == "ab"


def test_what_is_no_such_tokenizer_is_refused(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"tokenizer__ggml__model": "llama"},
            "tokenizer.ggml.model must be one of 'gpt2', got 'llama'.",
        ),
        (
            {"tokenizer__ggml__pre": "tekken"},
            "tokenizer.ggml.pre must be one of 'gpt-2', 'llama-bpe', 'qwen2', 'smollm', "
            "got 'tekken'.",
        ),
        ({"tokenizer__ggml__pre": None}, "got 'default'."),
        ({"tokenizer__ggml__tokens": None}, "with the metadata key 'tokenizer.ggml.tokens', got"),
        ({"tokenizer__ggml__merges": ["x y z"]}, "a file with a sound tokenizer"),
        ({"tokenizer__ggml__merges": ["xyz"]}, "a file with a sound tokenizer"),
        ({"tokenizer__ggml__token_type": [1, 2]}, "a file with one type for each token"),
    ]
    for changes, message in wrong:
        with pytest.raises(ParameterError) as caught:
            tokenizer(tmp_path, **changes)
        assert message in str(caught.value)


def test_texts_that_are_none_are_refused(tmp_path: Path) -> None:
    found = tokenizer(tmp_path)
    with pytest.raises(ParameterError, match="prompt must be text without lone surrogates"):
        found.encode("a\ud800")
    with pytest.raises(ParameterError, match="prompt must be a text, got 5"):
        found.encode(5)  # type: ignore[arg-type]
