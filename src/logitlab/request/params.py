"""`SamplingParams`: the dataclass is the table of the request parameters.

Each parameter is declared once, by `_parameter`: its default, its rule, what kind of effect it
has and one sentence. Validation, `SamplingParams.from_request`, the command line and the table in
the README all read that declaration.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from logitlab.checks import ParameterError, Range, Seen, brief
from logitlab.request import values as rules
from logitlab.request.values import Check

__all__ = ["PARAMETERS", "Parameter", "SamplingParams", "parameter_table"]

Role: TypeAlias = Literal["distribution", "draw", "ending", "report", "structure"]


@dataclass(frozen=True)
class Parameter:
    """The declaration of one request parameter.

    Attributes
    ----------
    key : str
        Name in the request.
    kind : str
        JSON type as documented.
    rule : str
        Documented range.
    default : object
        What an absent parameter means at OpenRouter; None where absence is a value of its own.
    role : str
        "distribution" changes the next-token distribution, a step of the chain; "draw" chooses the
        token; "ending" decides when a generation ends; "report" says what is reported beside the
        text; "structure" constrains the whole text.
    sentence : str
        What it does, in one sentence.
    check : callable
        ``check(key, value)`` returns the value in canonical form or raises `ParameterError`.
    """

    key: str
    kind: str
    rule: str
    default: Any
    role: Role
    sentence: str
    check: Check = field(repr=False)


# ---------------------------------------------------------------- the table


def _parameter(
    kind: str, rule: str, check: Check, role: Role, sentence: str, *, default: Any = None
) -> Any:
    """Declare a parameter: the field holds None while it is absent from the request."""
    metadata = {
        "kind": kind, "rule": rule, "check": check, "role": role, "sentence": sentence,
        "default": default,
    }  # fmt: skip
    return field(default=None, metadata=metadata)


@dataclass(frozen=True, kw_only=True, repr=False)
class SamplingParams:
    """The request parameters of an OpenRouter call, validated.

    Every field is None while the parameter is absent, because what absence means belongs to the
    engine: without ``temperature`` OpenRouter documents 1.0, llama.cpp uses 0.8 and mlx-lm is
    greedy. `with_defaults` fills in OpenRouter's documented values, or others. The fields, their
    ranges, defaults and meanings are listed by ``logitlab params`` and in `PARAMETERS`.

    Parameters
    ----------
    **parameters
        Any of the twenty keys, as in the request body.
    extra : mapping, optional
        Anything else that was in the request, kept untouched.

    Raises
    ------
    ParameterError
        At construction, for the first parameter out of its documented range or of a wrong type.

    References
    ----------
    OpenRouter, "Parameters", https://openrouter.ai/docs/api/reference/parameters

    Examples
    --------
    >>> params = SamplingParams(temperature=0.8, top_p=0.9)
    >>> params
    SamplingParams(temperature=0.8, top_p=0.9)
    >>> params.min_p is None, params.with_defaults().min_p
    (True, 0.0)
    >>> SamplingParams(top_p=1.3)
    Traceback (most recent call last):
    logitlab.checks.ParameterError: top_p must be in [0, 1], got 1.3.
    """

    temperature: float | None = _parameter(
        "float", "0 to 2", rules.number(0, 2), "distribution", default=1.0,
        sentence="Divides the logits: below 1 sharpens, above 1 flattens, 0 always takes the most "
        "likely token.",
    )  # fmt: skip
    top_p: float | None = _parameter(
        "float", "0 to 1", rules.number(0, 1), "distribution", default=1.0,
        sentence="Keeps the smallest set of most likely tokens whose probabilities add up to at "
        "least this; 0 keeps one.",
    )  # fmt: skip
    top_k: int | None = _parameter(
        "integer", "0 or above", rules.count, "distribution", default=0,
        sentence="Keeps exactly this many of the most likely tokens; 0 keeps all.",
    )  # fmt: skip
    frequency_penalty: float | None = _parameter(
        "float", "-2 to 2", rules.number(-2, 2), "distribution", default=0.0,
        sentence="Subtracts this from a token's logit for every time the token occurs in the "
        "context.",
    )  # fmt: skip
    presence_penalty: float | None = _parameter(
        "float", "-2 to 2", rules.number(-2, 2), "distribution", default=0.0,
        sentence="Subtracts this once from the logit of every token that occurs in the context.",
    )  # fmt: skip
    repetition_penalty: float | None = _parameter(
        "float", "0 to 2", rules.number(0, 2), "distribution", default=1.0,
        sentence="Divides positive and multiplies negative logits of tokens in the context; 0 is "
        "the limit of ever smaller values.",
    )  # fmt: skip
    min_p: float | None = _parameter(
        "float", "0 to 1", rules.number(0, 1), "distribution", default=0.0,
        sentence="Keeps tokens at least this fraction as likely as the most likely one; 1 keeps "
        "only the maxima.",
    )  # fmt: skip
    top_a: float | None = _parameter(
        "float", "0 to 1", rules.number(0, 1), "distribution", default=0.0,
        sentence="Keeps tokens whose probability is at least this times the square of the highest "
        "probability.",
    )  # fmt: skip
    seed: int | None = _parameter(
        "integer", "any", rules.integer(Range(integer=True)), "draw",
        sentence="Makes the draws repeatable; when absent a fresh seed is drawn and reported.",
    )  # fmt: skip
    max_tokens: int | None = _parameter(
        "integer", "1 or above", rules.integer(Range(1, integer=True)), "ending",
        sentence="Ends the generation after this many tokens, or earlier where the context "
        "window ends.",
    )  # fmt: skip
    logit_bias: Mapping[int, float] | None = _parameter(
        "map", "token id to -100…100", rules.logit_bias, "distribution", default={},
        sentence="Is added to the model's logits of the named tokens before anything else.",
    )  # fmt: skip
    logprobs: bool | None = _parameter(
        "boolean", "", rules.flag, "report", default=False,
        sentence="Reports the log-probability of each output token.",
    )  # fmt: skip
    top_logprobs: int | None = _parameter(
        "integer", "0 to 20", rules.integer(Range(0, 20, integer=True)), "report", default=0,
        sentence="Reports this many of the most likely tokens at each position; needs logprobs.",
    )  # fmt: skip
    response_format: Mapping[str, Any] | None = _parameter(
        "map", "text, json_object, json_schema", rules.response_format, "structure",
        sentence="Forces the text to be valid JSON, or to validate against a schema.",
    )  # fmt: skip
    structured_outputs: bool | None = _parameter(
        "boolean", "", rules.flag, "structure",
        sentence="Says whether json_schema is available; false together with a schema is an error.",
    )  # fmt: skip
    stop: Sequence[str] | None = _parameter(
        "array", "non-empty strings (or one)", rules.stop, "ending", default=(),
        sentence="Ends the generation at the earliest match of any of these strings, which is "
        "left out of the text.",
    )  # fmt: skip
    tools: Sequence[Mapping[str, Any]] | None = _parameter(
        "array", "function tools", rules.tools, "structure", default=(),
        sentence="Declares the functions that the model may call.",
    )  # fmt: skip
    tool_choice: str | Mapping[str, Any] | None = _parameter(
        "string or map", "none, auto, required, one function", rules.tool_choice, "structure",
        sentence="Forbids, allows or forces tool calls, or forces one named function.",
    )  # fmt: skip
    parallel_tool_calls: bool | None = _parameter(
        "boolean", "", rules.flag, "structure", default=True,
        sentence="Allows several tool calls in one answer; false gives at most one.",
    )  # fmt: skip
    verbosity: str | None = _parameter(
        "string", "low, medium, high", rules.choice("low", "medium", "high"), "ending",
        default="medium",
        sentence="Makes ending more likely (low) or less likely (high) at every step.",
    )  # fmt: skip
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in {"extra": self.extra, **self.given()}.items():
            try:
                check = PARAMETERS[key].check if key in PARAMETERS else rules.extra
                object.__setattr__(self, key, check(key, value))
            except RecursionError:
                raise ParameterError(key, "nested less deeply", Seen("too many levels")) from None
        for key in PARAMETERS.keys() & self.extra.keys():
            raise ParameterError("extra", f"free of the documented key {key!r}", self.extra)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.top_logprobs and not self.logprobs:
            hint = "Set logprobs to true."
            raise ParameterError("top_logprobs", "0 unless logprobs is on", self.top_logprobs, hint)
        wants_schema = (self.response_format or {}).get("type") == "json_schema"
        if self.structured_outputs is False and wants_schema:
            raise ParameterError("structured_outputs", "true with a json_schema", False)
        names = [tool["function"]["name"] for tool in self.tools or ()]
        if self.tool_choice == "required" and not names:
            raise ParameterError("tool_choice", "'none' or 'auto' without tools", self.tool_choice)
        if isinstance(self.tool_choice, Mapping):
            name = self.tool_choice["function"]["name"]
            if name not in names:
                raise ParameterError("tool_choice", f"one of the tools {names}", name)

    def __repr__(self) -> str:
        shown = self.given() | ({"extra": self.extra} if self.extra else {})
        if "seed" in shown:
            shown["seed"] = Seen(brief(shown["seed"]))
        return f"SamplingParams({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def given(self) -> dict[str, Any]:
        """Return the parameters that are not absent, by key.

        Examples
        --------
        >>> SamplingParams(temperature=1.0, seed=7).given()
        {'temperature': 1.0, 'seed': 7}
        """
        values = {key: getattr(self, key) for key in PARAMETERS}
        return {key: value for key, value in values.items() if value is not None}

    def with_defaults(self, **defaults: Any) -> SamplingParams:
        """Return the parameters with every absent one set.

        Parameters
        ----------
        **defaults
            An engine's own defaults; OpenRouter's documented ones are used for the rest.

        Examples
        --------
        >>> SamplingParams(top_p=0.9).with_defaults(temperature=0.8).temperature
        0.8
        """
        known = {key: parameter.default for key, parameter in PARAMETERS.items()}
        return dataclasses.replace(self, **(known | defaults | self.given()))

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> SamplingParams:
        """Read the parameters out of a request body.

        Parameters
        ----------
        request : mapping
            As parsed from JSON: ``null`` means absent, the keys of ``logit_bias`` may be strings,
            integers stand for floats. Keys that are none of the twenty are kept in ``extra``.

        Raises
        ------
        ParameterError
            For the first parameter out of its documented range or of a wrong type.

        Examples
        --------
        >>> SamplingParams.from_request({"model": "m", "temperature": 1, "logit_bias": {"5": -100}})
        SamplingParams(temperature=1.0, logit_bias={5: -100.0}, extra={'model': 'm'})
        """
        if not isinstance(request, Mapping):
            raise ParameterError("request", "a map of parameters", request)
        known = {key: value for key, value in request.items() if key in PARAMETERS}
        extra = {key: value for key, value in request.items() if key not in PARAMETERS}
        return cls(**known, extra=extra)

    def to_request(self) -> dict[str, Any]:
        """Return the request body again: the given parameters as JSON types, and ``extra``.

        Examples
        --------
        >>> SamplingParams(stop="END", logit_bias={5: 1}).to_request()
        {'logit_bias': {'5': 1.0}, 'stop': ['END']}
        """
        request = copy.deepcopy(self.given())
        if "logit_bias" in request:
            request["logit_bias"] = {str(key): value for key, value in self.logit_bias.items()}  # type: ignore[union-attr]
        for key in request.keys() & {"stop", "tools"}:
            request[key] = list(request[key])
        return request | dict(self.extra)


PARAMETERS: dict[str, Parameter] = {
    entry.name: Parameter(key=entry.name, **entry.metadata)
    for entry in dataclasses.fields(SamplingParams)
    if entry.metadata
}
"""The declarations of the twenty parameters, by key, in the order of the dataclass."""


def parameter_table() -> str:
    """Return the twenty parameters as a Markdown table.

    Examples
    --------
    >>> parameter_table().splitlines()[4][:35]
    '| `top_k` | integer, 0 or above | 0'
    """
    lines = ["| parameter | type and range | default | what it does |", "| --- | --- | --- | --- |"]
    for parameter in PARAMETERS.values():
        kind = ", ".join(filter(None, (parameter.kind, parameter.rule)))
        absent = parameter.default is None or parameter.default in ((), {})
        default = "–" if absent else str(parameter.default)
        default = default.lower() if isinstance(parameter.default, bool) else default
        lines.append(f"| `{parameter.key}` | {kind} | {default} | {parameter.sentence} |")
    return "\n".join(lines)
