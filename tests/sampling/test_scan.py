"""What a scan promises, held against plain float64 sums and full sorts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import TopA, temperature, top_p
from logitlab.datasets import load
from logitlab.sampling.scan import Head, Scan, Scans, _wide_nucleus, nuclei, top_candidates

Array = np.ndarray[Any, Any]

KINDS = ("normal", "peaked", "uniform", "levels", "masked", "heavy")


@st.composite
def rows(draw: st.DrawFn) -> Array:
    """Rows of some hundred to some thousand tokens."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(65, 3000))
    kind = draw(st.sampled_from(KINDS))
    scale = draw(st.sampled_from([0.01, 1.0, 3.0, 10.0]))
    offset = draw(st.sampled_from([0.0, -50.0, 1000.0]))
    x = rng.normal(scale=scale, size=size)
    if kind == "peaked":
        x[rng.integers(size)] += 30
    if kind == "uniform":
        x[:] = scale
    if kind == "levels":
        x = np.round(x)
    if kind == "masked":
        x[rng.random(size) < 0.7] = -np.inf
        x[0] = 0
    if kind == "heavy":
        x = -np.abs(rng.standard_cauchy(size)) * scale
    return (x + offset).astype(draw(st.sampled_from([np.float32, np.float64])))


def top_a(scan: Scan, a: float) -> Any:
    """What the scan of `TopA` says of one row."""
    return TopA(a).scan(Scans([(0, scan, a)]))[0]


heats = st.sampled_from([1.0, 0.3, 0.8, 1.5, 7.0])


@given(rows(), heats)
def test_the_mass_lies_within_its_bounds(x: Array, t: float) -> None:
    y = temperature(x, t).astype(np.float64)
    truth = math.fsum(np.exp(y - y.max()))
    low, high = Scan(x, t).mass
    assert low <= truth <= high
    assert high / low < 1.001


@given(rows(), heats, st.floats(0, 0.999))
def test_rough_bounds_hold_too(x: Array, t: float, p: float) -> None:
    y = temperature(x, t).astype(np.float64)
    truth = math.fsum(np.exp(y - y.max()))
    low, high = Head(Scan(x, t), p).bounds
    assert low <= truth <= high


@given(rows(), heats, st.sampled_from(["depth", "weight"]))
def test_bounds_of_averages_hold(x: Array, t: float, of: str) -> None:
    y = temperature(x, t).astype(np.float64)
    gap = y[y > -np.inf] - y.max()
    weight = np.exp(gap)
    truth = math.fsum(weight * (weight if of == "weight" else -gap)) / math.fsum(weight)
    scan = Scan(x, t)
    if not scan.is_plain:
        return
    for (low, high), (least, most) in scan.known(of):
        assert low <= math.fsum(weight) <= high
        assert least <= truth <= most


@given(rows(), heats, st.data())
def test_enough_tokens_reach_a_threshold(x: Array, t: float, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, x.size))
    scan = Scan(x, t)
    threshold = scan.threshold(count)
    assert (x >= threshold).sum() >= count
    found = scan.reaching(threshold) if threshold > -np.inf else np.arange(x.size)
    assert np.isin(np.flatnonzero(x >= threshold), found).all()
    # Nothing that temperature makes equal to the threshold is left behind.
    y = temperature(x, t)
    if threshold > -np.inf:
        equal = np.flatnonzero(y >= y[x >= threshold].min())
        assert np.isin(equal, found).all()


@given(rows(), heats, st.floats(0, 0.9999), st.sampled_from(["lowest", "highest", "all"]))
def test_a_nucleus_is_the_dense_one_or_undecided(x: Array, t: float, p: float, ties: str) -> None:
    expected = np.flatnonzero(top_p(temperature(x, t), p, ties=ties) > -np.inf)
    (found,) = nuclei([Head(Scan(x, t), p)], ties)
    if found is not None:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_rows_are_decided_without_a_sort(scale: float, p: float, dtype: type) -> None:
    x: Array = np.random.default_rng(3).normal(scale=scale, size=40_000).astype(dtype)
    found = _wide_nucleus(x, p, "lowest")
    assert found is not None
    np.testing.assert_array_equal(found, np.flatnonzero(top_p(x, p) > -np.inf))


@pytest.mark.parametrize("p", [0.0, 5e-324, 1e-9, 1 - 1e-9, 1 - 2.0**-53])
def test_extreme_masses_end(p: float) -> None:
    x = np.random.default_rng(4).normal(size=20_000).astype(np.float32)
    expected = np.flatnonzero(top_p(x, p) > -np.inf)
    for found in (_wide_nucleus(x, p, "lowest"), *nuclei([Head(Scan(x, 1.0), p)], "lowest")):
        assert found is None or np.array_equal(found, expected)


def test_real_rows_are_decided() -> None:
    x = load().logits
    for t in (0.6, 0.8, 1.0):
        found = nuclei([Head(Scan(row, t), 0.9) for row in x], "lowest")
        assert sum(tokens is None for tokens in found) <= 1
        decided = [top_a(Scan(row, t), 0.2) is not None for row in x]
        assert sum(decided) >= 19


def test_a_sum_at_the_very_cut_stays_undecided() -> None:
    # Half the mass to the last bit: no estimate can tell, so the dense step has to.
    x: Array = np.zeros(10_000, np.float32)
    assert nuclei([Head(Scan(x, 1.0), 0.5)], "lowest") == [None]
    # Half of the likeliest, 100 times: p_i = 0.5 / 51 = a / 51**2.
    x = x.astype(np.float64)
    x[:100], x[100:], x[-1] = math.log(0.5), -np.inf, 0
    assert top_a(Scan(x, 1.0), 25.5) is None
    # In float32 ln 0.5 is off by 2e-9, which sums in float64 tell.
    x = x.astype(np.float32)
    assert np.array_equal(top_a(Scan(x, 1.0), 25.5), np.flatnonzero(TopA(25.5)(x) > -np.inf))
    assert top_a(Scan(x, 1.0), 25.4) is not None


@given(rows(), st.data())
def test_top_candidates_hold_the_most_likely(x: Array, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, x.size))
    wide = np.tile(x, 8192 // x.size + 1)
    found = top_candidates(wide, count)
    kept = np.sort(wide[found])[::-1][:count]
    best = np.sort(wide)[::-1][:count]
    # Where so many are not left, those that are removed may be missing.
    alive = int((best > -np.inf).sum())
    np.testing.assert_array_equal(kept[:alive], best[:alive])
    assert (kept[alive:] == -np.inf).all()
