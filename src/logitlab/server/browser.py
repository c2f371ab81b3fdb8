"""The answers of the page where Python itself runs in the browser: no server, nothing compiled."""

from __future__ import annotations

import json
from functools import cache

from logitlab.models import NGram
from logitlab.request.params import PARAMETERS
from logitlab.server.lab import Lab

__all__ = ["LACK", "answer"]

LACK = "structured output is not to be had in the browser: it needs llguidance."
"""What is said of a schema, a tool, or another constraint."""


def answer(name: str, body: str) -> str:
    """Return the answer to one question, as `Lab.answer` gives it, from JSON to JSON.

    The bundled model reads and writes. What needs llguidance is lacking, whatever the engine.

    Parameters
    ----------
    name : str
        One of `logitlab.server.lab.FUNCTIONS`.
    body : str
        JSON, as a browser writes it.

    Examples
    --------
    >>> told = json.loads(answer("engine", '{"engine": "vllm"}'))
    >>> told["lacks"]["tools"]
    'structured output is not to be had in the browser: it needs llguidance.'
    """
    told = _lab().answer(name, json.loads(body))
    error = told.get("error")
    if error is not None and error["parameter"] == "llguidance":
        error["message"] = LACK
    if name == "engine" and error is None:
        structure = (key for key, known in PARAMETERS.items() if known.role == "structure")
        told["lacks"] |= dict.fromkeys(structure, LACK)
    return json.dumps(told, allow_nan=False)


@cache
def _lab() -> Lab:
    return Lab(NGram.bundled())
