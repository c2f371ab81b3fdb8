"""How far kernels are off, over the bounds of it: never above 1, and not out of sight below.

Each bound has a class of its own; a bound that no row comes near to would be as wrong as one that
is passed: rows would be left to numpy for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from logitlab import kernels
from logitlab.numerics import moments, shifted, weights

from kernel_cases import EXAMPLES, FULL, KINDS, RECORD, Array, bound, compiled, make, measures

pytestmark = compiled

SIZES = (1, 2, 7, 64, 65, 200, 1023, 5000, 40_001)
TEMPERATURES = (1.0, 0.8, 1.5, 0.3, 7.0)
Wide = np.longdouble
needs_long = pytest.mark.skipif(
    bool(np.finfo(Wide).eps > 2e-19), reason="long double is no wider than double here"
)


def cases() -> Iterator[tuple[Array, float]]:
    """Rows of every kind as the dense step leaves them, beside the rows and temperature before."""
    rng = np.random.default_rng(17)
    for _ in range(max(1, EXAMPLES // 20)):
        for kind in KINDS:
            for size in SIZES:
                x = make(kind, 2, size, rng)
                if x.dtype == np.float16:
                    x = x.astype(np.float32)
                yield x, float(rng.choice([*TEMPERATURES, 10 ** rng.uniform(-2, 2)]))


def tempered(x: Array, t: float) -> Array:
    with np.errstate(over="ignore"):
        return (x.astype(np.float64) / t).astype(x.dtype)


class Ratio:
    """The largest error over its bound so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.largest = 0.0

    def add(self, error: Any, limit: Any) -> None:
        ratio = np.asarray(error / limit, np.float64)
        if ratio.size:
            assert ratio.max() <= 1
            self.largest = max(self.largest, float(ratio.max()))

    def check(self) -> None:
        RECORD[f"error over bound: {self.name}"] = f"{self.largest:.3f}"
        assert 1e-3 < self.largest <= 1


