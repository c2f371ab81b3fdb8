"""XTC, "exclude top choices": with some probability the most likely tokens go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray, check_left
from logitlab.checks import Range
from logitlab.numerics import probabilities
from logitlab.steps.candidate_order.sorts import sort
from logitlab.steps.ids import TokenIds
from logitlab.steps.step import RandomStep, RowStep, Truncation, Words, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["AveragedXtc", "ExcludeTopChoices", "Xtc", "xtc"]


LEAST = {
    "lowest": Words("lowest id", "keeps the lowest id of the least likely top choices"),
    "highest": Words("highest id", "keeps the highest id of the least likely top choices"),
    "all": Words("all", "keeps all of the least likely top choices"),
    "introsort": Words("as introsort leaves", "keeps the one that introsort leaves last"),
}
OF_REMOVED = {
    "skip": None,
    "counts": Words(
        "removed ones, too", "takes removed tokens for top choices at a threshold of 0"
    ),
}
AT_THRESHOLD = {
    "top": Words("a top choice", "counts a probability of exactly {key} as a top choice"),
    "below": Words("none", "counts a probability of exactly {key} as none"),
}
PROTECTION = {
    "apart": Words("no choices", "leaves protected tokens out of the choice"),
    "kept": Words("stay", "chooses among all tokens, and keeps protected ones"),
    "all": Words("stop it", "removes nothing if a protected token would go"),
}


def xtc(
    logits: ArrayLike,
    probability: ArrayLike,
    threshold: float = 0.1,
    *,
    ties: str = "lowest",
    at_threshold: str = "top",
    protected: Sequence[int] = (),
    protection: str = "apart",
    removed: str = "skip",
) -> FloatArray:
    """Exclude the top choices with a probability: the average over the coin.

    Of the tokens with ``p_i >= threshold`` all but the least likely are removed, if there are two
    or more; otherwise nothing happens. With p' for what is left, renormalised, and q for the
    probability this is the mixture ``q p' + (1 - q) p``: exactly what a coin, tossed for each
    token, draws from.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    probability : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 0 changes nothing, 1 always excludes.
    threshold : float
        In [0, 1]. Above 0.5 no two tokens reach it. 0 leaves the least likely token alone.
    ties : {"lowest", "highest", "all", "introsort"}
        Which of equal least likely top choices stay: the one of the lowest or of the highest id,
        all, or the one that libstdc++'s ``std::sort`` of the probabilities leaves last.
    at_threshold : {"top", "below"}
        What a token is that has exactly the threshold.
    protected : sequence of int
        Ids of tokens that never go, such as those of a newline and of the end. What is beyond the
        vocabulary protects nothing.
    protection : {"apart", "kept", "all"}
        They are no top choices; or they are, but stay; or nothing goes if one of them would.
    removed : {"skip", "counts"}
        Whether removed tokens are top choices where the threshold is 0: then they are the least
        likely, and nothing is left, which is an error.

    Returns
    -------
    ndarray, shape (..., V)
        Log-probabilities where the probability is neither 0 nor 1.

    Raises
    ------
    ParameterError
        If a value is outside [0, 1], or does not broadcast, or an option is unknown.

    Notes
    -----
    A `Chain` with `Xtc` in it is a mixture of two chains, since what follows sees one side of the
    coin. `sample` and `generate` toss it. `AveragedXtc` is the mixture as a step of its own: what
    follows sees both sides, and nothing is tossed.

    llama.cpp, KoboldCpp, mlx-lm, text-generation-webui and Aphrodite toss, as the author does,
    exllamav2 and exllamav3 average. llama.cpp keeps the one of equal least likely choices that its
    sort leaves last; mlx-lm all of them, and it asks for more than the threshold. Thresholds above
    0.5 switch it off in llama.cpp. mlx-lm keeps protected tokens, exllamav3 leaves them out of the
    choice; in the original nothing goes if one of them would.

    References
    ----------
    p-e-w, "Exclude Top Choices (XTC)", https://github.com/oobabooga/text-generation-webui/pull/6335

    Examples
    --------
    >>> np.exp(xtc(np.log([0.5, 0.25, 0.125, 0.125]), 0.5, 0.2)).round(4)
    array([0.25  , 0.375 , 0.1875, 0.1875])
    >>> xtc([2.0, 1.0, 0.0], 1.0, 0.05, protected=[0])
    array([  2., -inf,   0.])
    """
    options: Any = (ties, at_threshold, protected, protection, removed)
    return Xtc(probability, threshold, *options)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Xtc(RandomStep):
    """The step `xtc` with its values chosen.

    Examples
    --------
    >>> Xtc(1.0, threshold=0.2)([2.0, 1.0, 0.0])
    array([-inf,   1.,   0.])
    """

    probability: ArrayLike
    threshold: float = option(0.1, rule=Range(0, 1), name="xtc_threshold")
    ties: str = option("lowest", LEAST)
    at_threshold: str = option("top", AT_THRESHOLD)
    protected: tuple[int, ...] = option((), rule=TokenIds())
    protection: str = option("apart", PROTECTION)
    removed: str = option("skip", OF_REMOVED)

    key: ClassVar[str] = "xtc_probability"

    def acting(self) -> ExcludeTopChoices:
        """Return the truncation, of which a coin decides."""
        options = self.ties, self.at_threshold, self.protected, self.protection, self.removed
        return ExcludeTopChoices(self.threshold, *options)


@dataclass(frozen=True, eq=False, repr=False)
class AveragedXtc(RowStep):
    """`xtc` as one pure step: each excluded token loses as much as the coin takes from it.

    Every logit stays but those of what `ExcludeTopChoices` removes. With m for the mass of these
    and q for the probability, each of them is multiplied by ``(1 - q) / (1 + q m / (1 - m))``:
    renormalised, that is the average over the coin. exllamav3 has XTC in this form, with
    ``ties="highest"``.

    Examples
    --------
    >>> step = AveragedXtc(0.5, threshold=0.2)
    >>> np.exp(step(np.log([0.5, 0.25, 0.125, 0.125]))).round(4)
    array([0.1667, 0.25  , 0.125 , 0.125 ])
    """

    probability: ArrayLike
    threshold: float = option(0.1, rule=Range(0, 1), name="xtc_threshold")
    ties: str = option("lowest", LEAST)
    at_threshold: str = option("top", AT_THRESHOLD)
    protected: tuple[int, ...] = option((), rule=TokenIds())
    protection: str = option("apart", PROTECTION)
    removed: str = option("skip", OF_REMOVED)

    key: ClassVar[str] = "xtc_probability"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 0.0

    @property
    def sees_removed(self) -> bool:
        """Whether it looks at which token is which."""
        return self.excluded.sees_removed

    @property
    def excluded(self) -> ExcludeTopChoices:
        """The truncation of which this is a part."""
        options = self.ties, self.at_threshold, self.protected, self.protection, self.removed
        return ExcludeTopChoices(self.threshold, *options)

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Lower the logits of the top choices but the least likely."""
        keep = self.excluded.stays(rows, np.array([[self.threshold]], dtype), dtype)
        keep |= (rows == -np.inf) | (value == 0)
        with np.errstate(divide="ignore"):  # ln 0: nothing goes, or all of it
            gone, left = (_log_mass(np.where(side, -np.inf, rows)) for side in (keep, ~keep))
            # ln(1 + q m / (1 - m))
            rest = np.logaddexp(0, np.log(value) + gone - left)
            factor = np.log1p(-value) - rest
        lowered = (rows + factor).astype(rows.dtype)
        left = np.where(keep, rows, lowered)
        check_left("xtc_threshold", left)
        return left


