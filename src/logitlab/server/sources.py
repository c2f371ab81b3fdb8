"""Rows of logits for the page: a bundled prompt, a text, pasted lines, a dropped file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from logitlab import datasets
from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError, Range, Seen, check_integer, plain_array
from logitlab.generation.prompts import prompt_ids
from logitlab.models.model import Model
from logitlab.numerics import widened
from logitlab.steps.context import Context
from logitlab.vocabulary import Vocabulary

__all__ = ["Row", "Sources", "text_of"]

_KINDS = ("prompt", "text", "lines", "file")
_KEPT = 16  # rows of each kind that are remembered
_MOST_LINES = 1 << 18


@dataclass(frozen=True, eq=False)
class Row:
    """One row of logits, checked, and what is known of it.

    Attributes
    ----------
    logits : ndarray of float32 or float64, shape (V,)
        Read-only.
    context : Context
        The tokens before it; none where nothing is known of them.
    vocabulary : Vocabulary or None
    title : str
        What it is, in a few words.
    text : str or None
        What stands before the token, where that is a text.
    """

    logits: FloatArray
    context: Context
    vocabulary: Vocabulary | None
    title: str
    text: str | None

    @cached_property
    def order(self) -> IntArray:
        """The tokens, most likely first, the lower id first among equal ones: sorted once."""
        order: IntArray = np.argsort(-self.logits, kind="stable")
        return order

    def label(self, token: int) -> str:
        """Return a token as something the eye can tell apart."""
        if self.vocabulary is None or token >= len(self.vocabulary):
            return f"#{token}"
        return self.vocabulary.label(token)

    def named(self, token: int) -> dict[str, Any]:
        """Return a token as the page takes it."""
        return {"id": token, "label": self.label(token)}


class Sources:
    """Finds the row that a body means, and remembers the last ones.

    Parameters
    ----------
    model : Model
        Which reads texts of one's own.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._rows: OrderedDict[tuple[str, Any], Row] = OrderedDict()
        self._files: OrderedDict[str, FloatArray] = OrderedDict()
        self._lock = Lock()

    def row(self, source: Any) -> Row:
        """Return the row of ``{"prompt": 3}``, ``{"text": …}``, ``{"lines": …}``, ``{"file": …}``.

        Raises
        ------
        ParameterError
            For any other source, or one that holds no logits.
        """
        kind, value = _kind_of(source)
        place = source.get("row", 0) if kind == "file" else None
        try:
            key = kind, (value, place)
            with self._lock:
                known = self._rows.get(key)
        except TypeError:  # no text and no number: what reads it says so
            key, known = None, None
        if known is None:
            known = self._made(kind, value, place)
            known.logits.flags.writeable = False
        if key is not None:
            with self._lock:
                self._rows[key] = known
                self._rows.move_to_end(key)
                _forget(self._rows)
        return known

    def keep(self, encoded: Any) -> dict[str, Any]:
        """Keep the rows of a ``.npy``, as base64, and return the source that names them.

        Examples
        --------
        >>> from logitlab.models import NGram
        >>> buffer = io.BytesIO()
        >>> np.save(buffer, np.array([[2.0, 1.0], [0.0, 0.0]]))
        >>> Sources(NGram.bundled()).keep(base64.b64encode(buffer.getvalue()).decode())["rows"]
        2
        """
        if not isinstance(encoded, str):
            raise ParameterError("file", "the bytes of a .npy, as base64", encoded)
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ParameterError("file", "the bytes of a .npy, as base64", encoded) from None
        logits = widened(check_logits(_array_of(data), "file"))
        rows = logits.reshape(-1, logits.shape[-1])
        name = hashlib.sha256(data).hexdigest()[:32]
        with self._lock:
            self._files[name] = rows
            _forget(self._files)
        return {"file": name, "rows": len(rows), "vocabulary_size": rows.shape[1]}

    def _made(self, kind: str, value: Any, place: Any) -> Row:
        if kind == "prompt":
            recorded = datasets.load()
            last = Range(0, len(recorded) - 1, integer=True)
            i = check_integer("prompt", value, last)
            context, words = Context(recorded.prompt_ids[i]), recorded.vocabulary
            title = f"prompt {i}, {recorded.kinds[i]}, as SmolLM2-135M-Instruct goes on"
            return Row(recorded.logits[i].view(), context, words, title, recorded.prompts[i])
        if kind == "text":
            if not isinstance(value, str):
                raise ParameterError("text", "a text", value)
            ids = np.array(_ids(self.model, value))
            logits = self.model.advance([self.model.start()], [ids.tolist()])[0]
            row = widened(check_logits(logits)).copy()
            title = f"a text of {len(ids)} tokens, as {self.model.name} goes on"
            return Row(row, Context(ids), self.model.vocabulary, title, value)
        if kind == "lines":
            logits, words = _lines(value)
            return Row(logits, Context(), words, f"{len(logits)} tokens as pasted", None)
        with self._lock:
            rows = self._files.get(value) if isinstance(value, str) else None
        if rows is None:
            raise ParameterError("file", "one that was dropped here", value, "Drop it once more.")
        i = check_integer("row", place, Range(0, len(rows) - 1, integer=True))
        title = f"row {i} of {len(rows)} in the file, {rows.shape[1]} tokens"
        return Row(check_logits(rows[i]).copy(), Context(), None, title, None)


