"""Four truncations, four answers to the question which tokens may be drawn at all.

Two of them count from the top: `top_k` keeps k tokens, `top_p` as many as hold the mass p. Two
compare with the most likely token: `min_p` keeps ``p_i >= m p_max`` and `top_a` is the same with
``m = a p_max``, stricter the surer the model is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from logitlab.checks import ParameterError, Range, check_choice, check_flag
from logitlab.numerics import BoolArray, FloatArray, gaps, largest, rounded_weights, weights
from logitlab.steps.chain import RowStep
from numpy.typing import ArrayLike, NDArray

__all__ = ["MinP", "TopA", "TopK", "TopP", "min_p", "top_a", "top_k", "top_p"]

TIES = ("lowest", "highest", "all")
AT_P = ("drop", "keep")
SUMS = ("descending", "ascending")
SPACES = ("logits", "probs")


def _kept(rows: FloatArray, mask: BoolArray) -> FloatArray:
    # A table is several times faster than np.where, which guesses at every token.
    bound = np.array([-np.inf, np.inf], rows.dtype).take(mask.view(np.uint8))
    return np.minimum(rows, bound, out=bound)


def top_k(logits: ArrayLike, k: ArrayLike, *, ties: str = "lowest") -> FloatArray:
    """Keep the ``k`` most likely tokens.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    k : array_like of int, broadcasting to the batch shape (...)
        At least 0. 0 and k >= V keep all; 1 keeps the most likely token.
    ties : {"lowest", "highest", "all"}
        Which of the tokens equal to the k-th stay: those with the lowest or the highest ids,
        exactly k in all, or all of them.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

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


def _most_likely(rows: FloatArray, k: NDArray[Any], ties: str) -> BoolArray:
    size = rows.shape[-1]
    count = np.where((k == 0) | (k >= size), size, k)
    place = (size - count).ravel()
    parted = np.partition(rows, np.unique(place) if place.size > 1 else place, axis=-1)
    return largest(rows, count, parted[np.arange(len(rows)), place][:, None], ties)


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
        float16, float32 or float64. Tokens already removed hold no mass: the survivors'
        probabilities add up to 1.
    p : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 1 keeps all, 0 keeps one. The token that takes the mass to p or beyond stays;
        at exact equality no further one does.
    ties : {"lowest", "highest", "all"}
        Which of the tokens equal to the last one of the nucleus stay, as in `top_k`.
    at_p : {"drop", "keep"}
        What happens to a token if those before it hold exactly p.
    sums : {"descending", "ascending"}
        "descending" adds up from the most likely token until p is reached, "ascending" from the
        least likely one as long as no more than ``1 - p`` is removed. The two differ by rounding
        only.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

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

    vLLM and transformers add up ascending and keep the highest ids on ties, mlx-lm keeps all;
    SGLang keeps one token more at exact equality, and measures the mass before top-k.

    References
    ----------
    A. Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020.

    Examples
    --------
    >>> top_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.6)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return TopP(p, ties, at_p, sums)(logits)


def _nucleus_size(
    descending: FloatArray, p: NDArray[Any], at_p: str, sums: str, dtype: type[Any] = np.float64
) -> NDArray[Any]:
    """Return how many tokens the nucleus of each row holds, shape (n, 1), rows sorted."""
    size = descending.shape[-1]
    if dtype == np.float64 and sums == "descending":
        mass = np.cumsum(weights(descending), axis=-1)
        mass /= mass[:, -1:]
    else:
        probs = _probabilities(descending[:, :: 1 if sums == "descending" else -1], dtype)
        mass = np.cumsum(probs, axis=-1, dtype=np.float64).astype(dtype)
    before = mass[:, :-1]
    if sums == "ascending":
        rest = (1 - p).astype(dtype)
        count = size - (before <= rest if at_p == "drop" else before < rest).sum(-1, keepdims=True)
    else:
        limit = p.astype(dtype)
        count = 1 + (before < limit if at_p == "drop" else before <= limit).sum(-1, keepdims=True)
    return np.asarray(np.where(p == 1, size, count))


