"""Classifier-free guidance: away from what the model would say after another prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range
from logitlab.numerics import DOUBLE, LARGEST, Precision, cast_finite, log_softmax
from logitlab.steps.context import Context
from logitlab.steps.step import Step
from numpy.typing import ArrayLike

__all__ = ["Guidance", "guidance_scale"]


def guidance_scale(logits: ArrayLike, scale: ArrayLike, context: Context | None) -> FloatArray:
    """Move log-probabilities away from unconditional ones: ``g (c - u) + u``.

    c are the log-probabilities of the logits, and u those of logits of the same model after a
    negative prompt, or none, and the same output.

    Parameters
    ----------
    logits : array_like, shape (..., V)
        As of `Transform`.
    scale : array_like, broadcasting to the batch shape (...)
        g, any finite number: 1 changes nothing, 0 gives the unconditional distribution; above 1
        the prompt counts more, below 0 the reverse of it.
    context : Context
        Whose ``unconditional`` are the logits of the same shape, or of one row for all.

    Returns
    -------
    ndarray, shape (..., V)
        Removed tokens stay removed. A token that only the unconditional logits have removed keeps
        its log-probability c.

    Raises
    ------
    ParameterError
        If ``scale`` is not finite or does not broadcast, or the context has no such logits.

    Notes
    -----
    It comes first in a chain, as in transformers: a bias or penalty is not multiplied. `generate`
    asks its model for both: without ``negative_prompt`` or ``negative_prompt_ids`` the
    unconditional text begins at the last token of the prompt, as in transformers. KoboldCpp
    and llama.cpp's example mix logits, ``g (x - y) + y``, which is the same up to a constant.

    References
    ----------
    G. Sanchez et al., "Stay on topic with Classifier-Free Guidance", 2023,
    https://arxiv.org/abs/2306.17806

    Examples
    --------
    >>> context = Context(unconditional=np.log([0.5, 0.25, 0.25]))
    >>> guidance_scale(np.log([0.25, 0.5, 0.25]), 2.0, context).round(3)
    array([-2.079,  0.   , -1.386])
    """
    return Guidance(scale)(logits, context)


@dataclass(frozen=True, eq=False, repr=False)
class Guidance(Step):
    """The step `guidance_scale` with its value chosen.

    Examples
    --------
    >>> Guidance(1.0)([1.0, 0.0])
    array([1., 0.])
    """

    scale: ArrayLike

    key: ClassVar[str] = "guidance_scale"
    rule: ClassVar[Range] = Range()
    neutral: ClassVar[float] = 1.0

    def apply(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> FloatArray:
        """Return ``g (c - u) + u`` where g is not 1."""
        if self.is_neutral:
            return logits.copy()
        avoided = None if context is None else context.avoided(logits.shape)
        if avoided is None:
            hint = "Pass context=Context(unconditional=logits): those after the negative prompt."
            rule = f"a Context with unconditional logits for {self.key}"
            raise ParameterError("context", rule, context, hint)
        dtype = precision.arithmetic
        limit = min(LARGEST, float(np.finfo(dtype).max))
        values = self.values(logits.shape[:-1], precision)[..., None]
        scale = np.clip(values, -limit, limit).astype(dtype)
        own = log_softmax(logits).astype(dtype)
        other = log_softmax(avoided).astype(dtype)
        other = np.where(other == -np.inf, own, other)
        with np.errstate(invalid="ignore", over="ignore"):  # of what is removed, or very far
            guided = np.clip(scale * (own - other) + other, -limit, limit)
        guided = np.where(own == -np.inf, -np.inf, guided)
        rows = guided.astype(np.float64).reshape(-1, guided.shape[-1])
        rounded = cast_finite(rows, logits.dtype).reshape(logits.shape)
        return np.where(scale == 1, logits, rounded)
