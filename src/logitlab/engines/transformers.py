"""transformers: its `generate`, and its server, which maps what it is sent in its own way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from logitlab.engines.dialect import Dialect
from logitlab.engines.generation_config import KEY, GenerationConfig, generation_config
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Ignore,
    LeftOut,
    Note,
    Off,
    Option,
    Outcome,
    Refuse,
    Rename,
    Rule,
    Send,
    Target,
    Values,
    integers,
    refusal,
)
from logitlab.engines.schemas import TRANSFORMERS_SERVE
from logitlab.engines.telling import own_luck
from logitlab.engines.together import Fields, Together
from logitlab.engines.torch_sort import DEVICE, ascending_top_p, descending_ties
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.request import tokens, values
from logitlab.steps.allow import ForcedTokens, MinTokens, SuppressTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff
from logitlab.steps.guidance import Guidance
from logitlab.steps.length import LengthDecay
from logitlab.steps.ngrams import NoRepeatNgram
from logitlab.steps.penalties import RepetitionPenalty
from logitlab.steps.sequences import BadWords, SequenceBias
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.top_h import TopH
from logitlab.steps.truncation import TopK
from logitlab.steps.typical import TypicalP
from logitlab.steps.watermark import Watermark

__all__ = ["WARPER_RULES", "transformers", "transformers_serve"]

_GLOBAL = "torch.multinomial on torch's global generator, whose exponential numbers come from MKL"

_POSITIVE_FLOAT = (
    "`temperature` (={}) has to be a strictly positive float, otherwise your next token scores "
    "will be invalid."
)

_OUT_OF_VOCABULARY = (
    "The model vocabulary size is {V}, but the following tokens were being biased: {}"
)


_LOOKED_AT = 40
"""Tokens of which the scheme "selfhash" looks for green ones, not fewer."""


def _watermark_says(value: Any) -> str:
    """Return what is wrong with a ``WatermarkingConfig``, in its own words, or ""."""
    says = "Some of the keys in `watermarking_config` are defined incorrectly. `{}` should be {}` "
    says += "but found {}"
    scheme, ratio = value.get("seeding_scheme", "lefthash"), value.get("greenlist_ratio", 0.25)
    if not 0 <= ratio <= 1:  # it tells the scheme
        return says.format("greenlist_ratio", "in range between 0.0 and 1.0", scheme)
    if value.get("context_width", 1) < 1:
        return says.format("context_width", "a positive integer", value["context_width"])
    if ratio in (0, 1):
        return (
            f"greenlist_ratio has be in range between 0.0 and 1.0, exclusively. but found {ratio}"
        )
    return ""


@dataclass(frozen=True)
class _Watermark(Rule):
    """What the fields of a ``WatermarkingConfig`` have to be."""

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Raise for fields that the library refuses, or tell where it would stop later."""
        says = _watermark_says(value)
        if says:
            rule = "a map with greenlist_ratio in (0, 1) and context_width of at least 1"
            raise refusal(key, rule, value, target.engine, says, target.answers)
        if value.get("seeding_scheme") != "selfhash":
            return value, None
        if target.size is not None and target.size < _LOOKED_AT:
            rule = f"another scheme than selfhash where there are less than {_LOOKED_AT} tokens"
            says = "IndexError: index {V} is out of bounds for dimension 0 with size {V}"
            says = says.format(V=target.size)
            raise refusal(key, rule, value, target.engine, says, target.answers)
        sentence = f"{key}: {target.engine} stops at an IndexError where none of the {_LOOKED_AT} "
        sentence += "most likely tokens is green; here such a row stays as it is."
        return value, Note(key, "beside", sentence, value, value)

    def describe(self) -> str:
        """Return what the fields have to be."""
        return "greenlist_ratio in (0, 1), context_width at least 1, selfhash for 40 tokens or more"


@dataclass(frozen=True)
class _Whole(Rule):
    """A top_h of 1 is no neutral value: it keeps at most 100 tokens."""

    def apply(self, key: str, value: Any, target: Target) -> Outcome:
        """Return the number below 1 that is 1 in float32."""
        return math.nextafter(1, 0) if value == 1 else value, None

    def describe(self) -> str:
        """Return what 1 does."""
        return "1 keeps at most 100"


_ALWAYS = (
    *("repetition_penalty", "guidance_scale", "sequence_bias", "no_repeat_ngram_size"),
    *("eos_token_id", "exponential_decay_length_penalty", "suppress_tokens"),
    "watermarking_config",
)
_SAMPLED = ("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
_FILE = GenerationConfig(
    ("temperature", "top_k", "top_p", "min_p", *_ALWAYS, *_SAMPLED), always=_ALWAYS
)
WARPER_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (Refuse(lambda t: t < 0, "at least 0", _POSITIVE_FLOAT),),
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
}
"""What its classes make of values, where temperature 0 is greedy."""

