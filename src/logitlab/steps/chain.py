"""The idea of the library: steps make a chain, a chain is a value, a trace shows its stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, Self, overload

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits, given_back
from logitlab.checks import ParameterError, Seen, check_choice, check_flag
from logitlab.numerics import PRECISIONS, cast_finite, log_softmax, map_rows, softmax, widened
from logitlab.steps.context import Context, check_context
from logitlab.steps.state import State, check_state
from logitlab.steps.step import RandomStep, SparseStep, StatefulStep, Step, Transform
from logitlab.steps.trace import Trace
from numpy.typing import ArrayLike, NDArray

__all__ = ["Branch", "Chain"]


class Branch(NamedTuple):
    """One way in which the coins of a chain can fall.

    Attributes
    ----------
    acts : tuple of bool
        Whether each random step acts.
    weight : ndarray of float64, shape () or of the batch
        How likely that is.
    chain : Chain
        What the chain is then, without coins.
    """

    acts: tuple[bool, ...]
    weight: NDArray[np.float64]
    chain: Chain


@dataclass(frozen=True, init=False, repr=False)
class Chain(Transform):
    """Transforms applied one after another: a value that prints as the program it is.

    Parameters
    ----------
    *steps : Transform
        Applied from left to right. A chain among them is spliced in, so nesting changes nothing.
    precision : {"double", "single", "mixed"}
        "double" is exact: each step computes in float64 and rounds once. "single" computes in
        float32 as engines do: logits, values and every operation. "mixed" does, too, but values
        are Python's floats until they meet a logit, as in engines written in Python.

    Attributes
    ----------
    coins : tuple of RandomStep
        The steps that act with a probability other than 0.
    numbers : tuple of int
        The number of the coin of each of those: its place among all random steps.
    stateful : mapping of str to StatefulStep
        The steps with a state, by the name of each of its numbers.

    Raises
    ------
    ParameterError
        For a step that is no `Transform`, a chain of another kind among them, two steps with a
        state of one name, or an unknown precision.

    Examples
    --------
    >>> from logitlab import Chain, Temperature, TopK, TopP
    >>> chain = Chain(Temperature(0.5), Chain(TopK(2), TopP(0.9)))
    >>> chain
    Chain(Temperature(0.5), TopK(2), TopP(0.9))
    >>> chain == Chain(Temperature(0.5), TopK(2), TopP(0.9))
    True
    >>> chain([2.0, 1.5, 0.0])
    array([ 4.,  3., -inf])
    """

    steps: tuple[Transform, ...]
    precision: str = "double"
    coins: tuple[RandomStep, ...] = field(default=(), compare=False)
    numbers: tuple[int, ...] = field(default=(), compare=False)
    stateful: Mapping[str, StatefulStep] = field(default_factory=dict, compare=False)

    def __init__(self, *steps: Transform, precision: str = "double") -> None:
        if not isinstance(precision, str) or precision != "double":
            check_choice("precision", precision, PRECISIONS)
        object.__setattr__(self, "precision", precision)
        flat: list[Transform] = []
        for step in steps:
            if not isinstance(step, Transform):
                hint = "Write Chain(TopK(50), TopP(0.9))."
                raise ParameterError("step", "a Transform", step, hint)
            if isinstance(step, Chain) and step.kind != self.kind:
                hint = "Write Chain(*chain, …) to run its steps in this one."
                raise ParameterError(
                    "step", f"no chain of another kind than {self.kind}", step, hint
                )
            flat.extend(step.steps if isinstance(step, Chain) else (step,))
        coins, numbers, count = [], [], 0
        stateful: dict[str, StatefulStep] = {}
        for step in flat:
            if isinstance(step, RandomStep):
                if not step.is_neutral:
                    coins.append(step)
                    numbers.append(count)
                count += 1
            elif isinstance(step, StatefulStep):
                if any(step.name == other.name for other in stateful.values()):
                    raise ParameterError("step", f"the only {step.name} of its chain", step)
                stateful.update(dict.fromkeys(step.states, step))
        derived = {"steps": tuple(flat), "coins": tuple(coins), "stateful": stateful}
        derived["numbers"] = tuple(numbers)
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def kind(self) -> str:
        """How it runs its steps, in words: the class and the precision."""
        return f"{type(self).__name__} of {self.precision} precision"

    def __repr__(self) -> str:
        parts = list(map(repr, self.steps))
        if self.precision != "double":
            parts.append(f"precision={self.precision!r}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.steps)

    @overload
    def __getitem__(self, index: int) -> Transform: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index: int | slice) -> Transform:
        """Return one step, or the chain of several."""
        return self.of(*self.steps[index]) if isinstance(index, slice) else self.steps[index]

    def of(self, *steps: Transform) -> Self:
        """Return a chain of this kind with other steps."""
        return type(self)(*steps, precision=self.precision)

    def without_neutral(self) -> Self:
        """Return the chain of the steps that can change something.

        Examples
        --------
        >>> from logitlab import Chain, Temperature, TopP
        >>> Chain(Temperature(1.0), TopP(0.9)).without_neutral()
        Chain(TopP(0.9))
        """
        steps = []
        for step in self.steps:
            if not (isinstance(step, Step) and step.is_neutral):
                steps.append(step)
        return self.of(*steps)

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Apply all steps.

        Parameters
        ----------
        logits : array_like, shape (..., V)
            float16, bfloat16, float32 or float64.
        context : Context, optional
            The tokens so far; needed if a step counts tokens.

        Returns
        -------
        ndarray, shape (..., V)
            A new array, removed tokens at ``-inf``: torch's or jax's where ``logits`` are, else
            numpy's. Every step computes in float64 and rounds once: to the dtype of the input, but
            to float32 where that has 16 bits or fewer.

        Raises
        ------
        ParameterError
            For bad logits or context, naming the step it was found in.
        """
        if self.stateful:
            return self.at()(logits, context)
        array = check_logits(logits)
        check_context(context, array)
        if self.coins:
            branches = self.branches()
            left = _mixture(branches, [branch.chain(array, context) for branch in branches])
        else:
            wide = self._entered(array)
            for stage in self._stages(wide, context, ours=wide is not array):
                wide = stage
            left = self._left(wide, array)
        return given_back(left, logits)

    def distribution(
        self, logits: ArrayLike, context: Context | None = None
    ) -> NDArray[np.float64]:
        """Return the exact probabilities of the next token, summed over all coins.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        context : Context, optional

        Returns
        -------
        ndarray, shape (..., V), float64

        Examples
        --------
        >>> from logitlab import Chain, Xtc
        >>> Chain(Xtc(0.5, threshold=0.2)).distribution(np.log([0.5, 0.25, 0.25])).round(4)
        array([0.25 , 0.625, 0.125])
        """
        array = widened(check_logits(logits))
        parts = (b.weight[..., None] * softmax(b.chain(array, context)) for b in self.branches())
        return given_back(np.asarray(sum(parts)), logits)

    def __getstate__(self) -> dict[str, Any]:
        # Without what was worked out of it.
        return {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}

    def branch(self, acts: Sequence[bool]) -> Self:
        """Return the chain without coins that this is if they fall so.

        Parameters
        ----------
        acts : sequence of bool
            Whether each of `coins` acts.

        Examples
        --------
        >>> from logitlab import Chain, Temperature, Xtc
        >>> Chain(Temperature(0.5), Xtc(0.3)).branch([True])
        Chain(Temperature(0.5), ExcludeTopChoices(0.1))
        """
        if not isinstance(acts, Sequence) or len(acts) != len(self.coins):
            raise ParameterError("acts", f"one for each of {len(self.coins)} coins", acts)
        falls = iter(acts)
        return self.of(*(self._fallen(s, falls) if s in self.coins else s for s in self.steps))

    def fallen(self, coins: bool | None) -> Self:
        """Return the chain that this is if all of its coins fall so; None leaves them in the air.

        Examples
        --------
        >>> from logitlab import Chain, Temperature, Xtc
        >>> Chain(Temperature(0.5), Xtc(0.3)).fallen(False)
        Chain(Temperature(0.5))
        """
        if coins is None:
            return self
        check_flag("coins", coins)
        sided = self.branch([coins] * len(self.coins))
        return self.of(*(s for s in sided if not (isinstance(s, RandomStep) and s.is_neutral)))

    @staticmethod
    def _fallen(step: Any, falls: Iterator[bool]) -> Transform:
        never: Transform = dataclasses.replace(step, probability=0.0)
        return step.acting() if next(falls) else never

    def branches(self) -> list[Branch]:
        """Return all pure chains that it can be, each with its weight; the weights add up to 1."""
        return list(self._branches)

    @cached_property
    def _branches(self) -> tuple[Branch, ...]:
        # Many draws ask for them, and what is known of each is kept with it.
        branches = []
        for acts in product((False, True), repeat=len(self.coins)):
            chances = (np.asarray(coin.value, np.float64) for coin in self.coins)
            weight = np.ones(())
            for act, chance in zip(acts, chances, strict=True):
                weight = weight * (chance if act else 1 - chance)
            if weight.any() or not weight.size:
                branches.append(Branch(acts, weight, self.branch(acts) if acts else self))
        return tuple(branches)

    def init(self) -> dict[str, Any]:
        """Return the state of every step that has one, before the first token.

        Examples
        --------
        >>> from logitlab import Chain, Mirostat
        >>> Chain(Mirostat(5.0)).init()
        {'mirostat': 10.0}
        """
        dtype = PRECISIONS[self.precision].value
        firsts = (step.init(dtype) for step in dict.fromkeys(self.stateful.values()))
        return {key: number for first in firsts for key, number in first.items()}

    def at(self, state: State | None = None, batch: tuple[int, ...] | None = None) -> Self:
        """Return the chain without state that this is in a state.

        Parameters
        ----------
        state : mapping of str to float or array, optional
            By name, as of `init`; what is not in it is in its initial state. An array has one for
            each row.
        batch : tuple of int, optional
            The batch shape of the logits, where it is known: each number has to broadcast to it.

        Raises
        ------
        ParameterError
            For a key that no step of the chain has, a state that is no finite number, or one of
            another shape.

        Examples
        --------
        >>> from logitlab import Chain, Mirostat
        >>> Chain(Mirostat(5.0)).at({"mirostat": 4.2})
        Chain(MaxSurprise(4.2))
        """
        if not self.stateful and not check_state(state):
            return self
        known, dtype = self.known(state, batch), PRECISIONS[self.precision].value
        return self.of(
            *(s.at(known, dtype) if isinstance(s, StatefulStep) else s for s in self.steps)
        )

    def known(self, state: State | None, batch: tuple[int, ...] | None = None) -> dict[str, Any]:
        """Return the initial state with what is given in its place."""
        return {**self.init(), **check_state(state, self.stateful, batch)}

    def at_any(self, state: State | None) -> Self:
        """Do `at` with that part of a state that this chain has."""
        return self.at(
            {key: state[key] for key in self.stateful if key in state} if state else None
        )

    @property
    def observed(self) -> dict[str, int | None]:
        """After how many steps each with a state looks at what was drawn, by the step's name.

        None stands for the model's own distribution, which a constraint has not touched either.
        """
        return {
            step.name: {"drawn": len(self), "before": place}.get(step.observes)
            for place, step in enumerate(self.steps)
            if isinstance(step, StatefulStep)
        }

    def update(self, state: State | None, logprob: Any) -> dict[str, Any]:
        """Return the next state.

        Parameters
        ----------
        state : mapping or None
            In which a token was drawn.
        logprob : float, or mapping of str to float
            Its log-probability, in nats, in what it was drawn from; or, where a step looks at
            another distribution, see `observed`, by the name of each step.

        Examples
        --------
        >>> from logitlab import Chain, Mirostat
        >>> chain = Chain(Mirostat(5.0, eta=0.5))
        >>> chain.update(chain.init(), np.log(0.25))
        {'mirostat': 11.5}
        """
        dtype = PRECISIONS[self.precision].value
        known = self.known(state)
        seen = logprob if isinstance(logprob, Mapping) else {}
        steps = dict.fromkeys(self.stateful.values())
        later = (step.update(known, seen.get(step.name, logprob), dtype) for step in steps)
        return {key: number for state in later for key, number in state.items()}

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the chain for some rows of a flattened batch."""
        return self.of(*(s.for_rows(batch, rows) if isinstance(s, Step) else s for s in self.steps))

    def _left(self, wide: FloatArray, array: FloatArray) -> FloatArray:
        """Return what came of some logits, as new ones in their dtype, float32 at least."""
        dtype = np.promote_types(array.dtype, np.float32)
        if wide.dtype != dtype:
            return _cast(wide, dtype)
        return wide.copy() if np.may_share_memory(wide, array) else wide

    def _entered(self, array: FloatArray) -> FloatArray:
        """Return the logits in the dtype that the chain holds between its steps."""
        if self.precision == "double" or array.dtype == np.float32:
            return widened(array)
        return _cast(array, np.dtype(np.float32))

    def _stages(
        self, logits: FloatArray, context: Context | None, ours: bool = False, keep: bool = False
    ) -> Iterator[FloatArray]:
        """Yield what each step makes of the logits, in place unless they are not ours, or kept."""
        for index in range(len(self.steps)):
            logits = self._apply(index, logits, context, ours=not keep and (ours or index > 0))
            yield logits

    def _apply(
        self, index: int, logits: FloatArray, context: Context | None, ours: bool
    ) -> FloatArray:
        step, precision = self.steps[index], PRECISIONS[self.precision]
        try:
            if ours and isinstance(step, SparseStep) and logits.flags.writeable:
                step.edit(logits, context, precision)
                return logits
            if isinstance(step, Step):
                return step.apply(check_logits(logits), context, precision)
            # A transform of the user's own can neither change its input nor return what is none.
            lent = logits.view()
            lent.flags.writeable = False
            result = check_logits(step(lent, context), "its result")
        except ParameterError as error:
            raise error.inside(f"step {index + 1}, {step!r}") from None
        if result.shape != logits.shape or result.dtype != logits.dtype:
            rule = f"a transform that keeps shape {logits.shape} and dtype {logits.dtype}"
            raise ParameterError(repr(step), rule, Seen(f"{result.shape} {result.dtype}"))
        return result

    def trace(self, logits: ArrayLike, context: Context | None = None) -> Trace:
        """Apply all steps and keep every stage.

        From the first coin on, the stages are those of the mixture, as log-probabilities; `branch`
        gives a chain of which each is one side.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        context : Context, optional

        Returns
        -------
        Trace
            With S = number of steps + 1 stages, the first being the logits as given; float32
            where these are float16.

        Examples
        --------
        >>> from logitlab import Chain, Temperature, TopK
        >>> trace = Chain(Temperature(0.5), TopK(2)).trace([2.0, 1.0, 0.0, -1.0])
        >>> trace.names
        ('logits', 'Temperature(0.5)', 'TopK(2)')
        >>> trace.kept
        array([4, 4, 2])
        """
        if self.stateful:
            return self.at().trace(logits, context)
        array = check_logits(logits)
        check_context(context, array)
        if self.coins:
            return self._mixed_trace(array, context)
        array = self._entered(array)
        stages = np.empty((len(self.steps) + 1, *array.shape), array.dtype)
        stages[0] = array
        for index, stage in enumerate(self._stages(array, context, keep=True)):
            stages[index + 1] = stage
        return Trace(self, stages)

    def _mixed_trace(self, array: FloatArray, context: Context | None) -> Trace:
        branches = self.branches()
        traces = [branch.chain.trace(array, context).logits for branch in branches]
        first = 1 + self.steps.index(self.coins[0])
        stages = traces[0].copy()
        stages[first:] = _mixture(branches, [each[first:] for each in traces])
        return Trace(self, stages)


def _cast(logits: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    return map_rows(lambda rows: cast_finite(rows, dtype), logits, dtype=dtype.type)


def _mixture(branches: Sequence[Branch], logits: Sequence[FloatArray]) -> FloatArray:
    """Return log-probabilities of the mixture of what each branch made, in their dtype."""
    with np.errstate(divide="ignore"):  # a branch that some rows never take
        parts = [
            np.log(branch.weight)[..., None] + log_softmax(each)
            for branch, each in zip(branches, logits, strict=True)
        ]
    return np.asarray(np.logaddexp.reduce(parts).astype(logits[0].dtype))
