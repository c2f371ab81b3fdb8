"""Recorded logits as a model: a plain array step by step, or a run of `Recorder` by its texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self
from zlib import crc32

import numpy as np
from logitlab.arrays import FloatArray, check_array
from logitlab.checks import ParameterError, Range, Seen, check_integer, check_path
from logitlab.models.inputs import check_tokens, own_states
from logitlab.models.model import Message, Model, State, Tool
from logitlab.models.recording.files import open_logits
from logitlab.models.recording.texts import (
    FORMAT,
    PathState,
    TextTree,
    beside,
    conversation,
    prompt_key,
)
from logitlab.vocabulary import Vocabulary
from numpy.typing import ArrayLike

__all__ = ["Recorded"]

_DAMAGE = "The file is damaged, or belongs to another run."
_ABOUT = ("vocabulary", "special", "end_ids", "context_length", "name")


class Recorded(Model):
    """Recorded logits as a model: row t at step t, whatever tokens are fed.

    The first advance of a text returns row 0. `Recorded.open` plays a run of `Recorder`, which
    knows its texts.

    Parameters
    ----------
    logits : array_like of float, shape (N, V), or path of a file of one
        Of any format of `read_logits`. A .npy file stays on the disk: only the rows that are asked
        for are read.
    vocabulary : Vocabulary
        The V tokens.
    end_ids : iterable of int
        Tokens that end a text.
    context_length : int, optional
        Most tokens of a text: N more than the prompt has, where that is known. Without it a step
        after the last row raises.
    name : str

    Raises
    ------
    ParameterError
        For a file that is no such array, and for sizes that do not fit.

    Examples
    --------
    >>> model = Recorded([[0.0, 1.0], [2.0, 0.0]], Vocabulary([b"a", b"b"]))
    >>> state = model.start()
    >>> model.advance([state], [[0, 0, 1]])
    array([[0., 1.]])
    >>> branch = state.copy()
    >>> model.advance([state, branch], [[1], [0]])
    array([[2., 0.],
           [2., 0.]])
    >>> model.advance([state], [[1]])
    Traceback (most recent call last):
    logitlab.checks.ParameterError: tokens[0] must be within the 2 recorded steps, got step 3.
    """

    def __init__(
        self,
        logits: ArrayLike | str | PathLike[str],
        vocabulary: Vocabulary,
        *,
        end_ids: Iterable[int] = (),
        context_length: int | None = None,
        name: str = "recorded",
    ) -> None:
        self._logits = _row_array(logits)
        if not isinstance(vocabulary, Vocabulary):
            raise ParameterError("vocabulary", "a Vocabulary", vocabulary)
        if not isinstance(end_ids, Iterable) or isinstance(end_ids, str | bytes | np.ndarray):
            raise ParameterError("end_ids", "token ids", end_ids)
        if not isinstance(name, str):
            raise ParameterError("name", "a text", name)
        columns = self._logits.shape[1]
        if len(vocabulary) != columns:
            rule = f"of {columns} tokens, as many as the logits have columns"
            raise ParameterError("vocabulary", rule, vocabulary)
        if context_length is not None:
            length = Range(1, integer=True)
            context_length = check_integer("context_length", context_length, length)
        column = Range(0, columns - 1, integer=True)
        self.name = name
        self.vocabulary = vocabulary
        self.end_ids = frozenset(check_integer("end_ids", i, column) for i in end_ids)
        self.context_length = context_length
        self._texts: TextTree | None = None  # without texts, row t is that of step t
        self._sums: list[int] = []
        self._prompts: dict[str, list[int]] = {}

    @property
    def logits(self) -> FloatArray:
        """The recorded rows, shape (N, V), in the order in which they were recorded."""
        return self._logits[: len(self._sums)] if self._sums else self._logits

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """Open a run of `Recorder`: the rows are a function of the tokens, as in the original.

        Texts can be fed in any order, copied and rewound, and prompts that were recorded are
        encoded. A text that strays from all recorded ones raises `ParameterError`.

        Parameters
        ----------
        path : str or path
            The .npy file, its texts beside it. What a cut off run has left is enough.

        Raises
        ------
        ParameterError
            For files that are missing, damaged, or of different runs.
        """
        path = check_path("path", path)
        lines = _text_lines(path)
        about = _about_model(path, next(lines, {}))
        tokens = (token.encode("latin-1") for token in about.pop("vocabulary"))
        model = cls(path, Vocabulary(tokens, about.pop("special")), **about)
        model._texts = TextTree()
        for number, line in enumerate(lines, 2):
            try:
                model._remember(model._texts, line)
            except (KeyError, TypeError, ValueError, IndexError):
                raise _damage(path, number) from None
        if len(model._sums) > len(model._logits):
            seen = Seen(f"{len(model._logits)} rows and texts for {len(model._sums)}")
            raise ParameterError("path", "two files of the same run", seen)
        if model._sums:
            model._row(len(model._sums) - 1)  # of the same run at all?
        return model

    def _remember(self, texts: TextTree, line: dict[str, Any]) -> None:
        tokens = check_tokens([State()], [line["tokens"] or [0]], len(self.vocabulary))[0]
        if "prompt" in line:
            self._prompts[prompt_key(line["prompt"])] = list(line["tokens"])
            return
        row, kept = line["after"]
        check_integer("row", row, Range(-1, len(texts.ends) - 1))
        check_integer("kept", kept, Range(0, texts.depth[texts.ends[row]] if row >= 0 else 0))
        texts.add(texts.before(row, kept), tokens if line["tokens"] else [])
        self._sums.append(int(line["crc32"]))

    def start(self) -> State:
        """Return the state of an empty text."""
        return PathState()

    def advance(self, states: Sequence[State], tokens: Sequence[Sequence[int]]) -> FloatArray:
        """Read tokens, and return the recorded logits after them, as in `Model.advance`.

        Raises
        ------
        ParameterError
            For a text that was not recorded, or a step after the last one.
        """
        ids = check_tokens(states, tokens, len(self.vocabulary), self.context_length)
        texts = list(zip(own_states(states, PathState), ids, strict=True))
        steps = [self._find(f"tokens[{i}]", state, new) for i, (state, new) in enumerate(texts)]
        rows = [self._row(row) for row, _ in steps]
        for (state, new), (_, places) in zip(texts, steps, strict=True):
            state.read(new)
            state.places += places
        return np.stack(rows) if rows else np.empty((0, len(self.vocabulary)), np.float32)

    def _find(self, name: str, state: PathState, new: list[int]) -> tuple[int, list[int]]:
        """Return the row after new tokens, and the places along them."""
        if self._texts is None:
            step, steps = state.place, len(self._logits)
            if step >= steps:
                seen = Seen(f"step {step + 1}")
                raise ParameterError(name, f"within the {steps} recorded steps", seen)
            return step, [step] * (len(new) - 1) + [step + 1]
        nodes = self._texts.walk(state.place, new)
        position = len(state.tokens) + len(nodes)
        node = nodes[-1] if nodes else state.place
        if len(nodes) < len(new):
            seen = Seen(f"token {new[len(nodes)]} at position {position}")
            known = ", ".join(map(str, self._texts.branches(node)[:5]))
            hint = f"Recorded there: {known}." if known else "No recorded text goes on there."
            raise ParameterError(name, "tokens of a recorded text", seen, hint)
        row = self._texts.row[node]
        if row < 0:
            hint = "It was read in one go together with the tokens after it."
            seen = Seen(f"the first {position} tokens of one")
            raise ParameterError(name, "up to where a recorded step ended", seen, hint)
        return row, nodes

    def _row(self, row: int) -> FloatArray:
        logits: FloatArray = np.array(self._logits[row])
        if self._sums and crc32(logits.tobytes()) != self._sums[row]:
            seen = Seen(f"other bytes in row {row}")
            raise ParameterError("logits", "as they were recorded", seen, _DAMAGE)
        return logits.astype(np.promote_types(logits.dtype, np.float32), copy=False)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a prompt that was encoded in the recorded run."""
        return self._recall("prompt", text) if self._prompts else super().encode(text)

    def chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the token ids of a conversation of the recorded run."""
        prompt = conversation(messages, tools)
        return self._recall("messages", prompt) if self._prompts else super().chat(messages, tools)

    def _recall(self, name: str, prompt: object) -> list[int]:
        key = prompt_key(prompt)
        if key not in self._prompts:
            raise ParameterError(name, "one that was encoded in this recording", prompt)
        return list(self._prompts[key])


def _row_array(logits: ArrayLike | str | PathLike[str]) -> FloatArray:
    """Return the rows, shape (N, V), of an array or a file."""
    array = (
        open_logits(logits, name_key=None)
        if isinstance(logits, str | PathLike)
        else check_array(logits)
    )
    if array.ndim != 2:
        raise ParameterError("logits", "of shape (N, V)", Seen(f"shape {array.shape}"))
    return array


def _text_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines beside a recording."""
    file = beside(path)
    if not file.is_file():
        hint = "Recorded(path, vocabulary) plays the rows of a plain array one after the other."
        rule = f"a recording, with its texts in {file.name} beside it"
        raise ParameterError("path", rule, str(path), hint)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return  # the run was cut off here
            try:
                content = json.loads(line)
            except ValueError:
                content = None
            if not isinstance(content, dict):
                raise _damage(path, number)
            yield content


def _about_model(path: Path, line: dict[str, Any]) -> dict[str, Any]:
    """Return what the first line says of the model."""
    try:
        "".join(line["vocabulary"]).encode("latin-1")
        about = {key: line[key] for key in _ABOUT}
    except (KeyError, TypeError, ValueError):
        about = {}
    if not about or not line.items() >= FORMAT.items():
        raise _damage(path, 1)
    return about


def _damage(path: Path, line: int) -> ParameterError:
    rule = f"as Recorder writes it, {FORMAT['format']!r} of version {FORMAT['version']}"
    seen = Seen(f"something else in line {line}")
    return ParameterError(beside(path).name, rule, seen, _DAMAGE)
