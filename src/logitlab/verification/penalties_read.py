"""Penalties where the server reports rows after them: two answers that begin alike tell.

As long as two answers have the same tokens so far, one asked for without a penalty and one with it,
their reports at a place differ by what the penalty does there, up to a constant, and by noise. What
is read so is reported by the server, not proven: it may draw otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.verification.answer import Answer
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.penalised import Told, penalty
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
from logitlab.verification.scopes import Counted, Said, counted
from logitlab.verification.study import Study

__all__ = ["Pair", "are_moved", "fits", "pairs", "read_penalty", "tolerance"]

_LENGTH = 24
_SHIFTS = np.arange(0.0, 40.01, 0.05)
_BETWEEN = 8  # values that are tried of a span
_NEAR = 0.1
_LEAST = 0.1  # nats, below which reports are taken for equal
_ROUNDS = 12
_MISFITS = 3  # rounds that a hypothesis has to fail: some answers come from elsewhere


@dataclass(frozen=True)
class Pair:
    """A place of two answers that are alike so far.

    Attributes
    ----------
    place : Place
        Without the penalty, of the tokens that both report.
    moved : ndarray of float64
        By how much each is reported higher with it.
    """

    place: Place
    moved: Floats
    _known: dict[tuple[str, float, bytes], Floats] = field(
        default_factory=dict, compare=False, repr=False
    )

    def errors(self, form: str, value: float, count: Counted) -> Floats:
        """Return by how much a value is off at most, for each constant of the raw logits.

        There is but one where it does not matter. Tokens count of which it is known how often they
        are counted.
        """
        key = form, value, count.least.tobytes() + count.most.tobytes()
        if key not in self._known:
            shifts = _SHIFTS if form == "repetition" else np.zeros(1)
            predicted = np.zeros((1, len(self.moved)))
            if form:
                told = Told([self.place])
                after = told.penalised(penalty(form, value), count.least[None], shifts[:, None])
                predicted = after[:, 0] - self.place.logprobs
            error = (self.moved - predicted)[:, count.least == count.most]
            error = error - np.median(error, axis=-1, keepdims=True)
            self._known[key] = np.abs(error).max(axis=-1)
        return self._known[key]


def tolerance(study: Study) -> float:
    """Return by how much two reports of one row may differ, in nats."""
    sigma = max((seen.sigma for seen in study.observed.values()), default=0.0)
    return _LEAST + 6 * sigma


def pairs(one: Answer, other: Answer) -> list[Pair]:
    """Return the places at which two answers have the same tokens so far.

    Examples
    --------
    >>> def answer(lift):
    ...     tops = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5 + lift}]
    ...     told = {"content": [{"token": "a", "top_logprobs": tops}]}
    ...     return Answer(200, {"choices": [{"message": {"content": "a"}, "logprobs": told}]})
    >>> [pair] = pairs(answer(0.0), answer(1.0))
    >>> pair.moved.tolist()
    [0.0, 1.0]
    """
    found = []
    with_it = {place.before: place for place in places(other.positions(), whole=True)}
    for place in places(one.positions(), whole=True):
        if place.before not in with_it:
            continue
        its = with_it[place.before]
        told = dict(zip(its.tokens, its.logprobs.tolist(), strict=True))
        both = [n for n, token in enumerate(place.tokens) if token in told]
        if len(both) > 1:
            tokens = tuple(place.tokens[n] for n in both)
            common = Place(tokens, place.logprobs[both], None, place.before)
            moved = np.array([told[token] for token in tokens]) - common.logprobs
            found.append(Pair(common, moved))
    return found


def are_moved(found: Sequence[Pair], said: Said, slack: float) -> bool:
    """Whether tokens that may be counted are reported otherwise than those that are not."""
    for pair in found:
        count = counted("prompt and output", pair.place, said)
        free = count.most == 0
        if free.any() and (count.least > 0).any():
            apart = np.abs(pair.moved - np.median(pair.moved[free]))[count.least > 0]
            # The others have to stand still, or it is no penalty.
            still = np.abs(pair.moved[free] - np.median(pair.moved[free])).max() <= slack
            if still and (apart > slack + 0.15).any():
                return True
    return False


def fits(rule: PenaltyRule, value: float, pair: Pair, said: Said, slack: float) -> bool:
    """Whether a hypothesis explains a pair, for some constant of the raw logits."""
    count = counted(rule.scope or "output", pair.place, said)
    if (count.least == count.most).sum() < 2:
        return True
    low, high = rule.shifts
    within = (low <= _SHIFTS) & (high >= _SHIFTS)
    values = np.linspace(*rule.used(value), 1 if rule.keeps(value) else _BETWEEN)
    # A bound that is as near to what was sent as this is as good as that.
    values = values[np.abs(values - value) > _NEAR] if len(values) > 1 else values
    for used in values if rule.form else (0.0,):
        errors = pair.errors(rule.form, float(used), count)
        if (errors[within] if len(errors) > 1 else errors).min() <= slack:
            return True
    return False


@dataclass
class _Reading:
    study: Study
    key: str

    def __post_init__(self) -> None:
        self.alive = penalty_rules(self.key)
        self.misfits: Counter[PenaltyRule] = Counter()
        self.refused: dict[float, str] = {}
        self.asked: dict[float, int] = {}
        self.requests = self.tokens = self.seen = 0
        self.first = (self.study.requests, self.study.tokens)
        self.frame: int | None = 0

    def read(self, rounds: int) -> None:
        """Compare answers until every value is decided, or this often."""
        self.frame = frame_of(self.study)
        slack = tolerance(self.study)
        for number in range(rounds):
            values = [value for value in VALUES[self.key] if self._is_open(value)]
            if not values or not self.alive:
                return
            prompt = PROMPTS[number % len(PROMPTS)]
            alike = _alike(self.study, number)
            alike = {**alike, **fewer(self.study)}
            without = self.study.ask(prompt, _LENGTH, **alike)
            failed: set[PenaltyRule] = set()
            for value in values:
                sent = alone(self.key, value)
                answer = self.study.ask(prompt, _LENGTH, **alike, **sent)
                if answer.refused:
                    self.refused[value] = answer.words or ""
                    continue
                said = said_of(self.study, prompt, self.frame, answer)
                found = pairs(without, answer)
                self.asked[value] = self.asked.get(value, 0) + len(found)
                self.seen += len(found)
                failed |= {
                    rule
                    for rule in self.alive
                    if not all(fits(rule, value, pair, said, slack) for pair in found)
                }
            self.misfits.update(failed)
            self.alive = [rule for rule in self.alive if self.misfits[rule] < _MISFITS]

    def _is_open(self, value: float) -> bool:
        if value in self.refused:
            return False
        kept = {rule.keeps(value) for rule in self.alive}
        is_told = verdict_of(self.key, self.alive, VALUES[self.key]) != "not_honoured"
        return not self.asked.get(value) or len(kept) > 1 or not is_told

    @property
    def _is_cut(self) -> bool:
        return self.study.meaning in ("processed", "filtered")

    def finding(self) -> Finding:
        sent = [value for value in VALUES[self.key] if value not in self.refused]
        left = {rule.answer for rule in self.alive}
        verdict: Verdict = "cannot_tell"
        if not sent:
            verdict = "refused"
        elif self.seen and left:
            verdict = verdict_of(self.key, self.alive, [x for x in sent if self.asked.get(x)])
        # After truncations few tokens are told, and forms that are not known look like bounds.
        is_rash = verdict not in ("honoured", "refused") and self._is_cut
        verdict = "cannot_tell" if is_rash else verdict
        scopes = scopes_of(verdict, self.alive)
        none = "" if left else "what is reported with it fits no hypothesis"
        return Finding(
            verdict,
            "observed" if verdict == "refused" else "reported",
            claims=tuple(self._claim(value) for value in VALUES[self.key]),
            alive={rule.name: 0.0 for rule in self.alive},
            not_excluded={
                rule.name: np.inf
                for rule in self.alive
                if rule.answer != verdict and verdict != "not_honoured"
            },
            requests=self.study.requests - self.first[0],
            tokens=self.study.tokens - self.first[1],
            detail=none or detail_of(self.key, verdict, scopes, self.alive),
            says=next(iter(self.refused.values()), None) if verdict == "refused" else None,
            refused_values={f"{value:g}": said for value, said in self.refused.items()},
            scope=scopes[0] if len(scopes) == 1 else None,
        )

    def _claim(self, value: float) -> Claim:
        if value in self.refused:
            return Claim(value, "refused")
        if not self.asked.get(value) or len({rule.keeps(value) for rule in self.alive}) != 1:
            return Claim(value, "cannot_tell")
        claim = claim_of(value, self.alive)
        is_rash = claim.verdict == "not_honoured" and self._is_cut
        return Claim(value, "cannot_tell") if is_rash else claim


def read_penalty(study: Study, key: str, rounds: int = _ROUNDS) -> None:
    """Read a penalty off two answers that begin alike. Adds a finding of kind "reported".

    Parameters
    ----------
    study : Study
        With `Study.meaning` one of penalised, tempered, processed.
    key : str
    rounds : int
        How often each value is asked for, at most.
    """
    reading = _Reading(study, key)
    try:
        reading.read(rounds)
    finally:
        study.findings[key] = reading.finding()


def _alike(study: Study, number: int) -> Mapping[str, Any]:
    """Return what makes answers begin alike: the likeliest tokens, where that can be asked for.

    Reports after all steps tell one token then: a seed serves as well, if it does.
    """
    if study.meaning == "processed" or "temperature" not in study.neutral:
        return {"seed": number + 1} if study.verdict("seed") != "refused" else {}
    return {"temperature": 0.0}
