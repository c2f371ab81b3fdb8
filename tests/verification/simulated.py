"""An endpoint of recorded rows: exact draws from what the library's chains leave of whole rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import logitlab as ll
import numpy as np
from logitlab.verification.answer import Answer
from logitlab.verification.study import Study

from verification.providers import listing

ROWS = ll.datasets.load("smollm2")
PROMPTS = tuple(ROWS.prompts[place] for place in (0, 2, 3, 4, 9, 10, 11, 13, 17, 18, 19))
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "top_a": 0.0}
STEPS = {
    "temperature": ll.Temperature,
    "top_k": ll.TopK,
    "top_p": ll.TopP,
    "min_p": ll.MinP,
    "top_a": ll.TopA,
}
FIRST = ("temperature", "top_k", "top_p", "min_p", "top_a")
LAST = ("top_k", "top_p", "min_p", "top_a", "temperature")


class Simulated:
    """A server of the recorded rows, with faults.

    `faults` has for a parameter "ignored", "refused", or two bounds; `defaults` are in force where
    a parameter is ignored. A part `foreign` of the answers is the second best token. What is drawn
    is `listed` among the likeliest as a `Provider` does it.
    """

    def __init__(
        self,
        faults: Mapping[str, Any] | None = None,
        defaults: Mapping[str, float] | None = None,
        *,
        order: Sequence[str] = FIRST,
        reports: str = "raw",
        foreign: float = 0.0,
        noise: float = 0.0,
        top: int = 20,
        seed: int = 0,
        listed: str = "best",
    ) -> None:
        self.faults, self.defaults = dict(faults or {}), {**NEUTRAL, **(defaults or {})}
        self.order, self.reports, self.top = order, reports, top
        self.foreign, self.noise, self.listed = foreign, noise, listed
        self.rng = np.random.default_rng(seed)

    def used(self, body: Mapping[str, Any]) -> dict[str, float]:
        used = dict(self.defaults)
        for key in NEUTRAL.keys() & body.keys():
            fault, value = self.faults.get(key), body[key]
            if fault == "ignored":
                continue
            is_off = key == "top_k" and value <= 0
            if isinstance(fault, tuple) and not is_off:
                value = min(max(value, fault[0]), fault[1])
            used[key] = value
        return used

    def __call__(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        return [self.answer(body) for body in bodies]

    def answer(self, body: Mapping[str, Any]) -> Answer:
        for key, fault in self.faults.items():
            if fault == "refused" and key in body:
                return Answer(400, {"error": {"message": f"Unsupported parameter: {key}"}})
        place = ROWS.prompts.index(body["messages"][0]["content"])
        noise = None
        if self.noise:
            noise = self.noise * self.rng.standard_normal(ROWS.logits.shape[1])
        drawn, told, best = outcome(
            place, tuple(sorted(self.used(body).items())), tuple(self.order), self.reports, noise
        )
        token = int(np.searchsorted(drawn, self.rng.random() * drawn[-1], side="right"))
        if self.foreign and self.rng.random() < self.foreign:
            token = int(best[1])
        tops = [entry(each, told) for each in best[: self.top]]
        content = entry(token, told) | {"top_logprobs": tops}
        content["top_logprobs"] = listing(content, self.listed)
        choice = {"message": {"content": ""}, "logprobs": {"content": [content]}}
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        return Answer(200, {"choices": [choice], "usage": usage})


_OUTCOMES: dict[Any, tuple[Any, Any, Any]] = {}
_MOST = 100  # tokens that are ever told


def outcome(
    place: int,
    used: tuple[tuple[str, float], ...],
    order: tuple[str, ...],
    reports: str,
    noise: Any = None,
) -> tuple[Any, Any, Any]:
    """Return running sums of what is drawn from, the reported log-probabilities, and the best."""
    key = (place, used, order, reports)
    if noise is None and key in _OUTCOMES:
        return _OUTCOMES[key]
    row = ROWS.logits[place].astype(np.float64) + (0 if noise is None else noise)
    value = dict(used)
    chain = ll.Chain(*(STEPS[step](value[step]) for step in order if value[step] != NEUTRAL[step]))
    final = chain(row)
    told = {"raw": row, "tempered": row / (value["temperature"] or 1), "processed": final}[reports]
    logprobs = ll.log_softmax(told)
    best = np.argpartition(-logprobs, _MOST)[:_MOST]
    best = best[np.lexsort((best, -logprobs[best]))]
    found = np.cumsum(np.exp(final - final.max())), logprobs, best
    if noise is None:
        _OUTCOMES[key] = found
    return found


def entry(token: int, told: Any) -> dict[str, Any]:
    logprob = float(told[token])
    text = bytes(ROWS.vocabulary[int(token)])
    return {
        "token": text.decode("utf-8", "replace"),
        "bytes": list(text),
        "logprob": logprob if math.isfinite(logprob) else -9999.0,
    }


def study(server: Simulated, **more: Any) -> Study:
    """Return an examination of a server after its handshake."""
    neutral = {key: value for key, value in NEUTRAL.items() if server.faults.get(key) != "refused"}
    given: dict[str, Any] = {"prompts": PROMPTS, "meaning": server.reports} | more
    return Study(
        server,
        neutral=neutral,
        logprobs={"logprobs": True, "top_logprobs": server.top},
        **given,
    )
