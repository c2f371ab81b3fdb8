"""Typical sampling: not the most likely tokens, but those that surprise as one would expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import probabilities, rounded_log_mass, rounded_log_softmax, shifted
from logitlab.steps.candidate_order.sorts import sort
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.truncation import AT_P, TIES
from numpy.typing import ArrayLike, NDArray

__all__ = ["TypicalP", "typical_p"]

_NOTHING = -700.0  # a token this far below the largest has no probability

CROSSING = {
    "keep": Words("stays", "keeps the token that takes the mass to {key}"),
    "drop": Words("goes", "drops the token that takes the mass to {key}, if it is not the first"),
}


def typical_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    ties: str = "lowest",
    at_p: str = "drop",
    crossing: str = "keep",
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
    ties : {"lowest", "all", "introsort"}
        Which of the tokens that deviate as much as the last one stay: as many as it takes, the
        more likely ones and those of lower ids first; or all; or as many as it takes, in the order
        in which libstdc++'s ``std::sort`` leaves the deviations.
    at_p : {"drop", "keep"}
        What happens to a token if those before it hold exactly p.
    crossing : {"keep", "drop"}
        Whether the token that takes the mass to p or beyond stays, if it is not the first.

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
    It is no prefix cut: what stays is neither the beginning nor the end of the sorted row, but a
    stretch of it. With ``x_max - x`` for the depth of a token, ``d_i`` is how far its depth is from
    the average depth.

    transformers and TGI keep all tokens that deviate as much as the last one; llama.cpp and
    KoboldCpp keep one token more at exact equality. Aphrodite drops the token that takes the mass
    to p: ``TypicalP(p, "introsort", crossing="drop")``. exllamav2's formula is another one, by a
    slip; exllamav3 has none.

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
    return TypicalP(p, ties, at_p, crossing)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TypicalP(Truncation):
    """The step `typical_p` with its value chosen.

    Examples
    --------
    >>> TypicalP(0.1)([3.0, 2.0, 2.0, 2.0])
    array([-inf,   2., -inf, -inf])
    """

    p: ArrayLike
    ties: str = option("lowest", {name: TIES[name] for name in ("lowest", "all", "introsort")})
    at_p: str = option("drop", AT_P)
    crossing: str = option("keep", CROSSING)

    key: ClassVar[str] = "typical_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0

    @property
    def sees_removed(self) -> bool:
        """Whether the place of every token has a say in which of equal ones stay."""
        return self.ties == "introsort"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep the first tokens, by deviation from the entropy, whose sum reaches p."""
        # Sorted by likelihood, deviations fall and rise again: two runs, which a merge sorts.
        descending = np.sort(rows, axis=-1)[:, ::-1]
        probs, typical = _measured(descending, dtype)
        deviations = typical.deviations(descending)
        of_rows = typical.deviations(rows)
        if self.ties == "introsort":
            probs = _measured(rows, dtype)[0]
            order = np.array([sort(-row) for row in of_rows])
            count = self._size(np.take_along_axis(probs, order, -1), value, dtype)
            keep = np.zeros(rows.shape, bool)
            np.put_along_axis(keep, order, np.arange(rows.shape[-1]) < count, -1)
            return keep
        order = np.argsort(deviations, axis=-1, kind="stable")
        count = self._size(np.take_along_axis(probs, order, -1), value, dtype)
        place = np.take_along_axis(order, count - 1, -1)
        last = np.take_along_axis(deviations, place, -1)
        if self.ties == "all":
            return np.asarray(of_rows <= last)
        # Of those that deviate as much, the more likely ones; of equal ones the lowest ids.
        edge = np.take_along_axis(descending, place, -1)
        keep = (of_rows < last) | ((of_rows == last) & (rows > edge))
        missing = count - keep.sum(axis=-1, keepdims=True)
        for i in range(len(rows)):
            keep[i, np.flatnonzero(rows[i] == edge[i])[: missing[i, 0]]] = True
        return np.asarray(keep)

    def _size(self, probs: FloatArray, p: NDArray[Any], dtype: type[Any]) -> IntArray:
        """Return how many tokens stay, given their probabilities in order, shape (n, 1)."""
        mass = np.cumsum(probs, axis=-1, dtype=np.float64).astype(dtype)
        limit = p.astype(dtype)
        inside = mass < limit if self.at_p == "drop" else mass <= limit
        size = mass.shape[-1]
        count = inside.sum(axis=-1, keepdims=True) + (self.crossing == "keep")
        return np.asarray(np.where(p == 1, size, np.clip(count, 1, size)))

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort by deviation, and keep those up to the one that takes the mass beyond p."""
        candidates.take_typical(value)
        return True


class _Typical(NamedTuple):
    """What a row's deviations are measured from, each of shape (n, 1).

    Attributes
    ----------
    top : ndarray
        The largest logit.
    mass : ndarray or None
        The logarithm of the mass, for log-probabilities that are rounded.
    surprise : ndarray
        The entropy, of log-probabilities, or the average depth.
    """

    top: NDArray[Any]
    mass: NDArray[Any] | None
    surprise: NDArray[Any]

    def deviations(self, rows: FloatArray) -> NDArray[Any]:
        """Return how far the surprise of each token is from the typical one."""
        with np.errstate(over="ignore"):  # further apart than float64 reaches
            gap = np.subtract(rows, self.top, dtype=self.top.dtype)
        if self.mass is not None:
            gap -= self.mass
        gap += self.surprise
        return np.abs(gap, out=gap)


def _measured(rows: FloatArray, dtype: type[Any]) -> tuple[NDArray[Any], _Typical]:
    """Return the probabilities, and what deviations are measured from."""
    top = rows.max(axis=-1, keepdims=True).astype(dtype)
    if dtype != np.float64:
        # As torch rounds: log-softmax, its exponential, and the sum of the terms.
        logprobs = rounded_log_softmax(rows)
        terms = np.exp(logprobs.astype(np.float64)).astype(dtype)
        with np.errstate(invalid="ignore"):
            terms *= logprobs
        entropy = -np.nansum(terms, axis=-1, keepdims=True, dtype=np.float64).astype(dtype)
        return probabilities(rows, dtype), _Typical(top, rounded_log_mass(rows), entropy)
    gap = shifted(rows)
    np.maximum(gap, _NOTHING, out=gap)
    weight = np.exp(gap)
    weight[gap <= _NOTHING] = 0
    # The sums run down the sorted row, so that they do not depend on who stands where.
    total = np.cumsum(weight, axis=-1)[:, -1:]
    gap *= weight
    depth = -np.cumsum(gap, axis=-1, out=gap)[:, -1:] / total
    weight /= total
    return weight, _Typical(top, None, depth)
