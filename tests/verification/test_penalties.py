"""Penalties: predictions against the equations, scopes found, and what is false at what rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logitlab.steps.chain import Chain
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.verification import penalised
from logitlab.verification.penalised import Told
from logitlab.verification.penalties import _foreign, _PenaltyRace, along, penalty
from logitlab.verification.penalty_rules import VALUES, PenaltyRule, penalty_rules, verdict_of
from logitlab.verification.places import Place
from logitlab.verification.rules import Rule, Setting
from logitlab.verification.scopes import SCOPES, Counted, Said, counted, where
from logitlab.verification.study import Spent, Study

from verification.begun import study_of
from verification.learnt import decided
from verification.providers import Provider

pytestmark = pytest.mark.slow

_X = np.log([0.4, 0.3, 0.2, 0.05])
_TOKENS = (b" the", b" of", b" king", b" red")
_SAID = Said("the the", [b"the", b" the"], frame=0, length=2)


def _place(*before: bytes, drawn: int | None = 0) -> Place:
    return Place(_TOKENS, _X, drawn, before)


def _softmax(x: Any) -> Any:
    weights = np.exp(x - np.max(x))
    return weights / weights.sum()


def _once(*counts: int) -> Counted:
    return Counted(np.array(counts), np.array(counts))


@pytest.mark.parametrize("value", [-2.0, -0.5, 0.7, 2.0])
def test_frequency_and_presence_are_those_of_the_equations(value: float) -> None:
    counts = np.array([3, 0, 1, 0])
    told = Told([_place()])
    central, [envelope] = told.predict("count", value, [_once(*counts)])
    np.testing.assert_allclose(central[0], _softmax(_X - value * counts), atol=1e-12)
    assert (envelope >= central).all()
    central, _ = told.predict("presence", value, [_once(*counts)])
    np.testing.assert_allclose(central[0], _softmax(_X - value * (counts > 0)), atol=1e-12)


@pytest.mark.parametrize("ratio", [0.3, 0.8, 1.8])
@pytest.mark.parametrize("seen", [(1, 0, 1, 0, 0, 1), (0, 0, 0, 1, 1, 1)])
def test_the_envelope_of_repetition_is_above_every_constant_in_its_range(
    ratio: float, seen: tuple[int, ...]
) -> None:
    x = np.array([-0.4, -1.6, -3.0, -7.5, -11.0, -14.0])  # some change their sign in the range
    place = Place(tuple(f"{n}".encode() for n in range(6)), x, 0, ())
    central, [envelope] = Told([place]).predict("repetition", ratio, [_once(*seen)], (6.0, 40.0))
    largest = np.zeros(6)
    for constant in np.linspace(6, 40, 3401):
        y = x + constant
        scaled = np.where(y > 0, y / ratio, y * ratio)
        largest = np.maximum(largest, _softmax(np.where(np.array(seen) > 0, scaled, y)))
    assert (largest <= envelope[0] * 1.002).all()
    assert (envelope[0] <= largest * 1.002).all()
    assert central.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("form", "span"),
    [("count", (-2.0, -1.5)), ("count", (1.5, 2.0)), ("presence", (-0.5, 0.0)),
     ("repetition", (0.3, 0.5)), ("repetition", (1.5, 1.8))],
)  # fmt: skip
@pytest.mark.parametrize("cut", [(), (TopK(2),), (TopP(0.7),), (MinP(0.1),), (TopA(0.4),)])
def test_the_envelope_of_a_span_is_above_every_value_in_it(
    form: str, span: tuple[float, float], cut: tuple[Any, ...]
) -> None:
    rng = np.random.default_rng(len(cut) + len(form))
    for temperature in (1.0, 0.5):
        x = np.sort(rng.normal(-3, 2.5, 6))[::-1]
        least = rng.integers(0, 4, 6)
        most = least + rng.integers(0, 2, 6)
        chain = Chain(*cut, Temperature(temperature))
        place = Place(tuple(f"{n}".encode() for n in range(6)), x, 0, ())
        told = Told([place], [(temperature, [chain])])
        shift = 6.0 if form == "repetition" else 0.0
        _, envelope = told.between(form, span, [Counted(least, most)], (shift, shift))
        for value in np.linspace(*span, 41):
            for counts in (least, most, np.where(rng.random(6) < 0.5, least, most)):
                rows = _penalised(form, x + shift, counts, value)
                truth = _softmax(np.asarray(chain(rows), float))
                assert (truth <= envelope.max(axis=0)[0] * (1 + 1e-9)).all()
                if value in span:
                    _, [own] = told.predict(form, value, [Counted(least, most)], (shift, shift))
                    assert (truth <= own[0] * (1 + 1e-9)).all()


def _penalised(form: str, x: Any, counts: Any, value: float) -> Any:
    if form == "repetition":
        return np.where(counts > 0, np.where(x > 0, x / value, x * value), x)
    return x - value * (counts if form == "count" else counts > 0)


def test_a_whole_answer_is_no_likelier_at_any_value_of_a_span_than_its_envelope() -> None:
    # Words said so often that some values near the middle of a span are the likeliest by far.
    said_before = [b" the"] * 9 + [b" of"] * 2
    found = []
    for n in range(60):
        place = _place(*said_before, drawn=n % 2)
        found.append(Place(place.tokens, np.array([-9.0, -0.9, -2.0, -3.0]), n % 2, place.before))
    span = (-1.25, -1.0)
    rule = PenaltyRule(
        "clamped", "clamped", floor=span, cap=(2.0, 2.0), scope="output", form="count"
    )
    rules = [PenaltyRule("ignored", "ignored", always=(0.0, 0.0)), rule]
    _, envelope, _ = along(found, -2.0, rules, _SAID, ((1.0, ()),), foreign=0.0)
    likeliest = 0.0
    for value in np.linspace(*span, 401):
        logits = np.array([-9.0, -0.9, -2.0, -3.0]) - value * np.array([9, 2, 0, 0])
        shares = _softmax(logits)
        likeliest = max(likeliest, float((shares[0] * shares[1]) ** 30))
    assert 0 < likeliest <= envelope[1]
    # Three values and five percent were no bound.
    tried = max(
        float((_softmax([-9.0 - 9 * v, -0.9 - 2 * v, -2.0, -3.0])[:2].prod()) ** 30)
        for v in (-1.25, -1.125, -1.0)
    )
    assert likeliest > 1.05 * tried


def test_a_foreign_answer_may_have_any_temperature_between() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        rows = [np.sort(rng.normal(0, 3, 8))[::-1] for _ in range(40)]
        drawn = [int(rng.choice(8, p=_softmax(row / 1.2))) for row in rows]
        bound, largest = _foreign(rows, drawn), 0.0
        for temperature in np.geomspace(0.5, 2, 151):
            logs = [
                np.log(_softmax(row / temperature)[y]) for row, y in zip(rows, drawn, strict=True)
            ]
            assert np.exp(sum(logs)) <= bound * (1 + 1e-9)
            largest = max(largest, float(np.exp(sum(logs))))
        assert bound <= 2 * largest


@pytest.mark.parametrize("cut", [(), (TopK(2),), (TopP(0.7),), (MinP(0.3),)])
def test_a_token_that_may_be_counted_is_bounded_on_both_sides(cut: tuple[Any, ...]) -> None:
    least, most = np.array([0, 0, 0, 0]), np.array([2, 0, 1, 0])
    told = Told([_place()], [(1.0, [Chain(*cut)])])
    _, [envelope] = told.predict("count", -1.5, [Counted(least, most)])
    largest = np.zeros(4)
    for first in range(3):
        for third in range(2):
            rows = _X + 1.5 * np.array([first, 0, third, 0])
            largest = np.maximum(largest, _softmax(np.asarray(Chain(*cut)(rows)) if cut else rows))
    assert (largest <= envelope[0] + 1e-12).all()
    assert (envelope[0] < 1).any()


def test_a_truncation_in_force_widens_the_envelope_as_far_as_it_may_cut() -> None:
    told = Told([_place()], [(1.0, [Chain(TopK(2))]), (0.5, [Chain(Temperature(0.5))])])
    central, [cut, cold] = told.predict("count", 0.0, [_once(0, 0, 0, 0)])
    np.testing.assert_allclose(central[0], [4 / 7, 3 / 7, 0, 0], atol=1e-12)
    # From two tokens on, any number may be kept.
    np.testing.assert_allclose(cut[0], [4 / 7, 3 / 7, 2 / 9, 0.05 / 0.95], rtol=0.02)
    np.testing.assert_allclose(cold[0], _softmax(_X / 0.5), rtol=0.02)


def test_of_backgrounds_those_are_kept_that_cut_most() -> None:
    study = Study(lambda bodies: [])
    spans: list[Setting] = [{}, {"top_p": (0.8, 0.9)}, {"top_p": (0.7, 0.8)}, {"top_k": (20, 30)}]
    spans += [{"temperature": (0.8, 0.8), "top_p": (0.9, 0.95), "top_k": (40, 40)}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penalised, "in_force", lambda study, *keys: spans)
        found = penalised.backgrounds(study)
    assert [temperature for temperature, _ in found] == [1.0, 0.8]
    assert found[0][1] == [Chain(), Chain(TopP(0.7)), Chain(TopK(20))]
    assert found[1][1] == [Chain(Temperature(0.8), TopK(40), TopP(0.9))]


def test_what_each_scope_counts() -> None:
    place = _place(b" king", b" the", b" king")
    expected = {
        "output": [1, 0, 2, 0],
        "prompt and output": [2, 0, 2, 0],
        "the last 64 of both": [2, 0, 2, 0],
        "the last 20 of both": [2, 0, 2, 0],
        "the last 320 of both": [2, 0, 2, 0],
        "output but its newest": [1, 0, 1, 0],
        "prompt": [1, 0, 0, 0],
    }
    assert set(expected) == set(SCOPES)
    for name, counts in expected.items():
        assert counted(name, place, _SAID).most.tolist()[1:] == counts[1:], name
    assert counted("output", place, _SAID).least.tolist() == expected["output"]
    assert where("the last 20 of both") == "prompt and output"


def test_a_window_forgets_the_prompt() -> None:
    place = _place(*[b" red"] * 20)
    assert counted("the last 20 of both", place, _SAID).most.tolist() == [0, 0, 0, 20]


def test_without_tokens_a_word_of_the_prompt_is_sure_and_a_part_of_one_is_not() -> None:
    said = Said("Say:\nRed\nthe kingdom of the king", frame=0)
    assert said.bounds(b"Red") == (1, 1)
    assert said.bounds(b" king") == (1, 2)
    assert said.bounds(b"ing") == (0, 2)
    assert said.bounds(b"user") == (0, 0)
    assert Said("Say", frame=None).bounds(b"user")[1] > 0


def test_a_bet_never_exceeds_the_envelope_of_its_own_hypothesis() -> None:
    found = [_place(drawn=0), _place(b" the", drawn=0), _place(b" the", b" the", drawn=2)]
    for key in VALUES:
        rules = penalty_rules(key)
        for value in VALUES[key]:
            central, envelope, reference = along(found, value, rules, _SAID, ((1.0, ()),))
            assert (central <= envelope * (1 + 1e-9)).all()
            assert 0 < reference < 1


def test_the_rules_of_a_penalty_say_what_is_used() -> None:
    used = {rule.name: rule.used(-2.0) for rule in penalty_rules("frequency_penalty", ["output"])}
    assert used["ignored"] == (0, 0)
    assert used["honoured (output)"] == used["honoured (output, as presence)"] == (-2, -2)
    assert used["clamped to at least -1 to -0.75, at most 0.75 to 1 (output)"] == (-1, -0.75)


@pytest.mark.parametrize(
    ("left", "verdict"),
    [
        (["honoured", "ignored"], "cannot_tell"),
        (["honoured", "at least -1.25 to -1, at most 1 to 1.25"], "cannot_tell"),
        (["honoured", "at least -2 to -1.5, at most 1.5 to 2"], "honoured"),
        (["ignored", "at least -0.3 to 0, at most 0 to 0.3"], "ignored"),
        (["ignored", "at least 0"], "not_honoured"),
        (["at least 0", "at least -0.5 to -0.3, at most 0.3 to 0.5"], "clamped"),
        ([], "none_of_these"),
    ],
)
def test_the_verdict_of_what_is_left(left: list[str], verdict: str) -> None:
    rules = penalty_rules("presence_penalty", ["output"])
    said = {rule.name.removeprefix("clamped to ").removesuffix(" (output)"): rule for rule in rules}
    alive = [said[name] for name in left]
    assert verdict_of("presence_penalty", alive, VALUES["presence_penalty"]) == verdict


@pytest.mark.parametrize(
    ("fault", "scope"),
    [(("scope", "output"), "output"), (("scope", "prompt and output"), "prompt and output")],
)
def test_the_scope_of_a_penalty_is_found(fault: tuple[str, str], scope: str) -> None:
    study = study_of(Provider("vllm", {"frequency_penalty": fault}, seed=3), meaning="raw")
    penalty(study, "frequency_penalty")
    found = study.findings["frequency_penalty"]
    assert found.verdict in ("honoured", "cannot_tell")
    assert found.kind == ("proven" if found.verdict == "honoured" else None)
    assert (found.scope, found.error) == (scope, study.alpha)
    assert found.detail.endswith(f"counts {scope}")
    claims = {claim.sent: claim for claim in found.claims}
    assert claims[-1.0].verdict == "honoured"
    assert claims[-1.0].log_e is not None
    assert claims[-1.0].log_e > -np.log(study.alpha)
    assert not any(claim.verdict == "not_honoured" for claim in found.claims)
    if found.verdict == "cannot_tell":  # bounds near 2
        assert "used, within bounds or without" in found.detail
        assert {name.partition(" ")[0] for name in found.not_excluded} == {"clamped"}


def test_a_penalty_that_is_ignored_is_not_called_honoured() -> None:
    study = study_of(Provider("vllm", {"presence_penalty": "ignored"}, seed=5), meaning="raw")
    penalty(study, "presence_penalty", budget=24)
    found = study.findings["presence_penalty"]
    assert found.verdict in ("ignored", "not_honoured")
    assert {claim.verdict for claim in found.claims} <= {"not_honoured", "cannot_tell"}
    assert found.claims[0].verdict == "not_honoured"


def test_a_clamp_leaves_the_values_within_it() -> None:
    provider = Provider("vllm", {"frequency_penalty": ("clamped", -1, 1)}, seed=2)
    study = study_of(provider, meaning="raw")
    penalty(study, "frequency_penalty")
    found = study.findings["frequency_penalty"]
    assert found.verdict == "clamped"
    told = {claim.sent: (claim.verdict, claim.used) for claim in found.claims}
    assert told[-1.0][0] in ("honoured", "cannot_tell")  # it may be the bound
    assert told[-2.0][0] == told[2.0][0] == "not_honoured"
    assert found.scope == "output"


def test_refusals_are_told_in_the_words_of_the_server() -> None:
    provider = Provider("vllm", {"presence_penalty": ("refused", 0.0, 0.0)})
    study = study_of(provider, meaning="raw")
    penalty(study, "presence_penalty")
    found = study.findings["presence_penalty"]
    assert (found.verdict, found.kind) == ("refused", "observed")
    assert found.says == "Unsupported value: 'presence_penalty'."
    assert set(found.refused_values) == {"-2", "2", "-1"}


def test_the_cap_leaves_a_finding_with_what_is_known() -> None:
    study = study_of(Provider("vllm", seed=1), meaning="raw")
    study.cap = 6
    with pytest.raises(Spent, match="the cap of 6 requests is reached"):
        penalty(study, "frequency_penalty")
    found = study.findings["frequency_penalty"]
    assert found.verdict in ("cannot_tell", "honoured")
    assert len(found.history) == 4


def test_where_the_meaning_is_unknown_nothing_is_claimed() -> None:
    study = study_of(Provider("vllm"), meaning="unknown")
    penalty(study, "frequency_penalty")
    assert study.findings["frequency_penalty"].verdict == "cannot_tell"
    assert study.requests == 0


@pytest.mark.parametrize(
    ("engine", "key"), [("sglang", "presence_penalty"), ("mlx_lm_server", "repetition_penalty")]
)
def test_reports_after_penalties_are_read(engine: str, key: str) -> None:
    meaning = {"sglang": "tempered", "mlx_lm_server": "penalised"}[engine]
    scope = {"sglang": "output", "mlx_lm_server": "prompt and output"}[engine]
    study = study_of(Provider(engine, seed=1), meaning=meaning)
    penalty(study, key)
    found = study.findings[key]
    assert (found.verdict, found.kind, found.scope) == ("honoured", "reported", scope)
    assert {claim.verdict for claim in found.claims} == {"honoured"}

    study = study_of(Provider(engine, {key: "ignored"}, seed=1), meaning=meaning)
    penalty(study, key)
    assert study.findings[key].verdict == "ignored"
    if key == "repetition_penalty":
        assert "llama_cpp, ollama, koboldcpp read repeat_penalty" in study.findings[key].detail


def test_after_truncations_a_form_that_is_not_known_is_not_called_a_bound() -> None:
    study = study_of(Provider("tgi_chat", seed=1, top=5), meaning="processed")
    study.logprobs = {"logprobs": True, "top_logprobs": 5}
    penalty(study, "frequency_penalty")  # which is by share there
    found = study.findings["frequency_penalty"]
    assert (found.verdict, found.kind) == ("cannot_tell", None)
    assert {claim.verdict for claim in found.claims} == {"cannot_tell"}
    assert study.requests > 3


def test_penalties_are_predicted_at_the_temperature_that_is_sent_beside_them() -> None:
    study = decided(Provider("vllm", seed=8))
    assert study.backgrounds is not None
    # Neutral requests may be clamped, so that one is sent which is not.
    clamped = Rule("clamped to at most 0.4 to 1", "clamped", cap=(0.4, 1.0))
    study.backgrounds.rules["temperature"] = [Rule("honoured", "honoured"), clamped]
    race = _PenaltyRace(study, "presence_penalty")
    assert race.beside == {"temperature": 0.4}
    assert [temperature for temperature, _ in race.after] == [0.4]
