"""What the length of the output does to the tokens that end it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range
from logitlab.numerics import DOUBLE, LARGEST, Precision, scatter
from logitlab.steps.context import Context, needed_context
from logitlab.steps.ids import TokenIds
from logitlab.steps.step import SparseStep, option
from numpy.typing import ArrayLike

__all__ = ["LengthDecay", "length_decay"]


def length_decay(
    logits: ArrayLike,
    factor: ArrayLike,
    context: Context | None,
    *,
    start: int = 0,
    end_ids: Sequence[int] = (),
) -> FloatArray:
    """Make an end ever likelier from some length on: ``x + |x| (factor ** k - 1)``.

    k is how many tokens of output there are beyond ``start``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    factor : array_like, broadcasting to the batch shape (...)
        Any finite number. 1 changes nothing, below 1 an end becomes less likely. A logit of 0 stays
        at 0, whatever the factor.
    context : Context
        The tokens so far; those of the output count.
    start : int
        So many tokens of output change nothing.
    end_ids : sequence of token ids
        What ends a text.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``factor`` is not finite or does not broadcast, an id is outside the vocabulary, or the
        context does not fit.

    Notes
    -----
    transformers alone has it, as ``exponential_decay_length_penalty`` with start and factor.

    References
    ----------
    transformers, ``ExponentialDecayLengthPenalty`` in ``generation/logits_process.py``

    Examples
    --------
    >>> length_decay([2.0, -1.0], 1.5, Context(output=[0, 0, 0]), start=2, end_ids=[1])
    array([ 2. , -0.5])
    """
    return LengthDecay(factor, start, end_ids)(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class LengthDecay(SparseStep):
    """The step `length_decay` with its values chosen.

    Examples
    --------
    >>> LengthDecay(2.0, end_ids=[0])([1.0, 1.0], Context(output=[1]))
    array([2., 1.])
    """

    factor: ArrayLike
    start: int = option(0, rule=Range(0, integer=True))
    end_ids: Sequence[int] = option((), rule=TokenIds(), name="eos_token_id")

    key: ClassVar[str] = "exponential_decay_length_penalty"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 1.0

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Change the logits of the tokens that end, in place."""
        batch, size = logits.shape[:-1], logits.shape[-1]
        ends = np.unique(np.array(self.end_ids, np.intp))
        if len(ends) and ends[-1] >= size:
            rule = f"token ids in [0, {size - 1}]"
            raise ParameterError("eos_token_id", rule, int(ends[-1]))
        factor = np.broadcast_to(self.values(batch, precision), batch).reshape(-1, 1)
        output = needed_context(self.key, context).tokens("output", batch, size)
        beyond = (output >= 0).sum(axis=-1).reshape(-1, 1) - self.start
        rows = logits.reshape(-1, size)
        x = rows[:, ends].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            rise = np.power(factor.astype(np.float64), np.maximum(beyond, 0)) - 1
            rise = np.clip(rise, -LARGEST, LARGEST).astype(precision.arithmetic)
            new = np.clip(x + np.abs(x) * rise.astype(np.float64), -LARGEST, LARGEST)
        same = (x == -np.inf) | (x == 0) | (beyond <= 0) | (factor == 1)
        row, place = np.indices(x.shape).reshape(2, -1)
        scatter(rows, row, ends[place], np.where(same, x, new).reshape(-1))
