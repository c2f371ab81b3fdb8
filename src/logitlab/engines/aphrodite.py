"""Aphrodite, which grew out of vLLM."""

from __future__ import annotations

from logitlab.engines.engine import engine
from logitlab.engines.generation_config import GenerationConfig
from logitlab.engines.rules import Refuse, Values
from logitlab.engines.schemas import VLLM_SERVER
from logitlab.engines.torch_sort import DEVICE, ascending_top_p
from logitlab.engines.vllm import (
    VLLM_DIALECT,
    VLLM_OPTIONS,
    VLLM_RULES,
    VLLM_TOGETHER,
    vllm_penalties,
)
from logitlab.steps.bias import LogitBias
from logitlab.steps.candidate_order.one_sort import OneSortChain
from logitlab.steps.chain import Chain
from logitlab.steps.temperature import Temperature
from logitlab.steps.threshold import MinP, TopA
from logitlab.steps.truncation import TopK

__all__ = ["aphrodite", "aphrodite_once"]

_APHRODITE = VLLM_RULES | {
    "top_a": (Refuse(lambda a: a < 0, "non-negative", "top_a must be non-negative, got {}."),)
}
_APHRODITE_FILE = GenerationConfig(("repetition_penalty", "temperature", "top_k", "top_p", "min_p"))
_APHRODITE_SOURCE = "aphrodite/v1/sample/sampler.py, v1/sample/ops/top_a.py, sampling_params.py"


def _aphrodite(p: Values, times: int) -> Chain:
    return OneSortChain(
        LogitBias(p.logit_bias),
        *vllm_penalties(p) * times,
        Temperature(p.temperature),
        # Temperature 0 switches off what truncates, and top-a is the one that would not notice.
        TopA(p.top_a if p.temperature else 0, space="probs", guard=False),
        MinP(p.min_p, space="probs"),
        TopK(p.top_k, ties="all"),
        ascending_top_p(p),
        precision="single",
    )


@engine(
    title="Aphrodite 0.24.1, V1 sampler",
    source=_APHRODITE_SOURCE,
    rules=_APHRODITE,
    together=VLLM_TOGETHER,
    schema=VLLM_SERVER,
    generation_config=_APHRODITE_FILE,
    options=VLLM_OPTIONS | DEVICE,
    luck_note="as vLLM's, which was not checked here",
    dialect=VLLM_DIALECT,
)
def aphrodite(p: Values) -> Chain:
    """Return the chain of Aphrodite's V1 sampler, which applies all penalties twice.

    Both `SamplingOps.apply_logits_processors` and `Sampler._apply_sampler_order` call
    `apply_penalties`: a presence penalty of 0.5 subtracts 1. `aphrodite_once` shows what was
    meant. Top-a acts on the tempered distribution, before the other truncations, and without a
    guard: above ``1 / p_max`` it leaves a row of NaN, which is an error here. Equal tokens at the
    edge of the nucleus go as in `vllm`, and ``device`` is as there. The option
    ``generation_config`` is the file of that name beside a model, which replaces defaults there.
    """
    return _aphrodite(p, 2)


@engine(
    title="Aphrodite 0.24.1, penalties once",
    variant_of="aphrodite",
    source=_APHRODITE_SOURCE,
    rules=_APHRODITE,
    together=VLLM_TOGETHER,
    schema=VLLM_SERVER,
    generation_config=_APHRODITE_FILE,
    options=VLLM_OPTIONS | DEVICE,
    luck_note="as vLLM's, which was not checked here",
    dialect=VLLM_DIALECT,
)
def aphrodite_once(p: Values) -> Chain:
    """Return the chain of `aphrodite` without its second round of penalties."""
    return _aphrodite(p, 1)
