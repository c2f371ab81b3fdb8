"""Texts of a request become token ids, as the engine spells them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, Context, Dry, MinTokens, ParameterError, Vocabulary, engines, models
from logitlab.engines.spelling import (
    Lexicon,
    Spelling,
    SpellingError,
    as_written,
    last_token,
    overlapping,
    with_and_without_space,
)
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from engines.cases import VECTORS
from toys import Bigrams

TALES = models.NGram.bundled()
KNOWN = Lexicon.of(TALES)
ENCODE = TALES.tokenizer.encode


def words_of(text: str) -> list[tuple[int, ...]]:
    return list(with_and_without_space("bad_words", text, KNOWN))


def test_a_word_is_spelt_with_and_without_a_space() -> None:
    assert words_of("the") == [tuple(ENCODE("the")), tuple(ENCODE(" the"))]
    assert words_of("  the") == words_of("the")
    # Of another length, or with the same first token, the second form is left out.
    assert [len(ENCODE(text)) for text in ("wolf", " wolf")] == [2, 1]
    assert words_of("wolf") == [tuple(ENCODE("wolf"))]
    for text in ("king", "wolf", "a", "Once", "xq", "ü"):
        bare, spaced = tuple(ENCODE(text)), tuple(ENCODE(" " + text))
        both = len(bare) == len(spaced) and bare[0] != spaced[0]
        assert words_of(text) == ([bare, spaced] if both else [bare])


def plain_overlapping(tokens: list[bytes], text: bytes) -> Iterator[tuple[int, int]]:
    """Token and how much of the text it has, a byte at a time; the whole text is one that holds it.

    As ``get_overlapping_token_sequences`` of llama.cpp goes about it.
    """
    for i, word in enumerate(tokens):
        if text in word:
            yield i, len(text)
            continue
        for place in range(len(word)):
            if word[place] == text[0]:
                n = 1
                while n < len(text) and place + n < len(word) and word[place + n] == text[n]:
                    n += 1
                if place + n == len(word):
                    yield i, n


@given(
    st.lists(st.text("ab:\n", min_size=1, max_size=4), min_size=1, max_size=12),
    st.text("ab:\n", min_size=1, max_size=4),
)
def test_breakers_are_all_tokens_that_the_text_may_be_in(words: list[str], text: str) -> None:
    tokens = [word.encode() for word in words] + [b"a", b"b", b":", b"\n"]
    vocabulary = Vocabulary(tokens)
    lexicon = Lexicon(vocabulary, encode=lambda rest: [vocabulary.find(c) for c in rest])
    expected = {
        (i, *(vocabulary.find(c) for c in text[n:]))
        for i, n in plain_overlapping(tokens, text.encode())
    }
    assert set(overlapping("dry_sequence_breakers", text, lexicon)) == expected


def test_breakers_are_those_of_llama_cpp() -> None:
    """Its own code read the vocabulary, spelt the breakers and penalised: `record_breakers`.

    The tokenizer here is Hugging Face's.
    """
    recorded = json.loads((VECTORS / "breakers.json").read_text("utf-8"))
    tokens, merges = recorded["tokens"], [tuple(each.split(" ")) for each in recorded["merges"]]
    bpe = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = ByteLevel(add_prefix_space=False)
    byte = {character: i for i, character in enumerate(tokens[:256])}
    vocabulary = Vocabulary([bytes(map(byte.__getitem__, token)) for token in tokens])
    lexicon = Lexicon(vocabulary, encode=lambda text: bpe.encode(text).ids)
    told = Counter[str]()
    for breakers, history, allowed, last_n, penalised in recorded["cases"]:
        asked = {
            "samplers": ["dry"],
            "dry_multiplier": recorded["multiplier"],
            "dry_base": recorded["base"],
            "dry_allowed_length": allowed,
            "dry_penalty_last_n": last_n,
        }
        row, context = np.zeros(len(tokens), np.float32), Context(history)
        own = engines.llama_cpp({**asked, "dry_sequence_breakers": breakers}, vocabulary=lexicon)
        left = own(row, context)
        expected = np.zeros(len(tokens))
        expected[[int(token) for token in penalised]] = list(penalised.values())
        np.testing.assert_allclose(left, expected, rtol=1e-6, err_msg=str((breakers, history)))
        told[str(breakers)] += not np.array_equal(left, engines.llama_cpp(asked)(row, context))
    # In most cases the breakers decide, and in some for each of them.
    assert len(told) == 15
    assert min(told.values()) >= 1
    assert told.total() >= 90


def test_a_breaker_is_cut() -> None:
    vocabulary = Vocabulary([b"a", b"ba"])
    lexicon = Lexicon(vocabulary, encode=lambda rest: [0] * len(rest))
    sequences = list(overlapping("dry_sequence_breakers", "a" * 60, lexicon))
    # 40 bytes count: 39 are left after the first, and 20 tokens of these.
    assert set(sequences) == {(0,) + (0,) * 20, (1,) + (0,) * 20}
    assert not list(overlapping("dry_sequence_breakers", "", lexicon))


def test_the_last_token_after_an_a() -> None:
    assert list(last_token("x", "\n", KNOWN)) == [(ENCODE("a\n")[-1],)]
    assert list(as_written("x", "the king", KNOWN)) == [tuple(ENCODE("the king"))]


def test_breakers_are_the_tokens_of_a_vocabulary() -> None:
    [step] = engines.openrouter({"dry_multiplier": 0.8}, vocabulary=TALES)
    assert isinstance(step, Dry)
    breakers: Any = step.breakers
    pieces = {TALES.vocabulary[token] for (token,) in breakers}
    assert pieces == {p for p in TALES.vocabulary if any(c in p for c in (b"\n", b":", b'"', b"*"))}
    [alone] = engines.openrouter({"dry_multiplier": 0.8})
    assert alone == Dry(0.8, last_n=64)
    note = next(
        n for n in ll.translate({"dry_multiplier": 0.8}, "openrouter").notes if n.effect == "off"
    )
    assert note.sentence == (
        "dry_sequence_breakers is absent: openrouter uses '\\n', ':', '\"', '*' where a vocabulary "
        "spells them, and none here."
    )
    # Nothing is said, or spelt, where DRY does not act.
    assert ll.translate({}, "openrouter").notes == ()
    idle = {"dry_sequence_breakers": ["x"]}
    assert engines.openrouter(idle).steps == ()


def test_a_text_without_a_vocabulary_is_one_clear_error() -> None:
    request = {"bad_words": ["king"]}
    for call in (
        lambda: engines.openrouter(request),
        lambda: ll.sample([0.0, 1.0], request),
        lambda: ll.compare_engines([0.0, 1.0], request),
        lambda: ll.sweep(np.zeros((1, 2)), {"temperature": [1.0]}, request=request),
    ):
        with pytest.raises(ParameterError) as error:
            call()
        assert str(error.value) == (
            "bad_words must be of token ids where no vocabulary is at hand, got 'king'. "
            "Pass vocabulary, a model that spells it, or give the ids."
        )
    assert ll.translate(request, "openrouter").values["bad_words"] == ("king",)


def test_a_vocabulary_alone_spells_single_tokens() -> None:
    chain = engines.openrouter({"bad_words": [" the"]}, vocabulary=TALES.vocabulary)
    assert chain[0].value == ((TALES.vocabulary.find(b"the"),), (TALES.vocabulary.find(b" the"),))  # type: ignore[attr-defined]
    with pytest.raises(SpellingError) as error:
        engines.openrouter({"bad_words": ["no single token"]}, vocabulary=TALES.vocabulary)
    assert str(error.value) == (
        "bad_words must be of texts of one token each, or token ids, where no tokenizer is at "
        "hand, got 'no single token'. A model has one."
    )


def test_what_a_model_cannot_tokenise_is_said() -> None:
    with pytest.raises(SpellingError) as error:
        engines.openrouter({"bad_words": ["xyz"]}, vocabulary=Bigrams())
    assert str(error.value).startswith(
        "bad_words must be of texts that have tokens, got 'xyz'. bigrams does not tokenise it: "
    )
    with pytest.raises(SpellingError, match="bad_words must be of texts that have tokens, got ' '"):
        engines.openrouter({"bad_words": [" "]}, vocabulary=TALES)
    with pytest.raises(ParameterError, match=r"^vocabulary must be a Model, a Vocabulary or None"):
        engines.openrouter({}, vocabulary="tales")  # type: ignore[arg-type]


def test_the_end_of_a_text_is_the_models() -> None:
    assert engines.openrouter({"min_tokens": 3}, vocabulary=TALES) == Chain(
        MinTokens(3, sorted(TALES.end_ids))
    )
    own = engines.openrouter({"min_tokens": 3, "eos_token_id": 5}, vocabulary=TALES)
    assert own == Chain(MinTokens(3, [5]))
    translation = ll.translate({"min_tokens": 3}, "openrouter", vocabulary=TALES.vocabulary)
    assert str(translation).splitlines()[-1] == (
        "min_tokens does nothing at openrouter: nobody tells which tokens end a text; a model as "
        "vocabulary, or eos_token_id, does."
    )


def test_markers_are_whole_tokens_before_they_are_spelt() -> None:
    vocabulary = Vocabulary([b"a", b"<think>", b"</think>"], special=[1, 2])
    chain = engines.openrouter({"thinking_token_budget": 2}, vocabulary=vocabulary)
    assert chain == Chain(ll.ThinkingBudget(2, [1], [2]))
    told = ll.translate({"thinking_token_budget": 2}, "openrouter")
    assert str(told).splitlines()[-1] == (
        "thinking_token_budget does nothing at openrouter: nobody tells the tokens of <think> and "
        "</think>; thinking_markers do."
    )
    spelt = engines.openrouter({"thinking_token_budget": 2}, vocabulary=TALES)
    assert spelt == Chain(ll.ThinkingBudget(2, ENCODE("<think>"), ENCODE("</think>")))
    with pytest.raises(SpellingError, match=r"^thinking_markers must be of token ids where"):
        engines.openrouter({"thinking_token_budget": 2, "thinking_markers": ["a", "b"]})


REQUEST = {"bad_words": ["the", "of the"], "min_tokens": 2, "seed": 7}
IDS: dict[str, Any] = {
    "bad_words": [ids for text in ("the", "of the") for ids in words_of(text)],
    "min_tokens": 2,
    "eos_token_id": sorted(TALES.end_ids),
    "seed": 7,
}
TEXT = Context(ENCODE("Once upon a time"), ENCODE(" there"))


def test_every_function_takes_a_vocabulary() -> None:
    [x] = TALES.advance([TALES.start()], [ENCODE("Once upon a time there")])
    options: dict[str, Any] = {"context": TEXT}
    functions: list[Any] = [
        lambda request, **more: ll.sample(x, request, size=20, **more).tokens,
        lambda request, **more: ll.greedy(x, request, **more),
        lambda request, **more: ll.survivors(x, request, **more).logprobs[0],
        lambda request, **more: ll.distribution(x, request, **more),
        lambda request, **more: ll.trace(x, request, **more).logits,
        lambda request, **more: ll.logprobs(x, 5, request, mode="processed", **more).logprobs,
        lambda request, **more: ll.compare_engines(x, request, engines="openrouter", **more).logits,
        lambda request, **more: ll.sweep(
            x[None], {"temperature": [0.5, 1]}, ["entropy"], request=request, **more
        ).values["entropy"],
        lambda request, **more: ll.simulate(
            x[None], {"temperature": [0.5, 1]}, ["entropy"], request=request, draws=20, **more
        ).values["entropy"],
        lambda request, **more: engines.openrouter.draw(x, request, **more),
    ]
    for function in functions:
        spelt, given = function(REQUEST, vocabulary=TALES, **options), function(IDS, **options)
        np.testing.assert_array_equal(spelt, given)
    assert engines.openrouter(REQUEST, vocabulary=TALES) == engines.openrouter(IDS)
    assert engines.openrouter.reported({}, vocabulary=TALES) == Chain()
    assert str(ll.plan(REQUEST, vocabulary=TALES)) == str(ll.plan(IDS))


def test_a_generation_spells_with_its_model() -> None:
    options: dict[str, Any] = {"max_tokens": 25, "seed": 7}
    spelt = ll.generate(TALES, "Once upon", REQUEST, **options)
    given = ll.generate(TALES, "Once upon", IDS, **options)
    assert (spelt.tokens == given.tokens).all()
    begun = ll.generate(TALES, "Once upon", REQUEST, **options | {"max_tokens": 5})
    assert (ll.resume(TALES, begun, max_tokens=25)[0].tokens == given.tokens).all()
    body = {"prompt": "Once upon", "max_tokens": 25, **REQUEST}
    assert ll.chat(TALES, body)["choices"][0]["message"]["content"] == given.text


def test_an_engine_of_your_own_spells_as_it_says() -> None:
    @engines.engine(spelling=Spelling(dry_sequence_breakers=last_token, bad_words=as_written))
    def own(p: Any) -> Chain:
        return Chain(
            ll.BadWords(p.bad_words), Dry(p.dry_multiplier, breakers=p.dry_sequence_breakers)
        )

    try:
        request = {"bad_words": ["the"], "dry_multiplier": 1, "dry_sequence_breakers": ["\n", [5]]}
        words, dry = own(request, vocabulary=TALES)
        assert words == ll.BadWords([ENCODE("the")])
        assert dry == Dry(1, breakers=((ENCODE("a\n")[-1],), (5,)))
        # It has all endings, and its chain need not read them.
        assert own.endings == engines.openrouter.endings
        stops = {"stop_token_ids": range(4000), "max_tokens": 9}
        answer = ll.generate(TALES, "Once", stops, engine="own", seed=1)
        assert answer.finish.cause == "stop token"
        assert not answer.notes
    finally:
        engines.ENGINES.pop("own")


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        ({"allowed_token_ids": [1, 2]}, 2),
        ({"suppress_tokens": [3]}, 3),
        ({"bad_words": [[1, 0], [0, 4]]}, 4),
        ({"sequence_bias": [[[5], 1.0]]}, 5),
        ({"stop_token_ids": [6]}, 6),
        ({"eos_token_id": 7}, 7),
    ],
)
def test_ids_that_no_token_has_are_refused_at_once(request_: dict[str, Any], wrong: int) -> None:
    with pytest.raises(engines.RefusalError) as error:
        engines.openrouter(request_, vocabulary=Vocabulary([b"a", b"b"]))
    assert str(error.value) == (
        f"{next(iter(request_))} must be of token ids in [0, 1], got {wrong}. openrouter refuses "
        f"the request: No token has the id {wrong}."
    )


def test_a_model_that_begins_every_text_with_a_token_spells_without_it() -> None:
    class Begins(Bigrams):
        def encode(self, text: str) -> list[int]:
            return [19, *super().encode(text)]

    assert Lexicon.of(Begins()).ids("bad_words", "ab") == (1, 2)
    assert engines.openrouter({"bad_words": ["ab"]}, vocabulary=Begins())[0] == ll.BadWords(
        [[1, 2]]
    )


def test_a_breaker_that_cannot_be_spelt_is_named_whole() -> None:
    asked = {"dry_multiplier": 1, "dry_sequence_breakers": ["[1]"]}
    with pytest.raises(ParameterError, match=r"^dry_sequence_breakers must be .* got '\[1\]'"):
        ll.translate(asked, "openrouter", vocabulary=Vocabulary([b"a", b"x[", b"b"]))
