"""Laboratories in which something is broken: every experiment must say no in one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from logitlab import Context, Generation, SamplingParams
from logitlab.claims import Lab
from logitlab.constraints import constraint_of
from logitlab.datasets import Recording
from logitlab.engines.compare import Comparison, compare_engines
from logitlab.models import Model

Request = Mapping[str, Any]
Change = Callable[[dict[str, Any]], dict[str, Any]]


class Altered(Lab):
    """A library that takes every request for another one."""

    def __init__(self, change: Change) -> None:
        self.change = change

    def _other(self, request: Any) -> Any:
        if isinstance(request, list):
            return [self._other(one) for one in request]
        return self.change(dict(request))

    def refusal(self, request: Request) -> str:
        return super().refusal(self._other(request))

    def logits(self, rows: Any, request: Request, context: Any = None) -> Any:
        return super().logits(rows, self._other(request), context)

    def compare(self, row: Any, request: Request) -> Comparison:
        return super().compare(row, self._other(request))

    def draw(self, rows: Any, request: Request, **places: Any) -> Any:
        return super().draw(rows, self._other(request), **places)

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        return super().generate(prompt, self._other(request), **options)

    def chat(self, request: Request) -> dict[str, Any]:
        return super().chat(self._other(request))

    def room(self, text: str, request: Request) -> list[int]:
        return super().room(text, self._other(request))


def maps(key: str, change: Callable[[Any], Any]) -> Lab:
    """A library in which a parameter that is given means another value."""

    def other(request: dict[str, Any]) -> dict[str, Any]:
        if request.get(key) is not None:
            request[key] = change(request[key])
        return request

    return Altered(other)


def without(*keys: str) -> Lab:
    """A library that does not read some parameters."""
    return Altered(lambda request: {k: v for k, v in request.items() if k not in keys})


def renames(key: str, other: str) -> Lab:
    """A library that takes one parameter for another."""

    def change(request: dict[str, Any]) -> dict[str, Any]:
        if key in request:
            request[other] = request.pop(key)
        return request

    return Altered(change)


def defaults(**values: Any) -> Lab:
    """A library with other values for parameters that are absent."""
    return Altered(lambda request: {**values, **request})


def forces(**values: Any) -> Lab:
    """A library in which some parameters always have these values."""
    return Altered(lambda request: {**request, **values})


class Cuts(Lab):
    """A truncation that keeps what it should not."""

    def __init__(self, key: str, keeps: Callable[[Any, Any], Any]) -> None:
        self.key, self.keeps = key, keeps

    def logits(self, rows: Any, request: Request, context: Any = None) -> Any:
        value = request.get(self.key)
        if value is None:
            return super().logits(rows, request, context)
        weight = np.exp(np.float64(rows) - rows.max(axis=-1, keepdims=True))
        p = weight / weight.sum(axis=-1, keepdims=True)
        mask = self.keeps(p, value) | (p == p.max(axis=-1, keepdims=True))
        return np.where(mask, rows, -np.inf)


def below(p: Any, value: float) -> Any:
    """Only the tokens that together stay below the value: the one that crosses it is dropped."""
    order = np.argsort(-p, axis=-1, kind="stable")
    inside = np.take_along_axis(p, order, axis=-1).cumsum(axis=-1) < value
    mask = np.empty_like(inside)
    np.put_along_axis(mask, order, inside, axis=-1)
    return mask


class Untied(Lab):
    """Rows with all of their digits, whatever is said of them."""

    @property
    def tied_rows(self) -> Recording:
        return dataclasses.replace(super().rows, dtype="bfloat16")


class Alike(Lab):
    """Engines that all keep exactly k."""

    def compare(self, row: Any, request: Request) -> Comparison:
        return compare_engines(row, dict(request), engines=["openrouter", "sglang", "llama_cpp"])


class OnlyPrompt(Lab):
    """Penalties that do not see the output."""

    def logits(self, rows: Any, request: Request, context: Context | None = None) -> Any:
        seen = None if context is None else Context(prompt=context.prompt)
        return super().logits(rows, request, seen)


class OfLogprobs(Lab):
    """A repetition penalty on log-probabilities, which follows the probability."""

    def logits(self, rows: Any, request: Request, context: Any = None) -> Any:
        peak = rows.max(axis=-1, keepdims=True)
        mass = np.log(np.exp(rows - peak).sum(axis=-1, keepdims=True))
        return super().logits(rows - peak - mass, request, context)


class Divides(Lab):
    """A repetition penalty that divides negative logits, too."""

    def logits(self, rows: Any, request: Request, context: Any = None) -> Any:
        after = super().logits(rows, request, context)
        wrong = (after != rows) & (rows < 0)
        return np.where(wrong, rows / request.get("repetition_penalty", 1.0), after)


class Restless(Lab):
    """A library that draws anew each time, whatever the seed."""

    count = 0

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        self.count += 1
        if "seed" in options:
            many = isinstance(options["seed"], list)
            options["seed"] = [s + 99 * self.count for s in options["seed"]] if many else self.count
        return super().generate(prompt, request, **options)


class Batched(Lab):
    """A library whose draws depend on the place in the batch."""

    def draw(self, rows: Any, request: Request, **places: Any) -> Any:
        return super().draw(rows, request, **{**places, "sequence": None})

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        seeds = options.get("seed")
        if isinstance(seeds, list):
            options["seed"] = [seed + i for i, seed in enumerate(seeds)]
        return super().generate(prompt, request, **options)


class Processed(Lab):
    """Log-probabilities of the distribution that is drawn from."""

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        return super().generate(prompt, request, logprobs_mode="processed", **options)


class Reports(Lab):
    """What is reported of the answers is changed."""

    def __init__(self, change: Callable[[Generation], Generation]) -> None:
        self.change = change

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        return [self.change(answer) for answer in super().generate(prompt, request, **options)]


class OneOver(Lab):
    """A context that has room for one token more."""

    def windowed(self, context_length: int) -> Model:
        return super().windowed(context_length + 1)


class Unchecked(Lab):
    """A library that refuses nothing."""

    def params(self, request: Request) -> SamplingParams:
        known = {key: value for key, value in request.items() if key != "top_logprobs"}
        return super().params(known)

    def refusal(self, request: Request) -> str:
        return ""


class OnlyArrays(Lab):
    """A library in which tool_choice is an array."""

    def refusal(self, request: Request) -> str:
        return "" if isinstance(request.get("tool_choice"), list) else "tool_choice must be a list."


class Drops(Lab):
    """A library that keeps nothing but the documented keys."""

    def params(self, request: Request) -> SamplingParams:
        return dataclasses.replace(super().params(request), extra={})


class AtBorders(Lab):
    """Stop strings that only stop where they are a whole token."""

    def generate(self, prompt: Any, request: Any, **options: Any) -> list[Generation]:
        if isinstance(request, list) or "stop" not in request:
            return super().generate(prompt, request, **options)
        decode = self.model.vocabulary.decode
        plain = {key: value for key, value in request.items() if key != "stop"}
        cut = []
        for answer in super().generate(prompt, plain, **options):
            spelt = [decode([token]) for token in answer.tokens.tolist()]
            ends = [i for i, text in enumerate(spelt) if text in request["stop"]]
            text = decode(answer.tokens[: ends[0]]) if ends else answer.text
            cut.append(dataclasses.replace(answer, text=text))
        return cut


class Everything(Lab):
    """Masks that let every text be written."""

    def room(self, text: str, request: Request) -> list[int]:
        constraint_of(self.params(request))
        return [len(self.model.vocabulary)] * (len(self.model.encode(text)) + 1)


class Ordered(Lab):
    """A chain that forgets the bias, and one that adds it after the truncations."""

    def logits(self, rows: Any, request: Request, context: Any = None) -> Any:
        rest = {key: value for key, value in request.items() if key != "logit_bias"}
        after = np.array(super().logits(rows, rest, context))
        for token, bias in request.get("logit_bias", {}).items():
            after[int(token)] += bias
        return after
