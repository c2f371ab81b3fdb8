"""Cost of a constraint: milliseconds a token that its mask takes, for 49 152 tokens.

Run ``python benchmarks/masks.py``; it writes ``results/masks.md``. A step asks for the mask,
removes the other logits and appends a random token of those that are left, which tends to be dear:
a model's own texts stay where masks are cheap. The target is 0.2 ms for the mask and its
application together, on average. The last column is that without the compiled kernels.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from logitlab import datasets, kernels
from logitlab.constraints import Choice, Constraint, JsonObject, JsonSchema, Regex, Tools, remove
from logitlab.constraints.compiled import compiled_for

import report
from comparison import judged

Rows = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

TARGET = 0.2
STEPS = 600
END = 2

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 5},
    },
    "required": ["name", "age", "email", "tags"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "label": {"type": "string", "pattern": "^[a-z]{1,12}$"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3},
            },
            "required": ["label", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
TOOL = [{"type": "function", "function": {"name": "add_person", "parameters": PERSON}}]
CONSTRAINTS: dict[str, Constraint] = {
    "JSON object": JsonObject(),
    "person: keys, texts, ranges, email": JsonSchema(PERSON),
    "tree: recursion, pattern": JsonSchema(TREE),
    "enum of 1000": JsonSchema({"enum": [f"value {i}" for i in range(1000)]}),
    "formats": JsonSchema({"type": "array", "items": {"type": "string", "format": "date-time"}}),
    "regular expression": Regex(r"(\w+[ ,;]){3,200}\d{4}-\d{2}"),
    "choice": Choice(["positive", "neutral", "negative"]),
    "tools, auto": Tools(TOOL),
    "tools, required": Tools(TOOL, "required"),
}


def costs(constraint: Constraint, logits: Rows, steps: int) -> tuple[float, list[str]]:
    """Return the mean of mask and application, and the cells of one constraint."""
    vocabulary = datasets.load("smollm2").vocabulary
    start = time.perf_counter()
    first = constraint.start(vocabulary, [END])
    compiled = time.perf_counter() - start
    rng = np.random.default_rng(0)
    masks, applied, advanced = [], [], []
    matcher = first.copy()
    for step in range(steps):
        row = logits[step % len(logits)].copy()
        before = time.perf_counter()
        allowed = matcher.allowed()
        between = time.perf_counter()
        remove(row, allowed)
        after = time.perf_counter()
        token = int(rng.choice(np.flatnonzero(allowed)))
        drawn = time.perf_counter()
        matcher.advance(token)
        advanced.append(1e3 * (time.perf_counter() - drawn))
        masks.append(1e3 * (between - before))
        applied.append(1e3 * (after - between))
        if token == END:
            matcher = first.copy()
    both = [mask + rest for mask, rest in zip(masks, applied, strict=True)]
    mean = statistics.mean(both)
    return mean, [
        f"{1e3 * compiled:.1f}", f"{statistics.median(masks):.3f}",
        f"{statistics.median(applied):.3f}", f"{statistics.median(advanced):.3f}",
        judged(f"{mean:.3f}", mean, most=TARGET), f"{max(both):.2f}",
    ]  # fmt: skip


def main() -> int:
    arguments = report.options(__doc__).parse_args()
    steps = 20 if arguments.quick else STEPS
    print(report.machine(), flush=True)
    rows = datasets.load("smollm2")
    Choice(["a"]).start(rows.vocabulary, [END])  # reads the vocabulary, once
    found = []
    for name, constraint in CONSTRAINTS.items():
        compiled_for.cache_clear()
        _, cells = costs(constraint, rows.logits, steps)
        compiled_for.cache_clear()
        with kernels.off():
            mean, _ = costs(constraint, rows.logits, steps)
        found.append([name, *cells, f"{mean:.3f}"])
        print(" | ".join(found[-1]), flush=True)
    head = ["ms, V = 49 152", "compile", "mask", "apply", "advance", "mask and apply, mean",
            "worst", "mean, numpy"]  # fmt: skip
    lines = report.table(head, found)
    if not arguments.quick:
        report.write("masks.md", lines)
    if arguments.readme:
        report.insert(report.BENCHMARKS, "masks", [f"Measured {report.stamp()}", "", *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
