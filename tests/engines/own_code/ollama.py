"""Ollama 0.24.0: its own sampler, the Go package ``sample``.

``OLLAMA_SAMPLE`` names a program that calls it: of each line of JSON on its standard input it makes
a sampler by ``NewSampler``, and answers a line with the tokens that ``topK``, ``temperature``,
``softmax``, ``topP`` and ``minP`` leave, in their order (``ids``), their probabilities (``probs``),
and what ``Sample`` draws in so many ``steps`` (``drawn``). Restated are the defaults of
``api.DefaultOptions``.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from functools import cache
from typing import Any

import numpy as np

from . import Array, Case

VERSIONS = {"ollama": "0.24.0", "go": "1.26.0"}
VARIANTS = ("0.24",)
DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "seed": -1}


@cache
def _program() -> Any:
    words = [os.environ.get("OLLAMA_SAMPLE", "ollama-sample")]
    program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(program.kill)
    return program


def _asked(case: Case, **more: Any) -> dict[str, Any]:
    given = {key: case.params[key] for key in DEFAULTS if key in case.params}
    logits = [float(x) if np.isfinite(x) else None for x in case.logits]
    program = _program()
    program.stdin.write(json.dumps({**DEFAULTS, **given, **more, "logits": logits}) + "\n")
    program.stdin.flush()
    answer: dict[str, Any] = json.loads(program.stdout.readline())
    return answer


def run(case: Case, variant: str) -> Array | str:
    """Return the probabilities of what is drawn from."""
    answer = _asked(case)
    probs: Array = np.zeros(len(case.logits))
    probs[answer["ids"]] = answer["probs"]
    return np.asarray(probs / probs.sum())


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int]:
    """Return the tokens that it draws one after another."""
    drawn: list[int] = _asked(case, seed=seed, steps=steps)["drawn"]
    return drawn
