"""A remembered model has the model's own bits, and reads nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.server import remembered
from logitlab.server.lab import Lab
from logitlab.server.remembered import Remembered

GRIMM = ll.models.NGram.bundled()


class Counted(ll.models.Model):
    """Counts the tokens that it is given to read."""

    def __init__(self) -> None:
        self.name, self.vocabulary = "counted", GRIMM.vocabulary
        self.end_ids, self.context_length = GRIMM.end_ids, GRIMM.context_length
        self.read = 0

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> Any:
        self.read += sum(map(len, tokens))
        return GRIMM.advance(states, tokens)

    def encode(self, text: str) -> list[int]:
        return GRIMM.encode(text)


def test_its_rows_are_the_model_s_in_any_order_and_after_any_rewinding() -> None:
    generator = np.random.default_rng(5)
    model = Remembered(GRIMM)
    for _ in range(200):
        length = int(generator.integers(1, 5))
        feeds = [generator.integers(0, 3, generator.integers(1, 3)).tolist() for _ in range(length)]
        ours, theirs = model.start(), GRIMM.start()
        for feed in feeds:
            row = model.advance([ours], [feed])
            np.testing.assert_array_equal(row, GRIMM.advance([theirs], [feed]))
            assert ours.tokens == theirs.tokens
        twin = ours.copy()
        np.testing.assert_array_equal(
            model.advance([ours, twin], [[5], [6]]),
            GRIMM.advance([theirs.copy(), theirs.copy()], [[5], [6]]),
        )


def test_a_text_that_grows_is_read_once() -> None:
    model = Counted()
    lab = Lab(model)
    body: dict[str, Any] = {"prompt": "Once upon a time", "request": {"seed": 7}}
    output: list[int] = []
    for _ in range(12):
        told = lab.answer("write", {**body, "output": output, "count": 1})
        output = [token["id"] for token in told["tokens"]]
    whole = ll.generate(GRIMM, "Once upon a time", body["request"], max_tokens=12)
    assert output == whole.tokens.tolist()
    assert model.read <= len(GRIMM.encode("Once upon a time")) + 12
    before = model.read  # another parameter asks for the same text
    lab.answer("write", {**body, "request": {"seed": 7, "top_k": 5}, "output": output})
    assert model.read == before
    lab.answer("write", {**body, "output": output[:3], "count": 2})
    assert model.read == before  # what was rewound comes again, from what is remembered
    lab.answer("write", {**body, "output": [*output[:6], 5], "count": 1})
    assert model.read == before + 1  # the one that was forced


def test_it_forgets_what_is_long_ago(monkeypatch: Any) -> None:
    monkeypatch.setattr(remembered, "_MOST_BYTES", 3 * 8 * len(GRIMM.vocabulary))
    model = Remembered(GRIMM)
    for token in range(50):
        model.advance([model.start()], [[token]])
    assert len(model._rows) == 3
    assert len(model._states) == remembered._MOST_STATES
    np.testing.assert_array_equal(
        model.advance([model.start()], [[0]]), GRIMM.advance([GRIMM.start()], [[0]])
    )
