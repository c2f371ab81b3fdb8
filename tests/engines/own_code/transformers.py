"""transformers: its real ``generate``, on a model that returns the row of logits whatever it reads.

The scores of the first step are recorded (``GenerationMixin._sample`` of ``generation/utils.py``).

* ``generate``: the request as keyword arguments of ``generate(do_sample=True)``, logit bias as
  ``sequence_bias``. What it does not know (additive penalties, top-a) is left out.
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
FLOATS = ("temperature", "top_p", "min_p", "repetition_penalty")


def run(case: Case, variant: str) -> Array | str:
    """Return the softmax of the scores that are drawn from; all mass on one token if greedy."""
    import torch
    import transformers

    refused = import_module("fastapi").HTTPException
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    model = _model(torch.from_numpy(np.asarray(case.logits, np.float32)))
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
    except (ValueError, TypeError, RuntimeError, refused) as error:
        return f"{type(error).__name__}: {error}"
    if config.do_sample:
        return np.asarray(torch.softmax(result.scores[0][0].double(), -1).numpy())
    probs: Array = np.zeros(len(case.logits))
    probs[int(result.sequences[0, -1])] = 1
    return probs


def _generate(params: dict[str, Any]) -> Any:
    from transformers import GenerationConfig

    known: dict[str, Any] = {key: float(params[key]) for key in FLOATS if key in params}
    if "top_k" in params:
        known["top_k"] = params["top_k"]
    if params.get("logit_bias"):
        bias = {(int(token),): float(value) for token, value in params["logit_bias"].items()}
        known["sequence_bias"] = bias
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
