from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import ParameterError
from logitlab.arrays import FloatArray
from logitlab.models import Recorded, Recorder, State

from models.counting import SIZE, Counting, record, row
from models.trees import actions, play


class Letters(Counting):
    def __init__(self, letters: str) -> None:
        super().__init__()
        self.letters = letters

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(letter) for letter in text]


_TOKENS = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=4)


@given(actions(SIZE), st.sampled_from([np.float32, np.float64]))
def test_a_recorded_run_is_the_run(steps: list[Any], dtype: type[np.floating[Any]]) -> None:
    texts: dict[bytes, list[int]] = {}

    def check(tokens: list[int], logits: FloatArray) -> None:
        assert logits.dtype == dtype
        assert logits.tobytes() == row(tokens).astype(dtype).tobytes()
        texts[logits.tobytes()] = tokens

    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.npy"
        with Recorder(Counting(dtype), path) as recorder:
            play(recorder, steps, check)
        play(Recorded.open(path), steps, check)
        play(Recorded.open(path), steps, check, alone=True)
        rows = [logits.tobytes() for logits in np.load(path)]
        assert len(rows) == len(texts)  # each text once
        assert set(rows) == set(texts)


@given(st.lists(_TOKENS, min_size=1, max_size=4), st.data())
def test_how_a_text_was_cut_up_does_not_matter(texts: list[list[int]], data: st.DataObject) -> None:
    """Rows recorded after every token answer whatever is fed at once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.npy"
        record(path, *([[token] for token in text] for text in texts))
        model = Recorded.open(path)
    for text in texts:
        cut = data.draw(st.integers(0, len(text) - 1))
        state = model.start()
        for new in filter(None, (text[:cut], text[cut:])):
            logits = model.advance([state], [new])[0]
        assert logits.tobytes() == row(text).tobytes()


def test_a_recording_knows_what_the_model_is(tmp_path: Path) -> None:
    record(tmp_path / "run.npy", [[0]])
    model = Recorded.open(str(tmp_path / "run.npy"))
    assert model.name == "counting"
    assert model.vocabulary == Counting.vocabulary
    assert model.end_ids == {4}
    assert model.context_length == 40
    assert repr(model) == "<Recorded counting: 5 tokens>"


def test_a_recorder_is_the_model(tmp_path: Path) -> None:
    inner = Counting()
    with Recorder(inner, tmp_path / "run.npy") as recorder:
        assert recorder.vocabulary is inner.vocabulary
        assert (recorder.name, recorder.end_ids) == (inner.name, inner.end_ids)
        assert recorder.context_length == 40
        assert recorder.encode("ab") == [0, 1]
        with pytest.raises(ValueError, match="substring not found"):
            recorder.encode("xyz")


def test_prompts_are_recorded(tmp_path: Path) -> None:
    hello = [{"role": "user", "content": [{"type": "text", "text": "ba"}]}]
    with Recorder(Letters("ab\n"), tmp_path / "run.npy") as recorder:
        assert recorder.encode("ab") == recorder.encode("ab") == [0, 1]
        assert recorder.encode("") == []
        assert recorder.chat(hello) == [1, 0, 2, 2]
    model = Recorded.open(tmp_path / "run.npy")
    assert model.encode("ab") == [0, 1]
    assert model.encode("") == []
    assert model.chat(hello) == model.chat([{"content": "ba", "role": "user"}]) == [1, 0, 2, 2]
    lines = (tmp_path / "run.tokens.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 3  # each once
    with pytest.raises(ParameterError, match="prompt must be one that was encoded in this rec"):
        model.encode("b")
    with pytest.raises(ParameterError, match="messages must be one that was encoded in this rec"):
        model.chat([{"role": "user", "content": "a"}])
    with pytest.raises(ParameterError, match=r"messages\[0\].role must be one of 'system'"):
        model.chat([{"role": "nobody", "content": "a"}])


def test_no_prompts(tmp_path: Path) -> None:
    record(tmp_path / "run.npy", [[0]])
    model = Recorded.open(tmp_path / "run.npy")
    with pytest.raises(ParameterError, match="prompt must be token ids: counting has no tokenizer"):
        model.encode("a")
    with pytest.raises(ParameterError, match="prompt must be token ids: counting has no tokenizer"):
        model.chat([{"role": "user", "content": "a"}])


def test_long_texts_are_not_stored_again(tmp_path: Path) -> None:
    prompt = [i % SIZE for i in range(30)]
    record(tmp_path / "run.npy", [prompt, [1], [2]], [[*prompt, 3]], [prompt[:20], [4]])
    lines = (tmp_path / "run.tokens.jsonl").read_text().splitlines()[1:]
    texts = [(line["after"], len(line["tokens"])) for line in map(json.loads, lines)]
    assert texts == [
        ([-1, 0], 30),
        ([0, 30], 1),
        ([1, 31], 1),
        ([0, 30], 1),
        ([0, 20], 0),
        ([0, 20], 1),
    ]


class TestStraying:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Recorded:
        record(tmp_path / "run.npy", [[0, 1, 2], [3]], [[0, 1, 4]])
        return Recorded.open(tmp_path / "run.npy")

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (
                [[1]],
                "tokens[1] must be tokens of a recorded text, got token 1 at position 0. "
                "Recorded there: 0.",
            ),
            (
                [[0, 1, 0]],
                "tokens[1] must be tokens of a recorded text, got token 0 at position 2. "
                "Recorded there: 2, 4.",
            ),
            (
                [[0, 1, 2], [3, 3]],
                "tokens[1] must be tokens of a recorded text, got token 3 at "
                "position 4. No recorded text goes on there.",
            ),
            (
                [[0, 1]],
                "tokens[1] must be up to where a recorded step ended, got the first 2 "
                "tokens of one. It was read in one go together with the tokens after it.",
            ),
            ([[5]], "tokens[1] must be an integer in [0, 4], got 5. It is element (0,)."),
            ([[]], "tokens[1] must be a sequence of at least one token, got []."),
            ([[[0]]], "tokens[1] must be a sequence of at least one token, got [[0]]."),
        ],
    )
    def test_says_where(self, model: Recorded, texts: Any, message: str) -> None:
        good, state = model.start(), model.start()
        for new in texts[:-1]:
            model.advance([state], [new])
        before = list(state.tokens)
        with pytest.raises(ParameterError) as error:
            model.advance([good, state], [[0, 1, 2], texts[-1]])
        assert str(error.value) == message
        assert (good.tokens, state.tokens) == ([], before)  # nothing has moved

    def test_goes_on_after_a_rewind(self, model: Recorded) -> None:
        state = model.start()
        model.advance([state], [[0, 1, 2]])
        state.rewind(2)
        logits = model.advance([state], [[4]])[0]
        assert logits.tobytes() == row([0, 1, 4]).tobytes()

    def test_batches(self, model: Recorded) -> None:
        state = model.start()
        assert model.advance([], []).shape == (0, SIZE)
        with pytest.raises(ParameterError, match="tokens must be one sequence of new tokens for e"):
            model.advance([state], [])
        with pytest.raises(ParameterError, match="states must be different objects, got one of th"):
            model.advance([state, state], [[0], [0]])
        with pytest.raises(
            ParameterError, match=r"states\[0\] must be from start\(\) of the model"
        ):
            model.advance([State()], [[0]])
        with pytest.raises(ParameterError, match=r"within the context length of 40, got 41 tokens"):
            model.advance([state], [[0] * 41])


class TestPlain:
    rows = np.arange(15.0).reshape(3, SIZE)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_a_file_plays_in_order(self, tmp_path: Path, dtype: type[np.floating[Any]]) -> None:
        np.save(tmp_path / "rows.npy", self.rows.astype(dtype))
        model = Recorded(tmp_path / "rows.npy", Counting.vocabulary, end_ids=[4])
        state = model.start()
        first = model.advance([state], [[1, 2, 3]])
        assert first.dtype == np.promote_types(dtype, np.float32)
        first[:] = 0  # the caller's to keep
        model.advance([state], [[4]])
        assert model.advance([state], [[0]]).tolist() == [self.rows[2].tolist()]
        with pytest.raises(ParameterError, match=r"within the 3 recorded steps, got step 4"):
            model.advance([state], [[0]])
        assert model.advance([model.start()], [[0]]).tolist() == [self.rows[0].tolist()]
        assert model.end_ids == {4}

    def test_rewinding_takes_steps_back(self) -> None:
        model = Recorded(self.rows, Counting.vocabulary)
        state = model.start()
        model.advance([state], [[1, 2, 3]])
        model.advance([state], [[1]])
        for length, expected in ((3, 1), (2, 0), (0, 0)):
            branch = state.copy()
            branch.rewind(length)
            assert model.advance([branch], [[0]]).tolist() == [self.rows[expected].tolist()]

    def test_where_the_context_is_known(self) -> None:
        model = Recorded(self.rows, Counting.vocabulary, context_length=5)
        with pytest.raises(ParameterError, match="within the context length of 5, got 6 tokens"):
            model.advance([model.start()], [[0] * 6])

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: Recorded(np.zeros(5), Counting.vocabulary),
                "logits must be of shape (N, V), got shape (5,).",
            ),
            (
                lambda: Recorded(np.zeros((2, 5), int), Counting.vocabulary),
                "logits must be float16, bfloat16, float32 or float64, got int64. "
                "Write floats: [2.0, 1.0].",
            ),
            (
                lambda: Recorded(np.zeros((2, 6)), Counting.vocabulary),
                "vocabulary must be of 6 tokens, as many as the logits have columns, "
                "got <Vocabulary of 5 tokens, 1 special>.",
            ),
            (
                lambda: Recorded(np.zeros((2, 5)), Counting.vocabulary, end_ids=[5]),
                "end_ids must be an integer in [0, 4], got 5.",
            ),
            (
                lambda: Recorded(np.zeros((2, 5)), Counting.vocabulary, context_length=0),
                "context_length must be an integer >= 1, got 0.",
            ),
            (
                lambda: Recorded("no such.npy", Counting.vocabulary),
                "path must be an existing file of logits, got 'no such.npy'.",
            ),
        ],
    )
    def test_bad_arguments(self, make: Callable[[], Any], message: str) -> None:
        with pytest.raises(ParameterError) as error:
            make()
        assert str(error.value) == message
