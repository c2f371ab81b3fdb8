"""`SamplingParams`: the dataclass is the table of the request parameters.

Each parameter is declared once, by `parameter`, in `page` or `beyond`: its range, its default, what
kind of effect it has, one sentence, and where it comes from. Validation, engines, the command line,
sliders and the tables of the documentation all read that declaration.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from logitlab.checks import ParameterError, Seen, brief, suggestion
from logitlab.request import values
from logitlab.request.beyond import BeyondParameters
from logitlab.request.keys import KNOWN, check_key
from logitlab.request.page import PageParameters
from logitlab.request.parameter import PAGE, Parameter

__all__ = [
    "DISTRIBUTION",
    "ENDINGS",
    "NEUTRAL",
    "PAGE",
    "PARAMETERS",
    "TWENTY",
    "UNSPELLED",
    "USED",
    "Parameter",
    "SamplingParams",
    "check_structure",
    "check_together",
    "parameter_table",
]


def _tells_unknown(cls: Any) -> Any:
    """Let a dataclass say which of its keywords it does not know."""
    make = cls.__init__

    @functools.wraps(make)
    def checked(self: Any, *values: Any, **keywords: Any) -> None:
        for key, value in keywords.items():
            if key not in cls.__dataclass_fields__:
                hint = suggestion(key, PARAMETERS) or "Other keys of a request go into extra."
                seen = Seen(f"{key}={brief(value)}")
                raise ParameterError("keywords", "request parameters", seen, hint)
        make(self, *values, **keywords)

    cls.__init__ = checked
    return cls


@_tells_unknown
@dataclass(frozen=True, kw_only=True, repr=False)
class SamplingParams(BeyondParameters, PageParameters):
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

    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in {"extra": self.extra, **self.given()}.items():
            known = PARAMETERS.get(key)
            taken = known.check(values.plain(key, value)) if known else values.extra(value)
            object.__setattr__(self, key, taken)
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
    least, most = given.get("min_tokens", 0), given.get("max_tokens")
    if most is not None and least > most:
        raise ParameterError("min_tokens", f"at most max_tokens, {most}", least)
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

ENDINGS = tuple(
    key for key, known in PARAMETERS.items() if known.role == "ending" and known.origin != PAGE
)
"""Keys beyond the page that decide when a generation ends."""

USED = {key: known.used for key, known in PARAMETERS.items() if known.used is not None}
"""Values that change something, of every parameter that a chain is built from."""

UNSPELLED: dict[str, Any] = {"dry_sequence_breakers": (), "thinking_markers": ((), ())}
"""What defaults that are texts are as token ids, where no vocabulary spells them."""

NEUTRAL = {key: PARAMETERS[key].default for key in USED} | UNSPELLED
"""Values that change nothing: OpenRouter's documented defaults, beyond the page llama.cpp's."""


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
