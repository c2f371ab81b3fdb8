"""Orders recorded from llama.cpp itself (xllamacpp 2026.10.11549), and what every sort obeys.

Those of torch are in ``torch_orders.json``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Chain, TopP
from logitlab.steps.candidate_order.sorts import in_front, nucleus_sort, partial_sort, sort

from steps.candidate_order import torch_orders

Array = np.ndarray[Any, Any]

SHORT = [
    ([0, 0, 0, 0], [1, 3, 0, 2]),
    ([1, 3, 3, 2, 3], [4, 1, 2, 3, 0]),
    ([1, 3, 3, 2, 3], [2, 1]),
    ([0] * 12, [3, 4, 1, 0, 2]),
    ([2, 1] * 4, [0, 4, 2, 6, 1, 3, 7, 5]),
    ([5, 5, 4, 4, 3, 3, 2, 2, 1, 1], [1, 0, 3, 2, 4, 5, 6]),
    ([1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [8, 9, 6, 7, 4, 5]),
    ([0, 1, 2] * 9, [8, 17, 20, 11, 5, 23, 26, 14, 2, 7]),
]
# Length of a row of ties, its different values, k; the first places, SHA-256 of all.
TOP_K = [
    (300, 7, 100, [262, 94, 150, 220, 185, 178], "4efe4d780ff6"),
    (3000, 40, 40, [1201, 761, 1081, 241, 841, 1281], "28b1309d9034"),
    (130, 2, 130, [81, 97, 95, 93, 91, 89], "36735daa9f91"),
    (200, 1, 150, [78, 94, 46, 142, 110, 38], "78b616581cb8"),
    (500, 3, 500, [346, 316, 319, 322, 325, 328], "1306abfeae61"),
    (3000, 5, 2000, [2021, 1976, 1981, 1986, 1991, 1996], "03c88d5bcfdc"),
    (3000, 40, 129, [1601, 1561, 2201, 1201, 2001, 2521], "ca2ebfb51f70"),
]
# The same, with the size of the nucleus for k.
TOP_P = [
    (1100, 2, 76, [317, 381, 189, 285, 445, 157], "469a83a50bff"),
    (1100, 2, 452, [741, 725, 727, 729, 731, 733], "6901ce19b5d1"),
    (600, 3, 392, [415, 379, 382, 385, 388, 391], "50e4e78bf0f8"),
    (3000, 5, 2995, [2021, 1976, 1981, 1986, 1991, 1996], "6b76b77304f2"),
]


def ties(size: int, kinds: int) -> Array:
    return (np.arange(size) * 7919 % kinds).astype(np.float32)


def digest(places: Array) -> str:
    return hashlib.sha256(places.astype("<i8").tobytes()).hexdigest()[:12]


@pytest.mark.parametrize(("values", "expected"), SHORT)
def test_short_rows_as_recorded(values: list[float], expected: list[int]) -> None:
    assert partial_sort(np.array(values, np.float32), len(expected)).tolist() == expected


@pytest.mark.parametrize(("size", "kinds", "k", "first", "all_"), TOP_K)
def test_top_k_as_recorded(size: int, kinds: int, k: int, first: list[int], all_: str) -> None:
    places = partial_sort(ties(size, kinds), k)
    assert places[:6].tolist() == first
    assert digest(places) == all_


@pytest.mark.parametrize(("size", "kinds", "k", "first", "all_"), TOP_P)
def test_top_p_as_recorded(size: int, kinds: int, k: int, first: list[int], all_: str) -> None:
    places = nucleus_sort(ties(size, kinds), lambda sorted_: len(sorted_) >= k)[:k]
    assert places[:6].tolist() == first
    assert digest(places) == all_


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 60), st.data())
def test_the_k_largest_in_descending_order(seed: int, n: int, kinds: int, data: Any) -> None:
    k = data.draw(st.integers(1, n))
    values = np.random.default_rng(seed).integers(-kinds, kinds, n).astype(np.float32) / 4
    places = partial_sort(values, k)
    assert len(set(places.tolist())) == k
    np.testing.assert_array_equal(values[places], -np.sort(-values)[:k])
    assert sorted(sort(values).tolist()) == list(range(n))
    np.testing.assert_array_equal(values[sort(values)], -np.sort(-values))


@given(st.integers(0, 2**32 - 1), st.integers(1, 2000), st.floats(0.1, 20))
def test_without_ties_every_sort_agrees(seed: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    values = ((rng.permutation(n) / n - 0.5) * spread).astype(np.float32)
    expected = np.argsort(-values, kind="stable")
    for k in {1, min(n, 128), min(n, 129), n}:
        np.testing.assert_array_equal(partial_sort(values, k), expected[:k])
    np.testing.assert_array_equal(sort(values), expected)


def test_a_long_nucleus_is_sorted_as_a_whole() -> None:
    values = np.linspace(0, 1, 1100, dtype=np.float32)
    assert len(nucleus_sort(values, lambda _: True)) == 256
    assert len(nucleus_sort(values, lambda _: False)) == 1100


def test_masked_rows_and_huge_logits() -> None:
    values = np.array([-np.inf] * 150 + [1, 2, 3], np.float32)
    assert partial_sort(values, 3).tolist() == [152, 151, 150]
    values[0] = np.float32(4e8)  # beyond 2**31 / 6.4 the bucket overflows: llama.cpp's lowest one
    assert partial_sort(values, 129)[:4].tolist() == [152, 151, 150, 0]


def test_the_orders_of_torch_are_those_of_introsort() -> None:
    recorded = json.loads(torch_orders.RECORDED.read_text())["orders"]
    names = []
    for name, row in torch_orders.rows():
        names.append(name)
        ours = [torch_orders.digest(sort(values)) for values in (row, -row)]
        assert ours == recorded[name], name
    assert names == list(recorded)
    assert len(names) > 250


def test_nuclei_are_as_large_as_those_of_torch() -> None:
    recorded = json.loads(torch_orders.RECORDED.read_text())["nuclei"]
    rows = ((name, row) for name, row in torch_orders.rows() if name in recorded)
    for name, row in rows:
        sizes = [
            np.count_nonzero(Chain(TopP(p, sums="ascending"), precision="mixed")(row) > -np.inf)
            for p in torch_orders.MASSES
        ]
        assert sizes == recorded[name], name
    assert len(recorded) > 240


def test_what_stands_in_front_is_the_beginning_of_the_order() -> None:
    for number, (name, row) in enumerate(torch_orders.rows()):
        if len(row) > 5000 and number % 4:
            continue
        order = sort(row)
        for count in {
            0,
            1,
            len(row) // 3,
            len(row) // 2,
            len(row) - 1,
            len(row),
            7 * number % len(row),
        }:
            kept = np.flatnonzero(in_front(row, count))
            np.testing.assert_array_equal(kept, np.sort(order[:count]), err_msg=f"{name}, {count}")


@given(st.integers(0, 2**32 - 1), st.integers(17, 300), st.integers(1, 9))
def test_wanted_tokens_stand_where_the_whole_order_has_them(seed: int, n: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, kinds, n).astype(np.float32)
    wanted = rng.random(n) < 0.2
    whole, some = sort(values), sort(values, wanted)
    np.testing.assert_array_equal(some[wanted[some]], whole[wanted[whole]])
    np.testing.assert_array_equal(values[some], values[whole])


def test_equal_values_are_sorted_once_and_stay_the_callers_own() -> None:
    first = sort(np.zeros(40, np.float32))
    expected = first.tolist()
    first[:] = 0
    assert sort(np.full(40, -1.5)).tolist() == expected
    # One value more above all: the order of equals is then another question.
    assert sort(np.append(np.zeros(40), 1.0))[0] == 40
