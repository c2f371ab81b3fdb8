"""The engines: how each evaluates the same request parameters.

Each is an `Engine`: call it with parameters to get its chain. `ENGINES` holds all by name,
`translate` tells what of a request reaches one.
"""

from __future__ import annotations

from logitlab.checks import check_choice
from logitlab.engines.documented import openai, openrouter
from logitlab.engines.engine import Engine
from logitlab.engines.llama_cpp import koboldcpp, llama_cpp, llama_cpp_python
from logitlab.engines.mlx_lm import mlx_lm, mlx_lm_server
from logitlab.engines.rules import Note, RefusalError
from logitlab.engines.sglang import (
    sglang,
    sglang_flashinfer,
    sglang_flashinfer_sequential,
    sglang_lag,
)
from logitlab.engines.transformers import transformers, transformers_serve
from logitlab.engines.translation import RequestLike, Translation, translated
from logitlab.engines.vllm import aphrodite, aphrodite_once, vllm, vllm_flashinfer, vllm_triton

__all__ = [
    "ENGINES",
    "MAIN",
    "Engine",
    "Note",
    "RefusalError",
    "Translation",
    "aphrodite",
    "aphrodite_once",
    "get",
    "koboldcpp",
    "llama_cpp",
    "llama_cpp_python",
    "mlx_lm",
    "mlx_lm_server",
    "openai",
    "openrouter",
    "sglang",
    "sglang_flashinfer",
    "sglang_flashinfer_sequential",
    "sglang_lag",
    "transformers",
    "transformers_serve",
    "translate",
    "vllm",
    "vllm_flashinfer",
    "vllm_triton",
]

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        openrouter,
        openai,
        vllm,
        vllm_triton,
        vllm_flashinfer,
        sglang,
        sglang_lag,
        sglang_flashinfer,
        sglang_flashinfer_sequential,
        transformers,
        transformers_serve,
        llama_cpp,
        llama_cpp_python,
        mlx_lm,
        mlx_lm_server,
        koboldcpp,
        aphrodite,
        aphrodite_once,
    )
}
"""All engines and their variants by name."""

MAIN = (
    "openrouter",
    "openai",
    "vllm",
    "sglang",
    "transformers",
    "llama_cpp",
    "mlx_lm",
    "koboldcpp",
    "aphrodite",
)
"""Names of the engines without their variants."""


def get(engine: str | Engine) -> Engine:
    """Return an engine by its name; an engine is its own.

    Raises
    ------
    ParameterError
        For a name that is none of `ENGINES`.

    Examples
    --------
    >>> get("mlx_lm")
    <Engine mlx_lm: mlx-lm 0.32.2>
    """
    if isinstance(engine, Engine):
        return engine
    check_choice("engine", engine, ENGINES)
    return ENGINES[engine]


def translate(
    params: RequestLike, engine: str | Engine, *, vocabulary_size: int | None = None
) -> Translation:
    """Tell what of a request reaches an engine, and what happens to the rest.

    Parameters
    ----------
    params : SamplingParams or mapping
        A mapping is a request body, whose values may lie outside OpenRouter's ranges; ``None``
        means absent. Keys of the engine's own (``repeat_last_n``) may be in it, or in ``extra``.
    engine : str or Engine
    vocabulary_size : int, optional
        With it, rules that depend on it are checked, too: token ids of a bias, mlx-lm's top_k.

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
    return translated(params, get(engine), vocabulary_size)
