"""What ends a text beyond the page: stop tokens, ignored ends, repetitions, minimum lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import (
    ParameterError,
    SamplingParams,
    Vocabulary,
    chat,
    chat_stream,
    constraints,
    generate,
    models,
    resume,
    stream,
)
from logitlab.generation.endings import Endings, Pattern
from logitlab.generation.stop import StoppedText
from logitlab.models import Model, State

from sampler_examples import examples
from strategies import chunked_bytes, stop_strings
from toys import END, Bigrams, same

MODEL = Bigrams()


class Script(Model):
    """Says what it is told to, if nothing keeps it from that; else a."""

    name = "script"
    context_length = None

    def __init__(self, text: str, pieces: Sequence[bytes] = MODEL.vocabulary) -> None:  # type: ignore[assignment]
        self.vocabulary = Vocabulary(pieces, special=[END])
        self.end_ids = frozenset([END])
        self._script = [*map(self.vocabulary.find, text), END] if isinstance(text, str) else text

    def encode(self, text: str) -> list[int]:
        return [self.vocabulary.find(character) for character in text]

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> Any:
        for state, new in zip(states, tokens, strict=True):
            state.read(new)
        logits = np.zeros((len(states), len(self.vocabulary)))
        logits[:, 1] = 1.0
        for row, state in zip(logits, states, strict=True):
            row[self._script[min(len(state.tokens), len(self._script)) - 1]] = 9.0
        return logits


def wrote(text: str, request: Any = None, **keywords: Any) -> Any:
    return generate(Script(text), [1], request, temperature=0, **{"max_tokens": 40, **keywords})


def test_a_stop_token_ends_the_text_and_is_not_in_it() -> None:
    answer = wrote("ab ba", stop_token_ids=[5])
    assert (answer.text, answer.tokens.tolist()) == ("ab", [1, 2, 5])
    assert (answer.finish_reason, answer.finish.cause) == ("stop", "stop token")
    assert str(answer.finish) == "The stop token ␣ was drawn, token 3 of the output."
    kept = wrote("ab ba", stop_token_ids=[5], include_stop_str_in_output=True)
    assert kept.text == "ab "
    assert wrote("ab ba", stop_token_ids=[3]).finish.cause == "end token"


def test_the_end_may_be_ignored() -> None:
    answer = wrote("ab", ignore_eos=True, max_tokens=6)
    assert answer.tokens.tolist() == [1, 2, END, END, END, END]
    assert (answer.text, answer.finish_reason) == ("ab", "length")


def test_the_end_may_be_another_token() -> None:
    answer = wrote("ab ba", eos_token_id=5)
    assert (answer.text, answer.finish.cause) == ("ab", "end token")
    answer = wrote("ab", eos_token_id=[5], max_tokens=4)
    assert (answer.tokens.tolist(), answer.finish_reason) == ([1, 2, END, END], "length")


def test_a_stop_string_may_stay() -> None:
    answer = wrote("ab ba ab", stop=["ba"], include_stop_str_in_output=True)
    assert (answer.text, answer.finish.stop) == ("ab ba", "ba")
    assert wrote("ab ba ab", stop=["ba"]).text == "ab "


def test_nothing_ends_a_text_before_its_minimum() -> None:
    answer = wrote("ab", min_tokens=5)
    assert answer.tokens.tolist() == [1, 2, 1, 1, 1, END]
    held = wrote("ab ab ab", min_tokens=3, stop_token_ids=[5])
    assert held.tokens.tolist() == [1, 2, 1, 1, 2, 5]
    # A stop string that is complete with the last of them is none; the next one is.
    assert wrote("ab ab ab", min_tokens=2, stop=["ab"]).text == "ab "
    assert wrote("ab ab ab", min_tokens=1, stop=["ab"]).text == ""
    assert wrote("aaaa", min_tokens=2, stop=["aa"]).text == "a"  # it may begin inside


def test_a_minimum_above_the_limit_is_refused() -> None:
    with pytest.raises(ParameterError) as error:
        wrote("ab", min_tokens=41)
    assert str(error.value) == "min_tokens must be at most max_tokens, 40, got 41."


@examples("vllm", "repetition_detection", count=7)
def test_repetitions_are_those_of_vllm(example: dict[str, Any]) -> None:
    found = Endings.of({"repetition_detection": example["params"]}).repetition(
        np.array(example["logits"])
    )
    assert (found is not None) == bool(example["answer"][0])


@given(st.lists(st.integers(0, 2), max_size=14), st.integers(0, 4), st.integers(0, 4),
       st.integers(0, 4))  # fmt: skip
def test_a_repetition_is_the_same_tokens_so_many_times(
    tokens: list[int], most: int, least: int, count: int
) -> None:
    found = Pattern(most, least, count).found(np.array(tokens, np.int64))
    sizes = [
        size
        for size in range(max(least, 1), most + 1)
        if count >= 2
        and len(tokens) >= size * count
        and tokens[len(tokens) - size * count :] == tokens[len(tokens) - size :] * count
    ]
    assert found == ((sizes[0], count) if sizes else None)


def test_a_repetition_ends_the_text() -> None:
    asked = {"max_pattern_size": 3, "min_count": 3}
    answer = wrote("b ab ab ab ab", repetition_detection=asked)
    assert answer.text == "b ab ab a"
    assert (answer.finish_reason, answer.finish.cause) == ("repetition", "repetition")
    assert str(answer.finish) == "It ended in 3 times the same 3 tokens."
    one = wrote("baaaaa", repetition_detection={**asked, "max_pattern_size": 1})
    assert (one.text, str(one.finish)) == ("baaa", "It ended in 3 times the same token.")
    later = wrote("baaaaa", repetition_detection=asked, min_tokens=5)
    assert later.text == "baaaa"
    # It goes before a limit, so that more room changes nothing.
    assert wrote("baaaaa", repetition_detection=asked, max_tokens=4).finish_reason == "repetition"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_pattern_size": 1, "min_pattern_size": 2}, "0 <= min_pattern_size <= max_pattern"),
        ({"max_pattern_size": -1}, "0 <= min_pattern_size <= max_pattern_size"),
        ({"max_pattern_size": 2, "min_count": 1}, "with a min_count of at least 2"),
        ({"most": 2}, "a map whose keys are among"),
        ({"max_pattern_size": 1.5}, "max_pattern_size must be an integer"),
        (3, "a map of max_pattern_size, min_pattern_size, min_count"),
    ],
)
def test_what_is_wrong_with_a_repetition_is_said(asked: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SamplingParams(repetition_detection=asked)


def test_a_thought_ends_after_its_budget() -> None:
    words = [b"<end>", b"a", b"b", b" ", b"<think>", b"</think>"]
    model = Script("", words)
    model._script = [4, 1, 2, 1, 2, 1, 5, 3, 0]
    free = generate(model, [1], temperature=0, max_tokens=20)
    assert free.text == "<think>ababa</think> "
    held = generate(model, [1], temperature=0, max_tokens=20, thinking_token_budget=2)
    assert held.text.startswith("<think>ab</think>")
    ids = {"thinking_markers": [[4], 3], "thinking_token_budget": 1}
    assert generate(model, [1], ids, temperature=0, max_tokens=20).text.startswith("<think>a ")


ENDING = [
    {"stop_token_ids": [5, 6]},
    {"ignore_eos": True},
    {"eos_token_id": [3]},
    {"stop": ["a", "日"], "include_stop_str_in_output": True},
    {"repetition_detection": {"max_pattern_size": 3, "min_count": 2}},
    {"min_tokens": 6, "stop": ["a", "b"], "stop_token_ids": [5]},
    {"min_tokens": 3, "bad_words": ["ab", "é"], "thinking_token_budget": 2,
     "thinking_markers": ["a", "b"]},
]  # fmt: skip


@pytest.mark.parametrize("request_", ENDING, ids=lambda each: next(iter(each)))
def test_alone_in_a_batch_streamed_and_resumed(request_: dict[str, Any]) -> None:
    options: dict[str, Any] = {"seed": 3, "max_tokens": 20, "temperature": 1.2}
    answers = generate(MODEL, [1, 2], request_, n=12, **options)
    for i, answer in enumerate(answers):
        alone = generate(MODEL, [1, 2], request_, sequence=i, **options)
        assert same(alone, answer)
        pieces = list(stream(MODEL, [1, 2], request_, sequence=i, **options))
        assert "".join(piece.text for piece in pieces) == answer.text
        for cut in (1, 4, 7):
            few = options | {"max_tokens": max(cut, request_.get("min_tokens", 0))}
            begun = generate(MODEL, [1, 2], request_, sequence=i, **few)
            assert same(resume(MODEL, [begun], max_tokens=20)[0], answer)


def test_engines_without_them_ignore_them_and_say_so() -> None:
    request = {
        "ignore_eos": True,
        "stop_token_ids": [2],
        "eos_token_id": 2,
        "include_stop_str_in_output": True,
        "repetition_detection": {"max_pattern_size": 1, "min_count": 2},
        "stop": ["ba"],
    }
    answer = generate(Script("ab ba"), [1], request, engine="mlx_lm", max_tokens=20)
    assert (answer.text, answer.finish.cause) == ("ab ", "stop string")
    ignored = {note.key for note in answer.notes if note.effect == "ignored"}
    assert request.keys() - {"stop"} <= ignored


def test_engines_differ_in_what_they_hold_off_and_ignore() -> None:
    stops = {"stop": ["ab"], "min_tokens": 4}
    assert wrote("ab ab", stops, engine="vllm").text == "ab "
    assert wrote("ab ab", stops, engine="sglang").text == ""
    deaf = {"ignore_eos": True, "stop_token_ids": [5]}
    assert wrote("ab ba", deaf, engine="vllm").text == "ab"
    assert wrote("ab ba", deaf, engine="sglang", max_tokens=7).text == "ab ba"


def test_a_structure_ends_where_it_is_complete() -> None:
    answer = generate(
        Script("abababab"), [1], temperature=0, max_tokens=9, ignore_eos=True, min_tokens=3,
        constraint=constraints.Regex("ab?"),
    )  # fmt: skip
    # Nothing but the end is left after two tokens: min_tokens gives way, as at vLLM.
    assert (answer.text, answer.finish.cause, answer.finish.complete) == ("ab", "end token", True)
    assert any(note.key == "ignore_eos" and note.effect == "ignored" for note in answer.notes)


BODY = {"messages": [{"role": "user", "content": "a"}], "temperature": 0, "max_tokens": 20}


@pytest.mark.parametrize(
    ("request_", "engine", "reason", "cause", "text"),
    [
        ({"stop_token_ids": [5]}, "openrouter", "stop", "stop token", "ab"),
        ({"repetition_detection": {"max_pattern_size": 3, "min_count": 2}}, "openrouter", "stop",
         "repetition", "ab aba b"),
        ({"stop": [" "], "include_stop_str_in_output": True}, "openrouter", "stop",
         "stop string", "ab "),
    ],
)  # fmt: skip
def test_the_wire_tells_why_it_ended(
    request_: dict[str, Any], engine: str, reason: str, cause: str, text: str
) -> None:
    model = Script("")
    script = list(map(model.vocabulary.find, "ab aba ba b"))
    model._script = [0, 0, *script, END]  # the prompt is of three tokens
    body = {**BODY, **request_, "logprobs": True}
    whole = chat(model, body, engine=engine)
    [choice] = whole["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (reason, cause)
    said = choice["message"]["content"]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == said
    chunks = list(chat_stream(model, body, engine=engine))
    streamed = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]]
    assert "".join(streamed) == said
    if cause != "repetition":
        assert said == text


@given(chunks=chunked_bytes(), stops=stop_strings())
def test_kept_stop_strings_end_the_text_that_was_shown(
    chunks: list[bytes], stops: list[str]
) -> None:
    cut, kept = StoppedText(stops), StoppedText(stops, keeps=True)
    shown = ""
    for chunk in chunks:
        cut.add(chunk)
        shown += kept.add(chunk)
        assert cut.match == kept.match
        assert cut.settled == kept.settled
        if kept.settled:
            break
    cut.add(b"", final=True)
    shown += kept.add(b"", final=True)
    assert shown == kept.shown
    assert kept.shown == cut.shown + (cut.match.stop if cut.match else "")


@given(chunks=chunked_bytes(), stops=stop_strings(), early=st.integers(0, 9))
def test_what_is_complete_early_is_no_stop_string(
    chunks: list[bytes], stops: list[str], early: int
) -> None:
    text = StoppedText(stops)
    for i, chunk in enumerate(chunks):
        text.add(chunk, looks=i >= early)
    text.add(b"", final=True)
    whole = b"".join(chunks).decode("utf-8", "replace")
    plain = StoppedText()
    for chunk in chunks[:early]:
        plain.add(chunk)
    begun = len(plain.shown)
    found = [
        (start, stop)
        for stop in stops
        for start in range(len(whole))
        if whole.startswith(stop, start) and start + len(stop) > begun
    ]
    firsts = {stop: min(s for s, each in found if each == stop) for _, stop in found}
    expected = min(firsts.values(), default=None)
    assert (text.match.start if text.match else None) == expected


def test_a_model_of_tales_keeps_its_minimum() -> None:
    model = models.NGram.bundled()
    short = generate(model, "The king", seed=1, max_tokens=400, verbosity="low", min_tokens=60,
                     verbosity_bias=12.0)  # fmt: skip
    assert 60 < len(short.tokens) < 400
    assert short.finish.cause == "end token"
    banned = generate(model, "The king", seed=1, max_tokens=80, bad_words=["the", "and"])
    assert " the " not in banned.text
    assert " and " not in banned.text
