"""transformers: its `generate`, and its server, which maps what it is sent in its own way."""

from __future__ import annotations

from dataclasses import replace

from logitlab.engines.dialect import Dialect
from logitlab.engines.engine import engine
from logitlab.engines.generation_config import KEY, GenerationConfig, generation_config
from logitlab.engines.rules import Ignore, InVocabulary, Off, Refuse, Rename, Rule, Send, Values
from logitlab.engines.schemas import TRANSFORMERS_SERVE
from logitlab.engines.together import Fields
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK

__all__ = ["transformers", "transformers_serve"]

_GLOBAL = "torch.multinomial on torch's global generator, whose exponential numbers come from MKL"

_POSITIVE_FLOAT = (
    "`temperature` (={}) has to be a strictly positive float, otherwise your next token scores "
    "will be invalid."
)

_FILE = GenerationConfig(("temperature", "top_k", "top_p", "min_p", "repetition_penalty"))
_GENERATE_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        Refuse(
            lambda t: t <= 0,
            "a strictly positive float",
            _POSITIVE_FLOAT,
        ),
    ),
    "top_p": (
        Off(lambda p: p > 1, "above 1"),
        Refuse(
            lambda p: p < 0,
            "in [0, 1]",
            "`top_p` has to be a float > 0 and < 1, but is {}",
        ),
    ),
    "top_k": (
        Refuse(
            lambda k: k < 0,
            "a positive integer, or 0 (disable)",
            "`top_k` has to be a strictly positive integer, but is {}",
        ),
    ),
    "min_p": (
        Refuse(
            lambda p: not 0 <= p <= 1,
            "in [0, 1]",
            "`min_p` has to be a float in the [0, 1] interval, but is {}",
        ),
    ),
    "repetition_penalty": (
        Refuse(
            lambda r: r <= 0,
            "a strictly positive float",
            "`penalty` has to be a strictly positive float, but is {}",
        ),
    ),
    "frequency_penalty": (Ignore(),),
    "presence_penalty": (Ignore(),),
    "top_a": (Ignore(),),
    "logit_bias": (
        Rename("sequence_bias", "a bias of sequences of one token"),
        InVocabulary(True, "The model vocabulary size is {V}, but ids {} were being biased."),
    ),
    "seed": (Ignore("it draws from torch's global generator"),),
}


@engine(
    title="transformers 5.23.0, generate with do_sample",
    source="transformers/generation/utils.py, generation/logits_process.py",
    rules=_GENERATE_RULES,
    generation_config=_FILE,
    options=generation_config() | DEVICE,
    defaults={"top_k": 50},
    logprobs="processed",
    luck_note=_GLOBAL,
)
def transformers(p: Values) -> Chain:
    """Return the chain of `GenerationMixin.generate` with ``do_sample=True``.

    Order: bias, repetition penalty over prompt and output, temperature, top-k with all ties, top-p
    from below, min-p. Top-p keeps those of equal tokens that torch's sort of the row that top-k
    left puts last: up to 16 tokens the highest ids, beyond those that introsort favours. With
    ``device="cuda"``, where that sort is stable, the highest ids in every row. There is no
    frequency or presence penalty. A request without top_k gets 50. Temperature 0 is refused: greedy
    is ``do_sample=False``. Its ``output_scores`` are what is drawn from. The option
    ``generation_config`` is the file of that name beside a model, which replaces defaults; without
    it none is assumed.
    """
    return Chain(
        LogitBias(p.logit_bias),
        RepetitionPenalty(p.repetition_penalty),
        Temperature(p.temperature),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        MinP(p.min_p, space="probs"),
        precision="mixed",
    )


# The keys of openai.types.chat.CompletionCreateParams, and three of the server's own.
_NAMES = (
    "audio chat_template_kwargs frequency_penalty function_call functions generation_config "
    "logit_bias logprobs max_completion_tokens max_tokens messages metadata modalities model "
    "moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning_effort response_format "
    "safety_identifier seed service_tier stop store stream stream_options temperature "
    "tool_choice tools top_logprobs top_p user verbosity web_search_options"
)
_FIELDS = Fields(frozenset(_NAMES.split()), "Unexpected fields in the request: {{{names}}}")
_SERVED_FILE = replace(_FILE, max_tokens=lambda limit: max(limit or 0, 1024), samples=True)
_UNUSED: tuple[Rule, ...] = (Ignore("the server warns of an unsupported field, and goes on"),)
_SERVE: dict[str, tuple[Rule, ...]] = (
    _GENERATE_RULES
    | dict.fromkeys(("presence_penalty", "logprobs", "top_logprobs"), _UNUSED)
    | {
        "logit_bias": (
            Refuse(
                lambda bias: any(isinstance(amount, int) for amount in bias.values()),
                "a map to numbers with a decimal point",
                "`sequence_bias` has to be a dict with floats as values",
            ),
            *_GENERATE_RULES["logit_bias"],
        ),
        "temperature": (Refuse(lambda t: t < 0, "at least 0", _POSITIVE_FLOAT),),
        "frequency_penalty": (
            Refuse(lambda f: f <= -1, "above -1", "`penalty` has to be a strictly positive float"),
            Send("repetition_penalty", lambda f: 1 + f),
        ),
        "seed": (
            Refuse(
                lambda seed: not -(2**63) <= seed < 2**64,
                "in [-2**63, 2**64 - 1]",
                "Overflow when unpacking long long",
            ),
            Ignore("it seeds torch's global generator, whose stream is not repeated here"),
        ),
    }
)


@engine(
    title="transformers 5.23.0, transformers serve",
    variant_of="transformers",
    source="transformers/cli/serving/chat_completion.py, cli/serving/utils.py",
    rules=_SERVE,
    together=(_FIELDS,),
    schema=TRANSFORMERS_SERVE,
    generation_config=_SERVED_FILE,
    options=generation_config(is_sent=True) | DEVICE,
    defaults={"top_k": 50},
    logprobs="none",
    luck_note=_GLOBAL,
    dialect=Dialect(usage="finish"),
)
def transformers_serve(p: Values) -> Chain:
    """Return the chain of ``transformers serve``.

    As `transformers`, but a frequency penalty f becomes a repetition penalty of 1 + f, presence
    penalty and log-probabilities are ignored, temperature 0 is greedy, and fields that OpenAI's
    schema does not have are refused: top_k, min_p and repetition_penalty are the model's own, by
    default a top_k of 50. Whatever else it refuses is an answer 500 without a text.

    The option ``generation_config`` is the file of that name beside the model, or as in the
    server the request's own in its place, as a text of JSON. Without ``do_sample`` in it every
    request is greedy; without a file a model that samples is assumed.
    """
    file = getattr(p, KEY)
    if file is not None and not file.get("do_sample"):
        return transformers.build(Values(**{**vars(p), "temperature": 0.0}))
    return transformers.build(p)
