# ruff: noqa: E402 (what is set up between the imports is read by the imports that follow)
"""SGLang: penalties, logit bias and sampler of its pytorch backend.

A request becomes ``srt/sampling/sampling_batch_info.py SamplingBatchInfo``, its history is fed to
``srt/sampling/penaltylib``, and the logits pass ``SamplingBatchInfo.apply_logits_bias`` and
``srt/layers/sampler.py Sampler.forward``, as in ``ModelRunner.sample``.

``torch`` feeds the whole output to the penalties. ``lag`` feeds what the overlap scheduler does
(``ScheduleBatch.cumulate_penalty_output_tokens``): nothing at prefill; at the first decode, before
the prefill's result has arrived, the last prompt token; and then always one token behind.
A request alone in its batch with a top_k is cut by ``torch.topk``, which keeps tied tokens in no
stated order; as soon as one neighbour has no top_k, ``max_top_k`` is None and the sampler sorts.
Here every batch is sorted. (torch's sort is itself stable only up to 16 tokens.)
``deterministic`` (draws only) is the server's ``--enable-deterministic-inference``.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported: the hash is a Triton kernel
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # run the engine's functions as written, not compiled

import sys
from contextlib import contextmanager
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from . import Array, Case

if TYPE_CHECKING:
    from collections.abc import Iterator


TOKENIZER = SimpleNamespace(additional_stop_token_ids=set(), eos_token_id=None)


class Batch:
    """One request, with the two attributes of a ``ScheduleBatch`` that sampling reads."""

    def __init__(self, params: Any, eos: list[int]) -> None:
        self.device = "cpu"
        self.reqs = [
            SimpleNamespace(
                sampling_params=params,
                custom_logit_processor=None,
                return_sampling_mask=False,
                eos_token_ids=set(eos),
                tokenizer=TOKENIZER,
            )
        ]


def _stub(name: str, **attributes: Any) -> None:
    """Stand in for a module of types and process groups that would import half the server."""
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


_stub("sglang.srt.managers.schedule_batch", ScheduleBatch=Batch)
_stub("sglang.srt.layers.dp_attention", is_dp_attention_enabled=lambda: False)
_stub("sglang.srt.layers.logprob_processor", OutputLogprobProcessor=object)
_stub(
    "sglang.srt.layers.logits_processor",
    LogitsProcessorOutput=object,
    SamplingMaskOutput=object,
    SamplingMaskStatus=object,
)

from sglang.kernels.ops.sampling.murmur_hash import murmur_hash32_kernel
from sglang.srt.layers import sampler as sampler_module
from sglang.srt.runtime_context import get_context, get_parallel
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo
from sglang.srt.sampling.sampling_params import SamplingParams

VERSIONS = {"sglang": version("sglang"), "triton": version("triton"), "torch": version("torch")}
VARIANTS = ("torch", "lag")

REQUEST_KEYS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logit_bias": "logit_bias",
    "seed": "sampling_seed",
    "min_tokens": "min_new_tokens",
    "max_tokens": "max_new_tokens",
    "stop_token_ids": "stop_token_ids",
    "ignore_eos": "ignore_eos",
}

torch.set_num_threads(1)

DETERMINISTIC = SimpleNamespace(enable_deterministic_inference=False, rl_on_policy_target=None)
get_context()._config_bags = {
    "exec": SimpleNamespace(
        deterministic=DETERMINISTIC,
        kernel=SimpleNamespace(sampling_backend="pytorch"),
        features=SimpleNamespace(
            sampling_mask_max_tokens=None,
            enable_custom_logit_processor=False,
            enable_watermark=False,
        ),
    )
}


def run(case: Case, variant: str) -> Array | str:
    """Return the final probabilities that ``variant`` draws from, or its refusal."""
    try:
        params = _sampling_params(case.params, case.logits.size)
    except ValueError as error:
        return f"ValueError: {error}"
    batch = Batch(params, case.params.get("eos_token_id", []))
    info = SamplingBatchInfo.from_schedule_batch(batch, case.logits.size)
    _cumulate(info, _lagged(case) if variant == "lag" else case.output)
    with _every_column() as weights:
        tokens, logits = _forward(case, info)
    probabilities: Array = np.zeros(case.logits.size)
    if info.is_all_greedy:
        probabilities[tokens] = 1.0
    elif weights:
        probabilities[tokens] = weights[0]
    else:  # nothing was filtered: the sampler left its softmax in place of the logits
        probabilities[:] = logits[0]
    probabilities /= probabilities.sum()
    return probabilities


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int]:
    """Return the tokens drawn at ``steps`` positions; ``variant`` is "deterministic"."""
    if variant != "deterministic":
        raise ValueError(f"draws of {variant!r} follow torch's global generator, not a seed")
    params = _sampling_params({**case.params, "seed": seed}, case.logits.size)
    batch = Batch(params, case.params.get("eos_token_id", []))
    output = list(case.output)
    with patch.object(DETERMINISTIC, "enable_deterministic_inference", True):
        info = SamplingBatchInfo.from_schedule_batch(batch, case.logits.size)
        _cumulate(info, output)
        for _ in range(steps):
            position = len(case.prompt) + len(output) - 1
            token = int(_forward(case, info, position)[0])
            output.append(token)
            _cumulate(info, [token])
    return output[len(case.output) :]


def _sampling_params(request: dict[str, Any], vocab_size: int) -> Any:
    """Build and check the parameters as the tokenizer manager does (``sampling_params.py``)."""
    known = {name: request[key] for key, name in REQUEST_KEYS.items() if key in request}
    params = SamplingParams(**{"max_new_tokens": None, **known})
    params.normalize(TOKENIZER)
    params.verify(vocab_size)
    return params


def _lagged(case: Case) -> list[int]:
    """Return the history that the overlap scheduler has counted when it samples."""
    return case.prompt[-1:] + case.output[:-1] if case.output else []


def _cumulate(info: Any, tokens: list[int]) -> None:
    for token in tokens:
        info.penalizer_orchestrator.cumulate_output_tokens(torch.tensor([token]))


def _forward(case: Case, info: Any, position: int = 0) -> tuple[Any, Any]:
    """Run one step; return the sampler's tokens, and what it left in the row of logits."""
    info = info.copy_for_forward()
    info.max_top_k = None
    row = SimpleNamespace(next_token_logits=torch.tensor(case.logits, dtype=torch.float32)[None])
    info.apply_logits_bias(row.next_token_logits)
    with get_parallel().override(tp_group=SimpleNamespace(device_group=None)):
        sampler = sampler_module.Sampler()
    tokens = sampler(row, info, False, [0], [None], torch.tensor([position]))
    return tokens, row.next_token_logits


@contextmanager
def _every_column() -> Iterator[list[Array]]:
    """Let ``torch.multinomial`` note its weights and draw every column, in order.

    The sampler then returns the token of each weight.
    """
    seen: list[Array] = []

    def multinomial(weights: Any, num_samples: int) -> Any:
        seen.append(weights[0].numpy().copy())
        return torch.arange(weights.shape[1])[None]

    with patch.object(torch, "multinomial", multinomial):
        yield seen


def _murmur_hash32(seed: Any, positions: Any, columns: Any) -> Any:
    """Launch SGLang's Triton kernel as its ``murmur_hash32`` does on a GPU."""
    rows, width, block = seed.shape[0], columns.shape[0], 1024
    hashed = torch.empty((rows, width), dtype=torch.uint32)
    grid = (rows, -(-width // block))
    murmur_hash32_kernel[grid](seed, positions, columns, hashed, rows, width, BLOCK_SIZE=block)
    return hashed


sampler_module.murmur_hash32 = _murmur_hash32
