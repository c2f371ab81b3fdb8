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

LOOKS = 256, 1 << 11, 1 << 14
"""How many of the most likely tokens a scan looks at, one after another."""

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
        As of `Transform`.
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
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True

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

    @property
    def can_scan(self) -> bool:
        """Whether the rest of a tie goes by id, and the token that takes the mass to p stays."""
        return self.ties == "lowest" and self.at_p == "drop" and self.crossing == "keep"

    @property
    def can_prefix(self) -> bool:
        """Whether a prefix of the sorted row stays: never."""
        return False

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Look for the mass p among the most likely tokens, by bounds of the average depth."""
        return [_scanned(scan, p) for scan, p in scans]

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


def _scanned(scan: Any, p: float) -> IntArray | None:
    """Return the most typical tokens of a row that hold the mass p, or None."""
    for mass, depth in scan.known("depth"):
        for count in LOOKS:
            if count >= len(scan.row):
                break
            tokens, logits = scan.best(count)
            descending = np.sort(logits)[::-1]
            enough, places = _most_typical(-shifted(descending[None])[0], mass, depth, p)
            if places is not None:
                return _stretch(tokens, logits, descending[places])
            if enough:
                break
    return None


def _stretch(tokens: IntArray, logits: FloatArray, kept: FloatArray) -> IntArray | None:
    """Return the tokens of the logits that stay, of equal ones at the edge those of lowest ids."""
    edge = kept[-1]
    keep = (logits >= kept.min()) & (logits <= kept.max()) & (logits != edge)
    at_edge = np.flatnonzero(logits == edge)
    missing = len(kept) - np.count_nonzero(keep)
    if not 0 < missing <= len(at_edge):
        return None
    keep[at_edge[:missing]] = True
    return np.asarray(tokens[keep])


def _most_typical(
    depths: NDArray[np.float64], mass: tuple[float, float], depth: tuple[float, float], p: float
) -> tuple[bool, IntArray | None]:
    """Return whether the first tokens of a row are enough, and which of them stay, if it is sure.

    Parameters
    ----------
    depths : ndarray, shape (n,)
        Those of the first tokens, increasing; all others are deeper.
    mass, depth : tuple of float
        Bounds of the mass of the row, and of the average depth.
    p : float
    """
    typical, close = sum(depth) / 2, 1e-12 * (1 + depth[1])
    doubt = 2 * (close + (depth[1] - depth[0]) / 2)  # of the difference of two deviations
    deviations = np.abs(depths - typical)
    order = np.argsort(deviations, kind="stable")
    sums = np.cumsum(np.exp(-depths[order]))
    fewest, most = sums.searchsorted(p * mass[0]), sums.searchsorted(p * mass[1])
    if most == len(sums):
        return False, None
    last = order[most]
    if deviations[last] + doubt >= depths[-1] - typical:
        return False, None
    # On one side of the average, tokens come in the order of their depths, wherever it is.
    other = (np.abs(deviations - deviations[last]) <= doubt) & (depths != depths[last])
    other &= ((depths > typical) != (depths[last] > typical)) | (
        np.abs(depths - depths[last]) <= close
    )
    if fewest < most or deviations[last] <= doubt or other.any():
        return True, None
    return True, order[: most + 1]


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
        return np.asarray(np.abs(gap, out=gap))


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
