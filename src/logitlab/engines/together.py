"""Rules about several keys of a request at once, or about a key that is no parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from logitlab.engines.rules import Target, refusal, unmodelled

__all__ = [
    "Fields",
    "Together",
    "above_limit",
    "at_least",
    "needs_logprobs",
    "needs_stream",
    "number",
]


@dataclass(frozen=True)
class Together:
    """What an engine refuses of a request as a whole.

    Parameters
    ----------
    key : str
        Whose value is told of, and has to be there.
    wrong : callable
        ``wrong(request)``: whether the engine refuses what there is by documented names, the
        defaults and options of the engine among it, and the size of the vocabulary as "V".
    rule, says : str
        What the value must be, and the engine's own text; ``{key}`` stands for the value of a key.
    answers : str
        What becomes of the request, where that is not what becomes of others.
    goes_on : bool
        Whether the engine goes on with what is not modelled here, and ``says`` tells with what.
    """

    key: str
    wrong: Callable[[Mapping[str, Any]], Any]
    rule: str
    says: str
    answers: str = ""
    goes_on: bool = False

    def check(self, request: Mapping[str, Any], target: Target) -> None:
        """Raise in the engine's words if the request breaks the rule."""
        if self.key not in request or not self.wrong(request):
            return
        says, value = self.says.format_map(request), request[self.key]
        rule = self.rule.format_map(request)
        if self.goes_on:
            raise unmodelled(self.key, rule, value, target.engine, says)
        answers = self.answers or target.answers
        raise refusal(self.key, rule, value, target.engine, says, answers)

    def describe(self) -> str:
        """Say the rule, with the names of the keys whose values it tells in a refusal."""
        named = re.sub(r"(\w+=)?\{(\w+)\}", r"\2", self.rule)
        return f"must be {named}"


@dataclass(frozen=True)
class Fields:
    """Which keys a request may have, null or not.

    Parameters
    ----------
    names : frozenset of str
        All of them.
    says : str
        The engine's own text; ``{names}`` stands for the others.
    """

    names: frozenset[str]
    says: str

    key: ClassVar[str] = ""

    def check(self, request: Mapping[str, Any], target: Target) -> None:
        """Raise for any other key."""
        others = [key for key in target.sent if key not in self.names]
        if others:
            says = self.says.format(names=", ".join(map(repr, others)))
            value = request.get(others[0])
            raise refusal(others[0], "absent", value, target.engine, says)

    def describe(self) -> str:
        """Say the rule."""
        return "other keys are refused"


def at_least(key: str, least: int, says: str) -> Together:
    """Return the rule that a number has a smallest value."""
    return Together(key, lambda request: number(request, key) < least, f"at least {least}", says)


def above_limit(request: Mapping[str, Any]) -> bool:
    """Whether more tokens are asked for than there may be."""
    return number(request, "min_tokens") > number(request, "max_tokens", float("inf"))


def number(request: Mapping[str, Any], key: str, absent: float = 0) -> float:
    """Return a number of a request, as whatever reads numbers of JSON does."""
    value: Any = request.get(key)
    try:
        return absent if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")
    except (TypeError, ValueError):
        return absent


def needs_logprobs(says: str, least: int = 1) -> Together:
    """Return the rule that ``top_logprobs`` comes with ``logprobs``."""

    def wrong(request: Mapping[str, Any]) -> bool:
        top = number(request, "top_logprobs")
        return (top >= least or top == -1) and not request.get("logprobs")

    return Together(
        "top_logprobs",
        wrong,
        "0 unless logprobs is on" if least else "absent unless logprobs is on",
        says,
    )


def needs_stream(says: str) -> Together:
    """Return the rule that ``stream_options`` come with ``stream``."""

    def wrong(request: Mapping[str, Any]) -> bool:
        return bool(request["stream_options"]) and not request.get("stream")

    return Together("stream_options", wrong, "absent unless stream is on", says)
