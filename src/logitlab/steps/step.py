"""What a step is: a transform with its value chosen, and the kinds of steps that there are.

`RowStep` looks at nothing but the logits of a row; `Truncation` is one that removes tokens, and
brings along what the fast path and the sweeps need. `SparseStep` edits few tokens. At heart all
are pure: a `RandomStep` is a choice between doing something and doing nothing, a `StatefulStep` is
a pure step for each value of its state.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray, check_logits, per_row
from logitlab.checks import (
    ParameterError,
    Range,
    TokenMap,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    shown,
)
from logitlab.numerics import BLOCK, DOUBLE, Precision, blocks, in_own_dtype, log_softmax, widened
from logitlab.steps.context import Context
from logitlab.steps.ids import SequenceMap, TokenIds, TokenSequences
from logitlab.steps.state import Course
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "RandomStep",
    "RowStep",
    "SparseStep",
    "StatefulStep",
    "Step",
    "Transform",
    "Truncation",
    "Words",
    "option",
    "words_of",
]

Rule: TypeAlias = "Range | TokenMap | TokenIds | TokenSequences | SequenceMap"
"""What the value of a step can be: numbers, or token ids."""


class _Kind(ABCMeta):
    """Classes of steps: abstract, but none is registered, so that `isinstance` need not ask.

    That takes an eighth of the time, and a request asks some hundred times.
    """

    __instancecheck__ = type.__instancecheck__


class Transform(metaclass=_Kind):
    """A pure function from logits to logits, as `top_p` is one.

    It takes logits of shape (..., V), floats of 16, 32 or 64 bits as `logitlab.arrays` tells, whose
    leading axes are the batch, and returns a new array of that shape and dtype. ``-inf`` stands for
    a removed token, which holds no mass. `Chain` takes any that implements this ``__call__``.

    Attributes
    ----------
    needs_context : bool
        Whether it looks at the tokens so far: a text that grows hands them over only then.
    """

    needs_context: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return transformed logits of the same shape and dtype; the input is left untouched."""


class Words(NamedTuple):
    """What a value of an option is called: in a table, and in a sentence about an engine."""

    short: str
    sentence: str


def option(
    default: Any,
    words: Mapping[Any, Words | None] | None = None,
    *,
    rule: Range | TokenIds | TokenSequences | None = None,
    name: str = "",
    needs: str = "",
) -> Any:
    """Declare an option of a step: a field of its dataclass that `Step` checks.

    Parameters
    ----------
    default : object
    words : mapping, optional
        The values that there are, and what each is called; None where rounding is all it changes.
    rule : Range, TokenIds or TokenSequences, optional
        Instead of those: a number, or None where that is the default; token ids, or sequences of
        them.
    name : str, optional
        What a message calls it, where that is not the name of the field.
    needs : str, optional
        Another option without which this one has to have its default, and what that is.
    """
    metadata = {"words": words or {}, "rule": rule, "name": name, "needs": needs}
    return field(default=default, metadata=metadata)


def words_of(step: Transform) -> dict[str, Words]:
    """Return what the options of a step are called, by the name of the option.

    Examples
    --------
    >>> from logitlab import TopK
    >>> words_of(TopK(5, ties="all"))["ties"].sentence
    'keeps all equal tokens'
    """
    named = {entry.name: entry.metadata.get("words", {}) for entry in _fields(type(step))}
    words = {name: table.get(getattr(step, name)) for name, table in named.items() if table}
    return {name: each for name, each in words.items() if each is not None}


@cache
def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


