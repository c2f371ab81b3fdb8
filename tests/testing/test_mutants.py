"""Samplers that are right pass; every known mistake is caught, in 2,000 calls each at most."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logitlab import testing

from testing import samplers as s

Array = s.Array


def nucleus(p: float) -> Any:
    return {"top_p": p}, lambda mistake: lambda row: s.top_p(row, p, mistake)


def first_k(k: int) -> Any:
    return {"top_k": k}, lambda mistake: lambda row: s.top_k(row, k, mistake)


def least(m: float) -> Any:
    return {"min_p": m}, lambda mistake: lambda rows: s.min_p(rows, m, mistake)


def squared(a: float) -> Any:
    return {"top_a": a}, lambda mistake: lambda row: s.top_a(row, a, mistake)


def hot(t: float) -> Any:
    def made(mistake: str) -> Any:
        def sampler(row: Array) -> Array:
            probs = s.softmax(s.temperature(row, t, mistake), mistake)
            return s.softmax(probs) if mistake == "softmax again" else probs

        return sampler

    return {"temperature": t}, made


def chain() -> Any:
    """Temperature, top-k, top-p and min-p one after the other: the mask of survivors."""
    request = {"temperature": 0.5, "top_k": 6, "top_p": 0.75, "min_p": 0.2}

    def made(mistake: str) -> Any:
        def sampler(row: Array) -> Array:
            x = row if mistake == "temperature last" else s.temperature(row, 0.5)
            if mistake == "min_p first":
                x = s.min_p(x, 0.2)
            whole = s.softmax(x)
            if mistake == "top_p first":
                x = s.top_k(s.top_p(x, 0.75), 6)
            elif mistake == "mass of all":
                cut = s.top_k(x, 6)
                order = s.ranked(cut)
                before = np.cumsum(whole[order]) - whole[order]
                keep = (before < 0.75) & (cut[order] > -np.inf)
                x = np.full_like(cut, -np.inf)
                x[order[keep]] = cut[order[keep]]
            else:
                x = s.top_p(s.top_k(x, 6), 0.75)
            if mistake == "top_p twice":
                x = s.top_p(x, 0.75)
            if mistake == "min_p of all":
                return (x > -np.inf) & (whole >= 0.2)
            return np.flatnonzero(s.min_p(x, 0.2) > -np.inf)

        return sampler

    return request, made


def penalties(**request: float) -> Any:
    def made(mistake: str) -> Any:
        def sampler(row: Array, prompt: Array, output: Array) -> Array:
            return s.penalised(row, prompt, output, mistake, **request)

        return sampler

    return request, made


def penalties_of_vllm() -> Any:
    """As vLLM has them: over the output."""
    request = {"frequency_penalty": 0.5, "presence_penalty": 0.25}

    def made(mistake: str) -> Any:
        def sampler(row: Array, prompt: Array, output: Array) -> Array:
            scope = "" if mistake == "penalty on the prompt" else "output alone"
            return s.penalised(row, prompt, output, scope, **request)

        return sampler

    return request, made


def biased() -> Any:
    request = {"temperature": 0.5, "logit_bias": {1: 2.0, 2: -1.0}}

    def made(mistake: str) -> Any:
        def sampler(row: Array) -> Array:
            bias = np.zeros_like(row)
            bias[[1, 2]] = 2, -1
            if mistake == "sets":
                bias = np.where(bias != 0, bias - np.where(np.isinf(row), 0, row), 0)
            if mistake == "after temperature":
                return s.softmax(row / 0.5 + bias)
            if mistake == "next id":
                bias = np.roll(bias, 1)
            return s.softmax((row + bias) / np.float32(0.5))

        return sampler

    return request, made


def masking() -> Any:
    """A sampler that multiplies by one half, and what that does to -inf."""

    def made(mistake: str) -> Any:
        def sampler(row: Array) -> Array:
            with np.errstate(invalid="ignore"):
                if mistake == "nan":
                    return row * (row > -np.inf) * np.float32(2)
                if mistake == "large instead of infinite":
                    return np.maximum(row, -1e4) * np.float32(2)
                if mistake == "sum over -inf":
                    return np.asarray(row - row.mean())
            return row * np.float32(2)

        return sampler

    return {"temperature": 0.5}, made


def in_batches() -> Any:
    """Nucleus of a batch of rows, without a loop."""

    def made(mistake: str) -> Any:
        def sampler(rows: Array) -> Array:
            order = np.argsort(-rows, axis=-1, kind="stable")
            probs = s.softmax(np.take_along_axis(rows, order, -1))
            axis = 0 if mistake == "other axis" else -1
            before = np.cumsum(probs, axis=axis) - probs
            keep = before < 0.75
            keep[:, 0] = True
            mask = np.empty_like(keep)
            if mistake == "first row's order":
                order = np.broadcast_to(order[:1], order.shape)
            np.put_along_axis(mask, order, keep, -1)
            return np.roll(mask, 1, axis=0) if mistake == "rows mixed up" else mask

        return sampler

    return {"top_p": 0.75}, made


def drawing() -> Any:
    """Draws of one row, by a seed."""
    request = {"temperature": 0.8, "top_k": 5}

    def made(mistake: str) -> Any:
        def sampler(row: Array, seed: int) -> int:
            x = s.top_k(s.temperature(row, 1.0 if mistake == "no temperature" else 0.8), 5)
            if mistake == "before the cut":
                x = row / np.float32(0.8)
            u = np.random.default_rng(seed).random()
            if mistake == "rounded":
                u = round(u, 1)
            if mistake == "squared luck":
                u = u * u
            if mistake == "seed ignored":
                u = np.random.default_rng().random()
            return s.inverse_cdf(s.softmax(x), u, mistake)

        return sampler

    return request, made


def drawing_batches() -> Any:
    """Draws of a batch, a seed for each row."""

    def made(mistake: str) -> Any:
        def sampler(rows: Array, seed: Array) -> Array:
            probs = s.softmax(rows / np.float32(0.8))
            luck = np.array([np.random.default_rng(each).random() for each in seed])
            if mistake == "seed by batch":
                luck = np.random.default_rng(int(seed[0])).random(len(rows))
            if mistake == "one luck for all":
                luck[:] = luck[0]
            if mistake == "luck of a neighbour":
                luck = np.roll(luck, 1)
            return np.array([s.inverse_cdf(*each) for each in zip(probs, luck, strict=True)])

        return sampler

    return {"temperature": 0.8}, made


def drawing_unseeded() -> Any:
    """Draws of a batch, from a generator that goes on."""

    def made(mistake: str) -> Any:
        luck = np.random.default_rng(3)

        def sampler(rows: Array) -> Array:
            size = (len(rows) + 1) // 2 if mistake == "luck used twice" else len(rows)
            u = np.repeat(luck.random(size), 2 if size < len(rows) else 1)[: len(rows)]
            probs = s.softmax(rows)
            return np.array([[s.inverse_cdf(*each)] for each in zip(probs, u, strict=True)])

        return sampler

    return {}, made


BATCH = {"batch": True}
SAMPLERS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = {
    # name: what makes it, its values, options of the check, and its mistakes
    "nucleus at 0.75": (nucleus, (0.75,), {}, "ids lost, at equality, without the crossing one, "
        "one fewer, one more, ties by value, rising, half sums, not normalised, masked hold mass, "
        "ties to the highest, no shift, in half precision"),
    "nucleus at 0.9": (nucleus, (0.9,), {}, "ids lost, one fewer, one more, not normalised"),
    "nucleus at 0": (nucleus, (0.0,), {}, "no guard, ties by value"),
    "nucleus at 1": (nucleus, (1.0,), {}, "cuts at 1"),
    "top-k of 5": (first_k, (5,), {}, "one more, one fewer, ties by value, ties to the highest, "
        "by size, k beyond V, in half precision, rising"),
    "top-k of 0": (first_k, (0,), {}, "0 keeps one"),
    "min-p at 0.2": (least, (0.2,), {}, "of the sum, of logits, reversed"),
    "min-p at 1": (least, (1.0,), {}, "more than"),
    "min-p of batches": (least, (0.2,), BATCH, "of the batch, first row's, last row only"),
    "top-a": (squared, (0.8,), {}, "not squared, sum of squares"),
    "temperature": (hot, (0.8,), {}, "multiplies, twice, softmax again, no shift"),
    "greedy": (hot, (0.0,), {}, "divides by 0, last of the best"),
    "a chain": (chain, (), {}, "temperature last, top_p first, mass of all, top_p twice, "
        "min_p of all, min_p first"),
    "bias": (biased, (), {}, "sets, after temperature, next id"),
    "masks": (masking, (), {}, "nan, large instead of infinite, sum over -inf"),
    "vLLM's penalties": (penalties_of_vllm, (), {"engine": "vllm"}, "penalty on the prompt"),
    "nucleus of batches": (in_batches, (), BATCH, "other axis, first row's order, rows mixed up"),
    "draws": (drawing, (), {}, "off by one, argmax, rank for id, no temperature, before the cut, "
        "rounded, squared luck, seed ignored"),
    "draws of batches": (drawing_batches, (), BATCH, "seed by batch, one luck for all, "
        "luck of a neighbour"),
    "draws without seeds": (drawing_unseeded, (), BATCH, "luck used twice"),
}  # fmt: skip
PENALTIES = {
    "repetition": ({"repetition_penalty": 1.25}, "output alone, prompt alone, padding, "
        "newest left out, divides all, repeats"),
    "frequency": ({"frequency_penalty": 0.5}, "output alone, counts once, padding, adds"),
    "presence": ({"presence_penalty": 0.5}, "presence of all, presence counted, prompt alone"),
}  # fmt: skip

# Vocabularies of 262,144 tokens take their time: these samplers get them.
WIDE = ("nucleus at 0.75", "top-k of 5", "min-p of batches")

MUTANTS = [(name, each) for name, entry in SAMPLERS.items() for each in entry[3].split(", ")]
MUTANTS += [(name, each) for name, entry in PENALTIES.items() for each in entry[1].split(", ")]


def checked(name: str, mistake: str) -> Any:
    """Check one of the samplers, and return what its check has seen or raised, and the calls."""
    if name in PENALTIES:
        request, made = penalties(**PENALTIES[name][0])
        options: dict[str, Any] = {}
    else:
        make, values, options, _ = SAMPLERS[name]
        request, made = make(*values)
    sampler, calls = made(mistake), 0

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        return sampler(*args, **more)

    counted.__signature__ = inspect.signature(sampler)  # type: ignore[attr-defined]
    rows = [kind for kind in testing.KINDS if kind != "wide" or name in WIDE]
    if "draws " in name:
        rows = ["few-tokens", "ordinary", "equal", "signs"]
    try:
        return testing.check(counted, request, rows=rows, **options), calls
    except testing.SamplerError as error:
        return error, calls


@pytest.mark.parametrize("name", [*SAMPLERS, *PENALTIES])
def test_the_right_one_passes(name: str) -> None:
    result, calls = checked(name, "")
    assert isinstance(result, testing.Checked), str(result)
    assert result.calls == calls <= 2000


@pytest.mark.parametrize(("name", "mistake"), MUTANTS)
def test_the_mistake_is_caught(name: str, mistake: str) -> None:
    result, calls = checked(name, mistake)
    assert isinstance(result, testing.SamplerError)
    assert calls <= 2000
    if mistake == "no temperature":
        assert result.sentence.startswith("draws hotter than it should, as ")
    small = 180 if mistake == "half sums" else 64 if result.row.ndim == 1 else 8 * 8
    assert result.row.size <= small, result.sentence  # but for what shows in long sums alone


def test_there_are_forty_and_more() -> None:
    assert len(set(MUTANTS)) == len(MUTANTS) > 80
    page = Path(__file__).parents[2] / "notebooks/site/pages/reference/testing.md"
    assert f"{len(MUTANTS)} known mistakes are caught" in page.read_text("utf-8")
