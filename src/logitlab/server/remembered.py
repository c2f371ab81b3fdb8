"""A model that does not read the same text twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from logitlab.arrays import FloatArray, check_array
from logitlab.models.model import Message, Model, State, Tool

__all__ = ["Remembered"]

_MOST_BYTES = 1 << 26  # of rows: some hundred of a wide vocabulary
_MOST_STATES = 4  # texts that can be gone on with at once; each may hold keys and values

_Pieces = tuple[tuple[int, ...], ...]


class _Read(State):
    """A text in the pieces in which it was read: how a model reads it may depend on those."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: _Pieces = ()


class Remembered(Model):
    """Another model, whose rows of late are remembered, whoever asks for them.

    A page asks for the same text again and again: with a token more, with another parameter.

    Parameters
    ----------
    model : Model

    Examples
    --------
    >>> from logitlab.models import NGram
    >>> model = Remembered(NGram.bundled())
    >>> first, again = ([model.start()] for _ in range(2))
    >>> one, two = model.advance(first, [[5, 6]]), model.advance(again, [[5, 6]])
    >>> bool((one == two).all())
    True
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name, self.vocabulary = model.name, model.vocabulary
        self.end_ids, self.context_length = model.end_ids, model.context_length
        self._rows: OrderedDict[_Pieces, FloatArray] = OrderedDict()
        self._states: OrderedDict[_Pieces, State] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def start(self) -> State:
        """Return the state of an empty text."""
        return _Read()

    def advance(self, states: Sequence[Any], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the token after them: the model's own bits."""
        rows = []
        with self._lock:
            for state, new in zip(states, tokens, strict=True):
                pieces = (*state.pieces, tuple(map(int, new)))
                rows.append(self._row(pieces))
                state.read(list(new))
                state.pieces = pieces
        return np.stack(rows)

    def _row(self, pieces: _Pieces) -> FloatArray:
        row = self._rows.get(pieces)
        if row is None:
            row = self._read(pieces)
            self._rows[pieces] = row
            self._bytes += row.nbytes
        self._rows.move_to_end(pieces)
        while self._bytes > _MOST_BYTES and len(self._rows) > 1:
            _, old = self._rows.popitem(last=False)
            self._bytes -= old.nbytes
        return row

    def _read(self, pieces: _Pieces) -> FloatArray:
        """Go on from the longest beginning of a text that the model still knows."""
        known = max(self._states, key=lambda each: _common(each, pieces), default=())
        count = min(_common(known, pieces), len(pieces) - 1)  # the last is read for its logits
        state = self.model.start()
        if count:
            # What was read of another text stays as it is: it may be gone on with, too.
            state = self._states[known].copy()
            state.rewind(sum(map(len, pieces[:count])))
        for piece in pieces[count:]:
            logits = self.model.advance([state], [list(piece)])
        if count == len(known):
            self._states.pop(known, None)  # this one is the same, and longer
        self._states[pieces] = state
        while len(self._states) > _MOST_STATES:
            self._states.popitem(last=False)
        row: FloatArray = check_array(logits, "the model's logits")[0].copy()
        row.flags.writeable = False
        return row

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return self.model.encode(text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation, by the model's own template."""
        return self.model.chat(messages, tools)


def _common(one: _Pieces, other: _Pieces) -> int:
    """Return how many pieces two texts have in common, from the beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
