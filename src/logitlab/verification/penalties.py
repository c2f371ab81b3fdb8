r"""Whether penalties are honoured, and what they count: a race along answers of many tokens.

Every token of an answer is a draw from its own reported row, given all before it. So an answer of
tokens :math:`y_t` at places of which hypothesis h says :math:`q_h(\cdot)` and at most
:math:`u_h(\cdot)` makes one step of the race (`race`) with

.. math:: q_h = (1 - \eta) \prod_t q_h(y_t) + \eta \prod_t p(y_t), \qquad
          u_h = (1 - \eta) \prod_t u_h(y_t) + \eta \max_\tau \prod_t p_\tau(y_t)

where p is what was reported, and :math:`p_\tau` the same at any temperature from 0.5 to 2: a
foreign answer, which knows nothing of penalties, is foreign as a whole. Where a bound, or what is
in force beside, may be one of several, :math:`u_h` is the largest of their products: one of them is
in force along all of an answer. Whether a place enters is decided before its draw: those at which
no other hypothesis would lose by it do not.

Where the server reports rows after penalties, they are read instead, see `penalties_read`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.verification.answer import Answer
from logitlab.verification.envelope import FOREIGN, ceilings
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.in_force import beside, errors
from logitlab.verification.penalised import After, Told, backgrounds
from logitlab.verification.penalties_read import read_penalty
from logitlab.verification.penalty_prompts import (
    PROMPTS,
    alone,
    claim_of,
    detail_of,
    fewer,
    frame_of,
    said_of,
    scopes_of,
)
from logitlab.verification.penalty_rules import VALUES, PenaltyRule, penalty_rules, verdict_of
from logitlab.verification.places import Floats, Place, places
from logitlab.verification.race import Race
from logitlab.verification.scopes import Counted, Said, counted
from logitlab.verification.study import Study

__all__ = ["LENGTHS", "along", "penalties", "penalty"]


LENGTHS = (48, 8, 48)
"""Tokens of the answers, in turn: a short one has what a window of the prompt leaves."""

_COLDNESS = np.linspace(0.5, 2, 31)  # one over the temperatures that foreign answers may have
_ALIKE = 0.02  # a place where hypotheses differ by less is left out
_TELLING = 0.005  # nats, the least that a draw there has to tell
_FAR = 3.0  # times the budget, beyond which a rival is out of reach
_LEAST_PACE = 0.02  # nats an answer
_SOME = 6  # answers to a value, after which forecasts are believed


def penalties(study: Study, budget: int = 60) -> None:
    """Find what the three penalties do. The stage adds a finding of each that is accepted.

    It wants `Study.logprobs`, `Study.meaning`, and what is known of temperature and truncations.
    """
    for key in VALUES:
        if key in study.neutral:
            penalty(study, key, budget)


def penalty(study: Study, key: str, budget: int = 60) -> None:
    """Find what one penalty does.

    Parameters
    ----------
    study : Study
    key : str
        "frequency_penalty", "presence_penalty" or "repetition_penalty".
    budget : int
        The most answers.
    """
    if not study.logprobs:
        return
    if study.meaning in ("penalised", "tempered", "processed", "filtered"):
        read_penalty(study, key)
        return
    if study.meaning != "raw":
        words = "it is not known what the log-probabilities are of"
        study.findings[key] = Finding("cannot_tell", "observed", detail=words)
        return
    race = _PenaltyRace(study, key)
    if not race.after:
        words = "nothing that is known explains what is in force beside it"
        study.findings[key] = Finding("cannot_tell", "observed", detail=words)
        return
    try:
        race.run(budget)
    finally:
        study.findings[key] = race.finding()


@dataclass
class _PenaltyRace:
    study: Study
    key: str
    rules: list[PenaltyRule] = field(init=False)
    race: Race = field(init=False)
    refused: dict[float, str] = field(default_factory=dict)
    asked: dict[float, int] = field(default_factory=dict)
    gains: dict[float, list[dict[str, float]]] = field(default_factory=dict)
    requests: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.rules = penalty_rules(self.key)
        answers = {rule.name: rule.answer for rule in self.rules}
        number = Counter(answers.values())
        prior = {name: 1 / number[answer] for name, answer in answers.items()}
        self.race = Race(answers, self.study.alpha, prior)
        self.named = {rule.name: rule for rule in self.rules}
        self.beside = beside(self.study)
        self.after = backgrounds(self.study, self.beside)
        self.frame = None if self.study.chat else 0

    def run(self, budget: int) -> None:
        """Ask until every value and the scope are decided, or out of reach."""
        before = self.study.requests
        self.frame = frame_of(self.study)
        self.requests += self.study.requests - before
        while self.requests < budget:
            values = list(self._open(budget - self.requests))
            if not values:
                return
            number = self.requests
            value = values[number % len(values)]
            prompt = PROMPTS[number // 2 % len(PROMPTS)]
            answer = self._ask(prompt, LENGTHS[number % len(LENGTHS)], value)
            if answer is not None:
                self._take(prompt, value, answer)

    def _ask(self, prompt: str, tokens: int, value: float) -> Answer | None:
        sent = alone(self.key, value) | self.beside | fewer(self.study)
        answer = self.study.ask(prompt, tokens, **sent)
        self.requests += 1
        self.tokens += answer.tokens[1]
        self.asked[value] = self.asked.get(value, 0) + 1
        if answer.refused:
            self.refused[value] = answer.words or ""
            return None
        return answer

    def _take(self, prompt: str, value: float, answer: Answer) -> None:
        said = said_of(self.study, prompt, self.frame, answer)
        found = [place for place in places(answer.positions()) if _may_count(place, said)]
        if not found:
            return
        leader = next((n for n, r in enumerate(self.rules) if r.name == self.race.leader), 0)
        told = along(found, value, self.rules, said, self.after, leader)
        central, envelope, reference = told
        cell = (prompt, value, self.requests)
        before = self.race.log_e
        bets, most = central[:, None], envelope[:, None]
        self.race.update(cell, bets, most, 0, np.array([reference]), every=True)
        gained = {name: now - before[name] for name, now in self.race.log_e.items()}
        self.gains.setdefault(value, []).append(gained)
        # What is refuted stays so, and is not asked again.
        stay = self.race.retire()
        self.rules = [rule for rule, stays in zip(self.rules, stay, strict=True) if stays]

    def _open(self, left: int) -> Iterator[float]:
        """Yield the values of which more can be found out."""
        alive = [self.named[name] for name in self.race.alive]
        scopes = {rule.where for rule in alive if rule.answer == "honoured"}
        for value in VALUES[self.key]:
            if value in self.refused:
                continue
            used = {rule.used(value) for rule in alive}
            undecided = len(used) > 1 or (len(scopes) > 1 and used == {(value, value)})
            if undecided and self._is_near(value, left):
                yield value

    def _is_near(self, value: float, left: int) -> bool:
        """Whether answers to a value are about to refute a rival of what is done with it."""
        if self.asked.get(value, 0) < _SOME:
            return True
        leader = self.named[self.race.leader]
        log_e, pace = self.race.log_e, self._pace(value)
        # Which value is used in its place is worth less than whether it is.
        is_kept = any(self.named[name].keeps(value) for name in self.race.alive)
        far = _FAR if is_kept else 0.5
        return any(
            pace[name] > _LEAST_PACE and (self.race.limit - log_e[name]) / pace[name] <= far * left
            for name in self.race.alive
            if self.named[name].used(value) != leader.used(value)
            or self.named[name].where != leader.where
        )

    def _pace(self, value: float) -> dict[str, float]:
        """Return by how much an answer to a value has raised the evidence."""
        gained = self.gains.get(value, [])
        return {
            name: sum(each[name] for each in gained) / max(len(gained), 1)
            for name in self.race.names
        }

    def _forecasts(self) -> dict[str, float]:
        """Return how many answers more would refute what is alive, at the pace so far."""
        log_e, paces = self.race.log_e, [self._pace(value) for value in self.gains]
        found = {}
        for name in self.race.alive:
            pace = max((each[name] for each in paces), default=0.0)
            missing = self.race.limit - log_e[name]
            found[name] = math.ceil(missing / pace) if pace > _LEAST_PACE else math.inf
        return found

    def finding(self) -> Finding:
        """Return what was found."""
        alive = [self.named[name] for name in self.race.alive]
        most = self.race.most
        is_refused = bool(self.asked) and set(self.asked) == set(self.refused)
        verdict = "refused" if is_refused else self._verdict()
        forecasts = self._forecasts()
        leader = self.race.leader
        others = {
            name: forecasts[name]
            for name in self.race.alive
            if self.race.answers[name] != self.race.answers[leader]
        }
        scopes = scopes_of(verdict, alive)
        scope = scopes[0] if len(scopes) == 1 else None
        error, relies = errors(self.study)
        return Finding(
            verdict,
            "observed" if verdict == "refused" else "proven",
            error=0.0 if verdict == "refused" else error,
            relies=0.0 if verdict == "refused" else relies,
            claims=tuple(self._claim(value, alive, most) for value in VALUES[self.key]),
            alive={rule.name: most[rule.name] for rule in alive},
            not_excluded=others,
            requests=self.requests,
            tokens=self.tokens,
            detail=self._detail(verdict, scopes, alive),
            says=next(iter(self.refused.values()), None) if verdict == "refused" else None,
            refused_values={f"{value:g}": words for value, words in self.refused.items()},
            scope=scope,
            history=tuple(self.race.history),
        )

    def _verdict(self) -> Verdict:
        """Return the verdict; that it is honoured needs a value that surely is."""
        alive = [self.named[name] for name in self.race.alive]
        if not self.asked:
            return "cannot_tell"
        verdict = verdict_of(self.key, alive, [x for x in self.asked if x not in self.refused])
        is_kept = any(all(rule.keeps(value) for rule in alive) for value in self.asked)
        is_likely = self.race.answers[self.race.leader] == "honoured"
        return "cannot_tell" if verdict == "honoured" and not (is_kept and is_likely) else verdict

    def _detail(self, verdict: str, scopes: Sequence[str], alive: Sequence[PenaltyRule]) -> str:
        said = [detail_of(self.key, verdict, scopes, alive)]
        said += [f"asked at {key} {value:g}" for key, value in self.beside.items()]
        return "; ".join(filter(None, said))

    def _claim(
        self, value: float, alive: Sequence[PenaltyRule], most: Mapping[str, float]
    ) -> Claim:
        if value in self.refused:
            return Claim(value, "refused")
        kept = {rule.keeps(value) for rule in alive}
        if value not in self.asked or len(kept) != 1:
            return Claim(value, "cannot_tell")
        others = [most[name] for name, rule in self.named.items() if rule.keeps(value) not in kept]
        log_e = min(others)
        return claim_of(value, alive, log_e)


def _may_count(place: Place, said: Said) -> bool:
    """Whether anything that is reported of a place may have been said before."""
    said_before = set(place.before)
    return any(token in said_before or said.bounds(token)[1] for token in place.tokens)


def along(
    found: Sequence[Place],
    value: float,
    rules: Sequence[PenaltyRule],
    said: Said,
    after: After,
    leader: int = 0,
    foreign: float = FOREIGN,
) -> tuple[Floats, Floats, float]:
    """Return what hypotheses say of a whole answer.

    Parameters
    ----------
    found : sequence of Place
    value : float
        Of the penalty that was sent.
    rules : sequence of PenaltyRule
    said : Said
    after : sequence of (float, sequence of Chain)
        As of `Told`.
    leader : int
        The hypothesis that is likeliest: places enter at which it would refute others.
    foreign : float
        The share of foreign answers, at most.

    Returns
    -------
    central, envelope : ndarray, shape (rules,)
        The probability of the answer, and the most that it may be.
    reference : float
        Its probability as it is reported.
    """
    central, envelopes = _expected(Told(found, after), value, rules, said)
    kept = _telling(central, np.array([each[0] for each in envelopes]), leader)
    kept = [n for n in kept if found[n].drawn is not None]
    drawn = [found[n].drawn or 0 for n in kept]
    shares = [found[n].shares for n in kept]
    told = [float(np.log(share[y])) for share, y in zip(shares, drawn, strict=True)]
    strange = _foreign([found[n].logprobs for n in kept], drawn)
    with np.errstate(divide="ignore"):
        q = np.exp(np.log(central[:, kept, drawn]).sum(axis=1))
        # One background, and one part of a span, is in force along all of an answer.
        most = [np.log(each[:, kept, drawn]).sum(axis=1).max() for each in envelopes]
    reported = math.exp(sum(told))
    bets = (1 - foreign) * q + foreign * reported
    bounds = (1 - foreign) * np.exp(most) + foreign * strange
    return bets, np.minimum(1, bounds), reported


def _expected(
    told: Told, value: float, rules: Sequence[PenaltyRule], said: Said
) -> tuple[Floats, list[Floats]]:
    """Return bets, shape (rules, places, K), and of each rule all envelopes that it may have."""
    counts: dict[str, list[Counted]] = {}
    found: dict[tuple[Any, ...], tuple[Floats, Floats]] = {}
    known = []
    for rule in rules:
        scope = rule.scope or "output"
        if scope not in counts:
            counts[scope] = [counted(scope, place, said) for place in told.places]
        used = rule.used(value) if rule.form else (0.0, 0.0)
        what = rule.form or "count", used, scope, rule.shifts
        if what not in found:
            form, (low, high), _, shifts = what
            found[what] = (
                told.predict(form, low, counts[scope], shifts)
                if low == high
                else told.between(form, used, counts[scope], shifts)
            )
        known.append(found[what])
    central, envelopes = zip(*known, strict=True)
    return np.array(central), list(envelopes)


def _telling(central: Floats, envelope: Floats, leader: int) -> list[int]:
    """Return the places at which a draw tells more against others than is lost in envelopes."""
    bet = central[leader]
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = np.where(bet > 0, bet * (np.log(bet) - np.log(envelope)), 0).sum(axis=-1)
    apart = np.abs(central - bet).max(axis=(0, 2)) > _ALIKE
    others = np.arange(len(central)) != leader
    return np.flatnonzero(apart & (gains[others].max(axis=0, initial=0) > _TELLING)).tolist()


def _foreign(rows: Sequence[Floats], drawn: Sequence[int]) -> float:
    """Return the most that an answer has at any of the temperatures of foreign ones."""
    whole = np.zeros(len(_COLDNESS))
    for row, y in zip(rows, drawn, strict=True):
        logits = _COLDNESS[:, None] * (row - row.max())
        whole += logits[:, y] - np.log(np.exp(logits).sum(axis=1))
    # Concave in one over the temperature.
    return math.exp(ceilings(whole).max())
