"""`Engine`: from a request to a chain, to what it reports, to the token that it draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, overload

from logitlab.checks import FrozenDict, ParameterError, Range, check_choice, check_integer
from logitlab.engines.about import about
from logitlab.engines.reads import USED, names_read
from logitlab.engines.rules import (
    ABSENT,
    Ignore,
    LeftOut,
    Note,
    Option,
    Rule,
    Send,
    Target,
    Translation,
    Values,
    as_refusal,
    brief_number,
    refusal,
)
from logitlab.numerics import IntArray
from logitlab.request.keys import KNOWN, check_key, refuse_unknown
from logitlab.request.params import NEUTRAL, PARAMETERS, TWENTY, SamplingParams
from logitlab.request.whole import refuse_whole
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.step import SparseStep
from logitlab.steps.temperature import Temperature
from numpy.typing import ArrayLike

__all__ = [
    "ENGINES",
    "Engine",
    "EngineLike",
    "Given",
    "RequestLike",
    "engine",
    "get",
    "read_request",
]

RequestLike: TypeAlias = "SamplingParams | Mapping[str, Any]"
EngineLike: TypeAlias = "str | Engine"
Reports: TypeAlias = Literal["raw", "penalised", "tempered", "processed", "none", "undocumented"]

ENGINES: dict[str, Engine] = {}
"""All engines and their variants by name, in the order in which they were declared."""

_VOCABULARY = Range(1, integer=True)
_UNMODELLED = Ignore("it has no such parameter, or that is not modelled here")
_UNREAD = Ignore("its chain does not read it")


class Given(dict[str, Any]):
    """The keys of a request that are not None, the values of parameters in their types."""


@dataclass(frozen=True, eq=False, repr=False)
class Engine:
    """How one engine evaluates the request parameters: call it to get its chain.

    Attributes
    ----------
    name : str
        By which `translate`, `compare_engines` and the command line know it.
    build : callable
        Values to chain: the one expression.
    title : str
        The program and its version.
    source : str
        Where its rules were read.
    rules : mapping of str to tuple of Rule
        What it does with the values of documented keys, in order.
    defaults : mapping
        What it uses for absent keys, where that is not neutral.
    options : mapping of str to Option
        Request keys of its own.
    aliases : mapping of str to str
        Its own names of documented keys.
    join : callable
        What counts where a key and its alias are both given.
    logprobs : {"raw", "penalised", "tempered", "processed", "none", "undocumented"}
        Where its reported log-probabilities come from: the model's own logits, these after bias
        and penalties, after temperature, too, or what is drawn from.
    luck : callable, optional
        How it draws, where that can be repeated here.
    luck_note : str
        How it draws, in words.
    default_seed : int, optional
        The seed of a request without one, if it is always the same.
    variant_of : str
        The engine of which this is a variant, or "".
    is_page : bool
        Whether a request is one in the terms of OpenRouter's page, a `SamplingParams`.
    reads : frozenset of str
        The parameters that its chain is built from.
    is_bundled : bool
        Whether it comes with this package, and so is to know every parameter of the page.

    Examples
    --------
    >>> from logitlab import engines, SamplingParams
    >>> engines.vllm(SamplingParams(temperature=0.8, top_p=0.9))
    Chain(Temperature(0.8), TopP(0.9, ties='highest', sums='ascending'), precision='single')
    """

    name: str
    build: Callable[[Values], Chain]
    title: str = ""
    source: str = ""
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[Any, Any], Any] = lambda documented, alias: alias
    logprobs: Reports = "raw"
    luck: Callable[..., int] | None = None
    luck_note: str = ""
    default_seed: int | None = None
    variant_of: str = ""
    is_page: bool = False
    reads: frozenset[str] = field(default=frozenset(), init=False)
    is_bundled: bool = field(default=False, init=False)

    _absent: ClassVar[dict[str, Any]]
    _defaults: ClassVar[Mapping[str, Any]]
    _senders: ClassVar[set[str]]
    _own: ClassVar[frozenset[str]]

    def __post_init__(self) -> None:
        absent = NEUTRAL | {key: option.default for key, option in self.options.items()}
        unknown = {*self.defaults} - {*absent} | {*self.aliases.values()} - {*PARAMETERS}
        unknown |= {*self.rules} - {*PARAMETERS, *self.options}
        if unknown:
            whose = f"the declarations of {self.name}"
            raise ParameterError(whose, "about parameters that it can have", sorted(unknown))
        if not isinstance(self.name, str) or not hasattr(self.build, "__module__"):
            raise ParameterError("engine", "a name and a function", (self.name, self.build))
        order = {key: place for place, key in enumerate(absent)}
        defaults = dict(sorted(self.defaults.items(), key=lambda pair: order[pair[0]]))
        senders = {
            key for key, rules in self.rules.items() if any(isinstance(r, Send) for r in rules)
        }
        home = self.build.__module__
        is_bundled = home.startswith("logitlab.engines.") and home != __name__
        reads = names_read(self.build, absent, absent | USED)
        derived: dict[str, Any] = {"reads": reads, "is_bundled": is_bundled, "_absent": absent}
        derived |= {"_defaults": defaults, "_senders": senders, "_own": frozenset(self.own_keys)}
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        for key in self.own_keys:
            KNOWN.setdefault(key, False)
        silent = set(TWENTY) & NEUTRAL.keys() - self.reads - self.rules.keys()
        if silent and self.is_bundled:
            rule = "read, or declared by a rule, for every parameter of the page"
            raise ParameterError(f"the rules of {self.name}", rule, sorted(silent))

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Request keys that only this engine, or its like, knows."""
        return (*self.options, *self.aliases)

    def __call__(self, request: RequestLike, *, vocabulary_size: int | None = None) -> Chain:
        """Return the engine's chain for a request.

        Parameters
        ----------
        request : SamplingParams or mapping
            A mapping is a request body, which the engine's own rules judge, not OpenRouter's.
        vocabulary_size : int, optional
            For the rules that depend on it.

        Raises
        ------
        ParameterError
            For what the engine refuses, and for response_format, tools and verbosity where they
            would change the distribution: they act on a whole generation.
        """
        refuse_unknown(read_request(request))
        return self.chain_of(self.translate(request, vocabulary_size=vocabulary_size))

    def chain_of(self, translation: Translation) -> Chain:
        """Return the chain for what of a request arrived."""
        return self.build(Values(**translation.values)).without_neutral()

    def read(self, request: RequestLike) -> Given:
        """Return what a request gives, each value checked for its type.

        In terms of OpenRouter's page it is checked for its range, too.
        """
        if self.is_page and isinstance(request, Mapping):
            request = SamplingParams.from_request(request)
        return read_request(request)

    def translate(self, request: RequestLike, *, vocabulary_size: int | None = None) -> Translation:
        """Do `logitlab.translate`: tell what of a request reaches the engine."""
        if vocabulary_size is not None:
            check_integer("vocabulary_size", vocabulary_size, _VOCABULARY)
        try:
            given = self.read(request)
        except ParameterError as error:
            read_request(request)  # what no engine could read is the caller's mistake
            raise as_refusal(error, self.name) from None
        refuse_whole(given)
        return self.arrive(given, vocabulary_size)

    def arrive(self, given: Given, size: int | None) -> Translation:
        """Return what of a request that was read reaches the chain."""
        request: Mapping[str, Any] = given
        aliased: frozenset[str] = frozenset()
        notes: list[Note] = []
        if not self._own.isdisjoint(given):
            request, aliased = self._named(given, notes)
        temperature = request.get("temperature", self.defaults.get("temperature", 1))
        target = Target(self.name, size, temperature == 0, aliased, request)
        values: dict[str, Any] = {}
        keys: Iterable[str] = request
        if self._senders:
            # What is put to another use comes first, so that the rules of that use act on it.
            keys = sorted(request, key=self._senders.__contains__, reverse=True)
        for key in keys:
            self._arrive(key, request, target, values, notes)
        missing: dict[str, Any] = {}
        for key, default in self._defaults.items():
            if key not in request and key not in values:
                missing[key] = default
        if not self.is_bundled:
            # It may read some values only beside others, so that these very ones decide.
            reads = names_read(self.build, self._absent | missing | values)
            missing = {key: default for key, default in missing.items() if key in reads}
            for key in [key for key in values if key not in reads]:
                notes.append(_UNREAD.apply(key, values.pop(key), target)[1])
        for key, default in missing.items():
            rules = self.rules.get(key, ())
            if not any(isinstance(rule, LeftOut) and rule.why(request) for rule in rules):
                values[key] = default
                sentence = f"{key} is absent: {self.name} uses {brief_number(default)}."
                notes.append(Note(key, "default", sentence, None, default))
        return Translation(self.name, FrozenDict(self._absent | values), tuple(notes))

    def _named(self, given: Given, notes: list[Note]) -> tuple[dict[str, Any], frozenset[str]]:
        """Return what is given by documented names, and which of it came by others."""
        request = {key: value for key, value in given.items() if key in PARAMETERS}
        for key, value in given.items():
            if key in self.aliases:
                known = self.aliases[key]
                value = PARAMETERS[known].typed(value)
                request[known] = self.join(request[known], value) if known in request else value
            elif key in self.options:
                request[key] = self._option(key, value)
            else:
                request.setdefault(key, value)
        aliased = frozenset(self.aliases[key] for key in given if key in self.aliases)
        for key, value in given.items():
            known = self.aliases.get(key, key)
            if known in aliased and value != request[known]:
                sentence = f"{key} {brief_number(value)} is ignored by {self.name}: "
                sentence += f"{brief_number(request[known])} counts."
                notes.append(Note(key, "ignored", sentence, value))
        return request, aliased

    def _option(self, key: str, value: Any) -> Any:
        """Return the value of a key of the engine's own, or raise as the engine does."""
        option = self.options[key]
        try:
            return option.check(key, value)
        except ParameterError as error:
            says = option.says.format(value) if option.says else str(error)
            raise refusal(key, error.rule, value, self.name, says) from None

    def _arrive(
        self,
        key: str,
        request: Mapping[str, Any],
        target: Target,
        values: dict[str, Any],
        notes: list[Note],
    ) -> None:
        """Let the rules of a key act on its value, and file what comes out."""
        value = request[key]
        rules = self.rules.get(key, ())
        if key == "n":  # whoever writes a text counts its answers
            return
        if key not in PARAMETERS and key not in self.options:
            sentence = f"{key} is not modelled here, whatever {self.name} does with it."
            notes.append(Note(key, "unknown", sentence, value))
            return
        is_unread = key in NEUTRAL and key not in self.reads and not (rules and key in TWENTY)
        if is_unread and self.is_bundled:
            rules = (_UNMODELLED,)
        for rule in rules:
            value, note = rule.apply(key, value, target)
            if isinstance(rule, Send):
                if rule.key in request:
                    sentence = f"{key} is ignored by {self.name} beside {rule.key}."
                    note = Note(key, "ignored", sentence, request[key])
                else:
                    values[rule.key] = value
                value = ABSENT
            if note:
                notes.append(note)
            if value is ABSENT:
                return
        if key in self._absent:
            values[key] = value
            if self.is_page and key not in TWENTY:
                sentence = f"{key} is not on OpenRouter's page: it acts as defined by "
                sentence += f"{PARAMETERS[key].origin}."
                notes.append(Note(key, "beyond", sentence, value, value))

    def reported(self, request: RequestLike) -> Chain:
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
        return self.reported_of(self(request))

    def reported_of(self, chain: Chain) -> Chain:
        """Do `reported` for the chain of a request."""
        if self.logprobs in ("none", "undocumented"):
            rule = "one whose log-probabilities are known"
            raise ParameterError("engine", rule, self.name, f"They are {self.logprobs}.")
        if self.logprobs == "processed":
            return chain
        kinds = {"penalised": (SparseStep,), "tempered": (SparseStep, Temperature)}
        steps = (s for s in chain if isinstance(s, kinds.get(self.logprobs, ())))
        return chain.of(*(s for s in steps if not (isinstance(s, Temperature) and s.value == 0)))

    def draw(
        self,
        logits: ArrayLike,
        request: RequestLike,
        *,
        context: Context | None = None,
        seed: int | None = None,
        step: int | None = None,
    ) -> IntArray:
        """Draw the very token that this engine draws.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        request : SamplingParams or mapping
        context : Context, optional
            Without it this is the first token after a prompt of one.
        seed : int, optional
            None takes the seed of the request.
        step : int, optional
            How many tokens its generator has drawn, where that is not the length of the output.

        Returns
        -------
        ndarray of int64, shape (...)
            One token for each row, a number for a single one. Each row is a request of its own,
            with the same seed; `openrouter` numbers them, as `sample` does.

        Raises
        ------
        ParameterError
            If these draws cannot be repeated here, or for no seed, a bad request, bad logits.

        Examples
        --------
        >>> from logitlab import engines, Context
        >>> x = [0.0, 0.0, 0.0, 0.0]
        >>> [int(engines.vllm.draw(x, {}, seed=7, context=Context([1], [0] * n))) for n in range(5)]
        [2, 3, 3, 0, 3]
        """
        from logitlab.engines.draws import draw_rows

        if self.luck is None:
            hint = f"{self.name}: {self.luck_note}."
            raise ParameterError("engine", "one whose draws can be repeated", self.name, hint)
        return draw_rows(self, logits, request, context, seed, step)

    def __repr__(self) -> str:
        return f"<Engine {self.name}: {self.title}>"

    def __str__(self) -> str:
        return about(self)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By its name in its module, as functions are pickled: a worker imports it from there.
        return self.build.__qualname__


