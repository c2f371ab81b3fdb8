"""The stage that examines a parameter of the first token, with a claim for each value it sends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from logitlab.verification.contest import Contest
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.rules import (
    NEUTRAL,
    OFF,
    SENT,
    Rule,
    Span,
    finer,
    rules,
    touches_neutral,
)
from logitlab.verification.study import Study

__all__ = ["ORDER", "ParameterRace", "values"]

_SOON = 24  # requests that the first answers about a temperature may take

ORDER = ("top_k", "temperature", "min_p", "top_p", "top_a")
"""top_k cuts off what is not known of a row, and min_p does not look at it: they come first."""


def values(
    study: Study, *keys: str, budget: int = 60, further: int = 40, temperature: int = 60
) -> None:
    """Examine temperature, top_p, top_k, min_p and top_a, or some, and add what was found.

    First until it is told whether values are ignored; then until what is claimed of each value is
    decided, as long as that takes fewer requests than are left; and where bounds were found, until
    between which they lie.

    The temperature stands between: cuts are told apart soonest where it is known not to be ignored,
    and its bounds where the cuts are known. So its claims come last, and its first answers count
    again. Then comes once more what could not be told, or only that it is not honoured, for more is
    known of what is beside it.

    Parameters
    ----------
    study : Study
        After `bases`.
    *keys : str
        All, if none is given. They are examined in the order that takes fewest requests.
    budget : int
        The most requests to tell whether a parameter is ignored.
    further : int
        The most for its claims, and again the most for finer bounds; as many more where no
        claim is decided then.
    temperature : int
        The same for temperature.
    """
    asked = [key for key in ORDER if key in (keys or ORDER) and key in study.neutral]
    asked = [key for key in asked if key not in study.findings]
    if "temperature" in asked and len(asked) > 1:
        asked.append("temperature")
    pending: list[ParameterRace] = []
    over: dict[str, ParameterRace] = {}
    try:
        for place, key in enumerate(asked):
            is_last = key not in asked[place + 1 :]
            earlier = next((race for race in pending if race.key == key), None)
            race = ParameterRace(study, key, earlier)
            pending = [other for other in pending if other is not earlier] + [race]
            race.run(budget, (temperature if key == "temperature" else further) * is_last)
            if is_last:
                pending.remove(race)
                race.conclude()
                over[key] = race
        for key in list(over)[:-1]:
            is_told = study.findings[key].verdict not in ("cannot_tell", "not_honoured")
            if not is_told and over[key].contest.race.requests:
                pending = [ParameterRace(study, key, over[key])]
                pending[0].run(budget, further)
                pending.pop().conclude()
    finally:
        for race in pending:
            race.conclude()


class ParameterRace:
    """The race of one parameter, which leaves its finding whatever ends it.

    Parameters
    ----------
    study : Study
    key : str
    earlier : ParameterRace, optional
        Of the same parameter when less was known: its answers count again.
    like : ParameterRace, optional
        Of another study of the same prompts, whose predictions are taken; see `Contest.anew`.
    """

    def __init__(
        self,
        study: Study,
        key: str,
        earlier: ParameterRace | None = None,
        like: ParameterRace | None = None,
    ) -> None:
        self.study, self.key, self.bounds = study, key, ""
        self.spent: tuple[int, int] = earlier.spent if earlier else (0, 0)
        self.races: int = earlier.races + 1 if earlier else 1  # each has its own error
        self._rules, off = rules(key), (NEUTRAL[key], NEUTRAL[key])
        # Whether values are used at all, and whether the neutral one is moved.
        self._used = {
            name: "ignored" if rule.answer == "ignored" else "used"
            for name, rule in self._rules.items()
        }
        self._moved = {
            name: "moved" if rule.answer == "ignored" or rule.neutral(key) != off else "still"
            for name, rule in self._rules.items()
        }
        self.contest: Contest = (
            Contest(study, key, self._rules, SENT[key], self._used, _prior(self._rules))
            if like is None
            else like.contest.anew(study)
        )
        self._is_new = earlier is None
        if earlier is not None:
            self.contest.again(earlier.contest)

    def run(self, budget: int, further: int) -> None:
        """Send requests; if `further` is 0, only a few for what is in force."""
        before = (self.study.requests, self.study.tokens)
        try:
            if self._is_new:
                self.contest.first()
            if further:
                self.contest.run(self._used, budget, 1.5)
            else:
                self.contest.run(self._used, _SOON, 1.5)
                self.contest.run(self._moved, _SOON, 1.5)
            self.contest.retire()
            if further:
                _decide(self.contest, further)
                if not _is_some_known(self.contest):
                    _decide(self.contest, further, partly=True)
                if _verdict(self.key, self.contest) == "clamped":
                    self.bounds = _bounds(self.study, self.key, self.contest, further)
                    self.races += 1
        finally:
            requests, tokens = self.study.requests - before[0], self.study.tokens - before[1]
            self.spent = (self.spent[0] + requests, self.spent[1] + tokens)
            if self.study.backgrounds is not None:
                self.study.backgrounds.rules[self.key] = self.contest.parts
                self.study.backgrounds.races[self.key] = self.races
                if self.contest.parts:
                    self.study.backgrounds.hidden = self.contest.hidden

    def conclude(self) -> None:
        """Add the finding."""
        self.study.findings[self.key] = _finding(
            self.study, self.key, self.contest, self.spent, self.bounds, self.races
        )


def _decide(contest: Contest, budget: int, *, partly: bool = False) -> None:
    """Go on for each claim, the nearest first, that what is left of the budget can decide.

    Or for claims of which it can refute a part.
    """
    known = contest.rules
    questions = [
        {name: str(rule.keeps(sent)) for name, rule in known.items()}
        for sent in contest.sent
        if sent in contest.answered
    ]
    # What only clamps near the neutral value say stays open.
    questions.append(
        {
            name: "ignored" if touches_neutral(contest.key, rule) else rule.answer
            for name, rule in known.items()
        }
    )
    while questions and contest.alive:
        reaches = [contest.reach(question) for question in questions]
        nearest = min(range(len(reaches)), key=reaches.__getitem__)
        if reaches[nearest] > budget and not partly:
            break
        question = questions.pop(nearest)
        if reaches[nearest] > 0:
            budget -= contest.run(question, budget, 1.5)


def _prior(known: Mapping[str, Rule]) -> dict[str, float]:
    """Return weights: a third each for honoured and for ignored with nothing in force."""
    others = max(len(known) - 2, 1)
    corners = {"honoured", next(iter(n for n, r in known.items() if r.answer == "ignored"), "")}
    return {name: 0.35 if name in corners else 0.3 / others for name in known}


def _verdict(key: str, contest: Contest) -> Verdict:
    if not contest.race.requests:
        return "refused" if contest.refused else "cannot_tell"
    left = contest.left
    answers = {rule.answer for rule in left}
    if not left:
        return "none_of_these"
    if "honoured" in answers:
        # Not what one would rather bet against, nor where no value is known to be used.
        leads = contest.rules[contest.race.leader].answer == "honoured"
        sure = leads and _is_some_known(contest)
        return "honoured" if sure and "ignored" not in answers else "cannot_tell"
    if answers == {"clamped"}:
        return "clamped"
    clamps = [rule for rule in left if rule.answer == "clamped"]
    # Bounds so near the neutral value that they are as good as that, if that is left itself.
    is_near = all(touches_neutral(key, rule) for rule in clamps)
    if not clamps or (is_near and any(rule.always == (NEUTRAL[key],) * 2 for rule in left)):
        return "ignored"
    return "not_honoured"


def _is_some_known(contest: Contest) -> bool:
    """Whether it is known of a value that was sent whether it is used."""
    values = contest.answered - {NEUTRAL[contest.key]}
    return any(len({rule.keeps(sent) for rule in contest.left}) == 1 for sent in values)


def _claims(contest: Contest) -> tuple[Claim, ...]:
    """Return what became of each value that was sent."""
    most, alive, leader = contest.race.most, contest.alive, contest.race.leader
    claims = []
    for sent in contest.sent:
        if sent not in contest.answered:
            if sent in contest.refused:
                claims.append(Claim(_told(contest.key, sent), "refused"))
            continue
        keeps = {name: contest.rules[name].keeps(sent) for name in most}
        verdict: Verdict = "cannot_tell"
        rivals = [most[name] for name, kept in keeps.items() if kept != keeps[leader]]
        used: Any = None
        if alive and all(keeps[name] for name in alive):
            verdict = "honoured"
        elif alive and not any(contest.rules[name].may_keep(sent) for name in alive):
            verdict = "not_honoured"
            spans = {contest.rules[name].used(sent) for name in alive}
            used = _told(contest.key, *spans.pop()) if len(spans) == 1 else None
        claims.append(Claim(_told(contest.key, sent), verdict, used, min(rivals, default=0.0)))
    return tuple(claims)


def _told(key: str, low: float, high: float | None = None) -> Any:
    """Return a value as a request says it; None for a span."""
    if high is not None and high != low:
        return None
    if key == "top_k":
        return 0 if low >= OFF else int(low)
    return low


def _finding(
    study: Study, key: str, contest: Contest, spent: tuple[int, int], bounds: str, races: int
) -> Finding:
    race, verdict = contest.race, _verdict(key, contest)
    race.answers = {name: rule.answer for name, rule in contest.rules.items()}
    most = race.most
    alive = {name: most[name] for name in contest.alive}
    # What is not excluded is told as it is if the verdict is right.
    right = "honoured" if verdict == "cannot_tell" and "honoured" in alive else verdict
    leader = next((name for name in alive if contest.rules[name].answer == right), None)
    forecast = race.forecast(contest.possible, leader) if contest.table else {}
    others = {
        name: forecast.get(name, math.inf)
        for name in _plain(contest.rules, list(alive))
        if contest.rules[name].answer != verdict and verdict in ("honoured", "ignored")
    }
    if verdict == "cannot_tell":
        others = {name: forecast[name] for name in alive if name in forecast}
    # What was taken from other races is as sure as these.
    relies = study.backgrounds.relied(key) if study.backgrounds is not None else 0.0
    is_raced = bool(race.requests)
    return Finding(
        verdict,
        "proven" if is_raced else "observed",
        error=is_raced * (races * study.alpha + relies),
        relies=is_raced * relies,
        claims=_claims(contest),
        alive=alive,
        not_excluded=others,
        requests=spent[0],
        tokens=spent[1],
        detail=_detail(contest, verdict, bounds),
        says=next(iter(contest.refused.values()), None),
        refused_values={f"{sent:g}": said for sent, said in contest.refused.items()},
        history=tuple(race.history),
    )


def _plain(known: Mapping[str, Rule], names: Sequence[str]) -> list[str]:
    """Leave out rules of two bounds of which each is left by itself."""
    single = {
        (rule.floor, rule.cap)
        for rule in (known[name] for name in names)
        if rule.floor is None or rule.cap is None
    }
    return [
        name
        for name in names
        if (known[name].floor, known[name].cap) in single
        or (known[name].floor, None) not in single
        or (None, known[name].cap) not in single
    ]


def _detail(contest: Contest, verdict: Verdict, bounds: str) -> str:
    if bounds:
        return bounds
    if not contest.study.observed:
        return "no prompt has a distribution that could be learnt"
    if verdict == "ignored":
        spans = sorted({rule.always for rule in contest.left if rule.always is not None})
        said = (_words(contest.key, span) for span in spans)
        return "what stays in force: " + " or ".join(said)
    return ""


def _words(key: str, span: Span) -> str:
    ends = dict.fromkeys(span)
    told = ("off" if end == NEUTRAL[key] and key == "top_k" else f"{end:.3g}" for end in ends)
    return " to ".join(told)


def _bounds(study: Study, key: str, contest: Contest, budget: int) -> str:
    """Race finer bounds between those that are left, and say between which they lie.

    They were chosen by the answers so far, so that none of these counts again. If all of them are
    refuted, so is whatever was left: then `Contest.is_refuted` is set.
    """
    left, grids = contest.left, []
    for name in ("floor", "cap"):
        spans = [getattr(rule, name) for rule in left]
        some = [span for span in spans if span is not None]
        sure = len(some) == len(spans)
        low = min((span[0] for span in some), default=0.0)
        high = max((span[1] for span in some), default=0.0)
        if key == "top_k":
            low, high = (low - 1, high) if name == "floor" else (low, high + 1)
        grids.append((sure, finer(low, high, integer=key == "top_k") if some else []))
    known = {
        name: rule
        for name, rule in rules(key, *(grid for _, grid in grids)).items()
        if rule.answer == "clamped"
        and (rule.floor is not None or not grids[0][0])
        and (rule.cap is not None or not grids[1][0])
    }
    if not known:
        return ""
    names = {name: name for name in known}
    second = Contest(study, key, known, contest.sent, names, after=contest)
    second.run(names, budget)
    contest.is_refuted = not second.left
    certain, perhaps = list[str](), list[str]()
    for name, words in (("floor", "at least"), ("cap", "at most")):
        spans = [getattr(rule, name) for rule in second.left]
        some = [span for span in spans if span is not None]
        if some:
            low, high = min(low for low, _ in some), max(high for _, high in some)
            found = certain if len(some) == len(spans) else perhaps
            found.append(f"{words} {_words(key, (low, high))}")
    said = " and ".join(certain) or " or ".join(perhaps)
    return f"values are {said}" if said else ""
