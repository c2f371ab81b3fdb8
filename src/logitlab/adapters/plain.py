"""A request as a plain function from the tokens so far and a row to a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logitlab.adapters.adapter import Adapter
from logitlab.arrays import check_array
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.spelling import VocabularyLike
from logitlab.foreign import back
from logitlab.steps.state import State

__all__ = ["Plain", "plain"]


class Plain(Adapter):
    """An adapter for a loop of one's own: ``adapter(ids, row)`` returns a row."""

    def __call__(self, ids: Any, row: Any) -> Any:
        """Return what becomes of a row after the tokens so far.

        Parameters
        ----------
        ids : array_like of int, shape (L,) or (n, L)
        row : array_like of floats, shape (V,) or (n, V)

        Returns
        -------
        ndarray, shape (V,) or (n, V)
            Or a tensor of torch, or an array of jax, where the row is one.
        """
        array = check_array(row, self.logits_name)
        after = self.rows_after if array.ndim > 1 else self.row_after
        return back(after(ids, array), row, False)


def plain(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    seed: SeedLike = None,
    sequence: int | Sequence[int] = 0,
    coupling: Any = "inverse",
    state: State | None = None,
    vocabulary: VocabularyLike = None,
) -> Plain:
    """Return a request as a function ``(ids, row) -> row``, for a loop of one's own.

    Parameters
    ----------
    request : SamplingParams, mapping, Transform or None
        Parameters, or a chain. All that acts on logits counts, penalties, coins and states
        included; `Adapter.notes` tells what else there is, and tools, ``response_format``, several
        answers and guidance are refused.
    engine : str or Engine
        Whose chain the parameters mean.
    seed : int, numpy.random.Generator or None
        With one the adapter draws itself, and leaves only that token: its logit is 0, all others
        are ``-inf``. The tokens are those of `generate` over the same logits. None takes the
        request's seed; where there is none either, whoever calls draws. A coin is then not tossed:
        the row is the exact mixture, as log-probabilities.
    sequence : int, or sequence of int
        Which random sequence the first row uses, the next the next; or that of each row.
    coupling : {"inverse", "gumbel"}
        How a token is drawn, see `sample`.
    state : mapping of str to float, optional
        The state of mirostat or adaptive-p at the first token of each text.
    vocabulary : Model or Vocabulary, optional
        What spells the texts of a request, and tells what ends a text. Columns beyond its tokens
        are removed.

    Returns
    -------
    Plain
        Rows come back as new arrays, in float32 where the input has 16 bits. The first call tells
        what the prompt is; see `Adapter` for what begins a text.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, at once; for ids and rows, when they come.

    Examples
    --------
    >>> import numpy as np
    >>> adapter = plain({"temperature": 0.5, "presence_penalty": 1.0})
    >>> adapter([0], np.array([2.0, 1.5, 0.0]))
    array([2., 3., 0.])
    >>> adapter([0, 1], np.array([2.0, 1.5, 0.0]))
    array([2., 1., 0.])
    >>> plain({"top_k": 2, "stop": ["end"]}).notes[0].sentence
    'stop is left to the caller: what shapes logits ends no text.'
    """
    return Plain(
        request,
        engine=engine,
        seed=seed,
        sequence=sequence,
        coupling=coupling,
        state=state,
        vocabulary=vocabulary,
    )
