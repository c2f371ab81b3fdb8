"""Aphrodite, which grew out of vLLM, and has samplers that vLLM has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from logitlab.engines.generation_config import GenerationConfig
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Ignore,
    LeftOut,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Values,
    integers,
    numbers,
)
from logitlab.engines.schemas import VLLM_SERVER
from logitlab.engines.spelling import Spelling, last_token
from logitlab.engines.telling import Told, own_luck
from logitlab.engines.together import number
from logitlab.engines.torch_sort import DEVICE, ascending_top_p, descending_ties, last_ties
from logitlab.engines.vllm import (
    VLLM_DIALECT,
    VLLM_ENDINGS,
    VLLM_OPTIONS,
    VLLM_RULES,
    VLLM_TOGETHER,
    vllm_masks,
    vllm_penalties,
)
from logitlab.request import tokens
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.cutoff import EpsilonCutoff, EtaCutoff
from logitlab.steps.dry import Dry
from logitlab.steps.mirostat import Mirostat
from logitlab.steps.ngrams import NoRepeatNgram
from logitlab.steps.sigma import TopNSigma
from logitlab.steps.skew import Skew
from logitlab.steps.smoothing import Smoothing
from logitlab.steps.step import Step
from logitlab.steps.tail_free import Tfs
from logitlab.steps.temperature import DynamicTemperature, Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["aphrodite", "aphrodite_once"]

_EPSILON = 1e-5  # the least temperature, and what dynamic temperature has to exceed to be one


def _refused(wrong: Callable[[Any], bool], rule: str, says: str) -> tuple[Rule, ...]:
    return (Refuse(wrong, rule, says),)


def _not_negative(key: str, says: str = "") -> tuple[Rule, ...]:
    return _refused(lambda x: x < 0, "non-negative", says or f"{key} must be non-negative.")


def _wakes_mirostat(request: Mapping[str, Any]) -> bool:
    """Whether the request itself has what makes the runner hand the output to its samplers."""
    return bool(
        number(request, "repetition_penalty", 1) != 1
        or any(number(request, key) for key in ("frequency_penalty", "presence_penalty"))
        or any(number(request, key) > 0 for key in ("dry_multiplier", "no_repeat_ngram_size"))
        or request.get("bad_words")
    )


def _sleeps(request: Mapping[str, Any]) -> str:
    if not request.get("mirostat") or _wakes_mirostat(request):
        return ""
    return "it sleeps unless the request has a penalty, DRY, no_repeat_ngram_size or bad_words"


def _without_mirostat(request: Mapping[str, Any]) -> str:
    return _sleeps(request) or ("" if request.get("mirostat") else "mirostat is off")


def _beside_mirostat(request: Mapping[str, Any]) -> str:
    is_awake = request.get("mirostat") and _wakes_mirostat(request)
    return "mirostat leaves bans, bias and one round of penalties alone" if is_awake else ""


def _without(switch: str) -> LeftOut:
    """Return the rule that a key counts beside another one only."""

    def why(request: Mapping[str, Any]) -> str:
        return "" if request.get(switch) else f"{switch} is off"

    return LeftOut(why, f"without {switch}")


_NOT_GREEDY = LeftOut(
    lambda request: "temperature is 0" if request.get("temperature") == 0 else "",
    "at temperature 0",
)

_DRY = (
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dry_sequence_breaker_ids",
    "dry_max_ngram",
    "dry_max_occurrences",
    "dry_early_exit_match_len",
)
_AFTER_PENALTIES = (
    *_DRY,
    *("no_repeat_ngram_size", "temperature", "dynatemp_min", "dynatemp_max", "dynatemp_exponent"),
    *("top_n_sigma", "top_a", "tfs", "eta_cutoff", "epsilon_cutoff", "typical_p"),
    *("smoothing_factor", "smoothing_curve", "xtc_probability", "xtc_threshold"),
    *("temperature_last", "min_p", "skew", "top_k", "top_p"),
)
_OWN: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("skew", "dynatemp_min", "dynatemp_max"), (_NOT_GREEDY,)),
    "top_a": _refused(lambda a: a < 0, "non-negative", "top_a must be non-negative, got {}."),
    "typical_p": _refused(
        lambda p: not 0 <= p <= 1, "in [0, 1]", "typical_p must be in [0, 1], got {}."
    ),
    "epsilon_cutoff": _not_negative("epsilon_cutoff"),
    "eta_cutoff": _not_negative("eta_cutoff"),
    "tfs": (*_refused(lambda z: not 0 < z <= 1, "in (0, 1]", "tfs must be in (0, 1], got {}."),),
    "top_n_sigma": (
        Rename("nsigma", "its name there"),
        *_refused(lambda n: n < 0, "non-negative", "nsigma must be non-negative."),
    ),
    "xtc_probability": _refused(
        lambda q: not 0 <= q <= 1, "in [0, 1]", "xtc_probability must be in [0, 1]."
    ),
    "xtc_threshold": (*_not_negative("xtc_threshold"), _without("xtc_probability")),
    "smoothing_factor": (Off(lambda f: f < 0, "below 0"),),
    "smoothing_curve": (_without("smoothing_factor"),),
    "dynatemp_exponent": _refused(
        lambda e: e <= 0, "positive", "dynatemp_exponent must be positive."
    ),
    "dynatemp_range": (Ignore("it has dynatemp_min and dynatemp_max"),),
    "no_repeat_ngram_size": _refused(
        lambda n: n < 0, "non-negative", "no_repeat_ngram_size must be non-negative, got {}."
    ),
    "mirostat": (
        Rename("mirostat_mode", "its name there"),
        *_refused(lambda m: m == 1, "0 or 2", "mirostat_mode must be 0 or 2."),
        LeftOut(_sleeps, "unless a penalty wakes it"),
    ),
    **{
        key: (
            *_not_negative(key, "mirostat parameters must be non-negative."),
            LeftOut(_without_mirostat, "unless mirostat is awake"),
        )
        for key in ("mirostat_tau", "mirostat_eta")
    },
    "dry_multiplier": _not_negative("dry_multiplier"),
    "dry_base": _refused(lambda b: b <= 1, "greater than 1", "dry_base must be greater than 1."),
    "dry_allowed_length": _not_negative("dry_allowed_length"),
    "dry_penalty_last_n": (Rename("dry_range", "its name there"), *_not_negative("dry_range")),
    "thinking_token_budget": (
        *VLLM_RULES["thinking_token_budget"],
        Ignore("it forces nothing unless tokens are drafted"),
    ),
}
for _key in _DRY[1:]:
    _OWN[_key] = (*_OWN.get(_key, ()), _without("dry_multiplier"))
_ALL = VLLM_RULES | _OWN | {"seed": (*VLLM_RULES["seed"], own_luck("luck as vLLM's"))}
for _key in _AFTER_PENALTIES:
    _ALL[_key] = (*_ALL.get(_key, ()), LeftOut(_beside_mirostat, "beside mirostat"))
_ON_NEIGHBOURS = {
    "tfs": "the least likely token of its neighbours in a batch goes, too",
    "top_n_sigma": "its neighbours in a batch keep their most likely token alone",
    "mirostat": "its neighbours in a batch lose all samplers, too",
}
for _key, _what in _ON_NEIGHBOURS.items():
    _told = Told(f"{{key}}: at {{engine}} {_what}.", "acts on its neighbours")
    _ALL[_key] = (*_ALL[_key], _told)
# What its V2 runner and its endpoint for chats have not.
_V1_ALONE = frozenset({*_AFTER_PENALTIES, "mirostat"} - {"temperature", "min_p", "top_k", "top_p"})
_ALONE = Told(
    "{key}, and what else goes beyond vLLM: only the V1 runner of {engine} has it, and only its "
    "completions endpoint. The V2 runner, which it prefers on a GPU, ignores it.",
    "V1 runner alone",
    _V1_ALONE,
)
_RULES = {key: (_ALONE, *rules) if key in _V1_ALONE else rules for key, rules in _ALL.items()}


def _texts(says: str) -> Callable[[Any], str]:
    return lambda value: says


_OCCURRENCES = _texts("DRY ngram/occurrence values must be non-negative.")
_DYNATEMP = _texts("dynatemp values must be non-negative.")
_OPTIONS = {
    "dynatemp_min": Option(0.0, numbers(0), _DYNATEMP),
    "dynatemp_max": Option(0.0, numbers(0), _DYNATEMP),
    "dry_max_ngram": Option(12, integers(0), _OCCURRENCES),
    "dry_max_occurrences": Option(8, integers(0), _OCCURRENCES),
    "dry_early_exit_match_len": Option(
        8, integers(0), _texts("dry_early_exit_match_len must be non-negative.")
    ),
    "dry_sequence_breaker_ids": Option((), tokens.ids),
}
_DEFAULTS = {
    "dry_penalty_last_n": 0,
    "dry_sequence_breakers": (),
    "mirostat_tau": 0.0,
    "mirostat_eta": 0.0,
}
_ALIASES = {
    "nsigma": "top_n_sigma",
    "mirostat_mode": "mirostat",
    "dry_range": "dry_penalty_last_n",
}
_APHRODITE_FILE = GenerationConfig(
    ("repetition_penalty", "temperature", "top_k", "top_p", "min_p", "eos_token_id")
)
_SOURCE = "aphrodite/v1/sample/sampler.py, v1/sample/ops, v1/worker/gpu_input_batch.py"
_DECLARED: dict[str, Any] = {
    "source": _SOURCE,
    "rules": _RULES,
    "together": VLLM_TOGETHER,
    "schema": VLLM_SERVER,
    "generation_config": _APHRODITE_FILE,
    "options": VLLM_OPTIONS | DEVICE | _OPTIONS,
    "defaults": _DEFAULTS,
    "aliases": _ALIASES,
    "luck_note": "as vLLM's, which was not checked here",
    "dialect": VLLM_DIALECT,
    "endings": VLLM_ENDINGS,
    "spelling": Spelling(dry_sequence_breakers=last_token),
}


def _dry(p: Values) -> Dry:
    """Return DRY as the package's compiled scan has it."""
    heads = p.dry_sequence_breaker_ids or (each[-1] for each in p.dry_sequence_breakers)
    return Dry(
        p.dry_multiplier if p.dry_max_occurrences else 0,
        p.dry_base,
        p.dry_allowed_length,
        p.dry_penalty_last_n or None,
        tuple((token,) for token in heads),
        penalises_breakers=True,
        room="two more",
        least=2,
        longest=p.dry_max_ngram + 1,
        occurrences=max(p.dry_max_occurrences, 1),
        # A repetition of the last token alone is passed by, and ends no search.
        enough=max(p.dry_early_exit_match_len, 2),
    )


