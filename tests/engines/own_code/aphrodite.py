# ruff: noqa: E402 (what is set up between the imports is read by the imports that follow)
"""Aphrodite: its V1 sampler, which alone among vLLM's relatives has samplers beyond vLLM's.

The request is built as the server does (``SamplingParams.from_optional`` and ``verify``), put in
``v1/worker/gpu_input_batch.py InputBatch`` and handed to ``v1/sample/sampler.py Sampler``.

* XTC tosses its coin on torch's global generator: here it falls as ``acts`` says.
* Mirostat draws inside, on that generator: what it draws from is recorded where it does.
* DRY scans the history in compiled code of the package, which is built for CUDA but for the
  function itself. Empty libraries of these names let it load: that needs a C compiler, ``cc``.
"""

from __future__ import annotations

import ctypes
import os
import subprocess

os.environ.setdefault("APHRODITE_LOGGING_LEVEL", "ERROR")

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from aphrodite.utils import torch_utils

from . import Array, Case, Drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

torch_utils.PIN_MEMORY = False  # the package is built for CUDA; read when the modules below load

from aphrodite.exceptions import AphroditeValidationError
from aphrodite.sampling_params import SamplingParams
from aphrodite.v1.sample.logits_processor import build_logitsprocs
from aphrodite.v1.sample.sampler import Sampler
from aphrodite.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

VERSIONS = {"aphrodite-engine": version("aphrodite-engine"), "torch": version("torch")}
VARIANTS = ("v1",)

REQUEST_KEYS = (
    *("temperature", "top_p", "top_k", "top_a", "min_p", "repetition_penalty", "seed"),
    *("frequency_penalty", "presence_penalty", "logit_bias", "allowed_token_ids", "min_tokens"),
    *("stop_token_ids", "ignore_eos", "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs", "nsigma"),
    *("xtc_probability", "xtc_threshold", "smoothing_factor", "smoothing_curve", "skew"),
    *("temperature_last", "dynatemp_min", "dynatemp_max", "dynatemp_exponent"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_range", "dry_max_ngram"),
    *("dry_max_occurrences", "dry_early_exit_match_len", "dry_sequence_breaker_ids"),
    *("no_repeat_ngram_size", "mirostat_mode", "mirostat_tau", "mirostat_eta"),
)
# Documented names -> its own.
OTHERS = {
    "top_n_sigma": "nsigma",
    "mirostat": "mirostat_mode",
    "dry_penalty_last_n": "dry_range",
}
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
    answer: Array | str = _step(case, params, {})[0]
    return answer


def follow(case: Case, variant: str, seed: int, rows: list[Array]) -> list[Drawn]:
    """Return what mirostat draws at successive positions of these rows."""
    params = _sampling_params(case.params, case.logits.size)
    torch.manual_seed(seed)
    kept: dict[str, Any] = {}
    output, told = list(case.output), []
    for row in rows:
        answer, token, kept = _step(Case(row, case.params, case.prompt, output), params, kept)
        told.append(Drawn(token, int(np.count_nonzero(answer)), float(answer[token])))
        output = [*output, token]
    return told


def _step(case: Case, params: Any, kept: dict[str, Any]) -> tuple[Any, int, dict[str, Any]]:
    """Run one step; return probabilities or "NaN row", the token, and what is kept for the next."""
    batch = _batch(case, params)
    if "miro_mu" in kept:
        batch.persistent_data[0]["miro_mu"] = kept["miro_mu"]
    metadata = replace(batch.sampling_metadata, max_num_logprobs=-1)  # the whole row
    logits = torch.tensor(case.logits, dtype=torch.float32)[None]
    drawn: list[Any] = []
    coin = float(not case.acts) * (params.xtc_probability < 1)
    with _weights_of_draws(drawn), patch.object(torch, "rand_like", lambda x: x * 0 + coin):
        result = Sampler("processed_logprobs").forward(logits, metadata)
    token, kept = int(result.sampled_token_ids), metadata.persistent_data[0]
    probabilities = np.zeros(case.logits.size)
    if "miro_mu" in kept:
        return drawn[0][0].double().numpy(), token, kept
    logprobs = result.logprobs_tensors.logprobs[0]
    if bool(torch.isnan(logprobs).any()):
        return "NaN row", token, kept
    if metadata.all_greedy:
        probabilities[token] = 1.0
        return probabilities, token, kept
    return np.asarray(torch.softmax(logprobs.double(), dim=-1).numpy()), token, kept


@contextmanager
def _weights_of_draws(drawn: list[Any]) -> Iterator[None]:
    """Let ``torch.multinomial`` note what it draws from."""
    multinomial = torch.multinomial

    def noting(weights: Any, *args: Any, **kwargs: Any) -> Any:
        drawn.append(weights.clone())
        return multinomial(weights, *args, **kwargs)

    with patch.object(torch, "multinomial", noting):
        yield


def _sampling_params(request: dict[str, Any], vocab_size: int) -> Any:
    """Build and check the parameters as the API server does (``sampling_params.py``)."""
    named = {OTHERS.get(key, key): value for key, value in request.items()}
    known = {key: named[key] for key in REQUEST_KEYS if key in named}
    params = SamplingParams.from_optional(**known, max_tokens=None, logprobs=-1)
    if "bad_words" in request:  # as ids, which its tokenizer would give
        params._bad_words_token_ids = request["bad_words"]
    if "eos_token_id" in request:
        params.update_from_generation_config({"eos_token_id": request["eos_token_id"]})
    model = SimpleNamespace(
        max_logprobs=-1,
        is_diffusion=False,
        logits_processors=None,
        get_vocab_size=lambda: vocab_size,
    )
    params.verify(model, None, None, None)
    if params.dry_multiplier:
        _load_compiled()
    return params


# What a library of CUDA code calls when it is loaded.
_REGISTERS = ["FatBinary", "FatBinaryEnd", "Function", "Var", "HostVar", "Managed", "ManagedVar"]
_SOURCE = "".join(f"void *__cudaRegister{name}() {{ return 0; }}\n" for name in _REGISTERS)
_SOURCE += "void __cudaUnregisterFatBinary() {}\nchar __cudaInitModule() { return 0; }\n"


@cache
def _load_compiled() -> None:
    """Load the package's compiled functions, of which DRY's needs no GPU."""
    [place] = find_spec("aphrodite").submodule_search_locations  # type: ignore[union-attr, misc]
    with TemporaryDirectory() as folder:
        source, versions = Path(folder) / "nothing.c", Path(folder) / "versions"
        source.write_text(_SOURCE)
        versions.write_text("libcudart.so.13 { *; };")
        for name in ("libcuda.so.1", "libcudart.so.13", "libtorch_cuda.so"):
            made = Path(folder) / name
            linked = f"-Wl,-soname,{name},--version-script,{versions}"
            subprocess.run(["cc", "-shared", "-fPIC", source, "-o", made, linked], check=True)
            ctypes.CDLL(str(made), mode=os.RTLD_LAZY | os.RTLD_GLOBAL)
    library = Path(place) / "_C_stable_libtorch.abi3.so"
    ctypes.CDLL(str(library), mode=os.RTLD_LAZY | os.RTLD_GLOBAL)


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
