"""`Recipe`: what an engine does with a request before its chain, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from logitlab.checks import FrozenDict, ParameterError, Range, check_integer
from logitlab.engines.rules import (
    ABSENT,
    DISTRIBUTION,
    NEUTRAL,
    Asked,
    Note,
    Rule,
    Send,
    brief_number,
    refusal,
    typed,
)
from logitlab.request.params import PARAMETERS, SamplingParams

__all__ = [
    "Option",
    "Recipe",
    "RequestLike",
    "Translation",
    "check_request",
    "given_keys",
    "translated",
]

RequestLike: TypeAlias = "SamplingParams | Mapping[str, Any]"


@dataclass(frozen=True)
class Option:
    """A request key of an engine's own: its default, ``check(key, value)``, and its error text.

    ``{}`` in the text stands for the value.
    """

    default: Any
    check: Callable[[str, Any], Any]
    says: str = ""


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
    """

    engine: str
    values: Mapping[str, Any]
    notes: tuple[Note, ...]

    def __str__(self) -> str:
        return "\n".join(note.sentence for note in self.notes) or "everything arrives as it is"


@dataclass(frozen=True, eq=False, repr=False)
class Recipe:
    """The names, defaults, rules and own keys of an engine.

    Attributes
    ----------
    name : str
        By which `translate`, `compare_engines` and the command line know it.
    title : str
        The program and its version.
    source : str
        The file or page that it was read in.
    defaults : mapping
        What an absent key means, where that is not neutral.
    rules : mapping of str to tuple of Rule
        What happens to the value of a key on its way in.
    options : mapping of str to Option
        Request keys of the engine's own.
    aliases : mapping of str to str
        Other names of documented keys.
    join : callable
        Which value counts if a request has both: by default that of the other name.
    """

    name: str
    title: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[Any, Any], Any] = lambda documented, alias: alias

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Request keys that only this engine, or its like, knows."""
        return (*self.options, *self.aliases)


def translated(params: RequestLike, engine: Recipe, size: int | None = None) -> Translation:
    """Do `logitlab.engines.translate` for an engine."""
    if size is not None:
        check_integer("vocabulary_size", size, Range(1, integer=True))
    request = _request(params, engine)
    aliased, notes = _aliased(params, request, engine)
    arrived: dict[str, Any] = {}
    # What is put to another use comes first, so that the rules of that use act on it.
    senders = [key for key in request if _sent(engine, key)]
    temperature = request.get("temperature", engine.defaults.get("temperature", 1))
    asked = Asked(engine.name, size, temperature == 0, aliased)
    for key in senders:
        _arrive(key, request, engine, asked, arrived, notes)
    for key in [key for key in request if key not in senders]:
        _arrive(key, request, engine, asked, arrived, notes)
    for key in (*DISTRIBUTION, *engine.options):
        if key in arrived:
            continue
        default = engine.options[key].default if key in engine.options else NEUTRAL[key]
        arrived[key] = default if key in request else engine.defaults.get(key, default)
        if key not in request and key in engine.defaults:
            sentence = f"{key} is absent: {engine.name} uses {brief_number(arrived[key])}."
            notes.append(Note(key, "default", sentence, None, arrived[key]))
    return Translation(engine.name, FrozenDict(arrived), tuple(notes))


def _sent(engine: Recipe, key: str) -> bool:
    return any(isinstance(rule, Send) for rule in engine.rules.get(key, ()))


def _arrive(
    key: str,
    request: dict[str, Any],
    engine: Recipe,
    asked: Asked,
    arrived: dict[str, Any],
    notes: list[Note],
) -> None:
    """Let the rules of a key act on its value, and file what comes out."""
    value = request[key]
    if key in engine.options:
        arrived[key] = value
        return
    if key not in PARAMETERS:
        sentence = f"{key} is not modelled here, whatever {engine.name} does with it."
        notes.append(Note(key, "unknown", sentence, value))
        return
    for rule in engine.rules.get(key, ()):
        value, note = rule.apply(key, value, asked)
        if isinstance(rule, Send):
            if rule.key in request:
                sentence = f"{key} is ignored by {engine.name} beside {rule.key}."
                note = Note(key, "ignored", sentence, request[key])
            else:
                arrived[rule.key] = value
            value = ABSENT
        if note:
            notes.append(note)
        if value is ABSENT:
            return
    if key in DISTRIBUTION:
        arrived[key] = value


def given_keys(params: RequestLike) -> dict[str, Any]:
    """Return what a request says, without the keys that are None, or raise `ParameterError`."""
    if isinstance(params, SamplingParams):
        params = {**params.given(), **params.extra}
    if not isinstance(params, Mapping):
        hint = "SamplingParams.from_request reads a request body."
        raise ParameterError("params", "SamplingParams or a request body", params, hint)
    return {key: value for key, value in params.items() if value is not None}


def check_request(params: RequestLike) -> dict[str, Any]:
    """Return the given keys, the documented ones each of its type, or raise `ParameterError`.

    What is wrong here no engine could read.
    """
    given = given_keys(params)
    request = {
        key: typed(key, value) if key in PARAMETERS else value for key, value in given.items()
    }
    _refuse_generation_parameters(request)
    return request


def _request(params: RequestLike, engine: Recipe) -> dict[str, Any]:
    """Return the given keys, aliases resolved."""
    given = check_request(params)
    request = {key: value for key, value in given.items() if key in PARAMETERS}
    for key, value in given.items():
        if key in engine.aliases:
            known = engine.aliases[key]
            named = typed(known, value)
            request[known] = engine.join(request[known], named) if known in request else named
        elif key in engine.options:
            request[key] = _own(key, value, engine)
        else:
            request.setdefault(key, value)
    return request


def _aliased(params: RequestLike, request: Mapping[str, Any], engine: Recipe) -> tuple[Any, ...]:
    """Return the keys that came under other names, and notes on values that these overrule."""
    given = given_keys(params)
    known = {engine.aliases[key] for key in given if key in engine.aliases}
    notes = [
        Note(key, "ignored", f"{key} {brief_number(value)} is ignored by {engine.name}: "
             f"{brief_number(request[known_as])} counts.", value)
        for key, value in given.items()
        for known_as in [engine.aliases.get(key, key)]
        if known_as in known and value != request[known_as]
    ]  # fmt: skip
    return frozenset(known), notes


def _own(key: str, value: Any, engine: Recipe) -> Any:
    """Return the value of a key of the engine's own, or raise as the engine does."""
    option = engine.options[key]
    try:
        return option.check(key, value)
    except ParameterError as error:
        says = option.says.format(value) if option.says else str(error)
        raise refusal(key, error.rule, value, engine.name, says) from None


def _refuse_generation_parameters(request: Mapping[str, Any]) -> None:
    """Raise for a parameter whose effect on the distribution no single step can have."""
    harmless = {
        "response_format": request.get("response_format") in (None, {"type": "text"}),
        "tools": not request.get("tools") or request.get("tool_choice") == "none",
        "verbosity": request.get("verbosity") in (None, "medium"),
    }
    for key, absent in harmless.items():
        if not absent:
            hint = f"{PARAMETERS[key].sentence[:-1]}: that acts on a whole generation."
            rule = "absent where single tokens are sampled"
            raise ParameterError(key, rule, request[key], hint)
