"""vLLM, with the three ways it cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import vllm_cpu, vllm_triton as triton_luck
from logitlab.engines.generation_config import GenerationConfig, generation_config
from logitlab.engines.registry import engine
from logitlab.engines.rules import Clamp, Ignore, Off, Option, Refuse, Rule, Values, integers
from logitlab.engines.schemas import VLLM_SERVER
from logitlab.engines.together import (
    Together,
    above_limit,
    at_least,
    needs_logprobs,
    needs_stream,
    number,
)
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.steps.allow import AllowedTokens, MinTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.sequences import BadWords
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.thinking import ThinkingBudget
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP

__all__ = ["vllm", "vllm_flashinfer", "vllm_triton"]


def _two(key: str) -> tuple[Rule, ...]:
    says = key + " must be in [-2, 2], got {}."
    return (Refuse(lambda value: not -2 <= value <= 2, "in [-2, 2]", says),)


def _has_no_sizes(value: Mapping[str, int]) -> bool:
    return not 0 <= value.get("min_pattern_size", 0) <= value.get("max_pattern_size", 0)


VLLM_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        Refuse(lambda t: t < 0, "non-negative", "temperature must be non-negative, got {}."),
        Refuse(lambda t: t > 2, "in [0, 2]", "temperature must be in [0, 2], got {}."),
        Clamp(low=0.01, unless=0),
    ),
    "top_p": (Refuse(lambda p: not 0 < p <= 1, "in (0, 1]", "top_p must be in (0, 1], got {}."),),
    "top_k": (
        Refuse(
            lambda k: k < -1,
            "0 (disable), or at least 1",
            "top_k must be 0 (disable), or at least 1, got {}.",
        ),
        Off(lambda k: k == -1, "-1"),
    ),
    "min_p": (Refuse(lambda p: not 0 <= p <= 1, "in [0, 1]", "min_p must be in [0, 1], got {}."),),
    "frequency_penalty": _two("frequency_penalty"),
    "presence_penalty": _two("presence_penalty"),
    "repetition_penalty": (
        Refuse(
            lambda r: r <= 0,
            "greater than zero",
            "repetition_penalty must be greater than zero, got {}.",
        ),
    ),
    "top_a": (Ignore(),),
    "logit_bias": (
        Clamp(-100, 100),
        InVocabulary(
            True,
            "token_id(s) {} in logit_bias contain out-of-vocab token ids. Vocabulary size: {V}",
            lists=True,
        ),
    ),
    "allowed_token_ids": (
        Refuse(
            lambda ids: not ids,
            "absent, or an array of at least one token id",
            "allowed_token_ids is not None and empty!",
        ),
        InVocabulary(True, "allowed_token_ids contains out-of-vocab token id!", lists=True),
    ),
    "stop_token_ids": (
        InVocabulary(
            True,
            "token_id(s) {} in stop_token_ids contain out-of-vocab token ids. Vocabulary size: {V}",
            lists=True,
        ),
    ),
    "bad_words": (
        Refuse(
            lambda words: "" in words,
            "free of empty texts",
            "bad_words cannot contain an empty string. Got bad_words={}",
        ),
        Refuse(
            lambda words: len(words) > 128,
            "an array of at most 128 words as tokens",
            "Too many bad words after tokenization: 129. The max number is 128.",
        ),
        InVocabulary(
            True,
            "The model vocabulary size is {V}, but the following tokens were specified as bad: {}. "
            "All token id values should be integers satisfying: 0 <= token_id <= {last}.",
            lists=True,
        ),
    ),
    "repetition_detection": (
        Refuse(
            _has_no_sizes,
            "a map with 0 <= min_pattern_size <= max_pattern_size",
            "max_pattern_size, min_pattern_size must be >=0, with min_pattern_size <= "
            "max_pattern_size. Set both to 0 to disable repetitive pattern detection.",
        ),
        Refuse(
            lambda value: value.get("max_pattern_size", 0) > 0 and value.get("min_count", 0) < 2,
            "a map with a min_count of at least 2",
            "min_count must be >= 2 to detect repetitive patterns in engine output. If you do not "
            "wish to detect repetitive patterns, set max_pattern_size to 0.",
        ),
    ),
    "thinking_token_budget": (
        Refuse(
            lambda budget: budget < -1,
            "a non-negative integer or -1 for unlimited",
            "`thinking_token_budget` must be a non-negative integer or -1 for unlimited.",
        ),
    ),
    "seed": (
        Refuse(
            lambda seed: seed >= 2**63,
            "in [-2**63, 2**63 - 1]",
            "Input should be less than or equal to 9223372036854775807",
        ),
        Refuse(
            lambda seed: seed < -(2**63),
            "in [-2**63, 2**63 - 1]",
            "Input should be greater than or equal to -9223372036854775808",
        ),
        Off(lambda seed: seed == -1, "-1"),
    ),
    "top_logprobs": (
        Refuse(
            lambda n: n < -1,
            "non-negative or -1",
            "`top_logprobs` must be a positive value or -1.",
        ),
    ),
}
VLLM_ENDINGS = (
    "eos_token_id",
    "stop_token_ids",
    "ignore_eos",
    "include_stop_str_in_output",
    "repetition_detection",
)
VLLM_DIALECT = Dialect(stops_after="named", holds_stops=True, has_two_limits=True)


def _too_many_logprobs(request: Mapping[str, Any]) -> bool:
    most, asked = request["max_logprobs"], number(request, "top_logprobs")
    return most != -1 and (asked > most or (asked == -1 and (request["V"] or 0) > most))


def _is_greedy(request: Mapping[str, Any]) -> bool:
    # A temperature below 0.01 is raised first.
    return number(request, "temperature", 1) == 0 and not request.get("use_beam_search")


_MAX_LOGPROBS = 20
_WITHOUT_STREAM = "Stream options can only be defined when `stream=True`."
VLLM_TOGETHER = (
    needs_stream(_WITHOUT_STREAM),
    needs_logprobs("when using `top_logprobs`, `logprobs` must be set to true."),
    *(
        Together(
            "top_logprobs",
            lambda request, is_all=is_all: (
                _too_many_logprobs(request)  # type: ignore[misc]
                and (request["top_logprobs"] == -1) == is_all
            ),
            "at most {max_logprobs}",
            f"Requested sample logprobs of {count}, which is greater than max allowed: "
            "{max_logprobs}",
        )
        for is_all, count in ((False, "{top_logprobs}"), (True, "{V}"))
    ),
    Together(
        "logprob_token_ids",
        lambda request: request["logprob_token_ids"] and request.get("use_beam_search"),
        "absent beside use_beam_search",
        "`logprob_token_ids` is not supported with beam search.",
    ),
    Together(
        "logprob_token_ids",
        lambda request: request["logprob_token_ids"] and not request.get("logprobs"),
        "absent unless logprobs is on",
        "when using `logprob_token_ids`, `logprobs` must be set to true.",
    ),
    Together(
        "prompt_logprobs",
        lambda request: request.get("stream") and number(request, "prompt_logprobs") != 0,
        "absent where the answer is streamed",
        "`prompt_logprobs` are not available when `stream=True`.",
    ),
    Together(
        "tools",
        lambda request: len(request["tools"]) == 0,
        "absent, or one at least",
        "`tools` must not be an empty array. Either provide at least one tool or omit the field "
        "entirely.",
    ),
    Together(
        "tool_choice",
        lambda request: request["tool_choice"] != "none" and "tools" not in request,
        "'none' or absent without tools",
        "When using `tool_choice`, `tools` must be set.",
    ),
    at_least("n", 1, "n must be at least 1, got {n}."),
    Together(
        "n",
        lambda request: number(request, "n") > 16384,
        "at most 16384",
        "n must be at most 16384, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES "
        "environment variable.",
    ),
    at_least("min_tokens", 0, "min_tokens must be greater than or equal to 0, got {min_tokens}."),
    Together(
        "min_tokens",
        above_limit,
        "less than or equal to max_tokens={max_tokens}",
        "min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.",
    ),
    Together(
        "n",
        lambda request: number(request, "n") > 1 and _is_greedy(request),
        "1 when using greedy sampling",
        "n must be 1 when using greedy sampling, got {n}.",
    ),
    Together(
        "use_beam_search",
        lambda request: request["use_beam_search"],
        "false",
        "a search for beams is not modelled here",
        goes_on=True,
    ),
)
VLLM_FILE = GenerationConfig(
    (
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "eos_token_id",
    )
)
VLLM_OPTIONS = generation_config() | {
    "max_logprobs": Option(_MAX_LOGPROBS, integers(-1), is_deployed=True)
}
_DECLARED: dict[str, Any] = {
    "together": VLLM_TOGETHER,
    "schema": VLLM_SERVER,
    "generation_config": VLLM_FILE,
    "dialect": VLLM_DIALECT,
    "endings": VLLM_ENDINGS,
}
_VLLM = "vllm/v1/sample/sampler.py, v1/sample/ops/topk_topp_sampler.py, sampling_params.py"
_VLLM_GPU = "vllm/v1/worker/gpu/sample/sampler.py, v1/sample/ops/topk_topp_triton.py"


def vllm_masks(p: Values) -> tuple[Step, ...]:
    """Return what comes before penalties: which tokens may come, and bias."""
    return (
        AllowedTokens(p.allowed_token_ids),
        BadWords(p.bad_words),
        MinTokens(p.min_tokens, (*p.eos_token_id, *p.stop_token_ids)),
        LogitBias(p.logit_bias),
    )


def _held(key: str, kind: str, most: int) -> tuple[Rule, ...]:
    """Return the rules of a list or a map of which Model Runner V2 holds so many entries."""
    rule = f"{kind} of at most {most} entries"
    limit = Refuse(lambda value: len(value) > most, rule, f"Model Runner V2 holds {most}")
    return limit, *VLLM_RULES[key]


_SERVED = VLLM_RULES | {
    "stop": (
        Refuse(
            lambda stop: len(stop) > 4,
            "an array of at most 4 strings",
            "List should have at most 4 items after validation",
        ),
    ),
}
_RUNNER_V2 = _SERVED | {
    "logit_bias": _held("logit_bias", "a map", 1024),
    "allowed_token_ids": _held("allowed_token_ids", "an array", 1024),
    "stop_token_ids": _held("stop_token_ids", "an array", 128),
}


def _thinking(p: Values, follows: str = "output") -> Step:
    start, end = p.thinking_markers
    return ThinkingBudget(p.thinking_token_budget, start, end, form="lifted", follows=follows)


def vllm_penalties(p: Values) -> tuple[Step, ...]:
    return (
        RepetitionPenalty(p.repetition_penalty, reciprocal=True),
        FrequencyPenalty(p.frequency_penalty, scope="output"),
        PresencePenalty(p.presence_penalty, scope="output"),
    )


@engine(
    title="vLLM 0.32.0, V1 sampler in torch",
    source=_VLLM,
    rules=_SERVED,
    options=VLLM_OPTIONS | DEVICE,
    luck=vllm_cpu,
    luck_note="on a CPU: mt19937 keys each step, SplitMix64 gives each token a Gumbel number",
    **_DECLARED,
)
def vllm(p: Values) -> Chain:
    """Return the chain of vLLM's V1 sampler where it sorts in torch: on CPUs, or without Triton.

    Only the repetition penalty counts the prompt. Min-p comes before top-k and top-p. Top-k keeps
    all ties; top-p adds up from below, and keeps those of equal tokens that torch's sort, made
    before top-k, leaves last: up to 16 tokens the highest ids, beyond those that introsort favours.
    With ``device="cuda"``, where that sort is stable, the highest ids in every row. Reported
    log-probabilities are the model's own. Temperature 0 is greedy; any other is at least 0.01.

    First come ``allowed_token_ids``, ``bad_words`` (in the output alone) and ``min_tokens``, which
    holds off the ends of a text and ``stop_token_ids``; a thinking budget comes after the
    penalties, and lifts the token that it forces to 1e9, removed or not. ``thinking_markers`` are
    what the server's reasoning parser has, ``eos_token_id`` is the model's.

    Its server takes the defaults of requests from the model's ``generation_config.json``, without
    a word: the option ``generation_config`` is that file, and without it none is assumed. The
    option ``max_logprobs`` is the server's flag of that name.
    """
    return OneSortChain(
        *vllm_masks(p),
        *vllm_penalties(p),
        _thinking(p),
        Temperature(p.temperature),
        MinP(p.min_p, space="probs"),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        precision="single",
    )


@engine(
    title="vLLM 0.32.0, Model Runner V2 with Triton",
    variant_of="vllm",
    source=_VLLM_GPU,
    rules=_RUNNER_V2,
    options=VLLM_OPTIONS,
    luck=triton_luck,
    luck_note="murmur3 of seed, position and token id, a Gumbel number a token",
    **_DECLARED,
)
def vllm_triton(p: Values) -> Chain:
    """Return the chain of vLLM's GPU runner where a request has a seed: cuts by Triton kernels.

    As `vllm`, but exactly k tokens survive top-k, and the lowest ids survive ties. This is the rule
    that the kernels follow but for limits, which are not imitated: a row whose logits are all
    equal is not cut; with top-k a token equal to the smallest finite logit is never kept; ties at
    the cut are recognised by a logit that went through exp and log, and all stay where that
    rounds; and top-p alone may not cut a row with outliers such as a bias of -100.
    """
    return Chain(
        *vllm_masks(p),
        *vllm_penalties(p),
        _thinking(p, "text"),
        Temperature(p.temperature),
        MinP(p.min_p),
        TopK(p.top_k),
        TopP(p.top_p),
        precision="single",
    )


_NO_SEED = "its draw has none, and vLLM goes over to vllm_triton for the batch of such a request"


@engine(
    title="vLLM 0.32.0, FlashInfer 0.7.2",
    variant_of="vllm",
    source="flashinfer/sampling.cuh, TopPSamplingFromProbKernel (read, not run)",
    rules=_SERVED | {"seed": (*_SERVED["seed"], Ignore(_NO_SEED))},
    options=VLLM_OPTIONS,
    luck_note="Philox and rejection: the seed of a request is not used",
    **_DECLARED,
)
def vllm_flashinfer(p: Values) -> Chain:
    """Return the chain of vLLM on CUDA where no request of the batch has a seed: FlashInfer cuts.

    As `vllm`, but all ties survive, at the k-th logit and at the edge of the nucleus. So the seed
    of one request changes how ties are broken in its neighbours.
    """
    return Chain(
        *vllm_masks(p),
        *vllm_penalties(p),
        _thinking(p, "text"),
        Temperature(p.temperature),
        MinP(p.min_p, space="probs"),
        TopK(p.top_k, ties="all"),
        TopP(p.top_p, ties="all"),
        precision="single",
    )