def _nucleus(
    rows: FloatArray, p: NDArray[Any], step: TopP, dtype: type[Any] = np.float64
) -> BoolArray:
    descending = np.sort(rows, axis=-1)[:, ::-1]
    count = _nucleus_size(descending, p, step.at_p, step.sums, dtype)
    last = descending[np.arange(len(rows)), count.ravel() - 1]
    return largest(rows, count, last[:, None], step.ties)


def min_p(logits: ArrayLike, p: ArrayLike, *, space: str = "logits") -> FloatArray:
    """Keep tokens at least ``p`` times as likely as the most likely one: ``p_i >= p * p_max``.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    p : array_like, broadcasting to the batch shape (...)
        In [0, 1]. 0 keeps all, 1 keeps only the maxima.
    space : {"logits", "probs"}
        Where the two are compared: ``x_i >= x_max + ln p``, or the probabilities themselves. The
        two differ by rounding only.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

    Raises
    ------
    ParameterError
        If ``p`` is outside [0, 1], NaN, or does not broadcast, or ``space`` is unknown.

    Notes
    -----
    The comparison of logits needs no exponential and tells apart logits whose probabilities round
    to the same number. vLLM, SGLang and transformers compare probabilities, after temperature;
    llama.cpp, mlx-lm and KoboldCpp compare logits, before it.

    References
    ----------
    M. Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs",
    ICLR 2025.

    Examples
    --------
    >>> min_p(np.log([0.5, 0.25, 0.125, 0.125]), 0.4)
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return MinP(p, space)(logits)


def _near_best(rows: FloatArray, ratio: NDArray[Any], dtype: type[Any] = np.float64) -> BoolArray:
    with np.errstate(divide="ignore"):  # ln 0 is -inf: everything is kept
        cut = np.log(ratio).astype(dtype)
    if dtype == np.float64:
        return np.asarray(gaps(rows) >= cut)
    return np.asarray(rows >= rows.max(axis=-1, keepdims=True) + cut)


def _probabilities(rows: FloatArray, dtype: type[Any]) -> NDArray[Any]:
    """Return probabilities with each operation rounded to dtype, the sum at its end."""
    weight: NDArray[Any] = weights(rows) if dtype == np.float64 else rounded_weights(rows)
    # A running sum, to whose rounding removed tokens add nothing, wherever they stand.
    weight /= np.cumsum(weight, axis=-1, dtype=np.float64)[:, -1:].astype(dtype)
    return weight


def top_a(
    logits: ArrayLike, a: ArrayLike, *, space: str = "logits", guard: bool = True
) -> FloatArray:
    """Keep tokens with ``p_i >= a * p_max ** 2``.

    That is `min_p` with ``a * p_max`` for its value: the surer the model, the stricter.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        float16, float32 or float64.
    a : array_like, broadcasting to the batch shape (...)
        At least 0. 0 keeps all.
    space : {"logits", "probs"}
        Where the two are compared, as in `min_p`.
    guard : bool
        Whether the maxima stay even where ``a > 1 / p_max``. Without it, that is an error.

    Returns
    -------
    ndarray, shape (..., V)
        New logits of the same dtype, removed tokens at ``-inf``.

    Raises
    ------
    ParameterError
        If ``a`` is negative, not finite, or does not broadcast; if nothing would stay.

    Notes
    -----
    The definition is RWKV's. OpenRouter's page describes the parameter in words that partly say
    the reverse (that a lower value narrows the choice); this is the formula they refer to.
    KoboldCpp applies it before temperature, Aphrodite after, without a guard. Applying top-a twice
    can remove more than once, since p_max grows in between.

    References
    ----------
    RWKV-LM, https://github.com/BlinkDL/RWKV-LM#the-top-a-sampling-method

    Examples
    --------
    >>> top_a(np.log([0.5, 0.25, 0.125, 0.125]), 0.8)  # 0.8 * 0.5**2 = 0.2
    array([-0.69314718, -1.38629436,        -inf,        -inf])
    """
    return TopA(a, space, guard)(logits)


def _near_best_squared(
    rows: FloatArray, a: NDArray[Any], step: TopA, dtype: type[Any] = np.float64
) -> BoolArray:
    # A running sum, to whose rounding removed tokens add nothing, wherever they stand.
    weight = weights(rows)
    p_max = 1 / np.cumsum(weight, axis=-1, out=weight)[:, -1:]
    if not step.guard and (a * p_max > 1).any():
        rule = "at most 1 / p_max: above, no token is left"
        raise ParameterError(
            "top_a", rule, float(np.broadcast_to(a, p_max.shape)[a * p_max > 1][0])
        )
    if step.space == "logits":
        return _near_best(rows, np.minimum(a * p_max, 1), dtype)
    probs = _probabilities(rows, dtype)
    best = probs.max(axis=-1, keepdims=True)
    return np.asarray((probs >= a.astype(dtype) * (best * best)) | (probs == best))


@dataclass(frozen=True, eq=False, repr=False)
class TopK(RowStep):
    """The step `top_k` with its value chosen.

    Examples
    --------
    >>> TopK(2)([1.0, 3.0, 2.0])
    array([-inf,   3.,   2.])
    """

    k: ArrayLike
    ties: str = "lowest"

    key: ClassVar[str] = "top_k"
    rule: ClassVar[Range] = Range(0, integer=True)
    neutral: ClassVar[float] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ties", self.ties, TIES)

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``top_k(rows, value, ties=ties)``."""
        return _kept(rows, _most_likely(rows, value, self.ties))


