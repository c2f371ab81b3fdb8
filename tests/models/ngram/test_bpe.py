from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from logitlab import ParameterError, Vocabulary, datasets
from logitlab.models.ngram.bpe import BPE

GRIMM = BPE(datasets.merges("grimm"))

anything = st.text(st.characters(exclude_categories=()))  # lone surrogates too
words = st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=12)
utf8_texts = st.text(st.characters(codec="utf-8"))
any_merges = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=30)


def naive_merge(word: tuple[int, ...], pair: tuple[int, int], token: int) -> tuple[int, ...]:
    for place, found in enumerate(pairwise(word)):
        if found == pair:
            rest = naive_merge(word[place + 2 :], pair, token)
            return (*word[:place], token, *rest)
    return word


def naive_training(spelled: Counter[tuple[int, ...]], size: int) -> list[tuple[int, int]]:
    """Count all pairs anew for every merge."""
    merges: list[tuple[int, int]] = []
    while 257 + len(merges) < size:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, times in spelled.items():
            for pair in pairwise(word):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        token = 256 + len(merges)
        merges.append(best)
        changed: Counter[tuple[int, ...]] = Counter()
        for word, times in spelled.items():
            changed[naive_merge(word, best, token)] += times
        spelled = changed
    return merges


def naive_encoding(word: tuple[int, ...], merges: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Go through all merges in the order in which they were learned."""
    for rank, pair in enumerate(merges):
        word = naive_merge(word, pair, 256 + rank)
    return word


def spelling(bpe: BPE, text: str) -> list[str]:
    return [bpe.vocabulary[token].decode() for token in bpe.encode(text)]


@given(words, st.integers(257, 300))
def test_training_is_counting_all_pairs_for_every_merge(parts: list[str], size: int) -> None:
    text = " ".join(parts)
    spelled = Counter(tuple(word.encode()) for word in [parts[0], *(f" {w}" for w in parts[1:])])
    assert list(BPE.train(text, size).merges) == naive_training(spelled, size)


@settings(max_examples=100)
@given(any_merges, st.text("abc", min_size=1, max_size=40))
def test_encoding_is_every_merge_in_turn(pairs: list[tuple[int, int]], word: str) -> None:
    merges: list[tuple[int, int]] = []
    for first, second in pairs:  # letters, or merges that there are by then
        pair = [i if i < 256 + len(merges) and i > 255 else 97 + i % 3 for i in (first, second)]
        if (pair[0], pair[1]) not in merges:
            merges.append((pair[0], pair[1]))
    found = BPE(merges).encode(word)
    assert tuple(found) == naive_encoding(tuple(word.encode()), tuple(merges))


def test_the_bundled_merges_are_those_of_the_bundled_text() -> None:
    """Otherwise run ``python benchmarks/merges.py``."""
    assert BPE.train(datasets.texts("grimm"), 4096).merges == datasets.merges("grimm")


@given(anything)
def test_every_text_comes_back(text: str) -> None:
    tokens = GRIMM.encode(text)
    assert GRIMM.vocabulary.decode(tokens, errors="surrogatepass") == text
    assert GRIMM.end not in tokens
    assert GRIMM.encode(text) == tokens  # now remembered


@given(st.binary())
def test_all_bytes_come_back(data: bytes) -> None:
    assert b"".join(GRIMM.vocabulary[token] for token in GRIMM.encode(data)) == data


@settings(max_examples=50)
@given(utf8_texts)
def test_bytes_are_encoded_as_the_text_that_they_are(text: str) -> None:
    assert GRIMM.encode(text.encode()) == GRIMM.encode(text)


def test_every_byte_has_a_token() -> None:
    assert [GRIMM.vocabulary[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    assert [BPE([]).encode(bytes([i])) for i in range(256)] == [[i] for i in range(256)]


def test_no_text_is_the_end_token() -> None:
    assert GRIMM.end == 4095
    assert GRIMM.vocabulary.special == {4095}
    assert GRIMM.vocabulary[4095] == b"<|end|>"
    often = BPE.train("<|end|>" * 9, 300)
    assert often.end not in often.encode("<|end|><|end|>")
    assert often.vocabulary.decode(often.encode("<|end|>")) == "<|end|>"


def test_the_bundled_text_in_tokens() -> None:
    tales = datasets.texts("grimm")
    assert len(GRIMM.vocabulary) == 4096
    assert spelling(GRIMM, "Once upon a time there was a king") == [
        *("Once", " upon", " a", " time", " there", " was", " a", " king")
    ]
    lengths = [len(GRIMM.encode(tale)) for tale in tales]
    assert 3.9 < sum(len(tale.encode()) for tale in tales) / sum(lengths) < 4.2


def test_a_bundled_tale_is_a_title_and_paragraphs() -> None:
    tales = datasets.texts("grimm")
    assert len(tales) == 62
    for tale in tales:
        title, *paragraphs = tale.split("\n")
        assert title.isupper()
        assert paragraphs
        assert all(paragraphs)
    assert tales[-1].endswith("the most beautiful roses, white and red.")


def test_merges_stay_within_words() -> None:
    text = "I don't, he'll 42\n\n  'tis so_far!? über "
    bpe = BPE.train(text * 9, 1000)
    assert spelling(bpe, text) == [
        *("I", " don", "'t", ",", " he", "'ll", " 4", "2", "\n\n ", " '", "tis", " so", "_", "far"),
        *("!?", " über", " "),
    ]


def test_a_pair_that_occurs_once_is_not_merged() -> None:
    assert BPE.train("abcab", 300).merges == ((97, 98),)
    assert len(BPE.train("abcab", 300).vocabulary) == 258
    assert BPE.train("abab", 257).merges == ()
    assert BPE.train(iter(["ab", "", "ab"])).merges == ((97, 98),)


def test_a_very_long_word() -> None:
    word = "abracadabra" * 20_000
    assert GRIMM.vocabulary.decode(GRIMM.encode(word)) == word


def test_a_tokenizer_is_its_merges() -> None:
    bpe = BPE([[97, 98], (256, 99)])
    assert bpe.merges == ((97, 98), (256, 99))
    alone = [bytes([i]) for i in range(256)]
    assert bpe.vocabulary == Vocabulary([*alone, b"ab", b"abc", b"<|end|>"], [258])
    assert repr(bpe) == "<BPE of 259 tokens>"


# Without types, for mistakes in them.
make: Any = BPE
train: Any = BPE.train
encode: Any = GRIMM.encode


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: train(""),
            "texts must be at least one character in all, got [''].",
        ),
        (lambda: train([]), "texts must be at least one character in all, got []."),
        (lambda: train(b"ab"), "texts must be a text or several, got b'ab'."),
        (lambda: train(None), "texts must be a text or several, got None."),
        (lambda: train(["a", 7]), "texts[1] must be a text, got 7."),
        (lambda: train("ab", 256), "size must be an integer >= 257, got 256."),
        (lambda: train("ab", 4096.0), "size must be an integer >= 257, got 4096.0."),
        (lambda: make(None), "merges must be pairs of token ids, got None."),
        (lambda: make([(1, 2, 3)]), "merges[0] must be a pair of token ids, got (1, 2, 3)."),
        (lambda: make([(1, 256)]), "merges[0] must be an integer in [0, 255], got 256."),
        (
            lambda: make([(1, 2), (3, 256), (1, 2)]),
            "merges[2] must be a pair not merged before, got (1, 2).",
        ),
        (lambda: datasets.texts("andersen"), "name must be one of 'grimm', got 'andersen'."),
        (lambda: datasets.merges("andersen"), "name must be one of 'grimm', got 'andersen'."),
        (lambda: encode(7), "text must be a text or bytes, got 7."),
    ],
)
def test_mistakes(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        call()
    assert str(error.value) == message
