"""Requests whose steps count, remember and toss, and what must become of the rows they shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from logitlab import Chain, Context, log_softmax

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("openrouter", {"temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.4, "top_a": 0.05}),
    ("openrouter", {"logit_bias": {2: -1.5, 3: 1.0}, "repetition_penalty": 1.3, "min_p": 0.02}),
    ("openrouter", {"adaptive_target": 0.3, "temperature": 1.2}),
    ("openrouter", {"mirostat": 2, "mirostat_tau": 1.5, "xtc_probability": 0.5}),
    ("openrouter", {"min_tokens": 4, "no_repeat_ngram_size": 3, "temperature": 0}),
    ("llama_cpp", {"dry_multiplier": 0.8, "xtc_probability": 0.5, "xtc_threshold": 0.05}),
    ("llama_cpp", {"mirostat": 2, "mirostat_tau": 1.5}),
    ("vllm", {"presence_penalty": 0.5, "repetition_penalty": 1.1, "top_k": 9, "min_tokens": 3}),
    ("koboldcpp", {"rep_pen": 1.2, "rep_pen_range": 5, "top_k": 0}),
]


class Reference:
    """What a chain makes of each row of one text: written down beside the adapters' own code."""

    def __init__(self, chain: Chain, prompt: Sequence[int]) -> None:
        self.chain, self.prompt = chain, [*prompt]
        self.state = chain.init()
        self.stages: dict[str, Any] = {}
        self.output: list[int] = []

    def row(self, logits: Any) -> Any:
        context = Context(self.prompt, self.output)
        bound = self.chain.at(self.state)
        for name, count in self.chain.observed.items():
            self.stages[name] = logits if count is None else bound[:count](logits, context)
        return bound(logits, context)

    def add(self, token: int) -> None:
        if self.chain.stateful:
            seen = {name: log_softmax(stage)[token] for name, stage in self.stages.items()}
            self.state = self.chain.update(self.state, seen)
        self.output.append(token)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays have the same numbers, dtype and shape."""
    first, second = np.ascontiguousarray(one), np.ascontiguousarray(other)
    same = first.dtype == second.dtype and first.shape == second.shape
    return same and first.tobytes() == second.tobytes()
