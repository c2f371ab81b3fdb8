"""`top_h`: as many of the most likely tokens as leave a given part of the entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import rounded_weights, shifted, torch_softmax, torch_sums
from logitlab.steps.candidate_order.sorts import torch_top
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.truncation import TIES, front, largest
from numpy.typing import ArrayLike, NDArray

LOOKS = 256, 1 << 13
"""How many of the most likely tokens a scan looks at: at first, and then."""

__all__ = ["TopH", "top_h"]

MEASURED = {
    "survivors": Words("of the survivors", "measures the entropy of what is kept, renormalised"),
    "terms": Words("terms of it", "adds up terms of the entropy, without renormalising"),
}
H_TIES = {
    **{name: TIES[name] for name in ("lowest", "all")},
    "topk": Words("as torch.topk leaves", "keeps those of equal tokens that torch.topk favours"),
}


def top_h(
    logits: ArrayLike,
    alpha: ArrayLike,
    *,
    entropy: str = "survivors",
    among: int = 0,
    ties: str = "lowest",
) -> FloatArray:
    """Keep as many of the most likely tokens as have an entropy of at most ``alpha * H``.

    With H the entropy of the row and q the first tokens of it, renormalised: the most for which
    ``H(q) <= alpha H``. H(q) grows with each of them.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    alpha : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 1 keeps all, 0 keeps one. Equality keeps.
    entropy : {"survivors", "terms"}
        What is compared: the entropy of q, or the sum of ``-p ln p`` over the first tokens, p being
        their probability in the row. Which of the two is larger depends on the row.
    among : int
        So many of the most likely tokens are the row: what is beyond is removed, and has no part in
        the entropy, not even at ``alpha=1``. 0 takes all.
    ties : {"lowest", "all", "topk"}
        Which of the tokens equal to the last one stay: those of the lowest ids, or all of them, or
        those that ``torch.topk(x, among)`` leaves in front on a CPU.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``alpha`` is outside [0, 1], NaN, or does not broadcast, or an option is unknown.

    Notes
    -----
    The paper states the first rule and a greedy search for the most diverse set that keeps it,
    which is this prefix. transformers adds up terms over the 100 largest logits, as the authors'
    code does: ``TopH(alpha, "terms", 100, "topk")``. There 1 is not neutral: what is beyond the
    100 goes, and often the last of them, for two sums of the same terms round differently.

    References
    ----------
    E. Potraghloo et al., "Top-H Decoding: Adapting the Creativity and Coherence with Bounded
    Entropy in Text Generation", https://arxiv.org/abs/2509.02510

    Examples
    --------
    H is 1.21 nats, and that of 2 : 1 is 0.64:

    >>> top_h(np.log([0.5, 0.25, 0.125, 0.125]), 0.6)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return TopH(alpha, entropy, among, ties)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class TopH(Truncation):
    """The step `top_h` with its value chosen.

    Examples
    --------
    >>> TopH(0.5)([3.0, 0.0, 2.0])
    array([ 3., -inf, -inf])
    """

    alpha: ArrayLike
    entropy: str = option("survivors", MEASURED)
    among: int = option(0, rule=Range(0, integer=True))
    ties: str = option("lowest", H_TIES)

    key: ClassVar[str] = "top_h"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True

    @property
    def is_neutral(self) -> bool:
        """Whether alpha is 1 in all rows, and no rounding and no rank has a say."""
        return not self.among and self.entropy == "survivors" and super().is_neutral

    @property
    def sees_removed(self) -> bool:
        """Whether the place of every token has a say in which of equal ones stay."""
        return self.ties == "topk"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep the first tokens of the sorted row up to the entropy alpha H."""
        size = rows.shape[-1]
        first = min(self.among or size, size)
        if first < size:
            descending = np.sort(np.partition(rows, size - first, axis=-1)[:, size - first :])
        else:
            descending = np.sort(rows, axis=-1)
        descending = descending[:, ::-1]
        count = self._size(descending, value, dtype)
        last = np.take_along_axis(descending, count - 1, axis=-1)
        if self.ties != "topk":
            return largest(rows, count, last, self.ties)
        keep = largest(rows, count, last, "all")
        for i in np.flatnonzero(keep.sum(axis=-1) > count[:, 0]):
            keep[i] = False
            keep[i, torch_top(rows[i], first)[: count[i, 0]]] = True
        return keep

    @property
    def can_scan(self) -> bool:
        """Whether it is the entropy of the survivors of the whole row, and no sort has a say."""
        return self.entropy == "survivors" and not self.among and self.ties != "topk"

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Look for the end among the most likely tokens, by bounds of the entropy."""
        return [self._scanned(scan, alpha) for scan, alpha in scans]

    def _scanned(self, scan: Any, alpha: float) -> IntArray | None:
        known, count = scan.known("depth"), LOOKS[0]
        tokens, logits = scan.best(min(count, len(scan.row)))
        descending = np.sort(logits)[::-1]
        entropies = _entropies(descending[None])[0]
        for mass, depth in known:
            limits = [alpha * (math.log(m) + d) for m, d in zip(mass, depth, strict=True)]
            doubt = 1e-10 * (1 + limits[1])
            if limits[0] < 1e-6:  # hardly any entropy: what is rounding decides
                return None
            if entropies[-1] <= limits[1] + doubt and len(tokens) < len(scan.row) // 2:
                tokens, logits = scan.best(min(LOOKS[1], len(scan.row)))
                descending = np.sort(logits)[::-1]
                entropies = _entropies(descending[None])[0]
            fewest = int((entropies[1:] > limits[0] - doubt).argmax())
            most = int((entropies[1:] > limits[1] + doubt).argmax())
            if entropies[-1] > limits[1] + doubt and fewest == most:
                return np.asarray(tokens[front(logits, descending, 1 + most, self.ties)])
        return None

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare the entropies of prefixes, but for what other sums could decide otherwise."""
        limit = values * order.entropies[order.last(n)]
        doubt = (len(order) + 8) * 2.0**-50 * (1 + limit)
        most = np.maximum(order.entropies.searchsorted(limit + doubt, "right"), 1)
        least = np.maximum(order.entropies.searchsorted(limit - doubt, "right"), 1)
        off = values == 1
        count = order.with_ties(np.where(off, n, np.minimum(n, most)), n, self.ties)
        unsure = np.minimum(n, least) != np.minimum(n, most)
        unsure |= limit < 1e-9  # what is left out of the sums has a say
        return count, np.asarray(~off & unsure)

    def _size(self, descending: FloatArray, value: NDArray[Any], dtype: type[Any]) -> IntArray:
        """Return how many tokens of each sorted row stay, shape (n, 1)."""
        if self.entropy == "terms":
            sums, whole = _terms(descending, dtype)
            with np.errstate(invalid="ignore"):  # NaN from a probability of 0: it does not stay
                beyond = ~(sums[:, 1:] <= value.astype(dtype) * whole)
        else:
            sums = _entropies(descending)
            beyond = (sums[:, 1:] > value * sums[:, -1:]) & (value < 1)
            # A token without any mass adds nothing, and belongs to no part of an entropy of 0.
            beyond |= (sums[:, -1:] == 0) & (value < 1) & (descending[:, 1:] < descending[:, :1])
        beyond = np.pad(beyond, ((0, 0), (0, 1)), constant_values=True)
        return np.asarray(1 + beyond.argmax(axis=-1, keepdims=True))


def _entropies(descending: FloatArray) -> NDArray[np.float64]:
    """Return the entropy of the first n tokens of each sorted row, renormalised, for every n."""
    gap = shifted(descending)
    weight = np.exp(np.maximum(gap, -700, out=gap))
    weight[gap <= -700] = 0
    mass = np.cumsum(weight, axis=-1)
    weight *= gap
    depth = np.cumsum(weight, axis=-1, out=weight)
    depth /= mass
    return np.asarray(np.log(mass, out=mass) - depth)


def _terms(descending: FloatArray, dtype: type[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return running sums of -p ln p of each sorted row, and the entropy of the whole."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if dtype == np.float64:
            gap = shifted(descending)
            logprobs = gap - np.log(np.exp(gap).sum(axis=-1, keepdims=True))
            probs = np.exp(logprobs)
            terms = -probs * np.log(probs)
        else:
            # As torch's Categorical: log-probabilities by logsumexp, then the softmax of those.
            total = np.log(torch_sums(rounded_weights(descending)).astype(np.float64))
            logprobs = descending.astype(dtype) - (total.astype(dtype) + descending[:, :1])
            probs = torch_softmax(logprobs)
            terms = -probs * np.log(probs.astype(np.float64)).astype(dtype)
        depth = np.where(probs > 0, probs * logprobs, 0)
        is_double = dtype == np.float64
        whole = -(depth.sum(axis=-1, keepdims=True) if is_double else torch_sums(depth))
    return np.cumsum(terms, axis=-1, dtype=np.float64).astype(dtype), whole.astype(dtype)
