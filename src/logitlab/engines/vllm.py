"""vLLM, with the three ways it cuts."""

from __future__ import annotations

from logitlab.engines.dialect import Dialect
from logitlab.engines.draws import vllm_cpu, vllm_triton as triton_luck
from logitlab.engines.engine import engine
from logitlab.engines.rules import Clamp, Ignore, InVocabulary, Off, Refuse, Rule, Values
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.penalties import FrequencyPenalty, PresencePenalty, RepetitionPenalty
from logitlab.steps.step import Step
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP
from logitlab.steps.truncation import TopK, TopP

__all__ = ["vllm", "vllm_flashinfer", "vllm_triton"]


def _two(key: str) -> tuple[Rule, ...]:
    says = key + " must be in [-2, 2], got {}."
    return (Refuse(lambda value: not -2 <= value <= 2, "in [-2, 2]", says),)


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
    "seed": (Off(lambda seed: seed == -1, "-1"),),
    "top_logprobs": (
        Refuse(
            lambda n: n < -1,
            "non-negative or -1",
            "logprobs must be non-negative or -1, got {}.",
        ),
        Refuse(
            lambda n: n > 20,
            "at most 20",
            "Requested sample logprobs of {}, which is greater than max allowed: 20",
        ),
    ),
}
VLLM_DIALECT = Dialect(stops_after="named")
_VLLM = "vllm/v1/sample/sampler.py, v1/sample/ops/topk_topp_sampler.py, sampling_params.py"
_VLLM_GPU = "vllm/v1/worker/gpu/sample/sampler.py, v1/sample/ops/topk_topp_triton.py"


def vllm_penalties(p: Values) -> tuple[Step, ...]:
    return (
        RepetitionPenalty(p.repetition_penalty, reciprocal=True),
        FrequencyPenalty(p.frequency_penalty, scope="output"),
        PresencePenalty(p.presence_penalty, scope="output"),
    )


@engine(
    title="vLLM 0.32.0, V1 sampler in torch",
    source=_VLLM,
    rules=VLLM_RULES,
    options=DEVICE,
    luck=vllm_cpu,
    luck_note="on a CPU: mt19937 keys each step, SplitMix64 gives each token a Gumbel number",
    dialect=VLLM_DIALECT,
)
def vllm(p: Values) -> Chain:
    """Return the chain of vLLM's V1 sampler where it sorts in torch: on CPUs, or without Triton.

    Only the repetition penalty counts the prompt. Min-p comes before top-k and top-p. Top-k keeps
    all ties; top-p adds up from below, and keeps those of equal tokens that torch's sort, made
    before top-k, leaves last: up to 16 tokens the highest ids, beyond those that introsort favours.
    With ``device="cuda"``, where that sort is stable, the highest ids in every row. Reported
    log-probabilities are the model's own. Temperature 0 is greedy; any other is at least 0.01.
    """
    return OneSortChain(
        LogitBias(p.logit_bias),
        *vllm_penalties(p),
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
    rules=VLLM_RULES
    | {
        "logit_bias": (
            Refuse(
                lambda bias: len(bias) > 1024,
                "a map of at most 1024 entries",
                "Model Runner V2 holds 1024",
            ),
            *VLLM_RULES["logit_bias"],
        )
    },
    luck=triton_luck,
    luck_note="murmur3 of seed, position and token id, a Gumbel number a token",
    dialect=VLLM_DIALECT,
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
        LogitBias(p.logit_bias),
        *vllm_penalties(p),
        Temperature(p.temperature),
        MinP(p.min_p),
        TopK(p.top_k),
        TopP(p.top_p),
        precision="single",
    )


@engine(
    title="vLLM 0.32.0, FlashInfer 0.7.2",
    variant_of="vllm",
    source="flashinfer/sampling.cuh, TopPSamplingFromProbKernel (read, not run)",
    rules=VLLM_RULES,
    luck_note="Philox and rejection: the seed of a request is not used",
    dialect=VLLM_DIALECT,
)
def vllm_flashinfer(p: Values) -> Chain:
    """Return the chain of vLLM on CUDA where no request of the batch has a seed: FlashInfer cuts.

    As `vllm`, but all ties survive, at the k-th logit and at the edge of the nucleus. So the seed
    of one request changes how ties are broken in its neighbours.
    """
    return Chain(
        LogitBias(p.logit_bias),
        *vllm_penalties(p),
        Temperature(p.temperature),
        MinP(p.min_p, space="probs"),
        TopK(p.top_k, ties="all"),
        TopP(p.top_p, ties="all"),
        precision="single",
    )