def _ids(model: Model, text: str) -> IntArray:
    try:
        return prompt_ids(model, text)
    except ParameterError as error:
        raise ParameterError("text", error.rule, error.value, error.hint) from None


def _kind_of(source: Any) -> tuple[str, Any]:
    kinds = [kind for kind in _KINDS if kind in source] if isinstance(source, Mapping) else []
    if len(kinds) != 1:
        raise ParameterError("source", f"a map with one of {', '.join(_KINDS)}", source)
    return kinds[0], source[kinds[0]]


def text_of(source: Any) -> str:
    """Return the text that a model can go on from: of a bundled prompt, or one's own.

    Examples
    --------
    >>> text_of({"prompt": 0})
    'The capital of France is'
    """
    kind, value = _kind_of(source)
    if kind == "prompt":
        prompts = datasets.load().prompts
        return prompts[check_integer("prompt", value, Range(0, len(prompts) - 1, integer=True))]
    if kind == "text" and isinstance(value, str):
        return value
    hint = "A row of logits says nothing of the token after the next."
    raise ParameterError("source", "a text or a bundled prompt, to write on", source, hint)


def _forget(known: OrderedDict[Any, Any]) -> None:
    while len(known) > _KEPT:
        known.popitem(last=False)


def _array_of(data: bytes) -> Any:
    """Return the array of a .npy of floats, whose header is believed where the bytes are there.

    `numpy.load` would make room first for whatever the header says.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read(stream)
    except (ValueError, KeyError, EOFError):
        raise ParameterError("file", "a .npy of numpy", Seen("other bytes")) from None
    if dtype.hasobject or dtype.kind != "f":
        raise ParameterError("file", "of floats", Seen(f"dtype {dtype}"))
    count, rest = math.prod(shape), data[stream.tell() :]
    if count * dtype.itemsize != len(rest) or not count or not shape:
        rule = "a whole .npy with rows of logits"
        raise ParameterError("file", rule, Seen(f"shape {shape} and {len(rest)} bytes"))
    array = np.frombuffer(rest, dtype).reshape(shape[::-1] if is_fortran else shape)
    array = array.T if is_fortran else array
    return plain_array("file", array.astype(dtype.newbyteorder("=")), "logits")


def _lines(text: Any) -> tuple[FloatArray, Vocabulary]:
    """Return the logits and tokens of lines such as ``␣king: 2.5``."""
    if not isinstance(text, str):
        raise ParameterError("lines", "lines of token: logit", text)
    numbered = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not 0 < len(numbered) <= _MOST_LINES:
        rule = f"1 to {_MOST_LINES} lines of token: logit"
        raise ParameterError("lines", rule, Seen(f"{len(numbered)} lines"))
    tokens, logits = [], []
    for i, line in numbered:
        token, colon, number = line.rpartition(":")
        try:
            if not colon or "_" in number:
                raise ValueError
            logits.append(float(number))
        except ValueError:
            raise ParameterError(f"line {i}", "token: logit", line) from None
        tokens.append(token.strip().replace("␣", " ").encode("utf-8", "replace"))
    return check_logits(np.array(logits), "lines"), Vocabulary(tokens)
