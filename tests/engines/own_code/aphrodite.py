# ruff: noqa: E402 (what is set up between the imports is read by the imports that follow)
"""Aphrodite: its V1 sampler, which alone among vLLM's relatives has top_a.

The request is built as the server does (``SamplingParams.from_optional`` and ``verify``), put in
``v1/worker/gpu_input_batch.py InputBatch`` and handed to ``v1/sample/sampler.py Sampler``.
"""

from __future__ import annotations

import os

os.environ.setdefault("APHRODITE_LOGGING_LEVEL", "ERROR")

from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from aphrodite.utils import torch_utils

from . import Array, Case

torch_utils.PIN_MEMORY = False  # the package is built for CUDA; read when the modules below load

from aphrodite.exceptions import AphroditeValidationError
from aphrodite.sampling_params import SamplingParams
from aphrodite.v1.sample.logits_processor import build_logitsprocs
from aphrodite.v1.sample.sampler import Sampler
from aphrodite.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

VERSIONS = {"aphrodite-engine": version("aphrodite-engine"), "torch": version("torch")}
VARIANTS = ("v1",)

REQUEST_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "top_a",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
)
CPU = torch.device("cpu")
CONFIG = SimpleNamespace(
    scheduler_config=SimpleNamespace(max_num_seqs=1),
    speculative_config=None,
)

torch.set_num_threads(1)


def run(case: Case, variant: str) -> Array | str:
    """Return the final probabilities, the engine's refusal, or "NaN row"."""
    try:
        params = _sampling_params(case.params, case.logits.size)
    except (AphroditeValidationError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    metadata = replace(_batch(case, params).sampling_metadata, max_num_logprobs=-1)  # the whole row
    logits = torch.tensor(case.logits, dtype=torch.float32)[None]
    result = Sampler("processed_logprobs").forward(logits, metadata)
    logprobs = result.logprobs_tensors.logprobs[0]
    if bool(torch.isnan(logprobs).any()):
        return "NaN row"
    if metadata.all_greedy:
        probabilities = np.zeros(case.logits.size)
        probabilities[int(result.sampled_token_ids)] = 1.0
        return probabilities
    return np.asarray(torch.softmax(logprobs.double(), dim=-1).numpy())


def _sampling_params(request: dict[str, Any], vocab_size: int) -> Any:
    """Build and check the parameters as the API server does (``sampling_params.py``)."""
    known = {key: request[key] for key in REQUEST_KEYS if key in request}
    params = SamplingParams.from_optional(**known, logprobs=-1)
    model = SimpleNamespace(
        max_logprobs=-1,
        is_diffusion=False,
        logits_processors=None,
        get_vocab_size=lambda: vocab_size,
    )
    params.verify(model, None, None, None)
    return params


def _batch(case: Case, params: Any) -> Any:
    """Return the V1 batch of one request."""
    length = max(1, len(case.prompt) + len(case.output))
    batch = InputBatch(
        max_num_reqs=1,
        max_model_len=length,
        max_num_batched_tokens=length,
        device=CPU,
        vocab_size=case.logits.size,
        block_sizes=[16],
        kernel_block_sizes=[16],
        max_num_blocks_per_req=[1],
        logitsprocs=build_logitsprocs(CONFIG, CPU, is_pin_memory=False, is_pooling_model=False),
    )
    request = CachedRequestState(
        req_id="request",
        prompt_token_ids=list(case.prompt),
        mm_features=[],
        sampling_params=params,
        generator=None,
        block_ids=([],),
        num_computed_tokens=0,
        output_token_ids=list(case.output),
    )
    batch.add_request(request)
    batch.refresh_metadata()
    return batch
