"""The watermark: transformers' answers, the permutation swap by swap, and what is detected."""

from __future__ import annotations

import math
from typing import Any

import logitlab as ll
import numpy as np
import pytest
from hypothesis import given, strategies as st
from logitlab import Context, ParameterError, Watermark, detect_watermark, watermark
from logitlab.steps.watermark import _is_among, _permutation
from scipy import stats

from sampler_examples import examples

MODEL = ll.models.NGram.bundled()
SIZE = len(MODEL.vocabulary)


@examples("transformers", "watermarking_config (KGW lefthash)", count=8)
def test_transformers_answers(example: dict[str, Any]) -> None:
    row = np.array(example["logits"], np.float32)
    left = Watermark(**example["params"])(row, Context(prompt=example["context"]))
    np.testing.assert_allclose(left, np.array(example["answer"]), atol=1e-6)


# What transformers 5.23.0 marks of a row of 41 numbers, with torch 2.13.0 on a CPU.
THIRD = "4 6 7 9 12 13 15 16 17 21 23 26 27 28 29 30 31 33 35 36 38 40"
SELFHASH: list[tuple[dict[str, Any], list[int], str]] = [
    ({"context_width": 1}, [3], "16 17 19 20 28 37 38 39"),
    ({"context_width": 2}, [3, 17], "3 16 17 18 19 23 28 30 37 38 39"),
    ({"context_width": 3, "greenlist_ratio": 0.5, "hashing_key": 7}, [3, 17, 40, 2], THIRD),
]


@pytest.mark.parametrize(("config", "context", "green"), SELFHASH)
def test_transformers_answers_with_selfhash(
    config: dict[str, Any], context: list[int], green: str
) -> None:
    marked = list(map(int, green.split()))
    row = np.sin(np.arange(41.0) * 7).astype(np.float32)
    step = Watermark(2.0, seeding_scheme="selfhash", **config)
    moved = step(row, Context(prompt=context)) - row
    np.testing.assert_allclose(moved, np.isin(np.arange(41), marked) * 2.0, atol=1e-6)
    for token in np.argsort(-row, kind="stable")[:40].tolist():
        assert step.is_green(token, np.array(context), 41) == (token in marked)


def swapped(seed: int, size: int) -> list[int]:
    """Return ``torch.randperm(size)``: for each place the word modulo what is left, a swap."""
    words, order = np.random.RandomState(seed), list(range(size))
    for place in range(size - 1):
        word = int.from_bytes(words.bytes(4), "little")
        other = place + word % (size - place)
        order[place], order[other] = order[other], order[place]
    return order


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.data())
def test_the_permutation_is_made_of_swaps(seed: int, size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, size))
    first = swapped(seed, size)[:count]
    assert _permutation(seed, size, count).tolist() == first
    assert [_is_among(seed, size, count, t) for t in range(size)] == [
        t in first for t in range(size)
    ]


def test_the_swaps_are_torchs() -> None:
    # torch.randperm(10, generator=torch.Generator().manual_seed(n))
    assert swapped(0, 10) == [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]
    assert swapped(42, 10) == [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]


def test_edges() -> None:
    row = np.arange(50.0)
    short = Watermark(2.0, context_width=3)
    np.testing.assert_array_equal(short(row, Context(prompt=[1, 2])), row)
    assert not np.array_equal(short(row, Context(prompt=[1], output=[2, 3])), row)
    np.testing.assert_array_equal(watermark(row, 1.0, Context([1]), greenlist_ratio=1.0), row + 1)
    np.testing.assert_array_equal(watermark(row, 1.0, Context([1]), greenlist_ratio=0.0), row)
    # Padding is no token, and prompt and output are one text.
    padded = Context(prompt=[[-1, 4], [9, -1]], output=[[-1], [4]])
    both = watermark([row, row], [1.0, 2.0], padded)
    np.testing.assert_array_equal(both[1] - row, 2 * (both[0] - row))
    gone = watermark(np.where(row < 25, -np.inf, row), 2.0, Context([4]))
    assert (gone[:25] == -np.inf).all()
    small = Watermark(2.0, seeding_scheme="selfhash", greenlist_ratio=0.0)
    np.testing.assert_array_equal(small(row[:5], Context([1])), row[:5])
    with pytest.raises(ParameterError, match="context must be a Context for watermarking_config"):
        ll.sample(row, {"watermarking_config": {}})
    with pytest.raises(ParameterError, match="greenlist_ratio must be in"):
        Watermark(2.0, greenlist_ratio=1.5)


