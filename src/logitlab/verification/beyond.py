"""Samplers beyond the page that a request can name: honoured, ignored or refused.

**Of the first token.** What a sampler leaves of an observed distribution is predicted by the chains
of all engines that have it, on every completion of the rest (`completion`), and with rests of ever
more equal tokens, between which its entropy lies; the other hypothesis is that nothing happens.
top_n_sigma looks at the scatter of all logits, of which a
report tells little: it is taken for any of .5 to 20 nats, in steps of .5. Kept sets that are no
prefix (typical_p, XTC) have edges that these rows show, not bound: that is assumed. What depends on
the whole vocabulary in another way (dynamic temperature, skew) is not sent.

**Of sequences.** DRY and bans of repeated n-grams are looked for where a text is rewarded for
repeating itself: with frequency_penalty below 0, if that is honoured, answers go round in circles,
unless they stop that. That is observed, once with them and once without.

Each is asked once whether it is taken, before anything is predicted, and sent beside a temperature
that is proven, if there is one: it leaves little of what was not reported.

Each is sent with one value, which most of them leave a single token at: what is found is of that
value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from logitlab.checks import ParameterError
from logitlab.engines import ENGINES
from logitlab.engines.engine import Engine
from logitlab.steps.chain import Chain
from logitlab.steps.threshold import MinP
from logitlab.verification.dialects import chain_of
from logitlab.verification.envelope import with_foreign
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.in_force import beside, certain, errors, in_force
from logitlab.verification.observed import Observed
from logitlab.verification.penalty_prompts import PROMPTS, other_names
from logitlab.verification.places import Floats, spelling
from logitlab.verification.race import Cell, Drawn, Race
from logitlab.verification.rules import Setting
from logitlab.verification.settings import Settings
from logitlab.verification.study import Study

__all__ = ["FIRST", "LATER", "NOT_SENT", "beyond", "circles"]

FIRST: dict[str, dict[str, Any]] = {
    "typical_p": {"typical_p": 0.2},
    "top_n_sigma": {"top_n_sigma": 0.02},
    "epsilon_cutoff": {"epsilon_cutoff": 0.6},
    "eta_cutoff": {"eta_cutoff": 0.9},
    "tfs": {"tfs": 0.01},
    "top_h": {"top_h": 0.01},
    "p_less": {"p_less": True},
    "xtc_probability": {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    "smoothing_factor": {"smoothing_factor": 50.0},
    "mirostat": {"mirostat": 2, "mirostat_tau": 0.01, "mirostat_eta": 0.1},
}
"""What shows at the first token, by key."""

LATER: dict[str, dict[str, Any]] = {
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "dry_multiplier": {"dry_multiplier": 20.0, "dry_base": 4.0, "dry_allowed_length": 1},
}
"""What shows where a text repeats itself."""

NOT_SENT = (
    *("dynatemp_range", "dynatemp_exponent", "smoothing_curve", "temperature_last", "skew"),
    *("dry_penalty_last_n", "dry_sequence_breakers", "exponential_decay_length_penalty"),
    *("allowed_token_ids", "suppress_tokens", "bad_words", "sequence_bias", "min_tokens"),
    *("thinking_token_budget", "thinking_markers", "guidance_scale", "watermarking_config"),
    *("adaptive_target", "adaptive_decay"),
)
"""What an examination says nothing of: bends that a clamped temperature might be, what needs token
ids, ends or a second prompt, and what only goes with another key."""

_SPREADS = np.arange(0.5, 20.1, 0.5).tolist()  # of all logits, in nats
_BACKGROUNDS = 12
_PROMPTS = 2
_FAR = 1.5  # times what is left, beyond which it is out of reach
_AS_NOTHING = 0.9
_COLD = 0.4
_APART = 0.2  # nats between the first two tokens
_LOOP = 0.4  # the share of repeated pairs from which a text goes round in circles
_FREE = 0.15
_LENGTH = 48
_EXACT, _PLAUSIBLE = 5, 1  # rows of `completion.completions`
_MOST_BEYOND = 4096


def beyond(study: Study, budget: int = 40) -> None:
    """Examine what is beyond the page. Adds a finding for every key.

    Parameters
    ----------
    study : Study
        After the races of the page.
    budget : int
        The most requests for each key.
    """
    if not study.observed:
        return
    for key, sent in FIRST.items():
        if key not in study.findings:
            _First(study, key, sent).run(budget)
    _later(study)


@dataclass
class _First:
    study: Study
    key: str
    sent: Mapping[str, Any]
    is_blind: bool = True  # whether no draw would tell that nothing happened

    def __post_init__(self) -> None:
        # Little is left of what was not reported where it is cold.
        is_cold = certain(self.study, "temperature", _COLD)
        self.beside = {"temperature": _COLD} if is_cold else beside(self.study)

    def run(self, budget: int) -> None:
        """Race what it leaves against nothing having happened."""
        first = self.study.requests, self.study.tokens
        race = Race({"honoured": "honoured", "ignored": "ignored"}, self.study.alpha)
        refused: list[str] = []
        more: dict[str, float] = {}

        def ask(prompt: str) -> Drawn | None:
            sent: dict[str, Any] = {**self.beside, **self.sent}
            answer = self.study.ask(prompt, **sent)
            if answer.refused:
                refused.append(answer.words or "")
                return None
            return Drawn(self.study.observed[prompt].drawn(next(iter(answer.positions()), None)))

        try:
            ask(self._any())
            if not refused:  # else there is nothing to expect
                table = self._table()
                more = race.run(table, ask, budget, _FAR) if table else {}
        finally:
            self._report(race, refused, more, first)

    def _any(self) -> str:
        return max(self.study.observed.values(), key=lambda seen: seen.entropy).prompt

    def _table(self) -> dict[str, Cell]:
        settings = [
            {**setting, **{key: (value, value) for key, value in self.beside.items()}}
            for setting in in_force(self.study, *self.beside)
        ]
        if len(settings) > _BACKGROUNDS:
            return {}
        chains = list(self._chains(settings))
        if not chains:
            return {}
        neutral = Settings([settings])
        clear = [seen for seen in self.study.observed.values() if _is_clear(seen)]
        flat = sorted(clear, key=lambda seen: -seen.entropy)[:_PROMPTS]
        table = {}
        for seen in flat:
            found = expected(seen, chains)
            if found is None:
                continue
            central, envelope = found
            nothing = neutral.cell(seen)
            table[seen.prompt] = Cell(
                np.stack([central, nothing.central[0]]),
                np.stack([envelope, nothing.envelope[0]]),
                seen.probabilities,
            )
            self.is_blind &= bool((envelope > _AS_NOTHING * nothing.central[0]).all())
        return table

    def _chains(self, settings: Sequence[Setting]) -> Iterator[Chain]:
        """Yield what each of the engines makes of it that have it."""
        told: dict[str, Chain] = {}
        for name in (name for name in ENGINES if self.key in ENGINES[name].reads):
            for setting in settings:
                for end in (0, 1):
                    values = {key: span[end] for key, span in setting.items()}
                    for chain in self._of(ENGINES[name], values):
                        told[repr(chain)] = chain
        return iter(told.values())

    def _of(self, engine: Engine, values: Mapping[str, float]) -> Iterator[Chain]:
        chain = chain_of(engine, values, self.sent)
        if chain is None or repr(chain) == repr(chain_of(engine, values)):
            return  # refused there, or nothing
        if self.key != "top_n_sigma":
            yield chain
            return
        kept = [step for step in chain if type(step).__name__ != "TopNSigma"]
        for spread in _SPREADS:
            cut = MinP(float(np.exp(-self.sent["top_n_sigma"] * spread)))
            yield Chain(cut, *kept)

    def _report(
        self,
        race: Race,
        refused: Sequence[str],
        more: Mapping[str, float],
        first: tuple[int, int],
    ) -> None:
        left = race.left
        verdict: Verdict = "cannot_tell"
        if refused and not race.requests:
            verdict = "refused"
        elif not left:
            verdict = "none_of_these"
        elif len(left) == 1:
            verdict = "honoured" if left == ["honoured"] else "ignored"
        value = self.sent[self.key]
        claim: Verdict = "not_honoured" if verdict == "ignored" else verdict
        if verdict == "none_of_these":
            claim = "not_honoured"
        most = race.most
        error, relies = errors(self.study)
        self.study.findings[self.key] = Finding(
            verdict,
            "observed" if verdict == "refused" else "proven",
            error=0.0 if verdict == "refused" else error,
            relies=0.0 if verdict == "refused" else relies,
            claims=(Claim(value, claim, log_e=min(most.values(), default=0.0)),),
            alive={name: most[name] for name in race.alive},
            not_excluded=dict(more) if verdict == "cannot_tell" else {},
            requests=self.study.requests - first[0],
            tokens=self.study.tokens - first[1],
            detail=self._detail(verdict, bool(refused)),
            says=refused[0] if verdict == "refused" else None,
            history=tuple(race.history),
        )

    def _detail(self, verdict: str, is_refused: bool) -> str:
        if verdict == "ignored":
            return other_names(self.key)
        if verdict != "cannot_tell" or is_refused:
            return ""
        if not self.is_blind:
            said = ", ".join(f"{key} {value:g}" for key, value in self.beside.items())
            return f"asked at {said}" if said else ""
        return "taken; engines differ in its units, and in some of them this value does nothing"


def _is_clear(seen: Observed) -> bool:
    """Whether noise does not decide which token is the likeliest."""
    return not seen.sigma or seen.logprobs[0] - seen.logprobs[1] > _APART + 10 * seen.sigma


def expected(seen: Observed, chains: Sequence[Chain]) -> tuple[Floats, Floats] | None:
    """Return what is drawn if one of several chains is applied, whatever sets it keeps.

    Parameters
    ----------
    seen : Observed
    chains : sequence of Chain
        The first that runs is the centre.

    Returns
    -------
    central, envelope : ndarray, shape (K + 1,)
        Foreign answers included; the largest over all completions of the rest, and the mean of
        those with noise, which may be off. None if no chain runs.
    """
    rows, count = _rests(seen), seen.reported
    exact_rows = len(rows) - (len(seen.completions) - _EXACT)
    centre, largest = None, np.zeros(count + 1)
    for chain in chains:
        try:
            shares = np.asarray(chain.at().distribution(rows), float)
        except ParameterError:
            continue
        known = np.concatenate(
            [shares[:, :count], shares[:, count:].sum(axis=-1, keepdims=True)], axis=-1
        )
        exact, noisy = known[:exact_rows], known[exact_rows:]
        # The mean of the copies, with three of its standard errors.
        most = noisy.mean(axis=0) + 3 * noisy.std(axis=0) / np.sqrt(len(noisy)) if len(noisy) else 0
        among = np.vstack([exact, np.broadcast_to(most, exact.shape[1:])])
        largest = np.maximum(largest, among.max(axis=0))
        if centre is None:
            centre = noisy.mean(axis=0) if len(noisy) else exact[_PLAUSIBLE]
    if centre is None:
        return None
    bound = np.minimum(1, np.maximum(largest * np.exp(2 * seen.doubt), centre))
    return with_foreign(centre, bound, seen.probabilities)


def _rests(seen: Observed) -> Floats:
    """Return the completions, and before those with noise rests of more and more equal tokens."""
    known = seen.completions
    count = seen.reported
    last = float(np.exp(seen.logprobs[-1]))
    fewest = int(np.clip(np.ceil(seen.rest / last), 1, _MOST_BEYOND))
    numbers = []
    while fewest <= _MOST_BEYOND:
        numbers.append(fewest)
        fewest *= 2
    width = max(known.shape[1] - count, *numbers)
    equal = np.full((len(numbers), width), -np.inf)
    for row, number in zip(equal, numbers, strict=True):
        row[:number] = np.log(seen.rest / number)
    added = np.concatenate([np.tile(seen.logprobs, (len(numbers), 1)), equal], axis=1)
    room = np.full((len(known), count + width - known.shape[1]), -np.inf)
    wide = np.concatenate([known, room], axis=1)
    return np.concatenate([wide[:_EXACT], added, wide[_EXACT:]])


def circles(tokens: Sequence[Any]) -> float:
    """Return the share of pairs of neighbours that stood there before.

    Examples
    --------
    >>> circles("aaaaa"), circles("abcd")
    (0.75, 0.0)
    """
    pairs = list(pairwise(tokens))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _later(study: Study) -> None:
    keys = [key for key in LATER if key not in study.findings]
    rewards: dict[str, Any] = {"frequency_penalty": -2.0}
    found = study.findings.get("frequency_penalty")
    works = found is not None and any(
        claim.sent < 0 and claim.verdict != "refused" and found.verdict in ("honoured", "clamped")
        for claim in found.claims
    )
    if not works:
        for key in keys:
            words = (
                "it needs a text that repeats itself, and a negative frequency_penalty makes none"
            )
            study.findings[key] = Finding("cannot_tell", "observed", detail=words)
        return
    for key in keys:
        first = study.requests, study.tokens
        told: list[tuple[float, float]] = []
        says: str | None = None
        try:
            for prompt in PROMPTS[:2]:
                without = study.ask(prompt, _LENGTH, **rewards)
                answer = study.ask(prompt, _LENGTH, **rewards, **LATER[key])
                if answer.refused:
                    says = answer.words
                    break
                told.append((_circles_of(without), _circles_of(answer)))
        finally:
            verdict = "refused" if says is not None else _stopped(told)
            claim: Verdict = "not_honoured" if verdict == "ignored" else verdict
            study.findings[key] = Finding(
                verdict,
                "observed",
                claims=(Claim(LATER[key][key], claim),),
                requests=study.requests - first[0],
                tokens=study.tokens - first[1],
                says=says,
            )


def _circles_of(answer: Any) -> float:
    return circles([spelling(position.token) for position in answer.positions()])


def _stopped(told: Sequence[tuple[float, float]]) -> Verdict:
    """Return whether texts that went round in circles stopped that."""
    round_ = [(before, after) for before, after in told if before >= _LOOP]
    if not round_:
        return "cannot_tell"
    if all(after <= _FREE for _, after in round_):
        return "honoured"
    return "ignored" if all(after >= _LOOP for _, after in round_) else "cannot_tell"
