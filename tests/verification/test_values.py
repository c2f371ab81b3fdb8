"""Planted truths, in servers that draw from whole rows: no claim is false, and faults are found."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from logitlab.verification import values as module
from logitlab.verification.bases import bases
from logitlab.verification.contest import Contest
from logitlab.verification.rules import SENT, rules
from logitlab.verification.study import Spent, Study
from logitlab.verification.values import values
from logitlab.verification.verify import verify

from verification.providers import Provider
from verification.simulated import LAST, NEUTRAL, PROMPTS, Simulated, study

pytestmark = pytest.mark.slow

EVERY = tuple(NEUTRAL)


# Flat ones, peaked ones, and not all, for time.
FEW = tuple(PROMPTS[place] for place in (0, 1, 2, 5, 8, 9))


def examined(server: Simulated, *keys: str, **more: Any) -> Study:
    found = study(server, prompts=FEW, **more)
    bases(found)
    values(found, *keys)
    return found


def false_claims(server: Simulated, found: Study) -> list[str]:
    """Return the claims that are not so."""
    wrong = []
    for key, finding in found.findings.items():
        for claim in finding.claims:
            used = server.used({key: claim.sent})[key]
            if claim.verdict == "honoured" and used != claim.sent:
                wrong.append(f"{key} {claim.sent} is used as {used}")
            if claim.verdict == "not_honoured" and used == claim.sent:
                wrong.append(f"{key} {claim.sent} is used")
            if claim.used is not None and claim.used != used:
                wrong.append(f"{key} {claim.sent} is not used as {claim.used}")
    return wrong


@cache
def honest() -> Study:
    return examined(Simulated(seed=0))


def test_a_server_that_honours_everything() -> None:
    found = honest()
    verdicts = {key: finding.verdict for key, finding in found.findings.items()}
    assert verdicts == dict.fromkeys(EVERY, "honoured")
    assert false_claims(Simulated(), found) == []
    told = {
        key: {claim.sent for claim in finding.claims if claim.verdict == "honoured"}
        for key, finding in found.findings.items()
    }
    for key, least in (
        ("top_k", {1, 5, 10}),
        ("top_p", {0.3, 0.6}),
        ("min_p", {0.1, 0.4}),
        ("temperature", {0.4}),
    ):
        assert told[key] >= least
    # Most take few requests; that top_a is told takes more.
    assert found.requests < 300
    assert found.requests - found.findings["top_a"].requests < 150


def test_what_is_not_excluded_is_named_with_a_forecast() -> None:
    finding = honest().findings["temperature"]
    assert any("at most 1.25 to 2" in name for name in finding.not_excluded)
    assert all(more > 0 for more in finding.not_excluded.values())
    assert finding.not_excluded.keys() <= finding.alive.keys()


def test_a_finding_says_what_it_rests_on() -> None:
    finding = honest().findings["top_k"]
    assert finding.kind == "proven"
    assert finding.error - finding.relies == pytest.approx(1e-3)
    assert 0 <= finding.relies <= 4e-3
    assert len(finding.history) >= finding.requests - 2
    requests, evidence = finding.history[-1]
    assert requests == len(finding.history)
    assert evidence["ignored (off)"] > np.log(1 / 1e-3) - 1
    assert sum(f.requests for f in honest().findings.values()) < honest().requests


def test_a_server_that_ignores_what_is_cut() -> None:
    server = Simulated(dict.fromkeys(("top_k", "min_p"), "ignored"), seed=1)
    found = examined(server, "top_k", "min_p", "temperature")
    assert {key: finding.verdict for key, finding in found.findings.items()} == {
        "top_k": "ignored",
        "min_p": "ignored",
        "temperature": "honoured",
    }
    assert "off" in found.findings["top_k"].detail
    assert false_claims(server, found) == []


def test_a_server_that_ignores_the_temperature() -> None:
    server = Simulated({"temperature": "ignored"}, seed=1)
    found = examined(server, "temperature")
    assert found.findings["temperature"].verdict in ("ignored", "not_honoured")
    assert false_claims(server, found) == []


# None of these bounds is on a grid.
CLAMPS: dict[str, dict[str, Any]] = {
    "temperature at most 1.2": {"temperature": (0, 1.2)},
    "temperature at most .7": {"temperature": (0, 0.7)},
    "temperature at least .3": {"temperature": (0.3, 9)},
    "top_k at most 3": {"top_k": (1, 3)},
    "top_k at least 4": {"top_k": (4, 10**6)},
    "top_p at least .3": {"top_p": (0.3, 1)},
    "min_p at most .3": {"min_p": (0, 0.3)},
}


@pytest.mark.parametrize("name", CLAMPS)
def test_a_bound_off_the_grid_makes_no_claim_false(name: str) -> None:
    server = Simulated(CLAMPS[name], seed=3)
    found = examined(server, *CLAMPS[name])
    assert false_claims(server, found) == []
    for key in CLAMPS[name]:
        finding = found.findings[key]
        assert finding.verdict != "ignored"
        if finding.verdict == "honoured":
            assert any("clamped" in other for other in finding.not_excluded)


def test_a_default_that_is_just_what_was_sent_is_no_other_value() -> None:
    server = Simulated({"top_k": "ignored"}, {"top_k": 40}, seed=2)
    found = examined(server, "top_k")
    assert found.findings["top_k"].verdict in ("ignored", "not_honoured")
    claims = {claim.sent: claim.verdict for claim in found.findings["top_k"].claims}
    assert claims[5] == "not_honoured"
    assert claims[40] == "cannot_tell"


@pytest.mark.parametrize("bounds", [(1.4, np.inf), (1.76, np.inf), (-np.inf, 0.3)])
def test_a_temperature_that_is_never_neutral_is_no_fault_of_others(
    bounds: tuple[float, float],
) -> None:
    server = Simulated({"temperature": bounds}, seed=3)
    found = examined(server)
    assert false_claims(server, found) == []
    verdicts = {key: finding.verdict for key, finding in found.findings.items()}
    assert verdicts.pop("temperature") in ("clamped", "not_honoured", "cannot_tell")
    assert set(verdicts.values()) <= {"honoured", "cannot_tell"}
    # Little but the likeliest token is drawn at .3, whatever is cut.
    assert bounds[1] == 0.3 or verdicts["top_k"] == "honoured"


@pytest.mark.parametrize("most", [0.2, 0.295, 0.5, 1.0])
def test_a_report_of_what_a_bound_has_left_is_not_taken_for_the_whole(most: float) -> None:
    faults = {"top_p": ("clamped", -np.inf, most)} if most < 1 else {}
    provider = Provider("koboldcpp", faults, logprobs="processed")
    parameters = verify(provider, only=["top_k", "top_p"]).parameters
    found = parameters["top_p"]
    told = ["clamped", "not_honoured"] if most < 1 else ["honoured"]
    # As far as it was sent, where the bound is told as not excluded.
    told += ["honoured"] * ("clamped to at most 0.3 to 0.6" in found.not_excluded and most == 0.5)
    assert found.verdict in (*told, "cannot_tell")
    assert parameters["top_k"].verdict in ("honoured", "cannot_tell")
    for claim in found.claims:
        used = min(claim.sent, most)
        assert claim.verdict != "honoured" or used == claim.sent
        assert claim.verdict != "not_honoured" or used < claim.sent
        assert claim.used in (None, used)
    if most == 1:
        assert verify(provider, only=["top_k", "min_p", "top_p"]).honoured("top_p")


def test_what_shortens_reports_is_no_fault_of_top_p() -> None:
    faults = {"top_k": "ignored", "min_p": ("clamped", 0.535, np.inf), "seed": "refused"}
    provider = Provider("koboldcpp", faults, noise=0.01, logprobs="processed", seed=2)
    found = verify(provider, only=["top_k", "temperature", "top_p", "min_p"]).parameters["top_p"]
    assert found.verdict in ("honoured", "cannot_tell")


@pytest.mark.parametrize(("most", "seed"), [(0.85, 1), (0.92, 1), (0.92, 2)])
def test_a_default_of_top_p_that_was_not_examined_is_no_fault_of_top_a(
    most: float, seed: int
) -> None:
    order = ("top_k", "top_a", "min_p", "top_p", "temperature")
    faults, defaults = {"top_p": "ignored"}, {"top_p": most}
    server = Simulated(faults, defaults, reports="processed", order=order, seed=seed)
    found = study(server)
    bases(found)
    values(found, "temperature", "top_k", "min_p", "top_a", budget=150, further=150)
    assert found.findings["top_a"].verdict in ("honoured", "cannot_tell")
    assert false_claims(server, found) == []


def test_finer_bounds_hold_the_one_of_the_server() -> None:
    found = examined(Simulated({"min_p": (0, 0.3)}, seed=3), "min_p").findings["min_p"]
    assert found.verdict == "clamped"
    assert found.detail.startswith("values are at most ")  # some rules that are left have no floor
    low, high = map(float, found.detail.removeprefix("values are at most ").split(" to "))
    assert low <= 0.3 <= high


def test_bounds_that_no_finer_bound_fits_are_none_of_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds = module._bounds

    def refuting(self: Contest, *arguments: Any) -> int:
        self.race._most[:] = np.inf
        return 0

    def refuted(*arguments: Any) -> str:
        # What comes from now on is the race of finer bounds.
        monkeypatch.setattr(Contest, "run", refuting)
        return bounds(*arguments)

    monkeypatch.setattr(module, "_bounds", refuted)
    study = examined(Simulated({"min_p": (0, 0.3)}, seed=3), "min_p")
    found = study.findings["min_p"]
    assert (found.verdict, found.alive, found.detail) == ("none_of_these", {}, "")
    assert {claim.verdict for claim in found.claims} == {"cannot_tell"}
    assert study.backgrounds is not None
    assert study.backgrounds.rules["min_p"] == []


def test_finer_bounds_are_judged_by_answers_that_did_not_choose_them() -> None:
    study = examined(Simulated({"min_p": (0, 0.3)}, seed=3), "min_p")
    every = rules("min_p")
    first = Contest(study, "min_p", every, SENT["min_p"], dict.fromkeys(every, ""))
    known = {name: rule for name, rule in every.items() if rule.answer == "clamped"}
    second = Contest(study, "min_p", known, SENT["min_p"], dict.fromkeys(known, ""), after=first)
    assert any(abs(log_e) > 0.1 for log_e in first.race.log_e.values())
    assert all(log_e <= 1e-9 for log_e in second.race.log_e.values())
    assert {str(setting) for _, setting, _ in second._rows} <= {str(s) for s in first.beside}


@pytest.mark.parametrize(
    "server",
    [
        Simulated({"top_p": "ignored"}, {"top_p": 0.9}, order=LAST, seed=5),
        Simulated({"temperature": "ignored"}, {"temperature": 0.7}, reports="processed", seed=6),
        Simulated({"top_k": "ignored"}, noise=0.03, seed=7),
        Simulated({"min_p": "ignored"}, foreign=0.01, top=5, seed=8),
        Simulated({"top_k": "ignored"}, top=5, seed=9, listed="replaced"),
        Simulated({"top_p": "ignored"}, top=5, noise=0.03, seed=10, listed="added"),
    ],
    ids=["default", "processed", "noise", "foreign", "replaced", "added"],
)
def test_servers_of_every_kind_are_not_misjudged(server: Simulated) -> None:
    (key,) = server.faults
    found = examined(server, key)
    assert false_claims(server, found) == []
    assert found.findings[key].verdict in ("ignored", "not_honoured", "cannot_tell")


def test_a_parameter_that_is_refused_at_neutral_is_left_out() -> None:
    found = examined(Simulated({"top_a": "refused"}), "top_a")
    assert "top_a" not in found.findings


def test_a_value_that_is_refused_is_told_in_the_words_of_the_server() -> None:
    class Strict(Simulated):
        def answer(self, body: Any) -> Any:
            refused = body.get("min_p", 0) > 0.5
            return super().answer(body | {"model": 0} if not refused else body | {"bad": 1})

    server = Strict({"bad": "refused"})
    finding = examined(server, "min_p").findings["min_p"]
    assert finding.refused_values == {"0.9": "Unsupported parameter: bad"}
    assert [claim.verdict for claim in finding.claims if claim.sent == 0.9] == ["refused"]


def test_a_study_that_runs_out_leaves_its_finding() -> None:
    found = study(Simulated(), cap=45)
    bases(found)
    with pytest.raises(Spent):
        values(found, "top_k", "temperature")
    assert found.findings["top_k"].verdict in ("cannot_tell", "honoured")
    assert found.requests <= 45


def test_a_run_is_a_function_of_the_answers() -> None:
    first, second = (examined(Simulated(seed=9), "min_p").findings["min_p"] for _ in range(2))
    assert first == second
