"""Envelopes are suprema, by brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st
from logitlab.verification.envelope import FOREIGN, ceilings, cut_between, with_foreign


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=8), st.data())
def test_a_cut_between_two_is_the_most_of_all_cuts(
    weights: list[float], data: st.DataObject
) -> None:
    weight = np.sort(weights)[::-1]
    least = data.draw(st.integers(1, len(weight)))
    most = data.draw(st.integers(least, len(weight)))
    cuts = []
    for kept in range(least, most + 1):
        cut = np.where(np.arange(len(weight)) < kept, weight, 0)
        cuts.append(cut / cut.sum())
    found = cut_between(weight, np.array(least), np.array(most))
    np.testing.assert_allclose(found, np.max(cuts, axis=0), rtol=1e-12)


def test_foreign_answers_are_within_the_envelope() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        own, reference = rng.dirichlet(np.ones(5), 2)
        strange = np.minimum(1, 2 * reference + 2 / 5) * rng.random(5)
        _, envelope = with_foreign(own, own, reference)
        assert ((1 - FOREIGN) * own + FOREIGN * strange <= envelope + 1e-15).all()


def test_no_single_answer_refutes_that_is_as_likely_under_a_neutral_request() -> None:
    rng = np.random.default_rng(1)
    for categories in (2, 5, 21, 101):
        reference = rng.dirichlet(np.ones(categories))
        nothing = np.zeros(categories)
        _, envelope = with_foreign(nothing, nothing, reference)
        # Half of that for every answer which is not likelier than all others together.
        assert (reference / envelope <= np.maximum(reference, 0.5) / FOREIGN * (1 + 1e-9)).all()


def test_an_answer_that_is_nearly_sure_refutes_by_no_more_either() -> None:
    for share in (0.4, 0.6, 0.9, 0.999):
        reference = np.array([share, 1 - share])
        _, envelope = with_foreign(np.zeros(2), np.zeros(2), reference)
        assert (reference / envelope <= np.maximum(reference, 0.5) / FOREIGN * (1 + 1e-9)).all()
        assert (reference / envelope).max() > 0.4 / FOREIGN


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6), st.integers(3, 8))
def test_between_points_a_concave_function_is_below_its_ceilings(
    slopes: list[float], count: int
) -> None:
    # The least of some lines is concave.
    lines = np.array(slopes)
    fine = np.linspace(0, 1, 20 * (count - 1) + 1)
    whole = (lines[:, None] * (fine - 0.5) + np.sin(lines)[:, None]).min(axis=0)
    found = ceilings(whole[::20])
    assert found.shape == (count - 1,)
    for part, most in enumerate(found):
        assert whole[20 * part : 20 * part + 21].max() <= most + 1e-12


def test_ceilings_are_near_where_a_function_is_smooth() -> None:
    x = np.linspace(-1, 1, 41)
    np.testing.assert_allclose(ceilings(-(x**2)).max(), 0, atol=0.002)
