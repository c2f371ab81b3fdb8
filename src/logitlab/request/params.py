"""`SamplingParams`: the dataclass is the table of the request parameters.

Each parameter is declared once, by `_parameter`: its range, its default, what kind of effect it
has, one sentence, and where it comes from. Validation, engines, the command line, sliders and the
tables in the README all read that declaration.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from logitlab.checks import ParameterError, Range, Seen, brief, check_integer, check_number
from logitlab.request import values
from logitlab.request.keys import KNOWN, check_key
from logitlab.request.values import Check

__all__ = [
    "DISTRIBUTION",
    "NEUTRAL",
    "PAGE",
    "PARAMETERS",
    "TWENTY",
    "Parameter",
    "SamplingParams",
    "check_structure",
    "check_together",
    "parameter_table",
]

Role: TypeAlias = Literal["distribution", "draw", "ending", "report", "structure"]


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
        text; "structure" constrains the whole text.
    sentence : str
        What it does, in one sentence.
    kind : str
        JSON type as documented.
    rule : str
        Documented range, in words.
    origin : str
        "page", or for a parameter beyond the page where it was defined.
    """

    key: str
    accepts: Range | Check = field(repr=False)
    default: Any
    role: Role
    sentence: str
    kind: str
    rule: str
    origin: str = PAGE

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
        if self.key == "logit_bias":
            return values.any_bias(self.key, value)
        if self.range is None or self.role == "ending":
            return self.check(value)
        if self.range.integer:
            return check_integer(self.key, value, Range(integer=True))
        return check_number(self.key, value)


