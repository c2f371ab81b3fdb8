from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, strategies as st
from logitlab import (
    entropy,
    js_divergence,
    kl_divergence,
    mass_removed,
    perplexity,
    softmax,
    support_size,
    top_k,
    top_p,
    top_probability,
    total_variation,
)
from logitlab.datasets import load
from scipy.spatial.distance import jensenshannon

from strategies import batch_shapes, logits

ONE: tuple[Callable[[Any], Any], ...] = (entropy, perplexity, support_size, top_probability)
TWO: tuple[Callable[[Any, Any], Any], ...] = (
    kl_divergence,
    js_divergence,
    total_variation,
    mass_removed,
)


@st.composite
def twins(draw: st.DrawFn) -> tuple[Any, Any]:
    batch, size = draw(batch_shapes()), draw(st.integers(1, 8))
    one = logits(batch=batch, min_size=size, max_size=size)
    return draw(one), draw(one)


def exact(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(scipy.special.softmax(np.asarray(x, np.float64), axis=-1))


def exact_kl(x: Any, y: Any) -> np.ndarray[Any, Any]:
    """In log space: a q that underflows to zero is still not zero, and the divergence finite."""
    a = scipy.special.log_softmax(np.asarray(x, np.float64), axis=-1)
    b = scipy.special.log_softmax(np.asarray(y, np.float64), axis=-1)
    p = np.exp(a)
    gap = np.subtract(a, b, where=p > 0, out=np.zeros_like(a))
    return np.asarray((gap * p).sum(axis=-1))


@given(logits())
def test_measures_of_one_distribution(x: np.ndarray[Any, Any]) -> None:
    p = exact(x)
    np.testing.assert_allclose(entropy(x), scipy.stats.entropy(p, axis=-1), atol=1e-12)
    np.testing.assert_allclose(perplexity(x), np.exp(scipy.stats.entropy(p, axis=-1)), rtol=1e-9)
    np.testing.assert_array_equal(support_size(x), np.isfinite(x).sum(axis=-1))
    np.testing.assert_allclose(top_probability(x), p.max(axis=-1), rtol=1e-12)
    for measure in ONE:
        assert np.shape(measure(x)) == x.shape[:-1]


@given(twins())
def test_measures_of_two_distributions(pair: tuple[Any, Any]) -> None:
    x, y = pair
    p, q = exact(x), exact(y)
    np.testing.assert_allclose(kl_divergence(x, y), exact_kl(x, y), rtol=1e-9, atol=1e-12)
    js = jensenshannon(p, q, axis=-1) ** 2
    np.testing.assert_allclose(js_divergence(x, y), np.nan_to_num(js), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(total_variation(x, y), abs(p - q).sum(axis=-1) / 2, atol=1e-12)
    np.testing.assert_allclose(mass_removed(x, y), p.sum(axis=-1, where=y == -np.inf), atol=1e-12)
    for measure in TWO:
        assert np.shape(measure(x, y)) == x.shape[:-1]


@given(twins())
def test_inequalities(pair: tuple[Any, Any]) -> None:
    x, y = pair
    tv, kl, js = total_variation(x, y), kl_divergence(x, y), js_divergence(x, y)
    assert (tv <= np.sqrt(kl / 2) + 1e-9).all()  # Pinsker
    assert (js <= tv * np.log(2) + 1e-9).all()  # Lin
    assert (js <= np.log(2)).all()
    np.testing.assert_allclose(js, js_divergence(y, x), atol=1e-12)


def test_exact_values() -> None:
    one_hot, other, half = [0.0, -np.inf], [-np.inf, 0.0], [0.0, 0.0]
    assert entropy(one_hot) == 0
    assert entropy(half) == pytest.approx(np.log(2), rel=1e-15)
    assert perplexity(one_hot) == 1
    assert kl_divergence(half, half) == 0
    assert kl_divergence(one_hot, half) == pytest.approx(np.log(2), rel=1e-15)
    assert kl_divergence(half, one_hot) == np.inf
    assert js_divergence(one_hot, other) == pytest.approx(np.log(2), rel=1e-15)
    assert total_variation(one_hot, other) == 1
    assert mass_removed(half, one_hot) == 0.5
    assert mass_removed(half, half) == 0
    assert support_size(one_hot) == 1


def test_real_rows_against_scipy() -> None:
    x = load().logits
    np.testing.assert_allclose(entropy(x), scipy.stats.entropy(exact(x), axis=-1), rtol=1e-12)
    kept = top_k(x, 50)
    kl = scipy.special.rel_entr(exact(kept), exact(x)).sum(axis=-1)
    np.testing.assert_allclose(kl_divergence(kept, x), kl, rtol=1e-9)
    # Of renormalised survivors: total variation and KL are functions of the mass removed.
    removed = mass_removed(x, kept)
    np.testing.assert_allclose(total_variation(x, kept), removed, rtol=1e-9)
    np.testing.assert_allclose(kl_divergence(kept, x), -np.log1p(-removed), rtol=1e-9)


def test_batches_broadcast() -> None:
    x = load().logits[:3]
    assert total_variation(x[:, None], x[None, :]).shape == (3, 3)
    np.testing.assert_array_equal(np.diag(total_variation(x[:, None], x[None, :])), 0)
    assert mass_removed(x, top_p(x, 0.9)).max() <= 0.1 + 1e-12


def test_an_empty_batch_gives_an_empty_result() -> None:
    empty = np.empty((0, 5), np.float32)
    for measure in ONE:
        assert np.shape(measure(empty)) == (0,)


@given(logits(batch=()))
def test_metrics_do_not_touch_their_input(x: np.ndarray[Any, Any]) -> None:
    before = x.tobytes()
    for measure in ONE:
        measure(x)
    for distance in TWO:
        distance(x, x)
    softmax(x)
    assert x.tobytes() == before