@dataclass(frozen=True, eq=False, repr=False)
class TopP(RowStep):
    """The step `top_p` with its value chosen.

    Examples
    --------
    >>> TopP(0.9)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    p: ArrayLike
    ties: str = "lowest"
    at_p: str = "drop"
    sums: str = "descending"

    key: ClassVar[str] = "top_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ties", self.ties, TIES)
        check_choice("at_p", self.at_p, AT_P)
        check_choice("sums", self.sums, SUMS)

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``top_p(rows, value, ties=ties, at_p=at_p, sums=sums)``."""
        return _kept(rows, _nucleus(rows, value, self, dtype))


@dataclass(frozen=True, eq=False, repr=False)
class MinP(RowStep):
    """The step `min_p` with its value chosen.

    Examples
    --------
    >>> MinP(0.1)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    p: ArrayLike
    space: str = "logits"

    key: ClassVar[str] = "min_p"
    rule: ClassVar[Range] = Range(0, 1)
    neutral: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("space", self.space, SPACES)

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``min_p(rows, value, space=space)``."""
        if self.space == "logits":
            return _kept(rows, _near_best(rows, value, dtype))
        probs = _probabilities(rows, dtype)
        return _kept(rows, probs >= value.astype(dtype) * probs.max(axis=-1, keepdims=True))


@dataclass(frozen=True, eq=False, repr=False)
class TopA(RowStep):
    """The step `top_a` with its value chosen.

    Examples
    --------
    >>> TopA(0.2)([3.0, 0.0, 2.0])
    array([ 3., -inf,  2.])
    """

    a: ArrayLike
    space: str = "logits"
    guard: bool = True

    key: ClassVar[str] = "top_a"
    rule: ClassVar[Range] = Range(0)
    neutral: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("space", self.space, SPACES)
        check_flag("guard", self.guard)

    def on_rows(
        self, rows: FloatArray, value: NDArray[Any], dtype: type[Any] = np.float64
    ) -> FloatArray:
        """Return ``top_a(rows, value, space=space, guard=guard)``."""
        return _kept(rows, _near_best_squared(rows, value, self, dtype))
