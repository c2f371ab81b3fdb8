"""The stage of neutral answers: what is learnt of prompts, what is in force, and drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab.verification.bases import PROMPTS as BUILT_IN, bases, drift
from logitlab.verification.values import values

from verification.simulated import NEUTRAL, PROMPTS, ROWS, Simulated, study


def test_without_a_prompt_nothing_is_told() -> None:
    found = study(Simulated(top=2))
    bases(found)
    assert found.observed == {}
    values(found, "top_k")
    finding = found.findings["top_k"]
    assert finding.verdict == "cannot_tell"
    assert finding.detail == "no prompt has a distribution that could be learnt"


def test_prompts_with_half_characters_end_before_them() -> None:
    assert len(BUILT_IN) == 12
    found = study(Simulated())
    bases(found, 0)
    assert len(found.observed) > 8
    for seen in found.observed.values():
        assert all(not isinstance(token, bytes) or token.decode() for token in seen.tokens)


@pytest.mark.parametrize("listed", ["added", "replaced"])
def test_a_draw_that_is_listed_is_not_taken_for_one_of_the_likeliest(listed: str) -> None:
    for seed in range(3):
        found = study(Simulated(listed=listed, seed=seed, top=5))
        bases(found, 0)
        for prompt, seen in found.observed.items():
            logits = ROWS.logits[ROWS.prompts.index(prompt)]
            best = np.argsort(-logits, kind="stable")[: seen.reported]
            assert seen.tokens == tuple(bytes(ROWS.vocabulary[int(token)]) for token in best)


def test_noise_is_seen_and_backgrounds_are_raced() -> None:
    found = study(Simulated({"top_k": "ignored"}, {"top_k": 5}, noise=0.03))
    bases(found)
    assert found.backgrounds is not None
    assert {seen.sigma for seen in found.observed.values()} != {0.0}
    assert all(0.02 < seen.sigma < 0.045 for seen in found.observed.values())
    assert {} not in found.backgrounds.alive


def test_drift_is_measured() -> None:
    server = Simulated()
    found = study(server, prompts=PROMPTS[:4])
    bases(found, 0)
    assert drift(found) == 0
    server.reports = "tempered"
    server.faults, server.defaults = {"temperature": "ignored"}, {**NEUTRAL, "temperature": 0.5}
    assert drift(found) > 0.5


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_prompts_that_are_not_read_are_noted(noise: float) -> None:
    for is_read in (True, False):
        server = Simulated(noise=noise, seed=2)

        def ask(bodies: Any, server: Simulated = server, is_read: bool = is_read) -> Any:
            said = {} if is_read else {"messages": [{"role": "user", "content": PROMPTS[0]}]}
            return server([body | said for body in bodies])

        found = study(server)
        found.send = ask
        bases(found, 0)
        assert len(found.observed) > 3
        assert is_read != any("as if it was not read" in note for note in found.notes)
