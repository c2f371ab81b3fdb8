"""`Engine`: from a request to a chain, to what it reports, to the token that it draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range, check_integer, check_logits
from logitlab.engines.draws import Drawn, Place
from logitlab.engines.rules import Off, Values, brief_number
from logitlab.engines.translation import Recipe, RequestLike, Translation, translated
from logitlab.numerics import IntArray, widened
from logitlab.request.params import SamplingParams
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain, SparseStep
from logitlab.steps.context import Context
from logitlab.steps.temperature import Temperature
from numpy.typing import ArrayLike

__all__ = ["Engine", "engine"]

_SEED = Range(-(2**63), 2**64 - 1, integer=True)
_STEP = Range(0, 10**7, integer=True)
_MADE: dict[str, Engine] = {}  # by name, so that engines survive pickling


@dataclass(frozen=True, eq=False, repr=False)
class Engine(Recipe):
    """How one engine evaluates the request parameters: call it to get its chain.

    Attributes
    ----------
    build : callable
        Values to chain: the one expression.
    logprobs : {"raw", "penalised", "tempered", "processed", "none", "undocumented"}
        Where its reported log-probabilities come from: the model's own logits, these after bias
        and penalties, after temperature, too, or what is drawn from.
    luck : callable, optional
        How it draws, where that can be repeated here.
    luck_note : str
        How it draws, in words.
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

    build: Callable[[Values], Chain] = field(kw_only=True)
    logprobs: str = "raw"
    luck: Callable[..., int] | None = None
    luck_note: str = ""
    default_seed: int | None = None

    def __call__(self, params: RequestLike, *, vocabulary_size: int | None = None) -> Chain:
        """Return the engine's chain for a request.

        Parameters
        ----------
        params : SamplingParams or mapping
            A mapping is a request body: its values may lie outside OpenRouter's ranges, and the
            engine's own rules decide.
        vocabulary_size : int, optional
            For the rules that depend on it.

        Raises
        ------
        ParameterError
            For what the engine refuses, and for response_format, tools and verbosity where they
            would change the distribution: they act on a whole generation.
        """
        return self.chain_of(translated(params, self, vocabulary_size))

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
        return self.reported_of(self(params))

    def reported_of(self, chain: Chain) -> Chain:
        """Do `reported` for the chain of a request."""
        if self.logprobs in ("none", "undocumented"):
            rule = "one whose log-probabilities are known"
            raise ParameterError("engine", rule, self.name, f"They are {self.logprobs}.")
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
            One token for each row, a number for a single one. Each row is a request of its own
            with the same seed; those of `openrouter` are numbered, as by `sample`.

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
        array = widened(check_logits(logits))
        chain = self(params, vocabulary_size=array.shape[-1])
        seed = self._seed(params, seed)
        if isinstance(chain, SortedChain):
            final, orders = chain.ordered(array, context)
        else:
            final = chain(array, context)
            orders = [np.flatnonzero(row > -np.inf) for row in final.reshape(-1, final.shape[-1])]
        rows = final.reshape(-1, final.shape[-1])
        places = _places(context, array.shape)
        if step is not None:
            step = check_integer("step", step, _STEP)
            places = [place._replace(step=step) for place in places]
        tokens = [
            self.luck(Drawn(row, order, chain), seed, place)
            for row, order, place in zip(rows, orders, places, strict=True)
        ]
        return np.array(tokens, np.int64).reshape(array.shape[:-1])[()]

    def _seed(self, params: RequestLike, seed: int | None) -> int:
        if seed is None:
            seed = params.seed if isinstance(params, SamplingParams) else params.get("seed")
        used = None if seed is None else check_integer("seed", seed, _SEED)
        rules = self.rules.get("seed", ())
        if used is None or any(isinstance(rule, Off) and rule.when(used) for rule in rules):
            used = self.default_seed
        if used is None:
            hint = f"{self.name} takes a fresh one then, which cannot be repeated."
            raise ParameterError("seed", "an integer that is a seed", seed, hint)
        return used

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
            used = translated({"temperature": t}, self).values["temperature"]
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
        return [Place(0, 0, row) for row in range(math.prod(batch))]
    prompt, output = (
        np.count_nonzero(context.tokens(name, batch, shape[-1]) >= 0, axis=-1).ravel().tolist()
        for name in ("prompt", "output")
    )
    lengths = enumerate(zip(prompt, output, strict=True))
    return [Place(n, m + n - 1, row) for row, (m, n) in lengths]


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
