"""OpenRouter's parameters page: the default of this library."""

from __future__ import annotations

import numpy as np
from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import inverse
from logitlab.engines.registry import engine
from logitlab.engines.rules import LeftOut, Values
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.steps.adaptive import AdaptiveP
from logitlab.steps.allow import AllowedTokens, MinTokens, SuppressTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff, PLess
from logitlab.steps.dry import Dry
from logitlab.steps.guidance import Guidance
from logitlab.steps.length import LengthDecay
from logitlab.steps.mirostat import Mirostat, MirostatOne
from logitlab.steps.ngrams import NoRepeatNgram
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.sequences import BadWords, SequenceBias
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.skew import Skew
from logitlab.steps.smoothing import Smoothing
from logitlab.steps.step import StatefulStep, Step
from logitlab.steps.tail_free import Tfs
from logitlab.steps.temperature import DynamicTemperature, Temperature
from logitlab.steps.thinking import ThinkingBudget
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.top_h import TopH
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.watermark import Watermark
from logitlab.steps.xtc import Xtc

__all__ = ["openrouter"]


_OF_TOKENS = (
    "logit_bias",
    "allowed_token_ids",
    "suppress_tokens",
    "bad_words",
    "sequence_bias",
    "eos_token_id",
    "stop_token_ids",
    "thinking_markers",
    "dry_sequence_breakers",
)
_BESIDE_MIROSTAT = LeftOut(
    lambda request: "mirostat has the last word" if request.get("mirostat") else "",
    "beside mirostat",
)


def _dry(p: Values) -> Dry:
    last_n = None if p.dry_penalty_last_n == -1 else p.dry_penalty_last_n
    breakers = p.dry_sequence_breakers
    return Dry(p.dry_multiplier, p.dry_base, p.dry_allowed_length, last_n, breakers)


def _length_decay(p: Values) -> LengthDecay:
    start, factor = p.exponential_decay_length_penalty or (0, 1.0)
    return LengthDecay(factor, start, p.eos_token_id)


def _tempering(p: Values) -> tuple[Step, ...]:
    """Return temperature, which dynamic temperature is one way to choose, and smoothing."""
    temperature: Step = Temperature(p.temperature)
    if np.any(p.dynatemp_range):
        temperature = DynamicTemperature(p.dynatemp_range, p.temperature, p.dynatemp_exponent)
    return temperature, Smoothing(p.smoothing_factor, p.smoothing_curve)


def _in_place_of_the_draw(p: Values) -> list[StatefulStep]:
    """Return what has the last word: mirostat, or else adaptive-p."""
    near = AdaptiveP(p.adaptive_target, p.adaptive_decay)
    if p.mirostat:
        kind = MirostatOne if p.mirostat == 1 else Mirostat
        return [kind(p.mirostat_tau, p.mirostat_eta)]
    return [] if near.is_neutral else [near]


@engine(
    title="OpenRouter's parameters page",
    source="https://openrouter.ai/docs/api/reference/parameters",
    is_page=True,
    rules={
        **dict.fromkeys(_OF_TOKENS, (InVocabulary(True, "No token has the id {}."),)),
        **dict.fromkeys(("adaptive_target", "adaptive_decay"), (_BESIDE_MIROSTAT,)),
    },
    luck=inverse,
    luck_note="logitlab's own: the inverse of the cumulative distribution at a Philox uniform",
    dialect=Dialect(usage="always", holds_stops=True),
)
def openrouter(p: Values) -> Chain:
    """Return the chain that OpenRouter's parameters page describes.

    Order: bias, repetition, frequency and presence penalty over prompt and output, temperature,
    then the truncations, each on the renormalised survivors of the one before. Ties go to the
    lower id. Everything is exact: float64, rounded once a step.

    What is beyond the page means what its author defined, and stands in its place among these: DRY,
    n-grams and length after the penalties, dynamic temperature in the place of temperature,
    smoothing after it, skew last. ``temperature_last`` moves both behind the truncations, so that
    temperature 0 takes the most likely token that they leave; beside ``dynatemp_range`` temperature
    is the middle of a range, and 0 is not greedy.
    """
    tempering = _tempering(p)
    last = bool(p.temperature_last)
    return Chain(
        AllowedTokens(p.allowed_token_ids),
        SuppressTokens(p.suppress_tokens),
        BadWords(p.bad_words),
        Guidance(p.guidance_scale),
        LogitBias(p.logit_bias),
        SequenceBias(p.sequence_bias),
        RepetitionPenalty(p.repetition_penalty),
        FrequencyPenalty(p.frequency_penalty),
        PresencePenalty(p.presence_penalty),
        _dry(p),
        NoRepeatNgram(p.no_repeat_ngram_size),
        MinTokens(p.min_tokens, (*p.eos_token_id, *p.stop_token_ids)),
        _length_decay(p),
        ThinkingBudget(p.thinking_token_budget, *p.thinking_markers),
        *(() if last else tempering),
        TopNSigma(p.top_n_sigma),
        TopK(p.top_k),
        TypicalP(p.typical_p),
        TopP(p.top_p),
        MinP(p.min_p),
        TopA(p.top_a),
        Tfs(p.tfs),
        EpsilonCutoff(p.epsilon_cutoff),
        EtaCutoff(p.eta_cutoff),
        TopH(p.top_h),
        PLess(int(p.p_less)),
        Xtc(p.xtc_probability, p.xtc_threshold),
        *(tempering if last else ()),
        *([] if p.watermarking_config is None else [Watermark(**p.watermarking_config)]),
        Skew(p.skew),
        *_in_place_of_the_draw(p),
    )
