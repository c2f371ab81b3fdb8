r"""Do equal requests give equal answers? The evidence for ``seed`` and ``logit_bias``.

Requests come in pairs that have something in common: a seed, or a token whose bias is +100. If the
parameter is honoured, the two answers of a pair are the same first token, whatever it is; so no
tokenizer is needed. If it is ignored, all answers to one prompt are independent draws.

*Against "ignored".* Where the distribution is known, with u an upper bound of the probability of
the token that came first, an equal pair has probability at most u and gives the factor .95/u, an
unequal one .05: an e-process. u is never taken below .005, so that no verdict rests on one answer
that came from elsewhere. Where it is not known, the answers are exchangeable, and
`chance_of_pairs` is an exact p-value: it is looked at after 6, 8 and 12 pairs of a prompt, and α is
spent on these looks (a half, a quarter, a quarter) and on five prompts in equal parts. A prompt
whose first tokens are mostly the same is left, which can only lose such a look.

*Against "honoured".* The pairs are unequal with probability at most `miss`: .1 for seeds, which
servers that batch honour only nearly, and .02 for a bias (two foreign answers). An unequal pair
gives (1 - q)/miss and an equal one q, where q is what is expected of a parameter that is ignored.
Its mean under the hypothesis is (1 - m) q + m (1 - q)/miss, at most 1 for every m up to miss.

"Honoured" needs, besides, that different labels gave different tokens, and that no more than one
pair in six is unequal: a label that is never read, and one that is read at times, are neither.

References
----------
R. A. Fisher, "The Design of Experiments", 1935; J. Ville, "Étude critique de la notion de
collectif", 1939
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.verification.answer import Answer, Token
from logitlab.verification.drawn import Identities, outcome
from logitlab.verification.exchangeable import chance_of_pairs
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.settings import Settings
from logitlab.verification.study import Study
from numpy.typing import NDArray

__all__ = ["Pairs", "bound_of", "first_of", "found", "pairs_of", "prompts_of", "refusal"]

_LOOKS = {6: 1 / 2, 8: 1 / 4, 12: 1 / 4}
_LEAST = 0.005
_SURE = 0.95
_USUAL = 0.2
_BY_CHANCE = 0.05
_PROMPTS = 5
_SPELLINGS = 3
_TURNS = 2

# An upper bound of the probability of a first token after a prompt, None where none is known.
Bound = Callable[[str, Token], float | None]


@dataclass
class Pairs:
    """Pairs of answers to equal requests.

    Attributes
    ----------
    alpha : float
    miss : float
        How often a pair is unequal at most, if the parameter is honoured.
    by_prompt : dict of str to list of (token, token)
        What came; a token is what `first_of` returns.

    Examples
    --------
    >>> pairs = Pairs(alpha=0.001, miss=0.1)
    >>> for text in "abcdef":
    ...     pairs.add("Choose a letter.", text, text, None)
    >>> pairs.refutes_ignored, pairs.refutes_honoured
    (True, False)
    """

    alpha: float
    miss: float
    by_prompt: dict[str, list[tuple[Token, Token]]] = field(default_factory=dict)
    log_ignored: float = 0.0
    peak_ignored: float = 0.0
    log_honoured: float = 0.0
    peak_honoured: float = 0.0
    refutes_ignored: bool = False
    chance: float = 1.0
    error: float = 0.0

    def __post_init__(self) -> None:
        self.error = self.alpha

    def add(self, prompt: str, first: Token, second: Token, bound: float | None) -> None:
        """See one more pair, and how likely its first token is at most if it is known."""
        pairs = self.by_prompt.setdefault(prompt, [])
        pairs.append((first, second))
        equal = first == second
        limit = math.log(1 / self.alpha)
        # Whatever the first token is: unequal pairs may be just those whose first one is rare.
        expected = min(_USUAL, 1 - self.miss)
        self.log_honoured += math.log(expected if equal else (1 - expected) / self.miss)
        self.peak_honoured = max(self.peak_honoured, self.log_honoured)
        if bound is not None:
            self.error = 2 * self.alpha  # the race of backgrounds has its own
            u = min(1.0, max(bound, _LEAST))
            self.log_ignored += math.log(_SURE / u if equal else 1 - _SURE)
            self.peak_ignored = max(self.peak_ignored, self.log_ignored)
            self.refutes_ignored |= self.peak_ignored >= limit
        elif len(pairs) in _LOOKS:
            chance = chance_of_pairs(pairs)
            self.chance = min(self.chance, chance)
            place = list(self.by_prompt).index(prompt)
            spent = _LOOKS[len(pairs)] / _PROMPTS if place < _PROMPTS else 0
            self.refutes_ignored |= chance <= self.alpha * spent
            self.peak_ignored = max(self.peak_ignored, -math.log(self.chance))

    @property
    def refutes_honoured(self) -> bool:
        """Whether the pairs differ more often than one that is honoured would let them."""
        return self.peak_honoured >= math.log(1 / self.alpha)

    def refutes(self, hypothesis: str) -> bool:
        """Whether "honoured" or "ignored" is refuted."""
        return self.refutes_ignored if hypothesis == "ignored" else self.refutes_honoured

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return sum(map(len, self.by_prompt.values()))

    @property
    def equal(self) -> int:
        """How many of them are equal."""
        return sum(one == other for pairs in self.by_prompt.values() for one, other in pairs)

    def is_dull(self, prompt: str) -> bool:
        """Whether the first tokens of two pairs or more were mostly the same."""
        firsts = [first for first, _ in self.by_prompt.get(prompt, [])]
        return len(firsts) > 1 and 2 * len(set(firsts)) <= len(firsts)

    @property
    def is_varied(self) -> bool:
        """Whether after some prompt different pairs gave different tokens.

        If none did, equal pairs may come from a server that draws the same whatever it is sent.
        """
        firsts = ([first for first, _ in pairs] for pairs in self.by_prompt.values())
        return any(len(set(each)) > 1 for each in firsts)

    @property
    def verdict(self) -> Verdict:
        """What is left."""
        if self.refutes_ignored and self.refutes_honoured:
            return "none_of_these"
        if self.refutes_ignored:  # what acts at times alone is not yet honoured
            is_steady = 6 * (self.count - self.equal) <= self.count
            return "honoured" if is_steady and self.is_varied else "cannot_tell"
        if self.refutes_honoured:  # many equal pairs may come from a parameter that acts at times
            least = min(map(chance_of_pairs, self.by_prompt.values()))
            return "ignored" if least > _BY_CHANCE else "not_honoured"
        return "cannot_tell"

    @property
    def evidence(self) -> dict[str, float]:
        """The evidence in nats against both hypotheses."""
        return {"honoured": self.peak_honoured, "ignored": self.peak_ignored}


def first_of(answer: Answer) -> Token:
    """Return the first token of an answer: that of its report, else the first word of its text.

    Examples
    --------
    >>> told = {"content": [{"token": "The", "bytes": [84, 104, 101]}]}
    >>> first_of(Answer(200, {"choices": [{"text": "The", "logprobs": told}]}))
    b'The'
    >>> first_of(Answer(200, {"choices": [{"text": "Once upon"}]}))
    'Once'
    """
    positions = answer.positions()
    return positions[0].token if positions else outcome(answer)


def bound_of(study: Study) -> Bound | None:
    """Return upper bounds of the probabilities of first tokens, from what was observed.

    Returns
    -------
    callable or None
        From a prompt and a token to the largest probability under any background that is left, so
        that their race adds its error. A token that was not reported is at most as likely as the
        last that was; where only its text is known, it may be any of three spellings of it (with a
        space, without, another case), beside the reported tokens of that text. What has no text may
        be the whole rest. None where nothing was observed, or what is in force is nothing known.
    """
    if study.backgrounds is None or not study.observed or not study.backgrounds.alive:
        return None
    settings = Settings([study.backgrounds.alive])
    known: dict[str, NDArray[np.float64]] = {}

    def bound(prompt: str, token: Token) -> float | None:
        seen = study.observed.get(prompt)
        if seen is None:
            return None
        if prompt not in known:
            known[prompt] = settings.cell(seen).envelope[0]
        envelope = known[prompt]
        place = seen.category(token)
        if place < seen.reported:
            return float(min(1.0, envelope[place]))
        last, rest = envelope[seen.reported - 1], envelope[seen.reported]
        if isinstance(token, bytes):
            return float(min(1.0, last))
        if token.startswith(("<empty: ", "<no choice>")):
            return float(min(1.0, rest))
        same = [i for i, other in enumerate(seen.tokens) if _spelled(other) == token.strip()]
        return float(min(1.0, envelope[same].sum() + _SPELLINGS * last))

    return bound


def _spelled(token: Token) -> str:
    return (token.decode("utf-8", "replace") if isinstance(token, bytes) else token).strip()


def prompts_of(study: Study) -> list[str]:
    """Return the prompts, those with the flattest first token at the front."""
    known = sorted(study.observed, key=lambda prompt: -study.observed[prompt].entropy)
    return known or list(study.prompts)


def pairs_of(
    study: Study,
    pairs: Pairs,
    labels: Iterator[Mapping[str, Any]],
    *,
    bound: Bound | None,
    ids: Identities,
    history: list[tuple[int, Mapping[str, float]]],
    prompts: Sequence[str] = (),
    most: int = 24,
) -> Answer | None:
    """Ask in pairs until it is decided, and return a refusal if there was one.

    Parameters
    ----------
    study : Study
    pairs : Pairs
        Gets what comes.
    labels : iterator of mapping
        What the two requests of each pair have in common.
    bound : callable or None
        See `bound_of`. Prompts with a bound take turns, because their evidence adds up; others are
        asked one after another.
    ids, history
        Get the ids of the answers, and the evidence after each pair.
    """
    several = list(prompts or prompts_of(study))
    before, turn, place = study.requests, 0, 0
    while study.requests - before < most and several:
        if pairs.verdict != "cannot_tell":
            break
        try:
            label = next(labels)
        except StopIteration:
            break
        prompt = several[place % len(several)]
        drawn: list[Token] = []
        for _ in range(2):
            answer = study.ask(prompt, **label)
            if answer.refused:
                return answer
            ids.add(answer)
            drawn.append(first_of(answer))
        first, second = drawn
        most_likely = bound(prompt, first) if bound is not None else None
        pairs.add(prompt, first, second, most_likely)
        history.append((study.requests - before, pairs.evidence))
        turn += 1
        if most_likely is not None:
            place = turn % min(_TURNS, len(several))
        elif pairs.is_dull(prompt):
            place += 1
            if place >= min(_PROMPTS, len(several)):
                break
    return None


def found(
    study: Study,
    pairs: Pairs,
    spent: tuple[int, int],
    *,
    claims: tuple[Claim, ...],
    detail: str,
    history: Sequence[tuple[int, Mapping[str, float]]],
) -> Finding:
    """Return the finding of pairs, with what is left and how many requests would exclude it."""
    limit = math.log(1 / study.alpha)
    alive = {name: e for name, e in pairs.evidence.items() if not pairs.refutes(name)}
    left: dict[str, float] = {}
    if pairs.verdict == "cannot_tell":
        for name, e in alive.items():
            left[name] = math.ceil(spent[0] * (limit - e) / e) if 0 < e < limit else math.inf
    return Finding(
        pairs.verdict, "proven", pairs.error, claims, alive, left, *spent, detail=detail,
        history=tuple(history),
    )  # fmt: skip


def refusal(answer: Answer, value: Any, spent: tuple[int, int]) -> Finding:
    """Return the finding of a parameter that is refused."""
    words = answer.words or ""
    return Finding(
        "refused", "observed", 0.0, (Claim(value, "refused"),), requests=spent[0], tokens=spent[1],
        says=words, refused_values={str(value): words},
    )  # fmt: skip
