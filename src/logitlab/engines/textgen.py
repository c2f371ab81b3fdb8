"""text-generation-webui: the samplers of its loader for transformers, in the order of a request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from logitlab.checks import ParameterError, check_number
from logitlab.engines.dialect import Dialect
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Clamp,
    Ignore,
    LeftOut,
    Note,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Target,
    Unmodelled,
    Values,
    integers,
    numbers,
)
from logitlab.engines.schemas import TEXTGEN_SERVER
from logitlab.engines.spelling import Spelling, last_token
from logitlab.engines.telling import own_luck
from logitlab.engines.torch_sort import DEVICE, ascending_top_p, descending_ties, last_ties
from logitlab.engines.transformers import WARPER_RULES
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.request.values import flag
from logitlab.steps.adaptive import AdaptiveP
from logitlab.steps.allow import SuppressTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff
from logitlab.steps.dry import Dry
from logitlab.steps.guidance import Guidance
from logitlab.steps.mirostat import Mirostat
from logitlab.steps.ngrams import NoRepeatNgram
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.smoothing import Smoothing
from logitlab.steps.step import Step
from logitlab.steps.tail_free import Tfs
from logitlab.steps.temperature import DynamicTemperature, Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["textgen"]

_PRIORITY = (
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "dry",
    "top_n_sigma",
    "temperature",
    "dynamic_temperature",
    "quadratic_sampling",
    "top_k",
    "top_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "tfs",
    "top_a",
    "min_p",
    "adaptive_p",
    "mirostat",
    "xtc",
    "encoder_repetition_penalty",
    "no_repeat_ngram",
)
_TEMPERING = ("temperature", "dynamic_temperature", "quadratic_sampling")
_MAPPED = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""What transformers itself adds, and only where a request samples."""


def _positive(key: str, value: Any) -> float:
    number = check_number(key, value)
    if number <= 0:
        raise ParameterError(key, "a number above 0", value)
    return number


def _priority(key: str, value: Any) -> tuple[str, ...]:
    """Take names as a list, or as a text with commas or lines between them."""
    if isinstance(value, str):
        value = [name.strip() for name in value.replace("\n", ",").split(",")]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ParameterError(key, "a list of names of samplers, or a text of them", value)
    return tuple(name for name in value if name) or _PRIORITY


def _bans(key: str, value: Any) -> tuple[int, ...]:
    """Take token ids as a text with commas between them."""
    if not isinstance(value, str):
        raise ParameterError(key, "a text of token ids", value)
    try:
        ids = [int(each) for each in value.split(",") if each.strip()]
    except ValueError:
        raise ParameterError(key, "a text of token ids", value) from None
    return tuple(integers(0)(key, token) for token in ids)


class _Ten4(Rule):
    """The engine takes the value in units of 1e-4."""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return it as a probability; 0, or 1 and above, are off."""
        used = value * 1e-4 if 0 < value * 1e-4 < 1 else 0.0
        if used == value:
            return value, None
        sentence = (
            f"{key} {value:g} is {used:g} to {target.engine}, which takes it in units of 1e-4."
        )
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Return the unit."""
        return "in units of 1e-4"


