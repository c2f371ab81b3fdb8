"""Truncations that count from the top: `top_k` keeps k tokens, `top_p` as many as hold the mass p.

Each stands with its class below: `keep` is the equation as a mask, `scan` and `prefix` are ways
to the same mask with less work, `reorder` is what llama.cpp does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import lane_sums, probabilities, rounded_weights, weights
from logitlab.steps.candidate_order.sorts import in_front
from logitlab.steps.step import Truncation, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["TopK", "TopP", "front", "largest", "top_k", "top_p"]

TIES = {
    "lowest": Words("lowest ids", "keeps the lowest ids of equal tokens"),
    "highest": Words("highest ids", "keeps the highest ids of equal tokens"),
    "all": Words("all", "keeps all equal tokens"),
    "introsort": Words("as introsort leaves", "keeps those of equal tokens that introsort favours"),
}
AT_P = {
    "drop": Words("drops", "drops a token if those before it hold exactly {key}"),
    "keep": Words("keeps", "keeps a token if those before it hold exactly {key}"),
}

_MANY = 1 << 12  # tokens of a row, beyond which rows are counted one by one


def largest(
    rows: FloatArray,
    count: NDArray[Any],
    threshold: FloatArray,
    ties: str = "lowest",
    sorted_as: FloatArray | None = None,
    rising: bool = False,
) -> BoolArray:
    """Mask of the ``count`` largest entries of every row, given the smallest of them.

    Parameters
    ----------
    rows : ndarray, shape (n, V)
    count : ndarray of int, shape (n, 1) or (1, 1)
        How many to keep, 1 to V.
    threshold : ndarray, shape (n, 1)
        The ``count``-th largest entry of the row.
    ties : {"lowest", "highest", "all", "introsort"}
        Which of the entries equal to the threshold stay: those with the lowest or the highest
        index, exactly ``count`` in all, or all of them; or as `top_k` says.
    sorted_as : ndarray, shape (n, V), optional
        What introsort has sorted instead of these rows: the same before entries were removed, or
        what grows with them. It tells which entries are equal, then.
    rising : bool
        Whether introsort leaves the smallest entry first.
    """
    if ties == "introsort" and sorted_as is not None:
        threshold = np.where(rows == threshold, sorted_as, np.inf).min(axis=-1, keepdims=True)
        rows = sorted_as
    keep = rows >= threshold
    if ties == "all":
        return keep
    if keep.shape[1] > _MANY:
        kept = np.array(list(map(np.count_nonzero, keep)))[:, None]
    else:
        kept = keep.sum(axis=-1, keepdims=True)
    surplus = kept - count
    for row in np.flatnonzero(surplus > 0):
        if ties == "introsort":
            values = rows[row]
            size = int(np.broadcast_to(count, surplus.shape)[row, 0])
            keep[row] = ~in_front(-values, len(values) - size) if rising else in_front(values, size)
            continue
        tied = np.flatnonzero(rows[row] == threshold[row])
        extra = int(surplus[row, 0])
        keep[row, tied[-extra:] if ties == "lowest" else tied[:extra]] = False
    return keep


def front(logits: FloatArray, descending: FloatArray, size: int, ties: str) -> BoolArray:
    """Mask of the ``size`` largest of some logits, which are also given in descending order."""
    count, last = np.array([[size]]), descending[None, size - 1, None]
    return np.asarray(largest(logits[None], count, last, ties)[0])


def top_k(logits: ArrayLike, k: ArrayLike, *, ties: str = "lowest") -> FloatArray:
    """Keep the ``k`` most likely tokens.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    k : array_like of int, broadcasting to the batch shape (...)
        At least 0. 0 and k >= V keep all; 1 keeps the most likely token.
    ties : {"lowest", "highest", "all", "introsort"}
        Which of the tokens equal to the k-th stay: those with the lowest or the highest ids,
        exactly k in all, or all of them. "introsort" is exactly k, too: those that libstdc++'s
        ``std::sort`` of the row leaves in front. Up to 16 tokens these are the lowest ids; beyond,
        every token of the row has a say, removed ones included.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``k`` is negative, not an integer, or does not broadcast, or ``ties`` is unknown.

    Notes
    -----
    transformers and vLLM's torch sampler keep all ties; SGLang, llama.cpp and mlx-lm keep exactly
    k.

    References
    ----------
    A. Fan, M. Lewis and Y. Dauphin, "Hierarchical Neural Story Generation", ACL 2018.

    Examples
    --------
    >>> top_k([1.0, 3.0, 2.0, 2.0], 2)
    array([-inf,   3.,   2., -inf])
    >>> top_k([1.0, 3.0, 2.0, 2.0], 2, ties="all")
    array([-inf,   3.,   2.,   2.])
    """
    return TopK(k, ties)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TopK(Truncation):
    """The step `top_k` with its value chosen.

    Examples
    --------
    >>> TopK(2)([1.0, 3.0, 2.0])
    array([-inf,   3.,   2.])
    """

    k: ArrayLike
    ties: str = option("lowest", TIES)

    key: ClassVar[str] = "top_k"
    rule: ClassVar[Range] = Range(0, integer=True)
    neutral: ClassVar[float] = 0
    scanned_from: ClassVar[int] = 1 << 11

    @property
    def can_scan(self) -> bool:
        """Whether the largest logits tell which tokens stay."""
        return not self.sees_removed

    def keep(
        self,
        rows: FloatArray,
        value: NDArray[Any],
        dtype: type[Any] = np.float64,
        sorted_as: FloatArray | None = None,
    ) -> BoolArray:
        """Keep the logits that reach the k-th largest."""
        size = rows.shape[-1]
        count = np.where((value == 0) | (value >= size), size, value)
        place = (size - count).ravel().astype(np.intp)
        parted = np.partition(rows, np.unique(place) if place.size > 1 else place, axis=-1)
        last = parted[np.arange(len(rows)), place][:, None]
        return largest(rows, count, last, self.ties, sorted_as)

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Take what reaches a logit that at least k tokens reach."""
        return [
            scan.reaching(scan.threshold(k)) if k < len(scan.row) else None for scan, k in scans
        ]

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, None]:
        """Take the first k, and what is equal to the last of them."""
        return order.with_ties(np.where(values == 0, n, np.minimum(n, values)), n, self.ties), None

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort the k best to the front."""
        candidates.take_first(int(value))
        return True


def top_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    ties: str = "lowest",
    at_p: str = "drop",
    sums: str = "descending",
) -> FloatArray:
    """Keep the nucleus: the fewest most likely tokens that hold at least the mass ``p``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    p : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 1 keeps all, 0 keeps one. The token that takes the mass to p or beyond stays;
        at exact equality no further one does.
    ties : {"lowest", "highest", "all", "introsort"}
        Which of the tokens equal to the last one of the nucleus stay, as in `top_k`. Where sums
        are ascending, so is the sort of "introsort": up to 16 tokens the highest ids stay.
    at_p : {"drop", "keep"}
        What happens to a token if those before it hold exactly p.
    sums : {"descending", "ascending"}
        "descending" adds up from the most likely token until p is reached, "ascending" from the
        least likely one as long as no more than ``1 - p`` is removed. The two differ by rounding
        only. In chains of single or mixed precision "ascending" rounds as torch's softmax does with
        eight lanes (AVX2).

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``p`` is outside [0, 1], NaN, or does not broadcast, or an option is unknown.

    Notes
    -----
    Sums run in float64 from the most likely token down, and the quotient of two sums is compared
    with p. So the nucleus of ten equal tokens at ``p=0.3`` holds three: 3 / 10 rounds to the very
    float that is written 0.3. Where the probabilities themselves are rounded, equality in decimals
    is a matter of the last bit: that of ``ln [0.5, 0.3, 0.2]`` at ``p=0.8`` holds all three.
    Applying top-p twice can remove more than once, since the survivors are renormalised in between.

    vLLM and transformers add up ascending, and what stays of ties is as torch sorts: by introsort
    on a CPU, so that the highest ids stay on CUDA only. mlx-lm keeps all; SGLang keeps one token
    more at exact equality, and measures the mass before top-k.

    References
    ----------
    A. Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020.

    Examples
    --------
    >>> top_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.6)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return TopP(p, ties, at_p, sums)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TopP(Truncation):
    """The step `top_p` with its value chosen.

    Examples
    --------
    >>> TopP(0.9)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    p: ArrayLike
    ties: str = option("lowest", TIES)
    at_p: str = option("drop", AT_P)
    sums: str = option("descending", {"descending": None, "ascending": None})

    key: ClassVar[str] = "top_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0
    scanned_from: ClassVar[int] = 1 << 13
    is_scan_exact: ClassVar[bool] = True

    def keep(
        self,
        rows: FloatArray,
        value: NDArray[Any],
        dtype: type[Any] = np.float64,
        sorted_as: FloatArray | None = None,
    ) -> BoolArray:
        """Keep the first tokens of the sorted row whose sum reaches p."""
        descending = np.sort(rows, axis=-1)[:, ::-1]
        count = self._size(descending, value, dtype)
        last = descending[np.arange(len(rows)), count.ravel() - 1]
        rising = self.sums == "ascending"
        return largest(rows, count, last[:, None], self.ties, sorted_as, rising)

    def _size(self, descending: FloatArray, p: NDArray[Any], dtype: type[Any]) -> NDArray[Any]:
        """Return how many tokens the nucleus of each sorted row holds, shape (n, 1)."""
        size = descending.shape[-1]
        if dtype == np.float64 and self.sums == "descending":
            mass = np.cumsum(weights(descending), axis=-1)
            mass /= mass[:, -1:]
        else:
            probs = self._probabilities(descending, dtype)
            mass = np.cumsum(probs, axis=-1, dtype=np.float64).astype(dtype)
        before = mass[:, :-1]
        if self.sums == "ascending":
            rest = (1 - p).astype(dtype)
            gone = before <= rest if self.at_p == "drop" else before < rest
            count = size - gone.sum(-1, keepdims=True)
        else:
            limit = p.astype(dtype)
            inside = before < limit if self.at_p == "drop" else before <= limit
            count = 1 + inside.sum(-1, keepdims=True)
        return np.asarray(np.where(p == 1, size, count))

    def _probabilities(self, descending: FloatArray, dtype: type[Any]) -> FloatArray:
        """Return probabilities in the order in which they are added up."""
        if self.sums == "descending":
            return probabilities(descending, dtype)
        rising = descending[:, ::-1]
        if dtype == np.float64:
            return probabilities(rising, dtype)
        weight = rounded_weights(rising)
        weight *= 1 / lane_sums(weight)
        return weight

    @property
    def can_scan(self) -> bool:
        """Whether sums run down from the most likely token, and the crossing one is the last."""
        return self.at_p == "drop" and self.can_prefix

    @property
    def can_prefix(self) -> bool:
        """Whether sums run down from the most likely token, and no introsort decides on ties."""
        return self.sums == "descending" and not self.sees_removed

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Look for the nucleus among the most likely tokens, of all rows together."""
        tokens: list[IntArray | None] = scans.nuclei(self.ties)
        return tokens

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, None]:
        """Take what the running sums say."""
        count = np.where(values == 1, n, order.nucleus_size(n, values, self.at_p))
        return order.with_ties(count, n, self.ties), None

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort as many to the front as hold the mass p."""
        candidates.take_nucleus(value)
        return True
