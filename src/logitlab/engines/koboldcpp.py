"""KoboldCpp: samplers of llama.cpp's past in an order of its own, and a window full of token 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from logitlab.arrays import FloatArray
from logitlab.checks import ParameterError, Range, check_integer, check_number
from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import koboldcpp as kobold_luck, koboldcpp_coin
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Clamp,
    LeftOut,
    Off,
    Option,
    Rename,
    Rule,
    Send,
    Unmodelled,
    Values,
)
from logitlab.engines.telling import Odd, Replace, Told
from logitlab.engines.vocabulary_rules import Drop, InVocabulary
from logitlab.numerics import DOUBLE, Precision
from logitlab.steps.adaptive import AdaptiveP
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.context import Context
from logitlab.steps.dry import Dry
from logitlab.steps.guidance import Guidance
from logitlab.steps.ids import TokenIds
from logitlab.steps.mirostat import Mirostat, MirostatOne
from logitlab.steps.penalties import PresencePenalty, RepetitionPenalty
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.smoothing import Smoothing
from logitlab.steps.step import SparseStep, Step
from logitlab.steps.tail_free import Tfs
from logitlab.steps.temperature import DynamicTemperature, Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["LowestBan", "Prefilter", "UnguardedTemperature", "koboldcpp"]

_HEAD = 3000
"""How many candidates are looked at, at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Prefilter(TopK):
    """A `TopK` of the engine's own, before everything that a request asks for."""

    key: ClassVar[str] = "prefilter"


@dataclass(frozen=True, eq=False, repr=False)
class LowestBan(SparseStep):
    """The engine's way to ban tokens: they get the least of all logits, less 8, or 0 if that is 0.

    Examples
    --------
    >>> LowestBan([0])([2.0, -1.0, 1.0])
    array([-9., -1.,  1.])
    """

    ids: Sequence[int]

    key: ClassVar[str] = "ban_eos_token"
    rule: ClassVar[TokenIds] = TokenIds()
    neutral: ClassVar[Any] = ()
    needs_context: ClassVar[bool] = False

    @property
    def is_neutral(self) -> bool:
        """Whether nothing is banned."""
        return not self.ids

    def edit(
        self, logits: FloatArray, context: Context | None, precision: Precision = DOUBLE
    ) -> None:
        """Change the logits of those tokens, in place."""
        # Nothing is removed there so early: what is here stays so, and is not the least.
        lowest = np.where(logits == -np.inf, np.inf, logits).min(axis=-1, keepdims=True)
        known = [token for token in self.ids if token < logits.shape[-1]]
        banned = np.where(lowest < 0, lowest - 8, 0)
        logits[..., known] = np.where(logits[..., known] == -np.inf, -np.inf, banned)


@dataclass(frozen=True, eq=False, repr=False)
class UnguardedTemperature(DynamicTemperature):
    """A `DynamicTemperature` that divides by 0, too: NaN there, an error here."""

    def reorder(self, candidates: Any, value: Any) -> bool:
        """Raise for a row whose temperature is 0, unless a single candidate is left."""
        if len(candidates.order) > 1:
            t = self.temperature_of(np.asarray(candidates.evenness()), np.asarray(value))
            if t == 0:
                rule = "one that leaves no row a temperature of 0, by which it divides"
                raise ParameterError(self.key, rule, float(value))
        return super().reorder(candidates, value)


def _range(key: str, value: Any) -> int:
    return max(1, check_integer(key, value, Range(integer=True)))


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool | int):
        raise ParameterError(key, "true or false", value)
    return bool(value)


def _bans(key: str, value: Any) -> tuple[int, ...]:
    """Take ids in a text, with commas between them; what is no number is no id."""
    if not isinstance(value, str):
        raise ParameterError(key, "a text of token ids with commas between them", value)
    words = (word.strip() for word in value.split(","))
    return tuple(int(word) for word in words if word.isdigit())


