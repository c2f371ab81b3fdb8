"""How spread out, how concentrated, how different: measures of next-token distributions.

Every measure takes logits ``(..., V)`` of any float dtype and returns one float64 per row. Logits
need not be normalised. A removed token (``-inf``) has probability exactly 0 and contributes
exactly nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.arrays import FloatArray, IntArray, check_logits, given_back
from logitlab.checks import ParameterError, Seen
from logitlab.numerics import reduce_rows, shifted, weights
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "agreement",
    "entropy",
    "js_divergence",
    "kl_divergence",
    "mass_removed",
    "perplexity",
    "support_size",
    "top_probability",
    "total_variation",
]

Measure = NDArray[np.float64]


def entropy(logits: ArrayLike) -> Measure:
    r"""Shannon entropy ``H = -sum_i p_i ln p_i``, in nats.

    Parameters
    ----------
    logits : array_like, shape (..., V)

    Returns
    -------
    ndarray, shape (...), float64
        0 for a single survivor, ``ln n`` for ``n`` equal ones. Divide by ``ln 2`` for bits.

    Raises
    ------
    ParameterError
        For bad logits: NaN, ``+inf``, a row without survivors, other dtypes than floats.

    References
    ----------
    C. E. Shannon, "A Mathematical Theory of Communication", 1948.

    Examples
    --------
    >>> float(entropy([0.0, 0.0, -np.inf]))  # ln 2
    0.6931471805599453
    """
    return given_back(reduce_rows(_row_entropy, check_logits(logits)), logits)


def _row_entropy(rows: FloatArray) -> Measure:
    # With d = x - x_max, w = exp(d) and Z = sum w:  H = ln Z - sum w d / Z.
    gap = shifted(rows)
    weight = np.exp(gap)
    total = weight.sum(axis=-1)
    gap[weight == 0] = 0
    gap *= weight
    return np.asarray(np.maximum(np.log(total) - gap.sum(axis=-1) / total, 0))


def perplexity(logits: ArrayLike) -> Measure:
    """Return ``exp(H)``: of how many equally likely tokens the row is worth, 1 to V.

    Parameters
    ----------
    logits : array_like, shape (..., V)

    Returns
    -------
    ndarray, shape (...), float64

    Raises
    ------
    ParameterError
        For bad logits, as of `entropy`.

    Examples
    --------
    >>> round(float(perplexity([1.0, 1.0, 1.0, -np.inf])), 12)
    3.0
    """
    return given_back(np.exp(reduce_rows(_row_entropy, check_logits(logits))), logits)


def support_size(logits: ArrayLike) -> IntArray:
    """Count the survivors: tokens that are not removed.

    Parameters
    ----------
    logits : array_like, shape (..., V)

    Returns
    -------
    ndarray, shape (...), int64
        1 to V. A finite logit counts however small its probability.

    Raises
    ------
    ParameterError
        For bad logits, as of `entropy`.

    Examples
    --------
    >>> int(support_size([2.0, -1e4, -np.inf]))
    2
    """
    counts: IntArray = np.count_nonzero(check_logits(logits) > -np.inf, axis=-1)
    return given_back(counts, logits)


def top_probability(logits: ArrayLike) -> Measure:
    """Probability of the most likely token.

    Parameters
    ----------
    logits : array_like, shape (..., V)

    Returns
    -------
    ndarray, shape (...), float64
        1/V to 1.

    Raises
    ------
    ParameterError
        For bad logits, as of `entropy`.

    Examples
    --------
    >>> float(top_probability([0.0, 0.0]))
    0.5
    """
    return given_back(reduce_rows(_row_top_probability, check_logits(logits)), logits)


def _row_top_probability(rows: FloatArray) -> Measure:
    return np.asarray(1 / weights(rows).sum(axis=-1))


def kl_divergence(p_logits: ArrayLike, q_logits: ArrayLike) -> Measure:
    r"""Kullback-Leibler divergence ``D(P || Q) = sum_i p_i ln(p_i / q_i)``, in nats.

    Parameters
    ----------
    p_logits, q_logits : array_like, shape (..., V)
        Batch shapes that broadcast against each other.

    Returns
    -------
    ndarray, shape (...), float64
        0 if and only if the distributions are equal; ``inf`` where P has a token that Q removed;
        a token that P removed, or whose probability float64 rounds to 0, contributes 0.

    Raises
    ------
    ParameterError
        For bad logits, or shapes that do not broadcast.

    References
    ----------
    S. Kullback and R. A. Leibler, "On Information and Sufficiency", 1951.

    Examples
    --------
    >>> float(kl_divergence([0.0, -np.inf], [0.0, 0.0]))  # ln 2
    0.6931471805599453
    """
    return given_back(reduce_rows(_row_kl, *_broadcast_pair(p_logits, q_logits)), p_logits)


def _row_kl(p_rows: FloatArray, q_rows: FloatArray) -> Measure:
    p, log_p = _probs_and_logs(p_rows)
    _, log_q = _probs_and_logs(q_rows)
    return np.maximum(_expected_gap(p, log_p, log_q), 0)


def js_divergence(p_logits: ArrayLike, q_logits: ArrayLike) -> Measure:
    r"""Jensen-Shannon divergence ``(D(P || M) + D(Q || M)) / 2`` with ``M = (P + Q) / 2``.

    Parameters
    ----------
    p_logits, q_logits : array_like, shape (..., V)
        As of `kl_divergence`.

    Returns
    -------
    ndarray, shape (...), float64
        In nats: 0 for equal distributions, ``ln 2`` for disjoint ones, symmetric.

    Raises
    ------
    ParameterError
        As of `kl_divergence`.

    References
    ----------
    J. Lin, "Divergence Measures Based on the Shannon Entropy", 1991.

    Examples
    --------
    >>> float(js_divergence([0.0, -np.inf], [-np.inf, 0.0]))  # ln 2
    0.6931471805599453
    """
    return given_back(reduce_rows(_row_js, *_broadcast_pair(p_logits, q_logits)), p_logits)


def _row_js(p_rows: FloatArray, q_rows: FloatArray) -> Measure:
    p, log_p = _probs_and_logs(p_rows)
    q, log_q = _probs_and_logs(q_rows)
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    half = (_expected_gap(p, log_p, log_m) + _expected_gap(q, log_q, log_m)) / 2
    return np.clip(half, 0, np.log(2))


def total_variation(p_logits: ArrayLike, q_logits: ArrayLike) -> Measure:
    """Total variation distance ``sum_i |p_i - q_i| / 2``.

    The largest difference in probability that any set of tokens can have, and the share of draws
    that must differ however cleverly the two are coupled.

    Parameters
    ----------
    p_logits, q_logits : array_like, shape (..., V)
        As of `kl_divergence`.

    Returns
    -------
    ndarray, shape (...), float64
        0 to 1.

    Raises
    ------
    ParameterError
        As of `kl_divergence`.

    Examples
    --------
    >>> float(total_variation([0.0, 0.0], [0.0, -np.inf]))
    0.5
    """
    return given_back(
        reduce_rows(_row_total_variation, *_broadcast_pair(p_logits, q_logits)), p_logits
    )


def _row_total_variation(p_rows: FloatArray, q_rows: FloatArray) -> Measure:
    p, q = _probs_and_logs(p_rows)[0], _probs_and_logs(q_rows)[0]
    return np.asarray(np.minimum(np.abs(p - q).sum(axis=-1) / 2, 1))


def mass_removed(before: ArrayLike, after: ArrayLike) -> Measure:
    """Probability that ``before`` gave to the tokens that ``after`` has removed.

    Parameters
    ----------
    before, after : array_like, shape (..., V)
        Logits before and after a transform; batch shapes that broadcast against each other.

    Returns
    -------
    ndarray, shape (...), float64
        0 to 1; exactly 0 if nothing was removed.

    Raises
    ------
    ParameterError
        As of `kl_divergence`.

    Examples
    --------
    >>> float(mass_removed([0.0, 0.0], [0.0, -np.inf]))
    0.5
    """
    pair = _broadcast_pair(before, after, ("before", "after"))
    return given_back(reduce_rows(_row_mass_removed, *pair), before)


def _row_mass_removed(before: FloatArray, after: FloatArray) -> Measure:
    p = _probs_and_logs(before)[0]
    return np.asarray(np.minimum(p.sum(axis=-1, where=after == -np.inf), 1))


def agreement(before: ArrayLike, after: ArrayLike) -> Measure:
    """Probability that ``after`` gives to the most likely token of ``before``.

    How often a draw is what greedy decoding of the model's own logits would take.

    Parameters
    ----------
    before, after : array_like, shape (..., V)
        Logits before and after a transform; batch shapes that broadcast against each other. The
        lowest id is the most likely token on ties.

    Returns
    -------
    ndarray, shape (...), float64
        0 to 1; 0 where that token is removed.

    Raises
    ------
    ParameterError
        As of `kl_divergence`.

    Examples
    --------
    >>> round(float(agreement([2.0, 1.0, 0.0], [4.0, 2.0, -np.inf])), 4)  # 1 / (1 + exp(-2))
    0.8808
    """
    pair = _broadcast_pair(before, after, ("before", "after"))
    return given_back(reduce_rows(_row_agreement, *pair), before)


def _row_agreement(before: FloatArray, after: FloatArray) -> Measure:
    greedy = before.argmax(axis=-1)
    p = weights(after)
    return np.asarray(p[np.arange(len(p)), greedy] / p.sum(axis=-1))


def _probs_and_logs(rows: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities and their logarithms, both float64."""
    log_weight = shifted(rows)
    weight = np.exp(log_weight)
    total = weight.sum(axis=-1, keepdims=True)
    log_weight -= np.log(total)
    weight /= total
    return weight, log_weight


def _expected_gap(
    p: NDArray[np.float64], log_p: NDArray[np.float64], log_q: NDArray[np.float64]
) -> Measure:
    """Return ``sum_i p_i (ln p_i - ln q_i)`` over the tokens with ``p_i > 0``."""
    gap = np.zeros_like(p)
    np.subtract(log_p, log_q, out=gap, where=p > 0)
    total: Measure = (p * gap).sum(axis=-1)
    return total


def _broadcast_pair(
    p: ArrayLike, q: ArrayLike, names: tuple[str, str] = ("p_logits", "q_logits")
) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = check_logits(p, names[0]), check_logits(q, names[1])
    try:
        if first.shape[-1] != second.shape[-1]:
            raise ValueError
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        rule = f"of a shape that broadcasts with {names[0]}, {first.shape}, with equal V"
        raise ParameterError(names[1], rule, Seen(f"shape {second.shape}")) from None
    return np.broadcast_to(first, shape), np.broadcast_to(second, shape)
