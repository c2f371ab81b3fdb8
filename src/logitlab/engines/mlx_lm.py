"""mlx-lm: truncations on log-probabilities, the largest last, then temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from logitlab.engines.dialect import Dialect
from logitlab.engines.registry import engine
from logitlab.engines.rules import (
    Ignore,
    LeftOut,
    Off,
    Option,
    Refuse,
    Rule,
    Unmodelled,
    Values,
    integers,
)
from logitlab.engines.schemas import MLX_SERVER
from logitlab.engines.telling import Odd, Told, own_luck
from logitlab.engines.together import Together, number
from logitlab.request import tokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.chain import Chain
from logitlab.steps.normalisation import LogSoftmax
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP
from logitlab.steps.xtc import Xtc

__all__ = ["mlx_lm", "mlx_lm_server"]


def _at_least_0(key: str) -> Refuse:
    return Refuse(lambda value: value < 0, "at least 0", f"{key} must be at least 0")


def _at_most(key: str, most: int) -> Refuse:
    return Refuse(lambda value: value > most, f"at most {most}", f"{key} must be at most {most}")


_TOP_K = Refuse(
    lambda k, size: k >= size,
    "in [1, {V}), or 0 (disable)",
    "`top_k` has to be an integer in the (0, {V}) interval, but is {}.",
    sized=True,
    unless_greedy=True,
)


def _greedy(request: Mapping[str, Any]) -> str:
    return "" if number(request, "temperature") != 0 else "temperature 0 samples nothing"


def _without_xtc(request: Mapping[str, Any]) -> str:
    is_on = number(request, "xtc_probability") > 0 and not _greedy(request)
    return "" if is_on else "XTC is off"


def _threshold_is_wrong(request: Mapping[str, Any]) -> bool:
    tempers = number(request, "temperature") != 0
    is_on = tempers and number(request, "xtc_probability") > 0
    return is_on and not 0 <= number(request, "xtc_threshold") <= 0.5


_THRESHOLD = Together(
    "xtc_threshold",
    _threshold_is_wrong,
    "in [0, 0.5]",
    "`threshold` has to be a float in the [0, 0.5] interval, but is {xtc_threshold}",
)
_DROPPED = "drops the connection, and logs"
_MLX_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        Unmodelled(lambda t: t < 0, "at least 0", "make_sampler turns the order of tokens around"),
    ),
    "top_p": (Off(lambda p: not 0 < p < 1, "0 and what is not below 1"),),
    "top_k": (Off(lambda k: k <= 0, "0 and below"), _TOP_K),
    "min_p": (
        Refuse(
            lambda p: not 0 <= p <= 1,
            "in [0, 1]",
            "`min_p` has to be a float in the [0, 1] interval, but is {}",
            unless_greedy=True,
        ),
    ),
    "xtc_probability": (
        LeftOut(_greedy, "where temperature is 0"),
        Off(lambda p: p <= 0, "0 and below"),
        Refuse(
            lambda p: p > 1,
            "in [0, 1]",
            "`probability` has to be a float in the [0, 1] interval, but is {}",
        ),
    ),
    "xtc_threshold": (
        LeftOut(_without_xtc, "without xtc_probability, and where temperature is 0"),
    ),
    "repetition_penalty": (
        Refuse(lambda r: r < 0, "non-negative", "penalty must be a non-negative float, got {}"),
        Off(lambda r: r == 0, "0"),
    ),
    "top_a": (Ignore(),),
    "logit_bias": (
        Unmodelled(
            lambda bias, size: size is not None and max(bias, default=0) >= size,
            "a map whose keys are token ids of the vocabulary",
            "an id outside the vocabulary writes beyond the row",
            sized=True,
        ),
    ),
    "seed": (Ignore("it draws from MLX's global generator"),),
}
_SERVER: dict[str, tuple[Rule, ...]] = _MLX_RULES | {
    "temperature": (_at_least_0("temperature"),),
    "top_p": (_at_least_0("top_p"), _at_most("top_p", 1), Off(lambda p: p == 0, "0")),
    "top_k": (_at_least_0("top_k"), replace(_TOP_K, answers=_DROPPED)),
    "min_p": (_at_least_0("min_p"), _at_most("min_p", 1)),
    "xtc_probability": (
        _at_least_0("xtc_probability"),
        _at_most("xtc_probability", 1),
        LeftOut(_greedy, "where temperature is 0"),
        Told(
            "{key}: {engine} protects the newline and the ends of its tokenizer; here "
            "xtc_special_tokens and eos_token_id tell which those are.",
            "newline and ends are protected",
        ),
    ),
    "xtc_threshold": (
        _at_least_0("xtc_threshold"),
        _at_most("xtc_threshold", 1),
        *_MLX_RULES["xtc_threshold"],
    ),
    "repetition_penalty": (_at_least_0("repetition_penalty"), Off(lambda r: r == 0, "0")),
    "stop": (
        Odd(
            lambda stop, request: (
                "every such text is cut out of the answer, which ends only where the very tokens "
                "come that spell one by itself; here it ends before the first"
                if stop
                else ""
            ),
            "cut out, and the end by tokens alone",
        ),
    ),
    "top_logprobs": (
        Refuse(lambda n: n < -1, "at least 0, or -1", "top_logprobs must be at least 0"),
        _at_most("top_logprobs", 11),
    ),
    "seed": (
        Refuse(
            lambda seed: not 0 <= seed < 2**64,
            "in [0, 2**64 - 1]",
            "a TypeError of mx.random.seed",
            answers=_DROPPED,
        ),
        own_luck("MLX's own stream"),
        Told(
            "{key}: with one the penalties of {engine} leave out what of the prompt comes from a "
            "cache, see cached_prompt.",
            "penalties leave out what of the prompt is cached",
        ),
    ),
    "cached_prompt": (
        LeftOut(
            lambda request: "" if "seed" in request else "without a seed the whole prompt counts",
            "without a seed",
        ),
    ),
}
_OPTIONS = {
    "repetition_context_size": Option(20, integers(0)),
    "presence_context_size": Option(20, integers(0)),
    "frequency_context_size": Option(20, integers(0)),
    "xtc_special_tokens": Option((), tokens.ids),
}
_MLX_LUCK = "mx.random.categorical on MLX's Threefry stream"


def _chain(p: Values, cached: int, least: int, protected: Sequence[int]) -> Chain:
    """Return the chain; of the prompt's first tokens that are cached penalties know nothing."""
    xtc = Xtc(
        p.xtc_probability,
        p.xtc_threshold,
        ties="all",
        at_threshold="below",
        protected=tuple(protected),
        protection="kept",
    )
    return Chain(
        LogitBias(p.logit_bias),
        RepetitionPenalty(
            p.repetition_penalty, last_n=p.repetition_context_size or None, skip=cached
        ),
        PresencePenalty(p.presence_penalty, last_n=p.presence_context_size or None, skip=cached),
        FrequencyPenalty(
            p.frequency_penalty,
            last_n=p.frequency_context_size or None,
            by_ones=True,
            skip=cached,
        ),
        LogSoftmax(),
        TopP(p.top_p, ties="all"),
        MinP(p.min_p, min_keep=least, ties="highest"),
        *([xtc] if p.temperature != 0 else []),
        TopK(p.top_k),
        Temperature(p.temperature, reciprocal=True),
        precision="mixed",
    )


