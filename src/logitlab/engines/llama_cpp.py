"""llama.cpp and KoboldCpp: candidates in an order, truncations first, temperature last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from logitlab.checks import ParameterError, Range, check_integer, check_number
from logitlab.engines.draws import llama_cpp as llama_luck
from logitlab.engines.engine import engine
from logitlab.engines.rules import (
    Clamp,
    Drop,
    Ignore,
    InVocabulary,
    Off,
    Refuse,
    Rename,
    Rule,
    Send,
    Unmodelled,
    Values,
)
from logitlab.engines.translation import Option
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Step
from logitlab.steps.penalties import AdditivePenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.truncation import MinP, TopA, TopK, TopP

__all__ = ["Prefilter", "koboldcpp", "llama_cpp", "llama_cpp_python"]

_SAMPLERS = ("penalties", "top_k", "top_p", "min_p", "temperature")
_OTHER_SAMPLERS = ("dry", "top_n_sigma", "typ_p", "xtc")  # off unless a request has their keys
_LETTERS = {"e": "penalties", "k": "top_k", "p": "top_p", "m": "min_p", "t": "temperature",
            "d": "dry", "s": "top_n_sigma", "y": "typ_p", "x": "xtc"}  # fmt: skip


def _samplers(key: str, value: Any) -> tuple[str, ...]:
    known = (*_SAMPLERS, *_OTHER_SAMPLERS)
    if isinstance(value, str) and set(value) <= _LETTERS.keys():
        return tuple(_LETTERS[letter] for letter in value)
    if not isinstance(value, list | tuple) or not all(name in known for name in value):
        raise ParameterError(key, "a list of " + ", ".join(known), value)
    return tuple(value)


def _window(key: str, value: Any) -> int:
    return check_integer(key, value, Range(0, 2**31 - 1, integer=True))


_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (Clamp(low=0),),
    "top_k": (Clamp(low=0),),
    "top_p": (Clamp(0, 1),),
    "min_p": (Clamp(0, 1),),
    "repetition_penalty": (
        Rename("repeat_penalty", "sent to the server as it is, it does nothing"),
        Refuse(
            lambda r: r <= 0,
            "finite and greater than 0",
            "Failed to initialize samplers: penalty_repeat must be finite and greater than 0",
        ),
    ),
    "top_a": (Ignore(),),
    "logit_bias": (InVocabulary(False),),
    "seed": (Off(lambda seed: seed in (-1, 0xFFFFFFFF), "-1 and 4294967295"),),
}
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
_SOURCE = "src/llama-sampler.cpp, common/sampling.cpp, tools/server/server-task.cpp"
_LUCK = "mt19937 of the seed, two words a token, inverse of the distribution in candidate order"


def _penalties(p: Values, last_n: int) -> tuple[Step, ...]:
    return (
        RepetitionPenalty(p.repetition_penalty, last_n=last_n),
        AdditivePenalty(p.frequency_penalty, p.presence_penalty, last_n=last_n),
    )


@engine(
    title="llama.cpp, llama-server of xllamacpp 2026.10.11549",
    source=_SOURCE,
    rules=_RULES,
    defaults=_DEFAULTS,
    options={
        "repeat_last_n": Option(
            64,
            _window,
            "Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647, but got {}",
        ),
        "samplers": Option(_SAMPLERS, _samplers),
    },
    aliases={"repeat_penalty": "repetition_penalty"},
    luck=llama_luck,
    luck_note=_LUCK,
)
def llama_cpp(p: Values) -> SortedChain:
    """Return the chain of llama-server: bias, then the ``samplers`` of the request in their order.

    By default penalties over the last 64 tokens of prompt and output, top-k, top-p, min-p, and
    temperature last, so that the truncations see the model's own distribution. An empty request
    has temperature 0.8, top_k 40, top_p 0.95 and min_p 0.05. Values out of range are clamped
    silently. Ties go as `std::partial_sort` leaves them. Reported log-probabilities are the
    model's own, unless ``post_sampling_probs`` is set.
    """
    samplers: dict[str, tuple[Step, ...]] = {
        "penalties": _penalties(p, p.repeat_last_n),
        "top_k": (TopK(p.top_k),),
        "top_p": (TopP(p.top_p),),
        "min_p": (MinP(p.min_p),),
        "temperature": (Temperature(p.temperature),),
    }
    order = (step for name in p.samplers for step in samplers.get(name, ()))
    return SortedChain(LogitBias(p.logit_bias), *order)


_PYTHON: dict[str, tuple[Rule, ...]] = {
    **{key: rules for key, rules in _RULES.items() if key != "temperature"},
    "repetition_penalty": (
        Rename("repeat_penalty", "that is its argument"),
        Unmodelled(lambda r: r <= 0, "greater than 0", "0 divides by zero, and leaves a NaN row"),
    ),
}


@engine(
    title="llama-cpp-python 0.3.36",
    source="llama_cpp/llama.py, Llama._init_sampler",
    rules=_PYTHON,
    defaults=_DEFAULTS,
    options={"last_n_tokens_size": Option(64, _window)},
    aliases={"repeat_penalty": "repetition_penalty"},
    luck=llama_luck,
    luck_note=_LUCK,
)
def llama_cpp_python(p: Values) -> SortedChain:
    """Return the chain of llama-cpp-python, which builds one of its own from the same samplers.

    As `llama_cpp` in the default order. Temperature 0 takes the most likely token after penalties,
    and a negative one draws from what penalties leave, untruncated. The window of penalties is an
    argument of the model there, ``last_n_tokens_size``.
    """
    before = LogitBias(p.logit_bias), *_penalties(p, p.last_n_tokens_size)
    if p.temperature < 0:
        return SortedChain(*before)
    if p.temperature == 0:
        return SortedChain(*before, Temperature(0.0))
    return SortedChain(
        *before, TopK(p.top_k), TopP(p.top_p), MinP(p.min_p), Temperature(p.temperature)
    )


# ---------------------------------------------------------------- KoboldCpp


@dataclass(frozen=True, eq=False, repr=False)
class Prefilter(TopK):
    """A `TopK` of the engine's own, before everything that a request asks for."""

    key: ClassVar[str] = "prefilter"


