"""A request made ready for the loop: its chain, what it reports, and where it ends."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from logitlab.checks import FrozenDict, ParameterError, Seen
from logitlab.constraints import Constraint, Tools, constraint_of, marker_ids
from logitlab.engines import Engine, Note, translate
from logitlab.engines.translation import RequestLike, given_keys
from logitlab.generation.result import Asked, Options
from logitlab.models.model import Model
from logitlab.request.params import PARAMETERS, SamplingParams
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain, RowStep, Transform
from logitlab.vocabulary import Vocabulary

__all__ = ["LOGPROBS_MODES", "Prepared", "prepare", "unspelled"]

LOGPROBS_MODES = ("engine", "raw", "processed")

# What acts on a whole generation is none of an engine's business with a token.
_WHOLE = {key for key, p in PARAMETERS.items() if p.role == "structure"} | {"verbosity"}
# Verbosity multiplies the odds of ending: the size of its bias, by its word.
_VERBOSITY = {"low": 1.0, "medium": 0.0, "high": -1.0}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request made ready.

    Attributes
    ----------
    params : SamplingParams, mapping, Transform or None
    options : Options
        As they were given.
    chain : Chain
        From the model's logits to the distribution that is drawn from.
    counts : bool
        Whether the chain looks at the tokens so far.
    tools : tuple of mapping
        What a chat template is told of.
    constraint : Constraint or None
        Which tokens may come next, before anything else is done to the logits.
    reported : Chain or None
        What the log-probabilities are of, if any are asked for.
    is_raw : bool
        Whether they are of the model's own logits, before the constraint, too.
    top_logprobs : int
    max_tokens : int or None
    stop : tuple of str
    seed : int or None
    notes : tuple of Note
    """

    params: Asked
    options: Options
    chain: Chain
    counts: bool
    tools: tuple[Mapping[str, Any], ...]
    constraint: Constraint | None
    reported: Chain | None
    is_raw: bool
    top_logprobs: int
    max_tokens: int | None
    stop: tuple[str, ...]
    seed: int | None
    notes: tuple[Note, ...]


def _merged(params: Asked, added: Mapping[str, Any], engine: Engine) -> RequestLike | Transform:
    """Return a request with keywords of the call in place of its own values."""
    known = {*PARAMETERS, *engine.own_keys}
    for key, value in added.items():
        if key not in known:
            raise ParameterError("keywords", "request parameters", Seen(f"{key}={value!r}"))
        # What acts on logits is in the chain already.
        if isinstance(params, Transform) and (
            key not in PARAMETERS or PARAMETERS[key].role == "distribution"
        ):
            raise ParameterError(key, "a step of the chain where one is given", value)
    if isinstance(params, SamplingParams):
        own = {key: value for key, value in added.items() if key not in PARAMETERS}
        documented = {key: value for key, value in added.items() if key in PARAMETERS}
        return dataclasses.replace(params, **documented, extra={**params.extra, **own})
    if isinstance(params, Transform):
        return params
    if params is not None and not isinstance(params, Mapping):
        raise ParameterError("params", "SamplingParams, a request body, a chain or None", params)
    request = {**(params or {}), **added}
    return SamplingParams.from_request(request) if engine.name == "openrouter" else request


