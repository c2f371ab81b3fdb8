"""A model that does as another, and writes a recording of it.

``run.npy`` is an array of shape (N, V) that anything can load. ``run.tokens.jsonl`` beside it has
one JSON object a line: first what the model is; then, in the order of the rows, the text that each
row came after, as ``[row, kept]`` (the first ``kept`` tokens of that row's text), the tokens after
those, and the CRC-32 of the row's bytes; in between, the prompts that were turned into tokens. Both
files grow as the run goes, so that one that is cut off keeps what it has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import Any, Self
from zlib import crc32

import numpy as np
from logitlab.arrays import FloatArray, check_array
from logitlab.checks import ParameterError, Seen, check_path
from logitlab.models.inputs import check_tokens, own_states
from logitlab.models.model import Message, Model, State, Tool, check_model
from logitlab.models.recording.texts import (
    FORMAT,
    PathState,
    TextTree,
    beside,
    conversation,
    prompt_key,
)

__all__ = ["Recorder"]


class _RecorderState(PathState):
    """The place in the recording, and the state of the model that is recorded."""

    def __init__(self, inner: State) -> None:
        super().__init__()
        self.inner = inner

    def rewind(self, length: int) -> None:
        super().rewind(length)
        self.inner.rewind(length)


class Recorder(Model):
    """A model that does as another, and writes down every row that it returns.

    The same text is written once, however often it is asked for.

    Parameters
    ----------
    model : Model
        The one that does the work.
    path : str or path
        A new file that ends in .npy. It grows in place, a row of V numbers for a text, and needs
        no memory; the texts go beside it.

    Raises
    ------
    ParameterError
        For a path that exists, or ends otherwise; from `advance`, after `close` or for a model
        that changes the shape or the dtype of its rows.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from logitlab import Vocabulary
    >>> from logitlab.models import Recorded
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/run.npy"
    >>> model = Recorded(np.eye(2), Vocabulary([b"a", b"b"]))
    >>> with Recorder(model, path) as recorder:
    ...     logits = recorder.advance([recorder.start()], [[0, 0, 1]])
    >>> np.load(path)
    array([[1., 0.]])
    >>> again = Recorded.open(path)
    >>> again.advance([again.start()], [[0, 0, 1]])
    array([[1., 0.]])
    >>> again.advance([again.start()], [[0, 1]])
    Traceback (most recent call last):
    logitlab.checks.ParameterError: tokens[0] must be tokens of a recorded text, got token 1 at
        position 1. Recorded there: 0.
    >>> folder.cleanup()
    """

    def __init__(self, model: Model, path: str | PathLike[str]) -> None:
        check_model(model, "path")
        file = check_path("path", path)
        if not file.parent.is_dir():
            raise ParameterError("path", "a file in an existing folder", str(path))
        texts = beside(file)
        for each in (file, texts):
            if each.exists():
                raise ParameterError("path", "a new file", str(each))
        self.model = model
        self.name = model.name
        self.vocabulary = model.vocabulary
        self.end_ids = model.end_ids
        self.context_length = model.context_length
        self._dtype = np.dtype(np.float32)
        self._texts = TextTree()
        self._prompts: set[str] = set()
        self._rows = file.open("xb")
        self._lines = texts.open("x", encoding="ascii", newline="\n")
        self._write_header()
        self._write(
            **FORMAT,
            name=self.name,
            context_length=self.context_length,
            end_ids=sorted(self.end_ids),
            special=sorted(self.vocabulary.special),
            vocabulary=[token.decode("latin-1") for token in self.vocabulary],
        )

    def close(self) -> None:
        """Close the files; what was written stays."""
        self._rows.close()
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> State:
        """Return the state of an empty text."""
        return _RecorderState(self.model.start())

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the logits of the model after them, as in `Model.advance`."""
        if self._rows.closed:
            raise ParameterError("recorder", "open", Seen("a closed one"))
        ids = check_tokens(states, tokens, len(self.vocabulary))
        both = own_states(states, _RecorderState)
        answer = self.model.advance([state.inner for state in both], ids)
        logits = check_array(answer, "the model's logits")
        self._check(logits, len(both))
        for state, new, row in zip(both, ids, logits, strict=True):
            self._record(state, new, row)
        return logits

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, and write them down."""
        return self._note(text, self.model.encode(text))

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation, and write them down."""
        return self._note(conversation(messages, tools), self.model.chat(messages, tools))

    def _note(self, prompt: object, tokens: list[int]) -> list[int]:
        key = prompt_key(prompt)
        if key not in self._prompts and not self._lines.closed:
            self._prompts.add(key)
            self._write(prompt=json.loads(key), tokens=[int(token) for token in tokens])
        return tokens

    def _check(self, logits: FloatArray, count: int) -> None:
        shape = count, len(self.vocabulary)
        if logits.shape != shape:
            raise ParameterError("logits", f"of shape {shape}", Seen(f"shape {logits.shape}"))
        if not self._texts.ends:
            self._dtype = logits.dtype
        if logits.dtype != self._dtype:
            seen = Seen(logits.dtype.name)
            raise ParameterError("logits", f"{self._dtype.name} as the rows before", seen)

    def _record(self, state: _RecorderState, new: list[int], logits: FloatArray) -> None:
        texts = self._texts
        nodes = texts.walk(state.place, new)
        node = nodes[-1] if nodes else state.place
        if len(nodes) < len(new) or texts.row[node] < 0:
            row = logits.tobytes()
            self._rows.seek(self._start + len(texts.ends) * len(row))
            self._rows.write(row)
            rest = new[len(nodes) :]
            after = [texts.origin[node], texts.depth[node]]
            nodes += texts.add(node, rest)
            self._write_header()
            self._write(after=after, tokens=rest, crc32=crc32(row))
        state.read(new)
        state.places += nodes

    def _write_header(self) -> None:
        """Say how many rows there are: numpy leaves room for any number of them."""
        shape = len(self._texts.ends), len(self.vocabulary)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        self._rows.seek(0)
        np.lib.format.write_array_header_1_0(self._rows, header)
        self._start = self._rows.tell()
        self._rows.flush()

    def _write(self, **line: Any) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