_GENERATE_RULES: dict[str, tuple[Rule, ...]] = WARPER_RULES | {
    "temperature": (Refuse(lambda t: t <= 0, "a strictly positive float", _POSITIVE_FLOAT),),
    "frequency_penalty": (Ignore(),),
    "presence_penalty": (Ignore(),),
    "top_a": (Ignore(),),
    "logit_bias": (
        Rename("sequence_bias", "a bias of sequences of one token"),
        InVocabulary(True, "The model vocabulary size is {V}, but ids {} were being biased."),
    ),
    "sequence_bias": (
        Refuse(
            lambda bias: not bias,
            "a map that is not empty",
            "`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but is "
            "{}.",
        ),
        InVocabulary(True, _OUT_OF_VOCABULARY, lists=True),
    ),
    "bad_words": (
        Rename("bad_words_ids", "its name there"),
        Refuse(
            lambda words: any(isinstance(word, str) for word in words),
            "an array of arrays of token ids",
            "`bad_words_ids` has to be a list of lists, but is {}.",
        ),
        Refuse(
            lambda words: not words,
            "an array that is not empty",
            "`bad_words_ids` has to be a non-empty list, but is [].",
        ),
        InVocabulary(True, _OUT_OF_VOCABULARY, lists=True),
    ),
    "no_repeat_ngram_size": (Off(lambda n: n < 0, "below 0"),),
    "min_tokens": (Rename("min_new_tokens", "its name there"), Off(lambda n: n < 0, "below 0")),
    "typical_p": (
        Off(lambda p: p >= 1, "1 and above"),
        Refuse(
            lambda p: p <= 0,
            "in (0, 1)",
            "`typical_p` has to be a float > 0 and < 1, but is {}",
        ),
    ),
    "epsilon_cutoff": (Off(lambda epsilon: not 0 < epsilon < 1, "0 and below, 1 and above"),),
    "eta_cutoff": (Off(lambda eta: not 0 < eta < 1, "0 and below, 1 and above"),),
    "top_h": (
        Refuse(lambda h: not 0 < h <= 1, "in (0, 1]", "`top_h` must be in the range (0, 1]."),
        _Whole(),
    ),
    "watermarking_config": (_Watermark(),),
    "renormalize_logits": (Ignore("it changes no distribution"),),
    "remove_invalid_values": (
        Ignore(
            "it changes no distribution but that of a row of which nothing is left, and beside a "
            "length decay it may leave a row of NaN"
        ),
    ),
    "min_length": (
        LeftOut(
            lambda request: "min_new_tokens counts" if "min_tokens" in request else "",
            "beside min_new_tokens",
        ),
        Off(lambda n: n < 0, "below 0"),
    ),
    "seed": (Ignore("it draws from torch's global generator"),),
}


def _forced_and_suppressed(key: str) -> Together:
    """Return the rule that not all tokens which are forced are suppressed, too."""
    says = (
        f"Every token in `{key}` ({{{key}}}) is also in `suppress_tokens`. Forcing a token while "
    )
    says += "suppressing it sets all logits to `-inf` at the forcing step, which produces `nan` "
    says += "probabilities and crashes generation. Remove the overlapping token(s) from either "
    says += f"`{key}` or `suppress_tokens` (if you meant to prevent an early EOS token, use "
    says += "`min_new_tokens` instead)."
    return Together(
        key,
        lambda request: request[key] and {*request[key]} <= {*request.get("suppress_tokens", ())},
        "not among suppress_tokens",
        says,
    )


_TOGETHER = tuple(map(_forced_and_suppressed, ("forced_bos_token_id", "forced_eos_token_id")))
_ALIASES = {"bad_words_ids": "bad_words", "min_new_tokens": "min_tokens"}
_OPTIONS = {
    "min_length": Option(0, integers()),
    "max_length": Option(None, integers()),
    "begin_suppress_tokens": Option((), tokens.ids),
    "forced_bos_token_id": Option((), tokens.one_or_more_ids),
    "forced_eos_token_id": Option((), tokens.one_or_more_ids),
    "renormalize_logits": Option(False, values.flag),
    "remove_invalid_values": Option(False, values.flag),
}


def _watermark(p: Values) -> tuple[Step, ...]:
    if p.watermarking_config is None:
        return ()
    return (Watermark(**p.watermarking_config, ties=descending_ties(p)),)


