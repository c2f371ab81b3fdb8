"""Penalties by the words of answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from logitlab.verification.distinct import distinct
from logitlab.verification.finding import Finding

from verification.examined import saying, study_of

WORDS = [f"w{i}" for i in range(12)]


def writer(applied: frozenset[str], seed: int = 0) -> Any:
    """Return a server that writes twenty of twelve words, and repeats fewer under a penalty."""
    rng = np.random.default_rng(seed)

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("repetition_penalty", 1) != 1 and "repetition_penalty" not in applied:
            return 400, {"error": {"message": "no repetition_penalty"}}
        strong = any(body.get(key, 0) > 1 for key in applied)
        words = rng.permutation(WORDS).tolist() if strong else []
        words += rng.choice(WORDS[:8], 20 - len(words)).tolist()
        return 200, {"choices": [{"message": {"content": " ".join(words)}}]}

    return ask


def found(applied: frozenset[str], seed: int = 0, **options: Any) -> dict[str, Finding]:
    study = study_of(writer(applied, seed), neutral={}, **options)
    distinct(study)
    return study.findings


def test_a_penalty_is_proven_to_act_and_never_to_be_ignored() -> None:
    findings = found(frozenset(["presence_penalty"]))
    acts = findings["presence_penalty"]
    assert (acts.verdict, acts.kind, acts.error) == ("honoured", "proven", 1e-3)
    assert acts.not_excluded == {"another value": np.inf}
    assert acts.detail.startswith("It is applied; ")
    assert [claim.verdict for claim in acts.claims] == ["cannot_tell"]  # how strongly
    idle = findings["frequency_penalty"]
    assert idle.verdict == "cannot_tell"
    assert "The share rises by at most 0." in idle.detail
    assert set(idle.not_excluded) == {"honoured", "another value", "ignored"}
    refused = findings["repetition_penalty"]
    assert (refused.verdict, refused.says) == ("refused", "no repetition_penalty")


def test_a_penalty_that_does_nothing_is_called_applied_as_rarely_as_stated() -> None:
    verdicts = [
        found(frozenset(), seed, alpha=0.05)["frequency_penalty"].verdict for seed in range(100)
    ]
    assert len(verdicts) - verdicts.count("cannot_tell") <= 14  # of 100 at 5 %: 1 in 10,000


def test_answers_without_words_and_answers_that_are_all_the_same_tell_nothing() -> None:
    for text, why in (
        ("", "The server gives no answers of several words."),
        (None, "The server gives no answers of several words."),
        ("one two three four", "No answer repeats a word, or all answers are the same."),
        ("a a b b c c", "No answer repeats a word, or all answers are the same."),
    ):
        study = saying(text)
        distinct(study)
        assert {each.verdict for each in study.findings.values()} == {"cannot_tell"}
        assert {each.detail for each in study.findings.values()} == {why}
