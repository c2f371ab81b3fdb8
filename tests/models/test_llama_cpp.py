"""Needs llama-cpp-python, and the path of SmolLM2-135M-Instruct as .gguf in LOGITLAB_SMOLLM2."""

from __future__ import annotations

import gc
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import ParameterError, datasets
from logitlab.models import LlamaCpp, Recorded, Recorder

from models.trees import actions, play

pytest.importorskip("llama_cpp")
FILE = os.environ.get("LOGITLAB_SMOLLM2", "")
pytestmark = pytest.mark.skipif(not FILE, reason="no file of SmolLM2")
CAPITAL = "The capital of France is"


@cache
def model(sequences: int) -> LlamaCpp:
    return LlamaCpp(FILE, context_length=200, sequences=sequences)


def test_the_model_is_the_recorded_one() -> None:
    rows, smollm2 = datasets.load("smollm2"), model(4)
    assert smollm2.vocabulary == rows.vocabulary
    same = 0
    for prompt, ids, recorded in zip(rows.prompts, rows.prompt_ids, rows.logits, strict=True):
        assert smollm2.encode(prompt) == ids.tolist()
        row = smollm2.advance([smollm2.start()], [ids.tolist()])[0]
        assert row.dtype == np.float32
        assert np.corrcoef(row, recorded)[0, 1] > 0.99
        same += row.argmax() == recorded.argmax()
    assert same >= 17  # other weights, rounded to 4 bits


@given(steps=actions(49152, longest=6))
@settings(max_examples=15, deadline=None)
def test_logits_are_those_of_the_whole_text(steps: list[Any]) -> None:
    def check(tokens: list[int], row: np.ndarray[Any, Any]) -> None:
        fresh = model(1).advance([model(1).start()], [tokens])[0]
        np.testing.assert_allclose(row, fresh, atol=1)  # 4 bits, summed up in other pieces
        assert np.corrcoef(row, fresh)[0, 1] > 0.999

    play(model(2), steps, check)


@given(steps=actions(49152, longest=6), sequences=st.sampled_from([1, 2, 4]))
@settings(max_examples=15, deadline=None)
def test_neighbours_and_slots_change_no_bit(steps: list[Any], sequences: int) -> None:
    def rows(sequences: int, *, alone: bool) -> list[bytes]:
        results: list[bytes] = []
        play(model(sequences), steps, lambda _, row: results.append(row.tobytes()), alone=alone)
        return results

    assert rows(sequences, alone=False) == rows(4, alone=True)


@cache
def exact(sequences: int) -> LlamaCpp:
    return LlamaCpp(FILE, context_length=300, sequences=sequences, tokens_together=1)


@given(steps=actions(49152, longest=6))
@settings(max_examples=15, deadline=None)
def test_read_token_by_token_the_pieces_do_not_matter(steps: list[Any]) -> None:
    play(
        exact(2),
        steps,
        lambda tokens, row: np.testing.assert_array_equal(
            row, exact(1).advance([exact(1).start()], [tokens])[0]
        ),
    )


def test_the_same_for_long_texts() -> None:
    ids = (exact(2).encode("The cat sat on the mat. ") * 100)[:270]
    states = [exact(2).start() for _ in range(3)]
    exact(2).advance(states, [ids[:250], ids[:17], ids[:260]])
    states[2].rewind(240)
    branch = states[2].copy()
    batch = [*states, branch]
    rows = exact(2).advance(batch, [ids[len(state.tokens) :] for state in batch])
    assert len({row.tobytes() for row in rows}) == 1


def test_states_that_are_gone_leave_their_slots() -> None:
    smollm2 = model(2)
    for _ in range(5):
        states = [smollm2.start() for _ in range(3)]
        smollm2.advance(states, [[1, 2], [3], [4]])
        del states
        gc.collect()
    texts = smollm2._memory._texts.values()
    assert all(text is None or text() is None for text in texts)


def test_a_long_text_in_one_go() -> None:
    """More tokens than are read at once, and up to the end of the context."""
    smollm2 = LlamaCpp(FILE, context_length=601, sequences=1, threads=1)
    ids = (smollm2.encode("The cat sat on the mat. ") * 100)[:600]
    state = smollm2.start()
    smollm2.advance([state], [ids])
    row = smollm2.advance([state], [[7]])[0]
    branch = state.copy()
    branch.rewind(600)
    assert smollm2.advance([branch], [[7]])[0].tobytes() == row.tobytes()
    with pytest.raises(ParameterError, match="within the context length of 601, got 602 tokens"):
        smollm2.advance([state], [[7]])
    smollm2.close()


def test_chat() -> None:
    text = model(4).vocabulary.decode(
        model(4).chat([{"role": "user", "content": [{"type": "text", "text": "Hello 日本"}]}])
    )
    assert text.endswith("<|im_start|>user\nHello 日本<|im_end|>\n<|im_start|>assistant\n")
    labels = {model(4).vocabulary.label(token) for token in model(4).end_ids}
    assert "<|im_end|>" in labels
    with pytest.raises(ParameterError, match="messages must be a non-empty array of messages"):
        model(4).chat([])


def test_recordings(tmp_path: Path) -> None:
    with Recorder(model(4), tmp_path / "run.npy") as recorder:
        prompt = recorder.encode(CAPITAL)
        state = recorder.start()
        row = recorder.advance([state], [prompt])[0]
    again = Recorded.open(tmp_path / "run.npy")
    assert again.vocabulary == model(4).vocabulary
    assert again.advance([again.start()], [again.encode(CAPITAL)])[0].tobytes() == row.tobytes()
    assert again.vocabulary.label(int(row.argmax())) == "␣Paris"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequences": 0}, "sequences must be an integer in [1, 64], got 0."),
        ({"context_length": 0}, "context_length must be an integer >= 1, got 0."),
        ({"threads": 0.5}, "threads must be an integer >= 1, got 0.5."),
        ({"tokens_together": 0}, "tokens_together must be an integer in [1, 4096], got 0."),
        ({"verbose": 1}, "verbose must be True or False, got 1."),
        ({"path": "no such.gguf"}, "path must be an existing .gguf file, got 'no such.gguf'."),
        ({"path": __file__}, "path must be a .gguf file that llama.cpp can read, got"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        LlamaCpp(**{"path": FILE, **options})
    assert str(error.value).startswith(message)


def test_after_close() -> None:
    smollm2 = LlamaCpp(FILE, context_length=64, sequences=1)
    state = smollm2.start()
    smollm2.advance([state], [[1]])
    smollm2.close()
    smollm2.close()
    assert state.copy().tokens == [1]
    with pytest.raises(ParameterError, match="model must be open, got a closed one"):
        smollm2.advance([state], [[1]])
