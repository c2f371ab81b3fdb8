"""What the tests of the compiled kernels share: rows of every kind, and the plain equation."""

from __future__ import annotations

import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from logitlab import kernels
from logitlab.sampling.compiled import DONE, Bound, Program
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.temperature import Temperature

__all__ = [
    *("EXAMPLES", "FULL", "KINDS", "RECORD", "Measures", "bench", "bound", "bound_to", "compiled"),
    *("dense_draws", "draw", "make", "measures"),
]

Array = np.ndarray[Any, Any]


def _bench() -> Any:
    """Return the rows of the benchmarks, whose other modules have names of folders here."""
    spec = spec_from_file_location("rows", Path(__file__).parents[1] / "benchmarks" / "rows.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = _bench()

compiled = pytest.mark.skipif(kernels.rows is None, reason="logitlab was installed without kernels")

EXAMPLES = int(os.environ.get("LOGITLAB_EXAMPLES", "20"))
"""How much is looked at, as hypothesis has it."""

FULL = os.environ.get("LOGITLAB_PROOFS") == "full"
"""Whether ranges are looked at number by number: `benchmarks/proofs.py` asks for it."""

RECORD: dict[str, str] = {}
"""What tests have measured, for that script."""

LOWEST = float(np.finfo(np.float32).min)
KINDS = (
    *("real", "peaked", "flat", "bfloat16", "bfloat16 flat", "few levels", "equal", "one above"),
    *("masked", "masked low", "masked lowest", "huge", "tiny", "offset", "far tails", "one-hot"),
    *("float64", "float64 pairs", "float16"),
)


def make(kind: str, batch: int, size: int, rng: np.random.Generator) -> Array:
    """Return logits of shape (batch, size)."""
    shape = batch, size
    x: Array = np.float32(rng.choice([0.5, 2, 5])) * rng.standard_normal(shape, np.float32)
    if kind in bench.KINDS and size > 1:
        rows: Array = bench.make(kind, batch, size, seed=int(rng.integers(1 << 30)))
        return rows
    if kind == "bfloat16" and size > 1:
        x = bench.make("real", batch, size, seed=int(rng.integers(1 << 30)))
    if kind.startswith("bfloat16"):
        x = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
    if kind == "few levels":
        x = (rng.integers(0, 4, shape) * rng.choice([0.5, 1, 1e-3])).astype(np.float32)
    if kind == "equal":
        return np.zeros(shape, np.float32) + np.float32(rng.normal())
    if kind == "one above":  # rounding of running sums goes one way, as far as it can
        x = np.full(shape, -np.float32(rng.random()))
        x[:, 0] = 0
    if kind.startswith("masked"):
        removed = {"masked": -np.inf, "masked low": -1e30, "masked lowest": LOWEST}[kind]
        x[rng.random(shape) < rng.random()] = removed
        x[:, rng.integers(size)] = 1
    if kind == "huge":
        x *= np.float32(10.0 ** rng.uniform(2, 28))
    if kind == "tiny":
        x *= np.float32(10.0 ** rng.uniform(-44, -2))
    if kind == "offset":
        x += np.float32(10.0 ** rng.uniform(1, 5))
    if kind == "far tails":
        x = rng.standard_cauchy(shape).astype(np.float32)
    if kind == "one-hot":
        x = np.full(shape, -np.inf, np.float32)
        x[np.arange(batch), rng.integers(size, size=batch)] = 3
    if kind == "float64":
        return rng.normal(scale=3, size=shape)
    if kind == "float64 pairs":  # neighbours that are one number in float32
        x = np.nextafter(x.astype(np.float64), rng.choice([-np.inf, np.inf], shape))
    if kind == "float16":
        return x.astype(np.float16)
    return x


def bound_to(x: Array, chain: Chain, context: Context | None = None) -> Bound | None:
    """Return the program of a chain for these rows, if kernels run all of it."""
    program = Program.of(chain)
    if len(program.head):
        return None
    return program.bound(x.shape[:1], x, context)


def draw(
    x: Array, chain: Chain, luck: Array, context: Context | None = None
) -> tuple[Array, Array]:
    """Return what the kernels draw with such uniforms, and which rows they have done."""
    bound = bound_to(x, chain, context)
    assert bound
    tokens = np.full(luck.shape, -1, np.int64)
    return tokens, bound.draw(luck, tokens) == DONE


def dense_draws(final: Array, luck: Array) -> Array:
    """Return tokens by plain running sums over the dense result."""
    tokens = np.empty(luck.shape, np.int64)
    for i, row in enumerate(final.astype(np.float64)):
        mass = np.cumsum(np.exp(row - row.max()))
        tokens[i] = np.searchsorted(mass, luck[i] * mass[-1], side="right")
    return tokens


class Measures(NamedTuple):
    """What kernels know of rows under a temperature, each of shape (n,) but for the last two."""

    estimate: Array
    estimate_bound: Array
    mass: Array
    mass_bound: Array
    stored: Array
    stored_bound: Array
    depth: Array  # ranges, of shape (2, n)
    weight: Array
    reach: Array
    by_peaks: Array
    estimates: Array  # running sums over chunks of 64, shape (n, chunks)
    masses: Array


def measures(x: Array, t: float) -> Measures | None:
    """Measure rows under a temperature; None where it is no matter for kernels."""
    bound = bound_to(x, Chain(Temperature(t)))
    assert bound
    chunks = -(-x.shape[1] // 64)
    out, partial = np.empty((len(x), 14)), np.empty((len(x), 2, chunks))
    states = np.empty(len(x), np.uint8)
    bound._call("measures", states, 0, None, out, partial)
    if states.any():
        return None
    sums = np.cumsum(partial, axis=-1)
    ranges = [out[:, i : i + 2].T for i in range(6, 14, 2)]
    values: list[Any] = [*out[:, :6].T, *ranges, sums[:, 0], sums[:, 1]]
    return Measures(*values)


_BOUNDS = ("estimate", "sums", "stored", "gap", "mean", "deviation", "typical", "logit")


def bound(name: str, a: float, b: float = 0.0, c: float = 0.0) -> tuple[float, float]:
    """Return a bound of bounds.h: the ends of a range, or twice one number."""
    assert kernels.rows
    ends: tuple[float, float] = kernels.rows.bound(_BOUNDS.index(name), a, b, c)
    return ends
