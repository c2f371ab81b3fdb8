"""Smoothing: the distance to the best logit, squared, so that the best ones come closer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import Range
from logitlab.numerics import LARGEST, cast_finite, shifted
from logitlab.steps.step import RowStep, option
from numpy.typing import ArrayLike, NDArray

__all__ = ["Smoothing", "smoothing"]

_FAR = 1e100  # a distance whose cube a float64 still holds


def smoothing(
    logits: ArrayLike, factor: ArrayLike, curve: float = 1.0, *, guard: bool = True
) -> FloatArray:
    """Bend the logits by the distance to the largest: ``x_max - f (k d**2 - s d**3)``.

    With ``d = x - x_max``, ``k = (3 - curve) / 2`` and ``s = (curve - 1) / 2``. A curve of 1 is
    ``x_max - f d**2``: tokens nearer than ``1 / f`` to the best come closer, those beyond fall
    behind.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    factor : array_like, broadcasting to the batch shape (...)
        f, at least 0. 0 changes nothing.
    curve : float
        Any finite number; between 1 and 3 the order of the tokens stays. **Above 3 it does not**: k
        is negative, and tokens just below the best overtake it. Below 1 it does not either: s is
        negative, and those farther than ``k / -s`` overtake it, without end.

    guard : bool
        Whether removed tokens stay so whatever the curve; otherwise a curve below 1 leaves nothing
        of a row that has some, which is an error where it is used next.

    Returns
    -------
    ndarray, shape (..., V)

    Raises
    ------
    ParameterError
        If ``factor`` is negative, not finite or does not broadcast, or the curve is not finite.

    Notes
    -----
    No engine looks at the curve; in Aphrodite one below 1 makes NaN of removed tokens. KoboldCpp
    and text-generation-webui bend what was divided by the temperature, Aphrodite what all
    truncations but the last have left. exllamav2 divides afterwards, which is `Smoothing` before
    `Temperature`, and has no curve. llama.cpp has none of it.

    References
    ----------
    kalomaze, "Quadratic sampling", https://github.com/oobabooga/text-generation-webui/pull/5403;
    https://github.com/LostRuins/koboldcpp/pull/652

    Examples
    --------
    >>> smoothing([2.0, 1.0, -1.0], 0.5)
    array([ 2. ,  1.5, -2.5])
    >>> smoothing([1.0, 0.5], 0.5, curve=5.0)
    array([1., 1.])
    """
    return Smoothing(factor, curve, guard)(logits)


@dataclass(frozen=True, eq=False, repr=False)
class Smoothing(RowStep):
    """The step `smoothing` with its values chosen.

    Examples
    --------
    >>> Smoothing(0.5)([2.0, 1.0])
    array([2. , 1.5])
    """

    factor: ArrayLike
    curve: float = option(1.0, rule=Range(), name="smoothing_curve")
    guard: bool = option(True)

    key: ClassVar[str] = "smoothing_factor"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 0.0

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``x_max + d**2 (s d - k)``, where s and k have f in them."""
        most = min(LARGEST, float(np.finfo(dtype).max))
        f, curve = np.clip(value, 0, most).astype(dtype), dtype(np.clip(self.curve, -most, most))
        top = rows.max(axis=-1, keepdims=True).astype(np.float64)
        is_removed = rows == -np.inf
        d = np.where(is_removed, 0, np.maximum(shifted(rows), -_FAR)).astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            k, s = f * (3 - curve) / 2, f * (curve - 1) / 2
            k, s = np.clip(k, -most, most), np.clip(s, -most, most)
            bent = np.where(d == 0, 0, d * d * (s * d - k))  # 0 times what may have no end
            smooth = np.clip(bent.astype(np.float64) + top, -LARGEST, LARGEST)
        smooth[is_removed] = -np.inf
        if not self.guard and curve < 1:
            smooth[is_removed.any(axis=-1)] = -np.inf
        return np.where(value == 0, rows, cast_finite(smooth, rows.dtype))

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Sort, and let the order remain, whatever the curve makes of the logits."""
        candidates.sort()
        return False
