"""The requests that engines are recorded on: made once, by `record.py`, and stored.

Six kinds of rows: ``real`` bundled rows of 49 152 tokens, ``slice`` 200 tokens of these, ``ties``
rows of 2 to 16 tokens of few different logits, ``wide`` rows of 17 to 600 such tokens; ``rounded``
bundled rows rounded to bfloat16, as models compute them, and ``integers`` rows of 17 to 3000 whole
numbers, of which tokens have been removed in every third. All parameters are in play, alone and
together, with edges and values that engines refuse; the last two kinds are all but always cut by
top-p, since equal tokens stand at its edge.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from logitlab.datasets import load

from engines.own_code import Array, Case

VECTORS = Path(__file__).parent / "vectors"
COUNTS = {"real": 60, "slice": 110, "ties": 130, "wide": 50, "rounded": 50, "integers": 80}

# Masses and ratios that probabilities of tied rows meet exactly, or all but.
_EDGES = (0.5, 0.25, 0.75, 0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 1 / 3)


def make(seed: int = 20261125) -> list[Case]:
    """Return new requests."""
    rng = np.random.default_rng(seed)
    rows = load().logits
    return [
        _case(kind, _row(kind, rng, rows, n), rng)
        for kind, count in COUNTS.items()
        for n in range(count)
    ]


def save(cases: list[Case]) -> None:
    """Store requests: rows as indices into the bundled ones where they are, contexts as ids."""
    rows = _bundled()
    numbers = {row.tobytes(): i for i, row in enumerate(rows)}
    bundled = [numbers.get(case.logits.tobytes(), -1) for case in cases]
    own = [
        case.logits if i < 0 else case.logits[:0] for case, i in zip(cases, bundled, strict=True)
    ]
    VECTORS.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {
        "bundled": np.array(bundled, np.int16),
        **packed("logits", own, np.float32),
        **packed("prompt", [case.prompt for case in cases], np.uint16),
        **packed("output", [case.output for case in cases], np.uint16),
    }
    np.savez_compressed(VECTORS / "cases.npz", **arrays)
    lines = (json.dumps(case.params) for case in cases)
    (VECTORS / "params.jsonl").write_text("\n".join(lines) + "\n")


def read() -> list[Case]:
    """Return the stored requests."""
    stored = np.load(VECTORS / "cases.npz")
    rows = _bundled()
    params = [json.loads(line) for line in (VECTORS / "params.jsonl").read_text().splitlines()]
    logits, prompts, outputs = (unpacked(stored, key) for key in ("logits", "prompt", "output"))
    return [
        Case(
            rows[bundled] if bundled >= 0 else logits[i],
            params[i],
            prompts[i].tolist(),
            outputs[i].tolist(),
        )
        for i, bundled in enumerate(stored["bundled"].tolist())
    ]


def bfloat16(rows: Array) -> Array:
    """Return float32 numbers rounded to bfloat16, half to even."""
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@cache
def _bundled() -> Array:
    """Return the bundled rows, and behind them the same rounded to bfloat16."""
    rows = load().logits
    return np.concatenate([rows, bfloat16(rows)])


def packed(name: str, parts: list[Any], dtype: type) -> dict[str, Array]:
    """Return parts one after another and where each ends, under a name."""
    flat: list[Array] = [np.asarray(part, dtype) for part in parts]
    return {
        name: np.concatenate(flat),
        f"{name}_ends": np.cumsum([len(part) for part in flat], dtype=np.int64),
    }


def unpacked(stored: Any, name: str) -> list[Array]:
    """Return the parts that were stored under a name."""
    return np.split(stored[name], stored[f"{name}_ends"][:-1])


def _row(kind: str, rng: np.random.Generator, rows: Array, n: int) -> Array:
    row = rows[n % len(rows)]
    if kind in ("real", "rounded"):
        return np.asarray(row if kind == "real" else bfloat16(row))
    if kind == "integers":
        whole = rng.integers(-int(rng.choice([1, 3, 9, 30])), 4, int(rng.integers(17, 3001)))
        removed = rng.random(len(whole)) < (0.3 if n % 3 == 0 else 0)
        removed[0] = False
        return np.where(removed, -np.inf, whole).astype(np.float32)
    if kind == "slice":
        best = np.argsort(-row, kind="stable")[:120]
        rest = rng.choice(len(row), 80, replace=False)
        return np.asarray(row[rng.permutation(np.union1d(best, rest))[:200]])
    size = int(rng.integers(2, 17) if kind == "ties" else rng.integers(17, 601))
    levels = int(rng.integers(1, 5 if kind == "ties" else 40))
    scale = rng.choice([math.log(2), 1.0, 0.5, 3.0])
    return np.asarray(scale * rng.integers(-levels, levels + 1, size), np.float32)


def _case(kind: str, row: Array, rng: np.random.Generator) -> Case:
    params = _params(kind, len(row), rng)
    likely = np.argsort(-row, kind="stable")[: max(2, min(30, len(row)))]
    prompt, output = (
        np.where(
            rng.random(length) < 0.7,
            rng.choice(likely, length),
            rng.integers(0, len(row), length),
        ).tolist()
        for length in (rng.integers(1, 120), rng.integers(0, 81))
    )
    if rng.random() < 0.4:
        prompt, output = prompt[: rng.integers(1, 9)], output[: rng.integers(0, 5)]
    return Case(row, params, prompt, output)


def _params(kind: str, size: int, rng: np.random.Generator) -> dict[str, Any]:
    def pick(*values: float) -> float:
        return float(rng.choice(values))

    def some(chance: float) -> bool:
        return bool(rng.random() < chance)

    tied = kind in ("ties", "wide")
    chance = 0.35 if tied else 0.5
    params: dict[str, Any] = {}
    if some(0.7):
        params["temperature"] = pick(0, 0.005, 0.3, 0.7, 0.8, 1, 1, 1.3, 2)
    if some(chance):
        params["repetition_penalty"] = pick(1.1, 1.3, 2, 0.8, 0.5)
    if some(chance):
        params["frequency_penalty"] = pick(0.1, 0.5, 0.7, 1.3, -0.3)
    if some(chance):
        params["presence_penalty"] = pick(0.1, 0.4, 1, 2, -0.5)
    if some(0.25):
        tokens = rng.choice(size, min(size, int(rng.integers(1, 5))), replace=False)
        params["logit_bias"] = {str(t): pick(-100, -5, -0.7, 1, 2.5, 5) for t in tokens}
    if some(0.5):
        params["top_k"] = int(rng.integers(1, max(2, min(size, 120))))
    if some(0.5):
        params["top_p"] = pick(*_EDGES) if tied else round(float(rng.uniform(0.1, 0.98)), 3)
    if some(0.4):
        params["min_p"] = pick(*_EDGES, 0.05) if tied else round(float(rng.uniform(0, 0.3)), 3)
    if some(0.15):
        params["top_a"] = pick(0.1, 0.2, 0.5, 1)
    if kind == "real" and not {"top_k", "min_p"} & params.keys():
        params["top_k"] = int(rng.integers(50, 400))  # a whole vocabulary fills the file
    if kind in ("rounded", "integers"):
        # Not so flat that all of the vocabulary fills the file.
        params["temperature"] = pick(0.3, 0.7, 0.8, 1)
        params["top_p"] = round(float(rng.uniform(0.3, 0.95)), 3)
    if some(0.06):
        key, value = (
            ("top_p", 0), ("top_p", 1.2), ("top_k", -1), ("top_k", 0), ("top_k", size),
            ("temperature", 2.5), ("temperature", -1), ("repetition_penalty", 0),
            ("repetition_penalty", 2.5), ("min_p", -0.1), ("frequency_penalty", 3),
            ("logit_bias", {"0": 150}),
        )[int(rng.integers(12))]  # fmt: skip
        params[key] = value
    return params
