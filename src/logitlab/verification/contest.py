"""The race of one parameter of the first token: which requests there are, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from logitlab.verification.answer import Position
from logitlab.verification.backgrounds import Backgrounds
from logitlab.verification.race import Cell, Drawn, Race, growths
from logitlab.verification.rules import NEUTRAL, Rule, Setting, Span
from logitlab.verification.settings import Settings
from logitlab.verification.study import Study
from numpy.typing import NDArray

__all__ = ["Contest", "Send"]

# Reports that do not depend on what is asked for: each answer's is what it was drawn from.
OWN = ("raw", "penalised")
# Reports of what truncations were given; those of any other meaning may be of what they have left.
_BEFORE_CUTS = (*OWN, "tempered")


# A rule, what is in force beside it, and its part of the rule's weight.
Row: TypeAlias = tuple[Rule, Setting, float]
_NEUTRAL_SENDS = 3
_NOTHING = 1e-3  # of a rest that reports leave out


class Send(NamedTuple):
    """A request that tells rules apart.

    Attributes
    ----------
    prompt : str
    sent : float
    top_k : int
        Sent beside it, 0 for none: it commutes with temperature, and leaves nothing of the rest.
    among : bool
        Whether answers beyond the reported tokens tell nothing, as nothing is known of them.
    """

    prompt: str
    sent: float
    top_k: int = 0
    among: bool = False


class Contest:
    """Rules about a parameter in a race, with the requests that are worth sending.

    Each rule is a union over what may be in force beside it. Its evidence begins with the neutral
    answers, to which it says what becomes of the neutral value. But if the rules were chosen by
    answers, these do not count again.

    Parameters
    ----------
    study : Study
    key : str
    rules : mapping of str to Rule
        The first is `honoured`.
    answers : mapping of str to str
        As of `Race`.
    prior : mapping of str to float, optional
    sent : sequence of float
        Values to send.
    after : Contest, optional
        One whose answers have chosen the rules: beside them is in force what it has left, and the
        evidence begins with new answers.

    Attributes
    ----------
    race : Race
    table : dict of Send to Cell
        The requests.
    refused : dict of float to str
        The server's words about values that it does not take.
    answered : set of float
        The values that it has answered to.
    is_refuted : bool
        Whether a race of finer rules has refuted all that were left.
    log : list of (Send, Position or None)
        The answers.
    """

    def __init__(
        self,
        study: Study,
        key: str,
        rules: Mapping[str, Rule],
        sent: Sequence[float],
        answers: Mapping[str, str],
        prior: Mapping[str, float] | None = None,
        after: Contest | None = None,
    ) -> None:
        self.study, self.key, self.rules, self.sent = study, key, rules, sent
        self.table: dict[Send, Cell] = {}
        self.refused: dict[float, str] = {}
        self.answered: set[float] = set()
        self.is_refuted = False
        self.log: list[tuple[Send, Position | None]] = []
        self._expected: dict[tuple[float, int], Settings] = {}
        beside = self._others() if after is None else after.beside
        self._rows = [
            (part, setting, self.backgrounds.weight(setting, key) / len(rule.parts(key)))
            for rule in rules.values()
            for part in rule.parts(key)
            for setting in self._beside(part, beside)
        ]
        self._answers, self._prior = dict(answers), prior
        self._begin()
        every = self._every()
        neutral = Send("", NEUTRAL[key])
        expected = Settings([self._settings(neutral, *row[:2]) for row in self._rows])
        self._expected[NEUTRAL[key], 0] = expected
        self._still = {prompt: expected.cell(seen) for prompt, seen in study.observed.items()}
        if after is None:
            self._replay()
        else:
            self.refused.update(after.refused)
        if every and self._rows:
            plain = [(rule, beside[0], 1.0) for rule in dict.fromkeys(r for r, *_ in self._rows)]
            chosen = self._worth(self._cells(every, plain), [rule for rule, *_ in plain])
            self.table = self._cells(chosen, self._rows)

    def _beside(self, part: Rule, beside: list[Setting]) -> list[Setting]:
        """Return what may be in force beside a rule: the less where it moves the neutral value."""
        neutral, own = part.neutral(self.key), (NEUTRAL[self.key],) * 2
        return beside if neutral == own else self._others(neutral)

    def _others(self, at: Span | None = None) -> list[Setting]:
        found = self.backgrounds.others(self.key, at)
        return [*found, *self.backgrounds.hidden] if self._may_be_cooled and {} in found else found

    def _begin(self) -> None:
        rows = [(rule.name, weight) for rule, _, weight in self._rows]
        self.race = Race(self._answers, self.study.alpha, self._prior, rows)

    def anew(self, study: Study) -> Contest:
        """Return the same contest before any answer, for another study of the same prompts.

        What was worked out is kept, if nothing was dropped: if there were no neutral answers.
        """
        other = copy(self)
        other.study, other.refused, other.answered, other.log = study, {}, set(), []
        other.is_refuted = False
        other._expected, other._still = dict(self._expected), dict(self._still)
        other._begin()
        other.race.know(self.race)
        other._replay()
        return other

    def _replay(self) -> None:
        """Take in the neutral answers, and drop what they refute."""
        expected = self._expected[NEUTRAL[self.key], 0]
        for prompt, position in self.backgrounds.drawn:
            if prompt not in self._still:
                continue
            seen, cell = self.study.observed[prompt], self._still[prompt]
            own = seen.own(position)
            if own is not None:
                cell = expected.cell(seen, own)
            self.race.update(
                prompt, cell.central, cell.envelope, seen.drawn(position, own), cell.reference
            )
        self.retire()
        self.race.requests = 0
        self.race.history.clear()

    @property
    def backgrounds(self) -> Backgrounds:
        """What may be in force beside the parameter."""
        return self.study.backgrounds or Backgrounds(self.study.alpha)

    @property
    def beside(self) -> list[Setting]:
        """What is left of what may be in force beside the rules that are left."""
        self.retire()
        found = {tuple(sorted(setting.items())): setting for _, setting, _ in self._rows}
        return list(found.values()) or [{}]

    @property
    def hidden(self) -> list[Setting]:
        """What is left of the temperatures that reports may have been divided by already."""
        known, left = self.backgrounds.hidden, self.beside
        return [each for each in known if each in left] if self._may_be_cooled else known

    @property
    def parts(self) -> list[Rule]:
        """The parts of rules that are left."""
        self.retire()
        return [] if self.is_refuted else list(dict.fromkeys(part for part, *_ in self._rows))

    @property
    def alive(self) -> list[str]:
        """The names of the rules that are left."""
        return [] if self.is_refuted else self.race.alive

    @property
    def left(self) -> list[Rule]:
        """The rules that are left."""
        return [self.rules[name] for name in self.alive]

    @property
    def _may_be_cooled(self) -> bool:
        """Whether reports may have been divided by a temperature that cuts do not see."""
        known = self.backgrounds.rules.get("temperature", ())
        is_ignored = not known or any(rule.answer == "ignored" for rule in known)
        return is_ignored and self._is_cut and self.key not in ("temperature", "top_k")

    @property
    def _is_cut(self) -> bool:
        """Whether reports may be of what truncations have left."""
        return self.study.meaning not in _BEFORE_CUTS

    @property
    def _is_surely_cut(self) -> bool:
        """Whether they are: a cut was seen in one."""
        return self.study.meaning in ("processed", "filtered")

    @cached_property
    def _is_shortened(self) -> bool:
        """Whether a neutral report has fewer tokens than were asked for, and they are all."""
        seen = self.study.observed.values()
        most = self.study.tops or max((each.reported for each in seen), default=0)
        return any(each.rest < _NOTHING and each.reported < most - 1 for each in seen)

    @property
    def _top_ks(self) -> list[int]:
        """Values of top_k that are known to be used as they are sent."""
        if self.key != "temperature" or "top_k" not in self.study.findings:
            return []
        claims = self.study.findings["top_k"].claims
        return [int(claim.sent) for claim in claims if claim.verdict == "honoured"]

    def _every(self) -> list[Send]:
        found = []
        for prompt, seen in self.study.observed.items():
            found.append(Send(prompt, NEUTRAL[self.key]))
            cuts = [k for k in self._top_ks if 2 < k <= seen.reported]
            for sent in self.sent:
                is_hot = self.key == "temperature" and sent > 1
                # Of tokens that a truncation has taken from the report some may come back.
                if not (is_hot and self._is_cut):
                    found.append(Send(prompt, sent))
                if is_hot:
                    found.append(Send(prompt, sent, among=True))
                if self.key == "temperature" and sent > 0:
                    found += [Send(prompt, sent, top_k) for top_k in cuts]
        return found

    def _settings(self, send: Send, rule: Rule, beside: Setting) -> list[Setting]:
        neutral, is_neutral = rule.neutral(self.key), send.sent == NEUTRAL[self.key]
        spans = [neutral if is_neutral else rule.used(send.sent)]
        if self.key == "temperature" and self.study.meaning not in OWN and neutral[0] > 0:
            spans = list(dict.fromkeys([*spans, _relative(rule, send.sent, neutral)]))
        cut: Setting = {"top_k": (send.top_k,) * 2} if send.top_k else {}
        kinds = [beside]
        if self._is_cut:
            spans = self._relative_cuts(spans, neutral, beside)
            kinds = self._left_to_cut(beside, is_neutral)
        return [{**kind, self.key: span, **cut} for kind in kinds for span in spans]

    def _left_to_cut(self, beside: Setting, is_neutral: bool) -> list[Setting]:
        """Return what else may cut a report of what it has left at neutral values already.

        Nothing at neutral values; and beside others what has been cut of all, or is cut of what
        these leave. Beside a temperature that may be anything between.
        """
        done = {key: span for key, span in beside.items() if key not in ("top_p", "top_a")}
        if self.key == "temperature" and not is_neutral:
            beside = {key: _left_of(key, span) for key, span in beside.items()}
        is_both = done != beside and not (is_neutral and self._is_surely_cut)
        return [done, beside] if is_both else [done]

    def _relative_cuts(self, spans: list[Span], neutral: Span, beside: Setting) -> list[Span]:
        """Return cuts relative to a report of what the neutral request has left.

        In a report that was cut to a mass m every token is 1 / m times as likely. So top_p p cuts
        it as p / m does, and top_a a, whose threshold is a times the square of the likeliest, as
        m a does. Where it may have been cut or not, both are returned; where reports show that
        something has cut them, and that it is not the parameter itself, m may be anything.
        """
        if self.key not in ("top_p", "top_a"):
            return spans
        off, (low, high) = (NEUTRAL[self.key],) * 2, spans[0]
        is_top_p = self.key == "top_p"
        if neutral != off:
            relative = (low, min(1.0, high / neutral[0])) if is_top_p else (0.0, high)
            relative = off if spans[0] == neutral else relative
            return [relative] if self._is_surely_cut else [*spans, relative]
        if self._is_shortened and spans[0] != off:
            return [(low, 1.0) if is_top_p else (0.0, high)]
        return spans if is_top_p else [(low * beside.get("top_p", (1.0, 1.0))[0], high)]

    def _cells(self, sends: Sequence[Send], rows: Sequence[Row]) -> dict[Send, Cell]:
        """Return what is expected, with every chain run once for each prompt."""
        by_prompt: dict[str, list[Send]] = {}
        for send in sends:
            by_prompt.setdefault(send.prompt, []).append(send)
        made: dict[tuple[tuple[float, int], ...], Settings] = {}
        cells = {}
        count = len(rows)
        for prompt, here in by_prompt.items():
            kinds = tuple(dict.fromkeys((send.sent, send.top_k) for send in here))
            if kinds not in made:
                made[kinds] = Settings(
                    [
                        self._settings(Send(prompt, *kind), rule, setting)
                        for kind in kinds
                        for rule, setting, _ in rows
                    ]
                )
            seen = self.study.observed[prompt]
            pair = {
                among: made[kinds].cell(seen, among=among)
                for among in dict.fromkeys(s.among for s in here)
            }
            for send in here:
                start = count * kinds.index((send.sent, send.top_k))
                cells[send] = _rows(pair[send.among], slice(start, start + count))
        return cells

    def _worth(self, cells: Mapping[Send, Cell], parts: Sequence[Rule]) -> list[Send]:
        """Return for each pair of rules the request that tells them apart best.

        One of each pair is the likeliest of its kind: honoured, or ignored with nothing in force.
        """
        sends = list(cells)
        values = (*self.sent, NEUTRAL[self.key])
        behaviour = [tuple(rule.used(sent) for sent in values) for rule in parts]
        growth = np.stack([_growth(cell) for cell in cells.values()])
        neutral = (NEUTRAL[self.key],) * 2
        corners = [
            n for n, rule in enumerate(parts) if rule.answer == "honoured" or rule.always == neutral
        ] or [0]
        chosen: dict[Send, None] = {}
        for corner in corners:
            for other in range(len(parts)):
                if behaviour[corner] == behaviour[other]:
                    continue
                for pair in ((corner, other), (other, corner)):
                    rates = growth[(slice(None), *pair)]
                    best = int(rates.argmax())
                    if rates[best] > 0:
                        chosen[sends[best]] = None
        # Neutral requests, for what is in force beside it.
        flat = sorted(self.study.observed.values(), key=lambda seen: -seen.entropy)
        chosen |= {Send(seen.prompt, NEUTRAL[self.key]): None for seen in flat[:_NEUTRAL_SENDS]}
        here, there = corners[0], corners[-1]
        for sent in self.sent:
            # One of each value, so that what is claimed of it was asked.
            mine = [n for n, send in enumerate(sends) if send.sent == sent]
            best = max(mine, key=lambda n: growth[n, here, there] + growth[n, there, here])
            chosen[sends[best]] = None
        return list(chosen)

    def ask(self, send: Send) -> Drawn | None:
        """Send a request, and return what was drawn."""
        value: float | int = int(send.sent) if self.key == "top_k" else send.sent
        is_neutral = send.sent == NEUTRAL[self.key]
        parameters: dict[str, Any] = {} if is_neutral else {self.key: value}
        if send.top_k:
            parameters["top_k"] = send.top_k
        answer = self.study.ask(send.prompt, **parameters)
        if answer.refused:
            self.refused.setdefault(send.sent, answer.words or "")
            return None
        position = next(iter(answer.positions()), None)
        if is_neutral:
            self.backgrounds.drawn.append((send.prompt, position))
        return self._drawn(send, position)

    def _drawn(self, send: Send, position: Position | None) -> Drawn:
        self.answered.add(send.sent)
        self.log.append((send, position))
        seen = self.study.observed[send.prompt]
        is_own = send.sent == NEUTRAL[self.key] or self.study.meaning in OWN
        own = seen.own(position) if is_own else None
        category: int | None = seen.drawn(position, own)
        if send.among and category == seen.reported:
            category = None
        if own is None:
            return Drawn(category)
        kind = (send.sent, send.top_k)
        if kind not in self._expected:
            self._expected[kind] = Settings(
                [self._settings(send, rule, setting) for rule, setting, _ in self._rows]
            )
        return Drawn(category, self._expected[kind].cell(seen, own, send.among))

    def again(self, earlier: Contest) -> None:
        """Take in the answers of an earlier contest, of which less was known."""
        self.refused.update(earlier.refused)
        sends = [send for send, _ in earlier.log if send.sent != NEUTRAL[self.key]]
        cells = self._cells(list(dict.fromkeys(sends)), self._rows)
        for send, position in earlier.log:
            if send in cells:
                self._take(send, self._drawn(send, position), cells[send])
        self.retire()

    def _take(self, send: Send, drawn: Drawn, cell: Cell) -> None:
        cell = drawn.cell or cell
        self.race.update(send, cell.central, cell.envelope, drawn.category, cell.reference)

    def run(self, answers: Mapping[str, str], budget: int, far: float = 1.0) -> int:
        """Send requests until the answers are told apart, see `Race.run`; return how many."""
        before = self.study.requests
        self.race.answers = dict(answers)
        self.race.run(self.possible, self.ask, budget, far)
        return self.study.requests - before

    def reach(self, answers: Mapping[str, str]) -> float:
        """Return a forecast of the requests that tell the answers apart, all of them."""
        self.race.answers = dict(answers)
        return max(self.race.forecast(self.possible).values(), default=0.0)

    def retire(self) -> None:
        """Drop what is refuted, which makes all that follows faster."""
        stay = self.race.retire()
        if stay.all():
            return
        self._rows = [row for row, kept in zip(self._rows, stay, strict=True) if kept]
        self._expected.clear()
        self.table = {send: _rows(cell, stay) for send, cell in self.table.items()}

    def first(self) -> None:
        """Send each value once, the best of its requests."""
        for sent in self.sent:
            mine = [send for send in self.table if send.sent == sent]
            drawn = self.ask(mine[-1]) if mine else None
            if drawn is not None:
                self._take(mine[-1], drawn, self.table[mine[-1]])

    @property
    def possible(self) -> dict[Send, Cell]:
        """The requests that were not refused."""
        return {send: cell for send, cell in self.table.items() if send.sent not in self.refused}


def _left_of(key: str, span: Span) -> Span:
    """Return what may be left to cut for a truncation that has cut the report already."""
    if key == "top_p":
        return (span[0], 1.0)
    return (0.0, span[1]) if key == "top_a" else span


def _relative(rule: Rule, sent: float, neutral: Span) -> Span:
    """Return the temperature relative to the one that a neutral report has been divided by."""
    used = rule.used(sent)
    if used == neutral:
        return (1.0, 1.0)
    return (used[0] / neutral[1], used[1] / neutral[0])


def _rows(cell: Cell, rows: slice | NDArray[np.bool_]) -> Cell:
    chance = None if cell.chance is None else cell.chance[rows]
    return Cell(cell.central[rows], cell.envelope[rows], cell.reference, chance)


def _growth(cell: Cell) -> NDArray[np.float64]:
    """Return how fast each rule, if it is true, refutes each other, shape (H, H)."""
    rate = growths(cell.central, cell.envelope)
    return rate if cell.chance is None else rate * cell.chance[:, None]
