"""One expression per engine: request parameters become a chain.

An engine is a function ``SamplingParams -> Chain``. What a request leaves out gets the engine's
own default; steps at their neutral value are left out of the chain, so it prints as the program
that really runs.
"""

from __future__ import annotations

from logitlab.chain import Chain
from logitlab.checks import ParameterError
from logitlab.params import PARAMETERS, SamplingParams
from logitlab.transforms.bias import LogitBias
from logitlab.transforms.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.transforms.temperature import Temperature
from logitlab.transforms.truncation import MinP, TopA, TopK, TopP

__all__ = ["openrouter"]


def openrouter(params: SamplingParams) -> Chain:
    """Return the chain that OpenRouter's parameters page describes.

    Order: bias, repetition, frequency and presence penalty over prompt and output, temperature,
    then the truncations, each on the renormalised survivors of the one before. Ties go to the
    lower id.

    Parameters
    ----------
    params : SamplingParams
        Parameters that choose, end or report (seed, max_tokens, stop, logprobs …) play no part in
        the distribution of one token and may be present.

    Returns
    -------
    Chain

    Raises
    ------
    ParameterError
        For response_format, tools and verbosity where they would change the distribution: they act
        on a whole generation, and a chain that left them out would only pretend to apply them.

    References
    ----------
    OpenRouter, "Parameters", https://openrouter.ai/docs/api/reference/parameters

    Examples
    --------
    >>> from logitlab import SamplingParams
    >>> openrouter(SamplingParams(top_p=0.9, temperature=0.8, min_p=0))
    Chain(Temperature(0.8), TopP(0.9))
    """
    _refuse_generation_parameters(params)
    p = params.with_defaults().given()
    return Chain(
        LogitBias(p["logit_bias"]),
        RepetitionPenalty(p["repetition_penalty"]),
        FrequencyPenalty(p["frequency_penalty"]),
        PresencePenalty(p["presence_penalty"]),
        Temperature(p["temperature"]),
        TopK(p["top_k"]),
        TopP(p["top_p"]),
        MinP(p["min_p"]),
        TopA(p["top_a"]),
    ).without_neutral()


def _refuse_generation_parameters(params: SamplingParams) -> None:
    """Raise for a parameter whose effect on the distribution no single step can have."""
    if not isinstance(params, SamplingParams):
        hint = "SamplingParams.from_request reads a request body."
        raise ParameterError("params", "SamplingParams", params, hint)
    harmless = {
        "response_format": params.response_format in (None, {"type": "text"}),
        "tools": not params.tools or params.tool_choice == "none",
        "verbosity": params.verbosity in (None, "medium"),
    }
    for key, absent in harmless.items():
        if not absent:
            hint = f"{PARAMETERS[key].sentence[:-1]}: that acts on a whole generation."
            rule = "absent where single tokens are sampled"
            raise ParameterError(key, rule, getattr(params, key), hint)
