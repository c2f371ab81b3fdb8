"""How many functions of the package a call enters, and in how many files: what its paths cost.

Run ``python benchmarks/entered.py``. Counted are different functions, methods, lambdas and
comprehensions of our own, by `sys.setprofile`, in the second of two calls. A limit that is missed
is told, and makes the exit status 1.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import logitlab as ll

import report

HOUSE = Path(ll.__file__).parent
ROWS = ll.datasets.load("smollm2").logits
PARAMS = ll.SamplingParams(temperature=0.8, top_p=0.9, seed=7)
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "tale",
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["wishes"],
            "properties": {"wishes": {"type": "integer"}},
        },
    },
}


def main() -> int:
    report.options(__doc__).parse_args()  # it is quick as it is
    model = ll.models.NGram.bundled()
    # What is called, and at most how many functions and files it is to enter.
    calls: dict[str, tuple[Callable[[], Any], int, int]] = {
        "top_k(row, 40)": (lambda: ll.top_k(ROWS[0], 40), 10, 3),
        "sample(row, params)": (lambda: ll.sample(ROWS[0], PARAMS), 60, 12),
        "generate, one token, a schema": (
            lambda: ll.generate(model, "Once", response_format=FORM, max_tokens=1, seed=1),
            150,
            26,
        ),
        "compare_engines, nine engines": (lambda: ll.compare_engines(ROWS[0], PARAMS), 90, 16),
    }
    missed = 0
    for name, (call, functions, files) in calls.items():
        call()
        met = entered(call)
        places = {file for file, *_ in met}
        good = len(met) <= functions and len(places) <= files
        missed += not good
        word = "" if good else "  MISSED"
        print(f"{name:32} {len(met):4} functions (at most {functions})"
              f"  {len(places):3} files (at most {files}){word}")  # fmt: skip
    print(f"{statements()} statements in {sum(1 for _ in HOUSE.rglob('*.py'))} files")
    return int(bool(missed))


def entered(call: Callable[[], Any]) -> set[tuple[str, int, str]]:
    """Return the functions of the package that a call enters: file, line, name."""
    met: set[tuple[str, int, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(HOUSE) + os.sep):
            met.add((code.co_filename, code.co_firstlineno, code.co_qualname))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return met


def statements() -> int:
    """Return how many statements the package has, docstrings left out."""
    trees = (ast.parse(file.read_text("utf-8")) for file in HOUSE.rglob("*.py"))
    every = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.stmt))
    return sum(1 for node in every if not _is_text(node))


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


if __name__ == "__main__":
    sys.exit(main())