def _parameter(
    accepts: Range | Check,
    role: Role,
    sentence: str,
    *,
    default: Any = None,
    kind: str = "",
    rule: str = "",
    origin: str = PAGE,
) -> Any:
    """Declare a parameter: the field holds None while it is absent from the request."""
    if isinstance(accepts, Range):
        kind, rule = "integer" if accepts.integer else "float", accepts.words()
    words = {"role": role, "sentence": sentence, "kind": kind, "rule": rule, "origin": origin}
    return field(default=None, metadata={"accepts": accepts, "default": default, **words})


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
        Any of the twenty keys, as in the request body, and those beyond the page.
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
        Range(0, 2),
        "distribution",
        "Divides the logits: below 1 sharpens, above 1 flattens, 0 always takes the most "
        "likely token.",
        default=1.0,
    )
    top_p: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Keeps the smallest set of most likely tokens whose probabilities add up to at least "
        "this; 0 keeps one.",
        default=1.0,
    )
    top_k: int | None = _parameter(
        Range(0, integer=True),
        "distribution",
        "Keeps exactly this many of the most likely tokens; 0 keeps all.",
        default=0,
    )
    frequency_penalty: float | None = _parameter(
        Range(-2, 2),
        "distribution",
        "Subtracts this from a token's logit for every time the token occurs in the context.",
        default=0.0,
    )
    presence_penalty: float | None = _parameter(
        Range(-2, 2),
        "distribution",
        "Subtracts this once from the logit of every token that occurs in the context.",
        default=0.0,
    )
    repetition_penalty: float | None = _parameter(
        Range(0, 2),
        "distribution",
        "Divides positive and multiplies negative logits of tokens in the context; 0 is the "
        "limit of ever smaller values.",
        default=1.0,
    )
    min_p: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens at least this fraction as likely as the most likely one; 1 keeps only "
        "the maxima.",
        default=0.0,
    )
    top_a: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Keeps tokens whose probability is at least this times the square of the highest "
        "probability.",
        default=0.0,
    )
    seed: int | None = _parameter(
        Range(integer=True),
        "draw",
        "Makes the draws repeatable; when absent a fresh seed is drawn and reported.",
    )
    max_tokens: int | None = _parameter(
        Range(1, integer=True),
        "ending",
        "Ends the generation after this many tokens, or earlier where the context window ends.",
    )
    logit_bias: Mapping[int, float] | None = _parameter(
        values.logit_bias,
        "distribution",
        "Is added to the model's logits of the named tokens before anything else.",
        default={},
        kind="map",
        rule="token id to -100…100",
    )
    logprobs: bool | None = _parameter(
        values.flag,
        "report",
        "Reports the log-probability of each output token.",
        default=False,
        kind="boolean",
    )
    top_logprobs: int | None = _parameter(
        Range(0, 20, integer=True),
        "report",
        "Reports this many of the most likely tokens at each position; needs logprobs.",
        default=0,
    )
    response_format: Mapping[str, Any] | None = _parameter(
        values.response_format,
        "structure",
        "Forces the text to be valid JSON, or to validate against a schema.",
        kind="map",
        rule="text, json_object, json_schema",
    )
    structured_outputs: bool | None = _parameter(
        values.flag,
        "structure",
        "Says whether json_schema is available; false together with a schema is an error.",
        kind="boolean",
    )
    stop: Sequence[str] | None = _parameter(
        values.stop,
        "ending",
        "Ends the generation at the earliest match of any of these strings, which is left out "
        "of the text.",
        default=(),
        kind="array",
        rule="non-empty strings (or one)",
    )
    tools: Sequence[Mapping[str, Any]] | None = _parameter(
        values.tools,
        "structure",
        "Declares the functions that the model may call.",
        default=(),
        kind="array",
        rule="function tools",
    )
    tool_choice: str | Mapping[str, Any] | None = _parameter(
        values.tool_choice,
        "structure",
        "Forbids, allows or forces tool calls, or forces one named function.",
        kind="string or map",
        rule="none, auto, required, one function",
    )
    parallel_tool_calls: bool | None = _parameter(
        values.flag,
        "structure",
        "Allows several tool calls in one answer; false gives at most one.",
        default=True,
        kind="boolean",
    )
    verbosity: str | None = _parameter(
        values.choice("low", "medium", "high"),
        "ending",
        "Makes ending more likely (low) or less likely (high) at every step.",
        default="medium",
        kind="string",
        rule="low, medium, high",
    )
    typical_p: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Keeps the most typical tokens, whose surprise is nearest to the entropy, down to "
        "this mass.",
        default=1.0,
        origin="Meister et al., arXiv:2202.00666",
    )
    xtc_probability: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Removes the top choices with this probability, all but the least likely of them.",
        default=0.0,
        origin="p-e-w, text-generation-webui #6335",
    )
    xtc_threshold: float | None = _parameter(
        Range(0, 1),
        "distribution",
        "Says how likely a token has to be to be a top choice of XTC.",
        default=0.1,
        origin="p-e-w, text-generation-webui #6335",
    )
    mirostat: int | None = _parameter(
        values.mirostat,
        "distribution",
        "2 cuts at a surprise that follows what was drawn, so that the text stays near a "
        "target; 0 does not.",
        default=0,
        kind="integer",
        rule="0 or 2",
        origin="Basu et al., arXiv:2007.14966",
    )
    mirostat_tau: float | None = _parameter(
        Range(0),
        "distribution",
        "Is the surprise that mirostat aims at, in bits.",
        default=5.0,
        origin="Basu et al., arXiv:2007.14966",
    )
    mirostat_eta: float | None = _parameter(
        Range(0),
        "distribution",
        "Is how fast mirostat follows.",
        default=0.1,
        origin="Basu et al., arXiv:2007.14966",
    )
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in {"extra": self.extra, **self.given()}.items():
            known = PARAMETERS.get(key)
            object.__setattr__(self, key, known.check(value) if known else values.extra(value))
        for key, value in self.extra.items():
            check_key(key, value)
        for key in PARAMETERS.keys() & self.extra.keys():
            raise ParameterError("extra", f"free of the documented key {key!r}", self.extra)
        check_together(self.given())

    def __repr__(self) -> str:
        shown = self.given() | ({"extra": self.extra} if self.extra else {})
        if "seed" in shown:
            shown["seed"] = Seen(brief(shown["seed"]))
        return f"SamplingParams({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def __hash__(self) -> int:
        return hash(values.hashable((self.given(), self.extra)))

    def given(self) -> dict[str, Any]:
        """Return the parameters that are not absent, by key.

        Examples
        --------
        >>> SamplingParams(temperature=1.0, seed=7).given()
        {'temperature': 1.0, 'seed': 7}
        """
        fields = vars(self)
        return {key: fields[key] for key in PARAMETERS if fields[key] is not None}

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
        known = {key: parameter.default for key, parameter in PARAMETERS.items() if key in TWENTY}
        return dataclasses.replace(self, **(known | defaults | self.given()))

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> SamplingParams:
        """Read the parameters out of a request body.

        Parameters
        ----------
        request : mapping
            As parsed from JSON: ``null`` means absent, the keys of ``logit_bias`` may be strings,
            integers stand for floats. Keys of no parameter are kept in ``extra``.

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


def check_together(given: Mapping[str, Any]) -> None:
    """Raise for parameters that are right each by itself, and wrong beside the others."""
    top = given.get("top_logprobs")
    if top and not given.get("logprobs"):
        hint = "Set logprobs to true."
        raise ParameterError("top_logprobs", "0 unless logprobs is on", top, hint)
    check_structure(given)


def check_structure(given: Mapping[str, Any]) -> None:
    """Raise for a structure that is asked for and not there, whoever is asked."""
    wants_schema = (given.get("response_format") or {}).get("type") == "json_schema"
    if given.get("structured_outputs") is False and wants_schema:
        raise ParameterError("structured_outputs", "true with a json_schema", False)
    names = [tool["function"]["name"] for tool in given.get("tools") or ()]
    choice = given.get("tool_choice")
    if choice == "required" and not names:
        raise ParameterError("tool_choice", "'none' or 'auto' without tools", choice)
    if isinstance(choice, Mapping) and choice["function"]["name"] not in names:
        raise ParameterError("tool_choice", f"one of the tools {names}", choice["function"]["name"])


PARAMETERS: dict[str, Parameter] = {
    entry.name: Parameter(key=entry.name, **entry.metadata)
    for entry in dataclasses.fields(SamplingParams)
    if entry.metadata
}
"""The declarations of all parameters, by key: the twenty of the page, then those beyond it."""

KNOWN.update(dict.fromkeys(PARAMETERS, True))

TWENTY = tuple(key for key, parameter in PARAMETERS.items() if parameter.origin == PAGE)
"""Keys of OpenRouter's page."""

