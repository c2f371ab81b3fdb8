"""Rules: what an engine does with the value of a key, declared.

A rule is a value that acts on what a client sent, tells in one sentence what it did, and describes
itself.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

from logitlab.checks import Check, ParameterError, Range, check_integer, check_number
from logitlab.request import values
from logitlab.request.params import NEUTRAL, PARAMETERS, TWENTY

__all__ = [
    "ABSENT",
    "Clamp",
    "Documented",
    "Greedy",
    "Ignore",
    "LeftOut",
    "Note",
    "Off",
    "Option",
    "Outcome",
    "RefusalError",
    "Refuse",
    "Rename",
    "Rule",
    "Send",
    "Target",
    "Translation",
    "Unmodelled",
    "Values",
    "as_refusal",
    "as_written",
    "brief_number",
    "integers",
    "numbers",
    "refusal",
    "unmodelled",
]

ABSENT: Any = object()
"""What a rule returns for a key that goes no further."""

Values = SimpleNamespace
"""What reaches an engine's chain: an attribute for each key."""


@dataclass(frozen=True)
class Note:
    """One thing that happens to a request on its way into an engine.

    Attributes
    ----------
    key : str
        The request key.
    effect : str
        "ignored"; "changed" are clamped and raised values, and those of a deployment, "off" values
        that switch the parameter off, "renamed", "default" keys that are absent and not neutral,
        "beyond" parameters that OpenRouter's page does not name, "unknown" keys of no parameter,
        "uncounted" penalties without tokens, "beside" what depends on other keys, or on more than
        the request.
    sentence : str
        The same in words.
    given, used : object
        What the request says and what the engine uses; None where there is nothing.
    """

    key: str
    effect: str
    sentence: str
    given: Any = None
    used: Any = None


@dataclass(frozen=True)
class Option:
    """A key of an engine's own.

    Parameters
    ----------
    default : object
    check : callable
        ``check(key, value)`` returns the value in canonical form, or raises `ParameterError`.
    says : callable, optional
        ``says(value)``: the engine's own text about one that it refuses, or "".
    is_deployed : bool
        Whether a deployment has it, and no client can send it: in a request that is told.
    """

    default: Any
    check: Callable[[str, Any], Any]
    says: Callable[[Any], str] = lambda value: ""
    is_deployed: bool = False


def integers(low: float = -math.inf, high: float = math.inf) -> Check:
    """Return what takes an integer of a range, as the check of an `Option`."""
    rule = Range(low, high, integer=True)
    return lambda key, value: check_integer(key, value, rule)


def numbers(low: float = -math.inf) -> Check:
    """Return what takes a number that is not below another."""
    rule = Range(low)
    return lambda key, value: check_number(key, value, rule)


@dataclass(frozen=True)
class Translation:
    """What of a request reaches an engine.

    Attributes
    ----------
    engine : str
    values : mapping
        What the engine's chain is built from: all parameters of the distribution, with the
        engine's defaults, and its own keys.
    notes : tuple of Note
        What was ignored, changed, switched off, renamed or filled in, one sentence each.
    max_tokens : int or None
        The limit that a model's own defaults give a request without one.
    endings : mapping
        What of the parameters beyond the page that end a generation arrived, by key.
    written : mapping of str to str
        What the request calls keys that it has under another name: errors tell that.
    """

    engine: str
    values: Mapping[str, Any]
    notes: tuple[Note, ...]
    max_tokens: int | None = None
    endings: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(note.sentence for note in self.notes) or "everything arrives as it is"


class Target(NamedTuple):
    """Where a request goes, and what of it rules want to know.

    Attributes
    ----------
    engine : str
    size : int or None
        Size of the vocabulary, if known.
    greedy : bool
        Whether temperature is 0.
    aliased : frozenset of str
        Documented keys whose value came under the engine's own name.
    request : mapping
        All that was requested, by documented names.
    answers : str
        What becomes of a request that the engine refuses, before its own text.
    sent : tuple of str
        The keys of the request as they were sent, null or not.
    """

    engine: str
    size: int | None
    greedy: bool
    aliased: frozenset[str]
    request: Mapping[str, Any]
    answers: str = "refuses the request"
    sent: tuple[str, ...] = ()


Outcome: TypeAlias = tuple[Any, Note | None]


class RefusalError(ParameterError):
    """A value that an engine answers with an error."""


def refusal(
    key: str,
    rule: str,
    value: Any,
    engine: str,
    says: str,
    answers: str = "refuses the request",
) -> RefusalError:
    """Return the error of an engine that refuses a value, with its own text if that says more."""
    error = RefusalError(key, rule, value)
    same = says.rstrip(".") == str(error).rstrip(".") and answers == "refuses the request"
    words = " with these words." if same else f": {says}"
    return RefusalError(key, rule, value, f"{engine} {answers}{words}")