Build: TypeAlias = Callable[[Values], Chain]


@overload
def engine(build: Build) -> Engine: ...
@overload
def engine(**declarations: Any) -> Callable[[Build], Engine]: ...
def engine(build: Any = None, **declarations: Any) -> Any:
    """Make and register an `Engine` of a function from values to a chain, named by the function.

    Parameters
    ----------
    build : callable
        Takes values, one attribute for each parameter that shapes the distribution, and returns a
        chain. What it does not read, the engine does not have.
    **declarations
        Any of the other attributes of `Engine`.

    Returns
    -------
    Engine
        Known by its name wherever an engine is asked for, but not among those that
        `compare_engines` compares unless they are named.

    Raises
    ------
    ParameterError
        For a name that another engine has, or what builds no chain of parameters.

    Examples
    --------
    >>> from logitlab import Chain, Temperature, TopK, engines, sample
    >>> @engines.engine
    ... def cool(p):
    ...     return Chain(Temperature(p.temperature / 2), TopK(p.top_k))
    >>> cool({"temperature": 1, "top_k": 5})
    Chain(Temperature(0.5), TopK(5))
    >>> print(cool.translate({"top_p": 0.9}))
    top_p is ignored by cool: its chain does not read it.
    >>> int(sample([0.0, 9.0], {"temperature": 0.1}, engine="cool", seed=7).tokens)
    1
    >>> engines.ENGINES.pop("cool")  # it stays known until it is taken out
    <Engine cool: >
    """
    if build is None:
        return lambda build: engine(build, **declarations)
    if not hasattr(build, "__name__"):
        raise ParameterError("engine", "a function that returns a Chain", build)
    made = Engine(build.__name__, build, **declarations)
    for name in ("__doc__", "__module__", "__qualname__"):
        object.__setattr__(made, name, getattr(build, name))
    known = ENGINES.get(made.name)
    if known is not None and known.is_bundled:
        raise ParameterError("engine", "a function with a name of its own", made.name)
    ENGINES[made.name] = made
    return made


