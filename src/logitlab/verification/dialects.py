"""Which engines behave so: the order of temperature and truncations, by requests that combine them.

Each engine of the library is a hypothesis, with its own chain. Requests combine values that every
rule that is left keeps as they are, so that nothing rests on a verdict that may be qualified; a
temperature may be whatever the rules that are left make of it, and what is in force beside them is
whatever backgrounds are left. Engines whose steps are the same for all
these requests are one hypothesis: vLLM and transformers differ in nothing that is drawn here.

Refusals of values at an edge are a second vote, of another kind: a proxy may refuse, or mend, what
the engine behind it would take. It is reported beside, and excludes nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from logitlab.checks import ParameterError
from logitlab.engines import ENGINES
from logitlab.engines.engine import Engine
from logitlab.steps.candidate_order.ordered import OrderedChain
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.temperature import Temperature
from logitlab.verification.finding import Finding
from logitlab.verification.in_force import certain, errors, in_force
from logitlab.verification.observed import Observed
from logitlab.verification.race import Cell, Drawn, Race
from logitlab.verification.rules import KEYS, NEUTRAL, Setting
from logitlab.verification.study import Study
from logitlab.verification.whole import Dialects

__all__ = ["chain_of", "dialects"]

COMBINED: tuple[dict[str, float], ...] = (
    {"temperature": 2.0, "min_p": 0.2},
    {"temperature": 2.0, "top_p": 0.5},
    {"temperature": 2.0, "top_p": 0.7},
    {"temperature": 1.5, "min_p": 0.3},
    {"temperature": 1.25, "min_p": 0.4},
    {"temperature": 1.25, "top_p": 0.6},
    {"temperature": 0.5, "top_p": 0.8},
    {"temperature": 0.5, "min_p": 0.1},
    {"temperature": 0.4, "top_p": 0.6},
    {"temperature": 0.4, "top_p": 0.8},
    {"temperature": 0.4, "top_p": 0.9},
    {"temperature": 0.4, "min_p": 0.1},
    {"temperature": 0.4, "min_p": 0.2},
    {"temperature": 0.4, "top_k": 5, "top_p": 0.8},
    {"temperature": 2.0, "top_a": 0.5},
    {"temperature": 2.0, "top_k": 5, "top_p": 0.8},
    {"temperature": 1.25, "top_k": 5, "top_p": 0.6},
    {"top_k": 3, "top_p": 0.7},
    {"top_k": 5, "top_p": 0.6},
    {"top_k": 4, "top_p": 0.9, "min_p": 0.4},
)
"""What may be combined: steps that do not commute."""

EDGES: tuple[tuple[str, Any], ...] = (
    ("temperature", 2.5),
    ("top_p", 0.0),
    ("top_k", -1),
    ("top_k", 0),
    ("min_p", 1.5),
    ("frequency_penalty", 3.0),
    ("repetition_penalty", 0.0),
)
"""Values that some engines refuse."""

_PROMPTS = 3
_BACKGROUNDS = 12  # beyond which nothing is told apart, and nothing is sent
_SCOPED = {
    "frequency_penalty": (FrequencyPenalty, AdditivePenalty),
    "presence_penalty": (PresencePenalty, AdditivePenalty),
    "repetition_penalty": (RepetitionPenalty,),
}
_WHERE = {"all": "prompt and output", "output": "output", "lagged": "output", "prompt": "prompt"}


def dialects(study: Study, budget: int = 120) -> None:
    """Find the engines that are left. Adds the findings "dialects" and "order".

    Sets `Study.dialects`. It wants `Study.backgrounds` with the rules of what was examined.

    Parameters
    ----------
    study : Study
    budget : int
        The most requests of the race.
    """
    first = study.requests, study.tokens
    contest = _Contest(study)
    votes = _Votes(study)
    try:
        contest.run(budget)
        votes.ask()
    finally:
        _report(study, contest, votes, first)


def chain_of(
    engine: Engine, values: Mapping[str, float], beside: Mapping[str, Any] | None = None
) -> Chain | None:
    """Return the chain of an engine for all of `KEYS`; None where it refuses the values.

    What is off is left out, or said in the engine's own way, so that no default comes in. A key
    that an engine does not have, or refuses, has no effect there. What is `beside` it is sent, too.
    """
    whole = {**NEUTRAL, **values}
    active = [key for key in KEYS if whole[key] != NEUTRAL[key]]
    for kept in (active, [key for key in active if _takes(engine, key, whole[key])]):
        for off in (0, -1, None):
            for plain in ((), ("top_p",), ("temperature", "top_p", "min_p", "top_a")):
                sent: dict[str, Any] = {
                    key: value
                    for key, value in whole.items()
                    if key in kept or (key not in active and key not in (*plain, "top_k"))
                }
                if "top_k" in kept:
                    sent["top_k"] = int(whole["top_k"])
                elif off is not None:
                    sent["top_k"] = off
                try:
                    chain = engine(sent | dict(beside or {})).without_neutral()
                except ParameterError:
                    continue
                # Which of equal tokens stay is nothing that draws of first tokens tell.
                return Chain(*chain) if isinstance(chain, OrderedChain) else chain
    return None


def _takes(engine: Engine, key: str, value: float) -> bool:
    return not _refuses(engine, key, int(value) if key == "top_k" else value)


def is_used(study: Study, key: str) -> bool:
    """Whether a parameter is used somehow: no rule is left by which it is ignored."""
    rules = study.backgrounds.rules.get(key, ()) if study.backgrounds is not None else ()
    return bool(rules) and all(rule.answer != "ignored" for rule in rules)


def _temperatures(study: Study, value: float) -> list[float]:
    """Return what temperatures one may be used as, itself first: of spans the ends and between."""
    rules = study.backgrounds.rules.get("temperature", ()) if study.backgrounds is not None else ()
    spans = dict.fromkeys(rule.used(value) for rule in rules)
    found = {value: None}
    for low, high in spans:
        found |= dict.fromkeys((low, (low * high) ** 0.5, high))
    return [each for each in found if each > 0]


class _Contest:
    def __init__(self, study: Study) -> None:
        self.study = study
        self.sent = [
            combined
            for combined in COMBINED
            if all(
                certain(study, key, value) or (key == "temperature" and is_used(study, key))
                for key, value in combined.items()
            )
        ]
        self.classes = _classes(self.sent)
        self.race = Race({names[0]: names[0] for names in self.classes}, study.alpha)
        self.reach: dict[str, float] = {}

    def run(self, budget: int) -> None:
        if len(self.classes) < 2 or not self.sent:
            return
        flat = sorted(self.study.observed.values(), key=lambda seen: -seen.entropy)[:_PROMPTS]
        table: dict[tuple[str, int], Cell] = {}
        for number, combined in enumerate(self.sent):
            settings = in_force(self.study, *combined)
            if len(settings) > _BACKGROUNDS:
                continue
            heat = _temperatures(self.study, combined.get("temperature", 1.0))
            chains = [
                _chains(ENGINES[names[0]], combined, settings, heat) for names in self.classes
            ]
            for seen in flat:
                table[seen.prompt, number] = _cell(seen, chains)
        self.reach = self.race.run(table, self._ask, budget)

    def _ask(self, action: tuple[str, int]) -> Drawn | None:
        prompt, number = action
        sent: dict[str, Any] = dict(self.sent[number])
        answer = self.study.ask(prompt, **sent)
        if answer.refused:
            return None
        positions = answer.positions()
        return Drawn(self.study.observed[prompt].drawn(positions[0] if positions else None))

    @property
    def alive(self) -> list[str]:
        left = set(self.race.alive)
        return [name for names in self.classes if names[0] in left for name in names]


def _classes(sent: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Return the engines, those together whose steps are alike for every request."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, engine in ENGINES.items():
        if engine.is_bundled:
            chains = [chain_of(engine, combined) for combined in sent]
            key = tuple(None if chain is None else _alike(chain) for chain in chains)
            found.setdefault(key, []).append(name)
    return list(found.values())


def _alike(chain: Chain) -> tuple[tuple[str, str], ...]:
    """Return what tells steps apart here: their kinds and values; not ties, nor rounding."""
    return tuple(
        (type(step).__name__, repr(getattr(step, "value", ""))) for step in _shaping(chain)
    )


def _shaping(chain: Chain) -> Iterator[Any]:
    return (step for step in chain if type(step).__name__ != "LogSoftmax")


def _chains(
    engine: Engine,
    combined: Mapping[str, float],
    settings: Sequence[Setting],
    heat: Sequence[float],
) -> list[tuple[Chain, float]] | None:
    """Return the chains of an engine before each background, with their temperatures."""
    found: dict[str, tuple[Chain, float]] = {}
    for setting in settings:
        for end, temperature in product((0, 1), heat if "temperature" in combined else (None,)):
            values = {key: span[end] for key, span in setting.items()} | dict(combined)
            if temperature is not None:
                values["temperature"] = temperature
            chain = chain_of(engine, values)
            if chain is None:
                return None
            plain = chain.of(*_shaping(chain))
            found[repr(plain)] = plain, float(values.get("temperature", 1.0))
    return list(found.values())


def _cell(seen: Observed, chains: Sequence[Sequence[tuple[Chain, float]] | None]) -> Cell:
    neutral = seen.probabilities
    central, envelope = [], []
    for known in chains:
        if known is None:  # it would refuse this, of which a proxy may think otherwise
            central.append(neutral)
            envelope.append(np.ones_like(neutral))
            continue
        found = seen.predict([chain for chain, _ in known], [t for _, t in known])
        central.append(found.central)
        envelope.append(found.envelope)
    return Cell(np.array(central), np.array(envelope), neutral)


class _Votes:
    """Which values are refused, and which engines refuse the same."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.refused: dict[tuple[str, Any], str] = {}
        self.taken: list[tuple[str, Any]] = []

    def ask(self) -> None:
        for key, value in EDGES:
            if key not in self.study.neutral or self.study.verdict(key) == "ignored":
                continue
            if value == self.study.neutral[key]:
                self.taken.append((key, value))
                continue
            prompt = next(iter(self.study.observed), "Say yes or no.")
            sent: dict[str, Any] = {key: value}
            answer = self.study.ask(prompt, **sent)
            if answer.refused:
                self.refused[key, value] = answer.words or ""
            else:
                self.taken.append((key, value))

    @property
    def agreeing(self) -> list[str]:
        if not self.refused and not self.taken:
            return []
        return [
            name
            for name, engine in ENGINES.items()
            if engine.is_bundled
            and all(_refuses(engine, *edge) for edge in self.refused)
            and not any(_refuses(engine, *edge) for edge in self.taken)
        ]