def test_openrouter_marks_behind_the_truncations() -> None:
    chain = ll.engines.openrouter({"watermarking_config": {"bias": 1.5}, "top_k": 5})
    assert repr(chain) == "Chain(TopK(5), Watermark(1.5))"


def test_the_detector_counts_what_the_writer_marked() -> None:
    config: dict[str, Any] = {"bias": 3.0, "greenlist_ratio": 0.5}
    text = ll.generate(MODEL, "Once", seed=1, max_tokens=80, watermarking_config=config)
    evidence = detect_watermark(text.tokens, SIZE, config, prompt=text.prompt)
    step, before = Watermark(**config), int(text.prompt[-1])
    for token, is_green in zip(text.tokens.tolist(), evidence.is_green.tolist(), strict=True):
        marked = step(np.zeros(SIZE), Context([before]))
        assert (marked[token] > 0) == is_green
        before = token
    count, green = len(text.tokens), int(evidence.is_green.sum())
    assert evidence.z_score == pytest.approx((green - count / 2) / math.sqrt(count / 4), rel=1e-12)
    assert evidence.p_value == pytest.approx(stats.norm.sf(evidence.z_score), rel=1e-9)
    assert evidence.green_fraction == pytest.approx(green / count)
    assert evidence.p_value < 1e-6
    # The same text says nothing to who has another key.
    other = detect_watermark(text.tokens, SIZE, config | {"hashing_key": 11}, prompt=text.prompt)
    assert other.p_value > 1e-4
    begun = detect_watermark(text.tokens, SIZE, Watermark(**config))
    np.testing.assert_array_equal(begun.is_green, evidence.is_green[1:])


COUNTS: list[tuple[dict[str, Any], int, int]] = [
    ({}, 39, 13),
    ({"context_width": 2, "seeding_scheme": "selfhash"}, 39, 7),
    ({"greenlist_ratio": 0.5, "context_width": 3}, 37, 21),
    ({"seeding_scheme": "selfhash", "hashing_key": 7}, 40, 10),
]


def test_transformers_counts() -> None:
    # WatermarkDetector of transformers 5.23.0 on these tokens: scored, and green.
    tokens = (np.arange(40) ** 2 * 37 + 5) % 60
    for config, scored, green in COUNTS:
        evidence = detect_watermark(tokens, 60, config)
        assert (len(evidence.is_green), int(evidence.is_green.sum())) == (scored, green)


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_of_unmarked_text_z_is_standard_normal(ratio: float) -> None:
    """A test of Kolmogorov and Smirnov on 100 scores: a false alarm in 1 of 1,000 runs.

    Tokens at random, of which none repeats what came before it.
    """
    rng = np.random.default_rng(8)
    config = {"greenlist_ratio": ratio}
    scores = [detect_watermark(rng.permutation(900)[:200], 900, config).z_score for _ in range(100)]
    # Scores are steps of one green token, which a uniform number within the step makes smooth.
    step = 1 / math.sqrt(199 * ratio * (1 - ratio))
    smooth = np.array(scores) + rng.uniform(-step / 2, step / 2, 100)
    assert stats.kstest(smooth, "norm").pvalue > 1e-3


def test_what_repeats_counts_once_if_that_is_asked() -> None:
    tokens = [3, 4] * 30
    assert len(detect_watermark(tokens, 60).is_green) == 59
    assert len(detect_watermark(tokens, 60, count_repeated=False).is_green) == 2


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ParameterError, match="tokens must be more than 1, got 1"):
        detect_watermark([3], 60)
    with pytest.raises(ParameterError, match="tokens must be more than 3, got 0"):
        detect_watermark([], 60, {"context_width": 3}, prompt=[1, 2, 3])
    with pytest.raises(ParameterError, match=r"tokens must be in \[0, 59\]|tokens must be an int"):
        detect_watermark([3, 99], 60)
    with pytest.raises(ParameterError, match="greenlist_ratio must be above 0 and below 1"):
        detect_watermark([3, 9], 60, {"greenlist_ratio": 1.0})
    for config in ({"gamma": 0.5}, 3):
        with pytest.raises(ParameterError, match="config must be a Watermark, or a map with keys"):
            detect_watermark([3, 9], 60, config)  # type: ignore[arg-type]