def _tempering(p: Values) -> Step:
    ends, exponent = (p.dynatemp_min, p.dynatemp_max), p.dynatemp_exponent
    if p.temperature and max(ends) > _EPSILON:
        return DynamicTemperature.between(*ends, exponent, least=_EPSILON)
    return Temperature(p.temperature)


def _aphrodite(p: Values, times: int) -> Chain:
    before = (*vllm_masks(p), *vllm_penalties(p))
    if p.mirostat:  # awake: draws by itself, before temperature
        cut = Mirostat(p.mirostat_tau, p.mirostat_eta, surprise="before")
        return OneSortChain(*before, cut, precision="single")
    # All samplers run at temperature 0, too, but for skew; min_p, top_k, top_p and top_a are off.
    last = bool(p.temperature_last) or not p.temperature
    tempering = _tempering(p)
    return OneSortChain(
        *before,
        _dry(p),
        *vllm_penalties(p) * (times - 1),
        NoRepeatNgram(p.no_repeat_ngram_size, guard=False),
        *(() if last else (tempering,)),
        TopNSigma(p.top_n_sigma, "sample", "nan"),
        TopA(p.top_a if p.temperature else 0, space="probs", guard=False),
        Tfs(p.tfs, removed="zero", ties=descending_ties(p)),
        EtaCutoff(p.eta_cutoff, "first", "log_softmax"),
        EpsilonCutoff(p.epsilon_cutoff, "first"),
        TypicalP(p.typical_p, descending_ties(p), crossing="drop"),
        Smoothing(p.smoothing_factor, p.smoothing_curve, guard=False),
        Xtc(p.xtc_probability, min(p.xtc_threshold, 1.0), last_ties(p), removed="counts"),
        *((tempering,) if last else ()),
        MinP(p.min_p, space="probs"),
        Skew(p.skew if p.temperature else 0, "ids", stays_removed=False),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        precision="single",
    )