@dataclass(frozen=True, eq=False, repr=False)
class Step(Transform):
    """A transform with its value chosen: a frozen dataclass that compares and prints as such.

    The first field is the value, the others are options. ``key`` is the name of the request
    parameter, ``rule`` the mathematical domain of its value and ``neutral`` the value that
    changes nothing, or None where there is none. A value is checked here, where it is written, and
    nowhere else.
    """

    key: ClassVar[str]
    rule: ClassVar[Rule]
    neutral: ClassVar[Any]

    def __post_init__(self) -> None:
        first, *options = _fields(type(self))
        value: Any = self.rule.check(self.key, getattr(self, first.name))
        if isinstance(value, np.ndarray) and not value.ndim:
            value = value.item()
        object.__setattr__(self, first.name, value)
        for entry in options:
            option = getattr(self, entry.name)
            if type(option) is not type(entry.default) or option != entry.default:
                self._check_option(entry)

    def _check_option(self, entry: dataclasses.Field[Any]) -> None:
        value, needs = getattr(self, entry.name), entry.metadata["needs"]
        name = entry.metadata["name"] or entry.name
        words, rule = entry.metadata["words"], entry.metadata["rule"]
        if isinstance(entry.default, bool):
            check_flag(name, value)
        elif words:
            check_choice(name, value, words)
        elif not isinstance(rule, Range):
            object.__setattr__(self, entry.name, rule.check(name, value))
        elif value is not None or entry.default is not None:
            number = check_integer if rule.integer else check_number
            object.__setattr__(self, entry.name, number(name, value, rule))
        if needs and value != entry.default and getattr(self, needs.split()[-1]) is None:
            raise ParameterError(name, f"{entry.default!r} without {needs}", value)

    @property
    def value(self) -> Any:
        """The step's parameter: a Python number, or a read-only array with one for each row."""
        return getattr(self, _fields(type(self))[0].name)

    @property
    def chosen_options(self) -> list[str]:
        """The options that have another value than by default."""
        options = _fields(type(self))[1:]
        return [entry.name for entry in options if getattr(self, entry.name) != entry.default]

    @property
    def is_neutral(self) -> bool:
        """Whether the step changes nothing, whatever the logits."""
        value = self.value
        if type(value) in (float, int):  # the common case, and the cheap one
            return bool(value == self.neutral)
        amounts = value.values() if isinstance(value, Mapping) else (value,)
        for amount in amounts:
            same = amount == self.neutral
            if not (same.all() if isinstance(same, np.ndarray) else same):
                return False
        return True

    def __call__(self, logits: ArrayLike, context: Context | None = None) -> FloatArray:
        """Return new logits."""
        return in_own_dtype(self.apply(array := check_logits(logits), context), array, logits)

    @abstractmethod
    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> FloatArray:
        """Return new logits of checked ones."""

    def values(self, batch: tuple[int, ...], precision: Precision = DOUBLE) -> NDArray[Any]:
        """Return the value, shape (), or one for each row, shape ``batch``, in a precision."""
        array = np.asarray(getattr(self, _fields(type(self))[0].name))
        if array.ndim:
            array = per_row(self.key, array, batch)
        if self.rule.integer or precision is DOUBLE:
            return array
        limit = float(np.finfo(precision.arithmetic).max)
        return np.asarray(np.clip(array, -limit, limit).astype(precision.value))

    def for_rows(self, batch: tuple[int, ...], rows: IntArray | slice) -> Self:
        """Return the step for some rows of a flattened batch: itself, if it has one value."""
        if not isinstance(self.value, np.ndarray):
            return self
        values = per_row(self.key, self.value, batch).reshape(-1)[rows]
        return dataclasses.replace(self, **{_fields(type(self))[0].name: values})

    def _identity(self) -> tuple[Any, ...]:
        values = (getattr(self, entry.name) for entry in _fields(type(self)))
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
        for entry in _fields(type(self))[1:]:
            value = getattr(self, entry.name)
            if value != entry.default:
                parts.append(f"{entry.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class RowStep(Step):
    """A step that looks at nothing but the logits of each row, not at which tokens they are of.

    Attributes
    ----------
    ordered_options : tuple of str
        The options that `reorder` heeds, too.
    """

    ordered_options: ClassVar[tuple[str, ...]] = ()
    needs_context: ClassVar[bool] = False

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens have a say in what becomes of the others."""
        return False

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> FloatArray:
        """Return new logits of checked ones, computed in blocks of rows."""
        rows = logits.reshape(-1, logits.shape[-1])
        values = self.values(logits.shape[:-1], precision).reshape(-1, 1)
        if rows.size <= BLOCK:
            result = self.on_rows(rows, values, precision.arithmetic)
            result = result.copy() if np.may_share_memory(result, rows) else result
            return result.reshape(logits.shape)
        result = np.empty(rows.shape, rows.dtype)
        for block in blocks(rows.shape):
            here = values if len(values) == 1 else values[block]
            result[block] = self.on_rows(rows[block], here, precision.arithmetic)
        return result.reshape(logits.shape)

    @abstractmethod
    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return new logits of checked ones, shape (n, V), for values of shape (n, 1) or (1, 1).

        ``dtype`` is that of the arithmetic; each result is rounded to the dtype of the rows.
        """

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Act on the candidates of one row as llama.cpp does, if their order matters to that.

        Parameters
        ----------
        candidates : Candidates
            Changed in place.
        value : number
            In single precision.

        Returns
        -------
        bool
            False where the dense step says which candidates stay, and the order remains.
        """
        return False


class Truncation(RowStep):
    """A step that removes tokens: its equation is a mask, `keep`.

    What else it has are ways to the same mask with less work. A truncation without them is as
    right, and runs densely.

    Attributes
    ----------
    scanned_from : int
        Smallest vocabulary for which `scan` is faster than the mask.
    is_scan_exact : bool
        Whether `scan` gives the very survivors; otherwise they are candidates, some too many.
    """

    scanned_from: ClassVar[int] = 0
    is_scan_exact: ClassVar[bool] = False

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens, by their places, have a say in which of equal ones stay."""
        return getattr(self, "ties", "") == "introsort"

    @property
    def can_scan(self) -> bool:
        """Whether `scan` knows the step, with its options."""
        return bool(self.scanned_from)

    @property
    def can_prefix(self) -> bool:
        """Whether `prefix` knows the step, with its options."""
        return self.can_scan

    @abstractmethod
    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Return which tokens stay: True is kept. Arguments as of `RowStep.on_rows`."""

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return the logits, ``-inf`` where a token does not stay."""
        mask = self.keep(widened(rows), value, dtype)  # many times as fast as of float16
        # A table is several times faster than np.where, which guesses at every token.
        bound = np.array([-np.inf, np.inf], rows.dtype).take(mask.view(np.uint8))
        return np.minimum(rows, bound, out=bound)

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Return candidates of each row from one pass over it; None asks for the mask.

        Parameters
        ----------
        scans : Scans
            Rows of a wide vocabulary, each with its value, as pairs. A row is read when it is
            taken, and is to be worked on before the next: it is in the processor's cache then.
        """
        raise NotImplementedError

    def prefix(
        self, order: Any, n: IntArray, values: NDArray[Any]
    ) -> tuple[IntArray, BoolArray | None]:
        """Return how many of the first ``n`` tokens of a sorted row stay, for several values.

        Parameters
        ----------
        order : Order
            The row, largest logit first, and its running sums.
        n : ndarray of int64, shape (g,)
            How many of its tokens there are.
        values : ndarray, shape (g,)

        Returns
        -------
        ndarray of int64, shape (g,)
        ndarray of bool, shape (g,), or None
            Where only the mask can tell.
        """
        raise NotImplementedError


class SparseStep(Step):
    """A step that changes the logits of few tokens, and so can work in place."""

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> FloatArray:
        """Return a copy in which few tokens are edited."""
        result = logits.copy()
        self.edit(result, context, precision)
        return result

    @abstractmethod
    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Change contiguous logits, shape (..., V), in place."""

    def unsorts(
        self, context: Context | None, batch: tuple[int, ...], vocabulary_size: int
    ) -> BoolArray:
        """Return for each row of a flattened batch whether llama.cpp sorts anew after the step.

        It does where the step has changed any logit, or would have if such a token were there.
        """
        return np.ones(math.prod(batch), bool)


class RandomStep(RowStep):
    """A step that acts with a probability, its value, and otherwise does nothing.

    So it is a weighted choice between two pure steps, and a chain with it a mixture of pure
    chains. By itself it gives the mixture: ``ln(q p' + (1 - q) p)`` where ``p'`` is the
    distribution if it acts.
    """

    rule: ClassVar[Rule] = Range(0, 1)
    neutral: ClassVar[float] = 0.0

    @abstractmethod
    def acting(self) -> RowStep:
        """Return what it does when it acts: a pure step."""

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return log-probabilities of the mixture; where it never or always acts, logits."""
        if not value.any():
            return rows.copy()
        acts = self.acting()
        acted = acts.on_rows(rows, np.array([[acts.value]], dtype), dtype)
        with np.errstate(divide="ignore"):  # ln 0 of a side that never comes up
            both = np.log(value) + log_softmax(acted), np.log1p(-value) + log_softmax(rows)
        mixture = np.logaddexp(*both).astype(rows.dtype)
        return np.where(value == 0, rows, np.where(value == 1, acted, mixture))


class StatefulStep(Step):
    """A pure step for each value of a state, which what is drawn changes.

    Attributes
    ----------
    name : str
        What it is called: a chain has one of a name.
    states : tuple of str
        The names of the numbers that its state consists of.
    observes : {"drawn", "before", "model"}
        In which distribution `update` gets the log-probability of a token: what it was drawn from,
        what this step was given, or the model's own, before any step and any constraint.
    """

    name: ClassVar[str]
    states: ClassVar[tuple[str, ...]]
    needs_context: ClassVar[bool] = False

    @property
    def observes(self) -> str:
        """In which distribution it looks at what was drawn."""
        return "drawn"

    @abstractmethod
    def init(self, dtype: type[Any] = np.float64) -> dict[str, Any]:
        """Return the state before the first token, by name: numbers, or one for each row."""

    @abstractmethod
    def at(self, state: Mapping[str, Any], dtype: type[Any] = np.float64) -> RowStep:
        """Return the pure step of a state."""

    @abstractmethod
    def update(
        self, state: Mapping[str, Any], logprob: Any, dtype: type[Any] = np.float64
    ) -> dict[str, Any]:
        """Return the next state, once a token of this log-probability, in nats, was drawn."""

    @abstractmethod
    def course(self, states: Mapping[str, Any], logprobs: FloatArray) -> Course:
        """Return what became of a text, for a picture.

        Parameters
        ----------
        states : mapping of str to ndarray of float64, shape (T,)
            In which each token was drawn.
        logprobs : ndarray of float64, shape (T,)
            What `update` got of each.
        """

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> FloatArray:
        """Return new logits of checked ones, in the initial state."""
        return self.at(self.init()).apply(logits, context, precision)
