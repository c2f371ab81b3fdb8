"""`Engine`: from a request to a chain, to what it reports, to the token that it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias

from logitlab.arrays import IntArray
from logitlab.checks import ParameterError, Range, Seen, check_integer
from logitlab.engines.about import about
from logitlab.engines.arrival import arrive
from logitlab.engines.dialect import Dialect
from logitlab.engines.generation_config import GenerationConfig
from logitlab.engines.given import Given, read_request
from logitlab.engines.reads import names_read
from logitlab.engines.rules import (
    Ignore,
    Option,
    RefusalError,
    Refuse,
    Rule,
    Send,
    Translation,
    Values,
    as_refusal,
    as_written,
)
from logitlab.engines.schemas import PLAIN, Schema
from logitlab.engines.spelling import Encode, Lexicon, Spelling, VocabularyLike, check_spelt
from logitlab.engines.together import Fields, Together
from logitlab.request.keys import KNOWN, refuse_unknown
from logitlab.request.params import (
    ENDINGS,
    NEUTRAL,
    PARAMETERS,
    TWENTY,
    USED,
    SamplingParams,
    check_structure,
)
from logitlab.request.whole import READ, refuse_answers, refuse_whole
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context
from logitlab.steps.state import State
from logitlab.steps.step import SparseStep
from logitlab.steps.temperature import Temperature
from numpy.typing import ArrayLike

__all__ = [
    "Engine",
    "RequestLike",
]

RequestLike: TypeAlias = "SamplingParams | Mapping[str, Any]"
Reported: TypeAlias = Literal["raw", "penalised", "tempered", "processed", "none", "undocumented"]

_VOCABULARY = Range(1, integer=True)
_MOST_CHAINS = 256  # that an engine remembers, since requests come again and building takes long


@dataclass(frozen=True, eq=False, repr=False)
class Engine:
    """How one engine evaluates the request parameters: call it to get its chain.

    Attributes
    ----------
    name : str
        By which `translate`, `compare_engines` and the command line know it.
    build : callable
        Values to chain: the one expression.
    title, source : str
        The program and its version, and where its rules were read.
    rules : mapping of str to tuple of Rule
        What it does with the values of documented keys, in order.
    defaults : mapping
        What it uses for absent keys, where that is not neutral.
    together : tuple of Together or Fields
        What it refuses of a request as a whole.
    schema : Schema
        How it reads values that are not in the types of their parameters.
    generation_config : GenerationConfig, optional
        What it reads of a model's file, where it has an option of that name.
    options : mapping of str to Option
        Request keys of its own.
    deployed : mapping
        Values of these keys for requests without them: `with_options` gives them.
    aliases : mapping of str to str
        Its own names of documented keys, and others of its options: `join` gets them in order.
    join : callable
        What counts where a key and its alias are both given.
    logprobs : {"raw", "penalised", "tempered", "processed", "none", "undocumented"}
        Where its reported log-probabilities come from: the model's own logits, these after bias
        and penalties, after temperature, too, or what is drawn from.
    tops_alone : bool
        Whether it reports ``top_logprobs`` where ``logprobs`` are not asked for, too.
    luck : callable, optional
        How it draws, where that can be repeated here; ``luck_note`` says it in words.
    coin : callable, optional
        How its coins fall, where that can be repeated, too.
    default_seed : int, optional
        The seed of a request without one, if it is always the same.
    variant_of : str
        The engine of which this is a variant, or "".
    dialect : Dialect
        How its server words an answer to a chat completion request.
    spelling : Spelling
        How it makes token ids of the texts of a request.
    endings : tuple of str
        Which of the parameters beyond the page that end a generation it has, beside those that its
        chain is built from. None is all of them for the page and for an engine of your own.
    is_page : bool
        Whether a request is one in the terms of OpenRouter's page, a `SamplingParams`.
    reads : frozenset of str
        The parameters that its chain is built from.
    is_bundled : bool
        Whether it comes with this package, and so is to know every parameter of the page.

    Examples
    --------
    >>> from logitlab import engines, SamplingParams
    >>> engines.mlx_lm(SamplingParams(temperature=0.8, top_p=0.9)).steps[1:]
    (TopP(0.9, ties='all'), Temperature(0.8, reciprocal=True))
    """

    name: str
    build: Callable[[Values], Chain]
    title: str = ""
    source: str = ""
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    together: tuple[Together | Fields, ...] = ()
    schema: Schema = PLAIN
    generation_config: GenerationConfig | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    deployed: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[str, Any, Any], Any] = lambda key, documented, alias: alias
    logprobs: Reported = "raw"
    tops_alone: bool = False
    luck: Callable[..., int] | None = None
    coin: Callable[..., bool] | None = None
    luck_note: str = ""
    default_seed: int | None = None
    variant_of: str = ""
    dialect: Dialect = field(default_factory=Dialect)
    spelling: Spelling = field(default_factory=Spelling)
    endings: tuple[str, ...] | None = None
    is_page: bool = False
    reads: frozenset[str] = field(default=frozenset(), init=False)
    is_bundled: bool = field(default=False, init=False)

    # Derived from these, for whatever reads a request.
    absent: ClassVar[dict[str, Any]]
    ordered_defaults: ClassVar[Mapping[str, Any]]
    senders: ClassVar[set[str]]
    own: ClassVar[frozenset[str]]
    _chains: ClassVar[dict[frozenset[Any], Chain]]
    _made_of: ClassVar[tuple[Any, ...]] = ()

    def __post_init__(self) -> None:
        absent = NEUTRAL | {key: option.default for key, option in self.options.items()}
        known = {*PARAMETERS, *self.options}
        unknown = {*self.defaults} - {*absent}
        unknown |= {*self.aliases.values(), *self.rules} - known
        unknown |= {*(self.endings or ())} - {*ENDINGS}
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
        is_bundled = home.startswith("logitlab.engines.") and home != "logitlab.engines.registry"
        reads = names_read(self.build, absent, absent | USED)
        derived: dict[str, Any] = {"reads": reads, "is_bundled": is_bundled, "absent": absent}
        derived |= {"ordered_defaults": defaults, "senders": senders}
        derived |= {"own": frozenset(self.own_keys), "_chains": {}}
        if self.endings is None:
            derived["endings"] = ENDINGS if self.is_page or not is_bundled else ()
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

    @property
    def tells_logprobs(self) -> bool:
        """Whether it reports log-probabilities, and says of what they are."""
        return self.logprobs not in ("none", "undocumented")

    def __call__(
        self,
        request: RequestLike,
        *,
        vocabulary_size: int | None = None,
        vocabulary: VocabularyLike = None,
    ) -> Chain:
        """Return the engine's chain for a request.

        Parameters
        ----------
        request : SamplingParams or mapping
            A mapping is a request body, which the engine's own rules judge, not OpenRouter's.
        vocabulary_size : int, optional
            For the rules that depend on it.
        vocabulary : Model or Vocabulary, optional
            What spells the texts of a request in token ids.

        Raises
        ------
        ParameterError
            For what the engine refuses, and for response_format, tools and verbosity where they
            would change the distribution: they act on a whole generation. So does n above 1.
        """
        given, translation = self.translated(request, vocabulary_size, vocabulary)
        refuse_unknown(note.key for note in translation.notes if note.effect == "unknown")
        refuse_answers(given)  # after the engine, which may refuse several in its own words
        return self.chain_of(translation)

    def chain_of(self, translation: Translation) -> Chain:
        """Return the chain for what of a request arrived, once all of it is spelt."""
        values, absent = translation.values, self.absent
        given = [(key, type(x), x) for key, x in values.items() if x is not absent.get(key)]
        try:
            key = frozenset(given)
            known = self._chains.get(key)
        except TypeError:  # a map or an array has no hash
            key, known = None, None
        if known is not None:
            return known
        try:
            check_spelt(self, values)
            chain = self.build(Values(**values)).without_neutral()
        except ParameterError as error:
            if not translation.written:
                raise
            raise as_written(error, translation.written) from None
        if key is not None and self.is_bundled:  # another's may read more than its values
            if len(self._chains) == _MOST_CHAINS:
                self._chains.clear()
            self._chains[key] = chain
        return chain

    def read(self, request: RequestLike, encode: Encode | None = None) -> Given:
        """Return what a request gives, each value checked for its type.

        In terms of OpenRouter's page it is checked for its range, too. ``encode`` is for a schema
        that tokenises the keys of a bias.
        """
        if self.is_page and isinstance(request, Mapping):
            request = SamplingParams.from_request(request)
        given = read_request(request)
        if given.unread or given.nulls:
            given = self.schema.read(given, self.name, self._has, encode)
        return given

    def _has(self, key: str) -> bool:
        """Whether its schema reads a key: of those that shape a distribution what its chain has."""
        if any(isinstance(each, Fields) and key not in each.names for each in self.together):
            return False
        rules = self.rules.get(key, ())
        if any(isinstance(rule, Refuse) for rule in rules):  # it looks at what it may ignore then
            return True
        is_ignored = any(isinstance(rule, Ignore) for rule in rules)
        return READ[key].role != "distribution" or (key in self.reads and not is_ignored)

    def translate(
        self,
        request: RequestLike,
        *,
        vocabulary_size: int | None = None,
        vocabulary: VocabularyLike = None,
    ) -> Translation:
        """Do `logitlab.translate`: tell what of a request reaches the engine."""
        return self.translated(request, vocabulary_size, vocabulary)[1]

    def translated(
        self,
        request: RequestLike,
        vocabulary_size: int | None,
        vocabulary: VocabularyLike = None,
    ) -> tuple[Given, Translation]:
        """Return what a request gives, too."""
        if vocabulary_size is not None:
            vocabulary_size = check_integer("vocabulary_size", vocabulary_size, _VOCABULARY)
        lexicon = Lexicon.of(vocabulary)
        if lexicon is not None and vocabulary_size is None:
            vocabulary_size = len(lexicon.vocabulary)
        try:
            given = self.read(request, lexicon and lexicon.bias_encode)
        except ParameterError as error:
            # What is in the wrong type is the caller's mistake, if nothing else reads it.
            if not self.is_page or read_request(request).unread:
                raise
            raise as_refusal(error, self.name) from None
        if not self.is_page:
            check_structure(given)
        refuse_whole(given)
        return given, self.arrive(given, vocabulary_size, lexicon)

    def arrive(self, given: Given, size: int | None, lexicon: Lexicon | None = None) -> Translation:
        """Return what of a request that was read reaches the chain."""
        return arrive(self, given, size, lexicon)

    def reads_beside(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of values that the chain for some of them is built from."""
        return names_read(self.build, self.absent | dict(values))

    def with_options(self, *, name: str | None = None, **options: Any) -> Engine:
        """Return the engine as some deployment runs it: with other values of its own options.

        Parameters
        ----------
        name : str, optional
            What it is called in notes and tables; by default its name and those of the options.
        **options
            Values for requests that do not have these keys, such as ``generation_config``, what
            the file of that name says beside a model: it replaces defaults in silence there.

        Returns
        -------
        Engine
            For any ``engine=``.

        Raises
        ------
        ParameterError
            For an option that the engine does not have, or a value that it does not take. What the
            engine refuses of a file, it refuses in every request that does not say otherwise.

        Examples
        --------
        >>> from logitlab import engines
        >>> llama3 = engines.vllm.with_options(generation_config={"temperature": 0.6, "top_p": 0.9})
        >>> llama3({"top_p": 0.5})
        OneSortChain(Temperature(0.6), TopP(0.5, ties='introsort', sums='ascending'),
                     precision='single')
        >>> print(llama3.translate({"top_p": 0.5}))
        temperature is absent: vllm+generation_config uses 0.6, of generation_config.
        """
        for key, value in options.items():
            if key not in self.options:
                rule = f"an option of {self.name}: {', '.join(self.options) or 'it has none'}"
                raise ParameterError("options", rule, Seen(f"{key}={value!r}"))
        if name is not None and (not isinstance(name, str) or not name):
            raise ParameterError("name", "a text or None", name)
        values = {key: self.options[key].check(key, value) for key, value in options.items()}
        called = "+".join([self.name, *options]) if name is None else name
        made = replace(self, name=called, deployed={**self.deployed, **values})
        for attribute in ("__doc__", "__module__", "__qualname__"):
            object.__setattr__(made, attribute, getattr(self, attribute))
        object.__setattr__(made, "_made_of", (self, called, options))
        with suppress(RefusalError):  # a server starts all the same, and refuses requests
            made.translate({})
        return made

    def reported(self, request: RequestLike, *, vocabulary: VocabularyLike = None) -> Chain:
        """Return the chain whose result this engine reports as log-probabilities.

        Raises
        ------
        ParameterError
            If it reports none, or does not say which.

        Examples
        --------
        >>> from logitlab import engines, SamplingParams
        >>> engines.sglang.reported(SamplingParams(temperature=0.8, top_p=0.9))
        OneSortChain(Temperature(0.8), precision='single', sorts='probs')
        """
        return self.reported_of(self(request, vocabulary=vocabulary))

    def reported_of(self, chain: Chain) -> Chain:
        """Do `reported` for the chain of a request."""
        if not self.tells_logprobs:
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
        state: State | None = None,
        vocabulary: VocabularyLike = None,
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
            How many tokens its generator has drawn, where that is not the length of the output:
            mirostat and adaptive-p draw none where a single candidate is left.
        state : mapping, optional
            That of mirostat or adaptive-p, as `Chain.at` takes it; None is the first.
        vocabulary : Model or Vocabulary, optional
            What spells the texts of a request in token ids.

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
        return draw_rows(self, logits, request, context, seed, step, state, vocabulary)

    def __repr__(self) -> str:
        return f"<Engine {self.name}: {self.title}>"

    def __str__(self) -> str:
        return about(self)

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._made_of:
            return _with_options, self._made_of
        # By its name in its module, as functions are pickled: a worker imports it from there.
        return self.build.__qualname__


def _with_options(engine: Engine, name: str, options: Mapping[str, Any]) -> Engine:
    """Return a deployment of an engine, as unpickling makes it."""
    return engine.with_options(name=name, **options)
