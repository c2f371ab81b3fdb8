"""Typical sampling: not the most likely tokens, but those that surprise as one would expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray
from logitlab.checks import Range
from logitlab.numerics import shifted, weights
from logitlab.steps.step import Truncation, option
from logitlab.steps.truncation import AT_P, TIES
from numpy.typing import ArrayLike, NDArray

__all__ = ["TypicalP", "typical_p"]


def typical_p(
    logits: ArrayLike, p: ArrayLike, *, ties: str = "lowest", at_p: str = "drop"
) -> FloatArray:
    """Keep the most typical tokens: those whose surprise is nearest to the entropy.

    With ``H = -sum_j p_j ln p_j`` and ``d_i = |-ln p_i - H|``: the fewest tokens of least ``d``
    that hold at least the mass ``p``. The most likely token may go, where it is too likely.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64. Tokens already removed hold no mass: the survivors'
        probabilities add up to 1.
    p : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 1 keeps all, 0 keeps the most typical one. The token that takes the mass to p or
        beyond stays; at exact equality no further one does.
    ties : {"lowest", "all"}
        Which of the tokens that deviate as much as the last one stay: as many as it takes, the
        more likely ones and those of lower ids first, or all.
    at_p : {"drop", "keep"}
        What happens to a token if those before it hold exactly p.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

    Raises
    ------
    ParameterError
        If ``p`` is outside [0, 1], NaN, or does not broadcast, or an option is unknown.

    Notes
    -----
    It is no prefix cut: what stays is neither the beginning nor the end of the sorted row. So it
    runs densely, or on the candidates that an earlier truncation has left.

    transformers keeps all tokens that deviate as much as the last one; llama.cpp and KoboldCpp
    keep one token more at exact equality.

    References
    ----------
    C. Meister, T. Pimentel, G. Wiher and R. Cotterell, "Locally Typical Sampling", TACL 2023,
    https://arxiv.org/abs/2202.00666

    Examples
    --------
    The most likely token has a surprise of 0.11 nats, and the entropy is 0.47:

    >>> typical_p(np.log([0.9, 0.04, 0.03, 0.03]), 0.05)
    array([-0.10536052,        -inf,        -inf,        -inf])
    >>> typical_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.2)
    array([       -inf, -1.38629436,        -inf,        -inf])
    """
    return TypicalP(p, ties, at_p)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TypicalP(Truncation):
    """The step `typical_p` with its value chosen.

    Examples
    --------
    >>> TypicalP(0.1)([3.0, 2.0, 2.0, 2.0])
    array([-inf,   2., -inf, -inf])
    """

    p: ArrayLike
    ties: str = option("lowest", {name: TIES[name] for name in ("lowest", "all")})
    at_p: str = option("drop", AT_P)

    key: ClassVar[str] = "typical_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep the first tokens, by deviation from the entropy, whose sum reaches p."""
        # The two sums run down the sorted row, so that they do not depend on who stands where.
        below = shifted(np.sort(rows, axis=-1)[:, ::-1])
        weight = np.exp(below)
        total = np.cumsum(weight, axis=-1)[:, -1:]
        depth = np.cumsum(weight * np.where(weight > 0, -below, 0), axis=-1)[:, -1:]
        surprise = np.log(total) - shifted(rows)
        deviation = np.abs(surprise - (np.log(total) + depth / total)).astype(dtype)
        order = np.lexsort((-rows, deviation))
        probs = (weights(rows) / total).astype(dtype)
        mass = np.cumsum(np.take_along_axis(probs, order, -1), axis=-1, dtype=np.float64)
        before, limit = mass[:, :-1].astype(dtype), value.astype(dtype)
        inside = before < limit if self.at_p == "drop" else before <= limit
        count = 1 + inside.sum(axis=-1, keepdims=True)
        count = np.where(value == 1, rows.shape[-1], count)
        rank = np.empty(rows.shape, np.intp)
        np.put_along_axis(rank, order, np.arange(rows.shape[-1])[None], -1)
        if self.ties == "lowest":
            return np.asarray(rank < count)
        last = np.take_along_axis(deviation, np.take_along_axis(order, count - 1, -1), -1)
        return np.asarray(deviation <= last)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort by deviation, and keep those up to the one that takes the mass beyond p."""
        candidates.take_typical(value)
        return True
