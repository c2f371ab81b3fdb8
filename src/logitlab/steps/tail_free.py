"""`tfs`, tail-free sampling: a cut where the curve of the sorted probabilities has flattened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import probabilities, weights
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.truncation import TIES, front, largest
from numpy.typing import ArrayLike, NDArray

__all__ = ["Tfs", "tfs"]

LOOKS = 256, 1 << 11, 1 << 14
"""How many of the most likely tokens a scan looks at, one after another."""

CROSSING = {
    "keep": Words("stays", "keeps the token at which the curve crosses {key}"),
    "drop": Words(
        "goes", "drops the token at which the curve crosses {key}, if it is not the first"
    ),
}
LAST = {
    "drop": Words("goes", "drops the least likely token in any case"),
    "keep": Words("may stay", "may keep the least likely token"),
}
FLAT = {
    "keep": Words("nothing", "cuts nothing of a flat row"),
    "spread": Words("a share", "cuts the share {key} of a flat row"),
}
ZEROS = {
    "skip": Words("are left out", "leaves removed tokens out of the curve"),
    "zero": Words("end the curve", "ends the curve in removed tokens, of probability 0"),
}


def tfs(
    logits: ArrayLike,
    z: ArrayLike,
    *,
    crossing: str = "keep",
    last: str = "drop",
    flat: str = "keep",
    removed: str = "skip",
    ties: str = "lowest",
) -> FloatArray:
    """Cut off the tail: where the sorted probabilities have bent by the part ``z`` of all bending.

    With p sorted, ``c_i = |p_i - 2 p_(i+1) + p_(i+2)|``, each divided by their sum: the crossing
    token is the first with ``c_0 + … + c_i > z``. It is the last that stays.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    z : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 1 keeps all, 0 keeps the most likely token.
    crossing : {"keep", "drop"}
        Whether the crossing token stays. Without it, one token less does, but at least one; and no
        row of two tokens is cut.
    last : {"drop", "keep"}
        Whether the least likely token goes in any case, if it is not the only one.
    flat : {"keep", "spread"}
        What a row without any bending is, up to 1e-6 in all: one without a crossing; or one that
        bends as much everywhere, so that the part z of it stays.
    removed : {"skip", "zero"}
        What tokens already removed are: nothing, or probabilities of 0 at the end of the curve, of
        which the last is the least likely token.
    ties : {"lowest", "highest", "all", "introsort"}
        Which of the tokens equal to the last one stay, as in `top_k`.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``z`` is outside [0, 1], NaN, or does not broadcast, or an option is unknown.

    Notes
    -----
    By default it is what the author wrote, who "centres the distribution around the cutoff" by one
    more token at the front, and one less at the end. So do text-generation-webui and Aphrodite, on
    whole rows in which removed tokens are zeros. KoboldCpp drops the crossing token and may keep
    the last; llama.cpp has given it up.

    References
    ----------
    T. Bricken, "Tail Free Sampling", 2019, https://www.trentonbricken.com/Tail-Free-Sampling/

    Examples
    --------
    The curve bends by 0.125 at the first of these tokens, and as much at the second:

    >>> tfs(np.log([0.5, 0.25, 0.125, 0.125]), 0.6)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    >>> tfs(np.log([0.5, 0.25, 0.125, 0.125]), 0.6, crossing="drop")
    array([-0.69314718,        -inf,        -inf,        -inf])
    """
    return Tfs(z, crossing, last, flat, removed, ties)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Tfs(Truncation):
    """The step `tfs` with its value chosen.

    Examples
    --------
    >>> Tfs(0.9)([3.0, 0.0, 2.0])
    array([ 3., -inf, -inf])
    """

    z: ArrayLike
    crossing: str = option("keep", CROSSING)
    last: str = option("drop", LAST)
    flat: str = option("keep", FLAT)
    removed: str = option("skip", ZEROS)
    ties: str = option("lowest", TIES)

    key: ClassVar[str] = "tfs"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0
    scanned_from: ClassVar[int] = 1 << 12
    is_scan_exact: ClassVar[bool] = True
    ordered_options: ClassVar[tuple[str, ...]] = ("crossing", "last", "flat")

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens are part of the curve, or of the sort."""
        return self.removed == "zero" or super().sees_removed

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep the first tokens of the sorted row, up to where it has bent by z."""
        descending = np.sort(rows, axis=-1)[:, ::-1]
        if self.removed == "zero":
            whole = np.full((len(rows), 1), rows.shape[-1])
        else:
            whole = (descending > -np.inf).sum(axis=-1, keepdims=True)
        bends = np.abs(np.diff(probabilities(descending, dtype), n=2))
        bends[np.arange(bends.shape[-1]) >= whole - 2] = 0  # beyond the survivors
        count = np.minimum(self._size(bends, whole, value, dtype), whole - (self.last == "drop"))
        count = np.where((value == 1) | (whole < self._least), whole, np.maximum(count, 1))
        last = np.take_along_axis(descending, count - 1, axis=-1)
        return largest(rows, count, last, self.ties)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and keep the first ones as KoboldCpp does, whose rule is the only one in order."""
        candidates.take_as_many(lambda probs: _kobold_size(probs, value))
        return True

    @property
    def can_scan(self) -> bool:
        """Whether nothing but the survivors has a say."""
        return not self.sees_removed

    def scan(self, scans: Any) -> list[IntArray | None]:
        """Look for the crossing among the most likely tokens: what is beyond bends but little."""
        return [self._scanned(scan, z) for scan, z in scans]

    def _scanned(self, scan: Any, z: float) -> IntArray | None:
        for count in LOOKS:
            if count >= len(scan.row):
                break
            tokens, logits = scan.best(count)
            if len(tokens) < 3:
                break
            descending = np.sort(logits)[::-1]
            weight = weights(descending[None])[0]
            bends = np.cumsum(np.abs(np.diff(weight, n=2)))
            # Beyond, the curve falls by no more than its height, and each fall bends it twice.
            total, rest = float(bends[-1]), 2 * float(weight[-2])
            doubt = 2.0**-50 * (float(weight.sum()) + len(scan.row) * total)
            if self.flat == "spread" and total < 1e-5 * len(scan.row):
                break
            crossing = int(bends.searchsorted(z * total - doubt, "right"))
            if crossing == bends.searchsorted(z * (total + rest) + doubt, "right") < len(bends):
                size = crossing + 1 if self.crossing == "keep" else max(crossing, 1)
                return np.asarray(tokens[front(logits, descending, size, self.ties)])
        return None

    def prefix(self, order: Any, n: IntArray, values: NDArray[Any]) -> tuple[IntArray, BoolArray]:
        """Compare with the bends of each prefix, but for what rounding could decide otherwise."""
        bends = np.append(0.0, order.bends)
        total = bends[np.clip(n - 2, 0, len(order.bends))]
        doubt = 2.0**-49 * order.mass[order.last(n)] + len(order) * 2.0**-50 * total
        kept = [self._kept(order.bends, n, values * total + sign * doubt) for sign in (-1, 1)]
        off = (values == 1) | (n < self._least)
        count = order.with_ties(np.where(off, n, kept[0]), n, self.ties)
        vague = (total <= 1e-5 * n) & (total > 0) | (self.flat == "spread") & (total <= 1e-5 * n)
        return count, np.asarray(~off & (vague | (kept[0] != kept[1])))

    def _kept(self, bends: NDArray[Any], n: IntArray, limit: NDArray[Any]) -> IntArray:
        crossing = bends.searchsorted(limit, "right")
        size = np.where(crossing < n - 2, crossing + (self.crossing == "keep"), n)
        return np.asarray(np.clip(size, 1, n - (self.last == "drop")))

    @property
    def _least(self) -> int:
        """How many tokens there have to be, so that one may go."""
        return 3 if self.crossing == "drop" else 2

    def _size(
        self, bends: NDArray[Any], whole: IntArray, z: NDArray[Any], dtype: type[Any]
    ) -> IntArray:
        """Return how many tokens stay by the bends of the curve, shape (n, 1)."""
        total = bends.sum(axis=-1, keepdims=True, dtype=np.float64).astype(dtype)
        with np.errstate(invalid="ignore"):  # a straight curve: NaN crosses nothing
            bends /= total
        beyond = np.cumsum(bends, axis=-1, dtype=np.float64).astype(dtype) > z.astype(dtype)
        if self.flat == "spread":
            share = np.arange(1, bends.shape[-1] + 1) / np.maximum(whole - 2, 1)
            beyond = np.where(total <= 1e-6, share > z, beyond)
        beyond = np.pad(beyond, ((0, 0), (0, 1)), constant_values=True)
        count = beyond.argmax(axis=-1, keepdims=True)
        crossed = count < np.maximum(whole - 2, 0)
        return np.asarray(np.where(crossed, count + (self.crossing == "keep"), whole))


def _kobold_size(probs: FloatArray, z: Any) -> int:
    """Return how many of the first tokens stay, with sums of float32 from left to right."""
    if len(probs) <= 2:
        return len(probs)
    slopes = probs[:-1] - probs[1:]
    bends = np.abs(slopes[:-1] - slopes[1:])
    total = np.cumsum(bends, dtype=np.float32)[-1]
    bends = bends / total if total > 1e-6 else np.full_like(bends, 1 / len(bends))
    beyond = np.cumsum(bends, dtype=np.float32) > z
    beyond[0] = False
    return int(beyond.argmax()) if beyond.any() else len(probs)
