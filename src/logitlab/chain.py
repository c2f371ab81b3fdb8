"""The idea of the library: steps make a chain, a chain is a value, a trace shows its stages."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar, Self, overload

import numpy as np
from logitlab import metrics
from logitlab.checks import ParameterError, Range, Seen, check_logits, check_per_row, shown
from logitlab.context import Context, check_context
from logitlab.numerics import FloatArray, IntArray, map_rows, settle, widened
from numpy.typing import ArrayLike, NDArray

__all__ = ["Chain", "RowStep", "SparseStep", "Step", "Trace", "Transform"]


class Transform(ABC):
    """A pure function from logits to logits.

    `Chain` accepts any subclass: implement ``__call__(logits, context)``, return a new array of
    the same shape and dtype, and let ``-inf`` stand for removed tokens.
    """

    @abstractmethod
    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return transformed logits of the same shape and dtype; the input is left untouched."""


@cache
def _value_of(kind: type[Step]) -> str:
    """Name of the field that holds a step's value."""
    return dataclasses.fields(kind)[0].name


@dataclass(frozen=True, eq=False, repr=False)
class Step(Transform):
    """A transform with its value chosen: a frozen dataclass that compares and prints as such.

    The first field is the value, the others are options. ``key`` is the name of the request
    parameter, ``rule`` the mathematical domain of its value and ``neutral`` the value that
    changes nothing.
    """

    key: ClassVar[str]
    rule: ClassVar[Range]
    neutral: ClassVar[float]

    def __post_init__(self) -> None:
        name = _value_of(type(self))
        array = self.rule.check(self.key, getattr(self, name))
        object.__setattr__(self, name, array if array.ndim else array.item())

    @property
    def value(self) -> Any:
        """The step's parameter: a Python number, or a read-only array with one for each row."""
        return getattr(self, _value_of(type(self)))

    @property
    def is_neutral(self) -> bool:
        """Whether the step changes nothing, whatever the logits."""
        same = self.value == self.neutral
        return bool(same.all() if isinstance(same, np.ndarray) else same)

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the step for some rows of a flattened batch: itself, if it has one value."""
        if not isinstance(self.value, np.ndarray):
            return self
        name = _value_of(type(self))
        values = check_per_row(self.key, self.value, self.rule, batch).reshape(-1)[rows]
        return dataclasses.replace(self, **{name: values})

    def _identity(self) -> tuple[Any, ...]:
        values = (getattr(self, entry.name) for entry in dataclasses.fields(self))
        return type(self), *(
            (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            for value in values
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        parts = [shown(self.value)]
        for option in dataclasses.fields(self)[1:]:
            value = getattr(self, option.name)
            if value != option.default:
                parts.append(f"{option.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class RowStep(Step):
    """A step that looks at nothing but the logits of each row, not at which tokens they are of."""

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return new logits."""
        array = check_logits(logits)
        values = check_per_row(self.key, self.value, self.rule, array.shape[:-1])
        return map_rows(self.on_rows, array, values)

    @abstractmethod
    def on_rows(self, rows: FloatArray, value: NDArray[Any]) -> FloatArray:
        """Return new logits of checked ones, shape (n, V), for values of shape (n, 1) or (1, 1)."""


class SparseStep(Step):
    """A step that changes the logits of few tokens, and so can work in place."""

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return an edited copy."""
        result = check_logits(logits).copy()
        self.edit(result, context)
        return result

    @abstractmethod
    def edit(self, logits: FloatArray, context: Context | None) -> None:
        """Change contiguous logits, shape (..., V), in place."""


@dataclass(frozen=True, init=False, repr=False)
class Chain(Transform):
    """Transforms applied one after another: a value that prints as the program it is.

    Parameters
    ----------
    *steps : Transform
        Applied from left to right. A chain among them is spliced in, so nesting changes nothing.

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

    def __init__(self, *steps: Transform) -> None:
        flat: list[Transform] = []
        for step in steps:
            if not isinstance(step, Transform):
                hint = "Write Chain(TopK(50), TopP(0.9))."
                raise ParameterError("step", "a Transform", step, hint)
            flat.extend(step.steps if isinstance(step, Chain) else (step,))
        object.__setattr__(self, "steps", tuple(flat))

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

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
        return Chain(*self.steps[index]) if isinstance(index, slice) else self.steps[index]

    def without_neutral(self) -> Chain:
        """Return the chain of the steps that can change something.

        Examples
        --------
        >>> from logitlab import Chain, Temperature, TopP
        >>> Chain(Temperature(1.0), TopP(0.9)).without_neutral()
        Chain(TopP(0.9))
        """
        return Chain(*(s for s in self.steps if not (isinstance(s, Step) and s.is_neutral)))

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Apply all steps.

        Parameters
        ----------
        logits : array_like, shape (..., V)
            float16, float32 or float64.
        context : Context, optional
            The tokens so far; needed if a step counts tokens.

        Returns
        -------
        ndarray, shape (..., V)
            A new array of the same dtype, removed tokens at ``-inf``. Every step computes in
            float64 and rounds once, to float32 where the input is float16 and to its dtype
            otherwise.

        Raises
        ------
        ParameterError
            For bad logits or context, naming the step it was found in.
        """
        array = check_logits(logits)
        check_context(context, array)
        wide = widened(array)
        for index in range(len(self.steps)):
            wide = self._apply(index, wide, context, ours=wide is not array)
        if wide.dtype != array.dtype:
            return map_rows(lambda rows: settle(rows, array.dtype), wide, dtype=array.dtype.type)
        return wide if self.steps else wide.copy()

    def _apply(
        self, index: int, logits: FloatArray, context: Context | None, ours: bool
    ) -> FloatArray:
        step = self.steps[index]
        try:
            if ours and isinstance(step, SparseStep):
                step.edit(logits, context)
                return logits
            if isinstance(step, Step):
                return step(logits, context)
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
        array = widened(check_logits(logits))
        check_context(context, array)
        stages = np.empty((len(self.steps) + 1, *array.shape), array.dtype)
        stages[0] = array
        for index in range(len(self.steps)):
            stages[index + 1] = self._apply(index, stages[index], context, ours=False)
        return Trace(self, stages)


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Every stage of a chain: one array, so that every metric works on it.

    Attributes
    ----------
    chain : Chain
        The program.
    logits : ndarray, shape (S, ..., V)
        Stage 0 holds the logits as given, stage i what step i made of them.
    """

    chain: Chain
    logits: FloatArray

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names: "logits", then the steps as they print."""
        return ("logits", *map(repr, self.chain))

    @cached_property
    def kept(self) -> IntArray:
        """Number of survivors at every stage: int64, shape (S, ...)."""
        return metrics.support_size(self.logits)

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy at every stage in nats: float64, shape (S, ...)."""
        return metrics.entropy(self.logits)

    @cached_property
    def mass_removed(self) -> NDArray[np.float64]:
        """Probability that each step took from the distribution before it.

        float64, shape (S, ...); stage 0 removes nothing.
        """
        removed = np.zeros(self.logits.shape[:-1])
        removed[1:] = metrics.mass_removed(self.logits[:-1], self.logits[1:])
        return removed

    def __repr__(self) -> str:
        return f"<Trace of {self.chain!r}, logits {self.logits.shape} {self.logits.dtype}>"
