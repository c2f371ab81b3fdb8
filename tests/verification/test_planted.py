"""The error of a race is as stated: the benchmark of planted truths, in a short form.

CI runs more races of each truth, by ``LOGITLAB_RACES=60``.
"""

from __future__ import annotations

import os
from functools import cache

import pytest
from logitlab.verification.values import ParameterRace
from scipy.stats import binom

from verification.planted import TRUTHS, Truth, false_claims, learnt, race, templates

pytestmark = pytest.mark.slow

RACES = int(os.environ.get("LOGITLAB_RACES", "15"))
ALPHA = 0.05


@cache
def likes() -> dict[str, ParameterRace]:
    return templates(learnt())


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: f"{truth.key} {truth.fault}")
def test_the_truth_is_refuted_no_more_often_than_stated(truth: Truth) -> None:
    findings = [race(truth, likes()[truth.key], ALPHA, 0.01, seed) for seed in range(RACES)]
    refuted = sum(truth.rule not in finding.alive for finding in findings)
    # One of 10,000 runs of this test would fail if the error were just what is stated.
    assert refuted <= binom.ppf(1 - 1e-4 / len(TRUTHS), RACES, ALPHA)
    assert sum(false_claims(truth, finding) for finding in findings) <= RACES * ALPHA * 2
    right = sum(finding.verdict in truth.verdicts for finding in findings)
    assert right > RACES / 2 or truth.rule.startswith("clamped")