def test_exponentials_in_float32() -> None:
    """Of every 997th float from -104 to -0, and in the full form of each of them."""
    assert kernels.rows
    ratio, least = Ratio("exponentials in float32"), Ratio("exponentials below -86")
    step, block = 1 if FULL else 997, 1 << 22
    first, last = 1 << 31, int(np.float32(-104).view(np.uint32))  # bits, from -0.0
    for start in range(first, last + 1, block * step):
        bits = np.arange(start, min(start + block * step, last + 1), step).astype(np.uint32)
        x = np.resize(bits, -(-len(bits) // 8) * 8).view(np.float32)
        out = np.empty_like(x)
        kernels.rows.exponentials(x, out)
        exact = np.exp(x.astype(np.float64))
        off, near = np.abs(out - exact), x >= -86
        ratio.add(off[near] / exact[near], 2.0**-23)
        least.add(off[~near], 5e-38)
    ratio.check()
    least.check()


@needs_long
def test_exponentials_in_float64() -> None:
    """Against long double, and numpy's against ours."""
    assert kernels.rows
    ratio, both = Ratio("exponentials in float64"), Ratio("the same beside numpy's")
    rng = np.random.default_rng(1)
    for _ in range(200 if FULL else 2):
        x = -rng.exponential(rng.choice([1e-3, 0.5, 30, 200]), 1 << 16)
        x[: 1 << 13] = -rng.integers(0, 1000, 1 << 13) * np.log(2) / 2  # ends of reduced ranges
        x = np.maximum(x, -700)
        out = np.empty_like(x)
        kernels.rows.exponentials(x, out)
        exact = np.exp(x.astype(Wide))
        ratio.add(np.abs(out - exact) / exact, 2.0**-51)
        both.add(np.abs(out - np.exp(x)) / exact, 2.0**-50)
    ratio.check()
    both.check()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_exponentials_far_down_are_clamped(kind: type) -> None:
    assert kernels.rows
    least = kind(-86.0 if kind == np.float32 else -700.0)
    low: Array = np.array(
        [-np.inf, np.finfo(kind).min, -1e30, -800, least, least, least, 0.0], kind
    )
    out = np.empty_like(low)
    kernels.rows.exponentials(low, out)
    assert (out[:-1] == out[4]).all()
    assert out[-1] == 1
    assert 0 < out[0] < (5e-38 if kind == np.float32 else 1e-303)


def sums_in_all_orders(y: Array) -> Iterator[tuple[Array, Array]]:
    """Running sums of a row as the dense path may have them, and the whole of each."""
    weight = np.array([weights(row[None])[0] for row in y])
    running = np.cumsum(weight, axis=-1)
    yield running, running[:, -1]
    for total in (weight.sum(axis=-1), np.cumsum(-np.sort(-weight, axis=-1), axis=-1)[:, -1]):
        yield running, total
    exact = np.cumsum(weight.astype(Wide), axis=-1)
    yield exact, exact[:, -1]


def ends(sums: Array) -> Array:
    """Running sums at the end of every chunk."""
    size = sums.shape[-1]
    return sums[:, np.minimum(np.arange(64, size + 64, 64), size) - 1]


def test_running_sums() -> None:
    """Each sum beside a share of the whole, as a draw and a nucleus compare them."""
    estimated, computed, stored = map(
        Ratio, ("sums that are estimated", "sums that are computed", "sums of stored weights")
    )
    for x, t in cases():
        known = measures(x, t)
        if known is None:
            continue
        # Of huge logits an estimate tells nothing.
        claimed = np.where(known.estimate_bound < 1, known.estimate_bound, np.inf)
        for sums, whole in sums_in_all_orders(tempered(x, t)):
            share = ends(sums) / whole[:, None]
            for ratio, ours, mass, limit in (
                (estimated, known.estimates, known.estimate, claimed),
                (computed, known.masses, known.mass, known.mass_bound),
            ):
                off = np.abs(ours - share * mass[:, None]) / mass[:, None]
                ratio.add(off.max(axis=-1), limit)
                ratio.add(np.abs(mass - whole) / whole, limit)
            stored.add(np.abs(known.stored - whole) / whole, known.stored_bound)
    estimated.check()
    computed.check()
    stored.check()


def test_what_peaks_tell_of_the_mass() -> None:
    ratio = Ratio("masses told by peaks")
    for x, t in cases():
        known = measures(x, t)
        if known is not None:
            for _, whole in sums_in_all_orders(tempered(x, t)):
                low, high = known.by_peaks
                ratio.add(np.abs(2 * whole - low - high)[low > 1], (high - low)[low > 1])
    ratio.check()


def test_averages() -> None:
    depths, squares = Ratio("average depths"), Ratio("average weights")
    for x, t in cases():
        known = measures(x, t)
        if known is None:
            continue
        y = tempered(x, t)
        for ratio, of, (low, high) in (
            (depths, "depth", known.depth),
            (squares, "weight", known.weight),
        ):
            _, mean = moments(y, of)
            inside = low > 0
            assert (low <= mean[:, 0]).all()
            assert (mean[:, 0] <= high).all()
            ratio.add(np.abs(2 * mean[:, 0] - low - high)[inside], (high - low)[inside])
        # As typical_p adds them up: down the sorted row.
        gap = np.maximum(shifted(-np.sort(-y, axis=-1)), -700)
        weight = np.exp(gap) * (gap > -700)
        mean = -np.cumsum(gap * weight, axis=-1)[:, -1] / np.cumsum(weight, axis=-1)[:, -1]
        low, high = known.depth
        inside = low > 0
        depths.add(np.abs(2 * mean - low - high)[inside], (high - low)[inside])
    depths.check()
    squares.check()


def test_standard_deviations() -> None:
    ratio = Ratio("standard deviations")
    for x, t in cases():
        known = measures(x, t)
        if known is None:
            continue
        for row, low, high in zip(tempered(x, t), *known.reach, strict=True):
            if high > 0:
                gap = shifted(row[row > -np.inf][None])[0]
                gap -= gap.sum() / len(gap)
                sigma = math.sqrt((gap * gap).sum() / len(gap))
                ratio.add(abs(2 * sigma - low - high), high - low)
    ratio.check()


@needs_long
def test_logarithms_of_ratios() -> None:
    """Of products, and of roots and exponentials, against the same in long double."""
    rng = np.random.default_rng(2)
    ratio = Ratio("gaps of ratios")
    for _ in range(1000 * EXAMPLES // 4):
        value = min(1.0, 10 ** rng.uniform(-12, 0.2))
        mass, depth = 10 ** rng.uniform(0, 5), rng.uniform(0, 12)
        for dense, exact in (
            (value / mass, Wide(value) / Wide(mass)),
            (value * mass, Wide(value) * Wide(mass)),
            (np.sqrt(value) * np.exp(-depth), np.sqrt(Wide(value)) * np.exp(-Wide(depth))),
        ):
            if dense < 1:
                low, high = bound("gap", dense, dense)
                for logarithm in (np.log(dense), math.log(dense), np.log(exact)):
                    ratio.add(abs(2 * Wide(logarithm) - low - high), high - low)
    ratio.check()
    assert bound("gap", 1.0, 1.0) == bound("gap", 1.0, 2.0) == (0, 0)


@needs_long
def test_deviations_from_the_typical() -> None:
    """Of a depth from two averages that are hardly apart: they differ by no more than these do."""
    rng = np.random.default_rng(3)
    ratio = Ratio("deviations from the typical")
    for _ in range(1000 * EXAMPLES // 4):
        mean, depth = rng.uniform(0, 12), rng.exponential(5)
        other = mean * (1 + rng.integers(-8, 9) * 2.0**-53)
        theirs, ours = abs(-depth + mean), abs(depth - other)
        off = abs(Wide(theirs) - Wide(ours)) - abs(Wide(mean) - Wide(other))
        ratio.add(max(off, 0), bound("typical", ours, mean)[0])
    ratio.check()


def test_how_much_lower_a_logit_reaches_as_high_a_quotient() -> None:
    """Floats below a threshold whose rounded gap to the top reaches that of the threshold."""
    rng = np.random.default_rng(4)
    ratio = Ratio("logits lowered")
    for _ in range(200 * EXAMPLES):
        scale = 10.0 ** rng.choice([rng.uniform(-44, 6), rng.uniform(-2, 3)])
        top = np.float32(rng.normal() * scale)
        t = 10.0 ** rng.uniform(-2, 2)
        gap = -rng.exponential(3) * scale / t
        threshold = float(top) + t * gap
        x = np.float32(threshold) + np.arange(-60, 1) * np.spacing(np.float32(threshold))
        reaches = (x / t).astype(np.float32).astype(float) - float(np.float32(top / t)) >= gap
        off = threshold - x[reaches].astype(float)
        if off.size and off.max() > 0:
            ratio.add(off.max() / 1e40, bound("logit", threshold, float(top), t)[0] / 1e40)
    ratio.check()
