"""Running sums by kernels: lengths as numpy's sums have them, numbers within their doubt."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, MinP, Temperature, TopA, TopP, kernels, sweep
from logitlab.sweeps.prefixes import Order, _tempered
from numpy.typing import NDArray

import strategies

pytestmark = pytest.mark.skipif(kernels.rows is None, reason="installed without kernels")

FLOATS = [np.float32, np.float64]


def descending(row: NDArray[Any]) -> NDArray[Any]:
    return np.sort(row[row > -np.inf])[::-1].copy()


def test_exponentials_err_within_their_bound_and_not_far_below_it() -> None:
    getcontext().prec = 40
    rng = np.random.default_rng(0)
    worst = 0.0
    depths = [*rng.uniform(0, 38, 4000), *rng.exponential(0.1, 500), *rng.uniform(0, 1e-9, 20)]
    for depth in depths:
        # A product with a depth is the second running sum, as that of the first token is 0.
        order = Order(np.array([0, -depth]))
        exact = Decimal(-depth).exp() * Decimal(depth)
        worst = max(worst, abs(float(Decimal(float(order.depths[1])) / exact - 1)))
    assert 0.1 < worst / (3.5 * 2.0**-53) <= 1  # 2.5 units, and the product's own rounding


@pytest.mark.parametrize("dtype", FLOATS)
def test_depth_has_the_bits_of_numpy_and_sums_differ_within_their_doubt(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    ratios = []
    for size in (*range(1, 41), 63, 64, 65, 300, 5000, 49152):
        for scale in (1e-3, 1, 5, 30):
            row = descending((rng.normal(size=size) * scale).astype(dtype))
            ours = Order(row)
            numbers = ours.depth, ours.mass, ours.depths
            with kernels.off():
                theirs = Order(row)
                expected = theirs.depth, theirs.mass, theirs.depths
            assert numbers[0].tobytes() == expected[0].tobytes()
            assert ours.mass_of_numpy.tobytes() == expected[1].tobytes()
            for sums, others in zip(numbers[1:], expected[1:], strict=True):
                assert sums.shape == others.shape
                off = np.abs(sums[1:] - others[1:]) / np.maximum(others[1:], 1e-300)
                ratios.append(off.max(initial=0) / ours.doubt)
            quotients = [sums / sums[-1] for sums in (numbers[1], expected[1])]
            ratios.append(np.abs(quotients[0] / quotients[1] - 1).max() / ours.doubt)
    assert 0.001 < max(ratios) <= 1


def test_deep_tokens_are_left_out_where_numpy_leaves_them_out() -> None:
    for size in range(1, 60):
        for cut in range(size + 1):
            row = np.where(np.arange(size) < cut, -0.1 * np.arange(size), -38.5)
            row = np.append(row, -np.arange(size) - 38.0)
            row = descending(row)
            with kernels.off():
                expected = Order(row).mass
            assert len(Order(row).mass) == len(expected)


def test_what_stands_around_the_answers_stays() -> None:
    assert kernels.rows
    rng = np.random.default_rng(2)
    for size in range(1, 301):
        row = descending(rng.normal(size=size).astype(np.float32) * 20)
        memory = np.full((5, size + 2), 7.0)
        depth, mass, depths = memory[:3, 1:-1]
        kernels.rows.running_sums(row, depth, mass, depths)
        kernels.rows.quotients(row.astype(float), 0.7, False, memory[3, 1:-1])
        assert (memory[:, [0, -1]] == 7).all()
        assert (memory[4] == 7).all()


@given(
    strategies.logits(max_size=70),
    st.sampled_from(FLOATS),
    st.one_of(st.floats(0, 10), st.floats(0, exclude_min=True, allow_infinity=False)),
    st.booleans(),
)
def test_quotients_have_the_bits_of_the_step(
    logits: NDArray[Any], dtype: Any, t: float, reciprocal: bool
) -> None:
    values = descending(logits.reshape(-1).astype(dtype))
    if not len(values) or t == 0:
        return
    step = Temperature(t, reciprocal=reciprocal)
    ours = _tempered(values, step)
    with kernels.off():
        expected = _tempered(values, step)
    assert ours.dtype == expected.dtype
    assert ours.tobytes() == expected.tobytes()
    if not reciprocal:
        with np.errstate(over="ignore"):
            plain = (values.astype(np.float64) / t).astype(dtype)
        if np.isfinite(plain).all():  # others a step squeezes
            assert np.array_equal(ours, plain)


def levels(rng: np.random.Generator, size: int) -> NDArray[Any]:
    return np.asarray(rng.integers(0, 4, size) * np.log(2))


def half_floats(rng: np.random.Generator, size: int) -> NDArray[Any]:
    narrow = rng.normal(scale=4, size=size).astype(np.float32)
    return np.asarray((narrow.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))


ROWS: dict[str, Any] = {
    "normal": lambda rng, size: rng.normal(scale=3, size=size),
    "equal": lambda rng, size: np.zeros(size),
    "levels": levels,
    "bfloat16": half_floats,
    "deep": lambda rng, size: rng.normal(scale=40, size=size),
}


def sizes(order: Order, n: NDArray[Any], p: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([order.nucleus_size(n, p, at_p) for at_p in ("drop", "keep")])


def adversarial(row: NDArray[Any], rng: np.random.Generator) -> tuple[NDArray[Any], ...]:
    """Return lengths, and masses at and around which numpy's running sums stand."""
    with kernels.off():
        mass = Order(row).mass
    n = rng.integers(1, len(row) + 1, 200)
    last = np.minimum(n, len(mass)) - 1
    p = mass[rng.integers(0, last + 1)] / mass[last]
    p *= 1 + rng.choice([0, 0, 1, -1, 2, -2, 50, -50], len(p)) * 2.0**-53
    return n, np.minimum(p, np.nextafter(1, 0))


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_nucleus_is_as_long_as_that_of_numpy(kind: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 7, 8, 9, 100, 3000):
        row = descending(ROWS[kind](rng, size).astype(dtype))
        for n, p in (adversarial(row, rng), (np.full(50, size), rng.random(50))):
            with kernels.off():
                expected = sizes(Order(row), n, p)
            assert np.array_equal(sizes(Order(row), n, p), expected)
            for one in range(0, len(n), 7):  # what one value needs does not depend on the others
                alone = sizes(Order(row), n[[one]], p[[one]])
                assert np.array_equal(alone, expected[[one, one + len(n)]])


