r"""Penalties without log-probabilities, by how many different words the answers have.

An answer of some 48 tokens *succeeds* if the share of different words among its words is above that
of all but one of a pilot of seven at neutral, whose answers are then thrown away: usually some
quarter of the neutral ones do, which a penalty can raise far. Two arms of such answers, one at
neutral and one with the penalty, are two Bernoulli sequences; that they have one share of successes
is tested by the e-process of `TwoArms`, which is exact whatever the model writes.

So it can be proven that a penalty is *applied*; how strong it is, and whether the prompt counts,
cannot be told by draws, and that it is ignored cannot be proven at all: a model that repeats
nothing looks the same. Then the finding has an upper bound of the effect: the largest rise of the
share of successes that is left, from two intervals that hold at all times at once (`share`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

from logitlab.verification.drawn import text_of
from logitlab.verification.exchangeable import TwoArms, share
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.study import Study

__all__ = ["STRONG", "distinct"]

STRONG = {"presence_penalty": 2.0, "frequency_penalty": 2.0, "repetition_penalty": 1.8}
_PROMPT = "Tell me a story about a little dog. Tell it at length, and say everything twice."
_LENGTH = 48
_PILOT = 7
_NEUTRAL = 12
_BUDGET = 30
_LEVEL = 0.95


def words_share(text: str) -> float | None:
    """Return the share of different words among the words of a text, None if it has under four.

    Examples
    --------
    >>> words_share("the cat and the dog")
    0.8
    """
    words = text.casefold().split()
    return len(set(words)) / len(words) if len(words) > 3 else None


def distinct(
    study: Study, keys: Iterable[str] = tuple(STRONG), *, budget: int = _BUDGET, prompt: str = ""
) -> None:
    """Test whether penalties do anything, by the words of answers alone.

    Parameters
    ----------
    study : Study
    keys : iterable of str
        Penalties; those of which something has been found are passed over.
    budget : int
        The most requests for each, beside the 19 at neutral for all.
    prompt : str
        One that makes the model repeat itself.
    """
    wanted = [key for key in keys if key not in study.findings]
    arms = _Neutral(study, prompt or _PROMPT)
    try:
        if wanted:
            arms.run()
    finally:
        if not arms.successes:
            for key in wanted:
                study.findings[key] = arms.nothing()
    for key in wanted if arms.successes else ():
        arm = _Penalised(arms, key, budget)
        try:
            arm.run()
        finally:
            study.findings[key] = arm.finding()


class _Neutral:
    """The answers at neutral: those that fix what is usual, and those of the first arm."""

    def __init__(self, study: Study, prompt: str) -> None:
        self.study, self.prompt = study, prompt
        self.before = study.requests, study.tokens
        self.usual = math.inf
        self.successes: list[bool] = []
        self.why = "The server gives no answers of several words."

    def share(self, **parameters: Any) -> tuple[str | None, float | None]:
        """Ask once; return the words of a refusal, or the share of different words."""
        answer = self.study.ask(self.prompt, _LENGTH, **parameters)
        if answer.refused:
            return answer.words or "", None
        return None, words_share(text_of(answer))

    def run(self) -> None:
        """Ask for the pilot, then for the arm."""
        pilot = [self.share()[1] for _ in range(_PILOT)]
        known = [each for each in pilot if each is not None]
        if len(known) < _PILOT // 2 + 1:
            return
        # Where the second largest cannot be surpassed, the median may.
        usual = next(
            (each for each in (sorted(known)[-2], statistics.median(known)) if each < 1), 1
        )
        if usual >= 1 or (len(set(known)) == 1 and len(known) > 2):
            self.why = "No answer repeats a word, or all answers are the same."
            return
        self.usual = usual
        self.successes = [self.succeeds(self.share()[1]) for _ in range(_NEUTRAL)]

    def succeeds(self, ratio: float | None) -> bool:
        """Whether an answer has more different words than usual. One without words has not."""
        return ratio is not None and ratio > self.usual

    def nothing(self) -> Finding:
        """Return the finding where there is no first arm."""
        spent = self.study.requests - self.before[0], self.study.tokens - self.before[1]
        return Finding(
            "cannot_tell", "observed", requests=spent[0], tokens=spent[1], detail=self.why,
            not_excluded={"honoured": math.inf, "ignored": math.inf},
        )  # fmt: skip


class _Penalised:
    """The answers with one penalty."""

    def __init__(self, neutral: _Neutral, key: str, budget: int) -> None:
        self.neutral, self.study, self.key, self.budget = neutral, neutral.study, key, budget
        self.before = self.study.requests, self.study.tokens
        self.limit = math.log(1 / self.study.alpha)
        self.says: str | None = None
        self.two = TwoArms()
        self.history: list[tuple[int, dict[str, float]]] = []
        for success in neutral.successes:
            self.two.add(0, success=success)

    def run(self) -> None:
        while self.two.log_e < self.limit and self.study.requests - self.before[0] < self.budget:
            words, ratio = self.neutral.share(**{self.key: STRONG[self.key]})
            if words is not None:
                self.says = words
                return
            self.two.add(1, success=self.neutral.succeeds(ratio))
            asked = self.study.requests - self.before[0]
            self.history.append((asked, {"ignored": self.two.log_e}))

    def finding(self) -> Finding:
        value, log_e = STRONG[self.key], self.two.log_e
        (a0, b0), (a1, b1) = self.two.counts
        spent = self.study.requests - self.before[0], self.study.tokens - self.before[1]
        if self.says is not None and not a1 + b1:
            return Finding(
                "refused", "observed", 0.0, (Claim(value, "refused"),), requests=spent[0],
                tokens=spent[1], says=self.says, refused_values={str(value): self.says},
            )  # fmt: skip
        seen = f"More different words than usual: {a0} of {a0 + b0} at neutral, "
        seen += f"{a1} of {a1 + b1} with it."
        verdict: Verdict = "cannot_tell"
        alive = {"honoured": 0.0, "another value": 0.0}
        left = {"another value": math.inf}
        if log_e >= self.limit and a1 * (a0 + b0) > a0 * (a1 + b1):
            verdict = "honoured"
            detail = f"It is applied; how strongly, the words do not tell. {seen}"
        elif log_e >= self.limit:
            verdict, alive, left = "none_of_these", {}, {}
            detail = f"It acts, but not as a penalty. {seen}"
        else:
            alive["ignored"] = log_e
            left = dict.fromkeys(alive, math.inf)
            level = (1 + _LEVEL) / 2
            rise = share(a1, b1, level)[1] - share(a0, b0, level)[0]
            detail = f"{seen} The share rises by at most {max(rise, 0):.2f} (level {_LEVEL})."
        return Finding(
            verdict, "proven", self.study.alpha, (Claim(value, "cannot_tell", log_e=log_e),),
            alive, left, spent[0], spent[1], detail, history=tuple(self.history),
        )  # fmt: skip
