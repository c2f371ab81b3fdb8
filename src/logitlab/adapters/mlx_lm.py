"""A request as a logits processor of mlx-lm."""

from __future__ import annotations

import sys
from typing import Any

from logitlab.adapters.adapter import Adapter
from logitlab.arrays import check_array
from logitlab.checks import ParameterError
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.spelling import VocabularyLike
from logitlab.steps.state import State

__all__ = ["MlxLm", "mlx_lm"]


class MlxLm(Adapter):
    """An adapter that mlx-lm takes among its ``logits_processors``."""

    library = "mlx-lm"
    ids_name, logits_name = "tokens", "logits"

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Return what becomes of the logits.

        Parameters
        ----------
        tokens : mx.array of int, shape (L,)
        logits : mx.array of floats, shape (1, V)

        Returns
        -------
        mx.array of float32, shape (1, V)
        """
        mx: Any = sys.modules.get("mlx.core")  # who has an array of it has imported it
        for name, value in ((self.ids_name, tokens), (self.logits_name, logits)):
            if mx is None or not isinstance(value, mx.array):
                raise ParameterError(name, "an array of mlx", value)
        return mx.array(self.rows_after(tokens[None], check_array(logits, self.logits_name)))


def mlx_lm(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    seed: SeedLike = None,
    sequence: int = 0,
    coupling: Any = "inverse",
    state: State | None = None,
    vocabulary: VocabularyLike = None,
) -> MlxLm:
    """Return a request as one of the ``logits_processors`` of mlx-lm.

    The sampler comes behind: without one mlx-lm takes the most likely token. To draw from the
    request, pass ``sampler=make_sampler(temp=1.0)``, or a seed, with which one token is left.

    Parameters
    ----------
    request, engine, seed, sequence, coupling, state, vocabulary
        As of `adapters.plain`.

    Returns
    -------
    MlxLm
        For one text at a time: ``BatchGenerator.insert`` takes one for each text, and
        ``batch_generate``, which shares one among all, is refused. So is speculative decoding,
        since it goes back. Logits of 16 bits are read exactly, and come back in float32. Where the
        next prompt is exactly what the last call saw, or that and one token more, call
        ``restart()`` before.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, at once; for tokens and logits, when they come.

    Examples
    --------
    >>> adapter = mlx_lm({"temperature": 0.8, "xtc_probability": 0.5}, seed=7)
    >>> pieces = stream_generate(  # doctest: +SKIP
    ...     model, tokenizer, "Once upon a time", logits_processors=[adapter]
    ... )
    """
    return MlxLm(
        request,
        engine=engine,
        seed=seed,
        sequence=sequence,
        coupling=coupling,
        state=state,
        vocabulary=vocabulary,
    )