def as_written(error: ParameterError, written: Mapping[str, str]) -> ParameterError:
    """Return an error that names what the caller wrote, where that is another name of its key."""
    key = re.split(r"[.\[]", error.name, maxsplit=1)[0]
    if key not in written:
        return error
    name = written[key] + error.name[len(key) :]
    return type(error)(name, error.rule, error.value, error.hint, error.where)


def unmodelled(key: str, rule: str, value: Any, engine: str, says: str) -> RefusalError:
    """Return the error for what an engine takes, and then does what is not modelled here."""
    return RefusalError(key, rule, value, f"{engine} goes on, but {says}.")


def as_refusal(error: ParameterError, engine: str) -> RefusalError:
    """Return an error of `SamplingParams` as that of the page whose rules it has."""
    beyond = error.name in PARAMETERS.keys() - set(TWENTY)
    says = f"By {PARAMETERS[error.name].origin} it is" if beyond else "It documents"
    return refusal(error.name, error.rule, error.value, engine, f"{says} {error.rule}.")


class Rule(ABC):
    """What an engine does with the value of one key."""

    @abstractmethod
    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return what goes on, or `ABSENT`, and what there is to say about it."""

    @abstractmethod
    def describe(self) -> str:
        """Return the rule in few words, for a table; "" if it is not worth a word."""


@dataclass(frozen=True)
class Ignore(Rule):
    """The engine does not read the key.

    Parameters
    ----------
    why : str
        The reason.
    where : str
        Which deployments do not, for a table, after "ignored"; "" is all.
    """

    why: str = "it has no such parameter"
    where: str = ""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note]:
        """Return `ABSENT`, and a note that says why."""
        return ABSENT, Note(
            key, "ignored", f"{key} is ignored by {target.engine}: {self.why}.", value
        )

    def describe(self) -> str:
        """Return "ignored", whatever the reason, and where."""
        return f"ignored {self.where}".rstrip()


@dataclass(frozen=True)
class LeftOut(Rule):
    """Other keys of a request may leave the parameter out.

    Parameters
    ----------
    why : callable
        ``why(request)`` tells the reason, and "" where it is not left out.
    when : str
        The same for any request, after "ignored".
    """

    why: Callable[[Mapping[str, Any]], str]
    when: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return `ABSENT` where the other keys of the request leave it out, else the value."""
        why = self.why(target.request)
        return Ignore(why).apply(key, value, target) if why else (value, None)

    def describe(self) -> str:
        """Return when it is ignored."""
        return f"ignored {self.when}"


@dataclass(frozen=True)
class Refuse(Rule):
    """The engine answers with an error.

    Parameters
    ----------
    wrong : callable
        ``wrong(value)``, or ``wrong(value, V)`` with ``sized``: whether it is refused.
    rule : str
        What the value must be, after "must be".
    says : str
        The engine's own text; ``{}`` stands for the value.
    sized : bool
        Whether ``wrong`` needs the size of the vocabulary.
    unless_greedy : bool
        Whether the engine does not look where temperature is 0.
    answers : str
        What becomes of the request, where that is not what becomes of others.
    """

    wrong: Callable[..., bool]
    rule: str
    says: str
    sized: bool = False
    unless_greedy: bool = False
    answers: str = ""

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Raise in the engine's words if the value is wrong, else return it as it is."""
        if self.sized and target.size is None:
            return value, None
        if not (self.wrong(value, target.size) if self.sized else self.wrong(value)):
            return value, None
        if self.unless_greedy and target.greedy:
            sentence = f"{key} is ignored by {target.engine}: temperature 0 truncates nothing."
            return ABSENT, Note(key, "ignored", sentence, value)
        rule, says = self.rule.format(V=target.size), self.says.format(value, V=target.size)
        raise refusal(key, rule, value, target.engine, says, self.answers or target.answers)

    def describe(self) -> str:
        """Return what the value must be."""
        return f"must be {self.rule}"


