"""llama.cpp: candidates in an order, truncations first, temperature last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from logitlab.checks import ParameterError, Range, check_integer
from logitlab.engines.draws import llama_cpp as llama_luck
from logitlab.engines.engine import engine
from logitlab.engines.rules import (
    Clamp,
    Ignore,
    InVocabulary,
    LeftOut,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Unmodelled,
    Values,
)
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.mirostat import Mirostat
from logitlab.steps.penalties import AdditivePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP
from logitlab.steps.xtc import Xtc

__all__ = ["llama_cpp", "llama_cpp_python"]

_SAMPLERS = ("penalties", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
_OTHER_SAMPLERS = ("dry", "top_n_sigma")  # not modelled, and off unless a request has their keys
_LETTERS = dict(zip("ekypmxtds", (*_SAMPLERS, *_OTHER_SAMPLERS), strict=True))


def _samplers(key: str, value: Any) -> tuple[str, ...]:
    known = (*_SAMPLERS, *_OTHER_SAMPLERS)
    if isinstance(value, str) and set(value) <= _LETTERS.keys():
        return tuple(_LETTERS[letter] for letter in value)
    if not isinstance(value, list | tuple) or not all(name in known for name in value):
        raise ParameterError(key, "a list of " + ", ".join(known), value)
    return tuple(value)


def _window(key: str, value: Any) -> int:
    return check_integer(key, value, Range(0, 2**31 - 1, integer=True))


_LLAMA_RULES: dict[str, tuple[Rule, ...]] = {
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
    "typical_p": (Off(lambda p: p >= 1, "1 and above"), Clamp(low=0)),
    "xtc_threshold": (Clamp(0, 1),),
    "xtc_probability": (Clamp(0, 1),),
    "logit_bias": (InVocabulary(False),),
    "seed": (Off(lambda seed: seed in (-1, 0xFFFFFFFF), "-1 and 4294967295"),),
}
_SAMPLER_OF = {
    "repetition_penalty": "penalties",
    "frequency_penalty": "penalties",
    "presence_penalty": "penalties",
    "top_k": "top_k",
    "typical_p": "typ_p",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc",
    "xtc_threshold": "xtc",
    "temperature": "temperature",
    "repeat_last_n": "penalties",
}


def _left_out(sampler: str, request: Mapping[str, Any]) -> str:
    """Tell why the server's chain has no such sampler, "" if it has one."""
    if request.get("mirostat"):
        words = "mirostat switches off all but logit_bias and temperature"
        return "" if sampler == "temperature" else words
    named = ("", *request.get("samplers", _SAMPLERS))
    return "" if sampler in named else "samplers does not name it"


_SERVER_RULES: dict[str, tuple[Rule, ...]] = _LLAMA_RULES | {
    key: (
        *_LLAMA_RULES.get(key, ()),
        LeftOut(partial(_left_out, sampler), "where samplers or mirostat leave it out"),
    )
    for key, sampler in _SAMPLER_OF.items()
}
_SERVER_RULES["samplers"] = (LeftOut(lambda request: _left_out("", request), "beside mirostat"),)
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
_LLAMA = "src/llama-sampler.cpp, common/sampling.cpp, tools/server/server-task.cpp"
_LLAMA_LUCK = (
    "mt19937 of the seed, two words a token, inverse of the distribution in candidate order"
)


def _llama_penalties(p: Values, last_n: int) -> tuple[Step, ...]:
    return (
        RepetitionPenalty(p.repetition_penalty, last_n=last_n),
        AdditivePenalty(p.frequency_penalty, p.presence_penalty, last_n=last_n),
    )


@engine(
    title="llama.cpp, llama-server of xllamacpp 2026.10.11549",
    source=_LLAMA,
    rules=_SERVER_RULES,
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
    luck_note=_LLAMA_LUCK,
)
def llama_cpp(p: Values) -> SortedChain:
    """Return the chain of llama-server: bias, then the ``samplers`` of the request in their order.

    By default penalties over the last 64 tokens of prompt and output, top-k, typical-p, top-p,
    min-p, XTC, and temperature last, so that the truncations see the model's own distribution.
    Mirostat switches off all of them but bias and temperature. An empty request
    has temperature 0.8, top_k 40, top_p 0.95 and min_p 0.05. Values out of range are clamped
    silently. Ties go as `std::partial_sort` leaves them. Reported log-probabilities are the
    model's own, unless ``post_sampling_probs`` is set.
    """
    if p.mirostat:
        cut = Mirostat(p.mirostat_tau, p.mirostat_eta)
        return SortedChain(LogitBias(p.logit_bias), Temperature(p.temperature), cut)
    samplers: dict[str, tuple[Step, ...]] = {
        "penalties": _llama_penalties(p, p.repeat_last_n),
        "top_k": (TopK(p.top_k),),
        "typ_p": (TypicalP(p.typical_p),),
        "top_p": (TopP(p.top_p),),
        "min_p": (MinP(p.min_p),),
        "xtc": (Xtc(p.xtc_probability, p.xtc_threshold),),
        "temperature": (Temperature(p.temperature),),
    }
    order = (step for name in p.samplers for step in samplers.get(name, ()))
    return SortedChain(LogitBias(p.logit_bias), *order)


_PYTHON: dict[str, tuple[Rule, ...]] = {
    **{key: rules for key, rules in _LLAMA_RULES.items() if key != "temperature"},
    "repetition_penalty": (
        Rename("repeat_penalty", "that is its argument"),
        Unmodelled(lambda r: r <= 0, "greater than 0", "0 divides by zero, and leaves a NaN row"),
    ),
}


@engine(
    title="llama-cpp-python 0.3.36",
    variant_of="llama_cpp",
    source="llama_cpp/llama.py, Llama._init_sampler",
    rules=_PYTHON,
    defaults=_DEFAULTS,
    options={"last_n_tokens_size": Option(64, _window)},
    aliases={"repeat_penalty": "repetition_penalty"},
    luck=llama_luck,
    luck_note=_LLAMA_LUCK,
)
def llama_cpp_python(p: Values) -> SortedChain:
    """Return the chain of llama-cpp-python, which builds one of its own from the same samplers.

    As `llama_cpp` in the default order. Temperature 0 takes the most likely token after penalties,
    and a negative one draws from what penalties leave, untruncated. The window of penalties is an
    argument of the model there, ``last_n_tokens_size``.
    """
    before = LogitBias(p.logit_bias), *_llama_penalties(p, p.last_n_tokens_size)
    if p.temperature < 0:
        return SortedChain(*before)
    if p.temperature == 0:
        return SortedChain(*before, Temperature(0.0))
    return SortedChain(
        *before, TopK(p.top_k), TopP(p.top_p), MinP(p.min_p), Temperature(p.temperature)
    )
