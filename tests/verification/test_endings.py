"""What ends answers, and how many there are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from logitlab.verification.answer import Answer
from logitlab.verification.drawn import Identities, outcome, text_of
from logitlab.verification.endings import accepted, choices, limits, stops
from logitlab.verification.study import Spent
from scipy.stats import binom

from verification.examined import saying, study_of
from verification.providers import Provider


@pytest.mark.parametrize("dialect", ["vllm", "llama_cpp"])
def test_honoured_ignored_and_refused(dialect: str) -> None:
    for fault in ("", "ignored", "refused"):
        keys = ("stop", "n", "max_tokens")
        faults = dict.fromkeys(keys, fault) if fault else {}
        if fault == "refused":
            del faults["max_tokens"]  # without it nothing could be asked
        study = study_of(Provider(dialect, faults, 0.01, "none"))
        for stage in (limits, stops, choices):
            stage(study)
        for key in faults or keys:
            found = study.findings[key]
            assert (found.verdict, found.kind) == (fault or "honoured", "observed"), found
            assert {claim.verdict for claim in found.claims} <= {
                fault or "honoured", "not_honoured"
            }  # fmt: skip
            if fault == "refused":
                assert found.says == f"Unsupported parameter: '{key}'."
        if not fault:
            assert (
                study.findings["max_tokens"].detail == "At 2: 2 and 2 tokens; at 7: 7 and 7 tokens."
            )
            assert study.requests == 18


def test_a_limit_by_another_name_with_a_least_value() -> None:
    faults = {"max_tokens": ("renamed", "max_completion_tokens")}
    study = study_of(
        Provider("vllm", faults, logprobs="none"), limit="max_completion_tokens", least=4
    )
    limits(study)
    found = study.findings["max_completion_tokens"]
    assert found.verdict == "honoured"
    assert [claim.sent for claim in found.claims] == [4, 9]
    old = study.findings["max_tokens"]
    assert old.verdict == "refused"
    assert old.says == ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")


def test_a_limit_that_is_clamped_is_honoured_below_it() -> None:
    study = study_of(Provider("vllm", {"max_tokens": ("clamped", 1, 4)}, logprobs="none"))
    limits(study)
    found = study.findings["max_tokens"]
    assert found.verdict == "clamped"
    assert [(claim.sent, claim.verdict, claim.used) for claim in found.claims] == [
        (2, "honoured", None),
        (7, "not_honoured", 4),
    ]


@pytest.mark.parametrize(("reason", "sizes"), [("stop", [4]), ("length", [4, 5, 6, 4])])
def test_answers_that_end_by_themselves_are_no_bound(reason: str, sizes: list[int]) -> None:
    count = itertools.count()

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        size = min(body["max_tokens"], sizes[next(count) % len(sizes)])
        choice = {"text": "word " * size, "finish_reason": reason}
        return 200, {"choices": [choice], "usage": {"completion_tokens": size}}

    study = study_of(ask)
    limits(study)
    assert study.findings["max_tokens"].verdict == "cannot_tell"


@pytest.mark.parametrize("count", [lambda size: size - 1, lambda size: 1])
def test_a_count_that_always_falls_short_is_no_bound(count: Callable[[int], int]) -> None:
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        size = body["max_tokens"]
        choice = {"text": "word " * size, "finish_reason": "length"}
        return 200, {"choices": [choice], "usage": {"completion_tokens": count(size)}}

    study = study_of(ask)
    limits(study)
    found = study.findings["max_tokens"]
    assert found.verdict == "cannot_tell"
    assert [claim.used for claim in found.claims] == [None, None]


def test_limits_where_nobody_counts() -> None:
    def ask(body: Mapping[str, Any], most: int | None = None) -> tuple[int, dict[str, Any]]:
        text = "word " * (most or body["max_tokens"])
        return 200, {"choices": [{"text": text, "finish_reason": "length"}]}

    study = study_of(ask)
    limits(study)
    assert study.findings["max_tokens"].verdict == "honoured"
    assert "nobody counts them, but the answers are cut" in study.findings["max_tokens"].detail
    study = study_of(lambda body: ask(body, 100))
    limits(study)
    assert study.findings["max_tokens"].verdict == "ignored"
    assert study.requests == 2  # an answer that is too long is not asked for again
    study = study_of(lambda body: ask(body, 3))  # as long for either: nothing is told
    limits(study)
    assert study.findings["max_tokens"].verdict == "cannot_tell"


def test_a_stop_that_stays_in_the_text_is_one() -> None:
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        text, stop = "The bee sees the sea.", body.get("stop", ["~"])[0]
        end = text.find(stop) + 1 if stop in text else len(text)
        return 200, {"choices": [{"text": text[:end], "finish_reason": "stop"}]}

    study = study_of(ask)
    stops(study)
    found = study.findings["stop"]
    assert found.verdict == "honoured"
    assert found.claims[0].sent == ["e"]
    assert found.detail == (
        "0 of 7 answers go on after the stop string 'e', which all 4 neutral answers have; most "
        "name 'stop' as the reason of their end. The string stays at the end of the text."
    )


def test_a_stop_that_is_only_taken_out_of_the_text_is_none() -> None:
    # As mlx_lm.server 0.32.2 does where the stop is not a token of its own.
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        text, stop = "The bee sees the sea.", body.get("stop", ["~"])[0]
        choice = {"text": text.replace(stop, ""), "finish_reason": "length"}
        return 200, {"choices": [choice], "usage": {"completion_tokens": 24}}

    study = study_of(ask)
    stops(study)
    assert study.findings["stop"].verdict == "not_honoured"
    assert study.findings["stop"].detail.endswith("taken out of the text, which goes on.")


def test_short_answers_that_lack_the_stop_by_chance_were_not_stopped() -> None:
    # A server that ignores it, and bounds max_tokens by 6.
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        choice = {"text": "a sky" if "stop" in body else "the bee", "finish_reason": "length"}
        return 200, {"choices": [choice], "usage": {"completion_tokens": 6}}

    study = study_of(ask)
    stops(study)
    assert study.findings["stop"].verdict != "honoured"


def test_stops_and_limits_of_answers_without_a_text() -> None:
    for text in ("", None):
        study = saying(text, reason="stop")
        stops(study)
        limits(study)
        assert study.findings["stop"].verdict == "cannot_tell"
        assert study.findings["stop"].detail == "Too few neutral answers have a text."
        assert study.findings["max_tokens"].verdict == "cannot_tell"
    # Answers that become errors once they are to stop are no stopped answers.
    tale, busy = {"choices": [{"text": "a tale"}]}, {"error": {"message": "busy"}}
    study = study_of(lambda body: (200, busy if "stop" in body else tale))
    stops(study)
    assert study.findings["stop"].verdict == "cannot_tell"


def test_choices_that_are_copies_and_fewer_than_asked() -> None:
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"choices": [{"text": "same"}] * body.get("n", 1)}

    study = study_of(ask)
    choices(study)
    found = study.findings["n"]
    assert found.verdict == "honoured"
    assert found.scope == "the choices of a request are the same"
    study = study_of(lambda body: (200, {"choices": []}))
    choices(study)
    assert study.findings["n"].verdict == "not_honoured"


def test_what_is_taken_and_cannot_be_judged() -> None:
    study = study_of(Provider("vllm", {"verbosity": "refused"}, logprobs="none"))
    accepted(study)
    assert study.findings["verbosity"].says == "Unsupported parameter: 'verbosity'."
    effort = study.findings["reasoning_effort"]
    assert effort.verdict == "cannot_tell"
    assert effort.detail == "Taken; what it does, a few answers cannot show."


@pytest.mark.parametrize("cap", [0, 1, 3])
def test_the_end_of_the_requests_leaves_findings(cap: int) -> None:
    for stage, key in ((limits, "max_tokens"), (stops, "stop"), (choices, "n")):
        study = study_of(Provider("vllm", logprobs="none"), cap=cap)
        if (stage, cap) != (choices, 3):
            with pytest.raises(Spent):
                stage(study)
            assert study.findings[key].requests == cap


def test_a_text_of_thoughts_is_one_and_kept_answers_are_known_by_their_ids() -> None:
    message = {"content": None, "reasoning": "Let me think"}
    answer = Answer(200, {"id": "x", "choices": [{"message": message, "finish_reason": "length"}]})
    assert (text_of(answer), outcome(answer)) == ("Let me think", "Let")
    ids = Identities()
    for _ in range(3):
        ids.add(answer)
    assert ids.cached == 0  # an id that is always the same tells nothing
    ids.add(Answer(200, {"id": "y", "choices": [{"message": {"content": "a"}}]}))
    assert ids.cached == 2


def test_short_answers_that_miss_a_letter_by_chance_prove_no_more_than_is_stated() -> None:
    """A clamp may leave two tokens of an answer, where the stop may well be missing by itself.

    The chance is stated, whatever the letter's share. One of 10,000 runs of this test would fail if
    it were just that.
    """
    assert max((1 - q) ** 4 * q**7 for q in np.linspace(0, 1, 1001)) < 0.0008
    wrong = 0
    rng = np.random.default_rng(3)
    for _ in range(1000):

        def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
            letter = "e" if rng.random() < 4 / 11 else "o"  # where the chance is largest
            text, reason = f"T{letter}", "length"
            if letter in body.get("stop", ()):
                text, reason = "T", "stop"
            choice = {"text": text, "finish_reason": reason}
            return 200, {"choices": [choice], "usage": {"completion_tokens": 2}}

        study = study_of(ask)
        stops(study)
        wrong += study.findings["stop"].verdict in ("ignored", "not_honoured")
    assert wrong <= binom.ppf(1 - 1e-4, 1000, 0.0008)
