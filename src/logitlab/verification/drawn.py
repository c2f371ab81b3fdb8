"""What an answer is as a draw, where it has nothing but a text; and which prompts are lively."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logitlab.verification.answer import Answer
from logitlab.verification.study import Study

__all__ = ["Drawn", "Identities", "ending", "liveliest", "outcome", "outcomes", "text_of"]

# The text of a model that thinks comes in another field, and its content may then be empty.
_THOUGHTS = ("reasoning_content", "reasoning")
_MANY = 16
_PILOT = 3
_LIVELY, _LIVELY_MANY = 0.93, 0.88


def text_of(answer: Answer, choice: int = 0) -> str:
    """Return the text of a choice, or its thoughts where it has no other.

    Examples
    --------
    >>> message = {"content": "", "reasoning_content": "Hm"}
    >>> text_of(Answer(200, {"choices": [{"message": message}]}))
    'Hm'
    """
    text = answer.text(choice)
    if text or choice >= len(answer.choices):
        return text
    told = answer.choices[choice].get("message")
    message: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    return next((str(message[key]) for key in _THOUGHTS if message.get(key)), "")


def ending(answer: Answer, choice: int = 0) -> str:
    """Return why a choice ended, in the server's word, '' where it has none."""
    if choice >= len(answer.choices):
        return ""
    return str(answer.choices[choice].get("finish_reason") or "")


def outcome(answer: Answer, choice: int = 0) -> str:
    """Return what was drawn, as a word that is equal for equal draws of the first token.

    It is the first word of the text: a server may write more tokens than it was asked for, and by
    noise the later ones part. An answer without a text is an outcome, too: to leave out what
    depends on the draw would make the rest another distribution. So an answer that ends at once,
    one whose only token is half a character, and one with status 200 whose body tells of an error
    each have a word of their own.

    Examples
    --------
    >>> outcome(Answer(200, {"choices": [{"text": " Paris is"}]}))
    'Paris'
    >>> outcome(Answer(200, {"error": {"message": "overloaded"}}))
    '<no choice>'
    >>> outcome(Answer(200, {"choices": [{"text": "", "finish_reason": "stop"}]}))
    '<empty: stop>'
    """
    if choice >= len(answer.choices):
        return "<no choice>"
    text = text_of(answer, choice)
    words = text.split(maxsplit=1)
    return words[0] if words else text or f"<empty: {ending(answer, choice)}>"


def outcomes(answer: Answer) -> list[str]:
    """Return the outcomes of all choices of an answer; one at least."""
    return [outcome(answer, choice) for choice in range(max(1, len(answer.choices)))]


class Identities:
    """Watches the ids of answers: an id that comes twice is an answer out of a cache.

    Examples
    --------
    >>> ids = Identities()
    >>> for name in ("a", "b", "a"):
    ...     ids.add(Answer(200, {"id": name, "choices": [{"text": "x"}]}))
    >>> ids.cached
    1
    """

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def add(self, answer: Answer) -> None:
        """See one more answer."""
        if not answer.refused and answer.body.get("id"):
            made = str(answer.body["id"]), str(answer.body.get("created")), text_of(answer)
            self._seen[made] += 1

    @property
    def cached(self) -> int:
        """How many answers had the id, the time and the text of another.

        A server whose ids are all the same tells nothing by them.
        """
        if len({name for name, _, _ in self._seen}) < 2:
            return 0
        return sum(count - 1 for count in self._seen.values())


@dataclass
class Drawn:
    """Draws of one first token after a prompt, at the neutral values or not.

    Attributes
    ----------
    study : Study
    prompt : str
    several : bool
        Whether a request may ask for 16 answers: only where ``n`` was seen to be honoured, and
        its answers to differ.
    neutral : list of str
        Draws at the neutral values. Those that chose the prompt are not among them.
    """

    study: Study
    prompt: str
    several: bool = False
    neutral: list[str] = field(default_factory=list)
    ids: Identities = field(default_factory=Identities)
    _alone: set[str] = field(default_factory=set, repr=False)  # what is refused with n

    def ask(self, **parameters: Any) -> tuple[Answer, list[str]]:
        """Send one request, and return its answer and what was drawn: 16 draws where that works."""
        known = repr(sorted(parameters.items()))
        if self.several and known not in self._alone:
            answer = self.study.ask(self.prompt, n=_MANY, **parameters)
            if not answer.refused:
                self.ids.add(answer)
                return answer, outcomes(answer)
            self._alone.add(known)  # greedy answers, say, come one by one
        answer = self.study.ask(self.prompt, **parameters)
        self.ids.add(answer)
        return answer, outcomes(answer)

    def grow(self, count: int) -> bool:
        """Draw at the neutral values until there are so many; return whether it could be done."""
        while len(self.neutral) < count:
            answer, texts = self.ask()
            if answer.refused:
                return False
            self.neutral += texts
        return True


def liveliest(study: Study) -> Drawn | None:
    """Return draws after the prompt whose pilot answers differ most.

    Parameters
    ----------
    study : Study
        Its prompts are tried in turn, with three answers each, and six of those that differ (or 16
        at once, where that works), until nearly all pairs of a pilot differ. The best becomes the
        first of its prompts.

    Returns
    -------
    Drawn or None
        Without draws yet: those of the pilot chose the prompt and are thrown away. None where all
        answers to each prompt are the same, or refused.
    """
    several = study.verdict("n") == "honoured"
    best, prompt = 0.0, None
    for each in study.prompts:
        drawn = Drawn(study, each, several)
        seen: list[str] = []
        while len(seen) < 2 * _PILOT:
            answer, texts = drawn.ask()
            if answer.refused:
                break
            seen += texts
            if len(seen) == _PILOT and len(set(seen)) < _PILOT:
                break
        lively = _differ(seen)
        if lively > best:
            best, prompt = lively, each
        if best >= (_LIVELY_MANY if len(seen) > 2 * _PILOT else _LIVELY):
            break
    if prompt is None:
        return None
    study.prompts = (prompt, *(each for each in study.prompts if each != prompt))
    return Drawn(study, prompt, several)


def _differ(texts: Sequence[str]) -> float:
    """Return the share of pairs that differ: Simpson's index, without bias."""
    pairs = len(texts) * (len(texts) - 1)
    equal = sum(count * (count - 1) for count in Counter(texts).values())
    return 1 - equal / pairs if pairs else 0.0
