"""Bounds admit no number that a reader of floats takes for one outside."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft4Validator, Draft202012Validator
from logitlab.constraints import JsonSchema

from constraints.shapes import DRAFT_4
from constraints.writing import accepts

ENDS = [
    *(0, 1, -1, 100, 2.5, -0.5, 0.1, 1e-7, 1.5e-20, 1e-100, 5e-324, 12345.678901234567, 2**53),
    *(10**12, 10**13, 10**15, -(10**15), 0.30000000000000004),
]


def near(end: float) -> list[str]:
    """Return spellings of numbers at an end and about it, far beyond the digits of a float."""
    whole, point, places = format(end, ".40f").partition(".")
    texts = [f"{whole}{point}{places}{'0' * 300}1", f"{whole}.{'0' * 330}1", f"{whole}.05"]
    texts += [f"{int(end) + step}" for step in (-1, 0, 1)]
    texts += [f"{end - math.ulp(end) / 2:.40f}", f"{end + math.ulp(end) / 2:.40f}"]
    for digit in "09":
        texts += [f"{int(end) - 1}.{digit * count}5" for count in (3, 16, 40)]
        texts += [f"{int(end)}.{digit * count}5" for count in (3, 16, 40)]
    return [text.removeprefix("+") for text in texts]


@pytest.mark.parametrize("end", ENDS)
def test_no_text_beyond_an_end_is_accepted(end: float) -> None:
    schemas: list[dict[str, Any]] = [
        *({"type": "number", key: end} for key in ("minimum", "maximum")),
        *({"type": "number", f"exclusive{key}": end} for key in ("Minimum", "Maximum")),
        {"type": "number", "not": {"const": end}},
        {"type": "number", "not": {"minimum": end}},
        {"$schema": DRAFT_4, "type": "number", "minimum": end, "exclusiveMinimum": True},
    ]
    for schema in schemas:
        constraint = JsonSchema(schema)
        draft = Draft4Validator if "$schema" in schema else Draft202012Validator
        taken = [text for text in near(end) if accepts(constraint, text)]
        assert [t for t in taken if not draft(schema).is_valid(json.loads(t))] == []
        assert any(accepts(constraint, str(int(end) + step)) for step in (-(10**8), 10**8))


@pytest.mark.parametrize("end", [0, 1, 2.5, -3, 10**12, 10**15])
def test_whole_numbers_next_to_an_open_end_are_taken(end: float) -> None:
    above = JsonSchema({"type": "number", "exclusiveMinimum": end})
    below = JsonSchema({"type": "number", "exclusiveMaximum": end})
    assert accepts(above, str(math.floor(end) + 1))
    assert accepts(below, str(math.ceil(end) - 1))


def test_ends_that_are_close_together() -> None:
    for low, high, inside in ((1, 1.5, "1.25"), (-0.5, 0, "-0.25"), (0, 1, "0.5")):
        constraint = JsonSchema(
            {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}
        )
        assert accepts(constraint, inside)
        assert not accepts(constraint, str(low))
        assert not accepts(constraint, str(high))
    assert accepts(JsonSchema({"type": "number", "not": {"enum": [1, 1.5]}}), "1.25")


def test_numbers_of_numpy_are_numbers() -> None:
    constraint = JsonSchema({"type": "number", "minimum": np.float64(0.12345678901234567)})
    assert accepts(constraint, "0.2")
    assert not accepts(constraint, "0.1")
    assert accepts(JsonSchema({"type": "number", "multipleOf": np.float64(0.1)}), "0.3")
