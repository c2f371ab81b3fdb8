r"""The most that a hypothesis allows: foreign answers, cuts that are not quite known, noise.

Three things widen a prediction to an envelope, each a supremum over what is not known:

**The cut.** Truncations keep the likeliest tokens, n of them. If n is only known to lie between
two numbers, a token y of weight w (in order, with running sums W) has at most the probability
:math:`w_y / W_{\max(y + 1, n_0)}`, as it is likeliest where least is kept beside it.

**The rest.** If at least a share r of what is drawn is beyond the tokens that were reported,
everything among them is at most :math:`(1 - r)` times that.

**Foreign answers.** With a probability of at most :math:`\eta` an answer comes from elsewhere (a
fallback, a glitch), from any c with :math:`c(y) \le 2 p(y) + 2 / C`, p being the neutral
distribution of C categories. So an answer that is likely under a neutral request, too, refutes
nothing by more than a factor of :math:`1 / \eta`, or half of that if its share is below a half:
with an error below .01, no verdict rests on one such answer.

**Values between.** Of log-probabilities that are concave in a value, as those of a softmax are in
whatever its logits are linear in, `ceilings` bounds what lies between some points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FOREIGN", "ceilings", "cut_between", "with_foreign"]

FOREIGN = 0.01
"""The most that answers may come from elsewhere, and what every bet gives to the neutral one."""


def with_foreign(
    central: NDArray[np.float64],
    envelope: NDArray[np.float64],
    reference: NDArray[np.float64],
    foreign: float = FOREIGN,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return bets and envelopes of answers of which a few may be foreign.

    .. math:: q = (1 - \eta) q_0 + \eta p, \qquad
              u = \min(1, (1 - \eta) u_0 + \eta \min(1, 2 p + 2 / C))

    so that :math:`q \le u` wherever :math:`q_0 \le u_0`.

    Parameters
    ----------
    central, envelope : ndarray, shape (..., C)
    reference : ndarray, shape (C,)
        The neutral distribution.
    foreign : float
        :math:`\eta`.

    Examples
    --------
    >>> q, u = with_foreign(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    >>> q, u
    (array([0.995, 0.005]), array([1.  , 0.01]))
    """
    categories = reference.shape[-1]
    strange = np.minimum(1, 2 * reference + 2 / categories)
    return (
        (1 - foreign) * central + foreign * reference,
        np.minimum(1, (1 - foreign) * envelope + foreign * strange),
    )


def ceilings(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the most that concave functions may be between evenly spaced points.

    Between two points a concave function is below the line through the two before, and below that
    through the two after.

    Parameters
    ----------
    values : ndarray, shape (N, ...)
        At three points at least.

    Returns
    -------
    ndarray, shape (N - 1, ...)

    Examples
    --------
    >>> x = np.linspace(-1.5, 1.5, 4)
    >>> ceilings(-(x**2)).tolist()
    [-0.25, 0.75, -0.25]
    """
    rises = np.diff(values, axis=0)
    before, after = values[:-1], values[1:]
    # How far it may rise from the one before, and from the one after.
    up, down = np.full_like(rises, np.inf), np.full_like(rises, np.inf)
    up[1:], down[:-1] = rises[:-1], -rises[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        meet = before + up * np.clip((rises + down) / (up + down), 0, 1)
    inner = np.isfinite(up) & np.isfinite(down) & (up > 0) & (down > 0)
    most = np.minimum(before + np.maximum(up, 0), after + np.maximum(down, 0))
    most = np.where(inner, np.minimum(most, meet), most)
    return np.maximum(most, np.maximum(before, after))


def cut_between(
    weight: NDArray[np.float64], least: NDArray[np.intp], most: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the most that each token can have if from `least` to `most` of them are kept.

    Parameters
    ----------
    weight : ndarray, shape (..., K)
        Positive weights, the largest first.
    least, most : ndarray of int, shape (...)
        How many are kept, at least 1.

    Returns
    -------
    ndarray, shape (..., K)

    Examples
    --------
    >>> cut_between(np.array([4.0, 4.0, 2.0]), np.array(1), np.array(2))
    array([1. , 0.5, 0. ])
    """
    place = np.arange(weight.shape[-1])
    sums = np.cumsum(weight, axis=-1)
    beside = np.maximum(place, np.asarray(least)[..., None] - 1)
    share = weight / np.take_along_axis(sums, np.broadcast_to(beside, sums.shape), axis=-1)
    return np.where(place < np.asarray(most)[..., None], share, 0.0)