@dataclass(frozen=True)
class Documented(Rule):
    """The engine refuses what lies beyond the range that OpenRouter's page documents, too."""

    key: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Raise if a number is outside the documented range, else return the value as it is."""
        accepts = PARAMETERS[self.key].accepts
        limits = accepts if isinstance(accepts, Range) else values.BIAS
        for number in value.values() if isinstance(value, Mapping) else (value,):
            if not limits.low <= number <= limits.high:
                rule = self.describe().removeprefix("must be ")
                raise refusal(key, rule, value, target.engine, f"It documents {limits}.")
        return value, None

    def describe(self) -> str:
        """Return the documented range, of the value or of those of a map."""
        limits = PARAMETERS[self.key].range
        return f"must be {limits}" if limits else f"must be a map to numbers {values.BIAS}"


@dataclass(frozen=True)
class Unmodelled(Refuse):
    """The engine goes on, with a result that makes no sense and is not modelled."""

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Raise, saying what the engine does then, or return a value that is modelled."""
        if self.wrong(value, target.size) if self.sized else self.wrong(value):
            raise unmodelled(key, self.rule, value, target.engine, self.says)
        return value, None


@dataclass(frozen=True)
class Clamp(Rule):
    """The engine moves the value into an interval, silently; ``unless`` is left as it is."""

    low: float = -float("inf")
    high: float = float("inf")
    unless: float | None = None

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Clamp a number, or every value of a map."""
        if isinstance(value, Mapping):
            used: Any = {token: self._clamped(amount) for token, amount in value.items()}
            beyond = sum(used[token] != amount for token, amount in value.items())
            words = "one of its values is" if beyond == 1 else f"{beyond} of its values are"
        else:
            used = self._clamped(value)
            words = f"{key} {brief_number(value)}"
        if used == value:
            return value, None
        if isinstance(value, Mapping):
            verb = f"clamped to [{self.low:g}, {self.high:g}]"
            sentence = f"{key}: {words} {verb} by {target.engine}."
        else:
            verb = "raised" if used > value else "lowered"
            sentence = f"{words} is {verb} to {brief_number(used)} by {target.engine}."
        return used, Note(key, "changed", sentence, value, used)

    def _clamped(self, value: Any) -> Any:
        return value if value == self.unless else type(value)(min(max(value, self.low), self.high))

    def describe(self) -> str:
        """Return one end where the other is open, or both."""
        if self.high == float("inf"):
            below = f"{self.low:g}"
            return f"raised to {below}" + (
                "" if self.unless is None else f" unless {self.unless:g}"
            )
        if self.low == -float("inf"):
            return f"lowered to {self.high:g}"
        return f"clamped to [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Off(Rule):
    """Some values switch the parameter off."""

    when: Callable[[Any], bool]
    words: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Leave those values out, so that the parameter is neutral."""
        if not self.when(value):
            return value, None
        neutral = NEUTRAL.get(key)
        if value == neutral:
            return value, None
        means = "a fresh one" if key == "seed" else "off"
        sentence = f"{key} {brief_number(value)} means {means} to {target.engine}."
        return ABSENT if neutral is None else neutral, Note(key, "off", sentence, value, neutral)

    def describe(self) -> str:
        """Return the values that switch it off."""
        return f"{self.words} is off"


@dataclass(frozen=True)
class Greedy(Rule):
    """Temperatures below a threshold are greedy."""

    below: float

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return 0 for a temperature below the threshold, with a note."""
        if value >= self.below or value == 0:
            return value, None
        sentence = f"{key} {brief_number(value)} is greedy at {target.engine}"
        sentence += f": anything below {self.below:g} is."
        return 0.0, Note(key, "changed", sentence, value, 0.0)

    def describe(self) -> str:
        """Return the threshold."""
        return f"below {self.below:g} is greedy"


@dataclass(frozen=True)
class Rename(Rule):
    """The engine has another name for the parameter, under which it is sent."""

    name: str
    why: str

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return the value as it is; a note tells the name, unless it was sent under it."""
        if key in target.aliased:
            return value, None
        sentence = f"{key} reaches {target.engine} as {self.name}: {self.why}."
        return value, Note(key, "renamed", sentence, value, value)

    def describe(self) -> str:
        """Return the engine's own name."""
        return f"called {self.name}"


@dataclass(frozen=True)
class Send(Rule):
    """The engine puts the value to use as another parameter, unless that is given, too."""

    key: str
    convert: Callable[[Any], Any] = lambda value: value

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Convert the value; `translate` files it under the other key."""
        used = self.convert(value)
        numbers = f"{brief_number(value)} is used as {self.key} {brief_number(used)}"
        return used, Note(key, "renamed", f"{key} {numbers} by {target.engine}.", value, used)

    def describe(self) -> str:
        """Return the key under which the value is used."""
        return f"used as {self.key}"


def brief_number(value: Any) -> str:
    """Return a number, or a flag, as a client would write it: 0.001, 2, -1, true."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) < 1e15 and value == int(value):
        return str(int(value))
    return str(value)
