"""exllamav3: the steps of its samplers that are torch, of the wheel from PyPI, on a CPU.

The package itself wants a GPU when it is imported, so ``generator/sampler/custom.py`` and
``presets.py`` are imported alone, beside stand-ins. Its compiled steps cannot run: no penalty, no
DRY, no draw, and not the kernel that takes the place of most others, as ``fused: false`` of every
request tells. Torch is told to sort stably, as it does on CUDA.

* ``combo``: ``ComboSampler``, with its own arguments.
* ``tabby``: TabbyAPI's order of the same steps (``generate`` of ``backends/exllamav3/model.py``,
  and ``sampler.py`` beside it), which is restated; own key: ``protected_token_ids``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import types
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from . import Array, Case

VERSIONS = {name: importlib.metadata.version(name) for name in ("torch", "exllamav3")}
VARIANTS = ("combo", "tabby")
_LIMITS: dict[str, tuple[Any, str]] = {
    "top_p": (lambda p: 0 <= p <= 1, "0.0 <= top_p <= 1.0"),
    "min_p": (lambda p: 0 <= p <= 1, "0.0 <= min_p <= 1.0"),
}


def _sampler() -> Any:
    """Import its presets beside stand-ins for what needs a GPU."""
    os.environ["EXL3_FUSED_SAMPLER"] = "0"
    if "exllamav3" not in sys.modules:
        spec = importlib.util.find_spec("exllamav3")
        assert spec is not None
        folder = next(iter(spec.submodule_search_locations or []))
        things: dict[str, dict[str, Any]] = {
            "exllamav3": {"__path__": [folder]},
            "exllamav3.generator": {"__path__": [f"{folder}/generator"]},
            "exllamav3.generator.sampler": {"__path__": [f"{folder}/generator/sampler"]},
            "exllamav3.tokenizer": {"Tokenizer": object},
            "exllamav3.ext": {"exllamav3_ext": None},
            "exllamav3.util": {"__path__": [], "next_power_of_2": None, "profile_opt": None},
            "exllamav3.util.tensor": {"buffered_arange": None},
        }
        for name, contents in things.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(contents)
    return import_module("exllamav3.generator.sampler.presets")


def run(case: Case, variant: str) -> Array | str:
    """Return the probabilities of what is drawn from."""
    import torch

    torch.set_num_threads(1)
    exl = _sampler()
    given = {k: v for k, v in case.params.items() if k != "fused"}
    try:
        steps = {"combo": _combo, "tabby": _tabby}[variant](exl, given)
    except AssertionError:
        wrong = (s for key, (ok, s) in _LIMITS.items() if not ok(given.get(key, 0)))
        return f"AssertionError: {next(wrong)}"
    row = torch.from_numpy(np.array(case.logits, np.float32))[None]
    plain = torch.sort
    torch.sort = partial(plain, stable=True)
    try:
        state = exl.CustomSampler(steps).forward(row, rand_u32=0, return_state=True)
    finally:
        torch.sort = plain
    return _left(exl, state, len(case.logits))


def _combo(exl: Any, params: dict[str, Any]) -> list[Any]:
    kept: list[Any] = []
    arguments = dict(params)
    bias = {int(token): x for token, x in arguments.pop("logit_bias", {}).items()}
    arguments["temp_last"] = arguments.pop("temperature_last", False)
    # Its last line hands the steps to its parent, which keeps them here.
    plain = exl.CustomSampler.__init__
    exl.CustomSampler.__init__ = lambda self, stack: kept.extend(stack)
    try:
        exl.ComboSampler(**arguments, logit_bias=bias)
    finally:
        exl.CustomSampler.__init__ = plain
    return [step for step in kept if type(step) is not exl.SS_Sample]


def _tabby(exl: Any, params: dict[str, Any]) -> list[Any]:
    temperature = params.get("temperature", 1.0)
    bias = {int(token): x for token, x in params.get("logit_bias", {}).items()}
    stack = [exl.SS_LogitBias(bias)] if bias else []
    if params.get("banned_tokens"):
        stack.append(exl.SS_BanTokens(params["banned_tokens"]))
    greedy = [*stack, exl.SS_Argmax()]
    last = params.get("temperature_last", False)
    stack += [] if last else [exl.SS_Temperature(temperature)]
    top_k = params.get("top_k", 0)
    stack += [exl.SS_TopK(0 if top_k == -1 else top_k), exl.SS_TopP(params.get("top_p", 1.0))]
    stack += [exl.SS_MinP(params.get("min_p", 0.0))]
    stack += [exl.SS_Temperature(temperature)] if last else []
    if params.get("xtc_probability", 0) > 0:
        values = params["xtc_probability"], params.get("xtc_threshold", 0.1)
        stack.append(exl.SS_XTC(*values, params.get("protected_token_ids")))
    return greedy if temperature == 0 else stack


def _left(exl: Any, state: Any, size: int) -> Array | str:
    import torch

    probs: Array = np.zeros(size)
    if state.sample is not None:
        probs[int(state.sample)] = 1
        return probs
    kinds = exl.SS
    if state.state is kinds.INIT:
        state.logits = state.in_logits
    if state.state in (kinds.INIT, kinds.LOGITS, kinds.LOGITS_S):
        left = torch.softmax(state.logits[0].double(), -1)
    else:
        left = state.probs[0].double()
    is_sorted = state.state in (kinds.LOGITS_S, kinds.PROBS_S, kinds.PROBS_N_S)
    probs[state.indices[0].numpy() if is_sorted else np.arange(size)] = left.numpy()
    return probs / probs.sum() if probs.sum() > 0 else "NaN row"
