"""A small model for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from logitlab import Vocabulary
from logitlab.arrays import FloatArray
from logitlab.models import Model, Recorder, State

SIZE = 5


def row(tokens: Sequence[int]) -> FloatArray:
    """Return different logits for every text; zeros at the end of a seed would change nothing."""
    return np.random.default_rng([token + 1 for token in tokens]).normal(size=SIZE)


class Counting(Model):
    """Logits drawn with the tokens of the text as the seed; letters as tokens."""

    name = "counting"
    vocabulary = Vocabulary([b"a", b"b", b"\xe6", b"", b"<end>"], special=[4])
    end_ids = frozenset({4})
    context_length = 40

    def __init__(self, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dtype = dtype
        self.calls = 0

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        self.calls += 1
        for state, new in zip(states, tokens, strict=True):
            state.read(new)
        rows = [row(s.tokens) for s in states]
        return np.array(rows, self.dtype).reshape(-1, SIZE)

    def encode(self, text: str) -> list[int]:
        return ["ab".index(letter) for letter in text]


def record(path: Path, *texts: Sequence[Sequence[int]], model: Model | None = None) -> None:
    """Record texts, each a sequence of what is fed at once."""
    with Recorder(model or Counting(), path) as recorder:
        for text in texts:
            state = recorder.start()
            for new in text:
                recorder.advance([state], [new])
