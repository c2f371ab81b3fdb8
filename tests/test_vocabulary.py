from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from logitlab import ParameterError, Vocabulary
from logitlab.datasets import load


@pytest.mark.parametrize(
    ("token", "label"),
    [
        (b" the", "␣the"),
        (b"\n\n", "⏎⏎"),
        (b"\t", "⇥"),
        (b"\r\n", "␍⏎"),
        (b"\\n", "\\n"),
        (b"\x00", "<0x00>"),
        (b"\x7f", "<0x7F>"),
        (b"\xe2\x80", "<0xE2><0x80>"),
        (b"a\xff", "a<0xFF>"),
        ("日本".encode(), "日本"),
        ("\u200b".encode(), "<U+200B>"),
        ("\u202e".encode(), "<U+202E>"),
        ("\u0301".encode(), "◌\u0301"),
        ("\u00a0".encode(), "<U+00A0>"),
        ("🙂".encode(), "🙂"),
        (b"$_^", "$_^"),
        (b"", "<empty>"),
    ],
)
def test_labels_are_legible(token: bytes, label: str) -> None:
    assert Vocabulary([token]).label(0) == label


@given(st.binary(max_size=6))
def test_every_label_is_one_visible_line(token: bytes) -> None:
    label = Vocabulary([token]).label(0)
    assert label
    assert label.isprintable()
    assert not any(c.isspace() for c in label)
    label.encode()  # no lone surrogates


def test_real_labels_tell_all_tokens_apart() -> None:
    vocabulary = load().vocabulary
    labels = [vocabulary.label(i) for i in range(len(vocabulary))]
    assert len(set(labels)) == len(set(vocabulary))


def test_real_prompts_come_back_from_their_ids() -> None:
    rows = load()
    for prompt, ids in zip(rows.prompts, rows.prompt_ids, strict=True):
        assert rows.vocabulary.decode(ids) == prompt


def test_find_and_index() -> None:
    vocabulary = load().vocabulary
    token = vocabulary.find(" Paris")
    assert vocabulary[token] == b" Paris"
    assert len(vocabulary) == 49152
    assert 0 in vocabulary.special
    assert Vocabulary([b"a", b"b", b"a"]).find("a") == 0


def test_partial_characters_join() -> None:
    vocabulary = Vocabulary([b"\xe6", b"\x97\xa5"])
    assert vocabulary.decode([0, 1]) == "日"
    assert vocabulary.decode([0]) == "\ufffd"
    assert vocabulary.decode([]) == ""


def test_vocabularies_compare_by_content() -> None:
    assert Vocabulary([b"a"]) == Vocabulary([b"a"])
    assert Vocabulary([b"a"]) != Vocabulary([b"a"], special=[0])
    assert hash(Vocabulary([b"a"])) == hash(Vocabulary([b"a"]))
    assert repr(Vocabulary([b"a"], [0])) == "<Vocabulary of 1 tokens, 1 special>"


def test_no_single_token() -> None:
    with pytest.raises(ParameterError, match="token must be the whole text of one token"):
        load().vocabulary.find("no such token at all")
