"""Rules: what becomes of a value, and grids of bounds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from logitlab.verification.rules import (
    KEYS,
    NEUTRAL,
    OFF,
    SENT,
    Rule,
    finer,
    rules,
    touches_neutral,
)


@pytest.mark.parametrize("key", KEYS)
def test_every_value_and_clamp_is_a_hypothesis(key: str) -> None:
    known = rules(key)
    assert next(iter(known)) == "honoured"
    assert all(known["honoured"].keeps(sent) for sent in SENT[key])
    ignored = [rule for rule in known.values() if rule.answer == "ignored"]
    assert ignored[0].always == (NEUTRAL[key],) * 2
    assert not any(rule.keeps(sent) for rule in ignored[:1] for sent in SENT[key])


@pytest.mark.parametrize("key", KEYS)
def test_a_bound_anywhere_is_within_a_span_of_one_rule(key: str) -> None:
    rng = np.random.default_rng(0)
    known = rules(key).values()
    for name, choose in (("floor", max), ("cap", min)):
        some = [r for r in known if getattr(r, name) is not None]
        some = [r for r in some if (r.cap if name == "floor" else r.floor) is None and not r.zero]
        if not some:
            continue
        low = min(getattr(r, name)[0] for r in some)
        high = max(getattr(r, name)[1] for r in some)
        for _ in range(50):
            bound = rng.uniform(low, high)
            if key == "top_k":
                bound = float(rng.integers(int(low), int(high) + 1))
            fits = []
            for rule in some:
                spans = [rule.used(sent) for sent in SENT[key]]
                used = [choose(sent, bound) for sent in SENT[key]]
                fits.append(all(a <= x <= b for (a, b), x in zip(spans, used, strict=True)))
            assert any(fits), (name, bound)


def test_parts_are_the_whole() -> None:
    for key in KEYS:
        for rule in rules(key).values():
            parts = rule.parts(key)
            for name in ("floor", "cap"):
                whole = getattr(rule, name)
                spans = [getattr(part, name) for part in parts]
                if whole is None:
                    assert set(spans) == {None}
                else:
                    assert min(low for low, _ in spans) == whole[0]
                    assert max(high for _, high in spans) == whole[1]
                    gap = 1 if key == "top_k" else 0
                    ordered = sorted(set(spans))
                    for (_, end), (start, _) in pairwise(ordered):
                        assert start == end + gap


def test_a_floor_may_spare_0_and_a_cap_the_top_k_that_is_off() -> None:
    spared = Rule("", "clamped", floor=(0.4, 0.7), zero=True)
    assert spared.used(0) == (0, 0)
    assert spared.used(0.05) == (0.4, 0.7)
    capped = Rule("", "clamped", cap=(3, 4))
    assert capped.neutral("top_k") == (OFF, OFF)
    assert capped.used(40) == (3, 4)
    assert Rule("", "clamped", cap=(0.4, 1.0)).neutral("temperature") == (0.4, 1.0)


def test_a_bound_at_the_neutral_value_is_as_good_as_ignored() -> None:
    near = {key: [n for n, r in rules(key).items() if touches_neutral(key, r)] for key in KEYS}
    assert near["top_p"] == ["clamped to at least 0.6 to 1"]
    assert near["min_p"] == ["clamped to at most 0 to 0.05"]
    assert near["top_k"][0] == "clamped to at least 11 to 100"
    assert not any("least" not in name or "most" not in name for name in near["temperature"])


def test_finer_grids_are_even_in_logarithms() -> None:
    assert finer(0.1, 0.4, 2) == [0.1, 0.2, 0.4]
    assert finer(0, 0.4, 3)[0] == 0
    assert finer(3, 7, 6, integer=True) == [3, 4, 5, 6, 7]
