r"""Endpoints without log-probabilities: two arms of draws, one neutral and one at an extreme value.

Temperature 0, ``top_k`` 1, ``top_p`` .001 and ``min_p`` 1 leave one token, if they are honoured.
So the answers of one token at such a value are one text, and those at the neutral value are not.
Nothing has to be known about the model. Three hypotheses are tested, each by an e-process of
`exchangeable`, on one lively prompt that other draws have chosen:

* *ignored*: both arms are draws of one unknown distribution (`TwoArms`, of whether a text is the
  first of the second arm, which itself is not counted);
* *one text*, or three that are nearly as likely (`OneText.against_one`);
* *spread*: no text has more than 70 % of the second arm (`OneText.against_spread`).

"Honoured" needs that the first and the third are refuted and the second is not; "not honoured",
that the second is. Whatever is true, the verdict is false with probability at most α: if the
parameter is ignored, only the refutation of the first can bring "honoured", and so on. The three
never need each other, and one may stop whenever one likes.

What cannot be told without log-probabilities: whether a value that is not honoured was ignored or
replaced by a weaker one (after a prompt with many likely texts a weaker one looks like none), so
the verdict is then ``not_honoured``; and whether the parameter is clamped beyond the value that
was sent, or a little short of it. So "clamped" is never excluded, and a claim that the value itself
is honoured is made only where a weaker one would show: no text has half of the neutral draws, and
at temperature 0 nine of ten are surely one text. ``top_a`` 1 leaves one token only where the second
is less likely than the square of the first: it can be proven to act, and never the contrary.

References
----------
L. Wasserman, A. Ramdas, S. Balakrishnan, "Universal inference", PNAS 117 (2020)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from logitlab.verification.drawn import Drawn, liveliest
from logitlab.verification.exchangeable import OneText, TwoArms, share
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.study import Study

__all__ = ["EXTREMES", "arms"]

# The values that leave one token, best first: a server that refuses the first may take the second.
EXTREMES: dict[str, tuple[float, ...]] = {
    "top_k": (1,),
    "top_p": (0.001,),
    "min_p": (1.0,),
    "temperature": (0.0, 0.01),
    "top_a": (1.0,),
}
_NEUTRAL = 12
_BUDGET = 60
_ENOUGH = 200
_GREEDY = "All answers to a prompt are the same: the server is greedy at neutral, or has a cache."
_UNASKED = "Nothing was asked."
_NEARLY = 0.9


def arms(study: Study, keys: Iterable[str] = tuple(EXTREMES), *, budget: int = _BUDGET) -> None:
    """Test extreme values of parameters by draws alone, and add a finding for each.

    Parameters
    ----------
    study : Study
        Its prompts are tried for a lively one, which becomes the first of them.
    keys : iterable of str
        Parameters; those of which something has been found are passed over.
    budget : int
        The most requests for each.
    """
    wanted = [key for key in keys if key not in study.findings]
    before = study.requests, study.tokens
    why = _UNASKED
    try:
        drawn = liveliest(study) if wanted else None
        if drawn is None or not drawn.grow(_NEUTRAL) or len(set(drawn.neutral)) < 2:
            why = _GREEDY
            return
        before = study.requests, study.tokens
        for key in wanted:
            arm = _Arm(study, drawn, key, budget)
            try:
                arm.run()
            finally:
                study.findings[key] = arm.finding()
            before = study.requests, study.tokens
    finally:
        for key in wanted:
            if key not in study.findings:
                spent = study.requests - before[0], study.tokens - before[1]
                study.findings[key] = Finding(
                    "cannot_tell", "observed", requests=spent[0], tokens=spent[1], detail=why
                )
                before = study.requests, study.tokens


class _Arm:
    """The draws at one extreme value, beside the neutral ones."""

    def __init__(self, study: Study, drawn: Drawn, key: str, budget: int) -> None:
        self.study, self.drawn, self.key, self.budget = study, drawn, key, budget
        self.before = study.requests, study.tokens
        self.limit = math.log(1 / study.alpha)
        self.refused: dict[Any, str] = {}
        self.value: float | None = None
        self.seen = 0
        self.two, self.one = TwoArms(), OneText(drawn.neutral)
        self.history: list[tuple[int, dict[str, float]]] = []

    def run(self) -> None:
        for value in EXTREMES[self.key]:
            answer, texts = self.drawn.ask(**{self.key: value})
            if answer.refused:
                self.refused[value] = answer.words or ""
                continue
            self.value = value
            break
        else:
            return
        for text in self.drawn.neutral:
            self.two.add(0, success=text == texts[0])
        self.see(texts)
        while not self.decided and self.study.requests - self.before[0] < self.budget:
            if len(self.one.texts) > _ENOUGH:
                return
            if len(self.one.texts) > 2 * len(self.drawn.neutral) and len(set(self.one.texts)) < 3:
                self.more_neutral()
            answer, texts = self.drawn.ask(**{self.key: self.value})
            if answer.refused:
                self.refused[self.value] = answer.words or ""
                return
            self.see(texts)

    def more_neutral(self) -> None:
        answer, texts = self.drawn.ask()
        if answer.refused:
            return
        self.drawn.neutral += texts
        for text in texts:
            self.two.add(0, success=text == self.one.texts[0])
            self.one.see(text)

    def see(self, texts: list[str]) -> None:
        # The first is what the others are compared with.
        first = (*self.one.texts, *texts)[0]
        for text in texts[not self.one.texts :]:
            self.two.add(1, success=text == first)
        self.one.add(*texts)
        self.seen += 1
        asked = self.study.requests - self.before[0]
        evidence = {"ignored": self.two.log_e, "honoured": self.one.against_one}
        self.history.append((asked, evidence))

    @property
    def is_ignored(self) -> bool:
        """Whether it may still be that the value does nothing."""
        return self.two.log_e < self.limit

    @property
    def is_one(self) -> bool:
        """Whether it may still be that one text is left."""
        return self.one.against_one < self.limit

    @property
    def decided(self) -> bool:
        """Whether more draws would change nothing."""
        if not self.is_one:
            return True
        several = self.seen > 1  # no verdict rests on one request
        return several and not self.is_ignored and self.one.against_spread >= self.limit

    @property
    def is_sharp(self) -> bool:
        """Whether a value that is a little weaker would show.

        Of truncations it would not: whether one keeps the second text as well, draws do not tell
        where that is rare. A temperature a little above 0 leaves the likeliest text nearly always:
        at least 9 of 10 have to be it, by an interval that holds at all times, at the error of
        the finding.
        """
        if self.key != "temperature":
            return False
        most = max(Counter(self.drawn.neutral).values())
        if 2 * most > len(self.drawn.neutral):
            return False
        texts = self.one.texts
        same = texts.count(texts[0]) - 1
        return share(same, len(texts) - 1 - same, 1 - self.study.alpha)[0] >= _NEARLY

    def finding(self) -> Finding:
        alpha = self.study.alpha
        claims = [Claim(value, "refused") for value in self.refused if value != self.value]
        verdict: Verdict = "refused" if self.value is None and self.refused else "cannot_tell"
        alive: dict[str, float] = {}
        left: dict[str, float] = {}
        says = next(iter(self.refused.values()), None)
        detail = ""
        if self.value is not None:
            verdict, alive, left = self.judged()
            log_e = self.two.log_e if verdict == "honoured" else self.one.against_one
            claim = verdict if verdict != "honoured" or self.is_sharp else "cannot_tell"
            claims.append(Claim(self.value, claim, log_e=log_e))
            detail = self.detail(verdict)
        return Finding(
            verdict, "observed" if verdict == "refused" else "proven",
            0.0 if verdict == "refused" else alpha, tuple(claims), alive, left,
            self.study.requests - self.before[0], self.study.tokens - self.before[1], detail, says,
            {str(value): words for value, words in self.refused.items()},
            history=tuple(self.history),
        )  # fmt: skip

    def judged(self) -> tuple[Verdict, dict[str, float], dict[str, float]]:
        """Return the verdict, what is left, and what is left of other answers."""
        ignored, one = self.two.log_e, self.one.against_one
        alive = {"honoured": one} if self.is_one else {}
        alive |= {"ignored": ignored} if self.is_ignored else {}
        if self.drawn.ids.cached:
            return "cannot_tell", alive, dict.fromkeys(alive, math.inf)
        if not self.is_one and self.key == "top_a":
            alive["honoured"] = 0.0
            return "cannot_tell", alive, dict.fromkeys(alive, math.inf)
        if not self.is_one:
            return "not_honoured", alive | {"another value": 0.0}, {}
        if self.decided:
            return "honoured", alive | {"clamped": 0.0}, {"clamped": math.inf}
        return "cannot_tell", alive, {name: self.forecast(e) for name, e in alive.items()}

    def forecast(self, log_e: float) -> float:
        """Return how many requests more, if evidence goes on to grow as it did."""
        asked = self.study.requests - self.before[0]
        return math.ceil(asked * (self.limit - log_e) / log_e) if log_e > 0 else math.inf

    def detail(self, verdict: Verdict) -> str:
        texts, neutral = self.one.texts, self.drawn.neutral
        most, count = Counter(texts).most_common(1)[0]
        drawn = f"{count} of {len(texts)} draws are {most!r}"
        usual = f"{neutral.count(most)} of {len(neutral)} at neutral"
        if self.drawn.ids.cached:
            return f"Answers come out of a cache: {self.drawn.ids.cached} had the id of another."
        if not self.is_one and self.key == "top_a":
            return "Here top_a 1 need not leave one text: no text is likely enough."
        if not self.is_one:
            effect = "not told from ignored" if self.is_ignored else "yet the answers are others"
            return f"{len(set(texts))} different texts in {len(texts)} draws; {effect}."
        return f"{drawn}, {usual}."
