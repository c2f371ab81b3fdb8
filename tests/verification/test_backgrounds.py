"""What may be in force beside a parameter, and what it weighs, whatever has been told."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from logitlab.verification.backgrounds import _TOGETHER, Backgrounds
from logitlab.verification.contest import Contest
from logitlab.verification.rules import DEFAULTS, KEYS, MOVED, SENT, Rule, Setting, rules

from verification.simulated import Simulated, study


def _every(key: str) -> list[Setting]:
    """Return all that may be in force beside a parameter: each other off, or at some default."""
    found: list[list[tuple[str, tuple[float, float] | None]]] = []
    for other in KEYS:
        if other != key:
            together = {(each[other],) * 2 for each in _TOGETHER if other in each}
            values = dict.fromkeys([*DEFAULTS[other], *MOVED[other], *sorted(together)])
            found.append([(other, None), *((other, span) for span in values)])
    return [{name: span for name, span in each if span} for each in product(*found)]


@pytest.mark.parametrize("key", KEYS)
def test_the_weights_of_all_that_may_be_in_force_make_one(key: str) -> None:
    backgrounds = Backgrounds(1e-3)
    every = [*_every(key), *backgrounds.hidden]
    weights = [backgrounds.weight(setting, key) for setting in every]
    assert sum(weights) == pytest.approx(1)
    assert min(weights) > 0
    assert backgrounds.weight({}, key) == max(weights) > 0.4


def test_what_races_tell_leaves_some_of_it_with_the_weight_that_it_had() -> None:
    rng = np.random.default_rng(0)
    known = {_words(setting) for setting in _every("top_p")}
    for _ in range(60):
        backgrounds = Backgrounds(1e-3)
        for key in KEYS:
            every = [part for rule in rules(key).values() for part in rule.parts(key)]
            if rng.random() < 0.5:
                answer = rng.choice(["honoured", "ignored", ""])
                kept = [rule for rule in every if rule.answer == answer or rng.random() < 0.1]
                backgrounds.rules[key] = kept
        left = backgrounds.others("top_p")
        assert {_words(setting) for setting in left} <= known
        assert 0 < sum(backgrounds.weight(each, "top_p") for each in left) <= 1 + 1e-9


def _words(setting: Setting) -> str:
    return str(sorted((key, tuple(map(float, span))) for key, span in setting.items()))


def test_bets_on_what_is_left_have_no_more_weight_than_before() -> None:
    found = study(Simulated())
    contests = []
    for known in ({}, {"top_k": [Rule("honoured", "honoured")]}):
        found.backgrounds = Backgrounds(1e-3)
        found.backgrounds.rules |= known
        contests.append(
            Contest(
                found, "min_p", rules("min_p"), SENT["min_p"], dict.fromkeys(rules("min_p"), "")
            )
        )
    before, after = ({(rule, str(setting)): weight for rule, setting, weight in contest._rows}
                     for contest in contests)  # fmt: skip
    assert len(after) < len(before)
    assert all(weight == before.get(row, weight) for row, weight in after.items())
    assert sum(after.values()) < sum(before.values())
