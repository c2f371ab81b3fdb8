"""An OpenAPI document of the server, made from the table of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from logitlab.engines.registry import ENGINES
from logitlab.request.params import PARAMETERS, Parameter
from logitlab.server.about import supported_parameters
from logitlab.server.settings import Settings
from logitlab.version import __version__

__all__ = ["document", "parameter_schema"]

_TYPES = {
    "float": ["number"],
    "integer": ["integer"],
    "boolean": ["boolean"],
    "string": ["string"],
    "array": ["array"],
    "map": ["object"],
    "string or map": ["string", "object"],
}
# Where a value may also be written otherwise than its kind says.
_OTHER_TYPES = {"stop": ["string"], "eos_token_id": ["integer"], "sequence_bias": ["array"]}
_WORDS = {
    "verbosity": ["low", "medium", "high", None],
}
_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "integer", "minimum": 0}
_IDS = {"type": "array", "minItems": 1, "items": _ID}
# What a value holds, where its kind alone would say too little.
_PARTS: dict[str, dict[str, Any]] = {
    "stop": {"items": _TEXT},
    "bad_words": {"items": _TEXT},
    "dry_sequence_breakers": {"items": _TEXT},
    "allowed_token_ids": {"items": _ID},
    "suppress_tokens": {"items": _ID},
    "stop_token_ids": {"items": _ID},
    "eos_token_id": {"items": _ID},
    "logit_bias": {"additionalProperties": {"type": "number"}},
    "tools": {
        "items": {
            "type": "object",
            "required": ["type", "function"],
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": _TEXT, "parameters": {"type": ["object", "null"]}},
                },
            },
        }
    },
    "response_format": {
        "required": ["type"],
        "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}},
    },
}
_ERRORS = {
    "400": "The request is wrong; the message says how.",
    "401": "The key is missing, or another.",
    "403": "The header Host or Origin is not one that may ask.",
    "404": "Another model was asked for, which a server that is strict about it refuses.",
    "413": "The body is too long.",
    "415": "The body is compressed.",
    "429": "Played, where the server was told to.",
    "500": "The model failed.",
    "503": "The queue is full, or the server ends; Retry-After says when to ask again.",
}


def parameter_schema(parameter: Parameter, ranges: bool = True) -> dict[str, Any]:
    """Return the JSON schema of a parameter.

    Parameters
    ----------
    parameter : Parameter
    ranges : bool
        Whether its documented range is the rule: engines other than OpenRouter's page have others.

    Examples
    --------
    >>> parameter_schema(PARAMETERS["min_p"])["maximum"]
    1
    """
    types = [*_TYPES[parameter.kind], *_OTHER_TYPES.get(parameter.key, ()), "null"]
    words = [parameter.sentence]
    if parameter.rule:
        words.append(f"Documented: {parameter.rule}.")
    if parameter.origin != "page":
        words.append(f"From: {parameter.origin}.")
    schema: dict[str, Any] = {"type": types, "description": " ".join(words)}
    if ranges and parameter.range is not None:
        for name, end in (("minimum", parameter.range.low), ("maximum", parameter.range.high)):
            if np.isfinite(end):
                schema[name] = end
    if ranges and parameter.key in _WORDS:
        schema["enum"] = _WORDS[parameter.key]
    schema |= _PARTS.get(parameter.key, {})
    default = parameter.default
    if ranges and isinstance(default, bool | int | float | str):
        schema["default"] = default
    return schema


def document(settings: Settings, model: str) -> dict[str, Any]:
    """Return the OpenAPI document of a server.

    Parameters
    ----------
    settings : Settings
    model : str
        Name of its model.
    """
    engine = settings.usual_engine
    paths: dict[str, Any] = {}
    for prefix in ("/v1", "/api/v1"):
        mark = "" if prefix == "/v1" else "Api"
        for path, (name, summary) in _WRITES.items():
            paths[prefix + path] = {"post": _post(f"{name}{mark}", summary, name, True)}
        paths |= _readers(prefix, mark)
        listed = _operation(f"listModels{mark}", "The model", {"type": "object"})
        paths[f"{prefix}/models"] = {"get": listed}
        one = _operation(f"model{mark}", "What is known of a model", {"type": "object"})
        one["responses"]["404"] = _error("There is no such model.")
        place = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        paths[f"{prefix}/models/{{id}}"] = {"get": {**one, "parameters": [place]}}
    paths |= _readers("", "Root")
    told = _operation("tokenizerInfo", "Names of special tokens", {"type": "object"})
    paths["/tokenizer_info"] = {"get": told}
    paths["/health"] = {"get": _operation("health", "Whether it is there", {"type": "object"})}
    paths["/health"]["get"]["security"] = []
    journal = {"type": "object"}
    paths["/lab/journal"] = {
        "get": _operation("journal", "The last requests, and how they ended", journal),
        "delete": _operation("clearJournal", "Forget these", journal),
    }
    components: dict[str, Any] = {"schemas": _schemas(settings)}
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": f"logitlab: {model} at {engine.name}",
            "version": __version__,
            "description": "Parameters mean what they mean at the engine, which a request may "
            'choose by its provider: {"order": [engine]}.',
        },
        "paths": paths,
        "components": components,
    }
    if settings.api_key is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
    return described


_WRITES = {
    "/chat/completions": ("chat", "Answer the messages of a conversation"),
    "/completions": ("completions", "Continue a text, or tell how likely it is"),
    "/responses": ("responses", "Answer a text, in the form of responses"),
}


def _readers(prefix: str, mark: str) -> dict[str, Any]:
    return {
        f"{prefix}/tokenize": {"post": _post(f"tokenize{mark}", "Text to token ids", "tokenize")},
        f"{prefix}/detokenize": {
            "post": _post(f"detokenize{mark}", "Token ids to text", "detokenize")
        },
    }


def _error(sentence: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/error"}
    return {"description": sentence, "content": {"application/json": {"schema": schema}}}


def _operation(identity: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {
        "operationId": identity,
        "summary": summary,
        "responses": {
            "200": {"description": "It went well.", "content": content},
            **{status: _error(_ERRORS[status]) for status in ("401", "403")},
        },
    }


def _post(identity: str, summary: str, schema: str, streams: bool = False) -> dict[str, Any]:
    operation = _operation(identity, summary, {"type": "object"})
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    if streams:
        # A schema here may be read as that of one event, and these differ.
        events: dict[str, Any] = {"schema": {}}
        operation["responses"]["200"]["content"]["text/event-stream"] = events
    operation["responses"] |= {status: _error(sentence) for status, sentence in _ERRORS.items()}
    return operation


def _named(settings: Settings) -> str:
    return "The one that is here." if settings.strict_model else "Echoed: there is one model."


def _schemas(settings: Settings) -> dict[str, Any]:
    engine = settings.usual_engine
    known = {
        key: parameter_schema(PARAMETERS[key], engine.is_page)
        for key in supported_parameters(engine)
    }
    known |= {
        "model": {"type": ["string", "null"], "description": _named(settings)},
        "n": {"type": ["integer", "null"], "minimum": 1, "description": "How many answers."},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {"type": ["object", "null"]},
        "provider": {
            "type": ["object", "null"],
            "description": f"order: whose rules, of {', '.join(ENGINES)}.",
        },
    }
    part = {
        "type": "object",
        "required": ["type", "text"],
        "properties": {
            "type": {"type": "string", "description": "text; input_text or output_text in input"},
            "text": {"type": "string"},
        },
    }
    message = {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
            "content": {"type": ["string", "array", "null"], "items": part},
        },
    }
    messages = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/message"}}
    limit = {**known.get("max_tokens", {}), "description": "Another name of max_tokens."}
    limit.pop("default", None)
    prompts = {"type": "array", "minItems": 1, "items": {"anyOf": [_TEXT, _IDS]}}
    completion = known | {
        "prompt": {"anyOf": [_TEXT, _IDS, prompts]},
        "echo": {"type": ["boolean", "null"], "description": "The prompt comes first, too."},
        "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
        "max_tokens": {"type": ["integer", "null"], "minimum": 0, "default": 16},
    }
    completion.pop("top_logprobs", None)
    response = {key: known[key] for key in ("temperature", "top_p", "model", "stream", "seed")
                if key in known}  # fmt: skip
    return {
        "error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"type": "integer"},
                        "message": {"type": "string"},
                        "metadata": {"type": "object"},
                    },
                }
            },
        },
        "message": message,
        "chat": {
            "type": "object",
            "required": ["messages"],
            "properties": known | {"messages": messages, "max_completion_tokens": limit},
        },
        "completions": {"type": "object", "required": ["prompt"], "properties": completion},
        "responses": {
            "type": "object",
            "required": ["input"],
            "properties": response
            | {
                "input": {"anyOf": [_TEXT, messages]},
                "instructions": {"type": ["string", "null"]},
                "max_output_tokens": {"type": ["integer", "null"], "minimum": 1},
            },
        },
        "tokenize": {
            "type": "object",
            "properties": {
                "prompt": {"type": ["string", "null"]},
                "messages": {**messages, "type": ["array", "null"]},
                "return_token_strs": {"type": ["boolean", "null"]},
            },
        },
        "detokenize": {
            "type": "object",
            "required": ["tokens"],
            "properties": {"tokens": {**_IDS, "minItems": 0}},
        },
    }
