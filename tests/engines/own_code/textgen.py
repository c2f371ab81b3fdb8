"""text-generation-webui: the warpers of its transformers loader, in its order, on a row of logits.

``TEXTGEN`` names a checkout of it; ``modules/sampler_hijack.py`` is imported from there, and what it
patches into transformers runs `generate` on the model without weights of the neighbouring module.
Restated are what its server makes of a request before (``process_parameters`` of
``modules/api/completions.py``, ``generate_reply_HF`` of ``modules/text_generation.py``), and the
processor of ``logit_bias`` of ``modules/transformers_loader.py``.

Its tokenizer encodes a text as the numbers in it, so that breakers are token ids, and ``newline``
of a request is that of a newline. Keys that are no parameters: ``newline``, ``eos_token_id``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import random
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from . import Array, Case, Drawn
from .transformers import NOTHING_LEFT, _model

CHECKOUT = Path(os.environ.get("TEXTGEN", "text-generation-webui"))


def _commit() -> str:
    words = ["git", "-C", str(CHECKOUT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or os.environ.get("TEXTGEN_COMMIT", "unknown")


VERSIONS = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
VERSIONS["text-generation-webui"] = _commit()
VARIANTS = ("transformers",)
PRIORITY = (
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "dry", "top_n_sigma"),
    *("temperature", "dynamic_temperature", "quadratic_sampling", "top_k", "top_p", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "adaptive_p", "mirostat", "xtc"),
    *("encoder_repetition_penalty", "no_repeat_ngram"),
)
KEYS = (
    *("temperature", "dynatemp_low", "dynatemp_high", "dynatemp_exponent", "smoothing_factor"),
    *("smoothing_curve", "min_p", "top_p", "top_k", "typical_p", "xtc_threshold", "tfs", "top_a"),
    *("xtc_probability", "top_n_sigma", "adaptive_target", "adaptive_decay", "dry_multiplier"),
    *("dry_allowed_length", "dry_base", "repetition_penalty", "frequency_penalty"),
    *("presence_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "do_sample"),
    *("repetition_penalty_range", "mirostat_mode", "mirostat_tau", "mirostat_eta"),
    *("dynamic_temperature", "temperature_last", "dry_sequence_breakers"),
)
DEFAULTS = {"top_p": 0.95, "repetition_penalty_range": 1024, "do_sample": True, "temperature": 1.0}
FLOATS = {"temperature", "top_p", "min_p", "typical_p", "repetition_penalty"}


class _Tokenizer:
    newline, eos_token_id = 0, 0

    def encode(self, text: str) -> list[int]:
        return [self.newline] if text == "\n" else [int(re.sub(r"\D", "", text) or -1)]


_TOKENIZER = _Tokenizer()


def _hijack() -> Any:
    """Import its file beside stand-ins for what it imports, and let it patch transformers."""
    if "modules.sampler_hijack" in sys.modules:
        return sys.modules["modules.sampler_hijack"]
    for name, things in {
        "modules": {},
        "modules.shared": {
            "args": types.SimpleNamespace(verbose=False),
            "tokenizer": _TOKENIZER,
        },
        "modules.logging_colors": {"logger": logging.getLogger("textgen")},
        "modules.torch_utils": {"get_device": lambda: None},
    }.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(things)
    sys.modules["modules"].shared = sys.modules["modules.shared"]  # type: ignore[attr-defined]
    name = "modules.sampler_hijack"
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "modules" / "sampler_hijack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    module.hijack_samplers()
    return module


def _parameters(params: dict[str, Any]) -> dict[str, Any]:
    """Do what its server does to a request, and then its loader."""
    state = DEFAULTS | params
    if state["temperature"] == 0:
        state |= {"do_sample": False, "top_k": 1}
    made = {key: state[key] for key in KEYS if key in state}
    made |= {key: float(value) for key, value in made.items() if key in FLOATS}
    made |= {k: state[k] * 1e-4 for k in ("epsilon_cutoff", "eta_cutoff") if state.get(k, 0) > 0}
    suppressed = [_TOKENIZER.eos_token_id] if state.get("ban_eos_token") else []
    bans = state.get("custom_token_bans", "")
    suppressed += [int(each.strip()) for each in bans.split(",") if each.strip()]
    if suppressed:
        made["suppress_tokens"] = suppressed
    order = state.get("sampler_priority", list(PRIORITY))
    if isinstance(order, str):
        order = [each.strip() for each in order.replace("\n", ",").split(",") if each.strip()]
    made["sampler_priority"] = list(order)
    return made


class _Bias:
    """``LogitsBiasProcessor``."""

    def __init__(self, bias: dict[str, float]) -> None:
        import torch

        self.keys = [int(key) for key in bias]
        self.values = torch.tensor([bias[str(key)] for key in self.keys], dtype=torch.float)

    def __call__(self, input_ids: Any, logits: Any) -> Any:
        logits[0, self.keys] += self.values
        return logits


class _Generation:
    """One request on a model whose row may change from token to token."""

    def __init__(self, case: Case) -> None:
        import torch
        import transformers

        _hijack()
        torch.set_num_threads(1)
        transformers.utils.logging.set_verbosity_error()
        self.case = case
        eos = case.params.get("eos_token_id", 0)
        _TOKENIZER.eos_token_id = eos
        _TOKENIZER.newline = case.params.get("newline", 0)
        self.made = _parameters(case.params)

    def step(self, count: int, row: Array, output: list[int], processors: Any = None) -> Any:
        """Return what `generate` returns for so many tokens."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        case = self.case
        ids = torch.tensor([case.prompt + output])
        model = _model(torch.from_numpy(np.asarray(row, np.float32)), len(case.prompt), 10**6)
        made = dict(self.made)
        config = GenerationConfig(max_new_tokens=count, use_cache=False, **made)
        bias = case.params.get("logit_bias")
        processor = LogitsProcessorList([_Bias(bias)] if bias else [])
        return model.generate(
            ids,
            generation_config=config,
            output_scores=True,
            return_dict_in_generate=True,
            logits_processor=processor,
        )


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the scores that are drawn from; all mass on one token if greedy.

    ``acts`` says how the coin of XTC falls.
    """
    import torch

    toss = random.random
    random.random = lambda: 0.0 if case.acts else 1 - 2.0**-53  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            generation = _Generation(case)
            result = generation.step(1, case.logits, case.output)
    except (ValueError, TypeError, RuntimeError, IndexError, json.JSONDecodeError) as error:
        if any(words in str(error) for words in NOTHING_LEFT):
            return "NaN row"
        return f"{type(error).__name__}: {error}"
    finally:
        random.random = toss  # type: ignore[method-assign]
    if generation.made["do_sample"]:
        left = torch.softmax(result.scores[0][0].double(), -1)
        return "NaN row" if bool(left.isnan().any()) else np.asarray(left.numpy())
    probs: Array = np.zeros(len(case.logits))
    probs[int(result.sequences[0, -1])] = 1
    return probs


def follow(case: Case, variant: str, seed: int, rows: list[Array]) -> list[Drawn]:
    """Draw a token after another: what the warper with a state draws from, and what it draws."""
    import torch
    from transformers import GenerationConfig

    _hijack()
    torch.manual_seed(seed)
    random.seed(seed)
    plain, seen = torch.multinomial, []

    def multinomial(probs: Any, *args: Any, **more: Any) -> Any:
        drawn = plain(probs, *args, **more)
        seen.append((probs.reshape(-1), int(drawn.reshape(-1)[0])))
        return drawn

    generation = _Generation(case)
    warpers = _warpers(generation, GenerationConfig(**generation.made), len(case.prompt))
    output, result = list(case.output), []
    torch.multinomial = multinomial
    try:
        for row in rows:
            seen.clear()
            ids = torch.tensor([case.prompt + output])
            scores = warpers(ids, torch.from_numpy(np.array(row, np.float32))[None])
            probs, drawn = seen[0]
            token = int(scores[0].argmax())
            output.append(token)
            result.append(Drawn(token, int((probs > 0).sum()), float(probs[drawn])))
    finally:
        torch.multinomial = plain
    return result


def _warpers(generation: _Generation, config: Any, length: int) -> Any:
    """Return its list of warpers, which keep their states from token to token."""
    import torch

    row = torch.from_numpy(np.asarray(generation.case.logits, np.float32))
    model = _model(row, length, 10**6)
    bias = generation.case.params.get("logit_bias")
    return model._get_logits_processor(
        generation_config=config,
        input_ids_seq_length=length,
        encoder_input_ids=torch.tensor([generation.case.prompt]),
        prefix_allowed_tokens_fn=None,
        logits_processor=[_Bias(bias)] if bias else [],
        device="cpu",
        model_kwargs={},
    )
