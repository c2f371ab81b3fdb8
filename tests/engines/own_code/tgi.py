"""Text Generation Inference: its ``HeterogeneousNextTokenChooser`` on a batch of one row.

``TGI`` names a checkout of it; ``server/text_generation_server/utils/tokens.py``, and what that
imports beside it, are loaded from there. Restated are the checks of ``router/src/validation.rs``,
with their texts, and the defaults that it fills in.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import Array, Case

CHECKOUT = Path(os.environ.get("TGI", "text-generation-inference"))


def _commit() -> str:
    words = ["git", "-C", str(CHECKOUT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or os.environ.get("TGI_COMMIT", "unknown")


VERSIONS = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
VERSIONS["text-generation-inference"] = _commit()
VARIANTS = ("generate",)
_PACKAGE = "text_generation_server"
CHECKS: dict[str, tuple[Any, str]] = {
    "temperature": (lambda t: t > 0, "`temperature` must be strictly positive"),
    "repetition_penalty": (lambda r: r > 0, "`repetition_penalty` must be strictly positive"),
    "frequency_penalty": (
        lambda f: -2 <= f <= 2,
        "`frequency_penalty` must be >= -2.0 and <= 2.0",
    ),
    "top_p": (lambda p: 0 < p < 1, "`top_p` must be > 0.0 and < 1.0"),
    "typical_p": (lambda p: 0 < p < 1, "`typical_p` must be > 0.0 and < 1.0"),
    "top_k": (lambda k: k > 0, "`top_k` must be strictly positive"),
}


def _chooser() -> Any:
    """Import its module beside stand-ins for what it imports and does not need here."""
    if f"{_PACKAGE}.utils.tokens" not in sys.modules:
        things: dict[str, dict[str, Any]] = {
            _PACKAGE: {"__path__": []},
            f"{_PACKAGE}.pb": {"__path__": []},
            f"{_PACKAGE}.pb.generate_pb2": {
                "FinishReason": types.SimpleNamespace(),
                "GrammarType": types.SimpleNamespace(GRAMMAR_TYPE_NONE=0),
                "NextTokenChooserParameters": Any,
                "StoppingCriteriaParameters": Any,
            },
            f"{_PACKAGE}.utils": {"__path__": [str(CHECKOUT / "server" / _PACKAGE / "utils")]},
            "loguru": {"logger": None},
            "outlines": {"__path__": []},
            "outlines.fsm": {"__path__": []},
            "outlines.fsm.guide": {"RegexGuide": None},
        }
        for name, contents in things.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(contents)
        sys.modules[f"{_PACKAGE}.pb"].generate_pb2 = sys.modules[f"{_PACKAGE}.pb.generate_pb2"]  # type: ignore[attr-defined]
    return import_module(f"{_PACKAGE}.utils.tokens").HeterogeneousNextTokenChooser


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the scores that are drawn from; all mass on one token if greedy."""
    import torch

    torch.set_num_threads(1)
    for key, (is_right, says) in CHECKS.items():
        if key in case.params and not is_right(case.params[key]):
            return f"ValidationError: {says}"
    params = {
        "temperature": 1.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "typical_p": 1.0,
        "do_sample": False,
        "watermark": False,
        **case.params,
    }
    listed = {key: [params[key]] for key in (*CHECKS, "do_sample", "watermark")}
    choose = _chooser()(
        dtype=torch.float32,
        device=torch.device("cpu"),
        **listed,
        seeds=[0],
        tokenizer=None,
        grammars=[""],
        grammar_types=[0],
        fsm_grammar_states=[0],
    )
    ids = torch.tensor([case.prompt + case.output])
    row = torch.from_numpy(np.array(case.logits, np.float32))[None]
    try:
        token, _, logprobs, _, _ = choose(ids, row, 0)
    except (RuntimeError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    probs = np.asarray(torch.softmax(logprobs[0].double(), -1).numpy())
    if np.isnan(probs).any():
        return "NaN row"
    if not choose.do_sample[0]:
        probs = np.zeros(len(probs))
        probs[int(token)] = 1
    return probs