@engine(title="Aphrodite 0.24.1, V1 sampler", **_DECLARED)
def aphrodite(p: Values) -> Chain:
    """Return the chain of Aphrodite's V1 sampler, which applies all penalties twice.

    Order: allowed tokens, bad words, least length, bias, penalties; DRY; penalties again; n-grams;
    temperature; n-sigma, top-a, tail-free, eta, epsilon, typical, smoothing, XTC; min-p, skew,
    top-k, top-p. ``temperature_last`` moves temperature behind XTC. Temperature 0 switches off
    min-p, top-k, top-p, top-a, dynamic temperature and skew, but no other.

    Both ``SamplingOps.apply_logits_processors`` and ``Sampler._apply_sampler_order`` call
    ``apply_penalties``: a presence penalty of 0.5 subtracts 1. `aphrodite_once` shows what was
    meant. Top-a acts without a guard: above ``1 / p_max`` it leaves a row of NaN, which is an error
    here. Typical-p drops the token that takes the mass to p. N-sigma does nothing once a token is
    removed. Tail-free removes the least likely token in any case. Skew goes along token ids, and
    brings removed tokens back at a probability of 1e-38. DRY is that of the compiled scan, which
    penalises from two tokens on, whatever is allowed; breakers are single tokens.

    Mirostat sleeps unless the request itself has a penalty, DRY, n-grams or bad words. Awake it is
    the only sampler after the first round of penalties, temperature 0 or not, and takes the
    surprise that a token had before the cut.

    A neighbour in the batch changes what others get: with n-sigma they keep their most likely token
    alone, with tail-free they lose the least likely one, with mirostat all other samplers. That is
    no function of a request, and is told in notes; and so is that the V2 runner, which Aphrodite
    prefers on a GPU, has none of the samplers beyond vLLM (read in ``v1/worker/gpu``, 0.24.1).

    Equal tokens at the edge of the nucleus go as in `vllm`, and ``device`` is as there. The option
    ``generation_config`` is the file of that name beside a model, which replaces defaults there.
    """
    return _aphrodite(p, 2)


@engine(title="Aphrodite 0.24.1, penalties once", variant_of="aphrodite", **_DECLARED)
def aphrodite_once(p: Values) -> Chain:
    """Return the chain of `aphrodite` without its second round of penalties."""
    return _aphrodite(p, 1)
