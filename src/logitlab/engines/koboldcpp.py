"""KoboldCpp: as llama.cpp, with a window full of token 0, and a top-a."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from logitlab.checks import ParameterError, Range, check_integer, check_number
from logitlab.engines.dialect import Dialect
from logitlab.engines.engine import engine
from logitlab.engines.rules import (
    Clamp,
    Ignore,
    LeftOut,
    Off,
    Option,
    Rule,
    Send,
    Unmodelled,
    Values,
)
from logitlab.engines.vocabulary_rules import Drop, InVocabulary
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.penalties import PresencePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK, TopP

__all__ = ["Prefilter", "koboldcpp"]


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


_ORDER = (6, 0, 1, 3, 4, 2, 5)
_NUMBER_OF = {
    "top_k": 0,
    "top_a": 1,
    "top_p": 2,
    "min_p": 2,
    "temperature": 5,
    "repetition_penalty": 6,
    "frequency_penalty": 6,
    "presence_penalty": 6,
    "rep_pen_range": 6,
    "rep_pen_slope": 6,
}


def _left_out(number: int, request: Mapping[str, Any]) -> str:
    is_named = number in request.get("sampler_order", _ORDER)
    return "" if is_named else f"sampler_order does not name its number {number}"


_RULES: dict[str, tuple[Rule, ...]] = {
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
}
for _key, _number in _NUMBER_OF.items():
    _rule = LeftOut(partial(_left_out, _number), "where sampler_order leaves it out")
    _RULES[_key] = (_rule, *_RULES.get(_key, ()))


@engine(
    title="KoboldCpp 1.76",
    source="gpttype_adapter.cpp, SampleLogits (29 examples, no code to run)",
    rules=_RULES,
    defaults={"temperature": 0.7, "top_k": 100, "top_p": 0.92},
    options={
        "rep_pen_range": Option(320, _range),
        "rep_pen_slope": Option(1.0, _slope),
        "sampler_order": Option(_ORDER, _sampler_order),
    },
    aliases={"rep_pen": "repetition_penalty", "repeat_penalty": "repetition_penalty"},
    join=max,
    logprobs="none",
    luck_note="std::discrete_distribution on mt19937, not checked here",
    dialect=Dialect(stops_after="all", usage="never"),
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
