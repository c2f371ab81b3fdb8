"""The idea of the library: steps make a chain, a chain is a value, a trace shows its stages."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, ClassVar, Self, overload

import numpy as np
from logitlab import metrics
from logitlab.checks import (
    ParameterError,
    Range,
    Seen,
    check_choice,
    check_logits,
    check_per_row,
    shown,
)
from logitlab.numerics import PRECISIONS, FloatArray, IntArray, Precision, map_rows, settle, widened
from logitlab.steps.context import Context, check_context
from numpy.typing import ArrayLike, NDArray

__all__ = ["Chain", "RowStep", "SparseStep", "Step", "Trace", "Transform"]

_DOUBLE = PRECISIONS["double"]


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

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return new logits."""
        return self.apply(check_logits(logits), context)

    @abstractmethod
    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = _DOUBLE
    ) -> FloatArray:
        """Return new logits of checked ones."""

    def values(self, batch: tuple[int, ...], precision: Precision = _DOUBLE) -> NDArray[Any]:
        """Return the value, shape (), or one for each row, shape ``batch``, in a precision."""
        array = check_per_row(self.key, self.value, self.rule, batch)
        if self.rule.integer or precision is _DOUBLE:
            return array
        limit = float(np.finfo(precision.arithmetic).max)
        return np.asarray(np.clip(array, -limit, limit).astype(precision.value))

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

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = _DOUBLE
    ) -> FloatArray:
        """Return new logits of checked ones."""
        kernel = partial(self.on_rows, dtype=precision.arithmetic)
        return map_rows(kernel, logits, self.values(logits.shape[:-1], precision))

    @abstractmethod
    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return new logits of checked ones, shape (n, V), for values of shape (n, 1) or (1, 1).

        ``dtype`` is that of the arithmetic; each result is rounded to the dtype of the rows.
        """


class SparseStep(Step):
    """A step that changes the logits of few tokens, and so can work in place."""

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = _DOUBLE
    ) -> FloatArray:
        """Return an edited copy."""
        result = logits.copy()
        self.edit(result, context, precision)
        return result

    @abstractmethod
    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = _DOUBLE
    ) -> None:
        """Change contiguous logits, shape (..., V), in place."""


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

    Raises
    ------
    ParameterError
        For a step that is no `Transform`, a chain of another kind among them, or an unknown
        precision.

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

    def __init__(self, *steps: Transform, precision: str = "double") -> None:
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
        object.__setattr__(self, "steps", tuple(flat))

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
        return self.of(*(s for s in self.steps if not (isinstance(s, Step) and s.is_neutral)))

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
        wide = self._entered(array)
        for stage in self._stages(wide, context, ours=wide is not array):
            wide = stage
        return self._left(wide, array)

    def _left(self, wide: FloatArray, array: FloatArray) -> FloatArray:
        """Return what came of some logits, as new ones in their dtype."""
        if wide.dtype != array.dtype:
            return _settled(wide, array.dtype)
        return wide if wide is not array else wide.copy()

    def _entered(self, array: FloatArray) -> FloatArray:
        """Return the logits in the dtype that the chain holds between its steps."""
        if self.precision == "double" or array.dtype == np.float32:
            return widened(array)
        return _settled(array, np.dtype(np.float32))

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
        array = check_logits(logits)
        check_context(context, array)
        array = self._entered(array)
        stages = np.empty((len(self.steps) + 1, *array.shape), array.dtype)
        stages[0] = array
        for index, stage in enumerate(self._stages(array, context, keep=True)):
            stages[index + 1] = stage
        return Trace(self, stages)


def _settled(logits: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    return map_rows(lambda rows: settle(rows, dtype), logits, dtype=dtype.type)


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
