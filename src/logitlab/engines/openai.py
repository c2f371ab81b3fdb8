"""OpenAI's API reference, as far as it says what happens."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.registry import engine
from logitlab.engines.rules import Documented, Ignore, Values
from logitlab.engines.telling import own_luck
from logitlab.engines.together import Together, needs_logprobs, needs_stream, number
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import TopP

__all__ = ["openai"]

_DOCUMENTED = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "top_logprobs")
_ABSENT = ("top_k", "min_p", "top_a", "repetition_penalty")
_TOGETHER = (
    needs_stream("Only set this when you set stream: true."),
    needs_logprobs("logprobs must be set to true if this parameter is used."),
    Together(
        "n",
        lambda request: not 1 <= number(request, "n") <= 128,
        "in [1, 128]",
        "It documents 1 to 128.",
    ),
    Together(
        "stop",
        lambda request: len(request["stop"]) > 4,
        "at most 4 sequences",
        "It documents up to 4.",
    ),
)


@engine(
    title="OpenAI's API reference",
    source='https://platform.openai.com/docs/api-reference, "Parameter details"',
    rules={key: (Documented(key),) for key in _DOCUMENTED}
    | {"logit_bias": (Documented("logit_bias"), InVocabulary(True, "No token has the id {}."))}
    | {"seed": (own_luck("luck that it does not document"),)}
    | dict.fromkeys(_ABSENT, (Ignore("its page has no such parameter"),)),
    together=_TOGETHER,
    logprobs="undocumented",
    luck_note="undocumented, and only mostly deterministic with a seed",
    dialect=Dialect(stops_after="named"),
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
