"""llama.cpp: candidates in an order, truncations first, temperature last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    Note,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Target,
    Unmodelled,
    Values,
)
from logitlab.engines.schemas import LLAMA_SERVER, json_integer, low_bits
from logitlab.engines.together import at_least, needs_logprobs
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

_SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""In the order of the server. DRY and top-n-sigma are not modelled, and off by default."""
_LENGTHS = Range(0, 2**31 - 1, integer=True)
_LETTERS = dict(zip("edskypmxtia", (*_SAMPLERS, "infill", "adaptive_p"), strict=True))
# By its name with either line or none between its parts, in letters of any size.
_NAMES = {
    spelled: name
    for name in _LETTERS.values()
    for spelled in (name, name.replace("_", "-"), name.replace("_", ""))
} | {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p"}


@dataclass(frozen=True)
class _Wrap(Rule):
    """The engine keeps the lowest 32 bits of an integer, with or without a sign."""

    signed: bool = True

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Return what these bits are."""
        used = low_bits(value, self.signed)
        if used == value or (not self.signed and used - value == 2**32):  # -1 is 2**32 - 1
            return value, None
        sentence = f"{key} {value} is taken modulo 2**32 by {target.engine}: {used}."
        return used, Note(key, "changed", sentence, value, used)

    def describe(self) -> str:
        """Say that it wraps."""
        return "modulo 2**32"


def _samplers(key: str, value: Any) -> Any:
    """Take names or letters: the names of known samplers, and others as they are."""
    if isinstance(value, str):
        return tuple(_LETTERS.get(letter, letter) for letter in value)
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(name, str) for name in value):
        raise ParameterError(key, "a list of names, or a text of letters", value)
    return tuple(_NAMES.get(name.lower(), name) for name in value)


def _samplers_say(value: Any) -> str:
    first = next(name for name in value if not isinstance(name, str))
    kind = "number" if isinstance(first, int | float) else "no string"
    return f"Field 'samplers': [json.exception.type_error.302] type must be string, but is {kind}"


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
        """Say it."""
        return "ids modulo 2**32"


@dataclass(frozen=True)
class _KnownSamplers(Rule):
    """The server leaves out what names no sampler, with a warning in its log."""

    def apply(self, key: str, value: Any, target: Target) -> tuple[Any, Note | None]:
        """Leave that out."""
        if not isinstance(value, tuple):
            sentence = f"{key} {value!r} is ignored by {target.engine}: it is no list of names."
            return _SAMPLERS, Note(key, "ignored", sentence, value, _SAMPLERS)
        used = tuple(name for name in value if name in _LETTERS.values())
        others = ", ".join(repr(name) for name in value if name not in used)
        if others:
            sentence = f"{key}: {others} is left out by {target.engine}, which has no such sampler."
            return used, Note(key, "changed", sentence, value, used)
        if "infill" in used:
            sentence = f"{key}: infill is not modelled here, whatever {target.engine} does with it."
            return used, Note(key, "unknown", sentence, value, used)
        return used, None

    def describe(self) -> str:
        """Say it."""
        return "names of no sampler are left out"


def _window(key: str, value: Any) -> int:
    return check_integer(key, value, _LENGTHS)


def _server_window(key: str, value: Any) -> int:
    """Take what the server reads as an integer of 32 bits."""
    number = _as_read(key, value)
    if isinstance(number, int) and number < 0:
        raise ParameterError(key, _LENGTHS.rule(), value)
    return _window(key, number)


def _server_window_says(value: Any) -> str:
    number = _as_read("repeat_last_n", value)
    if not isinstance(number, int):
        return ""
    return (
        f"Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647, but got {number}"
    )


def _as_read(key: str, value: Any) -> Any:
    if isinstance(value, bool | float) and value - value == 0:
        value = json_integer(key, value)
    return low_bits(value) if isinstance(value, int) else value


_LLAMA_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (Clamp(low=0),),
    "top_k": (_Wrap(), Clamp(low=0)),
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
    "logit_bias": (_WrapIds(), InVocabulary(False)),
    "seed": (_Wrap(signed=False), Off(lambda seed: seed % 2**32 == 0xFFFFFFFF, "-1 modulo 2**32")),
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
    order = request.get("samplers")
    named = ("", *(order if isinstance(order, tuple) else _SAMPLERS))
    return "" if sampler in named else "samplers does not name it"


_SERVER_RULES: dict[str, tuple[Rule, ...]] = _LLAMA_RULES | {
    key: (
        *_LLAMA_RULES.get(key, ()),
        LeftOut(partial(_left_out, sampler), "where samplers or mirostat leave it out"),
    )
    for key, sampler in _SAMPLER_OF.items()
}
_SERVER_RULES["samplers"] = (
    LeftOut(lambda request: _left_out("", request), "beside mirostat"),
    _KnownSamplers(),
)
_TOGETHER = (
    # Even 0 wants logprobs there.
    needs_logprobs("top_logprobs requires logprobs to be set to true", least=0),
    at_least("n", 1, "Field 'n': Value must be between 1 <= value <= 1, but got {n}"),
)
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
    together=_TOGETHER,
    schema=LLAMA_SERVER,
    defaults=_DEFAULTS,
    options={
        "repeat_last_n": Option(64, _server_window, _server_window_says),
        "samplers": Option(_SAMPLERS, _samplers, _samplers_say),
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
    silently, integers have 32 bits, and what names no sampler is left out. Biases may be pairs,
    false bans a token, and the server tokenises keys that are no ids: that needs a model that has
    a tokenizer. Ties go as `std::partial_sort` leaves them. Reported log-probabilities are the
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
    "top_k": (Clamp(low=0),),
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
    options={"last_n_tokens_size": Option(64, _window, is_deployed=True)},
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
