"""Extreme values without log-probabilities: against planted faults, greedy servers and caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from logitlab.models import Model
from logitlab.verification.arms import EXTREMES, arms
from logitlab.verification.finding import Finding
from logitlab.verification.study import Spent

from verification.examined import NEUTRAL, study_of
from verification.odd_providers import Halved, Thoughtful, running_model
from verification.providers import Provider
from verification.subject import PROMPTS

KEYS = ("top_k", "top_p", "min_p", "temperature")


def claims(finding: Finding) -> dict[Any, str]:
    return {claim.sent: claim.verdict for claim in finding.claims}


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("dialect", ["vllm", "openrouter", "aphrodite"])
def test_extreme_values_are_honoured_or_not(dialect: str, noise: float) -> None:
    faults = {"top_k": "ignored", "min_p": "ignored"}
    for each in ({}, faults):
        study = study_of(Provider(dialect, each, noise, "none", seed=3))
        arms(study, KEYS)
        for key in KEYS:
            found = study.findings[key]
            assert found.verdict == ("not_honoured" if key in each else "honoured"), found
            assert (found.kind, found.error) == ("proven", study.alpha)
            assert found.requests > 1
            assert found.history[-1][0] == found.requests
            if key in each:
                assert claims(found) == {EXTREMES[key][0]: "not_honoured"}
                assert set(found.alive) == {"ignored", "another value"}
                assert "different texts" in found.detail
            else:
                assert set(found.alive) == {"honoured", "clamped"}
                assert found.not_excluded == {"clamped": np.inf}
                assert "at neutral." in found.detail
        assert study.requests < 160


def test_a_bound_beside_the_value_is_never_called_ignored() -> None:
    least = {"top_k": 9, "top_p": 0.6, "temperature": 0.6}
    faults = {key: ("clamped", bound, np.inf) for key, bound in least.items()}
    faults["min_p"] = ("clamped", -np.inf, 0.1)
    study = study_of(Provider("vllm", faults, logprobs="none", seed=2))
    arms(study, KEYS)
    verdicts = {key: study.findings[key].verdict for key in KEYS}
    assert set(verdicts.values()) <= {"not_honoured", "cannot_tell"}
    assert list(verdicts.values()).count("not_honoured") >= 3


def test_what_is_refused_is_told_in_the_servers_words_and_another_value_is_tried() -> None:
    faults = {"top_k": "refused", "temperature": ("refused", 0.005, 9.0)}
    study = study_of(Provider("vllm", faults, logprobs="none"), neutral={})
    arms(study, ("top_k", "temperature"))
    assert study.findings["top_k"].verdict == "refused"
    assert study.findings["top_k"].says == "Unsupported parameter: 'top_k'."
    assert claims(study.findings["top_k"]) == {1: "refused"}
    cold = study.findings["temperature"]
    assert cold.verdict == "honoured"
    assert claims(cold)[0.0] == "refused"
    assert cold.refused_values == {"0.0": "Unsupported value: 'temperature'."}


@pytest.mark.parametrize("kind", [{"greedy": True}, {"caches": True}])
def test_a_greedy_server_and_a_cache_are_told_and_nothing_is_claimed(kind: dict[str, Any]) -> None:
    study = study_of(Provider("vllm", {"top_k": "ignored"}, logprobs="none", **kind))
    arms(study, ("top_k", "top_p"))
    for key in ("top_k", "top_p"):
        found = study.findings[key]
        assert (found.verdict, found.claims) == ("cannot_tell", ())
        assert found.detail == (
            "All answers to a prompt are the same: the server is greedy at neutral, or has a cache."
        )
    assert study.requests <= 3 * len(PROMPTS)


def test_a_cache_of_some_answers_alone_is_seen_by_its_ids() -> None:
    provider, kept = Provider("vllm", {"top_k": "ignored"}, logprobs="none"), {}

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("top_k") != 1:
            return provider(body)
        if "answer" not in kept:
            kept["answer"] = provider(body)
        return kept["answer"]

    study = study_of(ask)
    arms(study, ("top_k",))
    assert study.findings["top_k"].verdict == "cannot_tell"
    assert "Answers come out of a cache" in study.findings["top_k"].detail


@pytest.mark.parametrize("model", [Halved, Thoughtful])
def test_half_characters_count_and_thoughts_that_are_always_the_same_tell_nothing(
    model: type[Model],
) -> None:
    provider = running_model(model, "vllm", {"top_k": "ignored"}, logprobs="none")
    study = study_of(provider)
    arms(study, ("top_k", "top_p"))
    verdicts = [study.findings[key].verdict for key in ("top_k", "top_p")]
    thinks = model is Thoughtful
    assert verdicts == (["cannot_tell"] * 2 if thinks else ["not_honoured", "honoured"])


def test_sixteen_answers_of_one_request_are_used_once_n_is_known() -> None:
    found = {}
    for known in ("honoured", "ignored"):
        study = study_of(Provider("vllm", {"min_p": "ignored"}, logprobs="none", seed=5))
        study.findings["n"] = Finding(known, "observed")
        arms(study, KEYS)
        assert study.findings["min_p"].verdict == "not_honoured"
        assert study.findings["top_p"].verdict == "honoured"
        found[known] = study.requests
    assert found["honoured"] < 0.7 * found["ignored"]  # greedy answers come one by one there


def test_the_end_of_the_requests_leaves_findings() -> None:
    for cap in (2, 20, 30):
        study = study_of(Provider("vllm", logprobs="none"), cap=cap)
        with pytest.raises(Spent):
            arms(study, KEYS)
        assert study.findings["top_k"].verdict in ("cannot_tell", "honoured")
        assert sum(each.requests for each in study.findings.values()) >= 2


def test_replays_come_to_the_same_verdicts() -> None:
    runs = []
    for _ in range(2):
        study = study_of(Provider("sglang", {"top_p": "ignored"}, 0.01, "none", seed=9),
                         neutral=NEUTRAL | {"top_k": -1})  # fmt: skip
        arms(study)
        runs.append(study.findings)
    assert runs[0] == runs[1]


def tokens(shares: np.ndarray, seed: int, extreme: Any) -> Any:
    """Return a server that draws one of many words, and at an extreme value as it is told."""
    rng = np.random.default_rng(seed)

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        p = extreme(shares) if body.get("top_k") == 1 else shares
        return 200, {"choices": [{"message": {"content": f"w{rng.choice(len(p), p=p)}"}}]}

    return ask


@pytest.mark.parametrize("truth", ["honoured", "near tie", "ignored"])
def test_false_verdicts_come_as_rarely_as_stated(truth: str) -> None:
    shares = np.array([0.12, 0.11, *[0.77 / 40] * 40])
    foreign = 0.01 * shares
    kinds = {
        "honoured": lambda p: foreign + 0.99 * (np.arange(len(p)) == 0),
        "near tie": lambda p: foreign + 0.99 * np.array([0.6, 0.4, *[0.0] * (len(p) - 2)]),
        "ignored": lambda p: p,
    }
    verdicts: list[str] = []
    for seed in range(60):
        study = study_of(tokens(shares, seed, kinds[truth]), alpha=0.05)
        arms(study, ("top_k",))
        verdicts.append(study.findings["top_k"].verdict)
    false = "honoured" if truth == "ignored" else "not_honoured"
    assert verdicts.count(false) <= 9  # of 60 at 5 %: with a chance of 1 in 1,000
    if truth != "near tie":
        assert verdicts.count("cannot_tell") <= 6