def _sampler_order(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(
        type(n) is int and 0 <= n <= 6 for n in value
    ):
        raise ParameterError(key, "a list of sampler numbers 0 to 6", value)
    return tuple(value) if 0 < len(value) <= 7 else _ORDER


_ORDER = (6, 0, 1, 3, 4, 2, 5)
_NUMBER_OF = {
    "top_k": 0,
    "top_a": 1,
    "top_p": 2,
    "min_p": 2,
    "tfs": 3,
    "typical_p": 4,
    "temperature": 5,
    "dynatemp_range": 5,
    "dynatemp_exponent": 5,
    "smoothing_factor": 5,
    "smoothing_curve": 5,
    "top_n_sigma": 5,
    "repetition_penalty": 6,
    "frequency_penalty": 6,
    "presence_penalty": 6,
    "rep_pen_range": 6,
    "rep_pen_slope": 6,
}
_BESIDE_MIROSTAT = {
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "rep_pen_range",
    "rep_pen_slope",
    "temperature",
    "smoothing_factor",
    "smoothing_curve",
}


def _left_out(key: str, request: Mapping[str, Any]) -> str:
    """Tell why a key does nothing, "" where it does."""
    if request.get("mirostat") in (1, 2):
        words = "mirostat leaves bans, biases, DRY, penalties, temperature and smoothing alone"
        return "" if key in _BESIDE_MIROSTAT else words
    number = _NUMBER_OF.get(key)
    is_named = number is None or number in request.get("sampler_order", _ORDER)
    return "" if is_named else f"sampler_order does not name its number {number}"


def _without(key: str, what: str) -> LeftOut:
    def why(request: Mapping[str, Any]) -> str:
        return "" if request.get(key, 0) > 0 else f"{what} is off"

    return LeftOut(why, f"where {what} is off")


def _needs_a_cut(target: float, request: Mapping[str, Any]) -> str:
    cut = request.get("min_p", 0) > 0 or request.get("top_p", 0.9) < 1
    return "" if cut or target <= 0 else "it sets min_p to 0.002 where nothing else cuts"


_ONE_MU = Told(
    "{key}: at {engine} the first request of the process sets mu, and none resets it.",
    "mu is that of the process",
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (Clamp(low=0),),
    "top_k": (Clamp(low=0),),
    "top_p": (Clamp(0, 1),),
    "min_p": (Clamp(0, 1),),
    "top_a": (Clamp(low=0),),
    "tfs": (Off(lambda z: z >= 1, "1 and above"), Clamp(low=0)),
    "typical_p": (
        Rename("typical", "under its own name it is ignored"),
        Off(lambda p: p >= 1, "1 and above"),
        Clamp(low=0),
    ),
    "top_n_sigma": (
        Rename("nsigma", "under its own name it is ignored"),
        Off(lambda n: n <= 0, "0 and below"),
    ),
    "dynatemp_exponent": (Clamp(low=0),),
    "smoothing_factor": (Off(lambda factor: factor <= 0, "0 and below"),),
    "dry_multiplier": (Off(lambda multiplier: multiplier <= 0, "0 and below"),),
    "dry_base": (_without("dry_multiplier", "DRY"), Clamp(low=0)),
    "dry_allowed_length": (
        _without("dry_multiplier", "DRY"),
        Unmodelled(lambda n: n < 0, "at least 0", "every token is penalised"),
    ),
    "dry_penalty_last_n": (
        _without("dry_multiplier", "DRY"),
        Replace(lambda n: n <= 0, -1, "the whole text"),
    ),
    "dry_sequence_breakers": (_without("dry_multiplier", "DRY"), Drop(128)),
    "xtc_probability": (Clamp(0, 1),),
    "xtc_threshold": (_without("xtc_probability", "XTC"), Clamp(low=0)),
    "frequency_penalty": (Send("presence_penalty"),),
    "logit_bias": (Clamp(-100, 100), Drop(512), InVocabulary(False)),
    "repetition_penalty": (
        Unmodelled(lambda r: r < 0, "greater than 0", "the penalty divides by it"),
        Replace(lambda r: r < 1, 1.0, "1: the largest of its three keys counts, and each is 1"),
    ),
    "rep_pen_slope": (Replace(lambda slope: not 0 < slope <= 1, 1.0, "1"),),
    "seed": (Off(lambda seed: seed <= 0, "0 and below"),),
    "mirostat": (
        Rename("mirostat_mode", "its OpenAI endpoints read that alone"),
        Off(lambda version: version not in (1, 2), "all but 1 and 2"),
        _ONE_MU,
    ),
    "mirostat_tau": (Unmodelled(lambda tau: tau < 0, "at least 0", "mu falls for ever"),),
    "mirostat_eta": (Unmodelled(lambda eta: eta < 0, "at least 0", "mu runs away"),),
    "adaptive_target": (
        Off(lambda target: target <= 0, "0 and below"),
        Clamp(high=1),
        Odd(_needs_a_cut, "sets min_p where nothing else cuts"),
    ),
    "adaptive_decay": (Clamp(0.01, 0.99),),
    "eos_token_id": (
        Told("{key}: {engine} takes those of the model alone; these act here.", "the model's"),
    ),
    "ignore_eos": (Rename("ban_eos_token", "under this name it is ignored"),),
}
for _key in (*_NUMBER_OF, "xtc_probability", "adaptive_target"):
    _rule = LeftOut(partial(_left_out, _key), "where sampler_order or mirostat leave it out")
    _RULES[_key] = (_rule, *_RULES.get(_key, ()))


def _dry(p: Values) -> tuple[Step, ...]:
    last_n = None if p.dry_penalty_last_n <= 0 else p.dry_penalty_last_n
    dry = Dry(
        p.dry_multiplier,
        p.dry_base,
        p.dry_allowed_length,
        last_n,
        p.dry_sequence_breakers,
        penalises_breakers=True,
        room="more",
        least=None if p.dry_allowed_length else 0,
    )
    return (dry,) if p.dry_base > 0 else ()


def _penalties(p: Values) -> tuple[Step, ...]:
    window = p.rep_pen_range
    return (
        RepetitionPenalty(p.repetition_penalty, "all", window, 0, p.rep_pen_slope),
        PresencePenalty(p.presence_penalty, "all", window, 0),
    )


def _mirostat(p: Values) -> tuple[Step, ...]:
    one = MirostatOne(p.mirostat_tau, p.mirostat_eta, overflow="all")
    cut = one if p.mirostat == 1 else Mirostat(p.mirostat_tau, p.mirostat_eta)
    smoothing = Smoothing(p.smoothing_factor, p.smoothing_curve)
    return (*_penalties(p), Temperature(p.temperature), smoothing, cut)


@engine(
    title="KoboldCpp 1.116.1",
    source="gpttype_adapter.cpp, SampleLogits; koboldcpp.py, transform_genparams and generate",
    rules=_RULES,
    defaults={
        "temperature": 0.7,
        "top_k": 100,
        "top_p": 0.9,
        "xtc_threshold": 0.2,
        "dry_penalty_last_n": 320,
        "dry_sequence_breakers": (),
    },
    options={
        "rep_pen_range": Option(320, _range),
        "rep_pen_slope": Option(1.0, check_number),
        "sampler_order": Option(_ORDER, _sampler_order),
        "custom_token_bans": Option((), _bans),
        "bypass_eos": Option(False, _flag),
    },
    aliases={
        "rep_pen": "repetition_penalty",
        "repeat_penalty": "repetition_penalty",
        "typical": "typical_p",
        "nsigma": "top_n_sigma",
        "mirostat_mode": "mirostat",
        "sampler_seed": "seed",
        "ban_eos_token": "ignore_eos",
        "use_default_badwordsids": "ignore_eos",
    },
    join=lambda key, one, other: max(one, other) if key == "repetition_penalty" else other,
    endings=("ignore_eos", "eos_token_id"),
    logprobs="processed",
    luck=kobold_luck,
    coin=koboldcpp_coin,
    luck_note="mt19937 of the seed, one word a coin and a token, running sums of float32",
    dialect=Dialect(stops_after="all", usage="never", has_one_answer=True),
)
def koboldcpp(p: Values) -> SortedChain:
    """Return the chain of KoboldCpp: bans, bias, DRY, the 3000 best, ``sampler_order``, XTC.

    By default repetition and presence penalty, top-k, top-a, tail-free, typical, top-p and min-p,
    and temperature last: that is dynamic temperature and smoothing, too, and behind them
    top-n-sigma (``nsigma``) on what is left. A dynamic temperature of 0, where a sure row meets a
    range as large as the temperature, leaves NaN there, and is an error here. XTC lowers the top
    choices by 999, and adaptive-p has the last word, which remembers the model's own probabilities.
    Mirostat takes the place of all that follows the 3000 but penalties, temperature and smoothing.

    Penalties count a window of 320 tokens that is full of token 0 at first; in its older half
    ``rep_pen_slope`` scales the repetition penalty, of which below 1 nothing is left. There is no
    frequency penalty: its value serves as presence penalty where that is absent. Top-a is
    un-tempered and keeps the best token. Banned ends get the least logit, less 8. A request without
    DRY's breakers has none, and DRY looks at 320 tokens. Guidance comes before all that. Phrases
    that are banned by texts (``banned_tokens``), for which it goes back in the text, are not
    modelled.

    Its reported log-probabilities are those of what it draws from, none below ln 0.0001.

    The functions between the logits and the draw were run, as they stand in ``gpttype_adapter.cpp``
    of 1.115.1, which 1.116.1 did not change; keys, defaults and what a server started with
    ``--parallelrequests`` does (another order, not modelled) could only be read.
    """
    bans = LowestBan(p.eos_token_id if p.ignore_eos and not p.bypass_eos else ())
    bias = LogitBias({**p.logit_bias, **dict.fromkeys(p.custom_token_bans, -100.0)})
    first = Guidance(p.guidance_scale), bans, bias, *_dry(p), Prefilter(_HEAD)
    if p.mirostat:
        return SortedChain(*first, *_mirostat(p), like="koboldcpp")
    temperature: Step = Temperature(p.temperature)
    dynamic = UnguardedTemperature(p.dynatemp_range, p.temperature, p.dynatemp_exponent)
    min_p = p.min_p
    if p.adaptive_target > 0 and min_p <= 0 and p.top_p >= 1:
        min_p = 0.002
    samplers: dict[int, tuple[Step, ...]] = {
        0: (TopK(p.top_k) if p.top_k else Prefilter(_HEAD),),  # sorts, where it is off, too
        1: (TopA(p.top_a, space="probs"),),
        2: (TopP(p.top_p), MinP(min_p)),
        3: (Tfs(p.tfs, crossing="drop", last="keep", flat="spread"),),
        4: (TypicalP(p.typical_p),),
        5: (
            dynamic if p.dynatemp_range else temperature,
            Smoothing(p.smoothing_factor, p.smoothing_curve),
            TopNSigma(p.top_n_sigma, removed="nan"),
        ),
        6: _penalties(p),
    }
    order = (step for number in p.sampler_order for step in samplers.get(number, ()))
    xtc = Xtc(p.xtc_probability if p.xtc_threshold <= 0.5 else 0.0, min(p.xtc_threshold, 1.0))
    near = AdaptiveP(p.adaptive_target, p.adaptive_decay, memory="model")
    return SortedChain(*first, *order, xtc, near, like="koboldcpp")
