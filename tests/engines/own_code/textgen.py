"""text-generation-webui: the warpers of its transformers loader, in its order, on a row of logits.

``TEXTGEN`` names a checkout of it; ``modules/sampler_hijack.py`` is imported from there, and what
it patches into transformers makes the list of warpers of a model without weights.
Restated are what its server makes of a request before (``process_parameters`` of
``modules/api/completions.py``, ``generate_reply_HF`` of ``modules/text_generation.py``), and the
processor of ``logit_bias`` of ``modules/transformers_loader.py``.

Its tokenizer has a token for each character, beginning with U+4E00. What it encodes a newline as,
and the token that ends a text, are ``newline`` and ``eos_token_id`` of a request.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import random
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from . import Array, Case, Drawn

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
    *("dynamic_temperature", "temperature_last"),
)
DEFAULTS = {
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 0,
    "typical_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "repetition_penalty_range": 1024,
    "do_sample": True,
}
FLOATS = {"temperature", "top_p", "min_p", "typical_p", "repetition_penalty"}


class _Tokenizer:
    newline, eos_token_id = 0, 0

    def encode(self, text: str) -> list[int]:
        return [self.newline] if text == "\n" else [ord(each) - 0x4E00 for each in text]


_TOKENIZER = _Tokenizer()


def _hijack() -> Any:
    """Import its file beside stand-ins for what it imports, and let it patch transformers."""
    if "modules.sampler_hijack" in sys.modules:
        return sys.modules["modules.sampler_hijack"]
    stubs: dict[str, dict[str, Any]] = {
        "modules": {},
        "modules.shared": {
            "args": types.SimpleNamespace(verbose=False),
            "tokenizer": _TOKENIZER,
        },
        "modules.logging_colors": {"logger": logging.getLogger("textgen")},
        "modules.torch_utils": {"get_device": lambda: None},
    }
    for name, things in stubs.items():
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
    made = {key: state[key] for key in (*KEYS, "dry_sequence_breakers") if key in state}
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


def _model(row: Any) -> Any:
    """Return a model without weights whose logits are the row."""
    import torch
    from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel, modeling_outputs

    class Row(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
        config_class = PreTrainedConfig

        def __init__(self) -> None:
            super().__init__(PreTrainedConfig(vocab_size=len(row)))
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: Any, **_: Any) -> Any:
            return modeling_outputs.CausalLMOutput(logits=row.expand(*input_ids.shape, -1))

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids}

    return Row().eval()


class _Request:
    """A request, and what the warpers of its generation are made of."""

    def __init__(self, case: Case) -> None:
        import torch
        import transformers
        from transformers import GenerationConfig, LogitsProcessorList

        _hijack()
        torch.set_num_threads(1)
        transformers.utils.logging.set_verbosity_error()
        _TOKENIZER.eos_token_id = case.params.get("eos_token_id", 0)
        _TOKENIZER.newline = case.params.get("newline", 0)
        made = _parameters(case.params)
        self.samples = made["do_sample"]
        self.model = _model(torch.from_numpy(np.asarray(case.logits, np.float32)))
        config = GenerationConfig(max_new_tokens=1, **made)
        self.config, _ = self.model._prepare_generation_config(config)
        bias = case.params.get("logit_bias")
        self.processor = LogitsProcessorList([_Bias(bias)] if bias else [])
        self.prompt = torch.tensor([case.prompt])

    def warpers(self) -> Any:
        """Return its list of warpers, which keep their states from token to token."""
        return self.model._get_logits_processor(
            generation_config=self.config,
            input_ids_seq_length=self.prompt.shape[1],
            encoder_input_ids=self.prompt,
            prefix_allowed_tokens_fn=None,
            logits_processor=self.processor,
            device="cpu",
            model_kwargs={},
        )


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the scores that are drawn from; all mass on one token if greedy.

    ``acts`` says how the coin of XTC falls.
    """
    import torch

    toss = random.random
    random.random = lambda: 0.0 if case.acts else 1 - 2.0**-53
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            request = _Request(case)
            ids = torch.tensor([case.prompt + case.output])
            row = torch.from_numpy(np.array(case.logits, np.float32))[None]
            scores = request.warpers()(ids, row)[0].double()
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        random.random = toss
    probs = np.asarray(torch.softmax(scores, -1).numpy())
    if np.isnan(probs).any():
        return "NaN row"
    if not request.samples:
        probs = np.zeros(len(probs))
        probs[int(scores.argmax())] = 1
    return probs


def follow(case: Case, variant: str, seed: int, rows: list[Array]) -> list[Drawn]:
    """Draw a token after another: what the warper with a state draws from, and what it draws."""
    import torch

    plain, seen = torch.multinomial, []

    def multinomial(probs: Any, *args: Any, **more: Any) -> Any:
        drawn = plain(probs, *args, **more)
        seen.append((probs.reshape(-1), int(drawn.reshape(-1)[0])))
        return drawn

    request = _Request(case)
    torch.manual_seed(seed)
    warpers = request.warpers()
    output, result = list(case.output), []
    torch.multinomial = multinomial
    try:
        for row in rows:
            seen.clear()
            ids = torch.tensor([case.prompt + output])
            scores = warpers(ids, torch.from_numpy(np.array(row, np.float32))[None])
            probs, drawn = seen[0]
            output.append(int(scores[0].argmax()))
            result.append(Drawn(output[-1], int((probs > 0).sum()), float(probs[drawn])))
    finally:
        torch.multinomial = plain
    return result