def _processors(p: Values) -> tuple[Step, ...]:
    """Return what comes before temperature, and acts where nothing is sampled, too."""
    bias = {(token,): amount for token, amount in p.logit_bias.items()} | {**p.sequence_bias}
    ends = p.eos_token_id
    words = tuple(word for word in p.bad_words if not (len(word) == 1 and word[0] in ends))
    # A text of max_length is its prompt and 20 tokens where nobody says otherwise.
    last = {"at": 19} if p.max_length is None else {"at": p.max_length - 1, "scope": "all"}
    start, factor = p.exponential_decay_length_penalty or (0, 1.0)
    return (
        Guidance(p.guidance_scale),
        SequenceBias(bias) if p.sequence_bias else LogitBias(p.logit_bias),
        RepetitionPenalty(p.repetition_penalty),
        NoRepeatNgram(p.no_repeat_ngram_size, guard=False),
        BadWords(words, scope="all"),
        MinTokens(p.min_length, ends, scope="all"),
        MinTokens(p.min_tokens, ends),
        ForcedTokens(p.forced_bos_token_id, at=1, scope="all", form="zero"),
        ForcedTokens(p.forced_eos_token_id, form="zero", **last),
        LengthDecay(factor, start, ends),
        SuppressTokens(p.suppress_tokens, outside="ignored"),
        SuppressTokens(p.begin_suppress_tokens, outside="ignored", at=0),
    )


@engine(
    title="transformers 5.23.0, generate with do_sample",
    source="transformers/generation/utils.py, generation/logits_process.py",
    rules=_GENERATE_RULES,
    together=_TOGETHER,
    generation_config=_FILE,
    options=generation_config() | DEVICE | _OPTIONS,
    defaults={"top_k": 50},
    aliases=_ALIASES,
    endings=("eos_token_id",),
    logprobs="processed",
    luck_note=_GLOBAL,
)
def transformers(p: Values) -> Chain:
    """Return the chain of ``GenerationMixin.generate`` with ``do_sample=True``.

    Order: guidance, bias of sequences, repetition penalty over prompt and output, n-grams, bad
    words, least lengths, forced first and last token, length decay, suppressed tokens, temperature,
    top-h, top-k with all ties, top-p from below, min-p, typical, epsilon, eta, watermark. All count
    prompt and output, but for what has new tokens or a beginning in its name. There is no frequency
    or presence penalty. A request without top_k gets 50. Temperature 0 is refused: greedy is
    ``do_sample=False``. Its ``output_scores`` are what is drawn from.

    Top-p keeps those of equal tokens that torch's sort of the row that top-k left puts last: up to
    16 tokens the highest ids, beyond those that introsort favours. With ``device="cuda"``, where
    that sort is stable, the highest ids in every row. Typical-p keeps all that deviate as much as
    the last one. Top-h adds up terms of the entropy of the 100 largest logits, so that 1 is not
    neutral. ``min_length`` counts the prompt, too, and does not count beside ``min_new_tokens``.
    ``forced_eos_token_id`` acts where one token of ``max_length`` is missing, which is that of the
    prompt and 20 more where it is absent. ``renormalize_logits`` and ``remove_invalid_values``
    change no distribution here; of a row of which bans leave nothing the latter makes a uniform
    one, which is an error here.

    The option ``generation_config`` is the file of that name beside a model, which replaces
    defaults; without it none is assumed.
    """
    return Chain(
        *_processors(p),
        Temperature(p.temperature),
        *([TopH(p.top_h, "terms", 100, "topk")] if p.top_h != 1 else []),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        MinP(p.min_p, space="probs"),
        TypicalP(p.typical_p, ties="all"),
        EpsilonCutoff(p.epsilon_cutoff),
        EtaCutoff(p.eta_cutoff),
        *_watermark(p),
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
            Refuse(
                lambda bias: not bias,
                "a map that is not empty",
                "`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but "
                "is {}.",
            ),
            *_GENERATE_RULES["logit_bias"],
        ),
        "stop": (
            Refuse(
                lambda stop: not stop,
                "an array of at least one string",
                "Stop string preprocessing was unable to identify tokens matching one or more of "
                "the supplied stop string(s).",
            ),
        ),
        "temperature": WARPER_RULES["temperature"],
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
            own_luck("torch's global generator"),
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
    options=generation_config(is_sent=True) | DEVICE | _OPTIONS,
    defaults={"top_k": 50},
    logprobs="none",
    endings=("eos_token_id",),
    luck_note=_GLOBAL,
    dialect=Dialect(usage="finish", has_two_limits=True, has_one_answer=True),
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