def get(engine: EngineLike) -> Engine:
    """Return an engine by its name; an engine is its own.

    Raises
    ------
    ParameterError
        For a name that is none of `ENGINES`.

    Examples
    --------
    >>> from logitlab import engines
    >>> engines.get("mlx_lm")
    <Engine mlx_lm: mlx-lm 0.32.2>
    """
    if isinstance(engine, Engine):
        return engine
    check_choice("engine", engine, ENGINES)
    return ENGINES[engine]


def read_request(request: Any) -> Given:
    """Return the keys of a request that are not None, each parameter checked for its type alone.

    What is wrong here no engine could read.
    """
    if isinstance(request, Given):
        return request
    if isinstance(request, SamplingParams):  # checked where it was written
        values: Mapping[str, Any] = {**vars(request), **request.extra, "extra": None}
        return Given({key: value for key, value in values.items() if value is not None})
    if not isinstance(request, Mapping):
        hint = "SamplingParams.from_request reads a request body."
        raise ParameterError("request", "SamplingParams or a request body", request, hint)
    given = {key: value for key, value in request.items() if value is not None}
    for key, value in given.items():
        check_key(key, value)
    return Given(
        {key: PARAMETERS[key].typed(x) if key in PARAMETERS else x for key, x in given.items()}
    )