def prepare(model: Model, params: Asked, options: Options) -> Prepared:
    """Return a request made ready for a model, or raise for whatever is wrong with it."""
    engine = options.engine
    asked = _merged(params, options.parameters, engine)
    request = given_keys(options.parameters if isinstance(asked, Transform) else asked)
    settings = _settings(request)
    bias = _ending_bias(model, settings.verbosity, options.verbosity_bias)
    if isinstance(asked, Transform):
        steps = asked if isinstance(asked, Chain) else Chain(asked)
        _check_steps(steps)
        chain = steps.of(LogitBias(bias), *steps) if bias else steps
        notes: tuple[Note, ...] = ()
        reports = options.logprobs_mode if options.logprobs_mode != "engine" else "raw"
    else:
        chain, notes = _engine_chain(model, asked, request, engine, bias)
        reports = options.logprobs_mode
    reported = None
    if settings.logprobs:
        reported = Chain() if reports == "raw" else chain
        if reports == "engine":
            reported = engine.reported_of(chain)
    size = len(model.vocabulary)
    top = settings.top_logprobs or 0
    if top > size:
        raise ParameterError("top_logprobs", f"at most the {size} tokens of the model", top)
    return Prepared(
        # The caller's own map may change before the text is resumed.
        params=copy.deepcopy(params) if isinstance(params, Mapping) else params,
        options=options,
        chain=chain,
        counts=not all(isinstance(step, RowStep | LogitBias) for step in chain),
        tools=() if request.get("tool_choice") == "none" else tuple(request.get("tools", ())),
        constraint=_constraint(request, options.constraint),
        reported=reported,
        is_raw=reports == "raw" or (reports == "engine" and engine.logprobs == "raw"),
        top_logprobs=top,
        max_tokens=settings.max_tokens,
        stop=tuple(settings.stop or ()),
        seed=settings.seed,
        notes=notes,
    )


def _settings(request: Mapping[str, Any]) -> SamplingParams:
    """Return the parameters that act on a whole generation, checked."""
    roles = {key: PARAMETERS[key].role for key in request if key in PARAMETERS}
    whole = {key for key, role in roles.items() if role in ("draw", "ending", "report")}
    return SamplingParams(**{key: request[key] for key in whole})


def unspelled(constraint: Constraint | None, vocabulary: Vocabulary) -> frozenset[int]:
    """Return the tokens that leave nothing in a text: the special ones that mark no call."""
    marks = marker_ids(vocabulary) if isinstance(constraint, Tools) else frozenset()
    return vocabulary.special - marks


def _constraint(request: Mapping[str, Any], given: Constraint | None) -> Constraint | None:
    asked = constraint_of(request)
    calls_nothing = isinstance(asked, Tools) and asked.tool_choice == "none"
    if given is None or asked is None or calls_nothing:
        return given or asked
    hint = "The request has response_format or tools, which are a constraint of their own."
    raise ParameterError("constraint", "absent beside these", given, hint)


def _ending_bias(model: Model, verbosity: str | None, size: float) -> dict[int, float]:
    """Return what verbosity adds to the logits of the tokens that end a text."""
    amount = _VERBOSITY[verbosity or "medium"] * size
    return dict.fromkeys(sorted(model.end_ids), amount) if amount else {}


def _engine_chain(
    model: Model,
    asked: RequestLike,
    request: Mapping[str, Any],
    engine: Engine,
    bias: Mapping[int, float],
) -> tuple[Chain, tuple[Note, ...]]:
    """Return the engine's chain, with verbosity as a bias, and what it says of the request."""
    plain: Any = {key: value for key, value in request.items() if key not in _WHOLE}
    if isinstance(asked, SamplingParams):
        absent: dict[str, Any] = dict.fromkeys(_WHOLE)
        plain = dataclasses.replace(asked, **absent)
    translation = translate(plain, engine, vocabulary_size=len(model.vocabulary))
    values = dict(translation.values)
    both = dict(values["logit_bias"] or {})
    for token, amount in bias.items():
        both[token] = both.get(token, 0.0) + amount
    values["logit_bias"] = FrozenDict(both)
    arrived = dataclasses.replace(translation, values=FrozenDict(values))
    return engine.chain_of(arrived), translation.notes


def _check_steps(chain: Chain) -> None:
    for step in chain:
        value = getattr(step, "value", None)
        if getattr(value, "ndim", 0) or (isinstance(step, LogitBias) and _has_arrays(step)):
            hint = "Give one request for each row instead."
            raise ParameterError("params", "a chain of steps with one value each", step, hint)


def _has_arrays(step: LogitBias) -> bool:
    return any(getattr(value, "ndim", 0) for value in step.bias.values())
