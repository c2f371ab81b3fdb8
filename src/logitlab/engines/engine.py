"""`Engine`: a recipe from a request to a chain, and `translate`: what of a request gets through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from logitlab.chain import Chain, SparseStep
from logitlab.checks import ParameterError, Range, check_integer, check_logits
from logitlab.context import Context
from logitlab.engines.declare import (
    ABSENT,
    DISTRIBUTION,
    NEUTRAL,
    Asked,
    Note,
    Rule,
    Send,
    Values,
    brief_number,
    typed,
)
from logitlab.engines.draws import Drawn, Place
from logitlab.numerics import IntArray
from logitlab.params import PARAMETERS, SamplingParams
from logitlab.sorted_chain import SortedChain
from logitlab.transforms.temperature import Temperature
from numpy.typing import ArrayLike

__all__ = ["Engine", "Option", "RequestLike", "Translation", "engine", "translate_request"]

RequestLike: TypeAlias = "SamplingParams | Mapping[str, Any]"


_MADE: dict[str, Engine] = {}  # by name, so that engines survive pickling


@dataclass(frozen=True)
class Option:
    """A request key of an engine's own: its default, and ``check(key, value)``."""

    default: Any
    check: Callable[[str, Any], Any]


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
class Engine:
    """How one engine evaluates the request parameters: call it to get its chain.

    Attributes
    ----------
    name : str
        By which `translate`, `compare_engines` and the command line know it.
    title : str
        The program and its version.
    source : str
        The file or page that the recipe was read in.
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
    logprobs : {"raw", "penalised", "tempered", "processed", "none", "undocumented"}
        Where its reported log-probabilities come from: the model's own logits, these after bias
        and penalties, after temperature, too, or what is drawn from.
    luck : callable, optional
        How it draws, where that can be repeated here.
    luck_note : str
        How it draws, in words.
    unset_seeds : tuple of int
        Seeds that mean none.
    default_seed : int, optional
        The seed of a request without one, if it is always the same.

    Examples
    --------
    >>> from logitlab import engines, SamplingParams
    >>> engines.vllm(SamplingParams(temperature=0.8, top_p=0.9))
    Chain(Temperature(0.8), TopP(0.9, ties='highest', sums='ascending'), precision='single')
    >>> engines.vllm
    <Engine vllm: vLLM 0.32.0, V1 sampler in torch>
    """

    name: str
    title: str
    source: str
    build: Callable[[Values], Chain]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[Any, Any], Any] = lambda documented, alias: alias
    logprobs: str = "raw"
    luck: Callable[..., int] | None = None
    luck_note: str = ""
    unset_seeds: tuple[int, ...] = ()
    default_seed: int | None = None

    def __call__(self, params: RequestLike) -> Chain:
        """Return the engine's chain for a request.

        Parameters
        ----------
        params : SamplingParams or mapping
            A mapping is a request body: its values may lie outside OpenRouter's ranges, and the
            engine's own rules decide.

        Raises
        ------
        ParameterError
            For what the engine refuses, and for response_format, tools and verbosity where they
            would change the distribution: they act on a whole generation.
        """
        return self.chain_of(translate_request(params, self))

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Request keys that only this engine, or its like, knows."""
        return (*self.options, *self.aliases)

    def chain_of(self, translation: Translation) -> Chain:
        """Return the chain for what of a request arrived."""
        return self.build(Values(**translation.values)).without_neutral()

    def reported(self, params: RequestLike) -> Chain:
        """Return the chain whose result this engine reports as log-probabilities.

        Raises
        ------
        ParameterError
            If it reports none, or does not say which.

        Examples
        --------
        >>> from logitlab import engines, SamplingParams
        >>> engines.sglang.reported(SamplingParams(temperature=0.8, top_p=0.9))
        Chain(Temperature(0.8), precision='single')
        """
        if self.logprobs in ("none", "undocumented"):
            rule = "one whose log-probabilities are known"
            raise ParameterError("engine", rule, self.name, f"They are {self.logprobs}.")
        chain = self(params)
        if self.logprobs == "processed":
            return chain
        kinds: dict[str, tuple[type, ...]] = {
            "raw": (),
            "penalised": (SparseStep,),
            "tempered": (SparseStep, Temperature),
        }
        steps = (s for s in chain if isinstance(s, kinds[self.logprobs]))
        return chain.of(*(s for s in steps if not (isinstance(s, Temperature) and s.value == 0)))

    def draw(
        self,
        logits: ArrayLike,
        params: RequestLike,
        *,
        context: Context | None = None,
        seed: int | None = None,
        step: int | None = None,
    ) -> IntArray:
        """Draw the very token that this engine draws.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        params : SamplingParams or mapping
        context : Context, optional
            The tokens so far: they tell how far an engine is. Without them this is the first token
            after a prompt of one.
        seed : int, optional
            None takes the seed of the request.
        step : int, optional
            How many tokens the generator of this request has drawn, where that is not the length
            of the output.

        Returns
        -------
        ndarray of int64, shape (...)
            One token for each row; each row is a sequence of its own with the same seed.

        Raises
        ------
        ParameterError
            If this engine's draws cannot be repeated here, there is no seed, or the request or
            the logits are wrong.

        Examples
        --------
        >>> from logitlab import engines, Context
        >>> x = [0.0, 0.0, 0.0, 0.0]
        >>> [int(engines.vllm.draw(x, {}, seed=7, context=Context([1], [0] * n))) for n in range(5)]
        [2, 3, 3, 0, 3]
        """
        if self.luck is None:
            hint = f"{self.name}: {self.luck_note}."
            raise ParameterError("engine", "one whose draws can be repeated", self.name, hint)
        array = check_logits(logits)
        seed = self._seed(params, seed)
        chain = self(params)
        final = chain(array, context)
        rows = final.reshape(-1, final.shape[-1])
        if isinstance(chain, SortedChain):
            orders = chain.order(array, context)
        else:
            orders = [np.flatnonzero(row > -np.inf) for row in rows]
        places = _places(context, array.shape)
        if step is not None:
            step = check_integer("step", step, Range(0, 2**31, integer=True))
            places = [place._replace(step=step) for place in places]
        tokens = [
            self.luck(Drawn(row, order, chain), seed, place)
            for row, order, place in zip(rows, orders, places, strict=True)
        ]
        return np.array(tokens, np.int64).reshape(array.shape[:-1])[()]

    def _seed(self, params: RequestLike, seed: int | None) -> int:
        given = params.seed if isinstance(params, SamplingParams) else params.get("seed")
        used = given if seed is None else seed
        if used is None or used in self.unset_seeds:
            used = self.default_seed
        rule = Range(integer=True)
        if used is None:
            hint = f"{self.name} takes a fresh one then, which cannot be repeated."
            raise ParameterError("seed", rule.rule(), given if seed is None else seed, hint)
        return check_integer("seed", used, rule)

    def __repr__(self) -> str:
        return f"<Engine {self.name}: {self.title}>"

    def __str__(self) -> str:
        rules = {
            key: "; ".join(rule.describe() for rule in rules) for key, rules in self.rules.items()
        }
        empty = ", ".join(f"{key} {brief_number(value)}" for key, value in self.defaults.items())
        lines = {
            f"{self.name}": self.title,
            "read in": self.source,
            "empty request": empty or "neutral",
            **{key: words.replace("{V}", "V") for key, words in rules.items() if words},
            "temperature 0, 1e-7, 0.001": ", ".join(map(self._temperature, (0, 1e-7, 1e-3))),
            "own keys": ", ".join(self.own_keys),
            "log-probabilities": _REPORTED[self.logprobs],
            "draws": ("repeated here: " if self.luck else "") + self.luck_note,
        }
        return "\n".join(f"{key}: {words}" for key, words in lines.items() if words)

    def _temperature(self, t: float) -> str:
        """Say what a temperature becomes."""
        try:
            used = translate_request({"temperature": t}, self).values["temperature"]
        except ParameterError:
            return "refused"
        return brief_number(used) if used else "greedy"

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.name,)


_REPORTED = {
    "none": "none",
    "undocumented": "undocumented",
    "raw": "of the model's own logits",
    "penalised": "after bias and penalties",
    "tempered": "after bias, penalties and temperature",
    "processed": "of what is drawn from",
}


def _places(context: Context | None, shape: tuple[int, ...]) -> list[Place]:
    """Return where each row of a batch is drawn."""
    batch = shape[:-1]
    if context is None:
        return [Place(0, 0)] * math.prod(batch)
    prompt, output = (
        np.count_nonzero(context.tokens(name, batch, shape[-1]) >= 0, axis=-1).ravel().tolist()
        for name in ("prompt", "output")
    )
    return [Place(n, m + n - 1) for m, n in zip(prompt, output, strict=True)]


def _named(name: str) -> Engine:
    return _MADE[name]


def engine(**declarations: Any) -> Callable[[Callable[[Values], Chain]], Engine]:
    """Make an `Engine` of a function from values to a chain, named by the function."""

    def made(build: Callable[[Values], Chain]) -> Engine:
        result = Engine(name=build.__name__, build=build, **declarations)
        object.__setattr__(result, "__doc__", build.__doc__)
        _MADE[result.name] = result
        return result

    return made


# ---------------------------------------------------------------- from request to values


def translate_request(params: RequestLike, engine: Engine, size: int | None = None) -> Translation:
    """Do `logitlab.engines.translate` for an engine."""
    request = _request(params, engine)
    _refuse_generation_parameters(request)
    notes: list[Note] = []
    arrived: dict[str, Any] = {}
    # What is put to another use comes first, so that the rules of that use act on it.
    senders = [key for key in request if _sent(engine, key)]
    temperature = request.get("temperature", engine.defaults.get("temperature", 1))
    asked = Asked(engine.name, size, temperature == 0)
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
    return Translation(engine.name, MappingProxyType(arrived), tuple(notes))


def _sent(engine: Engine, key: str) -> bool:
    return any(isinstance(rule, Send) for rule in engine.rules.get(key, ()))


def _arrive(
    key: str,
    request: dict[str, Any],
    engine: Engine,
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
        sentence = f"{key} is none of the documented keys, nor one of {engine.name}'s own."
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


def _request(params: RequestLike, engine: Engine) -> dict[str, Any]:
    """Return the given keys, each of its type, aliases resolved."""
    if isinstance(params, SamplingParams):
        given = {**params.given(), **params.extra}
    elif isinstance(params, Mapping):
        given = {key: value for key, value in params.items() if value is not None}
    else:
        hint = "SamplingParams.from_request reads a request body."
        raise ParameterError("params", "SamplingParams or a request body", params, hint)
    request = {key: typed(key, value) for key, value in given.items() if key in PARAMETERS}
    for key, value in given.items():
        if key in engine.aliases:
            known = engine.aliases[key]
            value = typed(known, value)
            request[known] = engine.join(request[known], value) if known in request else value
        elif key in engine.options:
            request[key] = engine.options[key].check(key, value)
        else:
            request.setdefault(key, value)
    return request


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