def _log_mass(rows: FloatArray) -> NDArray[np.float64]:
    """Return the logarithm of the sum of exponentials of every row, ``-inf`` of none."""
    top = rows.max(axis=-1, keepdims=True).astype(np.float64)
    base = np.where(top > -np.inf, top, 0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(rows - base).sum(axis=-1, keepdims=True)) + base)


@dataclass(frozen=True, eq=False, repr=False)
class ExcludeTopChoices(Truncation):
    """What `xtc` does when its coin falls: remove all top choices but the least likely.

    Examples
    --------
    >>> ExcludeTopChoices(0.2)([2.0, 1.0, 0.0])
    array([-inf,   1.,   0.])
    """

    threshold: ArrayLike
    ties: str = option("lowest", LEAST)
    at_threshold: str = option("top", AT_THRESHOLD)
    protected: tuple[int, ...] = option((), rule=TokenIds())
    protection: str = option("apart", PROTECTION)
    removed: str = option("skip", OF_REMOVED)

    key: ClassVar[str] = "xtc_threshold"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0

    @property
    def sees_removed(self) -> bool:
        """Whether it looks at which token is which, or at the place of every token."""
        return bool(self.protected) or super().sees_removed or self.removed == "counts"

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep what is below the threshold, and the least likely token that is not."""
        keep = self.stays(rows, value, dtype)
        if self.removed == "counts":
            check_left(self.key, np.where(keep, rows, -np.inf))
        return keep

    def stays(self, rows: FloatArray, value: NDArray[Any], dtype: type[Any]) -> BoolArray:
        """Do `keep`, even if no token is left."""
        probs, limit = probabilities(rows, dtype), value.astype(dtype)
        top = probs >= limit if self.at_threshold == "top" else probs > limit
        if self.removed == "skip":
            top &= rows > -np.inf
        protected = np.zeros(rows.shape[-1], bool)
        protected[[token for token in self.protected if token < len(protected)]] = True
        if self.protection == "apart":
            top &= ~protected
        keep = ~top
        # Rounded, equal probabilities can be of different logits.
        keep |= self._least(rows if dtype == np.float64 else probs, top)
        if self.protection == "kept":
            keep |= protected
        elif self.protection == "all":
            keep |= (protected & ~keep).any(axis=-1, keepdims=True)
        return np.asarray(keep)

    def _least(self, rows: FloatArray, top: BoolArray) -> BoolArray:
        """Return the least likely of the top choices of every row."""
        if self.ties == "all":
            return np.asarray(rows == np.where(top, rows, np.inf).min(axis=-1, keepdims=True))
        least = np.zeros(rows.shape, bool)
        if self.ties in ("lowest", "highest"):
            back = -1 if self.ties == "highest" else 1
            place = np.where(top, rows, np.inf)[:, ::back].argmin(axis=-1)
            least[:, ::back][np.arange(len(rows)), place] = True
        else:
            for i, row in enumerate(rows):
                order = sort(row)
                chosen = order[top[i, order]]
                least[i, chosen[-1:]] = True
        return least

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and leave out the first ones that reach the threshold, but for the last of them."""
        candidates.drop_top_choices(value)
        return True