def test_without_doubt_a_nucleus_would_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Order, "doubt", 0.0)
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(20):
        row = descending(rng.normal(scale=3, size=500))
        n, p = adversarial(row, rng)
        for one in range(len(n)):
            with kernels.off():
                expected = sizes(Order(row), n[[one]], p[[one]])
            wrong += int(not np.array_equal(sizes(Order(row), n[[one]], p[[one]]), expected))
    assert wrong > 100


def test_real_rows_are_hardly_ever_left_to_numpy() -> None:
    rng = np.random.default_rng(5)
    left = 0
    for _ in range(100):
        order = Order(descending(rng.normal(scale=2, size=3000).astype(np.float32)))
        order.nucleus_size(np.full(20, 3000), np.append(rng.uniform(0.05, 0.99, 19), 1), "drop")
        left += "mass_of_numpy" in vars(order)
    assert left == 0


@given(strategies.logits(batch=(2,), max_size=60), st.data())
def test_sweeps_are_the_same_without_kernels(logits: NDArray[Any], data: st.DataObject) -> None:
    ts = data.draw(st.lists(st.floats(0, 3), min_size=1, max_size=3, unique=True))
    ps = data.draw(st.lists(st.sampled_from([0.25, 0.5, 0.9, 1.0]), min_size=1, max_size=3))

    def chain_of(point: Any) -> Chain:
        cuts = TopP(point["p"]), MinP(0.05), TopA(0.1)
        return Chain(Temperature(point["t"]), *cuts, Temperature(0.7))

    names = ["support_size", "entropy", "top_probability"]
    grid = {"t": ts, "p": sorted(set(ps))}
    ours = sweep(logits, grid, names, engine=chain_of, reduce="rows").values
    with kernels.off():
        expected = sweep(logits, grid, names, engine=chain_of, reduce="rows").values
    assert np.array_equal(ours["support_size"], expected["support_size"])
    for name in names[1:]:
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-12, atol=1e-12)


ROW, OUT = np.zeros(4, np.float32), [np.zeros(4) for _ in range(3)]


@pytest.mark.parametrize(
    ("place", "wrong", "rule"),
    [
        (0, ROW.astype(np.float16), "dtype"),
        (0, ROW[::2], "contiguous"),
        (0, ROW[:3], "size"),
        (1, np.zeros(3), "size"),
        (2, ROW, "dtype"),
        (3, np.zeros(8)[::2], "contiguous"),
    ],
)
def test_sums_refuse_what_does_not_fit(place: int, wrong: Any, rule: str) -> None:
    assert kernels.rows
    given = [ROW, *OUT]
    assert kernels.rows.running_sums(*given) == 4
    with pytest.raises(ValueError, match=rule):
        kernels.rows.running_sums(*given[:place], wrong, *given[place + 1 :])


def test_quotients_refuse_what_does_not_fit() -> None:
    assert kernels.rows
    assert kernels.rows.running_sums(ROW[:0], *(out[:0] for out in OUT)) == 0
    for wrong, rule in ((ROW[:3], "size"), (np.zeros(4), "dtype of row"), (None, "contiguous")):
        with pytest.raises(ValueError, match=rule):
            kernels.rows.quotients(ROW, 2.0, False, wrong)
    with pytest.raises(TypeError):
        kernels.rows.quotients(ROW, "two", False, ROW)
