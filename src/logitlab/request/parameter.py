"""How a request parameter is declared: its range, default, role, sentence and origin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from logitlab.checks import Check, ParameterError, Range, Seen, check_integer, check_number

__all__ = ["PAGE", "Parameter", "Role", "parameter"]

Role: TypeAlias = Literal["distribution", "draw", "ending", "report", "structure", "prompt"]

PAGE = "page"
"""The origin of the twenty parameters that OpenRouter's page documents."""


@dataclass(frozen=True)
class Parameter:
    """The declaration of one request parameter.

    Attributes
    ----------
    key : str
        Name in the request.
    accepts : Range or callable
        The documented range of a number; otherwise ``accepts(key, value)`` returns the value in
        canonical form, or raises `ParameterError`.
    default : object
        What an absent parameter means at OpenRouter; None where absence is a value of its own.
    role : str
        "distribution" changes the next-token distribution, a step of the chain; "draw" chooses the
        token; "ending" decides when a generation ends; "report" says what is reported beside the
        text; "structure" constrains the whole text; "prompt" is what the model reads.
    sentence : str
        What it does, in one sentence.
    kind : str
        JSON type as documented.
    rule : str
        Documented range, in words.
    origin : str
        "page", or for a parameter beyond the page where it was defined.
    used : object
        A value that changes something, in the form that reaches a chain; None where no chain is
        built from it.
    any_size : callable, optional
        Reads what is no number of a range in its type alone, whatever its size.
    needs : str
        The parameter without which it does nothing, or "".
    """

    key: str
    accepts: Range | Check = field(repr=False)
    default: Any
    role: Role
    sentence: str
    kind: str
    rule: str
    origin: str = PAGE
    used: Any = None
    any_size: Check | None = field(default=None, repr=False)
    needs: str = ""

    @property
    def range(self) -> Range | None:
        """The documented range, of a number."""
        return self.accepts if isinstance(self.accepts, Range) else None

    def check(self, value: Any) -> Any:
        """Return the value in canonical form, or raise `ParameterError` beyond the range."""
        if not isinstance(self.accepts, Range):
            try:
                return self.accepts(self.key, value)
            except RecursionError:
                rule = "nested less deeply"
                raise ParameterError(self.key, rule, Seen("too many levels")) from None
        if not self.accepts.integer:
            return check_number(self.key, value, self.accepts)
        number = check_integer(self.key, value, self.accepts)
        if number >= 2**63 and self.role == "distribution":
            raise ParameterError(self.key, "below 2**63", value)
        return number

    def typed(self, value: Any) -> Any:
        """Return the value in its type, of any size: the range is an engine's affair."""
        if self.any_size is not None:
            return self.any_size(self.key, value)
        if self.range is None or self.role == "ending":
            return self.check(value)
        if self.range.integer:
            return check_integer(self.key, value, Range(integer=True))
        return check_number(self.key, value)


def parameter(
    accepts: Range | Check,
    role: Role,
    sentence: str,
    *,
    default: Any = None,
    kind: str = "",
    rule: str = "",
    origin: str = PAGE,
    used: Any = None,
    any_size: Check | None = None,
    needs: str = "",
) -> Any:
    """Declare a parameter: the field holds None while it is absent from the request."""
    if isinstance(accepts, Range):
        kind, rule = "integer" if accepts.integer else "float", accepts.words()
        if used is None and role == "distribution":
            used = 2 if accepts.integer else 0.5
    words = {"role": role, "sentence": sentence, "kind": kind, "rule": rule, "origin": origin}
    words |= {"needs": needs}
    values = {"accepts": accepts, "default": default, "used": used, "any_size": any_size}
    return field(default=None, metadata={**values, **words})
