"""What a server says of its model: the list of models, and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from logitlab.checks import ParameterError, Range, check_type
from logitlab.engines.engine import Engine
from logitlab.generation.prompts import prompt_ids
from logitlab.models.messages import check_messages
from logitlab.models.model import Model
from logitlab.request.page import PageParameters
from logitlab.request.params import PARAMETERS
from logitlab.request.values import flag
from logitlab.server.messages import RefusalError
from logitlab.server.settings import Settings

__all__ = [
    "check_name",
    "detokenized",
    "model_entry",
    "models_of",
    "supported_parameters",
    "tokenized",
    "tokenizer_of",
]


def supported_parameters(engine: Engine) -> list[str]:
    """Return the parameters that a request to an engine may have, as OpenRouter lists them.

    Examples
    --------
    >>> from logitlab import engines
    >>> "min_p" in supported_parameters(engines.openrouter)
    True
    >>> "min_p" in supported_parameters(engines.openai)
    False
    """
    ends = engine.endings or ()
    page = {key for key in PARAMETERS if key in PageParameters.__dataclass_fields__}
    wanted = {key for key in page if PARAMETERS[key].role != "distribution"}
    known = wanted | engine.reads | {*ends}
    return [key for key in PARAMETERS if key in known]


def model_entry(model: Model, engine: Engine, created: int) -> dict[str, Any]:
    """Return what the list of models says of one, in OpenRouter's form."""
    context = model.context_length
    return {
        "id": model.name,
        "canonical_slug": model.name,
        "object": "model",
        "name": model.name,
        "description": f"{model.name}, at {engine.title}.",
        "created": created,
        "owned_by": "logitlab",
        "context_length": context,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": "0", "completion": "0", "request": "0", "image": "0"},
        "top_provider": {
            "context_length": context,
            "max_completion_tokens": context,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": supported_parameters(engine),
        "default_parameters": None,
        "supported_voices": None,
        "links": {"details": f"/api/v1/models/{model.name}"},
    }


def models_of(model: Model, engine: Engine, created: int) -> dict[str, Any]:
    """Return the list of models, of which there is one."""
    entries = [model_entry(model, engine, created)]
    return {"object": "list", "data": entries, "links": {"next": None}, "total_count": 1}


def check_name(request: Mapping[str, Any], model: Model, settings: Settings) -> None:
    """Refuse a request for a model of another name, where the settings are strict about it.

    Raises
    ------
    RefusalError
        404.
    """
    name = request.get("model")
    if settings.strict_model and name is not None and name != model.name:
        hint = "Without --strict-model any name would do."
        raise RefusalError(404, ParameterError("model", model.name, name, hint))


def tokenized(request: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the token ids of a text or of messages.

    Parameters
    ----------
    request : mapping
        With ``prompt``, a text, or ``messages``; with ``return_token_strs`` the tokens are spelled,
        too.
    model : Model

    Examples
    --------
    >>> from logitlab import models
    >>> tokenized({"prompt": "The king"}, models.NGram.bundled())["count"]
    2
    """
    strings = request.get("return_token_strs")
    flag("return_token_strs", False if strings is None else strings)
    if request.get("messages") is not None:
        ids = prompt_ids(model, check_messages(request["messages"]))
    else:
        prompt = check_type(
            "prompt", request.get("prompt"), str, "a text, or absent beside messages"
        )
        ids = np.array(model.encode(prompt) if prompt else [], np.int64)
    tokens = ids.tolist()
    body = {"count": len(tokens), "max_model_len": model.context_length, "tokens": tokens}
    if strings:
        # A long text has few different tokens.
        spelled = {token: model.vocabulary.decode([token]) for token in set(tokens)}
        body["token_strs"] = [spelled[token] for token in tokens]
    return body


def tokenizer_of(model: Model) -> dict[str, Any]:
    """Return what vLLM's server tells of a tokenizer: lm-eval asks for it.

    Examples
    --------
    >>> from logitlab import models
    >>> tokenizer_of(models.NGram.bundled())["eos_token"]
    '<|end|>'
    """
    ends = sorted(model.end_ids)
    return {
        "tokenizer_class": type(model).__name__,
        "model_max_length": model.context_length,
        "bos_token": None,
        "eos_token": model.vocabulary.decode(ends[:1]) if ends else None,
    }


def detokenized(request: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the text of token ids.

    Examples
    --------
    >>> from logitlab import models
    >>> model = models.NGram.bundled()
    >>> detokenized({"tokens": model.encode("The king")}, model)
    {'prompt': 'The king'}
    """
    tokens = check_type("tokens", request.get("tokens"), list, "a list of token ids")
    if not tokens:
        return {"prompt": ""}
    ids = Range(0, len(model.vocabulary) - 1, integer=True).check("tokens", tokens)
    if ids.ndim != 1:
        raise ParameterError("tokens", "a list of token ids", tokens)
    return {"prompt": model.vocabulary.decode(ids)}
