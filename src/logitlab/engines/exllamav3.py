"""exllamav3: the sampler of its library, and that of TabbyAPI, which serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.checks import ParameterError
from logitlab.engines.dialect import Dialect
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Ignore,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Unmodelled,
    Values,
    integers,
    numbers,
)
from logitlab.engines.schemas import TABBY_SERVER
from logitlab.engines.spelling import Spelling, containing
from logitlab.engines.telling import own_luck
from logitlab.engines.together import Together, number
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.request.values import flag
from logitlab.steps.adaptive import AdaptiveP
from logitlab.steps.allow import MinTokens, SuppressTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.dry import Dry
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.xtc import AveragedXtc

__all__ = ["exllamav3", "tabbyapi"]

_ALL = 10**8  # what it calls the whole context


def _ids(key: str, value: Any) -> tuple[int, ...]:
    """Take token ids as an array, or as a text with commas between them."""
    if isinstance(value, str):
        value = [int(each) for each in value.replace(" ", "").split(",") if each.isdigit()]
    if not isinstance(value, list | tuple):
        raise ParameterError(key, "an array of token ids", value)
    return tuple(integers(0)(key, token) for token in value)


def _asserted(key: str) -> Refuse:
    says = f"AssertionError: 0.0 <= {key} <= 1.0"
    return Refuse(lambda p: not 0 <= p <= 1, "in [0, 1]", says)


_NONE: tuple[Rule, ...] = (Ignore(),)
_BEYOND = "its sums then begin beyond what a probability can be"
_SEED: tuple[Rule, ...] = (own_luck("Gumbel noise of a GPU"),)
_ALIASES = {
    "rep_p": "repetition_penalty",
    "freq_p": "frequency_penalty",
    "pres_p": "presence_penalty",
    "temp_last": "temperature_last",
    "dry_range": "dry_penalty_last_n",
}
_RULES: dict[str, tuple[Rule, ...]] = {
    **{known: (Rename(name, "its argument"),) for name, known in _ALIASES.items()},
    "repetition_penalty": (
        Rename("rep_p", "its argument"),
        Unmodelled(lambda r: r < 0, "at least 0", "logits change their signs"),
    ),
    "temperature": (
        Unmodelled(lambda t: t < 0, "at least 0", "the order of tokens is turned around"),
    ),
    "top_k": (Off(lambda k: k < 0, "below 0"),),
    "top_p": (_asserted("top_p"),),
    "min_p": (_asserted("min_p"),),
    "top_a": _NONE,
    "dry_multiplier": (
        Refuse(
            lambda m: m < 0, "non-negative", "AssertionError: dry_multiplier must be non-negative"
        ),
    ),
    "dry_allowed_length": (
        Refuse(
            lambda n: n < 0,
            "non-negative",
            "AssertionError: dry_allowed_length must be non-negative",
        ),
    ),
    "adaptive_target": (
        Unmodelled(lambda target: not 0 <= target <= 1, "in [0, 1]", _BEYOND),
        Off(lambda target: target == 1, "1"),
    ),
    "logit_bias": (InVocabulary(False),),
    "seed": _SEED,
}
_FUSED = {"fused": Option(True, flag, is_deployed=True)}
_LUCK = "the largest logit with Gumbel noise, made on a GPU of one word for each token"
_READ = "exllamav3/generator/sampler/custom.py, exllamav3_ext/generator/rep_pen.cu, dry.cu"


def _penalties(p: Values, last_n: int, decay: int) -> tuple[Step, ...]:
    window: dict[str, Any] = {"last_n": None if last_n >= _ALL else last_n}
    if decay and last_n < _ALL:
        window["decay"] = decay
    return (
        RepetitionPenalty(p.repetition_penalty, **window),
        FrequencyPenalty(p.frequency_penalty, by_ones=True, **window),
        PresencePenalty(p.presence_penalty, **window),
    )


def _ties(p: Values, is_fused: bool) -> str:
    """Return which of equal tokens stay: all where one kernel finds the logits to cut at."""
    return "all" if is_fused and p.fused else "lowest"


@engine(
    title="exllamav3 1.6.5, ComboSampler",
    source=f"{_READ}, presets.py, sampling_fused.cu (read; what of it is torch was run)",
    rules=_RULES,
    defaults={
        "dry_penalty_last_n": 0,
        "dry_sequence_breakers": tuple('.,!?<>[](){}\n\t"'),
    },
    spelling=Spelling(dry_sequence_breakers=containing),
    options={
        "rep_sustain_range": Option(_ALL, integers(0)),
        "rep_decay_range": Option(0, integers(0)),
    }
    | _FUSED,
    aliases=_ALIASES,
    logprobs="raw",
    luck_note=_LUCK,
)
def exllamav3(p: Values) -> Chain:
    """Return the chain of exllamav3's ``ComboSampler``, by its arguments or the usual names.

    Bias, repetition, frequency and presence penalty over prompt and output, DRY, temperature,
    min-p, top-k, top-p; ``temperature_last`` moves temperature behind them. The penalties have
    their full strength over the last ``rep_sustain_range`` tokens and fade over
    ``rep_decay_range`` more. DRY looks at the last ``dry_range`` tokens, 0 for all, is off for a
    base below 1, and has breakers of one token. Adaptive-p has the last word, but for a target of
    1, which is off there. Temperature 0 and top_k 1 are greedy after the penalties.

    Top-k, top-p and min-p are one kernel that keeps all equal tokens at a cut; with adaptive-p, or
    with ``fused`` false as by the variable EXL3_FUSED_SAMPLER, torch sorts, which leaves the
    lowest ids on CUDA, and powers of probabilities vanish where a last temperature is tiny, which
    is not imitated. Of the wheel of 1.6.5 what is torch was run; penalties, DRY, adaptive-p and the
    kernel are CUDA code, and were read.
    """
    last_n = p.dry_penalty_last_n if p.dry_penalty_last_n > 0 else None
    multiplier = p.dry_multiplier if p.dry_base >= 1 else 0.0
    length = p.dry_allowed_length
    steps: list[Step] = [
        LogitBias(p.logit_bias),
        *_penalties(p, p.rep_sustain_range, p.rep_decay_range),
        Dry(multiplier, p.dry_base, length, last_n, p.dry_sequence_breakers, least=length),
    ]
    adaptive = AdaptiveP(p.adaptive_target, p.adaptive_decay, at_least=1e-8)
    ties = _ties(p, adaptive.is_neutral)
    tempering = Temperature(p.temperature)
    cuts = MinP(p.min_p), TopK(p.top_k, ties=ties), TopP(p.top_p, ties=ties)
    if p.temperature == 0 or p.top_k == 1 or p.top_p == 0:
        return Chain(*steps, Temperature(0.0), precision="single")
    cut = (*cuts, tempering) if p.temperature_last else (tempering, *cuts)
    return OneSortChain(*steps, *cut, adaptive, precision="single")


def _at_least(key: str, least: float) -> Refuse:
    says = f"Input should be greater than or equal to {least:g}"
    return Refuse(lambda value: value < least, f"at least {least:g}", says)


def _at_most(key: str, most: float) -> Refuse:
    says = f"Input should be less than or equal to {most:g}"
    return Refuse(lambda value: value > most, f"at most {most:g}", says)


def _above(least: float) -> Refuse:
    says = f"Input should be greater than {least:g}"
    return Refuse(lambda value: value <= least, f"above {least:g}", says)


_IGNORED = Ignore("exllamav3 does not support it, as its log warns")
_TABBY: dict[str, tuple[Rule, ...]] = {
    "temperature": (_at_least("temperature", 0), _at_most("temperature", 10)),
    "top_k": (_at_least("top_k", -1), Off(lambda k: k == -1, "-1")),
    "top_p": (_at_least("top_p", 0), _at_most("top_p", 1)),
    "min_p": (_asserted("min_p"),),
    "frequency_penalty": (_at_least("frequency_penalty", 0),),
    "presence_penalty": (_at_least("presence_penalty", 0),),
    "repetition_penalty": (_above(0),),
    "xtc_probability": (_at_least("xtc_probability", 0), _at_most("xtc_probability", 1)),
    "xtc_threshold": (_at_least("xtc_threshold", 0), _at_most("xtc_threshold", 1)),
    "adaptive_target": (
        Unmodelled(lambda target: target < 0, "at least 0", _BEYOND),
        Off(lambda target: target >= 1, "1 and above"),
    ),
    "min_tokens": (_at_least("min_tokens", 0),),
    "logit_bias": (InVocabulary(False),),
    "typical_p": (_above(0), _at_most("typical_p", 1), _IGNORED),
    "smoothing_factor": (_at_least("smoothing_factor", 0), _IGNORED),
    "seed": (Ignore("it has no such parameter"),),
}
# What it takes, and leaves alone.
_LEFT_ALONE = {
    "mirostat_mode": Option(0, integers()),
    "min_temp": Option(1.0, numbers(0)),
    "max_temp": Option(1.0, numbers(0)),
    "temp_exponent": Option(1.0, numbers(0)),
    "dry_range": Option(0, integers()),
    "allowed_tokens": Option((), _ids),
    "ban_eos_token": Option(False, flag),
}
_TABBY |= dict.fromkeys(
    (
        *_LEFT_ALONE,
        *("mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_exponent", "allowed_token_ids"),
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
        *("dry_sequence_breakers", "tfs", "top_a", "skew", "ignore_eos"),
    ),
    (_IGNORED,),
)
# Of several names of a field it takes the first that a request has.
_TABBY_ALIASES = {
    "rep_pen": "repetition_penalty",
    "min_length": "min_tokens",
    "typical": "typical_p",
    "custom_token_bans": "banned_tokens",
    "repetition_range": "penalty_range",
    "repetition_penalty_range": "penalty_range",
    "rep_pen_range": "penalty_range",
    "dynatemp_low": "min_temp",
    "dynatemp_high": "max_temp",
}


def _nothing_to_divide_by(request: Mapping[str, Any]) -> bool:
    return number(request, "adaptive_target", 1) < 1 and number(request, "temperature", 1) == 0


@engine(
    title="TabbyAPI e632af4 on exllamav3 1.6.5",
    variant_of="exllamav3",
    source=f"common/sampling.py, backends/exllamav3/model.py, sampler.py; {_READ}",
    rules=_TABBY,
    together=(
        Together(
            "adaptive_target",
            _nothing_to_divide_by,
            "absent beside temperature 0",
            "logits are divided by 0",
            goes_on=True,
        ),
    ),
    schema=TABBY_SERVER,
    options={
        "penalty_range": Option(-1, integers()),
        "repetition_decay": Option(0, integers()),
        "banned_tokens": Option((), _ids),
        "protected_token_ids": Option((), _ids),
    }
    | _LEFT_ALONE
    | _FUSED,
    aliases=_TABBY_ALIASES,
    join=lambda key, one, other: other if key == "typical_p" else one,
    logprobs="raw",
    luck_note=_LUCK,
    dialect=Dialect(),
)
def tabbyapi(p: Values) -> Chain:
    """Return the chain of TabbyAPI: its own order of exllamav3's steps.

    Bias, penalties over ``penalty_range`` tokens (-1 for all) that fade over ``repetition_decay``
    more, ``banned_tokens``, temperature, top-k, top-p, min-p, with ``temperature_last`` temperature
    behind them, then XTC averaged over its coin, and adaptive-p. Temperature 0 leaves bias,
    penalties and bans, and takes the best. Negative frequency and presence penalties are refused.
    It takes the names of other samplers (typical_p, tfs, top_a, smoothing, skew, mirostat, DRY),
    warns in its log, and does nothing.

    With min-p beside top-k or top-p, or XTC or adaptive-p, torch sorts; otherwise one kernel cuts,
    as in `exllamav3`. Tokens of ``protected_token_ids``, which the server makes of a tokenizer, are
    no top choices; a threshold of 0 behind a truncation leaves nothing. Its order was only read
    (commit e632af4), the steps that are torch were run in it.
    """
    last_n = _ALL if p.penalty_range < 0 else p.penalty_range
    steps: list[Step] = [
        MinTokens(p.min_tokens, p.eos_token_id),
        LogitBias(p.logit_bias),
        *_penalties(p, last_n, p.repetition_decay if p.repetition_decay > 1 else 0),
        SuppressTokens(p.banned_tokens, outside="ignored"),
    ]
    adaptive = AdaptiveP(p.adaptive_target, p.adaptive_decay, at_least=1e-8)
    xtc = AveragedXtc(
        p.xtc_probability,
        p.xtc_threshold,
        ties="highest",
        protected=p.protected_token_ids,
        removed="counts",
    )
    cuts = p.top_k > 0 or p.top_p < 1
    ties = _ties(p, adaptive.is_neutral and xtc.is_neutral and not (p.min_p and cuts))
    tempering = Temperature(p.temperature)
    cut = TopK(p.top_k, ties=ties), TopP(p.top_p, ties=ties), MinP(p.min_p, space="probs")
    if p.temperature == 0:
        return Chain(*steps, tempering, precision="single")
    chosen = (*cut, tempering) if p.temperature_last else (tempering, *cut)
    sorts = "logits" if p.top_k else "probs"
    return OneSortChain(*steps, *chosen, xtc, adaptive, precision="single", sorts=sorts)
