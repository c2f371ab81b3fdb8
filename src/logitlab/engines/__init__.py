"""The engines: how each evaluates the same request parameters.

Each is an `Engine`: call it with parameters to get its chain. `ENGINES` holds all by name,
`translate` tells what of a request reaches one, `engine` makes one of your own.
"""

from __future__ import annotations

from logitlab.engines.engine import Engine, RequestLike
from logitlab.engines.registry import ENGINES, EngineLike, engine, get
from logitlab.engines.rules import Note, RefusalError, Translation
from logitlab.engines.spelling import VocabularyLike

# In the order in which tables show them. Each registers itself.
# isort: off
from logitlab.engines.openrouter import *
from logitlab.engines.openai import *
from logitlab.engines.vllm import *
from logitlab.engines.sglang import *
from logitlab.engines.transformers import *
from logitlab.engines.llama_cpp import *
from logitlab.engines.ollama import *
from logitlab.engines.mlx_lm import *
from logitlab.engines.koboldcpp import *
from logitlab.engines.aphrodite import *
from logitlab.engines.exllamav3 import *
from logitlab.engines.tgi import *
from logitlab.engines.textgen import *
# isort: on

MAIN = tuple(name for name, each in ENGINES.items() if not each.variant_of)
"""Names of the engines of this package without their variants."""

__all__ = [
    "ENGINES",
    "MAIN",
    "Engine",
    "Note",
    "RefusalError",
    "Translation",
    "engine",
    "get",
    "translate",
    *ENGINES,
]


def translate(
    request: RequestLike,
    engine: EngineLike,
    *,
    vocabulary_size: int | None = None,
    vocabulary: VocabularyLike = None,
) -> Translation:
    """Tell what of a request reaches an engine, and what happens to the rest.

    Parameters
    ----------
    request : SamplingParams or mapping
        A mapping is a request body, whose values may lie outside OpenRouter's ranges; ``None``
        means absent. Keys of the engine's own (``repeat_last_n``) may be in it, or in ``extra``.
    engine : str or Engine
    vocabulary_size : int, optional
        With it, rules that depend on it are checked, too: token ids of a bias, mlx-lm's top_k.
    vocabulary : Model or Vocabulary, optional
        With it, texts of the request become token ids: bad_words, breakers of DRY.

    Returns
    -------
    Translation
        Prints as one sentence for each thing that happened.

    Raises
    ------
    ParameterError
        If the engine would refuse the request: with its rule, and its own text. `RefusalError` is
        the class of those errors; others are the caller's mistakes.

    Examples
    --------
    >>> from logitlab import ParameterError, SamplingParams
    >>> print(translate(SamplingParams(temperature=0.001, top_a=0.2), "vllm"))
    temperature 0.001 is raised to 0.01 by vllm.
    top_a is ignored by vllm: it has no such parameter.
    >>> try:
    ...     translate({"repetition_penalty": 2.5}, "sglang")
    ... except ParameterError as error:
    ...     print(error.name, error.rule, error.value)
    repetition_penalty in (0, 2] (1.0 = no penalty) 2.5
    """
    known = get(engine)
    return known.translate(request, vocabulary_size=vocabulary_size, vocabulary=vocabulary)
