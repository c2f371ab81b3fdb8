"""What engines' own samplers, called one by one, left of small rows: 314 worked examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import Context, softmax
from logitlab.arrays import FloatArray

__all__ = ["COMPARED", "EXAMPLES", "chosen_by", "close", "context_of", "examples", "row_of"]

EXAMPLES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "engines" / "sampler_examples.json").read_text("utf-8")
)


COMPARED: set[int] = set()
"""Places of those that a test has chosen: ``engines/test_sampler_examples.py`` counts them."""


def chosen_by(wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the examples that a test compares with, and note that it does."""
    places = [i for i, example in enumerate(EXAMPLES) if wanted(example)]
    COMPARED.update(places)
    return [EXAMPLES[i] for i in places]


def examples(engine: str, *samplers: str, count: int) -> pytest.MarkDecorator:
    """Parametrise by the examples of samplers, of which there are so many."""
    chosen = chosen_by(lambda e: e["engine"].startswith(engine) and e["sampler"] in samplers)
    assert len(chosen) == count
    return pytest.mark.parametrize("example", chosen, ids=lambda e: str(list(e["params"].values())))


def row_of(example: dict[str, Any]) -> FloatArray:
    """Return the logits, in the float32 of the engines."""
    return np.array([-np.inf if x is None else x for x in example["logits"]], np.float32)


def context_of(example: dict[str, Any]) -> Context:
    """Return the tokens so far; a history is all prompt."""
    known = example.get("context", example.get("history", ()))
    return Context(known["prompt"], known["output"]) if isinstance(known, dict) else Context(known)


def close(left: FloatArray, example: dict[str, Any]) -> None:
    """Compare what is left with what the engine left: the same survivors, and probabilities."""
    answer: Any = example.get("answer")
    if example.get("answer_is", "").startswith("logits"):
        expected = np.array([-np.inf if x is None else x for x in answer])
        np.testing.assert_allclose(left, expected, rtol=1e-6, atol=2e-6)
        return
    expected = np.array(example["probs"] if answer is None else answer)
    np.testing.assert_allclose(softmax(left), expected, atol=1.1e-6)
    if "kept_ids" in example:
        assert np.flatnonzero(left > -np.inf).tolist() == sorted(example["kept_ids"])
        written = left[example["kept_ids"]]
        after = [x for x in example["logits_after"] if x is not None]
        np.testing.assert_allclose(written, after, rtol=1e-6, atol=1e-6)
