"""XTC, "exclude top choices": with some probability the most likely tokens go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import BoolArray, FloatArray
from logitlab.checks import Range
from logitlab.numerics import probabilities
from logitlab.steps.step import RandomStep, Truncation, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["ExcludeTopChoices", "Xtc", "xtc"]


def xtc(logits: ArrayLike, probability: ArrayLike, threshold: float = 0.1) -> FloatArray:
    """Exclude the top choices with a probability: the average over the coin.

    Of the tokens with ``p_i >= threshold`` all but the least likely are removed, if there are two
    or more; otherwise nothing happens. With p' for what is left, renormalised, and q for the
    probability this is the mixture ``q p' + (1 - q) p``: exactly what a coin, tossed for each
    token, draws from.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    probability : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 0 changes nothing, 1 always excludes.
    threshold : float
        In [0, 1]. Above 0.5 no two tokens reach it. 0 leaves the least likely token alone.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype; log-probabilities where the probability is neither 0 nor 1.

    Raises
    ------
    ParameterError
        If a value is outside [0, 1], or does not broadcast.

    Notes
    -----
    A `Chain` with `Xtc` in it is a mixture of two chains, since what follows sees one side of the
    coin. `sample` and `generate` toss it.

    llama.cpp, KoboldCpp and mlx-lm toss, as the author does, exllamav2 and exllamav3 average. Of
    equal least likely top choices the lowest id stays here; llama.cpp keeps the one that its sort
    leaves last, mlx-lm all. Thresholds above 0.5 switch it off in llama.cpp. The original, and
    others in their own ways, protect newline and end tokens, of which logits know nothing.

    References
    ----------
    p-e-w, "Exclude Top Choices (XTC)", https://github.com/oobabooga/text-generation-webui/pull/6335

    Examples
    --------
    >>> np.exp(xtc(np.log([0.5, 0.25, 0.125, 0.125]), 0.5, 0.2)).round(4)
    array([0.25  , 0.375 , 0.1875, 0.1875])
    """
    return Xtc(probability, threshold)(logits)


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

    key: ClassVar[str] = "xtc_probability"

    def acting(self) -> ExcludeTopChoices:
        """Return the truncation, of which a coin decides."""
        return ExcludeTopChoices(self.threshold)


@dataclass(frozen=True, eq=False, repr=False)
class ExcludeTopChoices(Truncation):
    """What `xtc` does when its coin falls: remove all top choices but the least likely.

    Examples
    --------
    >>> ExcludeTopChoices(0.2)([2.0, 1.0, 0.0])
    array([-inf,   1.,   0.])
    """

    threshold: ArrayLike

    key: ClassVar[str] = "xtc_threshold"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0

    def keep(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> BoolArray:
        """Keep what is below the threshold, and the least likely token that is not."""
        top = (probabilities(rows, dtype) >= value.astype(dtype)) & (rows > -np.inf)
        least = np.where(top, rows, np.inf).argmin(axis=-1)
        keep = ~top
        keep[np.arange(len(rows)), least] = True
        return np.asarray(keep)

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and leave out the first ones that reach the threshold, but for the last of them."""
        candidates.drop_top_choices(value)
        return True
