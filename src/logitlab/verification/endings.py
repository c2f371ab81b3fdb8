r"""What ends an answer, and how many answers there are: ``max_tokens``, ``stop``, ``n``.

These verdicts are *observed*: anybody can read them off the answers. They are still guarded
against chance. ``stop``: a string that all of 4 neutral answers contain and none of 7 with the
stop does. If the stop did nothing, and an answer lacked the string with probability q, that had the
chance :math:`q^7 (1 - q)^4 \le .0008`, whatever q is; the same where none has it only by chance,
and so it is no sign that it was taken out. ``max_tokens`` is counted, in two answers for
each limit; ``n`` is counted in three, and whether the choices differ is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.drawn import ending, outcome, text_of
from logitlab.verification.finding import Claim, Finding, Verdict
from logitlab.verification.repeats import prompts_of, refusal
from logitlab.verification.study import Study

__all__ = ["accepted", "choices", "limits", "stops"]

_LONG = "Tell me a long story about a dog who goes to the sea."
_LIMITS = (2, 7)
_EACH = 2
_SURE = 4  # answers that are cut off below the limit
_MOST_BYTES = 40
_LENGTH = 24
_PILOT = 4
_STOPPED = 7
_PAIRS = 3


def limits(study: Study, *, prompt: str = _LONG) -> None:
    """See whether answers have as many tokens as ``max_tokens`` lets them, and no more.

    Where four answers of equal length are cut off below the limit, it is clamped to that.

    Tokens are counted by the usage that the server tells, else by the log-probabilities. Where
    neither is told, all that is seen is that answers are cut, earlier at the lower limit, and that
    none has more than 40 bytes a token. Where the limit has another name there, the finding of that
    name is added, and ``max_tokens`` is asked for once, for the words in which it is refused.

    Examples
    --------
    >>> def send(bodies):
    ...     return [
    ...         Answer(200, {"choices": [{"text": "a " * body["max_tokens"],
    ...                                   "finish_reason": "length"}],
    ...                      "usage": {"completion_tokens": body["max_tokens"]}})
    ...         for body in bodies
    ...     ]
    >>> study = Study(send, chat=False)
    >>> limits(study)
    >>> study.findings["max_tokens"].verdict, study.findings["max_tokens"].detail
    ('honoured', 'At 2: 2 and 2 tokens; at 7: 7 and 7 tokens.')
    """
    before = study.requests, study.tokens
    least = max(_LIMITS[0], study.least)
    limited = [_Limited(value) for value in (least, least + _LIMITS[1] - _LIMITS[0])]
    try:
        for each in limited:
            while each.wants_more:
                answer = study.ask(prompt, each.value)
                if answer.refused:
                    each.refused = answer.words or ""
                else:
                    each.answers.append(answer)
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        study.findings[study.limit] = _limits_found(limited, spent)
    if study.limit != "max_tokens":
        _old_name(study, prompt, least)


def _old_name(study: Study, prompt: str, value: int) -> None:
    """See what becomes of ``max_tokens`` at a server that has another name for it."""
    before = study.requests, study.tokens
    limited = _Limited(value)
    try:
        body = study.body(prompt, value)
        body["max_tokens"] = body.pop(study.limit)
        answer = study.together([body])[0]
        if answer.refused:
            limited.refused = answer.words or ""
        else:
            limited.answers.append(answer)
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        study.findings["max_tokens"] = _limits_found([limited], spent)


@dataclass
class _Limited:
    """Answers with one limit."""

    value: int
    answers: list[Answer] = field(default_factory=list)
    refused: str | None = None

    @property
    def counts(self) -> list[int | None]:
        """How many tokens each answer has, None where nobody tells."""
        return [
            answer.tokens[1] or len(answer.positions()) or (None if text_of(answer) else 0)
            for answer in self.answers
        ]

    @property
    def sizes(self) -> list[int]:
        return [len(text_of(answer).encode()) for answer in self.answers]

    @property
    def exceeded(self) -> bool:
        """Whether an answer has more tokens than it may, or surely more."""
        return any(
            size > _MOST_BYTES * self.value if count is None else count > self.value
            for count, size in zip(self.counts, self.sizes, strict=True)
        )

    @property
    def bound(self) -> int | None:
        """At how many tokens below the limit all answers were cut off, None if they were not."""
        counts = set(self.counts)
        if len(counts) != 1 or any(ending(answer) != "length" for answer in self.answers):
            return None
        count = counts.pop()
        return count if count is not None and count < self.value else None

    @property
    def wants_more(self) -> bool:
        enough = _EACH if self.bound is None else _SURE
        return len(self.answers) < enough and self.refused is None and not self.exceeded

    @property
    def verdict(self) -> Verdict:
        if self.refused is not None:
            return "refused"
        if self.exceeded:
            return "not_honoured"
        full = len(self.answers) == _EACH and all(count == self.value for count in self.counts)
        return "honoured" if full else "cannot_tell"


def _limits_found(limited: list[_Limited], spent: tuple[int, int]) -> Finding:
    verdicts = [each.verdict for each in limited]
    verdict: Verdict = "cannot_tell"
    if len(set(verdicts)) == 1:
        verdict = verdicts[0]
    elif "not_honoured" in verdicts:
        verdict = "not_honoured"
    low, high = limited[0], limited[-1]
    counts = [count for each in limited for count in each.counts]
    # What stops above both limits, at both, has not read them.
    least = [
        size // _MOST_BYTES if count is None else count
        for each in limited
        for count, size in zip(each.counts, each.sizes, strict=True)
    ]
    if verdict == "not_honoured" and min(least) > high.value:
        verdict = "ignored"
    # Where the lower limit falls short as well, it may be the count that does.
    is_clamped = low.verdict == "honoured" and high.bound is not None and not high.wants_more
    if is_clamped:
        verdict, verdicts[-1] = "clamped", "not_honoured"
    parts = [
        f"at {each.value}: {_listed(['?' if n is None else n for n in each.counts])} tokens"
        for each in limited
        if each.answers
    ]
    cut = all(ending(answer) == "length" for each in limited for answer in each.answers)
    if verdict == "cannot_tell" and counts and set(counts) == {None} and cut:
        full = len(low.sizes) == len(high.sizes) == _EACH
        if full and max(low.sizes) < min(high.sizes):
            verdict = "honoured"
            parts.append("nobody counts them, but the answers are cut, and earlier at the lower")
    detail = "; ".join(parts)
    words = {str(each.value): each.refused for each in limited if each.refused is not None}
    claims = tuple(
        Claim(
            each.value,
            verdict if verdict == "honoured" else said,
            used=high.bound if is_clamped and each is high else None,
        )
        for each, said in zip(limited, verdicts, strict=True)
    )
    return Finding(
        verdict, "observed", 0.0, claims, requests=spent[0], tokens=spent[1],
        detail=f"{detail[:1].upper()}{detail[1:]}." if detail else "",
        says=next(iter(words.values()), None), refused_values=words,
    )  # fmt: skip


def _listed(numbers: Sequence[object]) -> str:
    """Return numbers as words list them: 2, 2 and 2."""
    *front, last = map(str, numbers)
    return f"{', '.join(front)} and {last}" if front else last


def stops(study: Study, *, prompt: str = _LONG) -> None:
    """See whether a stop string ends answers that would surely have had it.

    The string is a letter that all of four neutral answers have, and have most. A server may leave
    it at the end of the text; an answer that goes on after it was not stopped, nor was one that
    lacks it and is as long as ``max_tokens`` lets it be: there are servers that take stop strings
    out of the text and write on.
    """
    before = study.requests, study.tokens
    stop = ""
    answers: list[Answer] = []
    refused = None
    usual = _LENGTH  # fewer, where ``max_tokens`` is clamped
    try:
        pilot = [study.ask(prompt, _LENGTH) for _ in range(_PILOT)]
        usual = min(answer.tokens[1] for answer in pilot)
        stop = _stop_of([answer.text() for answer in pilot if not answer.refused])
        for _ in range(_STOPPED if stop else 0):
            answer = study.ask(prompt, _LENGTH, stop=[stop])
            if answer.refused:
                refused = answer
                break
            # An answer with a body of another kind, or one that thinks to its end, tells nothing.
            if answer.text() or ending(answer) == "stop":
                answers.append(answer)
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        if refused is not None and not answers:
            study.findings["stop"] = refusal(refused, [stop], spent)
        else:
            study.findings["stop"] = _stops_found(stop, answers, usual, spent)


def _stops_found(stop: str, answers: list[Answer], usual: int, spent: tuple[int, int]) -> Finding:
    texts = [answer.text() for answer in answers]
    went_on = sum(stop in text and not text.endswith(stop) for text in texts)
    full = [
        ending(each) == "length" and (not each.tokens[1] or each.tokens[1] >= usual)
        for each in answers
    ]
    # Those that do not have it have not been stopped by it, unless they say so.
    ended = sum(
        ending(each) == "stop" and stop not in text
        for each, text in zip(answers, texts, strict=True)
    )
    verdict: Verdict = "cannot_tell"
    if went_on:
        verdict = "not_honoured" if ended else "ignored"
    elif len(answers) == _STOPPED:
        early = _STOPPED - sum(full)
        verdict = "honoured" if 2 * early > _STOPPED else verdict if early else "not_honoured"
    detail = "Too few neutral answers have a text."
    if texts:
        words = Counter(map(ending, answers)).most_common(1)[0][0]
        many = (
            "1 answer goes"
            if len(texts) == went_on == 1
            else f"{went_on} of {len(texts)} answers go"
        )
        detail = f"{many} on after the stop string {stop!r}, which all {_PILOT} neutral answers"
        detail += f" have; most name {words!r} as the reason of their end." if words else " have."
        if not went_on and verdict == "not_honoured":
            detail += " The string is taken out of the text, which goes on."
        elif any(text.endswith(stop) for text in texts):
            detail += " The string stays at the end of the text."
    return Finding(
        verdict, "observed", 0.0, (Claim([stop], verdict),) if stop else (),
        requests=spent[0], tokens=spent[1], detail=detail,
    )  # fmt: skip


def _stop_of(texts: list[str]) -> str:
    """Return the letter that all texts have, and have most often; '' if there is none."""
    if len(texts) < _PILOT or not all(len(text) > 1 for text in texts):
        return ""
    # The first letter is left out: an answer that is cut to nothing is too like an empty one.
    inside = [Counter(letter for letter in text[1:] if letter.isalpha()) for text in texts]
    common = sorted(letter for letter in inside[0] if all(letter in each for each in inside))
    return max(common, key=lambda letter: min(each[letter] for each in inside), default="")


def choices(study: Study) -> None:
    """See whether ``n`` brings as many answers, and whether they differ."""
    before = study.requests, study.tokens
    got: list[int] = []
    differ = 0
    refused = None
    try:
        for prompt in (prompts_of(study) * _PAIRS)[:_PAIRS]:
            answer = study.ask(prompt, n=2)
            if answer.refused:
                refused = answer
                break
            got.append(len(answer.choices))
            if got[-1] < 2:
                break
            differ += outcome(answer, 0) != outcome(answer, 1)
    finally:
        spent = study.requests - before[0], study.tokens - before[1]
        if refused is not None and not got:
            study.findings["n"] = refusal(refused, 2, spent)
        else:
            verdict: Verdict = "cannot_tell"
            if got:
                verdict = "honoured" if min(got) == max(got) == 2 else "not_honoured"
                verdict = "ignored" if max(got) == 1 else verdict
            each = f"Where 2 are asked for, {_listed(got)} choices come" if got else ""
            detail = f"{each}." if each else ""
            if got and min(got) > 1:
                told = f"they differ in {differ} of {len(got)} answers"
                detail = f"{each}; {told if differ else 'they are always the same'}."
            claims: tuple[Claim, ...] = (Claim(2, verdict),)
            same = got and verdict == "honoured" and not differ
            study.findings["n"] = Finding(
                verdict, "observed", 0.0, claims, requests=spent[0], tokens=spent[1], detail=detail,
                scope="the choices of a request are the same" if same else None,
            )  # fmt: skip


_ACCEPTED = {"verbosity": "low", "reasoning_effort": "low"}


def accepted(study: Study, asked: Mapping[str, Any] = _ACCEPTED) -> None:
    """See whether parameters are refused whose effect a few answers cannot show.

    Examples
    --------
    >>> def send(bodies):
    ...     return [Answer(400, {"error": {"message": "no verbosity"}}) for body in bodies]
    >>> study = Study(send, chat=False)
    >>> accepted(study, {"verbosity": "low"})
    >>> study.findings["verbosity"].verdict, study.findings["verbosity"].says
    ('refused', 'no verbosity')
    """
    for key, value in asked.items():
        before = study.requests, study.tokens
        answer = None
        try:
            answer = study.ask(_LONG, **{key: value})
        finally:
            spent = study.requests - before[0], study.tokens - before[1]
            if answer is not None and answer.refused:
                study.findings[key] = refusal(answer, value, spent)
            else:
                study.findings[key] = Finding(
                    "cannot_tell", "observed", 0.0, (Claim(value, "cannot_tell"),),
                    requests=spent[0], tokens=spent[1],
                    detail="Taken; what it does, a few answers cannot show." if answer else "",
                )  # fmt: skip
