"""Ollama: its own sampler in Go, llama-server behind it, and its sampler on MLX."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import ollama as go_luck
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Clamp,
    Ignore,
    Off,
    Option,
    Refuse,
    Rename,
    Rule,
    Values,
    integers,
)
from logitlab.engines.schemas import OLLAMA_OPTIONS, OLLAMA_SERVER
from logitlab.engines.telling import own_luck
from logitlab.steps.candidate_order.chain import SortedChain
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import (
    AdditivePenalty,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
)
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.typical import TypicalP

__all__ = ["ollama", "ollama_llama_server", "ollama_mlx", "ollama_openai"]


_NONE = Ignore("it has no such option")
_NO_PENALTIES = Ignore("its own sampler has no penalties; models that llama.cpp runs have them")
_TOP_LOGPROBS = Refuse(
    lambda n: not 0 <= n <= 20, "in [0, 20]", "top_logprobs must be between 0 and 20"
)
_OPTIONS: dict[str, tuple[Rule, ...]] = {
    "top_a": (_NONE,),
    "logit_bias": (_NONE,),
    "seed": (Off(lambda seed: seed == -1, "-1"),),
    "top_logprobs": (_TOP_LOGPROBS,),
}
_OWN: dict[str, tuple[Rule, ...]] = _OPTIONS | {
    "temperature": (Clamp(low=0), Clamp(low=1e-7, unless=0)),
    "top_k": (Off(lambda k: k < 0, "below 0"),),
    "top_p": (Clamp(0, 1),),
    "min_p": (Clamp(0, 1),),
    "repetition_penalty": (_NO_PENALTIES,),
    "frequency_penalty": (_NO_PENALTIES,),
    "presence_penalty": (_NO_PENALTIES,),
    "repeat_last_n": (_NO_PENALTIES,),
    "typical_p": (Ignore("its own sampler does not look at it"),),
}
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}
_NAMES = {"repeat_penalty": "repetition_penalty"}
_RENAMED = Rename("repeat_penalty", "that is its option")
_REPEAT = {"repeat_last_n": Option(64, integers(-1))}
_ANSWER = Dialect(has_one_answer=True)  # nothing of its API has a key for several
_SOURCE = "sample/samplers.go, sample/transforms.go, runner/ollamarunner/runner.go, api/types.go"
_PCG = "PCG of Go's math/rand/v2, 24 bits a token, inverse of the distribution in sorted order"


def _go_chain(p: Values) -> Chain:
    if p.temperature == 0:
        # The first of equal maxima, before anything is sorted.
        return Chain(Temperature(p.temperature), precision="single")
    return SortedChain(
        TopK(p.top_k),
        Temperature(p.temperature),
        TopP(p.top_p),
        MinP(p.min_p, space="probs"),
        like="ollama",
    )


@engine(
    title="Ollama 0.24.0, its own runner",
    source=_SOURCE,
    rules=_OWN,
    schema=OLLAMA_OPTIONS,
    defaults=_DEFAULTS,
    options=_REPEAT,
    aliases=_NAMES,
    luck=go_luck,
    luck_note=_PCG,
    dialect=_ANSWER,
)
def ollama(p: Values) -> Chain:
    """Return the chain of Ollama's own sampler in Go, with the ``options`` of its own API.

    Top-k sorts, temperature follows, then top-p and min-p; there is nothing else: penalties and
    typical_p arrive and are not looked at. By default temperature 0.8, top_k 40 and top_p 0.9.
    Top-p keeps one token more where the mass before it is exactly p. Temperature 0 and below is
    greedy. Equal tokens go as Go's heap leaves them, without top-k as its quicksort does. Reported
    log-probabilities are the model's own. What a Modelfile sets takes the place of these defaults.

    This is what ran models of Ollama's own engine up to version 0.24, which are most of the recent
    ones; others went to llama.cpp's samplers. From 0.30 on a model in GGUF goes to llama-server,
    `ollama_llama_server`, and one in safetensors to `ollama_mlx`. Its order, its sorts and its
    draws were held against its own code (commit 54e05172a).
    """
    return _go_chain(p)


_UNREAD = Ignore("its endpoint after OpenAI's does not read it")


@engine(
    title="Ollama 0.24.0, its endpoint after OpenAI's",
    variant_of="ollama",
    source=f"openai/openai.go, {_SOURCE}",
    rules={key: rules for key, rules in _OWN.items() if key != "repeat_last_n"}
    | dict.fromkeys(("top_k", "min_p", "repetition_penalty", "typical_p"), (_UNREAD,)),
    schema=OLLAMA_SERVER,
    defaults={"top_k": 40},
    luck=go_luck,
    luck_note=_PCG,
    dialect=_ANSWER,
)
def ollama_openai(p: Values) -> Chain:
    """Return the chain of `ollama` for a request to ``/v1/chat/completions``.

    Without temperature and top_p that endpoint puts 1 for each, not the defaults of `ollama`. It
    has no key for top_k, which stays at 40, nor for min_p: keys that it does not know it leaves
    out.
    """
    return _go_chain(p)


_SENT: dict[str, tuple[Rule, ...]] = _OPTIONS | {
    "seed": (*_OPTIONS["seed"], own_luck("luck as llama_cpp's")),
    "temperature": (Clamp(low=0),),
    "top_k": (Clamp(low=0),),
    "top_p": (Clamp(0, 1),),
    "min_p": (Clamp(0, 1),),
    "typical_p": (
        Off(lambda p: p == 0, "0, which is not sent,"),
        Off(lambda p: p >= 1, "1 and above"),
        Clamp(low=0),
    ),
    "repetition_penalty": (
        _RENAMED,
        Refuse(
            lambda r: r <= 0,
            "finite and greater than 0",
            "Failed to initialize samplers: penalty_repeat must be finite and greater than 0",
        ),
    ),
    "repeat_last_n": (
        Refuse(
            lambda n: n < 0,
            "in [0, 2147483647]",
            "Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647, but got {}",
        ),
    ),
}


@engine(
    title="Ollama 0.33.0-rc2, llama-server behind it",
    variant_of="ollama",
    source="llm/llama_server.go, api/types.go (read, not run), and llama.cpp b10488",
    rules=_SENT,
    schema=OLLAMA_OPTIONS,
    defaults=_DEFAULTS,
    options=_REPEAT,
    aliases=_NAMES,
    luck_note="as llama_cpp's, which was not checked here",
    dialect=_ANSWER,
)
def ollama_llama_server(p: Values) -> Chain:
    """Return the chain of a model in GGUF since version 0.30: llama.cpp's with Ollama's defaults.

    Ollama sends its own option for each of these samplers, so that llama-server's defaults are
    never used: temperature 0.8, top_k 40, top_p 0.9, min_p 0, and since 0.30 a repeat_penalty of
    1.0. Up to 0.24 the models that llama.cpp ran had one of 1.1. A window of -1, which its
    documentation calls the whole context, is refused by llama-server. Only read, in commit
    fb3076099.
    """
    window = max(p.repeat_last_n, 0)
    return SortedChain(
        RepetitionPenalty(p.repetition_penalty, last_n=window),
        AdditivePenalty(p.frequency_penalty, p.presence_penalty, last_n=window),
        TopK(p.top_k),
        TypicalP(p.typical_p),
        TopP(p.top_p),
        MinP(p.min_p),
        Temperature(p.temperature),
    )


_MLX: dict[str, tuple[Rule, ...]] = _OPTIONS | {
    "temperature": (Clamp(low=0),),
    "top_k": (Off(lambda k: k < 0, "below 0"),),
    "top_p": (Off(lambda p: not 0 < p < 1, "0 and below, and what is not below 1,"),),
    "min_p": (Off(lambda p: not 0 < p <= 1, "0 and below, and what is above 1,"),),
    "repetition_penalty": (_RENAMED, Off(lambda r: r <= 0, "0 and below")),
    "typical_p": (Ignore("its sampler on MLX does not look at it"),),
    "seed": (*_OPTIONS["seed"], own_luck("MLX's stream")),
}


@engine(
    title="Ollama 0.33.0-rc2, its runner on MLX",
    variant_of="ollama",
    source="x/mlxrunner/sample/sample.go, x/mlxrunner/pipeline.go (read, not run)",
    rules=_MLX,
    schema=OLLAMA_OPTIONS,
    defaults=_DEFAULTS,
    options=_REPEAT,
    aliases=_NAMES,
    luck_note="mx.random.categorical on MLX's Threefry stream, keyed by SplitMix64 of the seed",
    dialect=_ANSWER,
)
def ollama_mlx(p: Values) -> Chain:
    """Return the chain of a model in safetensors: Ollama's second sampler of its own, on MLX.

    Penalties count the last 64 tokens of prompt and output, -1 the whole context: repetition,
    presence, frequency. Then top-k, temperature, top-p and min-p. The tokens that stay of equal
    ones at the k-th are those that MLX's partition favours; here the lowest ids. Reported
    log-probabilities are the model's own. Only read, in commit fb3076099.
    """
    window = None if p.repeat_last_n < 0 else p.repeat_last_n
    return Chain(
        RepetitionPenalty(p.repetition_penalty, last_n=window, reciprocal=True),
        PresencePenalty(p.presence_penalty, last_n=window),
        FrequencyPenalty(p.frequency_penalty, last_n=window, by_ones=True),
        TopK(p.top_k),
        Temperature(p.temperature),
        TopP(p.top_p),
        MinP(p.min_p, space="probs"),
        precision="single",
    )
