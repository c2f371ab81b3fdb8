"""SGLang: penalties of the output alone, bias after them, top-k and top-p at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from logitlab.checks import FrozenDict, ParameterError, Range, check_choice, check_integer
from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import sglang as sglang_luck
from logitlab.engines.generation_config import GenerationConfig, generation_config
from logitlab.engines.registry import engine
from logitlab.engines.rules import Greedy, Ignore, Off, Option, Refuse, Rename, Rule, Values
from logitlab.engines.schemas import SGLANG_SERVER
from logitlab.engines.together import Together, above_limit, at_least
from logitlab.engines.torch_sort import DEVICE, descending_ties
from logitlab.engines.vocabulary_rules import InVocabulary
from logitlab.request import tokens
from logitlab.steps.allow import MinTokens, SuppressTokens
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.ngrams import NoRepeatNgram
from logitlab.steps.penalties import AdditivePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.thinking import ThinkingBudget
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP

__all__ = ["sglang", "sglang_flashinfer", "sglang_flashinfer_sequential", "sglang_lag"]


def _must_be(key: str, rule: str, wrong: Callable[[Any], bool]) -> Refuse:
    return Refuse(wrong, rule, f"{key} must be {rule}, got {{}}.")


_SGLANG_RULES: dict[str, tuple[Rule, ...]] = {
    "temperature": (
        _must_be("temperature", "a non-negative finite number", lambda t: t < 0),
        Greedy(1e-6),
    ),
    "top_p": (_must_be("top_p", "in (0, 1]", lambda p: not 0 < p <= 1),),
    "top_k": (
        _must_be("top_k", "-1 (disable) or at least 1", lambda k: k < 1 and k != -1),
        Off(lambda k: k == -1, "-1"),
    ),
    "min_p": (_must_be("min_p", "in [0, 1]", lambda p: not 0 <= p <= 1),),
    "frequency_penalty": (_must_be("frequency_penalty", "in [-2, 2]", lambda a: not -2 <= a <= 2),),
    "presence_penalty": (_must_be("presence_penalty", "in [-2, 2]", lambda a: not -2 <= a <= 2),),
    "repetition_penalty": (
        _must_be("repetition_penalty", "in (0, 2] (1.0 = no penalty)", lambda r: not 0 < r <= 2),
    ),
    "top_a": (Ignore(),),
    "logit_bias": (InVocabulary(True, "logit_bias must has keys in [0, {last}], got {}."),),
    "seed": (
        Refuse(
            lambda seed: not -(2**63) <= seed < 2**63,
            "in [-2**63, 2**63 - 1]",
            "sampling_seed must be in [-2**63, 2**63 - 1], got {}.",
        ),
        Ignore(
            "it draws by seed only with --enable-deterministic-inference",
            "without --enable-deterministic-inference",
        ),
    ),
    "include_stop_str_in_output": (Rename("no_stop_trim", "its name there"),),
}


def _grammars(request: Mapping[str, Any]) -> bool:
    form = request.get("response_format", {"type": "text"})
    return [form["type"] != "text", "regex" in request, "ebnf" in request].count(True) > 1


_ONE_GRAMMAR = "Only one of json_schema, regex, ebnf, or structural_tag can be set."
_TOGETHER = (
    at_least("min_tokens", 0, "min_new_tokens must be in [0, max_new_tokens], got {min_tokens}."),
    Together(
        "min_tokens",
        above_limit,
        "at most max_tokens={max_tokens}",
        "min_new_tokens must be in [0, max_new_tokens({max_tokens})], got {min_tokens}.",
    ),
    *(Together(key, _grammars, "the only grammar", _ONE_GRAMMAR) for key in ("regex", "ebnf")),
)
_FILE = GenerationConfig(
    ("repetition_penalty", "temperature", "top_k", "top_p", "min_p", "eos_token_id"),
    lambda limit: None,
)
_SGLANG = (
    "sglang/srt/layers/sampler.py, srt/sampling/sampling_batch_info.py, srt/sampling/penaltylib"
)
_SGLANG_LUCK = "with --enable-deterministic-inference: murmur3 of seed, position and rank, Gumbel"

# Start and end of thinking, and the token that has to stand before its end.
_THINKERS = {
    "Glm4MoeThinkingBudgetLogitProcessor": (151350, 151351, 198),
    "Qwen3ThinkingBudgetLogitProcessor": (151667, 151668, 198),
    "DeepSeekR1ThinkingBudgetLogitProcessor": (128798, 128799, 201),
    "InklingThinkingBudgetLogitProcessor": (200008, 200010, 198),
}
_MARKS = ("thinking_start_token_id", "thinking_end_token_id", "new_line_token_id")
_PROCESSORS = (
    *("DisallowedTokensLogitsProcessor", "DeepseekOCRNoRepeatNGramLogitProcessor"),
    *("ThinkingBudgetLogitProcessor", *_THINKERS),
)


def _processor_name(key: str, value: Any) -> str:
    check_choice(key, value, _PROCESSORS)
    return str(value)


def _custom_params(key: str, value: Any) -> Mapping[str, Any]:
    """Take what the processors of the package read."""
    if not isinstance(value, Mapping):
        raise ParameterError(key, "a map", value)
    known: dict[str, Any] = {}
    for name, each in value.items():
        if name in ("token_ids", "whitelist_token_ids"):
            known[name] = tokens.ids(f"{key}.{name}", each)
        elif name in (*_MARKS, "ngram_size", "window_size", "thinking_budget"):
            known[name] = check_integer(f"{key}.{name}", each, Range(integer=True))
        else:
            raise ParameterError(key, "free of what no processor of SGLang's own reads", name)
    return FrozenDict(known)


_ALIASES = {"min_new_tokens": "min_tokens", "no_stop_trim": "include_stop_str_in_output"}
_CUSTOM = {
    "custom_logit_processor": Option(
        "", _processor_name, lambda value: "no processor of the package has that name"
    ),
    "custom_params": Option(FrozenDict({}), _custom_params),
}
_DECLARED: dict[str, Any] = {
    "rules": _SGLANG_RULES,
    "together": _TOGETHER,
    "schema": SGLANG_SERVER,
    "generation_config": _FILE,
    "options": generation_config() | _CUSTOM,
    "aliases": _ALIASES,
    "endings": ("eos_token_id", "stop_token_ids", "ignore_eos", "include_stop_str_in_output"),
    "dialect": Dialect(ignores_stops=True),
    "logprobs": "tempered",
}
_IN_TORCH = _DECLARED | {
    "options": generation_config() | DEVICE | _CUSTOM,
    "luck": sglang_luck,
    "luck_note": _SGLANG_LUCK,
    "default_seed": 42,
}
_IN_FLASHINFER = _DECLARED | {
    "luck_note": "Philox and rejection: the seed of a request is not used",
}


def _custom(p: Values) -> tuple[Step, ...]:
    """Return the processor that a request brings, where it is one of the package."""
    name, given = p.custom_logit_processor, p.custom_params
    if name.startswith("Disallowed"):
        return (SuppressTokens(given.get("token_ids", ())),)
    if name.startswith("DeepseekOCR"):
        size, window = max(given.get("ngram_size", 0), 0), given.get("window_size", 0)
        allowed = given.get("whitelist_token_ids", ())
        return (NoRepeatNgram(size, window, allowed, guard=False),) if window > 0 else ()
    if not name:
        return ()
    start, end, newline = _THINKERS.get(name) or (given.get(mark, 0) for mark in _MARKS)
    budget = max(given.get("thinking_budget", -1), -1)
    return (ThinkingBudget(budget, (start,), (end,), newline, form="zero"),)


def _before_truncation(p: Values, scope: str) -> tuple[Step, ...]:
    return (
        MinTokens(p.min_tokens, (*p.eos_token_id, *p.stop_token_ids)),
        AdditivePenalty(p.frequency_penalty, p.presence_penalty, scope, by_ones=True),
        RepetitionPenalty(p.repetition_penalty, scope=scope),
        LogitBias(p.logit_bias),
        *_custom(p),
        Temperature(p.temperature),
    )


def _torch(p: Values, scope: str) -> Chain:
    ties = descending_ties(p)
    return OneSortChain(
        *_before_truncation(p, scope),
        TopP(p.top_p, ties=ties, at_p="keep"),
        TopK(p.top_k, ties=ties),
        MinP(p.min_p, space="probs"),
        precision="single",
        sorts="probs",
    )


def _sequential(p: Values) -> Chain:
    return Chain(
        *_before_truncation(p, "output"),
        TopK(p.top_k, ties="all"),
        TopP(p.top_p, ties="all"),
        MinP(p.min_p, space="probs"),
        precision="single",
    )


@engine(
    title="SGLang 0.5.23, pytorch backend",
    source=_SGLANG,
    **_IN_TORCH,
)
def sglang(p: Values) -> Chain:
    """Return the chain of SGLang's pytorch backend without the overlap scheduler.

    All penalties count the output alone, the additive ones first; the bias comes after them. Top-k
    and top-p are joint: both look at the whole distribution, which is the same as top-p before
    top-k. A token stays if those before it hold exactly top_p. Of equal tokens those stay that
    torch's sort of the probabilities leaves first: up to 16 tokens the lowest ids, beyond those
    that introsort favours. With ``device="cuda"``, where that sort is stable, the lowest ids in
    every row. Reported log-probabilities have penalties, bias and temperature in them.
    Temperatures below 1e-6 are greedy.

    Before ``min_tokens`` (``min_new_tokens`` at its own endpoint) neither an end of a text nor any
    of ``stop_token_ids`` is drawn. ``custom_logit_processor`` is the name of one of the package's
    own, where its server takes a serialised object and wants ``--enable-custom-logit-processor``;
    ``custom_params`` are what it reads. ``ThinkingBudgetLogitProcessor`` has no ids of its own,
    which are three more of these here: ``thinking_start_token_id``, ``thinking_end_token_id`` and
    ``new_line_token_id``. Another processor is a step of one's own in a chain.

    Its server takes defaults from the model's ``generation_config.json``, without a word: the
    option ``generation_config`` is that file, and without it none is assumed.
    """
    return _torch(p, "output")


@engine(
    title="SGLang 0.5.23, pytorch backend, overlap scheduler",
    variant_of="sglang",
    source=_SGLANG + ", srt/managers/schedule_batch.py",
    **_IN_TORCH,
)
def sglang_lag(p: Values) -> Chain:
    """Return the chain of `sglang` with the history that its default scheduler feeds to penalties.

    Tokens are counted before the newest one has arrived: the last token of the prompt takes the
    place of the output's newest. ``--disable-overlap-schedule`` gives the chain of `sglang`.
    """
    return _torch(p, "lagged")


@engine(
    title="SGLang 0.5.23, FlashInfer 0.7.2",
    variant_of="sglang",
    source="flashinfer/sampling.cuh, sglang/srt/layers/sampler.py (read, not run)",
    **_IN_FLASHINFER,
)
def sglang_flashinfer(p: Values) -> Chain:
    """Return the chain of SGLang on CUDA: top-k and top-p joint, all ties kept.

    A request with min_p makes the whole batch sequential: `sglang_flashinfer_sequential`.
    """
    if p.min_p:
        return _sequential(p)
    return Chain(
        *_before_truncation(p, "output"),
        TopP(p.top_p, ties="all"),
        TopK(p.top_k, ties="all"),
        precision="single",
    )


@engine(
    title="SGLang 0.5.23, FlashInfer 0.7.2, min_p in the batch",
    variant_of="sglang",
    source="flashinfer/sampling.cuh, sglang/srt/layers/sampler.py (read, not run)",
    **_IN_FLASHINFER,
)
def sglang_flashinfer_sequential(p: Values) -> Chain:
    """Return the chain of SGLang on CUDA where any request of the batch has min_p.

    Then top-k is renormalised before top-p: the min_p of a neighbour narrows the nucleus.
    """
    return _sequential(p)
