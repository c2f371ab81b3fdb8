"""Seeds and biases, by pairs of equal requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from logitlab.verification.answer import Answer
from logitlab.verification.bases import bases
from logitlab.verification.bias import bias
from logitlab.verification.observed import Observed
from logitlab.verification.repeats import Pairs, bound_of, first_of
from logitlab.verification.seeds import seeds
from logitlab.verification.study import Spent, Study

from verification.examined import saying, study_of
from verification.providers import Provider
from verification.subject import PROMPTS

SHARES = np.array([0.15, 0.1, *[0.75 / 50] * 50])


@pytest.mark.parametrize("dialect", ["vllm", "openrouter", "llama_cpp"])
def test_seeds_and_biases_of_providers(dialect: str) -> None:
    for fault in ("", "ignored", "refused"):
        faults = {"seed": fault, "logit_bias": fault} if fault else {}
        study = study_of(Provider(dialect, faults, 0.0, "none"))
        bias(study)
        seeds(study)
        for key in ("logit_bias", "seed"):
            found = study.findings[key]
            assert found.verdict == (fault or "honoured")
            assert found.kind == ("observed" if fault == "refused" else "proven")
        if fault == "refused":
            assert study.findings["seed"].says == "Unsupported parameter: 'seed'."
            assert study.findings["seed"].scope is None
        if not fault:
            assert study.findings["logit_bias"].requests == 12
            assert "alone 3 of 3 (0.29 to 1.00), beside 3 others 4 of 4" in str(
                study.findings["seed"].scope
            )


@pytest.mark.parametrize(("dialect", "noise"), [("vllm", 0.03), ("mlx_lm_server", 0.0)])
def test_log_probabilities_make_it_shorter(dialect: str, noise: float) -> None:
    for fault in ("", "ignored"):
        faults = dict.fromkeys(("seed", "logit_bias"), fault) if fault else {}
        provider = Provider(dialect, faults, noise)
        asked = {"logprobs": True, "top_logprobs": 11}
        study = study_of(provider, logprobs=asked, prompts=PROMPTS[2:5])
        bases(study, 8)
        before = study.requests
        bias(study)
        seeds(study, company=0)
        for key in ("logit_bias", "seed"):
            found = study.findings[key]
            assert (found.verdict, found.error) == (fault or "honoured", 2 * study.alpha)
        assert study.requests - before <= 24
        assert study.findings["logit_bias"].requests < 12


def test_a_seed_that_repeats_alone_and_not_in_a_batch() -> None:
    study = study_of(Provider("vllm", {"seed": "not in batches"}, logprobs="none"))
    seeds(study)
    found = study.findings["seed"]
    assert found.verdict == "honoured"
    assert "alone 3 of 3" in str(found.scope)
    assert "others 4 of 4" not in str(found.scope)


def test_the_choices_of_a_seeded_request_are_compared_once_n_is_known() -> None:
    from logitlab.verification.endings import choices

    study = study_of(Provider("vllm", logprobs="none"))
    choices(study)
    seeds(study, company=1)
    assert str(study.findings["seed"].scope).endswith("two choices of one request differ")


def test_a_greedy_server_tells_nothing_of_seeds() -> None:
    study = study_of(Provider("vllm", greedy=True, logprobs="none"))
    seeds(study)
    found = study.findings["seed"]
    assert found.verdict == "cannot_tell"
    assert "All seeds give the same" in found.detail
    assert found.requests == 20


def left(*settings: Any) -> Any:
    """Return backgrounds of which these are left."""
    return SimpleNamespace(alive=list(settings))


def server(shares: np.ndarray, seed: int, miss: float = 1.0) -> Any:
    """Return a server whose seeds and biases fail with a probability."""
    rng = np.random.default_rng(seed)

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        label = body.get("seed") or int(next(iter(body.get("logit_bias", {0: 0}))))
        luck = rng if not label or rng.random() < miss else np.random.default_rng(label)
        token = f"w{luck.choice(len(shares), p=shares)}"
        return 200, {"choices": [{"message": {"content": token}}]}

    return ask


@pytest.mark.parametrize("stage", [seeds, bias])
@pytest.mark.parametrize("known", [False, True])
def test_pairs_are_judged_falsely_as_rarely_as_stated(stage: Any, known: bool) -> None:
    told: dict[bytes | str, float] = {f"w{i}": math.log(p) for i, p in enumerate(SHARES[:20])}
    seen = {"Say.": Observed.of("Say.", [told])} if known else {}
    verdicts: dict[float, list[str]] = {}
    asked: list[int] = []
    # Each answer of a seed fails in 1 of 20, so a pair in 1 of 10; a bias has foreign answers.
    for miss in (1.0, 0.05 if stage is seeds else 0.01):
        for number in range(150):
            study = study_of(server(SHARES, number, miss), alpha=0.05, prompts=("Say.",))
            if known:
                study.observed, study.backgrounds = seen, left({})
            stage(study, **({"company": 0} if stage is seeds else {}))
            found = study.findings["seed" if stage is seeds else "logit_bias"]
            verdicts.setdefault(miss, []).append(found.verdict)
            asked.append(found.requests)
    ignored, honoured = verdicts.values()
    most = 19  # of 150 at 5 %: with a chance of 1 in 10,000
    assert ignored.count("honoured") <= most
    assert honoured.count("ignored") + honoured.count("not_honoured") <= most
    assert ignored.count("cannot_tell") + honoured.count("cannot_tell") <= 30
    assert np.median(asked) <= 14


def test_what_was_observed_bounds_a_token() -> None:
    told: dict[bytes | str, float] = {
        b" yes": math.log(0.5),
        b"No": math.log(0.3),
        b"yes": math.log(0.1),
    }
    study = study_of(lambda body: (200, {}), observed={"Q": Observed.of("Q", [told])})
    assert bound_of(study) is None  # nothing is known of the backgrounds
    study.backgrounds = left({}, {"top_k": (2, 2)})
    bound = bound_of(study)
    assert bound is not None
    assert bound("elsewhere", b"No") is None
    several = [bound("Q", token) for token in (b" yes", b"No", b"yes", b"else", "yes", "<empty: >")]
    yes, no, other, beyond, both, rest = map(float, several)  # type: ignore[arg-type]
    assert yes >= 0.5 / 0.8 - 0.01
    assert no >= 0.3 / 0.8 - 0.01
    assert 0.09 <= other == beyond <= 0.12  # no token beyond is likelier than the last
    assert both == pytest.approx(min(1, yes + 4 * other))
    assert rest >= 0.09


def test_a_report_that_the_text_does_not_bear_out_is_not_believed() -> None:
    def answer(text: str, token: str, told: list[int] | None) -> Answer:
        content = [{"token": token, "bytes": told}]
        choice = {"message": {"content": text}, "logprobs": {"content": content}}
        return Answer(200, {"choices": [choice]})

    assert first_of(answer("The", " The", [32, 84, 104, 101])) == b" The"
    assert first_of(answer("Paw", " Ec", [32, 69, 99])) == b"Paw"
    assert first_of(answer("\ufffd", "\ufffd", [195])) == b"\xc3"
    assert first_of(Answer(200, {"choices": []})) == "<no choice>"


def test_seeds_that_act_at_times_are_not_honoured() -> None:
    verdicts = set()
    for number in range(10):
        study = study_of(server(SHARES, number, 0.5), prompts=("Say.",))
        seeds(study)
        verdicts.add(study.findings["seed"].verdict)
    assert "not_honoured" in verdicts
    assert verdicts <= {"not_honoured", "ignored", "cannot_tell"}


def test_a_seed_that_fixes_an_answer_whatever_it_is_is_not_honoured() -> None:
    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        luck = np.random.default_rng(1 if "seed" in body else None)
        token = f"w{luck.choice(len(SHARES), p=SHARES)}"
        return 200, {"choices": [{"message": {"content": token}}]}

    told: dict[bytes | str, float] = {f"w{i}": math.log(p) for i, p in enumerate(SHARES[:20])}
    for known in (False, True):
        study = study_of(ask, prompts=("Say.", "Speak."))
        if known:
            study.observed = {prompt: Observed.of(prompt, [told]) for prompt in study.prompts}
            study.backgrounds = left({})
        seeds(study)
        assert study.findings["seed"].verdict == "cannot_tell"
        assert "All seeds give the same" in study.findings["seed"].detail


def test_the_evidence_of_pairs_is_an_e_process() -> None:
    # Its mean under the hypothesis, exactly: one pair at any bound, and any rate of misses.
    for bound in (0.001, 0.05, 0.4, 0.95):
        equal, unequal = Pairs(0.05, 0.1), Pairs(0.05, 0.1)
        equal.add("p", "a", "a", bound)
        unequal.add("p", "a", "b", bound)
        p = min(bound, 1.0)
        mean = p * math.exp(equal.log_ignored) + (1 - p) * math.exp(unequal.log_ignored)
        assert mean <= 1 + 1e-12
        for miss in (0.0, 0.05, 0.1):
            hit, fail = math.exp(equal.log_honoured), math.exp(unequal.log_honoured)
            assert (1 - miss) * hit + miss * fail <= 1 + 1e-12
    # Unequal pairs may be just those whose first token is rare.
    common, rare = Pairs(0.05, 0.1), Pairs(0.05, 0.1)
    common.add("p", "a", "a", 0.9)
    rare.add("p", "b", "c", 0.1)
    assert 0.9 * math.exp(common.log_honoured) + 0.1 * math.exp(rare.log_honoured) <= 1 + 1e-12


def test_ids_that_a_small_vocabulary_refuses_are_followed_by_smaller_ones() -> None:
    asked = []

    def ask(body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        token = int(next(iter(body["logit_bias"])))
        asked.append(token)
        if token > 500:
            return 400, {"error": {"message": "token out of range"}}
        return 200, {"choices": [{"message": {"content": f"w{token}"}}]}

    study = study_of(ask)
    bias(study)
    assert study.findings["logit_bias"].verdict == "honoured"
    assert asked[0] == 1500
    assert max(asked[1:]) < 500


def test_the_end_of_the_requests_leaves_findings() -> None:
    for stage, key in ((bias, "logit_bias"), (seeds, "seed")):
        study = study_of(Provider("vllm", logprobs="none"), cap=7)
        with pytest.raises(Spent):
            stage(study)
        found = study.findings[key]
        assert (found.verdict, found.requests) == ("cannot_tell", 7)
        assert found.not_excluded["ignored"] == np.inf


def test_empty_answers_of_an_endless_kind() -> None:
    study: Study = saying("", None, reason="stop")
    bias(study)
    seeds(study)
    assert {each.verdict for each in study.findings.values()} == {"cannot_tell"}