def _refuses(engine: Engine, key: str, value: Any) -> bool:
    try:
        engine.translate({key: value})
    except ParameterError:
        return True
    return False


def _order(engine: Engine) -> str:
    """Return whether an engine applies temperature before the truncations, or after them."""
    for combined in ({"temperature": 0.7, "top_p": 0.5}, {"temperature": 0.7, "min_p": 0.5}):
        chain = chain_of(engine, combined)
        kinds = [isinstance(step, Temperature) for step in _shaping(chain)] if chain else []
        if len(kinds) > 1 and any(kinds):
            return "before" if kinds[0] else "after" if kinds[-1] else "unknown"
    return "unknown"


def _scope(engine: Engine, key: str) -> str | None:
    try:
        chain = engine({key: 1.5, "temperature": 0.9})
    except ParameterError:
        return None
    named = [step for step in chain.without_neutral() if isinstance(step, _SCOPED[key])]
    return _WHERE.get(str(getattr(named[0], "scope", ""))) if named else None


def _report(study: Study, contest: _Contest, votes: _Votes, first: tuple[int, int]) -> None:
    scopes = {
        key: str(study.findings[key].scope)
        for key in _SCOPED
        if key in study.findings and study.findings[key].scope and study.findings[key].is_raced
    }
    alive = [
        name
        for name in contest.alive
        if all(_scope(ENGINES[name], key) in (where, None) for key, where in scopes.items())
    ]
    orders = {_order(ENGINES[name]) for name in alive}
    order = orders.pop() if len(orders) == 1 else "unknown"
    posterior, most = contest.race.posterior, contest.race.most
    ranking = sorted(
        ((name, posterior[names[0]] / len(names)) for names in contest.classes for name in names),
        key=lambda entry: -entry[1],
    )
    raced = len(scopes)
    error, relies = errors(study)
    error, relies = error + study.alpha * raced, relies + study.alpha * raced
    if not contest.race.requests and not raced:
        error = relies = 0.0
    study.dialects = Dialects(
        tuple(alive),
        tuple(ranking),
        order,
        scopes,
        tuple(votes.agreeing),
        {f"{key} {value:g}": words for (key, value), words in votes.refused.items()},
        study.requests - first[0],
        error,
    )
    by_name = {name: most[names[0]] for names in contest.classes for name in names}
    likely = [name for name, _ in ranking if name in alive]
    told = f"{len(alive)} of {sum(map(len, contest.classes))} engines are left"
    if not contest.sent:
        told = "no two parameters are proven whose values could be combined"
    if votes.refused or votes.taken:
        both = [name for name in likely if name in votes.agreeing]
        told += "; " + (", ".join(both) if both else "none of these") + " would refuse the same"
    found = Finding(
        "cannot_tell" if alive else "none_of_these",
        "proven",
        error=error,
        relies=relies,
        alive={name: by_name[name] for name in likely},
        not_excluded={name: more for name, more in contest.reach.items() if name in likely},
        requests=study.requests - first[0],
        tokens=study.tokens - first[1],
        detail=told,
        refused_values=study.dialects.refused,
        history=tuple(contest.race.history),
    )
    is_one = len(likely) == 1 or len({ENGINES[n].variant_of or n for n in likely}) == 1
    study.findings["dialects"] = replace(found, verdict="honoured") if is_one else found
    words = {"before": "temperature first", "after": "temperature last"}
    study.findings["order"] = Finding(
        "cannot_tell" if order == "unknown" else "honoured",
        "proven",
        error=error,
        relies=relies,
        detail=words.get(order, ""),
        scope=None if order == "unknown" else order,
    )
