"""`tfs`, tail-free sampling: a cut where the curve of the sorted probabilities has flattened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, IntArray
from logitlab.checks import Range
from logitlab.numerics import probabilities
from logitlab.steps.step import Truncation, Words, option
from logitlab.steps.truncation import TIES, largest
from numpy.typing import ArrayLike, NDArray

__all__ = ["Tfs", "tfs"]

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
        float16, float32 or float64.
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
        New logits of the same dtype, removed tokens at ``-inf``.

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

    @property
    def sees_removed(self) -> bool:
        """Whether removed tokens are part of the curve, or of the sort."""
        return self.removed == "zero" or self.ties == "introsort"

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