class _Named(Rule):
    """A sampler that the order leaves out comes first, before all that it names."""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return the order as it is, and tell what it leaves out and what names no sampler."""
        known = set(_PRIORITY)
        first = [name for name in _PRIORITY if name not in value]
        others = [name for name in value if name not in known]
        sentences = []
        if first:
            sentences.append(
                f"{', '.join(first)} come first if they are active, as it leaves them out"
            )
        if others:
            sentences.append(f"{', '.join(map(repr, others))} name no sampler")
        if not sentences:
            return value, None
        sentence = f"{key}: {'; '.join(sentences)} at {target.engine}."
        return value, Note(key, "changed", sentence, value, value)

    def describe(self) -> str:
        """Return what becomes of samplers that it leaves out."""
        return "what it leaves out comes first"


def _behind_a_draw(sampler: str, request: Mapping[str, Any]) -> str:
    """Tell which sampler draws in front of one, "" where none does."""
    order = request.get("sampler_priority", _PRIORITY)
    place = order.index(sampler) if sampler in order else -1
    drawers = {
        "adaptive_p": request.get("adaptive_target", 0) > 0,
        "mirostat": request.get("mirostat") == 2,
    }
    for name, draws in drawers.items():
        if draws and name != sampler and (order.index(name) if name in order else -1) < place:
            return f"{name} draws in front of it"
    return ""


def _unless_drawn(sampler: str) -> LeftOut:
    return LeftOut(partial(_behind_a_draw, sampler), "behind adaptive_p or mirostat")


_RULES: dict[str, tuple[Rule, ...]] = WARPER_RULES | {
    "typical_p": (
        Off(lambda p: p > 1, "above 1"),
        Refuse(lambda p: p <= 0, "above 0", "`typical_p` has to be a float > 0 and < 1, but is {}"),
    ),
    "top_a": (Off(lambda a: not 0 < a <= 1, "0 and below, and above 1,"),),
    "tfs": (Off(lambda z: not 0 <= z < 1, "below 0, and 1 and above,"),),
    "top_n_sigma": (Off(lambda n: n <= 0, "0 and below"),),
    "epsilon_cutoff": (_Ten4(),),
    "eta_cutoff": (_Ten4(),),
    "xtc_probability": (_unless_drawn("xtc"), Clamp(0, 1)),
    "dry_multiplier": (Off(lambda m: m <= 0, "0 and below"),),
    "smoothing_factor": (Off(lambda f: f <= 0, "0 and below"),),
    "repetition_penalty_range": (
        Unmodelled(lambda n: n < 0, "at least 0", "penalties leave out the first tokens"),
    ),
    "no_repeat_ngram_size": (_unless_drawn("no_repeat_ngram"), Off(lambda n: n < 0, "below 0")),
    "mirostat": (
        Rename("mirostat_mode", "its name there"),
        _unless_drawn("mirostat"),
        Off(lambda mode: mode != 2, "0 and 1"),
    ),
    "dynatemp_range": (Ignore("it has dynatemp_low and dynatemp_high"),),
    "dry_penalty_last_n": (Ignore("its window is repetition_penalty_range"),),
    "adaptive_target": (Off(lambda target: target <= 0, "0 and below"),),
    "adaptive_decay": (Clamp(high=0.99),),
    "logit_bias": (InVocabulary(True, "index {} is out of bounds for dimension 1 with size {V}"),),
    "seed": (
        Off(lambda seed: seed == -1, "-1"),
        own_luck("torch's global generator"),
    ),
    "sampler_priority": (_Named(),),
}
_OPTIONS = {
    "do_sample": Option(True, flag),
    "ban_eos_token": Option(False, flag),
    "dynamic_temperature": Option(False, flag),
    "dynatemp_low": Option(1.0, numbers(0)),
    "dynatemp_high": Option(1.0, numbers(0)),
    "repetition_penalty_range": Option(1024, integers()),
    "encoder_repetition_penalty": Option(1.0, _positive),
    "custom_token_bans": Option((), _bans),
    "sampler_priority": Option(_PRIORITY, _priority),
    "newline": Option((), lambda key, value: (integers(0)(key, value),)),
}


def _order(p: Values) -> list[str]:
    """Return the names of all samplers in the order of a request."""
    named = list(p.sampler_priority)
    for name in _TEMPERING if p.temperature_last else ():
        if name in named:
            named.remove(name)
        named.append(name)
    # As they are added: what transformers has, then the others.
    added = (
        *("guidance_scale", "encoder_repetition_penalty", "no_repeat_ngram"),
        *("suppress_tokens", "logit_bias"),
        *_MAPPED,
        *("dry", "repetition_penalty", "presence_penalty", "frequency_penalty", "tfs", "top_a"),
        *("top_n_sigma", "adaptive_p", "xtc", "dynamic_temperature", "quadratic_sampling"),
        "mirostat",
    )
    return sorted(added, key=lambda name: named.index(name) if name in named else -1)


def _samplers(p: Values) -> Mapping[str, Step]:
    last_n = p.repetition_penalty_range or None
    ends, low, high = p.eos_token_id, p.dynatemp_low, p.dynatemp_high
    ends = ends if p.ban_eos_token else ()
    dynamic = DynamicTemperature.between(low, high, p.dynatemp_exponent)
    samplers: dict[str, Step] = {
        "guidance_scale": Guidance(p.guidance_scale),
        "suppress_tokens": SuppressTokens((*p.custom_token_bans, *ends)),
        "logit_bias": LogitBias(p.logit_bias),
        "repetition_penalty": RepetitionPenalty(p.repetition_penalty, last_n=last_n),
        "presence_penalty": PresencePenalty(p.presence_penalty, last_n=last_n),
        "frequency_penalty": FrequencyPenalty(p.frequency_penalty, last_n=last_n),
        "dry": Dry(
            p.dry_multiplier,
            p.dry_base,
            p.dry_allowed_length,
            last_n,
            p.dry_sequence_breakers,
            longest=50,
        ),
        "top_n_sigma": TopNSigma(p.top_n_sigma, deviation="sample", removed="zero"),
        "temperature": Temperature(p.temperature),
        "dynamic_temperature": dynamic if p.dynamic_temperature else Temperature(1.0),
        "quadratic_sampling": Smoothing(p.smoothing_factor, p.smoothing_curve),
        "top_k": TopK(p.top_k, ties="all"),
        "top_p": ascending_top_p(p),
        "typical_p": TypicalP(p.typical_p, ties="all"),
        "epsilon_cutoff": EpsilonCutoff(p.epsilon_cutoff),
        "eta_cutoff": EtaCutoff(p.eta_cutoff),
        "tfs": Tfs(p.tfs, removed="zero", ties=descending_ties(p)),
        "top_a": TopA(p.top_a, space="probs"),
        "min_p": MinP(p.min_p, space="probs"),
        "adaptive_p": AdaptiveP(p.adaptive_target, p.adaptive_decay),
        "mirostat": Mirostat(p.mirostat_tau, p.mirostat_eta),
        "xtc": Xtc(
            p.xtc_probability,
            p.xtc_threshold,
            ties=last_ties(p),
            protected=(*p.newline, *p.eos_token_id),
            protection="all",
            removed="counts",
        ),
        "encoder_repetition_penalty": RepetitionPenalty(
            1 / p.encoder_repetition_penalty, scope="prompt"
        ),
        "no_repeat_ngram": NoRepeatNgram(p.no_repeat_ngram_size, guard=False),
    }
    absent = set() if p.mirostat == 2 else {"mirostat"}
    if not p.do_sample or p.temperature == 0:
        absent |= set(_MAPPED)
    return {name: step for name, step in samplers.items() if name not in absent}


@engine(
    title="text-generation-webui 4.7.3, its loader for transformers 5",
    source="modules/sampler_hijack.py, modules/text_generation.py, modules/api/completions.py",
    rules=_RULES,
    schema=TEXTGEN_SERVER,
    spelling=Spelling(dry_sequence_breakers=last_token),
    defaults={"top_p": 0.95},
    options=_OPTIONS | DEVICE,
    endings=("eos_token_id",),
    aliases={"mirostat_mode": "mirostat"},
    logprobs="raw",
    luck_note="torch.multinomial on torch's global generator",
    dialect=Dialect(),
)
def textgen(p: Values) -> Chain:
    """Return the chain of text-generation-webui where transformers runs the model.

    Guidance, bans and bias first; then the samplers in the order of ``sampler_priority``: by
    default repetition, presence and frequency penalty and DRY over the last 1024 tokens of prompt
    and output (``repetition_penalty_range``, 0 for all), top_n_sigma, temperature, dynamic
    temperature from ``dynatemp_low`` to ``dynatemp_high``, smoothing, top-k, top-p, typical-p,
    epsilon, eta, tail-free, top-a, min-p, adaptive-p, mirostat 2, XTC, the penalty on the prompt
    alone, and n-grams. What the order leaves out comes first, which is no way to switch it off. A
    request without top_p gets 0.95; epsilon and eta come in units of 1e-4. ``temperature_last``
    moves temperature, dynamic temperature and smoothing to the end. XTC does nothing where it would
    take the token of a newline, the option ``newline``, or that of the end.

    Temperature 0, and ``do_sample`` false, leave out what transformers adds (temperature, top-k,
    top-p, min-p, typical-p, epsilon, eta) and take the most likely token of the rest: penalties,
    but also XTC and smoothing. Adaptive-p and mirostat draw where they stand; what follows sees one
    token. Top_n_sigma takes the deviation over n - 1 and removed tokens for logits of 0.

    Its server with llama.cpp or exllamav3 behind it is another engine, in its own order. The class
    of each sampler was run (commit 1dcde41).
    """
    samplers, steps = _samplers(p), []
    for name in _order(p):
        if name not in samplers:
            continue
        steps.append(samplers[name])
        if name in ("adaptive_p", "mirostat") and not samplers[name].is_neutral:
            return Chain(*steps, precision="mixed")
    if not p.do_sample or p.temperature == 0:
        steps.append(Temperature(0.0))
    return Chain(*steps, precision="mixed")
