"""What the two parameter pages say: OpenRouter's, the default of this library, and OpenAI's."""

from __future__ import annotations

from logitlab.engines.draws import inverse
from logitlab.engines.engine import engine
from logitlab.engines.rules import Ignore, InVocabulary, Refuse, Rule, Values
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import MinP, TopA, TopK, TopP

__all__ = ["openai", "openrouter"]


def _within(low: float, high: float) -> tuple[Rule, ...]:
    rule = f"in [{low:g}, {high:g}]"
    return (Refuse(lambda value: not low <= value <= high, rule, f"It documents {rule}."),)


_BIAS: tuple[Rule, ...] = (
    Refuse(
        lambda bias: any(not -100 <= amount <= 100 for amount in bias.values()),
        "a map to numbers in [-100, 100]",
        "It documents [-100, 100].",
    ),
    InVocabulary(True, "No token has the id {}."),
)
_OPENAI = {
    "temperature": _within(0, 2),
    "top_p": _within(0, 1),
    "frequency_penalty": _within(-2, 2),
    "presence_penalty": _within(-2, 2),
    "logit_bias": _BIAS,
    "top_logprobs": _within(0, 20),
}


@engine(
    title="OpenRouter's parameters page",
    source="https://openrouter.ai/docs/api/reference/parameters",
    rules=_OPENAI
    | {
        "top_k": (Refuse(lambda k: k < 0, ">= 0", "It documents 0 or above."),),
        "min_p": _within(0, 1),
        "top_a": _within(0, 1),
        "repetition_penalty": _within(0, 2),
    },
    luck=inverse,
    luck_note="logitlab's own: the inverse of the cumulative distribution at a Philox uniform",
)
def openrouter(p: Values) -> Chain:
    """Return the chain that OpenRouter's parameters page describes.

    Order: bias, repetition, frequency and presence penalty over prompt and output, temperature,
    then the truncations, each on the renormalised survivors of the one before. Ties go to the
    lower id. Everything is exact: float64, rounded once a step.
    """
    return Chain(
        LogitBias(p.logit_bias),
        RepetitionPenalty(p.repetition_penalty),
        FrequencyPenalty(p.frequency_penalty),
        PresencePenalty(p.presence_penalty),
        Temperature(p.temperature),
        TopK(p.top_k),
        TopP(p.top_p),
        MinP(p.min_p),
        TopA(p.top_a),
    )


_UNKNOWN = (Ignore("its page has no such parameter"),)


@engine(
    title="OpenAI's API reference",
    source='https://platform.openai.com/docs/api-reference, "Parameter details"',
    rules=_OPENAI | dict.fromkeys(("top_k", "min_p", "top_a", "repetition_penalty"), _UNKNOWN),
    logprobs="undocumented",
    luck_note="undocumented, and only mostly deterministic with a seed",
)
def openai(p: Values) -> Chain:
    """Return the chain that OpenAI's reference describes, as far as it does.

    ``mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence``, where c counts the tokens
    sampled so far: the prompt does not count. The order of temperature and top_p is not said; this
    is the order of the page's neighbours.
    """
    return Chain(
        LogitBias(p.logit_bias),
        FrequencyPenalty(p.frequency_penalty, scope="output"),
        PresencePenalty(p.presence_penalty, scope="output"),
        Temperature(p.temperature),
        TopP(p.top_p),
    )
