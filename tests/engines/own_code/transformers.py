"""transformers: its real ``generate``, on a model that returns the row of logits whatever it reads.

The scores of the first step are recorded (``GenerationMixin._sample`` of ``generation/utils.py``).

* ``generate``: the request as keyword arguments of ``generate(do_sample=True)``, logit bias as
  ``sequence_bias``. What it does not know (additive penalties, top-a) is left out. The prompt is
  where ``generate`` began, the output what it has drawn since.
* ``serve``: the request as body of ``/v1/chat/completions``, validated and mapped by
  ``ChatCompletionHandler`` of ``cli/serving/chat_completion.py``. Temperature 0 is greedy. Own
  request key: ``generation_config``, a dict that goes into the body as JSON, with the keys that
  the body itself may not hold (``top_k``, ``min_p``, ``repetition_penalty``). The model's own
  generation config says ``do_sample``: without that serve is greedy at every temperature.
"""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Array, Case

VERSIONS = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
VARIANTS = ("generate", "serve")
# What torch says of a row that has no token left.
NOTHING_LEFT = ("probability tensor contains either", "IndependentConstraint(Real(), 1)")
FLOATS = ("temperature", "top_p", "min_p", "repetition_penalty")
BEYOND = (
    *("typical_p", "epsilon_cutoff", "eta_cutoff", "top_h", "no_repeat_ngram_size"),
    *("bad_words_ids", "min_new_tokens", "min_length", "eos_token_id", "renormalize_logits"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
    *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"),
)


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the scores that are drawn from; all mass on one token if greedy."""
    import torch
    import transformers

    refused = import_module("fastapi").HTTPException
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    began = max(1, len(case.prompt)) if variant == "generate" else None
    limit = case.params.get("max_length", 20 + len(case.prompt))
    model = _model(torch.from_numpy(np.asarray(case.logits, np.float32)), began, limit)
    # The penalty skips ids outside the vocabulary, so such a one stands in for an empty history.
    ids = torch.tensor([(case.prompt + case.output) or [len(case.logits)]])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = {"generate": _generate, "serve": _serve}[variant](case.params)
            config.use_cache = False
            result = model.generate(
                ids, generation_config=config, output_scores=True, return_dict_in_generate=True
            )
    except (ValueError, TypeError, RuntimeError, IndexError, refused) as error:
        if any(words in str(error) for words in NOTHING_LEFT):
            return "NaN row"
        return f"{type(error).__name__}: {error}"
    if config.do_sample:
        scores = result.scores[0][0].double()
        left = torch.softmax(scores, -1)
        return "NaN row" if bool(left.isnan().any()) else np.asarray(left.numpy())
    probs: Array = np.zeros(len(case.logits))
    probs[int(result.sequences[0, -1])] = 1
    return probs


def _generate(params: dict[str, Any]) -> Any:
    from transformers import GenerationConfig, WatermarkingConfig

    known: dict[str, Any] = {key: float(params[key]) for key in FLOATS if key in params}
    known |= {key: params[key] for key in ("top_k", *BEYOND) if key in params}
    bias = {(int(token),): float(x) for token, x in params.get("logit_bias", {}).items()}
    bias |= {tuple(tokens): x for tokens, x in params.get("sequence_bias", [])}
    if bias or "sequence_bias" in params:
        known["sequence_bias"] = bias
    if "watermarking_config" in params:
        known["watermarking_config"] = WatermarkingConfig(**params["watermarking_config"])
    return GenerationConfig(do_sample=True, max_new_tokens=1, **known)


def _serve(params: dict[str, Any]) -> Any:
    from transformers import GenerationConfig

    serving = import_module("transformers.cli.serving.chat_completion")
    body = {**params, "max_tokens": 1}
    if "generation_config" in body:
        body["generation_config"] = json.dumps(body["generation_config"])
    state = SimpleNamespace(_compile=False)
    handler = serving.ChatCompletionHandler(None, state)
    handler._validate_request(body)
    return handler._build_generation_config(body, GenerationConfig(do_sample=True))


def _model(row: Any, began: int | None, limit: int) -> Any:
    """Return a model without weights whose logits are the row.

    Its processors count from a prompt of ``began`` tokens, and up to a text of ``limit``.
    """
    import torch
    from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel, modeling_outputs

    class Row(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
        config_class = PreTrainedConfig

        def __init__(self) -> None:
            super().__init__(PreTrainedConfig(vocab_size=len(row)))
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: Any, **_: Any) -> Any:
            return modeling_outputs.CausalLMOutput(logits=row.expand(*input_ids.shape, -1))

        def _get_logits_processor(
            self, generation_config: Any, input_ids_seq_length: int, **given: Any
        ) -> Any:
            own = generation_config.max_length, generation_config.min_length
            if began is not None:
                input_ids_seq_length = began
                generation_config.max_length = limit
                if generation_config.min_new_tokens is not None:  # was added to another length
                    generation_config.min_length = began + generation_config.min_new_tokens
            made = super()._get_logits_processor(
                generation_config, input_ids_seq_length=input_ids_seq_length, **given
            )
            generation_config.max_length, generation_config.min_length = own  # one token is drawn
            return made

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids}

    return Row().eval()
