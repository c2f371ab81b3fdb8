"""A text that is to be scored, as token ids after a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Range, Seen
from logitlab.engines.rules import Note
from logitlab.foreign import is_array
from logitlab.generation.prompts import prompt_ids
from logitlab.models.model import Model

__all__ = ["Written", "written"]


@dataclass(frozen=True, eq=False)
class Written:
    """A text and what comes before it.

    Attributes
    ----------
    prompt : ndarray of int64, shape (P,)
    tokens : ndarray of int64, shape (T,)
    notes : tuple of Note
        Where its tokens are not what might be expected.
    """

    prompt: IntArray
    tokens: IntArray
    notes: tuple[Note, ...]


def written(
    model: Model, text: Any, prompt: Any, tools: Sequence[Mapping[str, Any]], end: bool
) -> Written:
    """Return a text as token ids, or raise for what cannot be scored.

    Parameters
    ----------
    model : Model
    text : str or token ids
    prompt : as of `generate`, or None
    tools : sequence of mapping
        What a chat template is told of.
    end : bool
        Whether the end token comes after it.
    """
    notes: list[Note] = []
    first = _beginning(model)
    before = np.array(first, np.int64) if prompt is None else prompt_ids(model, prompt, tools)
    if isinstance(text, str):
        ids = _encoded(model, text, prompt, before, first, notes)
        _tell_other_bytes(model, text, ids, notes)
    else:
        ids = _given(model, text)
        if prompt is None:
            ids = _without(ids, first)
        _tell_other_split(model, ids, prompt, before, first, notes)
    if end:
        ids = [*ids, _end_token(model)]
    if not len(before):
        if len(ids) < 2:
            rule = f"given for a single token: texts of {model.name} have no token to begin with"
            raise ParameterError("prompt", rule, prompt)
        before, ids = np.array(ids[:1]), ids[1:]
        label = model.vocabulary.label(int(before[0]))
        sentence = f"The first token, {label}, is the prompt and not scored: nothing is before it."
        notes.append(Note("prompt", "default", sentence))
    length = model.context_length
    if length is not None and len(before) + len(ids) > length:
        rule = f"within the context of {length} tokens, {len(before)} of them before it"
        raise ParameterError("text", rule, Seen(f"{len(ids)} tokens"))
    return Written(before, np.array(ids, np.int64), tuple(notes))


def _beginning(model: Model) -> list[int]:
    """Return the tokens that come first in every text of a model."""
    try:
        return [int(token) for token in model.encode("")]
    except ParameterError:  # no tokenizer, or a recording of other texts
        return []


def _given(model: Model, text: Any) -> list[int]:
    """Return the token ids that a caller gave."""
    rule = "a text, or token ids, not empty"
    if not (is_array(text) or (isinstance(text, Sequence) and not isinstance(text, bytes))):
        raise ParameterError("text", rule, text)
    ids = Range(0, len(model.vocabulary) - 1, integer=True).check("text", text)
    if ids.ndim != 1:
        raise ParameterError("text", "one sequence of token ids", Seen(f"shape {ids.shape}"))
    if not ids.size:
        raise ParameterError("text", rule, text)
    return [int(token) for token in ids]


def _encoded(
    model: Model,
    text: str,
    prompt: Any,
    before: IntArray,
    first: Sequence[int],
    notes: list[Note],
) -> list[int]:
    """Return the token ids of a text as what follows its prompt."""
    if not text:
        raise ParameterError("text", "a text, or token ids, not empty", text)
    joined = _joined(model, text, prompt, before)
    if joined is not None:
        return joined
    ids = _without(_encode(model, text), first)
    if isinstance(prompt, str):
        sentence = "Prompt and text are split apart: together the tokenizer splits them otherwise."
        notes.append(Note("text", "beside", sentence))
    return ids


def _joined(model: Model, text: str, prompt: Any, before: IntArray) -> list[int] | None:
    """Return what comes after the prompt's tokens in those of both together, if these are there."""
    if not isinstance(prompt, str):
        return None
    try:
        both = _encode(model, prompt + text)
    except ParameterError:  # a recording that knows the text alone
        return None
    rest = both[len(before) :]
    return rest if rest and both[: len(before)] == before.tolist() else None


def _encode(model: Model, text: str) -> list[int]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        seen = Seen(f"the lone surrogate {error.object[error.start]!r}")
        raise ParameterError("text", "a text that UTF-8 can spell", seen) from None
    try:
        return [int(token) for token in model.encode(text)]
    except ParameterError as error:
        raise ParameterError("text", error.rule, error.value, error.hint) from None


def _without(ids: list[int], first: Sequence[int]) -> list[int]:
    """Return token ids without those that begin every text, if others are left."""
    has_both = first and len(ids) > len(first) and ids[: len(first)] == list(first)
    return ids[len(first) :] if has_both else ids


def _end_token(model: Model) -> int:
    if len(model.end_ids) != 1:
        rule = f"False where {model.name} has {len(model.end_ids)} end tokens"
        hint = "Score token ids, with the one that is meant among them."
        raise ParameterError("end", rule, True, hint if model.end_ids else "")
    return next(iter(model.end_ids))


def _tell_other_bytes(model: Model, text: str, ids: Sequence[int], notes: list[Note]) -> None:
    """Tell where the tokens spell something else: tokenizers lose what they do not know."""
    spelled = b"".join(model.vocabulary[token] for token in ids)
    if spelled != text.encode():
        shown = spelled.decode("utf-8", "replace")
        sentence = f"The tokenizer of {model.name} spells it {shown!r}, and that is scored."
        notes.append(Note("text", "changed", sentence))


def _tell_other_split(
    model: Model,
    ids: Sequence[int],
    prompt: Any,
    before: IntArray,
    first: Sequence[int],
    notes: list[Note],
) -> None:
    """Tell where the tokenizer would split the text of given tokens otherwise."""
    vocabulary = model.vocabulary
    if not vocabulary.special.isdisjoint(ids):
        return
    try:
        text = vocabulary.decode(ids, errors="strict")
        usual = _joined(model, text, prompt, before) or _without(_encode(model, text), first)
    except (ParameterError, UnicodeDecodeError):
        return
    if usual != list(ids):
        sentence = f"The tokenizer would split the text into {len(usual)} tokens, not these "
        notes.append(Note("text", "beside", f"{sentence}{len(ids)}, which are scored as they are."))
