"""Prompts: text, token ids or chat messages, become token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Range, Seen, plain_array
from logitlab.foreign import is_array
from logitlab.models.model import Message, Model, Tool

__all__ = ["Prompt", "are_prompts", "prompt_ids"]

Prompt: TypeAlias = "str | Sequence[int] | IntArray | Sequence[Message]"


def are_prompts(prompt: object) -> bool:
    """Whether it is a list of prompts: not a text, token ids, or messages."""
    if is_array(prompt):
        return len(getattr(prompt, "shape", ())) > 1
    if not isinstance(prompt, Sequence) or isinstance(prompt, str | bytes) or not prompt:
        return False
    first = prompt[0]
    if is_array(first):
        return len(getattr(first, "shape", (1,))) > 0
    return isinstance(first, Sequence) and not isinstance(first, bytes)


def prompt_ids(model: Model, prompt: Any, tools: Sequence[Tool] = ()) -> IntArray:
    """Return the token ids of one prompt that leaves room for an answer, or raise."""
    if is_array(prompt) and len(getattr(prompt, "shape", (1,))) > 0:
        prompt = plain_array("prompt", prompt, "token ids")
    is_ids = isinstance(prompt, np.ndarray) and prompt.ndim > 0
    is_prompt = is_ids or (isinstance(prompt, str | Sequence) and not isinstance(prompt, bytes))
    if not is_prompt or not len(prompt):
        raise ParameterError("prompt", "a text, token ids or chat messages, not empty", prompt)
    if isinstance(prompt, str):
        tokens: Any = model.encode(prompt)
    elif isinstance(prompt[0], Mapping):
        tokens = model.chat(list(prompt), tools)
    else:
        tokens = prompt
    ids: IntArray = Range(0, len(model.vocabulary) - 1, integer=True).check("prompt", tokens)
    if ids.ndim != 1 or not ids.size:
        rule = "one sequence of token ids, not empty"
        raise ParameterError("prompt", rule, Seen(f"shape {ids.shape}"))
    length = model.context_length
    if length is not None and len(ids) >= length:
        rule = f"shorter than the context of {length} tokens"
        raise ParameterError("prompt", rule, Seen(f"{len(ids)} tokens"))
    return ids
