"""llama.cpp: candidates in an order, truncations first, temperature last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range
from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import llama_cpp as llama_luck, llama_cpp_coin
from logitlab.engines.llama_samplers import (
    SAMPLERS,
    rules_of_samplers,
    sampler_names,
    sampler_names_say,
)
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
)
from logitlab.engines.schemas import LLAMA_SERVER, json_integer, low_bits
from logitlab.engines.telling import Replace, Told
from logitlab.engines.together import Together, needs_logprobs, number
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.steps.adaptive import AdaptiveP
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.dry import Dry
from logitlab.steps.mirostat import Mirostat, MirostatOne
from logitlab.steps.penalties import AdditivePenalty, RepetitionPenalty
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.step import Step
from logitlab.steps.temperature import DynamicTemperature, Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["llama_cpp", "llama_cpp_python"]

_LENGTHS = Range(0, 2**31 - 1, integer=True)


@dataclass(frozen=True)
class _Wrap(Rule):
    """The engine keeps the lowest 32 bits of an integer, with or without a sign."""

    signed: bool = True

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return the integer that the lowest 32 bits are, with a note where it is another."""
        used = low_bits(value, self.signed)
        if used == value or (not self.signed and used - value == 2**32):  # -1 is 2**32 - 1
            return value, None
        sentence = f"{key} {value} is taken modulo 2**32 by {target.engine}: {used}."
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Return that integers wrap."""
        return "modulo 2**32"


@dataclass(frozen=True)
class _WrapIds(Rule):
    """Ids of a bias have 32 bits; those below 0 are left out."""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return the ids that they are; what names one twice is added twice."""
        if all(token < 2**31 for token in value):
            return value, None
        used: dict[int, Any] = {}
        for token, amount in value.items():
            known = low_bits(token)
            if known >= 0:
                used[known] = used.get(known, 0) + amount
        sentence = f"{key}: ids are taken modulo 2**32 by {target.engine}."
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Return that ids wrap."""
        return "ids modulo 2**32"


_WINDOW = integers(_LENGTHS.low, _LENGTHS.high)


def _length(key: str, value: Any) -> int:
    """Take what the server reads as an integer of 32 bits."""
    number = _as_read(key, value)
    if isinstance(number, int) and number < 0:
        raise ParameterError(key, _LENGTHS.rule(), value)
    return int(_WINDOW(key, number))


def _length_option(key: str, default: int) -> Option:
    def says(value: Any) -> str:
        number = _as_read(key, value)
        return _HARD.format(key, number) if isinstance(number, int) else ""

    return Option(default, _length, says)


def _as_read(key: str, value: Any) -> Any:
    if isinstance(value, bool | float) and value - value == 0:
        value = json_integer(key, value)
    return low_bits(value) if isinstance(value, int) else value


_HARD = "Field '{}': Value must be between 0 <= value <= 2147483647, but got {}"
_NO_PENALTY = "Failed to initialize samplers: penalty_repeat must be finite and greater than 0"


def _not_negative(key: str) -> Refuse:
    return Refuse(lambda n: n < 0, _LENGTHS.rule(), _HARD.format(key, "{}"))


def _no_number(r: float) -> bool:
    """Whether a penalty, or 1 over it, is 0 or no number of 32 bits."""
    with np.errstate(all="ignore"):
        return not (r > 0 and 0 < np.float32(1) / np.float32(r) < np.inf)


_LLAMA_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (Clamp(low=0),),
    "top_k": (_Wrap(), Clamp(low=0)),
    "top_p": (Clamp(0, 1),),
    "min_p": (Clamp(0, 1),),
    "repetition_penalty": (
        Rename("repeat_penalty", "sent to the server as it is, it does nothing"),
        Refuse(_no_number, "finite and greater than 0", _NO_PENALTY),
    ),
    "top_a": (Ignore(),),
    "typical_p": (Off(lambda p: p >= 1, "1 and above"), Clamp(low=0)),
    "top_n_sigma": (Off(lambda n: n <= 0, "0 and below"),),
    "xtc_threshold": (Clamp(0, 1),),
    "xtc_probability": (Clamp(0, 1),),
    "dynatemp_range": (Off(lambda spread: spread <= 0, "0 and below"),),
    "dry_base": (Replace(lambda base: base < 1, 1.75, "the default, 1.75"),),
    "dry_allowed_length": (_Wrap(), _not_negative("dry_allowed_length")),
    "dry_penalty_last_n": (_Wrap(), _not_negative("dry_penalty_last_n")),
    "dry_sequence_breakers": (
        Refuse(
            lambda texts: not texts,
            "a non-empty array of strings",
            "Field 'dry_sequence_breakers': Error: dry_sequence_breakers must be a non-empty array "
            "of strings",
        ),
    ),
    "mirostat": (_Wrap(), Clamp(0, 2)),
    "mirostat_tau": (Unmodelled(lambda tau: tau < 0, "at least 0", "mu falls for ever"),),
    "mirostat_eta": (Unmodelled(lambda eta: eta < 0, "at least 0", "mu runs away"),),
    "adaptive_target": (Clamp(high=1),),
    "adaptive_decay": (
        Refuse(
            lambda decay: not 0 <= decay <= 0.99,
            "in [0, 0.99]",
            "Field 'adaptive_decay': Value must be between 0.000000 <= value <= 0.990000, but got "
            "{:.6f}",
        ),
    ),
    "eos_token_id": (
        Told("{key}: {engine} takes those of the model alone; these act here.", "the model's"),
    ),
    "logit_bias": (_WrapIds(), InVocabulary(False)),
    "seed": (_Wrap(signed=False), Off(lambda seed: seed % 2**32 == 0xFFFFFFFF, "-1 modulo 2**32")),
}
_TOGETHER = (
    # Even 0 wants logprobs there.
    needs_logprobs("top_logprobs requires logprobs to be set to true", least=0),
    Together(
        "n",
        lambda request: not 1 <= number(request, "n") <= request["n_parallel"],
        "in [1, {n_parallel}]",
        "Field 'n': Value must be between 1 <= value <= {n_parallel}, but got {n}",
    ),
)
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
_LLAMA = "src/llama-sampler.cpp, common/sampling.cpp, tools/server/server-schema.cpp"
_LLAMA_LUCK = (
    "mt19937 of the seed, two words a token, inverse of the distribution in candidate order"
)


def _llama_penalties(p: Values, last_n: int) -> tuple[Step, ...]:
    """Return the penalties: two steps of one sampler, which a window of 0 switches off."""
    if not last_n:
        return ()
    return (
        RepetitionPenalty(p.repetition_penalty, last_n=last_n),
        AdditivePenalty(p.frequency_penalty, p.presence_penalty, last_n=last_n),
    )


def _mirostat(p: Values) -> Step:
    if p.mirostat == 1:
        return MirostatOne(p.mirostat_tau, p.mirostat_eta, overflow="one")
    return Mirostat(p.mirostat_tau, p.mirostat_eta)


def _dry(p: Values) -> tuple[Step, ...]:
    breakers, last_n = p.dry_sequence_breakers, p.dry_penalty_last_n
    dry = Dry(
        p.dry_multiplier,
        p.dry_base,
        p.dry_allowed_length,
        last_n,
        breakers,
        least=None if p.dry_allowed_length else 0,
    )
    return (dry,) if last_n else ()


def _tempering(p: Values) -> Step:
    dynamic = DynamicTemperature(p.dynatemp_range, p.temperature, p.dynatemp_exponent)
    return dynamic if p.dynatemp_range > 0 else Temperature(p.temperature)


@engine(
    title="llama.cpp, llama-server of xllamacpp 2026.10.11549",
    source=_LLAMA,
    rules=rules_of_samplers(_LLAMA_RULES),
    together=_TOGETHER,
    schema=LLAMA_SERVER,
    defaults=_DEFAULTS,
    options={
        "repeat_last_n": _length_option("repeat_last_n", 64),
        "min_keep": _length_option("min_keep", 0),
        "samplers": Option(SAMPLERS, sampler_names, sampler_names_say),
        "n_parallel": Option(4, integers(1), is_deployed=True),
    },
    aliases={"repeat_penalty": "repetition_penalty"},
    endings=("ignore_eos", "eos_token_id"),
    dialect=Dialect(has_two_limits=True, tops=20),
    luck=llama_luck,
    coin=llama_cpp_coin,
    luck_note=_LLAMA_LUCK,
)
def llama_cpp(p: Values) -> SortedChain:
    """Return the chain of llama-server: bias, then the ``samplers`` of the request in their order.

    By default penalties over the last 64 tokens of prompt and output, DRY over as many,
    top-n-sigma, top-k, typical-p, top-p, min-p, XTC, and temperature last, so that the truncations
    see the model's own distribution. A sampler that ``samplers`` leaves out is off, whatever its
    values. Adaptive-p acts only where it is named, and then last. Mirostat switches off all of them
    but bias and temperature. An empty request has temperature 0.8, top_k 40, top_p 0.95 and min_p
    0.05. Values out of range are clamped silently, a few are refused, integers have 32 bits, and
    what names no sampler is left out. Of ``max_tokens`` 0 writes one token, and a negative number
    sets no limit. Biases may be pairs, false bans a token, and the server tokenises keys that are
    no ids: that needs a model that has a tokenizer. Breakers of DRY that are texts do, too.
    ``ignore_eos`` bans the tokens of ``eos_token_id``, which are the model's. A request has as many
    answers, ``n``, as the server has slots at most: the option ``n_parallel``, 4 where nobody says
    otherwise (``-np``).

    Ties go as ``std::partial_sort`` leaves them. What top-n-sigma masks remains a candidate, and
    counts for dynamic temperature; before typical-p it makes the entropy NaN, and what stays is as
    a sort leaves it: of a ``typical_p`` below 0, which is 0 here, that may be a removed token
    there. Reported log-probabilities are the model's own, unless ``post_sampling_probs`` is set.
    """
    ends = dict.fromkeys(p.eos_token_id, -math.inf) if p.ignore_eos else {}
    bias = LogitBias({**p.logit_bias, **ends})
    if p.mirostat:
        return SortedChain(bias, Temperature(p.temperature), _mirostat(p))
    xtc = Xtc(p.xtc_probability if p.xtc_threshold <= 0.5 else 0.0, p.xtc_threshold)
    samplers: dict[str, tuple[Step, ...]] = {
        "penalties": _llama_penalties(p, p.repeat_last_n),
        "dry": _dry(p),
        "top_n_sigma": (TopNSigma(p.top_n_sigma),),
        "top_k": (TopK(p.top_k),),
        "typ_p": (TypicalP(p.typical_p),),
        "top_p": (TopP(p.top_p),),
        "min_p": (MinP(p.min_p),),
        "xtc": (xtc,),
        "temperature": (_tempering(p),),
    }
    order = [step for name in p.samplers for step in samplers.get(name, ())]
    near = AdaptiveP(p.adaptive_target, p.adaptive_decay)
    if "adaptive_p" in p.samplers:
        order.append(near)
    return SortedChain(bias, *order, min_keep=p.min_keep)


def _leaves_out(request: Mapping[str, Any]) -> str:
    words = "mirostat takes the place of the truncations, and of temperature"
    return (
        words if request.get("mirostat") in (1, 2) and request.get("temperature", 0.8) > 0 else ""
    )


_LEFT_OUT = LeftOut(_leaves_out, "beside mirostat")
_PYTHON: dict[str, tuple[Rule, ...]] = {
    "top_k": (_LEFT_OUT, Clamp(low=0)),
    "top_p": (_LEFT_OUT, Clamp(0, 1)),
    "min_p": (_LEFT_OUT, Clamp(0, 1)),
    "typical_p": (_LEFT_OUT, Off(lambda p: p >= 1, "1 and above"), Clamp(low=0)),
    "temperature": (_LEFT_OUT,),
    "repetition_penalty": (
        Rename("repeat_penalty", "that is its argument"),
        Unmodelled(lambda r: r <= 0, "greater than 0", "0 divides by zero, and leaves a NaN row"),
    ),
    **{key: _LLAMA_RULES[key] for key in ("top_a", "mirostat_tau", "mirostat_eta", "logit_bias")},
    "seed": _LLAMA_RULES["seed"],
    "mirostat": (
        Rename("mirostat_mode", "that is its argument"),
        Off(lambda version: version not in (1, 2), "all but 1 and 2"),
    ),
}


@engine(
    title="llama-cpp-python 0.3.36",
    variant_of="llama_cpp",
    source="llama_cpp/llama.py, Llama._init_sampler",
    rules=_PYTHON,
    defaults=_DEFAULTS,
    options={"last_n_tokens_size": Option(64, _WINDOW, is_deployed=True)},
    aliases={"repeat_penalty": "repetition_penalty", "mirostat_mode": "mirostat"},
    luck=llama_luck,
    luck_note=_LLAMA_LUCK,
)
def llama_cpp_python(p: Values) -> SortedChain:
    """Return the chain of llama-cpp-python, which builds one of its own from the same samplers.

    As `llama_cpp` in the default order, without DRY, top-n-sigma, XTC and dynamic temperature.
    Temperature 0 takes the most likely token after penalties, and a negative one draws from what
    penalties leave, untruncated. Otherwise mirostat takes the place of all that follows the
    penalties, temperature among it. The window of penalties is an argument of the model there,
    ``last_n_tokens_size``.
    """
    before = LogitBias(p.logit_bias), *_llama_penalties(p, p.last_n_tokens_size)
    if p.temperature < 0:
        return SortedChain(*before)
    if p.temperature == 0:
        return SortedChain(*before, Temperature(0.0))
    if p.mirostat:
        return SortedChain(*before, _mirostat(p))
    truncations = TopK(p.top_k), TypicalP(p.typical_p), TopP(p.top_p), MinP(p.min_p)
    return SortedChain(*before, *truncations, Temperature(p.temperature))
