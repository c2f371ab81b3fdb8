"""Gumbel draws by kernels: the tokens that numpy draws, and a doubt that is derived."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import draw, gumbel, kernels
from logitlab.draw import choose
from numpy.typing import NDArray

import strategies

pytestmark = pytest.mark.skipif(kernels.rows is None, reason="installed without kernels")

ERROR = 43 * 2.0**-50  # of one sum of logit and noise, as gumbel.h derives it


def places(rows: int, draws: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    shape = rows, draws
    return rng.integers(0, 2**63, shape), rng.integers(0, 2**32, shape)


def by_numpy(
    logits: NDArray[Any], seeds: Any, sequence: Any, position: Any, ids: Any = None
) -> NDArray[np.int64]:
    with kernels.off():
        return choose(logits, seeds, sequence, position, "gumbel", ids)


def sure(logits: NDArray[Any], seed: int, sequence: Any, position: Any) -> Any:
    """What the kernels draw without numpy, and which of it they are sure of."""
    assert kernels.rows
    keys = np.array([draw.philox_key(seed)], np.uint64)
    drawn, certain = np.empty(sequence.shape, np.int64), np.empty(sequence.shape, np.uint8)
    words = sequence.astype(np.uint64), position.astype(np.uint64)
    kernels.rows.gumbel(logits, None, keys, *words, drawn, certain)
    return drawn, certain


def as_bfloat16(logits: NDArray[Any]) -> NDArray[np.float32]:
    narrow = logits.astype(np.float32)
    return (narrow.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@given(
    strategies.logits(batch=(3,), max_size=300),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
    st.integers(1, 4),
    st.data(),
)
def test_tokens_are_those_of_numpy(
    logits: NDArray[Any], dtype: Any, ties: bool, draws: int, data: st.DataObject
) -> None:
    rows = (as_bfloat16(logits) if ties else logits).astype(dtype)
    if not (rows > -np.inf).any(axis=1).all():
        rows[:, 0] = 0
    seeds = data.draw(st.one_of(st.integers(), st.lists(st.integers(), min_size=3, max_size=3)))
    luck = places(3, draws, data.draw(st.integers(0, 2**32)))
    assert np.array_equal(choose(rows, seeds, *luck, "gumbel"), by_numpy(rows, seeds, *luck))
    gaps = data.draw(st.lists(st.integers(1, 10**7), min_size=logits.shape[1], max_size=300))
    ids = np.cumsum(np.broadcast_to(gaps[: logits.shape[1]], rows.shape), axis=1)
    ours = choose(rows, seeds, *luck, "gumbel", ids)
    assert np.array_equal(ours, by_numpy(rows, seeds, *luck, ids))


KINDS: dict[str, Any] = {
    "normal": lambda rng, shape: rng.normal(scale=2, size=shape),
    "peaked": lambda rng, shape: (
        np.where(np.arange(shape[1]) == shape[1] // 3, 0, -30) + np.zeros(shape)
    ),
    "equal": lambda rng, shape: np.zeros(shape),
    "four levels": lambda rng, shape: rng.integers(0, 4, shape) * 2.0,
    "bfloat16": lambda rng, shape: as_bfloat16(rng.normal(scale=4, size=shape)),
    "masked": lambda rng, shape: np.where(rng.random(shape) < 0.9, -np.inf, rng.normal(size=shape)),
    "one": lambda rng, shape: (
        np.where(np.arange(shape[1]) == shape[1] - 1, 0, -np.inf) + np.zeros(shape)
    ),
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-42,
    "huge": lambda rng, shape: rng.normal(size=shape) * 1e37,
    "offset": lambda rng, shape: 1e5 + rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_cauchy(shape),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_all_kinds_and_sizes(kind: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    for size in (1, 2, 63, 64, 65, 127, 128, 129, 300, 5000, 40000):
        rows = KINDS[kind](rng, (2, size)).astype(dtype)
        rows[:, 0] = np.where(np.isfinite(rows).any(axis=1), rows[:, 0], 0)
        luck = places(2, 8, size)
        expected = by_numpy(rows, 7, *luck)
        assert np.array_equal(choose(rows, 7, *luck, "gumbel"), expected)
        for row in (0, 1):
            ours, certain = sure(rows[row : row + 1], 7, luck[0][row, None], luck[1][row, None])
            assert certain.all()  # as close as logarithms err come no two of so few
            assert np.array_equal(ours[0], expected[row])


def test_every_size_up_to_300() -> None:
    """Against numpy and the plain equation; and what stands around the answers stays."""
    assert kernels.rows
    rng = np.random.default_rng(6)
    for size in range(1, 301):
        rows = rng.normal(size=(1, size)).astype(np.float32)
        luck = places(1, 3, size)
        ours = choose(rows, size, *luck, "gumbel")
        assert np.array_equal(ours, by_numpy(rows, size, *luck))
        noise = [gumbel(size, np.arange(size), *(words[0, j] for words in luck)) for j in range(3)]
        assert np.array_equal(ours[0], np.argmax(rows.astype(float) + noise, axis=1))
        drawn, certain = np.full(5, -7, np.int64), np.full(5, 7, np.uint8)
        keys = np.array([draw.philox_key(size)], np.uint64)
        words = (place.astype(np.uint64) for place in luck)
        kernels.rows.gumbel(rows, None, keys, *words, drawn[1:-1], certain[1:-1])
        assert drawn[[0, -1]].tolist() == [-7, -7]
        assert certain[[0, -1]].tolist() == [7, 7]


def exact_noise(bits: int) -> Decimal:
    """Return the noise of 53 bits with some 40 digits."""
    u = (Decimal(bits >> 1) + Decimal("0.5")) / Decimal(2) ** 52
    return -(-u.ln()).ln()


def test_noise_errs_within_its_bound_and_not_far_below_it() -> None:
    getcontext().prec = 50
    assert kernels.rows
    rng = np.random.default_rng(8)
    ends = [0, 1, 2, 3, 2**53 - 1, 2**53 - 2, 2**53 - 3, 2**53 - 4]
    scales = [int(2 ** rng.uniform(0, 53)) for _ in range(300)]
    tokens = [*ends, *scales, *(2**53 - s for s in scales), *rng.integers(0, 2**53, 500).tolist()]
    worst = {"kernel": 0.0, "numpy": 0.0}
    for bits in tokens:
        exact = exact_noise(bits)
        u = ((bits >> 1) + 0.5) * 2.0**-52
        found = {"kernel": kernels.rows.gumbel_noise(bits), "numpy": -np.log(-np.log(u))}
        for name, noise in found.items():
            worst[name] = max(worst[name], abs(float(Decimal(float(noise)) - exact)))
    for error in worst.values():
        assert 0.001 < error / ERROR <= 1


def rows_at_a_tie(seed: int, luck: Any, size: int, rng: Any) -> NDArray[np.float64]:
    """Return rows whose sums are all equal at one place, but for some units of rounding."""
    noise = gumbel(seed, np.arange(size), *(int(place[0, 0]) for place in luck))
    steps = rng.choice([0, 0, 0, 1, -1, 2, 30, -30], size)
    rows = 3 - noise + steps * 2.0**-51
    # Most tokens lose, so that the few that tie stand in any chunk.
    return np.asarray(np.where(rng.random(size) < min(1, 8 / size), rows, rows - 1)[None])


@pytest.mark.parametrize("size", [3, 64, 200, 3000])
def test_sums_that_are_nearly_equal_are_left_to_numpy(size: int) -> None:
    rng = np.random.default_rng(size)
    undecided = 0
    for seed in range(60):
        luck = places(1, 1, seed)
        rows = rows_at_a_tie(seed, luck, size, rng)
        expected = by_numpy(rows, seed, *luck)
        assert np.array_equal(choose(rows, seed, *luck, "gumbel"), expected)
        ours, certain = sure(rows, seed, *luck)
        undecided += int(not certain.all())
        assert (certain == 0).all() or np.array_equal(ours, expected)
    assert undecided > 20


def test_without_its_bound_the_kernel_would_draw_other_tokens() -> None:
    """A tie goes to the lowest id; the kernel meets the chunk of the top first.

    The bound is below 0 here, as where numpy calls the same logarithm nothing but a tie differs.
    """
    rng = np.random.default_rng(3)
    assert kernels.rows
    before, wrong = kernels.rows.slack(-1.0), 0
    try:
        for seed in range(300):
            luck = places(1, 1, seed)
            rows = rows_at_a_tie(seed, luck, 200, rng)
            wrong += int((choose(rows, seed, *luck, "gumbel") != by_numpy(rows, seed, *luck)).any())
    finally:
        kernels.rows.slack(before)
    assert wrong > 5


def test_what_is_odd_is_left_to_numpy() -> None:
    luck = places(2, 2)
    rows = np.zeros((2, 70), np.float32)
    rows[1, 66] = np.nan
    assert np.array_equal(choose(rows, 1, *luck, "gumbel"), by_numpy(rows, 1, *luck))
    _, certain = sure(rows[1:], 1, luck[0][1:], luck[1][1:])
    assert not certain.any()
    half = rows[:1].astype(np.float16)
    one = luck[0][:1], luck[1][:1]
    assert np.array_equal(choose(half, 1, *one, "gumbel"), by_numpy(half, 1, *one))
    with pytest.raises(ValueError, match="position must be"):
        choose(rows, 1, luck[0], luck[1] + 2**32, "gumbel")
    with pytest.raises(ValueError, match="token must be"):
        choose(rows[:1], 1, *one, "gumbel", np.arange(70)[None] + 2**32)
    # A draw's own place has no tokens, or no draws.
    assert choose(rows, 1, luck[0][:, :0], luck[1][:, :0], "gumbel").shape == (2, 0)


WORDS, LOGITS = np.zeros((2, 3), np.uint64), np.zeros((2, 5), np.float32)
KEYS = np.zeros((2, 2), np.uint64)


@pytest.mark.parametrize(
    ("place", "wrong", "rule"),
    [
        (0, LOGITS.astype(np.float16), "dtype"),
        (0, LOGITS.ravel(), "two axes"),
        (0, LOGITS[:0], "two axes"),
        (0, LOGITS[:, ::2], "contiguous"),
        (1, np.zeros((2, 4), np.int64), "size"),
        (1, np.zeros((2, 5), np.int32), "dtype"),
        (2, np.zeros((3, 2), np.uint64), "shared"),
        (2, KEYS[0, :1], "shared"),
        (3, np.zeros(3, np.uint64), "size"),
        (4, WORDS[:1], "size"),
        (5, np.zeros((2, 2), np.int64), "size"),
        (5, np.zeros((2, 3), np.int32), "dtype"),
        (6, np.zeros((2, 3), np.int64), "dtype"),
        (6, np.zeros(5, np.uint8), "size"),
    ],
)
def test_what_does_not_fit_is_refused(place: int, wrong: Any, rule: str) -> None:
    assert kernels.rows
    out = np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8)
    given = [LOGITS, None, KEYS, WORDS, WORDS, *out]
    kernels.rows.gumbel(*given)
    with pytest.raises(ValueError, match=rule):
        kernels.rows.gumbel(*given[:place], wrong, *given[place + 1 :])
