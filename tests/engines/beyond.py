"""The requests beyond the page: rows and contexts that all engines share, and what each is asked.

``vectors/beyond/rows.npz`` holds the rows, ``NAME.jsonl`` what an engine is asked on each of them,
a line a row, ``NAME.npz`` and ``NAME.json`` what its own code answered. A module ``asked/NAME.py``
makes the requests: ``request(dice)`` returns one for the row of the dice, and ``SEQUENCES`` are
those of which several tokens are drawn, each from a row `Row.later` than the one before.

Five kinds of rows: ``real`` of 49 152 tokens, ``slice`` 60 to 140 tokens of these, ``ties`` 2 to 16
tokens of few different logits, ``wide`` 17 to 300 such tokens, ``integers`` 17 to 1500 whole
numbers, of which tokens have been removed in every third. Every other row is rounded to bfloat16.
Contexts repeat themselves, as n-grams and DRY want it.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.datasets import load

from engines.cases import VECTORS, bfloat16, packed, unpacked
from engines.own_code import Array, Case

FOLDER = VECTORS / "beyond"
COUNTS = {"real": 12, "slice": 132, "ties": 44, "wide": 52, "integers": 40}
SEED = 20261127
# Masses and ratios that probabilities of tied rows meet exactly, or all but.
EDGES = (0.5, 0.25, 0.75, 0.1, 0.2, 0.3, 0.9, 1 / 3)


@dataclass(frozen=True, eq=False)
class Row:
    """A row of logits and the tokens before it.

    Attributes
    ----------
    kind : str
        One of `COUNTS`.
    logits : ndarray of float32, shape (V,)
    prompt, output : list of int
    bundled : int
        Number of the bundled row that it is, or is a part of; -1 for none.
    tokens : ndarray of int64, optional
        Which of its tokens, if not all.
    """

    kind: str
    logits: Array
    prompt: list[int]
    output: list[int]
    bundled: int = -1
    tokens: Array | None = None

    def later(self, step: int) -> Array:
        """Return the logits so many tokens later: of a bundled row the same tokens of another."""
        if self.bundled < 0:
            return np.roll(self.logits, step)
        rows = load().logits
        row = rows[(self.bundled + step) % len(rows)]
        row = row if self.tokens is None else row[self.tokens]
        rounded = np.array_equal(self.logits, bfloat16(self.logits))
        return bfloat16(row) if rounded else np.asarray(row)


class Dice:
    """Random values for a request on one row."""

    def __init__(self, rng: np.random.Generator, row: Row) -> None:
        self.rng, self.row, self.size = rng, row, len(row.logits)
        self.is_tied = row.kind in ("ties", "wide", "integers")

    def some(self, chance: float) -> bool:
        """Return True so often."""
        return bool(self.rng.random() < chance)

    def pick(self, *values: Any) -> Any:
        """Return one of some values."""
        return values[int(self.rng.integers(len(values)))]

    def between(self, low: float, high: float) -> float:
        """Return a number of three digits."""
        return round(float(self.rng.uniform(low, high)), 3)

    def mass(self, low: float = 0.1, high: float = 0.98) -> float:
        """Return a probability that a tied row may meet exactly."""
        return self.pick(*EDGES) if self.is_tied and self.some(0.7) else self.between(low, high)

    def count(self, low: int, high: int) -> int:
        """Return an integer from low to high."""
        return int(self.rng.integers(low, high + 1))

    def token(self) -> int:
        """Return a token: one of the likely ones, or of the context, or any."""
        likely = np.argsort(-self.row.logits, kind="stable")[:12]
        context = self.row.prompt + self.row.output
        any_one = self.count(0, self.size - 1)
        return int(self.pick(self.rng.choice(likely), self.pick(*context), any_one))

    def tokens(self, low: int, high: int) -> list[int]:
        """Return different tokens."""
        return sorted({self.token() for _ in range(self.count(low, high))})

    def keys(self, table: Mapping[str, tuple[float, Callable[[Dice], Any]]]) -> dict[str, Any]:
        """Return keys of a table, each by its chance, with a value that is made for it."""
        return {key: make(self) for key, (chance, make) in table.items() if self.some(chance)}


def rows(seed: int = SEED) -> list[Row]:
    """Return new rows."""
    rng = np.random.default_rng(seed)
    return [_row(kind, rng, n) for kind, count in COUNTS.items() for n in range(count)]


def requests(name: str, rows: list[Row], seed: int = SEED) -> list[dict[str, Any]]:
    """Return new requests to an engine, one for every row."""
    request = importlib.import_module(f"engines.asked.{name}").request
    dice = (Dice(np.random.default_rng([seed, n]), row) for n, row in enumerate(rows))
    return [request(each) for each in dice]


def save_rows(rows: list[Row]) -> None:
    """Store rows: as numbers of bundled ones and of their tokens where they are."""
    FOLDER.mkdir(exist_ok=True)
    own = [row.logits if row.bundled < 0 else row.logits[:0] for row in rows]
    arrays: dict[str, Any] = {
        "kind": np.array([list(COUNTS).index(row.kind) for row in rows], np.uint8),
        "bundled": np.array([row.bundled for row in rows], np.int16),
        **packed("logits", own, np.float32),
        **packed("tokens", [[] if row.tokens is None else row.tokens for row in rows], np.uint16),
        **packed("prompt", [row.prompt for row in rows], np.uint16),
        **packed("output", [row.output for row in rows], np.uint16),
    }
    np.savez_compressed(FOLDER / "rows.npz", **arrays)


def read_rows() -> list[Row]:
    """Return the stored rows."""
    stored, bundled = np.load(FOLDER / "rows.npz"), load().logits
    names = ("logits", "tokens", "prompt", "output")
    parts = zip(*(unpacked(stored, name) for name in names), strict=True)
    result = []
    for number, (logits, tokens, prompt, output) in enumerate(parts):
        kind = list(COUNTS)[stored["kind"][number]]
        source = int(stored["bundled"][number])
        which = tokens.astype(np.int64) if len(tokens) else None
        if source >= 0:
            logits = _rounded(bundled[source] if which is None else bundled[source][which], number)
        result.append(Row(kind, logits, prompt.tolist(), output.tolist(), source, which))
    return result


def save_requests(name: str, requests: list[dict[str, Any]]) -> None:
    """Store what an engine is asked, a line for each row."""
    lines = (json.dumps(each, separators=(",", ":"), ensure_ascii=False) for each in requests)
    (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def read_cases(name: str) -> list[Case]:
    """Return the stored requests of an engine, each on its row."""
    lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    return cases_of(read_rows(), [json.loads(line) for line in lines])


def cases_of(rows: list[Row], requests: list[dict[str, Any]]) -> list[Case]:
    """Return requests on their rows; ``acts`` of a request is no key, but how its coin falls."""
    cases = []
    for row, asked in zip(rows, requests, strict=True):
        params = {key: value for key, value in asked.items() if key != "acts"}
        cases.append(Case(row.logits, params, row.prompt, row.output, asked.get("acts", True)))
    return cases


def _rounded(logits: Array, number: int) -> Array:
    """Return every other row rounded to bfloat16."""
    return bfloat16(logits) if number % 2 else np.asarray(logits, np.float32)


def _row(kind: str, rng: np.random.Generator, n: int) -> Row:
    number = sum(list(COUNTS.values())[: list(COUNTS).index(kind)]) + n
    bundled, tokens = -1, None
    if kind in ("real", "slice"):
        source = load().logits
        bundled = int(rng.integers(len(source)))
        logits = source[bundled]
        if kind == "slice":
            best = rng.choice(np.argsort(-logits, kind="stable")[:150], 60, replace=False)
            rest = rng.choice(len(logits), int(rng.integers(1, 81)), replace=False)
            tokens = rng.permutation(np.union1d(best, rest))
            logits = logits[tokens]
    elif kind == "integers":
        whole = rng.integers(-int(rng.choice([1, 3, 9, 30])), 4, int(rng.integers(17, 1501)))
        removed = rng.random(len(whole)) < (0.3 if n % 3 == 0 else 0)
        removed[0] = False
        logits = np.where(removed, -np.inf, whole)
    else:
        size = int(rng.integers(2, 17) if kind == "ties" else rng.integers(17, 301))
        levels = int(rng.integers(1, 5 if kind == "ties" else 40))
        logits = rng.choice([math.log(2), 1.0, 0.5, 3.0]) * rng.integers(-levels, levels + 1, size)
    logits = _rounded(np.asarray(logits, np.float32), number)
    prompt, output = _context(rng, logits)
    return Row(kind, logits, prompt, output, bundled, tokens)


def _context(rng: np.random.Generator, logits: Array) -> tuple[list[int], list[int]]:
    """Return a prompt and an output that repeat themselves, mostly of likely tokens."""
    size = len(logits)
    length = int(rng.integers(2, 60) if rng.random() < 0.7 else rng.integers(60, 160))
    likely = np.argsort(-logits, kind="stable")[: max(2, min(8, size))]
    text: list[int] = []
    while len(text) < length:
        if len(text) > 3 and rng.random() < 0.4:
            start = int(rng.integers(len(text) - 2))
            text += text[start : start + int(rng.integers(2, 9))]
        else:
            text.append(int(rng.choice(likely) if rng.random() < 0.7 else rng.integers(size)))
    text = text[:length]
    if len(text) > 8 and rng.random() < 0.6:  # ends as something in it began
        start = int(rng.integers(len(text) - 6))
        text += text[start : start + int(rng.integers(2, 6))]
    cut = int(rng.integers(1, len(text) + 1))
    return text[:cut], text[cut:]