@engine(
    title="mlx-lm 0.32.2",
    source="mlx_lm/sample_utils.py, mlx_lm/generate.py",
    rules=_MLX_RULES,
    together=(_THRESHOLD,),
    defaults={"temperature": 0.0},
    options=_OPTIONS | {"min_tokens_to_keep": Option(1, integers(1))},
    logprobs="penalised",
    luck_note=_MLX_LUCK,
)
def mlx_lm(p: Values) -> Chain:
    """Return the chain of mlx-lm: ``make_logits_processors``, then ``make_sampler``.

    Penalties count the last 20 tokens of prompt and output (a context size of 0 counts all), in
    the order repetition, presence, frequency. Then the log-probabilities are taken that it
    reports. Top-p keeps all ties, min-p follows, then XTC, which keeps all that tie with the least
    likely top choice, and ``xtc_special_tokens``. Top-k comes after these, and temperature is last.
    Nothing is renormalised in between but for XTC. At least ``min_tokens_to_keep`` pass min-p. A
    request without temperature is greedy, which skips all of these; top_p 0 is off, and top_k must
    be below the size of the vocabulary.
    """
    return _chain(p, 0, p.min_tokens_to_keep, p.xtc_special_tokens)


@engine(
    title="mlx-lm 0.32.2, mlx_lm.server",
    variant_of="mlx_lm",
    source="mlx_lm/server.py, mlx_lm/sample_utils.py, mlx_lm/generate.py",
    rules=_SERVER,
    together=(replace(_THRESHOLD, answers=_DROPPED),),
    endings=("eos_token_id",),
    schema=MLX_SERVER,
    defaults={"temperature": 0.0},
    options=_OPTIONS | {"cached_prompt": Option(0, integers(0), is_deployed=True)},
    logprobs="penalised",
    tops_alone=True,
    luck_note=_MLX_LUCK,
    dialect=Dialect(has_two_limits=True, has_one_answer=True),
)
def mlx_lm_server(p: Values) -> Chain:
    """Return the chain of `mlx_lm`, to which the server adds limits: it refuses what is beyond.

    A request with a seed is not batched, and its penalties see what of the prompt does not come
    from the server's cache: all of it at first, and the last token where the same is asked again.
    The option ``cached_prompt`` is how many tokens come from there; the server's answer tells it
    as ``usage.prompt_tokens_details.cached_tokens``.

    A stop string is cut out of the answer wherever it stands, but ends it only where its own tokens
    come, those that it is spelt by alone: ``"e"`` leaves ``hundrd``, and the answer goes on.

    XTC protects the newline and the ends of the tokenizer: ``xtc_special_tokens`` and
    ``eos_token_id`` tell which those are. Its two values are to be fractions in JSON: the server
    refuses 1 without a point, which is taken here.
    """
    return _chain(p, p.cached_prompt, 1, (*p.xtc_special_tokens, *p.eos_token_id))
