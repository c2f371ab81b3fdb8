"""A request as a logits processor of llama-cpp-python."""

from __future__ import annotations

from typing import Any

from logitlab.adapters.adapter import Adapter
from logitlab.arrays import FloatArray, check_array
from logitlab.draw import SeedLike
from logitlab.engines.registry import EngineLike
from logitlab.engines.resolve import Request
from logitlab.engines.spelling import VocabularyLike
from logitlab.steps.state import State

__all__ = ["LlamaCpp", "llama_cpp"]


class LlamaCpp(Adapter):
    """An adapter that llama-cpp-python takes in its ``logits_processor``."""

    library = "llama-cpp-python"
    ids_name, logits_name = "input_ids", "scores"

    def __call__(self, input_ids: Any, scores: Any) -> FloatArray:
        """Return what becomes of the scores, shape (V,), after the tokens so far, shape (L,)."""
        array = check_array(scores, self.logits_name)
        return self.row_after(input_ids, array)


def llama_cpp(
    request: Request = None,
    *,
    engine: EngineLike = "openrouter",
    seed: SeedLike = None,
    sequence: int = 0,
    coupling: Any = "inverse",
    state: State | None = None,
    vocabulary: VocabularyLike = None,
) -> LlamaCpp:
    """Return a request as a ``logits_processor`` for llama-cpp-python.

    Its own samplers come behind, with defaults that act: switch them off by ``temperature=1.0,
    top_p=1.0, min_p=0.0, top_k=0, repeat_penalty=1.0``. With a seed none of this matters: one token
    is left. Give ``logit_bias`` in the request, not to llama-cpp-python, which drops every logits
    processor beside one of its own.

    Parameters
    ----------
    request, engine, seed, sequence, coupling, state, vocabulary
        As of `adapters.plain`. ``models.LlamaCpp`` as vocabulary knows what ends a text.

    Returns
    -------
    LlamaCpp
        For one text at a time. Where the next prompt is exactly what the last call saw, or that and
        one token more, call ``restart()`` before.

    Raises
    ------
    ParameterError
        For whatever is wrong with the request, at once; for ids and scores, when they come.

    Examples
    --------
    >>> adapter = llama_cpp({"temperature": 0.8, "mirostat": 2}, engine="llama_cpp", seed=7)
    >>> answer = llama.create_completion(  # doctest: +SKIP
    ...     "Once upon a time", logits_processor=LogitsProcessorList([adapter]), max_tokens=20
    ... )
    """
    return LlamaCpp(
        request,
        engine=engine,
        seed=seed,
        sequence=sequence,
        coupling=coupling,
        state=state,
        vocabulary=vocabulary,
    )