DISTRIBUTION = tuple(key for key, known in PARAMETERS.items() if known.role == "distribution")
"""Keys that shape the distribution of one token."""

NEUTRAL = {key: PARAMETERS[key].default for key in DISTRIBUTION}
"""Values that change nothing: OpenRouter's documented defaults."""


def parameter_table(beyond: bool = False) -> str:
    """Return the twenty parameters, or those beyond the page, as a Markdown table.

    Examples
    --------
    >>> parameter_table().splitlines()[4][:35]
    '| `top_k` | integer, 0 or above | 0'
    >>> parameter_table(beyond=True).splitlines()[2][:41]
    '| `typical_p` | float, 0 to 1 | 1.0 | Mei'
    """
    origin = " origin |" if beyond else ""
    lines = [f"| parameter | type and range | default |{origin} what it does |"]
    lines.append("| --- " * lines[0].count(" |") + "|")
    for parameter in PARAMETERS.values():
        if beyond == (parameter.origin == PAGE):
            continue
        kind = ", ".join(filter(None, (parameter.kind, parameter.rule)))
        absent = parameter.default is None or parameter.default in ((), {})
        default = "–" if absent else str(parameter.default)
        default = default.lower() if isinstance(parameter.default, bool) else default
        origin = f" {parameter.origin} |" if beyond else ""
        lines.append(f"| `{parameter.key}` | {kind} | {default} |{origin} {parameter.sentence} |")
    return "\n".join(lines)