def _range(key: str, value: Any) -> int:
    return max(1, check_integer(key, value, Range(integer=True)))


def _slope(key: str, value: Any) -> float:
    return check_number(key, value, Range(0))


def _sampler_order(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(
        type(n) is int and 0 <= n <= 6 for n in value
    ):
        raise ParameterError(key, "a list of sampler numbers 0 to 6", value)
    return tuple(value)


@engine(
    title="KoboldCpp 1.76",
    source="gpttype_adapter.cpp, SampleLogits (29 examples, no code to run)",
    rules={
        "temperature": (Clamp(low=0),),
        "top_k": (Clamp(low=0),),
        "top_p": (Clamp(0, 1),),
        "min_p": (Clamp(0, 1),),
        "top_a": (Clamp(low=0),),
        "frequency_penalty": (Send("presence_penalty"),),
        "logit_bias": (Clamp(-100, 100), Drop(32), InVocabulary(False)),
        "repetition_penalty": (
            Unmodelled(lambda r: r <= 0, "greater than 0", "the penalty divides by it"),
        ),
        "seed": (Off(lambda seed: seed <= 0, "0 and below"),),
        "logprobs": (Ignore("it reports no log-probabilities"),),
        "top_logprobs": (Ignore("it reports no log-probabilities"),),
    },
    defaults={"temperature": 0.7, "top_k": 100, "top_p": 0.92},
    options={
        "rep_pen_range": Option(320, _range),
        "rep_pen_slope": Option(1.0, _slope),
        "sampler_order": Option((6, 0, 1, 3, 4, 2, 5), _sampler_order),
    },
    aliases={"rep_pen": "repetition_penalty", "repeat_penalty": "repetition_penalty"},
    join=max,
    logprobs="none",
    luck_note="std::discrete_distribution on mt19937, not checked here",
)
def koboldcpp(p: Values) -> SortedChain:
    """Return the chain of KoboldCpp: bias, the 5000 best, then ``sampler_order``.

    By default repetition and presence penalty, top-k, top-a, top-p, min-p, and temperature last.
    Penalties count a window of 320 tokens that is full of token 0 at first; in its older half
    ``rep_pen_slope`` scales the repetition penalty. There is no frequency penalty: its value serves
    as presence penalty where that is absent. Top-a is un-tempered and keeps the best token.
    """
    window = p.rep_pen_range
    samplers: dict[int, tuple[Step, ...]] = {
        0: (TopK(p.top_k),),
        1: (TopA(p.top_a, space="probs"),),
        2: (TopP(p.top_p), MinP(p.min_p)),
        5: (Temperature(p.temperature),),
        6: (
            RepetitionPenalty(p.repetition_penalty, "all", window, 0, p.rep_pen_slope),
            PresencePenalty(p.presence_penalty, "all", window, 0),
        ),
    }
    order = (step for number in p.sampler_order for step in samplers.get(number, ()))
    return SortedChain(LogitBias(p.logit_bias), Prefilter(5000), *order)
