"""The worked examples: what engines' own code answered, one sampler at a time."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from logitlab import Context


@cache
def _all() -> tuple[dict[str, Any], ...]:
    file = Path(__file__).parent / "engines" / "sampler_examples.json"
    return tuple(json.loads(file.read_text()))


def examples(engine: str, sampler: str) -> list[dict[str, Any]]:
    """Those of a sampler of an engine, by the beginnings of their names, one at least."""
    found = [
        each
        for each in _all()
        if each["engine"].startswith(engine) and each["sampler"].startswith(sampler)
    ]
    assert found
    return found


def answer_of(example: dict[str, Any]) -> np.ndarray[Any, Any]:
    """What the engine answered, -inf for null."""
    return np.array([-np.inf if x is None else x for x in example["answer"]])


def context_of(example: dict[str, Any]) -> Context:
    """The tokens before: a list is a prompt."""
    given = example.get("context", [])
    return Context(**given) if isinstance(given, dict) else Context(prompt=given)
